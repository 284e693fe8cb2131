//! A pool that is asked, whoever owns it.
//!
//! Stays true  A1: whatever is refused is said on a line of its own, with the pool before it.

use std::path::{Path, PathBuf};

use pinfold::FileKind;
use pinfold_control::{Answer, Reached, Refusal, Request, reach};
use rustix::io::Errno;

use crate::names::shown;
use crate::out::complain;
use crate::pool::unreached;
use crate::status::{CannotRun, Status};

/// A pool, opened or asked for.
pub(super) struct Asked {
    reached: Reached,
    path: PathBuf,
}

/// Does something with a pool, and leaves it.
pub(super) fn with_pool<T>(path: &Path, work: impl FnOnce(&mut Asked) -> Result<T, CannotRun>) -> Result<T, CannotRun> {
    let reached = reach(path).map_err(|error| unreached(path, &error))?;
    let mut asked = Asked { reached, path: path.to_owned() };
    let done = work(&mut asked);
    let said = |why: &dyn std::fmt::Display| CannotRun(format!("{}: {why}", shown(path)));
    // What was done before something failed lasts too.
    let left = asked.reached.leave().map_err(|refusal| said(&refusal));
    let done = done.map_err(|why| said(&why))?;
    left.map(|()| done)
}

/// Does something with each path, says what went wrong with which, and goes on.
pub(super) fn each(
    pool: &Path,
    paths: &[PathBuf],
    work: impl FnMut(&mut Asked, &Path) -> Result<(), Refusal>,
) -> Result<Status, CannotRun> {
    with_pool(pool, |asked| Ok(each_in(asked, paths, work)))
}

/// As [`each`], of a pool that is asked already.
pub(super) fn each_in(
    pool: &mut Asked,
    paths: &[PathBuf],
    mut work: impl FnMut(&mut Asked, &Path) -> Result<(), Refusal>,
) -> Status {
    let mut status = Status::Held;
    for path in paths {
        if let Err(refusal) = work(pool, path) {
            complain(format_args!("{}: {refusal}", shown(&pool.path)));
            status = Status::CannotRun;
        }
    }
    status
}

impl Asked {
    /// Has a request carried out.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, Refusal> {
        self.reached.ask(request)
    }

    /// The same, of what has no more to say than that it is done.
    pub(super) fn does(&mut self, request: &Request) -> Result<(), Refusal> {
        self.ask(request).map(drop)
    }

    /// What a path leads to; `None` if there is nothing.
    pub(super) fn kind(&mut self, path: &Path) -> Result<Option<FileKind>, Refusal> {
        self.kind_if(path, true)
    }

    /// What has a name, which may be a link itself; `None` if nothing has.
    pub(super) fn kind_of_name(&mut self, path: &Path) -> Result<Option<FileKind>, Refusal> {
        self.kind_if(path, false)
    }

    fn kind_if(&mut self, path: &Path, follow: bool) -> Result<Option<FileKind>, Refusal> {
        match self.ask(&Request::Metadata { path: path.to_owned(), follow }) {
            Ok(Answer::Metadata(known)) => Ok(Some(known.kind)),
            Ok(other) => Err(unexpected(&other)),
            Err(refusal) if is(&refusal, Errno::NOENT) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }
}

/// Whether a refusal has this number.
pub(super) fn is(refusal: &Refusal, errno: Errno) -> bool {
    refusal.errno == errno.raw_os_error()
}

/// An owner that speaks of something else.
pub(super) fn unexpected(answer: &Answer) -> Refusal {
    refusal(Errno::PROTO, format!("the owner answered what it was not asked: {answer:?}"))
}

pub(super) fn refusal(errno: Errno, message: String) -> Refusal {
    Refusal { errno: errno.raw_os_error(), message }
}
