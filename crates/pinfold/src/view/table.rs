//! What a view shows where: a table of pieces, as the kernel has mappings. What is in no piece is trapped.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pieces of all views of this process.
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// Whether views have as many mappings as they may: each piece takes one, and one more where it ends before another begins. The rest of
/// what the kernel allows a process is for others: who finds no mapping for a thread or a heap is in trouble.
pub(super) fn is_full() -> bool {
    static MOST: OnceLock<usize> = OnceLock::new();
    let most = *MOST.get_or_init(|| {
        let limit =
            std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
        limit.unwrap_or(DEFAULT_LIMIT) / 3
    });
    // ORDER: relaxed; a number that no memory hangs on.
    PIECES.load(Ordering::Relaxed) >= most
}

/// `vm.max_map_count`, if it cannot be read.
const DEFAULT_LIMIT: usize = 65_530;

/// What is to be seen in a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// Bytes of the region, from this place on.
    Blocks { place: u64 },
    /// A hole, of which only loads know.
    Zeros,
    /// The end of the file.
    End,
    /// There was no block for a store.
    Refused,
}

impl Seen {
    /// The same, `skip` bytes further.
    fn part(self, skip: u64) -> Self {
        match self {
            Self::Blocks { place } => Self::Blocks { place: place + skip },
            other => other,
        }
    }
}

/// A piece of a view, in bytes from its window's first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) range: Range<u64>,
    pub(super) seen: Seen,
}

/// The pieces of a view, by start; none meets another.
#[derive(Default)]
pub(super) struct Table {
    pieces: BTreeMap<u64, (u64, Seen)>,
    /// How many of them are counted.
    counted: usize,
}

impl Table {
    /// The piece that a byte lies in.
    pub(super) fn at(&self, at: u64) -> Option<Piece> {
        let (&start, &(end, seen)) = self.pieces.range(..=at).next_back()?;
        (at < end).then_some(Piece { range: start..end, seen })
    }

    /// The pieces that lie in a range, as far as they do.
    pub(super) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let first = self.at(range.start).map_or(range.start, |piece| piece.range.start);
        self.pieces.range(first..range.end.max(first)).map(move |(&start, &(end, seen))| {
            let (from, to) = (start.max(range.start), end.min(range.end));
            Piece { range: from..to, seen: seen.part(from - start) }
        })
    }

    /// The largest range around a byte, inside `within`, in which nothing but zeros is shown, if anything.
    pub(super) fn gap(&self, at: u64, within: Range<u64>) -> Range<u64> {
        let stops = |seen: Seen| seen != Seen::Zeros;
        let before = self.pieces.range(..=at).rev().find(|(_, (_, seen))| stops(*seen));
        let after = self.pieces.range(at..).find(|(_, (_, seen))| stops(*seen));
        let start = before.map_or(within.start, |(_, (end, _))| (*end).max(within.start));
        let end = after.map_or(within.end, |(start, _)| (*start).min(within.end));
        start..end
    }

    /// Where the next blocks are shown, from a byte on.
    pub(super) fn next_blocks(&self, at: u64) -> u64 {
        let blocks = self.pieces.range(at..).find(|(_, (_, seen))| matches!(seen, Seen::Blocks { .. }));
        blocks.map_or(u64::MAX, |(start, _)| *start)
    }

    /// Where the next piece begins, behind a byte.
    pub(super) fn next_piece(&self, at: u64) -> u64 {
        self.pieces.range(at + 1..).next().map_or(u64::MAX, |(start, _)| *start)
    }

    /// A piece, in place of what was there. It is one with a neighbour that it goes on from.
    pub(super) fn put(&mut self, range: Range<u64>, seen: Seen) {
        self.take(range.clone());
        let (mut range, mut seen) = (range, seen);
        if let Some((&start, &(end, before))) = self.pieces.range(..range.start).next_back()
            && end == range.start
            && before.part(end - start) == seen
        {
            (range.start, seen) = (start, before);
        }
        if let Some(&(end, after)) = self.pieces.get(&range.end)
            && seen.part(range.end - range.start) == after
        {
            self.pieces.remove(&range.end);
            range.end = end;
        }
        self.pieces.insert(range.start, (range.end, seen));
        self.count();
    }

    /// Takes out what lies in a range; what it was, as far as it did.
    pub(super) fn take(&mut self, range: Range<u64>) -> Vec<Piece> {
        let taken: Vec<Piece> = self.pieces(range.clone()).collect();
        for cut in [range.start, range.end] {
            if let Some(piece) = self.at(cut).filter(|piece| piece.range.start < cut) {
                self.pieces.insert(piece.range.start, (cut, piece.seen));
                self.pieces.insert(cut, (piece.range.end, piece.seen.part(cut - piece.range.start)));
            }
        }
        for piece in &taken {
            self.pieces.remove(&piece.range.start);
        }
        self.count();
        taken
    }

    fn count(&mut self) {
        // ORDER: relaxed; as in `is_full`. Wraps when there are fewer than before.
        PIECES.fetch_add(self.pieces.len().wrapping_sub(self.counted), Ordering::Relaxed);
        self.counted = self.pieces.len();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.pieces.len()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        PIECES.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(place: u64) -> Seen {
        Seen::Blocks { place }
    }

    #[test]
    fn neighbours_in_a_row_are_one_piece() {
        let mut table = Table::default();
        table.put(0..10, blocks(100));
        table.put(20..30, blocks(120));
        table.put(10..20, blocks(110));
        assert_eq!(table.at(15), Some(Piece { range: 0..30, seen: blocks(100) }));
        table.put(30..40, blocks(99));
        table.put(40..50, Seen::Zeros);
        table.put(50..60, Seen::Zeros);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn what_is_taken_out_of_the_middle_leaves_two_parts() {
        let mut table = Table::default();
        table.put(0..30, blocks(100));
        assert_eq!(table.take(10..20), [Piece { range: 10..20, seen: blocks(110) }]);
        assert_eq!(table.at(10), None);
        assert_eq!(table.at(25), Some(Piece { range: 20..30, seen: blocks(120) }));
        assert_eq!(table.gap(15, 0..100), 10..20);
        assert_eq!(table.gap(50, 0..100), 30..100);
        table.put(12..14, Seen::Zeros);
        assert_eq!(table.gap(13, 0..100), 10..20);
        assert_eq!(table.gap(10, 11..18), 11..18);
        assert_eq!(table.take(0..100).len(), 3);
        assert_eq!(table.len(), 0);
    }

    proptest::proptest! {
        /// In step with one cell for each byte.
        #[test]
        fn the_table_is_what_was_put(steps in proptest::collection::vec((0u64..40, 1u64..20, 0u8..4), 1..60)) {
            let mut table = Table::default();
            let mut cells: Vec<Option<Seen>> = vec![None; 64];
            for (start, len, what) in steps {
                let seen = match what {
                    0 => None,
                    1 => Some(Seen::Zeros),
                    2 => Some(blocks(start)),
                    _ => Some(blocks(1000 - start)),
                };
                let taken = match seen {
                    None => table.take(start..start + len),
                    Some(seen) => { table.put(start..start + len, seen); Vec::new() }
                };
                for piece in taken {
                    for at in piece.range.clone() {
                        assert_eq!(cells[at as usize], Some(piece.seen.part(at - piece.range.start)));
                    }
                }
                for at in start..start + len {
                    cells[at as usize] = seen.map(|seen| seen.part(at - start));
                }
                for (at, cell) in cells.iter().enumerate() {
                    let at = at as u64;
                    let found = table.at(at).map(|piece| piece.seen.part(at - piece.range.start));
                    assert_eq!(found, *cell, "at {at}");
                }
            }
        }
    }
}
