//! The pool from its first block to its last, each block once.
//!
//! Stays true  R1: runs follow one another without gap or overlap, from 0 to the number of blocks, whatever the chart says.
//!             R2: no two neighbours could be one run.

use std::ops::Range;

use crate::chart::{Chart, Part, Stretch, What};

/// Blocks in a row that are the same thing, and continue one another in their file.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) blocks: Range<u64>,
    pub(crate) what: &'a What,
    /// Where in its file it begins, in bytes; 0 for what is of no file.
    pub(crate) offset: u64,
}

/// A chart in order.
pub(crate) struct Runs<'a> {
    pub(crate) all: Vec<Run<'a>>,
    /// Blocks that more than one stretch names.
    pub(crate) named_twice: u64,
    /// Blocks that the chart names and the pool does not have.
    pub(crate) past_end: u64,
}

/// How many blocks a range has; none if it ends before it begins.
pub(crate) fn len(blocks: &Range<u64>) -> u64 {
    blocks.end.saturating_sub(blocks.start)
}

/// The part of a range that lies in another; empty if there is none.
pub(crate) fn within(blocks: &Range<u64>, bounds: &Range<u64>) -> Range<u64> {
    let start = blocks.start.max(bounds.start);
    start..blocks.end.min(bounds.end).max(start)
}

impl<'a> Runs<'a> {
    /// Puts a chart in order.
    pub(crate) fn of(chart: &'a Chart) -> Self {
        let mut stretches: Vec<&Stretch> = chart.stretches.iter().filter(|stretch| len(&stretch.blocks) > 0).collect();
        stretches.sort_by_key(|stretch| stretch.blocks.start);
        let mut runs = Self { all: Vec::new(), named_twice: 0, past_end: 0 };
        let mut at = 0;
        for Stretch { blocks, what } in stretches {
            let inside = within(blocks, &(0..chart.blocks));
            let own = within(&inside, &(at..chart.blocks));
            runs.past_end = runs.past_end.saturating_add(len(blocks) - len(&inside));
            runs.named_twice = runs.named_twice.saturating_add(len(&inside) - len(&own));
            if own.is_empty() {
                continue;
            }
            runs.push(Run { blocks: at..own.start, what: &What::Unknown, offset: 0 }, chart.block_size);
            at = own.end;
            let skipped = (own.start - blocks.start).saturating_mul(chart.block_size);
            let offset = what.part().map_or(0, |part| part.offset.saturating_add(skipped));
            runs.push(Run { blocks: own, what, offset }, chart.block_size);
        }
        runs.push(Run { blocks: at..chart.blocks, what: &What::Unknown, offset: 0 }, chart.block_size);
        runs
    }

    fn push(&mut self, run: Run<'a>, block_size: u64) {
        match self.all.last_mut() {
            _ if run.blocks.is_empty() => {}
            Some(last) if last.continues(&run, block_size) => last.blocks.end = run.blocks.end,
            _ => self.all.push(run),
        }
    }

    /// The runs that lie in each of some ranges, which come in order and do not overlap.
    pub(crate) fn cut<'r>(
        &'r self,
        ranges: impl Iterator<Item = Range<u64>> + 'r,
    ) -> impl Iterator<Item = (Range<u64>, &'r [Run<'a>])> + 'r {
        let mut first = 0;
        ranges.map(move |range| {
            first += self.all[first..].partition_point(|run| run.blocks.end <= range.start);
            let touched = self.all[first..].partition_point(|run| run.blocks.start < range.end);
            (range, &self.all[first..first + touched])
        })
    }
}

impl Run<'_> {
    /// Whether `next`, which lies right behind, could be one run with this one.
    fn continues(&self, next: &Run<'_>, block_size: u64) -> bool {
        let follows = self.offset.saturating_add(len(&self.blocks).saturating_mul(block_size)) == next.offset;
        match (self.what, next.what) {
            (What::File { of, unwritten }, What::File { of: next, unwritten: next_unwritten }) => {
                follows && of.id == next.id && unwritten == next_unwritten
            }
            (What::Parked { was, by }, What::Parked { was: next, by: next_by })
            | (What::Quarantined { was, by }, What::Quarantined { was: next, by: next_by }) => {
                follows && was.id == next.id && by == next_by
            }
            (one, other) => one == other,
        }
    }
}

impl What {
    /// The part of a file that it is, or was.
    pub(crate) fn part(&self) -> Option<&Part> {
        match self {
            Self::File { of: part, .. } | Self::Parked { was: part, .. } | Self::Quarantined { was: part, .. } => {
                Some(part)
            }
            Self::Meta(_) | Self::Free | Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: u64, offset: u64) -> Part {
        Part { name: format!("/{id}").into(), id, offset }
    }

    fn file(blocks: Range<u64>, id: u64, offset: u64) -> Stretch {
        Stretch { blocks, what: What::File { of: part(id, offset), unwritten: false } }
    }

    fn chart(blocks: u64, stretches: Vec<Stretch>) -> Chart {
        Chart { block_size: 10, blocks, stretches, ..Chart::default() }
    }

    fn told(runs: &Runs<'_>) -> Vec<(Range<u64>, Option<u64>, u64)> {
        runs.all.iter().map(|run| (run.blocks.clone(), run.what.part().map(|part| part.id), run.offset)).collect()
    }

    #[test]
    fn what_nobody_names_is_unknown_and_the_order_of_the_chart_does_not_matter() {
        let chart = chart(10, vec![file(6..8, 2, 0), file(1..4, 1, 50)]);
        let runs = Runs::of(&chart);
        let expected = [(0..1, None, 0), (1..4, Some(1), 50), (4..6, None, 0), (6..8, Some(2), 0), (8..10, None, 0)];
        assert_eq!(told(&runs), expected);
    }

    #[test]
    fn of_two_that_name_a_block_the_one_that_begins_first_has_it_and_it_is_counted() {
        let chart = chart(10, vec![file(0..6, 1, 0), file(4..10, 2, 100), file(1..2, 3, 0)]);
        let runs = Runs::of(&chart);
        assert_eq!(told(&runs), [(0..6, Some(1), 0), (6..10, Some(2), 120)]);
        assert_eq!((runs.named_twice, runs.past_end), (3, 0));
    }

    #[test]
    fn what_lies_past_the_end_is_cut_off_and_counted() {
        let chart = chart(4, vec![file(2..9, 1, 0), file(u64::MAX - 1..u64::MAX, 2, 0)]);
        let runs = Runs::of(&chart);
        assert_eq!(told(&runs), [(0..2, None, 0), (2..4, Some(1), 0)]);
        assert_eq!((runs.named_twice, runs.past_end), (0, 6));
    }

    #[test]
    fn pieces_that_follow_one_another_in_pool_and_file_are_one_run() {
        let chart = chart(8, vec![file(0..2, 1, 0), file(2..4, 1, 20), file(4..6, 1, 70), file(6..8, 2, 90)]);
        assert_eq!(told(&Runs::of(&chart)), [(0..4, Some(1), 0), (4..6, Some(1), 70), (6..8, Some(2), 90)]);
    }

    #[test]
    fn a_cut_finds_the_runs_that_it_touches() {
        let chart = chart(9, vec![file(0..2, 1, 0), file(2..6, 2, 0), file(6..9, 3, 0)]);
        let runs = Runs::of(&chart);
        let cut: Vec<_> = runs.cut([0..3, 3..6, 6..9].into_iter()).map(|(_, touched)| touched.len()).collect();
        assert_eq!(cut, [2, 1, 1]);
    }
}
