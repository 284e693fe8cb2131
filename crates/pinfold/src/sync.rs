//! Making things durable: of one file, or of the whole pool.
//!
//! Bytes come first, then the records that speak of them: so blocks that were filled for the first time read as zeros after
//! a crash, or as what was written, and never as what they held before (G10).
//!
//! Stays true  Z1: what a file held when `sync` was called, bytes, length, layout and names of it, is durable when it returns.
//!                 Bytes under a write pin are as the device has them.
//!             Z2: nothing is said of a file in the log once that says that it ended: whoever opened the pool would look
//!                 for a file that is not there.
//!             Z3: it does not return before another sync that has taken notes of the same bytes has flushed them.
//! Lock order  `syncing`; a file's `flushing`; none of the journal's with the latter. A map as everywhere.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};

use crate::core::Core;
use crate::error::JournalError;
use crate::extents::{Piece, State};
use crate::file::File;
use crate::journal::Prepared;
use crate::lock::{lock, read, write};
use crate::medium::attributes::Settings;
use crate::medium::record::{Draft, Entry};
use crate::node::{FileBody, Node};
use crate::pool::Pool;

/// How many pieces one record marks as written.
const MARKS_MAX: usize = 1024;

/// What becomes of a sync that finds no room in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It waits for the keeper.
    Wait,
    /// It is the keeper's, and gives up.
    Try,
}

/// How far a sync of one file came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Synced {
    Done,
    /// The layout was changed meanwhile: blocks may be filled that were not flushed.
    Changed,
    NoRoom,
}

impl File {
    /// Makes the file's bytes, its length, its layout and its names durable, as they were when this was called (G9).
    /// Nothing is promised for bytes under a write pin. Of a pool without a medium nothing is durable, and this does
    /// nothing.
    ///
    /// # Errors
    /// [`JournalError`]: the medium refused. The pool takes no more changes then.
    pub fn sync(&self) -> Result<(), JournalError> {
        let pool = &self.open.pool;
        pool.sync_node(&self.open.node, Room::Wait)?;
        pool.flush_log()
    }
}

impl Pool {
    /// Makes everything durable that was done before this was called (G9).
    ///
    /// # Errors
    /// As [`File::sync`].
    pub fn sync(&self) -> Result<(), JournalError> {
        self.shared.sync_all(Room::Wait).map(drop)
    }
}

impl Core {
    /// See [`Pool::sync`]. False if there was no room in the log.
    pub(crate) fn sync_all(&self, room: Room) -> Result<bool, JournalError> {
        // Z3. The keeper does not wait: who syncs may wait for the checkpoint that only it can take.
        let _syncing = match room {
            Room::Wait => lock(&self.syncing),
            Room::Try => match self.syncing.try_lock() {
                Ok(syncing) => syncing,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(true),
            },
        };
        let mut dirty = self.take_dirty();
        while let Some(node) = dirty.pop() {
            if !self.sync_node(&node, room)? {
                self.put_dirty_back(&node, &dirty);
                return Ok(false);
            }
        }
        self.flush_log()?;
        Ok(true)
    }

    /// Makes a file's bytes durable, and appends the records that say so. False if there was no room in the log.
    pub(crate) fn sync_node(&self, node: &Arc<Node>, room: Room) -> Result<bool, JournalError> {
        if !self.journal.is_live() {
            return Ok(true);
        }
        if let Some(body) = node.file().filter(|_| self.journal.flushes()) {
            loop {
                match self.sync_body(node, body, room)? {
                    Synced::Done => break,
                    Synced::Changed => {}
                    Synced::NoRoom => return Ok(false),
                }
            }
        }
        match node.file() {
            Some(body) if node.take_touched() => self.note_touched(node, body, room),
            _ => Ok(true),
        }
    }

    /// Says when a file was changed last. False if there was no room in the log.
    fn note_touched(&self, node: &Node, body: &FileBody, room: Room) -> Result<bool, JournalError> {
        let record = self.prepare(room, |draft| {
            let (node, modified, changed) = (node.id.0, node.modified_nanos(), node.changed_nanos());
            // Records that came meanwhile say when it was changed, and not when it was modified.
            draft.time = changed;
            draft.add(match modified == changed {
                true => Entry::Touch { node },
                false => Entry::Set { node, settings: Settings { modified: Some(modified), ..Settings::default() } },
            });
        })?;
        let Some(record) = record else {
            node.is_touched();
            return Ok(false);
        };
        // Locked, so that it does not end before the record (Z2).
        let map = read(&body.map);
        if !map.ended {
            record.append(&self.region);
        }
        Ok(true)
    }

    fn sync_body(&self, node: &Arc<Node>, body: &FileBody, room: Room) -> Result<Synced, JournalError> {
        // Z3. Nobody waits for room in the log meanwhile.
        let flushing = lock(&body.flushing);
        // What may be stored at any moment is never synced for good. Before the notes: what a view shows no more is noted.
        let mut places = body.views.writable_places();
        if !places.is_empty() {
            self.list(node);
        }
        // Before the look at the map, so that what is noted has its place there (Y1).
        places.extend(lock(&body.dirty).take());
        let (generation, filled) = {
            let map = read(&body.map);
            (map.changes.generation(), map.extents.filled())
        };
        let blocks = |piece: &Piece| self.place_of(piece);
        places.extend(filled.iter().filter_map(blocks));
        // ORDER: relaxed; who pins behind our back has been told what a sync is worth to him (Z1).
        if self.pinned_by_others.load(Ordering::Relaxed) {
            places.extend(read(&body.map).extents.pieces_in(0..u64::MAX).iter().filter_map(blocks));
        }
        self.flush_places(places)?;
        drop(flushing);
        for pieces in filled.chunks(MARKS_MAX) {
            let marks = self.prepare(room, |draft| draft_marks(draft, node, pieces))?;
            let Some(marks) = marks else { return Ok(Synced::NoRoom) };
            let mut map = write(&body.map);
            if map.ended {
                return Ok(Synced::Done);
            }
            if map.changes.generation() != generation {
                return Ok(Synced::Changed);
            }
            map.extents.set_written(pieces);
            map.position = marks.append(&self.region);
        }
        Ok(Synced::Done)
    }

    /// Makes what was filled in a range of blocks durable, and says so. For who has closed the range: it stands still.
    pub(crate) fn settle(&self, node: &Node, body: &FileBody, blocks: &Range<u64>) -> Result<(), JournalError> {
        let is_filled = |piece: &Piece| piece.run.is_some_and(|run| run.state == State::Filled);
        let mut filled = read(&body.map).extents.pieces_in(blocks.clone());
        filled.retain(is_filled);
        self.flush_places(filled.iter().filter_map(|piece| self.place_of(piece)).collect())?;
        for pieces in filled.chunks(MARKS_MAX) {
            let marks = self.journal.prepare(|draft| draft_marks(draft, node, pieces))?;
            let mut map = write(&body.map);
            map.extents.set_written(pieces);
            map.position = marks.append(&self.region);
        }
        Ok(())
    }

    /// Where the blocks of a piece lie in the region, in bytes.
    fn place_of(&self, piece: &Piece) -> Option<Range<u64>> {
        piece.run.map(|run| self.block.to_bytes(&(run.block..run.end())))
    }

    fn prepare(&self, room: Room, write: impl FnOnce(&mut Draft)) -> Result<Option<Prepared<'_>>, JournalError> {
        match room {
            Room::Wait => self.journal.prepare(write).map(Some),
            Room::Try => self.journal.try_prepare(write),
        }
    }

    /// Makes ranges of the region durable.
    pub(crate) fn flush_places(&self, mut places: Vec<Range<u64>>) -> Result<(), JournalError> {
        places.sort_unstable_by_key(|place| place.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(places.len());
        for place in places {
            match merged.last_mut().filter(|last| place.start <= last.end) {
                Some(last) => last.end = last.end.max(place.end),
                None => merged.push(place),
            }
        }
        if merged.is_empty() {
            return Ok(());
        }
        let len = self.region.len();
        for place in merged {
            let place = place.start..place.end.min(len);
            self.region.flush(place).map_err(|error| self.journal.fail(&error.to_string()))?;
        }
        self.region.fence().map_err(|error| self.journal.fail(&error.to_string()))
    }

    /// What blocks are that were filled just now.
    pub(crate) fn filled(&self) -> State {
        if self.journal.flushes() { State::Filled } else { State::Written }
    }
}

/// That pieces are written on the medium.
fn draft_marks(draft: &mut Draft, node: &Node, pieces: &[Piece]) {
    for piece in pieces {
        draft.add(Entry::Mark { node: node.id.0, at: piece.at, len: piece.len, written: true });
    }
}
