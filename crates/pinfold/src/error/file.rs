//! Why a file's bytes were not copied or pinned, or its layout not changed.

use std::ops::Range;

use pinfold_layout::AreaError;
use pinfold_region::AccessError;
use rustix::io::Errno;

use super::pool::JournalError;
use super::space::{NoSpace, SpaceError};
use crate::node::FileId;
use crate::refusal::{NotBroken, NotPinned};
use crate::report::PinReport;
use crate::units::FILE_BYTES_MAX;

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
    /// Addresses that are not in a view of the pool, lie past the end of its file, or may only be read.
    #[error("{:#x}..{:#x} is no memory of a view that can be pinned so", addresses.start, addresses.end)]
    BadAddress {
        /// The addresses asked for.
        addresses: Range<usize>,
    },
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

impl PinError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadRange { .. } => Errno::INVAL.raw_os_error(),
            Self::PastEnd { .. } => Errno::NXIO.raw_os_error(),
            Self::BadAddress { .. } => Errno::FAULT.raw_os_error(),
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
    /// Parts of blocks could not be zeroed: of a file's last one, before it becomes longer; or the edges of a range whose whole
    /// blocks are zeros, the one failure that comes after the change.
    #[error("parts of blocks could not be zeroed: {0}")]
    Edge(Box<CopyError>),
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
