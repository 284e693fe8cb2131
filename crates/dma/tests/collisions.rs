//! Direct I/O into addresses of a view, against everything that takes blocks away: as xfstests' generic/503 (`t_mmap_collision`) does it
//! for DAX, with one thing more: what was taken away is somebody else's at once, and he looks.

mod common;

use std::fs::File as DiskFile;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{direct, eventually, pattern_at, scratch_dir, scratch_file};
use pinfold::{Access, Change, File, Pinned, Pool, Region, View};
use pinfold_dma::{Request, Uring};

const LEN: u64 = 256 << 10;
/// How often a range is taken away.
const ROUNDS: u64 = 100;
/// Where the device writes.
const TARGET: Range<u64> = LEN / 4..LEN / 4 * 3;
/// What the other file holds: no byte of what the device brings, and not zero.
const STAMP: u8 = 0xee;

/// A small pool, so that a block that is free is taken soon; a file, and its view.
struct Ground {
    pool: Pool,
    file: File,
    view: View,
    is_over: AtomicBool,
    transfers: AtomicU64,
}

impl Ground {
    /// None where accesses to views cannot be trapped.
    fn new() -> Option<Self> {
        let pool = Pool::new(Region::memfd(2 << 20).unwrap()).unwrap();
        let file = pool.create("/file").unwrap();
        file.allocate(0..LEN).wait().unwrap();
        let view = match file.map(0..LEN, Access::Write).wait() {
            Ok(view) if view.revocable() => view,
            _ => {
                println!("skipped: accesses to views cannot be trapped here");
                return None;
            }
        };
        Some(Self { pool, file, view, is_over: AtomicBool::new(false), transfers: AtomicU64::new(0) })
    }

    /// The blocks under addresses of the view, if there are any at the moment.
    fn pin(&self) -> Option<Pinned> {
        let address = self.view.address() + TARGET.start as usize;
        self.pool.pin_addresses(address, TARGET.end - TARGET.start, Access::Write).unwrap().wait().ok()
    }

    /// A device that reads a disk into the view, over and over.
    fn transfer(&self, ring: &Uring, source: &DiskFile) {
        while !self.is_over.load(Ordering::SeqCst) {
            let Some(pinned) = self.pin() else { continue };
            let completion = ring.submit(Request::read(source, 0), pinned).unwrap().wait().unwrap();
            drop(completion.whole().unwrap());
            self.transfers.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes blocks away, again and again, with transfers in between; and lets the file have new ones.
    fn take_away(&self, change: impl Fn(&File) -> Change<'_>) {
        for round in 0..ROUNDS {
            let before = self.transfers.load(Ordering::SeqCst);
            change(&self.file).wait().unwrap();
            self.file.truncate(LEN).wait().unwrap();
            eventually(&format!("a transfer in round {round}"), || self.transfers.load(Ordering::SeqCst) > before);
        }
    }

    /// Somebody else: he takes all that is free, writes his own bytes there, and finds them until he gives it back.
    fn use_what_is_free(&self) {
        let other = self.pool.create("/other").unwrap();
        while !self.is_over.load(Ordering::SeqCst) {
            let stamped = |block: &u64| other.write_at(block * 4096, &[STAMP; 4096]).is_ok();
            let blocks = (0..).take_while(stamped).count() as u64;
            let mut bytes = vec![0; 4096];
            for block in (0..4).flat_map(|_| 0..blocks) {
                assert_eq!(other.read_at(block * 4096, &mut bytes).unwrap(), 4096);
                let is_his = bytes.iter().all(|byte| *byte == STAMP);
                assert!(is_his, "somebody's transfer went into block {block} of another file");
            }
            other.truncate(0).wait().unwrap();
        }
    }
}

fn collide(change: impl Fn(&File) -> Change<'_> + Send) {
    let dir = scratch_dir();
    let brought: Vec<u8> = pattern_at(0, TARGET.end - TARGET.start).into_iter().map(|byte| byte & 0x7f).collect();
    let path = scratch_file(&dir, 0);
    std::fs::write(&path, &brought).unwrap();
    let (Some(source), Some(ground)) = (direct(&path), Ground::new()) else { return };
    let ring = Uring::new().unwrap();
    thread::scope(|scope| {
        // Whoever fails, all end.
        let _other = scope.spawn(|| Over(&ground.is_over).after(|| ground.use_what_is_free()));
        let _device = scope.spawn(|| Over(&ground.is_over).after(|| ground.transfer(&ring, &source)));
        Over(&ground.is_over).after(|| ground.take_away(change));
    });
    // With everything its own again, what the device brings is the file's.
    drop(ring.submit(Request::read(&source, 0), ground.pin().unwrap()).unwrap().wait().unwrap().whole().unwrap());
    let mut bytes = vec![0; brought.len()];
    ground.file.read_at(TARGET.start, &mut bytes).unwrap();
    assert!(bytes == brought);
    assert_eq!(ground.pool.pins(), []);
}

/// Tells everybody that it is over, even if what was done fails.
struct Over<'a>(&'a AtomicBool);

impl Over<'_> {
    fn after(self, what: impl FnOnce()) {
        what();
    }
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn g1_direct_io_into_a_view_collides_with_punch() {
    collide(|file| file.punch(0..LEN));
}

#[test]
fn g1_direct_io_into_a_view_collides_with_zero() {
    collide(|file| file.zero(0..LEN).keep_size());
}

#[test]
fn g1_direct_io_into_a_view_collides_with_truncate() {
    collide(|file| file.truncate(0));
}

#[test]
fn g1_direct_io_into_a_view_collides_with_collapse() {
    collide(|file| file.collapse(4096..LEN / 2));
}
