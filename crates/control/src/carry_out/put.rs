//! Copying a file of the host in: reserve, fill, publish. Whoever opens the name sees all of it, or what was there before.
//!
//! Stays true  P1: what is given up is aborted: blocks that a device still reaches are parked, and no name was changed.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pinfold::{File, NameError, Publish, Rename, Reservation, SpaceError};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::Task;
use crate::answer::Answer;
use crate::asker::Ended;
use crate::refusal::Refusal;
use crate::request::{Policy, Put, Waiting};

/// Is told how many bytes of how many are there.
pub(super) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

impl Task<'_> {
    pub(crate) fn put(&self, source: BorrowedFd<'_>, put: &Put, progress: Progress<'_>) -> Result<Answer, Refusal> {
        let about = |refusal: Refusal| refusal.about(&put.path);
        let len = length_of(source).map_err(about)?;
        if len == 0 {
            self.put_empty(put)?;
            return Ok(Answer::Put { len });
        }
        let reservation = self.reserve(len, put.waiting).map_err(about)?;
        self.fill(source, &reservation, progress).map_err(about)?;
        // Once more before it is seen: who has gone does not want it any more.
        self.asker.check()?;
        reservation.publish(&put.path, put.publish).map_err(|unpublished| Refusal::from(unpublished.error))?;
        Ok(Answer::Put { len })
    }

    fn reserve(&self, len: u64, waiting: Waiting) -> Result<Reservation, Refusal> {
        if waiting.policy == Policy::Try {
            return Ok(self.pool.reserve(len).try_now()?);
        }
        match self.asker.wait_for(self.pool.reserve(len).wait_async(), waiting.deadline())? {
            Ended::Ready(reserved) => Ok(reserved?),
            // It may be there by now.
            Ended::Late => self.pool.reserve(len).try_now().map_err(|error| match error {
                SpaceError::Full(space) => Refusal::of(Errno::TIMEDOUT, format_args!("timed out: {space}")),
                error => error.into(),
            }),
        }
    }

    /// Nothing can be reserved for an empty file.
    fn put_empty(&self, put: &Put) -> Result<(), Refusal> {
        if put.publish == Publish::New {
            self.pool.create(&put.path)?;
            return Ok(());
        }
        // In one step as well: it is made under another name beside.
        let (_file, beside) = self.create_beside(&put.path)?;
        let renamed = self.pool.rename(&beside, &put.path, Rename::Replace);
        if renamed.is_err() {
            self.pool.unlink(&beside)?;
        }
        Ok(renamed?)
    }

    fn create_beside(&self, path: &Path) -> Result<(File, PathBuf), Refusal> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            // ORDER: relaxed; a number.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let beside = path.with_file_name(format!(".pinfold-put-{number}"));
            match self.pool.create(&beside) {
                Ok(file) => return Ok((file, beside)),
                Err(NameError::Exists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn length_of(source: BorrowedFd<'_>) -> Result<u64, Refusal> {
    let stat = rustix::fs::fstat(source).map_err(|errno| Refusal::io("cannot look at the file", &errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::of(Errno::INVAL, "only a regular file can be copied in: its length is known"));
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}
