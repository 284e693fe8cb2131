//! What is said to whoever points at a place of the map.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::chart::What;
use crate::runs::{Run, len, within};
use crate::shown::{fitted, named};
use crate::size::{count, share, size};
use crate::sums::{Kind, Kinds};

/// Columns of a name.
const NAME_MAX: usize = 64;
/// How many files of a mixture are named.
const NAMED_MAX: usize = 3;

/// Bytes of so many blocks.
fn bytes(blocks: u64, block_size: u64) -> u128 {
    u128::from(blocks) * u128::from(block_size)
}

/// One run.
pub(crate) fn of_run(run: &Run<'_>, block_size: u64) -> String {
    let Range { start, end } = run.blocks;
    let what = match run.what {
        What::Meta(word) => format!("metadata: {}", fitted(word, NAME_MAX)),
        What::File { of, unwritten } => {
            format!("{}{}", fitted(named(&of.name), NAME_MAX), if *unwritten { ", unwritten" } else { "" })
        }
        What::Free => "free".to_owned(),
        What::Parked { was, by } => {
            format!("parked: was {}\n{}", fitted(named(&was.name), NAME_MAX), fitted(by, NAME_MAX))
        }
        What::Quarantined { was, by } => {
            format!("quarantined: was {}\n{}", fitted(named(&was.name), NAME_MAX), fitted(by, NAME_MAX))
        }
        What::Unknown => "unknown".to_owned(),
    };
    let place = size(bytes(start, block_size));
    let mut said = format!("{what}\n{} at {place}: blocks {start}..{end}", size(bytes(end - start, block_size)));
    if run.what.part().is_some() {
        let last = u128::from(run.offset) + bytes(end - start, block_size);
        said.push_str(&format!("\nbytes {}..{last} of the file", run.offset));
    }
    said
}

/// Several runs that lie side by side.
pub(crate) fn of_several(blocks: &Range<u64>, runs: &[Run<'_>], block_size: u64) -> String {
    if let [run] = runs {
        return of_run(run, block_size);
    }
    let mut kinds = Kinds::default();
    let mut files = BTreeMap::new();
    for run in runs {
        let here = len(&within(&run.blocks, blocks));
        kinds[Kind::of(run.what)] += here;
        if let What::File { of, .. } = run.what {
            files.entry(of.id).or_insert((0, named(&of.name))).0 += here;
        }
    }
    let whole = len(blocks);
    let parts = Kind::ALL.into_iter().filter(|kind| kinds[*kind] > 0);
    let parts: Vec<_> = parts.map(|kind| format!("{} {}", share(kinds[kind], whole), kind.word())).collect();
    let (from, to) = (size(bytes(blocks.start, block_size)), size(bytes(blocks.end, block_size)));
    let pieces = count(runs.len() as u64, "piece");
    let mut said = format!("{from} to {to}: {pieces}\n{}", parts.join(", "));
    let mut files: Vec<_> = files.into_iter().map(|(id, (blocks, name))| (u64::MAX - blocks, id, name)).collect();
    files.sort_unstable();
    for (left, _, name) in files.iter().take(NAMED_MAX) {
        said.push_str(&format!("\n{} {}", share(u64::MAX - left, whole), fitted(name, NAME_MAX)));
    }
    if files.len() > NAMED_MAX {
        said.push_str(&format!("\nand {}", count((files.len() - NAMED_MAX) as u64, "other file")));
    }
    said
}
