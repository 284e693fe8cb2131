//! Records of parked extents in the header of a named area: what the next owner of this boot must know, since a device
//! may still reach those blocks when the owner is dead.
//!
//! Stays true  R1: a record is written while it is unused, and becomes used by one store, so none is ever torn.
//!             R2: it is there before the break that parked the extent opens its range, and until the extent is free.
//!             R3: where pins keep only parts of an extent, their records are written before its own is forgotten, and it is
//!                 forgotten before the rest goes to the allocator. So where both are found, the extent is still whole.
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

    /// Whether `other` was written of a part of this extent, or of all of it.
    fn has_part(&self, other: &Self) -> bool {
        let (here, there) = (&self.extent, &other.extent);
        (self.commit, self.generation) == (other.commit, other.generation)
            && here.shows_same_blocks_as(there)
            && here.start <= there.start
            && there.end <= here.end
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

/// The records without those of parts of another one's extent (R3). Each block is then in one record, or a block that was
/// parked twice would be given away for the one that no pin keeps (B1).
pub(crate) fn whole_ones(mut records: Vec<ParkedRecord>) -> Vec<ParkedRecord> {
    records.sort_by_key(|of| (of.commit, of.extent.object, of.generation, of.extent.start, u64::MAX - of.extent.end));
    let mut whole: Vec<ParkedRecord> = Vec::with_capacity(records.len());
    for record in records {
        if !whole.last().is_some_and(|last| last.has_part(&record)) {
            whole.push(record);
        }
    }
    whole
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(commit: u64, start: u64, end: u64, block: u64) -> ParkedRecord {
        ParkedRecord { extent: Extent { object: 7, start, end, block }, generation: commit, commit }
    }

    #[test]
    fn g1_an_owner_killed_in_the_middle_of_a_reap_leaves_each_block_parked_once() {
        let whole = record(5, 3, 7, 103);
        let (first, last) = (record(5, 3, 4, 103), record(5, 6, 7, 106));
        assert_eq!(whole_ones(vec![first, whole, last]), [whole], "its own record was not forgotten yet");
        assert_eq!(whole_ones(vec![last, first]), [first, last], "it was");
        let (other_blocks, younger) = (record(5, 3, 4, 900), record(6, 3, 4, 103));
        assert_eq!(whole_ones(vec![whole, other_blocks, younger]), [whole, other_blocks, younger]);
    }
}
