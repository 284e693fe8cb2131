//! Traps: accesses that are put to sleep until somebody has answered them (userfaultfd).
//!
//! Stays true   T1: an access to what a window traps sleeps, the kernel's too, until its addresses are woken; then it is
//!              tried again.
//!              T2: whoever moves a trap waits until somebody has read of it. So somebody always reads: before a thread
//!              does anything about a fault that it has read, another one reads.
//! Who calls    any thread. Lock order: `reading`, and nothing under it.
//! After a fork the child has no windows, and so no faults; it stops nobody.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, write};

use crate::fork::Incarnation;

use super::userfaultfd::{self, Message, Trapped};

/// Tells of accesses to windows that are trapped. Made for several windows, and kept by each.
#[derive(Debug)]
pub struct Traps {
    fd: OwnedFd,
    /// Readable once nobody is to read any more.
    stopped: OwnedFd,
    /// One thread reads at a time: the others would all be woken by each fault.
    reading: Mutex<()>,
    /// A file of no bytes: who touches a mapping of it gets `SIGBUS`.
    nothing: OwnedFd,
    opened_in: Incarnation,
}

/// An access that sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The first address of its page.
    pub address: usize,
    /// Whether it stores.
    pub stores: bool,
}

/// The kernel does not trap accesses for this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoTraps {
    /// It is not permitted.
    #[error(
        "no userfaultfd for this process ({0}): it takes access to /dev/userfaultfd, CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1"
    )]
    NotPermitted(Errno),
    /// It is not able to do what is needed.
    #[error("the kernel's userfaultfd lacks what views need: it takes Linux 6.4")]
    Kernel,
    /// Nobody asked the kernel.
    #[error("this pool was told not to trap accesses")]
    NotWanted,
    /// There is no memory or no descriptor for it.
    #[error("no userfaultfd: {0}")]
    Os(Errno),
}

impl Traps {
    /// Traps that catch the kernel's accesses too: what others offer is none.
    ///
    /// # Errors
    /// [`NoTraps`]: most containers have none.
    pub fn new() -> Result<Self, NoTraps> {
        let fd = userfaultfd::open().map_err(|errno| match errno {
            Errno::INVAL => NoTraps::Kernel,
            Errno::PERM | Errno::ACCESS | Errno::NOSYS => NoTraps::NotPermitted(errno),
            errno => NoTraps::Os(errno),
        })?;
        Ok(Self {
            fd,
            stopped: eventfd(0, EventfdFlags::CLOEXEC).map_err(NoTraps::Os)?,
            reading: Mutex::new(()),
            nothing: memfd_create("pinfold-end", MemfdFlags::CLOEXEC).map_err(NoTraps::Os)?,
            opened_in: Incarnation::current()
                .map_err(|error| NoTraps::Os(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?,
        })
    }

    /// Waits for an access that is trapped. `None` once it was stopped.
    ///
    /// Call it again, on another thread, before the fault is answered (T2).
    pub fn next(&self) -> Option<Fault> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match userfaultfd::next(self.fd.as_fd()) {
                Ok(Message::Fault { address, stores }) => return Some(Fault { address, stores }),
                Ok(Message::Other) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.waits_for_one() => {}
                Err(_) => return None,
            }
        }
    }

    /// Sleeps until there is something to read. False if it was stopped.
    fn waits_for_one(&self) -> bool {
        let mut fds = [&self.stopped, &self.fd].map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) => fds[0].revents().is_empty(),
            Err(errno) => errno == Errno::INTR,
        }
    }

    /// Nobody reads any more. To be called when no window is left.
    pub fn stop(&self) {
        // A child has the descriptor as well, and would stop its parent's.
        if self.is_of_this_process() {
            // It fails only if it was called 2^64 times.
            let _ = write(&self.stopped, &1u64.to_ne_bytes());
        }
    }

    /// False in a child of the process that made them.
    pub fn is_of_this_process(&self) -> bool {
        self.opened_in.is_current()
    }

    /// Wakes who sleeps in a range of addresses, whole pages: each access is tried again.
    pub fn wake(&self, addresses: Range<usize>) {
        userfaultfd::wake(self.fd.as_fd(), &addresses);
    }

    /// # Safety
    /// The addresses are the caller's, and whoever uses them may be put to sleep.
    pub(super) unsafe fn register(&self, start: *mut u8, len: usize, mode: Trapped) -> Result<(), Errno> {
        // SAFETY: the caller's promise, handed on.
        unsafe { userfaultfd::register(self.fd.as_fd(), start, len, mode) }
    }

    /// # Safety
    /// As [`Traps::register`].
    pub(super) unsafe fn write_protect(&self, start: *mut u8, len: usize) -> Result<(), Errno> {
        // SAFETY: the caller's promise, handed on.
        unsafe { userfaultfd::write_protect(self.fd.as_fd(), start, len) }
    }

    pub(super) fn nothing(&self) -> BorrowedFd<'_> {
        self.nothing.as_fd()
    }
}
