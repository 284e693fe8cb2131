//! Long-term pins: a memory registration, a device's window. They are recalled, not forbidden (G11).

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{LongTerm, LongTermPin, PinError as LayoutPinError, Until};

use crate::allocation::SpaceWait;
use crate::dirty::WrittenByDevice;
use crate::error::PinError;
use crate::file::File;
use crate::pinned::Segment;
use crate::pinning::{Resolved, Want};
use crate::pool::Shared;

/// A range that a device may reach for as long as the caller likes. Dropping it unpins: do so soon after its recall
/// handler was called.
#[must_use = "dropping a pin unpins"]
pub struct LongTermPinned {
    /// Before the pin: noted while it is still pinned.
    _written_by_device: Option<WrittenByDevice>,
    /// Before `pool`: unpinned while the memory is still mapped.
    _pin: LongTermPin,
    segments: Resolved,
    _pool: Arc<Shared>,
}

impl std::fmt::Debug for LongTermPinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongTermPinned").field("segments", &self.segments).finish()
    }
}

impl LongTermPinned {
    /// The pinned memory, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// A long-term pin that is about to be made: one of four forms makes it.
#[must_use = "nothing is pinned before one of the four forms is called"]
pub struct LongTermPinning<'f> {
    want: Want<'f>,
    term: LongTerm,
}

impl File {
    /// A long-term pin of a range of bytes. `term` says what gives it back when a break asks for it; without a handler
    /// it is refused (`EOPNOTSUPP`, as in Linux).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::{Arc, mpsc};
    /// use pinfold::{Access, LongTerm, Pool, Recalled, Region};
    ///
    /// let pool = Pool::new(Region::memfd(16 << 20)?)?;
    /// let file = pool.create("/weights")?;
    /// file.truncate(1 << 20).wait()?;
    ///
    /// let (wanted, recalls) = mpsc::channel();
    /// let recall = Arc::new(move |recalled: &Recalled| drop(wanted.send(recalled.clone())));
    /// let registration = file.pin_long_term(0..1 << 20, LongTerm::new(Access::Read, Some(recall))).wait()?;
    ///
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| file.truncate(0).wait().unwrap());
    ///     recalls.recv().unwrap(); // the truncate wants it back
    ///     drop(registration); // deregister, then unpin: the truncate goes on
    /// });
    /// # Ok(()) }
    /// ```
    pub fn pin_long_term(&self, range: Range<u64>, term: LongTerm) -> LongTermPinning<'_> {
        LongTermPinning { want: Want::of(self, range, pinfold_layout::Access::Write), term }
    }
}

impl LongTermPinning<'_> {
    /// Waits for breaks that are in the way, and for space (as [`Allocation::wait`](crate::Allocation::wait) does).
    ///
    /// # Errors
    /// [`PinError`]; above all `EOPNOTSUPP` without a recall handler.
    pub fn wait(self) -> Result<LongTermPinned, PinError> {
        self.until(Until::done())
    }

    /// As [`LongTermPinning::wait`], as long as `until` says.
    ///
    /// # Errors
    /// As there, and `ETIMEDOUT`, `EINTR`.
    pub fn until(self, until: Until) -> Result<LongTermPinned, PinError> {
        self.want.check()?;
        let mut waiting = SpaceWait::default();
        loop {
            let (holder, layout) = (&self.want.open.pool.holder, self.want.open.layout_for_pins()?);
            let mut found = None;
            let resolve = || found = Some(self.want.resolve());
            let pin = holder.pin_long_term(layout, self.want.blocks(), self.term.clone(), until, resolve);
            match self.assemble(pin, found) {
                Ok(pinned) => return Ok(pinned),
                Err(error) => waiting.wait_if_full(&self.want.open.pool, error, until)?,
            }
        }
    }

    /// Only looks.
    ///
    /// # Errors
    /// As [`LongTermPinning::wait`], and `EBUSY` if a break is in the way.
    pub fn try_now(self) -> Result<LongTermPinned, PinError> {
        self.want.check()?;
        let (holder, layout) = (&self.want.open.pool.holder, self.want.open.layout_for_pins()?);
        let mut found = None;
        let resolve = || found = Some(self.want.resolve());
        let pin = holder.try_pin_long_term(layout, self.want.blocks(), self.term.clone(), resolve);
        self.assemble(pin, found)
    }

    /// As [`LongTermPinning::wait`], as a future of no particular runtime.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<LongTermPinned, PinError> {
        self.want.check()?;
        let mut waiting = SpaceWait::default();
        loop {
            let (holder, layout) = (&self.want.open.pool.holder, self.want.open.layout_for_pins()?);
            let mut found = None;
            let resolve = || found = Some(self.want.resolve());
            let pin = holder.pin_long_term_async(layout, self.want.blocks(), self.term.clone(), resolve).await;
            match self.assemble(pin, found) {
                Ok(pinned) => return Ok(pinned),
                Err(error) => waiting.wait_if_full_async(&self.want.open.pool, error).await?,
            }
        }
    }

    /// The pin with its memory; unpinned if that could not be found.
    fn assemble(
        &self,
        pin: Result<LongTermPin, LayoutPinError>,
        found: Option<Result<Resolved, PinError>>,
    ) -> Result<LongTermPinned, PinError> {
        let pin = pin.map_err(|cause| self.want.refused(cause))?;
        let segments = found.expect("whoever is pinned was resolved")?;
        let pool = &self.want.open.pool;
        let mut written = WrittenByDevice::begin(pool);
        written.iter_mut().for_each(|written| written.add(&self.want.open.node, &segments));
        Ok(LongTermPinned { _written_by_device: written, _pin: pin, segments, _pool: Arc::clone(pool) })
    }
}
