//! What the rows have in common: an area, and a file's extent map as its owner would keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pinfold_layout::{Access, Area, AreaOptions, Extent, Holder, Layout, PinSpec};

/// A device that writes.
pub(crate) const DEVICE: PinSpec = PinSpec::device(Access::Write);

/// An area with one holder and the layout of one file.
pub(crate) struct Fixture {
    pub(crate) area: Area,
    pub(crate) holder: Arc<Holder>,
    pub(crate) layout: Layout,
}

/// The measured file.
pub(crate) const FILE: u64 = 1;

impl Fixture {
    pub(crate) fn embedded() -> Self {
        Self::of(Area::embedded(AreaOptions::default()).expect("an embedded area"))
    }

    pub(crate) fn of(area: Area) -> Self {
        let holder = area.holder().expect("a holder");
        let layout = area.layout(FILE).expect("a layout");
        Self { area, holder, layout }
    }
}

/// First position of an extent to its end and its first block.
pub(crate) struct ExtentMap(BTreeMap<u64, (u64, u64)>);

impl ExtentMap {
    /// One extent from 0 to `end`.
    pub(crate) fn of_one(end: u64) -> Self {
        Self(BTreeMap::from([(0, (end, 0))]))
    }

    /// `count` extents of one block each, none of which continues the one before it.
    pub(crate) fn of_single_blocks(count: u64) -> Self {
        Self((0..count).map(|start| (start, (start + 1, 2 * start))).collect())
    }

    /// Where `position` lies on the medium.
    pub(crate) fn block_at(&self, position: u64) -> Option<u64> {
        let (start, (end, block)) = self.0.range(..=position).next_back()?;
        (position < *end).then(|| block + (position - start))
    }

    /// Takes out the extent that begins at `start`.
    pub(crate) fn remove(&mut self, start: u64) -> Extent {
        let (end, block) = self.0.remove(&start).expect("an extent that begins here");
        Extent { object: FILE, start, end, block }
    }

    pub(crate) fn put_back(&mut self, extent: Extent) {
        self.0.insert(extent.start, (extent.end, extent.block));
    }
}
