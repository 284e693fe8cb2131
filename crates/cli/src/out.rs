//! Standard output. A reader that has seen enough and went away is no failure of ours.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::status::CannotRun;

/// Writes a text and a line's end.
pub(crate) fn say(text: impl Display) -> Result<(), CannotRun> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CannotRun(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
