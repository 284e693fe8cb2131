//! Units: bytes for callers, blocks inside.
//!
//! A file block is counted from the start of its file and called `at`; a pool block is counted from the start of the pool
//! and called `block`. Ranges are half-open.

use std::ops::Range;

/// The longest that a file can be, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 60;

/// Bytes of a huge page: extents keep file and memory congruent to it where they can.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;

/// The size of a pool's blocks, a power of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockSize {
    shift: u32,
}

impl BlockSize {
    /// `None` if `bytes` is no power of two from 4 KiB to 2 MiB.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let sound = bytes.is_power_of_two() && (4096..=HUGE_PAGE).contains(&bytes);
        sound.then_some(Self { shift: bytes.trailing_zeros() })
    }

    /// One block, in bytes.
    pub(crate) fn bytes(self) -> u64 {
        1 << self.shift
    }

    /// The block in which byte `offset` lies.
    pub(crate) fn floor(self, offset: u64) -> u64 {
        offset >> self.shift
    }

    /// The first block that begins at `offset` or later.
    pub(crate) fn ceil(self, offset: u64) -> u64 {
        (offset >> self.shift) + u64::from(!self.is_aligned(offset))
    }

    /// Where block `block` begins.
    pub(crate) fn offset(self, block: u64) -> u64 {
        block << self.shift
    }

    pub(crate) fn is_aligned(self, offset: u64) -> bool {
        offset & (self.bytes() - 1) == 0
    }

    /// The blocks that a range of bytes touches.
    pub(crate) fn outward(self, bytes: &Range<u64>) -> Range<u64> {
        self.floor(bytes.start)..self.ceil(bytes.end)
    }

    /// The blocks that lie in a range of bytes as a whole; empty if none does.
    pub(crate) fn inward(self, bytes: &Range<u64>) -> Range<u64> {
        let start = self.ceil(bytes.start);
        start..self.floor(bytes.end).max(start)
    }

    /// The bytes of a range of blocks.
    pub(crate) fn to_bytes(self, blocks: &Range<u64>) -> Range<u64> {
        self.offset(blocks.start)..self.offset(blocks.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_rounded_outward_for_pins_and_inward_for_holes() {
        let block = BlockSize::new(4096).unwrap();
        assert_eq!(block.outward(&(1..4097)), 0..2);
        assert_eq!(block.inward(&(1..4097)), 1..1);
        assert_eq!(block.inward(&(1..8192)), 1..2);
        assert_eq!(block.to_bytes(&(1..3)), 4096..12288);
    }

    #[test]
    fn odd_sizes_are_no_block_sizes() {
        for bytes in [0, 512, 4095, 6144, 4 << 20] {
            assert_eq!(BlockSize::new(bytes), None, "{bytes}");
        }
    }
}
