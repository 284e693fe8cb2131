//! A chart of a pool that is in use, by what the pool says of itself.
//!
//! A pool goes on while it is looked at: what moves meanwhile is told where it was, or as unknown.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use pinfold::{File, FileId, FileKind, NameError, ParkedReport, PinInfo, PinReport, Place, Pool};
use pinfold_picture::{Chart, Part, PinMark, Stretch, What};

/// What a pool's blocks are.
///
/// # Errors
/// What reading a directory says.
pub(crate) fn chart_of(pool: &Pool, title: &str) -> Result<Chart, NameError> {
    let block_size = pool.block_size();
    let files = files(pool)?;
    let mut chart =
        Chart { title: title.to_owned(), block_size, blocks: pool.stats().total / block_size, ..Chart::default() };
    for (name, file) in files.values() {
        chart.stretches.extend(of_file(name, file, block_size));
    }
    for parked in pool.parked() {
        let name = files.get(&parked.file).map_or_else(|| unnamed(parked.file), |(name, _)| Arc::clone(name));
        chart.pins.extend(parked.pins.iter().map(|pin| PinMark {
            blocks: blocks_of(&parked.place, block_size),
            who: who(pin).into(),
            quarantined: pin.quarantine.is_some(),
        }));
        chart.stretches.push(of_parked(name, &parked, block_size));
    }
    for pin in pool.pins() {
        if let Some((_, file)) = files.get(&pin.file) {
            chart.pins.extend(of_pin(&pin, file, block_size));
        }
    }
    let rest = gaps(&chart).into_iter().flatten().map(|block| what_is_at(pool, block, block_size));
    let rest: Vec<_> = rest.collect();
    chart.stretches.extend(rest);
    Ok(chart)
}

/// Every file that has a name, by one of its names.
fn files(pool: &Pool) -> Result<HashMap<FileId, (Arc<str>, File)>, NameError> {
    let mut files = HashMap::new();
    let mut directories = vec![PathBuf::from("/")];
    while let Some(directory) = directories.pop() {
        for entry in pool.read_dir(&directory)? {
            let path = directory.join(&entry.name);
            match entry.kind {
                FileKind::Directory => directories.push(path),
                FileKind::File => {
                    if let Some(file) = pool.open_by_id(entry.id) {
                        files.entry(entry.id).or_insert_with(|| (path.to_string_lossy().into(), file));
                    }
                }
                FileKind::Symlink | FileKind::Special(_) => {}
            }
        }
    }
    Ok(files)
}

/// Who holds a pin, what for and since when, the most telling first.
fn who(pin: &PinInfo) -> String {
    let parts = [pin.engine.as_str(), pin.label.as_str()].into_iter().filter(|part| !part.is_empty());
    let mut said: Vec<_> = parts.map(str::to_owned).collect();
    said.push(format!("process {}", pin.pid));
    said.extend(pin.long_term.then(|| "long-term".to_owned()));
    said.extend(pin.recalled.then(|| "recalled".to_owned()));
    said.push(format!("{:.1} s", pin.held_for.as_secs_f64()));
    said.extend(pin.quarantine.map(|_| "in quarantine".to_owned()));
    said.join(", ")
}

fn unnamed(file: FileId) -> Arc<str> {
    file.to_string().into()
}

fn blocks_of(place: &Range<u64>, block_size: u64) -> Range<u64> {
    place.start / block_size..place.end / block_size
}

fn of_file(name: &Arc<str>, file: &File, block_size: u64) -> impl Iterator<Item = Stretch> {
    file.extents().into_iter().map(move |extent| {
        let of = Part { name: Arc::clone(name), id: file.id().number(), offset: extent.offset };
        let blocks = blocks_of(&(extent.place..extent.place + extent.len), block_size);
        Stretch { blocks, what: What::File { of, unwritten: !extent.written } }
    })
}

fn of_parked(name: Arc<str>, parked: &ParkedReport, block_size: u64) -> Stretch {
    let was = Part { name, id: parked.file.number(), offset: parked.bytes.start };
    let by: Vec<_> = parked.pins.iter().map(who).collect();
    let by: Arc<str> = if by.is_empty() { "until its freeing is durable".into() } else { by.join("; ").into() };
    let without_holder = !parked.pins.is_empty() && parked.pins.iter().all(|pin| pin.quarantine.is_some());
    let what = if without_holder { What::Quarantined { was, by } } else { What::Parked { was, by } };
    Stretch { blocks: blocks_of(&parked.place, block_size), what }
}

/// Where the blocks of a pin are that are still its file's.
fn of_pin(pin: &PinReport, file: &File, block_size: u64) -> Vec<PinMark> {
    let pinned = |extent: pinfold::FileExtent| {
        let start = pin.bytes.start.max(extent.offset);
        let end = pin.bytes.end.min(extent.offset + extent.len);
        (start < end).then(|| extent.place + (start - extent.offset)..extent.place + (end - extent.offset))
    };
    let places = file.extents().into_iter().filter_map(pinned);
    let mark = |place| PinMark {
        blocks: blocks_of(&place, block_size),
        who: who(&pin.pin).into(),
        quarantined: pin.pin.quarantine.is_some(),
    };
    places.map(mark).collect()
}

/// The blocks that no stretch names.
fn gaps(chart: &Chart) -> Vec<Range<u64>> {
    let mut named: Vec<_> = chart.stretches.iter().map(|stretch| stretch.blocks.clone()).collect();
    named.sort_by_key(|blocks| blocks.start);
    let mut gaps = Vec::new();
    let mut at = 0;
    for blocks in named {
        gaps.push(at..blocks.start.max(at));
        at = at.max(blocks.end);
    }
    gaps.push(at..chart.blocks.max(at));
    gaps
}

fn what_is_at(pool: &Pool, block: u64, block_size: u64) -> Stretch {
    let what = match pool.what_is_at(block * block_size) {
        Place::Free => What::Free,
        Place::File { file, offset, .. } => {
            What::File { of: Part { name: unnamed(file), id: file.number(), offset }, unwritten: false }
        }
        Place::Parked(_) | Place::Unknown => What::Unknown,
    };
    Stretch { blocks: block..block + 1, what }
}
