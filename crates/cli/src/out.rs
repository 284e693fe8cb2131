//! Standard output, and the lines of errors. A reader that has seen enough and went away is no failure of ours.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::pool::one_line;
use crate::status::CannotRun;

/// Writes a text and a line's end.
pub(crate) fn say(text: impl Display) -> Result<(), CannotRun> {
    let mut out = io::stdout().lock();
    went(writeln!(out, "{text}").and_then(|()| out.flush())).map(drop)
}

/// Writes bytes as they are; false if nobody reads any more.
pub(crate) fn write(bytes: &[u8]) -> Result<bool, CannotRun> {
    let mut out = io::stdout().lock();
    went(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Says on stderr what went wrong.
pub(crate) fn complain(why: impl Display) {
    // Where it cannot be said, the exit status still says it.
    let _ = writeln!(io::stderr().lock(), "pinfold: {}", one_line(&why.to_string()));
}

/// What became of writing to standard output; false if nobody reads any more.
pub(crate) fn went(written: io::Result<()>) -> Result<bool, CannotRun> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CannotRun(format!("cannot write to standard output: {error}"))),
    }
}
