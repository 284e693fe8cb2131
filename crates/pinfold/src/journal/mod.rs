//! The journal: how what changes in memory comes to the medium.
//!
//! A change is prepared first (its record is drafted, and there is room for it in the log), then made, and appended while
//! the lock of what it changes is still held: so the order of records is the order of changes. Appended is not durable:
//! that takes a flush ([`Journal::flush`]), which many share. When the log fills, a checkpoint is taken beside the work.
//!
//! A pool without a medium has no journal. All of this does nothing then.
//!
//! Stays true  J1: a record lies in the region when `append` returns. So what a process appended outlives it, whether it was
//!                 flushed or not: above all the blocks that a device's pin resolved to.
//!             J2: what left a file under a pin is on record in the layout area before the log says so: `commit` parks
//!                 with the log locked, then appends.
//!             J3: blocks come back to the allocator only when the record that freed them is durable (G9).
//!             J4: a block counts as written on the medium only after its bytes are durable (G10). Until then it is
//!                 `Filled` here and set aside there.
//!             J5: whoever waits for room in the log has no directory and no map locked: a checkpoint looks at all of them.
//!             J6: a flush that failed is the last one: nothing is changed after it.
//!             J7: what a record or a seal calls durable is durable when it is written: who reads the log can tell a record
//!                 that was torn from one that is damaged. A seal is written where the next record comes, and in the mark.
//!                 Neither is flushed.
//! Lock order  directories or a map; `tail`; the layout's; nothing of ours. `flushing` is taken with none of these.
//! A crash     leaves a log that ends at its first torn record. What was flushed lies before it.

mod capture;
mod checkpointing;
mod keeper;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pinfold_layout::{CommitId, Extent, Idle};
use pinfold_region::{Durability, Region};

use crate::error::JournalError;
use crate::lock::lock;
use crate::medium::log::places_in;
use crate::medium::record::{Draft, Entry, HEADER, RECORD_SHARE, Stamp};
use crate::medium::superblock::{MARK, Superblock};
use crate::node::now;

pub(crate) use checkpointing::spare;
pub(crate) use keeper::Keeper;

/// A checkpoint is wanted when one part in that many of the log is used.
const CHECKPOINT_SHARE: u64 = 2;

/// The way to the medium, where a pool has one.
#[derive(Default)]
pub(crate) struct Journal {
    live: Option<Arc<Live>>,
}

struct Live {
    pool: [u8; 16],
    epoch: u64,
    log_len: u64,
    /// Whether what lies in the region is as durable as it will ever be.
    volatile: bool,
    tail: Mutex<Tail>,
    /// Positions before this are durable.
    durable: AtomicU64,
    /// What left files up to this commit is durable; the allocator reads it.
    durable_commit: Arc<AtomicU64>,
    flushing: Mutex<()>,
    /// Locked for a whole checkpoint: there is one at a time.
    medium: Mutex<OnMedium>,
    failed: OnceLock<JournalError>,
    signals: Mutex<Signals>,
    changed: Condvar,
}

/// What the medium says now.
struct OnMedium {
    superblock: Superblock,
    /// The blocks of the checkpoint.
    chunks: Vec<Range<u64>>,
}

/// The end of the log.
struct Tail {
    /// Where the next record comes.
    position: u64,
    /// From where on records are needed.
    start: u64,
    /// Bytes that were promised to records on their way.
    promised: u64,
    /// What left files up to here is in the log.
    commit: CommitId,
}

/// What threads tell one another.
#[derive(Default)]
struct Signals {
    checkpoint_wanted: bool,
    /// How many checkpoints have ended, and how the last one did.
    checkpoints: u64,
    last_failure: Option<JournalError>,
    /// The pool goes.
    over: bool,
}

/// A record that has its room in the log. Dropping it gives the room back.
#[must_use = "what is prepared has to be appended"]
pub(crate) struct Prepared<'j> {
    journal: &'j Journal,
    draft: Option<Draft>,
}

impl Journal {
    /// The journal of a pool whose log ends at `end`, and whose checkpoint lies in `chunks`.
    pub(crate) fn new(
        superblock: Superblock,
        chunks: Vec<Range<u64>>,
        end: u64,
        durability: Durability,
        durable_commit: &Arc<AtomicU64>,
    ) -> Self {
        let live = Live {
            pool: superblock.pool,
            epoch: superblock.epoch,
            log_len: superblock.log_len,
            volatile: durability == Durability::Volatile,
            tail: Mutex::new(Tail { position: end, start: superblock.replay_from, promised: 0, commit: CommitId(0) }),
            durable: AtomicU64::new(end),
            durable_commit: Arc::clone(durable_commit),
            flushing: Mutex::new(()),
            medium: Mutex::new(OnMedium { superblock, chunks }),
            failed: OnceLock::new(),
            signals: Mutex::default(),
            changed: Condvar::new(),
        };
        Self { live: Some(Arc::new(live)) }
    }

    /// Whether there is a medium.
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Whether bytes have to be flushed to be durable.
    pub(crate) fn flushes(&self) -> bool {
        self.live.as_ref().is_some_and(|live| !live.volatile)
    }

    /// The number of this opening of the pool; 0 without a medium.
    pub(crate) fn epoch(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.epoch)
    }

    /// Drafts a record, and waits for room for it (J5). To be called before the change that it speaks of.
    #[inline]
    pub(crate) fn prepare(&self, write: impl FnOnce(&mut Draft)) -> Result<Prepared<'_>, JournalError> {
        match &self.live {
            None => Ok(Prepared { journal: self, draft: None }),
            Some(live) => {
                let mut draft = Draft::new(now());
                write(&mut draft);
                live.make_room(draft.len())?;
                Ok(Prepared { journal: self, draft: Some(draft) })
            }
        }
    }

    /// As [`Journal::prepare`], but does not wait: `None` if there is no room. For the keeper, who makes it.
    pub(crate) fn try_prepare(&self, write: impl FnOnce(&mut Draft)) -> Result<Option<Prepared<'_>>, JournalError> {
        let Some(live) = &self.live else { return self.prepare(write).map(Some) };
        let mut draft = Draft::new(now());
        write(&mut draft);
        live.check_record(draft.len())?;
        live.check()?;
        Ok(live.promise(draft.len()).then(|| Prepared { journal: self, draft: Some(draft) }))
    }

    /// As [`Journal::prepare`], for a record of one entry.
    #[inline]
    pub(crate) fn prepare_one(&self, entry: Entry<'_>) -> Result<Prepared<'_>, JournalError> {
        self.prepare(|draft| draft.add(entry))
    }

    /// Makes all records durable that were appended before this. The position up to which they are.
    pub(crate) fn flush(&self, region: &Region) -> Result<u64, JournalError> {
        match &self.live {
            None => Ok(u64::MAX),
            Some(live) => live.flush(region),
        }
    }

    /// Ends the journal: nothing is changed from here on (J6).
    pub(crate) fn fail(&self, why: &str) -> JournalError {
        match &self.live {
            None => JournalError::Failed(why.into()),
            Some(live) => live.fail(why),
        }
    }

    /// Refuses what would change bytes that no record speaks of, once nothing can be changed any more (J6).
    #[inline]
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        self.live.as_ref().map_or(Ok(()), |live| live.check())
    }

    /// The pool was closed, in good order.
    pub(crate) fn close(&self) {
        self.live.iter().for_each(|live| drop(live.end_with(JournalError::Closed)));
    }

    /// Whether nothing can be changed any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.failed.get().is_some())
    }
}

impl Prepared<'_> {
    /// Puts the record at the end of the log (J1). The position after it: 0 without a medium.
    pub(crate) fn append(mut self, region: &Region) -> u64 {
        let (Some(draft), Some(live)) = (self.draft.take(), &self.journal.live) else { return 0 };
        live.append(&mut lock(&live.tail), region, draft)
    }

    /// When what it says came about, for what is known of its nodes: so that it is the same once the log is replayed.
    pub(crate) fn time(&self) -> u64 {
        self.draft.as_ref().map_or_else(now, |draft| draft.time)
    }

    /// Whether there is anything to append.
    pub(crate) fn says_something(&self) -> bool {
        self.draft.as_ref().is_some_and(|draft| !draft.is_empty())
    }

    /// Makes a change while its ranges are closed, parks what left, and appends the record of it (J2).
    pub(crate) fn commit(mut self, region: &Region, idle: Idle<'_>, change: impl FnOnce() -> Vec<Extent>) -> u64 {
        let (Some(draft), Some(live)) = (self.draft.take(), &self.journal.live) else {
            idle.commit(change);
            return 0;
        };
        let mut tail = lock(&live.tail);
        let commit = idle.commit(change);
        let end = live.append(&mut tail, region, draft);
        tail.commit = tail.commit.max(commit);
        if live.volatile {
            // ORDER: Release pairs with the Acquire of the allocator: what it takes back is on record.
            live.durable_commit.fetch_max(tail.commit.0, Ordering::Release);
        }
        end
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let (Some(draft), Some(live)) = (self.draft.take(), &self.journal.live) {
            lock(&live.tail).promised -= draft.len();
            live.changed.notify_all();
        }
    }
}

impl Live {
    fn check_record(&self, len: u64) -> Result<(), JournalError> {
        let most = self.log_len / RECORD_SHARE;
        match len > most {
            true => Err(JournalError::TooManyExtents { needed: len, most }),
            false => Ok(()),
        }
    }

    /// Promises `len` bytes of the log, and waits for them if it is full.
    fn make_room(&self, len: u64) -> Result<(), JournalError> {
        self.check_record(len)?;
        loop {
            self.check()?;
            // Before the try: a checkpoint that ends in between makes room.
            let seen = lock(&self.signals).checkpoints;
            if self.promise(len) {
                return Ok(());
            }
            self.want_checkpoint();
            self.await_checkpoint(seen)?;
        }
    }

    /// Promises `len` bytes of the log, if they are there.
    fn promise(&self, len: u64) -> bool {
        let used = {
            let mut tail = lock(&self.tail);
            let used = tail.position - tail.start + tail.promised + len;
            if used > self.log_len {
                return false;
            }
            tail.promised += len;
            used
        };
        if used > self.log_len / CHECKPOINT_SHARE {
            self.want_checkpoint();
        }
        true
    }

    /// Asks the keeper for a checkpoint.
    fn want_checkpoint(&self) {
        let mut signals = lock(&self.signals);
        if !std::mem::replace(&mut signals.checkpoint_wanted, true) {
            self.changed.notify_all();
        }
    }

    /// Waits until one more checkpoint than `seen` has ended.
    fn await_checkpoint(&self, seen: u64) -> Result<(), JournalError> {
        let signals = lock(&self.signals);
        let waits = |signals: &mut Signals| signals.checkpoints == seen && !signals.over;
        let signals = self.changed.wait_while(signals, waits).unwrap_or_else(std::sync::PoisonError::into_inner);
        match &signals.last_failure {
            Some(why) => Err(why.clone()),
            None if signals.over => Err(JournalError::Closed),
            None => Ok(()),
        }
    }

    fn append(&self, tail: &mut Tail, region: &Region, draft: Draft) -> u64 {
        debug_assert!(!draft.is_empty(), "a record without entries would end the log");
        let len = draft.len();
        let time = draft.time;
        self.write_log(region, tail.position, &draft.stamped(&self.stamp(tail.position, time)));
        tail.promised -= len;
        tail.position += len;
        tail.position
    }

    /// Says how much of the log is durable: in the mark, and at the end of the log, if there is room. What is appended next
    /// takes its place.
    fn put_seal(&self, region: &Region) {
        let tail = lock(&self.tail);
        let seal = self.stamp(tail.position, now()).seal();
        // What fails has ended the journal.
        let _ = self.write(region, MARK, &seal);
        if tail.position - tail.start + HEADER as u64 <= self.log_len {
            self.write_log(region, tail.position, &seal);
        }
    }

    fn stamp(&self, position: u64, time: u64) -> Stamp<'_> {
        // ORDER: Acquire pairs with the Release in `flush`: what a record calls durable is (W1).
        let durable = self.durable.load(Ordering::Acquire);
        Stamp { pool: &self.pool, epoch: self.epoch, position, durable, time }
    }

    fn write_log(&self, region: &Region, position: u64, bytes: &[u8]) {
        let mut from = bytes;
        for place in places_in(self.log_len, position, bytes.len() as u64) {
            let (part, rest) = from.split_at((place.end - place.start) as usize);
            // What fails has ended the journal.
            let _ = self.write(region, place.start, part);
            from = rest;
        }
    }

    /// Writes to memory that is there: what lies before the first block was allocated when the pool was made.
    fn write(&self, region: &Region, place: u64, bytes: &[u8]) -> Result<(), JournalError> {
        let to = region.bytes(place..place + bytes.len() as u64);
        to.and_then(|to| to.copy_in(0, bytes)).map_err(|error| self.fail(&error.to_string()))
    }

    fn flush(&self, region: &Region) -> Result<u64, JournalError> {
        let wanted = lock(&self.tail).position;
        let _flushing = lock(&self.flushing);
        self.check()?;
        // ORDER: relaxed; it is written under `flushing` alone.
        let from = self.durable.load(Ordering::Relaxed);
        if from >= wanted {
            // Somebody else did it, for all who were waiting.
            return Ok(from);
        }
        let (to, commit) = {
            let tail = lock(&self.tail);
            (tail.position, tail.commit)
        };
        if !self.volatile {
            for place in places_in(self.log_len, from, to - from).into_iter().filter(|place| !place.is_empty()) {
                region.flush(place).map_err(|error| self.fail(&error.to_string()))?;
            }
            region.fence().map_err(|error| self.fail(&error.to_string()))?;
        }
        // ORDER: Release pairs with the Acquire in `stamp`.
        self.durable.store(to, Ordering::Release);
        self.put_seal(region);
        // ORDER: Release pairs with the Acquire of the allocator: what it takes back is durable.
        self.durable_commit.fetch_max(commit.0, Ordering::Release);
        Ok(to)
    }

    fn check(&self) -> Result<(), JournalError> {
        match self.failed.get() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    fn fail(&self, why: &str) -> JournalError {
        self.end_with(JournalError::Failed(why.into()))
    }

    /// Nothing is changed from here on; the first reason counts.
    fn end_with(&self, why: JournalError) -> JournalError {
        let why = self.failed.get_or_init(|| why);
        let mut signals = lock(&self.signals);
        signals.last_failure = Some(why.clone());
        signals.checkpoints += 1;
        self.changed.notify_all();
        why.clone()
    }

    /// Sleeps until a checkpoint is wanted, the pool goes, or `interval` has passed. What it is.
    fn await_work(&self, interval: Option<Duration>) -> Work {
        let until = interval.map(|interval| Instant::now() + interval);
        let mut signals = lock(&self.signals);
        loop {
            if signals.over {
                return Work::Over;
            }
            if signals.checkpoint_wanted {
                return Work::Checkpoint;
            }
            let now = Instant::now();
            signals = match until {
                None => self.changed.wait(signals).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(until) if until <= now => return Work::Sync,
                Some(until) => {
                    let (signals, _) = self
                        .changed
                        .wait_timeout(signals, until - now)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    signals
                }
            };
        }
    }
}

/// What there is to do for the keeper.
enum Work {
    Checkpoint,
    Sync,
    Over,
}
