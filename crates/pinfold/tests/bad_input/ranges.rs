//! Ranges that are none, or lie where no file can.

use std::ops::Range;
use std::sync::Arc;

use pinfold::{Access, FILE_BYTES_MAX, File, LongTerm, Place, Pool, Publish, Recalled};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, block_on, bytes_of, filled};
use crate::{assert_says, nothing_stays};

#[allow(clippy::reversed_empty_ranges, reason = "that is what is tried")]
const NO_RANGES: [Range<u64>; 6] = [0..0, 5..5, 8192..4096, u64::MAX..u64::MAX, u64::MAX..0, u64::MAX - 1..4];
const ABSURD: [u64; 6] = [FILE_BYTES_MAX + 1, (1 << 63) - 1, 1 << 63, (1 << 63) + BLOCK, u64::MAX - BLOCK, u64::MAX];

fn term() -> LongTerm {
    LongTerm::new(Access::Write, Some(Arc::new(|_: &Recalled| ())))
}

/// Asserts that a file of 64 KiB of sevens is as it was, runs something, and asserts it again.
fn unchanged(pool: &Pool, test: impl FnOnce(&File)) {
    let file = filled(pool, "/file", 65536, 7);
    let (extents, metadata) = (file.extents(), file.metadata());
    test(&file);
    assert_eq!((file.extents(), file.metadata().len, file.metadata().allocated), (extents, 65536, 65536));
    assert_eq!(file.metadata(), metadata, "not even its time");
    assert_eq!(bytes_of(&file, 0..65536), [7; 65536]);
    drop(file);
    pool.unlink("/file").unwrap();
}

/// What each operation on a range says, whichever form ends it.
fn refusals(file: &File, range: Range<u64>) -> Vec<(&'static str, i32, Box<dyn std::error::Error>)> {
    let mut refused: Vec<(&'static str, i32, Box<dyn std::error::Error>)> = Vec::new();
    macro_rules! refuse {
        ($name:literal, $($result:expr),+) => {
            $(let error = $result.map(drop).expect_err($name); refused.push(($name, error.errno(), error.into()));)+
        };
    }
    let pin = || file.pin(range.clone(), Access::Write);
    refuse!("pin", pin().wait(), pin().try_now(), block_on(pin().wait_async()));
    refuse!("batch", file.pin(0..1, Access::Read).and(pin()).wait(), pin().and(file.pin(0..1, Access::Read)).try_now());
    let long = || file.pin_long_term(range.clone(), term());
    refuse!("long-term pin", long().wait(), long().try_now(), block_on(long().wait_async()));
    refuse!("token", file.token(range.clone()));
    let mut held = file.pin(0..1, Access::Read).wait().unwrap();
    refuse!("extend", held.extend(file, range.clone(), Access::Read));
    drop(held);
    let allocate = || file.allocate(range.clone());
    refuse!("allocate", allocate().wait(), allocate().keep_size().try_now(), block_on(allocate().wait_async()));
    let punch = || file.punch(range.clone());
    refuse!("punch", punch().wait(), punch().detach().try_now(), block_on(punch().wait_async()));
    let zero = || file.zero(range.clone());
    refuse!("zero range", zero().wait(), zero().keep_size().try_now(), block_on(zero().wait_async()));
    let collapse = || file.collapse(range.clone());
    refuse!("collapse", collapse().wait(), collapse().try_now(), block_on(collapse().wait_async()));
    let exchange = || file.exchange(range.clone(), file, 0);
    refuse!("exchange", exchange().wait(), exchange().try_now(), block_on(exchange().wait_async()));
    refused
}

#[test]
fn an_empty_or_reversed_range_is_refused_by_every_operation() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            for range in NO_RANGES {
                for (name, errno, error) in refusals(file, range.clone()) {
                    assert_eq!(Errno::from_raw_os_error(errno), Errno::INVAL, "{name} of {range:?}: {error}");
                    let bounds = [range.start.to_string(), range.end.to_string(), file.id().to_string()];
                    assert_says(&*error, &bounds.each_ref().map(|word| word.as_str()));
                }
            }
            let error = file.insert(0, 0).wait().unwrap_err();
            assert_errno(error.errno(), Errno::INVAL, &error);
        });
    });
}

#[test]
fn a_range_where_no_file_can_be_is_refused_by_every_operation() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            for end in ABSURD {
                for start in [0, end - 1, end - BLOCK] {
                    for (name, errno, error) in refusals(file, start..end) {
                        let expected = match name {
                            "pin" | "batch" | "long-term pin" | "token" | "extend" => Errno::NXIO,
                            _ => Errno::INVAL,
                        };
                        assert_eq!(Errno::from_raw_os_error(errno), expected, "{name} of {start}..{end}: {error}");
                        assert_says(&*error, &[&end.to_string(), &file.id().to_string()]);
                    }
                }
            }
        });
    });
}

#[test]
fn an_offset_where_no_file_can_be_is_refused_or_reads_as_past_the_end() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            for offset in ABSURD {
                assert_eq!(file.read_at(offset, &mut [0; 100]).unwrap(), 0);
                assert_eq!((file.seek_data(offset), file.seek_hole(offset)), (None, None));
                assert_eq!(pool.what_is_at(offset), Place::Unknown);
                let error = file.write_at(offset, &[1]).unwrap_err();
                assert_errno(error.errno(), Errno::FBIG, &error);
                assert_says(&error, &[&offset.to_string(), &file.id().to_string()]);
                let error = file.truncate(offset).wait().unwrap_err();
                assert_errno(error.errno(), Errno::FBIG, &error);
                let error = file.truncate(offset).detach().try_now().unwrap_err();
                assert_errno(error.errno(), Errno::FBIG, &error);
                let error = file.copy_range(0..1, file, offset).unwrap_err();
                assert_errno(error.errno(), Errno::FBIG, &error);
                assert_eq!(file.copy_range(offset..u64::MAX, file, 0).unwrap(), 0, "nothing is there to copy");
                for (at, len) in [(0, offset), (offset, BLOCK), (offset, offset)] {
                    let error = file.insert(at, len).wait().unwrap_err();
                    let known = [Errno::INVAL, Errno::FBIG].contains(&Errno::from_raw_os_error(error.errno()));
                    assert!(known, "insert of {len} at {at}: {error}");
                }
                let error = file.exchange(0..BLOCK, file, offset).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                let error = pool.reserve(offset).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
            }
        });
    });
}

#[test]
fn writes_that_would_end_past_the_longest_file_are_refused() {
    nothing_stays(|pool| {
        let file = pool.create("/file").unwrap();
        let error = file.write_at(FILE_BYTES_MAX - 1, &[1, 2]).unwrap_err();
        assert_errno(error.errno(), Errno::FBIG, &error);
        file.truncate(FILE_BYTES_MAX).wait().unwrap();
        let error = file.append(&[1]).unwrap_err();
        assert_errno(error.errno(), Errno::FBIG, &error);
        let error = file.insert(0, BLOCK).wait().unwrap_err();
        assert_errno(error.errno(), Errno::FBIG, &error);
        assert_eq!((file.len(), file.metadata().allocated), (FILE_BYTES_MAX, 0));
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn a_pin_past_the_end_is_told_where_the_end_is() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            // The rest of a block counts as past the end too.
            file.truncate(65536).wait().unwrap();
            for range in [65536..65537, 65535..65537, 0..65537, 1 << 40..(1 << 40) + 1] {
                let error = file.pin(range.clone(), Access::Read).wait().unwrap_err();
                assert_errno(error.errno(), Errno::NXIO, &error);
                assert_says(&error, &["65536", "grow it first", &file.id().to_string()]);
            }
        });
    });
}

#[test]
fn copies_through_a_pin_stay_inside_it() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            let pinned = file.pin(100..8192, Access::Write).wait().unwrap();
            let len = pinned.len();
            for offset in [len - 3, len, len + 1, 1 << 63, u64::MAX] {
                let error = pinned.copy_in(offset, &[1; 4]).unwrap_err();
                assert_says(&error, &[&offset.to_string(), &len.to_string()]);
                pinned.copy_out(offset, &mut [0; 4]).unwrap_err();
            }
            pinned.copy_in(len, &[]).expect("nothing, at the very end");
            pinned.written(u64::MAX);
        });
    });
}

#[test]
fn what_moves_blocks_takes_whole_ones_that_lie_in_the_file() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            let other = filled(pool, "/other", 65536, 8);
            for (start, end) in [(1, BLOCK), (0, BLOCK - 1), (BLOCK, 2 * BLOCK + 512)] {
                let error = file.collapse(start..end).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                assert_says(&error, &["4096", &file.id().to_string()]);
                let error = file.insert(start, end - start).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                let error = file.exchange(start..end, &other, 0).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
            }
            let error = file.exchange(0..BLOCK, &other, 100).wait().unwrap_err();
            assert_errno(error.errno(), Errno::INVAL, &error);
            assert_says(&error, &["4096", &other.id().to_string()]);
            // To the end and past it there is nothing that could move down or up.
            for range in [0..65536, 61440..65536, 0..1 << 40] {
                let error = file.collapse(range.clone()).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                assert_says(&error, &["65536"]);
            }
            let error = file.insert(65536, BLOCK).wait().unwrap_err();
            assert_errno(error.errno(), Errno::INVAL, &error);
            for (range, at) in [(0..131072, 0), (0..BLOCK, 65536), (65536..65536 + BLOCK, 0)] {
                let error = file.exchange(range, &other, at).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                assert_says(&error, &["past the end"]);
            }
            assert_eq!(bytes_of(&other, 0..65536), [8; 65536]);
            drop(other);
            pool.unlink("/other").unwrap();
        });
    });
}

#[test]
fn ranges_of_one_file_that_meet_are_neither_exchanged_nor_copied() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            let again = pool.open("/file").unwrap();
            for at in [0, BLOCK, 3 * BLOCK] {
                let error = file.exchange(0..4 * BLOCK, &again, at).wait().unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                assert_says(&error, &["they meet"]);
                let error = file.copy_range(0..4 * BLOCK, &again, at).unwrap_err();
                assert_errno(error.errno(), Errno::INVAL, &error);
                assert_says(&error, &["the ranges meet"]);
            }
        });
    });
}

#[test]
fn what_moves_blocks_cannot_be_detached() {
    nothing_stays(|pool| {
        unchanged(pool, |file| {
            let moves = [file.collapse(0..BLOCK), file.insert(0, BLOCK), file.exchange(0..BLOCK, file, 2 * BLOCK)];
            for change in moves {
                let error = change.detach().wait().unwrap_err();
                assert_errno(error.errno(), Errno::OPNOTSUPP, &error);
            }
        });
    });
}

#[test]
fn a_reservation_of_no_or_absurd_length_is_refused() {
    nothing_stays(|pool| {
        for len in [0, FILE_BYTES_MAX + 1, 1 << 63, u64::MAX] {
            let forms =
                [pool.reserve(len).wait(), pool.reserve(len).try_now(), block_on(pool.reserve(len).wait_async())];
            for error in forms.map(|reserved| reserved.unwrap_err()) {
                assert_errno(error.errno(), Errno::INVAL, &error);
                assert_says(&error, &[&len.to_string(), "cannot be reserved"]);
                assert!(!error.to_string().contains("file 0"), "there is no file yet: {error}");
            }
        }
        let error = pool.reserve(FILE_BYTES_MAX).wait().unwrap_err();
        assert_errno(error.errno(), Errno::NOSPC, &error);
    });
}

#[test]
fn a_reservation_is_pinned_inside_and_may_be_told_anything() {
    nothing_stays(|pool| {
        let reservation = pool.reserve(MIB).wait().unwrap();
        for range in [0..MIB + 1, MIB..MIB + 1, u64::MAX - 1..u64::MAX] {
            let error = reservation.pin(range).wait().unwrap_err();
            assert_errno(error.errno(), Errno::NXIO, &error);
        }
        for range in NO_RANGES {
            let error = reservation.pin(range.clone()).wait().unwrap_err();
            assert_errno(error.errno(), Errno::INVAL, &error);
            reservation.written(range);
        }
        reservation.written(MIB..u64::MAX);
        let file = reservation.publish("/file", Publish::New).unwrap();
        assert!(bytes_of(&file, 0..MIB).iter().all(|byte| *byte == 0));
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn sparse_files_of_absurd_length_are_copied_and_cut_in_a_moment() {
    nothing_stays(|pool| {
        let (one, two) = (pool.create("/one").unwrap(), pool.create("/two").unwrap());
        one.truncate(FILE_BYTES_MAX).wait().unwrap();
        one.write_at(FILE_BYTES_MAX / 2, &[7; 100]).unwrap();
        assert_eq!(one.copy_range(0..u64::MAX, &two, 0).unwrap(), FILE_BYTES_MAX);
        assert_eq!((two.len(), two.metadata().allocated), (FILE_BYTES_MAX, BLOCK));
        assert_eq!(bytes_of(&two, FILE_BYTES_MAX / 2..FILE_BYTES_MAX / 2 + 100), [7; 100]);
        one.punch(1..FILE_BYTES_MAX - 1).wait().unwrap();
        assert_eq!(one.metadata().allocated, 0);
        for file in ["/one", "/two"] {
            pool.open(file).unwrap().truncate(1).wait().unwrap();
            pool.unlink(file).unwrap();
        }
        drop((one, two));
    });
}
