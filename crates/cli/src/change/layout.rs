//! `truncate` and `fallocate`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pinfold_control::{FileChange, Policy, Request, Waiting};
use rustix::io::Errno;

use super::ask::{each, is};
use crate::names::shown;
use crate::size;
use crate::status::{self, CannotRun, Status};

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Truncate {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Files in the pool, which are made if they are not there.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    paths: Vec<PathBuf>,
    /// The new length: bytes, or with K, M, G or T.
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse, allow_hyphen_values = true)]
    size: u64,
    /// Makes no file. What is not there is no failure.
    #[arg(short = 'c', long)]
    no_create: bool,
    #[command(flatten)]
    in_the_way: InTheWay,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Fallocate {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// The file, in the pool; it is made if blocks are set aside for it.
    #[arg(value_hint = clap::ValueHint::Other)]
    path: PathBuf,
    /// Where the range begins: bytes, or with K, M, G or T.
    #[arg(short, long, value_name = "SIZE", default_value = "0", value_parser = size::parse, allow_hyphen_values = true)]
    offset: u64,
    /// How long it is.
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse, allow_hyphen_values = true)]
    length: u64,
    #[command(flatten)]
    mode: Mode,
    /// Leaves the length of the file as it is.
    #[arg(short = 'n', long, conflicts_with_all = ["collapse_range", "insert_range"])]
    keep_size: bool,
    #[command(flatten)]
    in_the_way: InTheWay,
}

/// What is done with the range; without one of them, blocks are set aside for it.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct Mode {
    /// Frees its whole blocks; it reads as zeros.
    #[arg(short, long)]
    punch_hole: bool,
    /// Makes it read as zeros, with blocks set aside for it.
    #[arg(short, long)]
    zero_range: bool,
    /// Takes it out: what follows moves down. Whole blocks.
    #[arg(short, long)]
    collapse_range: bool,
    /// Opens a hole: what follows moves up. Whole blocks.
    #[arg(short, long)]
    insert_range: bool,
}

/// What is done with transfers in the way. Without it they are waited for.
#[derive(Args, Debug)]
struct InTheWay {
    /// Leaves them what they reach, parked, and does not wait. Not for what moves blocks.
    #[arg(long)]
    detach: bool,
    /// Only looks whether there are any, and refuses then.
    #[arg(long = "try", conflicts_with_all = ["detach", "timeout"])]
    only_try: bool,
    /// Waits no longer than so many seconds, like 0.5.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    timeout: Option<Duration>,
}

impl InTheWay {
    fn waiting(&self) -> Waiting {
        let policy = match (self.detach, self.only_try) {
            (true, _) => Policy::Detach,
            (_, true) => Policy::Try,
            _ => Policy::Wait,
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Waiting { policy, timeout_ms: self.timeout.map(ms) }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let refused = || "take a number of seconds, like 5 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| refused())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| refused())
}

pub(super) fn truncate(asked: &Truncate) -> Result<Status, CannotRun> {
    each(&asked.pool, &asked.paths, |pool, path| {
        let truncated = pool.does(&Request::Change {
            path: path.to_owned(),
            create: !asked.no_create,
            change: FileChange::Truncate { len: asked.size },
            waiting: asked.in_the_way.waiting(),
        });
        match truncated {
            Err(refusal) if asked.no_create && is(&refusal, Errno::NOENT) => Ok(()),
            truncated => truncated,
        }
    })
}

pub(super) fn fallocate(asked: &Fallocate) -> Result<Status, CannotRun> {
    let change = change_of(asked)?;
    each(&asked.pool, std::slice::from_ref(&asked.path), |pool, path| {
        pool.does(&Request::Change {
            path: path.to_owned(),
            create: matches!(change, FileChange::Allocate { .. }),
            change: change.clone(),
            waiting: asked.in_the_way.waiting(),
        })
    })
}

fn change_of(asked: &Fallocate) -> Result<FileChange, CannotRun> {
    let (at, len, keep_size) = (asked.offset, asked.length, asked.keep_size);
    let end = at.checked_add(len).ok_or_else(|| {
        let (pool, path) = (shown(&asked.pool), shown(&asked.path));
        CannotRun(format!("{pool}: {path}: the range ends past the longest file, of 1E"))
    })?;
    let range: Range<u64> = at..end;
    Ok(match &asked.mode {
        Mode { punch_hole: true, .. } => FileChange::Punch { range },
        Mode { zero_range: true, .. } => FileChange::Zero { range, keep_size },
        Mode { collapse_range: true, .. } => FileChange::Collapse { range },
        Mode { insert_range: true, .. } => FileChange::Insert { at, len },
        _ => FileChange::Allocate { range, keep_size },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["", "-1", "x", "NaN", "inf", "1e300", "5s"] {
            seconds(text).unwrap_err();
        }
    }
}
