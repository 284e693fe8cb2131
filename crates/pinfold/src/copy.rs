//! Copies by the CPU: `read_at`, `write_at`, `append`, and the copy that a clone is.
//!
//! A copy publishes a pin like any device: one protocol for both. So what it copies stays the file's while it copies,
//! and a break waits for it.
//!
//! Stays true  C1: a copy moves at most [`COPY_MAX`] under one pin, and sleeps for nothing while it holds one.
//!             C2: a copy moves the end of a file while it holds `extend`, and under a pin of the bytes before it, with
//!                 their blocks in place: no reader finds bytes that are not there yet, and what is appended at the end
//!                 lies there alone.
//!             C3: what moves bytes, or the end down, breaks from before the end to infinity, and so waits for a step that
//!                 is pinned and reaches past the end. So each step comes wholly before or after it, and lies where it was
//!                 put; what it leaves between the end and itself is zeros (M2).
//!             C4: nothing that a fault of a view takes is held while memory of a view is touched: neither `populate` nor a
//!                 map. A pin may be: it makes a break that closes open again.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use pinfold_layout::{Access, Holder, Layout, Pin, PinSpec, Until};
use pinfold_region::{AccessError, RegionKind};

use crate::allocator::Fresh;
use crate::error::{CopyError, JournalError, SpaceError};
use crate::extents::Piece;
use crate::file::{File, OpenFile};
use crate::lock::{lock, read, write};
use crate::medium::record::Entry;
use crate::moments::{Moment, pass};
use crate::populate::NewBlocks;
use crate::refusal::NotPinned;
use crate::units::FILE_BYTES_MAX;
use crate::view::is_in_a_view;

/// The most that is copied under one pin, in bytes: a break waits for no more.
const COPY_MAX: u64 = 2 << 20;
/// From how many bytes on the kernel is told that they are about to be read.
const READ_AHEAD_MIN: usize = 16 << 10;

/// What a copy from file to file holds in between, in bytes.
const COPY_BUFFER: u64 = 256 << 10;

const READ: PinSpec = PinSpec::cpu(Access::Read);
const WRITE: PinSpec = PinSpec::cpu(Access::Write);

/// What a range of file blocks is made of, without a heap allocation for the common case.
enum Pieces {
    One(Piece),
    Many(Vec<Piece>),
}

impl Pieces {
    fn as_slice(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }
}

/// The right to make a file longer: its `extend` is held.
pub(crate) type Extending<'f> = MutexGuard<'f, ()>;

/// Where a step of a write has to lie.
enum Where<'g> {
    /// In the file, which stays as long as it is.
    Inside,
    /// Anywhere: the file becomes longer if it ends before.
    Anywhere(&'g Extending<'g>),
    /// It goes on where the file ends, while it is written.
    AtTheEnd(&'g Extending<'g>),
}

impl<'g> Where<'g> {
    /// Whether a step that ends at `end` may be made, as the file is now; with what, if that makes it longer.
    fn admits(&self, start: u64, end: u64, len: u64) -> Option<Option<&'g Extending<'g>>> {
        match self {
            Self::Inside => (end <= len).then_some(None),
            Self::Anywhere(extending) => Some((end > len).then_some(extending)),
            Self::AtTheEnd(extending) => (start == len).then_some(Some(extending)),
        }
    }
}

/// What is seen of a file under a pin.
struct Seen {
    len: u64,
    pieces: Pieces,
}

impl File {
    /// Copies bytes from `offset` on into `to`; how many: fewer than asked for only at the end of the file. Holes read
    /// as zeros.
    ///
    /// # Errors
    /// [`CopyError`]: `DeviceOnly` memory, and what the mechanism refuses.
    pub fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize, CopyError> {
        let mut done = 0;
        while done < to.len() {
            let from = offset.saturating_add(done as u64);
            let step = (to.len() - done).min(COPY_MAX as usize);
            let copied = self.open.read_step(from, &mut to[done..done + step])?;
            done += copied;
            if copied < step {
                break;
            }
        }
        Ok(done)
    }

    /// Copies `from` into the file, beginning at `offset`, and makes the file longer if it ends before. What lies
    /// between the old end and `offset` reads as zeros. A change of the file's layout meanwhile comes before or after each
    /// 2 MiB of it.
    ///
    /// # Errors
    /// [`CopyError`]. When there is no space for all of it, nothing is written, unless somebody takes blocks out of the
    /// range meanwhile.
    pub fn write_at(&self, offset: u64, from: &[u8]) -> Result<(), CopyError> {
        let end = self.end_of(offset, from.len() as u64)?;
        let extending = (end > self.len()).then(|| self.open.extending()).transpose()?;
        self.open.write_all(offset, from, extending)
    }

    /// Copies `from` to the end of the file, as one: nobody else's bytes come in between. Where it begins.
    ///
    /// # Errors
    /// As [`File::write_at`].
    pub fn append(&self, from: &[u8]) -> Result<u64, CopyError> {
        let extending = self.open.extending()?;
        let end = self.len();
        self.end_of(end, from.len() as u64)?;
        self.open.prepare(end, from.len() as u64)?;
        let mut begins = None;
        for step in from.chunks(COPY_MAX as usize) {
            let at = self.append_step(step, &extending)?;
            begins.get_or_insert(at);
        }
        Ok(begins.unwrap_or(end))
    }

    /// Where it lies. The end moves without `extend` where blocks are put in or taken out before it: then it is looked
    /// for again.
    fn append_step(&self, from: &[u8], extending: &Extending<'_>) -> Result<u64, CopyError> {
        loop {
            let end = self.len();
            self.end_of(end, from.len() as u64)?;
            if self.open.write_step(end, from, &Where::AtTheEnd(extending))? {
                return Ok(end);
            }
        }
    }

    /// Copies a range of bytes to `to`, beginning at `at`: what is shared between files elsewhere (`FICLONERANGE`) is a
    /// copy here, since no block has two owners. Holes are not filled on the way. How many bytes: fewer than asked for
    /// at the end of this file.
    ///
    /// # Errors
    /// As [`File::write_at`]; a part may have been copied then. Ranges of one file that meet are refused.
    pub fn copy_range(&self, range: Range<u64>, to: &Self, at: u64) -> Result<u64, CopyError> {
        if !Arc::ptr_eq(&self.open.pool, &to.open.pool) {
            return Err(CopyError::OtherPool(to.id()));
        }
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return Ok(0);
        }
        let end = to.end_of(at, range.end - range.start)?;
        if self.id() == to.id() && range.start < end && at < range.end {
            return Err(CopyError::Overlap { file: self.id(), range, at });
        }
        let to_there = |offset: u64| at + (offset - range.start);
        let mut buffer = vec![0; (range.end - range.start).min(COPY_BUFFER) as usize];
        let mut from = range.start;
        while let Some(data) = self.seek_data(from).filter(|data| *data < range.end) {
            let hole = self.seek_hole(data).unwrap_or(range.end).min(range.end);
            let wanted = (hole - data).min(COPY_BUFFER);
            let copied = self.read_at(data, &mut buffer[..wanted as usize])?;
            if copied == 0 {
                break; // It was cut meanwhile.
            }
            to.make_zeros(to_there(from)..to_there(data))?;
            to.write_at(to_there(data), &buffer[..copied])?;
            from = data + copied as u64;
        }
        to.make_zeros(to_there(from)..end)?;
        Ok(range.end - range.start)
    }

    /// Makes a range read as zeros, without new blocks, and the file longer if it ends before.
    fn make_zeros(&self, range: Range<u64>) -> Result<(), CopyError> {
        self.open.zero_in_place(range.clone())?;
        Ok(self.open.make_longer(range.end, &self.open.extending()?)?)
    }

    fn end_of(&self, offset: u64, len: u64) -> Result<u64, CopyError> {
        let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
        end.ok_or(CopyError::TooLarge { file: self.id(), offset, len })
    }
}

impl OpenFile {
    fn read_step(&self, offset: u64, to: &mut [u8]) -> Result<usize, CopyError> {
        let bytes = offset..offset.saturating_add(to.len() as u64).min(FILE_BYTES_MAX);
        if bytes.is_empty() {
            return Ok(0);
        }
        let blocks = self.pool.block.outward(&bytes);
        let pin = self.pinned(self.layout()?, &blocks, READ, || self.see(&blocks))?;
        let seen = pin.resolved();
        let bytes = bytes.start..bytes.end.min(seen.len);
        for piece in seen.pieces.as_slice() {
            let Some((part, place)) = self.part_of(piece, &bytes) else { continue };
            let to = &mut to[(part.start - offset) as usize..(part.end - offset) as usize];
            match place {
                Some(place) => self.copy_out(place, to)?,
                None => to.fill(0),
            }
        }
        Ok(bytes.end.saturating_sub(bytes.start) as usize)
    }

    #[inline]
    fn copy_out(&self, place: Range<u64>, to: &mut [u8]) -> Result<(), CopyError> {
        if to.len() >= READ_AHEAD_MIN {
            self.pool.region.will_need(place.clone());
        }
        self.access(self.pool.region.bytes(place).and_then(|bytes| bytes.copy_out(0, to)))
    }

    /// A pin for a copy.
    #[inline]
    fn pinned<T>(
        &self,
        layout: &Layout,
        blocks: &Range<u64>,
        spec: PinSpec,
        resolve: impl FnMut() -> T,
    ) -> Result<Pin<&Holder, T>, Box<NotPinned>> {
        let pin = self.pool.holder.pin(layout, blocks.clone(), spec, Until::done(), resolve);
        pin.map_err(|cause| self.pool.not_pinned(self.node.id, self.pool.bytes_of(blocks), cause))
    }

    /// What a range of file blocks is made of now.
    fn see(&self, blocks: &Range<u64>) -> Seen {
        let map = read(&self.body().map);
        let first = map.extents.piece(blocks.start, blocks.end);
        let pieces = match first.end() == blocks.end {
            true => Pieces::One(first),
            false => Pieces::Many(map.extents.pieces(blocks.clone()).collect()),
        };
        Seen { len: map.len, pieces }
    }

    /// The part of `bytes` that lies in a piece, and where it lies in the region if it holds bytes.
    fn part_of(&self, piece: &Piece, bytes: &Range<u64>) -> Option<(Range<u64>, Option<Range<u64>>)> {
        let block = self.pool.block;
        let whole = block.to_bytes(&(piece.at..piece.end()));
        let part = whole.start.max(bytes.start)..whole.end.min(bytes.end);
        let place = |first: u64| {
            let start = block.offset(first) + (part.start - whole.start);
            start..start + (part.end - part.start)
        };
        (!part.is_empty()).then(|| (part.clone(), piece.bytes_at().map(place)))
    }

    /// The right to make the file longer, which one has at a time. Whoever asks for it holds no pin.
    pub(crate) fn extending(&self) -> Result<Extending<'_>, CopyError> {
        let extending = lock(&self.body().extend);
        if self.body().views.take_stored_past_the_end() {
            self.zero_past_the_end().inspect_err(|_| self.body().views.may_store_past_the_end())?;
        }
        Ok(extending)
    }

    /// Zeroes what lies past the end of the file in its last block (M2). The caller holds `extend`.
    fn zero_past_the_end(&self) -> Result<(), CopyError> {
        let block = self.pool.block;
        loop {
            let len = read(&self.body().map).len;
            let last = block.outward(&(len..len + 1));
            if block.is_aligned(len) {
                return Ok(());
            }
            let pin = self.pinned(self.layout()?, &last, WRITE, || self.see(&last))?;
            let seen = pin.resolved();
            // Else it was cut or shifted before it was pinned: what reaches past the end cannot be, from then on.
            if seen.len != len {
                continue;
            }
            let past = len..block.offset(last.end);
            return seen.pieces.as_slice().iter().try_for_each(|piece| match self.part_of(piece, &past) {
                Some((_, Some(place))) => self.make_zeros_last(place),
                _ => Ok(()),
            });
        }
    }

    /// Zeroes bytes past the end, if they are not zeros, before a record says that the file is longer.
    fn make_zeros_last(&self, place: Range<u64>) -> Result<(), CopyError> {
        let mut bytes = vec![0; (place.end - place.start) as usize];
        self.copy_out(place.clone(), &mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            self.pool.zero_bytes(place.clone()).map_err(|error| self.no_space()(SpaceError::Zero(error)))?;
            if self.pool.journal.flushes() {
                self.pool.flush_places(vec![place])?;
            }
        }
        Ok(())
    }

    fn make_longer(&self, len: u64, _extending: &Extending<'_>) -> Result<(), JournalError> {
        self.lengthen(len)
    }

    /// Writes all of `from`. Whether that makes the file longer may have changed since it was asked: then what is left
    /// does so (C2).
    fn write_all<'f>(
        &'f self,
        offset: u64,
        from: &[u8],
        mut extending: Option<Extending<'f>>,
    ) -> Result<(), CopyError> {
        self.prepare(offset, from.len() as u64)?;
        let mut at = offset;
        for step in from.chunks(COPY_MAX as usize) {
            pass(Moment::NextStep);
            while !self.write_step(at, step, &extending.as_ref().map_or(Where::Inside, Where::Anywhere))? {
                pass(Moment::Shorter);
                extending = Some(self.extending()?);
            }
            at += step.len() as u64;
        }
        Ok(())
    }

    /// Of a write of more than one step, all blocks are taken first: so a lack of space is found before anything is
    /// written.
    fn prepare(&self, offset: u64, len: u64) -> Result<(), CopyError> {
        if len <= COPY_MAX {
            return Ok(());
        }
        self.check_reach()?;
        self.set_aside_pinned(&(offset..offset + len)).map_err(self.no_space())
    }

    /// False, and nothing is written, if the file is not as long as the step was told.
    fn write_step(&self, offset: u64, from: &[u8], place: &Where<'_>) -> Result<bool, CopyError> {
        self.pool.journal.check()?;
        let bytes = offset..offset + from.len() as u64;
        let blocks = self.pool.block.outward(&bytes);
        let pin = self.pinned(self.layout()?, &blocks, WRITE, || self.see(&blocks))?;
        let seen = pin.resolved();
        let Some(longer) = place.admits(bytes.start, bytes.end, seen.len) else { return Ok(false) };
        pass(Moment::Seen);
        if seen.pieces.as_slice().iter().all(|piece| piece.bytes_at().is_some()) {
            self.copy_to_pieces(seen.pieces.as_slice(), &bytes, from)?;
        } else if is_in_a_view(from) {
            // C4.
            drop(pin);
            let copied: Box<[u8]> = from.into();
            return self.write_step(offset, &copied, place);
        } else {
            let there = self.fill(blocks, |new| self.write_new(new, &bytes, from))?;
            self.copy_to_pieces(&there, &bytes, from)?;
        }
        if let Some(extending) = longer {
            self.make_longer(bytes.end, extending)?;
        }
        Ok(true)
    }

    /// Makes the file that long, if it is shorter. The caller holds `extend`.
    pub(crate) fn lengthen(&self, len: u64) -> Result<(), JournalError> {
        let record = self.pool.journal.prepare_one(Entry::Length { node: self.node.id.0, len })?;
        let mut map = write(&self.body().map);
        if map.len < len {
            map.len = len;
            self.note(record, &mut map);
        }
        drop(map);
        self.body().views.grown();
        Ok(())
    }

    fn copy_to_pieces(&self, pieces: &[Piece], bytes: &Range<u64>, from: &[u8]) -> Result<(), CopyError> {
        for piece in pieces {
            if let Some((part, Some(place))) = self.part_of(piece, bytes) {
                self.copy_in(place, &from[(part.start - bytes.start) as usize..(part.end - bytes.start) as usize])?;
            }
        }
        Ok(())
    }

    /// Writes blocks that nobody has seen: `from` where it lies on them, zeros around it.
    fn write_new(&self, new: &NewBlocks, bytes: &Range<u64>, from: &[u8]) -> Result<(), CopyError> {
        let block = self.pool.block;
        let whole = block.to_bytes(&(new.at..new.at + new.len));
        let place = |offset: u64| block.offset(new.block) + (offset - whole.start);
        let part = whole.start.max(bytes.start)..whole.end.min(bytes.end);
        let zero = |range: Range<u64>| match range.is_empty() {
            true => Ok(()),
            false => self.pool.zero_bytes(range).map_err(|error| self.no_space()(SpaceError::Zero(error))),
        };
        self.copy_in(
            place(part.start)..place(part.end),
            &from[(part.start - bytes.start) as usize..(part.end - bytes.start) as usize],
        )?;
        zero(place(whole.start)..place(part.start))?;
        zero(place(part.end)..place(whole.end))
    }

    fn copy_in(&self, place: Range<u64>, from: &[u8]) -> Result<(), CopyError> {
        self.access(self.pool.region.bytes(place.clone()).and_then(|bytes| bytes.copy_in(0, from)))?;
        self.pool.note_written(&self.node, place);
        Ok(())
    }

    /// Writes zeros over the bytes of a range that the file has blocks for.
    pub(crate) fn zero_in_place(&self, bytes: Range<u64>) -> Result<(), CopyError> {
        self.pool.journal.check()?;
        let mut rest = bytes;
        while let Some(start) = self.next_written(&rest) {
            let step = start..rest.end.min(start + COPY_MAX);
            let blocks = self.pool.block.outward(&step);
            let pin = self.pinned(self.layout()?, &blocks, WRITE, || self.see(&blocks))?;
            for piece in pin.resolved().pieces.as_slice() {
                if let Some((_, Some(place))) = self.part_of(piece, &step) {
                    self.pool.zero_bytes(place.clone()).map_err(|error| self.no_space()(SpaceError::Zero(error)))?;
                    self.pool.note_written(&self.node, place);
                }
            }
            rest.start = step.end;
        }
        Ok(())
    }

    /// The first byte of a range that lies in a block with bytes in it.
    fn next_written(&self, bytes: &Range<u64>) -> Option<u64> {
        if bytes.is_empty() {
            return None;
        }
        let block = self.pool.block;
        let map = read(&self.body().map);
        let piece = map.extents.pieces(block.outward(bytes)).find(|piece| piece.bytes_at().is_some())?;
        Some(block.offset(piece.at).max(bytes.start))
    }

    /// Sets blocks aside under the holes of a range of bytes, under a pin of it (M1).
    pub(crate) fn set_aside_pinned(&self, bytes: &Range<u64>) -> Result<(), SpaceError> {
        let blocks = self.pool.block.outward(bytes);
        let pin = self.pinned(self.layout()?, &blocks, WRITE, || ())?;
        let set_aside = self.set_aside(blocks);
        drop(pin);
        set_aside
    }

    /// Refuses what the host could not copy in any case, before blocks are set aside for it.
    fn check_reach(&self) -> Result<(), CopyError> {
        match self.pool.region.kind() {
            RegionKind::DeviceOnly => self.access(Err(AccessError::DeviceOnly)),
            _ => Ok(()),
        }
    }

    /// Sets a block aside that was taken before, under a pin of its place (M1), if that is a hole still.
    pub(crate) fn put_under(&self, at: u64, fresh: Fresh<'_>) -> Result<(), SpaceError> {
        let _pin = self.pinned(self.layout()?, &(at..at + 1), WRITE, || ())?;
        self.put_into_hole(at, fresh)?;
        Ok(())
    }

    fn access<T>(&self, result: Result<T, AccessError>) -> Result<T, CopyError> {
        result.map_err(|source| CopyError::Access { file: self.node.id, source })
    }

    fn no_space(&self) -> impl Fn(SpaceError) -> CopyError + use<> {
        let file = self.node.id;
        move |source| CopyError::Space { file, source }
    }
}

#[cfg(test)]
mod tests;
