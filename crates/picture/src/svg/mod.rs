//! The picture as SVG: a map of the pool, and what it comes to in numbers.
//!
//! Stays true  P1: the same chart gives the same bytes.
//!             P3: a picture is smaller than [`BYTES_MAX`], and holds neither scripts nor references to anything outside.

mod composition;
mod fill;
mod map;
mod page;
mod panels;
mod segments;
mod titles;

use map::Map;
use page::{Anchor, FAINT, INK, Page, Type};
use segments::Detail;

use crate::chart::Chart;
use crate::runs::Runs;
use crate::said::{about, wrong};
use crate::shown::escaped;
use crate::size::size;
use crate::sums::Sums;

/// A picture is smaller than this.
const BYTES_MAX: usize = 1 << 20;

/// Width of the page, and of its margins.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 40.0;
/// Where the map's first line is.
const MAP_TOP: f64 = 224.0;

/// From the finest to the coarsest. That one is small whatever the pool: 1,024 cells of at most nine bands and six hatches, and
/// a few thousand marks, are about half of what is allowed.
const DETAILS: [Detail; 4] = [
    Detail { cells: 128, runs_max: 4, titled: 256, apart: 1.0 },
    Detail { cells: 64, runs_max: 6, titled: 64, apart: 4.0 },
    Detail { cells: 32, runs_max: 6, titled: 16, apart: 12.0 },
    Detail { cells: 16, runs_max: 4, titled: 1, apart: 32.0 },
];

/// A pool as an SVG picture of its own, 1200 wide and less than 1 MiB long: a map in lines, true to scale, with brackets at
/// what is pinned; what each kind of block comes to; the largest files; how free space lies; and what is stuck, and by whom.
/// Whoever points at a place in a browser reads what is there.
///
/// A pool that is too fragmented to be drawn piece by piece shows mixtures, hatched.
pub fn svg(chart: &Chart) -> String {
    let runs = Runs::of(chart);
    let sums = Sums::of(chart, &runs);
    let mut picture = String::new();
    for detail in DETAILS {
        picture = drawn(chart, &runs, &sums, detail);
        if picture.len() < BYTES_MAX {
            break;
        }
    }
    picture
}

fn drawn(chart: &Chart, runs: &Runs<'_>, sums: &Sums<'_>, detail: Detail) -> String {
    let mut page = Page::default();
    heading(&mut page, chart, sums);
    composition::draw(&mut page, chart, sums, 92.0);
    let map = Map::new(runs, sums, chart.blocks, chart.block_size, MAP_TOP);
    let mixed = map.draw(&mut page, detail);
    let bottom = how_to_read(&mut page, &map, mixed, map.bottom() + 19.0);
    let height = panels::draw(&mut page, chart, sums, bottom + 38.0) + MARGIN;
    framed(chart, height, &page.out)
}

/// The whole document around what is drawn.
fn framed(chart: &Chart, height: f64, drawn: &str) -> String {
    let title = escaped(&Type::BODY.fitted(&chart.title, WIDTH));
    let fonts = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif";
    let height = page::Num(height.ceil());
    let definitions = fill::DEFINITIONS;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1200 {height}\" width=\"1200\" height=\"{height}\" \
         font-family=\"{fonts}\" fill=\"none\" role=\"img\">\n<title>{title}</title>\n{definitions}\
         <rect width=\"1200\" height=\"{height}\" fill=\"#fff\"/>\n{drawn}</svg>\n"
    )
}

fn heading(page: &mut Page, chart: &Chart, sums: &Sums<'_>) {
    let title = Type { size: 22.0, colour: INK, bold: true, anchor: Anchor::Start };
    page.text((MARGIN, 50.0), title, &title.fitted(&chart.title, WIDTH - 2.0 * MARGIN));
    let style = Type { size: 13.0, colour: FAINT, ..Type::BODY };
    page.text((MARGIN, 73.0), style, &about(chart, sums, "  ·  "));
}

/// What a line is, how mixtures look, and what is wrong with the chart, if something is. Returns the last line's place.
fn how_to_read(page: &mut Page, map: &Map<'_, '_>, mixed: bool, y: f64) -> f64 {
    let each = format!("Each line is {}.", size(map.line_bytes()));
    let mixtures = " Finely hatched: many pieces in one place, as layers of the right size, free space on top.";
    let said = match (map.runs.all.is_empty(), mixed) {
        (true, _) => "The pool has no blocks.".to_owned(),
        (false, true) => each + mixtures,
        (false, false) => each,
    };
    page.text((if map.runs.all.is_empty() { MARGIN } else { map::LEFT }, y), Type::SMALL, &said);
    let mut last = y;
    for said in wrong(map.runs) {
        last += 17.0;
        page.text((map::LEFT, last), Type { colour: "#b00020", ..Type::SMALL.bold() }, &said);
    }
    last
}
