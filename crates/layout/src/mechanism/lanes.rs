//! Lanes: how a thread finds a free slot without meeting another thread.
//!
//! A block of slots belongs to one lane, a lane to one running thread. Only that thread fills the block's slots, so
//! filling one takes no read-modify-write; anybody who has the pin may clear it.
//!
//! Stays true  L1: a lane is used by one thread at a time ([`ThisThread`] hands lanes out, under a lock).
//!             L2: an empty slot of a block is filled by its lane's thread only.
//! Lock order  `blocks` of the lane, then `grow`.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::sync::{AtomicU32, Mutex, Ordering, ThisThread, lock};

use super::error::PinError;
use super::segment::{Segment, Slot, SlotState};
use super::words::Table;

/// Threads that may pin through one holder.
const LANES_MAX: usize = 4096;

/// Blocks that are searched for an empty slot before a new one is taken: a few, so that a pin costs the same
/// whether a file has ten pins or a million, and enough that a block which emptied is soon used again.
const BLOCKS_TRIED: usize = 4;

/// The lanes of one holder.
pub(crate) struct Lanes {
    table: Box<[OnceLock<Box<Lane>>]>,
    grow: Mutex<()>,
}

struct Lane {
    /// For each chain the slot that was used last, plus one.
    cursors: Box<[AtomicU32]>,
    /// The lane's blocks in each chain.
    blocks: std::sync::Mutex<HashMap<u32, Blocks>>,
}

#[derive(Default)]
struct Blocks {
    own: Vec<u32>,
    /// Where the search goes on.
    turn: usize,
}

/// An empty slot, and its state.
pub(crate) type EmptySlot = (u32, SlotState);

impl Lanes {
    pub(crate) fn new() -> Self {
        Self { table: (0..LANES_MAX).map(|_| OnceLock::new()).collect(), grow: Mutex::new(()) }
    }

    /// An empty slot in `chain` for the running thread to fill.
    #[inline]
    pub(crate) fn empty_slot(
        &self,
        segment: &Segment,
        slots: &Table<Slot>,
        chain: u32,
        thread: ThisThread,
    ) -> Result<EmptySlot, PinError> {
        if let Some(lane) = self.table.get(thread.lane as usize).and_then(OnceLock::get) {
            let cursor = lane.cursors[chain as usize].load(Ordering::Relaxed);
            if let Some(found) = cursor.checked_sub(1).and_then(|slot| empty(slots, slot)) {
                return Ok(found);
            }
        }
        self.search(segment, slots, chain, thread)
    }

    #[cold]
    fn search(
        &self,
        segment: &Segment,
        slots: &Table<Slot>,
        chain: u32,
        thread: ThisThread,
    ) -> Result<EmptySlot, PinError> {
        let Some(lane) = self.table.get(thread.lane as usize) else {
            return Err(PinError::TooManyThreads { threads_max: LANES_MAX as u32 });
        };
        let lane = lane.get_or_init(|| {
            let chains = segment.geometry().chains;
            Box::new(Lane { cursors: zeroed_cursors(chains), blocks: Default::default() })
        });
        let mut blocks = lane.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let blocks = blocks.entry(chain).or_default();
        let found = match blocks.search(segment, slots, BLOCKS_TRIED) {
            Some(found) => found,
            None => match self.hang_block(segment, chain, thread.lane)? {
                Some(block) => {
                    blocks.own.push(block);
                    let first = segment.slots_of(block).start;
                    empty(slots, first).ok_or(PinError::Damaged)?
                }
                None => blocks.search(segment, slots, usize::MAX).ok_or(PinError::NoSlot {
                    slots_max: segment.geometry().slots_max(),
                })?,
            },
        };
        lane.cursors[chain as usize].store(found.0 + 1, Ordering::Relaxed);
        Ok(found)
    }

    /// Takes a new block and hangs it at the head of `chain`; `None` when all are taken.
    fn hang_block(&self, segment: &Segment, chain: u32, lane: u32) -> Result<Option<u32>, PinError> {
        let _grow = lock(&self.grow);
        let used = segment.head().blocks_used.load(Ordering::Relaxed);
        if used >= u64::from(segment.geometry().blocks_max) {
            return Ok(None);
        }
        let block = used as u32;
        segment.allocate_block(block).map_err(PinError::from_growth)?;
        let head = segment.chain(chain);
        segment.block_head(block).lane.store(u64::from(lane), Ordering::Relaxed);
        segment.block_head(block).next.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire load in `Segment::blocks`. The full fence of the first pin in this
        // block comes later, so a break that this pin does not see finds the block in the chain.
        head.store(u64::from(block) + 1, Ordering::Release);
        // ORDER: Release pairs with the Acquire load in `Segment::all`.
        segment.head().blocks_used.store(used + 1, Ordering::Release);
        Ok(Some(block))
    }
}

impl Blocks {
    /// Looks for an empty slot in at most `tries` blocks, going on where the last search ended.
    fn search(&mut self, segment: &Segment, slots: &Table<Slot>, tries: usize) -> Option<EmptySlot> {
        for _ in 0..tries.min(self.own.len()) {
            let block = self.own[self.turn % self.own.len()];
            if let Some(found) = segment.slots_of(block).find_map(|slot| empty(slots, slot)) {
                return Some(found);
            }
            self.turn = (self.turn + 1) % self.own.len();
        }
        None
    }
}

/// The slot's state if it is empty.
#[inline]
fn empty(slots: &Table<Slot>, slot: u32) -> Option<EmptySlot> {
    // ORDER: Acquire pairs with the Release store that cleared the slot, perhaps on another thread.
    let state = SlotState(slots.at(slot).state.load(Ordering::Acquire));
    state.is_empty().then_some((slot, state))
}

fn zeroed_cursors(chains: u32) -> Box<[AtomicU32]> {
    (0..chains).map(|_| AtomicU32::new(0)).collect()
}
