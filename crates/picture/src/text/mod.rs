//! The picture for a terminal: lines of characters, each for the same number of blocks, and a legend.
//!
//! Stays true  P2: what a chart says reaches the terminal through [`shown`](crate::shown) alone, and nothing else than the
//!                 colours of [`Paint`] begins with an escape: they only ever change how text looks.
//!             T1: no line is wider than the terminal.

mod cells;
mod paint;

use std::fmt::Write;

use cells::{Cell, Cells};
use paint::{Ink, Paint};

use crate::chart::Chart;
use crate::palette::swatch;
use crate::runs::{Runs, len};
use crate::said::{about, wrong};
use crate::shown::{begun, fitted, named, width};
use crate::size::{count, grouped, share, size};
use crate::sums::{Class, FileSum, Held, Kind, Sums};

/// Files with a letter, from A to J, and a line of the legend.
const FILES_MAX: usize = 10;
/// Entries for each way of being held.
const HELD_MAX: usize = 4;
/// Columns of what stands before a line of the map.
const LABEL: usize = 8;
const COLUMNS_MIN: usize = 40;

/// What a text is shown on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// How wide it is; less than 40 is taken as 40.
    pub columns: usize,
    /// Whether it shows colours, of which it should have 256: block characters then, and letters otherwise.
    pub coloured: bool,
}

/// A pool as lines of text, each ended by a newline and none wider than `look` says: a map of at most 32 lines, what each kind
/// of block comes to, the largest files, how free space lies, and what is stuck, and by whom.
///
/// In the map, one parked or quarantined block is enough to make its whole character say so.
pub fn text(chart: &Chart, look: Look) -> String {
    let runs = Runs::of(chart);
    let sums = Sums::of(chart, &runs);
    let columns = look.columns.max(COLUMNS_MIN);
    let mut text = Text { chart, sums: &sums, columns, paint: Paint { coloured: look.coloured }, out: String::new() };
    text.heading();
    let mixed = text.map(&runs);
    text.legend(mixed);
    for said in wrong(&runs) {
        text.prose(Ink::Bad, &said);
    }
    text.files();
    text.free();
    text.held();
    text.out
}

struct Text<'t, 'a> {
    chart: &'a Chart,
    sums: &'t Sums<'a>,
    columns: usize,
    paint: Paint,
    out: String,
}

impl Text<'_, '_> {
    /// Adds a line, cut where the terminal ends.
    fn line(&mut self, ink: Ink, line: &str) {
        self.inked(&[(ink, line.to_owned())]);
    }

    /// Adds a sentence, in as many lines as it takes.
    fn prose(&mut self, ink: Ink, said: &str) {
        let mut line = String::new();
        for word in said.split(' ') {
            if !line.is_empty() && width(&line) + 1 + width(word) > self.columns {
                self.line(ink, &std::mem::take(&mut line));
            }
            let gap = if line.is_empty() { "" } else { " " };
            line = line + gap + word;
        }
        self.line(ink, &line);
    }

    /// Adds a line of several colours, cut where the terminal ends.
    fn inked(&mut self, parts: &[(Ink, String)]) {
        let mut left = self.columns;
        let last = parts.len().saturating_sub(1);
        for (at, (ink, part)) in parts.iter().enumerate() {
            let part = fitted(part, left);
            left -= width(&part);
            let part = if at == last { part.trim_end() } else { &part };
            self.out.push_str(&self.paint.paint(*ink, part));
        }
        self.out.push('\n');
    }

    fn size(&self, blocks: u64) -> String {
        size(u128::from(blocks) * u128::from(self.chart.block_size))
    }

    fn heading(&mut self) {
        self.line(Ink::Title, &self.chart.title);
        self.prose(Ink::Faint, &about(self.chart, self.sums, ", "));
    }

    /// The map; whether there are mixtures in it.
    fn map(&mut self, runs: &Runs<'_>) -> bool {
        if self.chart.blocks == 0 {
            self.out.push('\n');
            return false;
        }
        let cells = Cells::of(self.chart.blocks, self.columns - LABEL);
        let line = self.size(cells.rows.each);
        self.line(Ink::Faint, &format!("each line is {line}, in {} characters", cells.columns));
        self.out.push('\n');
        let letters: Vec<u64> = self.sums.files.iter().take(FILES_MAX).map(|file| file.id).collect();
        let drawn: Vec<Cell> = cells.draw(runs).collect();
        let [held, quarantined] = &self.sums.pinned;
        let per_line = cells.columns as usize;
        for (row, line) in (0..).zip(drawn.chunks(per_line)) {
            let label = format!("{:>width$} ", self.size(row * cells.rows.each), width = LABEL - 1);
            self.out.push_str(&self.paint.paint(Ink::Faint, &label));
            let signs: Vec<_> = line.iter().map(|cell| self.paint.sign(cell, &letters)).collect();
            self.out.push_str(&self.paint.line(&signs));
            self.out.push('\n');
            let pins = cells.pins(row, held, quarantined);
            if !pins.is_empty() {
                let _ = writeln!(self.out, "{:LABEL$}{}", "", self.paint.pins(&pins));
            }
        }
        self.out.push('\n');
        drawn.iter().any(|cell| matches!(cell, Cell::Mixed(_)))
    }

    /// Each kind that there is: its signs, its size, its share.
    fn legend(&mut self, mixed: bool) {
        for kind in Kind::ALL {
            let blocks = self.sums.kinds[kind];
            if blocks > 0 || kind == Kind::Free {
                self.amount(self.paint.sample(kind), kind.word(), blocks);
            }
        }
        let pinned: [u64; 2] = [0, 1].map(|at| self.sums.pinned[at].iter().map(len).sum());
        let signs = [(Ink::Strong, "^", "pinned"), (Ink::Bad, "!", "pins in quarantine")];
        for ((ink, sign, word), blocks) in signs.into_iter().zip(pinned) {
            if blocks > 0 {
                self.amount(vec![(ink, sign.to_owned())], word, blocks);
            }
        }
        if mixed {
            self.entry(self.paint.mixture(), "several in one place");
        }
    }

    fn amount(&mut self, signs: Vec<(Ink, String)>, word: &str, blocks: u64) {
        let amount = format!("{word:<18} {:>8} {:>7}", self.size(blocks), share(blocks, self.chart.blocks));
        self.entry(signs, &amount);
    }

    /// A line of the legend.
    fn entry(&mut self, signs: Vec<(Ink, String)>, said: &str) {
        let used: usize = signs.iter().map(|(_, sign)| width(sign)).sum();
        let gap = 4usize.saturating_sub(used) + 2;
        let mut line = vec![(Ink::Plain, "  ".to_owned())];
        line.extend(signs);
        line.push((Ink::Plain, format!("{:gap$}{said}", "")));
        self.inked(&line);
    }

    fn section(&mut self, title: &str) {
        self.out.push('\n');
        self.line(Ink::Title, title);
    }

    fn files(&mut self) {
        if self.sums.files.is_empty() {
            return;
        }
        self.section("Largest files");
        self.line(Ink::Faint, &format!("     {:>8} {:>7} {:>9} {:>8}", "size", "", "extents", "longest"));
        for (at, file) in self.sums.files.iter().take(FILES_MAX).enumerate() {
            let letter = self.paint.letter(at);
            let numbers = self.numbers(file);
            let line = [
                (Ink::Plain, "  ".to_owned()),
                (Ink::File(swatch(file.id)), letter),
                (Ink::Plain, format!("  {numbers}  ")),
                (Ink::Plain, fitted(file.name, self.columns.saturating_sub(43))),
            ];
            self.inked(&line);
        }
        let others = self.sums.files.get(FILES_MAX..).unwrap_or_default();
        if !others.is_empty() {
            let blocks = others.iter().map(|file| file.blocks).sum();
            let others = count(others.len() as u64, "more file");
            self.line(Ink::Faint, &format!("     {:>8}  in {others}", self.size(blocks)));
        }
    }

    fn numbers(&self, file: &FileSum<'_>) -> String {
        format!(
            "{:>8} {:>7} {:>9} {:>8}",
            self.size(file.blocks),
            share(file.blocks, self.chart.blocks),
            grouped(file.extents),
            self.size(file.longest)
        )
    }

    fn free(&mut self) {
        let free = self.sums.kinds[Kind::Free];
        if free == 0 {
            return;
        }
        self.section("Free space");
        let runs = &self.sums.free;
        self.line(Ink::Plain, &format!("  {} in {}", self.size(free), count(runs.runs, "run")));
        let (longest, half) = (self.size(runs.longest), self.size(runs.half));
        self.line(Ink::Plain, &format!("  the longest {longest}; half of it in runs of {half} or more"));
        let bar = self.columns.saturating_sub(46).clamp(8, 40);
        let first = runs.classes.iter().position(|class| class.runs > 0).unwrap_or(0);
        for (at, class) in runs.classes.iter().enumerate().skip(first) {
            self.class(at, class, bar);
        }
    }

    /// Free runs of about one length: how much they come to, as a bar and in numbers.
    fn class(&mut self, at: usize, class: &Class, columns: usize) {
        let most = self.sums.free.classes.iter().map(|class| class.blocks).max().unwrap_or(0).max(1);
        let bar = self.paint.bar(class.blocks, most, columns);
        let from = self.size(1 << (2 * at));
        let said = match class.runs {
            0 => String::new(),
            runs => format!("  {} in {}", self.size(class.blocks), count(runs, "run")),
        };
        let line =
            [(Ink::Faint, format!("  {from:>6} + ")), (Ink::Strong, format!("{bar:<columns$}")), (Ink::Plain, said)];
        self.inked(&line);
    }

    fn held(&mut self) {
        if self.sums.held.is_empty() {
            return;
        }
        self.section("Stuck and pinned");
        for alike in self.sums.held.chunk_by(|one, other| one.hold == other.hold) {
            alike.iter().take(HELD_MAX).for_each(|held| self.one_held(held));
            if alike.len() > HELD_MAX {
                self.line(Ink::Faint, &format!("    and {} more", grouped((alike.len() - HELD_MAX) as u64)));
            }
        }
    }

    /// Two lines: what is held where, and by whom.
    fn one_held(&mut self, held: &Held<'_>) {
        let mut place = format!(" at {}", self.size(held.first.start));
        if held.places > 1 {
            let _ = write!(place, " (1 of {})", grouped(held.places));
        }
        if let Some((part, offset)) = held.of {
            let room = self.columns.saturating_sub(34 + width(&place) + 12);
            let _ = write!(place, " of {} +{}", fitted(named(&part.name), room.max(12)), size(u128::from(offset)));
        }
        let line = [
            (Ink::of_hold(held.hold), format!("  {:<18}", held.hold.word())),
            (Ink::Plain, format!("{:>8}{place}", self.size(held.blocks))),
        ];
        self.inked(&line);
        self.line(Ink::Faint, &begun(&format!("    {}", held.by), self.columns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Part, Stretch, What};

    #[test]
    fn t1_no_line_is_wider_than_the_terminal() {
        let long = "/a-directory/".repeat(30);
        let of = |id| Part { name: long.as_str().into(), id, offset: u64::MAX };
        let parked = What::Parked { was: of(2), by: long.as_str().into() };
        let stretches = vec![
            Stretch { blocks: 0..1 << 40, what: What::File { of: of(1), unwritten: true } },
            Stretch { blocks: 1 << 40..1 << 41, what: parked },
            Stretch { blocks: 1 << 41..1 << 42, what: What::Free },
        ];
        let chart = Chart { title: long.clone(), block_size: 1 << 21, blocks: 1 << 43, stretches, pins: vec![] };
        for columns in [0, 40, 79, 80, 200] {
            let text = text(&chart, Look { columns, coloured: false });
            let widest = text.lines().map(width).max();
            assert!(widest <= Some(columns.max(COLUMNS_MIN)), "{widest:?} of {columns}:\n{text}");
        }
    }
}
