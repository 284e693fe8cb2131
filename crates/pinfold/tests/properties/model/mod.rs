//! The model: one entry for each block, and no extents, no locks, no addresses. Too slow to ship, too plain to be wrong.
//!
//! A block is a thing by itself, with its bytes in it. A file is made of blocks, and a pin reaches blocks. So what a
//! device writes through a pin is seen in the file exactly while the block is in it (G1), and the pin's own view keeps
//! what it wrote wherever the block went. A new block is zeros (G10). What nobody has is free (S1).

mod bytes;
mod changes;
mod names;
mod pins;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pinfold::FileId;
use rustix::io::Errno;

use crate::steps::Form;
pub(crate) use changes::Pending;
pub(crate) use pins::{Extended, ModelPin, ModelToken, ModelWant, Part, PinFacts, cut_parts};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct BlockId(u64);

/// A block that is not free.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: bool,
    /// Where it lies in the region, once that was seen. It never moves.
    pub(crate) place: Option<u64>,
}

#[derive(Default, Debug)]
pub(crate) struct ModelFile {
    pub(crate) len: u64,
    /// By file block; the rest are holes.
    pub(crate) map: BTreeMap<u64, BlockId>,
    /// The file blocks of each change of its layout so far.
    changes: Vec<Range<u64>>,
    pub(crate) links: u32,
    /// Handles, redeemed tokens, reservations and changes that wait.
    opens: u32,
    pub(crate) reserved: bool,
}

pub(crate) struct Model {
    /// Bytes of a block.
    pub(crate) block: u64,
    /// Blocks of the pool.
    pub(crate) total: u64,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    last_block: u64,
    pub(crate) files: BTreeMap<FileId, ModelFile>,
    pub(crate) names: BTreeMap<&'static str, FileId>,
    pub(crate) pins: Vec<ModelPin>,
    /// What devices wrote of reservations, in bytes of the file. Forgotten when they are published.
    recorded: BTreeMap<FileId, Vec<Range<u64>>>,
    pub(crate) pending: Option<Pending>,
}

/// What the model says of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict<T = ()> {
    Done(T),
    Refused(Errno),
    /// Which pin is found first is nobody's promise.
    RefusedAsOneOf(Errno, Errno),
    /// A future that is not ready.
    Pending,
}

impl<T> Verdict<T> {
    pub(crate) fn of(result: Result<T, Errno>) -> Self {
        result.map_or_else(Self::Refused, Self::Done)
    }
}

impl Model {
    pub(crate) fn new(block: u64, total: u64) -> Self {
        Self {
            block,
            total,
            blocks: BTreeMap::new(),
            last_block: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            pins: Vec::new(),
            recorded: BTreeMap::new(),
            pending: None,
        }
    }

    pub(crate) fn free(&self) -> u64 {
        self.total - self.blocks.len() as u64
    }

    pub(crate) fn file(&self, file: FileId) -> &ModelFile {
        &self.files[&file]
    }

    fn file_mut(&mut self, file: FileId) -> &mut ModelFile {
        self.files.get_mut(&file).expect("a file that is there")
    }

    fn block_mut(&mut self, block: BlockId) -> &mut Block {
        self.blocks.get_mut(&block).expect("a block that is not free")
    }

    /// The blocks that a range of bytes touches.
    pub(crate) fn outward(&self, bytes: &Range<u64>) -> Range<u64> {
        bytes.start / self.block..bytes.end.div_ceil(self.block)
    }

    /// The blocks that lie in a range of bytes as a whole.
    fn inward(&self, bytes: &Range<u64>) -> Range<u64> {
        let start = bytes.start.div_ceil(self.block);
        start..(bytes.end / self.block).max(start)
    }

    fn holes(&self, file: FileId, blocks: &Range<u64>) -> u64 {
        (blocks.end - blocks.start) - self.file(file).map.range(blocks.clone()).count() as u64
    }

    /// `ENOSPC` unless so many blocks are free.
    fn check_space(&self, want: u64) -> Result<(), Errno> {
        if want > self.free() { Err(Errno::NOSPC) } else { Ok(()) }
    }

    /// Puts a new block into a file; what lay there has been taken out.
    fn put_new(&mut self, file: FileId, at: u64, written: bool) -> BlockId {
        assert!(self.free() > 0, "the model checks for space first");
        self.last_block += 1;
        let id = BlockId(self.last_block);
        self.blocks.insert(id, Block { bytes: vec![0; self.block as usize], written, place: None });
        assert_eq!(self.file_mut(file).map.insert(at, id), None, "block {at} is no hole");
        id
    }

    /// Puts new blocks into the holes of a range.
    fn fill(&mut self, file: FileId, blocks: Range<u64>, written: bool) {
        for at in blocks {
            if !self.file(file).map.contains_key(&at) {
                self.put_new(file, at, written);
            }
        }
    }

    /// Takes blocks out of a file: whoever reaches them keeps them (parked), what nobody reaches is free.
    fn take_out(&mut self, file: FileId, blocks: Range<u64>) {
        let left: Vec<(u64, BlockId)> = self.file(file).map.range(blocks).map(|(at, block)| (*at, *block)).collect();
        for (at, block) in left {
            self.file_mut(file).map.remove(&at);
            for pin in self.pins.iter_mut().filter(|pin| pin.file == file) {
                pin.left_file(at, block);
            }
        }
        self.sweep();
    }

    /// What is in no file and reached by nobody is free.
    fn sweep(&mut self) {
        let in_files = self.files.values().flat_map(|file| file.map.values());
        let used: BTreeSet<BlockId> = in_files.chain(self.pins.iter().flat_map(|pin| &pin.keeps)).copied().collect();
        self.blocks.retain(|block, _| used.contains(block));
        for part in self.pins.iter().flat_map(|pin| &pin.parts) {
            assert!(self.blocks.contains_key(&part.block), "the model itself frees {part:?} under a pin");
        }
    }

    /// Blocks that are in no file: kept by a pin with a holder, and kept by pins in quarantine alone.
    pub(crate) fn parked(&self) -> (u64, u64) {
        let held = |pin: &&ModelPin| pin.transfer.is_some();
        let by_holders: BTreeSet<_> = self.pins.iter().filter(held).flat_map(|pin| &pin.keeps).collect();
        let all: BTreeSet<_> = self.pins.iter().flat_map(|pin| &pin.keeps).collect();
        (by_holders.len() as u64, (all.len() - by_holders.len()) as u64)
    }

    /// Blocks in files.
    pub(crate) fn in_files(&self) -> u64 {
        self.files.values().map(|file| file.map.len() as u64).sum()
    }

    /// Where a block turned out to lie. No other block lies there, and it never moves.
    pub(crate) fn saw(&mut self, block: BlockId, place: u64) {
        let before = self.block_mut(block).place.replace(place);
        assert!(before.is_none_or(|before| before == place), "{block:?} moved from {before:?} to {place}");
        let other = self.at_place(place).find(|other| *other != block);
        assert_eq!(other, None, "{block:?} lies at {place} too");
    }

    /// The blocks that were seen at a place.
    pub(crate) fn at_place(&self, place: u64) -> impl Iterator<Item = BlockId> {
        self.blocks.iter().filter(move |(_, block)| block.place == Some(place)).map(|(id, _)| *id)
    }

    /// How a call ends that finds `keepers` in its way.
    fn kept_off<'a>(form: Form, tried: Errno, keepers: impl Iterator<Item = &'a ModelPin>) -> Verdict {
        let (own, others): (Vec<_>, Vec<_>) = keepers.partition(|pin| pin.is_own());
        match (form, own.is_empty(), others.is_empty()) {
            (Form::Try, ..) => Verdict::Refused(tried),
            (Form::Future, ..) => Verdict::Pending,
            (_, true, _) => Verdict::Refused(Errno::TIMEDOUT),
            (_, _, true) => Verdict::Refused(Errno::DEADLK),
            _ => Verdict::RefusedAsOneOf(Errno::TIMEDOUT, Errno::DEADLK),
        }
    }

    /// How a call ends that found too few blocks free for `want` more: a wait helps where pins keep enough of what has
    /// left its file.
    pub(crate) fn without_space(&self, want: u64, form: Form) -> Verdict {
        let (parked, quarantined) = self.parked();
        if want > self.free() + parked + quarantined {
            return Verdict::Refused(Errno::NOSPC);
        }
        Self::kept_off(form, Errno::NOSPC, self.pins.iter().filter(|pin| !pin.keeps.is_empty()))
    }
}
