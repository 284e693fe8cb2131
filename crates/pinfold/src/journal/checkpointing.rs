//! Taking a checkpoint: the state goes into free blocks, then the superblock names it, then the log before it is free.
//!
//! Stays true  K1: blocks for the next checkpoint are kept back at any time (`Allocator::set_spare`): a full pool can take
//!                 one. What it has grows by no more than the log between two of them.
//!             K2: the log is durable up to all that was written down before the superblock names the checkpoint.
//!             K3: the blocks of the former one are free, and the log before the next, only after both copies of its
//!                 superblock are durable: so either may be lost, and nothing is.

use std::ops::Range;

use super::capture::{Captured, capture};
use super::{Journal, Live, OnMedium};
use crate::allocator::Fresh;
use crate::core::Core;
use crate::error::{JournalError, SpaceError};
use crate::extents::Run;
use crate::lock::lock;
use crate::medium::checkpoint::{CHUNK_HEADER, chunk_header};
use crate::medium::superblock::{CheckpointPlace, FORMAT_VERSION, Superblock};
use crate::space::Goal;

impl Journal {
    /// Takes a checkpoint, if there is anything in the log.
    pub(crate) fn checkpoint(&self, core: &Core) -> Result<(), JournalError> {
        let Some(live) = &self.live else { return Ok(()) };
        let taken = live.checkpoint(core);
        let mut signals = lock(&live.signals);
        signals.checkpoints += 1;
        signals.checkpoint_wanted = false;
        signals.last_failure = taken.as_ref().err().cloned();
        live.changed.notify_all();
        taken
    }

    /// Begins the log of this opening: with a checkpoint, if there was anything to replay.
    pub(crate) fn begin_anew(&self, core: &Core) -> Result<(), JournalError> {
        match self.log_use() {
            (0, _) => self.change_superblock(core, |_| {})?,
            _ => self.checkpoint(core)?,
        }
        self.live.iter().for_each(|live| live.put_seal(&core.region));
        Ok(())
    }

    /// Changes what the superblock says, beside where the checkpoint is.
    pub(crate) fn change_superblock(
        &self,
        core: &Core,
        change: impl FnOnce(&mut Superblock),
    ) -> Result<(), JournalError> {
        let Some(live) = &self.live else { return Ok(()) };
        let mut medium = lock(&live.medium);
        let mut next = medium.superblock.clone();
        change(&mut next);
        live.write_superblock(core, &mut medium, next)
    }

    /// What the superblock says now.
    pub(crate) fn superblock(&self) -> Option<Superblock> {
        self.live.as_ref().map(|live| lock(&live.medium).superblock.clone())
    }

    /// How many bytes of the log are in use, and how many it has.
    pub(crate) fn log_use(&self) -> (u64, u64) {
        self.live.as_ref().map_or((0, 0), |live| {
            let tail = lock(&live.tail);
            (tail.position - tail.start, live.log_len)
        })
    }
}

impl Live {
    fn checkpoint(&self, core: &Core) -> Result<(), JournalError> {
        let mut medium = lock(&self.medium);
        self.check()?;
        let from = lock(&self.tail).position;
        if from == medium.superblock.replay_from {
            return Ok(());
        }
        let captured = capture(&core.nodes);
        let mut next = medium.superblock.clone();
        next.replay_from = from;
        // Read after: whoever is in the capture has a number by then.
        next.last_node = core.last_node();
        let chunks = self.write_chunks(core, &mut next, &captured)?;
        // K2.
        core.flush_log()?;
        let blocks = chunks.iter().flat_map(Fresh::runs).map(|run| run.block..run.end()).collect();
        // Before the superblock: if that cannot be made durable, it may name them all the same.
        chunks.into_iter().for_each(Fresh::used);
        self.write_superblock(core, &mut medium, next)?;
        // K3.
        let former = std::mem::replace(&mut medium.chunks, blocks);
        core.allocator.give_back_checkpoint(former);
        core.allocator.set_spare(spare(&medium.superblock));
        lock(&self.tail).start = from;
        Ok(())
    }

    /// Writes what was captured into free blocks, durably, and says in `next` where it lies.
    fn write_chunks<'a>(
        &self,
        core: &'a Core,
        next: &mut Superblock,
        captured: &Captured,
    ) -> Result<Vec<Fresh<'a>>, JournalError> {
        let chunks = take_chunks(core, captured.items.len() as u64)?;
        let runs: Vec<Run> = chunks.iter().flat_map(Fresh::runs).collect();
        let first = runs.first().map_or((0, 0), |run| (run.block, run.len));
        next.checkpoint = CheckpointPlace {
            block: first.0,
            blocks: first.1,
            bytes: captured.items.len() as u64,
            nodes: captured.nodes,
        };
        let mut rest = &captured.items[..];
        for (index, run) in runs.iter().enumerate() {
            let room = (core.block.offset(run.len) - CHUNK_HEADER) as usize;
            let (items, later) = rest.split_at(room.min(rest.len()));
            let after = runs.get(index + 1).map(|run| (run.block, run.len));
            let place = core.block.offset(run.block);
            let header = chunk_header(next, index as u64, after, items);
            self.write(&core.region, place, &header)?;
            self.write(&core.region, place + CHUNK_HEADER, items)?;
            self.make_durable(core, place..place + CHUNK_HEADER + items.len() as u64)?;
            rest = later;
        }
        core.region.fence().map_err(|error| self.fail(&error.to_string()))?;
        Ok(chunks)
    }

    fn write_superblock(&self, core: &Core, medium: &mut OnMedium, mut next: Superblock) -> Result<(), JournalError> {
        self.check()?;
        next.generation = medium.superblock.generation + 1;
        next.version = FORMAT_VERSION;
        let bytes = next.to_bytes();
        for place in next.places() {
            self.write(&core.region, place, &bytes)?;
            self.make_durable(core, place..place + bytes.len() as u64)?;
            core.region.fence().map_err(|error| self.fail(&error.to_string()))?;
        }
        medium.superblock = next;
        Ok(())
    }

    fn make_durable(&self, core: &Core, place: Range<u64>) -> Result<(), JournalError> {
        core.region.flush(place).map_err(|error| self.fail(&error.to_string()))
    }
}

/// Blocks for a checkpoint of so many bytes, of those that are kept back for it (K1).
fn take_chunks(core: &Core, bytes: u64) -> Result<Vec<Fresh<'_>>, JournalError> {
    let mut taken: Vec<Fresh<'_>> = Vec::new();
    loop {
        let runs = taken.iter().flat_map(Fresh::runs);
        let room: u64 = runs.map(|run| core.block.offset(run.len) - CHUNK_HEADER).sum();
        if room >= bytes && !taken.is_empty() {
            return Ok(taken);
        }
        let missing = core.block.ceil(bytes - room + CHUNK_HEADER);
        let more = core.allocator.take_spare(&core.region, missing, Goal::default());
        taken.push(more.map_err(|error| match error {
            SpaceError::Full(space) => JournalError::NoCheckpoint(space),
            error => JournalError::NoMemory(error.to_string().into()),
        })?);
    }
}

/// How many blocks the next checkpoint may need (K1): as much as this one and all that a log can add, and a header for
/// each chunk of it.
pub(crate) fn spare(superblock: &Superblock) -> u64 {
    let bytes = superblock.checkpoint.bytes + superblock.log_len;
    let blocks = superblock.block.ceil(bytes);
    // Where every chunk is one block.
    superblock.block.ceil(bytes + blocks * CHUNK_HEADER) + 2
}
