//! The device that completes when a test says so.

mod common;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::Fixture;
use pinfold::{Access, Until};
use pinfold_dma::SubmitError;
use pinfold_dma::late::{Cancels, LateDevice, LateOptions, LateRequest, Pace};

#[test]
fn bytes_move_without_a_completion_and_only_once() {
    let fixture = Fixture::new(8192);
    let device = LateDevice::new().unwrap();
    let mut in_flight = device.submit(LateRequest::fill([1; 8192]), fixture.pin()).unwrap();
    let ticket = in_flight.ticket();
    assert!(device.carry_out(ticket));
    assert_eq!(fixture.bytes(), [1; 8192]);
    assert!(!device.carry_out(ticket));
    assert!(in_flight.try_now().unwrap().is_none());
    fixture.file.write_at(0, &[2; 8192]).unwrap();
    assert!(device.complete(ticket));
    drop(in_flight.wait().unwrap().whole().unwrap());
    assert_eq!(fixture.bytes(), [2; 8192]);
    assert!(!device.complete(ticket) && !device.carry_out(ticket));
    fixture.expect_nothing_left();
}

#[test]
fn it_reads_what_is_pinned_in_order() {
    let fixture = Fixture::new(16384);
    let device = LateDevice::new().unwrap();
    fixture.file.write_at(0, &[1; 4096]).unwrap();
    fixture.file.write_at(12288, &[2; 4096]).unwrap();
    let pin = |range| fixture.file.pin(range, Access::Read);
    let pinned = pin(12288..16384).and(pin(0..4096)).wait().unwrap();
    let into = Arc::new(Mutex::new(Vec::new()));
    let in_flight = device.submit(LateRequest::drain(&into), pinned).unwrap();
    assert!(device.complete(in_flight.ticket()));
    drop(in_flight.wait().unwrap().whole().unwrap());
    assert_eq!(*into.lock().unwrap(), [[2; 4096], [1; 4096]].concat());
    fixture.expect_nothing_left();
}

#[test]
fn fewer_bytes_than_there_is_room_end_short_and_it_says_what_it_was_told_to() {
    let fixture = Fixture::new(4096);
    let device = LateDevice::new().unwrap();
    let outcome = |request: LateRequest| {
        let in_flight = device.submit(request, fixture.pin()).unwrap();
        device.complete(in_flight.ticket());
        in_flight.wait().unwrap().result.map_err(|error| error.errno())
    };
    assert_eq!(outcome(LateRequest::fill([1; 10])), Ok(10));
    assert_eq!(outcome(LateRequest::fill([1; 10]).and_say(Ok(7))), Ok(7));
    assert_eq!(outcome(LateRequest::fill([1; 10]).and_say(Err(libc::EIO))), Err(libc::EIO));
    fixture.expect_nothing_left();
}

#[test]
fn transfers_that_end_by_themselves_do_so() {
    let fixture = Fixture::new(64 * 4096);
    let pace = Pace::After(Duration::ZERO..Duration::from_millis(2));
    let device = LateOptions::new().pace(pace).start().unwrap();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let submit = |block: u64| device.submit(LateRequest::fill([block as u8; 4096]), pin(block * 4096)).unwrap();
    let in_flight: Vec<_> = (0..64).map(submit).collect();
    for in_flight in in_flight {
        drop(in_flight.wait().unwrap().whole().unwrap());
    }
    assert!(fixture.bytes().chunks(4096).enumerate().all(|(block, bytes)| bytes == [block as u8; 4096]));
    fixture.expect_nothing_left();
}

#[test]
fn g2_who_waits_for_room_is_woken_by_a_completion_that_nobody_waits_for() {
    let fixture = Fixture::new(8192);
    let device = LateOptions::new().depth(1).start().unwrap();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let first = device.submit(LateRequest::fill([1; 4096]), pin(0)).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            let in_flight = device.submit(LateRequest::fill([2; 4096]), pin(4096)).unwrap();
            assert!(device.complete(in_flight.ticket()));
            drop(in_flight.wait().unwrap().whole().unwrap());
        });
        // Its pin is there before it asks for room.
        common::eventually("the second one is pinned", || fixture.pool.area().pins().len() == 2);
        assert!(device.complete(first.ticket()));
        second.join().unwrap();
    });
    drop(first);
    fixture.expect_nothing_left();
}

#[test]
fn what_is_in_flight_at_the_end_is_written_and_released_by_the_proof_alone() {
    let fixture = Fixture::new(8192);
    let device = LateOptions::new().cancels(Cancels::Ignored).start().unwrap();
    let in_flight = device.submit(LateRequest::fill([7; 8192]), fixture.pin()).unwrap();
    fixture.file.truncate(0).detach().wait().unwrap();
    let other = fixture.pool.create("/other").unwrap();
    other.allocate(0..1 << 20).wait().unwrap();
    let proof = device.shut_down();
    assert_eq!(fixture.pool.quarantine().len(), 1);
    assert_eq!(fixture.pool.stats().quarantined, 8192);
    let mut bytes = vec![1; 1 << 20];
    other.read_at(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0), "the late write hit another file");
    assert_eq!(fixture.pool.release(&proof).unwrap(), 1);
    assert_eq!(fixture.pool.stats().quarantined, 0);
    assert_eq!(in_flight.wait().unwrap_err().errno(), libc::ECANCELED);
}

#[test]
fn a_device_that_was_dropped_while_others_hold_transfers_answers_and_refuses() {
    let fixture = Fixture::new(4096);
    let device = LateDevice::new().unwrap();
    let mut in_flight = device.submit(LateRequest::fill([7; 4096]), fixture.pin()).unwrap();
    drop(device);
    let completion = in_flight.until(Until::done()).unwrap();
    assert_eq!(completion.whole().unwrap_err().errno(), libc::ECANCELED);
    let device = LateDevice::new().unwrap();
    let pinned = fixture.file.pin(0..4096, Access::Read).wait().unwrap();
    let refused = device.submit(LateRequest::fill([7; 4096]), pinned).unwrap_err();
    assert!(matches!(refused.error, SubmitError::ReadOnly(what) if what.verb == "fill"), "{refused}");
    assert_eq!(refused.request.what().verb, "fill");
    drop(refused);
    fixture.expect_nothing_left();
}
