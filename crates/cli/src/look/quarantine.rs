//! `pinfold quarantine`: pins without a holder, and whether a proof is to be had that no device reaches what they pin (G8).

use std::path::PathBuf;

use clap::Args;
use pinfold::layout::Quarantined;
use pinfold_dma::RingLock;
use serde_json::json;

use super::held::{Held, Pin};
use crate::clock::lasting;
use crate::names::{self, shown};
use crate::out::say;
use crate::pool::ring_locks;
use crate::size;
use crate::status::{self, CannotRun, Status};
use crate::table::{Side, Table};

/// Shows the pins without a holder, and whether they may go.
///
/// A process may die, or give a transfer up, while its device still writes. Its pins stay until it is proved that the device
/// is quiet: a ring of io_uring is gone when its lock, beside the pool, is free. Time proves nothing, nor does a death.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Quarantine {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// One JSON document. Bytes and milliseconds; `proof` is `ready`, `not_yet`, `lost` or `unknown`.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether a pin may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Its ring is gone.
    Ready,
    /// Its ring is there.
    NotYet,
    /// It went through a ring whose lock is not beside the pool.
    Lost,
    /// It went through something else.
    Unknown,
}

pub(crate) fn quarantine(asked: &Quarantine) -> Result<Status, CannotRun> {
    let held = Held::of(&asked.pool)?;
    let locks = ring_locks(&asked.pool)?;
    let mut pins = Vec::new();
    for pin in held.pins.iter().filter(|pin| pin.quarantine.is_some()) {
        pins.push((pin, Proof::of(pin, &locks)?));
    }
    if asked.json {
        let pins = pins.iter().map(|(pin, proof)| {
            let mut value = pin.to_json();
            value["proof"] = proof.word().into();
            value
        });
        say(format_args!("{:#}", json!({ "pool": names::json(&asked.pool), "pins": pins.collect::<Vec<_>>() })))?;
        return Ok(Status::Held);
    }
    match pins.is_empty() {
        true => say("Nothing is in quarantine.")?,
        false => say(table(&pins))?,
    }
    if pins.iter().any(|(_, proof)| *proof == Proof::Ready) {
        say(format_args!("\nWhat has a proof is let go by `pinfold release {}`.", shown(&asked.pool)))?;
    }
    Ok(Status::Held)
}

fn table(pins: &[(&Pin, Proof)]) -> Table {
    let columns = ["ID", "FILE", "BYTES", "PIN", "HELD FOR", "THROUGH", "WHY", "PROOF"];
    let mut table = Table::titled(&columns.map(|title| (title, Side::Left)));
    for (pin, proof) in pins {
        let why = match pin.quarantine {
            Some(Quarantined::HolderGone) => format!("process {} died", pin.pid),
            _ => format!("process {} gave it up", pin.pid),
        };
        let engine = if pin.engine.is_empty() { "-".to_owned() } else { pin.engine.clone() };
        table.row([
            pin.id.clone(),
            pin.of_file(),
            size::range(&pin.bytes),
            pin.kind(),
            lasting(pin.held_for),
            engine,
            why,
            proof.said().to_owned(),
        ]);
    }
    table
}

impl Proof {
    fn of(pin: &Pin, locks: &[RingLock]) -> Result<Self, CannotRun> {
        match locks.iter().find(|lock| lock.name() == pin.engine) {
            Some(lock) => Ok(if lock.try_proof()?.is_some() { Self::Ready } else { Self::NotYet }),
            None if pin.engine.starts_with("io_uring ") => Ok(Self::Lost),
            None => Ok(Self::Unknown),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotYet => "not_yet",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }

    fn said(self) -> &'static str {
        match self {
            Self::Ready => "there is one: its ring is gone",
            Self::NotYet => "not yet: its ring is still there",
            Self::Lost => "none here: its ring keeps its lock elsewhere",
            Self::Unknown => "none here: ask who runs the device",
        }
    }
}
