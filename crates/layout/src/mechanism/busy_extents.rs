//! Busy extents: what left its file and may not be used yet.
//!
//! An extent is free when its commit is durable and no pin reaches it. XFS calls extents that are freed but not yet to be
//! reused busy; so do we. Which pins reach what is decided in [`parked`](super::parked).
//!
//! Stays true  B1: an extent leaves the busy set only through [`BusyExtents::reap`], and only once.
//! Lock order  `returning`, then the set.

#![allow(clippy::single_range_in_vec_init, reason = "sets of ranges, often of one")]

use crate::sync::{Arc, lock};

use super::attribution::BusyExtentInfo;
use super::owner::Owner;
use super::parked::{Parked, Set, cut};
use super::space::SpaceWatch;

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
    /// Gives `give` everything that nobody reaches and whose commit is durable, each extent once (B1), and returns what
    /// `give` does. It is called also when there is nothing.
    ///
    /// `give` puts the extents into the caller's allocator. Until it returns they are on their way, and nobody is told
    /// that there is nothing to wait for (V2); after that, who waits for space tries again. It must not ask anything of
    /// the busy extents itself.
    ///
    /// `durable_up_to` says that this commit and all older ones are durable. To know: read
    /// [`BusyExtents::newest_commit`], flush the journal, then reap up to what was read.
    pub fn reap<T>(&self, durable_up_to: CommitId, give: impl FnOnce(Vec<FreeExtent>) -> T) -> T {
        if !self.is_owners() {
            return give(Vec::new());
        }
        let _returning = lock(&self.owner.busy.returning);
        let (free, became_durable) = self.take_free(durable_up_to);
        let changes = became_durable || !free.is_empty();
        let given = give(free.into_iter().map(FreeExtent).collect());
        if changes {
            self.owner.announce_space();
        }
        given
    }

    /// Takes what is free out of the set; and whether more has become durable than was known.
    fn take_free(&self, durable_up_to: CommitId) -> (Vec<Extent>, bool) {
        let owner = &self.owner;
        let mut set = lock(&owner.busy.set);
        let became_durable = set.note_durable(durable_up_to);
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
        (free, became_durable)
    }

    /// Watches for space, for who finds none: see [`SpaceWatch`].
    pub fn watch(&self) -> SpaceWatch {
        SpaceWatch::new(&self.owner)
    }

    /// Says that blocks are in the caller's allocator again which came there in another way than by a reap: they were
    /// taken and not used, or nobody could have seen what they were in. Who waits for space tries again. Costs nothing
    /// to speak of while nobody does.
    pub fn came_free(&self) {
        self.owner.came_free();
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
        drop(set);
        if forgotten > 0 {
            // Who waits for a pin that kept it may have nothing to wait for any more.
            owner.announce_space();
        }
        forgotten
    }

    /// How much is parked, and why. Computed now, not stored, and while nothing is on its way to the allocator (V2): who
    /// counts this first, and then what is free there, overlooks nothing.
    pub fn stats(&self) -> BusyStats {
        if !self.is_owners() {
            return BusyStats::default();
        }
        let _returning = lock(&self.owner.busy.returning);
        lock(&self.owner.busy.set).stats(&self.owner)
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
