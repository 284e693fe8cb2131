//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use pinfold_layout::{Access, Area, AreaOptions, Geometry, Holder, Layout, PinSpec};

/// A device that writes.
pub const DEVICE: PinSpec = PinSpec::device(Access::Write);
/// A copy that writes.
pub const COPY: PinSpec = PinSpec::cpu(Access::Write);

/// An embedded area with one holder and the layout of object 7.
pub struct Fixture {
    pub area: Arc<Area>,
    pub holder: Arc<Holder>,
    pub layout: Layout,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(AreaOptions::default())
    }

    /// The same with small tables, so that rare edges become common.
    pub fn small() -> Self {
        Self::with(AreaOptions::default().geometry(small_geometry()))
    }

    pub fn with(options: AreaOptions) -> Self {
        let area = Arc::new(Area::embedded(options).expect("an embedded area"));
        let holder = area.holder().expect("a holder");
        let layout = area.layout(7).expect("a layout");
        Self { area, holder, layout }
    }
}

pub fn small_geometry() -> Geometry {
    Geometry {
        files_max: 8,
        announcements_max: 4,
        holders_max: 4,
        parked_max: 8,
        voids_max: 4,
        chains: 2,
        blocks_max: 4,
        slots_per_block: 2,
        labels_max: 4,
    }
}

/// Waits for a state that another thread brings about, without sleeping.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 60, "this never came about: {what}");
        std::thread::yield_now();
    }
}

/// Waits until some break sleeps for a pin.
pub fn wait_until_a_break_sleeps(area: &Area) {
    wait_until("a break sleeps", || area.breaks().iter().any(|info| info.behind.is_some()));
}
