//! Owners of pools are killed for a while; nothing is lost, and nobody is hit.

use pinfold_torture::crash::{CrashOptions, CrashReport, Victim, run};
use pinfold_torture::{Engine, TortureError};

/// The test that is run in the processes that are killed.
const VICTIM: &str = "the_process_that_is_killed";

#[test]
fn the_process_that_is_killed() {
    if let Some(victim) = Victim::asked_for() {
        victim.run();
    }
}

fn options(rounds: u64) -> CrashOptions {
    let arguments = ["--exact", VICTIM, "--nocapture", "--test-threads=1"].map(Into::into).to_vec();
    CrashOptions { rounds, arguments, ..CrashOptions::default() }
}

/// A short run; `None`, and says why, where there is no such device.
fn ran(options: &CrashOptions) -> Option<CrashReport> {
    match run(options, &|_| ()) {
        Ok(report) => {
            println!("{report}");
            Some(report)
        }
        Err(TortureError::NoRealDevice(why)) => {
            println!("skipped: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn holds(report: &CrashReport) {
    assert!(report.is_as_it_should_be(), "{report}");
    assert!(report.steps > 0 && report.kills >= report.rounds && report.sectors_checked > 0, "{report}");
}

#[test]
fn g8_g9_killed_owners_lose_nothing_and_their_devices_hit_nobody() {
    let Some(report) = ran(&CrashOptions { engine: Engine::Real, ..options(16) }) else { return };
    holds(&report);
}

#[test]
fn g8_g9_killed_owners_lose_nothing_with_a_device_that_dies_with_them() {
    let Some(report) = ran(&CrashOptions { engine: Engine::Late, ..options(8) }) else { return };
    holds(&report);
}

#[test]
fn absurd_options_are_refused() {
    for refused in [options(0), CrashOptions { threads: 0, ..options(1) }, CrashOptions { threads: 9, ..options(1) }] {
        assert_eq!(run(&refused, &|_| ()).unwrap_err().errno(), 22);
    }
    let nowhere = CrashOptions { dir: Some("/no such directory".into()), ..options(1) };
    assert!(run(&nowhere, &|_| ()).unwrap_err().to_string().contains("no such directory"));
}
