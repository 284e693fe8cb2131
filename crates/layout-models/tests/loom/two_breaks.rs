//! Breaks that overlap: the word counts them, `waited` only grows, and they close one after the other.

use crate::actors::{DEVICE, Pinner};
use crate::check::bounded;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::until::Until;
use crate::sync::{Arc, start};
use crate::world::{SMALL, World};

/// G1, G2: two breaks of one range at the same time, and a transfer. Traps: "one odd/even word under two breaks", "a
/// waiter flag that the first of two breaks lowers".
#[test]
fn pin_meets_two_breaks_at_once() {
    bounded(1).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let pinned = start(2, move || pinner.transfer(0..1, DEVICE));
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let first = start(3, move || world_too.replace(&layout_too, 0, 2, Policy::Wait));
        world.replace(&layout, 0, 3, Policy::Wait);
        first.join().unwrap();
        pinned.join().unwrap();
    });
}

/// G5, K2: two breaks alone. Neither leaves the other asleep, and no block is given away twice.
#[test]
fn two_breaks_close_one_after_the_other() {
    bounded(3).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let first = start(2, move || world_too.replace(&layout_too, 0, 2, Policy::Wait));
        world.replace(&layout, 0, 3, Policy::Wait);
        first.join().unwrap();
    });
}

/// G2 with a break that gives up: the trap "a waiter flag that the first of two breaks lowers". One of two breaks that
/// sleep for a pin withdraws; the pin must still ring for the other.
#[test]
fn a_break_gives_up_beside_another() {
    bounded(2).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let Pinner { holder, layout: pinned, files } = pinner;
        let thread = start(2, move || {
            let pin = holder.try_pin(&pinned, 0..1, DEVICE, || files.resolve(0));
            if let Ok(pin) = pin {
                files.transfer(*pin.resolved());
            }
        });
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let other = start(3, move || {
            let mut gives_up = world_too.break_of(&layout_too, 0..1, Policy::Wait);
            drop(gives_up.drain(Until::at(crate::sync::Instant::now())));
        });
        world.replace(&layout, 0, 3, Policy::Wait);
        other.join().unwrap();
        thread.join().unwrap();
    });
}
