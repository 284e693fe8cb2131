//! Why a file was not mapped.

use std::ops::Range;

use pinfold_layout::AreaError;
use pinfold_region::{NoTraps, WindowError};
use rustix::io::Errno;

use super::file::PinError;
use super::raw;
use crate::node::FileId;
use crate::report::PinReport;
use crate::units::FILE_BYTES_MAX;

/// Why there is no view. Nothing is mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The range is empty, ends before it begins, or reaches past the longest that a file can be.
    #[error("{file}: bytes {}..{} are no range of a file: at most {FILE_BYTES_MAX}", range.start, range.end)]
    BadRange {
        /// Which file.
        file: FileId,
        /// The range asked for.
        range: Range<u64>,
    },
    /// The pool's blocks are smaller than the pages of its memory, which are mapped whole.
    #[error("blocks of {block} bytes lie in pages of {page}: make the pool with blocks of that size to map its files")]
    SmallBlocks {
        /// Bytes of a block.
        block: u64,
        /// Bytes of a page.
        page: u64,
    },
    /// Accesses cannot be trapped, so that the view would be a long-term pin, and no recall handler was given (G11).
    #[error("{file}: {why}; a view would be a long-term pin here, and needs a recall handler")]
    NotRevocable {
        /// Which file.
        file: FileId,
        /// Why they cannot.
        why: NoTraps,
    },
    /// The view is a long-term pin here, and was not pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// No addresses, no mappings, or memory that cannot be mapped.
    #[error("{file}: {source}")]
    Window {
        /// Which file.
        file: FileId,
        /// Why not.
        source: WindowError,
    },
    /// The file's layout has no place.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// There are no threads, or no descriptors, to answer faults.
    #[error("nobody could answer the faults of views: {0}")]
    Threads(std::io::Error),
}

impl ViewError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadRange { .. } => Errno::INVAL.raw_os_error(),
            Self::SmallBlocks { .. } | Self::NotRevocable { .. } => Errno::OPNOTSUPP.raw_os_error(),
            Self::Pin(error) => error.errno(),
            Self::Window { source, .. } => source.errno(),
            Self::Area(error) => error.errno(),
            Self::Threads(error) => raw(error),
        }
    }

    /// Who is in the way of the pin that the view is, or keeps its space.
    pub fn holder(&self) -> Option<&PinReport> {
        match self {
            Self::Pin(error) => error.holder(),
            _ => None,
        }
    }
}
