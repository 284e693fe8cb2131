//! What can go wrong, one enum for each kind of operation, each case with the number that matters and an `errno`.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use pinfold_layout::AreaError;
use pinfold_region::{AccessError, AllocateError};
use rustix::io::Errno;

use crate::node::FileId;
use crate::refusal::{NotBroken, NotPinned};
use crate::report::PinReport;
use crate::units::FILE_BYTES_MAX;

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Blocks are powers of two from 4 KiB to 2 MiB.
    #[error("a block of {0} bytes is not possible: take a power of two from 4096 to 2097152")]
    BadBlockSize(u64),
    /// The region does not hold one block.
    #[error("a region of {len} bytes does not hold a block of {block}")]
    TooSmall {
        /// Bytes of the region.
        len: u64,
        /// Bytes of a block.
        block: u64,
    },
    /// Only the device can zero the blocks of such a region, and nobody said how (G10).
    #[error("memory that only a device can address needs a way to zero it: set `PoolOptions::zero_with`")]
    NoZeroing,
    /// Pools on a medium have so many bytes at least and at most.
    #[error("a pool of {len} bytes is not possible: take {min} to {max}")]
    BadLength {
        /// What was asked for.
        len: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A pool never shrinks.
    #[error("the pool has {len} bytes: it cannot shrink to {asked}")]
    Shrinks {
        /// What it has.
        len: u64,
        /// What was asked for.
        asked: u64,
    },
    /// There is a pool already.
    #[error("there is a pool already: say `force` to lose what it holds")]
    Exists,
    /// It lives in memory alone, or only a device can address it.
    #[error("this memory holds no lasting pool, and cannot")]
    NoMedium,
    /// Nothing there looks like a pool.
    #[error("not a pool")]
    NotAPool,
    /// It was written by another version.
    #[error(
        "the pool has format {found}, and this program knows format {}: use the program that wrote it",
        crate::medium::superblock::FORMAT_VERSION
    )]
    Version {
        /// The format's version.
        found: u32,
    },
    /// It is a pool, and not what a pool should be.
    #[error("the pool is damaged: {0}; look at it with fsck")]
    Damaged(String),
    /// What holds the pool is shorter than it.
    #[error("the pool has {len} bytes, and only {have} are there: it was cut short")]
    Cut {
        /// What it should have.
        len: u64,
        /// What there is.
        have: u64,
    },
    /// The medium could not be read.
    #[error("could not read the pool: {0}")]
    Io(std::io::Error),
    /// The file was cut or moved while it was read.
    #[error("{0} was changed while it was read: look at the pool anew")]
    Changed(FileId),
    /// Devices of this boot may reach it, and nobody knows what.
    #[error(
        "the pool's layout area is lost, and devices may still write into its memory: if none does for sure, say so          (`no_dma_in_flight`); or start the machine anew"
    )]
    AreaLost,
    /// A pin is left of the pool that is there.
    #[error("devices may still reach the pool that is there: {0}")]
    Reached(Box<pinfold_layout::PinInfo>),
    /// The memory could not be opened; above all while another process owns it.
    #[error(transparent)]
    Region(#[from] pinfold_region::OpenError),
    /// The memory could not grow.
    #[error(transparent)]
    Grow(#[from] pinfold_region::GrowError),
    /// There is no memory behind a part of it.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// There is no memory behind a part of it.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The memory cannot be reached.
    #[error(transparent)]
    Access(AccessError),
    /// The medium refused.
    #[error(transparent)]
    Flush(#[from] pinfold_region::FlushError),
    /// The medium refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The directory beside the pool could not be made.
    #[error("{}: {source}; it is needed for what devices still reach", dir.display())]
    LiveDir {
        /// Which.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The pool's thread could not be started.
    #[error("could not start the pool's thread: {0}")]
    Thread(std::io::Error),
    /// The layout area could not be made.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The kernel gave no random number for the pool's id.
    #[error("could not get a random id for the pool: {0}")]
    Random(Errno),
}

/// Why a change did not come to the medium of a lasting pool.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The medium refused, now or before. What was synced is there; what was not may be lost.
    #[error("the pool takes no more changes, since its medium failed: {0}; close it and look at it with fsck")]
    Failed(Arc<str>),
    /// The pool was closed: handles that are left can only read.
    #[error("the pool was closed: open it again")]
    Closed,
    /// The record of the change would take too much of the log.
    #[error(
        "the change needs a record of {needed} bytes, more than the {most} that the log takes: copy the file anew, so that it has fewer extents"
    )]
    TooManyExtents {
        /// Bytes of the record.
        needed: u64,
        /// The longest record.
        most: u64,
    },
    /// A checkpoint finds no memory behind its blocks: the disk, or the machine, is full. Nothing is lost.
    #[error("no room for a checkpoint: {0}; make room on the disk, and try again")]
    NoMemory(Arc<str>),
    /// A checkpoint finds no blocks.
    #[error("no room for a checkpoint: {0}; remove something, or make the pool larger")]
    NoCheckpoint(NoSpace),
}

impl JournalError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Failed(_) => Errno::IO,
            Self::Closed => Errno::SHUTDOWN,
            Self::TooManyExtents { .. } => Errno::FBIG,
            Self::NoMemory(_) | Self::NoCheckpoint(_) => Errno::NOSPC,
        };
        errno.raw_os_error()
    }
}

/// Why a name could not be looked up or changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The path is empty.
    #[error("the path is empty: give at least a name")]
    Empty,
    /// There is nothing of this name.
    #[error("{}: no such file or directory", .0.display())]
    NotFound(PathBuf),
    /// There is something of this name already.
    #[error("{}: exists already", .0.display())]
    Exists(PathBuf),
    /// A directory is needed here.
    #[error("{}: is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// A directory is not what is needed here.
    #[error("{}: is a directory", .0.display())]
    IsDirectory(PathBuf),
    /// Only a symbolic link can be read as one.
    #[error("{}: is not a symbolic link", .0.display())]
    NotLink(PathBuf),
    /// A directory with entries stays.
    #[error("{}: the directory is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The name cannot be one.
    #[error("{}: {why}", path.display())]
    BadName {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name has 255 bytes at most, a path or a link's target 4095.
    #[error("{}: {len} bytes are too long for a name: the most is {max}", path.display())]
    TooLong {
        /// What was given.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
        /// The most.
        max: usize,
    },
    /// Too many symbolic links lead on to one another.
    #[error("{}: more than {} symbolic links on the way", .0.display(), crate::names::LINKS_MAX)]
    Loop(PathBuf),
    /// The root keeps its place, and `.` and `..` are no names of their own: name the directory in its parent.
    #[error("{}: the root, `.` and `..` cannot be renamed or removed", .0.display())]
    Fixed(PathBuf),
    /// A directory has one name.
    #[error("{}: is a directory, and cannot have a second name", .0.display())]
    LinkToDirectory(PathBuf),
    /// A directory cannot move into itself, nor be removed by the name `.`.
    #[error("{}: {why}", path.display())]
    Refused {
        /// What was to be changed.
        path: PathBuf,
        /// Why it is not.
        why: &'static str,
    },
    /// What was to be published is not ready to be.
    #[error("{}: {source}", path.display())]
    Publish {
        /// Under which name.
        path: PathBuf,
        /// Why not.
        source: Box<PublishError>,
    },
    /// The change did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// There are not enough free blocks, and why the others are not free. In bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSpace {
    /// What was asked for.
    pub asked: u64,
    /// What is free.
    pub free: u64,
    /// What has left its file and is kept by pins that have a holder.
    pub pinned: u64,
    /// The same, by pins in quarantine.
    pub quarantined: u64,
    /// What was freed and is not durable yet.
    pub not_durable: u64,
    /// What the pool has.
    pub total: u64,
}

impl fmt::Display for NoSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, free, pinned, quarantined, not_durable, total } = self;
        write!(f, "no space: {asked} bytes asked for, {free} of {total} free")?;
        let reasons = [(pinned, "kept by pins"), (quarantined, "in quarantine"), (not_durable, "not yet durable")];
        for (bytes, why) in reasons.into_iter().filter(|(bytes, _)| **bytes > 0) {
            write!(f, ", {bytes} {why}")?;
        }
        Ok(())
    }
}

/// Why no blocks were given. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// There are not enough free blocks; waiting would not help, or was not asked for.
    #[error("{0}")]
    Full(NoSpace),
    /// The deadline passed. The pin keeps the oldest of what was freed.
    #[error("timed out: {space}: {pin}")]
    TimedOut {
        /// What is free, and what is not.
        space: NoSpace,
        /// Who keeps it.
        pin: Box<PinReport>,
    },
    /// A signal came.
    #[error("interrupted while waiting for space")]
    Interrupted,
    /// The wait would be for a pin of the caller's own thread that no engine has.
    #[error("the wait for space would be for its own thread: {0}")]
    Deadlock(Box<PinReport>),
    /// The region has the blocks, but the machine has no memory to put behind them.
    #[error("no memory behind the pool's blocks: {0}")]
    Memory(#[from] AllocateError),
    /// The blocks could not be zeroed.
    #[error("could not zero new blocks: {0}")]
    Zero(std::io::Error),
    /// The range ends before it begins, or past the longest that a file can be.
    #[error("{file}: bytes {}..{} are no range of a file: at most {FILE_BYTES_MAX}", range.start, range.end)]
    BadRange {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
    },
    /// A reservation of no bytes, or of more than a file can have.
    #[error("{0} bytes cannot be reserved: at least 1, at most {FILE_BYTES_MAX}")]
    BadLength(u64),
    /// The file's layout has no place.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The layout could not be pinned while blocks were put in.
    #[error(transparent)]
    Pin(#[from] Box<NotPinned>),
    /// The change did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why bytes were not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A file ends before 2^60 bytes.
    #[error("{file}: {len} bytes at {offset} reach past the longest that a file can be, {FILE_BYTES_MAX}")]
    TooLarge {
        /// Which file.
        file: FileId,
        /// Where the copy begins.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// No blocks for new bytes. Nothing was written.
    #[error("{file}: {source}")]
    Space {
        /// Which file.
        file: FileId,
        /// Why not.
        source: SpaceError,
    },
    /// The two files belong to different pools.
    #[error("{0} belongs to another pool")]
    OtherPool(FileId),
    /// The ranges are of one file, and meet.
    #[error("{file}: bytes {}..{} cannot be copied to {at}: the ranges meet", range.start, range.end)]
    Overlap {
        /// Which file.
        file: FileId,
        /// What was to be copied.
        range: Range<u64>,
        /// Where to.
        at: u64,
    },
    /// The host does not reach the memory, or the handle came through a fork.
    #[error("{file}: {source}")]
    Access {
        /// Which file.
        file: FileId,
        /// Why not.
        source: AccessError,
    },
    /// The file's layout has no place.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The range could not be pinned for the copy.
    #[error(transparent)]
    Pin(#[from] Box<NotPinned>),
    /// The change did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a range of a file was not pinned. Nothing is pinned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The range is empty, or its end lies before its start.
    #[error("{file}: bytes {}..{} are no range to pin", range.start, range.end)]
    BadRange {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
    },
    /// The range reaches past the end of the file. Grow it first, then pin again.
    #[error("{file}: bytes {}..{} reach past its end at {len}: grow it first", range.start, range.end)]
    PastEnd {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
        /// Bytes of the file.
        len: u64,
    },
    /// The files of a batch belong to different pools.
    #[error("{0} belongs to another pool")]
    OtherPool(FileId),
    /// No blocks to put under a hole.
    #[error("{file}: {source}")]
    Space {
        /// Which file.
        file: FileId,
        /// Why not.
        source: Box<SpaceError>,
    },
    /// The token does not name what the file is made of any more.
    #[error("{file}: the token is stale: the file is gone, or bytes {}..{} of it were changed since", range.start, range.end)]
    Stale {
        /// Which file.
        file: FileId,
        /// The range that it named.
        range: Range<u64>,
    },
    /// The token was made by another pool, or on another boot of the machine.
    #[error("the token was made by another pool, or before the machine was started anew")]
    OtherToken,
    /// The file's layout has no place.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The mechanism refuses it.
    #[error(transparent)]
    Layout(#[from] Box<NotPinned>),
}

/// Why a file's layout was not changed. Bytes and layout are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The range is empty, ends before it begins, or is longer than a file can be.
    #[error("{file}: bytes {}..{} are no range of a file: at most {FILE_BYTES_MAX}", range.start, range.end)]
    BadRange {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
    },
    /// The file would become longer than 2^60 bytes.
    #[error("{file}: {len} bytes are more than a file can have: at most {FILE_BYTES_MAX}")]
    TooLarge {
        /// Which file.
        file: FileId,
        /// The length it would have; saturated.
        len: u64,
    },
    /// What shifts or exchanges blocks takes whole ones.
    #[error("{file}: bytes {}..{} are not whole blocks of {block}", range.start, range.end)]
    NotBlocks {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
        /// Bytes of a block.
        block: u64,
    },
    /// The range must end before the file does: use a truncate.
    #[error("{file}: bytes {}..{} reach to its end at {len}, or past it", range.start, range.end)]
    PastEnd {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
        /// Bytes of the file.
        len: u64,
    },
    /// The two files belong to different pools.
    #[error("{0} belongs to another pool")]
    OtherPool(FileId),
    /// The ranges of an exchange meet, or reach past an end.
    #[error("{file} and {other}: these ranges cannot be exchanged: {why}")]
    Exchange {
        /// One file.
        file: FileId,
        /// The other.
        other: FileId,
        /// Why not.
        why: &'static str,
    },
    /// No blocks for what the operation needs.
    #[error("{file}: {source}")]
    Space {
        /// Which file.
        file: FileId,
        /// Why not.
        source: SpaceError,
    },
    /// The host does not reach the memory, or the handle came through a fork.
    #[error("{file}: {source}")]
    Access {
        /// Which file.
        file: FileId,
        /// Why not.
        source: AccessError,
    },
    /// The file's layout has no place.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The layout is not broken: it is busy, the time is over, the wait would be for itself.
    #[error(transparent)]
    Break(#[from] Box<NotBroken>),
    /// The change did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The whole blocks of the range are zeros, its edges could not be zeroed: the one failure that comes after the change.
    #[error("the edges of the range could not be zeroed: {0}")]
    Edge(Box<CopyError>),
}

/// Why a reservation was not published. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A transfer into it is in flight, or the mechanism refuses.
    #[error(transparent)]
    Break(#[from] Box<NotBroken>),
    /// What no device wrote could not be zeroed.
    #[error("could not zero what was not written: {0}")]
    Zero(std::io::Error),
    /// The reservation's layout has no place.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// What was written did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl PoolError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadBlockSize(_) | Self::TooSmall { .. } => Errno::INVAL.raw_os_error(),
            Self::NoZeroing => Errno::OPNOTSUPP.raw_os_error(),
            Self::Area(error) => error.errno(),
            Self::Random(errno) => errno.raw_os_error(),
            Self::BadLength { .. } | Self::Shrinks { .. } | Self::NotAPool => Errno::INVAL.raw_os_error(),
            Self::Exists => Errno::EXIST.raw_os_error(),
            Self::NoMedium => Errno::OPNOTSUPP.raw_os_error(),
            Self::Version { .. } => Errno::PROTONOSUPPORT.raw_os_error(),
            Self::Damaged(_) | Self::Cut { .. } => Errno::UCLEAN.raw_os_error(),
            Self::Changed(_) => Errno::AGAIN.raw_os_error(),
            Self::AreaLost => Errno::OWNERDEAD.raw_os_error(),
            Self::Reached(_) => Errno::BUSY.raw_os_error(),
            Self::Region(error) => error.errno(),
            Self::Grow(error) => error.errno(),
            Self::Space(error) => error.errno(),
            Self::Allocate(error) => error.errno(),
            Self::Access(error) => error.errno(),
            Self::Flush(error) => error.errno(),
            Self::Journal(error) => error.errno(),
            Self::Io(error) | Self::Thread(error) | Self::LiveDir { source: error, .. } => raw(error),
        }
    }
}

impl NameError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Empty | Self::NotFound(_) => Errno::NOENT,
            Self::Exists(_) => Errno::EXIST,
            Self::NotDirectory(_) => Errno::NOTDIR,
            Self::IsDirectory(_) => Errno::ISDIR,
            Self::NotLink(_) | Self::BadName { .. } | Self::Refused { .. } => Errno::INVAL,
            Self::NotEmpty(_) => Errno::NOTEMPTY,
            Self::TooLong { .. } => Errno::NAMETOOLONG,
            Self::Loop(_) => Errno::LOOP,
            Self::Fixed(_) => Errno::BUSY,
            Self::LinkToDirectory(_) => Errno::PERM,
            Self::Publish { source, .. } => return source.errno(),
            Self::Journal(error) => return error.errno(),
        };
        errno.raw_os_error()
    }

    /// Who is in the way, if it is a pin.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::Publish { source, .. } => source.holder(),
            _ => None,
        }
    }
}

impl SpaceError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Full(_) => Errno::NOSPC.raw_os_error(),
            Self::TimedOut { .. } => Errno::TIMEDOUT.raw_os_error(),
            Self::Interrupted => Errno::INTR.raw_os_error(),
            Self::Deadlock(_) => Errno::DEADLK.raw_os_error(),
            Self::Memory(error) => error.errno(),
            Self::Zero(error) => raw(error),
            Self::BadRange { .. } | Self::BadLength(_) => Errno::INVAL.raw_os_error(),
            Self::Area(error) => error.errno(),
            Self::Pin(error) => error.errno(),
            Self::Journal(error) => error.errno(),
        }
    }

    /// Who keeps the space, or is in the way, if it is a pin.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::TimedOut { pin, .. } | Self::Deadlock(pin) => Some(pin),
            Self::Pin(error) => error.holder(),
            _ => None,
        }
    }
}

impl CopyError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::TooLarge { .. } => Errno::FBIG.raw_os_error(),
            Self::Space { source, .. } => source.errno(),
            Self::OtherPool(_) => Errno::XDEV.raw_os_error(),
            Self::Overlap { .. } => Errno::INVAL.raw_os_error(),
            Self::Access { source, .. } => source.errno(),
            Self::Area(error) => error.errno(),
            Self::Pin(error) => error.errno(),
            Self::Journal(error) => error.errno(),
        }
    }

    /// Who keeps the space, or is in the way, if it is a pin.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::Space { source, .. } => source.holder(),
            Self::Pin(error) => error.holder(),
            _ => None,
        }
    }
}

impl PinError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadRange { .. } => Errno::INVAL.raw_os_error(),
            Self::PastEnd { .. } => Errno::NXIO.raw_os_error(),
            Self::OtherPool(_) => Errno::XDEV.raw_os_error(),
            Self::Space { source, .. } => source.errno(),
            Self::Stale { .. } | Self::OtherToken => Errno::STALE.raw_os_error(),
            Self::Area(error) => error.errno(),
            Self::Layout(error) => error.errno(),
        }
    }

    /// Who keeps the space, or for whom the operation in the way waits, if it is a pin.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::Space { source, .. } => source.holder(),
            Self::Layout(error) => error.holder(),
            _ => None,
        }
    }
}

impl PinError {
    pub(crate) fn space(file: FileId, source: SpaceError) -> Self {
        Self::Space { file, source: Box::new(source) }
    }

    /// How much space, if that is all that is missing.
    pub(crate) fn lacks_space(self) -> Result<(FileId, NoSpace), Self> {
        match &self {
            Self::Space { file, source } => match **source {
                SpaceError::Full(space) => Ok((*file, space)),
                _ => Err(self),
            },
            _ => Err(self),
        }
    }
}

impl ChangeError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadRange { .. } | Self::NotBlocks { .. } | Self::PastEnd { .. } | Self::Exchange { .. } => {
                Errno::INVAL.raw_os_error()
            }
            Self::TooLarge { .. } => Errno::FBIG.raw_os_error(),
            Self::OtherPool(_) => Errno::XDEV.raw_os_error(),
            Self::Space { source, .. } => source.errno(),
            Self::Access { source, .. } => source.errno(),
            Self::Area(error) => error.errno(),
            Self::Break(error) => error.errno(),
            Self::Journal(error) => error.errno(),
            Self::Edge(error) => error.errno(),
        }
    }

    /// Who is in the way, or keeps the space, if it is a pin: the first one.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::Break(error) => error.holder(),
            Self::Space { source, .. } => source.holder(),
            Self::Edge(error) => error.holder(),
            _ => None,
        }
    }
}

impl PublishError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Break(error) => error.errno(),
            Self::Zero(error) => raw(error),
            Self::Area(error) => error.errno(),
            Self::Journal(error) => error.errno(),
        }
    }

    /// The first transfer into it that is in flight.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::Break(error) => error.holder(),
            _ => None,
        }
    }
}

/// The errno inside an `io::Error`; `EIO` for one that did not come from the kernel.
fn raw(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}
