//! Marks: what the owner says of single pins. It never clears a slot; it notes, on its own side, that a version of a
//! slot is void, or that it was recalled.
//!
//! Stays true  M1: a mark names (segment, slot, version), so it says nothing of the slot's next pin.
//!             M2: void marks are made by a proof or by an operator's decision, and by nothing else (G8).

use std::collections::HashMap;

use crate::sync::{AtomicU32, Mutex, Ordering, lock};

use super::header::{Growing, Header};
use super::segment::{Reading, Segment};

/// The mark was never used; nor were those after it.
pub(crate) const NEVER_USED: u64 = 0;
/// The pin counts no more.
pub(crate) const VOID: u64 = 1;
/// A break asked for the pin.
pub(crate) const RECALLED: u64 = 2;
/// The mark may be used again.
const FREED: u64 = 4;

/// One version of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PinKey {
    pub(crate) segment: u32,
    pub(crate) slot: u32,
    pub(crate) version: u64,
}

impl PinKey {
    pub(crate) fn of(segment: u32, pin: &Reading) -> Self {
        Self { segment, slot: pin.slot, version: pin.state.version() }
    }
}

/// The owner's marks, and their copy in the header.
#[derive(Default)]
pub(crate) struct Marks {
    table: Mutex<Table>,
    /// How many void marks there are: a scan without any takes no lock.
    voids: AtomicU32,
}

#[derive(Default)]
struct Table {
    marks: HashMap<PinKey, (u32, u64)>,
    free: Vec<u32>,
    fresh: u32,
}

impl Marks {
    pub(crate) fn is_void(&self, key: PinKey) -> bool {
        // ORDER: Acquire pairs with the Release in `set`. Who voids a pin rings its bell afterwards, so a break that
        // read 0 here looks again.
        self.voids.load(Ordering::Acquire) > 0 && self.has(key, VOID)
    }

    pub(crate) fn is_recalled(&self, key: PinKey) -> bool {
        self.has(key, RECALLED)
    }

    fn has(&self, key: PinKey, kind: u64) -> bool {
        lock(&self.table).marks.get(&key).is_some_and(|(_, kinds)| kinds & kind != 0)
    }

    /// Adds a mark; false if the table is full of pins that are still held.
    ///
    /// `segment_of` gives the segment at an index, to find out which marks have outlived their pins.
    pub(crate) fn set<'a>(
        &self,
        header: &Header,
        key: PinKey,
        kind: u64,
        segment_of: impl Fn(u32) -> Option<&'a Segment>,
    ) -> bool {
        let mut table = lock(&self.table);
        let index = match table.marks.get(&key) {
            Some((index, _)) => *index,
            None => match table.place(header, segment_of) {
                Some(index) => index,
                None => return false,
            },
        };
        let kinds = table.marks.entry(key).or_insert((index, 0));
        kinds.1 |= kind;
        let mark = header.void_mark(index);
        mark.segment.store(u64::from(key.segment), Ordering::Relaxed);
        mark.slot.store(u64::from(key.slot), Ordering::Relaxed);
        mark.version.store(key.version, Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire load in `RecallChore::wanted`.
        mark.used.store(kinds.1, Ordering::Release);
        let voids = table.marks.values().filter(|(_, kinds)| kinds & VOID != 0).count();
        self.voids.store(voids as u32, Ordering::Release);
        true
    }

    /// Forgets the marks of a segment whose pins are gone for good.
    pub(crate) fn forget_segment(&self, header: &Header, segment: u32) {
        lock(&self.table).retain(header, |key| key.segment != segment);
    }
}

impl Table {
    fn place<'a>(&mut self, header: &Header, segment_of: impl Fn(u32) -> Option<&'a Segment>) -> Option<u32> {
        let marks_max = header.geometry().voids_max;
        if self.free.is_empty() && self.fresh == marks_max {
            self.retain(header, |key| {
                let pin = segment_of(key.segment).and_then(|segment| segment.read(key.slot));
                pin.is_some_and(|pin| pin.state.version() == key.version)
            });
        }
        self.free.pop().or_else(|| {
            let fresh = self.fresh;
            (fresh < marks_max && header.allocate(Growing::Voids, fresh).is_ok()).then(|| {
                self.fresh += 1;
                fresh
            })
        })
    }

    fn retain(&mut self, header: &Header, keep: impl Fn(&PinKey) -> bool) {
        let free = &mut self.free;
        self.marks.retain(|key, (index, _)| {
            let kept = keep(key);
            if !kept {
                header.void_mark(*index).used.store(FREED, Ordering::Release);
                free.push(*index);
            }
            kept
        });
    }
}
