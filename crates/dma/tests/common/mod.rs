//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod child;

use std::fs::File as DiskFile;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use pinfold::{Access, File, Pinned, Pool, Region};
use tempfile::TempDir;

/// A pool with one file of zeros.
pub struct Fixture {
    pub pool: Pool,
    pub file: File,
    free: u64,
}

impl Fixture {
    /// With `len` bytes in the file.
    pub fn new(len: u64) -> Self {
        let pool = Pool::new(Region::memfd(len.next_multiple_of(4096) + (4 << 20)).unwrap()).unwrap();
        let file = pool.create("/file").unwrap();
        let free = pool.stats().free;
        file.allocate(0..len).wait().unwrap();
        Self { pool, file, free }
    }

    /// All of the file, for a device that writes it.
    pub fn pin(&self) -> Pinned {
        self.file.pin(0..self.file.len(), Access::Write).wait().unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.file.len() as usize];
        self.file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// No pin is left, and once the file is cut, every block is free.
    pub fn expect_nothing_left(&self) {
        assert_eq!(self.pool.area().pins(), []);
        self.file.truncate(0).try_now().unwrap();
        assert_eq!(self.pool.stats().free, self.free);
    }
}

/// A directory of this test's own, on the disk that the sources are built on.
pub fn scratch_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Byte `at` of the scratch file: different in each sector, and in each place of it.
pub fn pattern(at: u64) -> u8 {
    (at ^ at >> 9 ^ at >> 17) as u8 | 1
}

pub fn pattern_at(start: u64, len: u64) -> Vec<u8> {
    (start..start + len).map(pattern).collect()
}

/// A file with the pattern in it.
pub fn scratch_file(dir: &TempDir, len: u64) -> PathBuf {
    let path = dir.path().join("scratch");
    let mut file = DiskFile::create(&path).unwrap();
    for start in (0..len).step_by(1 << 20) {
        file.write_all(&pattern_at(start, (len - start).min(1 << 20))).unwrap();
    }
    file.sync_all().unwrap();
    path
}

/// A file of zeros. (`/dev/zero` ends short when the kernel has other work for the thread.)
pub fn zeros(len: u64) -> DiskFile {
    let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.set_len(len).unwrap();
    file
}

/// A scratch file opened with `O_DIRECT`; says why not where the file system has none.
pub fn direct(path: &PathBuf) -> Option<DiskFile> {
    match DiskFile::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            println!("skipped: {} cannot be opened with O_DIRECT: {error}", path.display());
            None
        }
    }
}

/// Waits for a state.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let late = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < late, "not within a minute: {what}");
        std::thread::yield_now();
    }
}
