//! A pinned range: addresses that a device may use until this is dropped.
//!
//! Stays true  D1: while a [`Pinned`] lives, its blocks are used for nothing else (G1), and its pool's memory is mapped.
//!             D2: one that is given up keeps the pool's memory mapped until its pins were released.

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{Access, Holder, Label, PinSpec, Transfer};
use pinfold_region::AccessError;

use crate::dirty::WrittenByDevice;
use crate::error::PinError;
use crate::file::File;
use crate::node::FileId;
use crate::pinning::{Resolved, Want};
use crate::pool::Shared;
use crate::reservation::Written;

/// Memory in a row under a part of a pinned range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Of which file.
    pub file: FileId,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// The address for a device: in this process, or in the device's own space.
    pub address: u64,
    /// Bytes.
    pub len: u64,
    /// Where it begins in the region, in bytes.
    pub(crate) place: u64,
}

impl Segment {
    /// Where it begins, counted from the start of the pool's region, in bytes: for another mapping of the region.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The part that begins `skip` bytes in.
    fn part(&self, skip: u64, len: u64) -> Self {
        let Self { file, offset, address, place, .. } = *self;
        Self { file, offset: offset + skip, address: address + skip, len, place: place + skip }
    }
}

/// A transfer: ranges of files that a device may reach. Dropping it unpins all of them together.
///
/// Give it to an engine with the request, and take it back with the completion.
#[must_use = "dropping a pin unpins"]
pub struct Pinned {
    /// In one place on the heap, since it travels: to an engine, through its queue, and back.
    parts: Box<Parts>,
}

struct Parts {
    /// Before `transfer`: noted while it is still pinned.
    written_by_device: Option<WrittenByDevice>,
    /// Before `pool`: unpinned while the memory is still mapped (D1).
    transfer: Transfer,
    segments: Resolved,
    /// Reservations among its files: they are told what was written.
    recorders: Vec<(FileId, Arc<Written>)>,
    /// Whether all of it may be written.
    writable: bool,
    pool: Arc<Shared>,
}

impl Parts {
    fn note_written(&mut self, want: &Want<'_>, segments: &[Segment]) {
        if let Some(written) = self.written_by_device.as_mut().filter(|_| want.access == Access::Write) {
            written.add(&want.open.node, segments);
        }
    }
}

impl Pinned {
    pub(crate) fn new(pool: &Arc<Shared>, transfer: Transfer) -> Self {
        let (segments, recorders, pool) = (Resolved::new(), Vec::new(), Arc::clone(pool));
        let written_by_device = WrittenByDevice::begin(&pool);
        Self { parts: Box::new(Parts { written_by_device, transfer, segments, recorders, writable: true, pool }) }
    }

    /// Adds what a want was resolved to.
    pub(crate) fn add(&mut self, want: &Want<'_>, resolved: Resolved) {
        let parts = &mut *self.parts;
        parts.note_written(want, &resolved);
        match parts.segments.is_empty() {
            true => parts.segments = resolved,
            false => parts.segments.extend(resolved),
        }
        parts.writable &= want.access == Access::Write;
        parts.recorders.extend(want.recorder.clone().map(|written| (want.open.node.id, written)));
    }

    /// Says that a device, or the kernel, is about to read all of it ([`Region::will_need`](pinfold_region::Region::will_need)).
    pub fn will_need(&self) {
        let places = self.segments().iter().map(|segment| segment.place..segment.place + segment.len);
        places.for_each(|place| self.parts.pool.region.will_need(place));
    }

    /// The pinned memory, in the order in which it was asked for.
    pub fn segments(&self) -> &[Segment] {
        &self.parts.segments
    }

    /// How many bytes all segments have.
    #[expect(clippy::len_without_is_empty, reason = "nothing empty is pinned")]
    pub fn len(&self) -> u64 {
        self.parts.segments.iter().map(|segment| segment.len).sum()
    }

    /// Pins more for the same transfer. Passes a break that waits for this transfer already, and never sleeps.
    ///
    /// # Errors
    /// `EDEADLK` for what cannot be let through; else as [`File::pin`]. What was pinned before stays pinned.
    pub fn extend(&mut self, file: &File, range: Range<u64>, access: Access) -> Result<&[Segment], PinError> {
        let want = Want::of(file, range, access);
        want.check()?;
        let parts = &mut *self.parts;
        if !Arc::ptr_eq(&parts.pool, &file.open.pool) {
            return Err(PinError::OtherPool(file.id()));
        }
        let layout = want.open.layout_for_pins()?;
        let extended = parts.transfer.extend(layout, want.blocks(), PinSpec::device(access), || want.resolve());
        let resolved = extended.map_err(|cause| want.refused(cause))?;
        // An error here leaves a pin more on the range until the transfer ends: a transfer only grows.
        let (first, resolved) = (parts.segments.len(), resolved?);
        parts.writable &= access == Access::Write;
        parts.note_written(&want, &resolved);
        parts.segments.extend(resolved);
        Ok(&parts.segments[first..])
    }

    /// Copies bytes out, from `offset` on, counted over all segments in order. A device may write meanwhile: then they
    /// are a mixture. What no device has written of a reservation reads as zeros.
    ///
    /// # Errors
    /// [`AccessError`]: `PastEnd`, and `DeviceOnly` where the host does not reach the memory.
    pub fn copy_out(&self, offset: u64, to: &mut [u8]) -> Result<(), AccessError> {
        let mut rest = to;
        for part in self.memory(offset, rest.len() as u64)? {
            let (now, later) = rest.split_at_mut(part.len as usize);
            self.parts.pool.region.bytes(part.place..part.place + part.len)?.copy_out(0, now)?;
            if let Some(written) = self.recorder_of(part.file) {
                for gap in written.gaps(part.offset..part.offset + part.len) {
                    now[(gap.start - part.offset) as usize..(gap.end - part.offset) as usize].fill(0);
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Copies bytes in, from `offset` on, counted over all segments in order. Of a reservation they count as written.
    ///
    /// # Errors
    /// As [`Pinned::copy_out`].
    pub fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let mut rest = from;
        for part in self.memory(offset, rest.len() as u64)? {
            let (now, later) = rest.split_at(part.len as usize);
            self.parts.pool.region.bytes(part.place..part.place + part.len)?.copy_in(0, now)?;
            self.record(&part);
            rest = later;
        }
        Ok(())
    }

    /// The memory under `len` bytes at `offset`, counted over all segments in order.
    fn memory(&self, offset: u64, len: u64) -> Result<Vec<Segment>, AccessError> {
        let whole = self.len();
        let end = offset.saturating_add(len);
        if end > whole {
            return Err(AccessError::PastEnd { start: offset, end, len: whole });
        }
        let mut begins = 0;
        let part = |segment: &Segment| {
            let (from, to) = (offset.max(begins), end.min(begins + segment.len));
            let skip = from - begins.min(from);
            begins += segment.len;
            (from < to).then(|| segment.part(skip, to - from))
        };
        Ok(self.parts.segments.iter().filter_map(part).collect())
    }

    fn recorder_of(&self, file: FileId) -> Option<&Written> {
        self.parts.recorders.iter().find(|(of, _)| *of == file).map(|(_, written)| &**written)
    }

    fn record(&self, part: &Segment) {
        if let Some(written) = self.recorder_of(part.file) {
            written.add(part.offset..part.offset + part.len);
        }
    }

    /// Says that the device has written the first `bytes` of the segments. A [`Reservation`](crate::Reservation) keeps
    /// those, and zeroes the rest when it is published. Engines call it with each completion.
    pub fn written(&self, bytes: u64) {
        if self.parts.recorders.is_empty() {
            return;
        }
        for part in self.memory(0, bytes.min(self.len())).unwrap_or_default() {
            self.record(&part);
        }
    }

    /// The pool's holder, which made the pins.
    pub fn holder(&self) -> &Arc<Holder> {
        self.parts.transfer.holder()
    }

    /// The pool.
    pub fn pool(&self) -> crate::Pool {
        crate::Pool::of(&self.parts.pool)
    }

    /// Says that an engine has the transfer now: it leaves without the help of this thread, so a blocking operation of
    /// this thread waits for it, instead of refusing to wait for itself.
    pub fn hand_over(&mut self) {
        self.parts.transfer.hand_over();
    }

    /// Says that this thread has the transfer now, whichever pinned: only with its help does it leave, so a blocking
    /// operation of this thread refuses to wait for itself.
    pub fn claim(&mut self) {
        self.parts.transfer.claim();
    }

    /// Says that the transfer is this process's again, with its completion: a blocking operation of the thread that
    /// pinned refuses once more to wait for itself.
    pub fn take_back(&mut self) {
        self.parts.transfer.take_back();
    }

    /// Says that nobody waits for the completion any more, while the engine still has the transfer and will drop this
    /// when it comes: the pins are in quarantine until then (G8).
    pub fn give_up(&mut self) {
        self.parts.transfer.give_up();
    }

    /// What a device may do with all of it: [`Access::Write`] only if every range was pinned for that.
    pub fn access(&self) -> Access {
        match self.parts.writable {
            true => Access::Write,
            false => Access::Read,
        }
    }

    /// Gives the pins an engine's label, for listings and for the engine's proof of quiescence.
    pub fn relabel(&mut self, label: Label) {
        self.parts.transfer.relabel(label);
    }

    /// Gives the transfer up: nobody will see its completion. Its blocks stay as they are, in quarantine, until a proof
    /// says that no device reaches them ([`Pool::release`](crate::Pool::release)), or an operator decides (G8).
    pub fn abandon(self) {
        let Parts { transfer, pool, .. } = *self.parts;
        pool.abandon(transfer);
    }
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").field("segments", &self.parts.segments).finish()
    }
}
