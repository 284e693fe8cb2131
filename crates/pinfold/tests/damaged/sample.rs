//! A pool with everything in it, and what a killed owner leaves of it.
#![allow(dead_code, reason = "each user of this file needs a part")]

use std::fs::File;
use std::io;

use pinfold::region::{Durability, Persist, SharedBytes};
use pinfold::{Pool, Publish, Rename};
use rustix::fs::{MemfdFlags, memfd_create};

use super::format::{Medium, POOL_BYTES};
use super::look::{quiet, region_of};

/// Memory that has to be flushed, and always can be.
pub(crate) struct Flushed;

impl Persist for Flushed {
    fn durability(&self) -> Durability {
        Durability::PageCache
    }

    fn write_back(&self, _: SharedBytes<'_>) -> io::Result<()> {
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        Ok(())
    }
}

/// How far the sample was taken when its owner was killed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Until {
    /// All is in the checkpoint.
    Checkpoint,
    /// The last that was done was a sync.
    Synced,
    /// More was done since.
    NotSynced,
}

/// What a killed owner leaves, who did all of this.
pub(crate) fn left_behind(until: Until) -> Medium {
    let file = File::from(memfd_create("sample", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(POOL_BYTES).unwrap();
    let region = region_of(&file).with_flusher(Flushed);
    let pool = quiet().format_region(region, POOL_BYTES, None).unwrap();
    begin(&pool);
    pool.checkpoint().unwrap();
    if until >= Until::Synced {
        go_on(&pool);
        pool.sync().unwrap();
    }
    if until >= Until::NotSynced {
        end(&pool);
    }
    Medium::of(&file).unwrap()
}

fn begin(pool: &Pool) {
    ["/a", "/a/b", "/gone"].iter().for_each(|dir| pool.create_dir(dir).unwrap());
    (0..12).for_each(|i| drop(pool.create(format!("/a/number {i}")).unwrap()));
    pool.create("/a/b/file").unwrap().write_at(5000, b"written").unwrap();
    pool.link("/a/b/file", "/second").unwrap();
    pool.symlink("../a/b", "/a/link").unwrap();
    let moved = pool.create("/moved").unwrap();
    moved.write_at(0, &[7; 3 * 4096]).unwrap();
    moved.collapse(0..4096).wait().unwrap();
    moved.insert(4096, 8192).wait().unwrap();
    pool.rename("/moved", "/a/moved", Rename::Replace).unwrap();
    pool.create("/set aside").unwrap().allocate(0..64 << 10).try_now().unwrap();
    pool.create("/sparse").unwrap().write_at(1 << 40, b"far").unwrap();
    pool.create("/in place").unwrap().write_at(0, &[1; 10_000]).unwrap();
    pool.create("/to go").unwrap().write_at(0, &[2; 10_000]).unwrap();
}

fn go_on(pool: &Pool) {
    pool.create_dir("/a/c").unwrap();
    pool.remove_dir("/gone").unwrap();
    pool.rename("/a/b", "/a/c/b", Rename::NoReplace).unwrap();
    pool.rename("/second", "/a/number 3", Rename::Exchange).unwrap();
    pool.unlink("/to go").unwrap();
    pool.create("/new").unwrap().write_at(0, &[3; 20_000]).unwrap();
    pool.open("/in place").unwrap().punch(4096..8192).wait().unwrap();
    pool.open("/a/moved").unwrap().insert(0, 4096).wait().unwrap();
    pool.open("/a/moved").unwrap().collapse(8192..12_288).wait().unwrap();
    let (one, two) = (pool.open("/new").unwrap(), pool.open("/in place").unwrap());
    one.exchange(0..4096, &two, 0).wait().unwrap();
    let reservation = pool.reserve(3 * 4096).try_now().unwrap();
    let pinned = reservation.pin(0..100).wait().unwrap();
    pinned.copy_in(0, &[9; 100]).unwrap();
    pinned.written(100);
    drop(pinned);
    reservation.publish("/published", Publish::New).unwrap();
    pool.symlink("/a/c", "/short way").unwrap();
    pool.open("/set aside").unwrap().write_at(8192, &[4; 4096]).unwrap();
}

fn end(pool: &Pool) {
    pool.create("/late").unwrap().write_at(0, b"not synced").unwrap();
    pool.open("/new").unwrap().truncate(5000).wait().unwrap();
    pool.unlink("/a/number 7").unwrap();
    pool.rename("/late", "/later", Rename::Replace).unwrap();
}
