//! The map: the pool line by line, its areas true to scale; over it what is pinned, and marks where something is stuck that
//! would be too small to see.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use super::fill::{Fill, Hatch};
use super::page::{Num, Page, RULE, Rect, Type};
use super::segments::{Detail, Segment, Shape, segments};
use super::titles::{of_run, of_several};
use crate::rows::Rows;
use crate::runs::{Runs, len};
use crate::size::size;
use crate::sums::{Kind, Sums};

/// Where lines begin, and how long they are: a power of two, as the lines' blocks are.
pub(crate) const LEFT: f64 = 136.0;
const WIDTH: f64 = 1024.0;
const ROWS_MAX: u64 = 64;
/// At that many blocks in a line, each is 32 units wide.
const ROW_MIN: u64 = 32;
/// Height of all lines, if they are not too few for it.
const HEIGHT: f64 = 704.0;
const PITCH_MAX: f64 = 22.0;
const GAP: f64 = 1.0;
/// What is stuck is at least that wide.
const MARK_MIN: f64 = 4.0;
/// And brackets, so that a mark is seen inside.
const BRACKET_MIN: f64 = 8.0;
/// Two neighbours of at least that width have a line between them.
const SEAM_MIN: f64 = 3.0;

/// A map of a pool at some place of the page.
pub(crate) struct Map<'r, 'a> {
    pub(crate) runs: &'r Runs<'a>,
    pub(crate) sums: &'r Sums<'a>,
    pub(crate) block_size: u64,
    rows: Rows,
    pitch: f64,
    top: f64,
}

impl<'r, 'a> Map<'r, 'a> {
    /// The map of `blocks` blocks, from `top` on.
    pub(crate) fn new(runs: &'r Runs<'a>, sums: &'r Sums<'a>, blocks: u64, block_size: u64, top: f64) -> Self {
        let rows = Rows::of(blocks, ROWS_MAX, ROW_MIN);
        let pitch = (HEIGHT / rows.count.max(1) as f64).floor().min(PITCH_MAX);
        Self { runs, sums, block_size, rows, pitch, top }
    }

    /// Where it ends.
    pub(crate) fn bottom(&self) -> f64 {
        self.top + self.rows.count as f64 * self.pitch
    }

    /// How much a line holds, in bytes.
    pub(crate) fn line_bytes(&self) -> u128 {
        u128::from(self.rows.each) * u128::from(self.block_size)
    }

    /// Draws it; whether there are mixtures in it.
    pub(crate) fn draw(&self, page: &mut Page, detail: Detail) -> bool {
        if self.rows.count > 0 {
            self.axes(page);
        }
        let segments = segments(self.runs, &self.rows, detail);
        self.areas(page, &segments);
        self.seams(page, &segments);
        self.marks(page, detail);
        self.pins(page, detail);
        self.titles(page, &segments, detail);
        segments.iter().any(|segment| matches!(segment.shape, Shape::Mixed(_)))
    }

    /// Where each line begins, and how far along it is.
    fn axes(&self, page: &mut Page) {
        let every = if self.pitch < 14.0 { 4 } else { 2 };
        for row in (0..self.rows.count).step_by(every) {
            let middle = self.top + row as f64 * self.pitch + (self.pitch - GAP) / 2.0;
            page.text((LEFT - 10.0, middle + 4.0), Type::SMALL.end(), &size(u128::from(row) * self.line_bytes()));
        }
        for quarter in 0..4u8 {
            let x = LEFT + WIDTH * f64::from(quarter) / 4.0;
            let offset = size(self.line_bytes() * u128::from(quarter) / 4);
            page.text((x + 4.0, self.top - 7.0), Type::SMALL, &format!("+{offset}"));
            page.markup(format_args!(
                "<path d=\"M{} {}v12\" stroke=\"{RULE}\"/>\n",
                Num(x + 0.5),
                Num(self.top - 16.0)
            ));
        }
    }

    fn areas(&self, page: &mut Page, segments: &[Segment<'_, '_>]) {
        let mut areas: BTreeMap<Fill, String> = BTreeMap::new();
        let mut hatches: BTreeMap<Hatch, String> = BTreeMap::new();
        let mut fill = |fill: Fill, place: Rect| {
            add(areas.entry(fill).or_default(), place);
            if let Some(hatch) = fill.hatch() {
                add(hatches.entry(hatch).or_default(), place);
            }
        };
        let mut mixed: Vec<Rect> = Vec::new();
        for Segment { blocks, shape } in segments {
            let place = self.place(blocks);
            match shape {
                Shape::Run(run) => fill(Fill::of(run.what), place),
                Shape::Mixed(bands) => {
                    stacked(place, bands).for_each(|(band, place)| fill(band, place));
                    match mixed.last_mut() {
                        Some(last) if last.y == place.y && last.x + last.width == place.x => last.width += place.width,
                        _ => mixed.push(place),
                    }
                }
            }
        }
        mixed.into_iter().for_each(|place| add(hatches.entry(Hatch::Mixed).or_default(), place));
        page.markup(format_args!("<g id=\"blocks\">\n"));
        for (fill, data) in areas {
            page.markup(format_args!("<path fill=\"{}\" d=\"{data}\"/>\n", fill.colour()));
        }
        page.markup(format_args!("</g>\n<g id=\"hatches\">\n"));
        for (hatch, data) in hatches {
            page.markup(format_args!("<path fill=\"{}\" d=\"{data}\"/>\n", hatch.url()));
        }
        page.markup(format_args!("</g>\n"));
    }

    /// Thin lines between extents of files that touch.
    fn seams(&self, page: &mut Page, segments: &[Segment<'_, '_>]) {
        let is_file =
            |segment: &Segment<'_, '_>| matches!(&segment.shape, Shape::Run(run) if Fill::of(run.what).is_file());
        let mut data = String::new();
        for pair in segments.windows(2) {
            let [left, right] = pair else { continue };
            let (left_place, place) = (self.place(&left.blocks), self.place(&right.blocks));
            let both = is_file(left) && is_file(right) && left_place.y == place.y;
            if both && left_place.width >= SEAM_MIN && place.width >= SEAM_MIN {
                put(&mut data, format_args!("M{} {}v{}", Num(place.x), Num(place.y), Num(place.height)));
            }
        }
        if !data.is_empty() {
            page.markup(format_args!("<path d=\"{data}\" stroke=\"#fff\" stroke-width=\".8\"/>\n"));
        }
    }

    /// What is stuck and too small to be seen where it lies.
    fn marks(&self, page: &mut Page, detail: Detail) {
        let stuck = [Kind::Parked, Kind::Quarantined];
        for kind in stuck {
            let runs = self.runs.all.iter().filter(|run| Kind::of(run.what) == kind).map(|run| &run.blocks);
            let parts = runs.flat_map(|blocks| self.rows.split(blocks.clone()));
            let small = parts.map(|(_, blocks)| self.place(&blocks)).filter(|place| place.width < MARK_MIN);
            let mut data = String::new();
            joined(small.map(|place| widened(place, MARK_MIN)), detail.apart)
                .into_iter()
                .for_each(|place| add(&mut data, place));
            if !data.is_empty() {
                let colour = Fill::of_kind(kind).colour();
                let edge = if kind == Kind::Parked { "#7a4300" } else { "#7d0b16" };
                page.markup(format_args!(
                    "<path fill=\"{colour}\" stroke=\"{edge}\" stroke-width=\".8\" d=\"{data}\"/>\n"
                ));
            }
        }
    }

    /// Brackets at what is pinned: from below, and from above where the pin is in quarantine, so that both are seen.
    fn pins(&self, page: &mut Page, detail: Detail) {
        for (from_above, runs) in self.sums.pinned.iter().enumerate() {
            let parts = runs.iter().flat_map(|blocks| self.rows.split(blocks.clone()));
            let mut data = String::new();
            let places = parts.map(|(_, blocks)| widened(self.place(&blocks), BRACKET_MIN));
            for place in joined(places, detail.apart) {
                bracket(&mut data, place, from_above == 1);
            }
            if !data.is_empty() {
                pin(page, &data, from_above == 1);
            }
        }
    }

    /// What is said to whoever points at something: the run, where it is wide enough, or what lies around.
    fn titles(&self, page: &mut Page, segments: &[Segment<'_, '_>], detail: Detail) {
        let least = WIDTH / detail.titled as f64;
        page.markup(format_args!("<g fill-opacity=\"0\">\n"));
        let mut around: Option<Range<u64>> = None;
        for segment in segments {
            let begins_line = segment.blocks.start.is_multiple_of(self.rows.each);
            let own = match segment.shape {
                Shape::Run(run) if self.place(&segment.blocks).width >= least => Some(run),
                _ => None,
            };
            if begins_line || own.is_some() {
                self.title_around(page, around.take());
            }
            match own {
                Some(run) => page.titled_rect(self.place(&segment.blocks), "#fff", &of_run(run, self.block_size)),
                None => around = Some(around.map_or(segment.blocks.start, |before| before.start)..segment.blocks.end),
            }
        }
        self.title_around(page, around);
        page.markup(format_args!("</g>\n"));
    }

    fn title_around(&self, page: &mut Page, blocks: Option<Range<u64>>) {
        let Some(blocks) = blocks else { return };
        for (blocks, touched) in self.runs.cut(std::iter::once(blocks)) {
            page.titled_rect(self.place(&blocks), "#fff", &of_several(&blocks, touched, self.block_size));
        }
    }

    /// Where blocks of one line are on the page.
    fn place(&self, blocks: &Range<u64>) -> Rect {
        let row = blocks.start / self.rows.each;
        let scale = WIDTH / self.rows.each as f64;
        let x = LEFT + (blocks.start % self.rows.each) as f64 * scale;
        Rect::new(x, self.top + row as f64 * self.pitch, len(blocks) as f64 * scale, self.pitch - GAP)
    }
}

/// Draws brackets, with a pale line around them, so that they are seen on dark colours too.
pub(crate) fn pin(page: &mut Page, data: &str, in_quarantine: bool) {
    let colour = if in_quarantine { "#b00020" } else { "#101820" };
    page.markup(format_args!(
        "<path d=\"{data}\" stroke=\"#fff\" stroke-opacity=\".85\" stroke-width=\"3.2\"/>\n\
         <path d=\"{data}\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\n"
    ));
}

/// Adds a bracket around a place, open to the top, or to the bottom if it comes from above.
pub(crate) fn bracket(data: &mut String, place: Rect, from_above: bool) {
    let inside = Rect::new(place.x + 0.8, place.y + 0.8, place.width - 1.6, place.height - 1.6);
    let (x, width) = (Num(inside.x), Num(inside.width));
    let (y, leg) = if from_above { (inside.y + inside.height, -inside.height) } else { (inside.y, inside.height) };
    put(data, format_args!("M{x} {}v{}h{width}v{}", Num(y), Num(leg), Num(-leg)));
}

fn add(data: &mut String, place: Rect) {
    put(data, format_args!("{}", place.outline()));
}

fn put(data: &mut String, piece: std::fmt::Arguments<'_>) {
    // A `String` takes all that is written.
    let _ = data.write_fmt(piece);
}

/// The bands of a mixture, one above the other.
fn stacked(place: Rect, bands: &[(Fill, u64)]) -> impl Iterator<Item = (Fill, Rect)> {
    let whole = bands.iter().map(|(_, of)| *of).sum::<u64>().max(1);
    let mut bottom = place.y + place.height;
    bands.iter().map(move |(fill, of)| {
        let height = place.height * *of as f64 / whole as f64;
        bottom -= height;
        (*fill, Rect { y: bottom, height, ..place })
    })
}

/// A place wide enough to be seen, around the same middle, and on the map.
fn widened(place: Rect, least: f64) -> Rect {
    let width = place.width.max(least);
    let x = (place.x - (width - place.width) / 2.0).clamp(LEFT, (LEFT + WIDTH - width).max(LEFT));
    Rect { x, width, ..place }
}

/// Places in order of lines, joined where they are not further apart than so much.
fn joined(places: impl Iterator<Item = Rect>, apart: f64) -> Vec<Rect> {
    let mut joined: Vec<Rect> = Vec::new();
    for place in places {
        match joined.last_mut() {
            Some(last) if last.y == place.y && place.x <= last.x + last.width + apart => {
                last.width = last.width.max(place.x + place.width - last.x);
            }
            _ => joined.push(place),
        }
    }
    joined
}
