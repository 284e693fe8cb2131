//! Waiting for space: for the pins that keep what was freed, and for what comes free besides (G2, G4, G6).

use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use pinfold::{Access, File, LongTerm, Pinned, Pool, PoolOptions, Recalled, Region, SpaceError, Until};
use pinfold_layout::CommitId;
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

/// Everything that waits for space.
const WAITS: [(&str, Wait); 8] = [
    ("an allocation", |_, file| file.allocate(0..65536).wait().unwrap()),
    ("an allocation of a future", |_, file| block_on(file.allocate(0..65536).wait_async()).unwrap()),
    ("a reservation", |pool, _| drop(pool.reserve(65536).wait().unwrap())),
    ("a reservation of a future", |pool, _| drop(block_on(pool.reserve(65536).wait_async()).unwrap())),
    ("a pin over a hole", |_, file| {
        file.truncate(65536).wait().unwrap();
        drop(file.pin(0..65536, Access::Write).wait().unwrap());
    }),
    ("a pin over a hole of a future", |_, file| {
        file.truncate(65536).wait().unwrap();
        drop(block_on(file.pin(0..65536, Access::Write).wait_async()).unwrap());
    }),
    ("a long-term pin over a hole", |_, file| {
        file.truncate(65536).wait().unwrap();
        drop(file.pin_long_term(0..65536, long_term()).wait().unwrap());
    }),
    ("a long-term pin over a hole of a future", |_, file| {
        file.truncate(65536).wait().unwrap();
        drop(block_on(file.pin_long_term(0..65536, long_term()).wait_async()).unwrap());
    }),
];

fn long_term() -> LongTerm {
    LongTerm::new(Access::Write, Some(Arc::new(|_: &Recalled| ())))
}

#[test]
fn g2_what_waits_for_space_goes_on_when_the_pin_leaves() {
    for (what, wait) in WAITS {
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

/// Makes something that has all but 128 KiB of a pool; what it returns lets its blocks come free.
type Prepare = fn(&Pool) -> Box<dyn FnOnce(&Pool)>;

/// All the ways on which blocks come free while the pin stays that keeps others.
const WAYS: [(&str, Prepare); 6] = [
    ("a file is removed", |pool| {
        drop(filled(pool, "/big", BIG, 1));
        Box::new(|pool| pool.unlink("/big").unwrap())
    }),
    ("a file is removed that a device had", |pool| {
        let file = filled(pool, "/big", BIG, 1);
        drop(file.pin(0..BIG, Access::Read).wait().unwrap());
        Box::new(|pool| pool.unlink("/big").unwrap())
    }),
    ("the last handle goes of a file without a name", |pool| {
        let file = filled(pool, "/big", BIG, 1);
        pool.unlink("/big").unwrap();
        Box::new(|_| drop(file))
    }),
    ("a file is cut", |pool| {
        let file = filled(pool, "/big", BIG, 1);
        Box::new(move |_| file.truncate(BLOCK).wait().unwrap())
    }),
    ("a file is punched, without a wait", |pool| {
        let file = filled(pool, "/big", BIG, 1);
        Box::new(move |_| file.punch(0..BIG).detach().wait().unwrap())
    }),
    ("a reservation is dropped", |pool| {
        let reservation = pool.reserve(BIG).wait().unwrap();
        Box::new(|_| drop(reservation))
    }),
];

const BIG: u64 = MIB - 131072;

#[test]
fn g2_what_waits_for_space_goes_on_whichever_way_it_comes_free() {
    for ((way, prepare), (what, wait)) in WAYS.into_iter().flat_map(|way| WAITS.map(|wait| (way, wait))) {
        let pool = pool_of(MIB);
        let frees = prepare(&pool);
        let file = filled(&pool, "/file", 131072, 7);
        let mut pinned = file.pin(0..131072, Access::Write).wait().unwrap();
        pinned.hand_over();
        file.truncate(0).detach().wait().unwrap();
        assert_eq!(pool.stats().free, 0);
        thread::scope(|scope| {
            let _pinned = pinned;
            let (waiting, _) = asleep(scope, || wait(&pool, &file));
            assert!(!waiting.is_finished(), "{what} waits");
            frees(&pool);
            wait_until("there is space, and it is used", || waiting.is_finished());
            waiting.join().unwrap_or_else(|_| panic!("{what}, when {way}"));
        });
    }
}

#[test]
fn g2_what_waits_for_space_goes_on_when_blocks_that_were_taken_are_not_used() {
    // A device's memory, whose second zeroing does not come off; it says when it has begun, and waits to be told.
    let (send, begun) = mpsc::channel();
    let (tell, told) = mpsc::channel::<()>();
    let halting = Mutex::new((0, send, told));
    let zero = move |_, _| {
        let mut halting = halting.lock().unwrap();
        halting.0 += 1;
        if halting.0 == 1 {
            return Ok(());
        }
        halting.1.send(()).unwrap();
        let _ = halting.2.recv();
        Err(std::io::Error::from_raw_os_error(Errno::IO.raw_os_error()))
    };
    let pool = PoolOptions::new().zero_with(zero).create(Region::device_only(77, 7 << 40, MIB).unwrap()).unwrap();
    let (file, another, rest) =
        (pool.create("/file").unwrap(), pool.create("/another").unwrap(), pool.create("/rest").unwrap());
    rest.allocate(0..BIG).try_now().unwrap();
    file.truncate(65536).wait().unwrap();
    let mut pinned = file.pin(0..65536, Access::Write).wait().unwrap();
    pinned.hand_over();
    file.truncate(0).detach().wait().unwrap();
    another.truncate(65536).wait().unwrap();
    thread::scope(|scope| {
        let (_pinned, tell) = (pinned, tell);
        let taking = scope.spawn(|| another.pin(0..65536, Access::Write).wait().unwrap_err());
        begun.recv().unwrap();
        let (waiting, _) = asleep(scope, || file.allocate(0..65536).wait().unwrap());
        assert!(!waiting.is_finished(), "what is free is in the other's hands");
        tell.send(()).unwrap();
        let error = taking.join().unwrap();
        assert_errno(error.errno(), Errno::IO, &error);
        wait_until("there is space, and it is used", || waiting.is_finished());
    });
    assert_eq!((file.metadata().allocated, another.metadata().allocated), (65536, 0));
}

#[test]
fn g2_two_that_wait_for_the_blocks_of_one_pin_both_get_theirs() {
    for round in 0..100 {
        let (pool, file, pinned) = full();
        let another = pool.create("/another").unwrap();
        thread::scope(|scope| {
            let pinned = pinned;
            let file = &file;
            let (one, _) = asleep(scope, move || match round % 2 {
                0 => file.allocate(0..32768).wait(),
                _ => block_on(file.allocate(0..32768).wait_async()),
            });
            let (other, _) = asleep(scope, || another.allocate(0..32768).wait());
            assert!(!one.is_finished() && !other.is_finished());
            drop(pinned);
            one.join().unwrap().expect("there is enough for both");
            other.join().unwrap().expect("there is enough for both");
        });
        assert_eq!((file.metadata().allocated, another.metadata().allocated, pool.stats().free), (32768, 32768, 0));
    }
}

#[test]
fn g2_a_wait_ends_when_the_blocks_that_it_waited_for_went_elsewhere() {
    let (pool, file, whole) = full();
    drop(whole);
    let pin = |at: u64| {
        file.allocate(at..at + 32768).wait().unwrap();
        let mut pinned = file.pin(at..at + 32768, Access::Write).wait().unwrap();
        pinned.hand_over();
        pinned
    };
    let (one, other) = (pin(0), pin(32768));
    file.truncate(0).detach().wait().unwrap();
    let another = pool.create("/another").unwrap();
    thread::scope(|scope| {
        let other = other;
        let (waiting, thread) = asleep(scope, || file.allocate(0..65536).wait().unwrap_err());
        drop(one);
        wait_until("a half is free, and it waits for the rest", || pool.stats().free == 32768 && thread.is_asleep());
        another.allocate(0..32768).try_now().unwrap();
        assert!(!waiting.is_finished());
        drop(other);
        let error = waiting.join().unwrap();
        assert_errno(error.errno(), Errno::NOSPC, &error);
    });
    assert_eq!((file.metadata().allocated, pool.stats().free), (0, 32768));
}

#[test]
fn g2_an_attempt_that_finds_too_little_wakes_nobody_who_waits() {
    let (pool, file, pinned) = full();
    file.truncate(65536).wait().unwrap();
    // One block is free, and there is a file with a hole of one block and one of two.
    let holes = pool.create("/holes").unwrap();
    pool.open("/rest").unwrap().punch(0..2 * BLOCK).wait().unwrap();
    holes.allocate(BLOCK..2 * BLOCK).try_now().unwrap();
    // From here on what is evicted may have been seen by others.
    let busy = pool.area().busy_extents();
    let mut watch = busy.watch();
    let mut is_quiet = |what: &str| {
        let kept = watch.try_wait(CommitId::ALL).expect_err(what);
        assert!(matches!(kept, pinfold_layout::SpaceError::Busy { .. }), "{what}: {kept}");
    };
    is_quiet("nothing was tried");
    holes.allocate(0..4 * BLOCK).try_now().unwrap_err();
    is_quiet("an allocation under two holes");
    drop(pool.reserve(65536).try_now().unwrap_err());
    is_quiet("a reservation");
    file.pin(0..65536, Access::Write).try_now().unwrap_err();
    is_quiet("a pin over a hole");
    file.pin_long_term(0..65536, long_term()).try_now().unwrap_err();
    is_quiet("a long-term pin over a hole");
    drop(pinned);
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
