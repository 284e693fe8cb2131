//! `pinfold`: the command. Each subcommand is the face of a library; what is here is presentation, and the demo's story.

mod bench;
mod cli;
mod demo;
mod out;
mod screen;
mod status;
mod torture;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use status::Status;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Demo(asked) => demo::demo(&asked),
        Command::Torture(asked) => torture::torture(&asked),
        Command::Bench(asked) => bench::bench(&asked),
        Command::DemoGuest => demo::guest::guest(),
        Command::DemoOwner(asked) => demo::owner::owner(&asked),
    };
    let status = ended.unwrap_or_else(|why| {
        eprintln!("pinfold: {why}");
        Status::CannotRun
    });
    ExitCode::from(status.number())
}
