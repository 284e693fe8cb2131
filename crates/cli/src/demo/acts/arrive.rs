//! A file arrives: reserved, filled by the device, and published once it is whole.

use pinfold::Publish;

use super::super::expect::{Bytes, compare};
use super::super::stage::Stage;
use super::super::story::{Act, bytes};
use super::KEPT;
use crate::status::CannotRun;

pub(crate) fn arrive(stage: &Stage) -> Result<Act, CannotRun> {
    let about =
        "The device fills a file that has no name yet: DMA goes straight into its blocks, and nothing is copied.";
    let reservation = stage.pool.reserve(stage.load).try_now()?;
    let mut act = Act::begin("arrive", "A file arrives", about);
    let transfers = stage.bring(0, 0..stage.load, |range| reservation.pin(range))?;
    // There is nothing to be met: whether they are still in flight does not matter.
    act.met = true;
    act.now(format!("{} transfers are in flight, {} in all", transfers.count(), bytes(stage.load)));
    let unseen = stage.pool.open(KEPT).is_err();
    act.now(format!("{KEPT} is not there yet: nobody sees the half of it"));
    let levels = transfers.land(|_, _| ())?;
    act.level("the device, in flight", "transfers", &levels);
    let file = reservation.publish(KEPT, Publish::New).map_err(|unpublished| unpublished.error)?;
    act.now(format!("the last transfer has ended, and {KEPT} appears"));
    act.done(format!("publish {KEPT}"), std::time::Instant::now());
    let compared = compare(&file, &stage.source, &[(stage.load, Bytes::Source(0))])?;
    act.check("G10", "nobody saw the file before it was whole", unseen);
    act.check("G1", format!("{KEPT} is what read(2) reads of the source: {compared}"), compared.is_right());
    Ok(act)
}
