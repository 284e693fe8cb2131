//! Why a request was not carried out: a number for programs, and one line for people.

use std::io;

use pinfold::{ChangeError, CopyError, JournalError, NameError, PinError, PoolError, ReleaseError, SpaceError};
use pinfold_dma::LockError;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Why a request was not carried out. What it would have changed is as it was, unless the message says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The closest `errno`.
    pub errno: i32,
    /// One line: what, where, and what to do.
    pub message: String,
}

impl Refusal {
    /// With a message that becomes one line, whatever names are in it.
    pub(crate) fn new(errno: i32, message: impl ToString) -> Self {
        let message = message.to_string();
        let mut line = String::with_capacity(message.len());
        for character in message.chars() {
            match character.is_control() {
                true => line.extend(character.escape_default()),
                false => line.push(character),
            }
        }
        Self { errno, message: line }
    }

    pub(crate) fn of(errno: Errno, message: impl ToString) -> Self {
        Self::new(errno.raw_os_error(), message)
    }

    /// What the kernel says, and what was being done.
    pub(crate) fn io(doing: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::new(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), format!("{doing}: {error}"))
    }

    /// The same, with the file that it is about.
    pub(crate) fn about(self, path: &std::path::Path) -> Self {
        Self::new(self.errno, format!("{}: {}", path.display(), self.message))
    }
}

/// Errors that say what they are about, and have a number.
macro_rules! refuses {
    ($($error:ty),*) => {
        $(impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::new(error.errno(), error)
            }
        })*
    };
}

refuses!(ChangeError, CopyError, JournalError, LockError, NameError, PinError, PoolError, ReleaseError, SpaceError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_names_are_in_it() {
        let refusal = Refusal::from(NameError::NotFound("/a\nb\x1b[31m".into()));
        assert_eq!(refusal.message, "/a\\nb\\u{1b}[31m: no such file or directory");
        assert_eq!(refusal.errno, 2);
    }
}
