//! `pinfold df`: how much is used, and why what is free is not to be had.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::held::{Held, Kept};
use crate::cli::Human;
use crate::names::{self, shown};
use crate::out::{complain, say};
use crate::pool::look;
use crate::status::{self, CannotRun, Status};
use crate::table::{Side, Table};

/// Shows how much of pools is used, free, and kept by pins.
///
/// What is parked has left its file and is kept by a pin, which has a holder; what is in quarantine has none. Both count as
/// neither used nor free.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Df {
    /// Pools: files or devices.
    #[arg(value_name = "POOL", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) pools: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) human: Human,
    /// One JSON document. Sizes in bytes.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much of a pool is what.
struct Use {
    size: u64,
    free: u64,
    kept: Kept,
}

impl Use {
    fn of(pool: &Path) -> Result<Self, CannotRun> {
        let snapshot = look(pool)?;
        let info = snapshot.info();
        let kept = Held::of_snapshot(pool, &snapshot)?.kept;
        // On the medium, what is kept is free.
        Ok(Self { size: info.len, free: info.free.saturating_sub(kept.sum()), kept })
    }

    fn used(&self) -> u64 {
        self.size.saturating_sub(self.free + self.kept.sum())
    }

    /// In percent of what there is, rounded up as `df` does.
    fn share(&self) -> u64 {
        (u128::from(self.used()) * 100).div_ceil(u128::from(self.size.max(1))) as u64
    }

    fn to_json(&self, pool: &Path) -> Value {
        json!({
            "pool": names::json(pool),
            "size": self.size,
            "used": self.used(),
            "free": self.free,
            "parked": self.kept.parked,
            "quarantined": self.kept.quarantined,
            "not_durable": self.kept.not_durable,
        })
    }
}

pub(crate) fn df(asked: &Df) -> Result<Status, CannotRun> {
    let (mut status, mut known) = (Status::Held, Vec::new());
    for pool in &asked.pools {
        match Use::of(pool) {
            Ok(used) => known.push((pool, used)),
            Err(why) => {
                complain(why);
                status = Status::CannotRun;
            }
        }
    }
    if asked.json {
        let pools: Vec<Value> = known.iter().map(|(pool, used)| used.to_json(pool)).collect();
        say(format_args!("{:#}", json!({ "pools": pools })))?;
    } else if !known.is_empty() {
        say(table(asked, &known))?;
    }
    Ok(status)
}

fn table(asked: &Df, known: &[(&PathBuf, Use)]) -> Table {
    let titles = ["Size", "Used", "Free", "Use%", "Parked", "Quarantined", "Not durable"];
    let columns: Vec<_> = titles.iter().map(|title| (*title, Side::Right)).collect();
    let mut table = Table::titled(&[&[("Pool", Side::Left)][..], &columns].concat());
    for (pool, used) in known {
        let size = |bytes| asked.human.size(bytes);
        let Kept { parked, quarantined, not_durable } = used.kept;
        let cells = [shown(pool), size(used.size), size(used.used()), size(used.free), format!("{}%", used.share())];
        table.row(cells.into_iter().chain([parked, quarantined, not_durable].map(size)));
    }
    table
}
