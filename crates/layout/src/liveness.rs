//! Whether a process still runs: by a descriptor of it, and by the time it started, so that no later process with the
//! same number is mistaken for it.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::mechanism::error::AreaError;
use crate::mechanism::segment::{HOLDER_LEFT, Segment, SlotUse};
use crate::mechanism::view::Liveness;
use crate::sync::{Arc, Ordering};

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

/// Another process.
pub(crate) struct OtherProcess {
    pid: u32,
    started: u64,
    pidfd: OwnedFd,
}

impl OtherProcess {
    /// The process that has the number `pid` now.
    pub(crate) fn open(pid: u32) -> Result<Self, AreaError> {
        let pidfd = pidfd_of(pid)?.ok_or(AreaError::NoProcess(pid))?;
        let started = started(pid);
        let process = Self { pid, started: started.unwrap_or(0), pidfd };
        // It lived after its start time was read, so what was read is its own.
        match (process.is_alive(), started) {
            (false, _) => Err(AreaError::NoProcess(pid)),
            (true, None) => Err(AreaError::System { what: "read when a process started", source: Errno::NOENT }),
            (true, Some(_)) => Ok(process),
        }
    }

    /// The process that had the number `pid` and started at `started`, if it still runs.
    pub(crate) fn find(pid: u32, started: u64) -> Result<Option<Self>, AreaError> {
        match Self::open(pid) {
            Ok(process) => Ok((process.started == started).then_some(process)),
            Err(AreaError::NoProcess(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When it started, in clock ticks since boot.
    pub(crate) fn started(&self) -> u64 {
        self.started
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

fn pidfd_of(pid: u32) -> Result<Option<OwnedFd>, AreaError> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // EINVAL (ENOENT since 6.17) where the number belongs to a thread that is no process.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(AreaError::system("watch a process")(error)),
    }
}

/// When a process started, in clock ticks since boot; `None` if there is no such process, or no `/proc`.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_field(&stat)
}

/// Field 22 of `/proc/<pid>/stat`. The name, field 2, may itself have spaces and brackets.
fn start_field(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A holder in an invited process: here until it says goodbye, or its process dies.
pub(crate) struct InvitedHolder {
    pub(crate) process: OtherProcess,
    pub(crate) segment: Arc<Segment>,
}

impl Liveness for InvitedHolder {
    fn is_alive(&self) -> bool {
        // A holder that says it is gone while it is not takes its own pins' protection away, and nobody else's.
        self.segment.head().holder_state.load(Ordering::Acquire) != HOLDER_LEFT && self.process.is_alive()
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// A holder that a former owner of the area knew. It can pin no more; it is here while its process lives and it still
/// holds pins.
pub(crate) struct FormerHolder {
    pub(crate) pid: u32,
    pub(crate) process: Option<OtherProcess>,
    pub(crate) segment: Arc<Segment>,
}

impl Liveness for FormerHolder {
    fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(OtherProcess::is_alive)
            && self.segment.head().holder_state.load(Ordering::Acquire) != HOLDER_LEFT
            && self.segment.all().any(|pin| pin.state.usage() == SlotUse::Held)
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_start_time() {
        let stat = "17 (a ) b (c) S 1 17 17 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_field(stat), Some(4711));
        assert_eq!(start_field("17 (cut"), None);
    }

    #[test]
    fn a_process_is_found_by_its_number_and_its_start() {
        let pid = std::process::id();
        let process = OtherProcess::open(pid).expect("this process runs");
        assert!(OtherProcess::find(pid, process.started()).unwrap().is_some());
        assert!(OtherProcess::find(pid, process.started() + 1).unwrap().is_none(), "a later process of that number");
        assert!(OtherProcess::find(u32::MAX, 0).unwrap().is_none());
    }
}
