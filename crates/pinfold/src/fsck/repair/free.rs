//! Blocks that a repair may write: those that nobody has.

use std::ops::Range;

use super::super::blocks::{Owned, union};
use super::RepairError;
use crate::units::BlockSize;

/// Free runs, of which some are taken.
pub(super) struct Free {
    /// By length: the longest last.
    runs: Vec<Range<u64>>,
}

impl Free {
    /// What is in nobody's hands of a pool of so many blocks.
    pub(super) fn of(owned: &[Owned], pool: u64) -> Self {
        let used = union(owned.iter().map(|owned| owned.blocks.start.min(pool)..owned.blocks.end.min(pool)).collect());
        let mut runs = Vec::new();
        let mut at = 0;
        for run in used {
            if at < run.start {
                runs.push(at..run.start);
            }
            at = run.end;
        }
        if at < pool {
            runs.push(at..pool);
        }
        runs.sort_by_key(|run| run.end - run.start);
        Self { runs }
    }

    /// Takes `want` blocks, in as few runs as there are: of the longest first.
    pub(super) fn take(&mut self, want: u64, block: BlockSize) -> Result<Vec<Range<u64>>, RepairError> {
        let mut taken = Vec::new();
        let mut missing = want;
        while missing > 0 {
            let run = self.runs.pop().ok_or(RepairError::NoSpace { needed: missing.saturating_mul(block.bytes()) })?;
            let len = missing.min(run.end - run.start);
            taken.push(run.start..run.start + len);
            missing -= len;
            if run.start + len < run.end {
                let rest = run.start + len..run.end;
                let place = self.runs.partition_point(|run| run.end - run.start < rest.end - rest.start);
                self.runs.insert(place, rest);
            }
        }
        Ok(taken)
    }
}
