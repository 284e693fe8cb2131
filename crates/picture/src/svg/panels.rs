//! Under the map: the largest files, how free space lies, and what is stuck.

use super::composition::pin_sample;
use super::fill::{Fill, Hatch};
use super::page::{Page, Rect, Type};
use super::{MARGIN, WIDTH};
use crate::chart::Chart;
use crate::palette::swatch;
use crate::shown::{begun, named};
use crate::size::{count, grouped, share, size};
use crate::sums::{Class, FileSum, Held, Hold, Kind, Sums};

/// Where the right column begins; the left one ends 40 before it.
const RIGHT: f64 = 700.0;
const END: f64 = WIDTH - MARGIN;
const LINE: f64 = 20.0;
const FILES_MAX: usize = 10;
/// Lines for each way of being held.
const HELD_MAX: usize = 5;

/// Draws them from `top` on; returns where they end.
pub(crate) fn draw(page: &mut Page, chart: &Chart, sums: &Sums<'_>, top: f64) -> f64 {
    let panels = Panels { chart, block_size: u128::from(chart.block_size) };
    let files = panels.files(page, sums, top);
    let free = panels.free(page, sums, top);
    panels.held(page, sums, files.max(free) + 40.0)
}

struct Panels<'a> {
    chart: &'a Chart,
    block_size: u128,
}

/// A heading with a line under it; returns where the first line of text stands.
fn heading(page: &mut Page, text: &str, y: f64, from: f64, to: f64) -> f64 {
    page.text((from, y), Type::HEADING, text);
    page.rule(y + 9.5, from, to);
    y + 30.0
}

impl Panels<'_> {
    fn size(&self, blocks: u64) -> String {
        size(u128::from(blocks) * self.block_size)
    }

    fn files(&self, page: &mut Page, sums: &Sums<'_>, top: f64) -> f64 {
        let end = RIGHT - 40.0;
        let mut y = heading(page, "Largest files", top, MARGIN, end);
        if sums.files.is_empty() {
            page.text((MARGIN, y), Type::BODY.faint(), "There are no files.");
            return y;
        }
        let columns = [end - 250.0, end - 170.0, end - 85.0, end];
        for (x, word) in columns.into_iter().zip(["size", "of the pool", "extents", "longest"]) {
            page.text((x, top), Type::SMALL.end(), word);
        }
        for file in sums.files.iter().take(FILES_MAX) {
            let box_ = Rect::new(MARGIN, y - 10.0, 12.0, 12.0);
            page.rect(box_, &Fill::File(swatch(file.id)).colour(), "");
            let name = Type::BODY.fitted(file.name, columns[0] - 60.0 - MARGIN - 20.0);
            page.titled_text((MARGIN + 20.0, y), Type::BODY, &name, file.name);
            for (x, said) in columns.into_iter().zip(self.numbers(file)) {
                page.text((x, y), Type::BODY.end(), &said);
            }
            y += LINE;
        }
        let others = sums.files.get(FILES_MAX..).unwrap_or_default();
        if !others.is_empty() {
            let blocks = others.iter().map(|file| file.blocks).sum();
            let extents: u64 = others.iter().map(|file| file.extents).sum();
            page.text(
                (MARGIN + 20.0, y),
                Type::BODY.faint(),
                &format!("and {}", count(others.len() as u64, "more file")),
            );
            let numbers = [self.size(blocks), share(blocks, self.chart.blocks), grouped(extents)];
            for (x, said) in columns.into_iter().zip(numbers) {
                page.text((x, y), Type::BODY.faint().end(), &said);
            }
            y += LINE;
        }
        y - LINE
    }

    fn numbers(&self, file: &FileSum<'_>) -> [String; 4] {
        let share = share(file.blocks, self.chart.blocks);
        [self.size(file.blocks), share, grouped(file.extents), self.size(file.longest)]
    }

    fn free(&self, page: &mut Page, sums: &Sums<'_>, top: f64) -> f64 {
        let y = heading(page, "Free space", top, RIGHT, END);
        let free = sums.kinds[Kind::Free];
        if free == 0 {
            page.text((RIGHT, y), Type::BODY.faint(), "There is none.");
            return y;
        }
        let runs = &sums.free;
        let said = format!(
            "{} in {}, the longest {}. Half of it lies in runs of {} or more.",
            self.size(free),
            count(runs.runs, "run"),
            self.size(runs.longest),
            self.size(runs.half)
        );
        page.text((RIGHT, y), Type::BODY, &said);
        self.histogram(page, &runs.classes, free, y + 34.0)
    }

    /// How much of the free space lies in runs of which length.
    fn histogram(&self, page: &mut Page, classes: &[Class], free: u64, top: f64) -> f64 {
        const HEIGHT: f64 = 110.0;
        const CLASSES_MIN: usize = 8;
        let pitch = (END - RIGHT) / classes.len().max(CLASSES_MIN) as f64;
        let bar = (pitch - 6.0).min(48.0);
        let base = top + HEIGHT;
        // Where bars are narrow, every second one is labelled.
        let every = if pitch < 34.0 { 2 } else { 1 };
        let most = classes.iter().map(|class| class.blocks).max().unwrap_or(0).max(1);
        for (at, class) in classes.iter().enumerate() {
            let x = RIGHT + at as f64 * pitch;
            let height = (HEIGHT - 16.0) * class.blocks as f64 / most as f64;
            let least = 1u64 << (2 * at);
            if class.runs > 0 {
                let place = Rect::new(x, base - height.max(1.0), bar, height.max(1.0));
                let said = format!(
                    "runs of {} to {}\n{}, {} in all: {} of what is free",
                    self.size(least),
                    self.size(least.saturating_mul(4)),
                    count(class.runs, "run"),
                    self.size(class.blocks),
                    share(class.blocks, free)
                );
                page.titled_rect(place, "#6f8598", &said);
                page.text(
                    (x + bar / 2.0, place.y - 5.0),
                    Type { size: 10.0, ..Type::SMALL }.middle(),
                    &short(class.runs),
                );
            }
            if at % every == 0 {
                page.text((x, base + 15.0), Type { size: 10.0, ..Type::SMALL }, &self.size(least));
            }
        }
        page.rule(base + 0.5, RIGHT, END);
        let said = "Bars: how much lies in runs of at least that length. On them: how many runs.";
        page.text((RIGHT, base + 34.0), Type::SMALL, said);
        base + 34.0
    }

    fn held(&self, page: &mut Page, sums: &Sums<'_>, top: f64) -> f64 {
        let mut y = heading(page, "Stuck and pinned", top, MARGIN, END);
        if sums.held.is_empty() {
            page.text((MARGIN, y), Type::BODY.faint(), "Nothing is parked, quarantined or pinned.");
            return y;
        }
        for (x, word) in HELD_COLUMNS.into_iter().zip(["", "size", "places", "the first at", "of", "by"]) {
            let style = if matches!(word, "size" | "places") { Type::SMALL.end() } else { Type::SMALL };
            page.text((x, top), style, word);
        }
        for alike in sums.held.chunk_by(|one, other| one.hold == other.hold) {
            for held in alike.iter().take(HELD_MAX) {
                self.one_held(page, held, y);
                y += LINE;
            }
            let others = alike.get(HELD_MAX..).unwrap_or_default();
            if !others.is_empty() {
                self.more_held(page, others, y);
                y += LINE;
            }
        }
        y - LINE
    }

    fn more_held(&self, page: &mut Page, others: &[Held<'_>], y: f64) {
        let sum = |of: fn(&Held<'_>) -> u64| others.iter().fold(0, |sum: u64, held| sum.saturating_add(of(held)));
        let [word, amount, places, ..] = HELD_COLUMNS;
        page.text((word, y), Type::BODY.faint(), &format!("and {} more", grouped(others.len() as u64)));
        page.text((amount, y), Type::BODY.faint().end(), &self.size(sum(|held| held.blocks)));
        page.text((places, y), Type::BODY.faint().end(), &grouped(sum(|held| held.places)));
    }

    fn one_held(&self, page: &mut Page, held: &Held<'_>, y: f64) {
        sample(page, held.hold, Rect::new(MARGIN, y - 10.0, 12.0, 12.0));
        let [word, amount, places, place, of, by] = HELD_COLUMNS;
        page.text((word, y), Type::BODY.bold(), held.hold.word());
        page.text((amount, y), Type::BODY.end(), &self.size(held.blocks));
        page.text((places, y), Type::BODY.end(), &grouped(held.places));
        page.text((place, y), Type::BODY, &self.size(held.first.start));
        if let Some((part, offset)) = held.of {
            let offset = format!(" +{}", size(u128::from(offset)));
            let room = by - of - 14.0 - offset.len() as f64 * 7.0;
            let name = named(&part.name);
            let whole = format!("{name}{offset}");
            page.titled_text((of, y), Type::BODY, &format!("{}{offset}", Type::BODY.fitted(name, room)), &whole);
        }
        page.titled_text((by, y), Type::BODY, &begun(held.by, Type::BODY.columns(END - by)), held.by);
    }
}

/// What it is, size and places (their ends), the first place, file, holder.
const HELD_COLUMNS: [f64; 6] =
    [MARGIN + 20.0, MARGIN + 205.0, MARGIN + 275.0, MARGIN + 310.0, MARGIN + 400.0, MARGIN + 730.0];

/// How something that is held looks on the map.
fn sample(page: &mut Page, hold: Hold, place: Rect) {
    let (fill, hatch) = match hold {
        Hold::Quarantined => (Fill::Quarantined, Hatch::Quarantined),
        Hold::Parked => (Fill::Parked, Hatch::Parked),
        Hold::PinInQuarantine | Hold::Pin => return pin_sample(page, place, hold == Hold::PinInQuarantine),
    };
    page.rect(place, &fill.colour(), "");
    page.rect(place, hatch.url(), "");
}

/// A number in at most four characters.
fn short(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{}m", number / 1_000_000),
    }
}
