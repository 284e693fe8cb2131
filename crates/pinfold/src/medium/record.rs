//! Records of the log: one for each change, whole or not at all.
//!
//! A record is a header and entries. What one call changes is one record: a rename's two names, an exchange's two files.
//! Entries say what is so afterwards ("this name leads to that node", "these file blocks are those pool blocks"), so that
//! replaying a record again changes nothing. The one exception, a shift, is kept from being replayed twice by the
//! position that a file's checkpoint carries.
//!
//! A record's position in the log is its sequence number: bytes since the log began, whatever lap of the ring that is.
//!
//! A record also says how much of the log was durable when it was appended. A header without entries is a *seal*: it says
//! the same, and counts for nothing else. So who finds a record that is not whole can tell whether it was torn, or is
//! damaged (see [`log`](super::log)).

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::attributes::{Settings, check_extended};
use super::codec::{Decoded, Garbled, Reader, Writer};
use crate::node::Special;

/// How a record begins.
#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
pub(crate) struct RawHeader {
    /// CRC-32C of the pool's id and the epoch, then of all that follows in the record.
    checksum: U32,
    /// Bytes of the record, header and padding included: a multiple of 8.
    len: U32,
    /// Where it lies.
    position: U64,
    /// The lower half of the epoch. The whole of it is in the checksum.
    epoch: U32,
    /// How many bytes before it were not durable when it was appended.
    not_durable: U32,
    /// When it was made, in nanoseconds since 1970.
    time: U64,
}

const _: () = assert!(size_of::<RawHeader>() == 32);

/// Bytes of a header.
pub(crate) const HEADER: usize = size_of::<RawHeader>();
/// Where in a header its position is.
pub(crate) const POSITION_AT: usize = std::mem::offset_of!(RawHeader, position);
/// Records begin at multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// A record takes one part in that many of the log at most.
pub(crate) const RECORD_SHARE: u64 = 4;

/// What kind of node is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Made<'a> {
    File,
    Directory,
    Symlink(&'a [u8]),
    Special(Special),
}

/// A part of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry<'a> {
    /// There is a node. Names come apart from it.
    Make { node: u64, made: Made<'a> },
    /// There is no such node any more, and what it had is free.
    End { node: u64 },
    /// A name in a directory leads to a node.
    Name { dir: u64, name: &'a [u8], node: u64 },
    /// A name leads nowhere.
    Unname { dir: u64, name: &'a [u8] },
    /// A file is that many bytes long.
    Length { node: u64, len: u64 },
    /// File blocks from `at` on are the pool blocks from `block` on. There was a hole.
    Put { node: u64, at: u64, block: u64, len: u64, written: bool },
    /// File blocks from `at` on are a hole; `u64::MAX` of them: all that follow.
    Take { node: u64, at: u64, len: u64 },
    /// File blocks hold bytes, or read as zeros.
    Mark { node: u64, at: u64, len: u64, written: bool },
    /// What lies from file block `from` on moves by so many blocks. Below is a hole of that length.
    Shift { node: u64, from: u64, by: i64 },
    /// The time of the record is when the node changed last.
    Touch { node: u64 },
    /// A node's attributes are set.
    Set { node: u64, settings: Settings },
    /// An extended attribute of a node is so, or is not there.
    Extend { node: u64, name: &'a [u8], value: Option<&'a [u8]> },
}

const MAKE_FILE: u8 = 1;
const MAKE_DIRECTORY: u8 = 2;
const MAKE_SYMLINK: u8 = 3;
const END: u8 = 4;
const NAME: u8 = 5;
const UNNAME: u8 = 6;
const LENGTH: u8 = 7;
const PUT_UNWRITTEN: u8 = 8;
const PUT_WRITTEN: u8 = 9;
const TAKE: u8 = 10;
const TAKE_REST: u8 = 11;
const MARK_UNWRITTEN: u8 = 12;
const MARK_WRITTEN: u8 = 13;
const SHIFT_UP: u8 = 14;
const SHIFT_DOWN: u8 = 15;
const TOUCH: u8 = 16;
const SET: u8 = 17;
const EXTEND: u8 = 18;
const UNEXTEND: u8 = 19;
const MAKE_SPECIAL: u8 = 20;

impl Entry<'_> {
    pub(crate) fn write(&self, to: &mut Writer) {
        let mut put = |tag: u8, numbers: &[u64]| {
            to.byte(tag);
            numbers.iter().for_each(|number| to.number(*number));
        };
        match *self {
            Self::Make { node, made: Made::File } => put(MAKE_FILE, &[node]),
            Self::Make { node, made: Made::Directory } => put(MAKE_DIRECTORY, &[node]),
            Self::Make { node, made: Made::Symlink(target) } => {
                put(MAKE_SYMLINK, &[node]);
                to.text(target);
            }
            Self::End { node } => put(END, &[node]),
            Self::Name { dir, name, node } => {
                put(NAME, &[dir, node]);
                to.text(name);
            }
            Self::Unname { dir, name } => {
                put(UNNAME, &[dir]);
                to.text(name);
            }
            Self::Length { node, len } => put(LENGTH, &[node, len]),
            Self::Put { node, at, block, len, written } => {
                put(if written { PUT_WRITTEN } else { PUT_UNWRITTEN }, &[node, at, block, len]);
            }
            Self::Take { node, at, len: u64::MAX } => put(TAKE_REST, &[node, at]),
            Self::Take { node, at, len } => put(TAKE, &[node, at, len]),
            Self::Mark { node, at, len, written } => {
                put(if written { MARK_WRITTEN } else { MARK_UNWRITTEN }, &[node, at, len]);
            }
            Self::Shift { node, from, by } => {
                put(if by < 0 { SHIFT_DOWN } else { SHIFT_UP }, &[node, from, by.unsigned_abs()]);
            }
            Self::Touch { node } => put(TOUCH, &[node]),
            Self::Make { node, made: Made::Special(special) } => {
                let [kind, device] = special.numbers();
                put(MAKE_SPECIAL, &[node, kind, device]);
            }
            Self::Set { node, settings } => {
                put(SET, &[node]);
                settings.write(to);
            }
            Self::Extend { node, name, value: Some(value) } => {
                put(EXTEND, &[node]);
                to.text(name);
                to.text(value);
            }
            Self::Extend { node, name, value: None } => {
                put(UNEXTEND, &[node]);
                to.text(name);
            }
        }
    }
}

impl<'a> Entry<'a> {
    pub(crate) fn read(from: &mut Reader<'a>) -> Decoded<Self> {
        let tag = from.byte()?;
        let mut next = || from.number();
        Ok(match tag {
            MAKE_FILE => Self::Make { node: next()?, made: Made::File },
            MAKE_DIRECTORY => Self::Make { node: next()?, made: Made::Directory },
            MAKE_SYMLINK => Self::Make { node: next()?, made: Made::Symlink(from.text()?) },
            END => Self::End { node: next()? },
            NAME => {
                let (dir, node) = (next()?, next()?);
                Self::Name { dir, name: from.text()?, node }
            }
            UNNAME => Self::Unname { dir: next()?, name: from.text()? },
            LENGTH => Self::Length { node: next()?, len: next()? },
            PUT_UNWRITTEN | PUT_WRITTEN => {
                let written = tag == PUT_WRITTEN;
                Self::Put { node: next()?, at: next()?, block: next()?, len: next()?, written }
            }
            TAKE_REST => Self::Take { node: next()?, at: next()?, len: u64::MAX },
            TAKE => Self::Take { node: next()?, at: next()?, len: next()? },
            MARK_UNWRITTEN | MARK_WRITTEN => {
                Self::Mark { node: next()?, at: next()?, len: next()?, written: tag == MARK_WRITTEN }
            }
            SHIFT_UP | SHIFT_DOWN => {
                let (node, from_block, by) = (next()?, next()?, next()?);
                let by = i64::try_from(by).map_err(|_| Garbled("a shift is longer than a file"))?;
                Self::Shift { node, from: from_block, by: if tag == SHIFT_DOWN { -by } else { by } }
            }
            TOUCH => Self::Touch { node: next()? },
            MAKE_SPECIAL => {
                let node = next()?;
                Self::Make { node, made: Made::Special(Special::of_numbers([next()?, next()?])?) }
            }
            SET => {
                let node = next()?;
                Self::Set { node, settings: Settings::read(from)? }
            }
            EXTEND | UNEXTEND => {
                let (node, name) = (next()?, from.text()?);
                let value = if tag == EXTEND { Some(from.text()?) } else { None };
                check_extended(name, value)?;
                Self::Extend { node, name, value }
            }
            _ => return Err(Garbled("an entry of an unknown kind")),
        })
    }
}

/// Entries on their way into the log.
pub(crate) struct Draft {
    writer: Writer,
    /// When what they say came about, in nanoseconds since 1970.
    pub(crate) time: u64,
}

impl Draft {
    pub(crate) fn new(time: u64) -> Self {
        Self { writer: Writer { bytes: vec![0; HEADER] }, time }
    }

    pub(crate) fn add(&mut self, entry: Entry<'_>) {
        entry.write(&mut self.writer);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writer.bytes.len() == HEADER
    }

    /// The bytes that it takes in the log.
    pub(crate) fn len(&self) -> u64 {
        (self.writer.bytes.len() as u64).next_multiple_of(ALIGN)
    }

    /// The record, for one place in the log.
    pub(crate) fn stamped(self, at: &Stamp<'_>) -> Vec<u8> {
        let len = self.len();
        let mut bytes = self.writer.bytes;
        // What is left over of the last word is zero, and reads as the end.
        bytes.resize(len as usize, 0);
        at.put_on(&mut bytes);
        bytes
    }
}

/// What a record says of itself.
pub(crate) struct Stamp<'p> {
    pub(crate) pool: &'p [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) position: u64,
    /// The log was durable up to here when it was appended.
    pub(crate) durable: u64,
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
}

impl Stamp<'_> {
    fn put_on(&self, record: &mut [u8]) {
        let mut header = RawHeader {
            checksum: 0.into(),
            len: (record.len() as u32).into(),
            position: self.position.into(),
            epoch: (self.epoch as u32).into(),
            not_durable: (self.position.saturating_sub(self.durable) as u32).into(),
            time: self.time.into(),
        };
        record[..HEADER].copy_from_slice(header.as_bytes());
        header.checksum = checksum(self.pool, self.epoch, record).into();
        record[..HEADER].copy_from_slice(header.as_bytes());
    }

    /// A header without entries.
    pub(crate) fn seal(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        self.put_on(&mut bytes);
        bytes
    }
}

/// A record that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) position: u64,
    /// The position after it.
    pub(crate) end: u64,
    /// The log was durable up to this position when it was appended.
    pub(crate) durable: u64,
    pub(crate) time: u64,
    entries: &'a [u8],
}

/// How long the record that begins with `bytes` says that it is, if it can be one that lies at `position`.
#[inline]
pub(crate) fn length(bytes: &[u8], position: u64, epoch: u64) -> Option<u64> {
    let (header, _) = RawHeader::ref_from_prefix(bytes).ok()?;
    let len = u64::from(header.len.get());
    let is_here = header.position.get() == position && header.epoch.get() == epoch as u32;
    let sound = len >= HEADER as u64 && len.is_multiple_of(ALIGN);
    (is_here && sound).then_some(len)
}

/// What the header of a record says, whether it is one or not: for who looks at what lies where no record should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub(crate) len: u64,
    pub(crate) position: u64,
    /// The lower half of it.
    pub(crate) epoch: u32,
}

impl Claim {
    /// `None` if it can be no record's.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (header, _) = RawHeader::ref_from_prefix(bytes).ok()?;
        let (len, position, epoch) = (u64::from(header.len.get()), header.position.get(), header.epoch.get());
        let sound = len >= HEADER as u64 && len.is_multiple_of(ALIGN);
        sound.then_some(Self { len, position, epoch })
    }
}

impl<'a> Record<'a> {
    /// Believes the bytes of a whole record whose [`length`] was told, or not (X1).
    pub(crate) fn check(bytes: &'a [u8], pool: &[u8; 16], epoch: u64) -> Option<Self> {
        let (header, entries) = RawHeader::ref_from_prefix(bytes).ok()?;
        let position = header.position.get();
        let durable = position.checked_sub(u64::from(header.not_durable.get()))?;
        let sound = header.checksum.get() == checksum(pool, epoch, bytes);
        let end = position.checked_add(bytes.len() as u64)?;
        sound.then_some(Self { position, end, durable, time: header.time.get(), entries })
    }

    /// Whether it says nothing but how much of the log was durable.
    pub(crate) fn is_seal(&self) -> bool {
        self.entries.is_empty()
    }

    /// What it says.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Decoded<Entry<'a>>> + use<'a> {
        let mut reader = Reader::new(self.entries);
        std::iter::from_fn(move || {
            // Tags are never 0: what follows is padding.
            let mut look = reader;
            match look.byte() {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(Entry::read(&mut reader)),
            }
        })
        .scan(false, |ended, entry| {
            // Behind a garbled entry nothing can be found.
            (!std::mem::replace(ended, entry.is_err())).then_some(entry)
        })
    }
}

fn checksum(pool: &[u8; 16], epoch: u64, record: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(pool), &epoch.to_le_bytes());
    crc32c::crc32c_append(seed, &record[std::mem::offset_of!(RawHeader, len)..])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ENTRIES: &[Entry<'static>] = &[
        Entry::Make { node: 2, made: Made::File },
        Entry::Make { node: 3, made: Made::Directory },
        Entry::Make { node: 4, made: Made::Symlink(b"../there") },
        Entry::Name { dir: 1, name: b"a name", node: 2 },
        Entry::Unname { dir: 1, name: b"another" },
        Entry::Length { node: 2, len: 1 << 60 },
        Entry::Put { node: 2, at: 7, block: 1 << 40, len: 3, written: false },
        Entry::Put { node: 2, at: 70, block: 90, len: 1, written: true },
        Entry::Take { node: 2, at: 5, len: 9 },
        Entry::Take { node: 2, at: 5, len: u64::MAX },
        Entry::Mark { node: 2, at: 7, len: 2, written: true },
        Entry::Mark { node: 2, at: 7, len: 2, written: false },
        Entry::Shift { node: 2, from: 4, by: -3 },
        Entry::Shift { node: 2, from: 4, by: 1 << 40 },
        Entry::Touch { node: 2 },
        Entry::End { node: u64::MAX >> 2 },
    ];

    const POOL: [u8; 16] = [9; 16];
    const EPOCH: u64 = 3 << 32 | 7;

    fn stamp() -> Stamp<'static> {
        Stamp { pool: &POOL, epoch: EPOCH, position: 4096, durable: 4000, time: 17 }
    }

    fn sealed() -> Vec<u8> {
        let mut draft = Draft::new(17);
        ENTRIES.iter().for_each(|entry| draft.add(*entry));
        draft.stamped(&stamp())
    }

    #[test]
    fn entries_come_back_in_order() {
        let bytes = sealed();
        assert_eq!(length(&bytes, 4096, EPOCH), Some(bytes.len() as u64));
        let record = Record::check(&bytes, &POOL, EPOCH).unwrap();
        assert_eq!((record.position, record.durable, record.time), (4096, 4000, 17));
        assert!(!record.is_seal());
        assert_eq!(record.entries().collect::<Decoded<Vec<_>>>().unwrap(), ENTRIES);
    }

    #[test]
    fn a_seal_says_what_was_durable_and_nothing_else() {
        let bytes = stamp().seal();
        assert_eq!(length(&bytes, 4096, EPOCH), Some(HEADER as u64));
        let record = Record::check(&bytes, &POOL, EPOCH).unwrap();
        assert_eq!((record.durable, record.is_seal(), record.entries().count()), (4000, true, 0));
    }

    #[test]
    fn a_record_of_another_pool_place_or_epoch_is_none() {
        let bytes = sealed();
        assert_eq!(length(&bytes, 4104, EPOCH), None);
        assert_eq!(length(&bytes, 4096, EPOCH + 1), None);
        assert!(Record::check(&bytes, &[8; 16], EPOCH).is_none());
        assert!(Record::check(&bytes, &POOL, 7).is_none(), "the lower half of the epoch is the same");
    }

    #[test]
    fn each_flipped_bit_is_told() {
        let bytes = sealed();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let len = length(&bytes, 4096, EPOCH).filter(|len| *len == bytes.len() as u64);
                assert!(len.is_none() || Record::check(&bytes, &POOL, EPOCH).is_none(), "byte {at}, bit {bit}");
            }
        }
    }
}
