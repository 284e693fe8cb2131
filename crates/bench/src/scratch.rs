//! Scratch directories, each a fresh one that goes with its handle.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use tempfile::TempDir;

use crate::report::Skipped;

/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

/// In the memory of the machine.
pub(crate) fn on_tmpfs() -> Result<TempDir, Skipped> {
    let at = Path::new("/dev/shm");
    if is_tmpfs(at)? { fresh(at) } else { Err(Skipped(format!("{} is no tmpfs", at.display()))) }
}

/// Where files of some size are best put for a while.
pub(crate) fn on_disk() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// Whether files lie in memory there.
pub(crate) fn is_tmpfs(at: &Path) -> Result<bool, Skipped> {
    let stat = statfs(at).map_err(Skipped::of(at.display()))?;
    Ok(stat.f_type as u64 == TMPFS)
}

/// In a directory of the caller's.
pub(crate) fn fresh(at: &Path) -> Result<TempDir, Skipped> {
    let made = tempfile::Builder::new().prefix("pinfold-bench-").tempdir_in(at);
    made.map_err(Skipped::of("no scratch directory"))
}
