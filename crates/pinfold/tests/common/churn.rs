//! Changes of all kinds to a pool, one after the other, by chance: the same for the same seed.

use pinfold::{Access, File, Pinned, Pool, Publish, Rename, Reservation};

use super::BLOCK;

/// How many files there are names for.
const NAMES: u64 = 12;

/// What somebody does with a pool, and has of it.
pub(crate) struct Churn {
    state: u64,
    open: Vec<File>,
    pinned: Vec<Pinned>,
    reserved: Vec<Reservation>,
}

impl Churn {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed | 1, open: Vec::new(), pinned: Vec::new(), reserved: Vec::new() }
    }

    /// A number below `bound` (xorshift64*).
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn path(&mut self) -> String {
        let dir = ["", "/a", "/a/b", "/c"][self.below(4) as usize];
        format!("{dir}/{}", self.below(NAMES))
    }

    /// Bytes of a range that begins anywhere, as often as not at a block.
    fn range(&mut self) -> std::ops::Range<u64> {
        let unit = if self.below(2) == 0 { BLOCK } else { 1000 };
        let start = self.below(20) * unit;
        start..start + (1 + self.below(8)) * unit
    }

    /// One change. What is refused, for want of space or because of what is there, changes nothing.
    pub(crate) fn step(&mut self, pool: &Pool) {
        match self.below(24) {
            0 => drop(pool.create_dir(["/a", "/a/b", "/c"][self.below(3) as usize])),
            1 => drop(pool.remove_dir(["/a", "/a/b", "/c"][self.below(3) as usize])),
            2 | 3 => drop(pool.unlink(self.path())),
            4 => drop(pool.rename(self.path(), self.path(), Rename::Replace)),
            5 => drop(pool.rename(self.path(), self.path(), Rename::Exchange)),
            6 => drop(pool.rename("/a/b", "/c/b", Rename::NoReplace)),
            7 => drop(pool.rename("/c/b", "/a/b", Rename::NoReplace)),
            8 => drop(pool.link(self.path(), self.path())),
            9 => drop(pool.symlink("../a", self.path())),
            10 => drop(pool.reserve(1 + self.below(5 * BLOCK)).try_now().map(|reserved| self.reserved.push(reserved))),
            11 => self.end_reservation(),
            12 => drop(pool.sync()),
            13 if self.below(20) == 0 => drop(pool.checkpoint()),
            13 => self.let_go(),
            _ => {
                let path = self.path();
                if let Ok(file) = pool.open_or_create(&path) {
                    self.change(&file);
                    if self.below(6) == 0 {
                        self.open.push(file);
                    }
                }
            }
        }
    }

    fn change(&mut self, file: &File) {
        let (range, byte) = (self.range(), self.below(255) as u8 + 1);
        let whole = range.start / BLOCK * BLOCK..range.end.next_multiple_of(BLOCK);
        match self.below(12) {
            0 => drop(file.truncate(range.start).detach().wait()),
            1 => drop(file.truncate(range.end).try_now()),
            2 => drop(file.punch(range).detach().wait()),
            3 => drop(file.zero(range).try_now()),
            4 => drop(file.collapse(whole).try_now()),
            5 => drop(file.insert(whole.start, whole.end - whole.start).try_now()),
            6 => drop(file.allocate(range).try_now()),
            7 => drop(file.sync()),
            8 => drop(file.append(&[byte; 3000])),
            9 => drop(file.pin(range, Access::Write).try_now().map(|pinned| self.pinned.push(pinned))),
            _ => drop(file.write_at(range.start, &vec![byte; (range.end - range.start) as usize])),
        }
    }

    fn end_reservation(&mut self) {
        let path = self.path();
        if let Some(reserved) = self.reserved.pop() {
            match self.below(2) {
                0 => drop(reserved.publish(path, Publish::Replace)),
                _ => drop(reserved),
            }
        }
    }

    /// Gives up what it has.
    pub(crate) fn let_go(&mut self) {
        self.pinned.clear();
        self.open.clear();
        self.reserved.clear();
    }
}
