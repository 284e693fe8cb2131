//! `pinfold mkfs`: makes a pool in a file or on a device.
//!
//! Stays true  M1: what is there and not empty is overwritten only with `--force`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{POOL_BYTES_MAX, POOL_BYTES_MIN, PoolError, PoolOptions, Snapshot};

use crate::look::{info_json, of_pool};
use crate::names::shown;
use crate::out::say;
use crate::pool::{about, look};
use crate::size;
use crate::status::{self, CannotRun, Status};

/// Makes a pool in a file or on a device, and shows what was made.
///
/// A file that is not there is made, without taking space before it is used. On tmpfs or hugetlbfs a pool is memory and lasts
/// until the machine is started anew; on a disk or persistent memory it lasts.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Mkfs {
    /// The file or device.
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub(crate) pool: PathBuf,
    /// How large, as in 64M or 1.5G; all of a file or device that is there, if it is not given.
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    /// The unit in which space is given out: a power of two from 4K to 2M.
    #[arg(short, long, value_name = "SIZE", value_parser = block_size, default_value = "4K")]
    pub(crate) block_size: u64,
    /// Overwrites what is there, a pool too. All of it is lost.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Shows what was made as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A block that a pool can have.
fn block_size(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    match bytes.is_power_of_two() && (4096..=2 << 20).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("a block of `{text}` is not possible: take a power of two from 4K to 2M")),
    }
}

pub(crate) fn mkfs(asked: &Mkfs) -> Result<Status, CannotRun> {
    let len = length(asked)?;
    let options = PoolOptions::new().block_size(asked.block_size).force(asked.force);
    let pool = options.format(&asked.pool, len).map_err(|error| said(&asked.pool, &error))?;
    let path = &asked.pool;
    pool.close().map_err(|error| CannotRun(format!("{}: {error}", shown(path))))?;
    let info = look(path)?.info();
    match asked.json {
        true => say(format_args!("{:#}", info_json(path, &info)))?,
        false => say(of_pool(path, &info))?,
    }
    Ok(Status::Held)
}

/// How long the pool is to be, once it is sure that it may be made there.
fn length(asked: &Mkfs) -> Result<u64, CannotRun> {
    let refuse = |why: String| Err(CannotRun(format!("{}: {why}", shown(&asked.pool))));
    let there = match fs::metadata(&asked.pool) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match asked.size {
                Some(len) => possible(asked, len),
                None => refuse("is not there yet; say how large it shall be, as in --size 64M".to_owned()),
            };
        }
        Err(error) => return refuse(error.to_string()),
    };
    if there.is_dir() {
        return refuse("is a directory; give a file or device".to_owned());
    }
    if !there.is_file() {
        return device(asked);
    }
    let len = asked.size.unwrap_or(there.len());
    if len > there.len() {
        let (have, asked_for) = (size::exact(there.len()), size::exact(len));
        return refuse(format!("has {have}, and {asked_for} were asked for; make it longer, or ask for less"));
    }
    if there.len() == 0 {
        return refuse("is empty; remove it, and give --size".to_owned());
    }
    let len = possible(asked, len)?;
    if asked.force {
        return Ok(len);
    }
    match Snapshot::open(&asked.pool) {
        Err(PoolError::NotAPool) if !holds_something(&asked.pool)? => Ok(len),
        Err(PoolError::NotAPool) => refuse("holds something already; say --force to overwrite it".to_owned()),
        Err(PoolError::Io(error)) => refuse(error.to_string()),
        _ => Err(said(&asked.pool, &PoolError::Exists)),
    }
}

/// A device-DAX device is as long as it is, and its length is told by the region.
fn device(asked: &Mkfs) -> Result<u64, CannotRun> {
    let kind = fs::metadata(&asked.pool)?.file_type();
    let said = shown(&asked.pool);
    if !kind.is_char_device() {
        return Err(CannotRun(format!(
            "{said}: is no memory that a pool can live in; give a file or a device-DAX device"
        )));
    }
    match asked.size {
        Some(len) => possible(asked, len),
        // Claimed only to be asked, and let go again.
        None => Ok(pinfold::Region::open(&asked.pool).map_err(|error| about(&asked.pool, &error.into()))?.len()),
    }
}

fn possible(asked: &Mkfs, len: u64) -> Result<u64, CannotRun> {
    match (POOL_BYTES_MIN..=POOL_BYTES_MAX).contains(&len) {
        true => Ok(len),
        false => {
            let [len, min, max] = [len, POOL_BYTES_MIN, POOL_BYTES_MAX].map(size::exact);
            Err(CannotRun(format!("{}: a pool of {len} is not possible; take {min} to {max}", shown(&asked.pool))))
        }
    }
}

/// How much of a file is looked at: partition tables, file systems and the like begin there.
const LOOK: u64 = 1 << 20;

/// Whether there is anything but zeros at the beginning of a file.
fn holds_something(path: &Path) -> Result<bool, CannotRun> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOK).read_to_end(&mut bytes));
    read.map_err(|error| CannotRun(format!("{}: {error}", shown(path))))?;
    Ok(bytes.iter().any(|byte| *byte != 0))
}

fn said(path: &Path, error: &PoolError) -> CannotRun {
    match error {
        PoolError::Exists => CannotRun(format!("{}: holds a pool already; say --force to lose it", shown(path))),
        PoolError::Reached(pin) => {
            CannotRun(format!("{}: devices may still reach the pool that is there: {pin}", shown(path)))
        }
        error => about(path, error),
    }
}
