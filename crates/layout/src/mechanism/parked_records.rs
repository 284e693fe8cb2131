//! Records of parked extents in the header of a named area: what the next owner of this boot must know, since a device
//! may still reach those blocks when the owner is dead.
//!
//! Stays true  R1: a record is written while it is unused, and becomes used by one store, so none is ever torn.
//!             R2: it is there before the break that parked the extent opens its range, and until the extent is free.
//! Lock order  taken last, after the busy set.
//! Dead owner  the next one reads the records, and writes its own.

use crate::sync::Ordering;

use super::busy_extents::Extent;
use super::header::{FLAG_NAMED, Growing, Header, checksum};

/// What is recorded of one parked extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ParkedRecord {
    pub(crate) extent: Extent,
    pub(crate) generation: u64,
    pub(crate) commit: u64,
}

impl ParkedRecord {
    fn words(&self) -> [u64; 6] {
        let Extent { object, start, end, block } = self.extent;
        [object, start, end, block, self.generation, self.commit]
    }

    /// The record in the words of an entry; `Ok(None)` if it is unused, `Err` if it is damaged.
    pub(crate) fn read(words: [u64; 8]) -> Result<Option<Self>, Damaged> {
        let [used, object, start, end, block, generation, commit, sum] = words;
        let record = Self { extent: Extent { object, start, end, block }, generation, commit };
        let sound = sum == checksum(record.words()) && start < end && block.checked_add(end - start).is_some();
        match used {
            UNUSED => Ok(None),
            USED if sound => Ok(Some(record)),
            _ => Err(Damaged),
        }
    }
}

/// An entry does not have its checksum.
#[derive(Debug)]
pub(crate) struct Damaged;

const UNUSED: u64 = 0;
const USED: u64 = 1;

/// Which entries are in use.
#[derive(Default)]
pub(crate) struct ParkedRecords {
    free: Vec<u32>,
    fresh: u32,
}

impl ParkedRecords {
    /// Writes a record; `None` in an area without a name, and when all entries are in use, which is counted.
    pub(crate) fn keep(&mut self, header: &Header, record: &ParkedRecord) -> Option<u32> {
        if header.prologue().flags.load(Ordering::Relaxed) & FLAG_NAMED == 0 {
            return None;
        }
        let Some(index) = self.free.pop().or_else(|| self.fresh_entry(header)) else {
            header.prologue().parked_lost.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let entry = header.parked(index);
        let words = record.words();
        let to = [&entry.object, &entry.start, &entry.end, &entry.block, &entry.generation, &entry.commit];
        for (to, word) in to.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        entry.checksum.store(checksum(words), Ordering::Relaxed);
        // ORDER: Release; the next owner reads the entry after this process is dead, so it sees what came before.
        entry.used.store(USED, Ordering::Release);
        Some(index)
    }

    fn fresh_entry(&mut self, header: &Header) -> Option<u32> {
        let fresh = self.fresh;
        if fresh == header.geometry().parked_max || header.allocate(Growing::Parked, fresh).is_err() {
            return None;
        }
        self.fresh += 1;
        Some(fresh)
    }

    /// Forgets a record: its extent is free, or recorded in pieces.
    pub(crate) fn forget(&mut self, header: &Header, entry: &mut Option<u32>) {
        if let Some(index) = entry.take() {
            header.parked(index).used.store(UNUSED, Ordering::Release);
            self.free.push(index);
        }
    }
}
