//! What the rows about the mechanism have in common: an area, and a file's extent map as its owner would keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pinfold_layout::{Access, Area, AreaError, AreaOptions, Extent, Holder, Layout, PinSpec};

/// A device that writes.
pub(super) const DEVICE: PinSpec = PinSpec::device(Access::Write);

/// The measured file.
pub(super) const FILE: u64 = 1;

/// An area with one holder and the layout of one file.
pub(super) struct OneFile {
    pub(super) area: Area,
    pub(super) holder: Arc<Holder>,
    pub(super) layout: Layout,
}

impl OneFile {
    pub(super) fn embedded() -> Result<Self, AreaError> {
        Self::of(Area::embedded(AreaOptions::default())?)
    }

    pub(super) fn of(area: Area) -> Result<Self, AreaError> {
        let holder = area.holder()?;
        let layout = area.layout(FILE)?;
        Ok(Self { area, holder, layout })
    }
}

/// First position of an extent to its end and its first block.
pub(super) struct ExtentMap(BTreeMap<u64, (u64, u64)>);

impl ExtentMap {
    /// One extent from 0 to `end`.
    pub(super) fn of_one(end: u64) -> Self {
        Self(BTreeMap::from([(0, (end, 0))]))
    }

    /// `count` extents of one block each, none of which continues the one before it.
    pub(super) fn of_single_blocks(count: u64) -> Self {
        Self((0..count).map(|start| (start, (start + 1, 2 * start))).collect())
    }

    /// Where `position` lies on the medium.
    pub(super) fn block_at(&self, position: u64) -> Option<u64> {
        let (start, (end, block)) = self.0.range(..=position).next_back()?;
        (position < *end).then(|| block + (position - start))
    }

    /// Takes out the extents that begin at `start`: one, or none.
    pub(super) fn remove(&mut self, start: u64) -> Vec<Extent> {
        let removed = self.0.remove(&start).map(|(end, block)| Extent { object: FILE, start, end, block });
        Vec::from_iter(removed)
    }

    pub(super) fn put_back(&mut self, extent: Extent) {
        self.0.insert(extent.start, (extent.end, extent.block));
    }
}
