//! A checkpoint: all nodes and names, as a stream of items in chunks of blocks.
//!
//! ```text
//!  chunk  | magic | pool | position | next block, blocks | bytes | checksum | items ...
//! ```
//!
//! Chunks are runs of blocks; each names the next. The stream goes on from chunk to chunk, wherever an item stands.
//!
//! Stays true  K1: an item of a file carries the position in the log up to which it is true: older records are in it.
//!             K2: names come after all nodes, so that whoever reads them knows both ends.

use std::io;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::attributes::Attributes;
use super::codec::{Decoded, Garbled, Reader, Writer};
use super::source::Source;
use super::superblock::{CheckpointPlace, Superblock};
use crate::extents::{ExtentMap, Run, State};
use crate::node::Special;

/// How a chunk begins.
#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct RawChunk {
    magic: [u8; 8],
    pool: [u8; 16],
    /// The position from which the log is replayed over this checkpoint: what tells it from an older one.
    position: U64,
    /// Which chunk it is.
    index: U64,
    /// Where the next lies; no blocks: this is the last.
    next_block: U64,
    next_blocks: U64,
    /// Bytes of items in this chunk.
    bytes: U64,
    reserved: U32,
    /// CRC-32C of what comes before, then of the items.
    checksum: U32,
}

const _: () = assert!(size_of::<RawChunk>() == 72);

const CHUNK_MAGIC: [u8; 8] = *b"pf chunk";
/// Bytes of a chunk's header.
pub(crate) const CHUNK_HEADER: u64 = size_of::<RawChunk>() as u64;

/// What a checkpoint says of one thing; of a file's extents, what its reader makes of them.
#[derive(Debug)]
pub(crate) enum Item<'a, E = ExtentMap> {
    File {
        node: u64,
        attributes: Attributes,
        len: u64,
        position: u64,
        extents: E,
    },
    Directory {
        node: u64,
        attributes: Attributes,
    },
    Symlink {
        node: u64,
        attributes: Attributes,
        target: &'a [u8],
    },
    Special {
        node: u64,
        attributes: Attributes,
        special: Special,
    },
    /// Names in a directory follow, in order.
    Names {
        dir: u64,
        names: Names<'a>,
    },
}

/// Names of a directory, still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    count: usize,
    bytes: &'a [u8],
}

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMLINK: u8 = 3;
const NAMES: u8 = 4;
const SPECIAL: u8 = 5;
/// Added to the tag of a node that has more than one time.
const WITH_ATTRIBUTES: u8 = 16;

/// How an item of a node begins.
fn write_node(to: &mut Writer, tag: u8, node: u64, attributes: &Attributes) {
    let plain = attributes.is_plain();
    to.byte(if plain { tag } else { tag + WITH_ATTRIBUTES });
    [node, attributes.modified].iter().for_each(|number| to.number(*number));
    if !plain {
        attributes.write(to);
    }
}

/// Writes items. What a file's blocks hold that is not durable yet counts as set aside (see [`State::Filled`]).
pub(crate) fn write_file(
    to: &mut Writer,
    node: u64,
    attributes: &Attributes,
    len: u64,
    position: u64,
    extents: &ExtentMap,
) {
    write_node(to, FILE, node, attributes);
    [len, position, extents.count() as u64].iter().for_each(|number| to.number(*number));
    let mut last = 0;
    for (at, run) in extents.runs() {
        to.number(at - last);
        to.number(run.block);
        to.number(run.len << 1 | u64::from(run.state == State::Written));
        last = at + run.len;
    }
}

pub(crate) fn write_directory(to: &mut Writer, node: u64, attributes: &Attributes) {
    write_node(to, DIRECTORY, node, attributes);
}

pub(crate) fn write_symlink(to: &mut Writer, node: u64, attributes: &Attributes, target: &[u8]) {
    write_node(to, SYMLINK, node, attributes);
    to.text(target);
}

pub(crate) fn write_special(to: &mut Writer, node: u64, attributes: &Attributes, special: Special) {
    write_node(to, SPECIAL, node, attributes);
    special.numbers().iter().for_each(|number| to.number(*number));
}

/// Some names of a directory, at most as many as `names` has, in order.
pub(crate) fn write_names<'n>(to: &mut Writer, dir: u64, names: impl ExactSizeIterator<Item = (&'n [u8], u64)>) {
    let mut listed = Writer::default();
    let count = names.len();
    for (name, node) in names {
        listed.text(name);
        listed.number(node);
    }
    to.byte(NAMES);
    [dir, count as u64].iter().for_each(|number| to.number(*number));
    to.text(&listed.bytes);
}

impl<'a> Item<'a> {
    pub(crate) fn read(from: &mut Reader<'a>) -> Decoded<Self> {
        Item::read_with(from, |from| {
            let mut runs = Vec::new();
            read_extents(from, |at, run| runs.push((at, run)))?;
            Ok(ExtentMap::from_runs(runs))
        })
    }
}

impl<'a, E> Item<'a, E> {
    /// As [`Item::read`], with another reader of extents: [`read_extents`] has to be called by it.
    #[inline]
    pub(crate) fn read_with(
        from: &mut Reader<'a>,
        extents: impl FnOnce(&mut Reader<'a>) -> Decoded<E>,
    ) -> Decoded<Self> {
        let tag = from.byte()?;
        if tag == NAMES {
            // Each name has three bytes: its length, a letter, and its node.
            let (dir, count) = (from.number()?, from.count(3)?);
            let bytes = from.text()?;
            return Ok(Self::Names { dir, names: Names { count, bytes } });
        }
        let (kind, with_attributes) = (tag & !WITH_ATTRIBUTES, tag & WITH_ATTRIBUTES != 0);
        if !matches!(kind, FILE | DIRECTORY | SYMLINK | SPECIAL) {
            return Err(Garbled("a checkpoint has an item of an unknown kind"));
        }
        let (node, modified) = (from.number()?, from.number()?);
        let attributes = match with_attributes {
            true => Attributes::read(from, modified)?,
            false => Attributes::made(modified),
        };
        match kind {
            FILE => {
                let (len, position) = (from.number()?, from.number()?);
                Ok(Self::File { node, attributes, len, position, extents: extents(from)? })
            }
            DIRECTORY => Ok(Self::Directory { node, attributes }),
            SYMLINK => Ok(Self::Symlink { node, attributes, target: from.text()? }),
            _ => {
                let special = Special::of_numbers([from.number()?, from.number()?])?;
                Ok(Self::Special { node, attributes, special })
            }
        }
    }
}

/// Takes a file's extents, in order, each with its first file block. The file block after the last.
#[inline]
pub(crate) fn read_extents(from: &mut Reader<'_>, mut take: impl FnMut(u64, Run)) -> Decoded<u64> {
    let count = from.count(3)?;
    let mut at = 0u64;
    for _ in 0..count {
        let (skip, block, len) = (from.number()?, from.number()?, from.number()?);
        let state = if len & 1 == 1 { State::Written } else { State::SetAside };
        let len = len >> 1;
        let start = at.checked_add(skip).ok_or(Garbled("an extent lies past the end of any file"))?;
        at = start.checked_add(len).ok_or(Garbled("an extent lies past the end of any file"))?;
        let end = block.checked_add(len);
        if len == 0 || end.is_none() {
            return Err(Garbled("an extent without blocks"));
        }
        take(start, Run { block, len, state });
    }
    Ok(at)
}

impl<'a> Iterator for Names<'a> {
    type Item = Decoded<(&'a [u8], u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            let left = !std::mem::take(&mut self.bytes).is_empty();
            return left.then_some(Err(Garbled("a directory has more names than were announced")));
        }
        self.count -= 1;
        let mut reader = Reader::new(self.bytes);
        let read = reader.text().and_then(|name| Ok((name, reader.number()?)));
        self.bytes = &self.bytes[self.bytes.len() - reader.left()..];
        if read.is_err() {
            (self.count, self.bytes) = (0, &[]);
        }
        Some(read)
    }
}

/// How one chunk begins; its items follow.
pub(crate) fn chunk_header(
    superblock: &Superblock,
    index: u64,
    next: Option<(u64, u64)>,
    items: &[u8],
) -> [u8; CHUNK_HEADER as usize] {
    let (next_block, next_blocks) = next.unwrap_or_default();
    let mut raw = RawChunk {
        magic: CHUNK_MAGIC,
        pool: superblock.pool,
        position: superblock.replay_from.into(),
        index: index.into(),
        next_block: next_block.into(),
        next_blocks: next_blocks.into(),
        bytes: (items.len() as u64).into(),
        reserved: 0.into(),
        checksum: 0.into(),
    };
    raw.checksum = checksum(&raw, items).into();
    let mut bytes = [0; CHUNK_HEADER as usize];
    bytes.copy_from_slice(raw.as_bytes());
    bytes
}

fn checksum(raw: &RawChunk, items: &[u8]) -> u32 {
    let head = &raw.as_bytes()[..std::mem::offset_of!(RawChunk, checksum)];
    crc32c::crc32c_append(crc32c::crc32c(head), items)
}

/// The header of a chunk as it lies there: for who looks at what is damaged.
pub(crate) struct ChunkClaim {
    raw: RawChunk,
}

impl ChunkClaim {
    /// `None` if the bytes do not begin as a chunk does.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawChunk::read_from_prefix(bytes).ok()?;
        (raw.magic == CHUNK_MAGIC).then_some(Self { raw })
    }

    /// Why it is not chunk `index`, with so many blocks, of the checkpoint that a superblock names.
    pub(crate) fn why_not(&self, superblock: &Superblock, index: u64, blocks: u64) -> Option<&'static str> {
        let raw = &self.raw;
        match () {
            () if raw.pool != superblock.pool => Some("is of another pool"),
            () if raw.position.get() != superblock.replay_from => Some("is of another checkpoint"),
            () if raw.index.get() != index => Some("is another one"),
            () if self.bytes() > superblock.block.offset(blocks) - CHUNK_HEADER => Some("says it is longer than it is"),
            () => None,
        }
    }

    /// Whether these are its items.
    pub(crate) fn holds(&self, items: &[u8]) -> bool {
        self.raw.checksum.get() == checksum(&self.raw, items)
    }

    /// Bytes of its items.
    pub(crate) fn bytes(&self) -> u64 {
        self.raw.bytes.get()
    }

    /// Where the next one lies: its first block, and how many. None: this is the last.
    pub(crate) fn next(&self) -> Option<(u64, u64)> {
        let next = (self.raw.next_block.get(), self.raw.next_blocks.get());
        (next.1 > 0).then_some(next)
    }
}

/// Why a checkpoint could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Garbled> for Unreadable {
    fn from(Garbled(why): Garbled) -> Self {
        Self::Damaged(why)
    }
}

/// A whole checkpoint.
#[derive(Default)]
pub(crate) struct Stream {
    /// All of its items.
    pub(crate) items: Vec<u8>,
    /// The blocks in which it lies: (first, how many).
    pub(crate) chunks: Vec<(u64, u64)>,
}

impl Stream {
    /// Reads and checks every chunk (X1).
    pub(crate) fn read(source: &(impl Source + ?Sized), superblock: &Superblock) -> Result<Self, Unreadable> {
        let CheckpointPlace { block, blocks, bytes, .. } = superblock.checkpoint;
        let mut stream = Self { items: Vec::new(), chunks: Vec::new() };
        // No more than the pool has. The machine may have less.
        stream.items.try_reserve_exact(bytes as usize).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut next = (block, blocks);
        while next.1 > 0 {
            next = stream.read_chunk(source, superblock, next)?;
        }
        match stream.items.len() as u64 == bytes {
            true => Ok(stream),
            false => Err(Unreadable::Damaged("a checkpoint is not as long as its superblock says")),
        }
    }

    fn read_chunk(
        &mut self,
        source: &(impl Source + ?Sized),
        superblock: &Superblock,
        (block, blocks): (u64, u64),
    ) -> Result<(u64, u64), Unreadable> {
        let inside =
            block >= superblock.first_block() && blocks <= superblock.blocks() && block <= superblock.blocks() - blocks;
        if !inside {
            return Err(Unreadable::Damaged("a chunk of a checkpoint lies outside of the pool"));
        }
        let place = superblock.block.offset(block);
        let mut header = [0; CHUNK_HEADER as usize];
        source.read_at(place, &mut header)?;
        let Ok((raw, _)) = RawChunk::ref_from_prefix(&header) else {
            return Err(Unreadable::Damaged("a chunk of a checkpoint is too short"));
        };
        let len = raw.bytes.get();
        let is_ours = raw.magic == CHUNK_MAGIC
            && raw.pool == superblock.pool
            && raw.position.get() == superblock.replay_from
            && raw.index.get() == self.chunks.len() as u64
            && len <= superblock.block.offset(blocks) - CHUNK_HEADER
            && self.items.len() as u64 + len <= superblock.checkpoint.bytes;
        if !is_ours {
            return Err(Unreadable::Damaged("a chunk of a checkpoint is not what it should be"));
        }
        let start = self.items.len();
        self.items.resize(start + len as usize, 0);
        source.read_at(place + CHUNK_HEADER, &mut self.items[start..])?;
        if raw.checksum.get() != checksum(raw, &self.items[start..]) {
            return Err(Unreadable::Damaged("a chunk of a checkpoint has another checksum"));
        }
        self.chunks.push((block, blocks));
        Ok((raw.next_block.get(), raw.next_blocks.get()))
    }
}
