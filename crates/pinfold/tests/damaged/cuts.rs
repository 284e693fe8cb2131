//! Files that are shorter, longer, emptier or another's.

use std::io::{Seek, SeekFrom, Write};

use pinfold::{PoolError, Snapshot};

use super::format::{LOG, Medium, PAGE, POOL_BYTES, SUPERBLOCK, SUPERBLOCKS, superblock};
use super::look::{opened, quiet, region_of, seen, state_of};
use super::sample::{Until, left_behind};

#[test]
fn a_pool_that_was_cut_short_is_refused_wherever_it_was_cut() {
    let medium = left_behind(Until::NotSynced);
    let metadata = LOG + medium.number(superblock::LOG_LEN);
    let mut lengths: Vec<u64> = (PAGE..metadata).step_by(PAGE as usize).collect();
    lengths.extend(medium.chunks().into_iter().flat_map(|chunk| [chunk.start, chunk.start + PAGE]));
    lengths.extend([metadata, 1 << 20, 5 << 20, POOL_BYTES - PAGE]);
    for len in lengths {
        let cut = medium.clone().resized(len);
        let is_cut = |error: &PoolError| matches!(error, PoolError::Cut { len: POOL_BYTES, have } if *have == len);
        assert!(seen(&cut).is_err_and(|error| is_cut(&error)), "{len} bytes, looked at");
        assert!(opened(&cut).is_err_and(|error| is_cut(&error)), "{len} bytes, opened");
    }
    // Regions are whole pages, files need not be.
    for len in [0, 1, 8, SUPERBLOCK as u64 - 1, SUPERBLOCK as u64, SUPERBLOCKS[1] + 7, POOL_BYTES - 1] {
        let error = seen(&medium.clone().resized(len)).unwrap_err();
        match len < SUPERBLOCK as u64 {
            true => assert!(matches!(error, PoolError::NotAPool), "{len} bytes: {error}"),
            false => assert!(matches!(error, PoolError::Cut { .. }), "{len} bytes: {error}"),
        }
    }
}

#[test]
fn a_pool_in_a_longer_file_is_what_it_was_and_grows() {
    let medium = left_behind(Until::NotSynced);
    let whole = seen(&medium).unwrap();
    for longer in [PAGE, 48 << 20] {
        let grown = medium.clone().resized(POOL_BYTES + longer);
        assert!(seen(&grown).unwrap() == whole);
        let pool = opened(&grown).unwrap();
        assert!(state_of(&pool) == whole);
        assert_eq!(pool.stats().total, POOL_BYTES, "the pool has its own length");
    }
    let pool = opened(&medium.clone().resized(64 << 20)).unwrap();
    let free = pool.stats().free;
    for len in [32 << 20, 64 << 20] {
        pool.grow(len).unwrap();
        assert_eq!(pool.stats().free, free + len - POOL_BYTES);
    }
    pool.create("/large").unwrap().allocate(0..40 << 20).try_now().unwrap();
}

#[test]
fn a_pool_of_which_a_part_is_zeros_is_refused_or_what_it_was() {
    let medium = left_behind(Until::Synced);
    let whole = seen(&medium).unwrap();
    let log = LOG + medium.number(superblock::REPLAY_FROM);
    let zeroed = |range| {
        let mut zeroed = medium.clone();
        zeroed.zero(range);
        zeroed
    };
    for range in [0..PAGE, SUPERBLOCKS[1]..LOG] {
        let zeroed = zeroed(range);
        assert!(seen(&zeroed).unwrap() == whole, "the other superblock");
        assert!(state_of(&opened(&zeroed).unwrap()) == whole);
    }
    let nothing = zeroed(0..LOG);
    assert!(matches!(seen(&nothing), Err(PoolError::NotAPool)));
    assert!(matches!(opened(&nothing), Err(PoolError::NotAPool)));
    let chunk = medium.chunks().remove(0);
    for range in [log..log + PAGE, log + 8..log + 16, chunk.start..chunk.start + PAGE, chunk.end - 1..chunk.end] {
        let zeroed = zeroed(range.clone());
        assert!(matches!(seen(&zeroed), Err(PoolError::Damaged(_))), "{range:?}");
        assert!(matches!(opened(&zeroed), Err(PoolError::Damaged(_))), "{range:?}");
    }
}

#[test]
fn a_pool_of_a_newer_version_is_refused_even_if_one_superblock_is_ours() {
    let newer_than_ours = pinfold::FORMAT_VERSION + 1;
    let medium = left_behind(Until::Checkpoint);
    for places in [&SUPERBLOCKS[..1], &SUPERBLOCKS[1..], &SUPERBLOCKS] {
        let mut newer = medium.clone();
        for place in places {
            newer.write(place + superblock::VERSION.start as u64, &newer_than_ours.to_le_bytes());
            newer.seal_superblock(*place);
        }
        for error in [seen(&newer).unwrap_err(), opened(&newer).unwrap_err()] {
            assert!(matches!(error, PoolError::Version { found } if found == newer_than_ours), "{error}");
            assert!(error.to_string().contains(&format!("format {newer_than_ours}")), "{error}");
        }
    }
}

#[test]
fn a_newer_or_damaged_pool_is_not_formatted_over_unless_forced() {
    let mut medium = left_behind(Until::Checkpoint);
    medium.write(superblock::VERSION.start as u64, &(pinfold::FORMAT_VERSION + 1).to_le_bytes());
    medium.seal_superblock(0);
    let file = super::look::file_of(&medium);
    let refused = quiet().format_region(region_of(&file), POOL_BYTES, None).unwrap_err();
    assert!(matches!(refused, PoolError::Exists), "{refused}");
    assert!(Medium::of(&file).unwrap() == medium);
    let pool = quiet().force(true).format_region(region_of(&file), POOL_BYTES, None).unwrap();
    assert_eq!(state_of(&pool).len(), 1, "a root and nothing else");
}

#[test]
fn what_is_no_pool_is_told() {
    let mut text = tempfile::tempfile().unwrap();
    text.write_all(&b"dear reader, this is a letter and not a pool\n".repeat(10_000)).unwrap();
    assert!(matches!(Snapshot::of(text), Err(PoolError::NotAPool)));
    let mut medium = Medium::of_len(POOL_BYTES);
    assert!(matches!(opened(&medium), Err(PoolError::NotAPool)));
    medium.write(0, b"pinfold\n");
    for error in [seen(&medium).unwrap_err(), opened(&medium).unwrap_err()] {
        assert!(matches!(error, PoolError::Damaged(_)), "{error}");
    }
    let mut empty = tempfile::tempfile().unwrap();
    empty.seek(SeekFrom::Start(0)).unwrap();
    assert!(matches!(Snapshot::of(empty), Err(PoolError::NotAPool)));
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Snapshot::open(dir.path()), Err(PoolError::NotAPool)));
}
