//! What a check says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Remedy, Severity};

/// What a check says: what it found, and how the pool is used.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was found, the first [`Report::LISTED_MAX`] of each severity, in the order in which they were met.
    pub findings: Vec<Finding>,
    /// How the pool is used. All zero where no superblock is whole, or all was [`Finding::Moving`].
    pub totals: Totals,
    counts: [u64; 3],
    paths: BTreeMap<u64, PathBuf>,
}

/// How a pool is used. Sizes in bytes. Each block counts once, so that `reserved`, `checkpoint`, `in_files`, `parked`,
/// `quarantined` and `free` together are `total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Tells the pool from all others.
    pub pool: [u8; 16],
    /// One block.
    pub block_size: u64,
    /// All blocks.
    pub total: u64,
    /// Superblocks and log.
    pub reserved: u64,
    /// The checkpoint.
    pub checkpoint: u64,
    /// Files.
    pub in_files: u64,
    /// What left its file while a device may reach it, by pins that have a holder, or that was not taken back yet.
    pub parked: u64,
    /// The same, by pins in quarantine alone.
    pub quarantined: u64,
    /// Nobody's.
    pub free: u64,
    /// The number of the last superblock.
    pub generation: u64,
    /// The number of the last opening.
    pub epoch: u64,
    /// How many files there are.
    pub files: u64,
    /// How many directories, the root among them.
    pub directories: u64,
    /// How many symbolic links.
    pub symlinks: u64,
    /// How many names.
    pub names: u64,
    /// How many records are in the log beside the checkpoint.
    pub records: u64,
    /// Bytes of the log that they take.
    pub log_used: u64,
    /// Bytes of the log.
    pub log: u64,
}

impl Report {
    /// How many findings of one severity are listed; all are counted.
    pub const LISTED_MAX: usize = 1000;

    /// Whether nothing is wrong: there may be warnings and notes.
    pub fn is_clean(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// How many findings have a severity, listed or not.
    pub fn count(&self, severity: Severity) -> u64 {
        self.counts[severity as usize]
    }

    /// The worst severity of any.
    pub fn worst(&self) -> Option<Severity> {
        [Severity::Error, Severity::Warning, Severity::Note].into_iter().find(|severity| self.count(*severity) > 0)
    }

    /// Where a node is that a finding speaks of: by one of its names, if it is reached from the root.
    pub fn path_of(&self, node: u64) -> Option<&Path> {
        self.paths.get(&node).map(PathBuf::as_path)
    }

    pub(super) fn of(findings: &Findings, totals: Totals, path: impl Fn(u64) -> Option<PathBuf>) -> Self {
        let nodes = findings.listed.iter().flat_map(Finding::nodes);
        let paths = nodes.filter_map(|node| Some((node, path(node)?))).collect();
        Self { findings: findings.listed.clone(), totals, counts: findings.counts, paths }
    }

    /// There is one finding, and nothing was counted.
    pub(super) fn of_one(finding: Finding) -> Self {
        let mut findings = Findings::default();
        findings.add(finding);
        Self::of(&findings, Totals::default(), |_| None)
    }
}

impl Totals {
    /// All kinds together.
    pub fn sum(&self) -> u64 {
        self.reserved + self.checkpoint + self.in_files + self.parked + self.quarantined + self.free
    }
}

/// Findings as they are met.
#[derive(Default, Clone)]
pub(super) struct Findings {
    listed: Vec<Finding>,
    counts: [u64; 3],
    /// The first for which there is no remedy here, listed or not.
    beyond: Option<Finding>,
    /// Whether any is mended by a new checkpoint, or by a new superblock.
    for_checkpoint: bool,
    for_superblock: bool,
    about_names: bool,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        let severity = finding.severity();
        let count = &mut self.counts[severity as usize];
        *count += 1;
        let mended = finding.remedy() == Remedy::Repair;
        self.for_superblock |= mended && finding.is_about_superblocks();
        self.for_checkpoint |= mended && finding.is_about_state();
        self.about_names |= finding.is_about_names();
        if finding.remedy() == Remedy::Beyond && self.beyond.is_none() {
            self.beyond = Some(finding.clone());
        }
        if *count <= Report::LISTED_MAX as u64 {
            self.listed.push(finding);
        }
    }

    /// The first for which there is no remedy here.
    pub(super) fn beyond(&self) -> Option<&Finding> {
        self.beyond.as_ref()
    }

    /// Whether any is mended by a new checkpoint.
    pub(super) fn ask_for_checkpoint(&self) -> bool {
        self.for_checkpoint
    }

    /// Whether any is mended by a new superblock.
    pub(super) fn ask_for_superblock(&self) -> bool {
        self.for_superblock || self.for_checkpoint
    }

    /// Whether any says that names are not what they should be.
    pub(super) fn are_about_names(&self) -> bool {
        self.about_names
    }

    pub(super) fn listed(&self) -> &[Finding] {
        &self.listed
    }
}
