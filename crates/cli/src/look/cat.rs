//! `pinfold cat`: bytes of files, to standard output.
//!
//! Stays true  C1: what is written was in the file when it was read, at its place: a part that changed while it was read is
//!                 read again.

use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{FileId, FileKind, NameError, PoolError, Snapshot};

use super::about_name;
use crate::names::shown;
use crate::out::{complain, write};
use crate::pool::{about, look, settle, unsettled};
use crate::status::{self, CannotRun, Status};

/// Writes files of a pool to standard output, one after the other.
///
/// Of a file that the pool's owner changes meanwhile, each part is as it was at some moment of its own, as everywhere. The
/// owner is asked to sync first; where it does not answer, what it has not synced to a disk reads as zeros, and that is said.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Cat {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// Paths in the pool.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Read at once.
const STEP: usize = 1 << 20;

/// How often a part is read again while its file changes.
const TRIES: u32 = 100;

pub(crate) fn cat(asked: &Cat) -> Result<Status, CannotRun> {
    let paths: Vec<&Path> = asked.paths.iter().map(PathBuf::as_path).collect();
    let settled = settle(&asked.pool, &paths);
    let mut snapshot = look(&asked.pool)?;
    let mut status = Status::Held;
    for path in &asked.paths {
        match file_at(&snapshot, path) {
            Ok(file) => {
                if let Err(holder) = settled
                    && has_unwritten(&snapshot, path)
                {
                    complain(unsettled(&asked.pool, path, holder));
                }
                if !copy(&asked.pool, &mut snapshot, path, file)? {
                    break;
                }
            }
            Err(error) => {
                complain(about_name(&asked.pool, &error));
                status = Status::CannotRun;
            }
        }
    }
    Ok(status)
}

/// Whether a file has blocks that hold nothing, as far as the medium says.
pub(crate) fn has_unwritten(snapshot: &Snapshot, path: &Path) -> bool {
    snapshot.extents(path).is_ok_and(|extents| extents.iter().any(|extent| !extent.written))
}

/// The file that a path leads to.
fn file_at(snapshot: &Snapshot, path: &Path) -> Result<FileId, NameError> {
    let metadata = snapshot.metadata(path)?;
    match metadata.kind {
        FileKind::File => Ok(metadata.id),
        FileKind::Directory => Err(NameError::IsDirectory(path.to_owned())),
        FileKind::Symlink => Err(NameError::NotFound(path.to_owned())),
        FileKind::Special(_) => Err(NameError::Special(path.to_owned())),
    }
}

/// False if nobody reads any more.
fn copy(pool: &Path, snapshot: &mut Snapshot, path: &Path, file: FileId) -> Result<bool, CannotRun> {
    let mut buffer = vec![0; STEP];
    let (mut offset, mut tries) = (0, 0);
    loop {
        match snapshot.read_at(file, offset, &mut buffer) {
            Ok(0) => return Ok(true),
            Ok(read) => {
                if !write(&buffer[..read])? {
                    return Ok(false);
                }
                offset += read as u64;
                tries = 0;
            }
            Err(PoolError::Changed(_)) if tries < TRIES => {
                tries += 1;
                *snapshot = look(pool)?;
                if file_at(snapshot, path).ok() != Some(file) {
                    let (pool, path) = (shown(pool), shown(path));
                    return Err(CannotRun(format!(
                        "{pool}: {path}: was removed or replaced while it was read; try again"
                    )));
                }
            }
            Err(error) => return Err(about(pool, &error)),
        }
    }
}
