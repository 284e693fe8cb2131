//! A fault of a view against close: what a view shows is never given away (G1), it shows what the file has, and an access that found
//! its range closed is woken (G2).
//!
//! The view is a table with one place. An access goes through it, as through a page table: at once, or not at all. If nothing is there, a
//! fault is answered: under a pin of the range, as a copy has it. One thread stands for both who touches and who answers; it
//! remembers the gate before it tries the pin, as the kernel has put who touches to sleep before anybody hears of the fault.
//!
//! Each of these, put into `layout_break.rs`, was found: no revocation (`an_access_meets_try_drain`), one before the scan
//! (`an_access_meets_a_break`); no word of the opening, or one before the layout word says so, after a commit (`an_access_meets_a_break`), a
//! withdrawal (`an_access_waits_for_a_break_that_withdraws`), and an opening for a copy (`an_access_waits_for_a_close_that_opens_again`).

use std::ops::Range;

use crate::actors::{COPY, Pinner};
use crate::check::{Check, EXHAUSTIVE, bounded};
use crate::mechanism::layout_break::Policy;
use crate::mechanism::revoke::{NotRevoked, Views};
use crate::mechanism::until::Until;
use crate::sync::{Arc, AtomicU64, Futex, Mutex, Ordering, lock, start};
use crate::world::{SMALL, Watch, World};

/// What is shown of position 0.
struct Table {
    shown: Mutex<Option<u64>>,
    /// Counts openings: who found the range closed sleeps on it.
    gate: AtomicU64,
}

impl Views for Table {
    fn revoke(&self, _object: u64, range: Range<u64>) -> Result<(), NotRevoked> {
        assert!(range.contains(&0));
        *lock(&self.shown) = None;
        Ok(())
    }

    fn reopened(&self, _object: u64, _range: Range<u64>) {
        // ORDER: Release pairs with the Acquire in `remember`: who sees the opening sees the word that says so.
        self.gate.fetch_add(1, Ordering::Release);
        Futex::new(false).wake(&self.gate);
    }
}

/// Who touches a view, and whose faults are answered.
#[derive(Clone)]
struct Viewer {
    table: Arc<Table>,
    pinner: Pinner,
}

impl Viewer {
    /// A view of file 1, whose faults are answered by thread `number`.
    fn new(world: &World, number: u32) -> Self {
        let layout = world.layout(1);
        let table = Arc::new(Table { shown: Mutex::new(None), gate: AtomicU64::new(0) });
        world.owner.set_views(table.clone());
        Self { table, pinner: Pinner::new(world, &layout, number) }
    }

    /// An access to what is shown; which block that is.
    fn touch(&self) -> Option<u64> {
        let shown = lock(&self.table.shown);
        shown.inspect(|block| self.pinner.files.transfer(*block))
    }

    /// Shows what the file has, unless a break has closed it.
    fn answer(&self) -> bool {
        let files = &self.pinner.files;
        let pin = self.pinner.holder.try_pin(&self.pinner.layout, 0..1, COPY, || files.resolve(0));
        pin.map(|pin| *lock(&self.table.shown) = Some(*pin.resolved())).is_ok()
    }

    fn remember(&self) -> u32 {
        self.table.gate.load(Ordering::Acquire) as u32
    }

    /// Touches the view until it went through; which block it was.
    fn access(&self) -> u64 {
        loop {
            if let Some(block) = self.touch() {
                return block;
            }
            let gate = self.remember();
            if !self.answer() {
                Futex::new(false).wait(&self.table.gate, gate, None);
            }
        }
    }
}

fn model(check: Check, other: impl Fn(&World, &Viewer) + Send + Sync + 'static) {
    check.run(move || {
        let world = World::new(SMALL);
        let viewer = Viewer::new(&world, 2);
        let accessing = viewer.clone();
        let thread = start(2, move || accessing.access());
        other(&world, &viewer);
        thread.join().unwrap();
    });
}

/// G1, the core alone: one fault that is answered or not, a break that only looks.
#[test]
fn an_access_meets_try_drain() {
    EXHAUSTIVE.run(|| {
        let world = World::new(SMALL);
        let viewer = Viewer::new(&world, 2);
        let faulting = viewer.clone();
        let thread = start(2, move || {
            faulting.answer();
            faulting.touch();
        });
        world.try_replace(&viewer.pinner.layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
        // What is shown is what the file has.
        assert!(viewer.touch().is_none_or(|block| block == viewer.pinner.files.resolve(0)));
    });
}

/// G1, G2: the access goes through before, sleeps while the range is closed, or comes after; and afterwards the view shows the new block.
#[test]
fn an_access_meets_a_break() {
    model(bounded(2), |world, viewer| {
        world.replace(&viewer.pinner.layout, 0, 2, Policy::Wait);
        assert!([None, Some(2)].contains(&viewer.touch()), "the view still shows what was given away");
    });
}

/// Two in a row: what the first one let in again is taken away by the second. Their records are the same place, used again.
#[test]
fn an_access_meets_two_breaks_in_a_row() {
    bounded(1).run(|| {
        let world = World::watched(SMALL, Watch { announcements: true, slots: true, ..Watch::default() });
        let viewer = Viewer::new(&world, 2);
        let accessing = viewer.clone();
        let thread = start(2, move || accessing.access());
        world.replace(&viewer.pinner.layout, 0, 2, Policy::Wait);
        world.replace(&viewer.pinner.layout, 0, 3, Policy::Wait);
        thread.join().unwrap();
        assert!([None, Some(3)].contains(&viewer.touch()));
    });
}

/// G2, G6: a break that closed its range and then gives up: nothing has changed, and who slept goes on.
#[test]
fn an_access_waits_for_a_break_that_withdraws() {
    model(bounded(2), |world, viewer| {
        let mut layout_break = world.break_of(&viewer.pinner.layout, 0..1, Policy::Wait);
        drop(layout_break.drain(Until::done()).unwrap());
        drop(layout_break);
        assert!([None, Some(0)].contains(&viewer.touch()));
    });
}

/// G2, G4: a copy is in the way of Close, which opens again for it; the access, that the copy may have come for, gets in meanwhile.
#[test]
fn an_access_waits_for_a_close_that_opens_again() {
    bounded(1).without_patience().run(|| {
        let world = World::new(SMALL);
        let viewer = Viewer::new(&world, 2);
        let copying = viewer.clone();
        let thread = start(2, move || {
            let files = &copying.pinner.files;
            let pinner = &copying.pinner;
            let pin = pinner.holder.pin(&pinner.layout, 0..1, COPY, Until::done(), || files.resolve(0)).unwrap();
            // Out of a view of the very range that is being broken.
            assert_eq!(copying.access(), *pin.resolved());
        });
        world.replace(&viewer.pinner.layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
        assert!([None, Some(2)].contains(&viewer.touch()));
    });
}
