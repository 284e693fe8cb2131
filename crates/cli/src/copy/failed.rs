//! Why one file was not copied.

use std::io;
use std::path::Path;

use pinfold::{ChangeError, NameError, PinError, SpaceError, Unpublished};
use pinfold_control::Refusal;
use pinfold_dma::SubmitError;
use rustix::io::Errno;

use super::is_dash;
use crate::names::shown;

/// Why, for people, and whether the others will fare no better.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// No space is left, or the medium takes nothing any more.
    pub(super) ends_all: bool,
    /// The host's kernel said so, and not the pool.
    of_host: bool,
}

impl Failed {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), ends_all: false, of_host: false }
    }

    /// The same, with the file of the host that was written, where it is that which failed.
    pub(super) fn while_writing(self, to: &Path) -> Self {
        let to = if is_dash(to) { "standard output".to_owned() } else { shown(to) };
        match self.of_host {
            true => Self { why: format!("{to}: {}", self.why), ..self },
            false => self,
        }
    }

    fn with(errno: i32, why: String) -> Self {
        let ends_all = [Errno::NOSPC, Errno::IO, Errno::DQUOT].iter().any(|error| error.raw_os_error() == errno);
        Self { why, ends_all, of_host: false }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self { of_host: true, ..Self::with(error.raw_os_error().unwrap_or(0), error.to_string()) }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::with(refusal.errno, refusal.message)
    }
}

/// Errors of the library that say what they are about, and have a number.
macro_rules! fails {
    ($($error:ty),*) => {
        $(impl From<$error> for Failed {
            fn from(error: $error) -> Self {
                Self::with(error.errno(), error.to_string())
            }
        })*
    };
}

fails!(ChangeError, NameError, SpaceError, SubmitError, Unpublished);

impl From<PinError> for Failed {
    fn from(error: PinError) -> Self {
        match error {
            // What is filled has a number and no name yet.
            PinError::Space { source, .. } => (*source).into(),
            error => Self::with(error.errno(), error.to_string()),
        }
    }
}
