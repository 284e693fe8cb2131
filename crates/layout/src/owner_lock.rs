//! The lock of a named area's owner.
//!
//! A lock on a file is inherited through a fork, and a child may outlive its parent: then the lock is held, and nobody
//! owns the area. So the file says who took it, and a lock whose taker is dead is taken over.
//!
//! Stays true  X1: whoever takes the lock, or takes it over, holds a second one meanwhile, on the directory itself. So the
//!                 record in a locked file is its taker's.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::liveness::{OtherProcess, started};
use crate::mechanism::error::AreaError;
use crate::named::{failed, private_file, remove};
use crate::sync::ProcessClock;

/// The file's name in the directory.
pub(crate) const LOCK: &str = "lock";

/// Held by the owner of a directory.
pub(crate) struct OwnerLock {
    file: File,
    clock: ProcessClock,
}

impl OwnerLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, AreaError> {
        let _door = enter(dir)?;
        let path = dir.join(LOCK);
        let mut file = private_file().create(true).open(&path).map_err(failed("open its lock"))?;
        if !try_lock(&file)? {
            let owner = Taker::read(&mut file);
            if let Some(pid) = owner.living()? {
                return Err(AreaError::Owned { what: dir.display().to_string(), pid });
            }
            // Children of a dead owner have it: their handles do nothing, and neither does their lock.
            remove(&path);
            file = private_file().create_new(true).open(&path).map_err(failed("make its lock"))?;
            if !try_lock(&file)? {
                return Err(AreaError::Owned { what: dir.display().to_string(), pid: owner.pid });
            }
        }
        Taker::this_process().write(&mut file)?;
        let clock = ProcessClock::start().map_err(AreaError::system("start the clock of this process"))?;
        Ok(Self { file, clock })
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // Children that inherited it must not keep it; nor do they give it back.
        if self.clock.is_of_this_process() {
            let _ = self.file.unlock();
        }
    }
}

/// How often a door that somebody else goes through is tried: that takes no longer than opening an area.
const TRIES: u32 = 5000;

/// The lock on the directory, for as long as it takes to take the other.
fn enter(dir: &Path) -> Result<File, AreaError> {
    let door = File::open(dir).map_err(failed("open its directory"))?;
    for _ in 0..TRIES {
        if try_lock(&door)? {
            return Ok(door);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(AreaError::System { what: "get a lock on its directory", source: Errno::BUSY })
}

fn try_lock(file: &File) -> Result<bool, AreaError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(failed("lock a file of it")(error)),
    }
}

/// Who took the lock.
struct Taker {
    pid: u32,
    started: u64,
}

impl Taker {
    fn this_process() -> Self {
        let pid = std::process::id();
        Self { pid, started: started(pid).unwrap_or(0) }
    }

    /// What the file says; nobody if it says nothing that could be so.
    fn read(file: &mut File) -> Self {
        let mut text = String::new();
        let _ = file.take(64).read_to_string(&mut text);
        let mut numbers = text.split_ascii_whitespace();
        let pid = numbers.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let started = numbers.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Self { pid, started }
    }

    fn write(&self, file: &mut File) -> Result<(), AreaError> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.write_all(format!("{} {}\n", self.pid, self.started).as_bytes())
        };
        write(file).map_err(failed("write its lock"))
    }

    /// Its pid, if it lives.
    fn living(&self) -> Result<Option<u32>, AreaError> {
        Ok(OtherProcess::find(self.pid, self.started)?.map(|_| self.pid))
    }
}
