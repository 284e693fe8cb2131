//! Commands that change a pool: each opens it, or, where another process owns it, asks that one by its socket.
//!
//! Every request is carried out by `pinfold-control`; what is here is the command line, and what is said.

mod ask;
mod layout;
mod names;
mod own;
mod pool;
mod release;

use clap::Subcommand;

use crate::status::{CannotRun, Status};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Removes files, and directories with what is in them. Waits for no transfer.
    Rm(names::Rm),
    /// Renames files and directories, or moves them into one.
    Mv(names::Mv),
    /// Gives a file one more name, or makes a symbolic link.
    Ln(names::Ln),
    /// Makes directories.
    Mkdir(names::Mkdir),
    /// Sets the length of files. What is cut off is freed once no transfer reaches it.
    Truncate(layout::Truncate),
    /// Sets blocks aside, or frees, zeroes, takes out or opens a range of a file.
    Fallocate(layout::Fallocate),
    /// Makes durable what was done.
    Sync(pool::Sync),
    /// Makes a pool larger, while it is in use.
    Resize(pool::Resize),
    /// Lets go what devices of dead processes pin: by their rings' proofs, or by your decision.
    Release(release::Release),
    /// Keeps a pool open for others, until it is interrupted.
    Own(own::Own),
}

pub(crate) fn run(asked: &Command) -> Result<Status, CannotRun> {
    match asked {
        Command::Rm(asked) => names::remove(asked),
        Command::Mv(asked) => names::rename(asked),
        Command::Ln(asked) => names::link(asked),
        Command::Mkdir(asked) => names::make_directories(asked),
        Command::Truncate(asked) => layout::truncate(asked),
        Command::Fallocate(asked) => layout::fallocate(asked),
        Command::Sync(asked) => pool::sync(asked),
        Command::Resize(asked) => pool::resize(asked),
        Command::Release(asked) => release::release(asked),
        Command::Own(asked) => own::own(asked),
    }
}
