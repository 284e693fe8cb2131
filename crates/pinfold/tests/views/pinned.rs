//! Views where accesses cannot be trapped: long-term pins, which a break asks back (G11).

use std::sync::mpsc;
use std::thread;

use pinfold::{Access, Recalled, ViewError};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, bytes_of, filled};
use crate::viewer::{Memory, pool_that_pins, view};

#[test]
fn g11_without_a_recall_handler_such_a_view_is_refused() {
    let pool = pool_that_pins(MIB);
    let file = filled(&pool, "/file", 8192, 1);
    let refused = file.map(0..8192, Access::Read).wait().unwrap_err();
    assert!(matches!(refused, ViewError::NotRevocable { .. }), "{refused}");
    assert_errno(refused.errno(), Errno::OPNOTSUPP, &refused);
    assert!(refused.to_string().contains("recall handler"), "{refused}");
}

#[test]
fn it_shows_the_files_bytes_and_is_a_pin() {
    let pool = pool_that_pins(MIB);
    let file = filled(&pool, "/file", 10_000, 1);
    let view = view(&file, 10_000);
    assert!(!view.revocable());
    view.store(9_999, 2);
    file.write_at(0, &[3]).unwrap();
    assert_eq!((bytes_of(&file, 9_998..10_000), view.load(0)), (vec![1, 2], 3));
    assert!(pool.pins()[0].pin.long_term);
    let busy = file.truncate(0).try_now().unwrap_err();
    assert_errno(busy.errno(), Errno::BUSY, &busy);
    drop(view);
    file.truncate(0).try_now().unwrap();
}

#[test]
fn g11_a_break_asks_it_back_and_goes_on_when_it_is_gone() {
    let pool = pool_that_pins(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let (asked, asks) = mpsc::channel();
    let recall = move |recalled: &Recalled| asked.send(recalled.range.clone()).unwrap();
    let view = file.map(0..64 * 1024, Access::Write).recall(recall).wait().unwrap();
    thread::scope(|scope| {
        let cut = scope.spawn(|| file.truncate(0).wait());
        assert_eq!(asks.recv().unwrap(), 0..16);
        view.store(5, 5);
        drop(view);
        cut.join().unwrap().unwrap();
    });
}

/// It is no hole that it shows, and no end that moves.
#[test]
fn it_has_blocks_for_all_of_its_range_and_none_past_the_end() {
    let pool = pool_that_pins(MIB);
    let file = pool.create("/sparse").unwrap();
    file.truncate(64 * 1024).wait().unwrap();
    let past = file.map(0..MIB, Access::Write).recall(|_: &Recalled| {}).wait().unwrap_err();
    assert_errno(past.errno(), Errno::NXIO, &past);
    let part = file.map(5000..20_000, Access::Write).recall(|_: &Recalled| {}).wait().unwrap();
    assert_eq!(file.metadata().allocated, 4 * BLOCK);
    assert_eq!(part.load(0), 0);
    part.store(14_999, 1);
    assert_eq!(bytes_of(&file, 19_998..20_000), [0, 1]);
}

/// What it keeps when a break does not wait for it is parked, and nobody else's.
#[test]
fn detach_leaves_it_what_it_shows() {
    let pool = pool_that_pins(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = file.map(0..64 * 1024, Access::Write).recall(|_: &Recalled| {}).wait().unwrap();
    file.truncate(0).detach().wait().unwrap();
    assert_eq!(pool.stats().parked, 64 * 1024);
    assert_eq!(view.load(0), 1);
    drop(view);
    assert_eq!(pool.stats().parked, 0);
}
