//! Lanes: how a thread finds a free slot without meeting another thread.
//!
//! A block of slots belongs to one lane, a lane to one running thread. Only that thread fills the block's slots, so
//! filling one takes no read-modify-write; anybody who has the pin may clear it.
//!
//! Stays true  L1: a lane is used by one thread at a time ([`ThisThread`] hands lanes out, under a lock).
//!             L2: an empty slot of a block is filled by its lane's thread only.
//! Lock order  `blocks` of the lane, then `grow`.

use std::collections::HashMap;
use std::ptr::NonNull;
// Not modelled: these are one thread's at a time (L1).
use std::sync::{OnceLock, atomic::AtomicPtr};

use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, ThisThread, lock, note, noted};

use super::error::PinError;
use super::segment::{Segment, Slot, SlotState};
use super::words::At;

/// Threads that may pin through one holder.
const LANES_MAX: usize = 4096;

/// Blocks that are searched for an empty slot before a new one is taken: a few, so that a pin costs the same
/// whether a file has ten pins or a million, and enough that a block which emptied is soon used again.
const BLOCKS_TRIED: usize = 4;

/// The lanes of one holder.
pub(crate) struct Lanes {
    /// Under which threads note their lane; no other holder of this process has it.
    id: u64,
    table: Box<[OnceLock<Box<Lane>>]>,
    grow: Mutex<()>,
}

struct Lane {
    /// The version that was given last. Counted here and not in the slot, so that a pin need not wait for what the
    /// last unpin stored.
    version: AtomicU64,
    /// The number of the thread that has the lane.
    thread: AtomicU32,
    /// For each chain the slot that was used last, if one was.
    cursors: Box<[AtomicPtr<Slot>]>,
    /// The lane's blocks in each chain.
    blocks: Mutex<HashMap<u32, Blocks>>,
}

#[derive(Default)]
struct Blocks {
    own: Vec<u32>,
    /// Where the search goes on.
    turn: usize,
}

/// A slot that is empty, and the version it will be.
#[derive(Clone, Copy)]
pub(crate) struct EmptySlot {
    pub(crate) slot: At<Slot>,
    pub(crate) version: u64,
    /// The number of the thread that fills it.
    pub(crate) thread: u32,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        // Not modelled: a counter, no part of a protocol.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, table: (0..LANES_MAX).map(|_| OnceLock::new()).collect(), grow: Mutex::new(()) }
    }

    /// A number that no other holder of this process has or will have.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The slot that the running thread used last in `chain`, if it is empty again.
    #[inline]
    pub(crate) fn slot_at_hand(&self, chain: u32) -> Option<EmptySlot> {
        let lane = self.noted_lane()?;
        let slot = At::new(NonNull::new(lane.cursors.get(chain as usize)?.load(Ordering::Relaxed))?);
        // SAFETY: cursors point into the slots of the segment, which the holder keeps as it keeps these lanes.
        let empty = is_empty(unsafe { slot.get() });
        empty.then(|| lane.empty_slot(slot))
    }

    /// The running thread's lane, if that is what the thread noted last.
    #[inline]
    fn noted_lane(&self) -> Option<&Lane> {
        let lane = noted(self.id)?.cast::<Lane>();
        // SAFETY: only `own_lane` notes under this id, which no other `Lanes` has or will have, and what it notes is a
        // lane in `table`: boxed, and never removed while `self` lives.
        Some(unsafe { lane.as_ref() })
    }

    /// The running thread's lane.
    fn own_lane(&self, segment: &Segment, thread: ThisThread) -> Result<&Lane, PinError> {
        if let Some(lane) = self.noted_lane() {
            return Ok(lane);
        }
        let Some(lane) = self.table.get(thread.lane as usize) else {
            return Err(PinError::TooManyThreads { threads_max: LANES_MAX as u32 });
        };
        let lane: &Lane = lane.get_or_init(|| Box::new(Lane::new(segment.geometry().chains)));
        lane.thread.store(thread.number, Ordering::Relaxed);
        note(self.id, NonNull::from(lane).cast());
        Ok(lane)
    }

    /// An empty slot in `chain` for the running thread to fill.
    pub(crate) fn empty_slot(&self, segment: &Segment, chain: u32, thread: ThisThread) -> Result<EmptySlot, PinError> {
        match self.slot_at_hand(chain) {
            Some(found) => Ok(found),
            None => self.search(segment, chain, thread),
        }
    }

    /// The same slot of the running thread's lane, as another version.
    pub(crate) fn again(&self, segment: &Segment, slot: At<Slot>, thread: ThisThread) -> Result<EmptySlot, PinError> {
        Ok(self.own_lane(segment, thread)?.empty_slot(slot))
    }

    fn search(&self, segment: &Segment, chain: u32, thread: ThisThread) -> Result<EmptySlot, PinError> {
        let lane = self.own_lane(segment, thread)?;
        let mut blocks = lock(&lane.blocks);
        let blocks = blocks.entry(chain).or_default();
        let found = match blocks.search(segment, BLOCKS_TRIED) {
            Some(found) => found,
            None => match self.hang_block(segment, chain)? {
                Some(block) => {
                    blocks.own.push(block);
                    let first = segment.slots_of(block).start;
                    is_empty(segment.slot(first)).then_some(first).ok_or(PinError::Damaged)?
                }
                None => blocks
                    .search(segment, usize::MAX)
                    .ok_or(PinError::NoSlot { slots_max: segment.geometry().slots_max() })?,
            },
        };
        let found = segment.place(found);
        lane.cursors[chain as usize].store(found.address().as_ptr(), Ordering::Relaxed);
        Ok(lane.empty_slot(found))
    }

    /// Takes a new block and hangs it at the head of `chain`; `None` when all are taken.
    fn hang_block(&self, segment: &Segment, chain: u32) -> Result<Option<u32>, PinError> {
        let _grow = lock(&self.grow);
        let used = segment.head().blocks_used.load(Ordering::Relaxed);
        if used >= u64::from(segment.geometry().blocks_max) {
            return Ok(None);
        }
        let block = used as u32;
        segment.allocate_block(block).map_err(PinError::from_growth)?;
        let head = segment.chain(chain);
        segment.block_head(block).next.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire load in `Segment::blocks`. The full fence of the first pin in this
        // block comes later, so a break that this pin does not see finds the block in the chain.
        head.store(u64::from(block) + 1, Ordering::Release);
        // ORDER: Release pairs with the Acquire load in `Segment::all`.
        segment.head().blocks_used.store(used + 1, Ordering::Release);
        Ok(Some(block))
    }
}

impl Lane {
    fn new(chains: u32) -> Self {
        Self {
            version: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            cursors: (0..chains).map(|_| AtomicPtr::default()).collect(),
            blocks: Mutex::new(HashMap::new()),
        }
    }

    /// A slot of this lane, as a version that none of its slots has had. Only the lane's thread counts (L1), so a load
    /// and a store do.
    #[inline]
    fn empty_slot(&self, slot: At<Slot>) -> EmptySlot {
        let version = self.version.load(Ordering::Relaxed) + 1;
        self.version.store(version, Ordering::Relaxed);
        EmptySlot { slot, version, thread: self.thread.load(Ordering::Relaxed) }
    }
}

impl Blocks {
    /// Looks for an empty slot in at most `tries` blocks, going on where the last search ended.
    fn search(&mut self, segment: &Segment, tries: usize) -> Option<u32> {
        for _ in 0..tries.min(self.own.len()) {
            let block = self.own[self.turn % self.own.len()];
            if let Some(found) = segment.slots_of(block).find(|slot| is_empty(segment.slot(*slot))) {
                return Some(found);
            }
            self.turn = (self.turn + 1) % self.own.len();
        }
        None
    }
}

#[inline]
fn is_empty(slot: &Slot) -> bool {
    // ORDER: Acquire pairs with the Release store that cleared the slot, perhaps on another thread.
    SlotState(slot.state.load(Ordering::Acquire)).is_empty()
}
