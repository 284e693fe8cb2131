//! What a change breaks, once its arguments make sense.

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{BreakError, Idle, Layout, LayoutBreak};
use smallvec::{SmallVec, smallvec};

use super::{Change, Operation};
use crate::error::ChangeError;
use crate::file::File;
use crate::units::FILE_BYTES_MAX;

/// What has to be done first.
pub(super) enum Plan {
    /// These ranges have to be idle.
    Break(LayoutBreak),
    /// Nothing is freed or moved: nothing is waited for (G5).
    InPlace,
}

impl Change<'_> {
    pub(super) fn plan(&self) -> Result<Plan, ChangeError> {
        // A cut zeroes a part of a block before it is on record.
        self.file.open.pool.journal.check()?;
        let block = self.file.open.pool.block;
        match &self.operation {
            Operation::Truncate { len } => {
                self.check_len(*len)?;
                match *len >= self.file.len() {
                    true => Ok(Plan::InPlace),
                    false => self.broken(),
                }
            }
            Operation::Punch(range) | Operation::Zero { range, .. } => {
                self.check_range(self.file, range)?;
                match block.inward(range).is_empty() {
                    true => Ok(Plan::InPlace),
                    false => self.broken(),
                }
            }
            Operation::Collapse(range) => {
                self.check_blocks(self.file, range)?;
                self.check_inside(range)?;
                self.broken()
            }
            Operation::Insert { at, len } => {
                let range = *at..at.saturating_add(*len);
                self.check_blocks(self.file, &range)?;
                self.check_inside(&(*at..*at))?;
                self.check_len(self.file.len().saturating_add(*len))?;
                self.broken()
            }
            Operation::Exchange { range, other, at } => {
                let theirs = *at..at.saturating_add(range.end.saturating_sub(range.start));
                self.check_blocks(self.file, range)?;
                self.check_blocks(other, &theirs)?;
                self.check_exchange(range, other, &theirs)?;
                self.broken()
            }
        }
    }

    /// The ranges of blocks that are broken, where something is: of one file, or of two.
    fn ranges(&self) -> SmallVec<[(&File, Range<u64>); 2]> {
        let block = self.file.open.pool.block;
        match &self.operation {
            Operation::Truncate { len } => smallvec![(self.file, block.floor(*len)..u64::MAX)],
            Operation::Punch(range) | Operation::Zero { range, .. } => smallvec![(self.file, block.inward(range))],
            Operation::Collapse(range) => smallvec![(self.file, block.floor(range.start)..u64::MAX)],
            Operation::Insert { at, .. } => smallvec![(self.file, block.floor(*at)..u64::MAX)],
            Operation::Exchange { range, other, at } => {
                let theirs = *at..*at + (range.end - range.start);
                smallvec![(self.file, block.outward(range)), (*other, block.outward(&theirs))]
            }
        }
    }

    /// Closes the ranges if nothing is in the way. An answer to a fault of a view is not: it is over in a moment.
    pub(super) fn look<'b>(&self, brk: &'b mut LayoutBreak) -> Result<Idle<'b>, BreakError> {
        let mut files: SmallVec<[&File; 2]> = self.ranges().into_iter().map(|(file, _)| file).collect();
        // Two changes of the same two files take their locks in the same order.
        files.sort_by_key(|file| file.open.node.id.number());
        files.dedup_by_key(|file| file.open.node.id.number());
        let _no_answers: SmallVec<[_; 2]> =
            files.iter().filter_map(|file| file.open.body().views.no_answers()).collect();
        brk.try_drain()
    }

    fn broken(&self) -> Result<Plan, ChangeError> {
        let mut of_layouts = SmallVec::<[(&Layout, Range<u64>); 2]>::new();
        for (file, range) in self.ranges() {
            of_layouts.push((file.open.layout()?, range));
        }
        let area = &self.file.open.pool.area;
        let brk = area.break_layout(&of_layouts, self.policy, self.operation.effect());
        Ok(Plan::Break(brk.map_err(|cause| self.not_broken(cause))?))
    }

    /// Says of what was to be broken why it is not.
    #[cold]
    pub(super) fn not_broken(&self, cause: BreakError) -> ChangeError {
        let ranges = self.ranges().into_iter().map(|(file, blocks)| (file.id(), blocks));
        self.file.open.pool.not_broken(ranges, cause).into()
    }

    pub(super) fn check_len(&self, len: u64) -> Result<(), ChangeError> {
        match len > FILE_BYTES_MAX {
            true => Err(ChangeError::TooLarge { file: self.file.id(), len }),
            false => Ok(()),
        }
    }

    fn check_range(&self, file: &File, range: &Range<u64>) -> Result<(), ChangeError> {
        match range.start >= range.end || range.end > FILE_BYTES_MAX {
            true => Err(ChangeError::BadRange { file: file.id(), range: range.clone() }),
            false => Ok(()),
        }
    }

    fn check_blocks(&self, file: &File, range: &Range<u64>) -> Result<(), ChangeError> {
        self.check_range(file, range)?;
        let block = file.open.pool.block;
        match block.is_aligned(range.start) && block.is_aligned(range.end) {
            true => Ok(()),
            false => Err(ChangeError::NotBlocks { file: file.id(), range: range.clone(), block: block.bytes() }),
        }
    }

    /// What shifts blocks begins and ends before the end of the file, as in Linux.
    pub(super) fn check_inside(&self, range: &Range<u64>) -> Result<(), ChangeError> {
        let len = self.file.len();
        match range.end >= len {
            true => Err(ChangeError::PastEnd { file: self.file.id(), range: range.clone(), len }),
            false => Ok(()),
        }
    }

    pub(super) fn check_exchange(
        &self,
        ours: &Range<u64>,
        other: &File,
        theirs: &Range<u64>,
    ) -> Result<(), ChangeError> {
        let (file, pool) = (self.file.id(), &self.file.open.pool);
        let refuse = |why| Err(ChangeError::Exchange { file, other: other.id(), why });
        if !Arc::ptr_eq(pool, &other.open.pool) {
            return Err(ChangeError::OtherPool(other.id()));
        }
        if file == other.id() && ours.start < theirs.end && theirs.start < ours.end {
            return refuse("they meet");
        }
        // A last block with an end in it would bring that end to where bytes go on.
        match ours.end <= self.file.len() && theirs.end <= other.len() {
            true => Ok(()),
            false => refuse("one of them reaches past the end of its file"),
        }
    }
}
