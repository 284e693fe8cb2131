//! `own`: keeps a pool open, and does what others ask for by its socket.

use std::mem::MaybeUninit;
use std::path::PathBuf;

use clap::Args;
use pinfold::{Pool, live_dir_of};
use pinfold_control::serve;

use crate::names::shown;
use crate::out::say;
use crate::pool::about;
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

/// `SIGINT` and `SIGTERM`, waited for instead of being died of.
struct Signals(libc::sigset_t);

impl Signals {
    /// In this thread, and in those that it starts.
    fn block() -> Result<Self, CannotRun> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` makes the set, and the others are given that one; the signals are valid.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            set.assume_init()
        };
        Self(set).change(libc::SIG_BLOCK)
    }

    fn change(self, how: libc::c_int) -> Result<Self, CannotRun> {
        // SAFETY: the set is there for the call, and the old one is not asked for.
        match unsafe { libc::pthread_sigmask(how, &raw const self.0, std::ptr::null_mut()) } {
            0 => Ok(self),
            errno => Err(doing("cannot wait for signals")(std::io::Error::from_raw_os_error(errno))),
        }
    }

    /// Waits for the first of them. The next one ends the process.
    fn wait(self) -> Result<(), CannotRun> {
        let mut signal = 0;
        // SAFETY: the set and the number are there for the call.
        match unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } {
            0 => self.change(libc::SIG_UNBLOCK).map(drop),
            errno => Err(doing("cannot wait for signals")(std::io::Error::from_raw_os_error(errno))),
        }
    }
}
