//! Blocks are mended: what cannot be a file's leaves it, and who comes second to blocks of another gets a copy.

use std::ops::Range;

use super::super::blocks::{Overlap, bytes_past_end, overlaps};
use super::super::owned;
use super::super::state::State;
use super::{Plan, RepairError, Step, file_of};
use crate::extents::{Run, State as BlockState};
use crate::medium::source::Source;
use crate::units::FILE_BYTES_MAX;

/// How often overlaps are looked for anew: what leaves one file may show what it hid of others.
const ROUNDS_MAX: usize = 64;

impl Plan {
    /// Mends all files, and says how.
    pub(super) fn mend_blocks(&mut self, source: &impl Source, state: &mut State) -> Result<(), RepairError> {
        self.cut_what_lies_outside(state);
        for _ in 0..ROUNDS_MAX {
            let found = overlaps(&owned(&self.seen.superblock, &self.seen.chunks, state, &self.seen.beside));
            let mut changed = false;
            for overlap in found {
                changed |= self.part(state, &overlap)?;
            }
            if !changed {
                break;
            }
        }
        self.mend_ends(source, state);
        Ok(())
    }

    /// Parts two owners. False if there is nothing to do here.
    fn part(&mut self, state: &mut State, Overlap { blocks, one, other }: &Overlap) -> Result<bool, RepairError> {
        let len = blocks.end - blocks.start;
        match (file_of(one), file_of(other)) {
            (Some((first, _)), Some((node, at))) => {
                self.give_copy(state, node, at..at + len)?;
                self.suspects.extend([first, node]);
                self.steps.push(Step::CopyShared { node, at, blocks: len });
            }
            // Superblocks, log and checkpoint are what they are: it never was the file's.
            (Some((node, at)), None) | (None, Some((node, at))) if !one.is_parked() && !other.is_parked() => {
                self.take_out(state, node, at..at + len);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_out(&mut self, state: &mut State, node: u64, range: Range<u64>) {
        let Some(file) = state.file_mut(node) else { return };
        let taken: u64 = file.extents.remove(range.clone()).iter().map(|(_, run)| run.len).sum();
        if taken > 0 {
            self.suspects.insert(node);
            self.steps.push(Step::TakeOut { node, at: range.start, blocks: taken });
        }
    }

    /// Puts free blocks in the place of a part of a file, and notes what is to be copied there.
    fn give_copy(&mut self, state: &mut State, node: u64, range: Range<u64>) -> Result<(), RepairError> {
        let Some(file) = state.file_mut(node) else { return Ok(()) };
        for (mut at, mut old) in file.extents.remove(range) {
            for new in self.free.take(old.len, self.seen.superblock.block)? {
                let len = new.end - new.start;
                file.extents.insert(at, Run { block: new.start, len, state: old.state });
                if old.state == BlockState::Written {
                    self.copies.push((old.block..old.block + len, new.start));
                }
                (at, old.block) = (at + len, old.block + len);
            }
        }
        Ok(())
    }

    fn cut_what_lies_outside(&mut self, state: &mut State) {
        let seen = &self.seen;
        let (pool, most) = (seen.superblock.blocks(), seen.superblock.block.floor(FILE_BYTES_MAX));
        let mut outside = Vec::new();
        for (node, file) in state.files() {
            for (at, run) in file.runs() {
                let inside = pool.saturating_sub(run.block).min(run.len).min(most.saturating_sub(at));
                if inside < run.len {
                    outside.push((node, at + inside..at + run.len));
                }
            }
        }
        outside.into_iter().for_each(|(node, range)| self.take_out(state, node, range));
    }

    /// No file is longer than one can be, or has bytes behind its end.
    fn mend_ends(&mut self, source: &impl Source, state: &mut State) {
        let seen = &self.seen;
        let block = seen.superblock.block;
        let mut shorten = Vec::new();
        let mut unwrite = Vec::new();
        for (node, file) in state.files() {
            if file.len > FILE_BYTES_MAX {
                shorten.push((node, block.offset(file.extents.end()).min(FILE_BYTES_MAX)));
            } else {
                let past_end = bytes_past_end(source, &seen.superblock, file);
                unwrite.extend(past_end.into_iter().map(|(at, blocks)| (node, at, blocks)));
            }
        }
        for (node, len) in shorten {
            if let Some(file) = state.file_mut(node) {
                file.len = len;
                self.steps.push(Step::Shorten { node, len });
            }
        }
        for (node, at, blocks) in unwrite {
            let Some(file) = state.file_mut(node) else { continue };
            for piece in file.extents.pieces_in(at..at + blocks) {
                file.extents.set_state(&piece, BlockState::SetAside);
            }
            self.steps.push(Step::Unwrite { node, at, blocks });
        }
    }
}
