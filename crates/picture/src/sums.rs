//! A pool in numbers: how much of it is what, its files, its free runs, and what is stuck.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut, Range};

use crate::chart::{Chart, Part, What};
use crate::runs::{Run, Runs, len, within};
use crate::shown::named;

/// What a block can be, files apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Written,
    Unwritten,
    Free,
    Parked,
    Quarantined,
    Meta,
    Unknown,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Written, Self::Unwritten, Self::Free, Self::Parked, Self::Quarantined, Self::Meta, Self::Unknown];

    pub(crate) fn of(what: &What) -> Self {
        match what {
            What::File { unwritten: false, .. } => Self::Written,
            What::File { unwritten: true, .. } => Self::Unwritten,
            What::Free => Self::Free,
            What::Parked { .. } => Self::Parked,
            What::Quarantined { .. } => Self::Quarantined,
            What::Meta(_) => Self::Meta,
            What::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Written => "files",
            Self::Unwritten => "unwritten",
            Self::Free => "free",
            Self::Parked => "parked",
            Self::Quarantined => "quarantined",
            Self::Meta => "metadata",
            Self::Unknown => "unknown",
        }
    }
}

/// Blocks of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Kinds([u64; Kind::ALL.len()]);

impl Index<Kind> for Kinds {
    type Output = u64;

    fn index(&self, kind: Kind) -> &u64 {
        &self.0[kind as usize]
    }
}

impl IndexMut<Kind> for Kinds {
    fn index_mut(&mut self, kind: Kind) -> &mut u64 {
        &mut self.0[kind as usize]
    }
}

/// A file's share.
#[derive(Clone, Debug)]
pub(crate) struct FileSum<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: u64,
    pub(crate) blocks: u64,
    pub(crate) unwritten: u64,
    pub(crate) extents: u64,
    /// Blocks of its longest extent.
    pub(crate) longest: u64,
}

/// How free space lies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FreeRuns {
    pub(crate) runs: u64,
    /// Blocks of the longest.
    pub(crate) longest: u64,
    /// Half of all free blocks lie in runs of at least that many.
    pub(crate) half: u64,
    /// Runs of 1 to 3 blocks, of 4 to 15, and so on; up to the last that there is one of.
    pub(crate) classes: Vec<Class>,
}

/// Free runs of about the same length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Class {
    pub(crate) runs: u64,
    pub(crate) blocks: u64,
}

/// Why blocks cannot be had, most stuck first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Hold {
    Quarantined,
    Parked,
    PinInQuarantine,
    Pin,
}

impl Hold {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Parked => "parked",
            Self::PinInQuarantine => "pin in quarantine",
            Self::Pin => "pinned",
        }
    }
}

/// Blocks of one file that one holder keeps in one way.
#[derive(Clone, Debug)]
pub(crate) struct Held<'a> {
    pub(crate) hold: Hold,
    pub(crate) blocks: u64,
    pub(crate) places: u64,
    /// Where the first of them are.
    pub(crate) first: Range<u64>,
    /// Which file's they are or were, and the first one's offset in it in bytes.
    pub(crate) of: Option<(&'a Part, u64)>,
    pub(crate) by: &'a str,
}

/// A pool in numbers.
pub(crate) struct Sums<'a> {
    pub(crate) kinds: Kinds,
    /// The largest first.
    pub(crate) files: Vec<FileSum<'a>>,
    pub(crate) free: FreeRuns,
    /// The most stuck first, of them the largest. Pins of what is parked or quarantined are not listed again.
    pub(crate) held: Vec<Held<'a>>,
    /// What is pinned, as runs in order: by pins that have a holder, and by pins in quarantine.
    pub(crate) pinned: [Vec<Range<u64>>; 2],
    /// Blocks that are pinned in either way.
    pub(crate) pinned_blocks: u64,
}

impl<'a> Sums<'a> {
    pub(crate) fn of(chart: &'a Chart, runs: &Runs<'a>) -> Self {
        Self {
            kinds: kinds(&runs.all),
            files: files(&runs.all),
            free: free_runs(&runs.all),
            held: held(chart, runs),
            pinned: [false, true].map(|quarantined| pinned(chart, &[quarantined])),
            pinned_blocks: pinned(chart, &[false, true]).iter().map(len).sum(),
        }
    }

    /// Extents of all files.
    pub(crate) fn extents(&self) -> u64 {
        self.files.iter().map(|file| file.extents).sum()
    }
}

fn kinds(runs: &[Run<'_>]) -> Kinds {
    let mut kinds = Kinds::default();
    runs.iter().for_each(|run| kinds[Kind::of(run.what)] += len(&run.blocks));
    kinds
}

fn files<'a>(runs: &[Run<'a>]) -> Vec<FileSum<'a>> {
    let mut files = BTreeMap::new();
    for run in runs {
        let What::File { of, unwritten } = run.what else { continue };
        let blocks = len(&run.blocks);
        let none = FileSum { name: named(&of.name), id: of.id, blocks: 0, unwritten: 0, extents: 0, longest: 0 };
        let file = files.entry(of.id).or_insert(none);
        file.blocks += blocks;
        file.unwritten += if *unwritten { blocks } else { 0 };
        file.extents += 1;
        file.longest = file.longest.max(blocks);
    }
    let mut files: Vec<_> = files.into_values().collect();
    files.sort_by_key(|file| (u64::MAX - file.blocks, file.id));
    files
}

fn free_runs(runs: &[Run<'_>]) -> FreeRuns {
    let mut lengths: Vec<u64> = runs.iter().filter(|run| *run.what == What::Free).map(|run| len(&run.blocks)).collect();
    lengths.sort_unstable_by_key(|length| u64::MAX - length);
    let mut free =
        FreeRuns { runs: lengths.len() as u64, longest: lengths.first().copied().unwrap_or(0), ..FreeRuns::default() };
    let whole: u64 = lengths.iter().sum();
    let mut so_far = 0;
    for length in lengths {
        if so_far < whole.div_ceil(2) {
            free.half = length;
        }
        so_far += length;
        let class = (length.ilog2() / 2) as usize;
        if free.classes.len() <= class {
            free.classes.resize(class + 1, Class::default());
        }
        free.classes[class].runs += 1;
        free.classes[class].blocks += length;
    }
    free
}

/// Pinned blocks as runs in order, however many pins cover them: of pins with a holder, in quarantine, or both.
fn pinned(chart: &Chart, quarantined: &[bool]) -> Vec<Range<u64>> {
    let marks = chart.pins.iter().filter(|pin| quarantined.contains(&pin.quarantined));
    let mut marks: Vec<_> = marks.map(|pin| within(&pin.blocks, &(0..chart.blocks))).collect();
    marks.retain(|blocks| !blocks.is_empty());
    marks.sort_by_key(|blocks| blocks.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for mark in marks {
        match joined.last_mut() {
            Some(last) if mark.start <= last.end => last.end = last.end.max(mark.end),
            _ => joined.push(mark),
        }
    }
    joined
}

fn held<'a>(chart: &'a Chart, runs: &Runs<'a>) -> Vec<Held<'a>> {
    let mut groups = BTreeMap::new();
    let mut add = |held: Held<'a>| {
        let file = held.of.map(|(part, _)| part.id);
        let group = groups.entry((held.hold, file, held.by)).or_insert(Held { blocks: 0, places: 0, ..held.clone() });
        group.blocks = group.blocks.saturating_add(held.blocks);
        group.places += 1;
        if held.first.start < group.first.start {
            (group.first, group.of) = (held.first, held.of);
        }
    };
    for run in &runs.all {
        let (hold, part, by) = match run.what {
            What::Quarantined { was, by } => (Hold::Quarantined, was, by),
            What::Parked { was, by } => (Hold::Parked, was, by),
            _ => continue,
        };
        let (blocks, first) = (len(&run.blocks), run.blocks.clone());
        add(Held { hold, blocks, places: 1, first, of: Some((part, run.offset)), by });
    }
    for pin in &chart.pins {
        let first = within(&pin.blocks, &(0..chart.blocks));
        if first.is_empty() {
            continue;
        }
        let hold = if pin.quarantined { Hold::PinInQuarantine } else { Hold::Pin };
        let Some(run) = runs.all.get(runs.all.partition_point(|run| run.blocks.end <= first.start)) else { continue };
        if matches!(run.what, What::Parked { .. } | What::Quarantined { .. }) {
            // It is told with what it keeps.
            continue;
        }
        let of = part_at(run, first.start, chart.block_size);
        add(Held { hold, blocks: len(&first), places: 1, first, of, by: &pin.who });
    }
    let mut held: Vec<_> = groups.into_values().collect();
    held.sort_by_key(|held| (held.hold, u64::MAX - held.blocks, held.first.start));
    held
}

/// Which part of which file a block of a run is, and its offset there in bytes.
fn part_at<'a>(run: &Run<'a>, block: u64, block_size: u64) -> Option<(&'a Part, u64)> {
    let skipped = (block - run.blocks.start).saturating_mul(block_size);
    Some((run.what.part()?, run.offset.saturating_add(skipped)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{PinMark, Stretch};

    fn stretch(blocks: Range<u64>, what: What) -> Stretch {
        Stretch { blocks, what }
    }

    fn part(id: u64) -> Part {
        Part { name: format!("/{id}").into(), id, offset: 0 }
    }

    #[test]
    fn half_of_the_free_blocks_lie_in_runs_that_are_at_least_so_long() {
        let free = [0..1, 2..4, 5..15, 20..27].map(|blocks| stretch(blocks, What::Free));
        let chart = Chart { block_size: 1, blocks: 32, stretches: free.into(), ..Chart::default() };
        let free = free_runs(&Runs::of(&chart).all);
        assert_eq!((free.runs, free.longest, free.half), (4, 10, 10));
        assert_eq!(free.classes, [Class { runs: 2, blocks: 3 }, Class { runs: 2, blocks: 17 }]);
    }

    #[test]
    fn files_are_counted_with_their_extents_and_the_largest_comes_first() {
        let file = |blocks, id, unwritten| stretch(blocks, What::File { of: part(id), unwritten });
        let stretches = vec![file(0..2, 7, false), file(4..10, 8, false), file(12..13, 7, true)];
        let chart = Chart { block_size: 1, blocks: 16, stretches, ..Chart::default() };
        let files = files(&Runs::of(&chart).all);
        let told: Vec<_> = files.iter().map(|f| (f.id, f.blocks, f.unwritten, f.extents, f.longest)).collect();
        assert_eq!(told, [(8, 6, 0, 1, 6), (7, 3, 1, 2, 2)]);
    }

    #[test]
    fn g7_what_one_holder_keeps_of_one_file_is_one_entry_and_quarantine_comes_first() {
        let parked = |blocks, by: &str| stretch(blocks, What::Parked { was: part(1), by: by.into() });
        let quarantined = stretch(9..10, What::Quarantined { was: part(2), by: "lost".into() });
        let pin = |blocks| PinMark { blocks, who: "nic".into(), quarantined: false };
        let chart = Chart {
            block_size: 10,
            blocks: 16,
            stretches: vec![parked(4..6, "a"), parked(0..1, "a"), parked(7..8, "b"), quarantined],
            pins: vec![pin(11..12), pin(10..13), pin(4..5), pin(30..40)],
            ..Chart::default()
        };
        let runs = Runs::of(&chart);
        let held = held(&chart, &runs);
        let told: Vec<_> =
            held.iter().map(|held| (held.hold, held.by, held.blocks, held.places, held.first.start)).collect();
        let expected = [
            (Hold::Quarantined, "lost", 1, 1, 9),
            (Hold::Parked, "a", 3, 2, 0),
            (Hold::Parked, "b", 1, 1, 7),
            (Hold::Pin, "nic", 4, 2, 10),
        ];
        assert_eq!(told, expected);
        assert_eq!(pinned(&chart, &[false]), [4..5, 10..13]);
    }
}
