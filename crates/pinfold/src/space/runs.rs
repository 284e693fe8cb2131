//! Free runs, indexed twice: by start, and by (length, start). XFS keeps its free space so, in `bnobt` and `cntbt`.
//!
//! Stays true  F3: both indexes hold the same runs; none is empty, no two touch or overlap.
//! Who calls   `FreeSpace` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How many blocks a run has.
pub(super) fn len(run: &Range<u64>) -> u64 {
    run.end - run.start
}

/// Free runs of blocks, looked up by place or by length. Everything costs O(log n) in the number of runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Start to end.
    by_start: BTreeMap<u64, u64>,
    /// (length, start)
    by_len: BTreeSet<(u64, u64)>,
    /// How many runs were looked at or changed, for the tests that bound it.
    #[cfg(test)]
    pub(super) touched: std::cell::Cell<u64>,
}

impl Runs {
    /// All runs, in order of place.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.by_start.iter().map(|(start, end)| *start..*end)
    }

    /// What is free from `block` on: the rest of the run that it lies in.
    pub(super) fn at(&self, block: u64) -> Option<Range<u64>> {
        self.touch();
        let (_, end) = self.by_start.range(..=block).next_back()?;
        (block < *end).then_some(block..*end)
    }

    /// The runs that hold `len` blocks, shortest first; of equal ones the first in the pool.
    pub(super) fn holding(&self, len: u64) -> impl Iterator<Item = Range<u64>> {
        self.by_len.range((len, 0)..).map(|(len, start)| {
            self.touch();
            *start..start + len
        })
    }

    /// The longest run; of equal ones the last in the pool.
    pub(super) fn longest(&self) -> Option<Range<u64>> {
        self.touch();
        self.by_len.last().map(|(len, start)| *start..start + len)
    }

    /// Adds `part`, of which nothing is in here, and merges it with the runs that it touches.
    pub(super) fn add(&mut self, part: Range<u64>) {
        if part.is_empty() {
            return;
        }
        self.touch();
        let before = self.by_start.range(..part.end).next_back().map(|(start, end)| *start..*end);
        debug_assert!(before.as_ref().is_none_or(|run| run.end <= part.start), "{part:?} is free twice: {before:?}");
        let end = match self.by_start.remove(&part.end) {
            Some(end) => self.forget_len(part.end..end),
            None => part.end,
        };
        match before.filter(|run| run.end == part.start) {
            Some(run) => self.change_end(run, end),
            None => self.insert(part.start..end),
        }
    }

    /// Takes out `part`, which lies in one run. What is left of that run stays.
    pub(super) fn cut(&mut self, part: Range<u64>) {
        if part.is_empty() {
            return;
        }
        let found = self.by_start.range(..=part.start).next_back().map(|(start, end)| *start..*end);
        let Some(run) = found.filter(|run| part.end <= run.end) else {
            unreachable!("{part:?} is not in one free run");
        };
        if run.start < part.start {
            self.change_end(run.clone(), part.start);
        } else {
            self.by_start.remove(&run.start);
            self.forget_len(run.clone());
        }
        if part.end < run.end {
            self.insert(part.end..run.end);
        }
    }

    fn insert(&mut self, run: Range<u64>) {
        self.touch();
        self.by_start.insert(run.start, run.end);
        self.by_len.insert((len(&run), run.start));
    }

    /// Moves the end of `run`, which keeps its place in the index by start.
    fn change_end(&mut self, run: Range<u64>, end: u64) {
        self.touch();
        self.by_start.insert(run.start, end);
        self.by_len.insert((end - run.start, run.start));
        self.forget_len(run);
    }

    /// Takes `run` out of the index by length; returns its end.
    fn forget_len(&mut self, run: Range<u64>) -> u64 {
        self.touch();
        self.by_len.remove(&(len(&run), run.start));
        run.end
    }

    fn touch(&self) {
        #[cfg(test)]
        self.touched.update(|touched| touched + 1);
    }

    /// F3.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let by_len: BTreeSet<_> = self.iter().map(|run| (len(&run), run.start)).collect();
        assert_eq!(by_len, self.by_len, "F3: the indexes differ");
        assert!(self.iter().all(|run| run.start < run.end), "F3: an empty run");
        assert!(self.iter().zip(self.iter().skip(1)).all(|(run, next)| run.end < next.start), "F3: runs touch");
    }
}
