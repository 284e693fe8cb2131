//! How a pool is laid out in lines: each of the same length, a power of two of blocks, so that places are easy to read off.

use std::ops::Range;

/// The lines of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rows {
    pub(crate) blocks: u64,
    /// Blocks of a line; the last one may have fewer.
    pub(crate) each: u64,
    pub(crate) count: u64,
}

impl Rows {
    /// At most `max` lines, of at least `each_min` blocks, a power of two.
    pub(crate) fn of(blocks: u64, max: u64, each_min: u64) -> Self {
        let each = blocks.div_ceil(max).checked_next_power_of_two().unwrap_or(1 << 63).max(each_min);
        Self { blocks, each, count: blocks.div_ceil(each) }
    }

    /// The blocks of a line.
    pub(crate) fn row(&self, row: u64) -> Range<u64> {
        let start = row * self.each;
        start..start.saturating_add(self.each).min(self.blocks)
    }

    /// The lines that blocks touch, each with the blocks of them that lie there.
    pub(crate) fn split(&self, blocks: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> + use<> {
        let rows = *self;
        let lines = if blocks.is_empty() { 0..0 } else { blocks.start / rows.each..(blocks.end - 1) / rows.each + 1 };
        lines.map(move |row| (row, crate::runs::within(&blocks, &rows.row(row))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_of_any_size_has_as_many_lines_as_there_is_room_for() {
        let shape = |blocks| {
            let rows = Rows::of(blocks, 64, 32);
            (rows.each, rows.count)
        };
        assert_eq!([0, 1, 32, 33].map(shape), [(32, 0), (32, 1), (32, 1), (32, 2)]);
        assert_eq!(
            [4096, 1 << 18, (1 << 18) + 1, 1 << 32].map(shape),
            [(64, 64), (4096, 64), (8192, 33), (1 << 26, 64)]
        );
        assert_eq!(shape(u64::MAX), (1 << 58, 64));
    }

    #[test]
    fn blocks_are_split_where_lines_end() {
        let rows = Rows::of(100, 64, 32);
        let split: Vec<_> = rows.split(30..97).collect();
        assert_eq!(split, [(0, 30..32), (1, 32..64), (2, 64..96), (3, 96..97)]);
        assert_eq!(rows.row(3), 96..100);
    }
}
