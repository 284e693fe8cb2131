//! The speed table: each row a ratio, taken in one run beside what a user would have instead.
//!
//! ```
//! use pinfold_bench::{Options, run};
//!
//! let report = run(&Options { rows: Some(vec![2]), smoke: true, ..Options::default() }, |_| ())?;
//! println!("{report}");
//! # Ok::<(), pinfold_bench::BenchError>(())
//! ```
//!
//! Stays true  R1: subject and peer take turns in many short rounds, so that what disturbs the machine disturbs both. A
//!                 line tells the median of the rounds' ratios, and where half of them lie.
//!             R2: no absolute time is told: that would be a statement about the machine.
//!             R3: what a machine cannot measure is a line that says why, and no other line misses for it.
//! Who calls   one at a time: two runs disturb each other, and so does whatever else the process does.
//! A crash     can leave a scratch directory `pinfold-bench-*` in `/dev/shm` or in [`Options::scratch`].

mod report;
mod rounds;
mod rows;
mod scratch;

use std::path::PathBuf;

pub use report::{Comparison, Line, Outcome, Report};
pub use rounds::Ratios;

use rounds::Scale;

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The numbers of the rows; all of them if `None`.
    pub rows: Option<Vec<u32>>,
    /// A few rounds with tiny counts, to see that everything runs: the ratios say nothing then.
    pub smoke: bool,
    /// Where the scratch file lies from which a device reads. `TMPDIR` if `None`, or else `/var/tmp`: other than `/tmp`
    /// that is seldom in memory.
    pub scratch: Option<PathBuf>,
}

/// How far a run is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// This comparison begins.
    Begins(&'a Comparison),
    /// This line is done.
    Done(&'a Line),
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A row that the table does not have.
    #[error("there is no row {asked}: take one of {}", rows_in_words())]
    NoSuchRow {
        /// The number given.
        asked: u32,
    },
}

impl BenchError {
    /// As a number of `errno.h`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoSuchRow { .. } => rustix::io::Errno::INVAL.raw_os_error(),
        }
    }
}

/// What the table compares, in its order. A row can have several lines.
pub fn comparisons() -> impl Iterator<Item = &'static Comparison> {
    rows::ALL.into_iter().flatten()
}

/// Measures, and says through `progress` how far it is. Takes some minutes, most of them for a pool with a million files; with [`Options::smoke`], seconds.
///
/// # Errors
/// [`BenchError`]: nothing was measured then. What cannot be measured on this machine is [`Outcome::Skipped`].
pub fn run(options: &Options, mut progress: impl FnMut(Progress<'_>)) -> Result<Report, BenchError> {
    let asked = options.rows.as_deref();
    let unknown = asked.and_then(|rows| rows.iter().find(|row| comparisons().all(|known| known.row != **row)));
    if let Some(asked) = unknown {
        return Err(BenchError::NoSuchRow { asked: *asked });
    }
    let scale = if options.smoke { Scale::SMOKE } else { Scale::FULL };
    let setup = Setup { scale, scratch: options.scratch.clone().unwrap_or_else(scratch::on_disk) };
    let wanted = comparisons().filter(|known| asked.is_none_or(|rows| rows.contains(&known.row)));
    let lines = wanted.map(|comparison| {
        progress(Progress::Begins(comparison));
        let line = comparison.measure(&setup);
        progress(Progress::Done(&line));
        line
    });
    Ok(Report { lines: lines.collect(), smoke: options.smoke })
}

/// What the rows are told.
pub(crate) struct Setup {
    pub(crate) scale: Scale,
    pub(crate) scratch: PathBuf,
}

fn rows_in_words() -> String {
    let mut rows: Vec<_> = comparisons().map(|comparison| comparison.row).collect();
    rows.dedup();
    rows.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
