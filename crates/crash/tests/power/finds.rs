//! A log that flushes as it should is never found guilty; one with a mistake always is.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use pinfold_crash::{Answer, Call, Cut, Grain, Keep, Medium};
use pinfold_region::{Durability, Region};

use crate::toy_log::{Log, Mistake};
use crate::{LINES, PAGES};

const LEN: u64 = 1 << 20;
const RECORDS: u64 = 7;
const ALL_GRAINS: [Grain; 4] = [Grain::Page, Grain::Sector, Grain::Line, Grain::Word];
const COARSE_AND_FINE: [Grain; 2] = [Grain::Page, Grain::Word];

/// Cuts and what was acknowledged before each.
type Cuts = Vec<(u64, Cut)>;

/// Runs the log, with a cut at each boundary.
fn run(durability: Durability, mistake: Mistake, prepare: impl FnOnce(&Medium)) -> Cuts {
    let (medium, region) = Medium::new(LEN, durability).unwrap();
    prepare(&medium);
    let (cuts, acknowledged) = (Arc::new(Mutex::new(Cuts::new())), Arc::new(AtomicU64::new(0)));
    let (seen, known) = (Arc::clone(&cuts), Arc::clone(&acknowledged));
    medium.on_boundary(move |medium, _| seen.lock().unwrap().push((known.load(SeqCst), medium.cut().unwrap())));
    // A log whose medium fails stops there.
    let _ = append(&region, mistake, RECORDS, &acknowledged);
    cuts.lock().unwrap().push((acknowledged.load(SeqCst), medium.cut().unwrap()));
    std::mem::take(&mut *cuts.lock().unwrap())
}

fn append(
    region: &Region,
    mistake: Mistake,
    records: u64,
    acknowledged: &AtomicU64,
) -> Result<(), pinfold_region::FlushError> {
    let mut log = Log::new(region, mistake);
    (0..records).try_for_each(|_| {
        log.append()?;
        acknowledged.store(log.len(), SeqCst);
        Ok(())
    })
}

/// What is wrong with what survives.
fn complaint(acknowledged: u64, cut: &Cut, grain: Grain, keep: Keep) -> Option<String> {
    let region = cut.torn(grain, keep).into_region().unwrap();
    let wrong = match Log::recover(&region) {
        Ok(log) if (acknowledged..=acknowledged + 1).contains(&log.len()) => return None,
        Ok(log) => format!("{} records survived, {acknowledged} were acknowledged", log.len()),
        Err(wrong) => wrong,
    };
    Some(format!("{cut}, {keep:?} in pieces of {grain:?}: {wrong}"))
}

fn complaints(cuts: &Cuts, grains: &[Grain], seeds: usize) -> impl Iterator<Item = String> {
    let every_way = move |grain: &Grain| {
        let grain = *grain;
        Keep::various(7).take(4 + 3 * seeds).map(move |keep| (grain, keep))
    };
    let of_cut = move |(acknowledged, cut): &(u64, Cut)| {
        let all = grains.iter().flat_map(every_way);
        all.filter_map(|(grain, keep)| complaint(*acknowledged, cut, grain, keep)).collect::<Vec<_>>()
    };
    cuts.iter().flat_map(of_cut)
}

/// The first thing that is wrong, if anything is.
fn first_complaint(cuts: &Cuts) -> Option<String> {
    complaints(cuts, &COARSE_AND_FINE, 2).next()
}

#[test]
fn what_was_acknowledged_is_in_every_image_at_every_boundary() {
    for durability in [PAGES, LINES] {
        let cuts = run(durability, Mistake::None, |_| {});
        assert_eq!(cuts.len() as u64, RECORDS * 4 * 2 + 1, "two flushes and two fences a record, two sides each");
        assert_eq!(complaints(&cuts, &ALL_GRAINS, 12).next(), None);
    }
}

#[test]
fn each_mistake_is_found_on_the_medium_where_it_is_one() {
    use Mistake::{CountFirst, FlushedElsewhere, OneFence, RecordNotFlushed, ReturnsBeforeFence};
    let mistakes = [
        (RecordNotFlushed, PAGES),
        (RecordNotFlushed, LINES),
        (CountFirst, PAGES),
        (CountFirst, LINES),
        (ReturnsBeforeFence, LINES),
        (OneFence, LINES),
        (FlushedElsewhere, LINES),
    ];
    for (mistake, durability) in mistakes {
        let cuts = run(durability, mistake, |_| {});
        assert!(first_complaint(&cuts).is_some(), "{mistake:?} under {durability} was not found");
    }
    for right_with_msync in [ReturnsBeforeFence, OneFence, FlushedElsewhere] {
        assert_eq!(first_complaint(&run(PAGES, right_with_msync, |_| {})), None, "{right_with_msync:?}");
    }
}

#[test]
fn a_medium_that_leaves_out_any_one_flush_or_fence_is_found() {
    for lie in 0..2 * RECORDS {
        let flush_left_out = move |call: &Call| match call {
            Call::WriteBack { nth, .. } if *nth == lie => Answer::Lie,
            _ => Answer::Honest,
        };
        let fence_left_out = move |call: &Call| match call {
            Call::Drain { nth } if *nth == lie => Answer::Lie,
            _ => Answer::Honest,
        };
        for durability in [PAGES, LINES] {
            let cuts = run(durability, Mistake::None, |medium| medium.on_call(flush_left_out));
            assert!(first_complaint(&cuts).is_some(), "flush {lie} left out under {durability}");
        }
        let cuts = run(LINES, Mistake::None, |medium| medium.on_call(fence_left_out));
        assert!(first_complaint(&cuts).is_some(), "fence {lie} left out");
    }
}

#[test]
fn whatever_fails_what_was_acknowledged_is_there() {
    for failing in 0..2 * RECORDS {
        for durability in [PAGES, LINES] {
            let flush_fails = move |call: &Call| match call {
                Call::WriteBack { nth, .. } if *nth == failing => Answer::Fail(5),
                _ => Answer::Honest,
            };
            let fence_fails = move |call: &Call| match call {
                Call::Drain { nth } if *nth >= failing => Answer::Fail(28),
                _ => Answer::Honest,
            };
            let cuts = run(durability, Mistake::None, |medium| medium.on_call(flush_fails));
            assert_eq!(first_complaint(&cuts), None);
            let cuts = run(durability, Mistake::None, |medium| medium.on_call(fence_fails));
            assert_eq!(first_complaint(&cuts), None);
        }
    }
}

#[test]
fn a_log_that_flushes_again_after_a_failure_is_found() {
    // Each record is flushed by every second call.
    let fails_once = |call: &Call| match call {
        Call::WriteBack { nth: 6, .. } => Answer::Fail(5),
        _ => Answer::Honest,
    };
    for durability in [PAGES, LINES] {
        let cuts = run(durability, Mistake::TriesAgain, |medium| medium.on_call(fails_once));
        assert_eq!(cuts.last().unwrap().0, RECORDS, "it believes that all is well");
        assert!(first_complaint(&cuts).is_some(), "under {durability}");
    }
}

#[test]
fn the_power_off_at_a_boundary_leaves_what_a_cut_there_showed() {
    for durability in [PAGES, LINES] {
        let cuts = run(durability, Mistake::None, |_| {});
        for (number, (acknowledged, cut)) in cuts.iter().enumerate() {
            let (medium, region) = Medium::new(LEN, durability).unwrap();
            medium.power_off_at(number as u64).unwrap();
            let again = AtomicU64::new(0);
            let ended = append(&region, Mistake::None, RECORDS, &again);
            let last = number + 1 == cuts.len();
            assert_eq!(ended.is_ok(), last, "only behind the last boundary the run ends well");
            let off = medium.cut().unwrap();
            assert!(again.load(SeqCst) == *acknowledged && (last || off.boundary() == cut.boundary()));
            for keep in [Keep::Nothing, Keep::Everything, Keep::One(3), Keep::AllBut(4), Keep::Mix(5), Keep::Mix(6)] {
                assert_eq!(off.torn(Grain::Word, keep), cut.torn(Grain::Word, keep), "{cut}, {keep:?}");
            }
        }
    }
}

#[test]
fn the_power_may_fail_again_during_the_recovery() {
    let cuts = run(LINES, Mistake::None, |_| {});
    for (seed, (acknowledged, cut)) in cuts.iter().enumerate().step_by(5) {
        let (medium, region) = cut.image(Keep::Mix(seed as u64)).into_medium().unwrap();
        let known = Arc::new(AtomicU64::new(*acknowledged));
        let now_known = Arc::clone(&known);
        medium.on_boundary(move |medium, _| {
            let cut = medium.cut().unwrap();
            for keep in Keep::various(seed as u64).take(7) {
                let region = cut.image(keep).into_region().unwrap();
                assert!(Log::recover(&region).unwrap().len() >= now_known.load(SeqCst), "{cut}, {keep:?}");
            }
        });
        let mut log = Log::recover(&region).unwrap();
        for _ in 0..3 {
            log.append().unwrap();
            known.store(log.len(), SeqCst);
        }
        assert_eq!(medium.boundaries(), 24);
    }
}
