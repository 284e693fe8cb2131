//! Why a name was not looked up, changed or given.

use std::path::PathBuf;

use pinfold_layout::AreaError;
use rustix::io::Errno;

use super::pool::JournalError;
use super::raw;
use crate::refusal::NotBroken;
use crate::report::PinReport;

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
    /// A pipe, socket or device is no bytes of the pool.
    #[error("{}: is a pipe, socket or device, which opens through a mount alone", .0.display())]
    Special(PathBuf),
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
    /// The two directories, or the directory and what is to get a name there, belong to different pools.
    #[error("{}: belongs to another pool", .0.display())]
    OtherPool(PathBuf),
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
            Self::Special(_) => Errno::NXIO,
            Self::OtherPool(_) => Errno::XDEV,
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
