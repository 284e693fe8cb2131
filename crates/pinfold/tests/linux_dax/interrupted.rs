//! Signals, while an operation waits (G6).

use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};

use pinfold::{Change, ChangeError, File, Until};
use rustix::io::Errno;

use crate::common::signals::{Handler, HandlersHold, Tid, handled};
use crate::common::{MIB, alone, assert_errno, bytes_of, wait_until, wait_until_behind};
use crate::lab::{Dma, FILE, Lab, stamped, stamps};

type Operation = for<'f> fn(&'f File, &'f File) -> Change<'f>;

const OPERATIONS: [(&str, Operation); 6] = [
    ("truncate", |file, _| file.truncate(MIB + 1)),
    ("punch", |file, _| file.punch(1..FILE)),
    ("zero range", |file, _| file.zero(1..2 * FILE)),
    ("collapse", |file, _| file.collapse(0..MIB)),
    ("insert", |file, _| file.insert(0, MIB)),
    ("exchange", |file, other| file.exchange(0..FILE, other, 0)),
];

/// Runs an operation that a signal may end, on a thread that is asleep in it when this returns.
fn asleep_in<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    lab: &'env Lab,
    change: Change<'env>,
) -> (ScopedJoinHandle<'scope, Result<(), ChangeError>>, Tid) {
    let (send, thread) = mpsc::channel();
    let changing = scope.spawn(move || {
        send.send(Tid::of_this_thread()).unwrap();
        change.until(Until::done().interruptible())
    });
    let thread = thread.recv().unwrap();
    wait_until_behind(&lab.pool, &lab.file);
    wait_until("it sleeps in the kernel", || thread.is_asleep());
    (changing, thread)
}

#[test]
fn a_signal_gives_eintr_with_bytes_and_layout_unchanged() {
    let _alone = alone();
    Handler::Interrupts.set();
    let lab = Lab::new();
    let other = stamped(&lab.pool, "/other");
    for (name, operation) in OPERATIONS {
        let before = (lab.file.extents(), lab.file.metadata(), lab.pool.stats());
        let dma = Dma::into_file(&lab.file);
        thread::scope(|scope| {
            let dma = dma;
            let (changing, thread) = asleep_in(scope, &lab, operation(&lab.file, &other));
            // One that came before the thread was asleep would do nothing, so they go on until it has ended.
            while !changing.is_finished() {
                Handler::Interrupts.send(thread);
                thread::yield_now();
            }
            let error = changing.join().unwrap().expect_err(name);
            assert_errno(error.errno(), Errno::INTR, &error);
            assert!(error.to_string().contains("the lab"), "{name} says for whom it waited: {error}");
            drop(dma);
        });
        assert_eq!((lab.file.extents(), lab.file.metadata(), lab.pool.stats()), before, "{name}");
        assert!(bytes_of(&lab.file, 0..FILE) == stamps(0..FILE), "{name}");
        assert!(lab.pool.breaks().is_empty(), "{name} has withdrawn");
    }
}

#[test]
fn a_handler_with_sa_restart_does_not_end_the_wait() {
    let _alone = alone();
    Handler::Restarts.set();
    let lab = Lab::new();
    let dma = Dma::into_file(&lab.file);
    thread::scope(|scope| {
        let dma = dma;
        let (truncating, thread) = asleep_in(scope, &lab, lab.file.truncate(0));
        for _ in 0..10 {
            let before = handled();
            Handler::Restarts.send(thread);
            wait_until("it was handled", || handled() > before);
            wait_until("it sleeps again", || thread.is_asleep() || truncating.is_finished());
        }
        assert!(!truncating.is_finished());
        drop(dma);
        truncating.join().unwrap().unwrap();
    });
}

#[test]
fn the_condition_is_tested_before_the_signal() {
    let _alone = alone();
    Handler::Interrupts.set();
    for _ in 0..20 {
        let lab = Lab::new();
        let dma = Dma::into_file(&lab.file);
        thread::scope(|scope| {
            let dma = dma;
            let (truncating, thread) = asleep_in(scope, &lab, lab.file.truncate(0));
            // The signal takes the thread out of its sleep; while its handler runs, the DMA ends.
            let before = handled();
            let hold = HandlersHold::new();
            Handler::Interrupts.send(thread);
            wait_until("the handler runs", || handled() > before);
            drop(dma);
            drop(hold);
            truncating.join().unwrap().expect("nothing was in the way any more");
        });
        assert_eq!(lab.file.len(), 0);
    }
}
