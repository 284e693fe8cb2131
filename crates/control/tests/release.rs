//! What devices of a dead process may still reach, and how it is let go: by the ring's proof, or by an operator (G8).

mod common;

use std::path::{Path, PathBuf};

use common::child::{Other, play, say_and_wait};
use common::{BOTH, Lab, MIB, Way, change, filled, scratch_dir, wait_until_behind};
use pinfold::{Access, Pool, live_dir_of};
use pinfold_control::{Answer, FileChange, Pin, Quarantine, Released, Request, rings_in};
use pinfold_dma::{RingLock, UringOptions};
use rustix::io::Errno;
use tempfile::TempDir;

#[test]
fn the_other_process() {
    play(&[("pins until it is killed", pins_until_it_is_killed)]);
}

/// One pin through a ring, which reads from a pipe; one through a device that leaves no proof.
fn pins_until_it_is_killed(path: &str) {
    let rings = rings_in(live_dir_of(path.as_ref()));
    let pool = Pool::load(path).unwrap();
    let file = pool.open("/file").unwrap();
    std::fs::create_dir_all(&rings).unwrap();
    let ring = UringOptions::new().lock_dir(rings).create().unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let by_ring = file.pin(0..4096, Access::Write).wait().unwrap();
    let _in_flight = ring.submit(pinfold_dma::Request::read_stream(&reader), by_ring).unwrap();
    let _by_nic = file.pin(8192..12288, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
    say_and_wait("pinned");
}

/// A pool whose owner was killed with transfers in flight.
fn left_behind() -> (TempDir, PathBuf) {
    let dir = scratch_dir();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 32 * MIB).unwrap();
    filled(&pool, "/file", 8 * 4096, 7);
    pool.close().unwrap();
    let mut other = Other::start("pins until it is killed", path.to_str().unwrap());
    other.expect("pinned");
    other.kill();
    (dir, path)
}

fn lab(way: Way) -> Lab {
    let (dir, path) = left_behind();
    let pool = Pool::load(&path).unwrap();
    Lab::with(way, pool, path, dir)
}

fn quarantine(lab: &mut Lab) -> Vec<Pin> {
    let Answer::Pins(pins) = lab.answers(Request::Quarantine) else { panic!() };
    pins
}

/// Looks at the locks until the ring is gone.
fn release_by_proof(lab: &mut Lab) -> Released {
    loop {
        let Answer::Released(released) = lab.answers(Request::ReleaseByProof) else { panic!() };
        if released.rings_gone > 0 {
            return released;
        }
        assert_eq!(released, Released { rings_there: 1, left: 2, ..Released::default() });
        std::thread::yield_now();
    }
}

fn decisions(live_dir: &Path) -> Vec<serde_json::Value> {
    let log = std::fs::read_to_string(live_dir.join("decisions.log")).unwrap_or_default();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn g8_a_ring_that_is_gone_lets_its_pins_go_and_no_others() {
    for way in BOTH {
        let mut lab = lab(way);
        let pins = quarantine(&mut lab);
        assert_eq!(pins.len(), 2, "{pins:?}");
        assert!(pins.iter().all(|pin| pin.quarantine == Some(Quarantine::HolderGone)));
        let released = release_by_proof(&mut lab);
        assert_eq!(released, Released { pins: 1, rings_gone: 1, rings_there: 0, left: 1 });
        let left = quarantine(&mut lab);
        assert_eq!((left.len(), &*left[0].engine, &*left[0].label), (1, "nic 0", "chunk 17"));
        assert_eq!(RingLock::all_in(rings_in(lab.live_dir())).unwrap().len(), 0, "the lock's file went");
        // Again there is nothing to be let go.
        assert_eq!(lab.answers(Request::ReleaseByProof), Answer::Released(Released { left: 1, ..Released::default() }));
        assert_eq!(decisions(&lab.live_dir()).len(), 0);
    }
}

#[test]
fn g8_a_ring_that_lives_is_no_proof() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let rings = rings_in(lab.live_dir());
        assert_eq!(
            lab.answers(Request::ReleaseByProof),
            Answer::Released(Released::default()),
            "no ring was ever made"
        );
        std::fs::create_dir(&rings).unwrap();
        let file = filled(&lab.pool, "/file", 4096, 7);
        let ring = UringOptions::new().lock_dir(&rings).create().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
        let in_flight = ring.submit(pinfold_dma::Request::read_stream(&reader), pinned).unwrap();
        let there = Released { rings_there: 1, ..Released::default() };
        assert_eq!(lab.answers(Request::ReleaseByProof), Answer::Released(there));
        assert_eq!(lab.pool.pins().len(), 1);
        assert_eq!(RingLock::all_in(&rings).unwrap().len(), 1);
        drop((writer, in_flight));
    }
}

#[test]
fn g8_an_operators_decision_is_logged_and_lets_one_pin_go() {
    for way in BOTH {
        let mut lab = lab(way);
        let decide = |pin: &Pin, operator: &str, reason: &str| Request::ReleaseByOperator {
            pin: pin.id,
            operator: operator.to_owned(),
            reason: reason.to_owned(),
        };
        let pins = quarantine(&mut lab);
        let nic = pins.iter().find(|pin| pin.engine == "nic 0").unwrap();
        // Without a name or a reason there is no decision, and nothing is logged.
        lab.refuses(decide(nic, "", "the card was pulled"), Errno::INVAL);
        lab.refuses(decide(nic, "ann", " \n"), Errno::INVAL);
        assert_eq!(decisions(&lab.live_dir()).len(), 0);
        let answer = lab.answers(decide(nic, "ann", "the card\nwas pulled"));
        let Answer::ReleasedPin(released) = answer else { panic!("{answer:?}") };
        assert_eq!((released.id, released.path.as_deref()), (nic.id, Some(Path::new("/file"))));
        assert_eq!(quarantine(&mut lab).len(), 1);
        let logged = decisions(&lab.live_dir());
        assert_eq!(logged.len(), 1);
        assert_eq!((&logged[0]["operator"], &logged[0]["reason"]), (&"ann".into(), &"the card\nwas pulled".into()));
        assert_eq!((&logged[0]["pin"]["id"], &logged[0]["pin"]["path"]), (&nic.id.to_string().into(), &"/file".into()));
        assert!(logged[0]["unix_time"].as_u64().unwrap() > 0);
        // It is not there twice.
        lab.refuses(decide(nic, "ann", "again"), Errno::NOENT);
        // A pin with a holder is its holder's.
        let file = lab.pool.open("/file").unwrap();
        let pinned = file.pin(16384..20480, Access::Write).wait().unwrap();
        let Answer::Pins(all) = lab.answers(Request::Pins) else { panic!() };
        let held = all.iter().find(|pin| pin.quarantine.is_none()).unwrap();
        lab.refuses(decide(held, "ann", "I want it"), Errno::BUSY);
        assert_eq!(decisions(&lab.live_dir()).len(), 1);
        drop(pinned);
    }
}

#[test]
fn g8_a_decision_that_cannot_be_logged_does_not_count() {
    for way in BOTH {
        let mut lab = lab(way);
        let pins = quarantine(&mut lab);
        std::fs::create_dir(lab.live_dir().join("decisions.log")).unwrap();
        let decision =
            Request::ReleaseByOperator { pin: pins[0].id, operator: "ann".into(), reason: "it is off".into() };
        let refusal = lab.refuses(decision, Errno::ISDIR);
        assert!(refusal.message.contains("nothing was released") && refusal.message.contains("decisions.log"));
        assert_eq!(quarantine(&mut lab).len(), 2);
    }
}

#[test]
fn g2_g8_a_request_that_waits_for_the_dead_goes_on_when_they_are_released() {
    let mut lab = lab(Way::Socket);
    let mut client = lab.client();
    let waits = std::thread::spawn(move || client.ask(&change("/file", FileChange::Truncate { len: 0 })));
    wait_until_behind(&lab.pool);
    release_by_proof(&mut lab);
    let nic = quarantine(&mut lab).remove(0);
    wait_until_behind(&lab.pool);
    lab.answers(Request::ReleaseByOperator { pin: nic.id, operator: "ann".into(), reason: "it is off".into() });
    assert_eq!(waits.join().unwrap(), Ok(Answer::Done));
    assert_eq!(lab.pool.stats().in_files, 0);
}
