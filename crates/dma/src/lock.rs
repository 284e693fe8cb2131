//! The lock of a ring: who can take it knows that the ring is gone, and its DMA with it.
//!
//! A process's death is no proof: its transfers go on for hundreds of milliseconds. But the kernel keeps a ring's
//! registered files until the last of its transfers is over. So each ring has a file, locked with `flock`, registered with
//! the ring, and then closed: from then on the ring alone keeps the lock.
//!
//! Stays true  R1: from before a ring's first transfer until after its last one, the file that bears its name is locked.
//!             R2: a name is one ring's alone. It holds a random number, and a lock file says which file it is, so that
//!                 neither a later process nor a copy of the file speaks for another ring.
//! Who may     anybody who may open the file, from any process.
//! Dead owner  the file stays where it is, and becomes free when the ring is gone. A file without a ring, left by a death
//!             in between, is free at once.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pinfold::{PinInfo, Quiescent, Until};
use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags, RenameFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{LockError, RingError};
use crate::flights::timespec;

/// How names of rings begin, in the pins' labels.
const ENGINE: &str = "io_uring ";
/// The first line of a lock file.
const FORMAT: &str = "pinfold ring lock 1";

/// The proof that a ring is gone, or that all of its transfers ended: no device reaches memory through it any more.
///
/// Only [`Uring`](crate::Uring) and [`RingLock`] make one. Show it to a pool: [`Pool::release`](pinfold::Pool::release).
#[derive(Clone, Debug)]
pub struct RingIsGone {
    name: Arc<str>,
}

impl RingIsGone {
    /// By who has seen to it: every transfer of the ring has completed and no more come, or its lock could be taken (R1).
    pub(crate) fn seen(name: &Arc<str>) -> Self {
        Self { name: Arc::clone(name) }
    }

    /// The ring's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

// SAFETY: a value exists only after the ring's last transfer was over (`seen`). The pins of the ring carry its name, which
// no other ring has (R2).
unsafe impl Quiescent for RingIsGone {
    fn covers(&self, pin: &PinInfo) -> bool {
        *pin.engine == *self.name
    }
}

/// Asks whether a ring is gone: one of this process, or of another, or of one that died.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Pool, Region, Until};
/// use pinfold_dma::{RingLock, Uring, UringOptions};
///
/// # let scratch = tempfile::tempdir()?;
/// # let (dir, pool) = (scratch.path(), Pool::new(Region::memfd(1 << 20)?)?);
/// let ring = UringOptions::new().lock_dir(dir).create()?;
/// # std::mem::forget(ring);
/// // ... its process dies. The next owner finds the locks that were left, and asks them.
/// for lock in RingLock::all_in(dir)? {
///     if let Some(proof) = lock.try_proof()? {
///         pool.release(&proof)?;
///         lock.remove(&proof)?;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RingLock {
    name: Arc<str>,
    file: OwnedFd,
    path: Option<PathBuf>,
}

impl RingLock {
    /// The lock of another ring, by its file, which [`UringOptions::lock_dir`](crate::UringOptions::lock_dir) keeps.
    ///
    /// # Errors
    /// [`LockError::NotALock`], and what the kernel says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LockError> {
        let path = path.as_ref();
        let not_a_lock = |why| LockError::NotALock { path: path.to_owned(), why };
        let failed = |source| LockError::System { what: path.display().to_string(), source };
        let stem = stem_of(path).ok_or(not_a_lock("the name of a lock file is ring-NAME.lock"))?;
        // Nonblocking, so that a pipe of that name does not keep us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let mut file = fs::File::from(file);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(not_a_lock("not a regular file"));
        }
        let mut text = String::new();
        let read = file.by_ref().take(512).read_to_string(&mut text);
        if read.is_err() || text != text_of(stem, metadata.ino()) {
            return Err(not_a_lock("it does not say what a lock file says, or it is a copy of one"));
        }
        Ok(Self { name: name_of(stem), file: file.into(), path: Some(path.to_owned()) })
    }

    /// For a ring of your own: a new name, and a file that is locked by the descriptor that comes with it. Register that
    /// descriptor with the ring as a fixed file, and close it. With `dir`, the file is kept there, as
    /// [`UringOptions::lock_dir`](crate::UringOptions::lock_dir) says; remove it when the ring is gone.
    ///
    /// # Errors
    /// What the kernel says.
    ///
    /// # Safety
    /// The descriptor is closed only after it was registered with the ring, before the ring's first transfer. It stays
    /// registered as long as the ring lives. Pins of no other ring or device carry this name.
    pub unsafe fn take(dir: Option<&Path>) -> Result<(OwnedFd, Self), RingError> {
        let Taken { held, lock } = Taken::new(dir)?;
        Ok((held, lock))
    }

    /// Every lock in a directory, whether its ring is there or not. What is no lock is passed over.
    ///
    /// # Errors
    /// What the kernel says of the directory, or of a lock that cannot be opened.
    pub fn all_in(dir: impl AsRef<Path>) -> Result<Vec<Self>, LockError> {
        let dir = dir.as_ref();
        let failed = |source| LockError::System { what: dir.display().to_string(), source };
        let mut locks = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            match Self::open(entry.map_err(failed)?.path()) {
                Ok(lock) => locks.push(lock),
                Err(LockError::NotALock { .. }) => {}
                // Its ring has ended in the meantime.
                Err(LockError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(locks)
    }

    /// The ring's name, which its pins carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, if it has a name.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The proof, if the ring is gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_proof(&self) -> Result<Option<RingIsGone>, LockError> {
        match self.ask(FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(RingIsGone::seen(&self.name))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// Waits until the ring is gone, as long as `until` says.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `EINTR`, and what the kernel says.
    pub fn wait(&self, until: Until) -> Result<RingIsGone, LockError> {
        match until.deadline() {
            None => self.wait_for_good(until.is_interruptible()),
            Some(_) => self.wait_until(until),
        }
    }

    fn wait_for_good(&self, interruptible: bool) -> Result<RingIsGone, LockError> {
        loop {
            match self.ask(FlockOperation::LockShared) {
                Ok(()) => return Ok(RingIsGone::seen(&self.name)),
                Err(Errno::INTR) if interruptible => return Err(LockError::Interrupted(Arc::clone(&self.name))),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    /// The kernel has no deadline for file locks, so it is asked again and again.
    fn wait_until(&self, until: Until) -> Result<RingIsGone, LockError> {
        let mut pause = Duration::from_millis(1);
        loop {
            let late = until.deadline().is_some_and(|at| std::time::Instant::now() >= at);
            match self.try_proof()? {
                Some(proof) => return Ok(proof),
                None if late => return Err(LockError::TimedOut(Arc::clone(&self.name))),
                None => {}
            }
            let slept = rustix::thread::nanosleep(&timespec(pause));
            if until.is_interruptible() && matches!(slept, rustix::thread::NanosleepRelativeResult::Interrupted(_)) {
                return Err(LockError::Interrupted(Arc::clone(&self.name)));
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes the file of a ring that is gone: once the pools were told, nobody has to ask again.
    ///
    /// # Errors
    /// What the kernel says. [`LockError::NotALock`] for the proof of another ring.
    pub fn remove(self, proof: &RingIsGone) -> Result<(), LockError> {
        let Some(path) = &self.path else { return Ok(()) };
        if proof.name != self.name {
            return Err(LockError::NotALock { path: path.clone(), why: "the proof is another ring's" });
        }
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LockError::System { what: path.display().to_string(), source })
            }
            _ => Ok(()),
        }
    }

    /// Another handle of the same lock.
    pub(crate) fn try_clone(&self) -> Result<Self, LockError> {
        let file = self.file.try_clone();
        let file = file.map_err(|source| LockError::System { what: format!("the lock of {}", self.name), source })?;
        Ok(Self { name: Arc::clone(&self.name), file, path: self.path.clone() })
    }

    /// Removes the file of a ring that is over and has left nothing. Where that fails it stays, and is free.
    pub(crate) fn forget(&self) {
        self.path.iter().for_each(|path| drop(fs::remove_file(path)));
    }

    /// Takes the lock for a moment, shared: several may ask at once, and only the ring itself excludes them.
    fn ask(&self, how: FlockOperation) -> Result<(), Errno> {
        flock(&self.file, how)?;
        let _ = flock(&self.file, FlockOperation::Unlock);
        Ok(())
    }

    fn failed(&self, errno: Errno) -> LockError {
        LockError::System { what: format!("could not lock the file of {}", self.name), source: errno.into() }
    }
}

/// A lock that was taken for a ring that is about to begin.
pub(crate) struct Taken {
    /// What the ring is to keep, and nobody else.
    pub(crate) held: OwnedFd,
    /// Asks for it.
    pub(crate) lock: RingLock,
}

impl Taken {
    /// A new name, and its lock.
    pub(crate) fn new(dir: Option<&Path>) -> Result<Self, RingError> {
        let stem = crate::name::unique().map_err(|errno| RingError::System {
            doing: "get a random number for the ring's name",
            source: errno.into(),
        })?;
        match dir {
            Some(dir) => Self::named(dir, &stem),
            None => Self::unnamed(&stem),
        }
    }

    /// A file that nobody else finds.
    fn unnamed(stem: &str) -> Result<Self, RingError> {
        let name = name_of(stem);
        let failed = |doing| move |errno: Errno| RingError::System { doing, source: errno.into() };
        let held =
            rustix::fs::memfd_create(&*name, MemfdFlags::CLOEXEC).map_err(no_file("make a lock for the ring"))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(failed("lock the ring's lock"))?;
        // Another description of the same file: locks belong to descriptions.
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        let file = rustix::fs::open(again, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(no_file("open the ring's lock again (is /proc mounted?)"))?;
        Ok(Self { held, lock: RingLock { name, file, path: None } })
    }

    /// A file that gets its name once it is locked: whoever finds it before the ring is gone finds it locked (R1).
    fn named(dir: &Path, stem: &str) -> Result<Self, RingError> {
        let path = dir.join(format!("ring-{stem}.lock"));
        let fresh = dir.join(format!(".ring-{stem}.new"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let failed = |doing| {
            let path = path.clone();
            move |errno: Errno| RingError::LockFile { path, doing, source: errno.into() }
        };
        let mode = Mode::RUSR | Mode::WUSR;
        let held = retry_on_intr(|| rustix::fs::open(&fresh, flags, mode)).map_err(failed("make the ring's lock"))?;
        let named = Self::give_name(&held, stem, &fresh, &path).map_err(failed("lock and name the ring's lock"));
        named.inspect_err(|_| drop(fs::remove_file(&fresh)))?;
        let again = RingLock::open(&path).map_err(|error| {
            drop(fs::remove_file(&path));
            let source = io::Error::from_raw_os_error(error.errno());
            RingError::LockFile { path: path.clone(), doing: "open the ring's lock again", source }
        });
        Ok(Self { held, lock: again? })
    }

    fn give_name(held: &OwnedFd, stem: &str, fresh: &Path, path: &Path) -> Result<(), Errno> {
        flock(held, FlockOperation::NonBlockingLockExclusive)?;
        let inode = rustix::fs::fstat(held)?.st_ino;
        let text = text_of(stem, inode);
        let written = rustix::io::write(held, text.as_bytes())?;
        if written < text.len() {
            return Err(Errno::NOSPC);
        }
        rustix::fs::renameat_with(rustix::fs::CWD, fresh, rustix::fs::CWD, path, RenameFlags::NOREPLACE)
    }

    /// For a ring that did not begin.
    pub(crate) fn undo(self) {
        if let Some(path) = &self.lock.path {
            let _ = fs::remove_file(path);
        }
    }

    pub(crate) fn raw(&self) -> i32 {
        self.held.as_fd().as_raw_fd()
    }
}

fn no_file(doing: &'static str) -> impl Fn(Errno) -> RingError {
    move |errno| match errno {
        Errno::MFILE | Errno::NFILE => RingError::NoDescriptor,
        errno => RingError::System { doing, source: errno.into() },
    }
}

fn name_of(stem: &str) -> Arc<str> {
    format!("{ENGINE}{stem}").into()
}

fn stem_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix("ring-")?.strip_suffix(".lock")
}

/// What a lock file says: which ring's it is, and which file, so that a copy is known for one.
fn text_of(stem: &str, inode: u64) -> String {
    format!("{FORMAT}\n{ENGINE}{stem}\ninode {inode}\n")
}
