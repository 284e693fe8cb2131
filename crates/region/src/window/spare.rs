//! A mapping that is made elsewhere and then moved to its place, in one step: nobody sees the place without the old mapping
//! or the new one, and what the kernel refuses, it refuses while the old one is there.
//!
//! (A plain `mmap` over it would show memory that is neither trapped nor kept from a child for a moment, and leave a hole
//! where it is refused.)

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, mremap_fixed,
    munlock, munmap,
};

use super::traps::Traps;
use super::userfaultfd::Trapped;

/// What may be done with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rights {
    pub(super) stores: bool,
}

impl Rights {
    fn prot(self) -> ProtFlags {
        if self.stores { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
    }

    fn mprotect(self) -> MprotectFlags {
        if self.stores { MprotectFlags::READ | MprotectFlags::WRITE } else { MprotectFlags::READ }
    }
}

/// A mapping of which nobody knows.
pub(super) struct Spare {
    start: *mut c_void,
    len: usize,
}

impl Spare {
    /// A file's bytes.
    pub(super) fn of_file(
        file: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        rights: Rights,
        flags: MapFlags,
    ) -> Result<Self, Errno> {
        // SAFETY: a new mapping at addresses of the kernel's choice touches no existing memory.
        let start = unsafe { mmap(ptr::null_mut(), len, rights.prot(), flags, file, offset) }?;
        Self { start, len }.kept_from_children()
    }

    /// What traps all that touches it.
    pub(super) fn trapping(traps: &Traps, len: usize, rights: Rights) -> Result<Self, Errno> {
        let spare = Self::of_nothing(len)?;
        // SAFETY: nobody knows of it, and whoever is going to is to be trapped.
        unsafe { arm(traps, spare.start.cast(), len, Trapped::All, rights) }?;
        Ok(spare)
    }

    /// What reads as zeros, and traps stores.
    pub(super) fn of_zeros(traps: &Traps, len: usize, rights: Rights) -> Result<Self, Errno> {
        let spare = Self::of_nothing(len)?;
        // SAFETY: nobody knows of it, and whoever is going to store into it is to be trapped.
        unsafe {
            arm(traps, spare.start.cast(), len, Trapped::Stores, rights)?;
            traps.write_protect(spare.start.cast(), len)?;
        }
        Ok(spare)
    }

    fn of_nothing(len: usize) -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at addresses of the kernel's choice touches no existing memory.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags) }?;
        Self { start, len }.kept_from_children()
    }

    fn kept_from_children(self) -> Result<Self, Errno> {
        self.advise(Advice::LinuxDontFork)?;
        Ok(self)
    }

    pub(super) fn advise(&self, advice: Advice) -> Result<(), Errno> {
        // SAFETY: the addresses are this mapping's, of which nobody knows; the advice changes no byte.
        unsafe { madvise(self.start, self.len, advice) }
    }

    /// Takes the place of what is mapped at `to`.
    ///
    /// # Safety
    /// The addresses are the caller's, and mapped; no Rust reference is to what lies there.
    pub(super) unsafe fn move_to(self, to: *mut u8) -> Result<(), Errno> {
        // SAFETY: the old addresses are this mapping's; of the new ones, the caller's promise.
        unsafe { mremap_fixed(self.start, self.len, self.len, MremapFlags::MAYMOVE, to.cast()) }?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // SAFETY: mapped by this type, and nobody knows of it. It fails only if the kernel has no memory for its records:
        // then addresses stay in use, which harms nobody.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

/// Makes an inaccessible anonymous mapping accessible, and trapped from the first moment on.
///
/// # Safety
/// The mapping is the caller's, inaccessible and empty, and whoever is to use it may be put to sleep.
pub(super) unsafe fn arm(
    traps: &Traps,
    start: *mut u8,
    len: usize,
    mode: Trapped,
    rights: Rights,
) -> Result<(), Errno> {
    // A process that locks all its memory would have the kernel touch it, before it is trapped, or after.
    // SAFETY: it changes no byte.
    unsafe { munlock(start.cast(), len) }?;
    // SAFETY: the caller's promise.
    unsafe { traps.register(start, len, mode) }?;
    // SAFETY: it is empty, and the caller's.
    unsafe { mprotect(start.cast(), len, rights.mprotect()) }
}
