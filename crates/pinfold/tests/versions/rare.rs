//! What the sample of the other fixtures does not come to: each kind of record, a log around the end of its ring, a
//! checkpoint in several chunks, blocks of another size, a name that is no text, a file that is open and has no name.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use pinfold::{Extend, Pool, Rename, SetAttributes, Special};
use rustix::fs::{MemfdFlags, memfd_create};

use super::format::{Medium, POOL_BYTES, superblock};
use super::look::{file_of, quiet, region_of};
use super::sample::Flushed;

const BLOCK: u64 = 8192;
/// How far before the end of its ring the log begins; the first records fill it up to `LOG_FROM`.
const OPENED_AT: u64 = 16 << 10;
const LOG_FROM: u64 = 300;

/// What a killed owner leaves who had the rare things done.
pub(crate) fn left_behind() -> Medium {
    let file = file_of(&moved_on(new()));
    let pool = quiet().open_region(region_of(&file).with_flusher(Flushed), None).unwrap();
    begin(&pool);
    pool.checkpoint().unwrap();
    let _unnamed = go_on(&pool);
    pool.sync().unwrap();
    Medium::of(&file).unwrap()
}

fn new() -> Medium {
    let file = File::from(memfd_create("new", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(POOL_BYTES).unwrap();
    let region = region_of(&file).with_flusher(Flushed);
    quiet().block_size(BLOCK).format_region(region, POOL_BYTES, None).unwrap().close().unwrap();
    Medium::of(&file).unwrap()
}

/// As if the log of a pool that has no checkpoint yet had gone around its ring almost twice.
fn moved_on(mut medium: Medium) -> Medium {
    assert!(medium.items().is_empty());
    let two_laps = 2 * medium.number(superblock::LOG_LEN);
    medium.set_number(superblock::REPLAY_FROM, two_laps - OPENED_AT);
    medium
}

/// A few bytes in each of so many blocks.
fn fill(pool: &Pool, path: &str, blocks: u64) {
    let file = pool.create(path).unwrap();
    (0..blocks).for_each(|block| file.write_at(block * BLOCK, &[block as u8 + 1; 10]).unwrap());
}

/// Gives what is at a path all that it can have.
fn set(pool: &Pool, path: &str) {
    let inode = pool.symlink_inode(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 7);
    let (accessed, modified) = (Some(time), Some(time + Duration::from_secs(1)));
    inode.set(&SetAttributes { mode: Some(0o4711), uid: Some(1000), gid: Some(100), accessed, modified }).unwrap();
    inode.set_extended(b"user.empty", b"", Extend::New).unwrap();
    inode.set_extended(b"user.name", path.as_bytes(), Extend::Any).unwrap();
}

/// What is in the checkpoint.
fn begin(pool: &Pool) {
    pool.create_dir("/dir").unwrap();
    (0..2).for_each(|i| pool.symlink("x".repeat(4090 + i), format!("/dir/long {i}")).unwrap());
    ["/cut", "/moved", "/zeroed"].iter().for_each(|path| fill(pool, path, 5));
    fill(pool, "/ended", 1);
    pool.create_special("/pipe", Special::Pipe).unwrap();
    pool.create_special("/null", Special::CharDevice(0x103)).unwrap();
    ["/null", "/dir", "/moved", "/dir/long 0"].iter().for_each(|path| set(pool, path));
    leave_single_blocks(pool);
    while pool.log_use().0 < OPENED_AT - LOG_FROM {
        pool.rename("/cut", "/again", Rename::Replace).unwrap();
        pool.rename("/again", "/cut", Rename::Replace).unwrap();
    }
}

/// So that the checkpoint has no two blocks in a row.
fn leave_single_blocks(pool: &Pool) {
    let spare = pool.stats().free;
    let rest = pool.create("/rest").unwrap();
    // As much as can be had: some is kept back for checkpoints.
    let all = (0..spare / BLOCK).rev().find(|blocks| rest.allocate(0..blocks * BLOCK).try_now().is_ok()).unwrap();
    (0..60).for_each(|i| rest.punch((all - 2 - 2 * i) * BLOCK..(all - 1 - 2 * i) * BLOCK).wait().unwrap());
    pool.sync().unwrap();
    let (in_a_row, mut len) = (pool.create("/in a row").unwrap(), 0);
    while pool.stats().longest_free > BLOCK {
        let longest = pool.stats().longest_free;
        in_a_row.allocate(len..len + longest).try_now().unwrap();
        len += longest;
    }
}

/// What is in the log: every kind of record there is. The file that it gives is open, and has no name.
fn go_on(pool: &Pool) -> pinfold::File {
    ["/rest", "/in a row", "/ended"].iter().for_each(|path| pool.unlink(path).unwrap());
    pool.sync().unwrap();
    let no_text = pool.create(OsStr::from_bytes(b"/no text \xFF\xFE")).unwrap();
    no_text.write_at(3 * BLOCK, b"behind a hole").unwrap();
    pool.create_dir("/dir/new").unwrap();
    pool.symlink("../../cut", "/dir/new/link").unwrap();
    pool.open("/cut").unwrap().truncate(BLOCK + 5).wait().unwrap();
    pool.open("/zeroed").unwrap().zero(BLOCK..3 * BLOCK).wait().unwrap();
    pool.rename("/zeroed", "/dir/zeroed", Rename::Replace).unwrap();
    let moved = pool.open("/moved").unwrap();
    moved.insert(BLOCK, 2 * BLOCK).wait().unwrap();
    moved.collapse(0..BLOCK).wait().unwrap();
    moved.punch(3 * BLOCK..4 * BLOCK).wait().unwrap();
    pool.open("/cut").unwrap().exchange(0..BLOCK, &moved, 2 * BLOCK).wait().unwrap();
    pool.create_special("/socket", Special::Socket).unwrap();
    set(pool, "/socket");
    pool.inode("/moved").unwrap().remove_extended(b"user.name").unwrap();
    pool.create("/set aside").unwrap().allocate(0..5 * BLOCK).try_now().unwrap();
    let unnamed = pool.create("/unnamed").unwrap();
    unnamed.write_at(0, &[9; 10]).unwrap();
    pool.unlink("/unnamed").unwrap();
    unnamed
}
