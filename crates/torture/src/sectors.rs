//! Units: a file of the load is a few sectors, and a set of them is one number.
//!
//! Offsets and lengths of the load are whole sectors. A *sector* is counted from the start of its file, and so is a
//! *block*.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not, Range, Sub};

/// Bytes of a sector: what carries one stamp.
pub(crate) const SECTOR: u64 = 512;
/// Bytes of a block of the stores.
pub(crate) const BLOCK: u64 = 4096;
/// Blocks of the longest file.
pub(crate) const FILE_BLOCKS: u64 = 16;
/// Bytes of the longest file.
pub(crate) const FILE_BYTES: u64 = FILE_BLOCKS * BLOCK;
/// Sectors of the longest file.
pub(crate) const FILE_SECTORS: usize = (FILE_BYTES / SECTOR) as usize;

const PER_BLOCK: u64 = BLOCK / SECTOR;
const _: () = assert!(FILE_SECTORS == u128::BITS as usize, "a set of sectors is a `u128`");

/// Sectors of one file.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sectors(u128);

impl Sectors {
    /// None.
    pub(crate) const NONE: Self = Self(0);
    /// All that a file can have.
    pub(crate) const ALL: Self = Self(u128::MAX);

    /// Those of a range of bytes, which is whole sectors; what lies past the longest file is left out.
    pub(crate) fn of(bytes: Range<u64>) -> Self {
        debug_assert!(
            bytes.start.is_multiple_of(SECTOR) && bytes.end.min(FILE_BYTES).is_multiple_of(SECTOR),
            "{bytes:?}"
        );
        Self::numbered(bytes.start / SECTOR, bytes.end / SECTOR)
    }

    /// Those of all blocks that a range of bytes touches.
    pub(crate) fn outward(bytes: Range<u64>) -> Self {
        let (first, end) = (bytes.start / BLOCK, bytes.end.min(FILE_BYTES).div_ceil(BLOCK));
        Self::numbered(first * PER_BLOCK, end * PER_BLOCK)
    }

    /// Those of the blocks that lie in a range of bytes as a whole.
    pub(crate) fn inward(bytes: Range<u64>) -> Self {
        let (first, end) = (bytes.start.div_ceil(BLOCK), bytes.end.min(FILE_BYTES) / BLOCK);
        Self::numbered(first * PER_BLOCK, end * PER_BLOCK)
    }

    fn numbered(start: u64, end: u64) -> Self {
        let below = |end: u64| match end >= FILE_SECTORS as u64 {
            true => u128::MAX,
            false => (1 << end) - 1,
        };
        Self(below(end) & !below(start))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn has(self, sector: usize) -> bool {
        self.0 >> sector & 1 != 0
    }

    /// In order.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let next = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(next)
        })
    }
}

impl BitAnd for Sectors {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Sectors {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for Sectors {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Not for Sectors {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_sets_of_sectors() {
        assert_eq!(Sectors::of(512..1536).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(Sectors::outward(4608..5120), Sectors::of(4096..8192));
        assert_eq!(Sectors::inward(512..8192), Sectors::of(4096..8192));
        assert!(Sectors::inward(512..4096).is_empty());
        assert_eq!(Sectors::of(0..u64::MAX), Sectors::ALL);
        assert_eq!(Sectors::of(FILE_BYTES - 512..FILE_BYTES).iter().collect::<Vec<_>>(), [127]);
    }
}
