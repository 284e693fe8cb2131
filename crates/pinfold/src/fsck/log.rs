//! The log, as a whole: the records that count, and what lies where none should.
//!
//! Stays true  N1: what counts is a run of whole records from the position that the superblock names.
//!             N2: a record that an owner appended while this was read is no hole: the end is looked at once more.
//!             N3: the mark is read before the ring: what it calls durable is there by then, if nothing is damaged.

use std::borrow::Cow;

use super::finding::Finding;
use super::report::Findings;
use crate::medium::log::{marked, places};
use crate::medium::record::{ALIGN, Claim, HEADER, RECORD_SHARE, Record, length};
use crate::medium::source::Source;
use crate::medium::superblock::{LOG_START, NUMBERS_END, Superblock};

/// How many times the log's length is looked through for records behind its end, so that no medium makes it last.
const LOOKED_THROUGH_MAX: u64 = 8;

/// The ring as it was at one moment.
pub(super) struct Log {
    superblock: Superblock,
    /// Up to where it was durable by then, as the mark has it.
    marked: Option<u64>,
    ring: Vec<u8>,
}

/// Records behind the end, of one opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Behind {
    /// The smallest position.
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Behind {
    fn add(behind: &mut Option<Self>, position: u64) {
        let so_far = behind.get_or_insert(Self { first: position, count: 0 });
        *so_far = Self { first: so_far.first.min(position), count: so_far.count + 1 };
    }
}

/// How the log ends.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct End {
    /// Something there says that it is a record, and is not whole.
    pub(super) torn: bool,
    /// Whole records of this opening behind it.
    pub(super) behind: Option<Behind>,
    /// How far the log was durable once, as they say or the mark does, where that is farther.
    pub(super) durable: Option<u64>,
    /// Records of a later opening, wherever they lie.
    pub(super) later: Option<Behind>,
}

impl Log {
    /// Reads the whole of it, or says why it could not be read.
    pub(super) fn read(source: &(impl Source + ?Sized), superblock: &Superblock) -> Result<Self, String> {
        let mut ring = vec![0; superblock.log_len as usize];
        // In this order (N3).
        let marked = marked(source, superblock).map_err(|error| error.to_string())?;
        source.read_at(LOG_START, &mut ring).map_err(|error| error.to_string())?;
        Ok(Self { superblock: superblock.clone(), marked, ring })
    }

    /// Calls `take` with each record that counts from `position` on; the position after the last one.
    pub(super) fn replay(&self, mut position: u64, mut take: impl FnMut(&Record<'_>)) -> u64 {
        loop {
            let bytes = self.claimed(position, self.superblock.epoch);
            let record = bytes.as_ref().and_then(|bytes| self.record(bytes, self.superblock.epoch));
            let Some(record) = record.filter(|record| !record.is_seal()) else { return position };
            take(&record);
            position = record.end;
        }
    }

    /// Looks at the end, and behind it.
    pub(super) fn end(&self, end: u64) -> End {
        let epoch = self.superblock.epoch;
        let at_end = self.claimed(end, epoch);
        let sealed = at_end.as_ref().is_some_and(|bytes| self.record(bytes, epoch).is_some());
        let durable = self.marked.filter(|marked| *marked > end);
        let mut found = End { torn: at_end.is_some() && !sealed, durable, ..End::default() };
        let mut budget = self.superblock.log_len * LOOKED_THROUGH_MAX;
        for place in (0..self.superblock.log_len).step_by(ALIGN as usize) {
            let Some(claim) = self.claim_at(place).filter(|claim| self.can_be(claim, place)) else { continue };
            let epoch = self.full_epoch(claim.epoch);
            // Where the end is a seal, nothing of this opening lies behind it.
            if epoch < self.superblock.epoch || (epoch == self.superblock.epoch && (sealed || claim.position < end)) {
                continue;
            }
            budget = budget.saturating_sub(claim.len);
            if budget == 0 {
                break;
            }
            let Some(bytes) = self.at(claim.position, claim.len) else { continue };
            let Some(record) = self.record(&bytes, epoch) else { continue };
            if epoch > self.superblock.epoch {
                Behind::add(&mut found.later, record.position);
                continue;
            }
            if !record.is_seal() {
                Behind::add(&mut found.behind, record.position);
            }
            if record.durable > end {
                found.durable = found.durable.max(Some(record.durable));
            }
        }
        found
    }

    /// What is wrong with the end.
    pub(super) fn check_end(&self, end: u64, findings: &mut Findings) {
        let End { torn, behind, durable, later } = self.end(end);
        if let Some(Behind { first, count }) = later {
            findings.add(Finding::LaterOpening { end, first, count });
        }
        match (durable, behind) {
            (Some(durable), _) => findings.add(Finding::LogDamaged { end, durable }),
            (None, Some(Behind { first, count })) => findings.add(Finding::RecordsBehind { end, first, count }),
            (None, None) if torn => findings.add(Finding::TornTail { position: end }),
            (None, None) => {}
        }
    }

    /// The bytes of what says that it is a record or a seal of an opening, at a position.
    fn claimed(&self, position: u64, epoch: u64) -> Option<Cow<'_, [u8]>> {
        let lap = self.superblock.replay_from + self.superblock.log_len;
        let room = lap.saturating_sub(position).min(self.superblock.log_len / RECORD_SHARE);
        let header = self.at(position, HEADER as u64)?;
        let len = length(&header, position, epoch).filter(|len| *len <= room)?;
        self.at(position, len)
    }

    fn record<'b>(&self, bytes: &'b [u8], epoch: u64) -> Option<Record<'b>> {
        Record::check(bytes, &self.superblock.pool, epoch)
    }

    /// Bytes from a position on; `None` if the ring is not that long.
    fn at(&self, position: u64, len: u64) -> Option<Cow<'_, [u8]>> {
        if len > self.superblock.log_len {
            return None;
        }
        let [first, second] = places(&self.superblock, position, len).map(|place| {
            let at = |byte: u64| (byte - LOG_START) as usize;
            &self.ring[at(place.start)..at(place.end)]
        });
        Some(if second.is_empty() { first.into() } else { [first, second].concat().into() })
    }

    fn claim_at(&self, place: u64) -> Option<Claim> {
        let start = place as usize;
        match self.ring.get(start..start + HEADER) {
            Some(header) => Claim::of(header),
            None => Claim::of(&self.at(place, HEADER as u64)?),
        }
    }

    fn can_be(&self, claim: &Claim, place: u64) -> bool {
        claim.position < NUMBERS_END
            && claim.position % self.superblock.log_len == place
            && claim.len <= self.superblock.log_len / RECORD_SHARE
    }

    /// The whole of an epoch, of which only the lower half is known: the nearest to that of the superblock.
    fn full_epoch(&self, low: u32) -> u64 {
        let ours = self.superblock.epoch;
        let ahead = low.wrapping_sub(ours as u32) as i32;
        ours.saturating_add_signed(i64::from(ahead))
    }
}
