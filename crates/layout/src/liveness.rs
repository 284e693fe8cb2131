//! Whether a process still runs.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::mechanism::error::AreaError;
use crate::mechanism::view::Liveness;

/// This process, which runs.
pub(crate) struct ThisProcess {
    pid: u32,
}

impl ThisProcess {
    pub(crate) fn new() -> Self {
        Self { pid: std::process::id() }
    }
}

impl Liveness for ThisProcess {
    fn is_alive(&self) -> bool {
        true
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}

/// Another process, by a descriptor that no later process with the same number can be mistaken for.
pub(crate) struct OtherProcess {
    pid: u32,
    pidfd: OwnedFd,
}

impl OtherProcess {
    pub(crate) fn open(pid: u32) -> Result<Self, AreaError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(AreaError::NoProcess(pid))?;
        match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { pid, pidfd }),
            Err(Errno::SRCH | Errno::INVAL) => Err(AreaError::NoProcess(pid)),
            Err(error) => Err(AreaError::system("watch a process")(error)),
        }
    }
}

impl Liveness for OtherProcess {
    fn is_alive(&self) -> bool {
        // A pidfd becomes readable when the last thread has ended. An error is no proof of death.
        let mut poll = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1))
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}
