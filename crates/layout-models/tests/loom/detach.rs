//! Detach, parking and reaping: what a pin reaches is given to nobody, and who waits for space is woken.

use crate::actors::{DEVICE, Pinner};
use crate::check::bounded;
use crate::mechanism::layout_break::Policy;
use crate::sync::start;
use crate::world::{SMALL, World};

/// G1: a break that detaches, against a transfer. The block is parked as long as the transfer reaches it.
#[test]
fn detach_parks_what_a_pin_reaches() {
    bounded(2).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.try_transfer(0..1, DEVICE));
        world.replace(&layout, 0, 2, Policy::Detach);
        thread.join().unwrap();
        world.reap();
        assert_eq!(world.busy.stats().pinned, 0);
    });
}

/// G2: whoever waits for space is woken by the pin that kept it. The break only tried, so nothing was raised for the
/// pins that are in until the commit did. The watch is older than the break: its fence does not stand for the commit's.
#[test]
fn space_waits_for_a_pin() {
    bounded(2).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.try_transfer(0..1, DEVICE));
        let watch = world.busy.watch();
        if world.try_replace(&layout, 0, 2, Policy::Detach) {
            world.wait_for_space(watch);
            assert_eq!(world.busy.stats(), Default::default(), "what is free was given away");
        }
        thread.join().unwrap();
    });
}

/// What a pin reaches is in the first parked extent that took its range: two generations of one position are parked
/// one after the other, and a pin keeps at most one of them.
#[test]
fn a_pin_keeps_one_generation() {
    bounded(1).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let thread = start(2, move || pinner.try_transfer(0..1, DEVICE));
        world.replace(&layout, 0, 2, Policy::Detach);
        world.replace(&layout, 0, 3, Policy::Detach);
        let stats = world.busy.stats();
        assert!(stats.pinned <= 1, "one pin keeps {} generations", stats.pinned);
        thread.join().unwrap();
    });
}
