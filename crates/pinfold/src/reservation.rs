//! A reservation: an unnamed file that devices fill, and that gets its name in one step once it is whole.
//!
//! Stays true  R1: nobody reads a reservation before it is published: its blocks are set aside, at once or as they are
//!                 pinned, never zeroed, and only write pins are given out.
//!             R2: what is published holds what the devices said they wrote, and zeros elsewhere (G10).
//! Dead owner  nothing of it has a name: it goes with its process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pinfold_layout::{Access, Effect, Idle, Policy, Until};

use crate::error::{ChangeError, NameError, PublishError, SpaceError};
use crate::extents::{Piece, State};
use crate::file::File;
use crate::lock::{lock, read, write};
use crate::medium::record::{Entry, Made};
use crate::names::Publish;
use crate::node::{FileBody, FileId, Kind};
use crate::pinning::{Pinning, Want};
use crate::pool::{Pool, Shared};
use crate::report::PinReport;
use crate::units::FILE_BYTES_MAX;

/// Blocks for a file that does not have a name yet. Dropping it aborts: the blocks are free again, or parked while a
/// transfer into them is in flight.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Pool, Publish, Region};
///
/// let pool = Pool::new(Region::memfd(16 << 20)?)?;
/// let reservation = pool.reserve(1 << 20).try_now()?;
/// let pinned = reservation.pin(0..1 << 20).wait()?;
/// // A device writes to `pinned.segments()`; here the CPU does.
/// pinned.copy_in(0, &[7; 4096])?;
/// pinned.written(4096);
/// drop(pinned);
/// let file = reservation.publish("/chunk", Publish::New)?; // now everybody sees all of it
/// assert_eq!(file.len(), 1 << 20);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reservation {
    file: File,
    written: Arc<Written>,
}

/// Blocks that are about to be reserved: one of four forms does it.
#[must_use = "nothing is reserved before one of the four forms is called"]
pub struct Reserving<'p> {
    pool: &'p Arc<Shared>,
    len: u64,
    sparse: bool,
}

/// Which bytes of a reservation devices have written.
#[derive(Default, Debug)]
pub(crate) struct Written {
    /// Ranges by their starts; none meets another.
    ranges: Mutex<BTreeMap<u64, u64>>,
}

impl Written {
    pub(crate) fn add(&self, range: Range<u64>) {
        let mut ranges = lock(&self.ranges);
        let Range { mut start, mut end } = range;
        while let Some((&from, &to)) = ranges.range(..=end).next_back().filter(|(_, to)| **to >= start) {
            (start, end) = (start.min(from), end.max(to));
            ranges.remove(&from);
        }
        ranges.insert(start, end);
    }

    /// Forgets all from byte `len` on.
    fn cut(&self, len: u64) {
        let mut ranges = lock(&self.ranges);
        drop(ranges.split_off(&len));
        if let Some((_, end)) = ranges.iter_mut().next_back() {
            *end = (*end).min(len);
        }
    }

    /// What was not written of a range.
    pub(crate) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (start, end) in lock(&self.ranges).range(..range.end) {
            gaps.push(at..*start);
            at = at.max(*end);
        }
        gaps.push(at..range.end);
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }
}

impl Pool {
    /// Blocks for a file of `len` bytes that devices will fill before it gets a name.
    pub fn reserve(&self, len: u64) -> Reserving<'_> {
        Reserving { pool: &self.shared, len, sparse: false }
    }
}

impl Reserving<'_> {
    /// Takes no blocks yet: they come as ranges are pinned. What is never pinned is a hole. Of any length, none included.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use pinfold::{Pool, Publish, Region};
    /// # let pool = Pool::new(Region::memfd(16 << 20)?)?;
    /// let reservation = pool.reserve(1 << 40).sparse().try_now()?; // of a pool of 16 MiB
    /// reservation.pin(1 << 30..(1 << 30) + 4096).wait()?.copy_in(0, &[7; 4096])?;
    /// let file = reservation.publish("/sparse", Publish::New)?;
    /// assert_eq!((file.len(), file.metadata().allocated), (1 << 40, 4096));
    /// # Ok(()) }
    /// ```
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Waits for space, as [`Allocation::wait`](crate::Allocation::wait) does.
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is reserved then. `ENOSPC` when there would be too few blocks though all pins left.
    pub fn wait(self) -> Result<Reservation, SpaceError> {
        self.until(Until::done())
    }

    /// As [`Reserving::wait`], as long as `until` says.
    ///
    /// # Errors
    /// As there, and `ETIMEDOUT`, `EINTR`.
    pub fn until(self, until: Until) -> Result<Reservation, SpaceError> {
        self.pool.until_there_is_space(until, || self.reserve())
    }

    /// Only looks.
    ///
    /// # Errors
    /// As [`Reserving::wait`]; `ENOSPC` if too few blocks are free now.
    pub fn try_now(self) -> Result<Reservation, SpaceError> {
        self.reserve()
    }

    /// As [`Reserving::wait`], as a future of no particular runtime.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<Reservation, SpaceError> {
        self.pool.when_there_is_space(|| self.reserve()).await
    }

    fn reserve(&self) -> Result<Reservation, SpaceError> {
        if (self.len == 0 && !self.sparse) || self.len > FILE_BYTES_MAX {
            return Err(SpaceError::BadLength(self.len));
        }
        let node = self.pool.new_node(Kind::File(FileBody::default()));
        let file = File::open_unnamed(self.pool, &node);
        lock(&node.life).reserved = true;
        let record = self.pool.journal.prepare(|draft| {
            draft.add(Entry::Make { node: node.id.0, made: Made::File });
            draft.add(Entry::Length { node: node.id.0, len: self.len });
        })?;
        {
            let mut map = write(&file.open.body().map);
            map.len = self.len;
            node.modified_at(record.time());
            map.position = record.append(&self.pool.region);
        }
        if !self.sparse {
            file.open.set_aside_pinned(&(0..self.len))?;
        }
        Ok(Reservation { file, written: Arc::default() })
    }
}

impl Reservation {
    /// Which file it is and will be.
    pub fn id(&self) -> FileId {
        self.file.id()
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a reservation is asked how long it is, not whether it is")]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// A pin of a range of bytes, for a device that writes it. What was written is what the device's engine says at the
    /// completion ([`Pinned::written`](crate::Pinned::written)).
    pub fn pin(&self, range: Range<u64>) -> Pinning<'_> {
        let recorder = Some(Arc::clone(&self.written));
        Pinning::of(Want { recorder, ..Want::of(&self.file, range, Access::Write) })
    }

    /// Sets the length in bytes: for what turns out shorter than was thought, or longer. What is cut off is free again; what
    /// is added is a hole. Does not wait.
    ///
    /// # Errors
    /// [`ChangeError`], above all `EBUSY` while a transfer into what is cut off is in flight. Nothing is changed then.
    pub fn truncate(&mut self, len: u64) -> Result<(), ChangeError> {
        self.file.truncate(len).try_now()?;
        self.written.cut(len);
        Ok(())
    }

    /// Says that a range of bytes was written, where no engine does.
    pub fn written(&self, range: Range<u64>) {
        if !range.is_empty() {
            self.written.add(range);
        }
    }

    /// Zeroes what was not written, and gives the file its name: whoever opens it sees all of it. With
    /// [`Publish::Replace`] a file of that name is gone in the same step.
    ///
    /// # Errors
    /// [`Unpublished`] has the reservation, as it was: `EBUSY` while a transfer into it is in flight, and what is wrong
    /// with the name.
    pub fn publish(self, path: impl AsRef<Path>, how: Publish) -> Result<File, Unpublished> {
        self.publish_with(path.as_ref(), how, None)
    }

    /// As [`Reservation::publish`], but waits for transfers into it, as long as `until` says.
    ///
    /// # Errors
    /// As there.
    pub fn publish_until(self, path: impl AsRef<Path>, how: Publish, until: Until) -> Result<File, Unpublished> {
        self.publish_with(path.as_ref(), how, Some(until))
    }

    fn publish_with(self, path: &Path, how: Publish, until: Option<Until>) -> Result<File, Unpublished> {
        let file = &self.file;
        let published = self.settle(path, until).and_then(|()| file.open.pool.publish(path, &file.open.node, how));
        match published {
            Ok(()) => {
                // Whoever finds it by its name tries again until here.
                lock(&file.open.node.life).reserved = false;
                Ok(self.file)
            }
            Err(error) => Err(Unpublished { error, reservation: self }),
        }
    }

    /// Makes it a file like any other, with nobody in it: what was not written is zeroed (R2).
    fn settle(&self, path: &Path, until: Option<Until>) -> Result<(), NameError> {
        let settled = (|| {
            let open = &self.file.open;
            let not_broken = |cause| open.pool.not_broken([(self.id(), 0..u64::MAX)], cause);
            let brk = open.pool.area.break_layout(&[(open.layout()?, 0..u64::MAX)], Policy::Wait, Effect::Frees);
            let mut brk = brk.map_err(not_broken)?;
            let idle = match until {
                Some(until) => brk.drain(until),
                None => brk.try_drain(),
            };
            self.zero_gaps(idle.map_err(not_broken)?)
        })();
        settled.map_err(|source| NameError::Publish { path: path.to_owned(), source: Box::new(source) })
    }

    fn zero_gaps(&self, idle: Idle<'_>) -> Result<(), PublishError> {
        let open = &self.file.open;
        let block = open.pool.block;
        let end = block.offset(block.ceil(self.len()));
        let pieces: Vec<Piece> = read(&open.body().map).extents.pieces(0..block.floor(end)).collect();
        // What lies behind the end of the file is nobody's, whatever an engine says that it wrote (M2).
        let behind = std::iter::once(self.len()..end).filter(|behind| !behind.is_empty());
        for gap in self.written.gaps(0..self.len()).into_iter().chain(behind) {
            let first = pieces.partition_point(|piece| block.offset(piece.end()) <= gap.start);
            for piece in pieces[first..].iter().take_while(|piece| block.offset(piece.at) < gap.end) {
                let Some(run) = piece.run else { continue };
                let bytes = block.to_bytes(&(piece.at..piece.end()));
                let place = |offset: u64| block.offset(run.block) + (offset - bytes.start);
                let gap = place(gap.start.max(bytes.start))..place(gap.end.min(bytes.end));
                open.pool.zero_bytes(gap).map_err(PublishError::Zero)?;
            }
        }
        self.mark_written(idle, &pieces)
    }

    /// Says that all of it holds bytes, once they are durable: it is published whole, or not at all.
    fn mark_written(&self, idle: Idle<'_>, pieces: &[Piece]) -> Result<(), PublishError> {
        let open = &self.file.open;
        if open.pool.journal.flushes() {
            let places = pieces.iter().filter_map(|piece| piece.run);
            let places = places.map(|run| open.pool.block.to_bytes(&(run.block..run.end())));
            open.pool.flush_places(places.collect())?;
        }
        let len = pieces.last().map_or(0, Piece::end);
        if len == 0 {
            return Ok(());
        }
        let mark = Entry::Mark { node: open.node.id.0, at: 0, len, written: true };
        let record = open.pool.journal.prepare_one(mark)?;
        let mut map = write(&open.body().map);
        map.position = record.commit(&open.pool.region, idle, || {
            pieces.iter().for_each(|piece| drop(map.extents.set_state(piece, State::Written)));
            Vec::new()
        });
        Ok(())
    }
}

/// A reservation that was not published, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unpublished {
    /// Why not.
    #[source]
    pub error: NameError,
    /// As it was: it can be published again, under another name or later.
    pub reservation: Reservation,
}

impl Unpublished {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        self.error.errno()
    }

    /// The first transfer into it that is in flight.
    pub fn holder(&self) -> Option<&PinReport> {
        self.error.holder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_become_one() {
        let written = Written::default();
        for range in [10..20, 30..40, 20..25, 5..11, 24..31] {
            written.add(range);
        }
        assert_eq!(written.gaps(0..50), [0..5, 40..50]);
        assert_eq!(written.gaps(7..38), [], "none in what was written");
    }

    #[test]
    fn what_is_cut_off_was_never_written() {
        let written = Written::default();
        [10..20, 30..40, 50..60].into_iter().for_each(|range| written.add(range));
        written.cut(35);
        assert_eq!(written.gaps(0..60), [0..10, 20..30, 35..60]);
        written.cut(25);
        assert_eq!(written.gaps(0..60), [0..10, 20..60]);
        written.cut(20);
        assert_eq!(written.gaps(0..60), [0..10, 20..60]);
        written.cut(0);
        assert_eq!(written.gaps(0..60), vec![Range { start: 0, end: 60 }]);
    }

    #[test]
    fn nothing_written_is_one_gap() {
        assert_eq!(Written::default().gaps(0..4096), vec![Range { start: 0, end: 4096 }]);
    }
}
