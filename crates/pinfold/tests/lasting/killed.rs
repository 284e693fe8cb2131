//! The owner is killed. What it had done is there; what its devices may still reach stays where it is (G1, G8).

use std::path::{Path, PathBuf};

use pinfold::{OperatorDecision, Pool, PoolError, PoolOptions, Snapshot, live_dir_of};
use rustix::io::Errno;

use crate::common::child::Child;
use crate::common::{BLOCK, MIB, is_all};
use crate::{contents, scratch};

struct Lab {
    dir: tempfile::TempDir,
    child: Child,
}

impl Lab {
    /// A pool that a child owns.
    fn in_dir(dir: tempfile::TempDir) -> Self {
        let path = dir.path().join("pool");
        Pool::format(&path, 16 * MIB).unwrap().close().unwrap();
        let child = Child::start();
        child.ask(&format!("own {}", path.display()), &[]);
        Self { dir, child }
    }

    fn new() -> Self {
        Self::in_dir(scratch())
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("pool")
    }

    fn ask(&self, orders: &[&str]) {
        orders.iter().for_each(|order| drop(self.child.ask(order, &[])));
    }

    /// The owner dies, and the pool is opened again.
    fn kill_and_load(&mut self) -> Pool {
        self.child.kill();
        Pool::load(self.path()).unwrap()
    }
}

/// A person lets every pin out of quarantine.
fn release_all(pool: &Pool) {
    for pin in pool.quarantine() {
        let (operator, reason) = ("the test".to_owned(), "there is no device".to_owned());
        pool.release_by_operator(&OperatorDecision { pin: pin.id, operator, reason }).unwrap();
    }
}

#[test]
fn g9_what_a_killed_owner_had_done_is_there() {
    let mut lab = Lab::new();
    lab.ask(&["write /a 10000 7", "write /b 5 8", "unlink /b", "write /c 4096 9"]);
    let pool = lab.kill_and_load();
    assert_eq!(contents(&pool, "/a"), [7; 10000]);
    assert_eq!(contents(&pool, "/c"), [9; 4096]);
    assert!(pool.open("/b").is_err());
}

#[test]
fn g9_on_a_disk_what_was_synced_is_there_and_nothing_shows_what_blocks_held_before() {
    let mut lab = Lab::in_dir(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    lab.ask(&["write /a 10000 7", "sync", "write /b 10000 8", "sync-file /b", "unlink /a", "write /c 20000 9"]);
    let pool = lab.kill_and_load();
    assert_eq!(contents(&pool, "/b"), [8; 10000]);
    assert!(pool.open("/a").is_err(), "its record is in the region, flushed or not");
    let unsynced = contents(&pool, "/c");
    assert!(unsynced.len() == 20000 && unsynced.iter().all(|byte| [0, 9].contains(byte)), "its bytes, or zeros (G10)");
}

#[test]
fn g8_pins_of_a_killed_owner_are_in_quarantine_and_breaks_wait_for_them() {
    let mut lab = Lab::new();
    lab.ask(&["write /a 65536 7", "device-pin /a 0 8192"]);
    let pool = lab.kill_and_load();
    let quarantine = pool.quarantine();
    assert_eq!(quarantine.len(), 1);
    let file = pool.open("/a").unwrap();
    assert_eq!(file.truncate(0).try_now().unwrap_err().errno(), Errno::BUSY.raw_os_error());
    file.truncate(8192).try_now().expect("G5: what the pin does not cover goes at once");
    file.truncate(0).detach().wait().unwrap();
    assert_eq!(pool.stats().quarantined, 8192);
    release_all(&pool);
    assert_eq!((pool.stats().quarantined, pool.stats().in_files), (0, 0));
}

#[test]
fn g1_what_a_killed_owner_had_parked_is_given_to_nobody() {
    let mut lab = Lab::new();
    lab.ask(&["write /a 65536 7", "device-pin /a 0 8192", "cut-detached /a 0"]);
    g1_nobody_gets_two_blocks(lab.kill_and_load(), &lab.path());
}

#[test]
fn g1_what_a_device_reaches_of_an_unlinked_file_or_a_reservation_is_given_to_nobody() {
    let mut lab = Lab::new();
    lab.ask(&["write /a 4096 7", "device-pin /a 0 4096", "unlink /a", "reserve-and-pin 4096"]);
    g1_nobody_gets_two_blocks(lab.kill_and_load(), &lab.path());
}

/// Two blocks are in quarantine, and in no file: nobody gets them, over any number of openings, until they are released.
fn g1_nobody_gets_two_blocks(mut pool: Pool, path: &Path) {
    for round in 0..3 {
        let stats = pool.stats();
        assert_eq!((stats.quarantined, stats.in_files), (2 * BLOCK, 0), "round {round}");
        let places: Vec<_> = pool.parked().into_iter().map(|parked| parked.place).collect();
        let all = pool.create("/all").unwrap();
        all.allocate(0..stats.free).try_now().unwrap();
        for extent in all.extents() {
            let meets =
                |place: &std::ops::Range<u64>| place.start < extent.place + extent.len && extent.place < place.end;
            assert!(!places.iter().any(meets), "{extent:?} is parked");
        }
        drop(all);
        pool.unlink("/all").unwrap();
        pool.close().unwrap();
        pool = Pool::load(path).unwrap();
    }
    let free = pool.stats().free;
    release_all(&pool);
    assert_eq!(pool.stats().free, free + 2 * BLOCK);
}

#[test]
fn g8_a_pool_whose_layout_area_is_lost_is_not_opened_unless_no_dma_is_in_flight_for_sure() {
    let mut lab = Lab::new();
    lab.ask(&["write /a 65536 7", "device-pin /a 0 8192"]);
    lab.child.kill();
    std::fs::remove_dir_all(live_dir_of(&lab.path())).unwrap();
    let before = std::fs::read(lab.path()).unwrap();
    let lost = Pool::load(lab.path()).unwrap_err();
    assert!(matches!(lost, PoolError::AreaLost), "{lost}");
    assert!(std::fs::read(lab.path()).unwrap() == before, "nothing was written");
    assert!(matches!(PoolOptions::new().force(true).format(lab.path(), 16 * MIB), Err(PoolError::AreaLost)));
    let pool = PoolOptions::new().no_dma_in_flight(true).open(lab.path()).unwrap();
    assert!(is_all(&pool.open("/a").unwrap(), 0..65536, 7));
    pool.close().unwrap();
    std::fs::remove_dir_all(live_dir_of(&lab.path())).unwrap();
    Pool::load(lab.path()).expect("closed with nobody in: the area is not needed");
}

#[test]
fn g8_another_pool_does_not_take_the_place_of_one_that_devices_reach() {
    let mut lab = Lab::new();
    lab.ask(&["write /a 65536 7", "device-pin /a 0 8192"]);
    lab.child.kill();
    let reached = PoolOptions::new().force(true).format(lab.path(), 16 * MIB).unwrap_err();
    assert!(matches!(reached, PoolError::Reached(_)), "{reached}");
    assert_eq!(contents(&Pool::load(lab.path()).unwrap(), "/a"), [7; 65536]);
}

#[test]
fn a_pool_that_is_owned_is_looked_at_and_not_opened() {
    let lab = Lab::new();
    lab.ask(&["write /a 10000 7"]);
    let owned = Pool::load(lab.path()).unwrap_err();
    assert_eq!(owned.errno(), Errno::BUSY.raw_os_error());
    assert!(owned.to_string().contains(&lab.child.pid().to_string()), "{owned}");
    let snapshot = Snapshot::open(lab.path()).unwrap();
    let metadata = snapshot.metadata("/a").unwrap();
    let mut bytes = vec![0; 10000];
    assert_eq!(snapshot.read_at(metadata.id, 0, &mut bytes).unwrap(), 10000);
    assert_eq!(bytes, [7; 10000]);
    lab.ask(&["unlink /a"]);
    let gone = snapshot.read_at(metadata.id, 0, &mut bytes).unwrap_err();
    assert!(matches!(gone, PoolError::Changed(_)), "{gone}");
}
