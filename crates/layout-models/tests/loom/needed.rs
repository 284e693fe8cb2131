//! What makes the models a proof: each fence and each wake-up, taken out, makes a model fail.

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::check::FAILED;
use crate::mechanism::fences::Site;
use crate::sync::WITHOUT;

/// Which models fail without a site.
fn models_that_need(site: Site) -> &'static [&'static str] {
    match site {
        Site::PinPublish => &["pin_and_close::try_pin_meets_try_drain"],
        Site::PinResolved => {
            &["pin_and_close::try_pin_meets_try_drain", "two_breaks::pin_meets_a_break_beside_another"]
        }
        Site::UnpinClear => &["pin_and_close::copy_meets_close", "two_breaks::a_pin_leaves_under_two_breaks"],
        Site::SlotRewrite => &["pin_and_close::a_slot_is_cleared_elsewhere_and_used_again"],
        Site::SlotReread => &["pin_and_close::a_slot_is_cleared_elsewhere_and_used_again"],
        Site::DrainScan => &["two_breaks::a_pin_leaves_under_two_breaks"],
        Site::CloseScan => &["pin_and_close::try_pin_meets_try_drain", "pin_and_close::copy_meets_close"],
        Site::SweepScan => &["cells::a_pin_meets_the_sweep_of_its_cell"],
        Site::Park => &["detach::space_waits_for_a_pin"],
        Site::SpaceGiven | Site::SpaceWatched => &["space::what_comes_free_wakes_who_waits"],
        Site::AnnounceWrite => &[
            "pin_and_close::pin_reads_a_record_that_is_used_again",
            "pin_and_close::a_pin_does_not_take_another_break_for_its_own",
        ],
        Site::AnnounceReread => &["pin_and_close::a_pin_does_not_take_another_break_for_its_own"],
        Site::WakeUnpin => &["pin_and_close::pin_meets_break", "detach::space_waits_for_a_pin"],
        Site::WakeWord => {
            &["newcomers::a_newcomer_is_woken_at_the_end", "two_breaks::two_breaks_close_one_after_the_other"]
        }
        Site::WakeWish => &["newcomers::a_wish_comes_before_the_next_break"],
        Site::WakeReaped => &["holders::a_killed_copy_stops_no_break"],
        Site::WakeRecall => &["holders::a_recalled_pin_leaves"],
        Site::WakeVoid => &["holders::a_void_pin_wakes_the_break"],
        Site::WakeSpace => &["space::what_comes_free_wakes_who_waits", "space::what_is_parked_wakes_who_waits"],
    }
}

/// Runs one model in a process of its own, without `site`; what it found. The model is one of this test binary.
fn failure_without(site: Site, model: &str) -> Result<String, String> {
    let binary = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = Command::new(binary)
        .args([model, "--exact", "--test-threads=1", "--nocapture"])
        .env(WITHOUT, format!("{site:?}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let found = said.lines().skip_while(|line| !line.contains(FAILED)).nth(1).unwrap_or_default();
    let by_itself = run.status.code() == Some(101) && said.contains(FAILED);
    match by_itself && !said.contains("maximum number of branches") {
        true => Ok(found.split("; threads").next().unwrap_or(found).to_owned()),
        false => Err(format!("{model} does not fail without {site:?}: {:?} {said}", run.status)),
    }
}

/// With nothing taken out every model passes: those are the other tests. Here each site is taken out in turn.
#[test]
fn every_fence_and_wake_up_is_needed() {
    let pairs = Site::ALL.iter().flat_map(|site| {
        let models = models_that_need(*site);
        assert!(!models.is_empty(), "no model needs {site:?}");
        models.iter().map(|model| (*site, *model))
    });
    let pairs = Mutex::new(pairs.collect::<VecDeque<_>>());
    let next = || pairs.lock().unwrap().pop_front();
    let work = || {
        while let Some((site, model)) = next() {
            let found = failure_without(site, model).unwrap_or_else(|error| panic!("{error}"));
            println!("{:<15} {model:<62} {found}", format!("{site:?}"));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
}
