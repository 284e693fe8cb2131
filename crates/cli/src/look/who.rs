//! `pinfold who`: who holds which bytes of which file, and whom that delays (G7).

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::held::{Held, Pin};
use crate::clock::lasting;
use crate::names;
use crate::out::{complain, say};
use crate::size;
use crate::status::{self, CannotRun, Status};
use crate::table::{Side, Table};

/// Shows who holds which bytes of which file, and whom that delays.
///
/// Every pin: its file and bytes, its kind, the process that holds it, through which engine, for how long; and every operation
/// that waits for one. The pool's owner is asked; where it does not answer, the layout area beside the pool is read, which says
/// all but what waits.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Who {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// One JSON document. Bytes and milliseconds.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn who(asked: &Who) -> Result<Status, CannotRun> {
    let held = Held::of(&asked.pool)?;
    held.note(&asked.pool).into_iter().for_each(complain);
    if asked.json {
        say(format_args!("{:#}", to_json(asked, &held)))?;
        return Ok(Status::Held);
    }
    match held.pins.is_empty() {
        true => say("Nobody holds a pin.")?,
        false => say(pins(&held))?,
    }
    if !held.waiting.is_empty() {
        say(waiting(&held))?;
    }
    Ok(Status::Held)
}

fn pins(held: &Held) -> Table {
    let columns = ["FILE", "BYTES", "PIN", "HELD FOR", "PROCESS", "THROUGH", "FOR", "DELAYS"];
    let mut table = Table::titled(&columns.map(|title| (title, Side::Left)));
    for pin in &held.pins {
        let kind = match pin.quarantine {
            Some(_) => format!("{}, in quarantine", pin.kind()),
            None => pin.kind(),
        };
        let delays = match held.delayed_by(pin).count() as u64 {
            0 => String::new(),
            number => size::count(number, "operation"),
        };
        let texts =
            [pin.engine.clone(), pin.label.clone()].map(|text| if text.is_empty() { "-".to_owned() } else { text });
        let [engine, label] = texts;
        table.row([
            pin.of_file(),
            size::range(&pin.bytes),
            kind,
            lasting(pin.held_for),
            pin.process(),
            engine,
            label,
            delays,
        ]);
    }
    table
}

fn waiting(held: &Held) -> String {
    let mut lines = vec![String::new(), "Operations that wait:".to_owned()];
    for waiting in &held.waiting {
        let behind = match &waiting.behind {
            Some(pin) => {
                format!("process {}, which holds {} {}", pin.process(), pin.of_file(), size::range(&pin.bytes))
            }
            None => "nobody; it is about to end".to_owned(),
        };
        lines.push(format!("  on {}, for {}, for {behind}", waiting.what(), lasting(waiting.running_for)));
    }
    lines.join("\n")
}

fn to_json(asked: &Who, held: &Held) -> Value {
    json!({
        "pool": names::json(&asked.pool),
        "pins": held.pins.iter().map(Pin::to_json).collect::<Vec<_>>(),
        "owner_answers": held.silent.is_none(),
        "waiting": held.waiting.iter().map(|waiting| waiting.to_json()).collect::<Vec<_>>(),
    })
}
