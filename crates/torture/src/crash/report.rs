//! What killing found: for people, and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::findings::Violation;
use crate::tally::Count;

/// What is counted on the way.
#[derive(Default)]
pub(crate) struct Sums {
    pub(super) rounds: Count,
    pub(super) kills: Count,
    pub(super) early: Count,
    pub(super) steps: Count,
    pub(super) in_doubt: Count,
    pub(super) pins: Count,
    pub(super) kept: Count,
    pub(super) outlived: Count,
    pub(super) checks: Count,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CrashProgress {
    /// Rounds that were judged.
    pub rounds: u64,
    /// Of so many.
    pub of: u64,
    /// Owners that were killed.
    pub kills: u64,
    /// Violations found.
    pub violations: u64,
}

/// What a run did and found. `Display` is for people, [`CrashReport::to_json`] for programs.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CrashReport {
    /// On what pools lay: `disk`, `memory`.
    pub grounds: Vec<&'static str>,
    /// On what none lay, and why.
    pub without: Vec<String>,
    /// Which device moved the bytes.
    pub device: String,
    /// Why not a real one, if it could have been.
    pub no_real_device: Option<String>,
    /// From which the choices followed.
    pub seed: u64,
    /// How many threads each owner had.
    pub threads: usize,
    /// How long it took.
    pub time: Duration,
    /// How often a pool was judged.
    pub rounds: u64,
    /// Owners that were killed.
    pub kills: u64,
    /// Those of them that were killed while they were to open the pool.
    pub early: u64,
    /// Steps that owners made.
    pub steps: u64,
    /// Steps that the end of their owner came into.
    pub in_doubt: u64,
    /// Pins of the dead that were in quarantine when a pool was opened for judgement.
    pub pins: u64,
    /// Bytes that were kept for them, beside those in files.
    pub kept: u64,
    /// Rings whose transfers went on when the pool was open again.
    pub rings_outlived: u64,
    /// Sectors that were compared with what they may hold.
    pub sectors_checked: u64,
    /// How often a pool's medium was checked.
    pub checks: u64,
    /// Violations, the first in full.
    pub violations: Vec<Violation>,
    /// How many there were.
    pub violations_in_all: u64,
}

impl CrashReport {
    /// Whether everything held.
    pub fn is_as_it_should_be(&self) -> bool {
        self.violations_in_all == 0
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "as_it_should_be": self.is_as_it_should_be(),
            "grounds": self.grounds, "without": self.without,
            "device": self.device, "no_real_device": self.no_real_device,
            "seed": self.seed, "threads": self.threads, "seconds": self.time.as_secs_f64(),
            "rounds": self.rounds, "kills": self.kills, "killed_while_opening": self.early,
            "steps": self.steps, "in_doubt": self.in_doubt,
            "quarantine": { "pins": self.pins, "kept_bytes": self.kept, "rings_outlived": self.rings_outlived },
            "checks": { "sectors": self.sectors_checked, "media": self.checks },
            "violations": self.violations.iter().map(Violation::to_json).collect::<Vec<_>>(),
            "violations_in_all": self.violations_in_all,
        })
    }
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, kills, early, threads, seed, .. } = self;
        let (seconds, grounds) = (self.time.as_secs_f64(), self.grounds.join(" and in "));
        writeln!(f, "pools on {grounds}, owners of {threads} threads killed for {seconds:.1} s, seed {seed}")?;
        self.without.iter().try_for_each(|why| writeln!(f, "                skipped: {why}"))?;
        writeln!(f, "  device        {}", self.device)?;
        if let Some(why) = &self.no_real_device {
            writeln!(f, "                no real one: {why}")?;
        }
        writeln!(
            f,
            "  killed        {kills} owners, {early} of them while they opened the pool; judged {rounds} times"
        )?;
        writeln!(f, "  steps         {} made, {} of them when the end came", self.steps, self.in_doubt)?;
        writeln!(f, "  quarantine    {} pins of the dead, {} MiB kept for them", self.pins, self.kept >> 20)?;
        writeln!(f, "                {} rings wrote on when the pool was open again", self.rings_outlived)?;
        writeln!(f, "  checked       {} sectors, {} times the whole medium", self.sectors_checked, self.checks)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        match self.violations_in_all {
            0 => write!(f, "no violation"),
            count => write!(f, "{count} VIOLATIONS"),
        }
    }
}
