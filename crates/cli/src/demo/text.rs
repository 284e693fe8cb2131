//! The story for people: per act what happened, a picture of it, and what was checked.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::story::{Act, Check, Lasts, Shape, Track, bytes, ms};
use crate::screen::{Screen, Style};

/// Columns of a track's name.
const NAMES: usize = 30;

/// How full a column is, from empty to full.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WAITS: char = '░';
const QUARANTINE: char = '▒';
const DONE: char = '◆';

/// An act as text.
pub(crate) struct AsText<'a> {
    pub(crate) act: &'a Act,
    pub(crate) number: usize,
    pub(crate) screen: Screen,
}

impl Display for AsText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { act, number, screen } = self;
        writeln!(f, "{}", screen.paint(Style::Title, &format!("{number}. {}", act.title)))?;
        writeln!(f, "{}", screen.wrap("   ", act.about))?;
        if let Some(why) = &act.stands_in {
            let note = format!("A device made of a thread stands in: {why}.");
            writeln!(f, "{}", screen.paint(Style::Waits, &screen.wrap("   ", &note)))?;
        }
        writeln!(f)?;
        for event in act.events() {
            let at = screen.paint(Style::Faint, &format!("{:>12}", ms(event.at)));
            writeln!(f, "{at}  {}", screen.wrap("              ", &event.what).trim_start())?;
        }
        if !act.tracks().is_empty() {
            writeln!(f)?;
            self.picture(f)?;
        }
        writeln!(f)?;
        act.checks.iter().try_for_each(|check| self.check(f, check))
    }
}

impl AsText<'_> {
    /// One line for each track, all to the same scale of time.
    fn picture(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let columns = self.screen.columns.saturating_sub(NAMES + 16).clamp(20, 60);
        for track in self.act.tracks() {
            let scale = Scale { columns, whole: self.act.length() };
            let (style, bar) = drawn(&track.shape, &scale);
            let bar = self.screen.paint(style, &bar);
            writeln!(f, "   {:<NAMES$} {bar} {}", track.who, self.screen.paint(Style::Faint, &said(track)))?;
        }
        Ok(())
    }

    fn check(&self, f: &mut Formatter<'_>, check: &Check) -> fmt::Result {
        let (style, word) = if check.held { (Style::Good, "held") } else { (Style::Bad, "BROKEN") };
        let word = self.screen.paint(style, &format!("{word:>6}"));
        let what = self.screen.wrap("               ", &check.what);
        writeln!(f, "   {word} {:>3}  {}", check.guarantee, what.trim_start())
    }
}

/// What stands behind a track.
fn said(track: &Track) -> String {
    match &track.shape {
        Shape::Level { of: "bytes", points } => format!("up to {}", bytes(highest(points))),
        Shape::Level { of, points } => format!("up to {} {of}", highest(points)),
        Shape::Lasts { what, from, to } => format!("{} {}", what.word(), ms(to.saturating_sub(*from))),
        Shape::Done { .. } => "did not wait".to_owned(),
    }
}

/// Time as columns.
struct Scale {
    columns: usize,
    whole: Duration,
}

impl Scale {
    fn column(&self, at: Duration) -> usize {
        let part = at.as_secs_f64() / self.whole.as_secs_f64().max(1e-9);
        ((part * self.columns as f64) as usize).min(self.columns - 1)
    }

    /// The columns that a stretch of time touches; at least one.
    fn touches(&self, column: usize, from: Duration, to: Duration) -> bool {
        (self.column(from)..=self.column(to)).contains(&column)
    }
}

fn drawn(shape: &Shape, scale: &Scale) -> (Style, String) {
    let columns = 0..scale.columns;
    match shape {
        Shape::Level { points, .. } => (Style::Device, columns.map(|column| level(points, scale, column)).collect()),
        Shape::Lasts { what, from, to } => {
            let (style, mark) = match what {
                Lasts::Waits => (Style::Waits, WAITS),
                Lasts::Lives => (Style::Device, LEVELS[8]),
                Lasts::Quarantine => (Style::Bad, QUARANTINE),
            };
            let lasts = |column| if scale.touches(column, *from, *to) { mark } else { ' ' };
            (style, columns.map(lasts).collect())
        }
        Shape::Done { at } => {
            let done = |column| if column == scale.column(*at) { DONE } else { ' ' };
            (Style::Good, columns.map(done).collect())
        }
    }
}

/// The highest level that falls into a column, as a part of the highest there ever was.
fn level(points: &[(Duration, u64)], scale: &Scale, column: usize) -> char {
    let ends = points.iter().skip(1).map(|(at, _)| *at).chain(std::iter::once(scale.whole));
    let here = points.iter().zip(ends).filter(|((from, _), to)| scale.touches(column, *from, *to));
    let level = here.map(|((_, level), _)| *level).max().unwrap_or(0);
    let eighths = (level * 8).div_ceil(highest(points).max(1));
    LEVELS[eighths as usize]
}

fn highest(points: &[(Duration, u64)]) -> u64 {
    points.iter().map(|(_, level)| *level).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_level_falls_as_time_goes_on() {
        let scale = Scale { columns: 10, whole: at(100) };
        let points = [(at(0), 8), (at(41), 4), (at(81), 0)];
        let shape = Shape::Level { of: "transfers", points: points.to_vec() };
        assert_eq!(drawn(&shape, &scale).1, "█████▄▄▄▄ ");
    }

    #[test]
    fn a_short_wait_is_seen() {
        let scale = Scale { columns: 10, whole: at(100) };
        let shape = Shape::Lasts { what: Lasts::Waits, from: at(50), to: at(50) };
        assert_eq!(drawn(&shape, &scale).1, "     ░    ");
        assert_eq!(drawn(&Shape::Done { at: at(100) }, &scale).1, "         ◆");
    }
}
