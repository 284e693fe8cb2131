//! Every byte of a pool's metadata flipped in turn.
//!
//! What has to come of it:
//! - of a superblock: nothing. The other copy says the same.
//! - of the mark: nothing. What it says is in the log too, in a seal or in the records that came after.
//! - of the checkpoint, or of a record that was durable: the pool is refused.
//! - of a record that was not durable: what was before it. Nobody was promised more, and a tail that power tore looks so.
//! - of a seal: nothing.

use std::collections::BTreeMap;
use std::iter::once;
use std::ops::Range;

use pinfold::PoolError;

use super::format::{LOG, MARK, Medium, PAGE, RECORD_HEADER, Record, SUPERBLOCK, SUPERBLOCKS, superblock};
use super::look::{State, opened, seen, state_of};
use super::sample::{Until, left_behind};

const PATTERNS: [u8; 2] = [0x01, 0xFF];

/// What has to come of a flipped byte.
#[derive(Debug)]
enum Expected {
    Whole,
    Refused,
    /// What the records before this position say.
    Before(u64),
}

/// Flips each byte of some ranges, looks at what is left, and opens it.
fn flip_all(medium: &Medium, ranges: impl IntoIterator<Item = Range<u64>>, expected: impl Fn(u64) -> Expected) {
    let whole = seen(medium).unwrap();
    assert_eq!(state_of(&opened(medium).unwrap()), whole);
    let mut before: BTreeMap<u64, State> = BTreeMap::new();
    let mut flipped = 0;
    for at in ranges.into_iter().flatten() {
        let expected = expected(at);
        for bits in PATTERNS {
            let mut damaged = medium.clone();
            damaged.flip(at, bits);
            let right = match &expected {
                Expected::Refused => {
                    check_refused(&damaged, at);
                    continue;
                }
                Expected::Whole => &whole,
                Expected::Before(position) => before.entry(*position).or_insert_with(|| cut_off(medium, *position)),
            };
            let what = format!("byte {at} ^ {bits:#x}: {expected:?}");
            assert!(seen(&damaged).unwrap_or_else(|error| panic!("{what}: {error}")) == *right, "{what}, looked at");
            let pool = opened(&damaged).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(state_of(&pool) == *right, "{what}, opened");
        }
        flipped += 1;
    }
    println!("{flipped} bytes");
}

fn check_refused(damaged: &Medium, at: u64) {
    let refused = |error: &PoolError| matches!(error, PoolError::Damaged(_));
    assert!(seen(damaged).is_err_and(|error| refused(&error)), "byte {at}, looked at");
    assert!(opened(damaged).is_err_and(|error| refused(&error)), "byte {at}, opened");
}

/// What a pool shows without the records from a position on.
fn cut_off(medium: &Medium, position: u64) -> State {
    let mut cut = medium.clone();
    let end = medium.records().last().map_or(position, |last| last.end());
    cut.write_log(position, &vec![0; (end - position) as usize]);
    seen(&cut).unwrap()
}

/// The used part of the log, its seal included. It lies in one piece in these pools.
fn log_of(medium: &Medium) -> Range<u64> {
    let from = medium.number(superblock::REPLAY_FROM);
    let end = medium.records().last().map_or(from, |last| last.end());
    assert!(end < medium.number(superblock::LOG_LEN), "the first lap");
    LOG + from..LOG + end
}

/// What has to come of a flipped byte of the log.
fn of_the_log(records: &[Record], at: u64) -> Expected {
    let durable = records.iter().map(|record| record.durable).max().unwrap();
    let hit = records.iter().find(|record| (record.position..record.end()).contains(&(at - LOG))).unwrap();
    match () {
        () if hit.is_seal() => Expected::Whole,
        () if hit.position < durable => Expected::Refused,
        () => Expected::Before(hit.position),
    }
}

#[test]
fn g9_either_superblock_may_rot_and_so_may_the_mark() {
    let medium = left_behind(Until::Synced);
    assert!(medium.mark().is_some());
    let [one, two] = SUPERBLOCKS.map(|place| place..place + SUPERBLOCK as u64);
    flip_all(&medium, [one, two, MARK..MARK + RECORD_HEADER], |_| Expected::Whole);
}

#[test]
fn g9_a_checkpoint_that_rots_is_refused() {
    let medium = left_behind(Until::Checkpoint);
    let chunks = medium.chunks();
    assert!(!chunks.is_empty());
    flip_all(&medium, chunks, |_| Expected::Refused);
}

#[test]
fn g9_a_synced_record_that_rots_is_refused_also_when_it_is_the_last() {
    let medium = left_behind(Until::Synced);
    let records = medium.records();
    let last = records.last().unwrap();
    assert!(last.is_seal() && last.durable == last.position, "all was durable");
    flip_all(&medium, once(log_of(&medium)), |at| of_the_log(&records, at));
}

#[test]
fn g9_a_record_that_was_not_synced_and_rots_ends_the_log() {
    let medium = left_behind(Until::NotSynced);
    let records = medium.records();
    let durable = records.last().unwrap().durable;
    assert!(records.iter().any(|record| record.position >= durable && !record.is_seal()), "some was not durable");
    // What was durable is the other test's, but for its last bytes.
    let log = LOG + durable - 40..log_of(&medium).end;
    flip_all(&medium, once(log), |at| of_the_log(&records, at));
}

/// The mark, the seal, and the records that follow, each alone, tell that what was durable is damaged.
#[test]
fn g9_what_was_synced_is_told_to_be_damaged_by_any_one_witness() {
    let (synced, followed) = (left_behind(Until::Synced), left_behind(Until::NotSynced));
    let seal = synced.records().pop().unwrap();
    // Of an older one a later record may tell too: what moves blocks flushes the log.
    let last = synced.records().into_iter().rfind(|record| !record.is_seal()).unwrap();
    let refused = |mut medium: Medium, forget: &dyn Fn(&mut Medium)| {
        forget(&mut medium);
        medium.flip(medium.log_place(last.position + RECORD_HEADER), 0x10);
        matches!(seen(&medium), Err(PoolError::Damaged(_)))
    };
    let no_mark = |medium: &mut Medium| medium.zero(MARK..MARK + RECORD_HEADER);
    let no_seal = |medium: &mut Medium| medium.write_log(seal.position, &[0; RECORD_HEADER as usize]);
    assert!(refused(synced.clone(), &no_seal), "the mark");
    assert!(refused(synced.clone(), &no_mark), "the seal");
    assert!(refused(followed, &no_mark), "records that follow");
    let neither = |medium: &mut Medium| {
        no_mark(medium);
        no_seal(medium);
    };
    assert!(!refused(synced, &neither), "or else it looks as if power had gone before it was durable");
}

#[test]
fn g9_pages_that_were_lost_are_told_or_do_not_matter() {
    for until in [Until::Checkpoint, Until::Synced, Until::NotSynced] {
        let medium = left_behind(until);
        let whole = seen(&medium).unwrap();
        let first_block = LOG + medium.number(superblock::LOG_LEN);
        let chunks = medium.chunks();
        let is_metadata = |at: u64| at < first_block || chunks.iter().any(|chunk| chunk.contains(&at));
        let pages: Vec<u64> = medium.pages().map(|(at, _)| at).filter(|at| is_metadata(*at)).collect();
        for at in pages {
            let mut damaged = medium.clone();
            damaged.zero(at..at + PAGE);
            match (seen(&damaged), opened(&damaged)) {
                (Err(PoolError::Damaged(_)), Err(PoolError::Damaged(_))) => assert!(at >= LOG, "page {at}"),
                (Ok(looked_at), Ok(pool)) => {
                    assert!(looked_at == whole, "page {at} of {until:?}");
                    assert!(state_of(&pool) == whole, "page {at} of {until:?}");
                    assert!(at < LOG || until == Until::Checkpoint, "page {at} has nothing but a seal");
                }
                (looked_at, pool) => panic!("page {at} of {until:?}: {:?}, {:?}", looked_at.err(), pool.err()),
            }
        }
    }
}
