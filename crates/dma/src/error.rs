//! What can go wrong, one enum for each kind of operation, each case with the number that matters and an `errno`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pinfold::layout::LabelError;
use pinfold::{Access, Pinned};
use rustix::io::Errno;

/// What an engine does with a pinned range: for messages, and for what its completion means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct What {
    /// In a word: `"read"`, `"send"`.
    pub verb: &'static str,
    /// Where in the other party, in bytes, if it has places.
    pub at: Option<u64>,
    /// What the device does with the memory. A read from a file is [`Access::Write`].
    pub access: Access,
    /// How many parts the device sees: each takes a place in the engine's queue. At least 1.
    pub parts: u32,
    /// Whether the addresses must be this process's. Not so for an engine that moves data in a device's own memory.
    pub host: bool,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        match self.at {
            Some(at) => write!(f, " at byte {at}"),
            None => Ok(()),
        }
    }
}

/// Why a request was not taken. The device was told nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The device would write into memory that is pinned for reading.
    #[error("{0} writes into the pinned memory, which is pinned for reading: pin it with `Access::Write`")]
    ReadOnly(What),
    /// Only another device can address the memory.
    #[error("{0} needs memory that this process can address: the pool's region is a device's own")]
    DeviceOnly(What),
    /// No file reaches that far.
    #[error("{0} is past the last byte that a file can have, {max}", max = i64::MAX)]
    BadOffset(What),
    /// The queue is full. Only where the caller asked not to wait.
    #[error("the queue is full: {in_flight} parts are in flight, of {max}")]
    Full {
        /// What is in flight.
        in_flight: usize,
        /// The most.
        max: usize,
    },
    /// The pool's holder has no place for the engine's name.
    #[error("the pins cannot carry the engine's name: {0}")]
    Label(#[from] LabelError),
    /// The engine was shut down.
    #[error("{0} is shut down")]
    ShutDown(Arc<str>),
    /// The kernel refuses to take anything from this ring any more.
    #[error("{engine} takes no requests any more: {}", io::Error::from_raw_os_error(*.errno))]
    Broken {
        /// Which engine.
        engine: Arc<str>,
        /// What the kernel said.
        errno: i32,
    },
    /// The engine was inherited through a fork.
    #[error("this engine belongs to the process that forked this one")]
    Forked,
}

/// A request that was not taken, given back as it was.
pub struct Refused<R = ()> {
    /// Why.
    pub error: SubmitError,
    /// What was asked for.
    pub request: R,
    /// The memory, pinned as before, with the label that it had.
    pub pinned: Pinned,
}

impl Refused {
    /// The same for what was asked of an engine: its request comes back too.
    pub fn of<R>(self, request: R) -> Box<Refused<R>> {
        Box::new(Refused { error: self.error, request, pinned: self.pinned })
    }
}

/// How a transfer failed. Its device is done with the memory.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The device said so. Nothing is known of the bytes: part of them may have moved.
    #[error("{of}: {}{}", io::Error::from_raw_os_error(*.errno), hint(*.errno))]
    Failed {
        /// What the device did.
        of: Box<Doing>,
        /// What it said.
        errno: i32,
    },
    /// Where all bytes were wanted: the device ended early, most likely because there is no more.
    #[error("{of} ended short: {moved} of {len} bytes")]
    Short {
        /// What the device did.
        of: Box<Doing>,
        /// The first bytes of the range, which moved.
        moved: u64,
        /// The bytes of the range.
        len: u64,
    },
}

/// What an engine did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doing {
    /// Which engine.
    pub engine: Arc<str>,
    /// What it did.
    pub what: What,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.engine, self.what)
    }
}

fn hint(errno: i32) -> &'static str {
    match errno {
        libc::ECANCELED => ": it was cancelled, or the thread that submitted it ended before it did",
        libc::EINVAL => ": is it aligned as O_DIRECT asks for?",
        _ => "",
    }
}

/// Why there is no completion to be had, or not yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The deadline passed. The transfer goes on.
    #[error("timed out while waiting for a transfer, which goes on")]
    TimedOut,
    /// A signal came. The transfer goes on.
    #[error("interrupted while waiting for a transfer, which goes on")]
    Interrupted,
    /// The engine was shut down, and the device did not end this transfer. Its pins are in quarantine.
    #[error("{0} was shut down and this transfer did not end: its pins are in quarantine until the queue is gone")]
    Abandoned(Arc<str>),
    /// The completion was taken before.
    #[error("the completion of this transfer was taken before")]
    Taken,
    /// Futures need a thread that takes completions, and there is none to be had.
    #[error("could not start the thread that takes completions for futures: {0}")]
    NoThread(#[source] io::Error),
    /// The engine was inherited through a fork.
    #[error("this engine belongs to the process that forked this one")]
    Forked,
}

/// A shutdown that left transfers behind: their pins are in quarantine. When the queue is gone, they are released.
#[derive(Debug, thiserror::Error)]
#[error("{transfers} transfers of {engine} did not end: their pins are in quarantine until its queue is gone")]
pub struct LeftBehind {
    /// Which engine.
    pub engine: Arc<str>,
    /// How many.
    pub transfers: usize,
}

/// Why there is no io_uring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// `kernel.io_uring_disabled` forbids it.
    #[error("io_uring is forbidden to this process: /proc/sys/kernel/io_uring_disabled is {0}")]
    Disabled(u32),
    /// Something else forbids it.
    #[error("io_uring is forbidden to this process, most likely by a seccomp filter (a container's default profile)")]
    Forbidden,
    /// The kernel was built without it.
    #[error("this kernel has no io_uring")]
    Unsupported,
    /// The kernel's io_uring lacks what is needed here.
    #[error("this kernel's io_uring is too old: it has no {0}, which came with Linux 5.11")]
    TooOld(&'static str),
    /// A queue has between 1 and 32768 places.
    #[error("a queue of {0} places is not possible: take 1 to 32768")]
    BadDepth(u32),
    /// Too many descriptors are open.
    #[error("no descriptor is left for the ring: raise RLIMIT_NOFILE")]
    NoDescriptor,
    /// No memory may be locked for it.
    #[error("no memory for the ring: raise RLIMIT_MEMLOCK, or make it less deep")]
    NoMemory,
    /// Its lock file could not be made.
    #[error("{}: could not {doing}: {source}", path.display())]
    LockFile {
        /// Which file.
        path: PathBuf,
        /// What failed.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("could not {doing}: {source}")]
    System {
        /// What failed.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why nothing is known of a ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Not a lock file of a ring.
    #[error("{}: {why}", path.display())]
    NotALock {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The deadline passed, and the ring is still there.
    #[error("timed out: {0} is still there")]
    TimedOut(Arc<str>),
    /// A signal came.
    #[error("interrupted while waiting for {0} to go")]
    Interrupted(Arc<str>),
    /// The kernel refuses.
    #[error("{what}: {source}")]
    System {
        /// Which ring, or which file.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why memory was not registered. Transfers into it are plain ones.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The kernel has no buffers that can be added one by one.
    #[error("this kernel cannot add buffers to a ring one by one, which came with Linux 5.19: {0}")]
    Unsupported(#[source] io::Error),
    /// Only another device can address the memory.
    #[error("the pool's memory cannot be registered: only a device can address it")]
    DeviceOnly,
    /// The ring is gone.
    #[error("{0} is shut down")]
    ShutDown(Arc<str>),
    /// The engine was inherited through a fork.
    #[error("this engine belongs to the process that forked this one")]
    Forked,
}

impl SubmitError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::ReadOnly(_) => Errno::ACCESS,
            Self::DeviceOnly(_) => Errno::OPNOTSUPP,
            Self::BadOffset(_) => Errno::INVAL,
            Self::Full { .. } => Errno::AGAIN,
            Self::Label(LabelError::TooLong { .. }) => Errno::NAMETOOLONG,
            Self::Label(_) => Errno::NOBUFS,
            Self::ShutDown(_) => Errno::SHUTDOWN,
            Self::Broken { errno, .. } => return *errno,
            Self::Forked => Errno::BADF,
        };
        errno.raw_os_error()
    }
}

impl TransferError {
    /// The device's `errno`; `EIO` for a transfer that ended short.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Failed { errno, .. } => *errno,
            Self::Short { .. } => Errno::IO.raw_os_error(),
        }
    }
}

impl WaitError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::TimedOut => Errno::TIMEDOUT,
            Self::Interrupted => Errno::INTR,
            Self::Abandoned(_) => Errno::CANCELED,
            Self::Taken => Errno::INVAL,
            Self::NoThread(error) => return raw(error),
            Self::Forked => Errno::BADF,
        };
        errno.raw_os_error()
    }
}

impl LeftBehind {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        Errno::BUSY.raw_os_error()
    }
}

impl RingError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Disabled(_) | Self::Forbidden => Errno::PERM,
            Self::Unsupported | Self::TooOld(_) => Errno::NOSYS,
            Self::BadDepth(_) => Errno::INVAL,
            Self::NoDescriptor => Errno::MFILE,
            Self::NoMemory => Errno::NOMEM,
            Self::LockFile { source, .. } | Self::System { source, .. } => return raw(source),
        };
        errno.raw_os_error()
    }
}

impl LockError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::NotALock { .. } => Errno::INVAL,
            Self::TimedOut(_) => Errno::TIMEDOUT,
            Self::Interrupted(_) => Errno::INTR,
            Self::System { source, .. } => return raw(source),
        };
        errno.raw_os_error()
    }
}

impl RegisterError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Unsupported(error) => return raw(error),
            Self::DeviceOnly => Errno::OPNOTSUPP,
            Self::ShutDown(_) => Errno::SHUTDOWN,
            Self::Forked => Errno::BADF,
        };
        errno.raw_os_error()
    }
}

/// The errno inside an `io::Error`; `EIO` for one that did not come from the kernel.
pub(crate) fn raw(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}

impl<R> fmt::Debug for Refused<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).field("pinned", &self.pinned).finish_non_exhaustive()
    }
}

impl<R> fmt::Display for Refused<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<R> std::error::Error for Refused<R> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
