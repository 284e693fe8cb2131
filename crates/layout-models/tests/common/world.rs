//! A small area over the mechanism's own source, and beside it the caller's side: a file map and blocks.

use crate::bytes::Bytes;
use crate::mechanism::busy_extents::{BusyExtents, CommitId, Extent, FreeExtent};
use crate::mechanism::fences::Fences;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{Announcement, Cell, Growing, Header, Prologue, VoidMark};
use crate::mechanism::holder::Holder;
use crate::mechanism::layout_break::{Effect, LayoutBreak, Policy};
use crate::mechanism::owner::{HOLDER_LINKED, Member, Owner};
use crate::mechanism::segment::{BlockHead, Segment, SegmentHead, Slot};
use crate::mechanism::sleeper::Sleeper;
use crate::mechanism::view::{Layout, Liveness, View};
use crate::mechanism::words::{Backing, Record, Words};
use crate::sync::{Arc, AtomicU64, Ordering, ProcessClock};

use std::mem::offset_of;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Duration;

/// Index of a field in its record, in words.
macro_rules! field {
    ($record:ty, $field:ident) => {
        offset_of!($record, $field) / size_of::<AtomicU64>()
    };
}
/// As few words as a protocol needs.
pub(crate) const SMALL: Geometry = Geometry {
    files_max: 1,
    announcements_max: 2,
    holders_max: 1,
    parked_max: 1,
    voids_max: 1,
    chains: 1,
    blocks_max: 2,
    slots_per_block: 1,
    labels_max: 1,
};

/// An area and its caller's files and blocks.
pub(crate) struct World {
    pub(crate) owner: Arc<Owner>,
    pub(crate) busy: BusyExtents,
    pub(crate) files: Arc<Files>,
    watch: Watch,
}

impl World {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self::watched(geometry, Watch::default())
    }

    pub(crate) fn watched(geometry: Geometry, watch: Watch) -> Self {
        assert!(geometry.is_sound());
        let header = Header::new(words(geometry.header().end, watch.in_header(&geometry)), geometry);
        let fences = Fences::new(false, true);
        let clock = ProcessClock::start().unwrap();
        let view = Arc::new(View { header, fences, clock, area: 1, limited: false, owner: None });
        let sleeper = Arc::new(Sleeper::new(fences.futex(), false, clock));
        let owner = Arc::new(Owner::new(view, sleeper, None, Duration::from_secs(1)));
        let busy = BusyExtents { owner: Arc::clone(&owner) };
        Self { owner, busy, files: Arc::new(Files::new()), watch }
    }

    /// A holder whose process lives as long as `liveness` says.
    pub(crate) fn holder_with(&self, index: u32, liveness: Box<dyn Liveness>) -> (Arc<Holder>, Arc<Member>) {
        let owner = &self.owner;
        let geometry = *owner.view.header.geometry();
        let segment = Segment::new(words(geometry.segment().end, self.watch.in_segment(&geometry)), geometry);
        segment.allocate_head().unwrap();
        owner.view.header.allocate(Growing::Holders, index).unwrap();
        let member = Arc::new(Member::new(Arc::new(segment), index, true, liveness));
        owner.view.header.holder(index).state.store(HOLDER_LINKED, Ordering::Release);
        owner.link(Arc::clone(&member));
        let view = Arc::clone(&owner.view);
        let holder = Holder::new(view, Arc::clone(&member.segment), index, true, Arc::clone(&owner.sleeper));
        (Arc::new(holder), member)
    }

    /// A holder whose process lives.
    pub(crate) fn holder(&self, index: u32) -> Arc<Holder> {
        self.holder_with(index, Box::new(Alive)).0
    }

    pub(crate) fn layout(&self, object: u64) -> Layout {
        self.owner.layout(object).unwrap()
    }

    pub(crate) fn break_of(&self, layout: &Layout, range: Range<u64>, policy: Policy) -> LayoutBreak {
        LayoutBreak::new(&self.owner, &[(layout, range)], policy, Effect::Frees).unwrap()
    }

    /// Gives away what nobody reaches, as an allocator would.
    pub(crate) fn reap(&self) -> usize {
        let give = |free: FreeExtent| self.files.give_away(&free.into_extent());
        self.busy.reap(CommitId::ALL, |free| free.into_iter().map(give).count())
    }
}

struct Alive;

impl Liveness for Alive {
    fn is_alive(&self) -> bool {
        true
    }

    fn pid(&self) -> u32 {
        1
    }
}

/// Positions of the one file that models look at; each block is one position long.
pub(crate) const POSITIONS: usize = 2;
const BLOCKS: usize = 4;
/// What is in a block that was given to somebody else.
const GIVEN_AWAY: u64 = 1;

/// The caller's map of a file, and the blocks. A map in real life has a lock; here it has the least that a caller may
/// have, relaxed atomics, and the mechanism must do with that.
pub(crate) struct Files {
    map: [AtomicU64; POSITIONS],
    blocks: [Bytes; BLOCKS],
}

impl Files {
    fn new() -> Self {
        Self {
            map: std::array::from_fn(|position| AtomicU64::new(position as u64)),
            blocks: std::array::from_fn(|_| Bytes::new(0)),
        }
    }

    /// What `resolve` looks up under a pin.
    pub(crate) fn resolve(&self, position: u64) -> u64 {
        self.map[position as usize].load(Ordering::Relaxed)
    }

    /// What a device, or a copy, does under a pin of this block (G1): the block is the file's, or parked, and whoever
    /// gets it next comes after this.
    pub(crate) fn transfer(&self, block: u64) {
        assert_ne!(self.blocks[block as usize].read(), GIVEN_AWAY, "G1: block {block} was given away under a pin");
    }

    /// Puts another block at a position; the old one leaves. Blocks from [`POSITIONS`] on are spare.
    pub(crate) fn replace(&self, object: u64, position: u64, block: u64) -> Vec<Extent> {
        let map = &self.map[position as usize];
        let old = map.load(Ordering::Relaxed);
        map.store(block, Ordering::Relaxed);
        vec![Extent { object, start: position, end: position + 1, block: old }]
    }

    pub(crate) fn give_away(&self, extent: &Extent) {
        for block in extent.block..extent.block + extent.len() {
            assert_ne!(self.blocks[block as usize].read(), GIVEN_AWAY, "block {block} was given away twice");
            self.blocks[block as usize].write(GIVEN_AWAY);
        }
    }
}

/// Boxed words in place of a mapping.
struct Boxed {
    words: Box<[AtomicU64]>,
}

impl Backing for Boxed {
    fn words(&self) -> (NonNull<AtomicU64>, usize) {
        (NonNull::from(&*self.words).cast(), self.words.len())
    }

    fn allocate(&self, _words: Range<usize>) -> Result<(), crate::mechanism::error::AreaError> {
        Ok(())
    }
}

fn words(len: usize, watched: impl Fn(usize) -> bool) -> Words {
    let word = |index| if watched(index) { AtomicU64::new(0) } else { AtomicU64::unwatched(0) };
    Words::new(Arc::new(Boxed { words: (0..len).map(word).collect() }))
}

/// Which words the checker watches. Publishing words are watched always: a slot's state, a cell, a bell, an
/// announcement's object and phase. What is written before them, and read after them, is watched where a model is about
/// just that; elsewhere it costs time and shows nothing.
#[derive(Clone, Copy, Default)]
pub(crate) struct Watch {
    /// Object, range and stamp of slots: for models in which a slot is used again while it is read.
    pub(crate) slots: bool,
    /// All of an announcement: for models in which a record is used again while it is read.
    pub(crate) announcements: bool,
    /// Marks and the recall bell.
    pub(crate) marks: bool,
}

impl Watch {
    fn in_header(self, geometry: &Geometry) -> impl Fn(usize) -> bool + use<> {
        let offsets = geometry.header();
        let is_announcement = is_field_of(offsets.announcements..offsets.voids, Announcement::WORDS);
        let is_mark = is_field_of(offsets.voids..offsets.parked, VoidMark::WORDS);
        let is_cell = is_field_of(offsets.cells..offsets.end, Cell::WORDS);
        move |word| {
            word == field!(Prologue, announcements_used)
                || word == field!(Prologue, recall_bell) && self.marks
                || is_announcement(word, &[field!(Announcement, object), field!(Announcement, phase)])
                || is_announcement(
                    word,
                    &[
                        field!(Announcement, version),
                        field!(Announcement, start),
                        field!(Announcement, end),
                        field!(Announcement, generation),
                    ],
                ) && self.announcements
                || is_mark(word, &[field!(VoidMark, used), field!(VoidMark, slot), field!(VoidMark, version)])
                    && self.marks
                || is_cell(word, &[field!(Cell, object), field!(Cell, word), field!(Cell, waited)])
        }
    }

    fn in_segment(self, geometry: &Geometry) -> impl Fn(usize) -> bool + use<> {
        let offsets = geometry.segment();
        let is_slot = is_field_of(offsets.slots..offsets.end, Slot::WORDS);
        let is_block = is_field_of(offsets.block_heads..offsets.slots, BlockHead::WORDS);
        move |word| {
            word == field!(SegmentHead, blocks_used)
                || word == field!(SegmentHead, bell)
                || (offsets.chains..offsets.labels).contains(&word)
                || is_block(word, &[field!(BlockHead, next)])
                || is_slot(word, &[field!(Slot, state), field!(Slot, stamp)])
                || is_slot(word, &[field!(Slot, object), field!(Slot, start)]) && self.slots
        }
    }
}

/// Whether a word is one of some fields in a table of records that are `record` words long.
fn is_field_of(table: Range<usize>, record: usize) -> impl Fn(usize, &[usize]) -> bool {
    move |word, fields| table.contains(&word) && fields.contains(&((word - table.start) % record))
}
