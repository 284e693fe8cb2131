//! Holders that die, pins that are voided, long-term pins that are recalled (G8, G11).

use crate::actors::{COPY, DEVICE, Pinner, warm};
use crate::check::bounded;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::owner::Member;
use crate::mechanism::pin::Access;
use crate::mechanism::recall::{LongTerm, Recall, RecallChore};
use crate::mechanism::sleeper::Chore;
use crate::mechanism::until::Until;
use crate::mechanism::view::Liveness;
use crate::sync::{Arc, AtomicU64, Futex, Mutex, Ordering, as_thread, killed_after, lock, start};
use crate::world::{SMALL, Watch, World};

/// A process that lives until the model says that it was reaped.
struct Mortal(Arc<AtomicU64>);

impl Liveness for Mortal {
    fn is_alive(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn pid(&self) -> u32 {
        2
    }
}

fn mortal_pinner(world: &World) -> (Pinner, Arc<Member>, Arc<AtomicU64>) {
    let layout = world.layout(1);
    let dead = Arc::new(AtomicU64::new(0));
    let (holder, member) = world.holder_with(0, Box::new(Mortal(Arc::clone(&dead))));
    warm(&holder, 2, &layout);
    (Pinner { holder, layout, files: Arc::clone(&world.files) }, member, dead)
}

/// Steps of a pin and its unpin in shared memory, and some more.
const STEPS_MAX: u32 = 24;

/// G2, G8: a holder is killed between any two steps of a copy, and a break waits for it. Reaping rings: a copy of a dead
/// process is over.
#[test]
fn a_killed_copy_stops_no_break() {
    for steps in 0..STEPS_MAX {
        bounded(2).run(move || {
            let world = Arc::new(World::new(SMALL));
            let (pinner, _member, dead) = mortal_pinner(&world);
            let layout = pinner.layout.clone();
            let (reaping, owner) = (Arc::clone(&world), Arc::clone(&world.owner));
            let thread = start(2, move || {
                killed_after(steps, || {
                    pinner.try_transfer(0..1, COPY);
                });
                // The process is gone, and its parent sees it.
                dead.store(1, Ordering::Release);
                owner.reap_dead();
                std::mem::forget(pinner);
            });
            reaping.replace(&layout, 0, 2, Policy::Wait);
            thread.join().unwrap();
        });
    }
}

/// G1, G2, G8: a transfer whose holder is gone is in quarantine, with another one elsewhere.
/// The break waits for it until it is voided, and then goes on.
#[test]
fn a_void_pin_wakes_the_break() {
    bounded(2).run(|| {
        let world = Arc::new(World::watched(SMALL, Watch { marks: true, ..Watch::default() }));
        let (pinner, member, dead) = mortal_pinner(&world);
        let block = as_thread(2, || {
            let pin = pinner.holder.try_pin(&pinner.layout, 0..1, DEVICE, || pinner.files.resolve(0)).unwrap();
            let elsewhere = pinner.holder.try_pin(&pinner.layout, 1..2, DEVICE, || ()).unwrap();
            let block = *pin.resolved();
            std::mem::forget((pin, elsewhere));
            block
        });
        dead.store(1, Ordering::Release);
        world.owner.reap_dead();
        let owner = Arc::clone(&world.owner);
        let files = Arc::clone(&world.files);
        let thread = start(3, move || {
            // The device writes on, until it is proved that it does not.
            files.transfer(block);
            let reading = member.segment.all().find(|pin| pin.start == 0).unwrap();
            assert!(owner.void(&member, &reading));
        });
        world.replace(&pinner.layout, 0, 2, Policy::Wait);
        thread.join().unwrap();
        std::mem::forget(pinner);
    });
}

/// G11: a break recalls a long-term pin, whose handler unpins. The sleeper's thread is a thread of the model.
#[test]
fn a_recalled_pin_leaves() {
    bounded(2).run(|| {
        let world = World::watched(SMALL, Watch { marks: true, ..Watch::default() });
        let layout = world.layout(1);
        let Pinner { holder, files, .. } = Pinner::new(&world, &layout, 2);
        let kept: Arc<Mutex<Option<_>>> = Arc::default();
        let to_drop = Arc::clone(&kept);
        let recall: Arc<dyn Recall> =
            Arc::new(move |_: &crate::mechanism::recall::Recalled| drop(lock(&to_drop).take()));
        let resolve = || files.resolve(0);
        let access = Access::Write;
        let term = LongTerm::new(access, Some(recall));
        let pin = holder.pin_long_term(&layout, 0..1, term, Until::done(), resolve).unwrap();
        *lock(&kept) = Some(pin);
        let (view, recalls) = (Arc::clone(&holder.view), Arc::clone(&holder.recalls));
        let sleeper = start(2, move || {
            let chore = RecallChore { view, segment: 0, recalls };
            loop {
                let mut waits = Vec::new();
                chore.look(&mut waits);
                if lock(&kept).is_none() {
                    return;
                }
                let words: Vec<_> = waits.iter().map(|(word, value)| (word.word(), *value)).collect();
                Futex::new(true).wait_any(&words, None);
            }
        });
        world.replace(&layout, 0, 2, Policy::Wait);
        sleeper.join().unwrap();
    });
}
