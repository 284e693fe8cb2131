//! What moves the bytes: io_uring, or plain system calls where it is forbidden (a container's default profile).
//!
//! Stays true  E1: memory is pinned from before a transfer begins until it has ended, by whichever way.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use pinfold::{Pinned, Segment, live_dir_of};
use pinfold_control::rings_in;
use pinfold_dma::{InFlight, Request, Uring, UringOptions};

use super::failed::Failed;

/// How many transfers of all files are in flight.
const DEPTH: u32 = 128;

/// Moves bytes between descriptors and pinned memory.
pub(super) enum Engine {
    Ring(Uring),
    Calls,
}

/// A transfer that has begun, or is over already.
pub(super) enum Moving {
    Ring(InFlight),
    Over(io::Result<u64>),
}

impl Engine {
    /// For a pool: the ring's lock lies beside it, for the next owner.
    pub(super) fn of(pool: &Path) -> Self {
        let rings = rings_in(live_dir_of(pool));
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&rings);
        let ring = made.ok().and_then(|()| UringOptions::new().depth(DEPTH).lock_dir(rings).create().ok());
        ring.map_or(Self::Calls, Self::Ring)
    }

    /// Its kind, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ring(_) => "io_uring",
            Self::Calls => "system calls",
        }
    }

    /// Reads into pinned memory, from `at`, or from where a stream is.
    pub(super) fn read(&self, from: &impl AsFd, at: Option<u64>, pinned: Pinned) -> Result<Moving, Failed> {
        let Self::Ring(ring) = self else {
            let read = calls(&pinned, |segment, skip| read_once(from, at.map(|at| at + skip), segment));
            pinned.written(*read.as_ref().unwrap_or(&0));
            return Ok(Moving::Over(read));
        };
        let request = at.map_or_else(|| Request::read_stream(from), |at| Request::read(from, at));
        Self::submit(ring, request, pinned)
    }

    /// Writes pinned memory, to `at`, or to where a stream is.
    pub(super) fn write(&self, to: &impl AsFd, at: Option<u64>, pinned: Pinned) -> Result<Moving, Failed> {
        let Self::Ring(ring) = self else {
            return Ok(Moving::Over(calls(&pinned, |segment, skip| write_once(to, at.map(|at| at + skip), segment))));
        };
        let request = at.map_or_else(|| Request::write_stream(to), |at| Request::write(to, at));
        Self::submit(ring, request, pinned)
    }

    fn submit(ring: &Uring, request: Request<'_>, pinned: Pinned) -> Result<Moving, Failed> {
        ring.submit(request, pinned).map(Moving::Ring).map_err(|refused| refused.error.into())
    }
}

impl Moving {
    /// Waits until it is over, and unpins; how many bytes moved.
    pub(super) fn wait(self) -> io::Result<u64> {
        match self {
            Self::Over(result) => result,
            Self::Ring(in_flight) => {
                let completion = in_flight.wait().map_err(io::Error::other)?;
                completion.result.map_err(|error| io::Error::from_raw_os_error(error.errno()))
            }
        }
    }
}

/// Moves all segments, one after the other, as far as it goes: an error counts only where nothing moved.
fn calls(pinned: &Pinned, once: impl Fn(&Segment, u64) -> io::Result<u64>) -> io::Result<u64> {
    let mut moved = 0;
    for segment in pinned.segments() {
        match once(segment, moved) {
            Ok(bytes) => {
                moved += bytes;
                if bytes < segment.len {
                    break;
                }
            }
            Err(error) if moved == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(moved)
}

fn read_once(from: &impl AsFd, at: Option<u64>, into: &Segment) -> io::Result<u64> {
    let (fd, memory, len) = (from.as_fd().as_raw_fd(), into.address as *mut libc::c_void, into.len as usize);
    retried(|| match at {
        // SAFETY: the segment's memory is mapped while it is pinned (D1 of `Pinned`), which the caller keeps, and no
        // reference leads into it.
        Some(at) => unsafe { libc::pread(fd, memory, len, at as libc::off_t) },
        // SAFETY: likewise.
        None => unsafe { libc::read(fd, memory, len) },
    })
}

fn write_once(to: &impl AsFd, at: Option<u64>, from: &Segment) -> io::Result<u64> {
    let (fd, memory, len) = (to.as_fd().as_raw_fd(), from.address as *const libc::c_void, from.len as usize);
    retried(|| match at {
        // SAFETY: as in `read_once`.
        Some(at) => unsafe { libc::pwrite(fd, memory, len, at as libc::off_t) },
        // SAFETY: likewise.
        None => unsafe { libc::write(fd, memory, len) },
    })
}

/// Again after a signal.
fn retried(call: impl Fn() -> isize) -> io::Result<u64> {
    loop {
        let error = match u64::try_from(call()) {
            Ok(bytes) => return Ok(bytes),
            Err(_) => io::Error::last_os_error(),
        };
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
