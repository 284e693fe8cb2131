//! Allocation: blocks set aside for a range before anybody writes it.
//!
//! The blocks read as zeros, and are zeroed when they are first needed: what is wholly written never is (G10).

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{CommitId, FreeExtent, SpaceError as LayoutSpaceError, Until};

use crate::error::{NoSpace, PinError, SpaceError};
use crate::file::{File, OpenFile};
use crate::lock::{lock, write};
use crate::pool::Shared;
use crate::units::FILE_BYTES_MAX;

/// Blocks that are about to be set aside for a file: one of four forms does it.
#[must_use = "nothing is allocated before one of the four forms is called"]
pub struct Allocation<'f> {
    open: &'f Arc<OpenFile>,
    range: Range<u64>,
    keep_size: bool,
}

impl File {
    /// Sets blocks aside under the holes of a range of bytes, and makes the file longer if it ends before.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pinfold::{Pool, Region};
    ///
    /// let pool = Pool::new(Region::memfd(16 << 20)?)?;
    /// let file = pool.create("/frame")?;
    /// file.allocate(0..4 << 20).try_now()?;
    /// assert_eq!(file.extents().len(), 1); // one run, for one descriptor of the device
    /// assert_eq!(file.allocate(0..1 << 30).try_now().unwrap_err().errno(), 28); // ENOSPC, and nothing was taken
    /// # Ok(()) }
    /// ```
    pub fn allocate(&self, range: Range<u64>) -> Allocation<'_> {
        Allocation { open: &self.open, range, keep_size: false }
    }
}

impl Allocation<'_> {
    /// Leaves the length of the file as it is.
    pub fn keep_size(mut self) -> Self {
        self.keep_size = true;
        self
    }

    /// Waits for pins that keep freed blocks, if there are too few free ones.
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is allocated then. `ENOSPC` when no wait would help.
    pub fn wait(self) -> Result<(), SpaceError> {
        self.until(Until::done())
    }

    /// As [`Allocation::wait`], as long as `until` says.
    ///
    /// # Errors
    /// As there, and `ETIMEDOUT`, `EINTR`.
    pub fn until(self, until: Until) -> Result<(), SpaceError> {
        self.check()?;
        self.open.pool.until_there_is_space(until, || self.set_aside())
    }

    /// Only looks.
    ///
    /// # Errors
    /// As [`Allocation::wait`]; `ENOSPC` if too few blocks are free now.
    pub fn try_now(self) -> Result<(), SpaceError> {
        self.check()?;
        self.set_aside()
    }

    /// As [`Allocation::wait`], as a future of no particular runtime.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<(), SpaceError> {
        self.check()?;
        self.open.pool.when_there_is_space(|| self.set_aside()).await
    }

    fn check(&self) -> Result<(), SpaceError> {
        match self.range.start >= self.range.end || self.range.end > FILE_BYTES_MAX {
            true => Err(SpaceError::BadRange { file: self.open.node.id, range: self.range.clone() }),
            false => Ok(()),
        }
    }

    fn set_aside(&self) -> Result<(), SpaceError> {
        self.open.set_aside_pinned(&self.range)?;
        if !self.keep_size {
            let _longer = lock(&self.open.body().extend);
            let mut map = write(&self.open.body().map);
            map.len = map.len.max(self.range.end);
        }
        self.open.node.touch();
        Ok(())
    }
}

impl Shared {
    /// Tries until there is space, waiting for pins that keep freed blocks.
    pub(crate) fn until_there_is_space<T>(
        self: &Arc<Self>,
        until: Until,
        attempt: impl Fn() -> Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        loop {
            match attempt() {
                Err(SpaceError::Full(space)) => self.wait_for_space(space, until)?,
                ended => return ended,
            }
        }
    }

    /// As [`Shared::until_there_is_space`], as a future.
    pub(crate) async fn when_there_is_space<T>(
        self: &Arc<Self>,
        attempt: impl Fn() -> Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        loop {
            match attempt() {
                Err(SpaceError::Full(space)) => self.space_async(space).await?,
                ended => return ended,
            }
        }
    }

    /// Waits for space, if it is only that which a pin lacks.
    pub(crate) fn wait_if_full(&self, error: PinError, until: Until) -> Result<(), PinError> {
        let (file, space) = error.lacks_space()?;
        self.wait_for_space(space, until).map_err(|source| PinError::space(file, source))
    }

    /// As [`Shared::wait_if_full`], as a future.
    pub(crate) async fn wait_if_full_async(&self, error: PinError) -> Result<(), PinError> {
        let (file, space) = error.lacks_space()?;
        self.space_async(space).await.map_err(|source| PinError::space(file, source))
    }

    /// Waits until a freed block that a pin kept is free.
    pub(crate) fn wait_for_space(&self, space: NoSpace, until: Until) -> Result<(), SpaceError> {
        if Self::is_there_now(&space)? {
            return Ok(());
        }
        self.took(self.allocator.busy().reap_until(CommitId::ALL, until), space)
    }

    pub(crate) async fn space_async(&self, space: NoSpace) -> Result<(), SpaceError> {
        if Self::is_there_now(&space)? {
            return Ok(());
        }
        self.took(self.allocator.busy().reap_async(CommitId::ALL).await, space)
    }

    /// Gives back what a wait was given. When nothing is kept any more, somebody else may have: then it is looked once
    /// more whether that is enough.
    fn took(&self, free: Result<Vec<FreeExtent>, LayoutSpaceError>, space: NoSpace) -> Result<(), SpaceError> {
        match free {
            Ok(free) => self.allocator.give_back(free),
            Err(LayoutSpaceError::NothingPinned { .. }) => {
                let now = self.allocator.no_space(self.block.floor(space.asked));
                if now.asked > now.free {
                    return Err(SpaceError::Full(now));
                }
            }
            Err(error) => return Err(self.no_space_came(space, error)),
        }
        Ok(())
    }

    /// What a wait for space that pins keep ended with.
    fn no_space_came(&self, space: NoSpace, error: LayoutSpaceError) -> SpaceError {
        match error {
            LayoutSpaceError::Busy { pin, .. } => SpaceError::TimedOut { space, pin: Box::new(self.pin_report(*pin)) },
            LayoutSpaceError::Interrupted => SpaceError::Interrupted,
            LayoutSpaceError::Deadlock(pin) => SpaceError::Deadlock(Box::new(self.pin_report(*pin))),
            _ => SpaceError::Full(space),
        }
    }

    /// Whether it came between the attempt and the count.
    ///
    /// # Errors
    /// `ENOSPC` if it were too little when all pins had left: no wait would help.
    fn is_there_now(space: &NoSpace) -> Result<bool, SpaceError> {
        let in_time = space.free + space.pinned + space.quarantined + space.not_durable;
        match space.asked > in_time {
            true => Err(SpaceError::Full(*space)),
            false => Ok(space.asked <= space.free),
        }
    }
}
