//! `sync` and `resize`: of the pool as a whole.

use std::path::PathBuf;

use clap::Args;
use pinfold_control::{Answer, Request};

use super::ask::{each_in, unexpected, with_pool};
use crate::names::shown;
use crate::out::say;
use crate::size;
use crate::status::{self, CannotRun, Status};

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Sync {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Files in the pool; all of it if none is given.
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::Other)]
    paths: Vec<PathBuf>,
    /// Takes a checkpoint as well: the next opening has nothing to replay.
    #[arg(long)]
    checkpoint: bool,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Resize {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// What it shall have: bytes, or with K, M, G or T. A pool never shrinks.
    #[arg(value_parser = size::parse, allow_negative_numbers = true)]
    size: u64,
    /// What it has then, as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn sync(asked: &Sync) -> Result<Status, CannotRun> {
    with_pool(&asked.pool, |pool| {
        if asked.paths.is_empty() {
            pool.does(&Request::Sync { path: None })?;
        }
        let synced =
            each_in(pool, &asked.paths, |pool, path| pool.does(&Request::Sync { path: Some(path.to_owned()) }));
        if asked.checkpoint {
            pool.does(&Request::Checkpoint)?;
        }
        Ok(synced)
    })
}

pub(super) fn resize(asked: &Resize) -> Result<Status, CannotRun> {
    let len = with_pool(&asked.pool, |pool| match pool.ask(&Request::Grow { len: asked.size })? {
        Answer::Grown { len } => Ok(len),
        other => Err(unexpected(&other).into()),
    })?;
    match asked.json {
        true => say(serde_json::json!({ "len": len }))?,
        false => say(format_args!("{}: has {} now", shown(&asked.pool), size::with_noun(len)))?,
    }
    Ok(Status::Held)
}
