//! What last happened to a file: for whoever has to understand a violation.

use std::collections::VecDeque;
use std::fmt;

use super::legal::Time;
use crate::sectors::{SECTOR, Sectors};

/// So much is remembered of each file.
const EVENTS_MAX: usize = 256;
/// And so much of that is told.
const TOLD_MAX: usize = 24;

#[derive(Default)]
pub(super) struct History {
    events: VecDeque<Event>,
}

/// One step of a visit or an operation, which is named by the time at which it was called.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) at: Time,
    pub(super) of: Time,
    pub(super) what: &'static str,
    /// What it concerns.
    pub(super) sectors: Sectors,
    /// Whether blocks moved: then everything may come from elsewhere.
    pub(super) moves: bool,
    pub(super) generation: Option<u8>,
}

impl History {
    pub(super) fn note(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The last events that have to do with one sector.
    pub(super) fn of(&self, sector: usize) -> Vec<String> {
        let concern = |event: &&Event| event.moves || event.sectors.has(sector);
        let mut told: Vec<String> =
            self.events.iter().rev().filter(concern).take(TOLD_MAX).map(ToString::to_string).collect();
        told.reverse();
        told
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, of, what, sectors, generation, .. } = self;
        write!(f, "{at:6} {of:6} {what}")?;
        if let Some(generation) = generation {
            write!(f, ", generation {generation}")?;
        }
        let (first, last) =
            (sectors.iter().next().unwrap_or(0) as u64, sectors.iter().last().map_or(0, |s| s + 1) as u64);
        write!(f, ", bytes {}..{}", first * SECTOR, last * SECTOR)
    }
}
