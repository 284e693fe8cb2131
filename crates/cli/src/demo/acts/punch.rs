//! A punch under `Detach`, while the device writes into what is punched.

use std::ops::Range;
use std::time::Instant;

use pinfold::File;

use super::super::expect::{Bytes, compare};
use super::super::heir::{Heir, Were};
use super::super::stage::Stage;
use super::super::story::{Act, bytes};
use super::{after, while_they_land};
use crate::status::CannotRun;

const CACHE: &str = "/cache";

/// Bytes that are looked at in the hole.
const LOOK: u64 = 1 << 20;

pub(crate) fn punch(stage: &Stage) -> Result<Act, CannotRun> {
    let about = "The device writes into all of a file. A hole is punched in the middle, under the policy Detach: it is \
                 there at once, and what the device still reaches is parked.";
    let (len, quarter) = (stage.load, stage.load / 4);
    let hole = quarter..len - quarter;
    let cache = stage.create(CACHE, len)?;
    let mut were = Were::of(&cache, CACHE);
    let mut act = Act::begin("punch", "A punch does not wait", about);
    let mut transfers = stage.bring_into(&cache, 0)?;
    act.now(format!("{} transfers are in flight into {CACHE}, {} in all", transfers.count(), bytes(len)));
    punch_under(&mut act, stage, &cache, &hole)?;
    act.met = transfers.are_under_way()?;

    let heir = Heir::new(stage)?;
    let refused = stage.pool.reserve(hole.end - hole.start).try_now().err();
    let said = refused.map_or("there are enough".to_owned(), |error| error.to_string());
    act.now(format!("{} wants as many blocks, and waits: {said}", Heir::PATH));
    act.check("G7", "why a block is not free is said: pins keep it", said.contains("kept by pins"));
    let had = while_they_land(&mut act, stage, &heir, hole.end - hole.start, transfers, &mut were)?;
    heir.move_in(&mut act, had, &were)?;
    let expected =
        [(quarter, Bytes::Source(0)), (hole.end - hole.start, Bytes::Zeros), (quarter, Bytes::Source(hole.end))];
    let compared = compare(&cache, &stage.source, &expected)?;
    act.check("G1", format!("{CACHE} is the source around an empty hole: {compared}"), compared.is_right());
    heir.check_and_remove(&mut act)?;
    stage.pool.unlink(CACHE)?;
    Ok(act)
}

fn punch_under(act: &mut Act, stage: &Stage, cache: &File, hole: &Range<u64>) -> Result<(), CannotRun> {
    let begun = Instant::now();
    cache.punch(hole.clone()).detach().wait()?;
    let punched = Instant::now();
    let reached = stage.pins_of(cache, hole).len();
    let parked = stage.pool.stats().parked;
    act.at(begun, format!("a hole of {} is punched in the middle", bytes(hole.end - hole.start)));
    act.at(punched, format!("it is there, {} later; {reached} transfers still write there", after(begun, punched)));
    act.done("the punch", punched);
    act.now(format!("{} have left {CACHE} and are parked: in no file, and not free", bytes(parked)));
    act.check("G1", "all that a transfer reaches was parked", parked == hole.end - hole.start);
    let mut in_hole = vec![1; LOOK.min(hole.end - hole.start) as usize];
    cache.read_at(hole.start, &mut in_hole)?;
    act.check("G10", "the hole read as zeros at once, while the device wrote", in_hole.iter().all(|byte| *byte == 0));
    Ok(())
}
