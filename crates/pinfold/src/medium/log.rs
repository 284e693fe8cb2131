//! The log as it is read: from the position that the superblock names, record by record, until one is not whole.
//!
//! Behind that nothing counts. A record that was torn, or that never came to the medium, hides all that followed it: what
//! was made durable lies before it.

use std::io;
use std::ops::Range;

use super::record::{HEADER, Record, length};
use super::source::Source;
use super::superblock::{LOG_START, Superblock};

/// How much is read at a time, in bytes.
const STEP: u64 = 256 << 10;

/// Calls `take` with each record in order; the position after the last one.
pub(crate) fn replay<E: From<io::Error>>(
    source: &(impl Source + ?Sized),
    superblock: &Superblock,
    mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut window = Window { source, superblock, bytes: Vec::new(), start: superblock.replay_from };
    let mut position = superblock.replay_from;
    // One lap at most: by then a position can only be that of a record which was overwritten.
    let end = position + superblock.log_len;
    loop {
        let header = window.at(position, HEADER as u64)?;
        let len = header.and_then(|header| length(header, position, superblock.epoch));
        let Some(len) = len.filter(|len| position + len <= end) else { return Ok(position) };
        let record = window.at(position, len)?.and_then(|bytes| Record::check(bytes, &superblock.pool));
        let Some(record) = record else { return Ok(position) };
        take(&record)?;
        position += len;
    }
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

impl<S: Source + ?Sized> Window<'_, S> {
    /// `len` bytes from a position on, which only grows; `None` if the log is not that long.
    fn at(&mut self, position: u64, len: u64) -> io::Result<Option<&[u8]>> {
        if len > self.superblock.log_len {
            return Ok(None);
        }
        let have = self.start + self.bytes.len() as u64;
        if position + len > have {
            self.bytes.drain(..(position - self.start) as usize);
            self.start = position;
            self.read_on((position + len - have).max(STEP))?;
        }
        let from = (position - self.start) as usize;
        Ok(self.bytes.get(from..from + len as usize))
    }

    /// Reads the next bytes, up to one lap.
    fn read_on(&mut self, wanted: u64) -> io::Result<()> {
        let have = self.bytes.len() as u64;
        let more = wanted.min(self.superblock.log_len - have);
        self.bytes.resize((have + more) as usize, 0);
        let mut to = &mut self.bytes[have as usize..];
        for place in places(self.superblock, self.start + have, more) {
            let (now, later) = to.split_at_mut((place.end - place.start) as usize);
            self.source.read_at(place.start, now)?;
            to = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Draft, Entry};
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

        fn append(&mut self, node: u64) {
            let mut draft = Draft::new();
            draft.add(Entry::Touch { node });
            let bytes = draft.seal(&self.superblock.pool, self.end, self.superblock.epoch, 0);
            let mut from = &bytes[..];
            for place in places(&self.superblock, self.end, bytes.len() as u64) {
                let (now, later) = from.split_at((place.end - place.start) as usize);
                self.medium[place.start as usize..place.end as usize].copy_from_slice(now);
                from = later;
            }
            self.end += bytes.len() as u64;
        }

        fn replayed(&self) -> (Vec<u64>, u64) {
            let mut nodes = Vec::new();
            let end = replay(&self.medium, &self.superblock, |record| -> io::Result<()> {
                for entry in record.entries() {
                    let Ok(Entry::Touch { node }) = entry else { panic!("{entry:?}") };
                    nodes.push(node);
                }
                Ok(())
            });
            (nodes, end.unwrap())
        }
    }

    #[test]
    fn records_are_replayed_over_the_end_of_the_ring() {
        let mut log = Written::from(0);
        let start = log.superblock.log_len * 3 - 72;
        log.superblock.replay_from = start;
        log.end = start;
        (0..1000).for_each(|node| log.append(node));
        assert_eq!(log.replayed(), ((0..1000).collect(), log.end));
    }

    #[test]
    fn what_follows_a_torn_record_does_not_count() {
        let mut log = Written::from(4096);
        (0..3).for_each(|node| log.append(node));
        let before = log.end;
        (3..6).for_each(|node| log.append(node));
        log.medium[(LOG_START + before + 33) as usize] ^= 1;
        assert_eq!(log.replayed(), (vec![0, 1, 2], before));
    }

    #[test]
    fn records_of_a_former_epoch_or_lap_do_not_count() {
        let mut log = Written::from(0);
        log.append(1);
        let lap = log.superblock.log_len;
        log.superblock.replay_from = lap;
        assert_eq!(log.replayed(), (vec![], lap));
        log.superblock.replay_from = 0;
        log.superblock.epoch = 6;
        assert_eq!(log.replayed(), (vec![], 0));
    }

    #[test]
    fn a_full_ring_ends() {
        let mut log = Written::from(0);
        let record = 40;
        while log.end + record <= log.superblock.log_len {
            log.append(0);
        }
        assert!(log.end > record * 6000, "a record is that long");
        assert_eq!(log.replayed().1, log.end);
    }
}
