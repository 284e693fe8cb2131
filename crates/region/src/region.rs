//! The region: memory at fixed addresses, with one owner.
//!
//! Stays true   R1: bytes `0..len` stay mapped at the same addresses, with the same pages, while the region
//!              lives. Nothing is unmapped, moved or punched, and `len` only grows. So an address that a
//!              device was given stays good.
//!              R2: the region has one owner at a time: the process that opened it, until it is dropped.
//! Who calls    its owner, on any thread. Lock order: the growth lock, and under it nothing of ours.
//! After a fork the child's handle is not its own: it is told `NotOwner`, and dropping it does nothing.
//! Dead owner   mapping and claim go with the process. A file stays, with the bytes that were stored; a
//!              `create` that did not return leaves no file; a `grow` that did not may leave a longer one.

use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, fstat, fsync, ftruncate};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

use crate::addresses::Addresses;
use crate::bytes::{Place, SharedBytes};
use crate::error::{AccessError, AllocateError, FlushError, GrowError, OpenError};
use crate::flush::{Durability, Persist};
use crate::fork::Incarnation;
use crate::kind::{HugePageSize, RegionKind};
use crate::map::{Manner, Mapping};
use crate::open::{RegionOptions, adopt, device_only};

/// Memory into which devices may DMA, claimed by one owner.
///
/// What it maps begins at a multiple of [`BASE_ALIGN`](crate::BASE_ALIGN), what it adopts where the caller has it, on a
/// page boundary. Its addresses stay good until it is dropped. What a new region holds is what the memory held: a new file or memfd reads as zeros.
pub struct Region {
    pub(crate) kind: RegionKind,
    pub(crate) granule: u64,
    pub(crate) len: AtomicU64,
    pub(crate) growing: Mutex<()>,
    pub(crate) memory: Memory,
    pub(crate) flusher: Box<dyn Persist>,
    pub(crate) opened_in: Incarnation,
}

/// What holds a region's memory, and its claim.
#[derive(Debug)]
pub(crate) enum Memory {
    /// A file or device, mapped; the mapping is the claim.
    Mapped(MappedFile),
    /// Addresses that somebody else answers for.
    Foreign { base: Place, _claim: Addresses },
}

/// A file or device, and the mapping of its first part.
#[derive(Debug)]
pub(crate) struct MappedFile {
    pub(crate) mapping: Mapping,
    pub(crate) manner: Manner,
    pub(crate) file: OwnedFd,
    /// Whether `grow` allocates what it adds.
    pub(crate) allocate: bool,
}

/// Constructors. [`RegionOptions`] has them too, with room to grow and memory allocated at once.
impl Region {
    /// New unnamed memory of plain pages; zeros.
    ///
    /// # Errors
    /// [`OpenError`]: bad lengths, and what the kernel refuses.
    pub fn memfd(len: u64) -> Result<Self, OpenError> {
        RegionOptions::new().memfd(len)
    }

    /// New unnamed memory of huge pages, which the kernel sets aside at once; zeros.
    ///
    /// # Errors
    /// `HugePagesShort` if too few are free; else as [`memfd`](Self::memfd).
    pub fn memfd_huge(len: u64, page_size: HugePageSize) -> Result<Self, OpenError> {
        RegionOptions::new().memfd_huge(len, page_size)
    }

    /// Creates a file of `len` zeros that only its user may read and write. The kind follows from the file
    /// system that `path` is on. The file gets its name last, so a failure leaves nothing behind.
    ///
    /// # Errors
    /// `EEXIST` if there is such a file; `EOPNOTSUPP` on file systems without `O_TMPFILE`; else as
    /// [`open`](Self::open).
    pub fn create(path: impl AsRef<Path>, len: u64) -> Result<Self, OpenError> {
        RegionOptions::new().create(path, len)
    }

    /// Claims and maps the whole of a file, or of a device-DAX device.
    ///
    /// # Errors
    /// `Claimed` with the owner's pid if it has one; `WrongType` for what is no memory; bad lengths; and what
    /// the kernel refuses. Nothing is written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        RegionOptions::new().open(path)
    }

    /// Claims and maps the first `len` bytes of what a descriptor leads to: a memfd, a file, a device-DAX device.
    ///
    /// # Errors
    /// As [`open`](Self::open); `TooShort` if there are fewer bytes, `NotWritable` if it is not open for both
    /// reading and writing.
    pub fn adopt_fd(file: OwnedFd, len: u64) -> Result<Self, OpenError> {
        RegionOptions::new().adopt_fd(file, len)
    }

    /// Claims `len` bytes at `base`, memory that the caller has mapped.
    ///
    /// The claim excludes other regions of this process that use some of the addresses.
    ///
    /// # Errors
    /// `Misaligned`, `BadLength`, `Claimed`.
    ///
    /// # Safety
    /// Until the region is dropped, the memory stays mapped, readable and writable, and nobody uses a Rust
    /// reference to it.
    pub unsafe fn adopt(base: NonNull<u8>, len: u64) -> Result<Self, OpenError> {
        adopt(base, len)
    }

    /// Claims `len` bytes at address `base` of a device's own address space. No CPU reaches them: copies and
    /// zeroing are refused, and [`SharedBytes::address`] tells device addresses. `device` is the caller's own
    /// number for the device; the claim excludes other regions of this process in the same space.
    ///
    /// # Errors
    /// `Misaligned`, `BadLength`, `Claimed`.
    pub fn device_only(device: u32, base: u64, len: u64) -> Result<Self, OpenError> {
        device_only(device, base, len)
    }

    /// The same region, with `flusher` in place of what its kind came with.
    #[must_use]
    pub fn with_flusher(self, flusher: impl Persist + 'static) -> Self {
        Self { flusher: Box::new(flusher), ..self }
    }
}

/// What there is.
impl Region {
    /// What the region is made of.
    pub fn kind(&self) -> RegionKind {
        self.kind
    }

    /// How many bytes there are. Never zero.
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    #[inline]
    pub fn len(&self) -> u64 {
        // ORDER: pairs with the Release in `grow`: who sees the new length sees the mapping.
        self.len.load(Ordering::Acquire)
    }

    /// How far the region can grow: the addresses reserved for it.
    pub fn reserved(&self) -> u64 {
        match &self.memory {
            Memory::Mapped(file) => file.mapping.reserved(),
            Memory::Foreign { .. } => self.len(),
        }
    }

    /// What lengths are multiples of: the page size, or what a device asks for.
    pub fn granule(&self) -> u64 {
        self.granule
    }

    /// What makes stores durable here.
    pub fn durability(&self) -> Durability {
        self.flusher.durability()
    }

    /// The file or device, for others to map. Passing it on does not pass on the claim.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.memory {
            Memory::Mapped(file) => Some(file.file.as_fd()),
            Memory::Foreign { .. } => None,
        }
    }

    /// The bytes of `range`.
    ///
    /// # Errors
    /// `Reversed`, `PastEnd`, `NotOwner`.
    #[inline]
    pub fn bytes(&self, range: Range<u64>) -> Result<SharedBytes<'_>, AccessError> {
        self.check_owner()?;
        let base = match &self.memory {
            Memory::Mapped(file) => Place::Host(file.mapping.base()),
            Memory::Foreign { base, .. } => *base,
        };
        // By R1 the first `len` bytes stay where they are while `self` is borrowed.
        SharedBytes::whole(base, self.len(), self.opened_in).slice(range)
    }

    #[inline]
    fn check_owner(&self) -> Result<(), AccessError> {
        if self.opened_in.is_current() { Ok(()) } else { Err(AccessError::NotOwner) }
    }
}

/// What can be done with it.
impl Region {
    /// Writes zeros over `range`, in place.
    ///
    /// # Errors
    /// As [`SharedBytes::zero`].
    pub fn zero(&self, range: Range<u64>) -> Result<(), AccessError> {
        let bytes = self.bytes(range)?;
        bytes.zero(0..bytes.len())
    }

    /// Begins to make the bytes of `range` durable. They are when this thread's next [`fence`](Self::fence)
    /// returns.
    ///
    /// # Errors
    /// `WriteBack` names a range that the medium did not take; it is lost, and flushing it again does not help.
    pub fn flush(&self, range: Range<u64>) -> Result<(), FlushError> {
        let bytes = self.bytes(range.clone())?;
        self.flusher.write_back(bytes).map_err(|source| FlushError::WriteBack { range, source })
    }

    /// Returns when what this thread flushed before is durable.
    ///
    /// # Errors
    /// `Drain`: what was flushed since the fence before is lost.
    pub fn fence(&self) -> Result<(), FlushError> {
        self.check_owner()?;
        self.flusher.drain().map_err(|source| FlushError::Drain { source })
    }

    /// Puts memory behind `range`, keeping its bytes. Without it, memory of most kinds comes on first touch, and
    /// when there is none left (a full tmpfs, a full disk) that touch is a `SIGBUS`.
    ///
    /// # Errors
    /// `Os` with `ENOSPC` or `ENOMEM`; part of the range may have memory then.
    pub fn allocate(&self, range: Range<u64>) -> Result<(), AllocateError> {
        let bytes = self.bytes(range.clone())?;
        let allocated = match &self.memory {
            _ if bytes.is_empty() => Ok(()),
            Memory::Mapped(file) => file.allocate(self.kind, range.start, range.end),
            Memory::Foreign { base: Place::Host(_), .. } => populate(bytes),
            Memory::Foreign { base: Place::Device(_), .. } => Ok(()),
        };
        allocated.map_err(|errno| AllocateError::Os { range, source: errno.into() })
    }

    /// Makes the region `new_len` bytes long, at the same addresses. A file that is shorter is extended by zeros.
    ///
    /// # Errors
    /// `PastReserve` if too few addresses were reserved, `FixedLength` for kinds that cannot grow, bad lengths,
    /// and what the kernel refuses. The region is as it was then.
    pub fn grow(&self, new_len: u64) -> Result<(), GrowError> {
        self.check_owner()?;
        let file = match &self.memory {
            Memory::Mapped(file) if self.kind != RegionKind::DeviceDax => file,
            _ => return Err(GrowError::FixedLength { kind: self.kind }),
        };
        let _one_at_a_time = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let len = self.len();
        self.check_growth(len, new_len)?;
        if new_len == len {
            return Ok(());
        }
        file.grow(self.kind, len, new_len).map_err(|(doing, errno)| GrowError::Os {
            asked: new_len,
            doing,
            source: errno.into(),
        })?;
        // ORDER: pairs with the Acquire in `len`.
        self.len.store(new_len, Ordering::Release);
        let _ = self.take_single_pages(len..new_len);
        Ok(())
    }

    fn check_growth(&self, len: u64, asked: u64) -> Result<(), GrowError> {
        if asked < len {
            return Err(GrowError::Shrinks { len, asked });
        }
        if !asked.is_multiple_of(self.granule) {
            return Err(GrowError::BadLength { len: asked, granule: self.granule });
        }
        let reserved = self.reserved();
        if asked > reserved {
            return Err(GrowError::PastReserve { reserved, asked });
        }
        Ok(())
    }
}

impl MappedFile {
    fn allocate(&self, kind: RegionKind, start: u64, end: u64) -> Result<(), Errno> {
        if kind == RegionKind::DeviceDax {
            return Ok(());
        }
        retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), start, end - start))
    }

    /// Extends the file if it is too short, then maps what was added.
    fn grow(&self, kind: RegionKind, len: u64, new_len: u64) -> Result<(), (&'static str, Errno)> {
        let had = fstat(&self.file).map_err(|errno| ("looking at the file", errno))?.st_size as u64;
        let grown = self.extend(kind, len, had, new_len);
        grown.inspect_err(|_| {
            if had < new_len {
                // Best effort: a memfd sealed against shrinking stays longer, which harms nobody.
                let _ = ftruncate(&self.file, had);
            }
        })
    }

    fn extend(&self, kind: RegionKind, len: u64, had: u64, new_len: u64) -> Result<(), (&'static str, Errno)> {
        if self.allocate {
            // First, since it extends the file only if it succeeds.
            self.allocate(kind, len, new_len).map_err(|errno| ("allocating memory", errno))?;
        }
        if had < new_len {
            retry_on_intr(|| ftruncate(&self.file, new_len)).map_err(|errno| ("extending the file", errno))?;
        }
        if kind.is_on_medium() {
            fsync(&self.file).map_err(|errno| ("making the length durable", errno))?;
        }
        self.mapping.map(self.file.as_fd(), len, new_len, self.manner).map_err(|errno| ("mapping it", errno))
    }
}

/// Touches each page of memory that the caller adopted, without changing a byte.
fn populate(bytes: SharedBytes<'_>) -> Result<(), Errno> {
    let start = bytes.as_ptr().map_err(|_| Errno::OPNOTSUPP)?;
    let into_page = start.addr().get() % page_size();
    // SAFETY: adopted memory begins on a page boundary (M2), so the page of the first byte is adopted too.
    let page = unsafe { start.sub(into_page) };
    let len = (into_page + bytes.len() as usize).next_multiple_of(page_size());
    // SAFETY: the pages are mapped by the adopter's promise; populating changes none of their bytes.
    retry_on_intr(|| unsafe { madvise(page.as_ptr().cast(), len, Advice::LinuxPopulateWrite) })
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durability = self.durability();
        write!(f, "Region({}, {} of {} bytes, {durability})", self.kind, self.len(), self.reserved())
    }
}

const _: fn() = || {
    fn is_shared_by_threads<T: Send + Sync>() {}
    is_shared_by_threads::<Region>();
    is_shared_by_threads::<SharedBytes<'_>>();
};
