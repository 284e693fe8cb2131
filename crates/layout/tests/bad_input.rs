//! What callers get wrong: each is told so, with the errno of the design, and nothing is left behind.

mod common;

use std::error::Error;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::{COPY, Census, DEVICE, Fixture, alone, block_on, poll_once, small_geometry, wait_until_a_break_sleeps};
use pinfold_layout::{
    Access, Area, AreaError, AreaOptions, BreakError, CommitId, Effect, Extent, Geometry, LabelError, Layout,
    LayoutBreak, LayoutToken, LongTerm, PinError, PinRequest, Policy, RawPin, SpaceError, UnpinError, Until,
};
use rustix::io::Errno;

const SOON: Duration = Duration::from_millis(20);

/// Runs a test that must leave nothing behind.
fn nothing_stays(fixture: &Fixture, test: impl FnOnce()) {
    let _alone = alone();
    let before = Census::of(&fixture.area);
    test();
    assert_eq!(Census::of(&fixture.area), before, "something was left behind");
}

fn assert_errno(errno: i32, expected: Errno, error: &dyn Error) {
    assert_eq!(Errno::from_raw_os_error(errno), expected, "of: {error}");
    assert!(!error.to_string().is_empty());
}

fn break_of(area: &Area, layout: &Layout, range: Range<u64>) -> LayoutBreak {
    area.break_layout(&[(layout, range)], Policy::Wait, Effect::Frees).unwrap()
}

#[allow(clippy::reversed_empty_ranges, reason = "that is what is tried")]
const NO_RANGES: [Range<u64>; 6] = [0..0, 5..5, 8..3, u64::MAX..u64::MAX, u64::MAX..0, u64::MAX - 1..4];

#[test]
fn a_pin_of_an_empty_inverted_or_wrapping_range_is_refused() {
    let fixture = Fixture::small();
    let Fixture { holder, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        for range in NO_RANGES {
            let refuse = |error: PinError| {
                assert!(matches!(&error, PinError::BadRange(bad) if *bad == range), "{error}");
                assert_errno(error.errno(), Errno::INVAL, &error);
            };
            refuse(holder.pin(layout, range.clone(), DEVICE, Until::done(), || ()).map(drop).unwrap_err());
            refuse(holder.try_pin(layout, range.clone(), COPY, || ()).map(drop).unwrap_err());
            refuse(block_on(holder.pin_async(layout, range.clone(), DEVICE, || ())).map(drop).unwrap_err());
            let requests = [0..1, range.clone()].map(|range| PinRequest { layout, range, spec: DEVICE });
            refuse(holder.transfer(&requests, Until::done(), drop).map(drop).unwrap_err());
            let term = LongTerm::new(Access::Write, Some(Arc::new(|_: &pinfold_layout::Recalled| ())));
            refuse(holder.try_pin_long_term(layout, range.clone(), term.clone(), || ()).map(drop).unwrap_err());
            refuse(
                block_on(holder.pin_long_term_async(layout, range.clone(), term.clone(), || ())).map(drop).unwrap_err(),
            );
            let long_term = holder.pin_long_term(layout, range.clone(), term, Until::done(), || ());
            refuse(long_term.map(drop).unwrap_err());
        }
    });
}

#[test]
fn a_break_of_an_empty_inverted_wrapping_or_overlapping_range_is_refused() {
    let fixture = Fixture::small();
    let Fixture { area, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        let refuse = |ranges: &[Range<u64>]| {
            let targets: Vec<_> = ranges.iter().map(|range| (layout, range.clone())).collect();
            let error = area.break_layout(&targets, Policy::Wait, Effect::Frees).map(drop).unwrap_err();
            assert!(matches!(error, BreakError::BadRange(_)), "{error}");
            assert_errno(error.errno(), Errno::INVAL, &error);
        };
        refuse(&[]);
        for range in NO_RANGES {
            refuse(std::slice::from_ref(&range));
            refuse(&[0..1, range]);
        }
        refuse(&[0..8, 7..9]);
        refuse(&[7..9, 0..8]);
        refuse(&[0..8, 0..8]);
        refuse(&[0..u64::MAX, 4..5]);
        let neighbours = area.break_layout(&[(layout, 8..16), (layout, 0..8)], Policy::Wait, Effect::Frees);
        neighbours.expect("neighbours do not overlap").drain(Until::done()).unwrap().commit(Vec::new);
    });
}

#[test]
fn g5_the_largest_ranges_there_are_meet_what_they_reach_and_nothing_else() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let whole = holder.pin(layout, 0..u64::MAX, DEVICE, Until::done(), || ()).unwrap();
        for range in [0..1, u64::MAX - 1..u64::MAX, 0..u64::MAX] {
            let error = break_of(area, layout, range).try_drain().map(drop).unwrap_err();
            assert!(matches!(error, BreakError::Busy(_)), "{error}");
        }
        drop(whole);
        let last = holder.pin(layout, u64::MAX - 1..u64::MAX, DEVICE, Until::done(), || ()).unwrap();
        break_of(area, layout, 0..u64::MAX - 1).try_drain().expect("one short of the pin").commit(Vec::new);
        assert!(break_of(area, layout, 0..u64::MAX).try_drain().is_err());
        assert_eq!(area.first_busy(layout, 0..u64::MAX).unwrap().range, u64::MAX - 1..u64::MAX);
        drop(last);
        break_of(area, layout, 0..u64::MAX).try_drain().unwrap().commit(Vec::new);
    });
}

#[test]
fn object_0_is_none() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let error = area.layout(0).map(drop).unwrap_err();
        assert!(matches!(error, AreaError::ZeroObject), "{error}");
        assert_errno(error.errno(), Errno::INVAL, &error);
        let token = LayoutToken { object: 0, ..layout.token() };
        let error = holder.layout(token).map(drop).unwrap_err();
        assert!(matches!(error, PinError::Stale(0)), "{error}");
    });
}

#[test]
fn a_token_that_names_no_layout_gets_estale() {
    let fixture = Fixture::small();
    let Fixture { holder, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        let by_token = holder.layout(layout.token()).unwrap();
        drop(holder.pin(&by_token, 0..1, DEVICE, Until::done(), || ()).expect("the layout's own token"));
        for cell in [small_geometry().files_max, u32::MAX] {
            let error = holder.layout(LayoutToken { cell, ..layout.token() }).map(drop).unwrap_err();
            assert_errno(error.errno(), Errno::STALE, &error);
        }
        for token in [
            LayoutToken { object: 8, ..layout.token() },
            LayoutToken { cell: layout.token().cell + 1, ..layout.token() },
        ] {
            let stale = holder.layout(token).expect("whether it is that file's shows when it is pinned");
            let error = holder.pin(&stale, 0..1, DEVICE, Until::done(), || ()).map(drop).unwrap_err();
            assert!(matches!(error, PinError::Stale(object) if object == token.object), "{error}");
            assert_errno(error.errno(), Errno::STALE, &error);
        }
    });
}

#[test]
fn a_layout_that_came_by_token_cannot_be_broken() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let by_token = holder.layout(layout.token()).unwrap();
        let error = area.break_layout(&[(&by_token, 0..1)], Policy::Wait, Effect::Frees).map(drop).unwrap_err();
        assert!(matches!(error, BreakError::Stale(7)), "it keeps no cell: {error}");
        assert_errno(error.errno(), Errno::STALE, &error);
    });
}

#[test]
fn a_layout_of_another_area_is_refused() {
    let (fixture, other) = (Fixture::small(), Fixture::small());
    let Fixture { area, holder, .. } = &fixture;
    nothing_stays(&fixture, || {
        let refuse = |error: PinError| {
            assert!(matches!(error, PinError::ForeignLayout(7)), "{error}");
            assert_errno(error.errno(), Errno::INVAL, &error);
        };
        refuse(holder.pin(&other.layout, 0..1, DEVICE, Until::done(), || ()).map(drop).unwrap_err());
        refuse(block_on(holder.pin_async(&other.layout, 0..1, DEVICE, || ())).map(drop).unwrap_err());
        let request = PinRequest { layout: &other.layout, range: 0..1, spec: DEVICE };
        refuse(holder.try_transfer(&[request], drop).map(drop).unwrap_err());
        let error = area.break_layout(&[(&other.layout, 0..1)], Policy::Wait, Effect::Frees).map(drop).unwrap_err();
        assert!(matches!(error, BreakError::Stale(7)), "{error}");
        assert_errno(error.errno(), Errno::STALE, &error);
    });
}

#[test]
fn a_break_covers_two_files_and_no_third() {
    let fixture = Fixture::small();
    let Fixture { area, layout, .. } = &fixture;
    let (second, third) = (area.layout(8).unwrap(), area.layout(9).unwrap());
    nothing_stays(&fixture, || {
        let two = [(&second, 0..8), (layout, 0..8), (&second, 8..16)];
        let mut brk = area.break_layout(&two, Policy::Wait, Effect::Moves).unwrap();
        brk.drain(Until::done()).unwrap().commit(Vec::new);
        let three = [(&second, 0..8), (layout, 0..8), (&third, 0..8)];
        let error = area.break_layout(&three, Policy::Wait, Effect::Moves).map(drop).unwrap_err();
        assert!(matches!(error, BreakError::TooManyFiles(3)), "{error}");
        assert_errno(error.errno(), Errno::INVAL, &error);
    });
}

#[test]
fn what_moves_blocks_cannot_detach() {
    let fixture = Fixture::small();
    let Fixture { area, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        let error = area.break_layout(&[(layout, 0..8)], Policy::Detach, Effect::Moves).map(drop).unwrap_err();
        assert!(matches!(error, BreakError::DetachMoves), "{error}");
        assert_errno(error.errno(), Errno::OPNOTSUPP, &error);
    });
}

#[test]
fn a_raw_pin_is_given_back_once() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let (raw, resolved) = holder.pin(layout, 0..8, DEVICE, Until::done(), || "blocks").unwrap().into_raw();
        assert_eq!((resolved, holder.pins()), ("blocks", 1), "it stays held as a number");
        holder.unpin_raw(raw).unwrap();
        let error = holder.unpin_raw(raw).unwrap_err();
        assert_eq!(error, UnpinError::NotHeld);
        assert_errno(error.errno(), Errno::INVAL, &error);
        let (later, ()) = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_raw();
        assert_eq!((later.slot, later.version != raw.version), (raw.slot, true), "the same slot, a later version");
        assert_eq!(holder.unpin_raw(raw), Err(UnpinError::NotHeld), "a late double unpin spares the slot's next pin");
        assert!(break_of(area, layout, 0..8).try_drain().is_err());
        holder.unpin_raw(later).unwrap();
    });
}

#[test]
fn of_two_threads_that_give_the_same_raw_pin_back_one_wins() {
    let fixture = Fixture::small();
    let Fixture { holder, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        for _ in 0..200 {
            let (raw, ()) = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_raw();
            let won = thread::scope(|scope| {
                let other = scope.spawn(|| holder.unpin_raw(raw).is_ok());
                usize::from(holder.unpin_raw(raw).is_ok()) + usize::from(other.join().unwrap())
            });
            assert_eq!((won, holder.pins()), (1, 0));
        }
    });
}

#[test]
fn a_raw_pin_that_never_was_is_refused() {
    let fixture = Fixture::small();
    let Fixture { holder, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        let (raw, ()) = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_raw();
        for made_up in [
            RawPin { slot: u32::MAX, ..raw },
            RawPin { slot: small_geometry().blocks_max * small_geometry().slots_per_block, ..raw },
            RawPin { slot: raw.slot + 1, ..raw },
            RawPin { cell: u32::MAX, ..raw },
            RawPin { version: raw.version + 1, ..raw },
            RawPin { version: u64::MAX, ..raw },
        ] {
            assert_eq!(holder.unpin_raw(made_up), Err(UnpinError::NotHeld), "{made_up:?}");
        }
        assert_eq!(holder.pins(), 1);
        holder.unpin_raw(raw).unwrap();
    });
}

#[test]
fn a_raw_pin_of_another_holder_is_refused() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    let other = area.holder().unwrap();
    nothing_stays(&fixture, || {
        let (mine, ()) = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_raw();
        let (theirs, ()) = other.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_raw();
        assert_eq!(holder.unpin_raw(theirs), Err(UnpinError::NotHeld));
        assert_eq!(other.unpin_raw(mine), Err(UnpinError::NotHeld));
        assert_eq!((holder.pins(), other.pins()), (1, 1));
        holder.unpin_raw(mine).unwrap();
        other.unpin_raw(theirs).unwrap();
    });
}

#[test]
fn a_pin_may_be_dropped_by_another_thread() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        for _ in 0..100 {
            let pin = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
            let owned = holder.pin_owned(layout, 8..16, COPY, Until::done(), || ()).unwrap();
            thread::scope(|scope| scope.spawn(move || drop((pin, owned))).join().unwrap());
            break_of(area, layout, 0..16).try_drain().expect("both left").commit(Vec::new);
        }
    });
}

#[test]
fn g4_a_break_that_would_wait_for_its_own_thread_is_told_which_pin() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    let label = holder.label("ring 3", "prefetch").unwrap();
    nothing_stays(&fixture, || {
        for spec in [DEVICE, COPY] {
            let pin = holder.pin(layout, 2..4, spec.labelled(label), Until::done(), || ()).unwrap();
            let error = break_of(area, layout, 0..8).drain(Until::done()).map(drop).unwrap_err();
            let BreakError::Deadlock(info) = &error else { panic!("{error}") };
            assert_eq!((info.range.clone(), info.engine.as_str(), info.label.as_str()), (2..4, "ring 3", "prefetch"));
            assert_errno(error.errno(), Errno::DEADLK, &error);
            drop(holder.try_pin(layout, 0..8, DEVICE, || ()).expect("it has withdrawn"));
            drop(pin);
        }
    });
}

#[test]
fn g4_a_break_inside_a_break_of_the_same_thread_and_range_is_told_so() {
    let fixture = Fixture::small();
    let Fixture { area, layout, .. } = &fixture;
    nothing_stays(&fixture, || {
        let mut outer = break_of(area, layout, 0..8);
        let idle = outer.drain(Until::done()).unwrap();
        let mut inner = break_of(area, layout, 4..12);
        let error = inner.drain(Until::done()).map(drop).unwrap_err();
        assert!(matches!(&error, BreakError::NestedBreak(range) if *range == (0..8)), "{error}");
        assert_errno(error.errno(), Errno::DEADLK, &error);
        let error = inner.try_drain().map(drop).unwrap_err();
        assert!(matches!(error, BreakError::Contended { object: 7, .. }), "{error}");
        assert_errno(error.errno(), Errno::BUSY, &error);
        break_of(area, layout, 8..12).drain(Until::done()).expect("beside it").commit(Vec::new);
        idle.commit(Vec::new);
        inner.drain(Until::done()).expect("after it").commit(Vec::new);
    });
}

#[test]
fn labels_that_are_too_long_or_too_many_are_refused_and_the_others_stay() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let longest = "x".repeat(100);
        let error = holder.label(&longest, &"y".repeat(21)).unwrap_err();
        assert_eq!(error, LabelError::TooLong { len: 121, max: 120 });
        assert!(error.to_string().contains("121"), "{error}");
        let fits = holder.label(&longest, &"y".repeat(20)).unwrap();
        let pin = holder.pin(layout, 0..1, DEVICE.labelled(fits), Until::done(), || ()).unwrap();
        assert_eq!((&area.pins()[0].engine, area.pins()[0].label.len()), (&longest, 20));
        drop(pin);
        // Label 0 is none, so four places are three labels.
        let control = holder.label("engine", "line\nbreak\u{7}").unwrap();
        holder.label("", "").unwrap();
        let error = holder.label("one", "more").unwrap_err();
        assert_eq!(error, LabelError::NoPlace { labels_max: 4 });
        assert_eq!(holder.label("engine", "line\nbreak\u{7}").unwrap(), control, "the same pair gives the same label");
        let pin = holder.pin(layout, 0..1, DEVICE.labelled(control), Until::done(), || ()).unwrap();
        assert_eq!(area.pins()[0].label, "linebreak", "nothing that garbles a terminal");
        drop(pin);
    });
}

/// Runs what panics, without its message on the terminal.
fn panics<T>(run: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "it panics");
}

#[test]
fn a_panic_inside_resolve_leaves_no_pin() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let broken_map = || -> u64 { std::panic::resume_unwind(Box::new("the caller's map is broken")) };
        panics(|| holder.pin(layout, 0..8, DEVICE, Until::done(), broken_map).map(drop));
        panics(|| holder.pin_owned(layout, 0..8, COPY, Until::done(), broken_map).map(drop));
        panics(|| holder.try_pin(layout, 0..8, DEVICE, broken_map).map(drop));
        panics(|| poll_once(&mut holder.pin_async(layout, 0..8, DEVICE, broken_map)).is_ready());
        let mut brk = break_of(area, layout, 0..8);
        let idle = brk.drain(Until::done()).unwrap();
        let mut waited = holder.pin_async(layout, 0..8, DEVICE, broken_map);
        assert!(poll_once(&mut waited).is_pending());
        idle.commit(Vec::new);
        panics(|| poll_once(&mut waited).is_ready());
        drop(waited);
        break_of(area, layout, 0..8).try_drain().expect("its wish is gone with it").commit(Vec::new);
        let requests = [0..1, 1..2, 2..3].map(|range| PinRequest { layout, range, spec: DEVICE });
        let third_is_broken = |index| if index == 2 { broken_map() } else { 0 };
        panics(|| holder.transfer(&requests, Until::done(), third_is_broken).map(drop));
        let (mut transfer, _) = holder.transfer(&requests[..1], Until::done(), drop).unwrap();
        panics(|| transfer.extend(layout, 4..5, DEVICE, broken_map).map(drop));
        assert_eq!((transfer.pins(), holder.pins()), (1, 1), "what the transfer held before it still holds");
        drop(transfer);
        break_of(area, layout, 0..8).try_drain().expect("nobody is in").commit(Vec::new);
    });
}

#[test]
fn g1_a_panic_inside_the_change_leaves_the_range_closed() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    let _alone = alone();
    let half_done = || -> Vec<Extent> { std::panic::resume_unwind(Box::new("half of the change is made")) };
    let mut brk = break_of(area, layout, 0..8);
    panics(|| brk.drain(Until::done()).unwrap().commit(half_done));
    drop(brk);
    let error = holder.try_pin(layout, 0..1, COPY, || ()).map(drop).unwrap_err();
    assert!(matches!(error, PinError::LayoutBreaking { object: 7, .. }), "nobody knows what left: {error}");
    let error = holder.try_pin(layout, 7..9, DEVICE, || ()).map(drop).unwrap_err();
    assert!(matches!(error, PinError::LayoutBreaking { object: 7, .. }), "{error}");
    let error = break_of(area, layout, 0..1).try_drain().map(drop).unwrap_err();
    assert!(matches!(error, BreakError::Contended { object: 7, .. }), "{error}");
    assert!(area.breaks()[0].closing);
    drop(holder.try_pin(layout, 8..16, DEVICE, || ()).expect("the rest of the file goes on (G5)"));
    break_of(area, layout, 8..16).try_drain().expect("and so do its breaks").commit(Vec::new);
    assert_eq!(holder.pins(), 0);
}

#[test]
fn capacities_that_no_table_can_have_are_refused() {
    let sound = small_geometry();
    for geometry in [
        Geometry { files_max: 0, ..sound },
        Geometry { chains: 3, ..sound },
        Geometry { blocks_max: 0, ..sound },
        Geometry { slots_per_block: 0, ..sound },
        Geometry { slots_per_block: u32::MAX, blocks_max: u32::MAX, ..sound },
        Geometry { labels_max: u32::MAX, ..sound },
        Geometry { announcements_max: u32::MAX, ..sound },
    ] {
        let error = Area::embedded(AreaOptions::default().geometry(geometry)).map(drop).unwrap_err();
        assert!(matches!(error, AreaError::BadGeometry), "{geometry:?}: {error}");
        assert_errno(error.errno(), Errno::INVAL, &error);
    }
}

#[test]
fn g6_what_waits_behind_a_pin_has_the_errno_of_how_it_ended() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let mut pin = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
        pin.hand_over();
        let mut brk = break_of(area, layout, 0..8);
        let busy = brk.try_drain().map(drop).unwrap_err();
        assert!(matches!(busy, BreakError::Busy(_)), "{busy}");
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        let timed_out = brk.drain(Until::after(SOON)).map(drop).unwrap_err();
        assert!(matches!(&timed_out, BreakError::TimedOut(Some(pin)) if pin.range == (0..8)), "{timed_out}");
        assert_errno(timed_out.errno(), Errno::TIMEDOUT, &timed_out);
        let canceller = brk.canceller();
        canceller.cancel();
        let cancelled = brk.drain(Until::done()).map(drop).unwrap_err();
        assert!(matches!(cancelled, BreakError::Cancelled), "{cancelled}");
        assert_errno(cancelled.errno(), Errno::CANCELED, &cancelled);
        drop(pin);
    });
}

#[test]
fn g6_what_waits_behind_a_break_has_the_errno_of_how_it_ended() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    nothing_stays(&fixture, || {
        let mut brk = break_of(area, layout, 0..8);
        let idle = brk.drain(Until::done()).unwrap();
        let busy = holder.try_pin(layout, 0..8, DEVICE, || ()).map(drop).unwrap_err();
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        let deadlock = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).map(drop).unwrap_err();
        assert_errno(deadlock.errno(), Errno::DEADLK, &deadlock);
        let other_thread = || holder.pin(layout, 0..8, DEVICE, Until::after(SOON), || ()).map(drop).unwrap_err();
        let timed_out = thread::scope(|scope| scope.spawn(other_thread).join().unwrap());
        assert!(matches!(timed_out, PinError::TimedOut { object: 7, .. }), "{timed_out}");
        assert_errno(timed_out.errno(), Errno::TIMEDOUT, &timed_out);
        let other_break = || break_of(area, layout, 0..8).drain(Until::after(SOON)).map(drop).unwrap_err();
        let timed_out = thread::scope(|scope| scope.spawn(other_break).join().unwrap());
        assert!(matches!(timed_out, BreakError::TimedOut(None)), "it was no pin: {timed_out}");
        drop(idle);
    });
}

#[test]
fn g6_what_waits_for_space_has_the_errno_of_how_it_ended() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    let busy = area.busy_extents();
    nothing_stays(&fixture, || {
        let mut pin = holder.pin(layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
        let mut brk = area.break_layout(&[(layout, 0..4)], Policy::Detach, Effect::Frees).unwrap();
        let commit =
            brk.drain(Until::done()).unwrap().commit(|| vec![Extent { object: 7, start: 0, end: 4, block: 0 }]);
        let mut watch = busy.watch();
        let no_space = watch.try_wait(CommitId(commit.0 - 1)).unwrap_err();
        assert!(matches!(no_space, SpaceError::NothingPinned { not_durable: 4 }), "{no_space}");
        assert_errno(no_space.errno(), Errno::NOSPC, &no_space);
        let deadlock = watch.wait(CommitId::ALL, Until::done()).unwrap_err();
        assert!(matches!(&deadlock, SpaceError::Deadlock(pin) if pin.range == (0..4)), "{deadlock}");
        assert_errno(deadlock.errno(), Errno::DEADLK, &deadlock);
        pin.hand_over();
        let kept = watch.try_wait(CommitId::ALL).unwrap_err();
        assert!(matches!(kept, SpaceError::Busy { timed_out: false, .. }), "{kept}");
        assert_errno(kept.errno(), Errno::BUSY, &kept);
        let timed_out = watch.wait(CommitId::ALL, Until::after(SOON)).unwrap_err();
        assert!(matches!(timed_out, SpaceError::Busy { timed_out: true, .. }), "{timed_out}");
        assert_errno(timed_out.errno(), Errno::TIMEDOUT, &timed_out);
        drop(pin);
        assert_eq!(busy.reap(CommitId::ALL, |free| free).len(), 1);
    });
}

mod signals {
    //! A signal whose handler does nothing, but for ending a system call.

    const USER_1: i32 = 10;

    unsafe extern "C" {
        fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
        fn siginterrupt(signal: i32, interrupts: i32) -> i32;
        fn tgkill(process: i32, thread: i32, signal: i32) -> i32;
    }

    extern "C" fn nothing(_: i32) {}

    pub(crate) fn let_interrupt() {
        // SAFETY: the handler touches nothing, so it may run at any point of any thread.
        unsafe {
            signal(USER_1, nothing);
            siginterrupt(USER_1, 1);
        }
    }

    pub(crate) fn send_to(thread: i32) {
        // SAFETY: the handler was set by `let_interrupt`; sending to a thread that is gone is an error, and no harm.
        unsafe { tgkill(std::process::id() as i32, thread, USER_1) };
    }
}

#[test]
fn g6_a_signal_ends_an_interruptible_wait_and_no_other() {
    let fixture = Fixture::small();
    let Fixture { area, holder, layout } = &fixture;
    signals::let_interrupt();
    nothing_stays(&fixture, || {
        let mut pin = holder.pin(layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
        pin.hand_over();
        thread::scope(|scope| {
            let (send, thread) = mpsc::channel();
            let waiting = scope.spawn(move || {
                send.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
                let error = break_of(area, layout, 0..8).drain(Until::done().interruptible()).map(drop).unwrap_err();
                assert!(matches!(&error, BreakError::Interrupted(Some(pin)) if pin.range == (0..8)), "{error}");
                assert_errno(error.errno(), Errno::INTR, &error);
                let until = Until::after(Duration::from_millis(200));
                break_of(area, layout, 0..8).drain(until).map(drop).unwrap_err()
            });
            let thread = thread.recv().unwrap();
            wait_until_a_break_sleeps(area);
            // A signal that comes before the thread is asleep does nothing, so they go on until it has ended.
            while !waiting.is_finished() {
                signals::send_to(thread);
                thread::yield_now();
            }
            let error = waiting.join().unwrap();
            assert!(matches!(error, BreakError::TimedOut(_)), "signals end only what asked for it: {error}");
        });
        drop(pin);
    });
}

#[test]
fn a_full_holder_table_is_told_with_enobufs() {
    let fixture = Fixture::small();
    let Fixture { area, .. } = &fixture;
    nothing_stays(&fixture, || {
        let more: Vec<_> = std::iter::from_fn(|| area.holder().ok()).collect();
        assert_eq!(more.len(), 3, "four places, one of them taken by the fixture");
        let error = area.holder().map(drop).unwrap_err();
        assert!(matches!(error, AreaError::NoHolder { holders_max: 4 }), "{error}");
        assert_errno(error.errno(), Errno::NOBUFS, &error);
    });
}
