//! The queues that we share with the kernel.
//!
//! Stays true  S1: what is put into the submission queue is taken by the kernel before the lock is released. So a borrowed
//!                 descriptor is one no longer than it was lent, and `iovec`s are read while they are there. Nobody
//!                 looks at the submission queue without the lock: the view of it writes its tail back when it goes.
//!             S2: completions are taken out by who leads, and by nobody else (L1).
//! Lock order  see [`uring`](super).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use io_uring::{EnterFlags, IoUring, Parameters, cqueue, squeue, types};
use pinfold::Until;

use crate::error::{RingError, raw};
use crate::flights::Drove;

use super::windows::Windows;

/// The user data of entries whose completion says nothing: cancels and wake-ups.
pub(super) const SAYS_NOTHING: u64 = u64::MAX;

/// An io_uring.
pub(super) struct Ring {
    io: IoUring,
    queue: Mutex<Queue>,
}

/// What the submission queue's lock guards.
#[derive(Default)]
pub(super) struct Queue {
    /// What is to be submitted.
    pub(super) staged: Vec<squeue::Entry>,
    /// Registered memory.
    pub(super) windows: Windows,
    /// The kernel takes nothing more.
    pub(super) broken: Option<i32>,
}

impl Ring {
    pub(super) fn new(depth: u32) -> Result<Self, RingError> {
        if !(1..=DEPTH_MAX).contains(&depth) {
            return Err(RingError::BadDepth(depth));
        }
        // Room for each part's completion, and for that of a cancel for each.
        let io = IoUring::builder().setup_clamp().setup_cqsize(depth * 2).build(depth).map_err(refused)?;
        check(io.params())?;
        Ok(Self { io, queue: Mutex::default() })
    }

    pub(super) fn io(&self) -> &IoUring {
        &self.io
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits what is staged (S1); the entries that the kernel did not take, and why, if it takes nothing any more.
    ///
    /// `on_busy` is called when it cannot take more before completions were taken out.
    pub(super) fn enter(&self, queue: &mut Queue, mut on_busy: impl FnMut()) -> Result<(), Refusal> {
        let mut staged = std::mem::take(&mut queue.staged);
        let entered = self.enter_all(queue, &staged, &mut on_busy);
        staged.clear();
        queue.staged = staged;
        entered
    }

    fn enter_all(&self, queue: &mut Queue, staged: &[squeue::Entry], on_busy: &mut dyn FnMut()) -> Result<(), Refusal> {
        let mut entered = 0;
        while entered < staged.len() {
            if let Some(errno) = queue.broken {
                return Err(Refusal { errno, left: user_data(&staged[entered..]) });
            }
            let count = (staged.len() - entered).min(self.io.params().sq_entries() as usize);
            let chunk = &staged[entered..entered + count];
            // SAFETY: by the lock, this is the only user of the submission queue. What the entries point to is valid:
            // addresses are pinned and in the table (T1), `iovec`s live in the caller until this returns (S1).
            let pushed = unsafe { self.io.submission_shared().push_multiple(chunk) };
            debug_assert!(pushed.is_ok(), "the queue was emptied before (S1)");
            entered += count;
            if let Err(errno) = self.enter_pushed(on_busy) {
                queue.broken = Some(errno);
                let taken = entered - self.pushed();
                return Err(Refusal { errno, left: user_data(&staged[taken..]) });
            }
        }
        Ok(())
    }

    /// Has the kernel take all that is in the submission queue.
    fn enter_pushed(&self, on_busy: &mut dyn FnMut()) -> Result<(), i32> {
        loop {
            let count = self.pushed() as u32;
            if count == 0 {
                return Ok(());
            }
            // SAFETY: no argument is passed; the entries were pushed by `enter_all`.
            let entered = unsafe { self.io.submitter().enter::<()>(count, 0, 0, None) };
            match entered {
                Ok(_) => {}
                Err(error) => match raw(&error) {
                    libc::EINTR => {}
                    libc::EAGAIN | libc::EBUSY => {
                        on_busy();
                        std::thread::yield_now();
                    }
                    errno => return Err(errno),
                },
            }
        }
    }

    /// How many entries the kernel has not taken yet.
    fn pushed(&self) -> usize {
        // SAFETY: the caller holds the queue's lock.
        unsafe { self.io.submission_shared() }.len()
    }

    /// Sleeps until there is a completion, or as long as `until` says.
    pub(super) fn sleep(&self, until: Until) -> Drove {
        let slept = match until.deadline() {
            // SAFETY: no argument is passed.
            None => unsafe { self.io.submitter().enter::<()>(0, 1, EnterFlags::GETEVENTS.bits(), None) },
            Some(at) => self.sleep_until(at),
        };
        match slept.map_err(|error| raw(&error)) {
            Err(libc::ETIME) => Drove::TimedOut,
            Err(libc::EINTR) => Drove::Interrupted,
            // What cannot be waited for is looked at.
            _ => Drove::Look,
        }
    }

    fn sleep_until(&self, at: Instant) -> io::Result<usize> {
        let left = types::Timespec::from(at.saturating_duration_since(Instant::now()));
        let arguments = types::SubmitArgs::new().timespec(&left);
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: `SubmitArgs` is the kernel's `io_uring_getevents_arg`, and `left` outlives the call.
        unsafe { self.io.submitter().enter(0, 1, flags.bits(), Some(&arguments)) }
    }

    /// Whether there is a completion to take.
    pub(super) fn has_completions(&self) -> bool {
        // SAFETY: the caller leads (S2).
        unsafe { !self.io.completion_shared().is_empty() }
    }

    /// Takes completions out.
    pub(super) fn take<'a>(&self, into: &'a mut [MaybeUninit<cqueue::Entry>]) -> &'a mut [cqueue::Entry] {
        // SAFETY: the caller leads (S2).
        unsafe { self.io.completion_shared() }.fill(into)
    }

    /// Has the kernel move into the queue what found no place there before. Who sleeps need not: it does so then.
    pub(super) fn bring_overflow(&self) {
        // Whoever has the lock submits, and the kernel moves it then.
        let Ok(_queue) = self.queue.try_lock() else { return };
        // SAFETY: by the lock, this is the only user of the submission queue, even to look at it (S1).
        if unsafe { self.io.submission_shared() }.cq_overflow() {
            // What is wrong shows to who sleeps.
            // SAFETY: no argument is passed.
            let _ = unsafe { self.io.submitter().enter::<()>(0, 0, EnterFlags::GETEVENTS.bits(), None) };
        }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring keeps its descriptor open as long as it lives.
        unsafe { BorrowedFd::borrow_raw(self.io.as_raw_fd()) }
    }
}

/// What the kernel did not take.
pub(super) struct Refusal {
    pub(super) errno: i32,
    /// The user data of each.
    pub(super) left: Vec<u64>,
}

fn user_data(entries: &[squeue::Entry]) -> Vec<u64> {
    entries.iter().map(squeue::Entry::get_user_data).collect()
}

/// The kernel's `IORING_MAX_ENTRIES`.
const DEPTH_MAX: u32 = 32768;

fn check(parameters: &Parameters) -> Result<(), RingError> {
    let features = [
        (parameters.is_feature_nodrop(), "IORING_FEAT_NODROP"),
        (parameters.is_feature_submit_stable(), "IORING_FEAT_SUBMIT_STABLE"),
        (parameters.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG"),
    ];
    match features.into_iter().find(|(there, _)| !there) {
        Some((_, name)) => Err(RingError::TooOld(name)),
        None => Ok(()),
    }
}

fn refused(error: io::Error) -> RingError {
    match raw(&error) {
        libc::EPERM | libc::EACCES => match disabled() {
            0 => RingError::Forbidden,
            level => RingError::Disabled(level),
        },
        libc::ENOSYS => RingError::Unsupported,
        libc::EMFILE | libc::ENFILE => RingError::NoDescriptor,
        libc::ENOMEM => RingError::NoMemory,
        _ => RingError::System { doing: "set up an io_uring", source: error },
    }
}

/// What the system's switch says; 0, for "allowed", where there is none.
fn disabled() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
