//! A crowd: transfers, copies, breaks that wait, detach, give up, a reaper, a holder that is killed, at the same time
//! on one file. G1 by the store's shadow of each block, G2 to G4 by everybody's coming to an end.

use std::ops::Range;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use crate::mechanism::batch::PinRequest;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::holder::Holder;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::owner::Member;
use crate::mechanism::pin::{Access, PinSpec};
use crate::mechanism::until::Until;
use crate::mechanism::view::{Layout, Liveness};
use crate::store::{POSITIONS, Store};
use crate::sync::{Arc, AtomicU64, Instant, Ordering, Patience, begin_execution, killed_after, start, yield_now};
use crate::world::{SMALL, World};

const DEVICE: PinSpec = PinSpec::device(Access::Write);
const COPY: PinSpec = PinSpec::cpu(Access::Read);
const GEOMETRY: Geometry = Geometry { announcements_max: 8, holders_max: 2, voids_max: 8, blocks_max: 16, ..SMALL };

#[derive(Clone)]
struct Crowd {
    world: Arc<World>,
    store: Arc<Store>,
    layout: Layout,
    holder: Arc<Holder>,
}

impl Crowd {
    fn new() -> Self {
        let world = Arc::new(World::new(GEOMETRY));
        let (layout, holder) = (world.layout(1), world.holder(0));
        Self { world, store: Arc::new(Store::new()), layout, holder }
    }

    fn transfer(&self, range: Range<u64>, spec: PinSpec) {
        let at = range.start;
        let pin = self.holder.pin(&self.layout, range, spec, Until::done(), || self.store.resolve(at)).unwrap();
        self.store.transfer(*pin.resolved());
    }

    /// A transfer that grows while it is in. What cannot be let through is told so (G4).
    fn growing_transfer(&self) {
        let request = PinRequest { layout: &self.layout, range: 0..1, spec: DEVICE };
        let (mut transfer, blocks) =
            self.holder.transfer(&[request], Until::done(), |_| self.store.resolve(0)).unwrap();
        if let Ok(more) = transfer.extend(&self.layout, 1..2, DEVICE, || self.store.resolve(1)) {
            self.store.transfer(more);
        }
        self.store.transfer(blocks[0]);
    }

    fn replace(&self, range: Range<u64>, policy: Policy) {
        let mut layout_break = self.world.break_of(&self.layout, range.clone(), policy);
        let idle = layout_break.drain(Until::done()).unwrap();
        idle.commit(|| self.store.replace(1, range));
        self.store.reap(&self.world);
    }

    /// A break that looks twice, and gives up.
    fn replace_or_give_up(&self, range: Range<u64>) {
        let mut layout_break = self.world.break_of(&self.layout, range.clone(), Policy::Wait);
        if let Ok(idle) = layout_break.drain(Until::at(Instant::now())) {
            idle.commit(|| self.store.replace(1, range));
        }
    }
}

struct Mortal(Arc<AtomicU64>);

impl Liveness for Mortal {
    fn is_alive(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn pid(&self) -> u32 {
        2
    }
}

/// A holder that is killed after `steps` steps of a transfer; afterwards its device is proved to be quiet.
fn killed_holder(crowd: &Crowd, holder: Arc<Holder>, member: &Arc<Member>, dead: &AtomicU64, steps: u32) {
    let doomed = Crowd { holder, ..crowd.clone() };
    killed_after(steps, || doomed.transfer(0..2, DEVICE));
    std::mem::forget(doomed);
    dead.store(1, Ordering::Release);
    crowd.world.owner.reap_dead();
    yield_now();
    let left: Vec<_> = member.segment.all().collect();
    for pin in left {
        crowd.world.owner.void(member, &pin);
    }
}

fn crowd_with(patience: Patience) {
    begin_execution(patience);
    let crowd = Crowd::new();
    let dead = Arc::new(AtomicU64::new(0));
    let (mortal, member) = crowd.world.holder_with(1, Box::new(Mortal(Arc::clone(&dead))));
    let as_crowd = |number, run: fn(&Crowd)| {
        let crowd = crowd.clone();
        start(number, move || run(&crowd))
    };
    let threads = [
        as_crowd(2, |crowd| (0..2).for_each(|_| crowd.transfer(0..1, DEVICE))),
        as_crowd(3, |crowd| (0..2).for_each(|_| crowd.transfer(1..3, DEVICE))),
        as_crowd(4, |crowd| (0..2).for_each(|_| crowd.transfer(0..POSITIONS, COPY))),
        as_crowd(5, Crowd::growing_transfer),
        as_crowd(6, |crowd| crowd.replace(0..2, Policy::Wait)),
        as_crowd(7, |crowd| crowd.replace(1..3, Policy::Wait)),
        as_crowd(8, |crowd| (0..2).for_each(|_| crowd.replace(0..1, Policy::Detach))),
        as_crowd(9, |crowd| crowd.replace_or_give_up(0..POSITIONS)),
    ];
    let steps = shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..40);
    killed_holder(&crowd, mortal, &member, &dead, steps);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    crowd.store.reap(&crowd.world);
    crowd.store.check();
}

/// A failing schedule is printed, and `shuttle::replay` runs it again.
fn explore(scheduler: impl Scheduler + 'static, patience: Patience) {
    let mut config = Config::new();
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    let executions = Runner::new(scheduler, config).run(move || crowd_with(patience));
    println!("{executions} executions");
}

#[test]
fn a_crowd_in_random_order() {
    explore(RandomScheduler::new(1500), Patience::Endless);
}

#[test]
fn a_crowd_in_random_order_and_close_without_patience() {
    explore(RandomScheduler::new(1500), Patience::None);
}

#[test]
fn a_crowd_by_priorities() {
    explore(PctScheduler::new(3, 1500), Patience::Endless);
}

#[test]
fn a_crowd_by_priorities_and_close_without_patience() {
    explore(PctScheduler::new(4, 1500), Patience::None);
}
