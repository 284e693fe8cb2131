//! A pool by its path, whoever owns it: opened, or asked for by its owner's socket.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use pinfold::region::{Holder, OpenError};
use pinfold::{Pool, PoolError, live_dir_of};

use crate::answer::Answer;
use crate::client::{Client, ConnectError};
use crate::refusal::Refusal;
use crate::request::{Put, Request};

/// A pool that can be asked for something.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reached {
    /// This process owns it.
    Ours {
        /// It.
        pool: Pool,
        /// The directory beside it.
        live_dir: PathBuf,
    },
    /// Another process owns it.
    Theirs(Client),
}

/// Why a pool cannot be asked for anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// It cannot be opened.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Another process owns it, and cannot be asked.
    #[error("{} is owned by {holder}, which cannot be asked: {source}", pool.display())]
    NoAnswer {
        /// The pool.
        pool: PathBuf,
        /// Its owner.
        holder: Holder,
        /// Why not.
        source: ConnectError,
    },
}

impl ReachError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Pool(error) => error.errno(),
            // The pool is in use, whatever is wrong with the socket.
            Self::NoAnswer { .. } => rustix::io::Errno::BUSY.raw_os_error(),
        }
    }
}

/// How often an owner may come or go while it is looked for.
const TRIES: u32 = 3;

/// Opens the pool at `path`, or, if another process owns it, connects to that.
///
/// # Errors
/// [`ReachError`]; the owner's process is named.
pub fn reach(path: impl AsRef<Path>) -> Result<Reached, ReachError> {
    let path = path.as_ref();
    let live_dir = live_dir_of(path);
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let holder = match Pool::load(path) {
            Ok(pool) => return Ok(Reached::Ours { pool, live_dir }),
            Err(PoolError::Region(OpenError::Claimed { holder, .. })) => holder,
            Err(error) => return Err(error.into()),
        };
        match Client::connect(&live_dir) {
            Ok(client) => return Ok(Reached::Theirs(client)),
            // It may have ended just now.
            Err(error) if tries > 0 && error.is_no_owner() => {}
            Err(source) => return Err(ReachError::NoAnswer { pool: path.to_owned(), holder, source }),
        }
    }
}

impl Reached {
    /// Has a request carried out.
    ///
    /// # Errors
    /// What the pool, or its owner, says.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, Refusal> {
        match self {
            Self::Ours { pool, live_dir } => crate::carry_out(pool, live_dir, request),
            Self::Theirs(client) => client.ask(request),
        }
    }

    /// Copies a file of the host in. See [`put`](crate::put).
    ///
    /// # Errors
    /// As there.
    pub fn put(
        &mut self,
        source: BorrowedFd<'_>,
        put: &Put,
        progress: impl FnMut(u64, u64),
    ) -> Result<Answer, Refusal> {
        match self {
            Self::Ours { pool, live_dir } => crate::put(pool, live_dir, source, put, progress),
            Self::Theirs(client) => client.put(source, put, progress),
        }
    }

    /// Closes the pool, if it is ours: everything is durable then. Another owner makes it durable in its own time
    /// ([`Request::Sync`]: now).
    ///
    /// # Errors
    /// The medium refused.
    pub fn leave(self) -> Result<(), Refusal> {
        match self {
            Self::Ours { pool, .. } => Ok(pool.close()?),
            Self::Theirs(_) => Ok(()),
        }
    }
}
