//! The check, on pools that are as they should be, whatever was done to them and whoever works on them (G9). What it finds
//! where they are not, and what mends them, is tried on media that are written by hand, in the crate itself.

#[path = "../common/mod.rs"]
mod common;

mod killed;
mod shapes;

use std::path::Path;

use pinfold::fsck::{Report, Severity, check};
use pinfold::live_dir_of;

#[test]
fn the_other_process() {
    common::child::obey_parent();
}

/// A directory for pools: in memory, if the machine has such a file system.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What is found in the pool at `path`; everything adds up.
#[track_caller]
fn checked(path: &Path) -> Report {
    let report = check(&std::fs::File::open(path).unwrap(), Some(&live_dir_of(path)));
    assert_eq!(report.totals.sum(), report.totals.total, "{:?}", report.totals);
    report
}

/// Nothing is wrong, though there may be notes.
#[track_caller]
fn nothing_wrong(report: &Report) {
    let wrong = report.findings.iter().filter(|finding| finding.severity() > Severity::Note);
    let wrong: Vec<_> = wrong.map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
