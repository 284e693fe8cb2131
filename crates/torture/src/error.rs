//! Why nothing was tortured.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Why a run did not take place. What a run finds wrong is in its report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TortureError {
    /// Nothing can be run for that long, or by so many.
    #[error("{what} of {given} is not possible: take {bounds}")]
    BadOption {
        /// Which option.
        what: &'static str,
        /// What was given.
        given: u64,
        /// What is possible.
        bounds: &'static str,
    },
    /// The scratch file could not be made.
    #[error("scratch file {}: could not {doing}: {source}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// What failed.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The real device was asked for, and there is none.
    #[error("no real device: {0}; the late one needs none")]
    NoRealDevice(String),
    /// A device failed in the middle of the run.
    #[error("a transfer failed, so nothing can be said of the bytes: {0}")]
    Device(String),
    /// The memory could not be had.
    #[error("no memory to torture: {0}")]
    Memory(#[from] pinfold::region::OpenError),
    /// The pool could not be made.
    #[error("no pool to torture: {0}")]
    Pool(#[from] pinfold::PoolError),
    /// What the load begins with could not be made.
    #[error("could not begin: {0}")]
    Beginning(String),
    /// There is no place for pools whose owners are killed.
    #[error("no place for a pool: {0}")]
    NoGround(String),
    /// A process to be killed could not be started.
    #[error("could not start a process: {0}")]
    Process(#[source] io::Error),
    /// A thread could not be started.
    #[error("could not start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl TortureError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadOption { .. } => Errno::INVAL.raw_os_error(),
            Self::Scratch { source, .. } | Self::Thread(source) | Self::Process(source) => {
                source.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
            }
            Self::NoRealDevice(_) | Self::NoGround(_) => Errno::NODEV.raw_os_error(),
            Self::Device(_) | Self::Beginning(_) => Errno::IO.raw_os_error(),
            Self::Memory(error) => error.errno(),
            Self::Pool(error) => error.errno(),
        }
    }
}
