//! Writes media.

use crate::extents::{ExtentMap, Run, State};
use crate::medium::attributes::Attributes;
use crate::medium::checkpoint::{CHUNK_HEADER, chunk_header, write_directory, write_file, write_names, write_symlink};
use crate::medium::codec::Writer;
use crate::medium::image::ROOT;
use crate::medium::log::places;
use crate::medium::record::{Draft, Entry, Stamp};
use crate::medium::superblock::{CheckpointPlace, MARK, POOL_BYTES_MIN, SUPERBLOCKS, Superblock};
use crate::units::BlockSize;

/// Bytes of a block here.
pub(super) const BLOCK: u64 = 4096;
/// Blocks of these pools.
pub(super) const BLOCKS: u64 = POOL_BYTES_MIN / BLOCK;
/// Where the checkpoint's chunks begin.
pub(super) const CHUNKS: u64 = 1000;

/// A medium that is to be written: a checkpoint in some chunks, and records.
pub(super) struct Maker {
    pub(super) superblock: Superblock,
    pub(super) items: Writer,
    pub(super) nodes: u64,
    /// How many blocks each chunk has, but the last, which holds the rest.
    pub(super) chunks: Vec<u64>,
    log: Vec<u8>,
    /// Up to where the log is durable when a record is appended.
    pub(super) durable: u64,
    /// As of which position files are in the checkpoint.
    pub(super) position: u64,
}

/// A run of file blocks: (at, block, how many, whether they are written).
pub(super) type Blocks = (u64, u64, u64, bool);

impl Maker {
    /// With a root directory.
    pub(super) fn new() -> Self {
        let mut maker = Self::rootless();
        maker.dir(ROOT);
        maker
    }

    pub(super) fn rootless() -> Self {
        let new = Superblock::new([7; 16], POOL_BYTES_MIN, BlockSize::new(BLOCK).unwrap());
        let superblock = Superblock { generation: 5, epoch: 3, replay_from: 4096, last_node: 100, ..new };
        Self {
            superblock,
            items: Writer::default(),
            nodes: 0,
            chunks: vec![1],
            log: Vec::new(),
            durable: 0,
            position: 0,
        }
    }

    /// The first block that is nobody's.
    pub(super) fn first(&self) -> u64 {
        self.superblock.first_block()
    }

    pub(super) fn file(&mut self, node: u64, len: u64, blocks: &[Blocks]) -> &mut Self {
        let run = |(at, block, len, written): &Blocks| {
            let state = if *written { State::Written } else { State::SetAside };
            (*at, Run { block: *block, len: *len, state })
        };
        let extents = ExtentMap::from_runs(blocks.iter().map(run).collect());
        write_file(&mut self.items, node, &Attributes::made(1), len, self.position, &extents);
        self.nodes += 1;
        self
    }

    pub(super) fn dir(&mut self, node: u64) -> &mut Self {
        write_directory(&mut self.items, node, &Attributes::made(1));
        self.nodes += 1;
        self
    }

    pub(super) fn symlink(&mut self, node: u64, target: &[u8]) -> &mut Self {
        write_symlink(&mut self.items, node, &Attributes::made(1), target);
        self.nodes += 1;
        self
    }

    pub(super) fn names(&mut self, dir: u64, names: &[(&[u8], u64)]) -> &mut Self {
        write_names(&mut self.items, dir, names.iter().copied());
        self
    }

    /// A file with a name in the root.
    pub(super) fn named(&mut self, name: &str, node: u64, len: u64, blocks: &[Blocks]) -> &mut Self {
        self.file(node, len, blocks).names(ROOT, &[(name.as_bytes(), node)])
    }

    /// Where the next record lies.
    pub(super) fn end(&self) -> u64 {
        self.superblock.replay_from + self.log.len() as u64
    }

    pub(super) fn record(&mut self, entries: &[Entry<'_>]) -> &mut Self {
        let record = record(&self.superblock, self.end(), self.durable, entries);
        self.log.extend(record);
        self
    }

    /// A place in the log without a record.
    pub(super) fn hole(&mut self, len: usize) -> &mut Self {
        self.log.resize(self.log.len() + len, 0);
        self
    }

    /// The medium: items in chunks, records, superblocks.
    pub(super) fn medium(&mut self) -> Vec<u8> {
        let mut medium = vec![0; self.superblock.len as usize];
        self.write_chunks(&mut medium);
        write_log(&mut medium, &self.superblock, self.superblock.replay_from, &self.log);
        write_superblocks(&mut medium, &self.superblock);
        medium
    }

    /// Says at the end of the log that all of it is durable.
    pub(super) fn seal(&mut self) -> &mut Self {
        let seal = stamp(&self.superblock, self.end(), self.end()).seal();
        self.log.extend(seal);
        self
    }

    fn write_chunks(&mut self, medium: &mut [u8]) {
        let total = self.items.bytes.len() as u64;
        let rest_len = (total + CHUNK_HEADER).div_ceil(BLOCK).max(1);
        let mut lens = self.chunks.clone();
        *lens.last_mut().unwrap() = (*lens.last().unwrap()).max(rest_len);
        // A block between two chunks, so that they are apart.
        let starts: Vec<u64> = (0..lens.len()).map(|index| CHUNKS + index as u64 * 2).collect();
        self.superblock.checkpoint =
            CheckpointPlace { block: starts[0], blocks: lens[0], bytes: total, nodes: self.nodes };
        let mut rest = &self.items.bytes[..];
        for (index, start) in starts.iter().enumerate() {
            let is_last = index + 1 == lens.len();
            // All but the last are filled by a few bytes only: items reach over their ends.
            let room = if is_last { rest.len() } else { 7 };
            let (now, later) = rest.split_at(room.min(rest.len()));
            let next = (!is_last).then(|| (starts[index + 1], lens[index + 1]));
            let header = chunk_header(&self.superblock, index as u64, next, now);
            put(medium, start * BLOCK, &header);
            put(medium, start * BLOCK + CHUNK_HEADER, now);
            rest = later;
        }
    }
}

fn stamp(superblock: &Superblock, position: u64, durable: u64) -> Stamp<'_> {
    Stamp { pool: &superblock.pool, epoch: superblock.epoch, position, durable, time: 1000 }
}

/// A record for one place in the log, which is durable up to another.
pub(super) fn record(superblock: &Superblock, position: u64, durable: u64, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut draft = Draft::new(1000);
    entries.iter().for_each(|entry| draft.add(*entry));
    draft.stamped(&stamp(superblock, position, durable))
}

/// A record of which nothing before is durable.
pub(super) fn sealed(superblock: &Superblock, position: u64, entries: &[Entry<'_>]) -> Vec<u8> {
    record(superblock, position, superblock.replay_from, entries)
}

/// Gives a record the checksum that it should have.
pub(super) fn put_checksum(superblock: &Superblock, record: &mut [u8]) {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&superblock.pool), &superblock.epoch.to_le_bytes());
    let sum = crc32c::crc32c_append(seed, &record[4..]);
    put(record, 0, &sum.to_le_bytes());
}

/// Bytes of the log, from a position on.
pub(super) fn write_log(medium: &mut [u8], superblock: &Superblock, position: u64, bytes: &[u8]) {
    let [first, second] = places(superblock, position, bytes.len() as u64);
    let (now, later) = bytes.split_at((first.end - first.start) as usize);
    put(medium, first.start, now);
    put(medium, second.start, later);
}

/// Says in the mark how far the log is durable.
pub(super) fn put_mark(medium: &mut [u8], superblock: &Superblock, durable: u64) {
    put(medium, MARK, &stamp(superblock, durable, durable).seal());
}

/// Both copies.
pub(super) fn write_superblocks(medium: &mut [u8], superblock: &Superblock) {
    SUPERBLOCKS.iter().for_each(|place| put(medium, *place, &superblock.to_bytes()));
}

/// One of them.
pub(super) fn write_superblock(medium: &mut [u8], index: usize, superblock: &Superblock) {
    put(medium, SUPERBLOCKS[index], &superblock.to_bytes());
}

pub(super) fn put(medium: &mut [u8], place: u64, bytes: &[u8]) {
    medium[place as usize..place as usize + bytes.len()].copy_from_slice(bytes);
}
