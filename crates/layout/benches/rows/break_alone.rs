//! Rows 3 and 4: what a break costs that finds nobody in its range.
//!
//! Measured is what a file system does to free one block: make the break, drain it, commit a change that takes the
//! block out of the file's extent map, and reap. The map is the caller's, and its removal is inside the measured time
//! on both sides: a larger map is a deeper tree and a colder one, and the ratio is what a user sees. Putting the block
//! back for the next round is outside.

use std::time::{Duration, Instant};

use pinfold_layout::{Area, CommitId, Effect, Layout, Policy, Until};

use crate::Scale;
use crate::fixture::{DEVICE, ExtentMap, FILE, Fixture};
use crate::line::{Line, take_turns};

const EXTENTS: usize = 1_000_000;
const PINS: usize = 100_000;
const BREAKS: usize = 100;

/// Frees the block at `start` and gives the time that it took.
fn free_one(area: &Area, layout: &Layout, extents: &mut ExtentMap, start: u64) -> Duration {
    let busy = area.busy_extents();
    let begun = Instant::now();
    let mut brk =
        area.break_layout(&[(layout, start..start + 1)], Policy::Wait, Effect::Frees).expect("a range of one block");
    brk.drain(Until::done()).expect("nobody is in").commit(|| vec![extents.remove(start)]);
    let free = busy.reap(CommitId::ALL);
    drop(brk);
    let took = begun.elapsed();
    for free in free {
        extents.put_back(free.into_extent());
    }
    took
}

/// Frees `count` blocks, one break each, far apart from each other.
fn free_some(area: &Area, layout: &Layout, extents: &mut ExtentMap, of: u64, count: usize) -> Duration {
    // A stride that is prime to the number of extents visits them all, each far from the one before it.
    (0..count as u64).map(|turn| free_one(area, layout, extents, turn * 7_919 % of)).sum()
}

/// Row 3. Linux walks the file's page tree, one entry for each page or huge page; here nothing is walked but the pins.
pub(crate) fn million_extents_beside_one(scale: Scale) -> Vec<Line> {
    let Fixture { area, layout, .. } = &Fixture::embedded();
    let many = scale.of(EXTENTS) as u64;
    let (mut million, mut one) = (ExtentMap::of_single_blocks(many), ExtentMap::of_single_blocks(1));
    let count = scale.of(BREAKS);
    let ratios = take_turns(
        scale,
        || free_some(area, layout, &mut million, many, count),
        || free_some(area, layout, &mut one, 1, count),
    );
    let what = "the break alone, file of a million extents";
    vec![Line { row: 3, what, beside: "file of one extent", limit: Some(2.0), ratios }]
}

/// Row 4. The pins lie on as many other files, so they hang in every chain, the measured file's too.
pub(crate) fn many_pins_beside_none(scale: Scale) -> Vec<Line> {
    let pinned = &Fixture::embedded();
    let quiet = &Fixture::embedded();
    let others = FILE + 1..=FILE + scale.of(PINS) as u64;
    let layouts: Vec<_> = others.map(|file| pinned.area.layout(file).expect("room for its state")).collect();
    let pin = |layout| pinned.holder.pin(layout, 0..1, DEVICE, Until::done(), || ()).expect("no break");
    let pins: Vec<_> = layouts.iter().map(pin).collect();
    let (mut beside_pins, mut alone) = (ExtentMap::of_single_blocks(1), ExtentMap::of_single_blocks(1));
    let count = scale.of(BREAKS);
    let ratios = take_turns(
        scale,
        || free_some(&pinned.area, &pinned.layout, &mut beside_pins, 1, count),
        || free_some(&quiet.area, &quiet.layout, &mut alone, 1, count),
    );
    drop(pins);
    let what = "the same, 100,000 live pins on other files";
    vec![Line { row: 4, what, beside: "with none", limit: Some(1.5), ratios }]
}
