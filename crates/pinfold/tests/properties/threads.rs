//! Many threads on a few files, without a model: what holds in whatever order they come.
//!
//! Whoever writes to a file writes its stamp and nothing else. So whoever reads a file, or looks through a pin, finds that
//! stamp or zeros; anything else is a block that was used again under somebody (G1), or not zeroed (G10). Each round ends
//! with everybody out: then every block is in one file, or free (S1). That the rounds end says that nobody waits for what
//! has left (G2), and that nobody waits for himself or in a circle (G4).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pinfold::{Access, Change, File, FileId, PinInfo, Pinned, Policy, Pool, Publish, Quiescent, Region, Rename, Until};
use proptest::prelude::*;
use rustix::io::Errno;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 72;
const NAMES: [&str; 4] = ["/a", "/b", "/c", "/d"];
const THREADS: u64 = 4;
const ROUNDS: u64 = 3;
const CALLS: usize = 250;
/// Where calls begin, and how long what they touch is, in bytes.
const FILE_MAX: u64 = 24 * BLOCK;
const LEN_MAX: u64 = 16 * BLOCK;

/// What any call may be refused with here. `EDEADLK` is for who holds a pin himself.
const REFUSALS: [Errno; 11] = [
    Errno::BUSY,
    Errno::NOSPC,
    Errno::INVAL,
    Errno::NXIO,
    Errno::TIMEDOUT,
    Errno::DEADLK,
    Errno::NOENT,
    Errno::EXIST,
    Errno::STALE,
    Errno::FBIG,
    Errno::OPNOTSUPP,
];

/// Nobody writes through what was given up.
struct Quiet;

// SAFETY: as the type says: who gives a transfer up drops it, and no device is there.
unsafe impl Quiescent for Quiet {
    fn covers(&self, _: &PinInfo) -> bool {
        true
    }
}

/// Random numbers (splitmix64): each thread has its own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.below(NAMES.len() as u64) as usize]
    }

    fn bytes(&mut self) -> Range<u64> {
        let start = self.below(FILE_MAX);
        start..start + 1 + self.below(LEN_MAX)
    }

    fn blocks(&mut self) -> Range<u64> {
        let start = self.below(FILE_MAX / BLOCK) * BLOCK;
        start..start + (1 + self.below(LEN_MAX / BLOCK)) * BLOCK
    }

    fn access(&mut self) -> Access {
        if self.one_in(2) { Access::Read } else { Access::Write }
    }
}

/// Never zero, and different for files that live at the same time.
fn stamp(file: FileId) -> u8 {
    (file.number() % 255) as u8 + 1
}

fn check(file: FileId, bytes: &[u8]) {
    let own = stamp(file);
    let stranger = bytes.iter().find(|byte| **byte != 0 && **byte != own);
    assert_eq!(stranger, None, "{file} writes {own:#x}, and holds another's bytes");
}

/// What was done, if it was not refused with something that may be.
fn allowed<T>(result: Result<T, i32>) -> Option<T> {
    let may_be = |raw: &i32| REFUSALS.iter().any(|errno| errno.raw_os_error() == *raw);
    match result {
        Ok(done) => Some(done),
        Err(raw) if may_be(&raw) => None,
        Err(raw) => panic!("refused with errno {raw}"),
    }
}

/// One thread, and what it has pinned.
struct Worker<'p> {
    pool: &'p Pool,
    dice: Dice,
    held: Vec<(FileId, Pinned)>,
    given_up: Sender<()>,
}

impl Worker<'_> {
    fn work(&mut self) {
        for _ in 0..CALLS {
            match self.dice.below(20) {
                0..6 => self.copy(),
                6..11 => self.change(),
                11..15 => self.pin(),
                15..17 => self.look(),
                17 => self.rename(),
                18 => self.publish(),
                _ => self.allocate(),
            }
            while self.held.len() > 2 || !self.held.is_empty() && self.dice.one_in(3) {
                self.let_go();
            }
        }
        while !self.held.is_empty() {
            self.let_go();
        }
    }

    fn open(&mut self) -> File {
        self.pool.open_or_create(self.dice.name()).unwrap()
    }

    /// As long as it takes for who holds nothing that others could wait for; else not for long.
    fn until(&mut self) -> Until {
        if self.held.is_empty() { Until::done() } else { Until::after(Duration::from_millis(1)) }
    }

    fn copy(&mut self) {
        let (file, range) = (self.open(), self.dice.bytes());
        let own = vec![stamp(file.id()); (range.end - range.start) as usize];
        let done = match self.dice.below(5) {
            0..2 => file.write_at(range.start, &own),
            2 => file.append(&own).map(drop),
            3 => file.copy_range(range, &file, self.dice.below(FILE_MAX)).map(drop),
            _ => self.read(&file, range),
        };
        allowed(done.map_err(|error| error.errno()));
    }

    fn read(&self, file: &File, range: Range<u64>) -> Result<(), pinfold::CopyError> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = file.read_at(range.start, &mut bytes)?;
        check(file.id(), &bytes[..read]);
        Ok(())
    }

    fn change(&mut self) {
        let (file, until) = (self.open(), self.until());
        let (bytes, blocks, at) = (self.dice.bytes(), self.dice.blocks(), self.dice.blocks().start);
        let change: Change<'_> = match self.dice.below(10) {
            0..3 => file.truncate(bytes.start),
            3..5 => file.punch(bytes),
            5..7 => file.zero(bytes),
            7 => file.collapse(blocks),
            8 => file.insert(at, blocks.end - blocks.start),
            _ => file.exchange(blocks, &file, at),
        };
        let change = change.policy(if self.dice.one_in(2) { Policy::Wait } else { Policy::Detach });
        let done = if self.dice.one_in(2) { change.try_now() } else { change.until(until) };
        allowed(done.map_err(|error| error.errno()));
    }

    /// Pins, writes through the pin, and holds it for a while.
    fn pin(&mut self) {
        let (file, until) = (self.open(), self.until());
        let (range, access) = (self.dice.bytes(), self.dice.access());
        let pinning = file.pin(range.clone(), access);
        let pinned = if self.dice.one_in(2) { pinning.try_now() } else { pinning.until(until) };
        let Some(mut pinned) = allowed(pinned.map_err(|error| error.errno())) else { return };
        if self.dice.one_in(3) {
            let more = self.dice.bytes();
            allowed(pinned.extend(&file, more, access).map(drop).map_err(|error| error.errno()));
        }
        if access == Access::Write {
            let len = (range.end - range.start) as usize;
            pinned.copy_in(0, &vec![stamp(file.id()); len]).unwrap();
        }
        self.held.push((file.id(), pinned));
    }

    fn let_go(&mut self) {
        let nth = self.dice.below(self.held.len() as u64) as usize;
        let (file, pinned) = self.held.swap_remove(nth);
        let mut bytes = vec![0; pinned.len() as usize];
        pinned.copy_out(0, &mut bytes).unwrap();
        check(file, &bytes);
        match self.dice.one_in(8) {
            true => {
                pinned.abandon();
                self.given_up.send(()).unwrap();
            }
            false => drop(pinned),
        }
    }

    fn allocate(&mut self) {
        let (file, range, until) = (self.open(), self.dice.bytes(), self.until());
        allowed(file.allocate(range).until(until).map_err(|error| error.errno()));
    }

    fn publish(&mut self) {
        let len = 1 + self.dice.below(LEN_MAX);
        let reserved = self.pool.reserve(len).try_now();
        let Some(reservation) = allowed(reserved.map_err(|error| error.errno())) else { return };
        let pinned = reservation.pin(0..len).try_now().unwrap();
        pinned.copy_in(0, &vec![stamp(reservation.id()); self.dice.below(len) as usize]).unwrap();
        drop(pinned);
        if self.dice.one_in(4) {
            return;
        }
        allowed(reservation.publish(self.dice.name(), Publish::Replace).map_err(|unpublished| unpublished.errno()));
    }

    fn rename(&mut self) {
        let (from, to) = (self.dice.name(), self.dice.name());
        let done = match self.dice.below(3) {
            0 => self.pool.unlink(from),
            1 => self.pool.rename(from, to, Rename::Replace),
            _ => self.pool.rename(from, to, Rename::Exchange),
        };
        allowed(done.map_err(|error| error.errno()));
    }

    /// What only looks disturbs nobody.
    fn look(&mut self) {
        match self.dice.below(4) {
            0 => drop(self.pool.stats()),
            1 => drop(self.pool.pins()),
            2 => drop(self.pool.parked()),
            _ => drop(self.pool.what_is_at(self.dice.below(BLOCKS * BLOCK))),
        }
    }
}

/// Lets what was given up go, until nobody is left who could give anything up.
fn release(pool: &Pool, given_up: &Receiver<()>) {
    while given_up.recv().is_ok() {
        pool.release(&Quiet).unwrap();
    }
}

/// Nobody is in: every block is in one file, or free.
fn check_quiet(pool: &Pool) {
    assert_eq!((pool.pins(), pool.parked(), pool.breaks()), (Vec::new(), Vec::new(), Vec::new()));
    let mut used = BTreeSet::new();
    for name in NAMES {
        let Ok(file) = pool.open(name) else { continue };
        for extent in file.extents() {
            let blocks = (extent.place..extent.place + extent.len).step_by(BLOCK as usize);
            blocks.for_each(|place| assert!(used.insert(place), "the block at {place} is in two places"));
        }
        let mut bytes = vec![0; file.len().min(4 * FILE_MAX) as usize];
        file.read_at(0, &mut bytes).unwrap();
        check(file.id(), &bytes);
    }
    let stats = pool.stats();
    assert_eq!(stats.in_files, used.len() as u64 * BLOCK, "{stats:?}");
    assert_eq!(stats.free + stats.in_files, stats.total, "{stats:?}");
}

fn run(seed: u64) {
    let region = Region::memfd(BLOCKS * BLOCK).unwrap();
    // No file's stamp for a long time.
    region.bytes(0..region.len()).unwrap().copy_in(0, &vec![0xdb; region.len() as usize]).unwrap();
    let pool = &Pool::new(region).unwrap();
    for round in 0..ROUNDS {
        let (given_up, to_release) = channel();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let dice = Dice(seed ^ (round * THREADS + thread).wrapping_mul(0x5851_f42d_4c95_7f2d));
                let given_up = given_up.clone();
                scope.spawn(move || Worker { pool, dice, held: Vec::new(), given_up }.work());
            }
            drop(given_up);
            release(pool, &to_release);
        });
        check_quiet(pool);
    }
    NAMES.iter().for_each(|name| drop(pool.unlink(name)));
    let stats = pool.stats();
    assert_eq!((stats.free, stats.longest_free, stats.nodes), (stats.total, stats.total, 1), "everything came back");
}

proptest! {
    // Which thread comes first is chance: a smaller seed would say nothing.
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, failure_persistence: None, ..crate::config(32) })]

    #[test]
    fn g1_many_threads_find_their_own_bytes_and_leave_nothing_behind(seed in any::<u64>()) {
        run(seed);
    }
}
