//! Changes of a file's layout: what frees or moves blocks, and therefore breaks.
//!
//! | operation | breaks |
//! |---|---|
//! | truncate to a smaller size | from the new end on, its partial last block included |
//! | truncate to a larger or equal size | nothing |
//! | punch hole | the whole blocks of the hole; the edges are zeroed in place, like a write |
//! | zero range | as punch hole, then allocated |
//! | collapse range, insert range | from the start of the range on |
//! | exchange of extents | both ranges |
//!
//! Stays true  L1: a change that fails, or is given up, leaves bytes and layout as they were (G6): what can fail is done
//!                 before the commit, while the ranges are closed.
//!             L2: a block that is kept in part while a device may write it is replaced, and the old one parked.
//!             L3: a block that came from elsewhere in a file, or from another one, is not written in its new place by anybody who
//!                 knows of the move before the move is durable: after a crash it lies where it was, and what was synced there
//!                 would be gone (G9).
//! Lock order  see [`node`](crate::node). While a range is closed, nothing is waited for.

mod apply;
mod plan;
#[cfg(test)]
mod tests;

use std::ops::Range;

use pinfold_layout::{Effect, Policy, Until};

use self::plan::Plan;
use crate::error::ChangeError;
use crate::file::File;

/// A change of a file's layout that is not made yet: one of four forms makes it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Access, Pool, Region};
///
/// let pool = Pool::new(Region::memfd(16 << 20)?)?;
/// let file = pool.create("/frames")?;
/// file.write_at(0, &[7; 65536])?;
/// let pinned = file.pin(0..4096, Access::Read).wait()?;
///
/// let busy = file.truncate(0).try_now().unwrap_err(); // only looks
/// assert_eq!(busy.errno(), 16); // EBUSY, and the message names who
/// file.punch(0..65536).detach().wait()?; // does not wait: what the device reads is parked
/// drop(pinned);
/// file.truncate(0).wait()?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is changed before one of the four forms is called"]
pub struct Change<'f> {
    file: &'f File,
    operation: Operation<'f>,
    policy: Policy,
}

enum Operation<'f> {
    Truncate { len: u64 },
    Punch(Range<u64>),
    Zero { range: Range<u64>, keep_size: bool },
    Collapse(Range<u64>),
    Insert { at: u64, len: u64 },
    Exchange { range: Range<u64>, other: &'f File, at: u64 },
}

impl Operation<'_> {
    fn effect(&self) -> Effect {
        match self {
            Self::Truncate { .. } | Self::Punch(_) | Self::Zero { .. } => Effect::Frees,
            Self::Collapse(_) | Self::Insert { .. } | Self::Exchange { .. } => Effect::Moves,
        }
    }
}

impl File {
    /// Sets the length in bytes. What is cut off is freed; what is added reads as zeros, and is a hole.
    pub fn truncate(&self, len: u64) -> Change<'_> {
        self.change(Operation::Truncate { len })
    }

    /// Makes a range read as zeros and frees its whole blocks. The length stays.
    pub fn punch(&self, range: Range<u64>) -> Change<'_> {
        self.change(Operation::Punch(range))
    }

    /// Makes a range read as zeros, with blocks set aside for it. The file becomes longer if it ends before.
    pub fn zero(&self, range: Range<u64>) -> Change<'_> {
        self.change(Operation::Zero { range, keep_size: false })
    }

    /// Takes a range of whole blocks out of the file: what follows moves down. Waits for pins, always.
    pub fn collapse(&self, range: Range<u64>) -> Change<'_> {
        self.change(Operation::Collapse(range))
    }

    /// Opens a hole of `len` bytes, whole blocks, at `at`: what follows moves up. Waits for pins, always.
    pub fn insert(&self, at: u64, len: u64) -> Change<'_> {
        self.change(Operation::Insert { at, len })
    }

    /// Exchanges the blocks of a range with those of as many bytes of `other` from `at` on, whole blocks, as one step:
    /// nobody sees the half of it. Waits for pins, always. Linux: `XFS_IOC_EXCHANGE_RANGE`.
    pub fn exchange<'f>(&'f self, range: Range<u64>, other: &'f Self, at: u64) -> Change<'f> {
        self.change(Operation::Exchange { range, other, at })
    }

    fn change<'f>(&'f self, operation: Operation<'f>) -> Change<'f> {
        Change { file: self, operation, policy: Policy::Wait }
    }
}

impl Change<'_> {
    /// Does not wait for transfers: they keep the blocks that they reach, parked, and the file is done with them. Not for
    /// what moves blocks.
    pub fn detach(self) -> Self {
        self.policy(Policy::Detach)
    }

    /// Waits for transfers ([`Policy::Wait`], the default), or leaves them what they reach ([`Policy::Detach`]).
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Of a [`File::zero`]: leaves the length as it is.
    pub fn keep_size(mut self) -> Self {
        if let Operation::Zero { keep_size, .. } = &mut self.operation {
            *keep_size = true;
        }
        self
    }

    /// Waits until nothing is in the way, and makes it.
    ///
    /// # Errors
    /// [`ChangeError`]; bytes and layout are as they were then.
    pub fn wait(self) -> Result<(), ChangeError> {
        self.until(Until::done())
    }

    /// As [`Change::wait`], as long as `until` says.
    ///
    /// # Errors
    /// As there, and `ETIMEDOUT`, `EINTR`.
    pub fn until(self, until: Until) -> Result<(), ChangeError> {
        loop {
            match self.plan()? {
                Plan::Break(mut brk) => {
                    let idle = brk.drain(until);
                    return self.finish(idle.map_err(|cause| self.not_broken(cause))?);
                }
                Plan::InPlace => {
                    if self.make_in_place()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Only looks: makes it if nothing is in the way.
    ///
    /// # Errors
    /// As [`Change::wait`]; `EBUSY` names the first pin in the way.
    pub fn try_now(self) -> Result<(), ChangeError> {
        loop {
            match self.plan()? {
                Plan::Break(mut brk) => {
                    let idle = self.look(&mut brk);
                    return self.finish(idle.map_err(|cause| self.not_broken(cause))?);
                }
                Plan::InPlace => {
                    if self.make_in_place()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// As [`Change::wait`], as a future of no particular runtime. Dropping it withdraws.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<(), ChangeError> {
        loop {
            match self.plan()? {
                Plan::Break(mut brk) => {
                    let idle = brk.drain_async().await;
                    return self.finish(idle.map_err(|cause| self.not_broken(cause))?);
                }
                Plan::InPlace => {
                    if self.make_in_place()? {
                        return Ok(());
                    }
                }
            }
        }
    }
}
