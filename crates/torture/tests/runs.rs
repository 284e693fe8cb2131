//! Whole runs: pinfold holds, under each policy and with each device; the baseline does not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinfold_torture::{Engine, Options, Policies, Report, TortureError, run};

/// One run at a time: each counts the descriptors of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A short run; `None`, and says why, where there is no such device.
fn ran(policies: Policies, engine: Engine, baseline: bool) -> Option<Report> {
    let _alone = alone();
    let time = Duration::from_secs(if baseline { 30 } else { 2 });
    let options = Options { time, threads: 2, policies, engine, baseline, ..Options::default() };
    match run(&options, &|_| ()) {
        Ok(report) => Some(report),
        Err(TortureError::NoRealDevice(why)) => {
            println!("skipped: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn holds(policies: Policies, engine: Engine) {
    let Some(report) = ran(policies, engine, false) else { return };
    assert!(report.is_as_it_should_be(), "{report}");
    assert!(report.raced() > 0 && report.sectors_checked > 0, "{report}");
}

fn corrupts(engine: Engine) {
    let Some(report) = ran(Policies::Both, engine, true) else { return };
    assert!(report.corruption().is_some(), "{report}");
}

#[test]
fn g1_pinfold_holds_under_wait_with_a_late_device() {
    holds(Policies::Wait, Engine::Late);
}

#[test]
fn g1_pinfold_holds_under_detach_with_a_late_device() {
    holds(Policies::Detach, Engine::Late);
}

#[test]
fn g1_pinfold_holds_under_both_with_a_late_device() {
    holds(Policies::Both, Engine::Late);
}

#[test]
fn g1_pinfold_holds_under_wait_with_a_real_device() {
    holds(Policies::Wait, Engine::Real);
}

#[test]
fn g1_pinfold_holds_under_detach_with_a_real_device() {
    holds(Policies::Detach, Engine::Real);
}

#[test]
fn g1_pinfold_holds_under_both_with_a_real_device() {
    holds(Policies::Both, Engine::Real);
}

#[test]
fn the_baseline_corrupts_with_a_late_device() {
    corrupts(Engine::Late);
}

#[test]
fn the_baseline_corrupts_with_a_real_device() {
    corrupts(Engine::Real);
}

#[test]
fn where_there_is_no_real_device_the_late_one_is_used_and_the_report_says_why() {
    let _alone = alone();
    let scratch = Some("/no such directory/scratch".into());
    let options = Options { time: Duration::from_millis(200), scratch, ..Options::default() };
    let report = run(&options, &|_| ()).unwrap();
    assert!(report.no_real_device.as_ref().unwrap().contains("no such directory"), "{report}");
    let real = run(&Options { engine: Engine::Real, ..options }, &|_| ());
    assert!(matches!(real, Err(TortureError::NoRealDevice(_))), "{real:?}");
}

#[test]
fn a_scratch_file_that_exists_is_left_alone() {
    let _alone = alone();
    let path = std::env::temp_dir().join(format!("pinfold-torture-test-{}", std::process::id()));
    std::fs::write(&path, "somebody's").unwrap();
    let options = Options { engine: Engine::Real, scratch: Some(path.clone()), ..Options::default() };
    let error = run(&options, &|_| ()).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn absurd_options_are_refused() {
    for options in [
        Options { threads: 0, ..Options::default() },
        Options { threads: 100_000, ..Options::default() },
        Options { time: Duration::ZERO, ..Options::default() },
        Options { time: Duration::MAX, ..Options::default() },
    ] {
        assert_eq!(run(&options, &|_| ()).unwrap_err().errno(), 22);
    }
}

#[test]
fn a_report_is_told_to_programs_too() {
    let _alone = alone();
    let options = Options { time: Duration::from_millis(200), engine: Engine::Late, seed: 7, ..Options::default() };
    let report = run(&options, &|_| ()).unwrap();
    let json = report.to_json();
    assert_eq!(json["seed"], 7);
    assert_eq!(json["raced"], report.raced());
    assert_eq!(json["operations"].as_array().unwrap().len(), report.operations.len());
}
