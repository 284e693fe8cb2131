//! Waiting for space: whatever comes free, in whichever way, wakes who waits; and nobody is told that there is none while
//! some is on its way.

use crate::actors::{DEVICE, Pinner};
use crate::check::{EXHAUSTIVE, bounded};
use crate::mechanism::busy_extents::CommitId;
use crate::mechanism::error::SpaceError;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::pin::Pin;
use crate::mechanism::space::SpaceWatch;
use crate::mechanism::until::Until;
use crate::sync::{Arc, AtomicU64, Ordering, as_thread, start, yield_now};
use crate::world::{SMALL, World};

/// The least that a caller's allocator may be: a number, in no order to anything.
#[derive(Clone)]
struct Free(Arc<AtomicU64>);

impl Free {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    fn give(&self, blocks: usize) {
        self.0.fetch_add(blocks as u64, Ordering::Relaxed);
    }

    fn has_some(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn reap(&self, world: &World) {
        world.busy.reap(CommitId::ALL, |free| self.give(free.len()));
    }

    /// An attempt as an allocator makes it.
    fn is_had(&self, world: &World) -> bool {
        self.reap(world);
        self.has_some()
    }
}

fn wait(watch: &mut SpaceWatch) {
    let waited: Result<(), SpaceError> = watch.wait(CommitId::ALL, Until::done());
    waited.expect("there is a pin to wait for, or something has come free");
}

/// A pin of one position by thread 2, with its block parked under it.
fn parked(
    world: &World,
    pinner: &Pinner,
    position: u64,
    spare: u64,
) -> Pin<Arc<crate::mechanism::holder::Holder>, u64> {
    let Pinner { holder, layout, files } = pinner;
    let range = position..position + 1;
    let pin =
        as_thread(2, || holder.pin_owned(layout, range, DEVICE, Until::done(), || files.resolve(position)).unwrap());
    assert!(world.try_replace(layout, position, spare, Policy::Detach));
    pin
}

/// G2, V1: a waiter that sleeps for a pin which does not leave, and somebody who gives blocks back in another way than by
/// a reap. The caller's allocator orders nothing.
#[test]
fn what_comes_free_wakes_who_waits() {
    EXHAUSTIVE.run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let pin = parked(&world, &pinner, 0, 2);
        let free = Free::new();
        let (given, busy) = (free.clone(), world.busy.clone());
        let giver = start(3, move || {
            given.give(1);
            busy.came_free();
        });
        let mut watch = world.busy.watch();
        while !free.has_some() {
            wait(&mut watch);
        }
        giver.join().unwrap();
        drop(pin);
    });
}

/// G2, V3: a waiter that sleeps for one pin, while something else is parked under another pin, which leaves.
#[test]
fn what_is_parked_wakes_who_waits() {
    bounded(2).run(|| {
        let geometry = Geometry { holders_max: 2, ..SMALL };
        let world = Arc::new(World::new(geometry));
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let stays = parked(&world, &pinner, 0, 2);
        let another = world.holder(1);
        let free = Free::new();
        let (world_too, layout_too) = (Arc::clone(&world), layout.clone());
        let parking = start(3, move || {
            let pin = another.pin(&layout_too, 1..2, DEVICE, Until::done(), || ()).unwrap();
            let mut layout_break = world_too.break_of(&layout_too, 1..2, Policy::Detach);
            let idle = layout_break.try_drain().unwrap();
            idle.commit(|| world_too.files.replace(layout_too.object(), 1, 3));
            drop(pin);
        });
        let mut watch = world.busy.watch();
        while !free.is_had(&world) {
            wait(&mut watch);
        }
        parking.join().unwrap();
        drop(stays);
    });
}

/// G2, V1: the same where somebody else reaps, and the waiter's attempt is no reap.
#[test]
fn what_somebody_else_reaps_wakes_who_waits() {
    bounded(2).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let pin = parked(&world, &pinner, 0, 2);
        let free = Free::new();
        let (world_too, free_too) = (Arc::clone(&world), free.clone());
        drop(pin);
        let other = start(3, move || free_too.reap(&world_too));
        let mut watch = world.busy.watch();
        while !free.has_some() {
            wait(&mut watch);
            yield_now();
        }
        other.join().unwrap();
    });
}

/// V2: two that reap at once. What one of them has in hand, the other does not find; he is not told that there is nothing.
#[test]
fn nobody_is_told_of_no_space_while_some_is_on_its_way() {
    bounded(3).run(|| {
        let world = Arc::new(World::new(SMALL));
        let layout = world.layout(1);
        let pinner = Pinner::new(&world, &layout, 2);
        let pin = parked(&world, &pinner, 0, 2);
        let free = Free::new();
        let (world_too, free_too) = (Arc::clone(&world), free.clone());
        let other = start(3, move || {
            drop(pin);
            free_too.reap(&world_too);
        });
        let mut watch = world.busy.watch();
        while !free.is_had(&world) {
            wait(&mut watch);
        }
        other.join().unwrap();
    });
}
