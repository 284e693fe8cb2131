//! A tmpfs that has no room: an error when memory is allocated, never a fault later.

use std::fs;
use std::io::Write;

use pinfold_region::RegionOptions;
use rustix::fs::statvfs;
use tempfile::TempDir;

const ENOSPC: i32 = 28;

/// A folder on a tmpfs, and a length that the kernel sees at once not to fit there.
fn tmpfs(test: &str) -> Option<(TempDir, u64)> {
    let folder = tempfile::tempdir_in("/dev/shm").ok();
    let fitted = folder.and_then(|folder| {
        let space = statvfs(folder.path()).unwrap();
        let too_long = 2 * (space.f_blocks * space.f_frsize).next_multiple_of(4096);
        (too_long > 0).then_some((folder, too_long))
    });
    if fitted.is_none() {
        let line = format!("\nskipped: {test}: there is no /dev/shm of limited size to write to\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    fitted
}

#[test]
fn growing_past_a_full_tmpfs_changes_nothing() {
    let Some((folder, too_long)) = tmpfs("growing_past_a_full_tmpfs_changes_nothing") else {
        return;
    };
    let path = folder.path().join("pool");
    let options = RegionOptions::new().reserve(too_long).allocate(true);
    let region = options.create(&path, 8192).unwrap();

    let refused = region.grow(too_long).unwrap_err();
    assert_eq!(refused.errno(), ENOSPC, "{refused}");
    assert_eq!(region.len(), 8192);
    assert_eq!(fs::metadata(&path).unwrap().len(), 8192);

    region.grow(16_384).unwrap();
    region.bytes(12_288..16_384).unwrap().copy_in(0, b"there is room for this").unwrap();
}

#[test]
fn allocating_past_a_full_tmpfs_names_the_range() {
    let Some((folder, too_long)) = tmpfs("allocating_past_a_full_tmpfs_names_the_range") else {
        return;
    };
    let region = RegionOptions::new().create(folder.path().join("pool"), too_long).unwrap();
    let refused = region.allocate(4096..too_long).unwrap_err();
    assert_eq!(refused.errno(), ENOSPC, "{refused}");
    assert!(refused.to_string().contains(&format!("4096..{too_long}")), "{refused}");
}
