//! Pins of files, in all four forms and as batches.

use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use pinfold::{Access, PinError, Pinned, PoolOptions, Region, Until};
use rustix::io::Errno;

use crate::common::child::Child;
use crate::common::{
    BLOCK, DeviceIsQuiet, MIB, assert_errno, block_on, filled, is_all, pins_of, poll_once, pool_of, wait_until,
    wait_until_behind,
};

const SOON: Duration = Duration::from_millis(10);

#[test]
fn segments_are_what_the_extents_say_to_the_byte() {
    let pool = pool_of(8 * MIB);
    let (file, other) = (pool.create("/file").unwrap(), pool.create("/other").unwrap());
    // By turns, far apart: three runs.
    for at in [0, 4, 8] {
        file.write_at(at * BLOCK, &[7; BLOCK as usize]).unwrap();
        other.append(&[8; MIB as usize]).unwrap();
    }
    file.truncate(9 * BLOCK).wait().unwrap();
    let pinned = file.pin(100..8 * BLOCK + 50, Access::Write).wait().unwrap();
    assert_eq!(pinned.len(), 8 * BLOCK - 50);
    let mut at = 100;
    for segment in pinned.segments() {
        assert_eq!((segment.offset, segment.file), (at, file.id()));
        let extents = file.extents();
        let extent = extents.iter().find(|extent| (extent.offset..extent.offset + extent.len).contains(&at)).unwrap();
        assert_eq!(segment.place(), extent.place + (at - extent.offset));
        let place = segment.place()..segment.place() + segment.len;
        assert_eq!(segment.address, pool.region().bytes(place).unwrap().address(), "where this process has it mapped");
        at += segment.len;
    }
    assert_eq!(at, 8 * BLOCK + 50);
    assert_eq!(file.metadata().allocated, 9 * BLOCK, "what a device reaches has blocks");
    pinned.copy_in(BLOCK - 50, b"across a border").unwrap();
    let mut back = [0; 15];
    file.read_at(BLOCK + 50, &mut back).unwrap();
    assert_eq!(&back, b"across a border");
    pinned.copy_out(BLOCK - 50, &mut back).unwrap();
    assert_eq!(&back, b"across a border");
}

#[test]
fn g6_a_pin_comes_in_four_forms() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let pin = || file.pin(0..2 * BLOCK, Access::Write);
    // Nothing is in the way.
    drop(pin().wait().unwrap());
    drop(pin().until(Until::after(Duration::ZERO)).unwrap());
    drop(pin().try_now().unwrap());
    drop(block_on(pin().wait_async()).unwrap());

    // A punch that waits is.
    thread::scope(|scope| {
        let first = pin().wait().unwrap();
        let punching = scope.spawn(|| file.punch(0..BLOCK).wait().unwrap());
        wait_until_behind(&pool, &file);
        let busy = scope.spawn(|| pin().try_now().unwrap_err()).join().unwrap();
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        let late = scope.spawn(|| pin().until(Until::after(SOON)).unwrap_err()).join().unwrap();
        assert_errno(late.errno(), Errno::TIMEDOUT, &late);
        let itself = pin().wait().unwrap_err();
        assert_errno(itself.errno(), Errno::DEADLK, &itself);
        let blocking = scope.spawn(|| drop(pin().wait().unwrap()));
        let mut future = pin!(file.pin(0..2 * BLOCK, Access::Write).wait_async());
        assert!(poll_once(future.as_mut()).is_pending());
        wait_until("whoever waits holds nothing", || pins_of(&pool, &file).len() == 1);
        drop(first);
        punching.join().unwrap();
        blocking.join().unwrap();
        drop(block_on(future).unwrap());
    });
    assert!(pool.pins().is_empty());
}

#[test]
fn g6_a_change_comes_in_four_forms() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    file.punch(0..BLOCK).wait().unwrap();
    file.punch(0..BLOCK).until(Until::after(Duration::ZERO)).unwrap();
    file.punch(0..BLOCK).try_now().unwrap();
    block_on(file.punch(0..BLOCK).wait_async()).unwrap();

    let mut pinned = file.pin(0..2 * BLOCK, Access::Write).wait().unwrap();
    pinned.hand_over();
    let before = (file.extents(), file.len());
    let busy = file.truncate(0).try_now().unwrap_err();
    assert_errno(busy.errno(), Errno::BUSY, &busy);
    let late = file.truncate(0).until(Until::after(SOON)).unwrap_err();
    assert_errno(late.errno(), Errno::TIMEDOUT, &late);
    {
        let mut dropped = pin!(file.truncate(0).wait_async());
        assert!(poll_once(dropped.as_mut()).is_pending());
        assert_eq!(pool.breaks().len(), 1);
    }
    assert_eq!(pool.breaks().len(), 0, "a future that is dropped withdraws");
    assert_eq!((file.extents(), file.len()), before);
    let mut future = pin!(file.truncate(0).wait_async());
    assert!(poll_once(future.as_mut()).is_pending());
    thread::scope(|scope| {
        scope.spawn(move || drop(pinned));
        block_on(future).unwrap();
    });
    assert_eq!(file.len(), 0);
}

#[test]
fn futures_can_be_sent_to_other_threads() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let recall: std::sync::Arc<dyn pinfold::Recall> = std::sync::Arc::new(|_: &pinfold::Recalled| ());
    thread::scope(|scope| {
        let pinning =
            sent(file.pin(0..BLOCK, Access::Write).and(file.pin(BLOCK..2 * BLOCK, Access::Read)).wait_async());
        drop(scope.spawn(|| block_on(pinning)).join().unwrap().unwrap());
        let changing = sent(file.truncate(BLOCK).wait_async());
        scope.spawn(|| block_on(changing)).join().unwrap().unwrap();
        let allocating = sent(file.allocate(0..MIB).wait_async());
        scope.spawn(|| block_on(allocating)).join().unwrap().unwrap();
        let reserving = sent(pool.reserve(MIB).wait_async());
        drop(scope.spawn(|| block_on(reserving)).join().unwrap().unwrap());
        let term = pinfold::LongTerm::new(Access::Write, Some(recall));
        let registering = sent(file.pin_long_term(0..BLOCK, term).wait_async());
        drop(scope.spawn(|| block_on(registering)).join().unwrap().unwrap());
    });
}

#[test]
fn a_batch_is_pinned_as_one_or_not_at_all() {
    let pool = pool_of(4 * MIB);
    let (one, two) = (filled(&pool, "/one", 8 * BLOCK, 1), filled(&pool, "/two", 8 * BLOCK, 2));
    let batch = || one.pin(0..BLOCK, Access::Read).and(two.pin(BLOCK..2 * BLOCK + 5, Access::Write));
    let pinned = batch().labelled("ring 3", "both").unwrap().wait().unwrap();
    assert_eq!((pinned.segments().len(), pinned.len()), (2, 2 * BLOCK + 5));
    assert_eq!([pinned.segments()[0].file, pinned.segments()[1].file], [one.id(), two.id()]);
    assert!(pool.pins().iter().all(|pin| pin.pin.label == "both"));
    pinned.copy_in(BLOCK - 1, &[9, 9]).unwrap();
    assert!(is_all(&one, BLOCK - 1..BLOCK, 9) && is_all(&two, BLOCK..BLOCK + 1, 9), "offsets count over all segments");
    drop(pinned);

    thread::scope(|scope| {
        let held = two.pin(0..BLOCK * 2, Access::Write).wait().unwrap();
        let punching = scope.spawn(|| two.punch(0..2 * BLOCK).wait().unwrap());
        wait_until_behind(&pool, &two);
        let busy = batch().try_now().unwrap_err();
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        let past = one.pin(0..1, Access::Read).and(two.pin(0..9 * BLOCK, Access::Read)).wait().unwrap_err();
        assert!(matches!(past, PinError::PastEnd { .. }), "{past}");
        assert_eq!((pins_of(&pool, &one).len(), pins_of(&pool, &two).len()), (0, 1));
        let waiting = scope.spawn(|| drop(batch().wait().unwrap()));
        one.truncate(BLOCK).try_now().expect("a batch that waits holds nothing");
        drop(held);
        punching.join().unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn g4_a_transfer_that_is_in_gets_more_past_the_truncate_that_waits_for_it() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let mut pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
    thread::scope(|scope| {
        let truncating = scope.spawn(|| file.truncate(0).wait().unwrap());
        wait_until_behind(&pool, &file);
        let more = pinned.extend(&file, 4 * BLOCK..6 * BLOCK, Access::Write).expect("to finish");
        assert_eq!((more.len(), more[0].offset), (1, 4 * BLOCK));
        assert_eq!(pinned.len(), 3 * BLOCK);
        assert!(is_all(&file, 0..8 * BLOCK, 7), "its holder may read meanwhile");
        file.write_at(0, &[8; 10]).expect("and write");
        let newcomer = file.pin(4 * BLOCK..5 * BLOCK, Access::Write).try_now().unwrap_err();
        assert_errno(newcomer.errno(), Errno::BUSY, &newcomer);
        drop(pinned);
        truncating.join().unwrap();
    });
}

#[test]
fn g4_what_cannot_be_let_through_is_told_so() {
    let pool = pool_of(4 * MIB);
    let (one, two) = (filled(&pool, "/one", 8 * BLOCK, 1), filled(&pool, "/two", 8 * BLOCK, 2));
    let mut pinned = one.pin(0..BLOCK, Access::Write).wait().unwrap();
    let held = two.pin(0..BLOCK, Access::Write).wait().unwrap();
    thread::scope(|scope| {
        let truncating = scope.spawn(|| two.truncate(0).wait().unwrap());
        wait_until_behind(&pool, &two);
        // The transfer is not in that truncate's way, and would have to wait for it.
        let error = pinned.extend(&two, 0..BLOCK, Access::Read).map(drop).unwrap_err();
        assert_errno(error.errno(), Errno::DEADLK, &error);
        drop(held);
        truncating.join().unwrap();
    });
    assert_eq!(pinned.len(), BLOCK, "what it held before it still holds");
}

#[test]
fn g5_different_files_do_not_wait_for_one_another() {
    let pool = pool_of(16 * MIB);
    let busy = filled(&pool, "/busy", 8 * BLOCK, 1);
    let held = busy.pin(0..8 * BLOCK, Access::Write).wait().unwrap();
    thread::scope(|scope| {
        let truncating = scope.spawn(|| busy.truncate(0).wait().unwrap());
        wait_until_behind(&pool, &busy);
        let free = filled(&pool, "/free", 8 * BLOCK, 2);
        drop(free.pin(0..8 * BLOCK, Access::Write).wait().unwrap());
        free.allocate(0..MIB).wait().unwrap();
        free.punch(0..BLOCK).wait().unwrap();
        free.exchange(0..BLOCK, &free, BLOCK).wait().unwrap();
        free.collapse(0..BLOCK).wait().unwrap();
        pool.rename("/free", "/renamed", pinfold::Rename::NoReplace).unwrap();
        drop(free);
        pool.unlink("/renamed").unwrap();
        drop(pool.reserve(MIB).wait().unwrap().publish("/free", pinfold::Publish::New).unwrap());
        assert!(!truncating.is_finished());
        drop(held);
        truncating.join().unwrap();
    });
}

#[test]
fn g5_pins_of_one_file_do_not_wait_for_one_another() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 1);
    let held: Vec<Pinned> = (0..100).map(|_| file.pin(0..8 * BLOCK, Access::Write).wait().unwrap()).collect();
    thread::scope(|scope| {
        let more = scope.spawn(|| file.pin(0..8 * BLOCK, Access::Write).wait().unwrap());
        drop(more.join().unwrap());
    });
    assert_eq!(pins_of(&pool, &file).len(), 100);
    drop(held);
}

#[test]
fn g7_every_pin_and_wait_says_who_what_through_which_engine() {
    let pool = pool_of(4 * MIB);
    pool.create_dir("/cache").unwrap();
    let file = filled(&pool, "/cache/layer 3", 8 * BLOCK, 1);
    let pinned = file.pin(BLOCK + 1..3 * BLOCK, Access::Read).labelled("gpu 0", "prefill").unwrap().wait().unwrap();
    let [report] = &pool.pins()[..] else { panic!("one pin") };
    assert_eq!((report.path.as_deref(), &report.bytes), (Some("/cache/layer 3".as_ref()), &(BLOCK..3 * BLOCK)));
    assert_eq!((report.pin.pid, report.pin.device, report.pin.access), (std::process::id(), true, Access::Read));
    let said = report.to_string();
    for word in ["/cache/layer 3", "4096..12288", "gpu 0", "prefill", "device read"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    thread::scope(|scope| {
        let truncating = scope.spawn(|| file.truncate(0).wait().unwrap());
        wait_until_behind(&pool, &file);
        let [running] = &pool.breaks()[..] else { panic!("one break") };
        assert_eq!(running.ranges, [(file.id(), Some("/cache/layer 3".into()), 0..u64::MAX)]);
        assert_eq!(running.behind.as_ref().unwrap().pin.id, report.pin.id);
        drop(pinned);
        truncating.join().unwrap();
    });
}

#[test]
fn g8_a_transfer_that_was_given_up_is_waited_for_by_name_until_a_proof() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 1);
    file.pin(0..BLOCK, Access::Write).labelled("nic 1", "lost").unwrap().wait().unwrap().abandon();
    assert_eq!((pool.quarantine().len(), pool.stats().pins), (1, 1));
    let late = file.truncate(0).until(Until::after(SOON)).unwrap_err();
    assert_errno(late.errno(), Errno::TIMEDOUT, &late);
    assert!(late.to_string().contains("nic 1") && late.to_string().contains("in quarantine"), "{late}");
    file.punch(0..8 * BLOCK).detach().wait().expect("detach does not wait for it");
    assert_eq!((pool.stats().quarantined, pool.stats().parked), (BLOCK, 0));
    assert_eq!(pool.release(&DeviceIsQuiet).unwrap(), 1);
    assert_eq!((pool.stats().quarantined, pool.stats().free, pool.quarantine().len()), (0, 4 * MIB, 0));
}

#[test]
fn g1_a_pin_of_an_invited_process_parks_what_is_unlinked() {
    let pool = PoolOptions::new().shared(true).create(Region::memfd(4 * MIB).unwrap()).unwrap();
    let file = filled(&pool, "/file", 8 * BLOCK, 1);
    let guest = Child::start();
    guest.join_and_pin(&pool, &file, 0..4 * BLOCK);
    assert_eq!(pins_of(&pool, &file)[0].pin.pid, guest.pid());
    drop(file);
    pool.unlink("/file").unwrap();
    assert_eq!((pool.stats().parked, pool.stats().free), (4 * BLOCK, 4 * MIB - 4 * BLOCK));
    drop(guest);
    wait_until("it is noticed that it died", || pool.quarantine().len() == 1);
    assert_eq!(pool.stats().quarantined, 4 * BLOCK, "its death is no proof");
    pool.release(&DeviceIsQuiet).unwrap();
    assert_eq!(pool.stats().free, 4 * MIB);
}

#[test]
fn a_pin_outlives_handle_name_and_pool_handle() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 1);
    let pinned = file.pin(0..8 * BLOCK, Access::Write).wait().unwrap();
    drop(file);
    pool.unlink("/file").unwrap();
    drop(pool);
    // Through the pin alone: the memory is there, and so is the pool.
    pinned.copy_in(0, &[5; 8 * BLOCK as usize]).unwrap();
    let mut back = vec![0; 8 * BLOCK as usize];
    pinned.copy_out(0, &mut back).unwrap();
    assert_eq!(back, [5; 8 * BLOCK as usize]);
    let pool = pinned.pool();
    assert_eq!((pool.stats().parked, pool.pins()[0].path.clone()), (8 * BLOCK, None));
    drop(pinned);
    assert_eq!(pool.stats().free, 4 * MIB);
}

#[test]
fn a_pin_over_a_hole_that_gives_up_keeps_no_pin() {
    let pool = pool_of(MIB);
    let file = pool.create("/file").unwrap();
    file.truncate(2 * MIB).wait().unwrap();
    let error = file.pin(0..2 * MIB, Access::Write).wait().unwrap_err();
    assert_errno(error.errno(), Errno::NOSPC, &error);
    assert_eq!((pool.pins().len(), file.metadata().allocated, pool.stats().free), (0, 0, MIB));
    drop(file.pin(0..MIB, Access::Write).wait().unwrap());
}

#[test]
fn many_threads_pin_populate_punch_and_zero_one_file_and_no_device_sees_anothers_block() {
    const ROUNDS: u64 = 300;
    let pool = pool_of(2 * MIB);
    let file = pool.create("/file").unwrap();
    file.truncate(MIB).wait().unwrap();
    let (send, marks) = mpsc::channel();
    thread::scope(|scope| {
        for thread in 1..=3u64 {
            let (file, send) = (&file, send.clone());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let start = (thread * 7 + round * 13) % 200 * BLOCK;
                    let pinned = file.pin(start..start + 3 * BLOCK, Access::Write).wait().unwrap();
                    // Three devices may share a range; each looks at a byte of its own.
                    let own = (BLOCK + thread, [thread as u8; 1]);
                    pinned.copy_in(own.0, &own.1).unwrap();
                    let mut back = [0];
                    pinned.copy_out(own.0, &mut back).unwrap();
                    assert_eq!(back, own.1);
                }
                send.send(()).unwrap();
            });
        }
        drop(send);
        let mut round = 0;
        while marks.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            round += 1;
            let start = round * 31 % 200 * BLOCK;
            let range = start..start + 20 * BLOCK;
            let done = match round % 3 {
                0 => file.punch(range).wait(),
                1 => file.punch(range).detach().wait(),
                _ => file.zero(range).detach().wait(),
            };
            done.unwrap();
        }
    });
    assert_eq!((pool.pins().len(), pool.stats().parked), (0, 0));
    file.punch(0..MIB).try_now().unwrap();
    assert_eq!(pool.stats().free, 2 * MIB);
}

/// What `poll_once` gives is checked here, so that a future that is never ready fails no other test in a strange way.
#[test]
fn a_future_of_what_is_free_is_ready_at_once() {
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", BLOCK, 1);
    assert!(matches!(poll_once(pin!(file.pin(0..1, Access::Read).wait_async())), Poll::Ready(Ok(_))));
    assert!(matches!(poll_once(pin!(file.truncate(0).wait_async())), Poll::Ready(Ok(()))));
    assert!(matches!(poll_once(pin!(file.allocate(0..BLOCK).wait_async())), Poll::Ready(Ok(()))));
}
