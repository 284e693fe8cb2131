//! A disk that is full under a pool: an error, never a signal; nothing is lost, and it goes on when there is room.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pinfold::{Pool, PoolError, PoolOptions, SpaceError};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::common::{MIB, assert_errno};
use super::format::Medium;
use super::look::{quiet, seen, state_of};
use super::sample::{Until, left_behind};

/// A disk of its own: a tmpfs of limited size. The layout areas of its pools lie elsewhere.
struct Disk {
    at: PathBuf,
    _dirs: [tempfile::TempDir; 2],
    live: PathBuf,
}

impl Disk {
    /// `None`, with the reason said, where mounting is not possible.
    fn new(bytes: u64) -> Option<Self> {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let at = dirs[0].path().to_owned();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        if let Err(error) = mount("tmpfs", &at, "tmpfs", MountFlags::empty(), size.as_c_str()) {
            println!("skipped: no tmpfs can be mounted here: {error}");
            return None;
        }
        let live = dirs[1].path().join("live");
        Some(Self { at, _dirs: dirs, live })
    }

    fn pool(&self) -> PathBuf {
        self.at.join("pool")
    }

    fn options(&self) -> PoolOptions {
        quiet().live_dir(&self.live)
    }

    /// Uses up what is left, but for so many bytes.
    fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(leave);
        fs::write(self.at.join("filler"), vec![1; bytes as usize]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be unmounted goes with the machine.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

fn write(pool: &Pool, path: &str, byte: u8) -> Result<(), Box<dyn std::error::Error>> {
    let file = pool.open_or_create(path)?;
    Ok(file.write_at(0, &vec![byte; MIB as usize])?)
}

fn holds(pool: &Pool, path: &str, byte: u8) -> bool {
    let mut bytes = vec![0; MIB as usize];
    let file = pool.open(path).unwrap();
    file.read_at(0, &mut bytes).unwrap() == bytes.len() && bytes.iter().all(|found| *found == byte)
}

#[test]
fn g9_files_written_until_the_disk_is_full_are_whole_and_it_goes_on_when_there_is_room() {
    let Some(disk) = Disk::new(24 * MIB) else { return };
    let pool = disk.options().format(disk.pool(), 256 * MIB).unwrap();
    disk.fill(9 * MIB);
    let mut written = 0u8;
    let error = loop {
        match write(&pool, &format!("/{written}"), written) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!((2..12).contains(&written), "{written} files");
    assert!(error.to_string().contains("no memory behind"), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!((0..written).all(|file| holds(&pool, &format!("/{file}"), file)));
    pool.sync().unwrap();
    // The pool has room again.
    pool.unlink("/0").unwrap();
    write(&pool, "/0", 70).unwrap();
    // And so has the disk.
    disk.make_room();
    (written..written + 4).for_each(|file| write(&pool, &format!("/{file}"), file).unwrap());
    pool.close().unwrap();
    let pool = disk.options().open(disk.pool()).unwrap();
    assert!(holds(&pool, "/0", 70) && (1..written + 4).all(|file| holds(&pool, &format!("/{file}"), file)));
}

#[test]
fn g9_a_checkpoint_that_finds_no_memory_says_so_and_is_taken_when_there_is_room() {
    let Some(disk) = Disk::new(24 * MIB) else { return };
    // Of a long pool the first 2 MiB with blocks in them are used up by a file: a checkpoint needs others.
    let pool = disk.options().format(disk.pool(), 256 * MIB).unwrap();
    let first = pool.create("/first").unwrap();
    first.allocate(0..MIB).try_now().unwrap();
    first.write_at(0, &[1; 5000]).unwrap();
    pool.sync().unwrap();
    disk.fill(0);
    let mut made = 0;
    let error = loop {
        match pool.create(format!("/{made}")) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1_000_000, "the log takes no more than it has");
    };
    assert_errno(error.errno(), Errno::NOSPC, &error);
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(!error.to_string().contains("failed"), "nothing has: {error}");
    let mut bytes = [0; 5000];
    assert_eq!((first.read_at(0, &mut bytes).unwrap(), bytes), (5000, [1; 5000]));
    drop(first);
    disk.make_room();
    pool.create("/and more").unwrap();
    pool.close().unwrap();
    let pool = disk.options().open(disk.pool()).unwrap();
    assert_eq!(pool.read_dir("/").unwrap().len(), made + 2);
}

#[test]
fn g9_a_pool_that_finds_no_memory_behind_its_blocks_is_not_opened_before_there_is_room() {
    let Some(disk) = Disk::new(24 * MIB) else { return };
    let medium = left_behind(Until::NotSynced);
    let whole = seen(&medium).unwrap();
    sparse_copy(&medium, &disk.pool());
    disk.fill(0);
    let before = Medium::of(&File::open(disk.pool()).unwrap()).unwrap();
    let error = disk.options().open(disk.pool()).unwrap_err();
    assert!(matches!(&error, PoolError::Space(SpaceError::Memory(_))), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(Medium::of(&File::open(disk.pool()).unwrap()).unwrap() == before, "nothing was written");
    disk.make_room();
    assert!(state_of(&disk.options().open(disk.pool()).unwrap()) == whole);
}

#[test]
fn a_pool_that_is_made_on_a_full_disk_leaves_no_file() {
    let Some(disk) = Disk::new(4 * MIB) else { return };
    disk.fill(64 << 10);
    let error = disk.options().format(disk.pool(), 256 * MIB).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(!disk.pool().exists());
    disk.make_room();
    disk.options().format(disk.pool(), 64 * MIB).unwrap();
}

/// A file with holes where a medium has zeros.
fn sparse_copy(medium: &Medium, path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(medium.len).unwrap();
    medium.pages().for_each(|(at, page)| file.write_all_at(page, at).unwrap());
}
