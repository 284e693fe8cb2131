//! Pins of addresses: what `get_user_pages()` does.

use std::thread;

use pinfold::{Access, PinError, PoolOptions, Recalled, Region};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, block_on, filled, pool_of, wait_until};
use crate::viewer::{Memory, needs_traps, pool_that_pins, view};

#[test]
fn the_blocks_under_addresses_are_pinned_whether_they_are_shown_or_not() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    file.truncate(128 * 1024).wait().unwrap();
    let view = view(&file, 128 * 1024);
    for (at, len) in [(0, 4096), (100, 5000), (60 * 1024, 8192), (100 * 1024, 3)] {
        let pinned = pool.pin_addresses(view.address() + at, len, Access::Write).unwrap();
        let pinned = pinned.labelled("nic 0", "receive").unwrap().wait().unwrap();
        assert_eq!((pinned.len(), pinned.segments()[0].offset), (len, at as u64));
        assert_eq!(pool.pins()[0].pin.label, "receive");
        let segment = pinned.segments()[0];
        pool.region().bytes(segment.place()..segment.place() + 1).unwrap().copy_in(0, &[at as u8 + 1]).unwrap();
        assert_eq!(view.load(at as u64), at as u8 + 1);
    }
}

#[test]
fn memory_that_is_no_view_of_the_pool_is_efault() {
    needs_traps!();
    let (pool, other) = (pool_of(MIB), pool_of(MIB));
    let file = filled(&pool, "/file", 5000, 1);
    let (view, reads) = (view(&file, MIB), file.map(0..4096, Access::Read).wait().unwrap());
    let refused = |pool: &pinfold::Pool, address, len, access| {
        let error = match pool.pin_addresses(address, len, access) {
            Ok(pinning) => pinning.try_now().unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, PinError::BadAddress { .. }), "{error}");
        assert_errno(error.errno(), Errno::FAULT, &error);
    };
    let heap = vec![0u8; 4096];
    refused(&pool, heap.as_ptr().addr(), 4096, Access::Read);
    refused(&other, view.address(), 4096, Access::Read);
    refused(&pool, view.address(), 0, Access::Read);
    refused(&pool, view.address() - 1, 2, Access::Read);
    refused(&pool, view.address(), MIB + 1, Access::Read);
    refused(&pool, view.address(), u64::MAX, Access::Read);
    refused(&pool, view.address() + 4096, 4096, Access::Read); // past the end of the file
    refused(&pool, reads.address(), 4096, Access::Write);
    refused(&pool, usize::MAX, 1, Access::Read);
    let address = view.address();
    drop(view);
    refused(&pool, address, 4096, Access::Read);
    drop(pool.pin_addresses(reads.address(), 4096, Access::Read).unwrap().wait().unwrap());
}

#[test]
fn four_forms_and_all_wait_for_a_break_or_say_so() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 64 * 1024);
    let pinning = || pool.pin_addresses(view.address(), 4096, Access::Read).unwrap();
    drop(block_on(pinning().wait_async()).unwrap());
    let first = pinning().try_now().unwrap();
    thread::scope(|scope| {
        let punch = scope.spawn(|| file.punch(0..64 * 1024).wait());
        wait_until("the punch is announced", || !pool.breaks().is_empty());
        let busy = loop {
            match pinning().try_now() {
                Err(error) => break error,
                // It looks before it announces.
                Ok(pinned) => drop(pinned),
            }
        };
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        let waits = scope.spawn(|| pinning().wait().map(|pinned| pinned.segments()[0].len));
        drop(first);
        punch.join().unwrap().unwrap();
        assert_eq!(waits.join().unwrap().unwrap(), 4096);
    });
    assert_eq!(file.metadata().allocated, BLOCK, "it was pinned after the punch, and so allocated");
}

#[test]
fn addresses_of_a_view_that_is_a_pin_can_be_pinned_too() {
    let pool = pool_that_pins(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 64 * 1024);
    let pinned = pool.pin_addresses(view.address() + 10, 100, Access::Read).unwrap().wait().unwrap();
    assert_eq!((pinned.segments()[0].offset, pinned.len()), (10, 100));
}

/// G12: in limited mode every pin of a device is refused, and views work.
#[test]
fn g12_a_limited_pool_has_views_and_no_pins_of_their_addresses() {
    needs_traps!();
    let area = pinfold::AreaOptions::default().limited(true);
    let pool = PoolOptions::new().area(area).create(Region::memfd(MIB).unwrap()).unwrap();
    let file = filled(&pool, "/file", 8192, 1);
    let view = file.map(0..8192, Access::Write).recall(|_: &Recalled| {}).wait().unwrap();
    view.store(0, 2);
    file.punch(4096..8192).wait().unwrap();
    assert_eq!((view.load(0), view.load(4096)), (2, 0));
    let refused = pool.pin_addresses(view.address(), 4096, Access::Read).unwrap().wait().unwrap_err();
    assert_errno(refused.errno(), Errno::OPNOTSUPP, &refused);
}
