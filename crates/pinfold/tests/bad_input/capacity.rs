//! Tables of the layout area that are full.

use pinfold::{Access, AreaOptions, Pinned, Pool, PoolOptions};
use pinfold_layout::Geometry;
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, filled, unlink, use_up};
use crate::{assert_says, nothing_stays_in};

/// Places for two files, two pins and two announcements.
fn tiny() -> PoolOptions {
    let geometry = Geometry {
        files_max: 2,
        announcements_max: 2,
        holders_max: 2,
        parked_max: 4,
        voids_max: 2,
        chains: 1,
        blocks_max: 1,
        slots_per_block: 2,
        labels_max: 2,
    };
    PoolOptions::new().area(AreaOptions::default().geometry(geometry))
}

#[test]
fn more_pins_than_there_are_slots_are_refused() {
    nothing_stays_in(tiny(), |pool| {
        let file = filled(pool, "/file", 65536, 7);
        let held: Vec<Pinned> = (0..2).map(|_| file.pin(0..BLOCK, Access::Read).wait().unwrap()).collect();
        let error = file.pin(0..BLOCK, Access::Read).wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        assert_says(&error, &["all 2 pin slots"]);
        // A copy is a pin too.
        let error = file.read_at(0, &mut [0; 10]).unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        let error = file.write_at(0, &[1; 10]).unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        drop(held);
        // A batch that finds half of its slots takes none.
        let batch = (0..2).fold(file.pin(0..1, Access::Read), |batch, _| batch.and(file.pin(0..1, Access::Read)));
        let error = batch.wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        assert!(pool.pins().is_empty());
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn more_files_with_pins_than_there_are_places_are_refused() {
    nothing_stays_in(tiny(), |pool| {
        let held: Vec<_> = ["/one", "/two"].map(|path| filled(pool, path, BLOCK, 7)).into();
        let third = pool.create("/three").unwrap();
        let error = third.write_at(0, &[1]).unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        assert_says(&error, &["all 2 with state are in use"]);
        third.truncate(BLOCK).wait().expect("what frees nothing needs no place");
        let error = third.pin(0..1, Access::Read).wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        let error = third.truncate(0).wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOBUFS, &error);
        drop(held);
        third.write_at(0, &[1]).expect("there is place again");
        drop(third);
        unlink(pool, &["/one", "/two", "/three"]);
    });
}

#[test]
fn what_could_not_be_evicted_at_once_is_when_its_blocks_are_needed() {
    nothing_stays_in(tiny(), |pool| {
        let large = filled(pool, "/large", 2 * MIB, 7);
        drop(large.pin(0..BLOCK, Access::Read).wait().unwrap());
        drop(large);
        let held: Vec<_> = ["/one", "/two"].map(|path| filled(pool, path, BLOCK, 7)).into();
        // To free its blocks a break of it is needed, and both places are taken.
        pool.unlink("/large").unwrap();
        drop(held);
        let again = pool.create("/again").unwrap();
        again.allocate(0..3 * MIB).try_now().expect("nobody uses them any more");
        drop(again);
        unlink(pool, &["/one", "/two", "/again"]);
    });
}

#[test]
fn labels_that_are_too_long_or_too_many_are_refused() {
    nothing_stays_in(tiny(), |pool| {
        let file = filled(pool, "/file", BLOCK, 7);
        let pin = || file.pin(0..1, Access::Read);
        let error = pin().labelled("engine", &"x".repeat(200)).map(drop).unwrap_err();
        assert_says(&error, &["206", "120"]);
        drop(pin().labelled("engine", "one").unwrap().wait().unwrap());
        let error = pin().labelled("engine", "two").map(drop).unwrap_err();
        assert_says(&error, &["all 2 labels"]);
        assert!(pool.pins().is_empty());
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

/// A pool whose tables are used up works again once they are not.
#[test]
fn a_pool_outlives_its_full_tables() {
    nothing_stays_in(tiny(), |pool: &Pool| {
        for round in 0..3 {
            let file = filled(pool, "/file", MIB, round);
            let held: Vec<Pinned> = (0..2).map(|_| file.pin(0..MIB, Access::Write).wait().unwrap()).collect();
            file.truncate(0).detach().wait().unwrap();
            assert_eq!(pool.stats().parked, MIB);
            drop(file);
            pool.unlink("/file").unwrap();
            drop(held);
            drop(use_up(pool, "/rest", round));
            pool.unlink("/rest").unwrap();
        }
    });
}
