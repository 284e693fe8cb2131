//! `pinfold`: the command. Each subcommand is the face of a library; what is here is presentation, and the demo's story.

mod bench;
mod change;
mod cli;
mod clock;
mod copy;
mod demo;
mod dump;
mod fsck;
mod look;
mod make;
mod mount;
mod names;
mod out;
mod pool;
mod screen;
mod shell;
mod signals;
mod size;
mod status;
mod table;
mod torture;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use status::{CannotRun, Status};

fn main() -> ExitCode {
    let ended = match second() {
        Some(ended) => ended,
        None => match Cli::try_parse() {
            Ok(asked) => carry_out(asked.command),
            // Help is asked for, or the command line is wrong.
            Err(said) => return say_of_itself(&said),
        },
    };
    exit(ended)
}

fn exit(ended: Result<Status, CannotRun>) -> ExitCode {
    let status = ended.unwrap_or_else(|why| {
        out::complain(why);
        Status::CannotRun
    });
    ExitCode::from(status.number())
}

/// What the command says of itself.
fn say_of_itself(said: &clap::Error) -> ExitCode {
    match said.use_stderr() {
        false => exit(out::went(said.print()).map(|_| Status::Held)),
        // Where it cannot be said, the exit status still says it.
        true => {
            let _ = said.print();
            ExitCode::from(said.exit_code() as u8)
        }
    }
}

/// What the second processes of the demo and of the torture do.
fn second() -> Option<Result<Status, CannotRun>> {
    if let Some(victim) = pinfold_torture::crash::Victim::asked_for() {
        victim.run();
    }
    if demo::guest::is_asked_for() {
        return Some(demo::guest::guest());
    }
    let asked = demo::owner::asked_for()?;
    Some(demo::owner::owner(&asked))
}

fn carry_out(command: Command) -> Result<Status, CannotRun> {
    match command {
        Command::Mkfs(asked) => make::mkfs(&asked),
        Command::Info(asked) => look::info(&asked),
        Command::Df(asked) => look::df(&asked),
        Command::Ls(asked) => look::ls(&asked),
        Command::Tree(asked) => look::tree(&asked),
        Command::Stat(asked) => look::stat(&asked),
        Command::Cat(asked) => look::cat(&asked),
        Command::Map(asked) => look::map(&asked),
        Command::Who(asked) => look::who(&asked),
        Command::Quarantine(asked) => look::quarantine(&asked),
        Command::Put(asked) => copy::put(&asked),
        Command::Get(asked) => copy::get(&asked),
        Command::Mount(asked) => mount::mount(&asked),
        Command::Demo(asked) => demo::demo(&asked),
        Command::Torture(asked) => torture::torture(&asked),
        Command::Bench(asked) => bench::bench(&asked),
        Command::Change(asked) => change::run(&asked),
        Command::Fsck(asked) => fsck::fsck(&asked),
        Command::Dump(asked) => dump::dump(&asked),
        Command::Completions(asked) => shell::completions(&asked),
        Command::Man(asked) => shell::man(&asked),
    }
}
