//! Limited mode: devices are refused, copies go on (G12).

mod common;

use std::sync::Arc;
use std::thread;

use common::{COPY, Census, DEVICE, Fixture, alone, block_on, small_geometry, wait_until_a_break_sleeps};
use pinfold_layout::{
    Access, Area, AreaOptions, BreakError, CommitId, Effect, Extent, LongTerm, PinError, PinRequest, Policy, Recalled,
    Until,
};
use rustix::io::Errno;

fn limited() -> Fixture {
    Fixture::with(AreaOptions::default().geometry(small_geometry()).limited(true))
}

/// Runs a test that must leave nothing behind.
fn nothing_stays_in(area: &Area, test: impl FnOnce()) {
    let _alone = alone();
    let before = Census::of(area);
    test();
    assert_eq!(Census::of(area), before, "something was left behind");
}

#[test]
fn g12_in_limited_mode_no_device_pins_in_any_form() {
    let Fixture { area, holder, layout } = &limited();
    nothing_stays_in(area, || {
        let refuse = |error: PinError| {
            assert!(matches!(error, PinError::Limited), "{error}");
            assert_eq!(Errno::from_raw_os_error(error.errno()), Errno::OPNOTSUPP);
            assert_eq!(holder.pins(), 0);
        };
        let unresolved = || -> u64 { panic!("nothing is resolved for a pin that is refused") };
        refuse(holder.pin(layout, 0..8, DEVICE, Until::done(), unresolved).map(drop).unwrap_err());
        refuse(holder.try_pin(layout, 0..8, DEVICE, unresolved).map(drop).unwrap_err());
        refuse(block_on(holder.pin_async(layout, 0..8, DEVICE, unresolved)).map(drop).unwrap_err());
        // Also where a copy through the same slot has just been let in.
        drop(holder.pin(layout, 0..8, COPY, Until::done(), || ()).unwrap());
        refuse(holder.pin_owned(layout, 0..8, DEVICE, Until::done(), unresolved).map(drop).unwrap_err());
        let mixed = [COPY, DEVICE].map(|spec| PinRequest { layout, range: 0..8, spec });
        refuse(holder.transfer(&mixed, Until::done(), drop).map(drop).unwrap_err());
        refuse(holder.try_transfer(&mixed, drop).map(drop).unwrap_err());
        refuse(block_on(holder.transfer_async(&mixed, drop)).map(drop).unwrap_err());
        let (mut copies, _) = holder.transfer(&mixed[..1], Until::done(), drop).unwrap();
        let error = copies.extend(layout, 8..16, DEVICE, unresolved).unwrap_err();
        assert!(matches!(error, PinError::Limited), "{error}");
        assert_eq!(copies.pins(), 1, "what it held before it still holds");
        drop(copies);
        let term = || LongTerm::new(Access::Read, Some(Arc::new(|_: &Recalled| ())));
        refuse(holder.pin_long_term(layout, 0..8, term(), Until::done(), unresolved).map(drop).unwrap_err());
        refuse(holder.try_pin_long_term(layout, 0..8, term(), unresolved).map(drop).unwrap_err());
        refuse(block_on(holder.pin_long_term_async(layout, 0..8, term(), || 0)).map(drop).unwrap_err());
        for policy in [Policy::Wait, Policy::Detach] {
            let mut brk = area.break_layout(&[(layout, 0..u64::MAX)], policy, Effect::Frees).unwrap();
            brk.try_drain().unwrap().commit(|| vec![Extent { object: 7, start: 0, end: 8, block: 0 }]);
            assert_eq!(area.busy_extents().reap(CommitId::ALL, |free| free).len(), 1);
        }
    });
}

#[test]
fn g12_in_limited_mode_copies_go_on_and_a_break_waits_for_them() {
    let Fixture { area, holder, layout } = &limited();
    nothing_stays_in(area, || {
        for form in 0..4 {
            let resolve = || 42;
            let copy = match form {
                0 => holder.pin_owned(layout, 0..8, COPY, Until::done(), resolve).unwrap(),
                1 => holder.try_pin_owned(layout, 0..8, COPY, resolve).unwrap(),
                2 => block_on(holder.pin_async(layout, 0..8, COPY, resolve)).unwrap(),
                // A new thread has no slot at hand.
                _ => thread::scope(|scope| {
                    let copying = || holder.pin_owned(layout, 0..8, COPY, Until::done(), resolve).unwrap();
                    scope.spawn(copying).join().unwrap()
                }),
            };
            assert_eq!((*copy.resolved(), holder.pins()), (42, 1));
            for policy in [Policy::Wait, Policy::Detach] {
                let mut brk = area.break_layout(&[(layout, 4..5)], policy, Effect::Frees).unwrap();
                let error = brk.try_drain().map(drop).unwrap_err();
                assert!(matches!(&error, BreakError::Busy(pin) if !pin.device && pin.range == (0..8)), "{error}");
            }
            let mut brk = area.break_layout(&[(layout, 8..9)], Policy::Wait, Effect::Frees).unwrap();
            brk.try_drain().expect("beside it").commit(Vec::new);
            thread::scope(|scope| {
                let breaking = scope.spawn(|| {
                    let mut brk = area.break_layout(&[(layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
                    brk.drain(Until::done()).unwrap().commit(Vec::new)
                });
                wait_until_a_break_sleeps(area);
                drop(copy);
                breaking.join().unwrap();
            });
        }
    });
}
