//! Reserve, fill, publish.

use std::thread;

use pinfold::{Access, Publish, Until};

use crate::common::{
    BLOCK, MIB, block_on, bytes_of, filled, is_all, pins_of, pool_of, use_up, wait_until, wait_until_behind,
};

#[test]
fn a_reservation_is_filled_by_devices_and_gets_its_name_whole() {
    let pool = pool_of(8 * MIB);
    drop(use_up(&pool, "/old", 0xEE));
    pool.unlink("/old").unwrap();
    let reservation = pool.reserve(MIB + 100).wait().unwrap();
    assert_eq!(reservation.len(), MIB + 100);
    let first = reservation.pin(0..MIB / 2).labelled("nic 0", "chunk").unwrap().wait().unwrap();
    let second = reservation.pin(MIB / 2..MIB + 100).wait().unwrap();
    assert_eq!(pool.open("/chunk").unwrap_err().errno(), 2, "nobody sees it before");
    assert!(pool.open_by_id(reservation.id()).is_none(), "by no way");
    let mut seen = vec![1; 100];
    first.copy_out(0, &mut seen).unwrap();
    assert_eq!(seen, [0; 100], "what no device has written reads as zeros");
    first.copy_in(1000, &[7; 5000]).unwrap();
    second.copy_in(0, &[8; 10]).unwrap();
    drop((first, second));

    let file = reservation.publish("/chunk", Publish::New).unwrap();
    assert_eq!((file.len(), pool.open("/chunk").unwrap().id()), (MIB + 100, file.id()));
    let mut expected = vec![0; MIB as usize + 100];
    expected[1000..6000].fill(7);
    expected[MIB as usize / 2..MIB as usize / 2 + 10].fill(8);
    assert!(bytes_of(&file, 0..MIB + 100) == expected, "G10: zeros where nothing was written");
    file.truncate(2 * MIB).wait().unwrap();
    assert!(is_all(&file, MIB + 100..2 * MIB, 0), "behind its end too");
    drop(file.pin(0..MIB, Access::Read).wait().unwrap());
}

#[test]
fn engines_say_what_was_written() {
    let pool = pool_of(8 * MIB);
    drop(use_up(&pool, "/old", 0xEE));
    pool.unlink("/old").unwrap();
    let reservation = pool.reserve(4 * BLOCK).wait().unwrap();
    let pinned = reservation.pin(BLOCK..3 * BLOCK).wait().unwrap();
    // A device writes behind the library's back: more than its engine says at the completion.
    let place = pinned.segments()[0].place();
    pool.region().bytes(place..place + 2 * BLOCK).unwrap().copy_in(0, &[7; 2 * BLOCK as usize]).unwrap();
    pinned.written(BLOCK + 5);
    drop(pinned);
    reservation.written(3 * BLOCK + 1..3 * BLOCK + 2);
    let file = reservation.publish("/chunk", Publish::New).unwrap();
    assert!(is_all(&file, 0..BLOCK, 0) && is_all(&file, BLOCK..2 * BLOCK + 5, 7));
    assert!(is_all(&file, 2 * BLOCK + 5..3 * BLOCK + 1, 0), "what nobody vouches for is not shown");
    assert!(is_all(&file, 3 * BLOCK + 2..4 * BLOCK, 0));
}

#[test]
fn publishing_replaces_in_one_step_and_the_old_file_lives_on_for_those_who_have_it() {
    let pool = pool_of(8 * MIB);
    let old = filled(&pool, "/chunk", MIB, 1);
    let pinned = old.pin(0..MIB, Access::Read).wait().unwrap();
    let fill = |byte: u8| {
        let reservation = pool.reserve(MIB).wait().unwrap();
        reservation.pin(0..MIB).wait().unwrap().copy_in(0, &vec![byte; MIB as usize]).unwrap();
        reservation
    };
    let exists = fill(2).publish("/chunk", Publish::New).unwrap_err();
    assert_eq!(exists.errno(), 17);
    let new = exists.reservation.publish("/chunk", Publish::Replace).unwrap();
    assert!(is_all(&pool.open("/chunk").unwrap(), 0..MIB, 2) && is_all(&old, 0..MIB, 1));
    drop(old);
    assert_eq!((pool.stats().parked, pool.stats().nodes), (MIB, 2), "its pinned blocks are parked");
    drop(pinned);
    assert_eq!(pool.stats().parked, 0);

    // While others read it by name: always one file or the other, and always whole.
    thread::scope(|scope| {
        let replacing =
            scope.spawn(|| (3..60).for_each(|byte| drop(fill(byte).publish("/chunk", Publish::Replace).unwrap())));
        while !replacing.is_finished() {
            let bytes = bytes_of(&pool.open("/chunk").unwrap(), 0..MIB);
            assert!(bytes.iter().all(|byte| *byte == bytes[0] && *byte > 1));
        }
    });
    drop(new);
    assert_eq!(pool.stats().in_files, MIB);
}

#[test]
fn publishing_waits_for_a_transfer_as_long_as_it_is_told_to() {
    let pool = pool_of(8 * MIB);
    let reservation = pool.reserve(MIB).wait().unwrap();
    let pinned = reservation.pin(0..MIB).wait().unwrap();
    let id = reservation.id();
    thread::scope(|scope| {
        let publishing = scope.spawn(|| reservation.publish_until("/chunk", Publish::New, Until::done()).unwrap());
        wait_until("it sleeps for the transfer", || pool.breaks().iter().any(|running| running.behind.is_some()));
        assert!(pool.open("/chunk").is_err());
        pinned.copy_in(0, &[7; 100]).unwrap();
        drop(pinned);
        let file = publishing.join().unwrap();
        assert_eq!(file.id(), id);
        assert!(is_all(&file, 0..100, 7) && is_all(&file, 100..MIB, 0));
    });
}

#[test]
fn a_reservation_that_is_dropped_gives_its_blocks_back_and_parks_what_is_in_flight() {
    let pool = pool_of(8 * MIB);
    let before = pool.stats();
    drop(pool.reserve(MIB).wait().unwrap());
    assert_eq!(pool.stats(), before);
    let reservation = pool.reserve(MIB).wait().unwrap();
    let pinned = reservation.pin(0..MIB / 2).wait().unwrap();
    drop(reservation);
    assert_eq!((pool.stats().parked, pool.stats().in_files), (MIB / 2, 0));
    let filler = use_up(&pool, "/rest", 1);
    pinned.copy_in(0, &vec![7; MIB as usize / 2]).unwrap();
    assert!(is_all(&filler, 0..filler.len(), 1), "G1");
    drop((pinned, filler));
    pool.unlink("/rest").unwrap();
    assert_eq!((pool.stats().free, pool.stats().nodes), (before.free, before.nodes));
}

#[test]
fn g6_a_reservation_comes_in_four_forms() {
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", MIB, 7);
    let mut pinned = file.pin(0..MIB, Access::Write).wait().unwrap();
    pinned.hand_over();
    file.truncate(0).detach().wait().unwrap();
    let full = pool.reserve(MIB).try_now().unwrap_err();
    assert_eq!(full.errno(), 28);
    let late = pool.reserve(MIB).until(Until::after(std::time::Duration::from_millis(10))).unwrap_err();
    assert_eq!(late.errno(), 110);
    thread::scope(|scope| {
        let reserving = scope.spawn(|| pool.reserve(MIB / 2).wait().unwrap());
        let awaiting = scope.spawn(|| block_on(pool.reserve(MIB / 2).wait_async()).unwrap());
        drop(pinned);
        drop((reserving.join().unwrap(), awaiting.join().unwrap()));
    });
    assert_eq!(pool.stats().free, MIB);
}

#[test]
fn a_batch_fills_a_reservation_beside_a_file() {
    let pool = pool_of(8 * MIB);
    let file = filled(&pool, "/source", MIB, 7);
    let reservation = pool.reserve(MIB).wait().unwrap();
    let pinned = file.pin(0..MIB, Access::Read).and(reservation.pin(0..MIB)).wait().unwrap();
    let mut bytes = vec![0; MIB as usize];
    pinned.copy_out(0, &mut bytes).unwrap();
    pinned.copy_in(MIB, &bytes).unwrap();
    assert_eq!(pins_of(&pool, &file).len(), 1);
    drop(pinned);
    assert!(is_all(&reservation.publish("/copy", Publish::New).unwrap(), 0..MIB, 7));
}

#[test]
fn what_is_published_is_a_file_like_any_other() {
    let pool = pool_of(8 * MIB);
    let reservation = pool.reserve(3 * BLOCK + 10).wait().unwrap();
    reservation.pin(0..BLOCK).wait().unwrap().copy_in(0, &[7; BLOCK as usize]).unwrap();
    let file = reservation.publish("/chunk", Publish::New).unwrap();
    file.write_at(BLOCK, &[8; 10]).unwrap();
    file.append(&[9; 10]).unwrap();
    file.collapse(0..BLOCK).wait().unwrap();
    assert_eq!(bytes_of(&file, 0..12), [[8; 10].as_slice(), &[0, 0]].concat());
    let pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
    thread::scope(|scope| {
        let truncating = scope.spawn(|| file.truncate(0).wait().unwrap());
        wait_until_behind(&pool, &file);
        drop(pinned);
        truncating.join().unwrap();
    });
    drop(file);
    pool.unlink("/chunk").unwrap();
    assert_eq!(pool.stats().free, 8 * MIB);
}

#[test]
fn a_sparse_reservation_takes_blocks_as_they_are_pinned() {
    let pool = pool_of(8 * MIB);
    drop(use_up(&pool, "/old", 0xEE));
    pool.unlink("/old").unwrap();
    let whole = pool.stats().free;
    let reservation = pool.reserve(1 << 40).sparse().try_now().unwrap();
    assert_eq!(pool.stats().free, whole, "longer than the pool, and no block of it");
    let pinned = reservation.pin(MIB + 10..MIB + 20).wait().unwrap();
    let mut seen = [1; 10];
    pinned.copy_out(0, &mut seen).unwrap();
    assert_eq!(seen, [0; 10], "what no device has written reads as zeros");
    pinned.copy_in(0, &[7; 10]).unwrap();
    drop(pinned);
    drop(reservation.pin(2 * MIB..2 * MIB + 1).wait().unwrap());
    let file = reservation.publish("/sparse", Publish::New).unwrap();
    assert_eq!((file.len(), file.metadata().allocated), (1 << 40, 2 * BLOCK));
    assert!(is_all(&file, MIB..MIB + 10, 0) && is_all(&file, MIB + 20..MIB + BLOCK, 0), "G10: zeros around it");
    assert!(is_all(&file, MIB + 10..MIB + 20, 7) && is_all(&file, 2 * MIB..2 * MIB + BLOCK, 0));
    assert_eq!(file.seek_data(0), Some(MIB));
}

#[test]
fn a_sparse_reservation_may_be_empty_and_one_that_finds_no_block_says_so() {
    let pool = pool_of(MIB);
    let empty = pool.reserve(0).sparse().try_now().unwrap().publish("/empty", Publish::New).unwrap();
    assert_eq!((empty.len(), empty.metadata().allocated), (0, 0));
    assert_eq!(pool.reserve(0).try_now().unwrap_err().errno(), 22, "others are not");
    let reservation = pool.reserve(2 * MIB).sparse().try_now().unwrap();
    assert_eq!(reservation.pin(0..2 * MIB).try_now().unwrap_err().errno(), 28);
}

#[test]
fn a_reservation_that_turns_out_shorter_is_cut_and_what_was_cut_off_reads_as_zeros() {
    let pool = pool_of(8 * MIB);
    drop(use_up(&pool, "/old", 0xEE));
    pool.unlink("/old").unwrap();
    let mut reservation = pool.reserve(1 << 40).sparse().try_now().unwrap();
    let pinned = reservation.pin(0..2 * BLOCK).wait().unwrap();
    pinned.copy_in(0, &[7; 2 * BLOCK as usize]).unwrap();
    let busy = reservation.truncate(100).unwrap_err();
    assert_eq!(busy.errno(), 16, "G1: a transfer is in flight: {busy}");
    assert_eq!(reservation.len(), 1 << 40);
    drop(pinned);
    reservation.truncate(100).unwrap();
    reservation.truncate(3 * BLOCK).unwrap();
    let file = reservation.publish("/short", Publish::New).unwrap();
    assert_eq!((file.len(), file.metadata().allocated), (3 * BLOCK, BLOCK));
    assert!(is_all(&file, 0..100, 7) && is_all(&file, 100..3 * BLOCK, 0), "G10");
}
