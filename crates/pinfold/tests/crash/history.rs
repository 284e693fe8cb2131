//! What was done, operation by operation: names, lengths and bytes after each, and what of it was synced.
//!
//! A file's bytes are told by sectors of 512 bytes, each full of one number: that of the operation which wrote it, or 0.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) const SECTOR: u64 = 512;

/// A file of the model, whatever its names.
pub(crate) type Id = usize;

/// What there was after an operation.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Directories have no file.
    pub(crate) names: BTreeMap<String, Option<Id>>,
    /// Lengths in bytes.
    pub(crate) lens: BTreeMap<Id, u64>,
    /// The mode and the extended attribute `user.mark`, if they were set.
    pub(crate) marks: BTreeMap<Id, Mark>,
}

/// What is set of a file's attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) mode: Option<u32>,
    pub(crate) extended: Option<u32>,
}

/// What happened to one sector since it was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was written in place, or in a new block.
    Write(u32),
    /// It became zeros with the layout: what it held before comes back under no condition.
    Reset,
}

/// What is known of a file's bytes.
#[derive(Clone, Default, Debug)]
pub(crate) struct Bytes {
    /// As they are now, sector by sector.
    pub(crate) now: Vec<u32>,
    /// As they were synced.
    pub(crate) synced: Vec<u32>,
    /// By sector, with the operation's number.
    pub(crate) events: BTreeMap<usize, Vec<(usize, Event)>>,
    /// Blocks were moved since it was synced: of a sector no more is known than that it is one of these.
    pub(crate) mixed: Option<BTreeSet<u32>>,
}

/// Everything.
#[derive(Clone, Default, Debug)]
pub(crate) struct History {
    /// After each operation; the first is of the empty pool.
    pub(crate) states: Vec<State>,
    /// The operation up to which all records are durable.
    pub(crate) synced: usize,
    pub(crate) bytes: BTreeMap<Id, Bytes>,
}

impl Bytes {
    fn sector_mut(&mut self, sector: usize) -> &mut u32 {
        if self.now.len() <= sector {
            self.now.resize(sector + 1, 0);
        }
        &mut self.now[sector]
    }

    pub(crate) fn value(&self, sector: usize) -> u32 {
        self.now.get(sector).copied().unwrap_or(0)
    }

    pub(crate) fn note(&mut self, now: usize, sector: usize, event: Event) {
        *self.sector_mut(sector) = match event {
            Event::Write(value) => value,
            Event::Reset => 0,
        };
        self.events.entry(sector).or_default().push((now, event));
        if let (Some(mixed), Event::Write(value)) = (&mut self.mixed, event) {
            mixed.insert(value);
        }
    }

    /// All that its sectors may hold.
    pub(crate) fn all_values(&self) -> BTreeSet<u32> {
        let written = self.events.values().flatten().map(|(_, event)| match event {
            Event::Write(value) => *value,
            Event::Reset => 0,
        });
        let mixed = self.mixed.iter().flatten().copied();
        written.chain(mixed).chain(self.now.iter().copied()).chain(self.synced.iter().copied()).chain([0]).collect()
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.now.clone();
        self.events.clear();
        self.mixed = None;
    }

    /// Whether a sector may hold `value` after a crash, if all operations up to `prefix` are there.
    pub(crate) fn may_be(&self, sector: usize, value: u32, prefix: usize) -> bool {
        if let Some(mixed) = &self.mixed {
            return value == 0 || mixed.contains(&value);
        }
        let events = self.events.get(&sector).map_or(&[][..], Vec::as_slice);
        let reset = events.iter().rposition(|(at, event)| *event == Event::Reset && *at <= prefix);
        let since = &events[reset.map_or(0, |reset| reset + 1)..];
        let first = match reset {
            Some(_) => 0,
            None => self.synced.get(sector).copied().unwrap_or(0),
        };
        // What was taken out of the layout later may have been zeroed in place already.
        let zeroed = since.iter().any(|(_, event)| *event == Event::Reset);
        value == first || (zeroed && value == 0) || since.iter().any(|(_, event)| *event == Event::Write(value))
    }
}

impl History {
    /// The number of the next operation, or of the one under way.
    pub(crate) fn now(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn last(&self) -> State {
        self.states.last().cloned().unwrap_or_default()
    }
}
