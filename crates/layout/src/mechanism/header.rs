//! The header of the area: what the owner writes and everybody else may only read.
//!
//! Stays true  H1: only the owner's process stores here, and under its `breaks` lock wherever this file says so.
//!             H2: an object id is never used twice, so a cell that names my id is mine, and one that was given to
//!                 another file in between does not.
//!             H3: a cell's generation and `waited` never go back, not even when the cell gets another file.
//! Dead owner  the records stay readable; `owner_pid` tells whom to ask, the 50 ms backstop notices.

use crate::sync::AtomicU64;

use super::error::AreaError;
use super::geometry::{Geometry, HeaderOffsets};
use super::words::{At, Record, Table, Words};

/// "pinfold." in ASCII, and what kind of memory it begins.
pub(crate) const HEADER_MAGIC: u64 = u64::from_le_bytes(*b"pinfoldH");
/// Version of the layout area's format, header and segments together.
pub(crate) const AREA_VERSION: u64 = 1;

/// The area is shared between processes.
pub(crate) const FLAG_SHARED: u64 = 1;
/// Every device pin is refused (G12).
pub(crate) const FLAG_LIMITED: u64 = 2;
/// The area has a name, and outlives its owner.
pub(crate) const FLAG_NAMED: u64 = 4;

/// [`Prologue::owner_state`]: somebody serves the area, while he lives.
pub(crate) const OWNER_SERVES: u64 = 0;
/// [`Prologue::owner_state`]: nobody serves it any more, and nobody can pin.
pub(crate) const OWNER_CLOSED: u64 = 1;

/// The first record of the header.
#[repr(C)]
pub(crate) struct Prologue {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    pub(crate) flags: AtomicU64,
    pub(crate) boot: [AtomicU64; 2],
    pub(crate) incarnation: AtomicU64,
    pub(crate) owner_pid: AtomicU64,
    pub(crate) owner_started: AtomicU64,
    pub(crate) geometry: [AtomicU64; 9],
    pub(crate) checksum: AtomicU64,
    /// Parked extents for which there was no [`ParkedEntry`] left: they die with the owner's memory.
    pub(crate) parked_lost: AtomicU64,
    /// [`OWNER_SERVES`] or [`OWNER_CLOSED`].
    pub(crate) owner_state: AtomicU64,
    _pad: [AtomicU64; 4],
    _pad_to_line: [AtomicU64; 8],
    /// Rung when a break recalls long-term pins.
    pub(crate) recall_bell: AtomicU64,
    _pad_recall: [AtomicU64; 7],
    /// Announcements at and above this index were never used.
    pub(crate) announcements_used: AtomicU64,
    /// No generation of any file is larger.
    pub(crate) generation_high: AtomicU64,
    /// No commit is younger.
    pub(crate) commit_high: AtomicU64,
    /// Cells at and above this index were never used.
    pub(crate) cells_used: AtomicU64,
    _pad_high: [AtomicU64; 4],
}

// SAFETY: repr(C), words only.
unsafe impl Record for Prologue {}

/// The state of one file.
#[repr(C)]
pub(crate) struct Cell {
    /// The file's id, 0 while the cell is free. A pin looks at it after its fence.
    pub(crate) object: AtomicU64,
    /// The [`LayoutWord`](super::word::LayoutWord).
    pub(crate) word: AtomicU64,
    /// A pin older than this rings as it leaves. Only grows; nobody lowers it.
    pub(crate) waited: AtomicU64,
    /// Tick at which a break of this file ended last.
    pub(crate) ended: AtomicU64,
    _pad: [AtomicU64; 4],
}

// SAFETY: repr(C), words only.
unsafe impl Record for Cell {}

/// The owner's record of one segment.
#[repr(C)]
pub(crate) struct HolderEntry {
    /// 0 free, 1 linked, 2 its holder is gone.
    pub(crate) state: AtomicU64,
    pub(crate) pid: AtomicU64,
    pub(crate) started: AtomicU64,
    /// Grows each time the segment is given to another holder.
    pub(crate) serial: AtomicU64,
    _pad: [AtomicU64; 4],
}

// SAFETY: repr(C), words only.
unsafe impl Record for HolderEntry {}

/// One range of a running break.
#[repr(C)]
pub(crate) struct Announcement {
    /// Odd while the record is written, so that a reader never mixes two breaks.
    pub(crate) version: AtomicU64,
    /// 0 when nothing is announced here.
    pub(crate) object: AtomicU64,
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
    /// Which break, so that ranges of one operation are known as such.
    pub(crate) break_id: AtomicU64,
    /// Pins older than this are waited for.
    pub(crate) generation: AtomicU64,
    /// [`Phase`](super::announce::Phase) in the low byte, the breaking thread above it.
    pub(crate) phase: AtomicU64,
    /// Tick of its beginning.
    pub(crate) since: AtomicU64,
}

// SAFETY: repr(C), words only.
unsafe impl Record for Announcement {}

/// A pin that counts no more although its slot is not cleared: (segment and slot, version).
#[repr(C)]
pub(crate) struct VoidMark {
    /// 0 while the mark is unused, else 1.
    pub(crate) used: AtomicU64,
    pub(crate) segment: AtomicU64,
    pub(crate) slot: AtomicU64,
    pub(crate) version: AtomicU64,
}

// SAFETY: repr(C), words only.
unsafe impl Record for VoidMark {}

/// A parked extent that must outlive its owner, because a device may reach it.
#[repr(C)]
pub(crate) struct ParkedEntry {
    /// 0 while the entry is unused, else 1.
    pub(crate) used: AtomicU64,
    pub(crate) object: AtomicU64,
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
    pub(crate) block: AtomicU64,
    pub(crate) generation: AtomicU64,
    pub(crate) commit: AtomicU64,
    pub(crate) checksum: AtomicU64,
}

// SAFETY: repr(C), words only.
unsafe impl Record for ParkedEntry {}

/// Tells damage from what was written: each word turns and mixes what came before it (FNV's prime, 64 bits).
pub(crate) fn checksum(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
        (sum.rotate_left(23) ^ word).wrapping_mul(0x0000_0100_0000_01b3) ^ (word >> 32)
    })
}

/// What can grow in the header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Growing {
    Prologue,
    Holders,
    Announcements,
    Voids,
    Parked,
    Cells,
}

/// The header's tables over its words.
pub(crate) struct Header {
    words: Words,
    geometry: Geometry,
    offsets: HeaderOffsets,
    prologue: Table<Prologue>,
    holders: Table<HolderEntry>,
    announcements: Table<Announcement>,
    voids: Table<VoidMark>,
    parked: Table<ParkedEntry>,
    cells: Table<Cell>,
}

impl Header {
    /// `words` must be long enough for `geometry`; it is an assertion.
    pub(crate) fn new(words: Words, geometry: Geometry) -> Self {
        let offsets = geometry.header();
        Self {
            prologue: words.table(0, 1),
            holders: words.table(offsets.holders, geometry.holders_max),
            announcements: words.table(offsets.announcements, geometry.announcements_max),
            voids: words.table(offsets.voids, geometry.voids_max),
            parked: words.table(offsets.parked, geometry.parked_max),
            cells: words.table(offsets.cells, geometry.files_max),
            words,
            geometry,
            offsets,
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    pub(crate) fn prologue(&self) -> &Prologue {
        self.prologue.at(0)
    }

    #[inline]
    pub(crate) fn cell(&self, index: u32) -> &Cell {
        self.cells.at(index)
    }

    /// Makes the memory of a record of one of the tables real; to be called for each index in turn.
    pub(crate) fn allocate(&self, table: Growing, index: u32) -> Result<(), AreaError> {
        let (index, Geometry { files_max, announcements_max, holders_max, parked_max, voids_max, .. }) =
            (index as usize, self.geometry);
        let Self { words, offsets, .. } = self;
        match table {
            Growing::Prologue => words.allocate::<Prologue>(0, 0, 1),
            Growing::Holders => words.allocate::<HolderEntry>(offsets.holders, index, holders_max as usize),
            Growing::Announcements => {
                words.allocate::<Announcement>(offsets.announcements, index, announcements_max as usize)
            }
            Growing::Voids => words.allocate::<VoidMark>(offsets.voids, index, voids_max as usize),
            Growing::Parked => words.allocate::<ParkedEntry>(offsets.parked, index, parked_max as usize),
            Growing::Cells => words.allocate::<Cell>(offsets.cells, index, files_max as usize),
        }
    }

    /// The address of a cell, for who pins.
    pub(crate) fn place(&self, cell: u32) -> At<Cell> {
        self.cells.place(cell)
    }

    /// The index of a cell of this header.
    pub(crate) fn index_of(&self, cell: At<Cell>) -> u32 {
        self.cells.index_of(cell)
    }

    pub(crate) fn holder(&self, index: u32) -> &HolderEntry {
        self.holders.at(index)
    }

    pub(crate) fn announcement(&self, index: u32) -> &Announcement {
        self.announcements.at(index)
    }

    pub(crate) fn void_mark(&self, index: u32) -> &VoidMark {
        self.voids.at(index)
    }

    pub(crate) fn parked(&self, index: u32) -> &ParkedEntry {
        self.parked.at(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format is the size and order of these records; a change of one is a new `AREA_VERSION`.
    #[test]
    fn records_fill_whole_cache_lines() {
        for words in [Prologue::WORDS, Cell::WORDS, HolderEntry::WORDS, Announcement::WORDS, ParkedEntry::WORDS] {
            assert_eq!(words % 8, 0);
        }
        assert_eq!(Prologue::WORDS, 48);
        assert_eq!(std::mem::offset_of!(Prologue, recall_bell), 32 * 8);
        assert_eq!(std::mem::offset_of!(Prologue, announcements_used), 40 * 8);
        assert_eq!(VoidMark::WORDS, 4);
    }
}
