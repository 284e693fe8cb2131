//! Rows 1 and 2: what a pin costs that meets no break.

use std::hint::black_box;
use std::sync::Arc;

use pinfold_layout::{Area, AreaOptions, Until};

use crate::Scale;
use crate::fixture::{DEVICE, ExtentMap, Fixture};
use crate::line::{Line, Ratios, take_turns, time};

const PAGE: u64 = 4096;
const GIGABYTE: u64 = 1 << 30;

/// Row 1. Who has a buffer of his own keeps it alive with an `Arc`: one clone, one drop.
///
/// Both are done by one thread, and nobody else touches the counter: an `Arc`'s best case, and so the harder peer.
pub(crate) fn beside_arc(scale: Scale) -> Vec<Line> {
    let line = |what, limit, fixture| Line {
        row: 1,
        what,
        beside: "Arc clone + drop",
        limit: Some(limit),
        ratios: pin_beside_arc(scale, &fixture),
    };
    let shared = Area::shared(AreaOptions::default()).expect("a shared area");
    vec![
        line("pin + unpin, 4 KiB, embedded area", 1.0, Fixture::embedded()),
        line("pin + unpin, 4 KiB, shared area", 2.0, Fixture::of(shared)),
    ]
}

fn pin_beside_arc(scale: Scale, fixture: &Fixture) -> Ratios {
    let Fixture { holder, layout, .. } = fixture;
    let buffer = Arc::new([0_u8; 64]);
    let address = buffer.as_ptr();
    let count = scale.of(20_000);
    take_turns(
        scale,
        || time(count, || holder.pin(black_box(layout), 0..PAGE, DEVICE, Until::done(), || address).expect("no break")),
        || time(count, || Arc::clone(black_box(&buffer))),
    )
}

/// Row 2. Linux raises a count on each page of a range; here a range costs what its extents cost, and this one has one.
pub(crate) fn gigabyte_beside_page(scale: Scale) -> Vec<Line> {
    let Fixture { holder, layout, .. } = &Fixture::embedded();
    let extents = &ExtentMap::of_one(GIGABYTE);
    let count = scale.of(20_000);
    let pins_of = |len| {
        move || {
            time(count, || {
                let resolve = || extents.block_at(black_box(0)).expect("it is mapped");
                holder.pin(layout, 0..black_box(len), DEVICE, Until::done(), resolve).expect("no break")
            })
        }
    };
    let ratios = take_turns(scale, pins_of(GIGABYTE), pins_of(PAGE));
    vec![Line {
        row: 2,
        what: "pin + unpin, 1 GiB in one extent",
        beside: "the same of 4 KiB",
        limit: Some(1.05),
        ratios,
    }]
}
