//! Runs by their first file block. Most files have one: it lies here, and no tree on the heap.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Run;

/// An ordered map of runs.
#[derive(Default, Clone, Debug)]
pub(super) enum ByPlace {
    #[default]
    Empty,
    One(u64, Run),
    Many(BTreeMap<u64, Run>),
}

impl ByPlace {
    /// From runs that are in order.
    pub(super) fn from_runs(runs: Vec<(u64, Run)>) -> Self {
        match runs[..] {
            [] => Self::Empty,
            [(at, run)] => Self::One(at, run),
            _ => Self::Many(runs.into_iter().collect()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(runs) => runs.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Run)> + '_ {
        self.from(0)
    }

    /// Those that begin at `at` or later, in order.
    pub(super) fn from(&self, at: u64) -> impl Iterator<Item = (u64, Run)> + '_ {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(start, run) => (Some((*start, *run)).filter(|(start, _)| *start >= at), None),
            Self::Many(runs) => (None, Some(runs.range(at..).map(|(at, run)| (*at, *run)))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<(u64, Run)> {
        self.last_in(Bound::Unbounded)
    }

    /// The last one that begins before `at`.
    pub(super) fn before(&self, at: u64) -> Option<(u64, Run)> {
        self.last_in(Bound::Excluded(at))
    }

    /// The last one that begins at `at` or before.
    #[inline]
    pub(super) fn at_or_before(&self, at: u64) -> Option<(u64, Run)> {
        self.last_in(Bound::Included(at))
    }

    #[inline]
    fn last_in(&self, end: Bound<u64>) -> Option<(u64, Run)> {
        let reaches = |start: u64| match end {
            Bound::Included(at) => start <= at,
            Bound::Excluded(at) => start < at,
            Bound::Unbounded => true,
        };
        match self {
            Self::Empty => None,
            Self::One(start, run) => reaches(*start).then_some((*start, *run)),
            Self::Many(runs) => runs.range((Bound::Unbounded, end)).next_back().map(|(at, run)| (*at, *run)),
        }
    }

    pub(super) fn get(&self, at: u64) -> Option<Run> {
        self.at_or_before(at).filter(|(start, _)| *start == at).map(|(_, run)| run)
    }

    /// Puts a run at its place, or another in the place of one.
    pub(super) fn insert(&mut self, at: u64, run: Run) {
        match self {
            Self::Empty => *self = Self::One(at, run),
            Self::One(start, here) if *start == at => *here = run,
            Self::One(start, here) => *self = Self::Many(BTreeMap::from([(*start, *here), (at, run)])),
            Self::Many(runs) => {
                runs.insert(at, run);
            }
        }
    }

    pub(super) fn remove(&mut self, at: u64) -> Option<Run> {
        match self {
            Self::Empty => None,
            Self::One(start, run) => {
                let run = (*start == at).then_some(*run)?;
                *self = Self::Empty;
                Some(run)
            }
            Self::Many(runs) => runs.remove(&at),
        }
    }

    /// Takes out those that begin at `from` or later, in order.
    pub(super) fn split_off(&mut self, from: u64) -> Vec<(u64, Run)> {
        match self {
            Self::Many(runs) => runs.split_off(&from).into_iter().collect(),
            _ => {
                let moved: Vec<_> = self.from(from).collect();
                for (at, _) in &moved {
                    self.remove(*at);
                }
                moved
            }
        }
    }
}
