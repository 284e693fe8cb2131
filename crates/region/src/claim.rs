//! The claim on a file or device: one owner at a time, and a second is told who the first is.
//!
//! Stays true   L1: the claim is an exclusive `flock` on an open file description that this module opened
//!              and hands to nobody, so that no descriptor passed on or adopted twice can share it.
//!              L2: once the region is mapped, the mapping alone keeps that description open: whoever
//!              has the memory has the claim, and the claim ends when the mapping does.
//! Who calls    the constructors, on any thread. Lock order: this lock, then the address registry's.
//! After a fork the mapping is not the child's (`MADV_DONTFORK`), hence neither is the claim. Only a child
//!              that another thread forks in the instants between opening and mapping has it too, until
//!              it calls `exec` or ends.
//! Dead owner   its memory map goes, and with it the claim, before its parent can reap it. Nothing has to be
//!              cleaned up, and nothing was written anywhere.
//!
//! The other locks do worse. A POSIX lock tells its holder by `F_GETLK`, but is dropped when the process closes
//! any descriptor of the file, and does not exclude a second owner in the same process. An open file
//! description lock tells no holder. A plain `flock` on a descriptor is inherited by a forked child. For
//! the holder's pid we ask `/proc/locks`, in which a `flock` names the process that took it: by L2 that
//! process still lives, so the number cannot have been given to another.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, major, minor, open};
use rustix::io::Errno;

use crate::error::Holder;

/// The claim, on its way into a mapping: the private description, locked.
#[derive(Debug)]
pub(crate) struct Claim(OwnedFd);

/// Why a file cannot be claimed.
#[derive(Debug)]
pub(crate) enum ClaimError {
    Held(Holder),
    Os(&'static str, io::Error),
}

impl Claim {
    /// Claims what `file` leads to.
    pub(crate) fn take(file: impl AsFd) -> Result<Self, ClaimError> {
        let private = reopen(file.as_fd()).map_err(|why| ClaimError::Os("opening it again through /proc", why))?;
        // An owner can leave between our try and our look for its name. If it is gone, try again.
        for _ in 0..TRIES_MAX {
            match flock(&private, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(private)),
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(ClaimError::Os("claiming it (flock)", errno.into())),
            }
            if let Some(pid) = holder(private.as_fd()) {
                return Err(ClaimError::Held(Holder { pid: Some(pid) }));
            }
        }
        Err(ClaimError::Held(Holder { pid: None }))
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who has claimed what `file` leads to, as far as it can be seen from here: not across pid namespaces. Only looks, so
/// that nobody who claims it at this moment is disturbed.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold_region::{Region, holder_of};
///
/// let region = Region::memfd(4096)?;
/// let file = region.file().expect("a memfd is a file");
/// assert_eq!(holder_of(file).and_then(|holder| holder.pid), Some(std::process::id()));
/// # Ok(()) }
/// ```
pub fn holder_of(file: impl AsFd) -> Option<Holder> {
    holder(file.as_fd()).map(|pid| Holder { pid: Some(pid) })
}

/// How often a claim is tried while it is refused and nobody is seen to hold it.
const TRIES_MAX: u32 = 3;

/// A new open file description of what `file` leads to, readable and writable.
pub(crate) fn reopen(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    Ok(open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// The process that holds a `flock` on the file, if it can be seen from here.
fn holder(file: BorrowedFd<'_>) -> Option<u32> {
    let name = lock_name(file)?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| holder_in(line, &name))
}

/// The pid in one line of `/proc/locks`, if it is a `flock` held on the file called `name` there.
///
/// `3: FLOCK  ADVISORY  WRITE 812 00:1a:1044 0 EOF`; a line with `->` is one who waits.
fn holder_in(line: &str, name: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let pid = words.nth(2)?;
    if words.next()? != name {
        return None;
    }
    pid.parse().ok()
}

/// What `/proc/locks` calls a file: the device of its file system, and its inode.
fn lock_name(file: BorrowedFd<'_>) -> Option<String> {
    let stat = fstat(file).ok()?;
    let (major, minor) = mounted_device(file).unwrap_or((major(stat.st_dev), minor(stat.st_dev)));
    Some(format!("{major:02x}:{minor:02x}:{}", stat.st_ino))
}

/// The device of the mount that `file` was opened through; none for a memfd, which is mounted nowhere.
/// `fstat` would do, but btrfs gives each subvolume a device of its own there.
fn mounted_device(file: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    mounts.lines().find_map(|line| device_in(line, mount))
}

/// The device in one line of `mountinfo`, if it is of mount `mount`: `29 1 254:0 / / rw ...`.
fn device_in(line: &str, mount: &str) -> Option<(u32, u32)> {
    let mut words = line.split_ascii_whitespace();
    if words.next()? != mount {
        return None;
    }
    let (major, minor) = words.nth(1)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_read_from_its_line_only() {
        let name = "00:1a:1044";
        let held = "3: FLOCK  ADVISORY  WRITE 812 00:1a:1044 0 EOF";
        assert_eq!(holder_in(held, name), Some(812));
        for other in [
            "3: -> FLOCK  ADVISORY  WRITE 812 00:1a:1044 0 EOF",
            "3: POSIX  ADVISORY  WRITE 812 00:1a:1044 0 EOF",
            "3: OFDLCK ADVISORY  WRITE -1 00:1a:1044 0 EOF",
            "3: FLOCK  ADVISORY  WRITE 812 00:1a:10440 0 EOF",
            "3: FLOCK  ADVISORY  WRITE",
            "",
        ] {
            assert_eq!(holder_in(other, name), None, "{other}");
        }
    }

    #[test]
    fn the_device_is_that_of_the_mount() {
        let line = "29 1 254:16 / /mnt rw,relatime shared:1 - btrfs /dev/vdb rw";
        assert_eq!(device_in(line, "29"), Some((254, 16)));
        assert_eq!(device_in(line, "2"), None);
        assert_eq!(device_in("29 1 254", "29"), None);
    }
}
