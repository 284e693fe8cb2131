//! What is wrong with a pool as a whole, or with its medium.

use std::path::PathBuf;
use std::sync::Arc;

use pinfold_layout::AreaError;
use pinfold_region::{AccessError, AllocateError};
use rustix::io::Errno;

use super::raw;
use super::space::{NoSpace, SpaceError};
use crate::node::FileId;

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
        "the pool has format {found}, and this program knows formats up to {}: use the program that wrote it",
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
