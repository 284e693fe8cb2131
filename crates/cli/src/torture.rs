//! `pinfold torture`: the face of `pinfold-torture`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use pinfold_torture::crash::{self, CrashOptions};
use pinfold_torture::{Engine, Options, Policies, Progress, Report, run};

use crate::cli;
use crate::out::say;
use crate::status::{CannotRun, Status};

/// Tortures pinfold, in which nothing may be found, or the baseline, in which something must be.
pub(crate) fn torture(asked: &cli::Torture) -> Result<Status, CannotRun> {
    if asked.crash {
        return kill(asked);
    }
    let options = options(asked);
    let bar = bar(options.time);
    let report = run(&options, &|progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = report?;
    tell(&report, asked.json)?;
    Ok(Status::of(report.is_as_it_should_be()))
}

fn options(asked: &cli::Torture) -> Options {
    let usual = Options::default();
    Options {
        time: Duration::from_secs(asked.seconds),
        threads: asked.threads.map_or(usual.threads, usize::from),
        seed: asked.seed.unwrap_or(usual.seed),
        policies: match asked.policy {
            cli::Policy::Wait => Policies::Wait,
            cli::Policy::Detach => Policies::Detach,
            cli::Policy::Both => Policies::Both,
        },
        engine: engine(asked.engine),
        scratch: asked.scratch.clone(),
        baseline: asked.baseline,
        ..usual
    }
}

/// Kills owners of pools.
fn kill(asked: &cli::Torture) -> Result<Status, CannotRun> {
    let usual = CrashOptions::default();
    let options = CrashOptions {
        rounds: asked.rounds,
        threads: asked.threads.map_or(usual.threads, usize::from),
        seed: asked.seed.unwrap_or(usual.seed),
        engine: engine(asked.engine),
        dir: asked.dir.clone(),
        ..usual
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is sound");
    let bar = ProgressBar::new(asked.rounds).with_style(style);
    let report = crash::run(&options, &|progress| {
        bar.set_position(progress.rounds);
        bar.set_message(format!("judged, {} owners killed, {} violations", progress.kills, progress.violations));
    });
    bar.finish_and_clear();
    let report = report?;
    if asked.json { say(format_args!("{:#}", report.to_json())) } else { say(&report) }?;
    Ok(Status::of(report.is_as_it_should_be()))
}

fn engine(asked: cli::Engine) -> Engine {
    match asked {
        cli::Engine::Auto => Engine::Auto,
        cli::Engine::Real => Engine::Real,
        cli::Engine::Late => Engine::Late,
    }
}

fn tell(report: &Report, json: bool) -> Result<(), CannotRun> {
    if json { say(format_args!("{:#}", report.to_json())) } else { say(report) }
}

/// On stderr, and only where that is a terminal: indicatif sees to it.
fn bar(time: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {elapsed}/{msg}").expect("the template is sound");
    ProgressBar::new(time.as_millis() as u64).with_style(style)
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let Progress { of, operations, raced, transfers, violations, .. } = progress;
    bar.set_position(progress.elapsed.as_millis() as u64);
    bar.set_message(format!(
        "{} s  {operations} operations, {raced} raced one of {transfers} transfers, {violations} violations",
        of.as_secs()
    ));
}
