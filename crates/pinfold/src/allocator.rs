//! The allocator: which blocks are free, and how they come back.
//!
//! Blocks come back in three ways only. What was in a file comes as a [`FreeExtent`], out of [`BusyExtents::reap`]: nobody
//! reaches it, and its freeing is durable (G1, G9). What was in a file that no device was ever given comes back when the
//! file goes. What was taken and never put into a file comes back as it went, when its [`Fresh`] is dropped: nobody has
//! seen it.
//!
//! Stays true  S1: a block is free, fresh, in exactly one file, or busy.
//!             S2: there is memory behind every fresh block: touching it is no `SIGBUS` on a full machine.
//!             S3: while the busy extents are counted, no block is on its way from there to here (`layout`, V2). So who
//!                 counts them first, and what is free then, and finds too little, finds it nowhere.
//!             S4: whoever puts blocks back says so, after: who waits for space tries again (`layout`, V1). An attempt
//!                 takes all that it needs in one step, or nothing: two that wait do not wake one another for ever.
//!             S5: `spare` blocks stay free for the next checkpoint, which alone takes of them.
//! Lock order  `backing` alone; or the busy extents' locks, then `space`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pinfold_layout::{BusyExtents, CommitId, FreeExtent};
use pinfold_region::Region;
use smallvec::{SmallVec, smallvec};

use crate::error::{NoSpace, SpaceError};
use crate::extents::{Run, State};
use crate::lock::lock;
use crate::space::{FreeSpace, Goal};
use crate::units::{BlockSize, HUGE_PAGE};

pub(crate) struct Allocator {
    space: Mutex<FreeSpace>,
    busy: BusyExtents,
    /// What left files up to this commit is durable: written by the journal.
    durable_commit: Arc<AtomicU64>,
    /// What was freed without a break, and is free when the log is durable up to a position.
    freed: Mutex<VecDeque<(u64, Vec<Range<u64>>)>>,
    spare: AtomicU64,
    block: BlockSize,
    /// How many blocks the pool has.
    blocks: AtomicU64,
    backing: Backing,
}

/// Blocks that were free and are not in a file yet. What is left of them when this is dropped is free again.
#[must_use = "dropping it gives the blocks back"]
pub(crate) struct Fresh<'a> {
    allocator: &'a Allocator,
    runs: Vec<Range<u64>>,
}

/// Blocks for several wants; for one, most of the time.
pub(crate) type EachFresh<'a> = SmallVec<[Fresh<'a>; 1]>;

impl Fresh<'_> {
    /// The runs, in the order in which they were taken.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> {
        self.runs.iter().map(|run| Run { block: run.start, len: run.end - run.start, state: State::SetAside })
    }

    /// The blocks are in a file now.
    pub(crate) fn used(mut self) {
        self.runs.clear();
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        self.allocator.put_back(std::mem::take(&mut self.runs));
    }
}

impl Allocator {
    /// The blocks of `free`, of a pool of so many `blocks` in a region, which may be longer. What left files is durable up
    /// to what is in `durable_commit`.
    pub(crate) fn new(
        region: &Region,
        block: BlockSize,
        blocks: u64,
        free: impl IntoIterator<Item = Range<u64>>,
        busy: BusyExtents,
        durable_commit: Arc<AtomicU64>,
    ) -> Self {
        let mut space = FreeSpace::new(blocks, block.floor(HUGE_PAGE));
        free.into_iter().for_each(|run| space.give_back(run));
        Self {
            space: Mutex::new(space),
            busy,
            durable_commit,
            freed: Mutex::default(),
            spare: AtomicU64::new(0),
            block,
            blocks: AtomicU64::new(blocks),
            backing: Backing::new(region.reserved()),
        }
    }

    /// Keeps that many blocks back for the next checkpoint (S5).
    pub(crate) fn set_spare(&self, blocks: u64) {
        self.spare.store(blocks, Ordering::Relaxed);
    }

    fn spare(&self) -> u64 {
        // ORDER: relaxed; who reads an older number may take blocks that were spare a moment ago.
        self.spare.load(Ordering::Relaxed)
    }

    /// Takes blocks for a checkpoint, spare ones too (S5).
    pub(crate) fn take_spare(&self, region: &Region, want: u64, goal: Goal) -> Result<Fresh<'_>, SpaceError> {
        self.take_leaving(0, region, want, goal)
    }

    /// Puts memory behind blocks that are in use already, so that no touch of them is a `SIGBUS` (S2).
    pub(crate) fn put_behind(&self, region: &Region, run: &Range<u64>) -> Result<(), SpaceError> {
        self.backing.put_behind(region, self.block.to_bytes(run))
    }

    /// Gives back what a former checkpoint lay in.
    pub(crate) fn give_back_checkpoint(&self, runs: Vec<Range<u64>>) {
        self.put_back(runs);
    }

    /// Gives back what was freed without a break, once the log is durable up to `position`.
    pub(crate) fn give_back_at(&self, position: u64, runs: Vec<Range<u64>>) {
        lock(&self.freed).push_back((position, runs));
    }

    /// The log is durable up to `position`.
    pub(crate) fn note_durable(&self, position: u64) {
        let mut freed = lock(&self.freed);
        let due = freed.iter().take_while(|(at, _)| *at <= position).count();
        let due: Vec<_> = freed.drain(..due).flat_map(|(_, runs)| runs).collect();
        drop(freed);
        self.put_back(due);
        self.reap();
    }

    /// The pool has more blocks now, which are free.
    pub(crate) fn grow(&self, blocks: u64) {
        let mut space = lock(&self.space);
        let before = self.blocks.swap(blocks, Ordering::AcqRel);
        self.backing.forget_last(self.block.offset(before));
        space.grow(blocks);
        drop(space);
        self.put_back(std::iter::once(before..blocks).collect());
    }

    /// Takes `want` blocks, as near to the goal and in as few runs as there are.
    pub(crate) fn take(&self, region: &Region, want: u64, goal: Goal) -> Result<Fresh<'_>, SpaceError> {
        self.take_leaving(self.spare(), region, want, goal)
    }

    fn take_leaving(&self, spare: u64, region: &Region, want: u64, goal: Goal) -> Result<Fresh<'_>, SpaceError> {
        let take = || {
            let mut space = lock(&self.space);
            let there = space.free() >= want.saturating_add(spare);
            if there { space.take(want, goal) } else { None }
        };
        let taken = take().or_else(|| {
            self.reap();
            take()
        });
        let runs = taken.ok_or_else(|| SpaceError::Full(self.no_space(want)))?;
        self.fresh(region, runs)
    }

    /// The same for several wants: all of them or none, as one step (S4).
    pub(crate) fn take_each(&self, region: &Region, wants: &[(u64, Goal)]) -> Result<EachFresh<'_>, SpaceError> {
        if let [(want, goal)] = wants {
            return Ok(smallvec![self.take(region, *want, *goal)?]);
        }
        let take = || take_each(&mut lock(&self.space), wants, self.spare());
        let taken = take().or_else(|| {
            self.reap();
            take()
        });
        let each = taken.ok_or_else(|| SpaceError::Full(self.no_space(wants.iter().map(|(want, _)| want).sum())))?;
        each.into_iter().map(|runs| self.fresh(region, runs)).collect()
    }

    /// Blocks that were taken, with memory behind them (S2).
    fn fresh(&self, region: &Region, runs: Vec<Range<u64>>) -> Result<Fresh<'_>, SpaceError> {
        let fresh = Fresh { allocator: self, runs };
        for run in &fresh.runs {
            self.backing.put_behind(region, self.block.to_bytes(run))?;
        }
        Ok(fresh)
    }

    /// What left files up to this commit is durable.
    pub(crate) fn durable(&self) -> CommitId {
        // ORDER: Acquire pairs with the Release of the journal.
        CommitId(self.durable_commit.load(Ordering::Acquire))
    }

    /// Takes back what nobody reaches any more, and whose freeing is durable.
    pub(crate) fn reap(&self) {
        self.busy.reap(self.durable(), |free| {
            if free.is_empty() {
                return;
            }
            let mut space = lock(&self.space);
            for extent in free.into_iter().map(FreeExtent::into_extent) {
                space.give_back(extent.block..extent.block + extent.len());
            }
        });
    }

    /// The one way back for what was in a file that no device was ever given, and that nobody has open.
    pub(crate) fn give_back_unexposed(&self, runs: impl Iterator<Item = Range<u64>>) {
        self.put_back(runs.collect());
    }

    /// Puts back what nobody can have seen, and tells who waits for space (S4).
    fn put_back(&self, runs: Vec<Range<u64>>) {
        if runs.is_empty() {
            return;
        }
        let mut space = lock(&self.space);
        runs.into_iter().for_each(|run| space.give_back(run));
        drop(space);
        self.busy.came_free();
    }

    /// What is free, in blocks, and how long the longest free run is.
    pub(crate) fn free(&self) -> (u64, u64) {
        let space = lock(&self.space);
        (space.free().saturating_sub(self.spare()), space.longest())
    }

    /// Whether all blocks of a range are free.
    pub(crate) fn is_free(&self, block: u64) -> bool {
        lock(&self.space).contains(block)
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Acquire)
    }

    /// What was freed without a break and is not durable yet, in blocks.
    pub(crate) fn freed(&self) -> u64 {
        lock(&self.freed).iter().flat_map(|(_, runs)| runs).map(|run| run.end - run.start).sum()
    }

    /// The parts of the region that have memory behind them, in bytes.
    pub(crate) fn backed(&self) -> Vec<Range<u64>> {
        self.backing.ranges(self.block.offset(self.blocks()))
    }

    pub(crate) fn busy(&self) -> &BusyExtents {
        &self.busy
    }

    /// What is missing for `want` blocks, or was.
    pub(crate) fn no_space(&self, want: u64) -> NoSpace {
        // In this order (S3).
        let busy = self.busy.stats();
        let bytes = |blocks: u64| blocks.saturating_mul(self.block.bytes());
        NoSpace {
            asked: bytes(want),
            free: bytes(self.free().0 + busy.free),
            pinned: bytes(busy.pinned),
            quarantined: bytes(busy.quarantined),
            not_durable: bytes(busy.not_durable + self.freed()),
            total: bytes(self.blocks()),
        }
    }
}

/// Takes blocks for each of `wants`, or none, and leaves `spare` (S5).
fn take_each(space: &mut FreeSpace, wants: &[(u64, Goal)], spare: u64) -> Option<Vec<Vec<Range<u64>>>> {
    let wanted: u64 = wants.iter().map(|(want, _)| want).sum();
    if space.free() < wanted.saturating_add(spare) {
        return None;
    }
    let mut each = Vec::with_capacity(wants.len());
    for (want, goal) in wants {
        let Some(runs) = space.take(*want, *goal) else {
            each.into_iter().flatten().for_each(|run| space.give_back(run));
            return None;
        };
        each.push(runs);
    }
    Some(each)
}

/// Which parts of the region have memory behind them.
struct Backing {
    /// A bit for each [`HUGE_PAGE`] of the region.
    done: Box<[AtomicU64]>,
    growing: Mutex<()>,
}

impl Backing {
    /// The region grows, and was `len` bytes long: of a part that is longer now, not all has memory.
    fn forget_last(&self, len: u64) {
        if !len.is_multiple_of(HUGE_PAGE) {
            let chunk = len / HUGE_PAGE;
            self.done[(chunk / 64) as usize].fetch_and(!(1 << (chunk % 64)), Ordering::Release);
        }
    }

    /// For a region that grows to `reserved` bytes at most.
    fn new(reserved: u64) -> Self {
        let words = reserved.div_ceil(HUGE_PAGE).div_ceil(64);
        Self { done: (0..words).map(|_| AtomicU64::new(0)).collect(), growing: Mutex::new(()) }
    }

    fn put_behind(&self, region: &Region, bytes: Range<u64>) -> Result<(), SpaceError> {
        for chunk in bytes.start / HUGE_PAGE..bytes.end.div_ceil(HUGE_PAGE) {
            if !self.is_behind(chunk) {
                let _one_at_a_time = lock(&self.growing);
                let start = chunk * HUGE_PAGE;
                region.allocate(start..(start + HUGE_PAGE).min(region.len()))?;
                // ORDER: Release pairs with the Acquire in `is_behind`: who sees the bit may touch the memory.
                self.done[(chunk / 64) as usize].fetch_or(1 << (chunk % 64), Ordering::Release);
            }
        }
        Ok(())
    }

    fn ranges(&self, len: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for chunk in (0..len.div_ceil(HUGE_PAGE)).filter(|chunk| self.is_behind(*chunk)) {
            let (start, end) = (chunk * HUGE_PAGE, ((chunk + 1) * HUGE_PAGE).min(len));
            match ranges.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end = end,
                None => ranges.push(start..end),
            }
        }
        ranges
    }

    fn is_behind(&self, chunk: u64) -> bool {
        // ORDER: pairs with the Release in `put_behind`.
        self.done[(chunk / 64) as usize].load(Ordering::Acquire) & 1 << (chunk % 64) != 0
    }
}
