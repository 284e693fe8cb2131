//! A process that owns a pool in a file: it brings the source in, syncs, starts more transfers, and is killed.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use clap::Parser;
use pinfold::{Access, Pool, PoolOptions, Rename, Reservation, live_dir_of};
use pinfold_dma::UringOptions;

use super::device::{Device, Transfers};
use super::source::{SECTOR, Source};
use crate::cli;
use crate::status::{CannotRun, Status, doing};

/// The file that it syncs.
pub(crate) const SYNCED: &str = "/synced";
/// Its name before: the rename is not synced.
const BEFORE: &str = "/before";
/// How many pins it leaves at most: each takes a mark when it is released, and there are only so many.
const PINS_MAX: usize = 1024;
/// What it says when the one is there, and when transfers of the other are in flight.
pub(crate) const SAYS: [&str; 2] = ["synced", "in flight"];

/// Where the locks of its rings lie.
pub(crate) fn rings(pool: &Path) -> PathBuf {
    live_dir_of(pool).join("rings")
}

/// The first argument of this process.
pub(super) const ARGUMENT: &str = "demo-owner";

/// What it is to do, if this is that process.
pub(crate) fn asked_for() -> Option<cli::DemoOwner> {
    let mut arguments = std::env::args_os().skip(1);
    let is_it = arguments.next()? == ARGUMENT;
    is_it.then(|| cli::DemoOwner::parse_from(std::iter::once(ARGUMENT.into()).chain(arguments)))
}

/// What the owner does, until it is killed.
pub(crate) fn owner(asked: &cli::DemoOwner) -> Result<Status, CannotRun> {
    let source = Source::open(&asked.source)?;
    let pool = PoolOptions::new().open(&asked.pool)?;
    let device = device(&source, &rings(&asked.pool))?;
    bring_and_sync(&pool, &device, &source, asked.load)?;
    say(SAYS[0])?;
    let reservation = pool.reserve(asked.load).try_now()?;
    let _transfers = start(&device, &source, &reservation, asked)?;
    say(SAYS[1])?;
    // Until it is killed, or whoever started it is gone.
    stdin().lock().lines().for_each(drop);
    Ok(Status::Held)
}

/// A ring with its lock beside the pool, or what stands in for it.
fn device(source: &Source, rings: &Path) -> Result<Device, CannotRun> {
    std::fs::create_dir_all(rings).map_err(doing(rings.display()))?;
    let ring = source.direct.then(|| UringOptions::new().depth(1024).lock_dir(rings).create());
    match ring {
        Some(Ok(ring)) => Ok(Device::Ring(ring)),
        Some(Err(_)) | None => Device::stand_in(),
    }
}

fn bring_and_sync(pool: &Pool, device: &Device, source: &Source, len: u64) -> Result<(), CannotRun> {
    let file = pool.create(BEFORE)?;
    file.allocate(0..len).try_now()?;
    let pieces = source.pieces(0, 0, len).into_iter();
    let pinned = pieces.map(|piece| {
        let pinned = file.pin(piece.to..piece.to + piece.len, Access::Write).wait()?;
        Ok((piece, pinned))
    });
    device.start(source, pinned.collect::<Result<_, CannotRun>>()?)?.land(|_, _| ())?;
    file.sync()?;
    Ok(pool.rename(BEFORE, SYNCED, Rename::NoReplace)?)
}

/// Transfers into all of a reservation, round after round.
fn start<'d>(
    device: &'d Device,
    source: &Source,
    reservation: &Reservation,
    asked: &cli::DemoOwner,
) -> Result<Transfers<'d>, CannotRun> {
    let pieces = (0..asked.rounds).flat_map(|round| source.pieces(round * SECTOR, 0, asked.load)).take(PINS_MAX);
    let pinned = pieces.map(|piece| {
        let pinned = reservation.pin(piece.to..piece.to + piece.len).wait()?;
        Ok((piece, pinned))
    });
    device.start(source, pinned.collect::<Result<_, CannotRun>>()?)
}

fn say(what: &str) -> Result<(), CannotRun> {
    let mut out = stdout().lock();
    writeln!(out, "{what}").and_then(|()| out.flush()).map_err(doing("cannot answer"))
}
