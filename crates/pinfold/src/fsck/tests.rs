//! Media that are written by hand, with the crate's own encoders: for each finding one that has it. What mends them is tried
//! as well, and what cannot be mended stays as it was, byte by byte.

mod beside;
mod damage;
mod garbage;
mod medium;
mod mended;
mod power;
mod shapes;

use std::path::Path;

use super::{Finding, Owner, Remedy, Repair, RepairError, Report, Severity, Step, check};
use crate::PoolOptions;
use medium::Maker;

/// What a check says; its totals add up.
#[track_caller]
fn checked(medium: &[u8]) -> Report {
    let report = check(medium, None);
    assert_eq!(report.totals.sum(), report.totals.total, "{:?}", report.totals);
    report
}

/// The kinds of what was found, each once, in order.
fn kinds(report: &Report) -> Vec<&'static str> {
    let mut kinds: Vec<_> = report.findings.iter().map(Finding::kind).collect();
    kinds.dedup();
    kinds
}

/// The same, of a medium that has errors and says in each line what it is.
#[track_caller]
fn found(medium: &[u8]) -> Vec<&'static str> {
    let report = checked(medium);
    for finding in &report.findings {
        let line = finding.to_string();
        assert!(line.len() > 10 && !line.contains('\n') && !line.ends_with('.'), "{line}");
    }
    kinds(&report)
}

/// A medium in a file.
struct OnDisk {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl OnDisk {
    fn of(medium: &[u8]) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = dir.path().join("pool");
        std::fs::write(&path, medium).unwrap();
        Self { _dir: dir, path }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

/// What a repair did.
struct Mended {
    steps: Vec<Step>,
    suspects: Vec<u64>,
    disk: OnDisk,
}

/// Mends a medium; what is left is clean, opens, and is clean after that.
#[track_caller]
fn mended(medium: &[u8]) -> Mended {
    let disk = OnDisk::of(medium);
    let repair = Repair::of(&disk.path, None).unwrap();
    let (steps, suspects) = (repair.steps().to_vec(), repair.suspects().collect());
    assert_eq!(disk.bytes(), medium, "a plan writes nothing");
    let report = repair.commit().unwrap();
    let left = |report: &Report| report.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(report.is_clean() && report.count(Severity::Warning) == 0, "{:?}", left(&report));
    assert_eq!(report.totals.sum(), report.totals.total);
    nothing_was_written_over(medium, &disk.bytes());
    opens(&disk.path);
    let report = checked(&disk.bytes());
    assert_eq!(report.worst(), None, "{:?}", left(&report));
    Mended { steps, suspects, disk }
}

/// A repair writes superblocks, and into blocks that nobody had: here those hold zeros.
#[track_caller]
fn nothing_was_written_over(before: &[u8], after: &[u8]) {
    for (block, (before, after)) in before.chunks(4096).zip(after.chunks(4096)).enumerate() {
        let is_superblock = [0, 16].contains(&block);
        assert!(is_superblock || before == after || before.iter().all(|byte| *byte == 0), "block {block}");
    }
}

#[track_caller]
fn opens(path: &Path) {
    PoolOptions::new().open(path).unwrap().close().unwrap();
}

/// A medium that is not mended stays as it was.
#[track_caller]
fn refused(medium: &[u8]) -> RepairError {
    let disk = OnDisk::of(medium);
    let error = Repair::of(&disk.path, None).unwrap_err();
    assert_eq!(disk.bytes(), medium);
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

/// It is refused because of a finding of that kind.
#[track_caller]
fn beyond(medium: &[u8], kind: &str) {
    let kinds = found(medium);
    assert!(kinds.contains(&kind), "{kinds:?}");
    match refused(medium) {
        RepairError::Beyond(finding) => assert_eq!(finding.remedy(), Remedy::Beyond),
        error => panic!("{error}"),
    }
}

/// A medium with one finding.
#[track_caller]
fn only(medium: &[u8], kind: &str) {
    assert_eq!(found(medium), [kind]);
}

fn maker() -> Maker {
    Maker::new()
}
