//! All of the pool in one bar, and the legend under it.

use super::fill::Fill;
use super::map::{bracket, pin};
use super::page::{Page, Rect, Type};
use super::{MARGIN, WIDTH};
use crate::chart::Chart;
use crate::palette::swatch;
use crate::shown::fitted;
use crate::size::{share, size};
use crate::sums::{Kind, Sums};

/// How many files have a part of the bar of their own.
const FILES_MAX: usize = 24;
const BAR_HEIGHT: f64 = 20.0;

/// Draws bar and legend.
pub(crate) fn draw(page: &mut Page, chart: &Chart, sums: &Sums<'_>, top: f64) {
    bar(page, chart, sums, top);
    legend(page, chart, sums, top + BAR_HEIGHT + 26.0);
}

fn bar(page: &mut Page, chart: &Chart, sums: &Sums<'_>, top: f64) {
    let scale = (WIDTH - 2.0 * MARGIN) / chart.blocks.max(1) as f64;
    let mut x = MARGIN;
    let mut part = |fill: Fill, blocks: u64, what: &str| {
        let place = Rect::new(x, top, blocks as f64 * scale, BAR_HEIGHT);
        x += place.width;
        if blocks == 0 {
            return;
        }
        let bytes = u128::from(blocks) * u128::from(chart.block_size);
        let title = format!("{}\n{}, {}", fitted(what, 64), size(bytes), share(blocks, chart.blocks));
        page.titled_rect(place, &fill.colour(), &title);
        if let Some(hatch) = fill.hatch() {
            page.rect(place, hatch.url(), " pointer-events=\"none\"");
        }
    };
    let listed = &sums.files[..FILES_MAX.min(sums.files.len())];
    for file in listed {
        part(Fill::File(swatch(file.id)), file.blocks - file.unwritten, file.name);
        part(Fill::Pale(swatch(file.id)), file.unwritten, &format!("{}, unwritten", file.name));
    }
    let written: u64 = listed.iter().map(|file| file.blocks - file.unwritten).sum();
    let unwritten: u64 = listed.iter().map(|file| file.unwritten).sum();
    part(Fill::OtherFiles, sums.kinds[Kind::Written] - written, "other files");
    part(Fill::PaleOthers, sums.kinds[Kind::Unwritten] - unwritten, "other files, unwritten");
    for kind in [Kind::Meta, Kind::Parked, Kind::Quarantined, Kind::Unknown, Kind::Free] {
        part(Fill::of_kind(kind), sums.kinds[kind], kind.word());
    }
    page.markup(format_args!(
        "<rect {} stroke=\"#9aa5b0\" stroke-width=\".8\"/>\n",
        Rect::new(MARGIN, top, WIDTH - 2.0 * MARGIN, BAR_HEIGHT)
    ));
}

fn legend(page: &mut Page, chart: &Chart, sums: &Sums<'_>, top: f64) {
    let column = (WIDTH - 2.0 * MARGIN) / 8.0;
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.word(), sums.kinds[kind], Some(kind)));
    for (at, (word, blocks, kind)) in kinds.chain([("pinned", sums.pinned_blocks, None)]).enumerate() {
        let x = MARGIN + at as f64 * column;
        let box_ = Rect::new(x, top, 14.0, 14.0);
        match kind {
            Some(kind) => swatch_of(page, kind, box_),
            None => pin_sample(page, box_, false),
        }
        page.text((x + 21.0, top + 11.5), Type::BODY.bold(), word);
        let bytes = u128::from(blocks) * u128::from(chart.block_size);
        let amount = format!("{} · {}", size(bytes), share(blocks, chart.blocks));
        page.text((x + 21.0, top + 28.0), Type::BODY.faint(), &amount);
    }
}

/// A sample of what a pin looks like.
pub(crate) fn pin_sample(page: &mut Page, place: Rect, in_quarantine: bool) {
    page.rect(place, &Fill::Free.colour(), "");
    let mut data = String::new();
    bracket(&mut data, place, in_quarantine);
    pin(page, &data, in_quarantine);
}

/// A sample of a kind; of files, some of their colours.
fn swatch_of(page: &mut Page, kind: Kind, place: Rect) {
    let samples = [1, 2, 3].map(swatch);
    let stripe = |at: usize| Rect { x: place.x + place.width * at as f64 / 3.0, width: place.width / 3.0, ..place };
    match kind {
        Kind::Written => {
            samples.iter().enumerate().for_each(|(at, s)| page.rect(stripe(at), &Fill::File(*s).colour(), ""))
        }
        Kind::Unwritten => {
            samples.iter().enumerate().for_each(|(at, s)| page.rect(stripe(at), &Fill::Pale(*s).colour(), ""))
        }
        _ => page.rect(place, &Fill::of_kind(kind).colour(), ""),
    }
    if let Some(hatch) = Fill::of_kind(kind).hatch() {
        page.rect(place, hatch.url(), "");
    }
    if matches!(kind, Kind::Free | Kind::Unknown) {
        let inner = Rect::new(place.x + 0.5, place.y + 0.5, place.width - 1.0, place.height - 1.0);
        page.rect(inner, "none", " stroke=\"#9aa5b0\" stroke-width=\".8\"");
    }
}
