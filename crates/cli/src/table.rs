//! Text in columns.

use crate::names::width;

/// Which side a column's text stands at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows of cells, each column as wide as its widest cell; the last one is not filled up.
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(sides: impl Into<Vec<Side>>) -> Self {
        Self { sides: sides.into(), rows: Vec::new() }
    }

    /// One with a line of titles.
    pub(crate) fn titled(columns: &[(&str, Side)]) -> Self {
        let mut table = Self::new(columns.iter().map(|(_, side)| *side).collect::<Vec<_>>());
        table.row(columns.iter().map(|(title, _)| (*title).to_owned()));
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// One line for each row, two columns between the cells.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.sides.len()).map(|column| self.width_of(column)).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn width_of(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, side), wide) in row.iter().zip(&self.sides).zip(widths) {
            let fill = " ".repeat(wide.saturating_sub(width(cell)));
            match side {
                Side::Left => line.extend([cell, &fill, "  "]),
                Side::Right => line.extend([&fill, cell, "  "]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::titled(&[("N", Side::Right), ("NAME", Side::Left), ("", Side::Left)]);
        table.row(["10", "a", "x"].map(str::to_owned));
        table.row(["1", "日本語", ""].map(str::to_owned));
        assert_eq!(table.lines(), [" N  NAME", "10  a       x", " 1  日本語"]);
    }
}
