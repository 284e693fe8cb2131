//! Registered memory: windows onto a pool that the kernel keeps pinned, so that it need not look pages up for each
//! transfer.
//!
//! Stays true  W1: a window's pool is kept as long as the window, so its addresses are that pool's.
//!             W2: registered memory is never punched out of a region; nothing of pinfold ever does that.

use std::fmt;
use std::io;
use std::ops::Range;

use io_uring::IoUring;
use pinfold::{Pool, RegionKind};

use crate::error::{RegisterError, raw};

/// The most that the kernel takes as one buffer.
const WINDOW_MAX: u64 = 1 << 30;

/// The kernel's `IORING_MAX_REG_BUFFERS`; the table is made for all at once, since it cannot grow.
const WINDOWS_MAX: u32 = 1 << 14;

/// What of a pool is registered with a ring, and what is not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registered {
    /// Registered parts of the region, in bytes from its start.
    pub windows: Vec<Range<u64>>,
    /// Parts that the kernel refused, and its `errno`: transfers into them are plain ones. `EOPNOTSUPP` is its word for
    /// memory that is a writable mapping of a file on disk, `ENOMEM` and `EPERM` for RLIMIT_MEMLOCK.
    pub refused: Vec<(Range<u64>, i32)>,
}

impl Registered {
    /// Registered bytes.
    pub fn bytes(&self) -> u64 {
        self.windows.iter().map(|window| window.end - window.start).sum()
    }
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes registered, in {} windows", self.bytes(), self.windows.len())?;
        for (range, errno) in &self.refused {
            let why = match *errno {
                libc::EOPNOTSUPP | libc::EFAULT => "a writable mapping of a file cannot be registered",
                libc::ENOMEM | libc::EPERM => "more than RLIMIT_MEMLOCK allows",
                _ => "refused",
            };
            let said = io::Error::from_raw_os_error(*errno);
            write!(f, "; bytes {}..{} are not: {why} ({said})", range.start, range.end)?;
        }
        Ok(())
    }
}

/// The windows of one ring.
#[derive(Default)]
pub(super) struct Windows {
    /// In order of address.
    windows: Vec<Window>,
    /// Whether the kernel has a table for them.
    table: bool,
    free: Vec<u16>,
    fresh: u32,
}

struct Window {
    address: u64,
    len: u64,
    buffer: u16,
    /// W1.
    pool: Pool,
    place: u64,
}

impl Windows {
    /// The buffer in which `len` bytes at `address` lie as a whole.
    #[inline]
    pub(super) fn find(&self, address: u64, len: u64) -> Option<u16> {
        let after = self.windows.partition_point(|window| window.address <= address);
        let window = &self.windows[after.checked_sub(1)?];
        (address + len <= window.address + window.len).then_some(window.buffer)
    }

    /// Registers what of `ranges` is not yet, in bytes of the pool's region.
    pub(super) fn register(
        &mut self,
        io: &IoUring,
        pool: &Pool,
        ranges: &[Range<u64>],
    ) -> Result<Registered, RegisterError> {
        if pool.region().kind() == RegionKind::DeviceOnly {
            return Err(RegisterError::DeviceOnly);
        }
        self.make_table(io)?;
        let mut registered = Registered::default();
        let pieces = ranges.iter().flat_map(|range| cut(range.clone()));
        for range in pieces.flat_map(|piece| self.missing(pool, piece)).collect::<Vec<_>>() {
            if let Err(errno) = self.open(io, pool, &range) {
                registered.refused.push((range, errno));
            }
        }
        registered.windows = self.of(pool).collect();
        Ok(registered)
    }

    fn make_table(&mut self, io: &IoUring) -> Result<(), RegisterError> {
        if !self.table {
            io.submitter().register_buffers_sparse(WINDOWS_MAX).map_err(RegisterError::Unsupported)?;
            self.table = true;
        }
        Ok(())
    }

    /// The registered parts of a pool's region.
    pub(super) fn of(&self, pool: &Pool) -> impl Iterator<Item = Range<u64>> {
        let mine = self.windows.iter().filter(|window| window.pool == *pool);
        mine.map(|window| window.place..window.place + window.len)
    }

    /// The parts of a range that no window covers.
    fn missing(&self, pool: &Pool, range: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut start = range.start;
        for window in self.of(pool).filter(|window| window.end > range.start && window.start < range.end) {
            if start < window.start {
                missing.push(start..window.start);
            }
            start = start.max(window.end);
        }
        if start < range.end {
            missing.push(start..range.end);
        }
        missing
    }

    fn open(&mut self, io: &IoUring, pool: &Pool, range: &Range<u64>) -> Result<(), i32> {
        let fresh = (self.fresh < WINDOWS_MAX).then_some(self.fresh as u16);
        let buffer = self.free.last().copied().or(fresh).ok_or(libc::ENOBUFS)?;
        let bytes = pool.region().bytes(range.clone()).map_err(|error| error.errno())?;
        let vector = libc::iovec { iov_base: bytes.address() as *mut _, iov_len: bytes.len() as usize };
        // SAFETY: the bytes are mapped as long as the region (its R1), and the window keeps its pool (W1).
        let opened = unsafe { io.submitter().register_buffers_update(buffer.into(), &[vector], None) };
        opened.map_err(|error| raw(&error))?;
        if self.free.pop().is_none() {
            self.fresh += 1;
        }
        let window =
            Window { address: bytes.address(), len: bytes.len(), buffer, pool: pool.clone(), place: range.start };
        let at = self.windows.partition_point(|other| other.address < window.address);
        self.windows.insert(at, window);
        Ok(())
    }

    /// Closes the windows of a pool. Transfers that go through them end as they would.
    pub(super) fn close(&mut self, io: &IoUring, pool: &Pool) -> Vec<Pool> {
        let (closed, kept) =
            std::mem::take(&mut self.windows).into_iter().partition::<Vec<_>, _>(|window| window.pool == *pool);
        self.windows = kept;
        for window in &closed {
            let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            // SAFETY: an empty buffer takes the place of the window.
            if unsafe { io.submitter().register_buffers_update(window.buffer.into(), &[nothing], None) }.is_ok() {
                self.free.push(window.buffer);
            }
        }
        closed.into_iter().map(|window| window.pool).collect()
    }

    /// The pools of all windows, for a ring that ends.
    pub(super) fn into_pools(self) -> Vec<Pool> {
        self.windows.into_iter().map(|window| window.pool).collect()
    }
}

/// A range in pieces that the kernel takes.
fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let starts = (range.start..range.end).step_by(WINDOW_MAX as usize);
    starts.map(move |start| start..range.end.min(start + WINDOW_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_into_windows_of_a_gibibyte() {
        let pieces: Vec<_> = cut(4096..(2 << 30) + 8192).collect();
        assert_eq!(
            pieces,
            [4096..(1 << 30) + 4096, (1 << 30) + 4096..(2 << 30) + 4096, (2 << 30) + 4096..(2 << 30) + 8192]
        );
    }
}
