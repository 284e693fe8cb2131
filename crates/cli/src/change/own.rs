//! `own`: keeps a pool open, and does what others ask for by its socket.

use std::path::PathBuf;

use clap::Args;
use pinfold::{Pool, live_dir_of};
use pinfold_control::serve;

use crate::names::shown;
use crate::out::say;
use crate::pool::about;
use crate::signals::Signals;
use crate::status::{self, CannotRun, Status, doing};

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Own {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Says that it is ready as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn own(asked: &Own) -> Result<Status, CannotRun> {
    let path = &asked.pool;
    // Before there are other threads: they are blocked in all of them.
    let signals = Signals::block()?;
    let pool = Pool::load(path).map_err(|error| about(path, &error))?;
    let serving = serve(&pool, live_dir_of(path)).map_err(doing(shown(path)))?;
    let (socket, pid) = (serving.path().display().to_string(), std::process::id());
    match asked.json {
        true => say(serde_json::json!({ "ready": true, "pid": pid, "socket": socket }))?,
        false => say(format_args!("{}: ready, as process {pid}, by {socket}", shown(path)))?,
    }
    signals.wait()?;
    drop(serving);
    pool.close().map_err(doing(shown(path)))?;
    Ok(Status::Held)
}
