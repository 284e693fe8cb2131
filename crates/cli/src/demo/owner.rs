//! A process that owns a pool in a file: it brings the source in, syncs, starts more transfers, and is killed.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;

use pinfold::{Access, File, Pool, PoolOptions, Reservation, live_dir_of};
use pinfold_dma::{InFlight, Request, Uring, UringOptions};

use super::source::{SECTOR, Source};
use crate::cli;
use crate::status::{CannotRun, Status, doing};

/// The file that it syncs.
pub(crate) const SYNCED: &str = "/synced";
/// Its name before: the rename is not synced.
const BEFORE: &str = "/before";
/// What it says when the one is there, and when transfers of the other are in flight.
pub(crate) const SAYS: [&str; 2] = ["synced", "in flight"];

/// Where the locks of its rings lie.
pub(crate) fn rings(pool: &std::path::Path) -> PathBuf {
    live_dir_of(pool).join("rings")
}

/// What the owner does, until it is killed.
pub(crate) fn owner(asked: &cli::DemoOwner) -> Result<Status, CannotRun> {
    let source = Source::open(&asked.source)?;
    let pool = PoolOptions::new().open(&asked.pool)?;
    let rings = rings(&asked.pool);
    std::fs::create_dir_all(&rings).map_err(doing(rings.display()))?;
    let ring = UringOptions::new().depth(1024).lock_dir(&rings).create()?;
    bring_and_sync(&pool, &ring, &source, asked.load)?;
    say(SAYS[0])?;
    let reservation = pool.reserve(asked.load).try_now()?;
    let _transfers = start(&ring, &source, &reservation, asked)?;
    say(SAYS[1])?;
    // Until it is killed, or whoever started it is gone.
    stdin().lock().lines().for_each(drop);
    Ok(Status::Held)
}

fn bring_and_sync(pool: &Pool, ring: &Uring, source: &Source, len: u64) -> Result<(), CannotRun> {
    let file: File = pool.create(BEFORE)?;
    file.allocate(0..len).try_now()?;
    let requests = source.pieces(0, 0, len).into_iter().map(|piece| {
        let pinned = file.pin(piece.to..piece.to + piece.len, Access::Write).wait()?;
        Ok((Request::read(&source.device, piece.from), pinned))
    });
    let requests = requests.collect::<Result<Vec<_>, CannotRun>>()?;
    for one in ring.submit_all(requests) {
        drop(one.map_err(|refused| CannotRun(refused.to_string()))?.wait()?.whole()?);
    }
    file.sync()?;
    Ok(pool.rename(BEFORE, SYNCED, pinfold::Rename::NoReplace)?)
}

/// Transfers into all of a reservation, round after round.
fn start(
    ring: &Uring,
    source: &Source,
    reservation: &Reservation,
    asked: &cli::DemoOwner,
) -> Result<Vec<InFlight>, CannotRun> {
    let mut requests = Vec::new();
    for round in 0..asked.rounds {
        for piece in source.pieces(round * SECTOR, 0, asked.load) {
            let pinned = reservation.pin(piece.to..piece.to + piece.len).wait()?;
            requests.push((Request::read(&source.device, piece.from), pinned));
        }
    }
    ring.submit_all(requests).into_iter().map(|one| one.map_err(|refused| CannotRun(refused.to_string()))).collect()
}

fn say(what: &str) -> Result<(), CannotRun> {
    let mut out = stdout().lock();
    writeln!(out, "{what}").and_then(|()| out.flush()).map_err(doing("cannot answer"))
}
