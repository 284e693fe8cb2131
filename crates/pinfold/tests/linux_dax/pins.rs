//! What counts as busy, for how long, and who is told when it ends.

use std::sync::{Arc, Mutex};
use std::thread;

use pinfold::{Access, LongTerm, OperatorDecision, Pinned, Pool, PoolOptions, Recalled};
use rustix::io::Errno;

use crate::common::child::Child;
use crate::common::{DeviceIsQuiet, MIB, OnDrop, assert_errno, pins_of, wait_until, wait_until_behind};
use crate::lab::{DMA, Dma, FILE, Lab, MARK, WAITED};

/// A way in which a pin can leave.
type Leaves = fn(&Pool, Pinned);

const WAYS: [(&str, Leaves); 6] = [
    ("dropped", |_, pinned| drop(pinned)),
    ("dropped by another thread", |_, pinned| thread::scope(|scope| drop(scope.spawn(move || drop(pinned))))),
    ("dropped by an engine", |_, mut pinned| {
        pinned.hand_over();
        drop(pinned);
    }),
    ("grown, then dropped", |pool, mut pinned| {
        pinned.extend(&pool.open("/file").unwrap(), 0..MIB, Access::Read).unwrap();
        drop(pinned);
    }),
    ("given up, then released by a proof", |pool, pinned| {
        pinned.abandon();
        assert_eq!(pool.release(&DeviceIsQuiet).unwrap(), 1);
    }),
    ("given up, then released by an operator", |pool, pinned| {
        pinned.abandon();
        let pin = pool.quarantine()[0].id;
        let decision = OperatorDecision { pin, operator: "the test".into(), reason: "there is no device".into() };
        pool.release_by_operator(&decision).unwrap();
    }),
];

#[test]
fn g2_every_way_in_which_a_pin_leaves_wakes_the_truncate_unlike_linux() {
    for (way, leaves) in WAYS {
        let lab = Lab::new();
        let pinned = lab.file.pin(DMA, Access::Write).wait().unwrap();
        thread::scope(|scope| {
            let pinned = pinned;
            let truncating = scope.spawn(|| lab.file.truncate(0).wait());
            wait_until_behind(&lab.pool, &lab.file);
            leaves(&lab.pool, pinned);
            truncating.join().unwrap().expect(way);
        });
        assert_eq!((lab.file.len(), lab.pool.pins().len()), (0, 0), "{way}");
    }
}

#[test]
fn a_long_term_pin_without_a_recall_handler_is_refused() {
    let lab = Lab::new();
    let refused = |result: Result<pinfold::LongTermPinned, pinfold::PinError>| {
        let error = result.expect_err("it has no handler");
        assert_errno(error.errno(), Errno::OPNOTSUPP, &error);
        assert!(error.to_string().contains("recall handler"), "{error}");
    };
    let term = || LongTerm::new(Access::Write, None);
    refused(lab.file.pin_long_term(DMA, term()).wait());
    refused(lab.file.pin_long_term(DMA, term()).try_now());
    refused(crate::common::block_on(lab.file.pin_long_term(DMA, term()).wait_async()));
    assert!(lab.pool.pins().is_empty());
}

#[test]
fn g11_a_long_term_pin_with_one_is_recalled_by_the_truncate_unlike_linux() {
    let lab = Lab::new();
    let registration = Arc::new(Mutex::new(None));
    let recall = {
        let registration = Arc::clone(&registration);
        move |_: &Recalled| drop(registration.lock().unwrap().take())
    };
    let term = LongTerm::new(Access::Write, Some(Arc::new(recall)));
    *registration.lock().unwrap() = Some(lab.file.pin_long_term(DMA, term).wait().unwrap());
    lab.file.truncate(0).wait().expect("it was given back");
    assert_eq!((lab.file.len(), lab.pool.pins().len()), (0, 0));
}

#[test]
fn only_the_pin_counts_for_a_truncate_no_view_is_needed_unlike_linux_before_6_15() {
    // Nobody has any part of the file mapped, and whoever pinned it has closed it.
    let lab = Lab::new();
    let through_another = lab.pool.open("/file").unwrap();
    let dma = Dma::into_file(&through_another);
    drop(through_another);
    assert_eq!(lab.during(dma, |lab| lab.file.truncate(0).wait().unwrap()), WAITED);
}

#[test]
fn only_the_pin_counts_for_a_punch_no_view_is_needed_unlike_linux_before_6_15() {
    // All handles are closed; the one that punches was opened after.
    let Lab { pool, file } = Lab::new();
    let pinned = file.pin(DMA, Access::Write).wait().unwrap();
    drop(file);
    let lab = Lab { file: pool.open("/file").unwrap(), pool };
    thread::scope(|scope| {
        let pinned = pinned;
        let punching = scope.spawn(|| lab.file.punch(0..FILE).wait().unwrap());
        wait_until_behind(&lab.pool, &lab.file);
        let filler = lab.fill_what_is_free();
        pinned.copy_in(0, &vec![MARK; MIB as usize]).unwrap();
        assert_eq!(lab.foreign_in(&filler), 0);
        assert!(!punching.is_finished());
        drop(pinned);
    });
    assert_eq!(lab.file.metadata().allocated, 0);
    assert_eq!(lab.foreign_in(&lab.fill_what_is_free()), 0);
}

#[test]
fn truncate_waits_for_the_dma_of_a_killed_process_until_a_proof() {
    let lab = Lab::with(PoolOptions::new().shared(true));
    let child = Child::start();
    child.join_and_pin(&lab.pool, &lab.file, DMA);
    let [pin] = &pins_of(&lab.pool, &lab.file)[..] else { panic!("one pin") };
    assert_eq!((pin.bytes.clone(), pin.pin.pid), (DMA, child.pid()));
    let place = lab.file.extents()[0].place + DMA.start;
    let is_quarantined = || lab.pool.quarantine().len() == 1;
    thread::scope(|scope| {
        // A test that fails must not leave the truncate waiting: the child goes first, then its pin.
        let _released = OnDrop(|| drop(lab.pool.release(&DeviceIsQuiet)));
        let mut child = child;
        let truncating = scope.spawn(|| lab.file.truncate(0).wait());
        wait_until_behind(&lab.pool, &lab.file);
        child.kill();
        wait_until("its death is noticed", is_quarantined);
        // That is no fence: its DMA goes on, and what it reaches belongs to nobody else.
        let filler = lab.fill_what_is_free();
        let under_dma = lab.pool.region().bytes(place..place + MIB).unwrap();
        under_dma.copy_in(0, &vec![MARK; MIB as usize]).unwrap();
        assert_eq!(lab.foreign_in(&filler), 0);
        assert!(!truncating.is_finished());
        let busy = lab.file.truncate(0).try_now().unwrap_err();
        assert!(busy.to_string().contains("its process is gone: in quarantine"), "{busy}");
        assert_eq!(lab.pool.release(&DeviceIsQuiet).unwrap(), 1);
        truncating.join().unwrap().unwrap();
    });
    assert_eq!(lab.foreign_in(&lab.fill_what_is_free()), 0);
}
