//! What moves blocks: collapse and insert range, exchange of extents.

use std::sync::mpsc;
use std::thread;

use pinfold::Until;
use rustix::io::Errno;

use crate::common::signals::{Handler, Tid};
use crate::common::{MIB, alone, assert_errno, bytes_of, is_all, wait_until, wait_until_behind};
use crate::lab::{DID_NOT_WAIT, DMA, Dma, FILE, Lab, WAITED, marks, stamped, stamps};

#[test]
fn collapse_waits() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.collapse(MIB / 4..MIB).wait().unwrap()), WAITED);
    assert_eq!(lab.file.len(), FILE - MIB / 4 * 3);
    let expected = [stamps(0..MIB / 4), marks(MIB..DMA.end), stamps(DMA.end..FILE)].concat();
    assert!(bytes_of(&lab.file, 0..lab.file.len()) == expected);
}

#[test]
fn collapse_before_the_dma_waits_since_it_moves_its_blocks() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.collapse(0..DMA.start).wait().unwrap()), WAITED);
    assert!(bytes_of(&lab.file, 0..MIB) == marks(0..MIB), "what arrived has moved with its blocks");
}

#[test]
fn collapse_behind_the_dma_does_not_wait_unlike_linux() {
    let lab = Lab::new();
    let behind = DMA.end..DMA.end + MIB / 4;
    assert_eq!(lab.during_dma(|lab| lab.file.collapse(behind).wait().unwrap()), DID_NOT_WAIT);
    let expected = [stamps(0..DMA.start), marks(DMA), stamps(DMA.end + MIB / 4..FILE)].concat();
    assert!(bytes_of(&lab.file, 0..lab.file.len()) == expected);
}

#[test]
fn insert_before_the_dma_waits_since_it_moves_its_blocks() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.insert(0, MIB).wait().unwrap()), WAITED);
    assert_eq!(lab.file.len(), FILE + MIB);
    assert!(is_all(&lab.file, 0..MIB, 0));
    assert!(
        bytes_of(&lab.file, DMA.start + MIB..DMA.end + MIB) == marks(DMA),
        "what arrived has moved with its blocks"
    );
}

#[test]
fn insert_behind_the_dma_does_not_wait_unlike_linux() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.insert(DMA.end, MIB).wait().unwrap()), DID_NOT_WAIT);
    let expected = [stamps(0..DMA.start), marks(DMA), vec![0; MIB as usize], stamps(DMA.end..FILE)].concat();
    assert!(bytes_of(&lab.file, 0..FILE + MIB) == expected);
}

#[test]
fn exchange_waits_for_both_files_unlike_swapext_of_linux_6_1() {
    for busy_is_first in [true, false] {
        let lab = Lab::new();
        let other = stamped(&lab.pool, "/other");
        let (one, two) = if busy_is_first { (&lab.file, &other) } else { (&other, &lab.file) };
        other.zero(0..FILE).wait().unwrap();
        assert_eq!(lab.during_dma(|_| one.exchange(0..FILE, two, 0).wait().unwrap()), WAITED);
        assert!(is_all(&lab.file, 0..FILE, 0), "it has the other's");
        let expected = [stamps(0..DMA.start), marks(DMA), stamps(DMA.end..FILE)].concat();
        assert!(bytes_of(&other, 0..FILE) == expected, "the other has all that arrived before");
    }
}

#[test]
fn exchange_beside_the_dma_does_not_wait_unlike_linux() {
    let lab = Lab::new();
    let other = stamped(&lab.pool, "/other");
    assert_eq!(lab.during_dma(|lab| lab.file.exchange(0..DMA.start, &other, MIB).wait().unwrap()), DID_NOT_WAIT);
    assert!(bytes_of(&lab.file, 0..DMA.end) == [stamps(MIB..MIB + DMA.start), marks(DMA)].concat());
}

#[test]
fn exchange_sleeps_and_hears_signals_whichever_file_is_busy_unlike_clone_of_linux() {
    let _alone = alone();
    let lab = Lab::new();
    let other = stamped(&lab.pool, "/other");
    Handler::Interrupts.set();
    for busy in [&lab.file, &other] {
        let dma = Dma::into_file(busy);
        thread::scope(|scope| {
            let dma = dma;
            let (send, thread) = mpsc::channel();
            let exchanging = scope.spawn({
                let (file, other) = (&lab.file, &other);
                move || {
                    send.send(Tid::of_this_thread()).unwrap();
                    file.exchange(0..FILE, other, 0).until(Until::done().interruptible())
                }
            });
            let thread = thread.recv().unwrap();
            wait_until_behind(&lab.pool, busy);
            wait_until("it sleeps, and does not spin", || thread.is_asleep());
            while !exchanging.is_finished() {
                Handler::Interrupts.send(thread);
                thread::yield_now();
            }
            let error = exchanging.join().unwrap().unwrap_err();
            assert_errno(error.errno(), Errno::INTR, &error);
            drop(dma);
        });
        assert!(bytes_of(&lab.file, 0..FILE) == stamps(0..FILE) && bytes_of(&other, 0..FILE) == stamps(0..FILE));
    }
}
