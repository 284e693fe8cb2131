//! Copies between views and files, and changes of what they copy: the same bytes, and nobody waits for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pinfold::{File, Pool, View};

use crate::common::{BLOCK, MIB, bytes_of, filled, is_all, pool_of};
use crate::viewer::{Memory, for_the_kernel, needs_traps, view};

const LEN: u64 = 256 * 1024;

/// Memory of a view, to copy from; others change it meanwhile, and then a mixture is copied.
fn source(view: &View, at: u64, len: u64) -> &[u8] {
    for_the_kernel(view, at, len)
}

#[test]
fn copies_and_views_that_meet_in_the_same_blocks_see_the_same_bytes() {
    needs_traps!();
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", LEN, 1);
    let (one, two) = (view(&file, LEN), view(&file, LEN));
    one.store(10, 2);
    file.write_at(LEN / 2, source(&two, 0, 4096)).unwrap();
    assert_eq!((one.load(LEN / 2 + 10), two.load(LEN / 2 + 10)), (2, 2));
    let read = file.read_at(LEN / 2, for_the_kernel(&one, 8192, 4096)).unwrap();
    assert_eq!((read, two.load(8192 + 10)), (4096, 2));
    one.bytes(0..4096).unwrap().copy_to(two.bytes(16_384..20_480).unwrap()).unwrap();
    assert_eq!(bytes_of(&file, 16_394..16_396), [2, 1]);
}

/// C4: the copy has to give the file blocks, and so has a fault of what it copies from.
#[test]
fn g4_a_copy_into_a_hole_from_a_hole_of_the_same_file() {
    needs_traps!();
    let pool = pool_of(4 * MIB);
    let file = pool.create("/sparse").unwrap();
    file.truncate(LEN).wait().unwrap();
    let view = view(&file, LEN);
    file.write_at(0, source(&view, LEN / 2, 8192)).unwrap();
    assert!(is_all(&file, 0..LEN, 0));
    view.store(LEN / 2, 3);
    file.append(source(&view, LEN / 2, 8192)).unwrap();
    assert_eq!(bytes_of(&file, LEN..LEN + 2), [3, 0]);
    // A store of the kernel's, into a hole, by a copy out of the file.
    assert_eq!(file.read_at(LEN / 2, for_the_kernel(&view, LEN - 4096, 4096)).unwrap(), 4096);
    assert_eq!(view.load(LEN - 4096), 3);
}

/// Runs copies and a change beside one another, some hundred times.
fn beside(copy: impl Fn() + Sync, change: impl Fn() + Sync) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..200).for_each(|_| copy());
            over.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                change();
            }
        });
    });
}

#[test]
fn g4_a_write_from_a_view_of_the_very_range_that_is_being_broken() {
    needs_traps!();
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", LEN, 1);
    let view = view(&file, LEN);
    beside(|| file.write_at(0, source(&view, 0, LEN)).unwrap(), || file.punch(0..LEN).wait().unwrap());
}

#[test]
fn g4_a_read_into_a_view_of_the_very_range_that_is_being_broken() {
    needs_traps!();
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", LEN, 1);
    let view = view(&file, LEN);
    beside(
        || assert_eq!(file.read_at(0, for_the_kernel(&view, 0, LEN)).unwrap(), LEN as usize),
        || file.zero(BLOCK..LEN).wait().unwrap(),
    );
}

fn two_files() -> (Pool, File, File, View, View) {
    let pool = pool_of(4 * MIB);
    let (one, two) = (filled(&pool, "/one", LEN, 1), filled(&pool, "/two", LEN, 2));
    let (of_one, of_two) = (view(&one, LEN), view(&two, LEN));
    (pool, one, two, of_one, of_two)
}

#[test]
fn g4_copies_crosswise_between_files_that_are_being_broken_both() {
    needs_traps!();
    let (_pool, one, two, of_one, of_two) = two_files();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writes = scope.spawn(|| (0..200).for_each(|_| one.write_at(0, source(&of_two, 0, LEN)).unwrap()));
        let others = scope.spawn(|| (0..200).for_each(|_| two.write_at(0, source(&of_one, 0, LEN)).unwrap()));
        let reads = scope.spawn(|| {
            (0..200).for_each(|_| assert!(one.read_at(0, for_the_kernel(&of_two, 0, LEN)).is_ok()));
        });
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                one.exchange(0..LEN, &two, 0).wait().unwrap();
                one.punch(0..LEN / 2).wait().unwrap();
                two.zero(LEN / 2..LEN).detach().wait().unwrap();
            }
        });
        [writes, others, reads].into_iter().for_each(|copies| copies.join().unwrap());
        over.store(true, Ordering::Release);
    });
}
