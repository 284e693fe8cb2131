//! What is seen: the file's bytes, at once, whoever changes them.

use pinfold::{Access, PoolOptions, Region};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, bytes_of, filled, pool_of};
use crate::viewer::{Memory, needs_traps, view};

#[test]
fn a_view_shows_the_files_own_bytes() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = filled(&pool, "/file", 64 * 1024, 7);
    let view = view(&file, 64 * 1024);
    assert!(view.revocable());
    assert_eq!((view.load(0), view.load(65535)), (7, 7));
    view.store(5000, 8);
    assert_eq!(bytes_of(&file, 4999..5002), [7, 8, 7]);
    file.write_at(5001, &[9]).unwrap();
    assert_eq!(view.load(5001), 9);
    let mut copied = [0; 3];
    view.bytes(4999..5002).unwrap().copy_out(0, &mut copied).unwrap();
    assert_eq!(copied, [7, 8, 9]);
}

#[test]
fn a_view_begins_and_ends_at_any_byte() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = pool.create("/file").unwrap();
    file.write_at(0, &(0..40_000u32).map(|at| (at % 251) as u8).collect::<Vec<_>>()).unwrap();
    let view = file.map(5001..30_003, Access::Read).wait().unwrap();
    assert_eq!((view.len(), view.range()), (25_002, 5001..30_003));
    for at in [0, 1, 4095, 12_000, 25_001] {
        assert_eq!(u64::from(view.load(at)), (5001 + at) % 251, "at {at}");
    }
    assert_eq!(view.address() as u64 % BLOCK, 5001 % BLOCK);
}

/// Huge pages can show a block where file, region and addresses agree in their place within 2 MiB.
#[test]
fn a_view_lies_in_2_mib_as_the_file_does() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = filled(&pool, "/file", 5 * MIB, 1);
    for start in [0, 4096, 2 * MIB, 3 * MIB + 8192] {
        let view = file.map(start..5 * MIB, Access::Read).wait().unwrap();
        assert_eq!(view.address() as u64 % (2 * MIB), start % (2 * MIB));
    }
}

#[test]
fn a_hole_reads_as_zeros_without_blocks_and_gets_one_when_something_is_stored() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = pool.create("/sparse").unwrap();
    file.truncate(8 * MIB).wait().unwrap();
    let view = view(&file, 8 * MIB);
    assert!((0..8 * MIB).step_by(4096).all(|at| view.load(at) == 0));
    assert_eq!(file.metadata().allocated, 0);
    view.store(3 * MIB + 5, 1);
    assert_eq!(file.metadata().allocated, BLOCK);
    assert_eq!((view.load(3 * MIB + 5), view.load(3 * MIB + 4), view.load(3 * MIB + 4096)), (1, 0, 0));
    assert_eq!(bytes_of(&file, 3 * MIB + 4..3 * MIB + 7), [0, 1, 0]);
}

/// What was seen as zeros is seen as bytes from the moment on at which a copy has put them there.
#[test]
fn bytes_under_a_hole_are_seen_at_once() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = pool.create("/sparse").unwrap();
    file.truncate(MIB).wait().unwrap();
    let (one, two) = (view(&file, MIB), view(&file, MIB));
    for at in (0..MIB).step_by(8192) {
        assert_eq!((one.load(at), two.load(at)), (0, 0));
        file.write_at(at, &[3]).unwrap();
        assert_eq!((one.load(at), two.load(at)), (3, 3), "at {at}");
        assert_eq!(one.load(at + 4096), 0);
    }
    file.allocate(0..MIB).try_now().unwrap();
    one.store(4096, 4);
    assert_eq!((two.load(4096), bytes_of(&file, 4096..4097)), (4, vec![4]));
}

#[test]
fn blocks_that_are_set_aside_read_as_zeros_and_are_zeroed_for_the_first_store() {
    needs_traps!();
    let pool = pool_of(MIB);
    // All of it held something before (G10).
    drop(filled(&pool, "/old", MIB - 64 * 1024, 0xAA));
    pool.unlink("/old").unwrap();
    let file = pool.create("/new").unwrap();
    file.truncate(512 * 1024).wait().unwrap();
    file.allocate(0..512 * 1024).try_now().unwrap();
    let view = view(&file, 512 * 1024);
    assert!((0..512 * 1024).all(|at| view.load(at) == 0));
    (0..512 * 1024).step_by(4096).for_each(|at| view.store(at + 100, 1));
    assert!((0..512 * 1024).all(|at| view.load(at) == u8::from(at % 4096 == 100)));
}

#[test]
fn a_view_grows_with_its_file_and_survives_truncation_and_regrowth() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = filled(&pool, "/file", 10_000, 1);
    let view = view(&file, 1 << 40);
    assert_eq!(view.load(9_999), 1);
    file.write_at(MIB, &[2; 5000]).unwrap();
    assert_eq!((view.load(10_000), view.load(MIB + 4999)), (0, 2));
    file.truncate(0).wait().unwrap();
    file.truncate(2 * MIB).wait().unwrap();
    assert_eq!((view.load(0), view.load(MIB)), (0, 0));
    view.store(MIB, 3);
    assert_eq!(bytes_of(&file, MIB..MIB + 2), [3, 0]);
}

/// M2: a page is mapped whole, and what is stored past the end must not come up when the file becomes longer.
#[test]
fn what_is_stored_past_the_end_is_no_part_of_the_file() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    type Grow = fn(&pinfold::File);
    let ways: [(&str, Grow); 4] = [
        ("truncate", |file| file.truncate(4096).wait().unwrap()),
        ("append", |file| assert_eq!(file.append(&[2; 10]).unwrap(), 1000)),
        ("write", |file| file.write_at(2000, &[2; 10]).unwrap()),
        ("write further", |file| file.write_at(9000, &[2; 10]).unwrap()),
    ];
    for (name, grow) in ways {
        let file = filled(&pool, &format!("/{name}"), 1000, 1);
        let view = view(&file, 4096);
        view.store(1500, 9);
        grow(&file);
        let bytes = bytes_of(&file, 0..file.len().min(4096));
        assert!(bytes[..1000].iter().all(|byte| *byte == 1), "{name}");
        assert!(bytes[1000..].iter().all(|byte| [0, 2].contains(byte)), "{name}");
        drop(view);
        assert!(!bytes_of(&file, 0..file.len()).contains(&9), "{name}");
    }
}

#[test]
fn blocks_may_be_larger_than_pages() {
    needs_traps!();
    let pool = PoolOptions::new().block_size(64 * 1024).create(Region::memfd(16 * MIB).unwrap()).unwrap();
    let file = filled(&pool, "/file", 100_000, 1);
    let view = view(&file, MIB);
    assert_eq!((view.load(0), view.load(99_999)), (1, 1));
    file.truncate(120_000).wait().unwrap();
    assert_eq!(view.load(119_999), 0);
    view.store(119_999, 2);
    file.punch(0..64 * 1024).wait().unwrap();
    assert_eq!((view.load(0), view.load(65_535), view.load(65_536)), (0, 0, 1));
    view.store(40_000, 3);
    assert_eq!(bytes_of(&file, 39_999..40_001), [0, 3]);
    assert_eq!(bytes_of(&file, 119_999..120_000), [2]);
}

/// Regions that are no shared memory can be shown as well.
#[test]
fn a_regular_file_can_be_viewed_and_synced() {
    needs_traps!();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().format(&path, 16 * MIB).unwrap();
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 64 * 1024);
    pool.sync().unwrap();
    view.store(4096, 2);
    file.sync().unwrap();
    drop((view, file, pool));
    let pool = PoolOptions::new().open(&path).unwrap();
    assert_eq!(bytes_of(&pool.open("/file").unwrap(), 4095..4098), [1, 2, 1]);
}

#[test]
fn a_view_outlives_its_file_handles_and_its_name() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 8192, 5);
    let view = view(&file, 8192);
    pool.unlink("/file").unwrap();
    drop((file, pool));
    view.store(1, 6);
    assert_eq!((view.load(0), view.load(1)), (5, 6));
    assert_eq!(bytes_of(&view.file(), 0..2), [5, 6]);
    let pool = view.file().pool();
    assert!(pool.stats().free < MIB - 8192 + 1);
    drop(view);
    assert_eq!(pool.stats().free, MIB, "it was the last that had it");
}

#[test]
fn thousands_of_views_and_none_that_is_too_long() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 4096, 1);
    let views: Vec<_> = (0..2000).map(|_| view(&file, 16 << 30)).collect();
    assert!(views.iter().all(|view| view.load(0) == 1));
    let refused = file.map(0..40 << 40, Access::Read).wait().unwrap_err();
    assert_eq!(refused.errno(), Errno::NOMEM.raw_os_error());
    assert!(refused.to_string().contains("together"), "{refused}");
    drop(views);
    file.map(0..40 << 40, Access::Read).wait().unwrap();
}

#[test]
fn what_is_no_range_is_refused() {
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 4096, 1);
    #[expect(clippy::reversed_empty_ranges, reason = "that is the test")]
    for range in [0..0, 5..4, 0..u64::MAX] {
        let refused = file.map(range, Access::Read).recall(|_: &pinfold::Recalled| {}).wait().unwrap_err();
        assert_eq!(refused.errno(), Errno::INVAL.raw_os_error(), "{refused}");
    }
    let pool = PoolOptions::new().zero_with(|_, _| Ok(())).create(Region::device_only(7, 0, MIB).unwrap()).unwrap();
    let file = pool.create("/file").unwrap();
    file.truncate(4096).wait().unwrap();
    let refused = file.map(0..4096, Access::Read).recall(|_: &pinfold::Recalled| {}).wait().unwrap_err();
    assert_eq!(refused.errno(), Errno::OPNOTSUPP.raw_os_error(), "{refused}");
}

#[test]
fn a_store_in_the_middle_of_a_large_block_takes_that_block_alone() {
    needs_traps!();
    let pool = PoolOptions::new().block_size(65536).create(Region::memfd(4 * MIB).unwrap()).unwrap();
    let file = pool.create("/file").unwrap();
    file.truncate(MIB).wait().unwrap();
    let (view, free) = (view(&file, MIB), pool.stats().free);
    view.store(3 * 65536 + 20000, 7);
    assert_eq!(pool.stats().free, free - 65536);
}
