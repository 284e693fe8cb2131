//! `pinfold bench`: the face of `pinfold-bench`.

use indicatif::{ProgressBar, ProgressStyle};
use pinfold_bench::{Options, Progress, Report, comparisons, run};

use crate::cli;
use crate::out::say;
use crate::status::{CannotRun, Status};

/// Measures the rows that were asked for. A goal that is missed is a finding, not a failure.
pub(crate) fn bench(asked: &cli::Bench) -> Result<Status, CannotRun> {
    let rows = (!asked.rows.is_empty()).then(|| asked.rows.clone());
    let count = comparisons().filter(|known| rows.as_ref().is_none_or(|rows| rows.contains(&known.row))).count();
    let options = Options { rows, smoke: asked.smoke, scratch: asked.scratch.clone() };
    let bar = bar(count);
    let report = run(&options, |progress| match progress {
        Progress::Begins(comparison) => bar.set_message(comparison.what),
        Progress::Done(_) => bar.inc(1),
    });
    bar.finish_and_clear();
    tell(&report?, asked.json)?;
    Ok(Status::Held)
}

/// A number that a row of the table has.
pub(crate) fn row(text: &str) -> Result<u32, String> {
    let mut rows: Vec<_> = comparisons().map(|known| known.row).collect();
    rows.dedup();
    let asked = text.parse().ok().filter(|asked| rows.contains(asked));
    asked.ok_or_else(|| format!("the rows are {rows:?}"))
}

fn tell(report: &Report, json: bool) -> Result<(), CannotRun> {
    if json { say(format_args!("{:#}", report.to_json())) } else { say(report.to_string().trim_end()) }
}

/// On stderr, and only where that is a terminal: indicatif sees to it.
fn bar(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is sound");
    ProgressBar::new(count as u64).with_style(style)
}
