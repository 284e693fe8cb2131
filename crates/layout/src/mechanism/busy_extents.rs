//! Busy extents: what left its file and may not be used yet.
//!
//! An extent is free when its commit is durable and no pin reaches it. XFS calls extents that are freed but not yet to be
//! reused busy; so do we. Which pins reach what is decided in [`parked`](super::parked).
//!
//! Stays true  B1: an extent leaves the busy set only through [`BusyExtents::reap`], and only once.

#![allow(clippy::single_range_in_vec_init, reason = "sets of ranges, often of one")]

use crate::sync::{Arc, ThisThread, Woke, lock};

use super::attribution::BusyExtentInfo;
use super::error::SpaceError;
use super::owner::{InTheWay, Owner};
use super::parked::{Parked, Set, cut, reached_pieces, union};
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
    pub(super) fn shows_same_blocks_as(&self, other: &Self) -> bool {
        self.object == other.object && self.block.wrapping_sub(self.start) == other.block.wrapping_sub(other.start)
    }

    pub(super) fn part(&self, start: u64, end: u64) -> Self {
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
        set.note_durable(durable_up_to);
        let Set { by_object, ready, durable, .. } = &mut *set;
        let mut free = Vec::new();
        ready.retain(|object| {
            let Some(parked) = by_object.get_mut(object) else { return false };
            owner.reap_object(*object, parked, *durable, &mut free);
            if parked.is_empty() {
                by_object.remove(object);
                return false;
            }
            parked.iter().any(|parked| parked.commit <= *durable)
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
    pub fn reap_async(
        &self,
        durable_up_to: CommitId,
    ) -> impl Future<Output = Result<Vec<FreeExtent>, SpaceError>> + Send {
        let this = self.clone();
        let mut registration = None;
        std::future::poll_fn(move |context| match this.look(durable_up_to) {
            Err(error) => std::task::Poll::Ready(Err(error)),
            Ok(Look::Free(free)) => std::task::Poll::Ready(Ok(free)),
            Ok(Look::Kept { bells, .. }) => {
                let registration = registration.get_or_insert_with(|| this.owner.sleeper.registration());
                registration.wake_when_changed(bells, None, context.waker());
                std::task::Poll::Pending
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
        let mut set = lock(&self.owner.busy.set);
        set.note_durable(durable_up_to);
        let mut found: Vec<(u64, InTheWay)> = Vec::new();
        for object in &set.ready {
            let Some(parked) = set.by_object.get(object) else { continue };
            let reachers = self.owner.reachers(*object, parked);
            for (parked, pieces) in parked.iter().zip(reached_pieces(parked, &reachers)) {
                if parked.commit <= set.durable {
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
