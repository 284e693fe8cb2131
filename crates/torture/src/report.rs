//! What a run found: for people, and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::findings::{Violation, ViolationKind};
use crate::options::Policies;
use crate::tally::{OperationCounts, OperationKind};

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Since the load began.
    pub elapsed: Duration,
    /// How long it will go on for.
    pub of: Duration,
    /// Operations made.
    pub operations: u64,
    /// Those of them that were raced.
    pub raced: u64,
    /// Transfers begun.
    pub transfers: u64,
    /// Violations found.
    pub violations: u64,
}

/// What was not given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Left {
    /// Pins.
    pub pins: u64,
    /// Bytes of blocks.
    pub bytes: u64,
    /// Descriptors, more than before.
    pub descriptors: u64,
}

/// What a run did and found. `Display` is for people, [`Report::to_json`] for programs.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What was tortured.
    pub store: &'static str,
    /// Whether that is the baseline, in which corruption is to be found.
    pub baseline: bool,
    /// Which device moved the bytes.
    pub device: String,
    /// Why not a real one, if it could have been.
    pub no_real_device: Option<String>,
    /// Whether operations waited.
    pub policies: Policies,
    /// From which the choices followed.
    pub seed: u64,
    /// How many threads made operations.
    pub threads: usize,
    /// How long the load went on.
    pub time: Duration,
    /// How often each kind of operation was made.
    pub operations: Vec<(OperationKind, OperationCounts)>,
    /// The longest that one took.
    pub longest: Duration,
    /// Transfers into files.
    pub transfers_in: u64,
    /// Transfers out of files.
    pub transfers_out: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// The most transfers that were in flight.
    pub in_flight_max: u64,
    /// For which share of the time one was, from 0 to 1.
    pub in_flight_share: f64,
    /// Copies by the host.
    pub copies: u64,
    /// Those of them that were loads or stores through views. None where accesses to views cannot be trapped.
    pub through_views: u64,
    /// Sectors that were compared with what they may hold.
    pub sectors_checked: u64,
    /// Newcomers that a break in their range was seen to keep out (G3).
    pub kept_out: u64,
    /// Tries that nobody was in the way of, and that were let through (G5).
    pub let_through: u64,
    /// Pins that grew, to finish, under an operation that waited for them (G4).
    pub extended: u64,
    /// Blocking calls that were told `EDEADLK`, since the completion of a transfer of their own thread had just come and was
    /// not taken yet; made again as futures.
    pub own_thread: u64,
    /// How often there was no space.
    pub no_space: u64,
    /// What was left when all files were gone; `None` if something hangs, and nothing could be counted.
    pub left: Option<Left>,
    /// Violations, the first in full.
    pub violations: Vec<Violation>,
    /// How many there were.
    pub violations_in_all: u64,
}

impl Report {
    /// How many operations were made while a transfer was in flight in their range.
    pub fn raced(&self) -> u64 {
        self.operations.iter().map(|(_, counts)| counts.raced).sum()
    }

    /// How many operations were made.
    pub fn made(&self) -> u64 {
        self.operations.iter().map(|(_, counts)| counts.made).sum()
    }

    /// The first corruption.
    pub fn corruption(&self) -> Option<&Violation> {
        self.violations.iter().find(|violation| violation.kind == ViolationKind::Corruption)
    }

    /// Whether everything held. For the baseline: whether its corruption was found.
    pub fn is_as_it_should_be(&self) -> bool {
        match self.baseline {
            true => self.corruption().is_some(),
            false => self.violations_in_all == 0,
        }
    }

    /// Counts descriptors that are open, and were not before.
    pub(crate) fn add_descriptors(&mut self, descriptors: u64) {
        let Some(left) = &mut self.left else { return };
        left.descriptors = descriptors;
        if descriptors > 0 {
            let what = format!("{descriptors} more descriptors are open than before the run");
            self.violations_in_all += 1;
            self.violations.push(Violation { kind: ViolationKind::Leak, what, after: self.time, history: Vec::new() });
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let operations = self.operations.iter().map(|(kind, counts)| {
            json!({ "kind": kind.name(), "made": counts.made, "raced": counts.raced, "refused": counts.refused })
        });
        json!({
            "as_it_should_be": self.is_as_it_should_be(),
            "store": self.store, "baseline": self.baseline,
            "device": self.device, "no_real_device": self.no_real_device,
            "policy": self.policies.name(), "seed": self.seed, "threads": self.threads,
            "seconds": self.time.as_secs_f64(),
            "made": self.made(), "raced": self.raced(), "operations": operations.collect::<Vec<_>>(),
            "longest_ms": self.longest.as_secs_f64() * 1e3,
            "transfers": {
                "in": self.transfers_in, "out": self.transfers_out, "bytes": self.bytes,
                "in_flight_max": self.in_flight_max, "in_flight_share": self.in_flight_share,
            },
            "checks": {
                "sectors": self.sectors_checked, "copies": self.copies, "through_views": self.through_views, "kept_out": self.kept_out,
                "let_through": self.let_through, "extended": self.extended,
            },
            "left": self.left.map(|Left { pins, bytes, descriptors }| {
                json!({ "pins": pins, "bytes": bytes, "descriptors": descriptors })
            }),
            "own_thread": self.own_thread, "no_space": self.no_space,
            "violations": self.violations.iter().map(Violation::to_json).collect::<Vec<_>>(), "violations_in_all": self.violations_in_all,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, device, threads, seed, .. } = self;
        let seconds = self.time.as_secs_f64();
        write!(f, "{store}, tortured for {seconds:.1} s by {threads} threads, seed {seed}")?;
        match self.baseline {
            true => writeln!(f)?,
            false => writeln!(f, ", policy {}", self.policies.name())?,
        }
        writeln!(f, "  device        {device}")?;
        if let Some(why) = &self.no_real_device {
            writeln!(f, "                no real one: {why}")?;
        }
        let (share, max) = (100.0 * self.in_flight_share, self.in_flight_max);
        writeln!(f, "  transfers     {} in, {} out, {} MiB", self.transfers_in, self.transfers_out, self.bytes >> 20)?;
        writeln!(f, "                in flight {share:.0}% of the time, up to {max} at once")?;
        if share < 50.0 {
            writeln!(f, "                less than half: take more threads")?;
        }
        writeln!(f, "  operations    {} made, {} of them raced a transfer", self.made(), self.raced())?;
        for (kind, OperationCounts { made, raced, refused }) in &self.operations {
            writeln!(f, "    {:20}{made:10} made{raced:10} raced{refused:9} refused", kind.name())?;
        }
        let longest = self.longest.as_secs_f64() * 1e3;
        writeln!(f, "                the longest took {longest:.1} ms, {} found no space", self.no_space)?;
        let Self { copies, through_views, kept_out, let_through, extended, .. } = self;
        let sectors = self.sectors_checked;
        writeln!(
            f,
            "  checked       {sectors} sectors, {copies} copies by the host, {through_views} of them through views"
        )?;
        writeln!(
            f,
            "                {kept_out} newcomers kept out, {let_through} tries let through, {extended} pins grew"
        )?;
        if let Some(Left { pins, bytes, descriptors }) = self.left {
            writeln!(f, "  left          {pins} pins, {bytes} bytes of blocks, {descriptors} descriptors")?;
        }
        self.fmt_verdict(f)
    }
}

impl Report {
    fn fmt_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        match (self.violations_in_all, self.baseline) {
            (0, false) => write!(f, "no violation"),
            (0, true) => write!(f, "no corruption was found: run it for longer"),
            (count, false) => write!(f, "{count} VIOLATIONS"),
            (count, true) if self.corruption().is_some() => {
                write!(f, "corrupt ({count} times), as was to be expected of a store that frees without looking")
            }
            (count, true) => write!(f, "{count} VIOLATIONS, but no corruption"),
        }
    }
}
