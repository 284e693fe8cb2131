//! What the threads of the models do.

use std::ops::Range;

use crate::mechanism::busy_extents::CommitId;
use crate::mechanism::holder::Holder;
use crate::mechanism::layout_break::Policy;
use crate::mechanism::pin::{Access, PinSpec};
use crate::mechanism::space::SpaceWatch;
use crate::mechanism::until::Until;
use crate::mechanism::view::Layout;
use crate::sync::{Arc, as_thread};
use crate::world::{Files, World};

pub(crate) const DEVICE: PinSpec = PinSpec::device(Access::Write);
pub(crate) const COPY: PinSpec = PinSpec::cpu(Access::Read);

/// Lets a thread to be have its lane and slot already, so that its first pin takes the quick path.
pub(crate) fn warm(holder: &Holder, number: u32, layout: &Layout) {
    as_thread(number, || drop(holder.pin(layout, 0..1, COPY, Until::done(), || ()).unwrap()));
}

/// Somebody who pins position 0 or more of a file, and transfers.
#[derive(Clone)]
pub(crate) struct Pinner {
    pub(crate) holder: Arc<Holder>,
    pub(crate) layout: Layout,
    pub(crate) files: Arc<Files>,
}

impl Pinner {
    /// A pinner through holder 0, which runs as thread `number`.
    pub(crate) fn new(world: &World, layout: &Layout, number: u32) -> Self {
        let pinner = Self { holder: world.holder(0), layout: layout.clone(), files: Arc::clone(&world.files) };
        warm(&pinner.holder, number, layout);
        pinner
    }

    /// The same through the same holder, as another thread.
    pub(crate) fn another(&self, number: u32) -> Self {
        warm(&self.holder, number, &self.layout);
        self.clone()
    }

    /// Waits for its pin, transfers, unpins.
    pub(crate) fn transfer(&self, range: Range<u64>, spec: PinSpec) {
        let at = range.start;
        let pin = self.holder.pin(&self.layout, range, spec, Until::done(), || self.files.resolve(at)).unwrap();
        self.files.transfer(*pin.resolved());
    }

    /// Pins if no break is in the way, transfers, unpins. Whether it did.
    pub(crate) fn try_transfer(&self, range: Range<u64>, spec: PinSpec) -> bool {
        let at = range.start;
        let pin = self.holder.try_pin(&self.layout, range, spec, || self.files.resolve(at));
        pin.map(|pin| self.files.transfer(*pin.resolved())).is_ok()
    }
}

impl World {
    /// Breaks `position` of file 1, puts `block` there, and gives away what is free then.
    pub(crate) fn replace(&self, layout: &Layout, position: u64, block: u64, policy: Policy) {
        let mut layout_break = self.break_of(layout, position..position + 1, policy);
        let idle = layout_break.drain(Until::done()).unwrap();
        idle.commit(|| self.files.replace(layout.object(), position, block));
        self.reap();
    }

    /// The same, if nothing is in the way. Whether it was done.
    pub(crate) fn try_replace(&self, layout: &Layout, position: u64, block: u64, policy: Policy) -> bool {
        let mut layout_break = self.break_of(layout, position..position + 1, policy);
        let Ok(idle) = layout_break.try_drain() else { return false };
        idle.commit(|| self.files.replace(layout.object(), position, block));
        self.reap();
        true
    }

    /// Waits for space as an allocator does that has none.
    pub(crate) fn wait_for_space(&self, mut watch: SpaceWatch) {
        while self.reap() == 0 && watch.wait(CommitId::ALL, Until::done()).is_ok() {}
    }
}
