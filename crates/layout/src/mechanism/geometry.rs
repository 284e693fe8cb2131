//! How large an area is, and where each table lies in it.
//!
//! The header belongs to the owner: prologue, holders, announcements, void marks, parked extents, then one cell for
//! each file with state. A segment belongs to its holder: head, chains, labels, block heads, slots. What can grow
//! lies last, or is sparse until it is used.

use super::header::{Announcement, Cell, HolderEntry, ParkedEntry, Prologue, VoidMark};
use super::segment::{BlockHead, LabelEntry, SegmentHead, Slot};
use super::words::Record;

/// Capacities. Each is a limit with an error of its own, none of them costs memory before it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Files with state at a time.
    pub files_max: u32,
    /// Ranges announced by running breaks at a time.
    pub announcements_max: u32,
    /// Holders at a time, those in quarantine included.
    pub holders_max: u32,
    /// Parked extents that outlive their owner.
    pub parked_max: u32,
    /// Pins declared void while their slot is not cleared.
    pub voids_max: u32,
    /// Chains of each segment, a power of two: files are spread over them by hash.
    pub chains: u32,
    /// Blocks of slots in each segment.
    pub blocks_max: u32,
    /// Slots of one block.
    pub slots_per_block: u32,
    /// Labels of each segment.
    pub labels_max: u32,
}

impl Default for Geometry {
    fn default() -> Self {
        Self {
            files_max: 1 << 20,
            announcements_max: 1 << 12,
            holders_max: 1 << 10,
            parked_max: 1 << 16,
            voids_max: 1 << 12,
            chains: 1 << 14,
            blocks_max: 1 << 19,
            slots_per_block: 8,
            labels_max: 1 << 10,
        }
    }
}

impl Geometry {
    /// Whether each capacity is one that the tables can have.
    pub(crate) fn is_sound(&self) -> bool {
        let within = |value: u32, max: u32| (1..=max).contains(&value);
        within(self.files_max, 1 << 24)
            && within(self.announcements_max, 1 << 16)
            && within(self.holders_max, 1 << 16)
            && within(self.parked_max, 1 << 24)
            && within(self.voids_max, 1 << 20)
            && within(self.chains, 1 << 20)
            && self.chains.is_power_of_two()
            && within(self.blocks_max, 1 << 24)
            && within(self.slots_per_block, 1 << 8)
            && within(self.labels_max, 1 << 16)
            && u64::from(self.blocks_max) * u64::from(self.slots_per_block) <= 1 << 31
    }

    /// Slots of one segment.
    pub(crate) fn slots_max(&self) -> u32 {
        self.blocks_max * self.slots_per_block
    }

    /// The chain in which the pins of `object` hang.
    pub(crate) fn chain_of(&self, object: u64) -> u32 {
        // Fibonacci hashing: neighbouring ids, which are common, fall into different chains.
        let spread = object.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        (spread as u32) & (self.chains - 1)
    }

    /// The capacities as words, in the order in which the prologue keeps them.
    pub(crate) fn to_words(self) -> [u64; 9] {
        [
            self.files_max,
            self.announcements_max,
            self.holders_max,
            self.parked_max,
            self.voids_max,
            self.chains,
            self.blocks_max,
            self.slots_per_block,
            self.labels_max,
        ]
        .map(u64::from)
    }

    /// The inverse of [`Geometry::to_words`]; `None` if they are no capacities of an area.
    pub(crate) fn from_words(words: [u64; 9]) -> Option<Self> {
        let mut small = [0u32; 9];
        for (to, from) in small.iter_mut().zip(words) {
            *to = u32::try_from(from).ok()?;
        }
        let [
            files_max,
            announcements_max,
            holders_max,
            parked_max,
            voids_max,
            chains,
            blocks_max,
            slots_per_block,
            labels_max,
        ] = small;
        let geometry = Self {
            files_max,
            announcements_max,
            holders_max,
            parked_max,
            voids_max,
            chains,
            blocks_max,
            slots_per_block,
            labels_max,
        };
        geometry.is_sound().then_some(geometry)
    }

    pub(crate) fn header(&self) -> HeaderOffsets {
        let holders = Prologue::WORDS;
        let announcements = holders + self.holders_max as usize * HolderEntry::WORDS;
        let voids = announcements + self.announcements_max as usize * Announcement::WORDS;
        let parked = voids + self.voids_max as usize * VoidMark::WORDS;
        let cells = parked + self.parked_max as usize * ParkedEntry::WORDS;
        let end = cells + self.files_max as usize * Cell::WORDS;
        HeaderOffsets { holders, announcements, voids, parked, cells, end }
    }

    pub(crate) fn segment(&self) -> SegmentOffsets {
        let chains = SegmentHead::WORDS;
        let labels = chains + self.chains as usize;
        let block_heads = labels + self.labels_max as usize * LabelEntry::WORDS;
        let unaligned = block_heads + self.blocks_max as usize * BlockHead::WORDS;
        let slots = unaligned.next_multiple_of(Slot::WORDS);
        let end = slots + self.slots_max() as usize * Slot::WORDS;
        SegmentOffsets { chains, labels, block_heads, slots, end }
    }
}

/// Where the header's tables begin, in words.
#[derive(Clone, Copy)]
pub(crate) struct HeaderOffsets {
    pub(crate) holders: usize,
    pub(crate) announcements: usize,
    pub(crate) voids: usize,
    pub(crate) parked: usize,
    pub(crate) cells: usize,
    pub(crate) end: usize,
}

/// Where a segment's tables begin, in words.
#[derive(Clone, Copy)]
pub(crate) struct SegmentOffsets {
    pub(crate) chains: usize,
    pub(crate) labels: usize,
    pub(crate) block_heads: usize,
    pub(crate) slots: usize,
    pub(crate) end: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_survive_the_prologue() {
        let geometry = Geometry::default();
        assert_eq!(Geometry::from_words(geometry.to_words()), Some(geometry));
    }

    #[test]
    fn unsound_capacities_are_refused() {
        let mut words = Geometry::default().to_words();
        words[5] = 3;
        assert_eq!(Geometry::from_words(words), None, "chains must be a power of two");
        assert_eq!(Geometry::from_words([0; 9]), None);
        assert_eq!(Geometry::from_words([u64::MAX; 9]), None);
    }
}
