//! How much fits, and what is said when it is full: an error that names the capacity, after which nothing has leaked.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::{DEVICE, Fixture, block_on, poll_once, small_geometry, wait_until};
use pinfold_layout::{
    AreaError, BreakError, CommitId, Effect, Extent, Geometry, LabelError, PinError, PinRequest, Policy, Until,
};

const MILLION: u64 = 1_000_000;

/// Cells of files that nobody names are given back together, this many at a time.
const GIVEN_BACK_TOGETHER: usize = 256;

#[test]
fn a_million_files_hold_a_million_pins_while_other_threads_pin() {
    let Fixture { area, holder, layout } = Fixture::new();
    let (over, others) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let pin = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).expect("growth disturbs nobody");
                drop(pin);
                others.fetch_add(1, Ordering::Relaxed);
            }
        });
        let files: Vec<_> =
            (0..MILLION).map(|file| area.layout(1000 + file).unwrap_or_else(|e| panic!("{file}: {e}"))).collect();
        let pins: Vec<_> = files
            .iter()
            .map(|file| {
                holder.pin(file, 0..1, DEVICE, Until::done(), || ()).unwrap_or_else(|e| panic!("{file:?}: {e}"))
            })
            .collect();
        let before = others.load(Ordering::Relaxed);
        wait_until("the other thread still pins", || others.load(Ordering::Relaxed) > before + 1000);
        over.store(true, Ordering::Relaxed);
        wait_until("only the million are held", || holder.pins() == MILLION as usize);
        assert_eq!(area.files(), MILLION as usize + 1);
        let mut brk = area.break_layout(&[(&files[77], 0..8)], Policy::Wait, Effect::Frees).unwrap();
        assert!(matches!(brk.try_drain(), Err(BreakError::Busy(pin)) if pin.object == 1077));
        drop(pins);
        assert_eq!((holder.pins(), area.pins().len()), (0, 0));
        brk.try_drain().expect("its pin has left").commit(Vec::new);
        drop(brk);
        drop(files);
        assert!(area.files() <= GIVEN_BACK_TOGETHER, "{} files have state without a name", area.files());
    });
}

#[test]
fn giving_up_the_names_of_pinned_files_costs_no_more_the_more_there_are() {
    // Looking at all of them each time would take minutes.
    const FILES: u64 = 50_000;
    let Fixture { area, holder, .. } = Fixture::new();
    let files: Vec<_> = (0..FILES).map(|file| area.layout(1000 + file).unwrap()).collect();
    let pins: Vec<_> = files.iter().map(|file| holder.pin(file, 0..1, DEVICE, Until::done(), || ()).unwrap()).collect();
    drop(files);
    assert!(area.files() >= FILES as usize, "a pin keeps the state of its file");
    drop(pins);
    // Those that stayed are looked at again when twice as many more have come.
    drop((0..2 * FILES + 1000).map(|file| area.layout(FILES + 1000 + file).unwrap()).collect::<Vec<_>>());
    assert!(area.files() <= 2 * GIVEN_BACK_TOGETHER, "{} files have state without a name", area.files());
}

#[test]
fn a_million_pins_of_one_file_fit() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pins: Vec<_> = (0..MILLION)
        .map(|at| holder.pin(&layout, at..at + 1, DEVICE, Until::done(), || ()).unwrap_or_else(|e| panic!("{at}: {e}")))
        .collect();
    assert_eq!(holder.pins(), MILLION as usize);
    assert_eq!(area.first_busy(&layout, 500_000..500_001).unwrap().range, 500_000..500_001);
    drop(pins);
    assert_eq!(holder.pins(), 0);
    area.break_layout(&[(&layout, 0..MILLION)], Policy::Wait, Effect::Frees)
        .unwrap()
        .try_drain()
        .expect("all have left")
        .commit(Vec::new);
}

#[test]
fn a_full_pin_table_is_told_and_each_pin_that_leaves_makes_room() {
    let Fixture { area, holder, layout } = Fixture::small();
    let other = area.layout(8).unwrap();
    let slots_max = small_geometry().blocks_max * small_geometry().slots_per_block;
    let assert_full = |error: PinError| {
        assert!(matches!(error, PinError::NoSlot { slots_max: of } if of == slots_max), "{error}");
        assert!(error.to_string().contains(&slots_max.to_string()), "{error}");
    };
    for _ in 0..10 {
        let mut pins: Vec<_> =
            (0..slots_max).map(|_| holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap()).collect();
        assert_full(holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).map(drop).unwrap_err());
        assert_full(holder.try_pin(&layout, 8..16, DEVICE, || ()).map(drop).unwrap_err());
        assert_full(block_on(holder.pin_async(&layout, 0..8, DEVICE, || ())).map(drop).unwrap_err());
        drop(pins.swap_remove(3));
        let two = [0..1, 1..2].map(|range| PinRequest { layout: &layout, range, spec: DEVICE });
        assert_full(holder.transfer(&two, Until::done(), drop).map(drop).unwrap_err());
        assert_eq!(holder.pins(), slots_max as usize - 1, "of a batch that does not fit nothing stays");
        drop(holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).expect("there is room for one"));
        drop(pins);
    }
    assert_eq!((holder.pins(), area.pins().len()), (0, 0));
    drop(holder.pin(&other, 0..1, DEVICE, Until::done(), || ()));
}

#[test]
fn a_pin_that_waits_needs_no_second_slot_to_get_in() {
    let Fixture { area, holder, layout } = Fixture::small();
    let slots_max = (small_geometry().blocks_max * small_geometry().slots_per_block) as usize;
    for _ in 0..10 {
        let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
        let idle = brk.drain(Until::done()).unwrap();
        let mut waiting: Vec<_> = (0..slots_max).map(|_| holder.pin_async(&layout, 0..8, DEVICE, || ())).collect();
        for _ in 0..3 {
            assert!(waiting.iter_mut().all(|pinning| poll_once(pinning).is_pending()), "each has a slot for its wish");
        }
        idle.commit(Vec::new);
        let pins: Vec<_> = waiting.into_iter().map(|pinning| block_on(pinning).unwrap()).collect();
        assert_eq!((pins.len(), holder.pins()), (slots_max, slots_max));
    }
    assert_eq!(holder.pins(), 0);
}

#[test]
fn blocks_of_one_files_pins_serve_the_next_file_when_they_are_empty() {
    let Fixture { area, holder, .. } = Fixture::small();
    let slots_max = (small_geometry().blocks_max * small_geometry().slots_per_block) as usize;
    for object in 10..40 {
        let layout = area.layout(object).unwrap();
        let mut pins = Vec::new();
        while let Ok(pin) = holder.try_pin(&layout, 0..1, DEVICE, || ()) {
            pins.push(pin);
        }
        // Blocks hang in the chain of their first file for good, so a file of another chain gets what is left there.
        assert!(pins.len() <= slots_max);
        drop(pins);
        assert_eq!(holder.pins(), 0);
    }
}

#[test]
fn a_full_file_table_is_told_and_files_that_nobody_names_make_room() {
    let Fixture { area, holder, layout } = Fixture::small();
    let files_max = small_geometry().files_max;
    let mut objects = 100..;
    for _ in 0..10 {
        let mut files: Vec<_> =
            objects.by_ref().take(files_max as usize - 1).map(|of| area.layout(of).unwrap()).collect();
        let error = area.layout(1).map(drop).unwrap_err();
        assert!(matches!(error, AreaError::NoFile { files_max: 8 }), "{error}");
        assert!(area.layout(files[0].object()).is_ok(), "a file that has state already");
        // Pins keep the state of a file without a name; then there is no room yet.
        let last = files.pop().unwrap();
        let pin = holder.pin(&last, 0..1, DEVICE, Until::done(), || ()).unwrap();
        drop(last);
        let error = area.layout(2).map(drop).unwrap_err();
        assert!(matches!(error, AreaError::NoFile { .. }), "{error}");
        drop(pin);
        drop(area.layout(2).expect("the pin has left"));
    }
    drop(holder.pin(&layout, 0..1, DEVICE, Until::done(), || ()).expect("a file that was named all the time"));
    assert!(area.files() <= files_max as usize);
}

#[test]
fn parked_blocks_keep_the_state_of_a_file_without_a_name() {
    let Fixture { area, holder, layout } = Fixture::small();
    let pin = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap();
    let mut brk = area.break_layout(&[(&layout, 0..4)], Policy::Detach, Effect::Frees).unwrap();
    brk.try_drain().unwrap().commit(|| vec![Extent { object: 7, start: 0, end: 4, block: 0 }]);
    drop((brk, layout));
    let others: Vec<_> = (20..27).map(|object| area.layout(object).unwrap()).collect();
    assert!(matches!(area.layout(30), Err(AreaError::NoFile { .. })), "all eight are in use");
    assert!(area.busy_extents().reap(CommitId::ALL, |free| free).is_empty());
    drop(pin);
    assert_eq!(area.busy_extents().reap(CommitId::ALL, |free| free).len(), 1);
    drop(area.layout(30).expect("its blocks are given back"));
    drop(others);
}

#[test]
fn a_full_holder_table_is_told_and_holders_that_leave_make_room() {
    let Fixture { area, holder: _first, layout } = Fixture::small();
    let mut indices = HashSet::new();
    for _ in 0..20 {
        let holders: Vec<_> = (1..small_geometry().holders_max).map(|_| area.holder().unwrap()).collect();
        let error = area.holder().map(drop).unwrap_err();
        assert!(matches!(error, AreaError::NoHolder { holders_max: 4 }), "{error}");
        assert!(error.to_string().contains("all 4"), "{error}");
        for holder in &holders {
            drop(holder.pin(&layout, 0..1, DEVICE, Until::done(), || ()).unwrap());
            indices.insert(holder.index());
        }
    }
    assert_eq!((indices.len(), area.holders()), (3, 1), "the same places, again and again");
}

#[test]
fn a_holder_that_leaves_a_raw_pin_behind_keeps_its_place_and_the_pin() {
    let Fixture { area, holder: _first, layout } = Fixture::small();
    let holder = area.holder().unwrap();
    let (raw, ()) = holder.pin(&layout, 0..4, DEVICE, Until::done(), || ()).unwrap().into_raw();
    drop(holder);
    assert_eq!((area.holders(), area.quarantine().len()), (2, 1), "{raw:?} has no holder any more (G8)");
    let mut brk = area.break_layout(&[(&layout, 0..4)], Policy::Wait, Effect::Frees).unwrap();
    assert!(matches!(brk.try_drain(), Err(BreakError::Busy(pin)) if pin.quarantine.is_some()));
    let more: Vec<_> = std::iter::from_fn(|| area.holder().ok()).collect();
    assert_eq!(more.len(), 2, "its segment goes to nobody else");
}

#[test]
fn a_full_table_of_announcements_is_told_and_each_break_that_ends_makes_room() {
    let Fixture { area, holder, layout } = Fixture::small();
    let announcements_max = u64::from(small_geometry().announcements_max);
    let mut pin = holder.pin(&layout, 0..100, DEVICE, Until::done(), || ()).unwrap();
    pin.hand_over();
    let brk_of = |at: u64| area.break_layout(&[(&layout, at..at + 1)], Policy::Wait, Effect::Frees).unwrap();
    let assert_full = |error: BreakError| {
        assert!(matches!(error, BreakError::NoAnnouncement { announcements_max: 4 }), "{error}");
        assert_eq!(error.errno(), rustix::io::Errno::NOBUFS.raw_os_error());
    };
    for _ in 0..10 {
        let mut breaks: Vec<_> = (0..announcements_max).map(brk_of).collect();
        let mut draining: Vec<_> = breaks.iter_mut().map(|brk| brk.drain_async()).collect();
        assert!(draining.iter_mut().all(|draining| poll_once(draining).is_pending()));
        assert_full(brk_of(50).drain(Until::done()).map(drop).unwrap_err());
        assert_full(brk_of(200).try_drain().map(drop).unwrap_err());
        assert_full(block_on(brk_of(50).drain_async()).map(drop).unwrap_err());
        assert_eq!(area.breaks().len() as u64, announcements_max);
        drop(draining.pop());
        brk_of(200).try_drain().expect("there is room for one").commit(Vec::new);
        let two = [(&layout, 200..201), (&layout, 300..301)];
        let mut brk = area.break_layout(&two, Policy::Wait, Effect::Frees).unwrap();
        assert_full(brk.try_drain().map(drop).unwrap_err());
        assert_eq!(area.breaks().len() as u64, announcements_max - 1, "of two that do not fit none stays");
    }
    assert!(area.breaks().is_empty());
    drop(pin);
    brk_of(0).try_drain().unwrap().commit(Vec::new);
}

#[test]
fn a_full_table_of_labels_is_told_and_the_labels_there_are_go_on() {
    let Fixture { holder, .. } = Fixture::small();
    let labels: Vec<_> = ["a", "b", "c"].map(|label| holder.label("engine", label).unwrap()).into();
    assert_eq!(holder.label("engine", "d"), Err(LabelError::NoPlace { labels_max: 4 }));
    assert_eq!(["a", "b", "c"].map(|label| holder.label("engine", label).unwrap()).to_vec(), labels);
}

#[test]
fn as_many_extents_are_parked_as_there_is_memory_for() {
    let small = Geometry { parked_max: 1, ..small_geometry() };
    let Fixture { area, holder, layout } = Fixture::with(pinfold_layout::AreaOptions::default().geometry(small));
    let pin = holder.pin(&layout, 0..1000, DEVICE, Until::done(), || ()).unwrap();
    for at in 0..1000 {
        let mut brk = area.break_layout(&[(&layout, at..at + 1)], Policy::Detach, Effect::Frees).unwrap();
        brk.try_drain().unwrap().commit(|| vec![Extent { object: 7, start: at, end: at + 1, block: 2 * at }]);
    }
    let busy = area.busy_extents();
    assert_eq!(
        (busy.reap(CommitId::ALL, |free| free).len(), busy.stats().pinned, area.parked().len()),
        (0, 1000, 1000)
    );
    drop(pin);
    assert_eq!((busy.reap(CommitId::ALL, |free| free).len(), area.parked().len()), (1000, 0));
}
