//! What one file may hold: for each sector, the words that a read may find there.
//!
//! Most sectors can hold one word alone. More than one is possible where a device writes, or the end of the process came
//! in the middle of a write; and zeros are possible in a block that got its bytes after the last sync, if the pool lies
//! on a disk: until then its record says that it was never written (G10).

use std::ops::Range;

use crate::sectors::{BLOCK, FILE_BLOCKS, FILE_SECTORS, SECTOR};
use crate::stamp::Word;

pub(super) const PER_BLOCK: usize = (BLOCK / SECTOR) as usize;
const BLOCKS: usize = FILE_BLOCKS as usize;

/// The words that one sector may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct May {
    one: Word,
    more: Option<Box<[Word]>>,
}

/// What is known of a block of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    /// There may be none, or one without bytes: it reads as zeros.
    Hole,
    /// It has bytes, and they may not have been synced.
    Fresh,
    /// Its bytes have been synced.
    Settled,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Contents {
    /// Sectors.
    pub(super) len: usize,
    sectors: Box<[May; FILE_SECTORS]>,
    blocks: [Block; BLOCKS],
}

impl May {
    const ZERO: Self = Self { one: Word::ZERO, more: None };

    fn only(word: Word) -> Self {
        Self { one: word, more: None }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = Word> + '_ {
        std::iter::once(self.one).chain(self.more.iter().flatten().copied())
    }

    fn has(&self, word: Word) -> bool {
        self.words().any(|may| may == word)
    }

    fn add(&mut self, word: Word) {
        if !self.has(word) {
            self.more = Some(self.words().skip(1).chain([word]).collect());
        }
    }
}

impl Default for Contents {
    /// An empty file.
    fn default() -> Self {
        Self { len: 0, sectors: Box::new([const { May::ZERO }; FILE_SECTORS]), blocks: [Block::Hole; BLOCKS] }
    }
}

impl Contents {
    /// So many blocks without bytes.
    pub(super) fn of_blocks(blocks: u64) -> Self {
        Self { len: blocks as usize * PER_BLOCK, ..Self::default() }
    }

    /// The blocks of all of these sectors have bytes now.
    pub(super) fn fill(&mut self, sectors: &Range<usize>) {
        for block in &mut self.blocks[sectors.start / PER_BLOCK..sectors.end.div_ceil(PER_BLOCK)] {
            if *block == Block::Hole {
                *block = Block::Fresh;
            }
        }
    }

    /// A sector holds this, and nothing else.
    pub(super) fn set(&mut self, sector: usize, word: Word) {
        self.sectors[sector] = May::only(word);
    }

    /// A sector may hold this too.
    pub(super) fn add(&mut self, sector: usize, word: Word) {
        self.sectors[sector].add(word);
    }

    /// Sectors read as zeros; blocks that lie in them as a whole have no bytes.
    pub(super) fn clear(&mut self, sectors: &Range<usize>) {
        self.sectors[sectors.clone()].fill(May::ZERO);
        let (start, end) = (sectors.start.div_ceil(PER_BLOCK), sectors.end / PER_BLOCK);
        if start < end {
            self.blocks[start..end].fill(Block::Hole);
        }
    }

    /// The sectors of the first and the last block of a range, if it has not all of them, may read as zeros.
    pub(super) fn clear_edges_perhaps(&mut self, sectors: &Range<usize>) {
        let whole = sectors.start.next_multiple_of(PER_BLOCK)..sectors.end / PER_BLOCK * PER_BLOCK;
        for sector in sectors.clone().filter(|sector| !whole.contains(sector)) {
            self.add(sector, Word::ZERO);
        }
    }

    /// Sets the length in sectors; what is cut off is gone.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.clear(&(len..FILE_SECTORS));
        }
        self.len = len;
    }

    /// Takes blocks out.
    pub(super) fn collapse(&mut self, blocks: &Range<usize>) {
        self.sectors[blocks.start * PER_BLOCK..].rotate_left(blocks.len() * PER_BLOCK);
        self.blocks[blocks.start..].rotate_left(blocks.len());
        self.len -= blocks.len() * PER_BLOCK;
        self.clear(&(FILE_SECTORS - blocks.len() * PER_BLOCK..FILE_SECTORS));
    }

    /// Opens a hole.
    pub(super) fn insert(&mut self, at: usize, blocks: usize) {
        self.sectors[at * PER_BLOCK..].rotate_right(blocks * PER_BLOCK);
        self.blocks[at..].rotate_right(blocks);
        self.len += blocks * PER_BLOCK;
        self.clear(&(at * PER_BLOCK..(at + blocks) * PER_BLOCK));
    }

    /// Changes the places of some blocks with those of another file.
    pub(super) fn exchange(&mut self, blocks: &Range<usize>, other: &mut Self) {
        let sectors = blocks.start * PER_BLOCK..blocks.end * PER_BLOCK;
        self.sectors[sectors.clone()].swap_with_slice(&mut other.sectors[sectors]);
        self.blocks[blocks.clone()].swap_with_slice(&mut other.blocks[blocks.clone()]);
    }

    /// It was synced, but for the blocks that `reached` says a device writes.
    pub(super) fn settle(&mut self, reached: impl Fn(Range<usize>) -> bool) {
        for (number, block) in self.blocks.iter_mut().enumerate() {
            if *block == Block::Fresh && !reached(number * PER_BLOCK..(number + 1) * PER_BLOCK) {
                *block = Block::Settled;
            }
        }
    }

    /// The process is gone. Where the pool lies on a disk, what was not synced may read as zeros.
    pub(super) fn outlive_process(&mut self, on_disk: bool) {
        if !on_disk {
            return;
        }
        for sector in 0..self.len {
            if self.blocks[sector / PER_BLOCK] != Block::Settled {
                self.add(sector, Word::ZERO);
            }
        }
        // Their bytes may be gone: then a sync finds none.
        self.blocks.iter_mut().filter(|block| **block == Block::Fresh).for_each(|block| *block = Block::Hole);
    }

    /// The first sector that holds what it may not, and what it holds.
    pub(super) fn first_wrong(&self, bytes: &[u8]) -> Option<(usize, Word, &May)> {
        let sectors = bytes.chunks(SECTOR as usize).zip(self.sectors.iter()).enumerate();
        let wrong = |bytes, may: &May| Word::all_in(bytes).find(|word| !may.has(*word));
        sectors.filter_map(|(sector, (bytes, may))| Some((sector, wrong(bytes, may)?, may))).next()
    }

    /// What was read is what it holds from now on, and is durable.
    pub(super) fn found(&mut self, bytes: &[u8]) {
        // Where zeros are read there may be a block or none.
        self.blocks.fill(Block::Hole);
        for (sector, bytes) in bytes.chunks(SECTOR as usize).enumerate() {
            let mut words = Word::all_in(bytes);
            let mut may = May::only(words.next().unwrap_or(Word::ZERO));
            words.for_each(|word| may.add(word));
            if may != May::ZERO {
                // A block of which anything is read was written as a whole.
                self.blocks[sector / PER_BLOCK] = Block::Settled;
            }
            self.sectors[sector] = may;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Word = Word(1);
    const TWO: Word = Word(2);

    /// The bytes of sectors that are full of these words.
    fn bytes(words: &[Word]) -> Vec<u8> {
        let mut bytes = vec![0; words.len() * SECTOR as usize];
        bytes.chunks_mut(SECTOR as usize).zip(words).for_each(|(sector, word)| word.fill(sector));
        bytes
    }

    #[test]
    fn what_is_being_written_may_be_there_or_not_or_in_part() {
        let mut contents = Contents::of_blocks(1);
        contents.set(0, ONE);
        contents.add(0, TWO);
        let mut torn = bytes(&[ONE]);
        TWO.fill(&mut torn[..256]);
        for right in [bytes(&[ONE]), bytes(&[TWO]), torn] {
            assert!(contents.first_wrong(&right).is_none());
        }
        assert!(matches!(contents.first_wrong(&bytes(&[Word(3)])), Some((0, Word(3), _))));
        assert!(contents.first_wrong(&bytes(&[ONE, ONE])).is_some_and(|(sector, ..)| sector == 1));
    }

    #[test]
    fn on_a_disk_what_was_not_synced_may_read_as_zeros() {
        let mut written = Contents::of_blocks(2);
        written.fill(&(0..PER_BLOCK + 1));
        [0, PER_BLOCK].iter().for_each(|sector| written.set(*sector, ONE));
        let zeros = bytes(&[Word::ZERO]);
        let may_be_zeros = |mut contents: Contents, on_disk| {
            contents.outlive_process(on_disk);
            contents.first_wrong(&zeros).is_none()
        };
        assert!(may_be_zeros(written.clone(), true) && !may_be_zeros(written.clone(), false));
        written.settle(|block| block.start > 0);
        assert!(!may_be_zeros(written.clone(), true));
        written.outlive_process(true);
        let second = written.first_wrong(&bytes(&[[ONE; 1].to_vec(), vec![Word::ZERO; PER_BLOCK]].concat()));
        assert!(second.is_none(), "a device was writing the second block: it was not synced");
    }

    #[test]
    fn blocks_move_with_what_they_hold() {
        let mut contents = Contents::of_blocks(3);
        contents.set(2 * PER_BLOCK, ONE);
        contents.collapse(&(0..1));
        contents.insert(1, 2);
        let mut expected = vec![Word::ZERO; 4 * PER_BLOCK];
        expected[3 * PER_BLOCK] = ONE;
        assert_eq!(contents.len, 4 * PER_BLOCK);
        assert!(contents.first_wrong(&bytes(&expected)).is_none());
        contents.truncate(3 * PER_BLOCK);
        contents.truncate(4 * PER_BLOCK);
        assert!(contents.first_wrong(&vec![0; 4 * PER_BLOCK * SECTOR as usize]).is_none(), "what was cut off is gone");
    }
}
