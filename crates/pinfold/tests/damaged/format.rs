//! The format a second time, as `docs/format.md` has it, and with nothing of the library's in it: so that the tests damage
//! what they mean to damage, and the document is true.
#![allow(dead_code, reason = "each user of this file needs a part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use pinfold::Source;
use rustix::fs::SeekFrom;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const POOL_BYTES: u64 = 16 << 20;
pub(crate) const SUPERBLOCKS: [u64; 2] = [0, 64 << 10];
pub(crate) const SUPERBLOCK: usize = 136;
pub(crate) const MARK: u64 = 32 << 10;
pub(crate) const LOG: u64 = 128 << 10;
pub(crate) const RECORD_HEADER: u64 = 32;
pub(crate) const CHUNK_HEADER: u64 = 72;

/// Where the fields of a superblock lie, and how long they are.
pub(crate) mod superblock {
    use std::ops::Range;

    pub(crate) const MAGIC: Range<usize> = 0..8;
    pub(crate) const VERSION: Range<usize> = 8..12;
    pub(crate) const BLOCK_SHIFT: Range<usize> = 12..16;
    pub(crate) const POOL: Range<usize> = 16..32;
    pub(crate) const GENERATION: Range<usize> = 32..40;
    pub(crate) const LEN: Range<usize> = 40..48;
    pub(crate) const LOG_LEN: Range<usize> = 48..56;
    pub(crate) const REPLAY_FROM: Range<usize> = 56..64;
    pub(crate) const EPOCH: Range<usize> = 64..72;
    pub(crate) const CHECKPOINT_BLOCK: Range<usize> = 72..80;
    pub(crate) const CHECKPOINT_BLOCKS: Range<usize> = 80..88;
    pub(crate) const CHECKPOINT_BYTES: Range<usize> = 88..96;
    pub(crate) const CHECKPOINT_NODES: Range<usize> = 96..104;
    pub(crate) const LAST_NODE: Range<usize> = 104..112;
    pub(crate) const BOOT: Range<usize> = 112..128;
    pub(crate) const FLAGS: Range<usize> = 128..132;
    pub(crate) const CHECKSUM: Range<usize> = 132..136;
}

const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

/// A medium of which most is zeros: its other pages.
#[derive(Clone, Default)]
pub(crate) struct Medium {
    pub(crate) len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
}

impl Medium {
    pub(crate) fn of_len(len: u64) -> Self {
        Self { len, pages: BTreeMap::new() }
    }

    /// What a file holds.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let mut medium = Self::of_len(file.metadata()?.len());
        let mut page = [0; PAGE as usize];
        let mut at = 0;
        while let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(at)) {
            at = data / PAGE * PAGE;
            let part = (medium.len - at).min(PAGE) as usize;
            file.read_exact_at(&mut page[..part], at)?;
            medium.write(at, &page[..part]);
            at += PAGE;
        }
        Ok(medium)
    }

    /// The pages that are not all zeros, by their offsets.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let filled = self.pages.iter().filter(|(_, page)| page[..] != ZEROS);
        filled.map(|(at, page)| (*at, &page[..(self.len - at).min(PAGE) as usize]))
    }

    /// What it holds from `offset` on; zeros past its end.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.copy_out(offset, &mut bytes);
        bytes
    }

    fn copy_out(&self, offset: u64, to: &mut [u8]) {
        let end = offset + to.len() as u64;
        to.fill(0);
        for (at, page) in self.pages.range(offset / PAGE * PAGE..end) {
            let part = offset.max(*at)..end.min(at + PAGE);
            to[(part.start - offset) as usize..(part.end - offset) as usize]
                .copy_from_slice(&page[(part.start - at) as usize..(part.end - at) as usize]);
        }
    }

    pub(crate) fn write(&mut self, offset: u64, from: &[u8]) {
        let end = (offset + from.len() as u64).min(self.len);
        let mut at = offset;
        while at < end {
            let page = at / PAGE * PAGE;
            let part = at..end.min(page + PAGE);
            let bytes = &from[(part.start - offset) as usize..(part.end - offset) as usize];
            if self.pages.contains_key(&page) || *bytes != ZEROS[..bytes.len()] {
                let to = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE as usize]));
                to[(part.start - page) as usize..(part.end - page) as usize].copy_from_slice(bytes);
            }
            at = part.end;
        }
    }

    pub(crate) fn zero(&mut self, range: Range<u64>) {
        self.write(range.start, &vec![0; (range.end - range.start) as usize]);
    }

    /// Its first `len` bytes, or as many more as are missing to that.
    pub(crate) fn resized(mut self, len: u64) -> Self {
        if len < self.len {
            self.zero(len..len.next_multiple_of(PAGE));
            self.pages.retain(|at, _| *at < len);
        }
        self.len = len;
        self
    }

    pub(crate) fn flip(&mut self, at: u64, bits: u8) {
        let byte = self.read(at, 1)[0];
        self.write(at, &[byte ^ bits]);
    }

    pub(crate) fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    pub(crate) fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at, 8).try_into().unwrap())
    }

    /// A number of the superblock in the first place.
    pub(crate) fn number(&self, field: Range<usize>) -> u64 {
        let mut bytes = [0; 8];
        let read = self.read(field.start as u64, field.len() as u64);
        bytes[..read.len()].copy_from_slice(&read);
        u64::from_le_bytes(bytes)
    }

    /// Changes a number in both superblocks, and makes their checksums right.
    pub(crate) fn set_number(&mut self, field: Range<usize>, to: u64) {
        for place in SUPERBLOCKS {
            self.write(place + field.start as u64, &to.to_le_bytes()[..field.len()]);
            self.seal_superblock(place);
        }
    }

    pub(crate) fn seal_superblock(&mut self, place: u64) {
        let sum = crc32c::crc32c(&self.read(place, superblock::CHECKSUM.start as u64));
        self.write(place + superblock::CHECKSUM.start as u64, &sum.to_le_bytes());
    }

    pub(crate) fn pool(&self) -> [u8; 16] {
        self.read(superblock::POOL.start as u64, 16).try_into().unwrap()
    }

    pub(crate) fn block(&self) -> u64 {
        1 << self.number(superblock::BLOCK_SHIFT).min(32)
    }

    /// Where the log byte of a position lies.
    pub(crate) fn log_place(&self, position: u64) -> u64 {
        LOG + position % self.number(superblock::LOG_LEN).max(1)
    }

    /// Bytes of the log from a position on, around the end of the ring.
    pub(crate) fn read_log(&self, position: u64, len: u64) -> Vec<u8> {
        let log_len = self.number(superblock::LOG_LEN).max(1);
        let start = position % log_len;
        let first = len.min(log_len - start);
        [self.read(LOG + start, first), self.read(LOG, len - first)].concat()
    }

    pub(crate) fn write_log(&mut self, position: u64, bytes: &[u8]) {
        for (at, byte) in (position..).zip(bytes) {
            self.write(self.log_place(at), &[*byte]);
        }
    }

    /// Everything that lies in the log, in order, up to what is not whole; a seal comes last.
    pub(crate) fn records(&self) -> Vec<Record> {
        let (epoch, mut position) = (self.number(superblock::EPOCH), self.number(superblock::REPLAY_FROM));
        let mut records: Vec<Record> = Vec::new();
        while records.last().is_none_or(|last| !last.is_seal()) {
            let Some(record) = self.record_at(position, epoch) else { break };
            position += record.len;
            records.push(record);
        }
        records
    }

    pub(crate) fn record_at(&self, position: u64, epoch: u64) -> Option<Record> {
        let header = self.read_log(position, RECORD_HEADER);
        let len = u64::from(u32::from_le_bytes(header[4..8].try_into().unwrap()));
        let possible = len >= RECORD_HEADER && len.is_multiple_of(8) && len <= self.number(superblock::LOG_LEN) / 4;
        let bytes = possible.then(|| self.read_log(position, len))?;
        Record::check(&self.pool(), epoch, bytes).filter(|record| record.position == position)
    }

    /// Makes the checksum of what lies at a position right, if it says that it is as long as a record can be.
    pub(crate) fn seal_record(&mut self, position: u64, epoch: u64) {
        let len = u64::from(u32::from_le_bytes(self.read_log(position, RECORD_HEADER)[4..8].try_into().unwrap()));
        if (RECORD_HEADER..=self.number(superblock::LOG_LEN) / 4).contains(&len) {
            let sum = record_checksum(&self.pool(), epoch, &self.read_log(position, len));
            self.write_log(position, &sum.to_le_bytes());
        }
    }

    /// The seal that the mark holds.
    pub(crate) fn mark(&self) -> Option<Record> {
        let bytes = self.read(MARK, RECORD_HEADER);
        Record::check(&self.pool(), self.number(superblock::EPOCH), bytes).filter(Record::is_seal)
    }

    /// Appends a record of these entries where the log ends at `position`; where it ends then.
    pub(crate) fn append(&mut self, position: u64, durable: u64, entries: &[u8]) -> u64 {
        let epoch = self.number(superblock::EPOCH);
        let bytes = sealed_record(&self.pool(), epoch, position, durable, entries);
        self.write_log(position, &bytes);
        position + bytes.len() as u64
    }

    /// The chunks of the checkpoint: where each lies, header and items.
    pub(crate) fn chunks(&self) -> Vec<Range<u64>> {
        let block = self.block();
        let mut next = (self.number(superblock::CHECKPOINT_BLOCK), self.number(superblock::CHECKPOINT_BLOCKS));
        let mut chunks: Vec<Range<u64>> = Vec::new();
        while next.1 > 0 && chunks.len() < 5000 {
            let place = next.0.saturating_mul(block);
            if place.saturating_add(CHUNK_HEADER) > self.len {
                break;
            }
            let end = place.saturating_add(CHUNK_HEADER).saturating_add(self.u64(place + 56));
            chunks.push(place..end.min(self.len));
            next = (self.u64(place + 40), self.u64(place + 48));
        }
        chunks
    }

    /// All items of the checkpoint.
    pub(crate) fn items(&self) -> Vec<u8> {
        let parts = self.chunks().into_iter().map(|chunk| chunk.start + CHUNK_HEADER..chunk.end);
        parts.flat_map(|items| self.read(items.start, items.end - items.start)).collect()
    }

    /// Makes the checksum of a chunk right.
    pub(crate) fn seal_chunk(&mut self, chunk: &Range<u64>) {
        let head = crc32c::crc32c(&self.read(chunk.start, 68));
        let items = self.read(chunk.start + CHUNK_HEADER, chunk.end - chunk.start - CHUNK_HEADER);
        self.write(chunk.start + 68, &crc32c::crc32c_append(head, &items).to_le_bytes());
    }

    /// Puts a checkpoint of these items into blocks from `block` on, and names it in both superblocks. It counts as many
    /// nodes as it has.
    pub(crate) fn put_checkpoint(&mut self, block: u64, items: &[u8]) {
        let blocks = (CHUNK_HEADER + items.len() as u64).div_ceil(self.block());
        self.put_chunk(block, 0, (0, 0), items);
        self.set_number(superblock::CHECKPOINT_BLOCK, block);
        self.set_number(superblock::CHECKPOINT_BLOCKS, blocks);
        self.set_number(superblock::CHECKPOINT_BYTES, items.len() as u64);
        self.set_number(superblock::CHECKPOINT_NODES, nodes_in(items));
    }

    pub(crate) fn put_chunk(&mut self, block: u64, index: u64, next: (u64, u64), items: &[u8]) {
        let mut header = Vec::new();
        header.extend(b"pf chunk");
        header.extend(self.pool());
        let numbers = [self.number(superblock::REPLAY_FROM), index, next.0, next.1, items.len() as u64, 0];
        numbers.iter().for_each(|number| header.extend(number.to_le_bytes()));
        let place = block * self.block();
        self.write(place, &header);
        self.write(place + CHUNK_HEADER, items);
        self.seal_chunk(&(place..place + CHUNK_HEADER + items.len() as u64));
    }
}

impl PartialEq for Medium {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.pages().eq(other.pages())
    }
}

impl Source for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(to.len() as u64) {
            Some(end) if end <= self.len => {
                self.copy_out(offset, to);
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// What lies at a position of the log.
pub(crate) struct Record {
    pub(crate) position: u64,
    pub(crate) len: u64,
    /// The log was durable up to here when it was appended.
    pub(crate) durable: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Record {
    fn check(pool: &[u8; 16], epoch: u64, bytes: Vec<u8>) -> Option<Self> {
        let number = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
        let position = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        let sound = number(4) == bytes.len() as u64
            && number(16) == epoch & 0xFFFF_FFFF
            && number(0) == u64::from(record_checksum(pool, epoch, &bytes));
        let durable = position.checked_sub(number(20))?;
        sound.then_some(Self { position, len: bytes.len() as u64, durable, bytes })
    }

    pub(crate) fn is_seal(&self) -> bool {
        self.len == RECORD_HEADER
    }

    pub(crate) fn end(&self) -> u64 {
        self.position + self.len
    }
}

fn record_checksum(pool: &[u8; 16], epoch: u64, record: &[u8]) -> u32 {
    let seed = [&pool[..], &epoch.to_le_bytes()].concat();
    crc32c::crc32c(&[&seed, &record[4..]].concat())
}

/// A record for one place in the log; a seal if there are no entries.
pub(crate) fn sealed_record(pool: &[u8; 16], epoch: u64, position: u64, durable: u64, entries: &[u8]) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEADER as usize];
    record.extend(entries);
    record.resize(record.len().next_multiple_of(8), 0);
    let len = record.len() as u32;
    record[4..8].copy_from_slice(&len.to_le_bytes());
    record[8..16].copy_from_slice(&position.to_le_bytes());
    record[16..20].copy_from_slice(&(epoch as u32).to_le_bytes());
    record[20..24].copy_from_slice(&((position - durable) as u32).to_le_bytes());
    record[24..32].copy_from_slice(&1_600_000_000_000_000_000u64.to_le_bytes());
    let sum = record_checksum(pool, epoch, &record);
    record[..4].copy_from_slice(&sum.to_le_bytes());
    record
}

/// Writes a number as LEB128.
pub(crate) fn leb(to: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        to.push(number as u8 | 128);
        number /= 128;
    }
    to.push(number as u8);
}

/// A tag, and the numbers behind it.
pub(crate) fn entry(tag: u8, numbers: &[u64]) -> Vec<u8> {
    let mut entry = vec![tag];
    numbers.iter().for_each(|number| leb(&mut entry, *number));
    entry
}

/// As [`entry`], with a text at the end.
pub(crate) fn entry_with(tag: u8, numbers: &[u64], text: &[u8]) -> Vec<u8> {
    let mut entry = entry(tag, numbers);
    leb(&mut entry, text.len() as u64);
    entry.extend(text);
    entry
}

/// Reads a number, if there is one.
pub(crate) fn read_leb(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(number);
        }
    }
    None
}

/// The tags of a record's entries.
pub(crate) fn tags_of_entries(record: &[u8]) -> Vec<u8> {
    let mut entries = &record[RECORD_HEADER as usize..];
    std::iter::from_fn(|| skip_entry(&mut entries)).collect()
}

/// Its tag; none where they end.
fn skip_entry(entries: &mut &[u8]) -> Option<u8> {
    let (tag, rest) = entries.split_first().filter(|(tag, _)| **tag != 0)?;
    *entries = rest;
    let numbers = match tag {
        1..=4 | 6 | 16..=19 => 1,
        5 | 7 | 11 => 2,
        10 | 12..=15 | 20 => 3,
        8 | 9 => 4,
        _ => return None,
    };
    (0..numbers).try_for_each(|_| read_leb(entries).map(drop))?;
    match tag {
        3 | 5 | 6 | 19 => skip_text(entries)?,
        17 => drop(skip_flagged(entries)?),
        18 => (0..2).try_for_each(|_| skip_text(entries))?,
        _ => {}
    }
    Some(*tag)
}

/// Flags, and a number for each: of extended attributes, how many follow.
fn skip_flagged(from: &mut &[u8]) -> Option<u64> {
    let flags = read_leb(from)?;
    let numbers: Option<Vec<u64>> = (0..flags.count_ones()).map(|_| read_leb(from)).collect();
    Some(if flags & 64 == 64 { *numbers?.last()? } else { 0 })
}

fn skip_text(from: &mut &[u8]) -> Option<()> {
    let len = read_leb(from)? as usize;
    *from = from.get(len..)?;
    Some(())
}

/// The tags of items, as far as they can be read.
pub(crate) fn tags_of_items(mut items: &[u8]) -> Vec<u8> {
    std::iter::from_fn(|| skip_item(&mut items)).collect()
}

/// How many files, directories and links there are among items, as far as they can be read.
pub(crate) fn nodes_in(items: &[u8]) -> u64 {
    tags_of_items(items).into_iter().filter(|tag| *tag != 4).count() as u64
}

/// Its tag, if it is anything.
fn skip_item(items: &mut &[u8]) -> Option<u8> {
    let (tag, rest) = items.split_first()?;
    *items = rest;
    let numbers = |items: &mut &[u8], count: u64| (0..count).map(|_| read_leb(items)).last()?;
    numbers(items, 2)?;
    if *tag > 16 {
        let extended = skip_flagged(items)?;
        (0..2 * extended).try_for_each(|_| skip_text(items))?;
    }
    match tag {
        1 | 17 => {
            let extents = numbers(items, 3)?;
            (0..extents).try_for_each(|_| numbers(items, 3).map(drop))?;
        }
        2 | 18 => {}
        3 | 4 | 19 => skip_text(items)?,
        5 | 21 => drop(numbers(items, 2)?),
        _ => return None,
    }
    Some(*tag)
}
