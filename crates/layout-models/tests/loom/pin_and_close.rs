//! Pin against close: the blocks that a validated pin resolved to are not given away (G1).

use crate::check::EXHAUSTIVE;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::pin::{Access, PinSpec};
use crate::mechanism::until::Until;
use crate::sync::{Arc, as_thread, start};
use crate::world::{SMALL, World};

/// G1. Two threads: one pins, transfers, unpins; the other breaks the range, and gives its old block away.
#[test]
fn pin_meets_close() {
    EXHAUSTIVE.run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let holder = world.holder(0);
        let files = Arc::clone(&world.files);
        let pinned = layout.clone();
        as_thread(2, || drop(holder.pin(&pinned, 0..1, PinSpec::cpu(Access::Read), Until::done(), || ())));
        let pinner = start(2, move || {
            let pin = holder.pin(&pinned, 0..1, PinSpec::device(Access::Read), Until::done(), || files.resolve(0)).unwrap();
            files.transfer(*pin.resolved());
        });
        let mut layout_break = world.break_of(&layout, 0..1, Policy::Wait);
        let idle = layout_break.drain(Until::done()).unwrap();
        idle.commit(|| world.files.replace(1, 0, 2));
        assert_eq!(world.reap(), 1);
        pinner.join().unwrap();
    });
}
