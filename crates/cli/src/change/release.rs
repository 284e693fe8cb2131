//! `release`: pins without a holder leave quarantine by a proof, or by a person's decision (G8).

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use pinfold::layout::PinId;
use pinfold_control::{Answer, Pin, Released, Request, parse_pin_id};

use super::ask::{Asked, unexpected, with_pool};
use crate::out::say;
use crate::size;
use crate::status::{self, CannotRun, Status};

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Release {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Releases this pin because you say that no device reaches its memory. If one does, it writes into other files.
    ///
    /// Without it, the locks of all rings beside the pool are looked at, and what went through rings that are gone is released.
    #[arg(long, value_name = "ID", value_parser = parse_pin_id, requires = "reason")]
    pin: Option<PinId>,
    /// Why you say so. It is logged, with your name.
    #[arg(long, value_name = "TEXT", requires = "pin")]
    reason: Option<String>,
    /// Does not ask.
    #[arg(long, requires = "pin")]
    yes: bool,
    /// What was released, as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn release(asked: &Release) -> Result<Status, CannotRun> {
    match (asked.pin, &asked.reason) {
        (Some(pin), Some(reason)) => with_pool(&asked.pool, |pool| by_operator(pool, asked, pin, reason)),
        _ => with_pool(&asked.pool, |pool| by_proof(pool, asked)),
    }
}

fn by_proof(pool: &mut Asked, asked: &Release) -> Result<Status, CannotRun> {
    let released = match pool.ask(&Request::ReleaseByProof)? {
        Answer::Released(released) => released,
        other => return Err(unexpected(&other).into()),
    };
    if asked.json {
        say(serde_json::json!(released))?;
        return Ok(Status::Held);
    }
    let Released { pins, rings_gone, rings_there, left } = released;
    let [pins, left_said] = [pins, left].map(|number| size::count(number, "pin"));
    say(format_args!("{pins} released; of the rings beside the pool {rings_gone} are gone and {rings_there} are not"))?;
    if left > 0 {
        say(format_args!("{left_said} still in quarantine:"))?;
        for pin in quarantine(pool)? {
            say(format_args!("  {}  {pin}", pin.id))?;
        }
    }
    Ok(Status::Held)
}

fn by_operator(pool: &mut Asked, asked: &Release, pin: PinId, reason: &str) -> Result<Status, CannotRun> {
    // One that is not in quarantine is refused below, with what is wrong.
    if let Some(found) = quarantine(pool)?.iter().find(|found| found.id == pin).filter(|_| !asked.yes) {
        confirm(found)?;
    }
    let decision = Request::ReleaseByOperator { pin, operator: operator(), reason: reason.to_owned() };
    let released = match pool.ask(&decision)? {
        Answer::ReleasedPin(released) => released,
        other => return Err(unexpected(&other).into()),
    };
    match asked.json {
        true => say(serde_json::json!(released))?,
        false => say(format_args!("released: {released}"))?,
    }
    Ok(Status::Held)
}

fn quarantine(pool: &mut Asked) -> Result<Vec<Pin>, CannotRun> {
    match pool.ask(&Request::Quarantine)? {
        Answer::Pins(pins) => Ok(pins),
        other => Err(unexpected(&other).into()),
    }
}

fn confirm(pin: &Pin) -> Result<(), CannotRun> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CannotRun("nobody is there to be asked: --yes says that you are sure".to_owned()));
    }
    let question = "If a device still reaches this memory, it will write into other files. Release it? [y/N] ";
    write!(std::io::stderr(), "{pin}\n{question}")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    match matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(CannotRun("nothing was released".to_owned())),
    }
}

/// Who decides: the names that the environment says, and the user's number, which is certain.
fn operator() -> String {
    let said = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let name = said("LOGNAME").or_else(|| said("USER")).unwrap_or_else(|| "user".to_owned());
    let number = rustix::process::getuid().as_raw();
    match said("SUDO_USER") {
        Some(before) => format!("{name} ({number}), for {before}"),
        None => format!("{name} ({number})"),
    }
}
