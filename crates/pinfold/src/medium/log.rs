//! The log as it is read: from the position that the superblock names, record by record, until one is not whole.
//!
//! Behind that nothing counts. A record that was torn, or that never came to the medium, hides all that followed it: what
//! was made durable lies before it. But a record that *was* durable and is not whole now is damaged, and to end there would
//! lose what was synced without a word. What lies behind it tells the two apart: each record, and each seal, carries how
//! far the log was durable when it was appended. So does the *mark*, a copy of the last seal in another place. See
//! [`reached_behind`].
//!
//! Stays true  W1: all of the log before a position that a record or seal of this opening calls durable was whole on the
//!                 medium when that was appended.
//!             W2: where the end of the log is a seal, nothing lies behind it: what is appended next takes its place.

use std::io;
use std::ops::Range;

use super::record::{ALIGN, HEADER, POSITION_AT, RECORD_SHARE, Record, length};
use super::source::Source;
use super::superblock::{LOG_START, MARK, Superblock};

/// How much is read at a time, in bytes.
const STEP: u64 = 256 << 10;

/// Calls `take` with each record from a position on, in order; the position after the last one.
pub(crate) fn replay<E: From<io::Error>>(
    source: &(impl Source + ?Sized),
    superblock: &Superblock,
    from: u64,
    mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut window = Window::new(source, superblock, from);
    let mut position = from;
    loop {
        match window.record(position)? {
            Some(record) if !record.is_seal() => {
                take(&record)?;
                position = record.end;
            }
            _ => return Ok(position),
        }
    }
}

/// Looks behind the `end` of the log for what was appended when more of it was durable: up to where. Then the record at
/// `end` was durable once and is damaged. (Or else it was appended just now, by an owner who works on the pool: who finds
/// it whole when he looks again goes on from there.)
pub(crate) fn reached_behind(
    source: &(impl Source + ?Sized),
    superblock: &Superblock,
    end: u64,
) -> io::Result<Option<u64>> {
    if let Some(reached) = marked(source, superblock)?.filter(|reached| *reached > end) {
        return Ok(Some(reached));
    }
    let mut window = Window::new(source, superblock, end);
    if window.record(end)?.is_some() {
        // W2.
        return Ok(None);
    }
    let mut position = end;
    while let Some(found) = window.next_header(position)? {
        if let Some(reached) = window.record(found)?.map(|record| record.durable).filter(|durable| *durable > end) {
            return Ok(Some(reached));
        }
        position = found + ALIGN;
    }
    Ok(None)
}

/// Whether there is nothing to replay, and nothing is amiss.
pub(crate) fn is_empty(source: &(impl Source + ?Sized), superblock: &Superblock) -> io::Result<bool> {
    let from = superblock.replay_from;
    let end = replay(source, superblock, from, |_| Err(Found::Record));
    match end {
        Err(Found::Record) => Ok(false),
        Err(Found::Failure(error)) => Err(error),
        Ok(end) => Ok(reached_behind(source, superblock, end)?.is_none()),
    }
}

/// What ends a look for the first record.
enum Found {
    Record,
    Failure(io::Error),
}

impl From<io::Error> for Found {
    fn from(error: io::Error) -> Self {
        Self::Failure(error)
    }
}

/// Up to where the log was durable, as the mark has it.
pub(crate) fn marked(source: &(impl Source + ?Sized), superblock: &Superblock) -> io::Result<Option<u64>> {
    let mut bytes = [0; HEADER];
    source.read_at(MARK, &mut bytes)?;
    let mark = Record::check(&bytes, &superblock.pool, superblock.epoch);
    Ok(mark.map(|mark| mark.durable))
}

/// The bytes of a part of the log, in the order of positions; one piece, or two around the end of the ring.
pub(crate) fn places(superblock: &Superblock, position: u64, len: u64) -> [Range<u64>; 2] {
    places_in(superblock.log_len, position, len)
}

/// As [`places`], by the length of the log.
pub(crate) fn places_in(log_len: u64, position: u64, len: u64) -> [Range<u64>; 2] {
    let start = position % log_len;
    let first = len.min(log_len - start);
    let rest = len - first;
    [LOG_START + start..LOG_START + start + first, LOG_START..LOG_START + rest]
}

/// What was read of the log.
struct Window<'s, S: ?Sized> {
    source: &'s S,
    superblock: &'s Superblock,
    bytes: Vec<u8>,
    /// The position of the first.
    start: u64,
}

impl<'s, S: Source + ?Sized> Window<'s, S> {
    fn new(source: &'s S, superblock: &'s Superblock, start: u64) -> Self {
        Self { source, superblock, bytes: Vec::new(), start }
    }

    /// One lap at most: by then a position can only be that of a record which was overwritten.
    fn end(&self) -> u64 {
        self.superblock.replay_from + self.superblock.log_len
    }

    /// The record or seal at a position, if there is a whole one.
    fn record(&mut self, position: u64) -> io::Result<Option<Record<'_>>> {
        let Superblock { pool, epoch, log_len, .. } = *self.superblock;
        let room = self.end().saturating_sub(position).min(log_len / RECORD_SHARE);
        let header = self.at(position, HEADER as u64)?;
        let len = header.and_then(|header| length(header, position, epoch)).filter(|len| *len <= room);
        let Some(len) = len else { return Ok(None) };
        Ok(self.at(position, len)?.and_then(|bytes| Record::check(bytes, &pool, epoch)))
    }

    /// The next position from `from` on at which a header may lie: one that says so.
    fn next_header(&mut self, from: u64) -> io::Result<Option<u64>> {
        let (mut position, end) = (from, self.end());
        while position + HEADER as u64 <= end {
            if self.at(position, HEADER as u64)?.is_none() {
                return Ok(None);
            }
            let loaded = &self.bytes[(position - self.start) as usize..];
            // Whole headers only; the rest comes with the next step.
            let positions = &loaded[POSITION_AT..loaded.len() - (HEADER - POSITION_AT - ALIGN as usize)];
            let mut here = (position..end).step_by(ALIGN as usize).zip(positions.chunks_exact(ALIGN as usize));
            if let Some((found, _)) = here.find(|(at, word)| at.to_le_bytes() == **word) {
                return Ok(Some(found));
            }
            position += positions.len() as u64;
        }
        Ok(None)
    }

    /// `len` bytes from a position on, which only grows; `None` if the log is not that long.
    fn at(&mut self, position: u64, len: u64) -> io::Result<Option<&[u8]>> {
        if len > self.superblock.log_len {
            return Ok(None);
        }
        let have = self.start + self.bytes.len() as u64;
        if position + len > have {
            self.read_on(position, (position + len - have).max(STEP))?;
        }
        let from = (position - self.start) as usize;
        Ok(self.bytes.get(from..from + len as usize))
    }

    /// Forgets what comes before a position, and reads the next bytes, up to one lap.
    fn read_on(&mut self, position: u64, wanted: u64) -> io::Result<()> {
        let kept = &self.bytes[(position - self.start) as usize..];
        let have = kept.len() as u64;
        let more = wanted.min(self.superblock.log_len - have);
        let mut bytes = vec![0; (have + more) as usize];
        let (before, mut to) = bytes.split_at_mut(kept.len());
        before.copy_from_slice(kept);
        for place in places(self.superblock, position + have, more) {
            let (now, later) = to.split_at_mut((place.end - place.start) as usize);
            self.source.read_at(place.start, now)?;
            to = later;
        }
        (self.bytes, self.start) = (bytes, position);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Draft, Entry, Stamp};
    use super::super::superblock::POOL_BYTES_MIN;
    use super::*;
    use crate::units::BlockSize;

    struct Written {
        superblock: Superblock,
        medium: Vec<u8>,
        end: u64,
    }

    impl Written {
        fn from(replay_from: u64) -> Self {
            let new = Superblock::new([1; 16], POOL_BYTES_MIN, BlockSize::new(4096).unwrap());
            let superblock = Superblock { replay_from, epoch: 5, ..new };
            Self { superblock, medium: vec![0; POOL_BYTES_MIN as usize], end: replay_from }
        }

        /// Appends a record, when the log is durable up to a position.
        fn append(&mut self, node: u64, durable: u64) {
            let mut draft = Draft::new(0);
            draft.add(Entry::Touch { node });
            let bytes = draft.stamped(&self.stamp(durable));
            self.put(self.end, &bytes);
            self.end += bytes.len() as u64;
        }

        fn seal(&mut self, durable: u64) {
            let bytes = self.stamp(durable).seal();
            self.put(self.end, &bytes);
        }

        fn stamp(&self, durable: u64) -> Stamp<'static> {
            Stamp { pool: &[1; 16], epoch: self.superblock.epoch, position: self.end, durable, time: 0 }
        }

        fn put(&mut self, position: u64, bytes: &[u8]) {
            let mut from = bytes;
            for place in places(&self.superblock, position, bytes.len() as u64) {
                let (now, later) = from.split_at((place.end - place.start) as usize);
                self.medium[place.start as usize..place.end as usize].copy_from_slice(now);
                from = later;
            }
        }

        /// Damages the byte at a position.
        fn rot(&mut self, position: u64) {
            let [place, _] = places(&self.superblock, position, 1);
            self.medium[place.start as usize] ^= 1;
        }

        fn replayed(&self) -> (Vec<u64>, u64) {
            let mut nodes = Vec::new();
            let end = replay(&self.medium, &self.superblock, self.superblock.replay_from, |record| -> io::Result<()> {
                for entry in record.entries() {
                    let Ok(Entry::Touch { node }) = entry else { panic!("{entry:?}") };
                    nodes.push(node);
                }
                Ok(())
            });
            (nodes, end.unwrap())
        }

        fn reached(&self, end: u64) -> Option<u64> {
            reached_behind(&self.medium, &self.superblock, end).unwrap()
        }
    }

    #[test]
    fn records_are_replayed_over_the_end_of_the_ring() {
        let mut log = Written::from(0);
        let start = log.superblock.log_len * 3 - 72;
        log.superblock.replay_from = start;
        log.end = start;
        (0..1000).for_each(|node| log.append(node, start));
        assert_eq!(log.replayed(), ((0..1000).collect(), log.end));
        assert_eq!(log.reached(log.end), None);
    }

    #[test]
    fn what_follows_a_torn_record_does_not_count() {
        let mut log = Written::from(4096);
        (0..3).for_each(|node| log.append(node, 4096));
        let before = log.end;
        (3..6).for_each(|node| log.append(node, before));
        log.rot(before + 33);
        assert_eq!(log.replayed(), (vec![0, 1, 2], before));
        assert_eq!(log.reached(before), None, "it was not durable: power went");
    }

    #[test]
    fn a_record_that_was_durable_and_is_not_whole_is_damaged() {
        let mut log = Written::from(4096);
        log.append(0, 4096);
        let second = log.end;
        log.append(1, 4096);
        let durable = log.end;
        log.append(2, durable);
        log.rot(second + 20);
        assert_eq!(log.replayed(), (vec![0], second));
        assert_eq!(log.reached(second), Some(durable));
    }

    #[test]
    fn a_seal_guards_what_nothing_follows_and_is_overwritten() {
        let mut log = Written::from(4096);
        log.append(0, 4096);
        log.seal(log.end);
        assert_eq!(log.replayed(), (vec![0], log.end), "it is no record");
        let (first, sealed) = (4096, log.end);
        log.rot(first + 20);
        assert_eq!((log.replayed(), log.reached(first)), ((vec![], first), Some(sealed)));
        log.rot(first + 20);
        log.append(1, 4096);
        assert_eq!(log.replayed(), (vec![0, 1], log.end));
    }

    #[test]
    fn damage_is_found_over_the_end_of_the_ring_and_one_lap_far() {
        let mut log = Written::from(0);
        let start = log.superblock.log_len - 40;
        (log.superblock.replay_from, log.end) = (start, start);
        log.append(0, start);
        let durable = log.end;
        while log.end + 40 + HEADER as u64 <= start + log.superblock.log_len {
            log.append(1, start);
        }
        log.seal(durable);
        log.rot(start + 9);
        assert_eq!((log.replayed(), log.reached(start)), ((vec![], start), Some(durable)));
    }

    #[test]
    fn records_of_a_former_epoch_or_lap_do_not_count() {
        let mut log = Written::from(0);
        log.append(1, 0);
        let durable = log.end;
        log.append(2, durable);
        let lap = log.superblock.log_len;
        log.superblock.replay_from = lap;
        assert_eq!((log.replayed(), log.reached(lap)), ((vec![], lap), None));
        log.superblock.replay_from = 0;
        for epoch in [6, 5 + (1 << 32)] {
            log.superblock.epoch = epoch;
            assert_eq!((log.replayed(), log.reached(0)), ((vec![], 0), None));
        }
    }

    #[test]
    fn a_full_ring_ends() {
        let mut log = Written::from(0);
        let record = 40;
        while log.end + record <= log.superblock.log_len {
            log.append(0, 0);
        }
        assert!(log.end > record * 6000, "a record is that long");
        assert_eq!(log.replayed().1, log.end);
        assert_eq!(log.reached(log.end), None);
    }
}
