//! Why attributes were not changed or found.

use rustix::io::Errno;

use super::pool::JournalError;
use crate::medium::attributes::{EXTENDED_BYTES_MAX, EXTENDED_NAME_MAX, MODE_BITS};
use crate::node::FileId;

/// Why an attribute could not be changed or found. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// A mode has permissions and three bits above them, and no more.
    #[error("{file}: {mode:#o} is no mode: it has bits beyond {MODE_BITS:#o}")]
    BadMode {
        /// Which file.
        file: FileId,
        /// What was given.
        mode: u32,
    },
    /// A name is too short, too long, or has a NUL in it.
    #[error("{file}: an extended attribute's name has 1 to {EXTENDED_NAME_MAX} bytes, none of them 0")]
    BadName {
        /// Which file.
        file: FileId,
    },
    /// A value is too long.
    #[error("{file}: {len} bytes are too long for an extended attribute: at most {EXTENDED_BYTES_MAX}")]
    TooLong {
        /// Which file.
        file: FileId,
        /// Bytes.
        len: usize,
    },
    /// All names of one file together are too long.
    #[error("{file}: no room for another extended attribute: all names have {EXTENDED_BYTES_MAX} bytes at most")]
    TooMany {
        /// Which file.
        file: FileId,
    },
    /// There is one of this name already.
    #[error("{file}: has that extended attribute already")]
    Exists {
        /// Which file.
        file: FileId,
    },
    /// There is none of this name.
    #[error("{file}: has no such extended attribute")]
    NotFound {
        /// Which file.
        file: FileId,
    },
    /// The change did not come to the medium.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl AttributeError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::BadMode { .. } => Errno::INVAL,
            Self::BadName { .. } => Errno::RANGE,
            Self::TooLong { .. } => Errno::TOOBIG,
            Self::TooMany { .. } => Errno::NOSPC,
            Self::Exists { .. } => Errno::EXIST,
            Self::NotFound { .. } => Errno::NODATA,
            Self::Journal(error) => return error.errno(),
        };
        errno.raw_os_error()
    }
}
