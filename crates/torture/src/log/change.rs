//! What an operation does to a file: which blocks it breaks, which bytes it changes, and what they are afterwards.

use std::ops::Range;

use super::legal::{Legal, Time};
use crate::sectors::{FILE_BYTES, FILE_SECTORS, SECTOR, Sectors};
use crate::stamp::Word;

/// A change of one file, in bytes; ranges of what moves are whole blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// A new length.
    Truncate { len: u64 },
    /// Zeros, and no blocks.
    Punch(Range<u64>),
    /// Zeros, with blocks.
    Zero(Range<u64>),
    /// A range out; what follows moves down.
    Collapse(Range<u64>),
    /// A hole in; what follows moves up.
    Insert { at: u64, len: u64 },
    /// Two ranges of one file take each other's place.
    Swap { range: Range<u64>, at: u64 },
}

/// What of one file an operation has to do with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    /// Whose blocks it frees or moves.
    pub(crate) breaks: Sectors,
    /// Whose bytes it changes. More than what breaks where an edge is zeroed in place, less where a block is kept in part.
    pub(crate) affects: Sectors,
    /// Where it has anything to do: whole blocks, edges included.
    pub(crate) touches: Sectors,
    /// Whether others of its kind may run on the same file.
    pub(crate) is_shared: bool,
    /// Whether it moves blocks.
    pub(crate) moves: bool,
}

impl Scope {
    /// Where somebody who came meanwhile may find that it was made after him.
    pub(super) fn reaches(&self) -> Sectors {
        self.breaks | self.affects
    }

    /// Whole blocks take another place.
    pub(crate) fn moving(bytes: Range<u64>) -> Self {
        let sectors = Sectors::of(bytes);
        Self { breaks: sectors, affects: sectors, touches: sectors, is_shared: false, moves: true }
    }

    fn freeing(breaks: Sectors, affects: Sectors, is_shared: bool) -> Self {
        Self { breaks, affects, touches: breaks, is_shared, moves: false }
    }
}

impl Change {
    /// What it has to do with, in a file of `len` bytes.
    pub(crate) fn scope(&self, len: u64) -> Scope {
        match self {
            Self::Truncate { len: new } if *new >= len => Scope::freeing(Sectors::NONE, Sectors::NONE, false),
            Self::Truncate { len: new } => {
                Scope::freeing(Sectors::outward(*new..FILE_BYTES), Sectors::of(*new..FILE_BYTES), false)
            }
            Self::Punch(range) | Self::Zero(range) => {
                let scope = Scope::freeing(Sectors::inward(range.clone()), Sectors::of(range.clone()), true);
                Scope { touches: Sectors::outward(range.clone()), ..scope }
            }
            Self::Collapse(Range { start, .. }) | Self::Insert { at: start, .. } => Scope::moving(*start..FILE_BYTES),
            Self::Swap { range, at } => {
                let (here, there) = (Scope::moving(range.clone()), Scope::moving(*at..at + (range.end - range.start)));
                let both = here.breaks | there.breaks;
                Scope { breaks: both, affects: both, touches: both, ..here }
            }
        }
    }

    /// What the sectors may hold, and how long the file is, once it is made: it began at `since`.
    pub(super) fn apply(&self, contents: &mut Vec<Legal>, len: &mut u64, since: Time, now: Time) {
        let number = |bytes: u64| (bytes / SECTOR) as usize;
        match self {
            Self::Truncate { len: new } => {
                contents[number(*new)..].fill(Legal::zeros());
                *len = *new;
            }
            Self::Punch(range) | Self::Zero(range) => {
                let whole = Sectors::inward(range.clone());
                for sector in Sectors::of(range.clone()).iter() {
                    match whole.has(sector) {
                        true => contents[sector].zero(since),
                        false => contents[sector].settle(Word::ZERO, since, now),
                    }
                }
            }
            Self::Collapse(range) => {
                contents.drain(number(range.start)..number(range.end));
                contents.resize(FILE_SECTORS, Legal::zeros());
                *len -= range.end - range.start;
            }
            Self::Insert { at, len: by } => {
                contents.splice(number(*at)..number(*at), vec![Legal::zeros(); number(*by)]);
                contents.truncate(FILE_SECTORS);
                *len += by;
            }
            Self::Swap { range, at } => {
                let (here, there) = (number(range.start), number(*at));
                (0..number(range.end - range.start)).for_each(|step| contents.swap(here + step, there + step));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(change: &Change, len: u64) -> (Vec<Legal>, u64) {
        let mut contents: Vec<Legal> = (0..FILE_SECTORS as u64).map(|sector| Legal::only(Word(sector + 1))).collect();
        let mut new_len = len;
        change.apply(&mut contents, &mut new_len, 10, 20);
        (contents, new_len)
    }

    #[test]
    fn a_truncate_in_a_block_breaks_it_and_keeps_its_first_bytes() {
        let scope = Change::Truncate { len: 4608 }.scope(16384);
        assert_eq!((scope.breaks, scope.affects), (Sectors::of(4096..FILE_BYTES), Sectors::of(4608..FILE_BYTES)));
        let (contents, len) = applied(&Change::Truncate { len: 4608 }, 16384);
        assert_eq!(len, 4608);
        assert!(contents[8].allows(Word(9)) && !contents[9].allows(Word(10)) && contents[9].allows(Word::ZERO));
        assert!(Change::Truncate { len: 16384 }.scope(16384).breaks.is_empty(), "what frees nothing breaks nothing");
    }

    #[test]
    fn a_punch_breaks_whole_blocks_and_zeroes_its_edges() {
        let scope = Change::Punch(512..8192).scope(16384);
        assert_eq!((scope.breaks, scope.affects), (Sectors::of(4096..8192), Sectors::of(512..8192)));
    }

    #[test]
    fn what_shifts_moves_all_that_follows() {
        let (down, len) = applied(&Change::Collapse(4096..8192), 16384);
        assert_eq!(len, 12288);
        assert!(down[8].allows(Word(17)) && down[FILE_SECTORS - 1].allows(Word::ZERO));
        let (up, len) = applied(&Change::Insert { at: 4096, len: 4096 }, 16384);
        assert_eq!(len, 20480);
        assert!(up[7].allows(Word(8)) && up[8].allows(Word::ZERO) && up[16].allows(Word(9)));
        let (swapped, _) = applied(&Change::Swap { range: 0..4096, at: 8192 }, 16384);
        assert!(swapped[0].allows(Word(17)) && swapped[16].allows(Word(1)));
    }
}
