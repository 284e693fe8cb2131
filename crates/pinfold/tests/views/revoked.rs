//! Views and breaks: what a break takes away, for whom it waits, and what an access finds afterwards.

use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use pinfold::layout::{Effect, LayoutBreak};
use pinfold::{Access, File, Policy, Pool, Until};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, bytes_of, filled, pool_of, use_up, wait_until, wait_until_behind};
use crate::viewer::{Memory, needs_traps, view};

/// A break of a range of blocks that the test itself drains, to hold it closed.
fn break_of(pool: &Pool, file: &File, blocks: std::ops::Range<u64>) -> LayoutBreak {
    let layout = pool.area().layout(file.id().number()).unwrap();
    pool.area().break_layout(&[(&layout, blocks)], Policy::Wait, Effect::Frees).unwrap()
}

/// Waits until a thread that has nothing else to wait for sleeps.
fn wait_until_asleep(thread: &AtomicI32) {
    wait_until("the access sleeps", || {
        let id = thread.load(Ordering::Acquire);
        let stat = (id != 0).then(|| fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default());
        stat.is_some_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')))
    });
}

fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

#[test]
fn what_is_cut_off_shows_other_blocks_after_and_nobody_elses() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 256 * 1024, 1);
    let view = view(&file, 256 * 1024);
    assert_eq!(view.load(128 * 1024), 1);
    file.truncate(0).wait().unwrap();
    // All that it had is another's now.
    let other = use_up(&pool, "/other", 0xAA);
    file.truncate(256 * 1024).wait().unwrap();
    assert!((0..256 * 1024).step_by(512).all(|at| view.load(at) == 0), "none of the other's bytes");
    drop(other);
    pool.unlink("/other").unwrap();
    (0..256 * 1024).step_by(4096).for_each(|at| view.store(at, 2));
    assert_eq!(bytes_of(&file, 4096..4098), [2, 0]);
}

#[test]
fn every_change_is_seen_through_a_view() {
    needs_traps!();
    let pool = pool_of(16 * MIB);
    let file = pool.create("/file").unwrap();
    let other = filled(&pool, "/other", 16 * BLOCK, 200);
    (0..16).for_each(|block| file.write_at(block * BLOCK, &[block as u8 + 1; BLOCK as usize]).unwrap());
    let view = view(&file, 32 * BLOCK);
    let seen = |blocks: u64| (0..blocks).map(|block| view.load(block * BLOCK + 7)).collect::<Vec<_>>();
    let held = |blocks: u64| {
        (0..blocks).map(|block| bytes_of(&file, block * BLOCK + 7..block * BLOCK + 8)[0]).collect::<Vec<_>>()
    };
    assert_eq!(seen(16), (1..=16).collect::<Vec<_>>());
    file.punch(2 * BLOCK..4 * BLOCK).wait().unwrap();
    file.zero(5 * BLOCK..6 * BLOCK).detach().wait().unwrap();
    assert_eq!(seen(7), [1, 2, 0, 0, 5, 0, 7]);
    file.collapse(0..2 * BLOCK).wait().unwrap();
    assert_eq!(seen(5), [0, 0, 5, 0, 7]);
    file.insert(BLOCK, BLOCK).wait().unwrap();
    assert_eq!(seen(6), [0, 0, 0, 5, 0, 7]);
    file.exchange(0..4 * BLOCK, &other, 4 * BLOCK).wait().unwrap();
    assert_eq!(seen(6), [200, 200, 200, 200, 0, 7]);
    assert_eq!(seen(15), held(15));
}

/// Close, and an access that comes into it: it sleeps, and then finds what is there.
#[test]
fn a_fault_sleeps_while_its_range_is_closed_and_others_run_on() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 1);
    let (view, elsewhere) = (view(&file, 8 * BLOCK), view(&file, 8 * BLOCK));
    let mut brk = break_of(&pool, &file, 2..4);
    let idle = brk.drain(Until::done()).unwrap();
    let sleeper = AtomicI32::new(0);
    thread::scope(|scope| {
        let loaded = scope.spawn(|| {
            sleeper.store(this_thread(), Ordering::Release);
            view.load(2 * BLOCK)
        });
        wait_until_asleep(&sleeper);
        assert_eq!((view.load(0), view.load(4 * BLOCK), elsewhere.load(BLOCK)), (1, 1, 1), "G5");
        let place = file.extents()[0].place + 2 * BLOCK;
        pool.region().bytes(place..place + 1).unwrap().copy_in(0, &[9]).unwrap();
        assert!(!loaded.is_finished());
        drop(idle);
        assert_eq!(loaded.join().unwrap(), 9, "it saw nothing of before");
    });
}

/// A pin that outlives its view: the break still waits for it. Linux 6.1 does not, and corrupts.
#[test]
fn g1_a_pin_of_addresses_outlives_its_view_and_the_break_waits_unlike_linux_before_6_15() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 256 * 1024, 1);
    let view = view(&file, 256 * 1024);
    let pinned = pool.pin_addresses(view.address(), 256 * 1024, Access::Write).unwrap().wait().unwrap();
    drop(view);
    assert_errno(
        file.truncate(0).try_now().unwrap_err().errno(),
        Errno::BUSY,
        &file.truncate(0).try_now().unwrap_err(),
    );
    thread::scope(|scope| {
        let cut = scope.spawn(|| file.truncate(0).wait());
        wait_until_behind(&pool, &file);
        drop(pinned);
        cut.join().unwrap().unwrap();
    });
    assert_eq!(pool.stats().parked, 0);
}

/// G4: a break that waits for a transfer leaves its views alone: the holder goes on with them.
#[test]
fn g4_a_holder_uses_its_view_during_a_break_that_waits_for_it() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 256 * 1024, 1);
    let (view, fresh) = (view(&file, 256 * 1024), view(&file, 256 * 1024));
    let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
    thread::scope(|scope| {
        let cut = scope.spawn(|| file.truncate(0).wait());
        wait_until_behind(&pool, &file);
        view.store(0, 2);
        assert_eq!(view.load(100_000), 1);
        assert_eq!(fresh.load(0), 2, "not touched before");
        assert!(!cut.is_finished());
        drop(pinned);
        cut.join().unwrap().unwrap();
    });
}

/// `try_` revokes nothing when it fails, and a break that detaches waits for nobody.
#[test]
fn what_only_looks_leaves_views_alone_and_detach_takes_them() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 64 * 1024);
    let pinned = pool.pin_addresses(view.address(), 4096, Access::Write).unwrap().wait().unwrap();
    file.punch(0..64 * 1024).try_now().unwrap_err();
    assert_eq!(view.load(0), 1);
    file.punch(0..64 * 1024).detach().wait().unwrap();
    assert_eq!((view.load(0), pool.stats().parked), (0, 4096));
    view.store(0, 5);
    // What the device writes late lands in the parked block.
    let place = pinned.segments()[0].place();
    pool.region().bytes(place..place + 4096).unwrap().copy_in(0, &[0xDD; 4096]).unwrap();
    assert_eq!((view.load(0), bytes_of(&file, 0..2)), (5, vec![5, 0]));
}

/// What frees nothing takes no view away (G5).
#[test]
fn g5_what_frees_nothing_asks_no_view() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 128 * 1024);
    let closed = file.pin(0..64 * 1024, Access::Write).wait().unwrap();
    file.truncate(128 * 1024).try_now().unwrap();
    file.allocate(64 * 1024..96 * 1024).try_now().unwrap();
    file.write_at(0, &[3]).unwrap();
    assert_eq!((view.load(0), view.load(70_000)), (3, 0));
    drop(closed);
}
