//! Long-term pins, and their recall (G11).

mod common;

use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::{Fixture, block_on, break_of, extent, poll_once};
use pinfold_layout::{Access, BreakError, CommitId, LongTerm, LongTermPin, PinError, Policy, Recall, Recalled, Until};
use rustix::io::Errno;

const SOON: Duration = Duration::from_millis(20);

/// Sends each recall on to whoever may wait.
fn pass_on() -> (Arc<dyn Recall>, mpsc::Receiver<Recalled>) {
    let (send, recalls) = mpsc::channel();
    (Arc::new(move |recalled: &Recalled| send.send(recalled.clone()).expect("somebody listens")), recalls)
}

fn pin_long_term(
    fixture: &Fixture,
    range: Range<u64>,
    recall: Option<Arc<dyn Recall>>,
) -> Result<LongTermPin, PinError> {
    let Fixture { holder, layout, .. } = fixture;
    holder.pin_long_term(layout, range, LongTerm::new(Access::Write, recall), Until::done(), || ())
}

#[test]
fn g11_a_recall_calls_the_handler_once_and_the_break_goes_on_when_it_lets_go() {
    let fixture = Fixture::new();
    let Fixture { area, layout, .. } = &fixture;
    let (recall, recalls) = pass_on();
    let registration = pin_long_term(&fixture, 0..8, Some(recall)).unwrap();
    thread::scope(|scope| {
        let breaking =
            scope.spawn(|| break_of(area, layout, 4..16, Policy::Wait).drain(Until::done()).unwrap().commit(Vec::new));
        assert_eq!(recalls.recv().unwrap(), Recalled { object: 7, range: 0..8 });
        let second = scope.spawn(|| {
            break_of(area, layout, 0..4, Policy::Wait).drain(Until::after(SOON)).map(drop).unwrap_err().errno()
        });
        assert_eq!(second.join().unwrap(), Errno::TIMEDOUT.raw_os_error());
        assert!(area.pins()[0].recalled);
        drop(registration);
        breaking.join().unwrap();
    });
    assert!(recalls.recv().is_err(), "the handler is dropped with the pin, and was called once");
}

#[test]
fn g6_a_long_term_pin_comes_in_four_forms() {
    let fixture = Fixture::new();
    let Fixture { area, holder, layout } = &fixture;
    let (recall, recalls) = pass_on();
    let term = || LongTerm::new(Access::Write, Some(Arc::clone(&recall)));
    let mut brk = break_of(area, layout, 0..8, Policy::Wait);
    let idle = brk.drain(Until::done()).unwrap();
    let refused = holder.try_pin_long_term(layout, 0..8, term(), || ()).map(drop).unwrap_err();
    assert!(matches!(refused, PinError::LayoutBreaking { .. }), "{refused}");
    let refused = thread::scope(|scope| {
        let pin = || holder.pin_long_term(layout, 0..8, term(), Until::after(SOON), || ()).map(drop).unwrap_err();
        scope.spawn(pin).join().unwrap()
    });
    assert!(matches!(refused, PinError::TimedOut { .. }), "{refused}");
    let mut pinning = std::pin::pin!(holder.pin_long_term_async(layout, 0..8, term(), || "window"));
    assert!(poll_once(&mut pinning).is_pending());
    idle.commit(Vec::new);
    let registration = block_on(pinning).unwrap();
    assert_eq!((registration.range(), registration.resolved()), (0..8, &"window"));

    let mut brk = break_of(area, layout, 0..1, Policy::Wait);
    let mut draining = brk.drain_async();
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(recalls.recv().unwrap().range, 0..8);
    drop(registration);
    block_on(draining).unwrap().commit(Vec::new);
}

#[test]
fn g11_without_a_recall_handler_there_is_no_long_term_pin() {
    let fixture = Fixture::new();
    let error = pin_long_term(&fixture, 0..8, None).map(drop).unwrap_err();
    assert!(matches!(error, PinError::NoRecall), "{error}");
    assert_eq!((error.errno(), fixture.holder.pins()), (Errno::OPNOTSUPP.raw_os_error(), 0));
}

#[test]
fn g11_a_handler_that_ignores_its_recall_costs_the_break_its_deadline() {
    let fixture = Fixture::new();
    let Fixture { area, layout, .. } = &fixture;
    let (recall, recalls) = pass_on();
    let registration = pin_long_term(&fixture, 0..8, Some(recall)).unwrap();
    let mut brk = break_of(area, layout, 0..8, Policy::Wait);
    for _ in 0..3 {
        let error = brk.drain(Until::after(SOON)).map(drop).unwrap_err();
        let BreakError::TimedOut(Some(pin)) = &error else { panic!("{error}") };
        assert!(pin.long_term && pin.recalled, "{error}");
    }
    assert_eq!(recalls.recv().unwrap().range, 0..8, "what was recalled stays recalled");
    drop(registration);
    assert!(recalls.recv().is_err(), "three breaks, one call");
    brk.drain(Until::done()).unwrap().commit(Vec::new);
}

#[test]
fn g11_only_looking_recalls_nothing() {
    let fixture = Fixture::new();
    let Fixture { area, layout, .. } = &fixture;
    let (recall, recalls) = pass_on();
    let registration = pin_long_term(&fixture, 0..8, Some(recall)).unwrap();
    let error = break_of(area, layout, 0..8, Policy::Wait).try_drain().map(drop).unwrap_err();
    assert!(matches!(&error, BreakError::Busy(pin) if pin.long_term && !pin.recalled), "{error}");
    assert!(!area.pins()[0].recalled);
    drop(registration);
    assert!(recalls.recv().is_err(), "never called");
}

#[test]
fn g11_a_detach_recalls_what_keeps_its_parked_blocks() {
    let fixture = Fixture::new();
    let Fixture { area, layout, .. } = &fixture;
    let busy = area.busy_extents();
    let (recall, recalls) = pass_on();
    let registration = pin_long_term(&fixture, 0..8, Some(recall)).unwrap();
    break_of(area, layout, 0..8, Policy::Detach).drain(Until::done()).unwrap().commit(|| vec![extent(0, 8)]);
    assert_eq!(recalls.recv().unwrap(), Recalled { object: 7, range: 0..8 });
    assert!(busy.reap(CommitId::ALL, |free| free).is_empty());
    drop(registration);
    assert_eq!(busy.reap(CommitId::ALL, |free| free).len(), 1);
}

#[test]
fn g11_a_recall_finds_the_pin_that_is_meant_among_many() {
    let fixture = Fixture::new();
    let Fixture { area, layout, .. } = &fixture;
    let (recall, recalls) = pass_on();
    let pins: Vec<_> =
        (0..20).map(|at| pin_long_term(&fixture, at..at + 1, Some(Arc::clone(&recall))).unwrap()).collect();
    drop(recall);
    let error = break_of(area, layout, 5..7, Policy::Wait).drain(Until::after(SOON)).map(drop).unwrap_err();
    assert!(matches!(error, BreakError::TimedOut(_)), "{error}");
    let mut recalled = [recalls.recv().unwrap().range, recalls.recv().unwrap().range];
    recalled.sort_by_key(|range| range.start);
    assert_eq!(recalled, [5..6, 6..7]);
    drop(pins);
    assert!(recalls.recv().is_err(), "nobody else was asked");
}
