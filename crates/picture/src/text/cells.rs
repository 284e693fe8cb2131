//! What each character of the map stands for.
//!
//! Stays true  C1: what is stuck is never lost among what is not: one block of it decides for its character.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::chart::What;
use crate::rows::Rows;
use crate::runs::{Run, Runs, len, within};
use crate::sums::Kind;

const ROWS_MAX: u64 = 32;
/// A small pool has short lines rather than one long one.
const ROW_MIN: u64 = 16;
/// What fills that many fourths of a character decides for it.
const MOST: u64 = 3;

/// What a character shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Cell {
    File {
        id: u64,
        unwritten: bool,
    },
    /// Nothing fills most of it. The largest file in it, if there is one.
    Mixed(Option<u64>),
    Free,
    Parked,
    Quarantined,
    Meta,
    Unknown,
}

/// A map in characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    pub(crate) rows: Rows,
    /// Characters of a line.
    pub(crate) columns: u64,
}

impl Cells {
    /// Lines of at most so many characters. None of them stands for less than a block.
    pub(crate) fn of(blocks: u64, columns_max: usize) -> Self {
        let rows = Rows::of(blocks, ROWS_MAX, ROW_MIN);
        // A multiple of 16, so that 16 characters are a round size.
        let columns = (columns_max as u64 / 16 * 16).max(16);
        Self { rows, columns: columns.min(rows.each) }
    }

    pub(crate) fn draw<'r>(&'r self, runs: &'r Runs<'_>) -> impl Iterator<Item = Cell> + 'r {
        let all = (0..self.rows.count).flat_map(move |row| (0..self.columns).map(move |column| self.cell(row, column)));
        runs.cut(all.filter(|blocks| !blocks.is_empty())).map(|(blocks, touched)| shows(&blocks, touched))
    }

    /// The marks under a line: where something is pinned, and where by a pin in quarantine. Empty if nothing is.
    pub(crate) fn pins(&self, row: u64, held: &[Range<u64>], quarantined: &[Range<u64>]) -> String {
        let mark = |column| {
            let blocks = self.cell(row, column);
            match (touches(quarantined, &blocks), touches(held, &blocks)) {
                (true, _) => '!',
                (false, true) => '^',
                (false, false) => ' ',
            }
        };
        let marks: String = (0..self.columns).map(mark).collect();
        marks.trim_end().to_owned()
    }

    /// The blocks of a character; empty past the pool's end.
    fn cell(&self, row: u64, column: u64) -> Range<u64> {
        let line = self.rows.row(row);
        let part = |column: u64| (u128::from(self.rows.each) * u128::from(column) / u128::from(self.columns)) as u64;
        let start = line.start.saturating_add(part(column)).min(line.end);
        start..line.start.saturating_add(part(column + 1)).min(line.end)
    }
}

/// Whether some of the runs, which are in order, lie in a range.
fn touches(runs: &[Range<u64>], blocks: &Range<u64>) -> bool {
    let next = runs.partition_point(|run| run.end <= blocks.start);
    runs.get(next).is_some_and(|run| run.start < blocks.end)
}

fn shows(blocks: &Range<u64>, runs: &[Run<'_>]) -> Cell {
    let has = |kind| runs.iter().any(|run| Kind::of(run.what) == kind);
    if has(Kind::Quarantined) {
        return Cell::Quarantined;
    }
    if has(Kind::Parked) {
        return Cell::Parked;
    }
    let mut parts: BTreeMap<Cell, u64> = BTreeMap::new();
    let mut files: BTreeMap<u64, u64> = BTreeMap::new();
    for run in runs {
        let here = len(&within(&run.blocks, blocks));
        *parts.entry(Cell::of(run.what)).or_default() += here;
        if let What::File { of, .. } = run.what {
            *files.entry(of.id).or_default() += here;
        }
    }
    let largest_file = files.into_iter().max_by_key(|(id, of)| (*of, u64::MAX - id)).map(|(id, _)| id);
    let largest = parts.into_iter().max_by_key(|(cell, of)| (*of, std::cmp::Reverse(*cell)));
    match largest {
        Some((cell, of)) if u128::from(of) * 4 >= u128::from(len(blocks)) * u128::from(MOST) => cell,
        _ => Cell::Mixed(largest_file),
    }
}

impl Cell {
    fn of(what: &What) -> Self {
        match what {
            What::Meta(_) => Self::Meta,
            What::File { of, unwritten } => Self::File { id: of.id, unwritten: *unwritten },
            What::Free => Self::Free,
            What::Parked { .. } => Self::Parked,
            What::Quarantined { .. } => Self::Quarantined,
            What::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Chart, Part, Stretch};

    fn part(id: u64) -> Part {
        Part { name: "/f".into(), id, offset: 0 }
    }

    #[test]
    fn characters_cover_a_pool_once_whatever_its_size_and_the_width() {
        for blocks in [1, 15, 16, 17, 511, 513, 4096, 100_000, 1 << 32, u64::MAX] {
            for columns in [32, 72, 80, 112] {
                let cells = Cells::of(blocks, columns);
                assert!(cells.columns as usize <= columns && cells.rows.count <= ROWS_MAX);
                let mut at = 0;
                for row in 0..cells.rows.count {
                    for column in 0..cells.columns {
                        let cell = cells.cell(row, column);
                        assert!(cell.start == at || cell.is_empty(), "{cell:?} after {at} of {blocks}");
                        at = at.max(cell.end);
                    }
                }
                assert_eq!(at, blocks);
            }
        }
    }

    #[test]
    fn c1_one_stuck_block_of_a_million_is_seen() {
        let stretches = vec![
            Stretch { blocks: 0..777_777, what: What::Free },
            Stretch { blocks: 777_777..777_778, what: What::Parked { was: part(1), by: "nic".into() } },
            Stretch { blocks: 777_778..1 << 20, what: What::Free },
        ];
        let chart = Chart { block_size: 4096, blocks: 1 << 20, stretches, ..Chart::default() };
        let runs = Runs::of(&chart);
        let drawn: Vec<_> = Cells::of(chart.blocks, 64).draw(&runs).collect();
        assert_eq!(drawn.iter().filter(|cell| **cell == Cell::Parked).count(), 1);
        assert!(drawn.iter().all(|cell| matches!(cell, Cell::Parked | Cell::Free)));
    }

    #[test]
    fn what_fills_three_fourths_decides_and_otherwise_it_is_a_mixture() {
        let file = |blocks, id| Stretch { blocks, what: What::File { of: part(id), unwritten: false } };
        let shown = |stretches| {
            let chart = Chart { block_size: 1, blocks: 8, stretches, ..Chart::default() };
            shows(&(0..8), &Runs::of(&chart).all)
        };
        assert_eq!(shown(vec![file(0..6, 1)]), Cell::File { id: 1, unwritten: false });
        assert_eq!(shown(vec![file(0..3, 1), file(4..6, 2)]), Cell::Mixed(Some(1)));
        assert_eq!(shown(vec![Stretch { blocks: 0..4, what: What::Free }]), Cell::Mixed(None));
    }

    #[test]
    fn pins_are_marked_under_what_they_cover() {
        let cells = Cells::of(64, 16);
        assert_eq!((cells.columns, cells.rows.each), (16, 16));
        let (held, quarantined) = (vec![2..4, 9..20], vec![3..4, 60..64]);
        let marks = [0, 1, 2, 3].map(|row| cells.pins(row, &held, &quarantined));
        assert_eq!(marks, ["  ^!     ^^^^^^^", "^^^^", "", "            !!!!"]);
    }
}
