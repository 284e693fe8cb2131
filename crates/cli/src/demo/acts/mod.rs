//! The acts, one for each module. Each leaves the pool as it found it, but for [`KEPT`].

mod arrive;
mod kill;
mod punch;
mod survive;
mod truncate;
mod unlink;

use std::time::Instant;

use pinfold::{PinInfo, PinReport};

use super::device::Transfers;
use super::expect::{Bytes, compare};
use super::heir::{Heir, Were};
use super::stage::Stage;
use super::story::{Act, ms};
use crate::status::CannotRun;

/// The file that is there all the time, and that nobody touches.
const KEPT: &str = "/kept";

/// How often it is looked how much is parked.
const LOOKS: usize = 64;

/// An act: what it shows happens on the stage, and is told.
pub(crate) type Play = fn(&Stage) -> Result<Act, CannotRun>;

/// In their order. The first brings [`KEPT`].
pub(crate) const ALL: [Play; 6] =
    [arrive::arrive, truncate::truncate, punch::punch, unlink::unlink, kill::kill, survive::survive];

/// Brings [`KEPT`] without a word.
pub(crate) fn keep(stage: &Stage) -> Result<(), CannotRun> {
    arrive::arrive(stage).map(drop)
}

/// Whether the bystander is still what it was. The last check of all.
pub(crate) fn kept(stage: &Stage) -> Result<(String, bool), CannotRun> {
    let kept = stage.pool.open(KEPT)?;
    let compared = compare(&kept, &stage.source, &[(stage.load, Bytes::Source(0))])?;
    Ok((format!("{KEPT}, a bystander all the time, is right to the end: {compared}"), compared.is_right()))
}

/// Who holds a pin, in words.
fn holder(pin: &PinInfo) -> String {
    format!("process {}, through {}", pin.pid, pin.engine)
}

/// The same with what it holds.
fn held_by(report: &PinReport) -> String {
    let name = report.path.as_ref().map_or_else(|| report.file.to_string(), |path| path.display().to_string());
    format!("{}, which writes bytes {}..{} of {name}", holder(&report.pin), report.bytes.start, report.bytes.end)
}

/// How long after another moment, in words.
fn after(earlier: Instant, later: Instant) -> String {
    ms(later.saturating_duration_since(earlier))
}

/// Waits for blocks, while the transfers that keep them land; when there were enough.
fn while_they_land(
    act: &mut Act,
    stage: &Stage,
    heir: &Heir<'_>,
    len: u64,
    transfers: Transfers<'_>,
    were: &mut Were,
) -> Result<Instant, CannotRun> {
    let asked = Instant::now();
    let mut parked = vec![(asked, stage.pool.stats().parked)];
    let (mut landed, all) = (0, transfers.count());
    let had = std::thread::scope(|scope| {
        let waits = scope.spawn(|| heir.wait_for_blocks(len));
        let levels = transfers.land(|piece, until| {
            were.were_reached(&(piece.to..piece.to + piece.len), until);
            landed += 1;
            // To count what is parked looks through the whole pool.
            if landed % all.div_ceil(LOOKS) == 0 || landed == all {
                parked.push((Instant::now(), stage.pool.stats().parked));
            }
        })?;
        act.level(format!("the device in {}", were.whose), "transfers", &levels);
        waits.join().expect("a wait for space does not panic")
    })?;
    act.level("parked", "bytes", &parked);
    act.waited(format!("{} waits for blocks", Heir::PATH), asked, had);
    Ok(had)
}
