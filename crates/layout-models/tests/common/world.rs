//! A small area over the mechanism's own source, and beside it the caller's side: a file map and blocks.

use crate::mechanism::busy_extents::{BusyExtents, CommitId, Extent};
use crate::mechanism::fences::Fences;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{Announcement, Cell, Growing, Header, Prologue, VoidMark};
use crate::mechanism::holder::Holder;
use crate::mechanism::layout_break::{Effect, Idle, LayoutBreak, Policy};
use crate::mechanism::owner::{HOLDER_LINKED, Member, Owner};
use crate::mechanism::segment::{BlockHead, Segment, SegmentHead, Slot};
use crate::mechanism::sleeper::Sleeper;
use crate::mechanism::view::{Layout, Liveness, View};
use crate::mechanism::words::{Backing, Record, Words};
use crate::sync::{Arc, AtomicU64, Bytes, Ordering, ProcessClock};

use std::mem::offset_of;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Duration;

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
}

impl World {
    pub(crate) fn new(geometry: Geometry) -> Self {
        assert!(geometry.is_sound());
        let header = Header::new(words(geometry.header().end, watched_in_header(&geometry)), geometry);
        let fences = Fences::new(false, true);
        let view = Arc::new(View { header, fences, clock: ProcessClock::start().unwrap(), area: 1, limited: false, owner: None });
        let sleeper = Arc::new(Sleeper::new(fences.futex(), false));
        let owner = Arc::new(Owner::new(view, sleeper, None, Duration::from_secs(1)));
        let busy = BusyExtents { owner: Arc::clone(&owner) };
        Self { owner, busy, files: Arc::new(Files::new()) }
    }

    /// A holder whose process lives as long as `liveness` says.
    pub(crate) fn holder_with(&self, index: u32, liveness: Box<dyn Liveness>) -> (Arc<Holder>, Arc<Member>) {
        let owner = &self.owner;
        let geometry = *owner.view.header.geometry();
        let segment = Segment::new(words(geometry.segment().end, watched_in_segment(&geometry)), geometry);
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
        let free = self.busy.reap(CommitId::ALL);
        free.into_iter().map(|free| self.files.give_away(&free.into_extent())).count()
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

    fn give_away(&self, extent: &Extent) {
        for block in extent.block..extent.block + extent.len() {
            assert_ne!(self.blocks[block as usize].read(), GIVEN_AWAY, "block {block} was given away twice");
            self.blocks[block as usize].write(GIVEN_AWAY);
        }
    }
}

/// Commits the replacement of one block.
pub(crate) fn commit_replaced(idle: Idle<'_>, files: &Files, object: u64, position: u64, block: u64) {
    idle.commit(|| files.replace(object, position, block));
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

/// Index of a field in its record, in words.
macro_rules! field {
    ($record:ty, $field:ident) => {
        offset_of!($record, $field) / size_of::<AtomicU64>()
    };
}

/// Whether `word` is one of `fields` in a table of records that are `record` words long.
fn is_field(word: usize, table: Range<usize>, record: usize, fields: &[usize]) -> bool {
    table.contains(&word) && fields.contains(&((word - table.start) % record))
}

/// The words of a header from which something follows.
fn watched_in_header(geometry: &Geometry) -> impl Fn(usize) -> bool + use<> {
    let offsets = geometry.header();
    move |word| {
        is_field(word, 0..Prologue::WORDS, Prologue::WORDS, &[
            field!(Prologue, announcements_used),
            field!(Prologue, recall_bell),
        ]) || is_field(word, offsets.announcements..offsets.voids, Announcement::WORDS, &[
            field!(Announcement, version),
            field!(Announcement, object),
            field!(Announcement, start),
            field!(Announcement, end),
            field!(Announcement, break_id),
            field!(Announcement, generation),
            field!(Announcement, phase),
        ]) || is_field(word, offsets.voids..offsets.parked, VoidMark::WORDS, &[
            field!(VoidMark, used),
            field!(VoidMark, segment),
            field!(VoidMark, slot),
            field!(VoidMark, version),
        ]) || is_field(word, offsets.cells..offsets.end, Cell::WORDS, &[
            field!(Cell, object),
            field!(Cell, word),
            field!(Cell, waited),
        ])
    }
}

/// The words of a segment from which something follows.
fn watched_in_segment(geometry: &Geometry) -> impl Fn(usize) -> bool + use<> {
    let offsets = geometry.segment();
    move |word| {
        is_field(word, 0..SegmentHead::WORDS, SegmentHead::WORDS, &[
            field!(SegmentHead, blocks_used),
            field!(SegmentHead, bell),
        ]) || (offsets.chains..offsets.labels).contains(&word)
            || is_field(word, offsets.block_heads..offsets.slots, BlockHead::WORDS, &[field!(BlockHead, next)])
            || is_field(word, offsets.slots..offsets.end, Slot::WORDS, &[
                field!(Slot, state),
                field!(Slot, object),
                field!(Slot, start),
                field!(Slot, end),
                field!(Slot, stamp),
            ])
    }
}
