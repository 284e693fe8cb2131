//! Copies between files of the host and a pool: `pinfold put` and `pinfold get`.
//!
//! Bytes go between the host's file and the pool's blocks themselves, by io_uring and past the page cache where the file can
//! do that. What is not whole has no name yet, on either side.
//!
//! Stays true  C1: a file appears under its name when all of it is there, or not at all.
//!             C2: what is there already is replaced only if asked for (`--force`).
//!             C3: holes stay holes.
//! Dead owner  a copy that is killed leaves no name. What its ring still writes is in quarantine until the ring is gone, and
//!             is let go by the next one who opens the pool to copy.

mod engine;
mod failed;
mod get;
mod host;
mod own_pool;
mod progress;
mod put;
mod sums;
mod target;
mod windows;
mod workers;

pub(crate) use get::{Get, get};
pub(crate) use put::{Put, put};

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pinfold::live_dir_of;

use crate::names::shown;

/// Whether what is meant is what lies in a directory, and not the directory: `.`, `..`, `/`, `a/.`.
fn is_contents(path: &Path) -> bool {
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    path.file_name().is_none() || bytes == b"." || bytes.ends_with(b"/.")
}

/// Whether a path says by a slash at its end that it is a directory.
fn ends_with_slash(path: &Path) -> bool {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).ends_with(b"/")
}

/// A name beside `path` that nobody has.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // ORDER: relaxed; a number.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".pinfold-{}-{number}", std::process::id()))
}

/// A file of the host that is read, for people.
fn source_shown(path: &Path) -> String {
    if is_dash(path) { "standard input".to_owned() } else { shown(path) }
}

/// Standard input or output.
fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The pool itself and the directory beside it: they are not copied into the pool, nor written over.
fn own_files(pool: &Path) -> HashSet<(u64, u64)> {
    let live = live_dir_of(pool);
    [pool, &live].iter().filter_map(|path| fs::metadata(path).ok()).map(|found| host::identity(&found)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_told_from_the_directory_itself() {
        for path in [".", "..", "/", "a/.", "a/..", "./."] {
            assert!(is_contents(Path::new(path)), "{path}");
        }
        for path in ["a", "a/", "./a", "a.", ".a", "..a"] {
            assert!(!is_contents(Path::new(path)), "{path}");
        }
    }
}
