//! Bytes in the place of parts of a medium.

use std::sync::OnceLock;

use pinfold::fsck::{Dump, Finding, Part, Severity, check};

use crate::format::{Medium, RECORD_HEADER, SUPERBLOCK, SUPERBLOCKS, superblock as field};
use crate::look::{opened, seen, state_of};
use crate::sample::{Until, left_behind};

/// A block that is free in all of these pools.
const FREE: u64 = 3000;

/// A pool with everything in it, as a killed owner left it; the same for the whole run.
fn sample() -> Medium {
    static SAMPLE: OnceLock<Medium> = OnceLock::new();
    SAMPLE.get_or_init(|| left_behind(Until::Synced)).clone()
}

/// Looks at a medium in every way there is.
fn look(medium: &Medium) {
    let report = check(medium, None);
    let dump = Dump::of(medium);
    let mut said = 0;
    let mut take = |part: Part| said += part.to_string().len();
    dump.superblocks().into_iter().for_each(&mut take);
    dump.log(&mut take);
    dump.checkpoint(&mut take);
    let (seen, opened) = (seen(medium), opened(medium));
    let errors = report.findings.iter().filter(|finding| is_told_by_who_opens(finding)).collect::<Vec<_>>();
    assert_eq!(errors.is_empty(), seen.is_ok(), "a check and who looks: {errors:?}, {:?}", seen.err());
    match (seen, opened) {
        (Ok(looked_at), Ok(pool)) => {
            assert!(state_of(&pool) == looked_at, "its owner sees something else than who only looks");
            pool.close().expect("a pool that can be opened can be closed");
        }
        (Err(_), Err(_)) => {}
        (looked_at, opened) => panic!("one refuses it: {:?}, {:?}", looked_at.err(), opened.err()),
    }
}

/// What who opens a pool refuses too. Not that there was a later opening: for that the whole of the log would have to be read.
fn is_told_by_who_opens(finding: &Finding) -> bool {
    finding.severity() == Severity::Error && !matches!(finding, Finding::LaterOpening { .. })
}

/// Takes the first byte off: how the rest is meant.
fn split(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest))
}

/// The bytes lie where one superblock does, or both. With right checksums, unless the fourth bit says otherwise, and with the
/// id of the pool, unless the fifth does: no two pools have the same.
pub(crate) fn superblock(data: &[u8]) {
    let (how, bytes) = split(data);
    let bytes = &bytes[..bytes.len().min(SUPERBLOCK)];
    let mut medium = sample();
    let pool = medium.pool();
    for (number, place) in SUPERBLOCKS.into_iter().enumerate() {
        if how >> number & 1 == 0 {
            medium.write(place, bytes);
            if how & 16 == 0 {
                medium.write(place + field::POOL.start as u64, &pool);
            }
            if how & 8 == 0 {
                medium.seal_superblock(place);
            }
        }
    }
    look(&medium);
}

pub(crate) fn superblock_seeds() -> Vec<Vec<u8>> {
    let medium = sample();
    let at = |place| medium.read(place, SUPERBLOCK as u64);
    vec![[vec![0], at(SUPERBLOCKS[0])].concat(), [vec![1], at(SUPERBLOCKS[1])].concat(), [vec![8], at(0)].concat()]
}

/// The bytes are the items of the checkpoint, in one chunk or two; the log is empty.
pub(crate) fn checkpoint(data: &[u8]) {
    let (how, items) = split(data);
    let mut medium = sample();
    let end = medium.records().last().map_or(0, |last| last.position);
    medium.set_number(field::REPLAY_FROM, end);
    medium.put_checkpoint(FREE, items);
    if how & 1 == 1 {
        let (first, second) = items.split_at(items.len() / 2);
        medium.put_chunk(FREE, 0, (FREE + 500, 1 + items.len() as u64 / medium.block()), first);
        medium.put_chunk(FREE + 500, 1, (0, 0), second);
    }
    look(&medium);
}

pub(crate) fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let items = [left_behind(Until::Checkpoint).items(), closed().items()];
    let one = items.into_iter().flat_map(|items| [0, 1].map(|how| [vec![how], items.clone()].concat()));
    one.chain([vec![]]).collect()
}

/// The sample, opened once more and closed: its checkpoint has all of it.
fn closed() -> Medium {
    let file = crate::look::file_of(&sample());
    let region = crate::look::region_of(&file).with_flusher(crate::sample::Flushed);
    let pool = crate::look::quiet().open_region(region, None).expect("the sample opens");
    pool.close().expect("the sample closes");
    Medium::of(&file).expect("it can be read")
}

/// The bytes are the first chunk of the checkpoint, its header too, but for the pool's id; the superblocks say what they said.
pub(crate) fn chunk(data: &[u8]) {
    let mut medium = sample();
    let former = medium.chunks().swap_remove(0);
    medium.write(former.start, &data[..data.len().min((former.end - former.start) as usize)]);
    medium.write(former.start + 8, &medium.pool());
    let chunk = medium.chunks().swap_remove(0);
    medium.seal_chunk(&chunk);
    look(&medium);
}

/// As it was; and one that goes on in a chunk that is not there, in itself, without an end, and in itself without any items.
pub(crate) fn chunk_seeds() -> Vec<Vec<u8>> {
    let medium = sample();
    let chunk = medium.chunks().swap_remove(0);
    let whole = medium.read(chunk.start, chunk.end - chunk.start);
    let with = |next: [u64; 2]| {
        let mut changed = whole.clone();
        changed[40..56].copy_from_slice(next.map(u64::to_le_bytes).as_flattened());
        changed
    };
    let here = chunk.start / medium.block();
    let mut empty = with([here, 1]);
    empty[56..64].fill(0);
    [[0, 0], [FREE, 1], [here, 1], [here, u64::MAX]].into_iter().map(with).chain([empty]).collect()
}

/// The bytes are entries of records behind the end of the log, each with its length before it.
pub(crate) fn log(mut data: &[u8]) {
    let mut medium = sample();
    let mut end = medium.records().last().map_or(0, |last| if last.is_seal() { last.position } else { last.end() });
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let (entries, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
        end = medium.append(end, end, entries);
        data = rest;
    }
    look(&medium);
}

/// What the sample has in its log, once more.
pub(crate) fn log_seeds() -> Vec<Vec<u8>> {
    let mut medium = left_behind(Until::NotSynced);
    let records = medium.records();
    let entries = |record: &crate::format::Record| {
        let entries = &record.bytes[RECORD_HEADER as usize..];
        [&(entries.len() as u16).to_le_bytes()[..], entries].concat()
    };
    let each: Vec<Vec<u8>> = records.iter().filter(|record| !record.is_seal()).map(entries).collect();
    medium.zero(0..8);
    let half = each.len() / 2;
    vec![each[..half].concat(), each[half..].concat(), Vec::new()]
}

/// The bytes are whole records, headers too, wherever they lie in the log: two bytes say where, two how long one is. They have
/// right checksums, if they are of this opening.
pub(crate) fn records(mut data: &[u8]) {
    let mut medium = sample();
    let (from, epoch) = (medium.number(field::REPLAY_FROM), medium.number(field::EPOCH));
    while let Some((&[a, b, c, d], rest)) = data.split_first_chunk::<4>() {
        let at = from + u64::from(u16::from_le_bytes([a, b])) * 8;
        let (record, rest) = rest.split_at(usize::from(u16::from_le_bytes([c, d])).min(rest.len()));
        medium.write_log(at, record);
        medium.seal_record(at, epoch);
        data = rest;
    }
    look(&medium);
}

/// What the sample has in its log, each where it lies; and the last once more, elsewhere.
pub(crate) fn records_seeds() -> Vec<Vec<u8>> {
    let medium = sample();
    let from = medium.number(field::REPLAY_FROM);
    let records = medium.records();
    let placed = |record: &crate::format::Record, at: u64| {
        let numbers = [(at / 8) as u16, record.len as u16].map(u16::to_le_bytes);
        [numbers.as_flattened(), &record.bytes].concat()
    };
    let in_place: Vec<u8> = records.iter().take(4).flat_map(|record| placed(record, record.position - from)).collect();
    let end = records.last().map_or(from, |last| last.position) - from;
    let elsewhere = records.iter().rev().take(2).map(|record| placed(record, end + 512));
    elsewhere.chain([in_place, Vec::new()]).collect()
}

/// The bytes change single bytes of the medium, wherever they are: four say where, one how.
pub(crate) fn pool(data: &[u8]) {
    let mut medium = sample();
    for change in data.as_chunks::<5>().0 {
        let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]);
        medium.flip(u64::from(at) % medium.len, change[4]);
    }
    look(&medium);
}

pub(crate) fn pool_seeds() -> Vec<Vec<u8>> {
    let medium = sample();
    let chunk = medium.chunks().first().map_or(0, |chunk| chunk.start);
    let places = [0, SUPERBLOCKS[1], crate::format::LOG, chunk, chunk + 80];
    let change = |place: u64| [&(place as u32 + 40).to_le_bytes()[..], &[1]].concat();
    places.into_iter().map(change).chain([Vec::new()]).collect()
}
