//! What is written is read, and nothing else is.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;

use pinfold::{FILE_BYTES_MAX, PoolOptions, Region};

use crate::common::{BLOCK, MIB, bytes_of, filled, is_all, pool_of, use_up};

#[test]
fn a_sparse_file_reaches_to_2_to_the_60_and_costs_what_is_in_it() {
    let pool = pool_of(4 * MIB);
    let file = pool.create("/sparse").unwrap();
    file.truncate(FILE_BYTES_MAX).wait().unwrap();
    assert_eq!((file.len(), file.metadata().allocated), (1 << 60, 0));
    file.write_at(FILE_BYTES_MAX - 3, b"end").unwrap();
    file.write_at(1 << 40, b"middle").unwrap();
    assert_eq!((file.len(), file.metadata().allocated), (1 << 60, 2 * BLOCK));
    assert_eq!(bytes_of(&file, (1 << 40) - 2..(1 << 40) + 8), b"\0\0middle\0\0");
    assert_eq!(bytes_of(&file, FILE_BYTES_MAX - 5..FILE_BYTES_MAX), b"\0\0end");
    assert!(is_all(&file, 0..MIB, 0));
    let offsets: Vec<u64> = file.extents().iter().map(|extent| extent.offset).collect();
    assert_eq!(offsets, [1 << 40, FILE_BYTES_MAX - BLOCK]);
    assert_eq!((file.seek_data(0), file.seek_data((1 << 40) + 1)), (Some(1 << 40), Some((1 << 40) + 1)));
    assert_eq!(file.seek_data((1 << 40) + BLOCK), Some(FILE_BYTES_MAX - BLOCK));
    assert_eq!((file.seek_hole(1 << 40), file.seek_hole(FILE_BYTES_MAX - 1)), (Some((1 << 40) + BLOCK), Some(1 << 60)));
    file.truncate(0).wait().unwrap();
    assert_eq!(pool.stats().free, 4 * MIB);
}

#[test]
fn seek_finds_data_and_holes_and_the_end() {
    let pool = pool_of(4 * MIB);
    let file = pool.create("/file").unwrap();
    assert_eq!((file.seek_data(0), file.seek_hole(0)), (None, None), "an empty file has neither");
    file.write_at(2 * BLOCK + 100, &[7; 100]).unwrap();
    // Set aside, and not written: it reads as zeros, and counts as a hole.
    file.allocate(4 * BLOCK..6 * BLOCK).wait().unwrap();
    file.truncate(5 * BLOCK + 10).wait().unwrap();
    assert_eq!((file.seek_hole(0), file.seek_hole(1000)), (Some(0), Some(1000)));
    assert_eq!((file.seek_data(0), file.seek_data(2 * BLOCK + 50)), (Some(2 * BLOCK), Some(2 * BLOCK + 50)));
    assert_eq!(file.seek_hole(2 * BLOCK), Some(3 * BLOCK));
    assert_eq!((file.seek_data(3 * BLOCK), file.seek_hole(4 * BLOCK + 1)), (None, Some(4 * BLOCK + 1)));
    let end = file.len();
    assert_eq!((file.seek_hole(end - 1), file.seek_hole(end), file.seek_data(end)), (Some(end - 1), None, None));
    file.write_at(5 * BLOCK, &[7]).unwrap();
    assert_eq!(file.seek_hole(5 * BLOCK), Some(end), "the end counts as a hole");
}

#[test]
fn g10_no_byte_of_another_file_is_ever_seen() {
    let pool = pool_of(4 * MIB);
    drop(use_up(&pool, "/old", 0xEE));
    pool.unlink("/old").unwrap();
    let file = pool.create("/new").unwrap();
    // By a write of a few bytes, a length, an allocation, a zeroed range, a device's pin.
    file.write_at(BLOCK + 100, &[7; 10]).unwrap();
    file.truncate(MIB + 10).wait().unwrap();
    file.allocate(16 * BLOCK..32 * BLOCK).wait().unwrap();
    file.write_at(20 * BLOCK + 5, &[7]).unwrap();
    file.zero(40 * BLOCK + 1..48 * BLOCK + 1).wait().unwrap();
    let pinned = file.pin(64 * BLOCK + 3..80 * BLOCK + 3, pinfold::Access::Read).wait().unwrap();
    let mut seen = vec![0xAA; pinned.len() as usize];
    pinned.copy_out(0, &mut seen).unwrap();
    assert!(seen.iter().all(|byte| *byte == 0), "a device reads zeros too");
    let old = bytes_of(&file, 0..file.len()).iter().filter(|byte| **byte == 0xEE).count();
    assert_eq!(old, 0);
    drop(pinned);
    // What lies behind the end is zeros when the file grows over it.
    let tail = filled(&pool, "/tail", 2 * BLOCK, 0xDD);
    tail.truncate(100).wait().unwrap();
    tail.truncate(2 * BLOCK).wait().unwrap();
    assert!(is_all(&tail, 0..100, 0xDD) && is_all(&tail, 100..2 * BLOCK, 0));
}

#[test]
fn odd_pieces_over_blocks_and_holes_come_back_as_they_went() {
    for block_size in [4096, 65536, 2 * MIB] {
        let options = PoolOptions::new().block_size(block_size);
        let pool = options.create(Region::memfd(32 * MIB).unwrap()).unwrap();
        let file = pool.create("/file").unwrap();
        let mut expected = vec![0u8; 9 * MIB as usize];
        let pieces = [(1, 5), (4090, 12), (3 * MIB - 7, 2 * MIB as usize + 100), (6 * MIB + 1, 3), (5 * MIB, 4096)];
        for (index, (offset, len)) in pieces.into_iter().enumerate() {
            let piece: Vec<u8> = (0..len).map(|at| (at as u8) ^ index as u8 | 1).collect();
            file.write_at(offset, &piece).unwrap();
            expected[offset as usize..offset as usize + len].copy_from_slice(&piece);
        }
        assert_eq!(file.len(), 6 * MIB + 4);
        assert!(bytes_of(&file, 0..file.len()) == expected[..file.len() as usize], "blocks of {block_size}");
        let mut beyond = vec![0xEE; 10];
        assert_eq!(file.read_at(file.len() - 3, &mut beyond).unwrap(), 3);
        assert_eq!(beyond[3..], [0xEE; 7], "nothing is written behind what was read");
        assert_eq!(file.read_at(file.len(), &mut beyond).unwrap(), 0);
        file.write_at(100 * MIB, &[]).unwrap();
        assert_eq!(file.len(), 6 * MIB + 4, "an empty write makes nothing longer");
    }
}

#[test]
fn appends_of_many_threads_are_atomic_and_lose_nothing() {
    const THREADS: u8 = 4;
    const APPENDS: usize = 50;
    // Odd, and of more than one block; some of more than one step of a copy.
    let len_of = |index: usize| if index == 7 { 3 * MIB as usize + 11 } else { 1000 + 997 * (index % 9) };
    let pool = pool_of(64 * MIB);
    let file = pool.create("/log").unwrap();
    let start = Barrier::new(THREADS.into());
    let mut places: Vec<(u64, usize, u8)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (file, start) = (&file, &start);
                scope.spawn(move || {
                    start.wait();
                    let append = |index| {
                        let mark = thread * 50 + index as u8 % 50 + 1;
                        (file.append(&vec![mark; len_of(index)]).unwrap(), len_of(index), mark)
                    };
                    (0..APPENDS).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    places.sort_unstable();
    let mut end = 0;
    for (offset, len, mark) in &places {
        assert_eq!(*offset, end, "they lie one behind the other");
        assert!(is_all(&file, *offset..offset + *len as u64, *mark), "nobody else's bytes come in between");
        end += *len as u64;
    }
    assert_eq!((file.len(), places.len()), (end, usize::from(THREADS) * APPENDS));
    assert_eq!(places.iter().map(|place| place.2).collect::<HashSet<_>>().len(), places.len());
}

#[test]
fn appends_go_to_the_end_while_blocks_are_put_in_and_taken_out_before_it() {
    const APPENDS: usize = 400;
    // More than one step of a copy now and then.
    let len_of = |index: usize| if index % 100 == 99 { 2 * MIB as usize + 5 } else { 3001 };
    let mark_of = |index: usize| (index % 250) as u8 + 1;
    let pool = pool_of(64 * MIB);
    let file = filled(&pool, "/log", 2 * BLOCK, 0xFF);
    thread::scope(|scope| {
        let appending = scope.spawn(|| {
            (0..APPENDS).for_each(|index| assert!(file.append(&vec![mark_of(index); len_of(index)]).is_ok()));
        });
        while !appending.is_finished() {
            file.insert(0, 3 * BLOCK).wait().unwrap();
            file.collapse(0..3 * BLOCK).wait().unwrap();
        }
    });
    let mut at = 2 * BLOCK;
    assert!(is_all(&file, 0..at, 0xFF));
    for index in 0..APPENDS {
        let end = at + len_of(index) as u64;
        assert!(file.len() >= end && is_all(&file, at..end, mark_of(index)), "append {index} is not at {at}");
        at = end;
    }
    assert_eq!(file.len(), at);
}

#[test]
fn a_reader_finds_no_bytes_that_are_not_there_yet() {
    const APPENDS: u64 = 300;
    let pool = pool_of(64 * MIB);
    drop(use_up(&pool, "/old", 0xEE));
    pool.unlink("/old").unwrap();
    let file = pool.create("/log").unwrap();
    thread::scope(|scope| {
        let writing = scope.spawn(|| (0..APPENDS).for_each(|_| assert!(file.append(&[7; 5000]).is_ok())));
        while !writing.is_finished() {
            let len = file.len();
            let tail = len.saturating_sub(20_000)..len;
            assert!(is_all(&file, tail, 7), "the file is as long as what was written");
        }
    });
    assert_eq!(file.len(), APPENDS * 5000);
}

#[test]
fn a_copy_keeps_bytes_and_holes_and_replaces_what_was_there() {
    let pool = pool_of(16 * MIB);
    let file = pool.create("/file").unwrap();
    file.write_at(100, &[1; 5000]).unwrap();
    file.write_at(3 * MIB, &vec![2; MIB as usize]).unwrap();
    file.allocate(MIB..2 * MIB).wait().unwrap();
    let copy = pool.create("/copy").unwrap();
    assert_eq!(file.copy_range(0..u64::MAX, &copy, 0).unwrap(), 4 * MIB);
    assert!(bytes_of(&copy, 0..4 * MIB) == bytes_of(&file, 0..4 * MIB));
    assert_eq!(copy.metadata().allocated, MIB + 2 * BLOCK, "holes stay holes, and so does what was only set aside");
    // Over bytes that were there, at odd places, in the file itself, and at its end.
    let full = filled(&pool, "/full", MIB, 0xEE);
    assert_eq!(file.copy_range(50..6000, &full, 333).unwrap(), 5950);
    assert!(is_all(&full, 0..333, 0xEE) && bytes_of(&full, 333..333 + 5950) == bytes_of(&file, 50..6000));
    assert!(is_all(&full, 333 + 5950..MIB, 0xEE));
    // Its holes too, over bytes that were there.
    let whole = filled(&pool, "/whole", 4 * MIB + 10, 0xEE);
    assert_eq!(file.copy_range(0..4 * MIB, &whole, 5).unwrap(), 4 * MIB);
    assert!(bytes_of(&whole, 5..4 * MIB + 5) == bytes_of(&file, 0..4 * MIB));
    assert!(is_all(&whole, 0..5, 0xEE) && is_all(&whole, 4 * MIB + 5..4 * MIB + 10, 0xEE));
    assert_eq!(file.copy_range(100..5100, &file, 20_000).unwrap(), 5000);
    assert_eq!(bytes_of(&file, 20_000..25_000), [1; 5000]);
    assert_eq!(file.copy_range(4 * MIB - 10..5 * MIB, &copy, 8 * MIB).unwrap(), 10);
    assert_eq!(copy.len(), 8 * MIB + 10);
    assert_eq!(file.copy_range(4 * MIB..5 * MIB, &copy, 0).unwrap(), 0);
}

#[test]
fn punch_and_zero_take_their_edges_to_the_byte() {
    let pool = pool_of(16 * MIB);
    for (start, end) in [(100, 200), (100, 5000), (1, 3 * BLOCK + 1), (BLOCK, 2 * BLOCK), (4095, 4097), (0, 64 * BLOCK)]
    {
        for (zero, keep_size) in [(false, false), (true, false), (true, true)] {
            let file = filled(&pool, "/file", 16 * BLOCK, 7);
            match zero {
                false => file.punch(start..end).wait().unwrap(),
                true if keep_size => file.zero(start..end).keep_size().wait().unwrap(),
                true => file.zero(start..end).wait().unwrap(),
            }
            let len = if zero && !keep_size { end.max(16 * BLOCK) } else { 16 * BLOCK };
            assert_eq!(file.len(), len);
            let inside = |offset: u64| (start..end).contains(&offset) || offset >= 16 * BLOCK;
            let expected: Vec<u8> = (0..len).map(|offset| if inside(offset) { 0 } else { 7 }).collect();
            assert!(bytes_of(&file, 0..len) == expected, "{start}..{end}, zero: {zero}");
            if zero {
                assert_eq!(
                    file.metadata().allocated,
                    end.next_multiple_of(BLOCK).max(16 * BLOCK),
                    "it has blocks all over"
                );
            }
            pool.unlink("/file").unwrap();
        }
    }
}

#[test]
fn collapse_and_insert_are_each_others_inverse() {
    let pool = pool_of(16 * MIB);
    let file = pool.create("/file").unwrap();
    let bytes: Vec<u8> = (0..20 * BLOCK).map(|offset| (offset / 100) as u8).collect();
    file.write_at(0, &bytes).unwrap();
    file.write_at(30 * BLOCK, b"behind a hole").unwrap();
    let (before, extents) = (bytes_of(&file, 0..file.len()), file.metadata().allocated);
    for (at, len) in [(0, BLOCK), (3 * BLOCK, 7 * BLOCK), (25 * BLOCK, BLOCK)] {
        file.insert(at, len).wait().unwrap();
        assert_eq!((file.len(), file.metadata().allocated), (before.len() as u64 + len, extents));
        assert!(is_all(&file, at..at + len, 0));
        assert!(bytes_of(&file, at + len..file.len()) == before[at as usize..]);
        file.collapse(at..at + len).wait().unwrap();
        assert!(bytes_of(&file, 0..file.len()) == before);
    }
    file.collapse(BLOCK..20 * BLOCK).wait().unwrap();
    assert!(bytes_of(&file, 0..BLOCK) == before[..BLOCK as usize]);
    assert_eq!((file.metadata().allocated, pool.stats().in_files), (2 * BLOCK, 2 * BLOCK));
}
