//! Pin against close: the blocks that a validated pin resolved to are not given away (G1), and whoever sleeps is woken
//! (G2).

use crate::actors::{COPY, DEVICE, Pinner};
use crate::check::{EXHAUSTIVE, bounded};
use crate::mechanism::geometry::Geometry;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::until::Until;
use crate::sync::{Arc, as_thread, start};
use crate::world::{SMALL, Watch, World};

/// G1, the core alone: a pin that only tries, a break that only looks. Of the two at least one
/// sees the other, and both may.
#[test]
fn try_pin_meets_try_drain() {
    EXHAUSTIVE.run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.try_transfer(0..1, DEVICE));
        world.try_replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// G1, G2, G3: pin, close and sleep together. A transfer that waits for its pin against a break that waits for its
/// range: the pin is on the quick path, on the slow one, or asleep; the break drains, closes, opens again.
#[test]
fn pin_meets_break() {
    bounded(2).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.transfer(0..1, DEVICE));
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// The same with a copy, which passes a Drain, and is waited for in Close.
#[test]
fn copy_meets_close() {
    bounded(2).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.transfer(0..1, COPY));
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// Close has no patience here: a copy that is in makes it open again, and Drain then waits for that very copy.
#[test]
fn close_opens_again_for_a_copy() {
    bounded(1).without_patience().run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.transfer(0..1, COPY));
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// The trap "one odd/even word", and "a break that begins, commits and ends between a pin's two reads": two breaks of
/// the same range in a row, and the block of each given away. The count of the word is the same before and after.
#[test]
fn pin_meets_two_breaks_in_a_row() {
    bounded(2).run(|| {
        let world = World::watched(SMALL, Watch { announcements: true, ..Watch::default() });
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.try_transfer(0..1, DEVICE));
        world.try_replace(&layout, 0, 2, Policy::Wait);
        world.try_replace(&layout, 0, 3, Policy::Wait);
        thread.join().unwrap();
    });
}

/// The trap "an announcement that is gone before the word says so": the record of a break that committed is used by
/// the next one, for another range of the same file. A pin that reads it half old, half new must look again.
#[test]
fn pin_reads_a_record_that_is_used_again() {
    bounded(1).run(|| {
        let world = World::watched(
            Geometry { announcements_max: 1, ..SMALL },
            Watch { announcements: true, ..Watch::default() },
        );
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.try_transfer(0..1, COPY));
        world.try_replace(&layout, 0, 2, Policy::Wait);
        world.try_replace(&layout, 1, 3, Policy::Wait);
        thread.join().unwrap();
    });
}

/// A holder's first pin hangs a new block at the head of the chain that a break scans.
#[test]
fn a_block_is_hung_while_the_chain_is_scanned() {
    bounded(3).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner { holder: world.holder(0), layout: layout.clone(), files: Arc::clone(&world.files) };
        let thread = start(2, move || pinner.try_transfer(0..1, DEVICE));
        world.try_replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// The trap "a scan that passes a slot before it is filled and another after it is cleared": the second pin of the
/// range is made in a block that the scan has passed, then the first one leaves the block that it comes to.
#[test]
fn a_pin_moves_while_the_chain_is_scanned() {
    bounded(3).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || {
            let Pinner { holder, layout, files } = &pinner;
            let Ok(first) = holder.try_pin(layout, 0..1, DEVICE, || files.resolve(0)) else { return };
            let second = holder.try_pin(layout, 0..1, DEVICE, || files.resolve(0));
            drop(first);
            if let Ok(second) = second {
                files.transfer(*second.resolved());
            }
        });
        world.try_replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// A slot that is used again while it is read: a copy of file 2, then one of file 1, in the same slot, against a break
/// of file 1. A scan that mixes the two would wait for a pin that was never there, and that nobody rings for.
#[test]
fn a_slot_is_used_again_while_it_is_scanned() {
    bounded(2).run(|| {
        let geometry = Geometry { files_max: 2, blocks_max: 1, ..SMALL };
        let world = World::watched(geometry, Watch { slots: true, ..Watch::default() });
        let other = world.layout(2);
        let layout = world.layout(1);
        let on_other = Pinner::new(&world, &other, 2);
        let pinner = Pinner { layout: layout.clone(), ..on_other.clone() };
        let thread = start(2, move || {
            drop(on_other.holder.try_pin(&on_other.layout, 0..1, COPY, || ()));
            pinner.transfer(0..1, COPY);
        });
        world.replace(&layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
    });
}

/// The same where the slot is cleared by another thread than the one whose lane fills it: the fence of that unpin orders
/// nothing for the words that the lane's thread writes next.
#[test]
fn a_slot_is_cleared_elsewhere_and_used_again() {
    bounded(2).run(|| {
        let geometry = Geometry { files_max: 2, blocks_max: 1, ..SMALL };
        let world = World::watched(geometry, Watch { slots: true, ..Watch::default() });
        let other = world.layout(2);
        let layout = world.layout(1);
        let Pinner { holder, .. } = Pinner::new(&world, &other, 2);
        let pin = as_thread(2, || holder.pin_owned(&other, 0..1, COPY, Until::done(), || ()).unwrap());
        let pinned = layout.clone();
        let pinner = start(2, move || {
            start(3, move || drop(pin)).join().unwrap();
            drop(holder.pin(&pinned, 0..1, COPY, Until::done(), || ()));
        });
        world.replace(&layout, 0, 2, Policy::Wait);
        pinner.join().unwrap();
    });
}

/// An announcement that is read half old, half new: the record of a break of the pinning thread's own, which has ended,
/// is used by another thread's break of the same range, while a third break keeps the word from being quiet. The pin
/// waits for that other break; it must not be told that it would wait for itself.
#[test]
fn a_pin_does_not_take_another_break_for_its_own() {
    bounded(2).run(|| {
        let world = Arc::new(World::watched(SMALL, Watch { announcements: true, ..Watch::default() }));
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 1);
        let mut beside = world.break_of(&layout, 1..2, Policy::Wait);
        let idle = beside.drain(Until::done()).unwrap();
        assert!(world.try_replace(&layout, 0, 2, Policy::Wait));
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let thread = start(2, move || world_too.try_replace(&layout_too, 0, 3, Policy::Wait));
        pinner.transfer(0..1, COPY);
        drop(idle);
        thread.join().unwrap();
    });
}
