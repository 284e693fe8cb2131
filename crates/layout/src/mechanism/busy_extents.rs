//! Busy extents: what left its file and may not be used yet.
//!
//! An extent is free when its commit is durable and no pin reaches it. What a pin reaches is decided oldest first: of
//! its range, the part that left the file after the pin's generation is in the first parked extent that took it, and
//! in no later one; what none took is in the file. (Otherwise one stuck pin would keep every later generation of its
//! range, and the pool would leak dry.) XFS calls extents that are freed but not yet to be reused busy; so do we.
//!
//! Stays true  B1: an extent leaves the busy set only through [`BusyExtents::reap`], and only once.
//!             B2: the pins that reach a parked extent only become fewer: its range was closed when it was parked, so
//!                 every pin that is older was published by then.
//!             B3: a piece that a pin reaches stays parked, so that later pieces of the same range know it was taken.
//! Lock order  `set` is taken after `breaks`; members and marks after it.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::sync::{Arc, AtomicU32, AtomicU64, Instant, Mutex, Ordering, ThisThread, Woke, lock};

use super::attribution::BusyExtentInfo;
use super::error::SpaceError;
use super::owner::{InTheWay, Member, Owner};
use super::parked_records::{ParkedRecord, ParkedRecords};
use super::segment::{Flags, Reading};
use super::sleeper::WordRef;
use super::until::Until;

/// A run of blocks of an object: `start..end` in the object is `block..block + (end - start)` on the medium.
///
/// Units are the caller's, and the same for both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// The object.
    pub object: u64,
    /// Its first position in the object.
    pub start: u64,
    /// The position after its last.
    pub end: u64,
    /// Where it lies on the medium.
    pub block: u64,
}

impl Extent {
    /// Its length.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no length.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether both map positions of the object to blocks in the same way.
    fn shows_same_blocks_as(&self, other: &Self) -> bool {
        self.object == other.object && self.block.wrapping_sub(self.start) == other.block.wrapping_sub(other.start)
    }

    fn part(&self, start: u64, end: u64) -> Self {
        Self { start, end, block: self.block + (start - self.start), ..*self }
    }
}

/// Orders commits: larger is younger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommitId(pub u64);

impl CommitId {
    /// Above every commit: what a caller passes whose memory has no medium to be durable on.
    pub const ALL: Self = Self(u64::MAX);
}

/// Blocks that nobody reaches. Only [`BusyExtents::reap`] makes it, so it is the proof that an allocator asks for.
///
/// ```compile_fail
/// use pinfold_layout::{Extent, FreeExtent};
/// // A free extent cannot be made up: it comes from a reap, or not at all.
/// let free = FreeExtent(Extent { object: 1, start: 0, end: 1, block: 0 });
/// ```
#[derive(PartialEq, Eq, Debug)]
#[must_use = "blocks that are dropped here are lost to the allocator"]
pub struct FreeExtent(Extent);

impl FreeExtent {
    /// Gives the blocks to the caller's allocator.
    pub fn into_extent(self) -> Extent {
        self.0
    }

    /// What it is.
    pub fn extent(&self) -> &Extent {
        &self.0
    }
}

/// How much is parked, in the caller's units.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BusyStats {
    /// Kept by pins that have a holder.
    pub pinned: u64,
    /// Kept by pins in quarantine only.
    pub quarantined: u64,
    /// Reached by nobody, waiting for their commit to become durable.
    pub not_durable: u64,
    /// Reached by nobody and durable: the next reap gives them.
    pub free: u64,
}

/// The owner's set of parked extents.
#[derive(Default)]
pub(crate) struct Busy {
    set: Mutex<Set>,
    records: Mutex<ParkedRecords>,
    /// How many extents are parked: a scan without any takes no lock.
    parked: AtomicU32,
    /// Bumped when something is parked or becomes durable; who waits for space sleeps on it too.
    pub(crate) space: Arc<AtomicU64>,
}

#[derive(Default)]
struct Set {
    by_object: HashMap<u64, Vec<Parked>>,
    commit: u64,
    durable: u64,
}

#[derive(Clone, Debug)]
struct Parked {
    extent: Extent,
    /// Pins of this generation and later do not reach it.
    generation: u64,
    commit: u64,
    /// Whether any pin may reach it at all: not if the range was drained.
    reached: bool,
    since: Instant,
    said: u32,
    /// Parked by a former incarnation of the area.
    inherited: bool,
    /// Its record in the header, where it outlives the owner.
    entry: Option<u32>,
}

/// A pin that may reach parked extents of one object.
pub(crate) struct Reacher {
    pub(crate) way: InTheWay,
}

impl Busy {
    /// Parks what left (owner, under the `breaks` lock).
    pub(crate) fn park(
        &self,
        owner: &Owner,
        left: Vec<Extent>,
        generation_of: impl Fn(u64) -> u64,
        reached: bool,
    ) -> CommitId {
        let mut set = lock(&self.set);
        set.commit += 1;
        let commit = set.commit;
        owner.view.header.prologue().commit_high.store(commit, Ordering::Relaxed);
        for extent in left.into_iter().filter(|extent| !extent.is_empty()) {
            let generation = generation_of(extent.object);
            let mut parked =
                Parked { extent, generation, commit, reached, inherited: false, since: Instant::now(), said: 0, entry: None };
            if reached {
                parked.entry = owner.keep_parked(&parked.extent, generation, commit);
            }
            set.by_object.entry(extent.object).or_default().push(parked);
        }
        self.count(&set);
        CommitId(commit)
    }

    fn count(&self, set: &Set) {
        let parked = set.by_object.values().map(Vec::len).sum::<usize>();
        self.parked.store(parked.min(u32::MAX as usize) as u32, Ordering::Release);
    }

    /// Tells who waits for space to look again.
    pub(crate) fn announce_change(&self, owner: &Owner) {
        self.space.fetch_add(1, Ordering::Release);
        owner.view.fences.futex().wake(&self.space);
    }

    /// Whether blocks of `object` are parked.
    pub(crate) fn parks(&self, object: u64) -> bool {
        self.parked.load(Ordering::Acquire) > 0 && lock(&self.set).by_object.contains_key(&object)
    }

    /// Whether part of `pin` in `start..end` is still in the file, and not in what was parked after the pin was made.
    pub(crate) fn leaves_in_file(&self, pin: &Reading, start: u64, end: u64) -> bool {
        // ORDER: Acquire pairs with the Release in `count`. A break that parked did so before this one closed.
        if self.parked.load(Ordering::Acquire) == 0 {
            return true;
        }
        let set = lock(&self.set);
        let Some(parked) = set.by_object.get(&pin.object) else { return true };
        let mut rest = vec![pin.start.max(start)..pin.end.min(end)];
        for parked in parked.iter().filter(|parked| parked.generation > pin.generation) {
            rest = cut(rest, parked.extent.start, parked.extent.end).0;
        }
        !rest.is_empty()
    }
}

impl Owner {
    /// The live pins of `object` that are older than its youngest parked extent.
    fn reachers(&self, object: u64, parked: &[Parked]) -> Vec<Reacher> {
        let Some(youngest) = parked.iter().filter(|p| p.reached).map(|p| p.generation).max() else { return Vec::new() };
        let chain = self.view.header.geometry().chain_of(object);
        let mut reachers = Vec::new();
        for member in self.members().iter() {
            let bell = WordRef::Bell(Arc::clone(&member.segment)).value();
            member.segment.find(chain, object, |pin| {
                if pin.generation < youngest && self.is_live(member, &pin) {
                    reachers.push(Reacher { way: InTheWay { member: Arc::clone(member), pin, bell } });
                }
                None::<()>
            });
        }
        reachers
    }
}

/// For each parked extent the pieces that are reached, and by which reachers.
type Reached = Vec<Vec<(Range<u64>, usize)>>;

/// Oldest first: each part of a pin's range is reached in the first extent that took it after the pin was made.
fn reached_pieces(parked: &[Parked], reachers: &[Reacher]) -> Reached {
    let mut reached: Reached = vec![Vec::new(); parked.len()];
    for (who, reacher) in reachers.iter().enumerate() {
        let pin = &reacher.way.pin;
        let mut rest = vec![pin.start..pin.end];
        for (index, parked) in parked.iter().enumerate() {
            if rest.is_empty() {
                break;
            }
            if parked.generation <= pin.generation {
                continue;
            }
            let (left, taken) = cut(rest, parked.extent.start, parked.extent.end);
            rest = left;
            reached[index].extend(taken.into_iter().map(|piece| (piece, who)));
        }
    }
    reached
}

/// Cuts `start..end` out of `ranges`: what is left, and what was taken.
fn cut(ranges: Vec<Range<u64>>, start: u64, end: u64) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let (mut left, mut taken) = (Vec::new(), Vec::new());
    for range in ranges {
        if range.start >= end || start >= range.end {
            left.push(range);
            continue;
        }
        taken.push(range.start.max(start)..range.end.min(end));
        if range.start < start {
            left.push(range.start..start);
        }
        if end < range.end {
            left.push(end..range.end);
        }
    }
    (left, taken)
}

/// What is parked in an area, and the only way back into its allocator.
#[derive(Clone)]
pub struct BusyExtents {
    pub(crate) owner: Arc<Owner>,
}

impl BusyExtents {
    /// Everything that nobody reaches and whose commit is durable. Each extent is given once (B1).
    ///
    /// `durable_up_to` says that this commit and all older ones are durable. To know: read
    /// [`BusyExtents::newest_commit`], flush the journal, then reap up to what was read.
    pub fn reap(&self, durable_up_to: CommitId) -> Vec<FreeExtent> {
        if !self.is_owners() {
            return Vec::new();
        }
        let owner = &self.owner;
        let mut set = lock(&owner.busy.set);
        set.durable = set.durable.max(durable_up_to.0.min(set.commit));
        let durable = set.durable;
        let mut free = Vec::new();
        set.by_object.retain(|object, parked| {
            if parked.iter().any(|parked| parked.commit <= durable) {
                owner.reap_object(*object, parked, durable, &mut free);
            }
            !parked.is_empty()
        });
        owner.busy.count(&set);
        free.into_iter().map(FreeExtent).collect()
    }

    /// As [`BusyExtents::reap`], but waits until there is something: for a pin to leave, as long as `until` says.
    ///
    /// # Errors
    /// [`SpaceError`]; above all [`SpaceError::NothingPinned`] when no wait would help.
    pub fn reap_until(&self, durable_up_to: CommitId, until: Until) -> Result<Vec<FreeExtent>, SpaceError> {
        let mut last = None;
        loop {
            let (bells, first) = match self.look(durable_up_to)? {
                Look::Free(free) => return Ok(free),
                Look::Kept { bells, first } => (bells, first),
            };
            let info = || Box::new(self.owner.describe(&first.member, &first.pin));
            match last {
                Some(Woke::TimedOut) => return Err(SpaceError::Busy { pin: info(), timed_out: true }),
                Some(Woke::Interrupted) => return Err(SpaceError::Interrupted),
                _ => {}
            }
            if first.is_of(ThisThread::get()) {
                return Err(SpaceError::Deadlock(info()));
            }
            last = self.sleep(&bells, until);
        }
    }

    /// As [`BusyExtents::reap_until`], but never waits.
    ///
    /// # Errors
    /// [`SpaceError::Busy`] names the pin that keeps the oldest extent.
    pub fn try_reap(&self, durable_up_to: CommitId) -> Result<Vec<FreeExtent>, SpaceError> {
        match self.look(durable_up_to)? {
            Look::Free(free) => Ok(free),
            Look::Kept { first, .. } => {
                let pin = Box::new(self.owner.describe(&first.member, &first.pin));
                Err(SpaceError::Busy { pin, timed_out: false })
            }
        }
    }

    /// As [`BusyExtents::reap_until`], as a future of no particular runtime.
    pub fn reap_async(&self, durable_up_to: CommitId) -> impl Future<Output = Result<Vec<FreeExtent>, SpaceError>> + Send {
        let this = self.clone();
        let mut registration = None;
        std::future::poll_fn(move |context| {
            match this.look(durable_up_to) {
                Err(error) => std::task::Poll::Ready(Err(error)),
                Ok(Look::Free(free)) => std::task::Poll::Ready(Ok(free)),
                Ok(Look::Kept { bells, .. }) => {
                    let registration = registration.get_or_insert_with(|| this.owner.sleeper.registration());
                    registration.wake_when_changed(bells, None, context.waker());
                    std::task::Poll::Pending
                }
            }
        })
    }

    fn look(&self, durable_up_to: CommitId) -> Result<Look, SpaceError> {
        let space = WordRef::Own(Arc::clone(&self.owner.busy.space));
        let mut bells = vec![(space.clone(), space.value())];
        // Bells before slots: a pin that leaves after this look changes one of them.
        let reachers = self.reachers_of_durable(durable_up_to);
        let free = self.reap(durable_up_to);
        if !free.is_empty() {
            return Ok(Look::Free(free));
        }
        let Some(first) = reachers.first().cloned() else {
            return Err(SpaceError::NothingPinned { not_durable: self.stats().not_durable });
        };
        for way in &reachers {
            if !bells.iter().any(|(word, _)| std::ptr::eq(word.word(), way.member.segment.bell())) {
                bells.push((way.word(), way.bell));
            }
            self.owner.reap_if_dead(&way.member);
        }
        Ok(Look::Kept { bells, first })
    }

    /// The pins that keep durable extents, oldest extent first.
    fn reachers_of_durable(&self, durable_up_to: CommitId) -> Vec<InTheWay> {
        let set = lock(&self.owner.busy.set);
        let durable = set.durable.max(durable_up_to.0.min(set.commit));
        let mut found: Vec<(u64, InTheWay)> = Vec::new();
        for (object, parked) in &set.by_object {
            let reachers = self.owner.reachers(*object, parked);
            for (parked, pieces) in parked.iter().zip(reached_pieces(parked, &reachers)) {
                if parked.commit <= durable {
                    found.extend(pieces.iter().map(|(_, who)| (parked.commit, reachers[*who].way.clone())));
                }
            }
        }
        found.sort_by_key(|(commit, _)| *commit);
        found.into_iter().map(|(_, way)| way).collect()
    }

    fn sleep(&self, bells: &[(WordRef, u32)], until: Until) -> Option<Woke> {
        let words: Vec<_> = bells.iter().map(|(word, value)| (word.word(), *value)).collect();
        let at = self.owner.sleeper.backstop(until.deadline());
        let woke = self.owner.view.fences.futex().wait_any(&words, at);
        match woke {
            Woke::Interrupted if until.is_interruptible() => Some(woke),
            Woke::TimedOut if until.has_passed() => Some(woke),
            _ => None,
        }
    }

    /// The youngest commit so far. What it and all older ones changed was handed to the caller's journal before this
    /// returns.
    pub fn newest_commit(&self) -> CommitId {
        if !self.is_owners() {
            return CommitId(0);
        }
        CommitId(lock(&self.owner.busy.set).commit)
    }

    /// Not in a child of the owner's process: it gives nothing away, and nothing is its to see.
    fn is_owners(&self) -> bool {
        self.owner.view.clock.is_of_this_process()
    }

    /// What former incarnations of a named area left parked and is not free yet: blocks that are free on the medium, but
    /// not to be used. It comes back through [`BusyExtents::reap`], as durable.
    pub fn inherited(&self) -> Vec<Extent> {
        if !self.is_owners() {
            return Vec::new();
        }
        let set = lock(&self.owner.busy.set);
        let parked = set.by_object.values().flatten().filter(|parked| parked.inherited);
        parked.map(|parked| parked.extent).collect()
    }

    /// Says of an inherited extent, or a part of one, that it is in its object again at the same position: the commit
    /// that freed it was lost in the crash. To be said before anybody pins or breaks the object. Returns how much of it
    /// was parked, in the caller's units; from here on its pins are in the way of breaks, as before.
    pub fn forget(&self, extent: &Extent) -> u64 {
        if !self.is_owners() {
            return 0;
        }
        let owner = &self.owner;
        let mut set = lock(&owner.busy.set);
        let Some(parked) = set.by_object.get_mut(&extent.object) else { return 0 };
        let mut forgotten = 0;
        for mut old in std::mem::take(parked) {
            let here = old.inherited && old.extent.shows_same_blocks_as(extent);
            let (left, taken) = cut(vec![old.extent.start..old.extent.end], extent.start, extent.end);
            if !here || taken.is_empty() {
                parked.push(old);
                continue;
            }
            forgotten += taken.iter().map(|piece| piece.end - piece.start).sum::<u64>();
            for piece in left {
                let extent = old.extent.part(piece.start, piece.end);
                let entry = owner.keep_parked(&extent, old.generation, old.commit);
                parked.push(Parked { extent, entry, ..old.clone() });
            }
            owner.drop_parked(&mut old.entry);
        }
        if parked.is_empty() {
            set.by_object.remove(&extent.object);
        }
        owner.busy.count(&set);
        forgotten
    }

    /// How much is parked, and why. Computed now, not stored.
    pub fn stats(&self) -> BusyStats {
        if !self.is_owners() {
            return BusyStats::default();
        }
        let set = lock(&self.owner.busy.set);
        let mut stats = BusyStats::default();
        for (object, parked) in &set.by_object {
            let reachers = self.owner.reachers(*object, parked);
            for (parked, pieces) in parked.iter().zip(reached_pieces(parked, &reachers)) {
                let held = pieces.iter().filter(|(_, who)| !reachers[*who].way.is_quarantined());
                let all = union(pieces.iter().map(|(piece, _)| piece.clone()));
                let by_holders = union(held.map(|(piece, _)| piece.clone()));
                stats.pinned += by_holders;
                stats.quarantined += all - by_holders;
                let rest = parked.extent.len() - all;
                match parked.commit <= set.durable {
                    true => stats.free += rest,
                    false => stats.not_durable += rest,
                }
            }
        }
        stats
    }

    /// Every parked extent, and who keeps it (G7).
    pub fn list(&self) -> Vec<BusyExtentInfo> {
        if !self.is_owners() {
            return Vec::new();
        }
        let set = lock(&self.owner.busy.set);
        let mut list = Vec::new();
        for (object, parked) in &set.by_object {
            list.extend(self.owner.explain(*object, parked, set.durable));
        }
        list.sort_by_key(|info| (info.object, info.range.start, info.blocks.start));
        list
    }
}

enum Look {
    Free(Vec<FreeExtent>),
    Kept { bells: Vec<(WordRef, u32)>, first: InTheWay },
}

/// Length of the union of ranges.
fn union(ranges: impl Iterator<Item = Range<u64>>) -> u64 {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_by_key(|range| range.start);
    let mut end = 0;
    let mut length = 0;
    for range in ranges {
        length += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    length
}

impl InTheWay {
    fn is_quarantined(&self) -> bool {
        self.member.is_gone() || self.pin.state.flags().has(Flags::ABANDONED)
    }

    /// Whether the pin was made by this thread, and no engine has it.
    pub(crate) fn is_of(&self, thread: ThisThread) -> bool {
        self.member.local && self.pin.thread == thread.number && !self.pin.state.flags().has(Flags::HANDED_OVER)
    }
}

impl Owner {
    /// Moves what is free out of one object's parked extents.
    fn reap_object(&self, object: u64, parked: &mut Vec<Parked>, durable: u64, free: &mut Vec<Extent>) {
        let reachers = self.reachers(object, parked);
        let reached = reached_pieces(parked, &reachers);
        let before = cfg!(debug_assertions).then(|| parked.clone());
        let already_free = free.len();
        let mut kept = Vec::new();
        for (mut parked, pieces) in std::mem::take(parked).into_iter().zip(reached) {
            if parked.commit > durable {
                kept.push(parked);
                continue;
            }
            let whole = vec![parked.extent.start..parked.extent.end];
            let rest = pieces.iter().fold(whole, |rest, (piece, _)| cut(rest, piece.start, piece.end).0);
            free.extend(rest.iter().map(|range| parked.extent.part(range.start, range.end)));
            if pieces.is_empty() {
                self.drop_parked(&mut parked.entry);
                continue;
            }
            let still = rest.into_iter().fold(vec![parked.extent.start..parked.extent.end], |still, range| {
                cut(still, range.start, range.end).0
            });
            for range in still {
                let extent = parked.extent.part(range.start, range.end);
                let entry = match extent == parked.extent {
                    true => parked.entry.take(),
                    false => self.keep_parked(&extent, parked.generation, parked.commit),
                };
                kept.push(Parked { extent, entry, ..parked.clone() });
            }
            self.drop_parked(&mut parked.entry);
        }
        if let Some(before) = before {
            self.check_free(object, &before, &free[already_free..]);
        }
        *parked = kept;
    }

    /// Looks once more whether anyone reaches what is given (Linux: the warning in `dax_disassociate_entry()`).
    fn check_free(&self, object: u64, before: &[Parked], free: &[Extent]) {
        let reachers = self.reachers(object, before);
        for (parked, pieces) in before.iter().zip(reached_pieces(before, &reachers)) {
            for (piece, who) in pieces {
                let part = parked.extent.part(piece.start, piece.end);
                let given = free.iter().find(|free| free.block < part.block + part.len() && part.block < free.block + free.len());
                assert!(given.is_none(), "{given:?} is given away while {:?} reaches it", reachers[who].way.pin);
            }
        }
    }

    fn explain(&self, object: u64, parked: &[Parked], durable: u64) -> Vec<BusyExtentInfo> {
        let reachers = self.reachers(object, parked);
        let reached = reached_pieces(parked, &reachers);
        let info = |(parked, pieces): (&Parked, Vec<(Range<u64>, usize)>)| {
            let mut who: Vec<usize> = pieces.iter().map(|(_, who)| *who).collect();
            who.sort_unstable();
            who.dedup();
            let of = |member: &Member, pin: &Reading| self.describe(member, pin);
            BusyExtentInfo {
                object,
                range: parked.extent.start..parked.extent.end,
                blocks: parked.extent.block..parked.extent.block + parked.extent.len(),
                durable: parked.commit <= durable,
                pins: who.iter().map(|who| of(&reachers[*who].way.member, &reachers[*who].way.pin)).collect(),
                parked_for: parked.since.elapsed(),
            }
        };
        parked.iter().zip(reached).map(info).collect()
    }

    /// The extents that pins have kept for long, each once for every doubling of the time.
    pub(crate) fn lasting_extents(&self) -> Vec<BusyExtentInfo> {
        let mut set = lock(&self.busy.set);
        let durable = set.durable;
        let mut lasting = Vec::new();
        for (object, parked) in &mut set.by_object {
            let due = |parked: &Parked, after: Duration| {
                parked.reached && parked.since.elapsed() >= after.saturating_mul(1 << parked.said.min(30))
            };
            if !parked.iter().any(|parked| due(parked, self.lasting_after)) {
                continue;
            }
            let infos = self.explain(*object, parked, durable);
            for (parked, info) in parked.iter_mut().zip(infos) {
                if due(parked, self.lasting_after) && !info.pins.is_empty() {
                    parked.said += 1;
                    lasting.push(info);
                }
            }
        }
        lasting
    }

    /// Writes a parked extent where the next owner of this boot finds it.
    fn keep_parked(&self, extent: &Extent, generation: u64, commit: u64) -> Option<u32> {
        let record = ParkedRecord { extent: *extent, generation, commit };
        lock(&self.busy.records).keep(&self.view.header, &record)
    }

    fn drop_parked(&self, entry: &mut Option<u32>) {
        if entry.is_some() {
            lock(&self.busy.records).forget(&self.view.header, entry);
        }
    }

    /// Takes over what a former incarnation had parked, oldest first. Its commits count as durable: what they freed is
    /// free on the medium, or the caller says otherwise ([`BusyExtents::forget`]).
    pub(crate) fn inherit(&self, mut records: Vec<ParkedRecord>, commit_high: u64) {
        records.sort_by_key(|record| record.commit);
        let mut set = lock(&self.busy.set);
        set.commit = records.last().map_or(0, |youngest| youngest.commit).max(commit_high);
        set.durable = set.commit;
        self.view.header.prologue().commit_high.store(set.commit, Ordering::Relaxed);
        for ParkedRecord { extent, generation, commit } in records {
            let entry = self.keep_parked(&extent, generation, commit);
            let (since, said) = (Instant::now(), 0);
            let parked = Parked { extent, generation, commit, reached: true, inherited: true, since, said, entry };
            set.by_object.entry(extent.object).or_default().push(parked);
        }
        self.busy.count(&set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_leaves_both_sides() {
        let (left, taken) = cut(vec![0..10, 20..30], 5, 25);
        assert_eq!(left, vec![0..5, 25..30]);
        assert_eq!(taken, vec![5..10, 20..25]);
    }

    #[test]
    fn a_union_counts_overlaps_once() {
        assert_eq!(union([0..4, 2..6, 10..11].into_iter()), 7);
    }
}
