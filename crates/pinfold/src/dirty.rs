//! Which files have something that a sync has to make durable, and which of their blocks hold it.
//!
//! Stays true  Y1: bytes are noted after they were written, and after the file's map has their blocks. Who takes the notes
//!                 and then looks at the map finds both: he flushes what they speak of, and marks what was filled.
//!             Y2: a file with notes, or whose last change is on no record, is on the pool's list; and it is there once.
//! Lock order  a map, then the notes, then the list.
//! Who may     anybody; each under the set's lock. A pool without a medium notes nothing; one on memory that is as durable
//!             as it can be, no blocks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::core::Core;
use crate::lock::lock;
use crate::node::Node;
use crate::pinned::Segment;
use crate::pool::Shared;
use crate::units::HUGE_PAGE;

/// From how many ranges on they are rounded to huge pages: flushing what is clean costs little.
const RANGES_MAX: usize = 4096;

/// Ranges of the region, in bytes.
#[derive(Default)]
pub(crate) struct Dirty {
    /// By start; none meets another.
    ranges: BTreeMap<u64, u64>,
    /// Whether the file is on the pool's list.
    listed: bool,
}

impl Dirty {
    fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        while let Some((&from, &to)) = self.ranges.range(..=end).next_back().filter(|(_, to)| **to >= start) {
            (start, end) = (start.min(from), end.max(to));
            self.ranges.remove(&from);
        }
        self.ranges.insert(start, end);
        if self.ranges.len() > RANGES_MAX {
            let fine = std::mem::take(&mut self.ranges);
            fine.into_iter().for_each(|(start, end)| {
                self.add(start / HUGE_PAGE * HUGE_PAGE..end.next_multiple_of(HUGE_PAGE));
            });
        }
    }

    /// The notes, which are forgotten here.
    pub(crate) fn take(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.ranges).into_iter().map(|(start, end)| start..end).collect()
    }
}

/// What a device may have written: noted when this is dropped. Before the pin leaves, or who syncs then would miss it.
pub(crate) struct WrittenByDevice {
    pool: Arc<Shared>,
    places: Vec<(Arc<Node>, Vec<Segment>)>,
}

impl WrittenByDevice {
    /// Notes it now, and when the pin leaves. `None` where nothing is ever noted.
    pub(crate) fn begin(pool: &Arc<Shared>) -> Option<Self> {
        pool.journal.flushes().then(|| Self { pool: Arc::clone(pool), places: Vec::new() })
    }

    /// More that it may write.
    pub(crate) fn add(&mut self, node: &Arc<Node>, segments: &[Segment]) {
        self.pool.note_pinned(node, segments);
        self.places.push((Arc::clone(node), segments.to_vec()));
    }
}

impl Drop for WrittenByDevice {
    fn drop(&mut self) {
        self.places.iter().for_each(|(node, segments)| self.pool.note_pinned(node, segments));
    }
}

impl Core {
    /// Notes that the host has written a file's bytes in a range of the region, now (Y1).
    #[inline]
    pub(crate) fn note_written(&self, node: &Arc<Node>, place: Range<u64>) {
        node.touch();
        match self.journal.flushes() {
            true => self.note(node, Some(place)),
            // That it was changed is all that a sync has to say.
            false if self.journal.is_live() => self.list(node),
            false => {}
        }
    }

    /// Notes that a file's bytes in a range of the region may have been written (Y1).
    #[inline]
    pub(crate) fn note_dirty(&self, node: &Arc<Node>, place: Range<u64>) {
        if self.journal.flushes() {
            self.note(node, Some(place));
        }
    }

    fn note(&self, node: &Arc<Node>, place: Option<Range<u64>>) {
        let Some(body) = node.file() else { return };
        let listed = {
            let mut dirty = lock(&body.dirty);
            place.into_iter().for_each(|place| dirty.add(place));
            std::mem::replace(&mut dirty.listed, true)
        };
        if !listed {
            lock(&self.to_sync).push(Arc::downgrade(node));
        }
    }

    /// Notes what a device may write under a pin, now and when the pin leaves.
    pub(crate) fn note_pinned(&self, node: &Arc<Node>, segments: &[Segment]) {
        segments.iter().for_each(|segment| self.note_dirty(node, segment.place..segment.place + segment.len));
    }

    /// Notes that a file's bytes may be written at any moment, without a call.
    pub(crate) fn note_viewed(&self, node: &Arc<Node>) {
        if self.journal.flushes() {
            self.list(node);
        }
    }

    /// Puts a file on the list.
    pub(crate) fn list(&self, node: &Arc<Node>) {
        self.note(node, None);
    }

    /// The files on the list, which begins anew. Their notes are to be taken after this.
    pub(crate) fn take_dirty(&self) -> Vec<Arc<Node>> {
        let taken: Vec<_> = std::mem::take(&mut *lock(&self.to_sync)).iter().filter_map(Weak::upgrade).collect();
        taken.iter().filter_map(|node| node.file()).for_each(|body| lock(&body.dirty).listed = false);
        taken
    }

    /// What was not synced after all: `first`, whose notes were taken, and others.
    pub(crate) fn put_dirty_back(&self, first: &Arc<Node>, others: &[Arc<Node>]) {
        others.iter().chain([first]).for_each(|node| self.list(node));
    }

    /// After an exchange, what was noted of either file may be of the other.
    pub(crate) fn share_dirty(&self, one: &Arc<Node>, two: &Arc<Node>) {
        if !self.journal.flushes() {
            return;
        }
        let of = |node: &Arc<Node>| node.file().map(|body| lock(&body.dirty).ranges.clone()).unwrap_or_default();
        let (of_one, of_two) = (of(one), of(two));
        of_one.into_iter().for_each(|(start, end)| self.note(two, Some(start..end)));
        of_two.into_iter().for_each(|(start, end)| self.note(one, Some(start..end)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_meet_become_one_and_many_are_rounded() {
        let mut dirty = Dirty::default();
        [10..20, 30..40, 20..25, 24..31].into_iter().for_each(|range| dirty.add(range));
        assert!(dirty.take().iter().eq([&(10..40)]));
        (0..=RANGES_MAX as u64).for_each(|i| dirty.add(i * 8192..i * 8192 + 4096));
        assert!(dirty.take().len() < 32);
    }
}
