//! Pools that are full.

use pinfold::{Access, File, Pool, Publish, SpaceError, Until};
use rustix::io::Errno;

use crate::common::{BLOCK, DeviceIsQuiet, MIB, assert_errno, block_on, bytes_of, filled, is_all, unlink, use_up};
use crate::{assert_says, nothing_stays};

/// What must not change when something finds no space.
fn state(file: &File) -> (Vec<pinfold::FileExtent>, u64, Vec<u8>) {
    (file.extents(), file.len(), bytes_of(file, 0..file.len()))
}

/// A full pool, with a file of 64 KiB of sevens that has a hole in its first block, and one in its last.
fn full(pool: &Pool) -> File {
    let file = filled(pool, "/file", 65536, 7);
    file.punch(0..BLOCK).wait().unwrap();
    file.punch(61440..65536).wait().unwrap();
    drop(use_up(pool, "/rest", 1));
    file
}

fn clear(pool: &Pool, file: File) {
    drop(file);
    pool.unlink("/file").unwrap();
    pool.unlink("/rest").unwrap();
}

#[test]
fn every_operation_that_finds_no_space_says_so_and_changes_nothing() {
    nothing_stays(|pool| {
        let file = full(pool);
        let (before, stats) = (state(&file), pool.stats());
        macro_rules! refuse {
            ($($result:expr),+ $(,)?) => {
                $(let error = $result.map(drop).expect_err(stringify!($result));
                assert_errno(error.errno(), Errno::NOSPC, &error);
                assert_says(&error, &["no space", "asked for", "0 of 4194304 free"]);
                assert!(state(&file) == before, "it changed the file: {}", stringify!($result));
                assert_eq!(pool.stats(), stats, "{}", stringify!($result));)+
            };
        }
        let whole = || 0..65536;
        refuse!(
            file.write_at(0, &[1; 5000]),
            file.write_at(61440 - 5, &[1; 10]),
            file.write_at(65536, &[1]),
            file.write_at(100, &vec![1; 3 << 20]),
            file.append(&[1; 100]),
            file.append(&vec![1; 3 << 20]),
            file.copy_range(BLOCK..61440, &file, 61440),
        );
        refuse!(
            file.allocate(whole()).wait(),
            file.allocate(whole()).try_now(),
            file.allocate(65536..1 << 20).keep_size().wait(),
            block_on(file.allocate(0..1 << 60).wait_async()),
        );
        refuse!(
            file.pin(whole(), Access::Write).wait(),
            file.pin(whole(), Access::Read).try_now(),
            block_on(file.pin(0..1, Access::Write).wait_async()),
        );
        refuse!(
            file.zero(100..65500).wait(),
            file.zero(100..8192).detach().wait(),
            file.zero(61440..61441).wait(),
            file.zero(65536..131072).try_now(),
        );
        refuse!(pool.reserve(1).wait(), pool.reserve(1).try_now(), block_on(pool.reserve(MIB).wait_async()));
        clear(pool, file);
    });
}

#[test]
fn an_allocation_that_finds_too_little_takes_nothing() {
    nothing_stays(|pool| {
        let file = full(pool);
        // One block is free, and two are asked for.
        pool.open("/rest").unwrap().punch(0..BLOCK).wait().unwrap();
        let before = state(&file);
        let error = file.allocate(0..65536).try_now().unwrap_err();
        let SpaceError::Full(space) = &error else { panic!("{error}") };
        assert!(space.asked > space.free, "what was asked for is more than there is: {error}");
        file.pin(0..65536, Access::Read).wait().unwrap_err();
        file.write_at(0, &[1; 65536]).unwrap_err();
        assert!(state(&file) == before);
        assert_eq!(pool.stats().free, BLOCK);
        file.allocate(0..BLOCK).try_now().expect("there is one");
        clear(pool, file);
    });
}

#[test]
fn what_is_missing_is_counted_full_pinned_and_quarantined_apart() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let pinned = file.pin(0..8192, Access::Write).wait().unwrap();
        let given_up = file.pin(16384..16384 + 12288, Access::Write).wait().unwrap();
        given_up.abandon();
        file.truncate(0).detach().wait().unwrap();
        drop(use_up(pool, "/rest", 1));
        let error = file.allocate(0..BLOCK).try_now().unwrap_err();
        let SpaceError::Full(space) = &error else { panic!("{error}") };
        assert_eq!((space.asked, space.free, space.total), (BLOCK, 0, 4 * MIB));
        assert_eq!((space.pinned, space.quarantined, space.not_durable), (8192, 12288, 0));
        assert_says(&error, &["4096 bytes asked for", "0 of 4194304 free", "8192 kept by pins", "12288 in quarantine"]);
        assert_eq!((pool.stats().parked, pool.stats().quarantined, pool.stats().pins), (8192, 12288, 2));
        drop(pinned);
        assert_eq!(pool.release(&DeviceIsQuiet).unwrap(), 1);
        assert_eq!(pool.stats().free, 8192 + 12288);
        clear(pool, file);
    });
}

#[test]
fn a_wait_for_space_that_no_pin_keeps_is_no_wait() {
    nothing_stays(|pool| {
        let file = full(pool);
        for until in [Until::done(), Until::done().interruptible()] {
            let error = file.allocate(0..65536).until(until).unwrap_err();
            assert_errno(error.errno(), Errno::NOSPC, &error);
        }
        clear(pool, file);
    });
}

#[test]
fn a_wait_for_more_space_than_pins_could_give_back_is_no_wait() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let mut pinned = file.pin(0..8192, Access::Write).wait().unwrap();
        pinned.hand_over();
        file.truncate(0).detach().wait().unwrap();
        drop(use_up(pool, "/rest", 1));
        // With a deadline, so that a wait would be told from a refusal.
        let until = Until::after(std::time::Duration::from_secs(60));
        let error = file.allocate(0..65536).until(until).unwrap_err();
        assert_errno(error.errno(), Errno::NOSPC, &error);
        assert_says(&error, &["8192 kept by pins"]);
        let error = block_on(file.allocate(0..65536).wait_async()).unwrap_err();
        assert_errno(error.errno(), Errno::NOSPC, &error);
        let error = pool.reserve(65536).wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOSPC, &error);
        drop(pinned);
        clear(pool, file);
    });
}

#[test]
fn g4_a_wait_for_space_that_its_own_thread_keeps_is_refused() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let pinned = file.pin(0..8192, Access::Write).labelled("ring 3", "prefetch").unwrap().wait().unwrap();
        file.truncate(0).detach().wait().unwrap();
        drop(use_up(pool, "/rest", 1));
        let error = file.allocate(0..BLOCK).wait().unwrap_err();
        assert_errno(error.errno(), Errno::DEADLK, &error);
        assert_says(&error, &["ring 3", "prefetch"]);
        file.truncate(BLOCK).wait().unwrap();
        let error = file.pin(0..BLOCK, Access::Write).wait().unwrap_err();
        assert_errno(error.errno(), Errno::DEADLK, &error);
        let error = pool.reserve(BLOCK).wait().unwrap_err();
        assert_errno(error.errno(), Errno::DEADLK, &error);
        drop(pinned);
        clear(pool, file);
    });
}

#[test]
fn g4_a_change_that_would_wait_for_its_own_thread_is_refused() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let pinned = file.pin(0..BLOCK, Access::Read).labelled("ring 3", "prefetch").unwrap().wait().unwrap();
        let changes = [file.truncate(0), file.punch(0..65536), file.zero(0..65536), file.collapse(0..BLOCK)];
        for change in changes.into_iter().chain([file.insert(0, BLOCK), file.exchange(0..BLOCK, &file, BLOCK)]) {
            let error = change.wait().unwrap_err();
            assert_errno(error.errno(), Errno::DEADLK, &error);
            assert_says(&error, &["ring 3", "prefetch"]);
        }
        assert!(is_all(&file, 0..65536, 7));
        drop(pinned);
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn a_detached_cut_that_finds_no_block_for_what_it_keeps_changes_nothing() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let pinned = file.pin(0..65536, Access::Write).wait().unwrap();
        drop(use_up(pool, "/rest", 1));
        let before = state(&file);
        // The block that is cut in two is under DMA: what is kept of it needs another block.
        let error = file.truncate(100).detach().wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOSPC, &error);
        // What is zeroed under DMA needs other blocks too.
        let error = file.zero(0..65536).detach().wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOSPC, &error);
        assert!(state(&file) == before);
        assert_eq!((pool.stats().parked, pool.breaks().len()), (0, 0));
        drop(pinned);
        clear(pool, file);
    });
}

#[test]
fn a_reservation_that_cannot_be_published_is_given_back_whole() {
    nothing_stays(|pool| {
        pool.create("/taken").unwrap();
        pool.create_dir("/directory").unwrap();
        let mut reservation = pool.reserve(65536).wait().unwrap();
        let stats = pool.stats();
        let pinned = reservation.pin(0..8192).wait().unwrap();
        pinned.copy_in(0, &[7; 8192]).unwrap();
        // While a transfer is in flight, at once and after a while.
        let busy = reservation.publish("/chunk", Publish::New).unwrap_err();
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        assert_says(&busy, &["/chunk", "busy"]);
        let soon = Until::after(std::time::Duration::from_millis(1));
        let mut pinned = pinned;
        pinned.hand_over();
        let late = busy.reservation.publish_until("/chunk", Publish::New, soon).unwrap_err();
        assert_errno(late.errno(), Errno::TIMEDOUT, &late);
        reservation = late.reservation;
        drop(pinned);
        let long_name = format!("/{}", "x".repeat(256));
        for (path, how, errno) in [
            ("/taken", Publish::New, Errno::EXIST),
            ("/directory", Publish::Replace, Errno::ISDIR),
            ("/none/chunk", Publish::New, Errno::NOENT),
            ("/taken/chunk", Publish::New, Errno::NOTDIR),
            ("", Publish::New, Errno::NOENT),
            ("/a\0b", Publish::New, Errno::INVAL),
            (&long_name, Publish::Replace, Errno::NAMETOOLONG),
        ] {
            let refused = reservation.publish(path, how).unwrap_err();
            assert_errno(refused.errno(), errno, &refused);
            reservation = refused.reservation;
        }
        assert_eq!(pool.stats(), stats);
        let file = reservation.publish("/chunk", Publish::New).unwrap();
        assert!(is_all(&file, 0..8192, 7) && is_all(&file, 8192..65536, 0), "nothing of it was lost");
        drop(file);
        unlink(pool, &["/chunk", "/taken"]);
        pool.remove_dir("/directory").unwrap();
    });
}

#[test]
fn g6_what_is_only_looked_at_names_the_pin_in_the_way() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let pinned = file.pin(0..BLOCK, Access::Read).labelled("ring 3", "prefetch").unwrap().wait().unwrap();
        for change in [file.truncate(0), file.punch(0..65536), file.zero(0..65536), file.collapse(0..BLOCK)] {
            let error = change.try_now().unwrap_err();
            assert_errno(error.errno(), Errno::BUSY, &error);
            assert_says(&error, &["ring 3", "prefetch"]);
            let holder = error.holder().expect("a pin is in the way");
            assert_eq!((holder.file, holder.bytes.clone()), (file.id(), 0..BLOCK));
        }
        drop(pinned);
        drop(file);
        pool.unlink("/file").unwrap();
    });
}
