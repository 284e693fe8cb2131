//! userfaultfd: the few calls that windows need, with types. The structures are the kernel's own, generated from its headers.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::without_provenance_mut;

use linux_raw_sys::general::{
    UFFD_API, UFFD_EVENT_PAGEFAULT, UFFD_FEATURE_EVENT_REMAP, UFFD_FEATURE_PAGEFAULT_FLAG_WP,
    UFFD_FEATURE_WP_UNPOPULATED, UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE, UFFDIO_REGISTER_MODE_MISSING,
    UFFDIO_REGISTER_MODE_WP, USERFAULTFD_IOC, uffd_msg, uffd_msg__bindgen_ty_1__bindgen_ty_1 as pagefault, uffdio_api,
    uffdio_range, uffdio_register, uffdio_writeprotect,
};
use linux_raw_sys::ioctl::{UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WAKE, UFFDIO_WRITEPROTECT};
use rustix::fs::OFlags;
use rustix::io::{Errno, read};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Updater, ioctl, opcode};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

/// Linux 6.4: faults of stores into pages that are not there yet, and a registration that moves with its mapping.
const FEATURES: u64 = (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_WP_UNPOPULATED) as u64;

const MSG_LEN: usize = size_of::<uffd_msg>();

/// A macro of the header, which generated code has not: `UFFDIO_WRITEPROTECT_MODE_WP`.
const WRITEPROTECT_MODE_WP: u64 = 1;

/// Which accesses of a mapping are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trapped {
    /// All to what is not there.
    All,
    /// Stores to what is write-protected. What is not there reads as zeros.
    Stores,
}

/// What there was to read.
pub(super) enum Message {
    Fault { address: usize, stores: bool },
    Other,
}

/// A userfaultfd that traps the kernel's accesses too, with the features that are needed.
///
/// # Errors
/// `EPERM`, `EACCES`, `ENOSYS`: there is none for this process; `EINVAL`: the kernel's lacks features.
pub(super) fn open() -> Result<OwnedFd, Errno> {
    let fd = by_device().or_else(|_| by_call())?;
    let mut api = uffdio_api { api: u64::from(UFFD_API), features: FEATURES, ioctls: 0 };
    // SAFETY: `UFFDIO_API` reads and writes a `uffdio_api`.
    unsafe { ioctl(&fd, Updater::<{ UFFDIO_API as Opcode }, _>::new(&mut api)) }?;
    Ok(fd)
}

/// For who may open the device, whatever else he may.
fn by_device() -> Result<OwnedFd, Errno> {
    let device = rustix::fs::open("/dev/userfaultfd", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    // SAFETY: the opcode takes flags, and returns a new descriptor.
    unsafe { ioctl(&device, New) }
}

/// For who has `CAP_SYS_PTRACE`, or where `vm.unprivileged_userfaultfd` is 1.
fn by_call() -> Result<OwnedFd, Errno> {
    // SAFETY: the descriptor concerns no memory before some is registered.
    unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK) }
}

/// `USERFAULTFD_IOC_NEW`.
struct New;

// SAFETY: the opcode is the device's; its argument is a number, and what it returns is a descriptor of ours alone.
unsafe impl Ioctl for New {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::none(USERFAULTFD_IOC as u8, 0)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        without_provenance_mut((UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK).bits() as usize)
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the kernel has just made it.
        Ok(unsafe { OwnedFd::from_raw_fd(out as c_int) })
    }
}

/// Has accesses of a mapping told. Of one that is registered already, more of them.
///
/// # Safety
/// The addresses are the caller's, and whoever uses them may be put to sleep.
pub(super) unsafe fn register(fd: BorrowedFd<'_>, start: *mut u8, len: usize, told: Trapped) -> Result<(), Errno> {
    let mode = match told {
        Trapped::All => UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
        Trapped::Stores => UFFDIO_REGISTER_MODE_WP,
    };
    let mut argument = uffdio_register { range: range(start, len), mode: u64::from(mode), ioctls: 0 };
    // SAFETY: `UFFDIO_REGISTER` reads and writes a `uffdio_register`; of the range, the caller's promise.
    unsafe { ioctl(fd, Updater::<{ UFFDIO_REGISTER as Opcode }, _>::new(&mut argument)) }
}

/// Has stores told to a registered mapping, also where nothing is yet.
///
/// # Safety
/// As [`register`].
pub(super) unsafe fn write_protect(fd: BorrowedFd<'_>, start: *mut u8, len: usize) -> Result<(), Errno> {
    let mut argument = uffdio_writeprotect { range: range(start, len), mode: WRITEPROTECT_MODE_WP };
    loop {
        // SAFETY: `UFFDIO_WRITEPROTECT` reads a `uffdio_writeprotect`; of the range, the caller's promise.
        let done = unsafe { ioctl(fd, Updater::<{ UFFDIO_WRITEPROTECT as Opcode }, _>::new(&mut argument)) };
        match done {
            // Another mapping is being moved: until somebody has read of it.
            Err(Errno::AGAIN) => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// Wakes who sleeps in a fault there: each tries again.
pub(super) fn wake(fd: BorrowedFd<'_>, addresses: &Range<usize>) {
    let mut argument = uffdio_range { start: addresses.start as u64, len: addresses.len() as u64 };
    // SAFETY: `UFFDIO_WAKE` reads a `uffdio_range`, and touches no memory. It fails for ranges that are none only.
    let _ = unsafe { ioctl(fd, Updater::<{ UFFDIO_WAKE as Opcode }, _>::new(&mut argument)) };
}

/// What is told next; `EAGAIN` if nothing is.
pub(super) fn next(fd: BorrowedFd<'_>) -> Result<Message, Errno> {
    let mut message = [0; MSG_LEN];
    read(fd.as_fd(), &mut message)?;
    if u32::from(message[offset_of!(uffd_msg, event)]) != UFFD_EVENT_PAGEFAULT {
        return Ok(Message::Other);
    }
    let word = |at: usize| {
        let at = offset_of!(uffd_msg, arg) + at;
        u64::from_ne_bytes(std::array::from_fn(|byte| message[at + byte]))
    };
    let stores = word(offset_of!(pagefault, flags)) & u64::from(UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
    Ok(Message::Fault { address: word(offset_of!(pagefault, address)) as usize, stores: stores != 0 })
}

fn range(start: *mut u8, len: usize) -> uffdio_range {
    uffdio_range { start: start.addr() as u64, len: len as u64 }
}
