//! Second actors, while a truncate waits (G3, G5).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use pinfold::{Access, PinError, Pinned};
use rustix::io::Errno;

use crate::common::signals::Tid;
use crate::common::{MIB, OnDrop, assert_errno, bytes_of, is_all, pins_of, wait_until, wait_until_behind};
use crate::lab::{DMA, Dma, FILE, Lab, stamps};

/// Has somebody do something while a truncate to `len` waits, and asserts that he is done before it is, and nobody is hurt.
#[track_caller]
pub(crate) fn while_a_truncate_waits(lab: &Lab, len: u64, second: impl FnOnce(&Lab) + Send) {
    before_a_truncate_goes_on(lab, len, second);
    assert_eq!(lab.foreign_in(&lab.fill_what_is_free()), 0);
}

/// The same of a pool in which free blocks cannot be had all.
#[track_caller]
pub(crate) fn before_a_truncate_goes_on(lab: &Lab, len: u64, second: impl FnOnce(&Lab) + Send) {
    let dma = Dma::into_file(&lab.file);
    thread::scope(|scope| {
        let dma = dma;
        let truncating = scope.spawn(|| lab.file.truncate(len).wait());
        wait_until_behind(&lab.pool, &lab.file);
        let acting = scope.spawn(move || second(lab));
        wait_until("the second actor returns", || acting.is_finished());
        assert!(!truncating.is_finished(), "the truncate waits all the while");
        acting.join().expect("the second actor");
        dma.arrives();
        drop(dma);
        truncating.join().unwrap().unwrap();
    });
    assert_eq!(lab.file.len(), len);
}

#[test]
fn read_and_write_go_on_while_a_truncate_waits_unlike_linux() {
    while_a_truncate_waits(&Lab::new(), 0, |lab| {
        assert!(bytes_of(&lab.file, 0..FILE) == stamps(0..FILE));
        lab.file.write_at(DMA.start, &[7; 8192]).unwrap();
        assert!(is_all(&lab.file, DMA.start..DMA.start + 8192, 7));
        assert_eq!(lab.file.append(&[7; 8192]).unwrap(), FILE);
        assert_eq!(lab.file.metadata().len, FILE + 8192);
    });
}

#[test]
fn unlink_returns_while_a_truncate_waits_unlike_linux() {
    while_a_truncate_waits(&Lab::new(), 0, |lab| {
        lab.pool.create("/in the same directory").unwrap();
        lab.pool.unlink("/file").unwrap();
        assert_eq!(lab.file.metadata().links, 0);
    });
}

#[test]
fn g5_what_is_outside_goes_on_while_a_truncate_waits_unlike_linux() {
    while_a_truncate_waits(&Lab::new(), MIB, |lab| {
        drop(lab.file.pin(0..MIB, Access::Write).wait().expect("a transfer before the range"));
        lab.file.punch(0..MIB / 4).wait().expect("a punch before the range");
        let other = lab.pool.create("/other").unwrap();
        other.allocate(0..MIB).wait().expect("another file");
        other.truncate(0).wait().expect("another file");
    });
}

#[test]
fn second_transfer_stays_out_while_a_truncate_waits_unlike_linux() {
    let lab = &Lab::new();
    let dma = Dma::into_file(&lab.file);
    thread::scope(|scope| {
        let dma = dma;
        let truncating = scope.spawn(|| lab.file.truncate(0).wait().unwrap());
        wait_until_behind(&lab.pool, &lab.file);
        let refused = lab.file.pin(DMA, Access::Write).try_now().unwrap_err();
        assert_errno(refused.errno(), Errno::BUSY, &refused);
        let (send, thread) = mpsc::channel();
        let second = scope.spawn(move || {
            send.send(Tid::of_this_thread()).unwrap();
            lab.file.pin(DMA, Access::Write).wait()
        });
        let thread = thread.recv().unwrap();
        wait_until("it sleeps, and is not in", || thread.is_asleep() && pins_of(&lab.pool, &lab.file).len() == 1);
        assert!(!second.is_finished() && !truncating.is_finished());
        drop(dma);
        truncating.join().unwrap();
        let error = second.join().unwrap().expect_err("it came after the truncate");
        assert!(matches!(error, PinError::PastEnd { len: 0, .. }), "{error}");
    });
}

#[test]
fn g3_back_to_back_transfers_do_not_starve_a_punch_unlike_linux() {
    const PUNCHES: usize = 20;
    let lab = Lab::new();
    let (over, transfers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pin = || {
        let pinned = lab.file.pin(DMA, Access::Write).wait();
        transfers.fetch_add(1, Ordering::Relaxed);
        pinned
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held: Pinned = pin().unwrap();
                while !over.load(Ordering::Relaxed) {
                    // The next before the last is gone: the range is idle only while a punch keeps newcomers out.
                    match pin() {
                        Ok(next) => held = next,
                        Err(error) => {
                            assert_errno(error.errno(), Errno::DEADLK, &error);
                            drop(held);
                            held = pin().unwrap();
                        }
                    }
                }
                drop(held);
            });
        }
        let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
        for _ in 0..PUNCHES {
            let before = transfers.load(Ordering::Relaxed);
            lab.file.punch(DMA).wait().unwrap();
            wait_until("the traffic goes on", || transfers.load(Ordering::Relaxed) > before + 4);
        }
    });
    assert!(pins_of(&lab.pool, &lab.file).is_empty());
}
