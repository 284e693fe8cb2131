//! How a wait is cancelled, and told aloud (G6, G7).

mod common;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{DEVICE, Fixture, block_on, break_of, extent, wait_until, wait_until_a_break_sleeps};
use pinfold_layout::{
    Access, AreaOptions, BreakError, BreakInfo, BusyExtentInfo, CommitId, Observer, PinInfo, Policy, Until,
};

#[test]
fn g6_another_thread_cancels_a_break_that_sleeps() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    for awaited in [false, true] {
        let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
        let canceller = brk.canceller();
        thread::scope(|scope| {
            let breaking = scope.spawn(move || {
                let drained = if awaited { block_on(brk.drain_async()) } else { brk.drain(Until::done()) };
                drained.map(drop).unwrap_err()
            });
            wait_until_a_break_sleeps(&area);
            canceller.cancel();
            let error = breaking.join().unwrap();
            assert!(matches!(error, BreakError::Cancelled), "{error}");
        });
        drop(holder.try_pin(&layout, 0..8, DEVICE, || ()).expect("it has withdrawn"));
    }
    drop(pin);
}

#[test]
fn g6_a_cancel_that_comes_when_nothing_is_in_the_way_fails_nothing() {
    let Fixture { area, layout, .. } = Fixture::new();
    let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
    brk.canceller().cancel();
    brk.drain(Until::done()).expect("look before giving up").commit(Vec::new);
    block_on(brk.drain_async()).expect("look before giving up").commit(Vec::new);
}

#[test]
fn g6_a_break_that_is_cancelled_as_its_last_pin_leaves_ends_one_way_or_the_other() {
    let Fixture { area, holder, layout } = Fixture::new();
    let (mut done, mut cancelled) = (0, 0);
    for round in 0..400 {
        let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
        let mut brk = break_of(&area, &layout, 0..8, Policy::Wait);
        let canceller = brk.canceller();
        thread::scope(|scope| {
            let breaking = scope.spawn(move || {
                let drained = if round % 2 == 0 { block_on(brk.drain_async()) } else { brk.drain(Until::done()) };
                drained.map(|idle| idle.commit(Vec::new))
            });
            wait_until_a_break_sleeps(&area);
            let cancelling = scope.spawn(move || canceller.cancel());
            drop(pin);
            cancelling.join().unwrap();
            match breaking.join().unwrap() {
                Ok(_) => done += 1,
                Err(BreakError::Cancelled) => cancelled += 1,
                Err(error) => panic!("{error}"),
            }
        });
        assert!(area.breaks().is_empty(), "nothing stays announced");
        drop(holder.try_pin(&layout, 0..8, DEVICE, || ()).expect("the range is open"));
    }
    assert_eq!(done + cancelled, 400);
}

#[derive(Default)]
struct Told {
    breaks: Mutex<Vec<BreakInfo>>,
    extents: Mutex<Vec<BusyExtentInfo>>,
}

impl Observer for Told {
    fn break_lasts(&self, info: &BreakInfo) {
        self.breaks.lock().unwrap().push(info.clone());
    }

    fn extent_lasts(&self, info: &BusyExtentInfo) {
        self.extents.lock().unwrap().push(info.clone());
    }
}

#[test]
fn g7_the_observer_is_told_of_what_lasts_and_whom_it_waits_for() {
    let told = Arc::new(Told::default());
    let observer: Arc<dyn Observer> = told.clone();
    let fixture = Fixture::with(AreaOptions::default().observer(observer, Duration::from_millis(1)));
    let Fixture { area, holder, layout } = &fixture;
    let label = holder.label("ring 3", "loading weights").unwrap();
    let pin = holder.pin(layout, 2..6, DEVICE.labelled(label), Until::done(), || ()).unwrap();
    thread::scope(|scope| {
        let breaking =
            scope.spawn(|| break_of(area, layout, 0..8, Policy::Wait).drain(Until::done()).unwrap().commit(Vec::new));
        wait_until("it is said aloud that the break lasts", || !told.breaks.lock().unwrap().is_empty());
        let info = told.breaks.lock().unwrap()[0].clone();
        assert_eq!((info.ranges, info.closing), (vec![(7, 0..8)], false));
        assert_attributed(&info.behind.expect("it sleeps for a pin"), holder.index());
        drop(pin);
        breaking.join().unwrap();
    });

    let pin = holder.pin(layout, 2..6, DEVICE.labelled(label), Until::done(), || ()).unwrap();
    break_of(area, layout, 0..8, Policy::Detach).drain(Until::done()).unwrap().commit(|| vec![extent(0, 8)]);
    wait_until("it is said aloud that an extent stays busy", || !told.extents.lock().unwrap().is_empty());
    let info = told.extents.lock().unwrap()[0].clone();
    assert_eq!((info.object, info.range, info.blocks, info.durable), (7, 0..8, 100..108, false));
    assert_attributed(&info.pins[0], holder.index());
    drop(pin);
    assert_eq!(area.busy_extents().reap(CommitId::ALL, |free| free).len(), 1);
}

fn assert_attributed(pin: &PinInfo, holder: u32) {
    assert_eq!((pin.object, pin.range.clone(), pin.access), (7, 2..6, Access::Write));
    assert_eq!((pin.pid, pin.id.holder, pin.device), (std::process::id(), holder, true));
    assert_eq!((pin.engine.as_str(), pin.label.as_str()), ("ring 3", "loading weights"));
}
