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
//! Lock order  `backing` alone; or the busy extents' locks, then `space`.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pinfold_layout::{BusyExtents, CommitId, FreeExtent};
use pinfold_region::Region;
use smallvec::{SmallVec, smallvec};

use crate::error::{NoSpace, SpaceError};
use crate::extents::Run;
use crate::lock::lock;
use crate::space::{FreeSpace, Goal};
use crate::units::{BlockSize, HUGE_PAGE};

pub(crate) struct Allocator {
    space: Mutex<FreeSpace>,
    busy: BusyExtents,
    block: BlockSize,
    blocks: u64,
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
        self.runs.iter().map(|run| Run { block: run.start, len: run.end - run.start, written: false })
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
    /// All blocks of a region are free.
    pub(crate) fn new(region: &Region, block: BlockSize, busy: BusyExtents) -> Self {
        let blocks = block.floor(region.len());
        let space = Mutex::new(FreeSpace::new(blocks, block.floor(HUGE_PAGE)));
        Self { space, busy, block, blocks, backing: Backing::new(region.len()) }
    }

    /// Takes `want` blocks, as near to the goal and in as few runs as there are.
    pub(crate) fn take(&self, region: &Region, want: u64, goal: Goal) -> Result<Fresh<'_>, SpaceError> {
        let taken = lock(&self.space).take(want, goal);
        let taken = taken.or_else(|| {
            self.reap();
            lock(&self.space).take(want, goal)
        });
        let runs = taken.ok_or_else(|| SpaceError::Full(self.no_space(want)))?;
        self.fresh(region, runs)
    }

    /// The same for several wants: all of them or none, as one step (S4).
    pub(crate) fn take_each(&self, region: &Region, wants: &[(u64, Goal)]) -> Result<EachFresh<'_>, SpaceError> {
        if let [(want, goal)] = wants {
            return Ok(smallvec![self.take(region, *want, *goal)?]);
        }
        let taken = take_each(&mut lock(&self.space), wants);
        let taken = taken.or_else(|| {
            self.reap();
            take_each(&mut lock(&self.space), wants)
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

    /// Takes back what nobody reaches any more. (The pool's state lives in memory: all commits are durable at once.)
    pub(crate) fn reap(&self) {
        self.busy.reap(CommitId::ALL, |free| {
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
        (space.free(), space.longest())
    }

    /// Whether all blocks of a range are free.
    pub(crate) fn is_free(&self, block: u64) -> bool {
        lock(&self.space).contains(block)
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The parts of the region that have memory behind them, in bytes.
    pub(crate) fn backed(&self) -> Vec<Range<u64>> {
        self.backing.ranges()
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
            not_durable: bytes(busy.not_durable),
            total: bytes(self.blocks),
        }
    }
}

/// Takes blocks for each of `wants`, or none.
fn take_each(space: &mut FreeSpace, wants: &[(u64, Goal)]) -> Option<Vec<Vec<Range<u64>>>> {
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
    len: u64,
    growing: Mutex<()>,
}

impl Backing {
    fn new(len: u64) -> Self {
        let words = len.div_ceil(HUGE_PAGE).div_ceil(64);
        Self { done: (0..words).map(|_| AtomicU64::new(0)).collect(), len, growing: Mutex::new(()) }
    }

    fn put_behind(&self, region: &Region, bytes: Range<u64>) -> Result<(), SpaceError> {
        for chunk in bytes.start / HUGE_PAGE..bytes.end.div_ceil(HUGE_PAGE) {
            if !self.is_behind(chunk) {
                let _one_at_a_time = lock(&self.growing);
                let start = chunk * HUGE_PAGE;
                region.allocate(start..(start + HUGE_PAGE).min(self.len))?;
                // ORDER: Release pairs with the Acquire in `is_behind`: who sees the bit may touch the memory.
                self.done[(chunk / 64) as usize].fetch_or(1 << (chunk % 64), Ordering::Release);
            }
        }
        Ok(())
    }

    fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for chunk in (0..self.len.div_ceil(HUGE_PAGE)).filter(|chunk| self.is_behind(*chunk)) {
            let (start, end) = (chunk * HUGE_PAGE, ((chunk + 1) * HUGE_PAGE).min(self.len));
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
