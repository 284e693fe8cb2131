//! Exit statuses: what a script learns from the command.

use std::fmt;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// It ran, and all that it checks held.
    Held,
    /// It ran, and a check failed.
    Failed,
    /// It could not be done, or not all of it, and a line on stderr says why.
    CannotRun,
}

/// What `--help` says of them.
pub(crate) const HELP: &str = "\
Exit status:
  0  it is done, and everything that it checks held
  1  it ran, and a check failed
  2  the command line is wrong
  3  it could not be done, or not all of it (no such file, no space, not in time); a line on stderr says why";

impl Status {
    /// As the shell sees it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Failed => 1,
            Self::CannotRun => 3,
        }
    }

    /// By whether all that was checked held.
    pub(crate) fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Failed }
    }
}

/// Why a command cannot run here: one line, with what, where and what to do.
#[derive(Debug)]
pub(crate) struct CannotRun(pub(crate) String);

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for CannotRun {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Turns an error into one that says what was being done.
pub(crate) fn doing<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> CannotRun {
    move |error| CannotRun(format!("{what}: {error}"))
}
