//! A pool as an ordinary file system, through FUSE, while whoever has the pool pins and maps the same files.
//!
//! The process that mounts a pool is its owner, and answers for it. Requests are answered in parallel, each where it was read; what
//! takes blocks away waits for no transfer. Programs read and write past the kernel's cache, so both sides see each other at once; a program that maps a file
//! sees the other side's bytes as the kernel reads them in, and the other side sees its stores after `msync`.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold::Pool;
//! use pinfold_mount::MountOptions;
//!
//! let pool = Pool::load("/dev/shm/pool")?;
//! let mounted = MountOptions::new().mount(&pool, "/mnt/pool")?;
//! std::fs::write("/mnt/pool/frame", b"bytes")?; // from another process: an owner never touches its own mount
//! mounted.unmount()?;
//! pool.close()?;
//! # Ok(()) }
//! ```

mod attributes;
mod filesystem;
mod handles;
mod references;
mod shards;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use pinfold::Pool;
use rustix::mount::{UnmountFlags, unmount};

pub use attributes::Owner;
use filesystem::Mounted;

/// How a pool is mounted.
#[derive(Clone, Debug)]
pub struct MountOptions {
    owner: Owner,
    believed: Duration,
    threads: usize,
    read_only: bool,
    allow_other: bool,
    name: String,
}

/// A pool that is mounted. It has a handle of the pool.
pub struct Mount {
    unmounter: Unmounter,
    session: JoinHandle<io::Result<()>>,
}

/// Unmounts, from any thread.
#[derive(Clone)]
pub struct Unmounter {
    dir: PathBuf,
    session: Arc<Mutex<SessionUnmounter>>,
}

/// How a mount was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmounted {
    /// Nobody used it: it has gone.
    Idle,
    /// Programs use it. It is at its place no more, and ends with the last of them, or with this process: then they get `ENOTCONN`.
    InUse,
}

impl Default for MountOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16);
        let (owner, believed) = (Owner::this_process(), Duration::from_secs(1));
        Self { owner, believed, threads, read_only: false, allow_other: false, name: String::from("pinfold") }
    }
}

impl MountOptions {
    /// For the user of this process, with as many threads as there are processors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who owns what nobody gave an owner. This process's user unless told otherwise.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// For how long the kernel believes what it was told of names and attributes: 1 s unless told otherwise.
    #[must_use]
    pub fn believed_for(mut self, time: Duration) -> Self {
        self.believed = time;
        self
    }

    /// How many requests are answered at a time.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Refuses what would change anything (`EROFS`).
    #[must_use]
    pub fn read_only(mut self, so: bool) -> Self {
        self.read_only = so;
        self
    }

    /// Lets other users in too, as far as modes and owners of files allow. For who is not root, `/etc/fuse.conf` has to say
    /// `user_allow_other`.
    #[must_use]
    pub fn allow_other(mut self, so: bool) -> Self {
        self.allow_other = so;
        self
    }

    /// What tables of mounts call it: the pool's path, say.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Mounts a pool on the directory `dir`, and answers for it from threads of this process from then on.
    ///
    /// # Errors
    /// Without `/dev/fuse`, without the right to mount, and where `dir` is no directory.
    pub fn mount(&self, pool: &Pool, dir: impl AsRef<Path>) -> io::Result<Mount> {
        let filesystem = Mounted::new(pool.clone(), self.owner, self.believed).map_err(io::Error::other)?;
        let dir = dir.as_ref().canonicalize()?;
        let mut session = Session::new(filesystem, &dir, &self.config())?;
        let unmounter = Arc::new(Mutex::new(session.unmount_callable()));
        let session = std::thread::Builder::new().name(String::from("pinfold mount")).spawn(move || session.run())?;
        Ok(Mount { unmounter: Unmounter { dir, session: unmounter }, session })
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        let access = if self.read_only { MountOption::RO } else { MountOption::RW };
        let (name, kind) = (MountOption::FSName(self.name.clone()), MountOption::Subtype(String::from("pinfold")));
        config.mount_options = vec![name, kind, MountOption::DefaultPermissions, access];
        config.acl = if self.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(self.threads);
        config.clone_fd = true;
        config
    }
}

impl Mount {
    /// What unmounts it while somebody waits for its end.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Returns when it was unmounted by anybody, and the last request is answered.
    ///
    /// # Errors
    /// What ended it, if that was no unmount.
    pub fn wait(self) -> io::Result<()> {
        self.session.join().unwrap_or_else(|_| Err(io::Error::other("a thread that answers requests has panicked")))
    }

    /// Unmounts, and returns when the last request is answered: when no program uses it any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unmount(self) -> io::Result<()> {
        self.unmounter.unmount()?;
        self.wait()
    }
}

impl Unmounter {
    /// Takes the mount away from its place. Once, and nothing if somebody else has done so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unmount(&self) -> io::Result<Unmounted> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        match session.unmount() {
            Ok(()) => Ok(Unmounted::Idle),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                unmount(&self.dir, UnmountFlags::DETACH)?;
                Ok(Unmounted::InUse)
            }
            Err(error) => Err(error),
        }
    }
}
