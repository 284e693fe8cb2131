//! A range of region memory, which a device or another process may write at any instant.
//!
//! Stays true   B1: `offset + len` is within the region, which stays mapped, at the same addresses, for
//!              as long as the borrow of it lives.
//!              B2: this crate makes no reference (`&`, `&mut`) to region memory; only the caller can,
//!              by [`SharedBytes::as_slice`], on a promise.
//! Who calls    anyone, on any thread. There is no lock: two copies of one range mix, as two writers of
//!              one file would.
//! After a fork the child gets `NotOwner` for each access: the addresses are not mapped there.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use crate::copy;
use crate::error::AccessError;
use crate::fork::Incarnation;
use crate::region::Region;

/// Where memory lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// At an address of this process.
    Host(NonNull<u8>),
    /// At an address that only a device understands.
    Device(u64),
}

// SAFETY: an address is a number; every safe access to what lies there goes through `copy`, which by C1
// races with nobody in the sense of the language.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// A range of region memory that a device or another process may write at any instant.
///
/// It is never a `&[u8]`: it copies in, copies out, zeroes, and lends its address. A copy that races with
/// a writer sees a mixture of old and new bytes, and nothing worse. What keeps the bytes in place is
/// the region; what keeps them *yours* (a pin) is the business of whoever hands them out.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let region = pinfold_region::Region::memfd(1 << 20)?;
/// let bytes = region.bytes(4096..8192)?;
/// bytes.copy_in(10, b"pinned")?;
/// let mut seen = [0; 6];
/// bytes.slice(10..16)?.copy_out(0, &mut seen)?;
/// assert_eq!(&seen, b"pinned");
/// # Ok(()) }
/// ```
///
/// They cannot outlive their region:
///
/// ```compile_fail,E0505
/// let region = pinfold_region::Region::memfd(1 << 20).unwrap();
/// let bytes = region.bytes(0..4096).unwrap();
/// drop(region);
/// bytes.zero(0..4096);
/// ```
#[derive(Clone, Copy)]
pub struct SharedBytes<'r> {
    place: Place,
    offset: u64,
    len: u64,
    opened_in: Incarnation,
    region: PhantomData<&'r Region>,
}

impl<'r> SharedBytes<'r> {
    /// The whole of a region whose first byte lies at `place`. By B1 the caller answers for `len` bytes.
    #[inline]
    pub(crate) fn whole(place: Place, len: u64, opened_in: Incarnation) -> Self {
        Self { place, offset: 0, len, opened_in, region: PhantomData }
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they begin, counted from the start of the region.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The address to give to a device: in this process, or in the device's own space.
    pub fn address(&self) -> u64 {
        match self.place {
            Place::Host(base) => base.addr().get() as u64,
            Place::Device(base) => base,
        }
    }

    /// The address in this process, valid for reads and writes of `len` bytes while the region lives.
    ///
    /// # Errors
    /// `DeviceOnly` where there is none, `NotOwner` in a forked child.
    #[inline]
    pub fn as_ptr(&self) -> Result<NonNull<u8>, AccessError> {
        match self.place {
            _ if !self.opened_in.is_current() => Err(AccessError::NotOwner),
            Place::Device(_) => Err(AccessError::DeviceOnly),
            Place::Host(base) => Ok(base),
        }
    }

    /// A part of these bytes; `range` is counted from their start.
    ///
    /// # Errors
    /// `Reversed` and `PastEnd`.
    #[inline]
    pub fn slice(&self, range: Range<u64>) -> Result<SharedBytes<'r>, AccessError> {
        let Range { start, end } = range;
        if start > end {
            return Err(AccessError::Reversed { start, end });
        }
        if end > self.len {
            return Err(AccessError::PastEnd { start, end, len: self.len });
        }
        // SAFETY: `start <= self.len`, so by B1 the address is within the region or one past it.
        let place = unsafe { self.place.add(start) };
        Ok(Self { place, offset: self.offset + start, len: end - start, ..*self })
    }

    /// Copies `from` into these bytes, beginning at `offset`.
    ///
    /// # Errors
    /// `PastEnd` if it does not fit, `DeviceOnly`, `NotOwner`; nothing is written then.
    #[inline]
    pub fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let to = self.part(offset, from.len())?.as_ptr()?;
        // SAFETY: `part` checked that `from.len()` bytes are there, mapped by B1; by B2 nobody holds a
        // reference to them, and `from` is borrowed for the call.
        unsafe { copy::copy(from.as_ptr(), to.as_ptr(), from.len()) };
        Ok(())
    }

    /// Copies from these bytes, beginning at `offset`, until `to` is full.
    ///
    /// # Errors
    /// `PastEnd` if there are too few, `DeviceOnly`, `NotOwner`; `to` is as it was then.
    #[inline]
    pub fn copy_out(&self, offset: u64, to: &mut [u8]) -> Result<(), AccessError> {
        let from = self.part(offset, to.len())?.as_ptr()?;
        // SAFETY: as in `copy_in`, the other way round.
        unsafe { copy::copy(from.as_ptr(), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies all of these bytes over the first of `to`, of this region or of another; they may overlap.
    ///
    /// # Errors
    /// `PastEnd` if `to` is shorter, `DeviceOnly` for either, `NotOwner`; nothing is written then.
    pub fn copy_to(&self, to: SharedBytes<'_>) -> Result<(), AccessError> {
        let (from, to) = (self.as_ptr()?, to.slice(0..self.len)?.as_ptr()?);
        // SAFETY: both are at least `self.len` bytes, mapped by B1 and unreferenced by B2.
        unsafe { copy::copy(from.as_ptr(), to.as_ptr(), self.len as usize) };
        Ok(())
    }

    /// Writes zeros over `range`. Always in place: no page is given back, so none moves under a device.
    ///
    /// # Errors
    /// `Reversed`, `PastEnd`, `DeviceOnly`, `NotOwner`; nothing is written then.
    #[inline]
    pub fn zero(&self, range: Range<u64>) -> Result<(), AccessError> {
        let part = self.slice(range)?;
        let to = part.as_ptr()?;
        // SAFETY: `slice` checked the bounds, the bytes are mapped by B1 and unreferenced by B2.
        unsafe { copy::zero(to.as_ptr(), part.len as usize) };
        Ok(())
    }

    /// These bytes as a plain slice.
    ///
    /// # Errors
    /// `DeviceOnly`, `NotOwner`.
    ///
    /// # Safety
    /// While the slice lives nobody writes the bytes: no device, no other process, no copy of this one. The
    /// whole range has memory behind it (see [`Region::allocate`]).
    pub unsafe fn as_slice(&self) -> Result<&'r [u8], AccessError> {
        let base = self.as_ptr()?;
        // SAFETY: mapped for `'r` by B1; that nobody writes is the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts(base.as_ptr(), self.len as usize) })
    }

    /// `len` bytes beginning at `offset`.
    #[inline]
    fn part(&self, offset: u64, len: usize) -> Result<Self, AccessError> {
        self.slice(offset..offset.saturating_add(len as u64))
    }
}

impl fmt::Debug for SharedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.offset + self.len;
        write!(f, "SharedBytes({}..{end} at {:?})", self.offset, self.place)
    }
}

impl Place {
    /// The place `offset` bytes further.
    ///
    /// # Safety
    /// The memory that begins here is at least `offset` bytes long.
    #[inline]
    unsafe fn add(self, offset: u64) -> Self {
        match self {
            // SAFETY: within one mapping by the caller's promise.
            Self::Host(base) => Self::Host(unsafe { base.add(offset as usize) }),
            Self::Device(base) => Self::Device(base + offset),
        }
    }
}
