//! Where blocks lie, and what is at a place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pinfold::{Access, Place, Pool, Region};

use crate::common::{BLOCK, MIB, filled, pool_of};

#[test]
fn a_large_allocation_is_one_extent_congruent_to_2_mib() {
    let pool = pool_of(64 * MIB);
    // What comes first must not spoil it.
    drop(filled(&pool, "/small", 3 * BLOCK, 7));
    for (path, start, len) in [("/one", 0, 8 * MIB), ("/two", 0, 2 * MIB), ("/three", 5 * BLOCK, 6 * MIB)] {
        let file = pool.create(path).unwrap();
        file.allocate(start..start + len).try_now().unwrap();
        let [extent] = file.extents()[..] else { panic!("{path}: {:?}", file.extents()) };
        assert_eq!((extent.offset, extent.len, extent.written), (start, len, false));
        assert_eq!(extent.place % (2 * MIB), start % (2 * MIB), "{path} can be mapped by huge pages");
        let pinned = file.pin(start..start + len, Access::Write).wait().unwrap();
        let [segment] = pinned.segments() else { panic!("one run is one segment") };
        assert_eq!((segment.place(), segment.len), (extent.place, len));
        assert_eq!(segment.address % (2 * MIB), start % (2 * MIB), "in this process too");
    }
}

#[test]
fn a_file_that_grows_beside_others_stays_in_long_extents() {
    let pool = pool_of(64 * MIB);
    let files: Vec<_> = (0..4).map(|index| pool.create(format!("/{index}")).unwrap()).collect();
    for _ in 0..512 {
        files.iter().for_each(|file| assert!(file.append(&[7; BLOCK as usize]).is_ok()));
    }
    for file in &files {
        let extents = file.extents().len();
        assert!(extents <= 16, "{extents} extents for 2 MiB that came by turns");
    }
}

#[test]
fn what_is_at_a_place_is_the_reverse_of_the_extents() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 4 * BLOCK, 7);
    let place = file.extents()[0].place;
    let expected = |offset| Place::File { file: file.id(), path: Some("/file".into()), offset };
    assert_eq!(pool.what_is_at(place), expected(0));
    assert_eq!(pool.what_is_at(place + 3 * BLOCK + 17), expected(3 * BLOCK + 17));
    let pinned = file.pin(BLOCK..2 * BLOCK, Access::Write).labelled("ring 3", "prefetch").unwrap().wait().unwrap();
    file.truncate(0).detach().wait().unwrap();
    assert_eq!(pool.what_is_at(place), Place::Free);
    let Place::Parked(parked) = pool.what_is_at(place + BLOCK + 5) else { panic!("it is parked") };
    assert_eq!(
        (parked.file, parked.bytes, parked.place),
        (file.id(), BLOCK..2 * BLOCK, place + BLOCK..place + 2 * BLOCK)
    );
    assert_eq!((parked.pins.len(), parked.pins[0].engine.as_str()), (1, "ring 3"));
    assert_eq!(pool.parked().len(), 1);
    drop(pinned);
    assert_eq!(pool.what_is_at(place + BLOCK), Place::Free);
    assert_eq!(pool.what_is_at(4 * MIB), Place::Unknown);
}

#[test]
fn stats_add_up_whatever_happens() {
    let pool = pool_of(8 * MIB);
    let adds_up = || {
        let stats = pool.stats();
        let sum = stats.free + stats.in_files + stats.parked + stats.quarantined + stats.not_durable;
        assert_eq!((sum, stats.total), (8 * MIB, 8 * MIB), "{stats:?}");
        assert!(stats.longest_free <= stats.free);
        stats
    };
    let file = filled(&pool, "/file", MIB, 7);
    assert_eq!((adds_up().in_files, adds_up().nodes, adds_up().block_size), (MIB, 2, BLOCK));
    let pinned = file.pin(0..MIB, Access::Write).wait().unwrap();
    assert_eq!(adds_up().pins, 1);
    file.punch(0..MIB / 2).detach().wait().unwrap();
    assert_eq!((adds_up().parked, adds_up().in_files), (MIB / 2, MIB / 2));
    file.allocate(0..MIB).wait().unwrap();
    let reservation = pool.reserve(MIB).wait().unwrap();
    assert_eq!(adds_up().in_files, 2 * MIB);
    drop((reservation, pinned));
    assert_eq!((adds_up().parked, adds_up().in_files), (0, MIB));
    drop(file);
    pool.unlink("/file").unwrap();
    assert_eq!((adds_up().free, adds_up().nodes), (8 * MIB, 1));
}

#[test]
fn a_detached_cut_leaves_the_device_its_block_and_the_file_its_bytes() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 4 * BLOCK, 7);
    let pinned = file.pin(0..4 * BLOCK, Access::Write).wait().unwrap();
    file.truncate(BLOCK + 100).detach().wait().unwrap();
    // The block that was kept in part was replaced: what the device writes later does not show behind the end.
    pinned.copy_in(0, &[9; 4 * BLOCK as usize]).unwrap();
    file.truncate(4 * BLOCK).wait().unwrap();
    let expected = [vec![9; BLOCK as usize], vec![7; 100], vec![0; 3 * BLOCK as usize - 100]].concat();
    assert!(crate::common::bytes_of(&file, 0..4 * BLOCK) == expected);
    assert_eq!(pool.stats().parked, 3 * BLOCK);
    drop(pinned);
    assert_eq!(pool.stats().parked, 0);
}

#[test]
fn exchange_is_seen_by_nobody_in_half() {
    let pool = pool_of(8 * MIB);
    let (one, two) = (filled(&pool, "/one", 16 * BLOCK, 1), filled(&pool, "/two", 16 * BLOCK, 2));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for file in [&one, &two] {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let bytes = crate::common::bytes_of(file, 0..16 * BLOCK);
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "half of an exchange");
                }
            });
        }
        let _over = crate::common::OnDrop(|| over.store(true, Ordering::Relaxed));
        for _ in 0..200 {
            one.exchange(0..16 * BLOCK, &two, 0).wait().unwrap();
        }
    });
    assert_eq!((one.metadata().allocated, two.metadata().allocated), (16 * BLOCK, 16 * BLOCK));
    // In one file as well.
    let file = pool.create("/three").unwrap();
    file.write_at(0, &[[3; BLOCK as usize], [4; BLOCK as usize]].concat()).unwrap();
    file.exchange(0..BLOCK, &file, BLOCK).wait().unwrap();
    assert!(crate::common::is_all(&file, 0..BLOCK, 4) && crate::common::is_all(&file, BLOCK..2 * BLOCK, 3));
}

#[test]
fn a_pool_is_used_up_to_its_last_block_and_then_again() {
    let pool = Pool::new(Region::memfd(5 * BLOCK).unwrap()).unwrap();
    for round in 0..3 {
        let file = crate::common::use_up(&pool, "/all", round + 1);
        assert_eq!((file.len(), pool.stats().free), (5 * BLOCK, 0));
        file.punch(BLOCK..2 * BLOCK).wait().unwrap();
        file.write_at(4 * BLOCK, &[9]).expect("in place");
        file.write_at(BLOCK, &[9]).expect("the block that is free again");
        drop(file);
        pool.unlink("/all").unwrap();
        assert_eq!(pool.stats().free, 5 * BLOCK);
    }
}
