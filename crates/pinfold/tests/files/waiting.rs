//! Waiting for space: for the pins that keep what was freed (G2, G4, G6).

use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pinfold::{Access, File, Pinned, Pool, SpaceError, Until};
use rustix::io::Errno;

use crate::common::signals::{Handler, Tid};
use crate::common::{BLOCK, DeviceIsQuiet, MIB, alone, assert_errno, block_on, filled, poll_once, pool_of, wait_until};

/// Something that waits for 64 KiB.
type Wait = fn(&Pool, &File);

const SOON: Duration = Duration::from_millis(10);

/// A pool of 1 MiB whose last free 64 KiB are parked for a device, and the file that wants them.
fn full() -> (Pool, File, Pinned) {
    let pool = pool_of(MIB);
    drop(filled(&pool, "/rest", MIB - 65536, 1));
    let file = filled(&pool, "/file", 65536, 7);
    let mut pinned = file.pin(0..65536, Access::Write).labelled("nic 0", "fill").unwrap().wait().unwrap();
    pinned.hand_over();
    file.truncate(0).detach().wait().unwrap();
    assert_eq!((pool.stats().free, pool.stats().parked), (0, 65536));
    (pool, file, pinned)
}

/// Starts something that waits for space, on a thread that is asleep when this returns.
fn asleep<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> (thread::ScopedJoinHandle<'scope, T>, Tid) {
    let (send, thread) = mpsc::channel();
    let working = scope.spawn(move || {
        send.send(Tid::of_this_thread()).unwrap();
        work()
    });
    let thread = thread.recv().unwrap();
    wait_until("it sleeps", || thread.is_asleep() || working.is_finished());
    (working, thread)
}

#[test]
fn g2_what_waits_for_space_goes_on_when_the_pin_leaves() {
    let waits: [(&str, Wait); 5] = [
        ("an allocation", |_, file| file.allocate(0..65536).wait().unwrap()),
        ("an allocation of a future", |_, file| block_on(file.allocate(0..65536).wait_async()).unwrap()),
        ("a reservation", |pool, _| drop(pool.reserve(65536).wait().unwrap())),
        ("a pin over a hole", |_, file| {
            file.truncate(65536).wait().unwrap();
            drop(file.pin(0..65536, Access::Write).wait().unwrap());
        }),
        ("a pin over a hole of a future", |_, file| {
            file.truncate(65536).wait().unwrap();
            drop(block_on(file.pin(0..65536, Access::Write).wait_async()).unwrap());
        }),
    ];
    for (what, wait) in waits {
        for given_up in [false, true] {
            let (pool, file, pinned) = full();
            thread::scope(|scope| {
                let pinned = pinned;
                let (waiting, _) = asleep(scope, || wait(&pool, &file));
                assert!(!waiting.is_finished(), "{what} waits");
                match given_up {
                    false => drop(pinned),
                    true => {
                        pinned.abandon();
                        assert_eq!(pool.release(&DeviceIsQuiet).unwrap(), 1);
                    }
                }
                waiting.join().expect(what);
            });
            assert_eq!(pool.stats().parked, 0);
        }
    }
}

#[test]
#[ignore = "a wait for space sleeps for pins alone: what comes free on another way does not wake it"]
fn g2_what_waits_for_space_goes_on_when_another_file_goes() {
    let (pool, file, pinned) = full();
    thread::scope(|scope| {
        let pinned = pinned;
        let (waiting, _) = asleep(scope, || file.allocate(0..65536).wait().unwrap());
        assert!(!waiting.is_finished());
        pool.unlink("/rest").unwrap();
        wait_until("there is space, and it is used", || waiting.is_finished());
        drop(pinned);
    });
    assert_eq!(file.metadata().allocated, 65536);
}

#[test]
fn g2_it_goes_on_when_pins_leave_one_by_one() {
    let pool = pool_of(MIB);
    drop(filled(&pool, "/rest", MIB - 65536, 1));
    let file = filled(&pool, "/file", 65536, 7);
    let pin = |at: u64| {
        let mut pinned = file.pin(at * BLOCK..(at + 4) * BLOCK, Access::Write).wait().unwrap();
        pinned.hand_over();
        pinned
    };
    let pins: Vec<Pinned> = [0, 4, 8, 12].map(pin).into();
    file.truncate(0).detach().wait().unwrap();
    thread::scope(|scope| {
        let pins = pins;
        let (waiting, thread) = asleep(scope, || file.allocate(0..65536).wait().unwrap());
        let last = pins.len() - 1;
        for (index, pinned) in pins.into_iter().enumerate() {
            wait_until("it sleeps for the next", || thread.is_asleep());
            assert!(!waiting.is_finished());
            drop(pinned);
            if index < last {
                wait_until("its blocks are free", || pool.stats().parked == (last - index) as u64 * 4 * BLOCK);
            }
        }
        waiting.join().unwrap();
    });
    assert_eq!(file.metadata().allocated, 65536);
}

#[test]
fn g6_a_wait_for_space_has_a_deadline_and_says_who_keeps_it() {
    let (pool, file, pinned) = full();
    let full = file.allocate(0..65536).try_now().unwrap_err();
    assert_errno(full.errno(), Errno::NOSPC, &full);
    let late = file.allocate(0..65536).until(Until::after(SOON)).unwrap_err();
    let SpaceError::TimedOut { space, pin } = &late else { panic!("{late}") };
    assert_eq!((space.asked, space.pinned, pin.pin.engine.as_str()), (65536, 65536, "nic 0"));
    assert_errno(late.errno(), Errno::TIMEDOUT, &late);
    assert!(late.to_string().contains("nic 0"), "{late}");
    let late = pool.reserve(BLOCK).until(Until::after(SOON)).unwrap_err();
    assert_errno(late.errno(), Errno::TIMEDOUT, &late);
    file.truncate(BLOCK).wait().unwrap();
    let late = file.pin(0..BLOCK, Access::Read).until(Until::after(SOON)).unwrap_err();
    assert_errno(late.errno(), Errno::TIMEDOUT, &late);
    assert_eq!((file.metadata().allocated, pool.pins().len()), (0, 1), "nothing stays of what gave up");
    drop(pinned);
}

#[test]
fn g6_a_future_that_waits_for_space_can_be_dropped() {
    let (pool, file, pinned) = full();
    {
        let mut waiting = pin!(file.allocate(0..65536).wait_async());
        assert!(poll_once(waiting.as_mut()).is_pending());
    }
    drop(pinned);
    assert_eq!((file.metadata().allocated, pool.stats().free), (0, 65536));
}

#[test]
fn g6_a_signal_ends_a_wait_for_space_that_asked_for_it() {
    let _alone = alone();
    Handler::Interrupts.set();
    let (_pool, file, pinned) = full();
    thread::scope(|scope| {
        let _pinned = pinned;
        let (waiting, thread) = asleep(scope, || file.allocate(0..65536).until(Until::done().interruptible()));
        while !waiting.is_finished() {
            Handler::Interrupts.send(thread);
            thread::yield_now();
        }
        let error = waiting.join().unwrap().unwrap_err();
        assert_errno(error.errno(), Errno::INTR, &error);
    });
    assert_eq!(file.metadata().allocated, 0);
}

#[test]
fn g4_a_wait_for_its_own_threads_pin_is_refused() {
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", MIB, 7);
    let pinned = file.pin(0..MIB, Access::Write).labelled("nic 0", "fill").unwrap().wait().unwrap();
    file.truncate(0).detach().wait().unwrap();
    let error = file.allocate(0..BLOCK).wait().unwrap_err();
    assert_errno(error.errno(), Errno::DEADLK, &error);
    assert!(error.to_string().contains("nic 0"), "{error}");
    thread::scope(|scope| {
        // Another thread may wait for it.
        let (waiting, _) = asleep(scope, || file.allocate(0..BLOCK).wait().unwrap());
        assert!(!waiting.is_finished());
        drop(pinned);
        waiting.join().unwrap();
    });
}
