//! Rows 1 and 2: what a pin costs that meets no break.

use std::hint::black_box;
use std::sync::Arc;

use pinfold_layout::{Area, AreaOptions, Until};

use super::area::{DEVICE, ExtentMap, OneFile};
use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns, time};

const PAGE: u64 = 4096;
const GIGABYTE: u64 = 1 << 30;
const PINS: usize = 20_000;

/// Who has a buffer of his own keeps it alive with an `Arc`. One thread does both, and nobody else touches the counter:
/// an `Arc`'s best case, and so the harder peer.
const EMBEDDED: Comparison = Comparison {
    row: 1,
    what: "pin + unpin, 4 KiB, embedded area",
    beside: "Arc clone + drop",
    goal: Some(1.0),
    compared: "A warm pin and unpin by one thread; an uncontended Arc cloned and dropped by one thread.",
    ratios: |setup| pin_beside_arc(setup, Area::embedded(AreaOptions::default())?),
};

pub(super) const ROW_1: [Comparison; 2] = [
    EMBEDDED,
    Comparison {
        what: "pin + unpin, 4 KiB, shared area",
        goal: Some(2.0),
        ratios: |setup| pin_beside_arc(setup, Area::shared(AreaOptions::default())?),
        ..EMBEDDED
    },
];

/// Linux raises a count on each page of a range; here a range costs what its extents cost, and this one has one.
pub(super) const ROW_2: [Comparison; 1] = [Comparison {
    row: 2,
    what: "pin + unpin, 1 GiB in one extent",
    beside: "the same of 4 KiB",
    goal: Some(1.05),
    compared: "A warm pin and unpin with a look into a map of one extent; the same of 4 KiB.",
    ratios: gigabyte_beside_page,
}];

fn pin_beside_arc(setup: &Setup, area: Area) -> Result<Ratios, Skipped> {
    let OneFile { holder, layout, .. } = &OneFile::of(area)?;
    let buffer = Arc::new([0_u8; 64]);
    let address = buffer.as_ptr();
    let count = setup.scale.of(PINS);
    take_turns(
        setup.scale,
        || time(count, || Ok(holder.pin(black_box(layout), 0..PAGE, DEVICE, Until::done(), || address)?)),
        || time(count, || Ok(Arc::clone(black_box(&buffer)))),
    )
}

fn gigabyte_beside_page(setup: &Setup) -> Result<Ratios, Skipped> {
    let OneFile { holder, layout, .. } = &OneFile::embedded()?;
    let extents = &ExtentMap::of_one(GIGABYTE);
    let count = setup.scale.of(PINS);
    let pins_of = |len| {
        move || {
            time(count, || {
                let resolve = || extents.block_at(black_box(0));
                Ok(holder.pin(layout, 0..black_box(len), DEVICE, Until::done(), resolve)?)
            })
        }
    };
    take_turns(setup.scale, pins_of(GIGABYTE), pins_of(PAGE))
}
