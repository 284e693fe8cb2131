//! Drain, close and detach, as their callers see them.

mod common;

use std::thread;
use std::time::Duration;

use common::{COPY, DEVICE, Fixture, reap_or_wait, wait_until, wait_until_a_break_sleeps};
use pinfold_layout::{BreakError, CommitId, Effect, Extent, PinError, Policy, Until};

const SOON: Duration = Duration::from_millis(20);

#[test]
fn g1_a_break_waits_for_a_device_pin_in_its_range() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || "blocks").unwrap();
    assert_eq!(*pin.resolved(), "blocks");
    let mut brk = area.break_layout(&[(&layout, 4..16)], Policy::Wait, Effect::Frees).unwrap();
    let error = brk.drain(Until::after(SOON)).map(drop).unwrap_err();
    assert!(matches!(&error, BreakError::Deadlock(pin) if pin.range == (0..8)), "{error}");
    let mut pin = pin;
    pin.hand_over();
    let error = brk.drain(Until::after(SOON)).map(drop).unwrap_err();
    assert!(matches!(&error, BreakError::TimedOut(Some(pin)) if pin.range == (0..8)), "{error}");
    drop(pin);
    brk.drain(Until::done()).unwrap().commit(Vec::new);
}

#[test]
fn g2_last_unpin_wakes_the_break() {
    let Fixture { area, holder, layout } = Fixture::new();
    for _ in 0..200 {
        let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
        thread::scope(|scope| {
            let breaking = scope.spawn(|| {
                let mut brk = area.break_layout(&[(&layout, 0..1)], Policy::Wait, Effect::Frees).unwrap();
                brk.drain(Until::done()).unwrap().commit(Vec::new);
            });
            wait_until_a_break_sleeps(&area);
            drop(pin);
            breaking.join().unwrap();
        });
    }
    assert_eq!((holder.pins(), area.breaks().len()), (0, 0));
}

#[test]
fn g3_a_newcomer_waits_for_the_break_and_then_gets_in() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    thread::scope(|scope| {
        let breaking = scope.spawn(|| {
            let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
            brk.drain(Until::done()).unwrap().commit(Vec::new)
        });
        wait_until_a_break_sleeps(&area);
        let refused = holder.try_pin(&layout, 0..1, DEVICE, || ()).map(drop).unwrap_err();
        assert!(matches!(refused, PinError::LayoutBreaking { object: 7, .. }), "{refused}");
        let refused =
            scope.spawn(|| holder.pin(&layout, 0..1, DEVICE, Until::after(SOON), || ()).map(drop).unwrap_err());
        assert!(matches!(refused.join().unwrap(), PinError::TimedOut { object: 7, .. }));
        let newcomer = scope.spawn(|| drop(holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap()));
        drop(pin);
        breaking.join().unwrap();
        newcomer.join().unwrap();
    });
    assert_eq!(holder.pins(), 0);
}

#[test]
fn g4_a_newcomer_of_the_thread_that_is_waited_for_is_told_so() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    thread::scope(|scope| {
        let breaking = scope.spawn(|| {
            let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
            brk.drain(Until::done()).unwrap().commit(Vec::new)
        });
        wait_until_a_break_sleeps(&area);
        let refused = holder.pin(&layout, 2..3, DEVICE, Until::done(), || ()).map(drop).unwrap_err();
        assert!(matches!(refused, PinError::Deadlock(_)), "{refused}");
        drop(pin);
        breaking.join().unwrap();
    });
}

#[test]
fn g5_a_pin_outside_the_range_delays_nothing() {
    let Fixture { area, holder, layout } = Fixture::new();
    let other = area.layout(8).unwrap();
    let _outside = holder.pin(&layout, 100..200, DEVICE, Until::done(), || ()).unwrap();
    let _elsewhere = holder.pin(&other, 0..100, DEVICE, Until::done(), || ()).unwrap();
    let mut brk = area.break_layout(&[(&layout, 0..100)], Policy::Wait, Effect::Frees).unwrap();
    brk.try_drain().unwrap().commit(Vec::new);
    let mut brk = area.break_layout(&[(&layout, 200..u64::MAX)], Policy::Wait, Effect::Frees).unwrap();
    brk.try_drain().unwrap().commit(Vec::new);
}

#[test]
fn g5_a_break_that_sleeps_delays_nobody_outside_its_range() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    thread::scope(|scope| {
        let breaking = scope.spawn(|| {
            let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
            brk.drain(Until::done()).unwrap().commit(Vec::new)
        });
        wait_until_a_break_sleeps(&area);
        drop(holder.try_pin(&layout, 8..9, DEVICE, || ()).unwrap());
        drop(holder.try_pin(&layout, 0..8, COPY, || ()).expect("a copy passes a break that drains"));
        let mut other = area.break_layout(&[(&layout, 8..16)], Policy::Wait, Effect::Frees).unwrap();
        other.try_drain().unwrap().commit(Vec::new);
        drop(pin);
        breaking.join().unwrap();
    });
}

#[test]
fn g6_try_drain_only_looks_and_names_the_first_busy_pin() {
    let Fixture { area, holder, layout } = Fixture::new();
    let label = holder.label("late-device", "loading weights").unwrap();
    let pin = holder.pin(&layout, 3..5, DEVICE.labelled(label), Until::done(), || ()).unwrap();
    let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
    let error = brk.try_drain().map(drop).unwrap_err();
    let BreakError::Busy(info) = &error else { panic!("{error}") };
    assert_eq!(
        (info.range.clone(), info.engine.as_str(), info.label.as_str()),
        (3..5, "late-device", "loading weights")
    );
    assert!(error.to_string().contains("through late-device, for loading weights"), "{error}");
    drop(holder.try_pin(&layout, 0..8, DEVICE, || ()).expect("nothing was announced"));
    drop(pin);
    brk.try_drain().unwrap().commit(Vec::new);
}

#[test]
fn g6_an_idle_range_that_is_dropped_opens_unchanged() {
    let Fixture { area, holder, layout } = Fixture::new();
    let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
    let idle = brk.drain(Until::done()).unwrap();
    let refused = holder.try_pin(&layout, 0..8, COPY, || ()).map(drop).unwrap_err();
    assert!(matches!(refused, PinError::LayoutBreaking { .. }), "while it is closed nobody gets in: {refused}");
    let refused = holder.pin(&layout, 0..8, COPY, Until::done(), || ()).map(drop).unwrap_err();
    assert!(matches!(refused, PinError::Deadlock(_)), "its own thread would wait for itself: {refused}");
    drop(idle);
    drop(holder.try_pin(&layout, 0..8, DEVICE, || ()).unwrap());
}

#[test]
fn g1_detach_parks_what_a_pin_still_reaches() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let pin = holder.pin(&layout, 2..4, DEVICE, Until::done(), || ()).unwrap();
    let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Detach, Effect::Frees).unwrap();
    let left = Extent { object: 7, start: 0, end: 8, block: 100 };
    brk.drain(Until::done()).unwrap().commit(|| vec![left]);
    let mut free: Vec<_> = busy.reap(CommitId::ALL, |free| free).into_iter().map(|free| free.into_extent()).collect();
    free.sort_by_key(|extent| extent.start);
    let piece = |start, end, block| Extent { object: 7, start, end, block };
    assert_eq!(free, [piece(0, 2, 100), piece(4, 8, 104)]);
    assert_eq!((busy.stats().pinned, area.parked()[0].blocks.clone()), (2, 102..104));
    assert!(busy.watch().try_wait(CommitId::ALL).is_err());
    drop(pin);
    let free: Vec<_> = busy.reap(CommitId::ALL, |free| free).into_iter().map(|free| free.into_extent()).collect();
    assert_eq!(free, [piece(2, 4, 102)]);
}

#[test]
fn g1_a_stuck_pin_keeps_the_first_extent_that_took_its_range_and_no_later_one() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
    for round in 0..5 {
        let mut brk = area.break_layout(&[(&layout, 0..4)], Policy::Detach, Effect::Frees).unwrap();
        brk.drain(Until::done()).unwrap().commit(|| vec![Extent { object: 7, start: 0, end: 4, block: round * 4 }]);
    }
    let freed: u64 = busy.reap(CommitId::ALL, |free| free).iter().map(|free| free.extent().len()).sum();
    assert_eq!((freed, busy.stats().pinned), (16, 4));
    let mut wait = area.break_layout(&[(&layout, 0..4)], Policy::Wait, Effect::Frees).unwrap();
    wait.try_drain().expect("the pin reaches what was parked, not what is in the file").commit(Vec::new);
    drop(pin);
    assert_eq!(busy.reap(CommitId::ALL, |free| free).len(), 1);
}

#[test]
fn g9_what_is_not_durable_is_not_given_away() {
    let Fixture { area, layout, .. } = Fixture::new();
    let busy = area.busy_extents();
    let mut brk = area.break_layout(&[(&layout, 0..4)], Policy::Wait, Effect::Frees).unwrap();
    let commit = brk.drain(Until::done()).unwrap().commit(|| vec![Extent { object: 7, start: 0, end: 4, block: 0 }]);
    assert!(busy.reap(CommitId(commit.0 - 1), |free| free).is_empty());
    assert_eq!(busy.stats().not_durable, 4);
    assert_eq!(busy.reap(commit, |free| free).len(), 1);
}

#[test]
fn g6_a_wait_for_space_ends_when_the_pin_leaves() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
    let mut brk = area.break_layout(&[(&layout, 0..4)], Policy::Detach, Effect::Frees).unwrap();
    brk.drain(Until::done()).unwrap().commit(|| vec![Extent { object: 7, start: 0, end: 4, block: 0 }]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| reap_or_wait(&busy, Until::done()).map(|free| free.len()));
        thread::yield_now();
        drop(pin);
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    });
    let error = reap_or_wait(&busy, Until::done()).unwrap_err();
    assert!(error.to_string().starts_with("no parked extent"), "{error}");
}

#[test]
fn breaks_that_overlap_close_one_after_the_other() {
    let Fixture { area, layout, .. } = Fixture::new();
    let mut first = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
    let idle = first.drain(Until::done()).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut brk = area.break_layout(&[(&layout, 4..12)], Policy::Wait, Effect::Frees).unwrap();
            brk.drain(Until::done()).unwrap().commit(Vec::new)
        });
        wait_until("the second is announced", || area.breaks().len() == 2);
        let commit = idle.commit(Vec::new);
        assert!(second.join().unwrap() > commit);
    });
}

#[test]
fn a_copy_in_flight_holds_up_close() {
    let Fixture { area, holder, layout } = Fixture::new();
    let copy = holder.pin(&layout, 0..8, COPY, Until::done(), || ()).unwrap();
    thread::scope(|scope| {
        let breaking = scope.spawn(|| {
            let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Detach, Effect::Frees).unwrap();
            brk.drain(Until::done()).unwrap().commit(Vec::new)
        });
        wait_until_a_break_sleeps(&area);
        drop(copy);
        breaking.join().unwrap();
    });
}
