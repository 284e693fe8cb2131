//! The pool that files are put into: ours, or another process's, which is asked.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pinfold::{FileKind, NameError, Publish, Rename, live_dir_of};
use pinfold_control::{Answer, Client, Policy, Reached, Refusal, Request, Waiting, reach};
use rustix::io::Errno;

use super::beside;
use super::failed::Failed;
use super::host::Source;
use super::own_pool::OwnPool;
use super::progress::Progress;
use crate::names::shown;
use crate::pool::unreached;
use crate::status::CannotRun;

/// Where files are put.
pub(super) enum Target {
    /// This process owns it.
    Ours(Box<OwnPool>),
    /// Another process does, and carries out what it is asked for.
    Theirs(Owner),
}

/// Connections to the owner, one for each request under way.
pub(super) struct Owner {
    pool: PathBuf,
    free: Mutex<Vec<Client>>,
}

impl Target {
    /// Opens the pool, or finds its owner.
    pub(super) fn find(pool: &Path) -> Result<Self, CannotRun> {
        match reach(pool) {
            Ok(Reached::Ours { pool: own, .. }) => Ok(Self::Ours(Box::new(OwnPool::of(own, pool)?))),
            Ok(Reached::Theirs(client)) => {
                Ok(Self::Theirs(Owner { pool: pool.to_owned(), free: Mutex::new(vec![client]) }))
            }
            Ok(_) => Err(CannotRun(format!("{}: cannot be reached", shown(pool)))),
            Err(error) => Err(unreached(pool, &error)),
        }
    }

    /// What moves the bytes, for people.
    pub(super) fn engine(&self) -> &'static str {
        match self {
            Self::Ours(own) => own.engine.kind(),
            Self::Theirs(_) => "the pool's owner",
        }
    }

    /// What a path leads to, or the link at its end itself. `None` for nothing.
    pub(super) fn kind(&self, path: &Path, follow: bool) -> Result<Option<FileKind>, Failed> {
        match self {
            Self::Ours(own) => Ok(own.kind(path, follow)?),
            Self::Theirs(owner) => match owner.ask(&Request::Metadata { path: path.to_owned(), follow }) {
                Ok(Answer::Metadata(known)) => Ok(Some(known.kind)),
                Ok(_) => Err(Failed::new("the pool's owner answers something else")),
                Err(refusal) if refusal.errno == Errno::NOENT.raw_os_error() => Ok(None),
                Err(refusal) => Err(refusal.into()),
            },
        }
    }

    pub(super) fn create_dir(&self, path: &Path) -> Result<(), Failed> {
        match self {
            Self::Ours(own) => Ok(own.pool.create_dir(path)?),
            Self::Theirs(owner) => Ok(owner.ask(&Request::CreateDir { path: path.to_owned() }).map(drop)?),
        }
    }

    /// A new link, in place of what has the name if `how` says so.
    pub(super) fn symlink(&self, target: &Path, path: &Path, how: Publish) -> Result<(), Failed> {
        if how == Publish::New {
            return self.new_symlink(target, path);
        }
        let beside = beside(path);
        self.new_symlink(target, &beside)?;
        let renamed = self.rename(&beside, path);
        if renamed.is_err() {
            self.unlink(&beside)?;
        }
        renamed
    }

    fn new_symlink(&self, target: &Path, new: &Path) -> Result<(), Failed> {
        match self {
            Self::Ours(own) => Ok(own.pool.symlink(target, new)?),
            Self::Theirs(owner) => {
                let request = Request::Symlink { target: target.to_owned(), new: new.to_owned() };
                Ok(owner.ask(&request).map(drop)?)
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Failed> {
        match self {
            Self::Ours(own) => Ok(own.pool.rename(from, to, Rename::Replace)?),
            Self::Theirs(owner) => {
                let (from, to) = (from.to_owned(), to.to_owned());
                Ok(owner.ask(&Request::Rename { from, to, how: Rename::Replace }).map(drop)?)
            }
        }
    }

    fn unlink(&self, path: &Path) -> Result<(), Failed> {
        match self {
            Self::Ours(own) => Ok(own.pool.unlink(path)?),
            Self::Theirs(owner) => Ok(owner.ask(&Request::Unlink { path: path.to_owned() }).map(drop)?),
        }
    }

    /// Puts a file; how long it is.
    pub(super) fn put(&self, source: &Source, to: &Path, how: Publish, progress: &Progress) -> Result<u64, Failed> {
        match self {
            Self::Ours(own) => own.put(source, to, how, progress),
            Self::Theirs(owner) => owner.put(source, to, how, progress),
        }
    }

    /// Makes what was put durable.
    pub(super) fn sync(&self) -> Result<(), Failed> {
        match self {
            Self::Ours(own) => own.pool.sync().map_err(|error| Failed::new(error.to_string())),
            Self::Theirs(owner) => Ok(owner.ask(&Request::Sync { path: None }).map(drop)?),
        }
    }

    /// Lets go of the pool.
    pub(super) fn close(self) -> Result<(), CannotRun> {
        match self {
            Self::Ours(own) => own.close(),
            Self::Theirs(_) => Ok(()),
        }
    }
}

impl Owner {
    fn ask(&self, request: &Request) -> Result<Answer, Refusal> {
        let mut client = self.client()?;
        let answer = client.ask(request);
        self.give_back(client);
        answer
    }

    /// It is given the descriptor, and reads the file itself.
    fn put(&self, source: &Source, to: &Path, how: Publish, progress: &Progress) -> Result<u64, Failed> {
        if !source.is_regular() {
            return Err(Failed::new(
                "another process owns the pool, and takes regular files only: copy it into one first",
            ));
        }
        let put = pinfold_control::Put {
            path: to.to_owned(),
            publish: how,
            waiting: Waiting { policy: Policy::Try, timeout_ms: None },
        };
        let mut client = self.client()?;
        let mut before = 0;
        let answer = client.put(source.file().as_fd(), &put, |done, _| {
            progress.moved(done.saturating_sub(before));
            before = before.max(done);
        });
        self.give_back(client);
        match answer? {
            Answer::Put { len } => Ok(len),
            _ => Err(Failed::new("the pool's owner answers something else")),
        }
    }

    fn client(&self) -> Result<Client, Refusal> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.map_or_else(|| Client::connect(live_dir_of(&self.pool)), Ok)
            .map_err(|error| Refusal { errno: error.errno(), message: error.to_string() })
    }

    fn give_back(&self, client: Client) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }
}

/// Whether a path is there, in words of the library.
impl OwnPool {
    /// What a path leads to, or the link at its end itself. `None` for nothing.
    fn kind(&self, path: &Path, follow: bool) -> Result<Option<FileKind>, NameError> {
        let found = if follow { self.pool.metadata(path) } else { self.pool.symlink_metadata(path) };
        match found {
            Ok(metadata) => Ok(Some(metadata.kind)),
            Err(NameError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
