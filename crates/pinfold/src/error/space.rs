//! Why there are no blocks.

use std::fmt;
use std::ops::Range;

use pinfold_layout::{AreaError, NotRevoked};
use pinfold_region::AllocateError;
use rustix::io::Errno;

use super::pool::JournalError;
use super::raw;
use crate::node::FileId;
use crate::refusal::NotPinned;
use crate::report::PinReport;
use crate::units::FILE_BYTES_MAX;

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
    /// A view shows zeros where the blocks are to be seen, and could not be told.
    #[error("a view of the file stays as it was: {0}")]
    View(#[from] NotRevoked),
    /// The change did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
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
            Self::View(error) => error.errno,
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
