//! Mapped memory for headers and segments.
//!
//! Stays true  Y1: a mapping is made once, whole, at its final size: growing means making pages real inside it, so no
//!                 address ever moves and nobody who pins is stopped.
//!             Y2: a page is made real before it is used, so that a full /dev/shm is an error and not a `SIGBUS`.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::mechanism::error::AreaError;
use crate::mechanism::words::Backing;
use crate::sync::{Arc, AtomicU64, ProcessClock};

/// Bytes of a word.
const WORD: usize = 8;

/// A mapping of private memory, or of a file.
pub(crate) struct Mapping {
    base: NonNull<AtomicU64>,
    bytes: usize,
    grows: Grows,
    /// The only process that has the mapping, where a child does not inherit it.
    only_in: Option<ProcessClock>,
}

/// How pages become real.
enum Grows {
    /// Private memory: by asking for its pages.
    Private,
    /// By allocating in the file.
    File(Arc<OwnedFd>),
    /// Not here: who made the file, or who holds the segment, does it.
    Elsewhere,
}

/// What may be done with a mapped file.
pub(crate) enum MapAs {
    /// Written and grown.
    Grown,
    /// Written where it is real.
    Written,
    /// Read.
    Read,
}

// SAFETY: the mapping is shared memory of atomics; any thread may use and unmap it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private memory of `words` words, zeroed, none of it real yet.
    pub(crate) fn private(words: usize) -> Result<Self, AreaError> {
        let bytes = (words * WORD).next_multiple_of(rustix::param::page_size());
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags)
        };
        let base = base.map_err(AreaError::system("reserve addresses"))?;
        Self::over(base, bytes, Grows::Private, None)
    }

    /// The first `words` words of a file.
    pub(crate) fn of_file(file: &Arc<OwnedFd>, words: usize, map_as: MapAs) -> Result<Self, AreaError> {
        let bytes = (words * WORD).next_multiple_of(rustix::param::page_size());
        let (prot, grows) = match map_as {
            MapAs::Grown => (ProtFlags::READ | ProtFlags::WRITE, Grows::File(Arc::clone(file))),
            MapAs::Written => (ProtFlags::READ | ProtFlags::WRITE, Grows::Elsewhere),
            MapAs::Read => (ProtFlags::READ, Grows::Elsewhere),
        };
        let process = ProcessClock::start().map_err(AreaError::system("start the clock of this process"))?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, prot, MapFlags::SHARED, &**file, 0) };
        let base = base.map_err(AreaError::system("map its file"))?;
        // A child has its own handles: it must not keep what this process maps. Where the kernel refuses, the mark of
        // the process protects alone.
        // SAFETY: the whole of the mapping made above.
        let kept_back = unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxDontFork) }.is_ok();
        Self::over(base, bytes, grows, kept_back.then_some(process))
    }

    fn over(
        base: *mut std::ffi::c_void,
        bytes: usize,
        grows: Grows,
        only_in: Option<ProcessClock>,
    ) -> Result<Self, AreaError> {
        let base = NonNull::new(base.cast::<AtomicU64>()).ok_or(AreaError::BadGeometry)?;
        Ok(Self { base, bytes, grows, only_in })
    }
}

impl Backing for Mapping {
    fn words(&self) -> (NonNull<AtomicU64>, usize) {
        (self.base, self.bytes / WORD)
    }

    fn allocate(&self, words: Range<usize>) -> Result<(), AreaError> {
        let page = rustix::param::page_size();
        let start = words.start * WORD / page * page;
        let end = (words.end * WORD).next_multiple_of(page).min(self.bytes);
        let made = match &self.grows {
            Grows::Elsewhere => Ok(()),
            Grows::Private => self.populate(start, end),
            Grows::File(file) => allocate_file(file, start as u64, (end - start) as u64),
        };
        made.map_err(AreaError::system("make memory real"))
    }
}

impl Mapping {
    fn populate(&self, start: usize, end: usize) -> Result<(), Errno> {
        // SAFETY: the pages lie inside the mapping; populating changes no content.
        let made = unsafe {
            let at = self.base.as_ptr().cast::<u8>().add(start).cast();
            rustix::mm::madvise(at, end - start, Advice::LinuxPopulateWrite)
        };
        match made {
            // Before Linux 5.14 private pages become real when they are touched.
            Err(Errno::INVAL) => Ok(()),
            made => made,
        }
    }
}

fn allocate_file(file: &OwnedFd, start: u64, length: u64) -> Result<(), Errno> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), start, length) {
            Err(Errno::INTR) => {}
            made => return made,
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.only_in.is_some_and(|process| !process.is_of_this_process()) {
            // A child did not inherit the mapping: what lies at its addresses now is somebody else's.
            return;
        }
        // SAFETY: the mapping is this value's own, and by W2 nobody uses its words after the last `Arc` of it is gone.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Bytes of a file of `words` words.
pub(crate) fn file_bytes(words: usize) -> u64 {
    (words * WORD).next_multiple_of(rustix::param::page_size()) as u64
}

/// A memfd of `words` words, which nobody can shrink under those who map it.
pub(crate) fn memfd(name: &str, words: usize) -> Result<OwnedFd, AreaError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(name, flags).map_err(AreaError::system("create a memfd"))?;
    rustix::fs::ftruncate(&file, file_bytes(words)).map_err(AreaError::system("size its memfd"))?;
    let seals = SealFlags::SHRINK | SealFlags::GROW;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(AreaError::system("seal its memfd"))?;
    Ok(file)
}

/// Lets nobody map a memfd writable from now on; who has it mapped so keeps that (Linux 5.1).
pub(crate) fn seal_for_readers(file: &OwnedFd) -> Result<(), AreaError> {
    let seals = SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file, seals).map_err(AreaError::system("seal its memfd against writers"))
}

/// A second descriptor of the same file that cannot write.
pub(crate) fn read_only_twin(file: impl AsFd) -> Result<OwnedFd, AreaError> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(AreaError::system("reopen its header read-only"))
}
