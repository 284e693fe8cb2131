//! A pinned range as an owned buffer for compio's rings ([`compio_buf`]).
//!
//! compio keeps an owned buffer from the submission until the completion, which is what a pin needs. But its traits hand
//! out slices of the buffer, and memory that others write must not be behind a slice. So making one is `unsafe`: its maker
//! promises that nobody else does.
//!
//! Stays true  B1: the pinned memory is one row of host addresses, pinned for writing, for as long as the buffer lives.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use compio_buf::{IoBuf, IoBufMut, SetLen};
use pinfold::{Access, Pinned, RegionKind};
use rustix::io::Errno;

/// A pinned range in one row, as compio takes it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use compio_buf::{IoBuf, IoBufMut};
/// use pinfold::{Access, Pool, Region};
/// use pinfold_dma::compio::PinnedBuf;
///
/// let pool = Pool::new(Region::memfd(1 << 20)?)?;
/// let file = pool.create("/in")?;
/// file.allocate(0..4096).wait()?;
/// let pinned = file.pin(0..4096, Access::Write).labelled("compio", "request 3")?.wait()?;
///
/// // SAFETY: nobody else has this range: no other transfer, and nothing copies from or to it before `into_pinned`.
/// let mut buffer = unsafe { PinnedBuf::empty(pinned) }.map_err(|refused| refused.error)?;
/// assert_eq!((buffer.buf_len(), buffer.buf_capacity()), (0, 4096));
/// // let BufResult(read, buffer) = stream.read(buffer).await;
/// let pinned = buffer.into_pinned();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PinnedBuf {
    pinned: Pinned,
    start: NonNull<u8>,
    capacity: usize,
    len: usize,
}

// SAFETY: the address is one of the pinned memory, which any thread may use; what is done with it goes through `&self`
// and `&mut self`.
unsafe impl Send for PinnedBuf {}
// SAFETY: as above.
unsafe impl Sync for PinnedBuf {}

/// Why a pinned range is no buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotABuffer {
    /// It lies in several places.
    #[error("the pinned range lies in {0} places: an owned buffer is one, so pin less")]
    Scattered(usize),
    /// It is pinned for reading only.
    #[error("the pinned range is pinned for reading: pin it with `Access::Write`")]
    ReadOnly,
    /// Only another device can address it.
    #[error("only a device can address the pinned range")]
    DeviceOnly,
}

impl NotABuffer {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Scattered(_) => Errno::INVAL,
            Self::ReadOnly => Errno::ACCESS,
            Self::DeviceOnly => Errno::OPNOTSUPP,
        };
        errno.raw_os_error()
    }
}

/// A pinned range that was not made a buffer, as it was.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotMade {
    /// Why.
    pub error: NotABuffer,
    /// The range.
    pub pinned: Pinned,
}

impl PinnedBuf {
    /// A buffer to be read into.
    ///
    /// The transfer counts as handed over to an engine: give the pins its name when you pin (`labelled`). Should its
    /// runtime be torn down with the operation in flight, and drop the buffer before the kernel is done, the pins go early:
    /// no owned buffer is safe from that.
    ///
    /// # Errors
    /// [`NotABuffer`].
    ///
    /// # Safety
    /// Until [`PinnedBuf::into_pinned`] or the drop, and apart from the one operation that has the buffer, nobody reads or
    /// writes the range: no other transfer, no `read_at` and `write_at`, no view, no other process.
    pub unsafe fn empty(pinned: Pinned) -> Result<Self, Box<NotMade>> {
        Self::new(pinned, |_| 0)
    }

    /// A buffer to be written from, with all bytes of the range.
    ///
    /// # Errors
    /// [`NotABuffer`].
    ///
    /// # Safety
    /// As for [`PinnedBuf::empty`].
    pub unsafe fn full(pinned: Pinned) -> Result<Self, Box<NotMade>> {
        Self::new(pinned, |capacity| capacity)
    }

    fn new(mut pinned: Pinned, len: impl FnOnce(usize) -> usize) -> Result<Self, Box<NotMade>> {
        let start = match row(&pinned) {
            Ok(start) => start,
            Err(error) => return Err(Box::new(NotMade { error, pinned })),
        };
        let capacity = pinned.len() as usize;
        pinned.hand_over();
        Ok(Self { pinned, start, capacity, len: len(capacity) })
    }

    /// The pinned range again, once the operation is over. What was read is noted as written.
    pub fn into_pinned(mut self) -> Pinned {
        self.pinned.written(self.len as u64);
        self.pinned.take_back();
        self.pinned
    }
}

/// The address of a range in one row (B1).
fn row(pinned: &Pinned) -> Result<NonNull<u8>, NotABuffer> {
    if pinned.access() != Access::Write {
        return Err(NotABuffer::ReadOnly);
    }
    if pinned.pool().region().kind() == RegionKind::DeviceOnly {
        return Err(NotABuffer::DeviceOnly);
    }
    let [segment] = pinned.segments() else { return Err(NotABuffer::Scattered(pinned.segments().len())) };
    NonNull::new(segment.address as *mut u8).ok_or(NotABuffer::DeviceOnly)
}

impl IoBuf for PinnedBuf {
    fn as_init(&self) -> &[u8] {
        // SAFETY: by B1 the bytes are mapped, and a pool's memory is initialised by nature. Nobody writes them while
        // `self` is borrowed: the maker has promised that of others, and an operation has the buffer by value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl SetLen for PinnedBuf {
    unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity);
        self.len = len;
    }
}

impl IoBufMut for PinnedBuf {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: as in `as_init`; nobody else reads them either.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.capacity) }
    }
}
