//! Rows 3 and 4: what a break costs that finds nobody in its range.
//!
//! Measured is what a file system does to free one block: make the break, drain it, commit a change that takes the
//! block out of the file's extent map, and reap. The map is the caller's, and its removal is inside the measured time
//! on both sides: a larger map is a deeper tree and a colder one, and the ratio is what a user sees. Putting the block
//! back for the next round is outside.

use std::time::{Duration, Instant};

use pinfold_layout::{Area, CommitId, Effect, Layout, Policy, Until};

use super::area::{DEVICE, ExtentMap, FILE, OneFile};
use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns};

const EXTENTS: usize = 1_000_000;
const PINS: usize = 100_000;
const BREAKS: usize = 100;

/// Linux walks the file's page tree, one entry for each page or huge page; here nothing is walked but the pins.
pub(super) const ROW_3: [Comparison; 1] = [Comparison {
    row: 3,
    what: "the break alone, file of a million extents",
    beside: "file of one extent",
    goal: Some(2.0),
    compared: "A break that takes one block out of a file's map and reaps it: from a map of a million extents; of one.",
    ratios: million_extents_beside_one,
}];

pub(super) const ROW_4: [Comparison; 1] = [Comparison {
    row: 4,
    what: "the same, 100,000 live pins on other files",
    beside: "with none",
    goal: Some(1.5),
    compared: "The break of row 3, from a map of one extent: with 100,000 pins on as many other files; with none.",
    ratios: many_pins_beside_none,
}];

fn million_extents_beside_one(setup: &Setup) -> Result<Ratios, Skipped> {
    let scale = setup.scale;
    let file = &OneFile::embedded()?;
    let many = scale.of(EXTENTS) as u64;
    let (mut million, mut one) = (ExtentMap::of_single_blocks(many), ExtentMap::of_single_blocks(1));
    let count = scale.of(BREAKS);
    take_turns(scale, || free_some(file, &mut million, many, count), || free_some(file, &mut one, 1, count))
}

/// The pins lie on as many other files, so they hang in every chain, the measured file's too.
fn many_pins_beside_none(setup: &Setup) -> Result<Ratios, Skipped> {
    let scale = setup.scale;
    let (pinned, quiet) = (&OneFile::embedded()?, &OneFile::embedded()?);
    let others = FILE + 1..=FILE + scale.of(PINS) as u64;
    let layouts = others.map(|file| pinned.area.layout(file)).collect::<Result<Vec<_>, _>>()?;
    let pin = |layout| pinned.holder.pin(layout, 0..1, DEVICE, Until::done(), || ());
    let pins = layouts.iter().map(pin).collect::<Result<Vec<_>, _>>()?;
    let (mut beside_pins, mut alone) = (ExtentMap::of_single_blocks(1), ExtentMap::of_single_blocks(1));
    let count = scale.of(BREAKS);
    let ratios =
        take_turns(scale, || free_some(pinned, &mut beside_pins, 1, count), || free_some(quiet, &mut alone, 1, count));
    drop(pins);
    ratios
}

/// Frees `count` blocks, one break each, far apart from each other.
fn free_some(file: &OneFile, extents: &mut ExtentMap, of: u64, count: usize) -> Result<Duration, Skipped> {
    // A stride that is prime to the number of extents visits them all, each far from the one before it.
    (0..count as u64).map(|turn| free_one(&file.area, &file.layout, extents, turn * 7_919 % of)).sum()
}

/// Frees the block at `start` and gives the time that it took.
fn free_one(area: &Area, layout: &Layout, extents: &mut ExtentMap, start: u64) -> Result<Duration, Skipped> {
    let busy = area.busy_extents();
    let begun = Instant::now();
    let mut brk = area.break_layout(&[(layout, start..start + 1)], Policy::Wait, Effect::Frees)?;
    brk.drain(Until::done())?.commit(|| extents.remove(start));
    let free = busy.reap(CommitId::ALL, |free| free);
    drop(brk);
    let took = begun.elapsed();
    for free in free {
        extents.put_back(free.into_extent());
    }
    Ok(took)
}
