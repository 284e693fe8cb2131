//! Waiting for space: what wakes it, and when it ends without (G2, G4, G6).

mod common;

use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{
    DEVICE, Fixture, asleep, block_on, break_of, extent, reap_or_wait, reap_or_wait_async, reaped, small_geometry,
    wait_until,
};
use pinfold_layout::{
    Area, AreaOptions, BusyExtents, CommitId, Effect, Extent, FreeExtent, Geometry, Holder, Layout, Pin, Policy,
    SpaceError, Until,
};

const SOON: Duration = Duration::from_millis(20);

type Pinned = Pin<Arc<Holder>>;

/// A range of a layout that has left it, under a pin that an engine has; and its commit.
fn parked(area: &Area, holder: &Arc<Holder>, layout: &Layout, start: u64, end: u64) -> (Pinned, CommitId) {
    let mut pin = holder.pin_owned(layout, start..end, DEVICE, Until::done(), || ()).unwrap();
    pin.hand_over();
    let left = Extent { object: layout.object(), start, end, block: 100 * layout.object() + start };
    let mut brk = area.break_layout(&[(layout, start..end)], Policy::Detach, Effect::Frees).unwrap();
    let commit = brk.drain(Until::done()).unwrap().commit(|| vec![left]);
    (pin, commit)
}

/// A caller's allocator.
struct Allocator {
    busy: BusyExtents,
    free: Mutex<u64>,
}

impl Allocator {
    fn of(area: &Area) -> Self {
        Self { busy: area.busy_extents(), free: Mutex::new(0) }
    }

    fn put(&self, units: u64) {
        *self.free.lock().unwrap() += units;
    }

    fn take(&self, want: u64) -> bool {
        self.busy.reap(CommitId::ALL, |free| self.put(free.iter().map(|free| free.extent().len()).sum()));
        let mut free = self.free.lock().unwrap();
        let enough = *free >= want;
        *free -= if enough { want } else { 0 };
        enough
    }

    fn take_or_wait(&self, want: u64) -> Result<(), SpaceError> {
        let mut watch = self.busy.watch();
        while !self.take(want) {
            watch.wait(CommitId::ALL, Until::done())?;
        }
        Ok(())
    }

    async fn take_or_wait_async(&self, want: u64) -> Result<(), SpaceError> {
        let mut watch = self.busy.watch();
        while !self.take(want) {
            watch.wait_async(CommitId::ALL).await?;
        }
        Ok(())
    }

    /// As a thread, or as a future.
    fn had_in(&self, form: usize, want: u64) -> Result<(), SpaceError> {
        if form == 0 { self.take_or_wait(want) } else { block_on(self.take_or_wait_async(want)) }
    }
}

#[test]
fn g6_a_wait_for_space_comes_in_four_forms() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let error = busy.watch().try_wait(CommitId::ALL).unwrap_err();
    assert!(matches!(error, SpaceError::NothingPinned { not_durable: 0 }), "nothing is parked: {error}");
    for form in 0..2 {
        let mut pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
        pin.hand_over();
        break_of(&area, &layout, 0..8, Policy::Detach).drain(Until::done()).unwrap().commit(|| vec![extent(0, 8)]);
        let mut watch = busy.watch();
        watch.try_wait(CommitId::ALL).expect("a part is reached by nobody");
        assert_eq!(reaped(&busy), [extent(4, 8)]);
        watch.try_wait(CommitId::ALL).expect("that reap gave something");
        let error = watch.try_wait(CommitId::ALL).unwrap_err();
        assert!(matches!(&error, SpaceError::Busy { pin, timed_out: false } if pin.range == (0..4)), "{error}");
        let error = watch.wait(CommitId::ALL, Until::after(SOON)).unwrap_err();
        assert!(matches!(&error, SpaceError::Busy { pin, timed_out: true } if pin.range == (0..4)), "{error}");
        thread::scope(|scope| {
            let waiting = asleep(scope, || match form {
                0 => reap_or_wait(&busy, Until::done()),
                _ => block_on(reap_or_wait_async(&busy)),
            });
            drop(pin);
            assert_eq!(waiting.join().unwrap().unwrap(), [extent(0, 4)]);
        });
    }
}

#[test]
fn g2_blocks_that_come_free_without_a_reap_wake_who_waits() {
    for form in 0..2 {
        let Fixture { area, holder, layout } = Fixture::new();
        let allocator = Allocator::of(&area);
        thread::scope(|scope| {
            let _pin = parked(&area, &holder, &layout, 0, 4);
            let waiting = asleep(scope, || allocator.had_in(form, 2));
            assert!(!waiting.is_finished(), "it waits for the pin");
            for _ in 0..2 {
                allocator.put(1);
                allocator.busy.came_free();
            }
            wait_until("there is enough, and it is used", || waiting.is_finished());
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(*allocator.free.lock().unwrap(), 0);
    }
}

#[test]
fn g2_blocks_that_somebody_else_reaps_wake_who_waits_for_other_pins() {
    for form in 0..2 {
        let Fixture { area, holder, layout } = Fixture::new();
        let other = area.layout(8).unwrap();
        let allocator = Allocator::of(&area);
        thread::scope(|scope| {
            let _pin = parked(&area, &holder, &layout, 0, 4);
            let waiting = asleep(scope, || allocator.had_in(form, 4));
            // Nobody is in this one.
            let left = Extent { object: 8, start: 0, end: 4, block: 0 };
            let mut brk = area.break_layout(&[(&other, 0..4)], Policy::Wait, Effect::Frees).unwrap();
            brk.try_drain().unwrap().commit(|| vec![left]);
            allocator.busy.reap(CommitId::ALL, |free| allocator.put(free.iter().map(|free| free.extent().len()).sum()));
            wait_until("there is enough, and it is used", || waiting.is_finished());
            waiting.join().unwrap().unwrap();
        });
    }
}

#[test]
fn g2_what_is_parked_while_somebody_waits_wakes_him_when_its_pin_leaves() {
    for form in 0..2 {
        let Fixture { area, layout, holder } = Fixture::new();
        let (another, other) = (area.holder().unwrap(), area.layout(8).unwrap());
        let allocator = Allocator::of(&area);
        thread::scope(|scope| {
            let _stays = parked(&area, &holder, &layout, 0, 4);
            let waiting = asleep(scope, || allocator.had_in(form, 4));
            let (leaves, _) = parked(&area, &another, &other, 0, 4);
            assert!(!waiting.is_finished());
            drop(leaves);
            wait_until("there is enough, and it is used", || waiting.is_finished());
            waiting.join().unwrap().unwrap();
        });
    }
}

#[test]
fn g2_what_becomes_durable_while_somebody_waits_wakes_him_when_its_pin_leaves() {
    let Fixture { area, layout, holder } = Fixture::new();
    let (another, other) = (area.holder().unwrap(), area.layout(8).unwrap());
    let busy = area.busy_extents();
    let watched = &busy;
    thread::scope(|scope| {
        let (_stays, durable) = parked(&area, &holder, &layout, 0, 4);
        let (leaves, younger) = parked(&area, &another, &other, 0, 4);
        let waiting = asleep(scope, move || {
            let mut watch = watched.watch();
            // The one who waits flushes nothing, and knows of nothing younger.
            while watched.reap(durable, |free| free.is_empty()) {
                watch.wait(durable, Until::done()).unwrap();
            }
        });
        assert!(!waiting.is_finished());
        busy.reap(younger, |free| assert!(free.is_empty(), "a pin keeps it"));
        drop(leaves);
        wait_until("it is had", || waiting.is_finished());
        waiting.join().unwrap();
    });
}

#[test]
fn g2_what_comes_free_between_the_attempt_and_the_wait_is_not_missed() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    // This thread's own, so that a wait which has missed something is refused, and does not hang.
    let pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
    break_of(&area, &layout, 0..4, Policy::Detach).drain(Until::done()).unwrap().commit(|| vec![extent(0, 4)]);
    assert!(reaped(&busy).is_empty());
    busy.came_free();
    let mut watch = busy.watch();
    let error = watch.wait(CommitId::ALL, Until::done()).unwrap_err();
    assert!(matches!(error, SpaceError::Deadlock(_)), "what came before it is seen by the attempt after it: {error}");
    busy.came_free();
    watch.wait(CommitId::ALL, Until::done()).expect("it came after the attempt");
    let error = watch.wait(CommitId::ALL, Until::done()).unwrap_err();
    assert!(matches!(error, SpaceError::Deadlock(_)), "once for each: {error}");
    busy.came_free();
    watch.try_wait(CommitId::ALL).expect("for who only looks too");
    busy.came_free();
    block_on(watch.wait_async(CommitId::ALL)).expect("and for who awaits");
    drop(pin);
}

#[test]
fn g2_nobody_is_told_of_no_space_while_somebody_has_it_in_hand() {
    let Fixture { area, holder, layout } = Fixture::new();
    let allocator = &Allocator::of(&area);
    for form in 0..2 {
        let (pin, _) = parked(&area, &holder, &layout, 0, 4);
        drop(pin);
        let (send, in_hand) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let go_on = go_on;
            let mut watch = allocator.busy.watch();
            assert_eq!(*allocator.free.lock().unwrap(), 0);
            let reaping = scope.spawn(move || {
                allocator.busy.reap(CommitId::ALL, |free: Vec<FreeExtent>| {
                    send.send(free.len()).unwrap();
                    told.recv().unwrap();
                    allocator.put(free.iter().map(|free| free.extent().len()).sum());
                });
            });
            assert_eq!(in_hand.recv().unwrap(), 1);
            let waiting = asleep(scope, move || {
                let waited = if form == 0 {
                    watch.wait(CommitId::ALL, Until::done())
                } else {
                    block_on(watch.wait_async(CommitId::ALL))
                };
                waited.expect("it is on its way");
                assert!(allocator.take(4), "it is here");
            });
            assert!(!waiting.is_finished());
            let counting = asleep(scope, || (allocator.busy.stats(), *allocator.free.lock().unwrap()));
            assert!(!counting.is_finished(), "a count overlooks nothing");
            go_on.send(()).unwrap();
            reaping.join().unwrap();
            counting.join().unwrap();
            waiting.join().unwrap();
        });
    }
}

#[test]
fn g2_two_that_wait_for_the_blocks_of_one_pin_both_get_theirs() {
    let Fixture { area, holder, layout } = Fixture::new();
    let allocator = &Allocator::of(&area);
    for round in 0..200 {
        let (pin, _) = parked(&area, &holder, &layout, 0, 4);
        thread::scope(|scope| {
            let waiting = [0, round % 2].map(|form| asleep(scope, move || allocator.had_in(form, 2)));
            drop(pin);
            waiting.into_iter().for_each(|waiting| waiting.join().unwrap().expect("there are two for each"));
        });
        assert_eq!(*allocator.free.lock().unwrap(), 0);
    }
}

#[test]
fn g6_after_its_deadline_a_wait_lets_the_caller_try_once_more_and_then_ends() {
    let Fixture { area, holder, layout } = Fixture::new();
    let (pin, _) = parked(&area, &holder, &layout, 0, 4);
    let busy = area.busy_extents();
    let (passed, mut watch) = (Until::after(Duration::ZERO), busy.watch());
    busy.came_free();
    watch.wait(CommitId::ALL, passed).expect("look before giving up");
    // Others give and take all the time.
    busy.came_free();
    let error = watch.wait(CommitId::ALL, passed).unwrap_err();
    assert!(matches!(&error, SpaceError::Busy { pin, timed_out: true } if pin.range == (0..4)), "{error}");
    drop(pin);
}

#[test]
fn g6_a_wait_for_what_is_not_durable_is_told_so() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let durable = busy.newest_commit();
    let (pin, commit) = parked(&area, &holder, &layout, 0, 4);
    break_of(&area, &layout, 4..8, Policy::Wait).drain(Until::done()).unwrap().commit(|| vec![extent(4, 8)]);
    let mut watch = busy.watch();
    for error in [
        watch.wait(durable, Until::done()).unwrap_err(),
        watch.try_wait(durable).unwrap_err(),
        block_on(watch.wait_async(durable)).unwrap_err(),
    ] {
        // What is under the pin as well: it has to be durable first.
        assert!(matches!(error, SpaceError::NothingPinned { not_durable: 8 }), "{error}");
    }
    let error = busy.watch().try_wait(commit).unwrap_err();
    assert!(matches!(&error, SpaceError::Busy { pin, .. } if pin.range == (0..4)), "{error}");
    busy.watch().try_wait(CommitId::ALL).expect("the rest is reached by nobody");
    drop(pin);
}

#[test]
fn g2_a_wait_for_the_pins_of_very_many_holders_is_woken_by_the_last_of_them() {
    // More than the kernel lets one thread sleep on.
    let geometry = Geometry { holders_max: 140, ..small_geometry() };
    let area = Area::embedded(AreaOptions::default().geometry(geometry)).unwrap();
    let layout = area.layout(7).unwrap();
    let holders: Vec<_> = (0..140).map(|_| area.holder().unwrap()).collect();
    let busy = area.busy_extents();
    thread::scope(|scope| {
        let parked = |(at, holder)| parked(&area, holder, &layout, at, at + 1).0;
        let mut pins: Vec<_> = (0..).zip(&holders).map(parked).collect();
        let waiting = asleep(scope, || reap_or_wait(&busy, Until::done()));
        drop(pins.pop());
        wait_until("it is had", || waiting.is_finished());
        assert_eq!(waiting.join().unwrap().unwrap().len(), 1);
    });
}

#[test]
fn g6_a_wait_that_is_dropped_is_waited_for_no_more() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let (pin, _) = parked(&area, &holder, &layout, 0, 4);
    {
        let mut waiting = pin!(reap_or_wait_async(&busy));
        let waker = std::task::Waker::noop();
        assert!(waiting.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    }
    busy.came_free();
    drop(pin);
    assert_eq!(reaped(&busy).len(), 1);
}
