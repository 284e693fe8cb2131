//! The mapping: reserved addresses, and the file over the first part of them.
//!
//! Stays true   M1: from `base`, `reserved` addresses are this mapping's, reserved or mapped, for as long as
//!              it lives; nothing is ever moved, and nothing is unmapped before it is dropped. An
//!              address that might be somebody else's is given up rather than unmapped.
//!              M2: `base` is a multiple of `BASE_ALIGN` and of the granule.
//!              M3: a forked child has none of it, and dropping the child's copy unmaps nothing.
//! Who calls    the constructors, and `grow` under the region's growth lock.
//! Dead owner   the kernel unmaps, and drops the claim with the mapping.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::addresses::{Addresses, Space};
use crate::claim::Claim;
use crate::fork::Incarnation;

/// What a region maps begins at a multiple of this, so that blocks of up to 2 MiB are aligned in memory too.
pub const BASE_ALIGN: u64 = 2 << 20;

/// Addresses, with a file over the first part of them.
#[derive(Debug)]
pub(crate) struct Mapping {
    // Dropped first: once the addresses are unmapped, another region may be given them.
    _addresses: Addresses,
    reservation: Reservation,
}

/// How a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Shared.
    Shared,
    /// Shared, and stores are durable once their cache lines are (`MAP_SYNC`).
    Sync,
}

/// Addresses that nobody else is given.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: NonNull<u8>,
    /// Only `give_up_from` and `unmap` change it.
    len: AtomicUsize,
    opened_in: Incarnation,
}

impl Mapping {
    /// Reserves `len` addresses, a positive multiple of the page size, at a multiple of `align`.
    pub(crate) fn reserve(len: u64, align: u64, opened_in: Incarnation) -> Result<Self, Errno> {
        let reservation = Reservation::take(len, align.max(BASE_ALIGN), opened_in)?;
        let start = reservation.base.addr().get() as u64;
        // A1 cannot fail here: the kernel has just told that these addresses are in use by nobody.
        let addresses = Addresses::take(Space::Mapped, start..start + len, opened_in).map_err(|_| Errno::EXIST)?;
        Ok(Self { _addresses: addresses, reservation })
    }

    /// Maps the first `len` bytes of what is claimed. From now on the mapping is the claim (L2).
    ///
    /// With `sync` a file on persistent memory is mapped so that its stores need no system call to become
    /// durable. Returns the manner that the kernel granted.
    pub(crate) fn map_claimed(&self, claim: Claim, len: u64, sync: bool) -> Result<Manner, Errno> {
        if sync {
            match self.map(claim.as_fd(), 0, len, Manner::Sync) {
                Ok(()) => return Ok(Manner::Sync),
                Err(Errno::OPNOTSUPP | Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.map(claim.as_fd(), 0, len, Manner::Shared).map(|()| Manner::Shared)
    }

    /// Maps bytes `start..end` of `file` at their place.
    pub(crate) fn map(&self, file: BorrowedFd<'_>, start: u64, end: u64, manner: Manner) -> Result<(), Errno> {
        assert!(start < end && end <= self.reserved(), "mapping {start}..{end} of {}", self.reserved());
        let address = self.reservation.at(start);
        let len = (end - start) as usize;
        // A mapping that the kernel refuses may leave a hole where it was to go, which another thread may be
        // given at once. So it is tried elsewhere first: what can be refused is refused there.
        let _rehearsal = Rehearsal::of(file, start, len, manner)?;
        // SAFETY: by M1 the addresses are this mapping's, and only reserved so far: `grow` maps each byte
        // once, and by B2 nobody refers to what is not mapped.
        let mapped = unsafe { map_shared(address, len, manner.flags() | MapFlags::FIXED, file, start) };
        // Out of memory for the kernel's own records, after all: whether there is a hole is unknown.
        mapped.inspect_err(|_| self.reservation.give_up_from(start))?;
        // SAFETY: the advice concerns this mapping's addresses only (M1), for M3.
        unsafe { madvise(address, len, Advice::LinuxDontFork) }
    }

    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.reservation.base()
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reservation.len() as u64
    }
}

// SAFETY: addresses belong to the process, not to a thread; the methods only map, each byte once (M1).
unsafe impl Send for Reservation {}
// SAFETY: as above; `grow` is serialised by the region's growth lock.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Takes `len` addresses, a positive multiple of the page size, at a multiple of `align`. A child has none of them.
    pub(crate) fn take(len: u64, align: u64, opened_in: Incarnation) -> Result<Self, Errno> {
        let (len, align) = (usize::try_from(len).or(Err(Errno::NOMEM))?, align as usize);
        // Enough to find an aligned start inside; what is over goes back.
        let wide = len.checked_add(align).ok_or(Errno::NOMEM)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at addresses of the kernel's choice touches no existing memory.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), wide, ProtFlags::empty(), flags) }?.cast::<u8>();
        let before = start.addr().next_multiple_of(align) - start.addr();
        // SAFETY: `before < align`, so this and all that follows is inside the `wide` addresses.
        let base = unsafe { start.add(before) };
        // SAFETY: the addresses before `base` were mapped above, and nobody knows of them.
        unsafe { unmap(start, before) };
        // SAFETY: likewise those behind the end.
        unsafe { unmap(base.add(len), align - before) };
        let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        let reservation = Self { base, len: AtomicUsize::new(len), opened_in };
        // SAFETY: the addresses are ours since the mmap above; for M3.
        unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxDontFork) }?;
        Ok(reservation)
    }

    fn at(&self, offset: u64) -> *mut c_void {
        assert!(offset <= self.len() as u64, "offset {offset} of {} addresses", self.len());
        // SAFETY: inside the reservation, or one past it.
        unsafe { self.base.as_ptr().add(offset as usize) }.cast()
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Whose they are.
    pub(crate) fn opened_in(&self) -> Incarnation {
        self.opened_in
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Gives them back, with what is mapped there. Who has them is about to drop them.
    pub(crate) fn unmap(&self) {
        if self.opened_in.is_current() {
            // SAFETY: by M1 the addresses are ours, and by B1 nobody who could reach them outlives us.
            unsafe { unmap(self.base.as_ptr(), self.len.swap(0, Ordering::Relaxed)) };
        }
    }

    /// Leaves what begins at offset `start` to whoever has it. It is not unmapped, even if it is ours still.
    pub(crate) fn give_up_from(&self, start: u64) {
        self.len.store(start as usize, Ordering::Relaxed);
    }
}

impl Manner {
    pub(crate) fn flags(self) -> MapFlags {
        match self {
            Self::Shared => MapFlags::SHARED,
            Self::Sync => MapFlags::SHARED_VALIDATE | MapFlags::SYNC,
        }
    }
}

/// A mapping at addresses of the kernel's choice, which nobody uses.
struct Rehearsal {
    address: *mut c_void,
    len: usize,
}

impl Rehearsal {
    fn of(file: BorrowedFd<'_>, start: u64, len: usize, manner: Manner) -> Result<Self, Errno> {
        // SAFETY: a new mapping at addresses of the kernel's choice touches no existing memory.
        let address = unsafe { map_shared(ptr::null_mut(), len, manner.flags(), file, start) }?;
        Ok(Self { address, len })
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, and nobody knows of it.
        unsafe { unmap(self.address.cast(), self.len) };
    }
}

/// Maps `len` bytes of `file`, from `start` on, to read and write.
///
/// # Safety
/// With `FIXED` among the flags, the addresses are the caller's, and nobody uses them.
unsafe fn map_shared(
    address: *mut c_void,
    len: usize,
    flags: MapFlags,
    file: BorrowedFd<'_>,
    start: u64,
) -> Result<*mut c_void, Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the caller's promise, handed on.
    unsafe { mmap(address, len, access, flags, file, start) }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.unmap();
    }
}

/// Unmaps `len` bytes at `start`, if there are any.
///
/// # Safety
/// The addresses are the caller's, and nobody uses them any more.
unsafe fn unmap(start: *mut u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the caller's promise. It fails only if the kernel has no memory to split a mapping: then
    // addresses stay reserved, which harms nobody.
    let _ = unsafe { munmap(start.cast(), len) };
}
