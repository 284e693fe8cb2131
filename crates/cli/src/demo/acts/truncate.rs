//! A truncate under `Wait`, while the device writes into what is cut off.

use std::time::Instant;

use pinfold::{Access, File};

use super::super::expect::{Bytes, compare};
use super::super::heir::{Heir, Were};
use super::super::stage::Stage;
use super::super::story::{Act, bytes};
use super::{after, held_by};
use crate::status::CannotRun;

const FILM: &str = "/film";

pub(crate) fn truncate(stage: &Stage) -> Result<Act, CannotRun> {
    let about = "The device writes into all of a file. Half of it is cut off, under the policy Wait: the truncate sleeps \
                 until nobody reaches what it frees.";
    let (len, half) = (stage.load, stage.load / 2);
    let film = stage.create(FILM, len)?;
    let mut were = Were::of(&film, FILM);
    let mut act = Act::begin("truncate", "A truncate waits", about);
    let mut transfers = stage.bring_into(&film, 0)?;
    act.now(format!("{} transfers are in flight into {FILM}, {} in all", transfers.count(), bytes(len)));

    let begun = Instant::now();
    let mut gone = begun;
    let (ended, left) = std::thread::scope(|scope| {
        let cut = || film.truncate(half).wait().map(|()| (Instant::now(), stage.pins_of(&film, &(half..len))));
        let truncate = scope.spawn(cut);
        let behind = stage.behind_whom(&film, || truncate.is_finished());
        act.met = behind.is_some() && transfers.are_under_way()?;
        act.at(begun, format!("a truncate of {FILM} to {} begins", bytes(half)));
        act.now(format!("it waits for {}", behind.as_ref().map_or("nobody".to_owned(), held_by)));
        newcomers(&mut act, stage, &film, half);
        let levels = transfers.land(|piece, until| {
            were.were_reached(&(piece.to..piece.to + piece.len), until);
            gone = if piece.to + piece.len > half { until } else { gone };
        })?;
        act.level(format!("the device in {FILM}"), "transfers", &levels);
        Ok::<_, CannotRun>(truncate.join().expect("a truncate does not panic")?)
    })?;
    act.at(gone, "the last transfer in that half ends");
    act.at(ended, format!("the truncate goes on by itself, {} later", after(gone, ended)));
    act.waited("the truncate", begun, ended);
    act.check("G2", "it slept until the last transfer in its range had ended, and went on by itself", ended >= gone);
    act.check("G1", "when it was done, nobody reached what it had freed", left.is_empty());

    let heir = Heir::new(stage)?;
    let had = heir.wait_for_blocks(half)?;
    act.done(format!("{} gets blocks", Heir::PATH), had);
    heir.move_in(&mut act, had, &were)?;
    let rest = compare(&film, &stage.source, &[(half, Bytes::Source(0))])?;
    act.check("G1", format!("what is left of {FILM} is the source: {rest}"), rest.is_right());
    heir.check_and_remove(&mut act)?;
    stage.pool.unlink(FILM)?;
    Ok(act)
}

/// Two more transfers come while the truncate waits: one into its range, one beside it.
fn newcomers(act: &mut Act, stage: &Stage, film: &File, half: u64) {
    let block = stage.pool.block_size();
    let inside = film.pin(half..half + block, Access::Write).try_now();
    let beside = film.pin(0..block, Access::Write).try_now();
    // Only a truncate that still runs kept, or should have kept, anybody out.
    let runs = !stage.pool.breaks().is_empty();
    act.now(match &inside {
        Err(error) => format!("another transfer into what is cut off is kept out (errno {})", error.errno()),
        Ok(_) => "another transfer comes too late to be kept out".to_owned(),
    });
    act.check("G3", "while it waited nobody else got in, so it cannot starve", inside.is_err() || !runs);
    act.now(match &beside {
        Err(error) => format!("another transfer beside it is kept out: {error}"),
        Ok(_) => "another transfer beside it gets in at once".to_owned(),
    });
    act.check("G5", "nobody outside of its range was delayed", beside.is_ok());
}
