//! Pinning: how ranges of files become addresses.
//!
//! A pin over a hole allocates, as a write fault would, and a pin of blocks that nobody has written zeroes them first
//! (G10). Both happen while the pin is resolved: it is published by then, so no break can close the range unseen, and if
//! the layout changes under it the pin starts over (`layout`, P1).
//!
//! Stays true  D3: what is resolved is wholly allocated, zeroed or written, and inside the file.

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{Access, Label, LabelError, PinError as LayoutPinError, PinRequest, PinSpec, Until};
use smallvec::SmallVec;

use crate::allocation::SpaceWait;
use crate::error::PinError;
use crate::file::{File, OpenFile};
use crate::lock::read;
use crate::node::FileMap;
use crate::pinned::{Pinned, Segment};
use crate::pool::Shared;
use crate::reservation::Written;

/// The memory of one want: in a row, most of the time.
pub(crate) type Resolved = SmallVec<[Segment; 1]>;

/// One range to be pinned.
pub(crate) struct Want<'f> {
    pub(crate) open: &'f Arc<OpenFile>,
    pub(crate) range: Range<u64>,
    pub(crate) access: Access,
    pub(crate) label: Label,
    /// For a reservation: its blocks are set aside and stay unwritten, and it is told what the device wrote.
    pub(crate) recorder: Option<Arc<Written>>,
    /// For a token: the generation that the range must be of.
    pub(crate) unchanged_since: Option<u64>,
}

impl<'f> Want<'f> {
    pub(crate) fn of(file: &'f File, range: Range<u64>, access: Access) -> Self {
        let (recorder, unchanged_since) = (None, None);
        Self { open: &file.open, range, access, label: Label::default(), recorder, unchanged_since }
    }

    /// Refuses early what can never be pinned.
    pub(crate) fn check(&self) -> Result<(), PinError> {
        let file = self.open.node.id;
        if self.range.start >= self.range.end {
            return Err(PinError::BadRange { file, range: self.range.clone() });
        }
        self.check_place(&read(&self.open.body().map))
    }

    /// Refuses what is not there, or not what its token named.
    fn check_place(&self, map: &FileMap) -> Result<(), PinError> {
        let (file, range) = (self.open.node.id, self.range.clone());
        if self.unchanged_since.is_some_and(|generation| map.changes.since(generation, &self.blocks())) {
            return Err(PinError::Stale { file, range });
        }
        match range.end > map.len {
            true => Err(PinError::PastEnd { file, range, len: map.len }),
            false => Ok(()),
        }
    }

    pub(crate) fn blocks(&self) -> Range<u64> {
        self.open.pool.block.outward(&self.range)
    }

    /// Says of the range why it was not pinned.
    #[cold]
    pub(crate) fn refused(&self, cause: LayoutPinError) -> PinError {
        self.open.pool.not_pinned(self.open.node.id, self.range.clone(), cause).into()
    }

    fn spec(&self) -> PinSpec {
        PinSpec::device(self.access).labelled(self.label)
    }

    /// Looks up, under the published pin, what the range is made of; fills what is missing (D3).
    pub(crate) fn resolve(&self) -> Result<Resolved, PinError> {
        loop {
            if let Some(segments) = self.look_up()? {
                return Ok(segments);
            }
            let file = self.open.node.id;
            let filled = match self.recorder {
                Some(_) => self.open.set_aside(self.blocks()),
                None => self.open.populate(self.blocks()),
            };
            filled.map_err(|source| PinError::space(file, source))?;
        }
    }

    /// The segments; `None` if a part is not there yet.
    fn look_up(&self) -> Result<Option<Resolved>, PinError> {
        let (pool, file) = (&self.open.pool, self.open.node.id);
        let map = read(&self.open.body().map);
        self.check_place(&map)?;
        let mut segments = Resolved::new();
        for piece in map.extents.pieces(self.blocks()) {
            let Some(run) = piece.run.filter(|run| run.holds_bytes() || self.recorder.is_some()) else {
                return Ok(None);
            };
            let bytes = pool.block.to_bytes(&(piece.at..piece.end()));
            let (start, end) = (self.range.start.max(bytes.start), self.range.end.min(bytes.end));
            let place = pool.block.offset(run.block) + (start - bytes.start);
            let address = pool.base + place;
            segments.push(Segment { file, offset: start, address, len: end - start, place });
        }
        Ok(Some(segments))
    }
}

/// Ranges that are about to be pinned as one transfer: [`File::pin`] makes it, [`Pinning::and`] adds to it, and one of
/// four forms ends it.
#[must_use = "nothing is pinned before one of the four forms is called"]
pub struct Pinning<'f> {
    first: Want<'f>,
    more: Vec<Want<'f>>,
}

impl<'f> Pinning<'f> {
    pub(crate) fn of(want: Want<'f>) -> Self {
        Self { first: want, more: Vec::new() }
    }

    /// Says through which engine the device moves the data, and what for. Applies to all ranges so far.
    ///
    /// An engine labels what it is given when it is given it. Of pins of a lasting pool that are labelled before, its proof
    /// speaks from the first moment: if the process dies between the pin and the transfer, no operator has to decide.
    ///
    /// # Errors
    /// [`LabelError`] if the texts are too long, or there are too many.
    pub fn labelled(mut self, engine: &str, label: &str) -> Result<Self, LabelError> {
        let label = self.first.open.pool.holder.label(engine, label)?;
        self.first.label = label;
        self.more.iter_mut().for_each(|want| want.label = label);
        Ok(self)
    }

    /// Pins the ranges of `other` too, as one transfer: all of them or none.
    pub fn and(mut self, other: Self) -> Self {
        self.more.push(other.first);
        self.more.extend(other.more);
        self
    }

    /// Waits for breaks that are in the way, and for space (as [`Allocation::wait`](crate::Allocation::wait) does).
    ///
    /// # Errors
    /// [`PinError`]. Nothing is pinned then. Blocks that were put under a hole before a later break came stay in the
    /// file, as zeros, as after a write fault.
    pub fn wait(self) -> Result<Pinned, PinError> {
        self.until(Until::done())
    }

    /// As [`Pinning::wait`], as long as `until` says.
    ///
    /// # Errors
    /// As there, and `ETIMEDOUT`, `EINTR`.
    pub fn until(self, until: Until) -> Result<Pinned, PinError> {
        self.check()?;
        let mut waiting = SpaceWait::default();
        loop {
            match self.pin_once(Some(until)) {
                Ok(pinned) => return Ok(pinned),
                Err(error) => waiting.wait_if_full(self.pool(), error, until)?,
            }
        }
    }

    /// Only looks: `EBUSY` if a break is in the way, `ENOSPC` if a hole finds no block.
    ///
    /// # Errors
    /// As [`Pinning::wait`].
    pub fn try_now(self) -> Result<Pinned, PinError> {
        self.check()?;
        self.pin_once(None)
    }

    /// As [`Pinning::wait`], as a future of no particular runtime.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<Pinned, PinError> {
        self.check()?;
        let mut waiting = SpaceWait::default();
        loop {
            let requests = self.requests()?;
            let resolve = |index| self.want(index).resolve();
            let transfer = self.pool().holder.transfer_async(&requests, resolve).await;
            let (transfer, resolved) = transfer.map_err(|cause| self.refused(cause))?;
            match self.assemble(transfer, resolved) {
                Ok(pinned) => return Ok(pinned),
                Err(error) => waiting.wait_if_full_async(self.pool(), error).await?,
            }
        }
    }

    /// Pins all ranges or none; without `until` it does not wait.
    fn pin_once(&self, until: Option<Until>) -> Result<Pinned, PinError> {
        let holder = &self.pool().holder;
        if self.more.is_empty() {
            return self.pin_the_one(until);
        }
        let requests = self.requests()?;
        let resolve = |index| self.want(index).resolve();
        let transfer = match until {
            Some(until) => holder.transfer(&requests, until, resolve),
            None => holder.try_transfer(&requests, resolve),
        };
        let (transfer, resolved) = transfer.map_err(|cause| self.refused(cause))?;
        self.assemble(transfer, resolved)
    }

    /// The usual case, without a list of requests and another of what they were resolved to.
    fn pin_the_one(&self, until: Option<Until>) -> Result<Pinned, PinError> {
        let (holder, want) = (&self.pool().holder, &self.first);
        let (layout, blocks, spec) = (want.open.layout_for_pins()?, want.blocks(), want.spec());
        let pin = match until {
            Some(until) => holder.pin_owned(layout, blocks, spec, until, || want.resolve()),
            None => holder.try_pin_owned(layout, blocks, spec, || want.resolve()),
        };
        let (transfer, resolved) = pin.map_err(|cause| want.refused(cause))?.into_transfer();
        self.assemble(transfer, [resolved])
    }

    /// The same of the range that was refused, where that is known, or else of the first.
    #[cold]
    fn refused(&self, cause: LayoutPinError) -> PinError {
        let meets = |want: &Want<'_>, object: u64, range: &Range<u64>| {
            let blocks = want.blocks();
            want.open.node.id.number() == object && blocks.start < range.end && range.start < blocks.end
        };
        let found = match &cause {
            LayoutPinError::LayoutBreaking { object, range } | LayoutPinError::TimedOut { object, range } => {
                self.wants().find(|want| meets(want, *object, range))
            }
            _ => None,
        };
        found.unwrap_or(&self.first).refused(cause)
    }

    fn pool(&self) -> &Arc<Shared> {
        &self.first.open.pool
    }

    fn wants(&self) -> impl Iterator<Item = &Want<'f>> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn want(&self, index: usize) -> &Want<'f> {
        index.checked_sub(1).map_or(&self.first, |index| &self.more[index])
    }

    fn check(&self) -> Result<(), PinError> {
        for want in self.wants() {
            if !Arc::ptr_eq(&want.open.pool, self.pool()) {
                return Err(PinError::OtherPool(want.open.node.id));
            }
            want.check()?;
        }
        Ok(())
    }

    fn requests(&self) -> Result<Vec<PinRequest<'_>>, PinError> {
        let request = |want: &'_ Want<'f>| -> Result<PinRequest<'f>, PinError> {
            Ok(PinRequest { layout: want.open.layout_for_pins()?, range: want.blocks(), spec: want.spec() })
        };
        self.wants().map(request).collect()
    }

    /// The transfer with its memory; unpinned if one range could not be resolved.
    fn assemble(
        &self,
        transfer: pinfold_layout::Transfer,
        resolved: impl IntoIterator<Item = Result<Resolved, PinError>>,
    ) -> Result<Pinned, PinError> {
        let mut pinned = Pinned::new(self.pool(), transfer);
        for (want, resolved) in self.wants().zip(resolved) {
            pinned.add(want, resolved?);
        }
        Ok(pinned)
    }
}
