//! Allocation: blocks set aside for a range before anybody writes it.
//!
//! The blocks read as zeros, and are zeroed when they are first needed: what is wholly written never is (G10).

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{SpaceError as LayoutSpaceError, SpaceWatch, Until};

use crate::allocator::EachFresh;
use crate::error::{NoSpace, PinError, SpaceError};
use crate::file::{File, OpenFile};
use crate::lock::lock;
use crate::pool::Shared;
use crate::space::Goal;
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

    /// Waits, if too few blocks are free while pins keep others that were freed: for those, or for what comes free in any
    /// other way.
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is allocated then. `ENOSPC` when there would be too few though all pins left.
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
            self.open.lengthen(self.range.end)?;
        }
        Ok(())
    }
}

impl Shared {
    /// Takes blocks for several wants, all or none, of what could not be evicted in time too.
    pub(crate) fn take_each(self: &Arc<Self>, wants: &[(u64, Goal)]) -> Result<EachFresh<'_>, SpaceError> {
        match self.allocator.take_each(&self.region, wants) {
            Err(SpaceError::Full(space)) => match self.make_free(&space) {
                true => self.allocator.take_each(&self.region, wants),
                false => Err(SpaceError::Full(space)),
            },
            taken => taken,
        }
    }

    /// Tries until there is space, waiting for blocks that come free.
    pub(crate) fn until_there_is_space<T>(
        self: &Arc<Self>,
        until: Until,
        attempt: impl Fn() -> Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        let mut waiting = SpaceWait::default();
        loop {
            match attempt() {
                Err(SpaceError::Full(space)) => waiting.wait(self, space, until)?,
                ended => return ended,
            }
        }
    }

    /// As [`Shared::until_there_is_space`], as a future.
    pub(crate) async fn when_there_is_space<T>(
        self: &Arc<Self>,
        attempt: impl Fn() -> Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        let mut waiting = SpaceWait::default();
        loop {
            match attempt() {
                Err(SpaceError::Full(space)) => waiting.wait_async(self, space).await?,
                ended => return ended,
            }
        }
    }
}

/// What waits between attempts that find too little space.
///
/// The first attempt costs nothing more. When it has failed, blocks that come free are watched for, and then it is tried
/// again: from there on nothing is missed, whichever way it comes.
#[derive(Default)]
pub(crate) struct SpaceWait {
    watch: Option<SpaceWatch>,
}

impl SpaceWait {
    /// Waits until it is worth trying again. `space` is what the attempt found.
    pub(crate) fn wait(&mut self, pool: &Shared, space: NoSpace, until: Until) -> Result<(), SpaceError> {
        let Some(watch) = self.watching(pool, &space)? else { return Ok(()) };
        watch.wait(pool.allocator.durable(), until).or_else(|error| pool.found_nothing(space, error))
    }

    /// As [`SpaceWait::wait`], as a future.
    pub(crate) async fn wait_async(&mut self, pool: &Shared, space: NoSpace) -> Result<(), SpaceError> {
        let Some(watch) = self.watching(pool, &space)? else { return Ok(()) };
        watch.wait_async(pool.allocator.durable()).await.or_else(|error| pool.found_nothing(space, error))
    }

    /// As [`SpaceWait::wait`], if space is all that a pin lacks.
    pub(crate) fn wait_if_full(&mut self, pool: &Shared, error: PinError, until: Until) -> Result<(), PinError> {
        let (file, space) = error.lacks_space()?;
        self.wait(pool, space, until).map_err(|source| PinError::space(file, source))
    }

    /// As [`SpaceWait::wait_if_full`], as a future.
    pub(crate) async fn wait_if_full_async(&mut self, pool: &Shared, error: PinError) -> Result<(), PinError> {
        let (file, space) = error.lacks_space()?;
        self.wait_async(pool, space).await.map_err(|source| PinError::space(file, source))
    }

    /// The watch, if one was kept before the attempt, and there is something to wait for.
    fn watching(&mut self, pool: &Shared, space: &NoSpace) -> Result<Option<&mut SpaceWatch>, SpaceError> {
        if is_there_now(space)? {
            return Ok(None);
        }
        if self.watch.is_none() {
            self.watch = Some(pool.allocator.busy().watch());
            return Ok(None);
        }
        Ok(self.watch.as_mut())
    }
}

impl Shared {
    /// What to say when a wait found nothing to wait for: everything is here, or nowhere, since the attempt failed.
    fn found_nothing(&self, asked: NoSpace, error: LayoutSpaceError) -> Result<(), SpaceError> {
        match error {
            LayoutSpaceError::NothingPinned { .. } => {
                let now = self.allocator.no_space(self.block.floor(asked.asked));
                match is_there_now(&now)? || (now.not_durable > 0 && self.flush_log().is_ok()) {
                    true => Ok(()),
                    false => Err(SpaceError::Full(now)),
                }
            }
            error => Err(self.no_space_came(asked, error)),
        }
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
