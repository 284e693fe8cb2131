//! Pools whose owner works, or was killed at work.

use std::path::PathBuf;

use pinfold::fsck::{Finding, Repair, RepairError, Severity};
use pinfold::{Pool, live_dir_of};

use crate::common::child::Child;
use crate::common::{BLOCK, MIB, wait_until};
use crate::{checked, nothing_wrong, scratch};

/// A pool that a child owns.
struct Lab {
    dir: tempfile::TempDir,
    child: Child,
}

impl Lab {
    fn new(dir: tempfile::TempDir) -> Self {
        let path = dir.path().join("pool");
        Pool::format(&path, 16 * MIB).unwrap().close().unwrap();
        let child = Child::start();
        child.ask(&format!("own {}", path.display()), &[]);
        Self { dir, child }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("pool")
    }
}

#[test]
fn beside_an_owner_that_works_nothing_is_wrong() {
    let lab = Lab::new(scratch());
    lab.child.ask("churn 7", &[]);
    let mut generations = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let report = checked(&lab.path());
        nothing_wrong(&report);
        generations.insert(report.totals.generation);
        assert!(report.findings.contains(&Finding::Owned { pid: lab.child.pid() }), "{:?}", report.findings);
    }
    wait_until("the owner has written a superblock meanwhile", || {
        generations.insert(checked(&lab.path()).totals.generation);
        generations.len() > 1
    });
}

#[test]
fn g9_what_a_killed_owner_leaves_has_nothing_wrong_before_it_is_opened_nor_after() {
    for seed in 0..6 {
        let disk = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut lab = Lab::new(if seed % 2 == 0 { scratch() } else { disk() });
        let before = checked(&lab.path()).totals.log_used;
        lab.child.ask(&format!("churn {seed}"), &[]);
        wait_until("the owner has done something", || {
            let totals = checked(&lab.path()).totals;
            totals.log_used > before + 20_000 || totals.generation > 8
        });
        lab.child.kill();
        let report = checked(&lab.path());
        let wrong = |finding: &&Finding| {
            // A write that had not moved the end of its file yet, and a pin that had its place before it had blocks.
            let under_way = matches!(finding, Finding::BytesPastEnd { .. } | Finding::PinOnNothing { .. });
            finding.severity() > Severity::Note && !under_way
        };
        let wrong: Vec<_> = report.findings.iter().filter(wrong).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        assert!(!report.findings.iter().any(|finding| matches!(finding, Finding::Owned { .. })));
        let pool = Pool::load(lab.path()).unwrap();
        let stats = pool.stats();
        let report = checked(&lab.path());
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!(report.totals.in_files, stats.in_files);
        assert_eq!((report.totals.parked, report.totals.quarantined), (stats.parked, stats.quarantined));
    }
}

#[test]
fn g1_g8_what_devices_of_a_killed_owner_reach_is_counted_and_keeps_a_repair_away() {
    let mut lab = Lab::new(scratch());
    for order in ["write /a 65536 7", "device-pin /a 0 8192", "cut-detached /a 4096", "write /b 4096 8"] {
        lab.child.ask(order, &[]);
    }
    assert!(matches!(Repair::of(lab.path(), Some(&live_dir_of(&lab.path()))), Err(RepairError::Region(_))), "owned");
    lab.child.kill();
    let report = checked(&lab.path());
    nothing_wrong(&report);
    assert!(report.findings.contains(&Finding::Quarantine { pins: 1 }));
    assert_eq!((report.totals.quarantined, report.totals.in_files), (BLOCK, 2 * BLOCK));
    // One superblock is damaged: it could be written anew, if no device were there.
    let mut medium = std::fs::read(lab.path()).unwrap();
    medium[20] ^= 1;
    std::fs::write(lab.path(), &medium).unwrap();
    let reached = Repair::of(lab.path(), Some(&live_dir_of(&lab.path()))).unwrap_err();
    assert!(matches!(&reached, RepairError::Reached(pin) if pin.pid == lab.child.pid()), "{reached}");
    assert!(std::fs::read(lab.path()).unwrap() == medium, "nothing was written");
    std::fs::remove_dir_all(live_dir_of(&lab.path())).unwrap();
    assert_eq!(checked(&lab.path()).findings.last(), Some(&Finding::AreaLost));
}
