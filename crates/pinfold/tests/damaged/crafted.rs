//! Media that somebody made up, with right checksums: chunks that lead astray, absurd counts, trees that are none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use pinfold::PoolError;

use super::format::{CHUNK_HEADER, Medium, entry, entry_with, leb, superblock};
use super::look::{opened, seen};
use super::sample::{Until, left_behind};

/// A block that is free in all of these pools.
const FREE: u64 = 3000;
/// How much memory looks at pools of 16 MiB may take, all the tests of this file at a time.
const MEMORY_MAX: usize = 900 << 20;

/// Notes how much memory is in use, and was at most.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// ORDER: relaxed, all of them; numbers for a test.
fn take(bytes: usize) {
    let before = IN_USE.fetch_add(bytes, Ordering::Relaxed);
    MOST.fetch_max(before + bytes, Ordering::Relaxed);
}

fn give(bytes: usize) {
    IN_USE.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // It may be moved: then both are in use for a while.
        take(size);
        // SAFETY: the caller's promise is passed on.
        let moved = unsafe { System.realloc(ptr, layout, size) };
        give(if moved.is_null() { size } else { layout.size() });
        moved
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[track_caller]
fn refused(medium: &Medium, why: &str) {
    let (looked_at, opened) = (seen(medium).map(drop).unwrap_err(), opened(medium).map(drop).unwrap_err());
    for error in [looked_at, opened] {
        assert!(matches!(&error, PoolError::Damaged(said) if said.contains(why)), "{error}, and not: {why}");
    }
    let most = MOST.load(Ordering::Relaxed);
    assert!(most < MEMORY_MAX, "{most} bytes were in use");
}

/// A pool of nothing but these items; its log is empty.
fn pool_of(items: &[Vec<u8>]) -> Medium {
    let mut medium = left_behind(Until::Checkpoint);
    let end = medium.records().last().map_or(0, |last| last.position);
    medium.set_number(superblock::REPLAY_FROM, end);
    medium.put_checkpoint(FREE, &items.concat());
    medium
}

fn root() -> Vec<u8> {
    entry(2, &[1, 0])
}

fn directory(node: u64) -> Vec<u8> {
    entry(2, &[node, 0])
}

fn symlink(node: u64, target: &[u8]) -> Vec<u8> {
    entry_with(3, &[node, 0], target)
}

/// A file of these extents: (skip, block, blocks, written).
fn file(node: u64, len: u64, position: u64, extents: &[(u64, u64, u64, bool)]) -> Vec<u8> {
    let mut item = entry(1, &[node, 0, len, position, extents.len() as u64]);
    for (skip, block, blocks, written) in extents {
        [*skip, *block, blocks << 1 | u64::from(*written)].into_iter().for_each(|number| leb(&mut item, number));
    }
    item
}

fn names(dir: u64, names: &[(&[u8], u64)]) -> Vec<u8> {
    let mut listed = Vec::new();
    for (name, node) in names {
        leb(&mut listed, name.len() as u64);
        listed.extend(*name);
        leb(&mut listed, *node);
    }
    entry_with(4, &[dir, names.len() as u64], &listed)
}

#[test]
fn what_this_file_makes_up_is_a_pool_when_it_is_sound() {
    let blocks = [(0, 2000, 3, true), (5, 2010, 1, false)];
    let items =
        [root(), directory(2), file(3, 40_000, 0, &blocks), symlink(4, b"a"), names(1, &[(b"a", 2), (b"b", 3)])];
    let medium = pool_of(&items);
    assert_eq!(seen(&medium).unwrap().len(), 3, "the link has no name");
    opened(&medium).unwrap();
    let end = medium.number(superblock::REPLAY_FROM);
    let mut longer = medium.clone();
    longer.append(end, end, &entry_with(5, &[1, 4], b"link"));
    assert_eq!(seen(&longer).unwrap().len(), 4);
}

#[test]
fn a_chunk_that_leads_to_itself_or_outside_or_into_a_file_is_refused() {
    let sound = [root(), file(3, 4096, 0, &[(0, 2000, 1, true)]), names(1, &[(b"f", 3)])];
    let items = sound.concat();
    let medium = pool_of(&sound);
    let next = |block: u64, blocks: u64| {
        let mut medium = medium.clone();
        // It says that more follows than there is.
        medium.set_number(superblock::CHECKPOINT_BYTES, items.len() as u64 + 100);
        medium.put_chunk(FREE, 0, (block, blocks), &items);
        medium
    };
    refused(&next(FREE, 1), "not what it should be");
    refused(&next(2000, 1), "not what it should be");
    refused(&next(4095, 2), "outside");
    refused(&next(4096, 1), "outside");
    refused(&next(3, 1), "outside");
    refused(&next(u64::MAX, 1), "outside");
    refused(&next(FREE + 1, u64::MAX), "outside");
    refused(&next(0, 0), "not as long");
    // A chunk that is one, in blocks of a file.
    let mut inside = medium.clone();
    inside.set_number(superblock::CHECKPOINT_BYTES, items.len() as u64);
    inside.put_chunk(FREE, 0, (2000, 1), &items);
    inside.put_chunk(2000, 1, (0, 0), &[]);
    refused(&inside, "block 2000 is in node");
    // One that lies in another.
    let mut twice = medium.clone();
    twice.set_number(superblock::CHECKPOINT_BLOCKS, 4);
    twice.put_chunk(FREE, 0, (FREE + 2, 1), &items);
    twice.put_chunk(FREE + 2, 1, (0, 0), &[]);
    refused(&twice, "is in node");
    // Longer than its blocks, and than anything.
    for bytes in [4096 - CHUNK_HEADER + 1, u64::MAX, u64::MAX - CHUNK_HEADER + 1] {
        let mut long = medium.clone();
        long.write(FREE * 4096 + 56, &bytes.to_le_bytes());
        long.seal_chunk(&(FREE * 4096..FREE * 4096 + CHUNK_HEADER));
        refused(&long, "not what it should be");
    }
}

#[test]
fn counts_that_no_pool_has_are_refused_and_take_no_memory() {
    let medium = pool_of(&[root()]);
    for nodes in [2, 1 << 20, u64::MAX] {
        let mut many = medium.clone();
        many.set_number(superblock::CHECKPOINT_NODES, nodes);
        let error = seen(&many).map(drop).unwrap_err();
        assert!(matches!(error, PoolError::Damaged(_)), "{error}");
    }
    for bytes in [15 << 20, u64::MAX, 1 << 40] {
        let mut long = medium.clone();
        long.set_number(superblock::CHECKPOINT_BYTES, bytes);
        let error = seen(&long).map(drop).unwrap_err();
        assert!(matches!(error, PoolError::Damaged(_)), "{error}");
    }
    for count in [2, 1 << 30, u64::MAX] {
        let mut extents = entry(1, &[3, 0, 0, 0, count]);
        extents.extend([0, 1, 3]);
        refused(&pool_of(&[root(), extents]), "more entries");
        refused(&pool_of(&[root(), entry_with(4, &[1, count], b"\x01a\x01")]), "");
        let mut target = entry(3, &[3, 0]);
        leb(&mut target, count);
        refused(&pool_of(&[root(), target]), "more entries");
    }
    // As many nodes and extents as there are bytes for.
    let mut nodes = root();
    (2..400_000).for_each(|node| nodes.extend(directory(node)));
    drop(seen(&pool_of(&[nodes])).unwrap());
    let mut extents = entry(1, &[3, 0, 0, 0, 1_000_000]);
    (0..1_000_000).for_each(|_| extents.extend([0, 1, 3]));
    refused(&pool_of(&[root(), extents]), "");
}

#[test]
fn files_that_no_pool_has_are_refused() {
    let one = |file: Vec<u8>| pool_of(&[root(), file, names(1, &[(b"f", 3)])]);
    refused(&one(file(3, 1 << 61, 0, &[])), "more than a file");
    refused(&one(file(3, 0, 0, &[(1 << 50, 2000, 1, true)])), "more than a file");
    refused(&one(file(3, 0, 0, &[(0, 2000, 0, true)])), "without blocks");
    refused(&one(file(3, 0, 0, &[(u64::MAX, 2000, 2, true)])), "past the end");
    refused(&one(file(3, 0, 0, &[(0, 5, 1, true)])), "outside");
    refused(&one(file(3, 0, 0, &[(0, 4095, 2, true)])), "outside");
    refused(&one(file(3, 0, 0, &[(0, 2000, 2, true), (0, 2001, 1, true)])), "block 2001 is in node 3");
    refused(&one(file(3, 0, 0, &[(0, FREE, 1, true)])), "is in node");
    refused(&one(file(3, 0, 1 << 40, &[])), "its log ends at position");
    let two = [root(), file(3, 0, 0, &[(0, 2000, 4, true)]), file(4, 0, 0, &[(0, 2003, 1, true)])];
    refused(&pool_of(&two), "block 2003 is in node 3 and in node 4");
}

#[test]
fn trees_that_no_pool_has_are_refused() {
    refused(&pool_of(&[file(1, 0, 0, &[])]), "root directory");
    // To make one would be to throw away what has no name without it.
    refused(&pool_of(&[]), "root directory");
    refused(&pool_of(&[file(3, 0, 0, &[(0, 2000, 2, true)])]), "root directory");
    refused(&pool_of(&[root(), root()]), "twice");
    refused(&pool_of(&[root(), directory(0)]), "the number 0");
    refused(&pool_of(&[root(), directory(u64::MAX)]), "the number");
    refused(&pool_of(&[root(), names(1, &[(b"a", 9)])]), "which is not there");
    refused(&pool_of(&[root(), names(9, &[(b"a", 1)])]), "which is no directory");
    refused(&pool_of(&[root(), names(1, &[(b"a", 1)])]), "second name");
    let two = [root(), directory(2), names(1, &[(b"a", 2), (b"b", 2)])];
    refused(&pool_of(&two), "second name");
    // The first of two would end as soon as the pool is opened, as what has no name does.
    let files = [root(), file(3, 0, 0, &[]), file(4, 0, 0, &[])];
    refused(&pool_of(&[&files[..], &[names(1, &[(b"a", 3), (b"a", 4)])]].concat()), "twice in node 1");
    refused(&pool_of(&[&files[..], &[names(1, &[(b"a", 3)]), names(1, &[(b"a", 4)])]].concat()), "twice in node 1");
    let ring = [root(), directory(2), directory(3), names(2, &[(b"a", 3)]), names(3, &[(b"a", 2)])];
    refused(&pool_of(&ring), "lies in itself");
    refused(&pool_of(&[root(), directory(2), names(2, &[(b"a", 2)])]), "lies in itself");
    let lost = [root(), directory(2), symlink(3, b"x"), names(2, &[(b"a", 3)])];
    refused(&pool_of(&lost), "has no name, and is not empty");
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'a'; 256]] {
        refused(&pool_of(&[root(), directory(2), names(1, &[(name, 2)])]), "");
    }
    for target in [&b""[..], b"a\0b", &[b'a'; 4096]] {
        refused(&pool_of(&[root(), symlink(2, target), names(1, &[(b"l", 2)])]), "leads to no path");
    }
    refused(&pool_of(&[root(), vec![77]]), "unknown kind");
}

#[test]
fn records_that_no_log_has_are_refused() {
    let sound = [root(), file(3, 0, 0, &[(4, 2000, 4, true)]), symlink(4, b"x"), names(1, &[(b"f", 3), (b"l", 4)])];
    let medium = pool_of(&sound);
    let with = |entries: &[Vec<u8>]| {
        let mut medium = medium.clone();
        let mut end = medium.number(superblock::REPLAY_FROM);
        let durable = end;
        entries.iter().for_each(|entry| end = medium.append(end, durable, entry));
        medium
    };
    assert_eq!(seen(&with(&[entry(8, &[3, 0, 1000, 1])])).unwrap().len(), 3, "this one is sound");
    refused(&with(&[vec![99]]), "unknown kind");
    // As long as a record without padding.
    refused(&with(&[vec![7, 3, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]]), "in the middle");
    refused(&with(&[vec![5, 1, 3, 0xFF, 0x7F, b'a']]), "more entries");
    refused(&with(&[entry(9, &[3, 6, 1000, 1])]), "where there are some");
    refused(&with(&[entry(9, &[3, 0, 1000, 0])]), "past the end");
    refused(&with(&[entry(9, &[3, u64::MAX, 1000, 2])]), "past the end");
    refused(&with(&[entry(9, &[3, 0, u64::MAX, 2])]), "past the end");
    refused(&with(&[entry(9, &[3, 0, 2002, 1])]), "block 2002 is in node");
    refused(&with(&[entry(9, &[4, 0, 1000, 1])]), "which it is not");
    refused(&with(&[entry(15, &[3, 4, 5])]), "below the start");
    refused(&with(&[entry(15, &[3, 6, 1])]), "onto others");
    refused(&with(&[entry(14, &[3, 0, i64::MAX as u64]), entry(14, &[3, 0, i64::MAX as u64])]), "past the end");
    refused(&with(&[entry(14, &[3, 0, u64::MAX])]), "longer than a file");
    refused(&with(&[entry(7, &[3, u64::MAX])]), "more than a file");
    refused(&with(&[entry(7, &[77, 5])]), "node 77, which is not there");
    refused(&with(&[entry(4, &[1])]), "root directory");
    refused(&with(&[entry_with(5, &[1, 1], b"root")]), "second name");
    refused(&with(&[entry_with(5, &[1, 3], b"..")]), "cannot be one");
    refused(&with(&[entry_with(5, &[4, 3], b"a")]), "which is no directory");
}
