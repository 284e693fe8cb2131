//! Views of memory of huge pages (hugetlb): all of a page is shown, or nothing.

use pinfold::region::{HugePageSize, OpenError};
use pinfold::{Access, Pool, PoolOptions, Region, ViewError};
use rustix::io::Errno;

use crate::common::{MIB, assert_errno, bytes_of, is_all};
use crate::viewer::{Memory, for_the_kernel, needs_traps, view};

const HUGE: u64 = 2 * MIB;

/// A pool of so many huge pages, if there are.
fn pool(pages: u64, block_size: u64) -> Option<Pool> {
    match Region::memfd_huge(pages * HUGE, HugePageSize::TwoMiB) {
        Ok(region) => Some(PoolOptions::new().block_size(block_size).create(region).unwrap()),
        Err(why @ OpenError::HugePagesShort { .. }) => {
            println!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn a_view_of_huge_pages_shows_the_file_and_follows_it() {
    needs_traps!();
    let Some(pool) = pool(6, HUGE) else { return };
    let (file, all) = (pool.create("/file").unwrap(), pool.stats().free);
    file.write_at(0, &[1; 3 * MIB as usize]).unwrap();
    let view = view(&file, 4 * HUGE);
    assert_eq!((view.load(0), view.load(3 * MIB - 1), view.load(3 * MIB)), (1, 1, 0));
    view.store(HUGE + 5, 7);
    assert_eq!(bytes_of(&file, HUGE + 5..HUGE + 6), [7]);

    // A hole reads as zeros of no memory, and has a block with its first store.
    file.truncate(4 * HUGE - 100).wait().unwrap();
    let free = pool.stats().free;
    assert_eq!((view.load(2 * HUGE), view.load(4 * HUGE - 5000)), (0, 0));
    assert_eq!(pool.stats().free, free);
    view.store(2 * HUGE + 4096, 9);
    assert_eq!((view.load(2 * HUGE + 4096), pool.stats().free), (9, free - HUGE));
    assert_eq!(bytes_of(&file, 2 * HUGE + 4096..2 * HUGE + 4098), [9, 0]);

    // What leaves the file leaves the view.
    file.punch(0..HUGE).wait().unwrap();
    assert_eq!((view.load(0), view.load(HUGE + 5)), (0, 7));
    file.collapse(0..HUGE).wait().unwrap();
    assert_eq!((view.load(5), view.load(HUGE + 4096)), (7, 9));
    let pinned = pool.pin_addresses(view.address() + 5, 10, Access::Write).unwrap().wait().unwrap();
    assert_eq!(file.truncate(0).try_now().unwrap_err().errno(), Errno::BUSY.raw_os_error());
    drop(pinned);
    file.truncate(0).wait().unwrap();
    file.truncate(4 * HUGE).wait().unwrap();
    assert_eq!((view.load(5), view.load(HUGE + 4096)), (0, 0));
    drop(view);
    file.truncate(0).wait().unwrap();
    assert_eq!(pool.stats().free, all);
}

#[test]
fn stores_past_the_end_in_a_huge_page_are_zeros_when_the_file_grows() {
    needs_traps!();
    let Some(pool) = pool(4, HUGE) else { return };
    let file = pool.create("/file").unwrap();
    file.write_at(0, &[1; 10]).unwrap();
    let view = view(&file, 2 * HUGE);
    view.store(MIB, 5);
    file.truncate(HUGE).wait().unwrap();
    assert_eq!(view.load(MIB), 0);
    assert!(is_all(&file, 10..HUGE, 0));
}

#[test]
fn the_kernels_accesses_find_the_end_and_a_pool_without_space() {
    needs_traps!();
    let Some(pool) = pool(4, HUGE) else { return };
    let file = pool.create("/file").unwrap();
    file.truncate(8 * HUGE).wait().unwrap();
    let view = view(&file, 9 * HUGE);
    let (source, sink) = rustix::pipe::pipe().unwrap();
    let free = pool.stats().free;
    let mut stored = 0;
    let refused = loop {
        rustix::io::write(&sink, &[3; 16]).unwrap();
        match rustix::io::read(&source, for_the_kernel(&view, stored * HUGE, 16)) {
            Ok(count) => assert_eq!(count, 16),
            Err(errno) => break errno,
        }
        stored += 1;
    };
    assert_eq!((refused, stored * HUGE), (Errno::FAULT, free));
    assert_eq!(rustix::io::write(&sink, for_the_kernel(&view, 8 * HUGE, 16)), Err(Errno::FAULT));
}

#[test]
fn blocks_smaller_than_a_huge_page_are_refused() {
    let Some(pool) = pool(4, 4096) else { return };
    let file = pool.create("/file").unwrap();
    file.write_at(0, &[1; 4096]).unwrap();
    let refused = file.map(0..4096, Access::Read).wait().unwrap_err();
    assert!(matches!(refused, ViewError::SmallBlocks { .. }), "{refused}");
    assert_errno(refused.errno(), Errno::OPNOTSUPP, &refused);
}
