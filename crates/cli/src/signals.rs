//! Signals that end the process, waited for: what a command has to do before it ends is done by a thread like any other.

use std::mem::MaybeUninit;

use crate::status::{CannotRun, doing};

/// `SIGINT` and `SIGTERM`, waited for instead of being died of.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// In this thread, and in those that it starts.
    pub(crate) fn block() -> Result<Self, CannotRun> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` makes the set, and the others are given that one; the signals are valid.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            set.assume_init()
        };
        Self(set).change(libc::SIG_BLOCK)
    }

    fn change(self, how: libc::c_int) -> Result<Self, CannotRun> {
        // SAFETY: the set is there for the call, and the old one is not asked for.
        match unsafe { libc::pthread_sigmask(how, &raw const self.0, std::ptr::null_mut()) } {
            0 => Ok(self),
            errno => Err(doing("cannot wait for signals")(std::io::Error::from_raw_os_error(errno))),
        }
    }

    /// Waits for the first of them. The next one ends the process.
    pub(crate) fn wait(self) -> Result<(), CannotRun> {
        let mut signal = 0;
        // SAFETY: the set and the number are there for the call.
        match unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } {
            0 => self.change(libc::SIG_UNBLOCK).map(drop),
            errno => Err(doing("cannot wait for signals")(std::io::Error::from_raw_os_error(errno))),
        }
    }
}
