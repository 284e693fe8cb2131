//! The pool that a command was given: looked at, or owned, and what is said when that does not go.
//!
//! Stays true  P1: what only looks claims nothing and writes nothing.
//!             P2: one line for each error: the pool, what is wrong, what to do.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use pinfold::region::{Holder, OpenError, holder_of};
use pinfold::{PoolError, Snapshot, live_dir_of};
use pinfold_control::{Client, ReachError, Request, rings_in};
use pinfold_dma::RingLock;

use crate::names::shown;
use crate::status::CannotRun;

/// A look at the pool, whoever owns it.
pub(crate) fn look(path: &Path) -> Result<Snapshot, CannotRun> {
    check_kind(path)?;
    Snapshot::open(path).map_err(|error| about(path, &error))
}

/// Opens what may hold a pool, to look at it.
pub(crate) fn open_to_look(path: &Path) -> Result<File, CannotRun> {
    check_kind(path)?;
    File::open(path).map_err(|error| about(path, &PoolError::Io(error)))
}

/// The process that owns the pool, as far as it can be seen from here.
pub(crate) fn owner_of(path: &Path) -> Option<Holder> {
    holder_of(open_to_look(path).ok()?)
}

/// Has the pool's owner make durable what it wrote, so that a look shows it: on a disk, blocks that were written for the first
/// time and not synced read as zeros, for a crash would leave them so. `Err` names an owner that does not answer.
pub(crate) fn settle(pool: &Path, files: &[&Path]) -> Result<(), Holder> {
    let Some(holder) = owner_of(pool) else { return Ok(()) };
    let mut client = Client::connect(live_dir_of(pool)).map_err(|_| holder)?;
    let all = [None];
    let each: Vec<Option<PathBuf>> = files.iter().map(|file| Some(file.to_path_buf())).collect();
    for path in if files.is_empty() { &all[..] } else { &each } {
        // Whatever is wrong with a path is said by who looks for it.
        let _ = client.ask(&Request::Sync { path: path.clone() });
    }
    Ok(())
}

/// What is said of a file that has such blocks, where the owner does not answer.
pub(crate) fn unsettled(pool: &Path, file: &Path, holder: Holder) -> String {
    let (pool, file, owner) = (shown(pool), shown(file), holder_named(holder));
    format!(
        "{pool}: {file}: {owner} owns the pool and does not answer: what it wrote and has not synced reads as zeros"
    )
}

/// A process with its name, if it has one: `process 4711 (python3)`.
pub(crate) fn process(pid: u32) -> String {
    match process_name(pid) {
        Some(name) => format!("process {pid} ({name})"),
        None => format!("process {pid}"),
    }
}

/// The name of a process that lives.
pub(crate) fn process_name(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect())
}

/// A holder of a claim, with its name.
pub(crate) fn holder_named(holder: Holder) -> String {
    holder.pid.map_or_else(|| holder.to_string(), process)
}

/// The locks of the pool's rings, those of dead processes among them. None where there is no such directory.
pub(crate) fn ring_locks(path: &Path) -> Result<Vec<RingLock>, CannotRun> {
    let rings = rings_in(live_dir_of(path));
    match rings.exists() {
        true => RingLock::all_in(rings).map_err(|error| CannotRun(format!("{}: {error}", shown(path)))),
        false => Ok(Vec::new()),
    }
}

/// Looked at before it is opened: to open a pipe would wait for its other end.
fn check_kind(path: &Path) -> Result<(), CannotRun> {
    let metadata = fs::metadata(path).map_err(|error| about(path, &PoolError::Io(error)))?;
    let kind = metadata.file_type();
    let found = match (kind.is_dir(), kind.is_fifo(), kind.is_socket()) {
        (true, ..) => "a directory",
        (_, true, _) => "a pipe",
        (.., true) => "a socket",
        _ => return Ok(()),
    };
    Err(CannotRun(wrong_kind(&shown(path), found)))
}

/// Whether what lies beside the pool may be looked at: there it is written what devices reach.
pub(crate) fn check_live_dir(pool: &Path) -> Result<(), CannotRun> {
    let live_dir = live_dir_of(pool);
    match fs::read_dir(&live_dir) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let (pool, live_dir) = (shown(pool), shown(live_dir));
            Err(CannotRun(format!(
                "{pool}: what devices reach is written in {live_dir}: permission denied; be who owns the pool"
            )))
        }
        _ => Ok(()),
    }
}

/// What is said of a path at which no pool can be.
fn wrong_kind(said: &str, found: &str) -> String {
    format!("{said}: is not a pool: it is {found}; give a file or a device-DAX device")
}

/// What is said of a pool that could not be opened (P2).
pub(crate) fn about(path: &Path, error: &PoolError) -> CannotRun {
    let said = shown(path);
    CannotRun(match error {
        // No pool has a length that cannot be mapped.
        PoolError::NotAPool => no_pool(&said),
        PoolError::Region(error) => return about_region(path, error),
        PoolError::Damaged(why) => format!("{said}: the pool is damaged: {why}; look at it with `pinfold fsck`"),
        PoolError::Io(error) => io_error(&said, error),
        PoolError::AreaLost => format!(
            "{said}: its directory {} is lost, and devices may still write into the pool; start the machine anew",
            shown(live_dir_of(path))
        ),
        error => format!("{said}: {}", one_line(&error.to_string())),
    })
}

/// The same, of its memory.
pub(crate) fn about_region(path: &Path, error: &OpenError) -> CannotRun {
    let said = shown(path);
    CannotRun(match error {
        // No pool has a length that cannot be mapped.
        OpenError::BadLength { .. } => no_pool(&said),
        OpenError::WrongType { found, .. } => wrong_kind(&said, found),
        OpenError::Claimed { holder, .. } => owned(path, *holder),
        OpenError::Os { source, doing, .. } => match source.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => io_error(&said, source),
            _ => format!("{said}: {doing}: {source}"),
        },
        error => {
            let text = error.to_string();
            let what = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
            format!("{said}: {what}")
        }
    })
}

fn no_pool(said: &str) -> String {
    format!("{said}: is not a pool; make one with `pinfold mkfs`")
}

/// What is said of a pool that cannot be asked for anything: neither opened, nor by its owner.
pub(crate) fn unreached(path: &Path, error: &ReachError) -> CannotRun {
    match error {
        ReachError::Pool(error) => about(path, error),
        ReachError::NoAnswer { holder, source, .. } if source.is_no_owner() => CannotRun(owned(path, *holder)),
        ReachError::NoAnswer { holder, source, .. } => {
            CannotRun(format!("{}: {} owns it: {source}", shown(path), holder_named(*holder)))
        }
        error => CannotRun(format!("{}: {error}", shown(path))),
    }
}

/// What is said of a pool that another process owns.
pub(crate) fn owned(path: &Path, holder: Holder) -> String {
    format!("{}: is owned by {}; stop it first", shown(path), holder_named(holder))
}

fn io_error(said: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("{said}: there is no such file; make a pool with `pinfold mkfs`"),
        ErrorKind::PermissionDenied => format!("{said}: permission denied; ask for it, or be who owns the pool"),
        _ => format!("{said}: could not read the pool: {error}"),
    }
}

/// Whatever names are in it.
pub(crate) fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}
