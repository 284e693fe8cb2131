//! Whom a break lets in: newcomers wait and are woken, wishes come first, transfers that are in may grow (G3, G4).

use crate::actors::{COPY, DEVICE, Pinner};
use crate::check::bounded;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::until::Until;
use crate::sync::{Arc, AtomicU64, Ordering, as_thread, newest, start};
use crate::world::{POSITIONS, SMALL, World};

/// G2: a newcomer sleeps behind a break that has closed, and is woken when it commits, or gives up.
#[test]
fn a_newcomer_is_woken_at_the_end() {
    bounded(3).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let mut layout_break = world.break_of(&layout, 0..1, Policy::Wait);
        let idle = layout_break.drain(Until::done()).unwrap();
        let thread = start(2, move || pinner.transfer(0..1, COPY));
        drop(idle);
        thread.join().unwrap();
    });
}

/// G3: a pin that waited for one break gets in before the next, or the next sees no wish. The next one sleeps on the
/// wish's bell, and is woken when the wish is fulfilled.
#[test]
fn a_wish_comes_before_the_next_break() {
    bounded(1).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let mut first = world.break_of(&layout, 0..1, Policy::Wait);
        let idle = first.drain(Until::done()).unwrap();
        let thread = start(2, move || pinner.transfer(0..1, DEVICE));
        drop(idle);
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// A pin that gives up takes its wish back, and the break that let it go first is told.
#[test]
fn a_withdrawn_wish_wakes_the_break() {
    bounded(1).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let mut first = world.break_of(&layout, 0..1, Policy::Wait);
        let idle = first.drain(Until::done()).unwrap();
        let thread = start(2, move || {
            let Pinner { holder, layout, .. } = pinner;
            let passed = Until::at(crate::sync::Instant::now());
            drop(holder.pin(&layout, 0..1, DEVICE, passed, || ()));
        });
        drop(idle);
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// G4: a transfer that is in may pin more of what a break drains, and never sleeps for it; the break closes when all of
/// it has left.
#[test]
fn a_transfer_grows_while_a_break_drains() {
    bounded(2).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let Pinner { holder, layout: pinned, files } = Pinner::new(&world, &layout, 2);
        let request = crate::mechanism::batch::PinRequest { layout: &pinned, range: 0..1, spec: DEVICE };
        let (mut transfer, blocks) = holder.try_transfer(&[request], |_| files.resolve(0)).unwrap();
        let thread = start(2, move || {
            let more = transfer.extend(&pinned, 1..2, DEVICE, || files.resolve(1));
            files.transfer(more.expect("the transfer is in this break's range"));
            files.transfer(blocks[0]);
            drop(transfer);
        });
        let mut layout_break = world.break_of(&layout, 0..POSITIONS as u64, Policy::Wait);
        // The main thread made the pin; it is with the engine now.
        as_thread(3, || {
            let idle = layout_break.drain(Until::done()).unwrap();
            idle.commit(|| [world.files.replace(1, 0, 2), world.files.replace(1, 1, 3)].concat());
        });
        world.reap();
        thread.join().unwrap();
    });
}

/// G5: what is pinned elsewhere in the file delays nobody, and a break elsewhere stops no pin.
#[test]
fn a_pin_elsewhere_delays_nobody() {
    bounded(2).run(|| {
        let world = World::new(Geometry { blocks_max: 3, ..SMALL });
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let kept = as_thread(2, || pinner.holder.try_pin(&layout, 1..2, DEVICE, || ()).unwrap());
        let done = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&done);
        let other = pinner.another(3);
        let thread = start(3, move || {
            other.transfer(1..2, DEVICE);
            seen.store(1, Ordering::Release);
        });
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
        assert_eq!(newest(&done), 1);
        drop(kept);
    });
}
