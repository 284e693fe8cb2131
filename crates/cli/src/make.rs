//! `pinfold mkfs`: makes a pool in a file or on a device.
//!
//! Stays true  M1: what is there and not empty is overwritten only with `--force`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::region::OpenError;
use pinfold::{POOL_BYTES_MAX, POOL_BYTES_MIN, PoolError, PoolOptions, Snapshot};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

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
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse, allow_hyphen_values = true)]
    pub(crate) size: Option<u64>,
    /// The unit in which space is given out: a power of two from 4K to 2M.
    #[arg(short, long, value_name = "SIZE", value_parser = block_size, default_value = "4K", allow_hyphen_values = true)]
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
            return match (nothing_there(&asked.pool), asked.size) {
                (Err(why), _) => refuse(why.to_owned()),
                (_, Some(len)) => possible(asked, len),
                (_, None) => refuse("is not there yet; say how large it shall be, as in --size 64M".to_owned()),
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
        let (have, asked_for) = (size::with_noun(there.len()), size::with_noun(len));
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
        Err(PoolError::NotAPool) => match holds_something(&asked.pool) {
            Ok(false) => Ok(len),
            Ok(true) => refuse("holds something already; say --force to overwrite it".to_owned()),
            Err(error) => refuse(error.to_string()),
        },
        Err(PoolError::Io(error)) => refuse(error.to_string()),
        _ => Err(said(&asked.pool, &PoolError::Exists)),
    }
}

/// Whether a file can be made where there is none.
fn nothing_there(path: &Path) -> Result<(), &'static str> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    match dir {
        _ if fs::symlink_metadata(path).is_ok() => Err("is a link that leads nowhere; remove it, or give another path"),
        Some(dir) if !dir.exists() => Err("its directory is not there; make that first"),
        _ => Ok(()),
    }
}

/// A device-DAX device is as long as it is, and its length is told by the region.
fn device(asked: &Mkfs) -> Result<u64, CannotRun> {
    let kind = fs::metadata(&asked.pool)?.file_type();
    let said = shown(&asked.pool);
    let no_memory =
        || CannotRun(format!("{said}: is no memory that a pool can live in; give a file or a device-DAX device"));
    if !kind.is_char_device() {
        return Err(no_memory());
    }
    // Claimed only to be asked, and let go again.
    let all = match pinfold::Region::open(&asked.pool) {
        Ok(region) => region.len(),
        Err(OpenError::WrongType { .. }) => return Err(no_memory()),
        Err(error) => return Err(about(&asked.pool, &error.into())),
    };
    asked.size.map_or(Ok(all), |len| possible(asked, len))
}

fn possible(asked: &Mkfs, len: u64) -> Result<u64, CannotRun> {
    match (POOL_BYTES_MIN..=POOL_BYTES_MAX).contains(&len) {
        true => Ok(len),
        false => {
            let [len, min, max] = [len, POOL_BYTES_MIN, POOL_BYTES_MAX].map(size::with_noun);
            Err(CannotRun(format!("{}: a pool of {len} is not possible; take {min} to {max}", shown(&asked.pool))))
        }
    }
}

/// Whether there is anything but zeros in a file: all of it is looked at, holes are passed over.
fn holds_something(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let mut bytes = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(false),
            // Not every file system says where there are holes.
            Err(_) => at,
        };
        let read = file.read_at(&mut bytes, start)?;
        if bytes[..read].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        at = start + read as u64;
    }
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
