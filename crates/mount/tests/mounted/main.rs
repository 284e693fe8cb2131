//! A mounted pool, as programs see it, and as the library sees what they did.

mod names;

use std::io::Write;
use std::path::{Path, PathBuf};

use pinfold::{Pool, Region};
use pinfold_mount::{Mount, MountOptions};

/// A pool of 64 MiB that is mounted, and where. Unmounted when it is dropped.
struct Mounted {
    pool: Pool,
    mount: Option<Mount>,
    dir: tempfile::TempDir,
}

impl Mounted {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.mount.take().map(Mount::unmount) {
            eprintln!("{}: not unmounted: {error}", self.dir.path().display());
        }
    }
}

/// `None`, and a line that says why, where nothing can be mounted.
fn mounted(test: &str) -> Option<Mounted> {
    if !Path::new("/dev/fuse").exists() {
        // Past the harness, which keeps the output of a test that passes to itself.
        std::io::stderr().write_all(format!("\nskipped: {test}: no /dev/fuse\n").as_bytes()).unwrap();
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::new(Region::memfd(64 << 20).unwrap()).unwrap();
    match MountOptions::new().mount(&pool, dir.path()) {
        Ok(mount) => Some(Mounted { pool, mount: Some(mount), dir }),
        Err(error) => {
            let line = format!("\nskipped: {test}: nothing can be mounted here: {error}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
    }
}
