//! A file's cell is given to another file only while nobody pins the first one (O2).

use crate::actors::{COPY, Pinner};
use crate::check::bounded;
use crate::mechanism::view::Layout;
use crate::sync::start;
use crate::world::{SMALL, World};

/// A pin by a handle that does not keep the cell, as another process has, against the cell's being given to another
/// file: either the pin is stale, or the cell stays.
#[test]
fn a_pin_meets_the_sweep_of_its_cell() {
    bounded(3).run(|| {
        let world = World::new(SMALL);
        let layout = world.layout(1);
        let Pinner { holder, .. } = Pinner::new(&world, &layout, 2);
        let token = layout.token();
        drop::<Layout>(layout);
        let thread = start(2, move || {
            let layout = holder.layout(token).unwrap();
            let pin = holder.try_pin(&layout, 0..1, COPY, || ());
            let pinned = pin.is_ok();
            std::mem::forget(pin);
            pinned
        });
        let given_away = world.owner.layout(2).is_ok();
        let pinned = thread.join().unwrap();
        assert!(!(pinned && given_away), "the cell of a pinned file was given away");
    });
}
