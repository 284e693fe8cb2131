//! Blocks under holes, and first writes: how a file comes to have memory.
//!
//! Stays true  P1: nobody reads a block before it is zeroed, or wholly written (G10).
//!             P2: all blocks that a step needs are taken before it changes anything: out of space, nothing has changed.
//!             P3: between the look at a file's map and its change nobody else changes the map here: `populate` is held,
//!                 by breaks too while they change it (under `Detach` one may run while a device's pin is resolved).
//!             P4: before a map has bytes where there was a hole, no view shows zeros there any more; what is asked for
//!                 meanwhile waits for `populate`.
//! Who may     whoever holds a pin of the range (M1). Whoever holds `populate` waits for nobody.

use std::ops::Range;

use smallvec::SmallVec;

use crate::allocator::Fresh;
use crate::error::{CopyError, JournalError, SpaceError};
use crate::extents::{Piece, Run, State};
use crate::file::OpenFile;
use crate::lock::{lock, read, write};
use crate::medium::record::{Draft, Entry};
use crate::node::{FileId, FileMap};
use crate::space::Goal;

impl OpenFile {
    /// Gives every block of a range memory with the file's bytes in it: zeros, where there were none.
    pub(crate) fn populate(&self, blocks: Range<u64>) -> Result<(), SpaceError> {
        let zero = |new: &NewBlocks| self.pool.zero(&(new.block..new.block + new.len)).map_err(SpaceError::Zero);
        self.fill(blocks, zero).map(drop)
    }

    /// Sets blocks aside under the holes of a range. They read as zeros, and are zeroed when they are first needed.
    pub(crate) fn set_aside(&self, blocks: Range<u64>) -> Result<(), SpaceError> {
        let _populating = lock(&self.body().populate);
        let holes: Vec<Piece> = self.pieces_of(blocks).1.into_iter().filter(|piece| piece.run.is_none()).collect();
        if holes.is_empty() {
            return Ok(());
        }
        let taken = self.take_for(&holes)?;
        let record = self.pool.journal.prepare(|draft| self.draft_put(draft, &taken, false))?;
        let mut map = write(&self.body().map);
        taken.into_iter().for_each(|taken| taken.put_into(&mut map, State::SetAside));
        self.note(record, &mut map);
        Ok(())
    }

    /// Sets a block aside that was taken before, if there is a hole for it.
    pub(crate) fn put_into_hole(&self, at: u64, fresh: Fresh<'_>) -> Result<(), JournalError> {
        let _populating = lock(&self.body().populate);
        let taken = [TakenFor { at, fresh }];
        let record = self.pool.journal.prepare(|draft| self.draft_put(draft, &taken, false))?;
        let mut map = write(&self.body().map);
        if map.extents.piece(at, at + 1).run.is_none() {
            taken.into_iter().for_each(|taken| taken.put_into(&mut map, State::SetAside));
            self.note(record, &mut map);
        }
        Ok(())
    }

    /// What the log says of blocks that are put under holes. Their bytes are not durable: as far as that takes a flush, they
    /// count as set aside.
    fn draft_put(&self, draft: &mut Draft, taken: &[TakenFor<'_>], written: bool) {
        let node = self.node.id.0;
        for (at, run) in taken.iter().flat_map(TakenFor::new_blocks) {
            draft.add(Entry::Put { node, at, block: run.block, len: run.len, written });
        }
    }

    /// Takes memory for what is missing in a range, has it written by `write_new`, and only then shows it to others.
    /// Returns the pieces that were there before.
    pub(crate) fn fill<E>(
        &self,
        blocks: Range<u64>,
        mut write_new: impl FnMut(&NewBlocks) -> Result<(), E>,
    ) -> Result<Vec<Piece>, E>
    where
        E: From<NoBlocks>,
    {
        let _populating = lock(&self.body().populate);
        let shown = blocks.clone();
        let (there, missing) = self.pieces_of(blocks);
        let (holes, set_aside): (Vec<Piece>, Vec<Piece>) = missing.into_iter().partition(|piece| piece.run.is_none());
        let taken = self.take_for(&holes).map_err(|error| NoBlocks(self.node.id, error))?;
        let in_holes = taken.iter().flat_map(TakenFor::new_blocks);
        let unwritten = set_aside.iter().filter_map(|piece| Some((piece.at, piece.run?)));
        for (at, run) in in_holes.chain(unwritten) {
            write_new(&NewBlocks { at, block: run.block, len: run.len })?;
        }
        let hidden = self.body().views.hide_zeros(&shown);
        hidden.map_err(|error| NoBlocks(self.node.id, error.into()))?;
        let state = self.pool.filled();
        let written = state == State::Written;
        let record = self.pool.journal.prepare(|draft| {
            self.draft_put(draft, &taken, written);
            let node = self.node.id.0;
            let marked = set_aside.iter().filter(|_| written);
            marked.for_each(|piece| draft.add(Entry::Mark { node, at: piece.at, len: piece.len, written }));
        });
        let record = record.map_err(|error| NoBlocks(self.node.id, error.into()))?;
        let new: SmallVec<[Run; 1]> = new_runs(&taken, &set_aside).collect();
        let mut map = write(&self.body().map);
        taken.into_iter().for_each(|taken| taken.put_into(&mut map, state));
        set_aside.iter().for_each(|piece| drop(map.extents.set_state(piece, state)));
        if record.says_something() {
            self.note(record, &mut map);
        }
        // Not durable. Noted when the map has it, and not before (Y1).
        for run in new {
            self.pool.note_dirty(&self.node, self.pool.block.to_bytes(&(run.block..run.end())));
        }
        Ok(there)
    }

    /// The pieces of a range that hold bytes, and those that do not.
    fn pieces_of(&self, blocks: Range<u64>) -> (Vec<Piece>, Vec<Piece>) {
        let map = read(&self.body().map);
        map.extents.pieces(blocks).partition(|piece| piece.bytes_at().is_some())
    }

    /// Takes blocks for every hole, or none (P2).
    fn take_for(&self, holes: &[Piece]) -> Result<Vec<TakenFor<'_>>, SpaceError> {
        let after = |hole: &Piece| read(&self.body().map).extents.before(hole.at);
        let want = |hole: &Piece| (hole.len, Goal { after: after(hole), at: hole.at });
        let wants: SmallVec<[_; 1]> = holes.iter().map(want).collect();
        let taken = self.pool.take_each(&wants)?;
        Ok(holes.iter().zip(taken).map(|(hole, fresh)| TakenFor { at: hole.at, fresh }).collect())
    }
}

/// The runs in the pool that are filled with a file's first bytes.
fn new_runs(taken: &[TakenFor<'_>], set_aside: &[Piece]) -> impl Iterator<Item = Run> {
    let in_holes = taken.iter().flat_map(TakenFor::new_blocks).map(|(_, run)| run);
    in_holes.chain(set_aside.iter().filter_map(|piece| piece.run))
}

/// There were no blocks for a file.
pub(crate) struct NoBlocks(FileId, SpaceError);

impl From<NoBlocks> for SpaceError {
    fn from(NoBlocks(_, error): NoBlocks) -> Self {
        error
    }
}

impl From<NoBlocks> for CopyError {
    fn from(NoBlocks(file, source): NoBlocks) -> Self {
        Self::Space { file, source }
    }
}

/// Blocks that are about to be shown for the first time.
pub(crate) struct NewBlocks {
    /// The first, in the file.
    pub(crate) at: u64,
    /// The first, in the pool.
    pub(crate) block: u64,
    /// How many.
    pub(crate) len: u64,
}

/// Blocks that were taken for a hole.
pub(crate) struct TakenFor<'a> {
    at: u64,
    fresh: Fresh<'a>,
}

impl TakenFor<'_> {
    /// Its runs, each with its first file block.
    fn new_blocks(&self) -> impl Iterator<Item = (u64, Run)> {
        let mut at = self.at;
        self.fresh.runs().map(move |run| {
            at += run.len;
            (at - run.len, run)
        })
    }

    /// Puts them into the hole that they were taken for.
    fn put_into(self, map: &mut FileMap, state: State) {
        for (at, run) in self.new_blocks() {
            map.extents.insert(at, Run { state, ..run });
        }
        self.fresh.used();
    }
}
