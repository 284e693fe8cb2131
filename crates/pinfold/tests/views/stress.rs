//! Real faults of many threads against every operation that frees or moves blocks, seeded: no store lands in another file, and no
//! load sees another file's bytes (G1, G10).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use pinfold::{Access, File, Pool, View};

use crate::common::{BLOCK, MIB, bytes_of, pool_of};
use crate::viewer::{Memory, needs_traps, view};

const FILES: u64 = 4;
/// Bytes of a file: together they need more blocks than there are.
const LEN: u64 = 512 * 1024;

/// Says of which file a word is.
fn stamp(file: u64) -> u64 {
    0xF11E_0000_0000_0000 | file << 32
}

/// Whether a word may be in a file.
#[track_caller]
fn check(word: u64, file: u64, at: u64) {
    assert!(word == 0 || word & !0xFFFF_FFFF == stamp(file), "{word:#x} in file {file} at {at}");
}

struct Load {
    pool: Pool,
    files: Vec<File>,
    views: Vec<View>,
    over: AtomicBool,
}

impl Load {
    fn new() -> Self {
        let pool = pool_of(MIB + MIB / 2);
        let files: Vec<File> = (0..FILES).map(|file| pool.create(format!("/{file}")).unwrap()).collect();
        files.iter().for_each(|file| file.truncate(LEN).wait().unwrap());
        let views = files.iter().map(|file| view(file, LEN)).collect();
        Self { pool, files, views, over: AtomicBool::new(false) }
    }

    fn until_it_is_over(&self, mut step: impl FnMut()) {
        while !self.over.load(Ordering::Acquire) {
            step();
        }
    }

    /// Loads and stores words, as a program does. The length stays, so that no access is past the end; and stores are of blocks
    /// that a pin holds for the moment, so that none finds the pool full.
    fn touch(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        self.until_it_is_over(|| {
            let file = rng.u64(..FILES);
            let (view, at) = (&self.views[file as usize], rng.u64(..LEN / 8) * 8);
            check(view.load_word(at), file, at);
            let there = self.files[file as usize].pin(at..at + 8, Access::Write).try_now();
            if let Ok(_pinned) = there {
                view.store_word(at, stamp(file) | at);
            }
        });
    }

    /// A device that is told addresses: what it writes is in the file as long as it is pinned.
    fn transfer(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        self.until_it_is_over(|| {
            let file = rng.u64(..FILES);
            let at = rng.u64(..LEN / BLOCK) * BLOCK;
            let len = BLOCK.min(LEN - at);
            let address = self.views[file as usize].address() + at as usize;
            let Ok(pinned) = self.pool.pin_addresses(address, len, Access::Write).unwrap().try_now() else { return };
            for segment in pinned.segments() {
                let words = (0..segment.len / 8).flat_map(|_| (stamp(file) | 7).to_ne_bytes()).collect::<Vec<_>>();
                let place = segment.place()..segment.place() + segment.len;
                self.pool.region().bytes(place).unwrap().copy_in(0, &words).unwrap();
            }
        });
    }

    /// An operation of any kind that keeps the length.
    fn change(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        self.until_it_is_over(|| {
            let index = rng.usize(..FILES as usize);
            let file = &self.files[index];
            let start = rng.u64(..LEN / BLOCK - 1) * BLOCK;
            let end = start + BLOCK * rng.u64(1..=(LEN - start) / BLOCK);
            // What finds no space, or comes too late, changes nothing.
            let _ = match rng.u8(..6) {
                0 => file.punch(start..end).wait().map_err(drop),
                1 => file.punch(start..end).detach().wait().map_err(drop),
                2 => file.zero(start..end).wait().map_err(drop),
                3 => file.zero(start..end).detach().try_now().map_err(drop),
                4 => file.write_at(start, &self.words(index as u64, end - start)).map_err(drop),
                _ => file
                    .exchange(start..start + BLOCK, file, (start + LEN / 2) % LEN / BLOCK * BLOCK)
                    .wait()
                    .map_err(drop),
            };
        });
    }

    fn words(&self, file: u64, len: u64) -> Vec<u8> {
        (0..len / 8).flat_map(|_| (stamp(file) | 9).to_ne_bytes()).collect()
    }

    /// The kernel's loads through a view, as a direct read or write makes them, and a copy into it.
    fn copy(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        self.until_it_is_over(|| {
            let file = rng.u64(..FILES);
            let at = rng.u64(..LEN / BLOCK) * BLOCK;
            let mut bytes = vec![0; BLOCK as usize];
            self.views[file as usize].bytes(at..at + BLOCK).unwrap().copy_out(0, &mut bytes).unwrap();
            self.files[file as usize].read_at(at, &mut bytes).unwrap();
            bytes.chunks(8).for_each(|word| check(u64::from_ne_bytes(word.try_into().unwrap()), file, at));
        });
    }

    fn check_all(&self) {
        for (file, (held, view)) in self.files.iter().zip(&self.views).enumerate() {
            let bytes = bytes_of(held, 0..LEN);
            for (index, word) in bytes.chunks(8).enumerate() {
                let word = u64::from_ne_bytes(word.try_into().unwrap());
                check(word, file as u64, index as u64 * 8);
                assert_eq!(view.load_word(index as u64 * 8), word, "what a view shows is what the file holds");
            }
        }
        assert_eq!(self.pool.stats().parked, 0);
    }
}

#[test]
fn g1_g10_loads_and_stores_against_every_change() {
    needs_traps!();
    let seed =
        std::env::var("PINFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| Rng::new().u64(..));
    println!("PINFOLD_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let load = &Load::new();
    let until = Instant::now() + Duration::from_secs(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            let seeds = [(); 4].map(|()| rng.u64(..));
            scope.spawn(move || load.touch(seeds[0]));
            scope.spawn(move || load.transfer(seeds[1]));
            scope.spawn(move || load.change(seeds[2]));
            scope.spawn(move || load.copy(seeds[3]));
        }
        while Instant::now() < until {
            thread::yield_now();
        }
        load.over.store(true, Ordering::Release);
    });
    load.check_all();
}
