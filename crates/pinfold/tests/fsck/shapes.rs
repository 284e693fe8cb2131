//! Pools in many shapes, open and closed.

use pinfold::fsck::{Finding, Remedy, Repair, check};
use pinfold::{Access, Pool, PoolOptions, Region, Rename, live_dir_of};
use proptest::prelude::*;

use crate::common::churn::Churn;
use crate::common::{BLOCK, MIB};
use crate::{checked, nothing_wrong, scratch};

/// The kinds of what was found.
fn kinds(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(Finding::kind).collect()
}

#[test]
fn a_pool_has_no_finding_as_it_is_made_filled_closed_and_opened() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 * MIB).unwrap();
    assert_eq!(kinds(&checked(&path).findings), ["owned"]);
    let file = pool.create("/file").unwrap();
    file.write_at(5 * BLOCK, &[7; 10_000]).unwrap();
    file.allocate(100 * BLOCK..120 * BLOCK).try_now().unwrap();
    pool.create_dir("/dir").unwrap();
    pool.link("/file", "/dir/again").unwrap();
    pool.symlink("../file", "/dir/link").unwrap();
    for i in 0..600 {
        pool.create(format!("/dir/{i}")).unwrap().write_at(0, &[1]).unwrap();
    }
    pool.rename("/dir", "/moved", Rename::Replace).unwrap();
    let report = checked(&path);
    assert_eq!(kinds(&report.findings), ["owned"]);
    let totals = report.totals;
    assert_eq!((totals.files, totals.directories, totals.symlinks, totals.names), (601, 2, 1, 604));
    let stats = pool.stats();
    assert_eq!((totals.in_files, totals.total), (stats.in_files, stats.total));
    pool.checkpoint().unwrap();
    let report = checked(&path);
    assert_eq!((kinds(&report.findings), report.totals.records), (vec!["owned"], 0));
    drop(file);
    pool.close().unwrap();
    assert_eq!(checked(&path).findings, []);
    drop(Pool::load(&path).unwrap());
    assert_eq!(checked(&path).findings, []);
}

#[test]
fn every_size_of_block_and_of_pool_is_checked() {
    for (block, len) in [(4096, 16 * MIB), (65_536, 100 * MIB + 3 * BLOCK), (2 * MIB, 64 * MIB)] {
        let dir = scratch();
        let path = dir.path().join("pool");
        let pool = PoolOptions::new().block_size(block).format(&path, len).unwrap();
        pool.create("/file").unwrap().write_at(0, &[7; 100_000]).unwrap();
        nothing_wrong(&checked(&path));
        pool.grow(len + 32 * MIB).unwrap();
        pool.create("/more").unwrap().allocate(0..16 * MIB).try_now().unwrap();
        nothing_wrong(&checked(&path));
        let total = pool.stats().total;
        pool.close().unwrap();
        let report = checked(&path);
        assert_eq!(report.findings, []);
        assert_eq!((report.totals.block_size, report.totals.total), (block, total));
    }
}

#[test]
fn what_is_open_reserved_and_pinned_is_a_note_at_most() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 * MIB).unwrap();
    let file = pool.create("/file").unwrap();
    file.write_at(0, &[7; 8 * BLOCK as usize]).unwrap();
    let pinned = file.pin(2 * BLOCK..4 * BLOCK, Access::Write).wait().unwrap();
    file.truncate(3 * BLOCK).detach().wait().unwrap();
    let report = checked(&path);
    assert_eq!(kinds(&report.findings), ["owned"]);
    assert_eq!((report.totals.in_files, report.totals.parked), (3 * BLOCK, BLOCK));
    pool.unlink("/file").unwrap();
    let reserved = pool.reserve(3 * BLOCK).try_now().unwrap();
    let report = checked(&path);
    assert_eq!(kinds(&report.findings), ["orphan", "orphan", "owned"]);
    assert!(report.findings.iter().all(|finding| finding.remedy() != Remedy::Repair));
    drop((pinned, reserved, file));
    pool.stats();
    let report = checked(&path);
    assert_eq!(kinds(&report.findings), ["owned"]);
    assert_eq!((report.totals.in_files, report.totals.parked), (0, 0));
}

#[test]
fn a_region_and_an_image_in_memory_are_checked_as_a_file_is() {
    let pool = PoolOptions::new().format_region(Region::memfd(16 * MIB).unwrap(), 16 * MIB, None).unwrap();
    pool.create("/file").unwrap().write_at(0, &[7; 10_000]).unwrap();
    let report = check(pool.region(), None);
    assert_eq!(report.findings, []);
    let mut image = vec![0; 16 * MIB as usize];
    pool.region().bytes(0..16 * MIB).unwrap().copy_out(0, &mut image).unwrap();
    assert_eq!(check(&image, None).totals, report.totals);
    assert_eq!(check(&image[..], None).totals, report.totals);
    assert_eq!(check(pool.region(), Some(std::path::Path::new("/nowhere"))).findings, [Finding::AreaLost]);
}

/// A device has a file that is gone, and what it may have written is synced: the log speaks of the file after its end.
#[test]
fn g9_a_file_that_is_synced_after_its_end_leaves_a_pool_that_opens() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().commit_every(None).format(&path, 16 * MIB).unwrap();
    let file = pool.create("/file").unwrap();
    file.write_at(0, &[7; 4 * BLOCK as usize]).unwrap();
    let pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
    pool.unlink("/file").unwrap();
    drop(file);
    pool.checkpoint().unwrap();
    pool.sync().unwrap();
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    nothing_wrong(&check(&std::fs::File::open(&copy).unwrap(), None));
    PoolOptions::new().no_dma_in_flight(true).open(&copy).unwrap();
    drop(pinned);
}

#[test]
fn a_check_writes_nothing() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 * MIB).unwrap();
    pool.create("/file").unwrap().write_at(0, &[7; 10_000]).unwrap();
    drop(pool);
    let names = || {
        let mut names = Vec::new();
        for dir in [dir.path().to_owned(), live_dir_of(&path), live_dir_of(&path).join("area")] {
            names.extend(std::fs::read_dir(dir).unwrap().map(|entry| {
                let entry = entry.unwrap();
                (entry.path(), entry.metadata().unwrap().modified().unwrap())
            }));
        }
        names.sort();
        names
    };
    let (before, bytes) = (names(), std::fs::read(&path).unwrap());
    nothing_wrong(&checked(&path));
    assert!(Repair::of(&path, Some(&live_dir_of(&path))).unwrap().steps().is_empty());
    assert_eq!(names(), before);
    assert!(std::fs::read(&path).unwrap() == bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 12 } else { 100 }))]

    #[test]
    fn whatever_is_done_with_a_pool_nothing_is_wrong(seed in any::<u64>(), steps in 1..300usize, on_disk in any::<bool>()) {
        let dir = if on_disk { tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() } else { scratch() };
        let path = dir.path().join("pool");
        let pool = PoolOptions::new().commit_every(None).format(&path, 16 * MIB).unwrap();
        let mut churn = Churn::new(seed);
        for step in 0..steps {
            churn.step(&pool);
            if step % 20 == 19 {
                let report = checked(&path);
                nothing_wrong(&report);
                let stats = pool.stats();
                prop_assert_eq!((report.totals.in_files, report.totals.total), (stats.in_files, stats.total));
            }
        }
        churn.let_go();
        nothing_wrong(&checked(&path));
        drop(pool);
        let report = checked(&path);
        prop_assert_eq!(report.findings, []);
    }
}
