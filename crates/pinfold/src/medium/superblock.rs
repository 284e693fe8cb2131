//! The superblock: what a pool is, where its checkpoint lies, and from where its log is replayed.
//!
//! There are two copies, at [`SUPERBLOCKS`]. The older one is overwritten first, and the other only when that is durable: so
//! one is whole at every moment, and what a copy says that is still the older is true as well. Once both are written, either
//! may be lost.

use std::io;
use std::ops::Range;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codec::Garbled;
use super::record::{ALIGN, HEADER};
use super::source::Source;
use crate::units::BlockSize;

/// What a pool begins with.
pub(crate) const MAGIC: [u8; 8] = *b"pinfold\n";
/// The version of everything that is written here. Pools of former versions become ones of this version when their owner opens them.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest version that is read. What it has is what this version has, without attributes and special files.
const FORMAT_VERSION_MIN: u32 = 1;
/// Where the two superblocks begin, in bytes.
pub(crate) const SUPERBLOCKS: [u64; 2] = [0, 64 << 10];
/// Where a copy of the last seal of the log lies, in bytes: apart from log and superblocks, so that no page has both.
pub(crate) const MARK: u64 = 32 << 10;
/// Where the log begins, in bytes.
pub(crate) const LOG_START: u64 = 128 << 10;
/// The smallest pool, in bytes.
pub const POOL_BYTES_MIN: u64 = 16 << 20;
/// The largest pool, in bytes.
pub const POOL_BYTES_MAX: u64 = 16 << 40;
/// The smallest and the largest log, in bytes. It is longer by what is missing to a whole block.
const LOG_BYTES: Range<u64> = 256 << 10..64 << 20;
/// Ids of nodes, positions, epochs and generations lie below this.
pub(crate) const NUMBERS_END: u64 = 1 << 62;

/// As it lies on the medium.
#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
pub(crate) struct Raw {
    magic: [u8; 8],
    version: U32,
    block_shift: U32,
    pool: [u8; 16],
    generation: U64,
    len: U64,
    log_len: U64,
    replay_from: U64,
    epoch: U64,
    checkpoint_block: U64,
    checkpoint_blocks: U64,
    checkpoint_bytes: U64,
    checkpoint_nodes: U64,
    last_node: U64,
    boot: [u8; 16],
    flags: U32,
    /// CRC-32C of all that comes before. Magic, version and this stay where they are in every version of the format.
    checksum: U32,
}

/// Bytes of a superblock.
pub(crate) const SUPERBLOCK_BYTES: usize = size_of::<Raw>();

const _: () = assert!(size_of::<Raw>() == 136);
const _: () = assert!(std::mem::offset_of!(Raw, version) == 8);
const _: () = assert!(std::mem::offset_of!(Raw, checksum) == 132);
const _: () = assert!(size_of::<Raw>() as u64 <= SUPERBLOCKS[1] - SUPERBLOCKS[0]);
const _: () = assert!(LOG_START - SUPERBLOCKS[1] >= size_of::<Raw>() as u64);
const _: () = assert!(size_of::<Raw>() as u64 <= MARK && MARK + HEADER as u64 <= SUPERBLOCKS[1]);

/// Devices of `boot` may reach the pool: without the layout area of that boot nobody knows what they reach.
const AREA_NEEDED: u32 = 1;

/// Where the first chunk of a checkpoint lies, and how much it has in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CheckpointPlace {
    /// Its first block.
    pub(crate) block: u64,
    /// How many blocks the first chunk has; 0 where there is no checkpoint: the pool was empty.
    pub(crate) blocks: u64,
    /// Bytes of what it says, over all chunks.
    pub(crate) bytes: u64,
    /// How many nodes it has.
    pub(crate) nodes: u64,
}

/// A superblock that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    /// As it was read. What is written is of [`FORMAT_VERSION`].
    pub(crate) version: u32,
    pub(crate) block: BlockSize,
    pub(crate) pool: [u8; 16],
    /// Grows with each that is written.
    pub(crate) generation: u64,
    /// Bytes of the pool.
    pub(crate) len: u64,
    /// Bytes of the log.
    pub(crate) log_len: u64,
    /// The position in the log from which on records count.
    pub(crate) replay_from: u64,
    /// Records of another epoch are left-overs: it grows with each opening.
    pub(crate) epoch: u64,
    pub(crate) checkpoint: CheckpointPlace,
    /// The largest node id that was given when the checkpoint began.
    pub(crate) last_node: u64,
    /// The boot of the machine in which the pool was last open.
    pub(crate) boot: [u8; 16],
    /// Whether devices of that boot may reach it still.
    pub(crate) area_needed: bool,
}

/// Why there is no pool.
#[derive(Debug)]
pub(crate) enum NoSuperblock {
    /// Nothing here looks like a pool.
    NotAPool,
    /// It is a pool, of a version that is not this one's.
    Version(u32),
    /// It was a pool.
    Damaged(&'static str),
    /// The pool is longer than what it lies in.
    Cut { len: u64, have: u64 },
    /// The medium could not be read.
    Io(io::Error),
}

impl Superblock {
    /// A new pool's.
    pub(crate) fn new(pool: [u8; 16], len: u64, block: BlockSize) -> Self {
        let log_end = LOG_START + (len / 64).clamp(LOG_BYTES.start, LOG_BYTES.end);
        let first = block.ceil(log_end);
        Self {
            version: FORMAT_VERSION,
            block,
            pool,
            generation: 1,
            len,
            log_len: block.offset(first) - LOG_START,
            replay_from: 0,
            epoch: 1,
            checkpoint: CheckpointPlace::default(),
            last_node: 1,
            boot: [0; 16],
            area_needed: false,
        }
    }

    /// The first block after superblocks and log.
    pub(crate) fn first_block(&self) -> u64 {
        self.block.ceil(LOG_START + self.log_len)
    }

    /// How many blocks the pool has, those of superblocks and log included.
    pub(crate) fn blocks(&self) -> u64 {
        self.block.floor(self.len)
    }

    pub(crate) fn to_bytes(&self) -> [u8; size_of::<Raw>()] {
        let mut raw = Raw {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            block_shift: self.block.bytes().trailing_zeros().into(),
            pool: self.pool,
            generation: self.generation.into(),
            len: self.len.into(),
            log_len: self.log_len.into(),
            replay_from: self.replay_from.into(),
            epoch: self.epoch.into(),
            checkpoint_block: self.checkpoint.block.into(),
            checkpoint_blocks: self.checkpoint.blocks.into(),
            checkpoint_bytes: self.checkpoint.bytes.into(),
            checkpoint_nodes: self.checkpoint.nodes.into(),
            last_node: self.last_node.into(),
            boot: self.boot,
            flags: if self.area_needed { AREA_NEEDED } else { 0 }.into(),
            checksum: 0.into(),
        };
        raw.checksum = checksum(&raw).into();
        let mut bytes = [0; size_of::<Raw>()];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Where it is written, in this order: the copy comes first that is the older one, or was torn.
    pub(crate) fn places(&self) -> [u64; 2] {
        let [one, two] = SUPERBLOCKS;
        if self.generation.is_multiple_of(2) { [one, two] } else { [two, one] }
    }

    /// The younger one of the two that are whole. None counts where one is whole and of another version: it may know more; or
    /// where nothing tells which is meant: they are of two pools, or as young and differ.
    pub(crate) fn read(source: &(impl Source + ?Sized)) -> Result<Self, NoSuperblock> {
        let have = source.len().map_err(NoSuperblock::Io)?;
        let mut found: Option<Self> = None;
        let (mut conflict, mut why) = (None, NoSuperblock::NotAPool);
        for place in SUPERBLOCKS {
            let mut bytes = [0; size_of::<Raw>()];
            match source.read_at(place, &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read.map_err(NoSuperblock::Io)?,
            }
            match Self::check(&bytes) {
                Ok(one) => {
                    conflict = found.as_ref().and_then(|other| other.conflict_with(&one));
                    if found.as_ref().is_none_or(|other| other.generation < one.generation) {
                        found = Some(one);
                    }
                }
                Err(version @ NoSuperblock::Version(_)) => return Err(version),
                // A damage says more than nothing.
                Err(damaged @ NoSuperblock::Damaged(_)) => why = damaged,
                Err(_) => {}
            }
        }
        if let Some(conflict) = conflict {
            return Err(NoSuperblock::Damaged(conflict));
        }
        let found = found.ok_or(why)?;
        match found.len > have {
            true => Err(NoSuperblock::Cut { len: found.len, have }),
            false => Ok(found),
        }
    }

    /// Why these two are not copies of one pool's, the younger of which counts.
    fn conflict_with(&self, other: &Self) -> Option<&'static str> {
        match () {
            () if self.pool != other.pool => Some("its superblocks are of two pools"),
            () if self.generation == other.generation && self != other => {
                Some("its superblocks have one generation, and differ")
            }
            () => None,
        }
    }

    /// Believes bytes, or says why not (X1).
    pub(crate) fn check(bytes: &[u8]) -> Result<Self, NoSuperblock> {
        let Ok((raw, _)) = Raw::ref_from_prefix(bytes) else { return Err(NoSuperblock::NotAPool) };
        if raw.magic != MAGIC {
            return Err(NoSuperblock::NotAPool);
        }
        if raw.checksum.get() != checksum(raw) {
            return Err(NoSuperblock::Damaged("a superblock has another checksum"));
        }
        let version = raw.version.get();
        if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&version) {
            return Err(NoSuperblock::Version(version));
        }
        let damaged = |Garbled(why)| NoSuperblock::Damaged(why);
        let block = 1u64.checked_shl(raw.block_shift.get()).and_then(BlockSize::new);
        let block = block.ok_or(NoSuperblock::Damaged("its blocks have no possible size"))?;
        let superblock = Self {
            version,
            block,
            pool: raw.pool,
            generation: raw.generation.get(),
            len: raw.len.get(),
            log_len: raw.log_len.get(),
            replay_from: raw.replay_from.get(),
            epoch: raw.epoch.get(),
            checkpoint: CheckpointPlace {
                block: raw.checkpoint_block.get(),
                blocks: raw.checkpoint_blocks.get(),
                bytes: raw.checkpoint_bytes.get(),
                nodes: raw.checkpoint_nodes.get(),
            },
            last_node: raw.last_node.get(),
            boot: raw.boot,
            area_needed: raw.flags.get() & AREA_NEEDED != 0,
        };
        superblock.check_numbers(raw.flags.get()).map_err(damaged)?;
        Ok(superblock)
    }

    fn check_numbers(&self, flags: u32) -> Result<(), Garbled> {
        let log = LOG_BYTES.start..LOG_BYTES.end + self.block.bytes();
        let counted = [self.replay_from, self.epoch, self.generation, self.last_node];
        let sound = (POOL_BYTES_MIN..=POOL_BYTES_MAX).contains(&self.len)
            && log.contains(&self.log_len)
            && self.block.is_aligned(LOG_START + self.log_len)
            && self.first_block() < self.blocks()
            && self.replay_from.is_multiple_of(ALIGN)
            && counted.iter().all(|number| *number < NUMBERS_END)
            && flags & !AREA_NEEDED == 0;
        if !sound {
            return Err(Garbled("a superblock has impossible numbers"));
        }
        let CheckpointPlace { block, blocks, bytes, nodes } = self.checkpoint;
        let inside = block >= self.first_block() && blocks <= self.blocks() && block <= self.blocks() - blocks;
        let sound = match blocks {
            0 => self.checkpoint == CheckpointPlace::default(),
            // The smallest item has three bytes.
            _ => inside && bytes <= self.len && nodes <= bytes / 3,
        };
        if sound { Ok(()) } else { Err(Garbled("its checkpoint lies outside of it, or is impossible")) }
    }
}

fn checksum(raw: &Raw) -> u32 {
    crc32c::crc32c(&raw.as_bytes()[..std::mem::offset_of!(Raw, checksum)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        let block = BlockSize::new(4096).unwrap();
        let checkpoint = CheckpointPlace { block: 200, blocks: 3, bytes: 9000, nodes: 12 };
        Superblock { checkpoint, last_node: 77, ..Superblock::new([7; 16], POOL_BYTES_MIN, block) }
    }

    #[test]
    fn a_superblock_comes_back() {
        assert_eq!(Superblock::check(&superblock().to_bytes()).unwrap(), superblock());
    }

    #[test]
    fn each_flipped_byte_is_told() {
        let bytes = superblock().to_bytes();
        for at in 0..bytes.len() {
            let mut bytes = bytes;
            bytes[at] ^= 0x10;
            assert!(Superblock::check(&bytes).is_err(), "byte {at}");
        }
    }

    fn put(medium: &mut [u8], place: u64, one: &Superblock) {
        medium[place as usize..][..size_of::<Raw>()].copy_from_slice(&one.to_bytes());
    }

    #[test]
    fn the_younger_of_two_counts_and_the_older_where_it_is_torn() {
        let (old, young) = (superblock(), Superblock { generation: 2, replay_from: 64, ..superblock() });
        let mut medium = vec![0u8; POOL_BYTES_MIN as usize];
        put(&mut medium, old.places()[0], &old);
        put(&mut medium, old.places()[1], &old);
        put(&mut medium, young.places()[0], &young);
        assert_eq!(Superblock::read(&medium).unwrap(), young);
        medium[young.places()[0] as usize + 60] ^= 1;
        assert_eq!(Superblock::read(&medium).unwrap(), old);
        assert_eq!(young.places()[0], old.places()[1], "what is written next comes where the torn one lies");
        medium[old.places()[0] as usize + 60] ^= 1;
        assert!(matches!(Superblock::read(&medium), Err(NoSuperblock::Damaged(_))));
        assert!(matches!(Superblock::read(&vec![0u8; 1 << 20]), Err(NoSuperblock::NotAPool)));
    }

    #[test]
    fn either_copy_may_be_lost_and_one_of_a_newer_version_counts_if_it_is_whole() {
        let mut medium = vec![0u8; POOL_BYTES_MIN as usize];
        SUPERBLOCKS.into_iter().for_each(|place| put(&mut medium, place, &superblock()));
        for place in SUPERBLOCKS {
            let mut medium = medium.clone();
            let newer = FORMAT_VERSION + 1;
            medium[place as usize + 8] = newer as u8;
            assert_eq!(Superblock::read(&medium).unwrap(), superblock(), "a rotten version");
            let sum = crc32c::crc32c(&medium[place as usize..][..132]);
            medium[place as usize + 132..][..4].copy_from_slice(&sum.to_le_bytes());
            let read = Superblock::read(&medium);
            assert!(matches!(read, Err(NoSuperblock::Version(found)) if found == newer), "one that somebody wrote");
        }
    }

    #[test]
    fn of_two_that_differ_and_are_as_young_or_of_two_pools_none_counts() {
        let as_young = Superblock { replay_from: 64, ..superblock() };
        let of_another_pool = Superblock { generation: 2, pool: [8; 16], ..superblock() };
        for (other, says) in [(as_young, "differ"), (of_another_pool, "two pools")] {
            let mut medium = vec![0u8; POOL_BYTES_MIN as usize];
            put(&mut medium, SUPERBLOCKS[0], &superblock());
            put(&mut medium, SUPERBLOCKS[1], &other);
            let read = Superblock::read(&medium);
            assert!(matches!(read, Err(NoSuperblock::Damaged(why)) if why.contains(says)), "{other:?}");
            medium[SUPERBLOCKS[0] as usize + 60] ^= 1;
            assert_eq!(Superblock::read(&medium).unwrap(), other, "the other one is not whole");
        }
    }

    #[test]
    fn a_pool_that_was_cut_short_says_so() {
        let mut medium = vec![0u8; 1 << 20];
        put(&mut medium, 0, &superblock());
        let cut = Superblock::read(&medium);
        assert!(matches!(cut, Err(NoSuperblock::Cut { len: POOL_BYTES_MIN, have: 1_048_576 })));
    }

    #[test]
    fn impossible_numbers_are_refused_whatever_the_checksum() {
        let refused = |change: fn(&mut Superblock)| {
            let mut one = superblock();
            change(&mut one);
            assert!(matches!(Superblock::check(&one.to_bytes()), Err(NoSuperblock::Damaged(_))), "{one:?}");
        };
        refused(|one| one.len = POOL_BYTES_MIN - 1);
        refused(|one| one.len = POOL_BYTES_MAX + 1);
        refused(|one| one.log_len = 128 << 10);
        refused(|one| one.log_len += 1);
        refused(|one| (one.len, one.log_len) = (POOL_BYTES_MAX, 1 << 30));
        refused(|one| one.log_len = one.len);
        refused(|one| one.replay_from = 4);
        refused(|one| one.replay_from = NUMBERS_END);
        refused(|one| one.epoch = u64::MAX);
        refused(|one| one.generation = NUMBERS_END);
        refused(|one| one.last_node = NUMBERS_END);
        refused(|one| one.checkpoint.block = 3);
        refused(|one| one.checkpoint.blocks = u64::MAX);
        refused(|one| one.checkpoint.block = 4095);
        refused(|one| one.checkpoint.bytes = one.len + 1);
        refused(|one| one.checkpoint.nodes = one.checkpoint.bytes);
        refused(|one| one.checkpoint.blocks = 0);
    }

    #[test]
    fn pools_of_every_size_have_a_log_and_room() {
        for block in [4096, 65536, 2 << 20] {
            for len in [POOL_BYTES_MIN, 1 << 30, POOL_BYTES_MAX] {
                let new = Superblock::new([0; 16], len, BlockSize::new(block).unwrap());
                assert_eq!(Superblock::check(&new.to_bytes()).unwrap(), new);
                assert!(new.first_block() + 3 < new.blocks());
            }
        }
    }
}
