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
        Self { errno, message: one_line(&message.to_string()) }
    }

    pub(crate) fn of(errno: Errno, message: impl ToString) -> Self {
        Self::new(errno.raw_os_error(), message)
    }

    /// What the kernel says, and what was being done.
    pub(crate) fn io(doing: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::new(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), format!("{doing}: {error}"))
    }

    /// The same, with the path of the file that it is about, in place of its number.
    pub(crate) fn about(self, path: &std::path::Path) -> Self {
        let path = one_line(&path.display().to_string());
        // Who is in the way is said with the path already.
        if format!(" {}", self.message).contains(&format!(" {path} bytes ")) {
            return self;
        }
        Self::new(self.errno, format!("{path}: {}", without_number(&self.message)))
    }
}

/// Whatever names are in it.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for character in message.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// A message without the number of the file that it is about: `file 17: no space` is `no space`.
fn without_number(message: &str) -> &str {
    let numbered = message.strip_prefix("file ").and_then(|rest| rest.split_once(": "));
    match numbered {
        Some((number, what)) if number.bytes().all(|byte| byte.is_ascii_digit()) => what,
        _ => message,
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

    #[test]
    fn a_file_is_named_once_and_by_its_path() {
        for (message, said) in [
            ("file 17: no space", "/a\\nb: no space"),
            ("file 17 bytes 0..4: busy", "/a\\nb: file 17 bytes 0..4: busy"),
            ("file x: y", "/a\\nb: file x: y"),
            ("/a\nb bytes 0..4: busy", "/a\\nb bytes 0..4: busy"),
            ("busy: /a\nb bytes 0..4: process 7", "busy: /a\\nb bytes 0..4: process 7"),
            ("/other bytes 0..4: busy", "/a\\nb: /other bytes 0..4: busy"),
        ] {
            assert_eq!(Refusal::of(Errno::BUSY, message).about("/a\nb".as_ref()).message, said);
        }
    }
}
