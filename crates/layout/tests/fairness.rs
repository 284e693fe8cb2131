//! Nobody waits for ever (G3).

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use common::{DEVICE, Fixture, OnDrop, block_on, break_of, poll_once, wait_until};
use pinfold_layout::{BreakError, PinError, PinRequest, Policy, Until};

#[test]
fn g3_back_to_back_breaks_do_not_starve_a_pin() {
    const PINS: usize = 100;
    /// Those that were announced before it waited, and those that run while the pin's thread does not (a break lets it
    /// in first for 50 ms, no longer): far more than either is starvation.
    const BREAKS_MAX: usize = 10_000;
    let Fixture { area, holder, layout } = Fixture::new();
    let (over, breaks) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    break_of(&area, &layout, 0..8, Policy::Wait).drain(Until::done()).unwrap().commit(Vec::new);
                    breaks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("the breaks run", || breaks.load(Ordering::Relaxed) > 10);
        let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
        for _ in 0..PINS {
            let before = breaks.load(Ordering::Relaxed);
            drop(holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap());
            let meanwhile = breaks.load(Ordering::Relaxed) - before;
            assert!(meanwhile <= BREAKS_MAX, "{meanwhile} breaks ended while one pin waited");
        }
    });
    assert_eq!((holder.pins(), area.breaks().len()), (0, 0));
}

#[test]
fn g3_back_to_back_transfers_do_not_starve_a_break() {
    const BREAKS: usize = 50;
    const THREADS: usize = 2;
    let Fixture { area, holder, layout } = Fixture::new();
    let (over, admitted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pin = || {
        let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ());
        admitted.fetch_add(1, Ordering::Relaxed);
        pin
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut held = pin().unwrap();
                while !over.load(Ordering::Relaxed) {
                    // The next before the last is gone: without G3 the range would never be idle.
                    match pin() {
                        Ok(next) => held = next,
                        Err(PinError::Deadlock(_)) => {
                            drop(held);
                            held = pin().unwrap();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                drop(held);
            });
        }
        wait_until("the transfers run", || admitted.load(Ordering::Relaxed) > 10);
        let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
        for _ in 0..BREAKS {
            let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
            let mut draining = brk.drain_async();
            let polled = poll_once(&mut draining);
            if area.breaks().is_empty() {
                // A pin that waited gets in first; then this break is announced.
                drop(polled);
                drop(draining);
                brk.drain(Until::done()).unwrap().commit(Vec::new);
                continue;
            }
            let before = admitted.load(Ordering::Relaxed);
            let idle = match polled {
                Poll::Ready(idle) => idle.unwrap(),
                Poll::Pending => block_on(draining).unwrap(),
            };
            let newcomers = admitted.load(Ordering::Relaxed) - before;
            // Each thread may have got in, or been refused, just before, and counts only afterwards.
            assert!(newcomers <= 2 * THREADS, "{newcomers} got in after the break was announced");
            idle.commit(Vec::new);
        }
    });
    assert_eq!((holder.pins(), area.breaks().len()), (0, 0));
}

#[test]
fn g3_a_chain_of_breaks_that_overlap_lets_in_a_pin_that_came_before_its_last() {
    let Fixture { area, holder, layout } = Fixture::new();
    let mut earlier = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    earlier.hand_over();
    let [mut first, mut second, mut third] = [(); 3].map(|()| break_of(&area, &layout, 0..8, Policy::Wait));
    let mut first = first.drain_async();
    assert!(poll_once(&mut first).is_pending());
    let mut pinning = holder.pin_async(&layout, 0..8, DEVICE, || ());
    assert!(poll_once(&mut pinning).is_pending());
    let mut second = second.drain_async();
    assert!(poll_once(&mut second).is_pending());
    assert_eq!(area.breaks().len(), 2, "the pin still waits for the first, so the second need not let it in");

    drop(earlier);
    block_on(first).unwrap().commit(Vec::new);
    let mut third = third.drain_async();
    assert!(poll_once(&mut third).is_pending());
    assert_eq!(area.breaks().len(), 1, "the third comes after the pin, and is not announced before it is in");
    block_on(second).unwrap().commit(Vec::new);
    drop(block_on(pinning).unwrap());
    block_on(third).unwrap().commit(Vec::new);
}

#[test]
fn g3_a_chain_of_breaks_that_overlap_lets_in_a_batch_that_came_before_its_last() {
    let Fixture { area, holder, layout } = Fixture::new();
    let mut earlier = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    earlier.hand_over();
    let batch = [PinRequest { layout: &layout, range: 0..8, spec: DEVICE }];
    let [mut first, mut second, mut third] = [(); 3].map(|()| break_of(&area, &layout, 0..8, Policy::Wait));
    let mut first = first.drain_async();
    assert!(poll_once(&mut first).is_pending());
    let mut gathering = holder.transfer_async(&batch, drop);
    assert!(poll_once(&mut gathering).is_pending());
    let mut second = second.drain_async();
    assert!(poll_once(&mut second).is_pending());

    drop(earlier);
    block_on(first).unwrap().commit(Vec::new);
    assert!(poll_once(&mut gathering).is_pending(), "it is refused again, and still waits since before the second");
    let mut third = third.drain_async();
    assert!(poll_once(&mut third).is_pending());
    assert_eq!(area.breaks().len(), 1, "the third comes after the batch, and is not announced before it is in");
    block_on(second).unwrap().commit(Vec::new);
    drop(block_on(gathering).unwrap());
    block_on(third).unwrap().commit(Vec::new);
}

#[test]
fn g3_a_batch_that_was_refused_twice_gets_in_before_later_breaks() {
    let Fixture { area, holder, layout } = Fixture::new();
    let batch = [0..8, 8..16].map(|range| PinRequest { layout: &layout, range, spec: DEVICE });
    let mut first = break_of(&area, &layout, 0..8, Policy::Wait);
    let first = first.drain(Until::done()).unwrap();
    let mut gathering = holder.transfer_async(&batch, |index| index);
    assert!(poll_once(&mut gathering).is_pending(), "its first range is closed");

    let mut second = break_of(&area, &layout, 8..16, Policy::Wait);
    let second = second.drain(Until::done()).unwrap();
    first.commit(Vec::new);
    assert!(poll_once(&mut gathering).is_pending(), "its second range is closed");
    assert_eq!(holder.pins(), 0, "while it waits it holds nothing");

    let mut third = break_of(&area, &layout, 0..8, Policy::Wait);
    let mut third = third.drain_async();
    assert!(poll_once(&mut third).is_pending(), "the batch comes first, in its first range too");
    second.commit(Vec::new);
    let (transfer, resolved) = block_on(gathering).unwrap();
    assert_eq!((transfer.pins(), resolved), (2, vec![0, 1]));
    assert!(poll_once(&mut third).is_pending());
    drop(transfer);
    block_on(third).unwrap().commit(Vec::new);
    assert_eq!((holder.pins(), area.breaks().len()), (0, 0));
}

#[test]
fn g3_a_pin_that_waited_gets_in_before_a_break_that_comes_later() {
    let Fixture { area, holder, layout } = Fixture::new();
    // The courtesy lasts for 50 ms: a round in which this thread was held up for as long proves nothing.
    let proven = (0..100).any(|_| {
        let mut first = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
        first.hand_over();
        let mut earlier = break_of(&area, &layout, 0..8, Policy::Wait);
        let mut draining = earlier.drain_async();
        assert!(poll_once(&mut draining).is_pending());
        let mut pinning = holder.pin_async(&layout, 0..8, DEVICE, || ());
        assert!(poll_once(&mut pinning).is_pending());
        drop(first);
        let idle = block_on(draining).unwrap();
        let earlier_ends = Instant::now();
        idle.commit(Vec::new);

        let mut later = break_of(&area, &layout, 0..8, Policy::Wait);
        let looked = later.try_drain().map(drop);
        let mut draining = later.drain_async();
        let polled = poll_once(&mut draining).is_pending();
        let announced = area.breaks().len();
        if earlier_ends.elapsed() > Duration::from_millis(40) {
            return false;
        }
        let error = looked.unwrap_err();
        assert!(matches!(error, BreakError::Contended { .. }), "a wish comes first: {error}");
        assert_eq!((polled, announced), (true, 0), "it waits before it is announced");
        let Poll::Ready(pin) = poll_once(&mut pinning) else { panic!("nothing is in the way of the pin that waited") };
        drop(pin.unwrap());
        block_on(draining).unwrap().commit(Vec::new);
        true
    });
    assert!(proven, "this machine never let a round run without a pause");
}
