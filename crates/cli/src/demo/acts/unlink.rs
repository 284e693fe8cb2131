//! An unlink while the device writes into the file.

use std::time::Instant;

use super::super::expect::{Bytes, compare, write};
use super::super::heir::{Heir, Were};
use super::super::stage::Stage;
use super::super::story::{Act, bytes};
use super::{after, while_they_land};
use crate::status::CannotRun;

const INBOX: &str = "/inbox";

pub(crate) fn unlink(stage: &Stage) -> Result<Act, CannotRun> {
    let about = "The device writes into a file whose name is removed and whose last handle is closed. The file is gone \
                 at once; its blocks are not, before the device is done.";
    let file = stage.create(INBOX, stage.load)?;
    let mut were = Were::of(&file, format!("the first {INBOX}"));
    let mut act = Act::begin("unlink", "An unlink does not wait either", about);
    let mut transfers = stage.bring_into(&file, 0)?;
    act.now(format!("{} transfers are in flight into {INBOX}, {} in all", transfers.count(), bytes(stage.load)));

    let begun = Instant::now();
    stage.pool.unlink(INBOX)?;
    drop(file);
    let unlinked = Instant::now();
    let parked = stage.pool.stats().parked;
    act.met = transfers.are_under_way()?;
    act.at(begun, format!("{INBOX} is unlinked, and closed by the last who had it open"));
    act.at(unlinked, format!("it is gone, {} later, and {} are parked", after(begun, unlinked), bytes(parked)));
    act.done("the unlink", unlinked);
    act.check("G1", "all that a transfer reaches was parked", parked == stage.load);

    let again = stage.create(INBOX, stage.load / 16)?;
    write(&again, &stage.source, Bytes::Inverted(0), again.len())?;
    act.now(format!("another {INBOX} is made and written, while transfers go on into the blocks of the first"));

    let heir = Heir::new(stage)?;
    let had = while_they_land(&mut act, stage, &heir, stage.load, transfers, &mut were)?;
    heir.move_in(&mut act, had, &were)?;
    let compared = compare(&again, &stage.source, &[(again.len(), Bytes::Inverted(0))])?;
    act.check("G1", format!("no transfer hit the second {INBOX}: {compared}"), compared.is_right());
    heir.check_and_remove(&mut act)?;
    stage.pool.unlink(INBOX)?;
    Ok(act)
}
