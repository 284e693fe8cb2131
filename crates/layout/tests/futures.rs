//! Pins, breaks and waits for space as futures (G6).

mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use common::{
    COPY, DEVICE, Fixture, OnDrop, block_on, break_of, extent, poll_once, reap_or_wait_async, wait_until,
    wait_until_a_break_sleeps, waker,
};
use pinfold_layout::{EventWaker, PinRequest, Policy, SpaceError, Until};

#[test]
fn g6_an_awaited_pin_gets_in_when_the_break_is_over() {
    let Fixture { area, holder, layout } = Fixture::new();
    let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
    let idle = brk.drain(Until::done()).unwrap();
    let (send, polled) = mpsc::channel();
    thread::scope(|scope| {
        let pinning = scope.spawn(|| {
            let mut pinning = holder.pin_async(&layout, 0..8, DEVICE, || "blocks");
            assert!(poll_once(&mut pinning).is_pending());
            send.send(()).unwrap();
            *block_on(pinning).unwrap().resolved()
        });
        polled.recv().unwrap();
        idle.commit(Vec::new);
        assert_eq!(pinning.join().unwrap(), "blocks");
    });
    assert_eq!(holder.pins(), 0);
}

#[test]
fn g2_an_awaited_break_goes_on_at_the_last_unpin() {
    let Fixture { area, holder, layout } = Fixture::new();
    for _ in 0..100 {
        let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
        thread::scope(|scope| {
            let breaking = scope.spawn(|| {
                let mut brk = break_of(&area, &layout, 0..1, Policy::Wait);
                block_on(brk.drain_async()).unwrap().commit(Vec::new)
            });
            wait_until_a_break_sleeps(&area);
            drop(pin);
            breaking.join().unwrap();
        });
    }
    assert!(area.breaks().is_empty());
}

#[test]
fn g6_an_awaited_wait_for_space_ends_when_the_pin_leaves() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
    break_of(&area, &layout, 0..4, Policy::Detach).drain(Until::done()).unwrap().commit(|| vec![extent(0, 4)]);
    let (send, polled) = mpsc::channel();
    thread::scope(|scope| {
        let reaping = scope.spawn(|| {
            let mut reaping = Box::pin(reap_or_wait_async(&busy));
            assert!(poll_once(&mut reaping).is_pending());
            send.send(()).unwrap();
            block_on(reaping).map(|free| free.len())
        });
        polled.recv().unwrap();
        drop(pin);
        assert_eq!(reaping.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn g6_a_batch_that_is_dropped_while_it_waits_leaves_no_wish() {
    let Fixture { area, holder, layout } = Fixture::new();
    let batch = [PinRequest { layout: &layout, range: 0..8, spec: DEVICE }];
    let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
    let idle = brk.drain(Until::done()).unwrap();
    let mut gathering = holder.transfer_async(&batch, drop);
    assert!(poll_once(&mut gathering).is_pending());
    drop(gathering);
    idle.commit(Vec::new);
    break_of(&area, &layout, 0..8, Policy::Wait).try_drain().expect("no wish to let in first").commit(Vec::new);
}

#[test]
fn g6_a_pin_that_is_dropped_while_it_waits_leaves_no_wish() {
    let Fixture { area, holder, layout } = Fixture::new();
    let mut first = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    first.hand_over();
    let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
    let mut draining = brk.drain_async();
    assert!(poll_once(&mut draining).is_pending());
    let mut pinning = holder.pin_async(&layout, 0..8, DEVICE, || ());
    assert!(poll_once(&mut pinning).is_pending());
    drop(pinning);
    assert_eq!(holder.pins(), 1);
    drop(first);
    block_on(draining).unwrap().commit(Vec::new);
    break_of(&area, &layout, 0..8, Policy::Wait).try_drain().expect("no wish to let in first").commit(Vec::new);
}

#[test]
fn g6_a_break_that_is_dropped_while_it_waits_is_announced_no_more() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
    let mut draining = brk.drain_async();
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(area.breaks().len(), 1);
    drop(draining);
    assert!(area.breaks().is_empty());
    drop(holder.try_pin(&layout, 0..8, DEVICE, || ()).expect("newcomers get in again"));
    drop(pin);
    block_on(brk.drain_async()).expect("it may set out again").commit(Vec::new);
}

#[test]
fn g6_a_wait_for_space_that_is_dropped_changes_nothing() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
    break_of(&area, &layout, 0..4, Policy::Detach).drain(Until::done()).unwrap().commit(|| vec![extent(0, 4)]);
    assert!(poll_once(&mut Box::pin(reap_or_wait_async(&busy))).is_pending());
    assert_eq!(busy.stats().pinned, 4);
    drop(pin);
    assert_eq!(block_on(reap_or_wait_async(&busy)).unwrap().len(), 1);
    let error = block_on(reap_or_wait_async(&busy)).unwrap_err();
    assert!(matches!(error, SpaceError::NothingPinned { not_durable: 0 }), "{error}");
}

/// Polls all of them on this thread until each is ready. Wakers are dealt out in turn.
fn join_all<F: Future + Unpin>(futures: Vec<F>, wakers: &[Waker]) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().zip(wakers.iter().cycle()).collect();
    let mut outputs = Vec::new();
    loop {
        waiting.retain_mut(|(future, waker)| match Pin::new(future).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            return outputs;
        }
        thread::park();
    }
}

#[test]
fn g2_many_futures_of_one_thread_all_get_in() {
    let Fixture { area, holder, layout } = Fixture::new();
    let mut brk = break_of(&area, &layout, 0..1000, Policy::Wait);
    let idle = brk.drain(Until::done()).unwrap();
    let (send, polled) = mpsc::channel();
    thread::scope(|scope| {
        let joining = scope.spawn(|| {
            let spec = |at| if at % 2 == 0 { DEVICE } else { COPY };
            let mut pins: Vec<_> = (0..300).map(|at| holder.pin_async(&layout, at..at + 1, spec(at), || ())).collect();
            assert!(pins.iter_mut().all(|pinning| poll_once(pinning).is_pending()), "the range is closed");
            send.send(()).unwrap();
            // Each with a waker of its own, as the tasks of a runtime have.
            let wakers: Vec<_> = pins.iter().map(|_| waker()).collect();
            join_all(pins, &wakers).into_iter().filter(Result::is_ok).count()
        });
        polled.recv().unwrap();
        idle.commit(Vec::new);
        assert_eq!(joining.join().unwrap(), 300);
    });
    assert_eq!(holder.pins(), 0);
}

#[test]
fn g2_futures_that_share_one_waker_are_each_woken() {
    let Fixture { area, holder, .. } = Fixture::new();
    let layouts: Vec<_> = (1..=8).map(|object| area.layout(object).unwrap()).collect();
    let mut breaks: Vec<_> = layouts.iter().map(|layout| break_of(&area, layout, 0..8, Policy::Wait)).collect();
    let idle: Vec<_> = breaks.iter_mut().map(|brk| brk.drain(Until::done()).unwrap()).collect();
    let got_in = Arc::new(AtomicUsize::new(0));
    let (send, polled) = mpsc::channel();
    // Not scoped: if a wake-up is lost, this test fails, rather than waiting for the thread.
    let joining = thread::spawn({
        let (holder, layouts, got_in) = (Arc::clone(&holder), layouts.clone(), Arc::clone(&got_in));
        move || {
            // One task that joins several futures hands its own waker to each of them.
            let waker = waker();
            let mut pins: Vec<_> = layouts
                .iter()
                .map(|layout| {
                    holder.pin_async(layout, 0..8, DEVICE, || {
                        got_in.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            for pinning in &mut pins {
                assert!(Pin::new(pinning).poll(&mut Context::from_waker(&waker)).is_pending());
            }
            send.send(()).unwrap();
            join_all(pins, std::slice::from_ref(&waker)).len()
        }
    });
    polled.recv().unwrap();
    for (nth, idle) in idle.into_iter().enumerate() {
        idle.commit(Vec::new);
        wait_until("the future behind this break gets in", || got_in.load(Ordering::Relaxed) > nth);
    }
    assert_eq!(joining.join().unwrap(), 8);
}

#[test]
fn g1_a_future_that_moves_to_another_thread_takes_no_slot_of_the_first_ones_pins() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
    let mut draining = brk.drain_async();
    assert!(poll_once(&mut draining).is_pending());
    // Its wish is now where this thread's pins are.
    let mut pinning = holder.pin_async(&layout, 0..8, DEVICE, || ());
    assert!(poll_once(&mut pinning).is_pending());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let moved = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert!(poll_once(&mut pinning).is_pending());
            }
        });
        let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
        for round in 0..2_000 {
            // More than one block of slots, so that each round looks for empty ones.
            let mine: Vec<_> =
                (0..16).map(|_| holder.pin(&layout, 8..16, DEVICE, Until::done(), || ()).unwrap()).collect();
            let found = area.pins().iter().filter(|pin| pin.range == (8..16)).count();
            assert_eq!(found, 16, "in round {round} a pin was overwritten");
            drop(mine);
            assert!(!moved.is_finished());
        }
    });
    drop((pinning, pin));
    block_on(draining).unwrap().commit(Vec::new);
    assert_eq!((holder.pins(), area.breaks().len()), (0, 0));
}

#[test]
fn one_eventfd_serves_all_futures_of_a_loop() {
    let Fixture { area, holder, .. } = Fixture::new();
    let layouts: Vec<_> = (1..=4).map(|object| area.layout(object).unwrap()).collect();
    let pins: Vec<_> = layouts
        .iter()
        .map(|layout| {
            let mut pin = holder.pin_owned(layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
            pin.hand_over();
            pin
        })
        .collect();
    let mut breaks: Vec<_> = layouts.iter().map(|layout| break_of(&area, layout, 0..8, Policy::Wait)).collect();
    let event = EventWaker::new().unwrap();
    let waker = event.waker();
    let mut waiting: Vec<_> = breaks.iter_mut().map(|brk| brk.drain_async()).collect();
    waiting.retain_mut(|draining| Pin::new(draining).poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((waiting.len(), area.breaks().len()), (4, 4));
    for (left, pin) in (0..4).rev().zip(pins) {
        drop(pin);
        while waiting.len() > left {
            event.wait().unwrap();
            event.clear();
            waiting.retain_mut(|draining| Pin::new(draining).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(waiting.len(), left, "each pin lets one break go on");
    }
    assert!(area.breaks().is_empty());
}
