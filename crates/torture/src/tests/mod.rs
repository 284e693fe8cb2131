//! The harness finds what it is there to find: the load runs against stores with one fault each.

mod broken;
mod slow;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::device::Late;
use crate::load::Scale;
use crate::run::{Chosen, torture};
use crate::store::Guarded;
use crate::{Options, Policies, Report, ViolationKind};
use broken::{Broken, Fault};
use slow::Slow;

/// One load at a time: they would slow each other down.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A load with the late device, which ends with the first violations, or after a while without one.
fn tortured(fault: Fault, policies: Policies) -> Report {
    let _alone = alone();
    let scale = Scale::of(2);
    // What is lost is counted at the end.
    let time = Duration::from_secs(if fault == Fault::LosesBlocks { 1 } else { 20 });
    let patience = Duration::from_secs(if fault == Fault::Hangs { 1 } else { 30 });
    let options = Options { time, threads: 2, seed: 1, policies, patience, ..Options::default() };
    let chosen = Chosen { device: Arc::new(Late::start().unwrap()), no_real_device: None };
    torture(Broken::new(scale.bytes, fault), chosen, scale, &options, &|_| ()).unwrap()
}

fn finds(fault: Fault, policies: Policies, kinds: &[ViolationKind]) {
    let report = tortured(fault, policies);
    let found = report.violations.iter().any(|violation| kinds.contains(&violation.kind));
    assert!(found, "none of {kinds:?} was found:\n{report}");
}

#[test]
fn torture_finds_a_store_that_unpins_too_early() {
    finds(Fault::UnpinsTooEarly, Policies::Detach, &[ViolationKind::Corruption, ViolationKind::TooEarly]);
}

#[test]
fn torture_finds_a_store_that_does_not_wait() {
    finds(Fault::DoesNotWait, Policies::Wait, &[ViolationKind::TooEarly]);
}

#[test]
fn torture_finds_a_store_that_lets_newcomers_past_a_break() {
    finds(Fault::LetsNewcomersPast, Policies::Wait, &[ViolationKind::NotKeptOut]);
}

#[test]
fn torture_finds_a_store_that_is_busy_for_nothing() {
    finds(Fault::BusyForNothing, Policies::Both, &[ViolationKind::NotLetThrough]);
}

#[test]
fn torture_finds_a_store_that_does_not_zero() {
    // Where nothing waits, so that it is found by its bytes.
    finds(Fault::DoesNotZero, Policies::Detach, &[ViolationKind::Corruption]);
}

#[test]
fn torture_finds_a_store_whose_views_show_what_is_gone() {
    finds(Fault::StoresWhereItWas, Policies::Both, &[ViolationKind::Corruption]);
}

#[test]
fn torture_finds_a_store_that_hangs() {
    let report = tortured(Fault::Hangs, Policies::Both);
    let hang = report.violations.iter().find(|violation| violation.kind == ViolationKind::Hang);
    let hang = hang.unwrap_or_else(|| panic!("nothing hangs:\n{report}"));
    assert!(hang.what.contains("transfers are in the device"), "it says what the device has: {hang}");
}

/// A load whose device keeps one transfer for longer than anything may take.
fn tortured_slowly(says_so: bool) -> Report {
    let _alone = alone();
    let scale = Scale::of(2);
    // More than threads wait for a processor on a machine that is busy.
    let patience = Duration::from_secs(3);
    let options = Options { time: Duration::from_secs(1), threads: 2, seed: 1, patience, ..Options::default() };
    let chosen = Chosen { device: Arc::new(Slow::start(2 * patience, says_so)), no_real_device: None };
    torture(Guarded::new(scale.bytes).unwrap(), chosen, scale, &options, &|_| ()).unwrap()
}

#[test]
fn what_waits_for_a_device_that_is_at_work_does_not_hang() {
    let report = tortured_slowly(true);
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn what_waits_for_a_device_that_is_idle_hangs() {
    let report = tortured_slowly(false);
    assert!(report.violations.iter().any(|violation| violation.kind == ViolationKind::Hang), "{report}");
}

#[test]
fn torture_finds_a_store_that_loses_blocks() {
    finds(Fault::LosesBlocks, Policies::Both, &[ViolationKind::Leak]);
}
