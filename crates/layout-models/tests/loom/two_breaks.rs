//! Breaks that overlap: the word counts them, `waited` only grows, and they close one after the other.

use crate::actors::{DEVICE, Pinner};
use crate::check::bounded;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::until::Until;
use crate::sync::{Arc, as_thread, start};
use crate::world::{SMALL, World};

/// G1, G2: two breaks of one range at the same time, and a transfer that is in. Traps: "one odd/even word under two
/// breaks", "a waiter flag that the first of two breaks lowers".
#[test]
fn a_pin_leaves_under_two_breaks() {
    bounded(1).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let Pinner { holder, files, .. } = Pinner::new(&world, &layout, 4);
        let pin = as_thread(4, || holder.pin_owned(&layout, 0..1, DEVICE, Until::done(), || files.resolve(0)).unwrap());
        let device = start(4, move || {
            files.transfer(*pin.resolved());
            drop(pin);
        });
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let first = start(2, move || {
            let mut layout_break = world_too.break_of(&layout_too, 0..1, Policy::Wait);
            drop(layout_break.drain(Until::done()).unwrap());
        });
        world.replace(&layout, 0, 3, Policy::Wait);
        first.join().unwrap();
        device.join().unwrap();
    });
}

/// G2 with a break that gives up: one of two breaks that wait for a pin withdraws; the pin still rings for the other.
#[test]
fn a_break_gives_up_beside_another() {
    bounded(1).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let Pinner { holder, files, .. } = Pinner::new(&world, &layout, 4);
        let pin = as_thread(4, || holder.pin_owned(&layout, 0..1, DEVICE, Until::done(), || files.resolve(0)).unwrap());
        let device = start(4, move || drop(pin));
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let other = start(3, move || {
            let mut gives_up = world_too.break_of(&layout_too, 0..1, Policy::Wait);
            drop(gives_up.drain(Until::at(crate::sync::Instant::now())));
        });
        world.replace(&layout, 0, 3, Policy::Wait);
        other.join().unwrap();
        device.join().unwrap();
    });
}

/// The trap "one odd/even word under two breaks": another break runs beside the one that takes the pin's block, so that
/// the word says "breaking" all the time, and the pin must look at the announcements.
#[test]
fn pin_meets_a_break_beside_another() {
    bounded(2).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let mut beside = world.break_of(&layout, 1..2, Policy::Wait);
        let idle = beside.drain(Until::done()).unwrap();
        let pinned = start(2, move || pinner.try_transfer(0..1, DEVICE));
        world.try_replace(&layout, 0, 2, Policy::Wait);
        drop(idle);
        pinned.join().unwrap();
    });
}

/// G5, K2: two breaks alone. Neither leaves the other asleep, and no block is given away twice.
#[test]
fn two_breaks_close_one_after_the_other() {
    bounded(1).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let first = start(2, move || world_too.replace(&layout_too, 0, 2, Policy::Wait));
        world.replace(&layout, 0, 3, Policy::Wait);
        first.join().unwrap();
    });
}
