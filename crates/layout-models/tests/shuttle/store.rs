//! A caller with an allocator: blocks of one file are replaced, parked, given back, and used again.

use std::sync::Mutex;

use crate::mechanism::busy_extents::{CommitId, Extent, FreeExtent};
use crate::sync::yield_now;
use crate::world::World;

/// Positions of the file.
pub(crate) const POSITIONS: u64 = 3;
const BLOCKS: usize = 12;

/// A block, and which of its lives it is in: it grows each time the block is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resolved {
    block: u64,
    life: u64,
}

struct State {
    /// Block of each position.
    map: Vec<u64>,
    /// Life of each block, and whether it is free.
    lives: Vec<(u64, bool)>,
}

/// The shadow of a pool. Its lock is never held across a step of the mechanism, so it is no part of the schedule.
pub(crate) struct Store(Mutex<State>);

impl Store {
    pub(crate) fn new() -> Self {
        let lives = (0..BLOCKS).map(|block| (0, block >= POSITIONS as usize)).collect();
        Self(Mutex::new(State { map: (0..POSITIONS).collect(), lives }))
    }

    pub(crate) fn resolve(&self, position: u64) -> Resolved {
        let state = self.0.lock().unwrap();
        let block = state.map[position as usize];
        Resolved { block, life: state.lives[block as usize].0 }
    }

    /// A transfer under a pin (G1): while it lasts, its block is in the same life and not free.
    pub(crate) fn transfer(&self, resolved: Resolved) {
        for _ in 0..3 {
            let (life, free) = self.0.lock().unwrap().lives[resolved.block as usize];
            assert!(life == resolved.life && !free, "G1: {resolved:?} was given away under a pin");
            yield_now();
        }
    }

    /// Puts another block at each of `positions`, if there are enough; what left.
    pub(crate) fn replace(&self, object: u64, positions: std::ops::Range<u64>) -> Vec<Extent> {
        let mut state = self.0.lock().unwrap();
        let mut left = Vec::new();
        for position in positions {
            let Some(new) = state.lives.iter().position(|(_, free)| *free) else { break };
            state.lives[new] = (state.lives[new].0 + 1, false);
            let old = std::mem::replace(&mut state.map[position as usize], new as u64);
            left.push(Extent { object, start: position, end: position + 1, block: old });
        }
        left
    }

    fn free(&self, free: Vec<FreeExtent>) {
        let mut state = self.0.lock().unwrap();
        for extent in free.into_iter().map(FreeExtent::into_extent) {
            for block in extent.block..extent.block + extent.len() {
                assert!(!state.lives[block as usize].1, "block {block} was given away twice");
                state.lives[block as usize].1 = true;
            }
        }
    }

    /// Takes back what nobody reaches.
    pub(crate) fn reap(&self, world: &World) {
        world.busy.reap(CommitId::ALL, |free| self.free(free));
    }

    /// At the end every block is in the file or free.
    pub(crate) fn check(&self) {
        let state = self.0.lock().unwrap();
        let used = state.lives.iter().filter(|(_, free)| !free).count();
        assert_eq!(used, POSITIONS as usize, "blocks leaked");
    }
}
