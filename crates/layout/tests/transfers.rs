//! Transfers: batches, growth, and what is given up (G4, G8).

mod common;

use std::thread;
use std::time::Duration;

use common::{COPY, DEVICE, Fixture, block_on, break_of, extent, poll_once, wait_until, wait_until_a_break_sleeps};
use pinfold_layout::{
    BreakError, CommitId, Effect, PinError, PinInfo, PinRequest, Policy, Quarantined, Quiescent, Until,
};
use rustix::io::Errno;

const SOON: Duration = Duration::from_millis(20);

#[test]
fn a_batch_pins_all_of_its_ranges_or_none() {
    let Fixture { area, holder, layout } = Fixture::new();
    let other = area.layout(8).unwrap();
    let mut brk = break_of(&area, &other, 0..8, Policy::Wait);
    let idle = brk.drain(Until::done()).unwrap();
    let requests = [(&layout, 0..4), (&layout, 8..12), (&other, 4..5)].map(|(layout, range)| PinRequest {
        layout,
        range,
        spec: DEVICE,
    });
    let error = holder.try_transfer(&requests, drop).map(drop).unwrap_err();
    assert!(matches!(&error, PinError::LayoutBreaking { object: 8, .. }), "{error}");
    assert_eq!(holder.pins(), 0, "the two that got in have left");
    break_of(&area, &layout, 0..16, Policy::Wait).try_drain().expect("nobody is in").commit(Vec::new);
    thread::scope(|scope| {
        let batch = scope.spawn(|| holder.transfer(&requests, Until::done(), |index| index * 10).unwrap());
        let late = scope.spawn(|| holder.transfer(&requests, Until::after(SOON), drop).map(drop).unwrap_err());
        assert!(matches!(late.join().unwrap(), PinError::TimedOut { object: 8, .. }));
        break_of(&area, &layout, 0..16, Policy::Wait)
            .drain(Until::done())
            .expect("it waits holding none")
            .commit(Vec::new);
        idle.commit(Vec::new);
        let (transfer, resolved) = batch.join().unwrap();
        assert_eq!((transfer.pins(), holder.pins(), resolved), (3, 3, vec![0, 10, 20]));
        drop(transfer);
    });
    assert_eq!(holder.pins(), 0);
}

#[test]
fn g1_the_pins_of_a_transfer_leave_together() {
    let Fixture { area, holder, layout } = Fixture::new();
    let requests = [0..4, 8..12, 16..20].map(|range| PinRequest { layout: &layout, range, spec: DEVICE });
    for _ in 0..100 {
        let (mut transfer, _) = holder.transfer(&requests, Until::done(), drop).unwrap();
        transfer.hand_over();
        thread::scope(|scope| {
            let breaking: Vec<_> = [0..1, 8..9, 16..17]
                .map(|range| {
                    scope.spawn(|| {
                        let mut brk = break_of(&area, &layout, range, Policy::Wait);
                        let idle = brk.drain(Until::done()).unwrap();
                        assert_eq!(holder.pins(), 0, "the first to get through sees none of the others either");
                        idle.commit(Vec::new);
                    })
                })
                .into_iter()
                .collect();
            wait_until("all three sleep", || area.breaks().iter().filter(|info| info.behind.is_some()).count() == 3);
            drop(transfer);
            breaking.into_iter().for_each(|breaking| breaking.join().unwrap());
        });
    }
}

#[test]
fn g4_a_transfer_that_is_in_pins_more_of_what_drains_and_is_told_of_what_it_is_not_in() {
    let Fixture { area, holder, layout } = Fixture::new();
    let other = area.layout(8).unwrap();
    let request = |range| PinRequest { layout: &layout, range, spec: DEVICE };
    let (mut inside, _) = holder.transfer(&[request(0..4)], Until::done(), drop).unwrap();
    let (mut outside, _) = holder.transfer(&[request(100..104)], Until::done(), drop).unwrap();
    inside.hand_over();
    let both = [(&layout, 0..8), (&other, 0..8)];
    let mut brk = area.break_layout(&both, Policy::Wait, Effect::Moves).unwrap();
    let mut draining = brk.drain_async();
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(inside.extend(&layout, 4..8, DEVICE, || "rest").unwrap(), "rest");
    inside.extend(&other, 4..8, DEVICE, || ()).expect("the same operation's other file");
    inside.extend(&layout, 200..204, DEVICE, || ()).expect("outside of the operation");
    let error = outside.extend(&layout, 0..1, DEVICE, || ()).unwrap_err();
    assert!(matches!(&error, PinError::Deadlock(range) if *range == (0..1)), "a newcomer to this operation: {error}");
    assert_eq!(error.errno(), Errno::DEADLK.raw_os_error());
    outside.extend(&layout, 0..1, COPY, || ()).expect("a copy passes what drains");
    assert_eq!((inside.pins(), outside.pins()), (4, 2), "what a transfer held before it still holds");
    drop((inside, outside));
    let idle = block_on(draining).unwrap();
    let (mut transfer, _) = holder.transfer(&[request(50..51)], Until::done(), drop).unwrap();
    let error = transfer.extend(&layout, 7..9, COPY, || ()).unwrap_err();
    assert!(matches!(error, PinError::Deadlock(_)), "nothing passes what is closed: {error}");
    idle.commit(Vec::new);
    transfer.extend(&layout, 7..9, COPY, || ()).unwrap();
}

/// The test's device: it says itself when it is quiet.
struct Quiet(&'static str);

// SAFETY: no device moves data in these tests, so none reaches any pin.
unsafe impl Quiescent for Quiet {
    fn covers(&self, pin: &PinInfo) -> bool {
        pin.engine == self.0
    }
}

#[test]
fn g8_a_transfer_that_was_given_up_stays_in_the_way_until_a_proof() {
    let Fixture { area, holder, layout } = Fixture::new();
    let busy = area.busy_extents();
    let label = holder.label("ring 3", "prefetch").unwrap();
    let spec = DEVICE.labelled(label);
    let requests = [0..4, 8..12].map(|range| PinRequest { layout: &layout, range, spec });
    let (transfer, _) = holder.transfer(&requests, Until::done(), drop).unwrap();
    assert!(area.quarantine().is_empty());
    transfer.abandon();
    let quarantine = area.quarantine();
    assert_eq!(quarantine.iter().map(|pin| pin.range.clone()).collect::<Vec<_>>(), [0..4, 8..12]);
    assert!(quarantine.iter().all(|pin| pin.quarantine == Some(Quarantined::GivenUp) && pin.engine == "ring 3"));

    let mut brk = break_of(&area, &layout, 0..4, Policy::Wait);
    let error = brk.drain(Until::after(SOON)).map(drop).unwrap_err();
    let BreakError::TimedOut(Some(pin)) = &error else { panic!("{error}") };
    assert_eq!(pin.quarantine, Some(Quarantined::GivenUp), "it says so by name");
    assert!(error.to_string().contains("in quarantine as"), "{error}");
    break_of(&area, &layout, 8..12, Policy::Detach)
        .try_drain()
        .expect("Detach does not wait for one")
        .commit(|| vec![extent(8, 12)]);
    assert!(busy.reap(CommitId::ALL, |free| free).is_empty());
    assert_eq!((busy.stats().quarantined, busy.stats().pinned), (4, 0));

    assert_eq!(area.release(&Quiet("ring 4")).unwrap(), 0, "another engine's proof says nothing of these");
    assert!(brk.try_drain().is_err());
    thread::scope(|scope| {
        let breaking = scope.spawn(|| brk.drain(Until::done()).unwrap().commit(Vec::new));
        wait_until_a_break_sleeps(&area);
        assert_eq!(area.release(&Quiet("ring 3")).unwrap(), 2);
        breaking.join().unwrap();
    });
    assert_eq!((busy.reap(CommitId::ALL, |free| free).len(), area.quarantine().len(), area.pins().len()), (1, 0, 0));
}

#[test]
fn g8_a_proof_lets_go_only_of_what_is_in_quarantine() {
    let Fixture { area, holder, layout } = Fixture::new();
    let label = holder.label("ring 3", "prefetch").unwrap();
    let pin = holder.pin(&layout, 0..4, DEVICE.labelled(label), Until::done(), || ()).unwrap();
    assert_eq!(area.release(&Quiet("ring 3")).unwrap(), 0, "it has a holder, who will unpin it");
    assert!(break_of(&area, &layout, 0..4, Policy::Wait).try_drain().is_err());
    drop(pin);
}

#[test]
fn g8_what_was_released_frees_its_slot_for_another_pin() {
    let Fixture { area, holder, layout } = Fixture::small();
    let spec = DEVICE.labelled(holder.label("ring 3", "").unwrap());
    // Many times as many as the small area has slots and marks.
    for round in 0..100 {
        let request = PinRequest { layout: &layout, range: 0..4, spec };
        let (transfer, _) = holder.transfer(&[request], Until::done(), drop).unwrap_or_else(|e| panic!("{round}: {e}"));
        transfer.abandon();
        assert_eq!(area.release(&Quiet("ring 3")).unwrap(), 1, "in round {round}");
        assert!(area.pins().is_empty());
    }
}

#[test]
fn g7_a_transfer_carries_the_label_of_the_engine_that_has_it() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin_owned(&layout, 0..8, DEVICE, Until::done(), || "blocks").unwrap();
    let (mut transfer, resolved) = pin.into_transfer();
    assert_eq!((resolved, transfer.pins()), ("blocks", 1));
    transfer.relabel(holder.label("ring 7", "fill").unwrap());
    let pins = area.pins();
    assert_eq!((pins.len(), &*pins[0].engine, &*pins[0].label, &pins[0].range), (1, "ring 7", "fill", &(0..8)));
    drop(transfer);
    assert_eq!(holder.pins(), 0);
}

#[test]
fn g4_a_pin_that_becomes_a_transfer_still_belongs_to_its_thread_until_it_is_handed_over() {
    let Fixture { area, holder, layout } = Fixture::new();
    let pin = holder.pin_owned(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    let (mut transfer, ()) = pin.into_transfer();
    let refused = |until| break_of(&area, &layout, 0..8, Policy::Wait).drain(until).map(drop).unwrap_err().errno();
    assert_eq!(refused(Until::done()), Errno::DEADLK.raw_os_error());
    transfer.hand_over();
    assert_eq!(refused(Until::after(SOON)), Errno::TIMEDOUT.raw_os_error());
    transfer.take_back();
    assert_eq!(refused(Until::done()), Errno::DEADLK.raw_os_error());
    transfer.extend(&layout, 8..16, DEVICE, || ()).unwrap();
    assert_eq!(transfer.pins(), 2);
}

#[test]
fn g8_a_request_that_is_given_up_leaves_quarantine_with_its_completion() {
    let Fixture { area, holder, layout } = Fixture::new();
    let (mut transfer, ()) = holder.pin_owned(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_transfer();
    transfer.give_up();
    assert_eq!(area.quarantine()[0].quarantine, Some(Quarantined::GivenUp));
    thread::scope(|scope| {
        let breaking =
            scope.spawn(|| break_of(&area, &layout, 0..8, Policy::Wait).drain(Until::done()).unwrap().commit(Vec::new));
        wait_until_a_break_sleeps(&area);
        drop(transfer); // the completion came after all
        breaking.join().unwrap();
    });
    assert_eq!((area.quarantine().len(), holder.pins()), (0, 0));
}

#[test]
fn g1_a_completion_that_comes_after_a_release_unpins_nobody_else() {
    let Fixture { area, holder, layout } = Fixture::small();
    let (mut transfer, ()) = holder.pin_owned(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap().into_transfer();
    transfer.relabel(holder.label("ring 7", "").unwrap());
    transfer.give_up();
    assert_eq!(area.release(&Quiet("ring 8")).unwrap(), 0);
    assert_eq!(area.release(&Quiet("ring 7")).unwrap(), 1);
    // Every slot is somebody else's now.
    let others: Vec<_> = std::iter::from_fn(|| holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).ok()).collect();
    drop(transfer);
    assert_eq!(holder.pins(), others.len());
}

#[test]
fn g4_a_copy_waits_for_what_closes_though_its_thread_has_a_transfer_in_flight() {
    let Fixture { area, holder, layout } = Fixture::new();
    let transfer = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    thread::scope(|scope| {
        let (closed, is_closed) = std::sync::mpsc::channel();
        let (commit, may_commit) = std::sync::mpsc::channel();
        let (area, layout) = (&area, &layout);
        scope.spawn(move || {
            let mut brk = break_of(area, layout, 0..8, Policy::Detach);
            let idle = brk.drain(Until::done()).unwrap();
            closed.send(()).unwrap();
            may_commit.recv().unwrap();
            idle.commit(Vec::new);
        });
        is_closed.recv().unwrap();
        // It opens again without the help of this thread, so it is worth waiting for.
        let copied = |until| holder.pin(layout, 0..8, COPY, until, || ()).map(drop);
        assert!(matches!(copied(Until::after(SOON)), Err(PinError::TimedOut { .. })));
        commit.send(()).unwrap();
        copied(Until::done()).unwrap();
    });
    drop(transfer);
    assert_eq!(holder.pins(), 0);
}
