//! A holder's segment: the slots in which its pins are published, its bell, its labels.
//!
//! Stays true  S1: only the holder stores here. The owner reads, and believes nothing: every index is checked, every
//!                 walk is bounded, and who the holder is comes from the header.
//!             S2: a version of a slot is published once, and names one pin: a lane counts the versions of all its slots.
//!             S3: a slot is published and cleared by its state word alone; its other words are written before.
//!             S4: a block of slots never leaves its chain, and a chain grows at its head only. So a scan that began
//!                 at a head sees every block that hung there at that time.
//! Dead holder its slots stay as they are; the owner marks on its own side what is void.

use crate::sync::{AtomicU64, Ordering};

use super::error::AreaError;
use super::fences::{self, Site};
use super::geometry::{Geometry, SegmentOffsets};
use super::words::{At, Record, Table, Words};

/// "pinfold." in ASCII, and what kind of memory it begins.
pub(crate) const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"pinfoldS");

/// [`SegmentHead::holder_state`]: nobody has joined yet.
pub(crate) const HOLDER_INVITED: u64 = 0;
/// [`SegmentHead::holder_state`]: one holder has.
pub(crate) const HOLDER_JOINED: u64 = 1;
/// [`SegmentHead::holder_state`]: it said goodbye.
pub(crate) const HOLDER_LEFT: u64 = 2;

/// The first record of a segment.
#[repr(C)]
pub(crate) struct SegmentHead {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    /// Blocks at and above this index were never used.
    pub(crate) blocks_used: AtomicU64,
    /// The place, the serial and the incarnation for which the segment was made: which invitation this is. The owner
    /// believes its own record only.
    pub(crate) place: AtomicU64,
    pub(crate) serial: AtomicU64,
    pub(crate) incarnation: AtomicU64,
    /// [`HOLDER_INVITED`], [`HOLDER_JOINED`] or [`HOLDER_LEFT`].
    pub(crate) holder_state: AtomicU64,
    _pad: [AtomicU64; 1],
    /// Bumped, and its sleepers woken, when a pin leaves that somebody may wait for.
    pub(crate) bell: AtomicU64,
    _pad_bell: [AtomicU64; 7],
}

// SAFETY: repr(C), words only.
unsafe impl Record for SegmentHead {}

/// Where a block of slots hangs.
#[repr(C)]
pub(crate) struct BlockHead {
    /// Index of the next block in the chain plus one; 0 at the end.
    pub(crate) next: AtomicU64,
}

// SAFETY: repr(C), words only.
unsafe impl Record for BlockHead {}

/// Text for people: what a pin is for, and through which engine it moves.
#[repr(C)]
pub(crate) struct LabelEntry {
    /// Length of the engine's name in the low byte, of the label in the next one.
    pub(crate) lengths: AtomicU64,
    pub(crate) text: [AtomicU64; 15],
}

// SAFETY: repr(C), words only.
unsafe impl Record for LabelEntry {}

/// One pin.
#[repr(C)]
pub(crate) struct Slot {
    /// [`SlotState`].
    pub(crate) state: AtomicU64,
    pub(crate) object: AtomicU64,
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
    /// Generation above, label in the low 16 bits.
    pub(crate) stamp: AtomicU64,
    /// Tick above, the pinning thread in the low 24 bits.
    pub(crate) since: AtomicU64,
    _pad: [AtomicU64; 2],
}

// SAFETY: repr(C), words only.
unsafe impl Record for Slot {}

/// What a slot is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlotUse {
    Empty,
    Held,
    /// A pin that waits for a break leaves its wish, so that the next break lets it in first (G3).
    Wish,
}

/// A slot's state word: version (48 bits), flags (8), use (8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotState(pub(crate) u64);

impl SlotState {
    const FLAGS: u32 = 8;
    const VERSION: u32 = 16;

    #[inline]
    pub(crate) fn usage(self) -> SlotUse {
        match self.0 & 0xff {
            0 => SlotUse::Empty,
            2 => SlotUse::Wish,
            // What a holder of another process wrote that means nothing is a pin, to be on the safe side.
            _ => SlotUse::Held,
        }
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 & 0xff == 0
    }

    #[inline]
    pub(crate) fn version(self) -> u64 {
        self.0 >> Self::VERSION
    }

    #[inline]
    pub(crate) fn flags(self) -> Flags {
        Flags((self.0 >> Self::FLAGS) as u8)
    }

    /// A pin.
    #[inline]
    pub(crate) fn held(version: u64, flags: Flags) -> Self {
        Self(version << Self::VERSION | u64::from(flags.0) << Self::FLAGS | 1)
    }

    /// A wish.
    pub(crate) fn wish(version: u64, flags: Flags) -> Self {
        Self(version << Self::VERSION | u64::from(flags.0) << Self::FLAGS | 2)
    }

    /// The same version, empty.
    #[inline]
    pub(crate) fn cleared(self) -> Self {
        Self(self.0 & !0xffff)
    }

    /// The same pin with `more` flags.
    pub(crate) fn with(self, more: Flags) -> Self {
        Self(self.0 | u64::from(more.0) << Self::FLAGS)
    }

    /// The same pin without these flags.
    pub(crate) fn without(self, fewer: Flags) -> Self {
        Self(self.0 & !(u64::from(fewer.0) << Self::FLAGS))
    }
}

/// What kind of pin a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const WRITE: Self = Self(1);
    pub(crate) const DEVICE: Self = Self(2);
    pub(crate) const LONG_TERM: Self = Self(4);
    /// Given to an engine: it leaves without its thread's help.
    pub(crate) const HANDED_OVER: Self = Self(8);
    /// Given up by its holder, which still lives.
    pub(crate) const ABANDONED: Self = Self(16);

    #[inline]
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A consistent reading of one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) slot: u32,
    pub(crate) state: SlotState,
    pub(crate) object: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) generation: u64,
    pub(crate) label: u16,
    pub(crate) tick: u64,
    pub(crate) thread: u32,
}

impl Reading {
    /// Whether it shares a position with `[start, end)`.
    #[inline]
    pub(crate) fn reaches(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.end
    }
}

/// Bits of [`Slot::since`] that name the thread.
pub(crate) const THREAD_BITS: u32 = 24;

/// The tables of one segment over its words.
pub(crate) struct Segment {
    words: Words,
    geometry: Geometry,
    offsets: SegmentOffsets,
    head: Table<SegmentHead>,
    chains: Table<AtomicU64>,
    labels: Table<LabelEntry>,
    block_heads: Table<BlockHead>,
    slots: Table<Slot>,
}

impl Segment {
    pub(crate) fn new(words: Words, geometry: Geometry) -> Self {
        let offsets = geometry.segment();
        Self {
            head: words.table(0, 1),
            chains: words.table(offsets.chains, geometry.chains),
            labels: words.table(offsets.labels, geometry.labels_max),
            block_heads: words.table(offsets.block_heads, geometry.blocks_max),
            slots: words.table(offsets.slots, geometry.slots_max()),
            words,
            geometry,
            offsets,
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Makes the tables real that a segment has from the start.
    pub(crate) fn allocate_head(&self) -> Result<(), AreaError> {
        self.words.allocate::<SegmentHead>(0, 0, 1)?;
        let chains = self.geometry.chains as usize;
        (0..chains).try_for_each(|c| self.words.allocate::<AtomicU64>(self.offsets.chains, c, chains))
    }

    /// Makes the memory of block `block` real; to be called for each block in turn.
    pub(crate) fn allocate_block(&self, block: u32) -> Result<(), AreaError> {
        let blocks_max = self.geometry.blocks_max;
        self.words.allocate::<BlockHead>(self.offsets.block_heads, block as usize, blocks_max as usize)?;
        let slots_max = self.geometry.slots_max() as usize;
        self.slots_of(block)
            .try_for_each(|slot| self.words.allocate::<Slot>(self.offsets.slots, slot as usize, slots_max))
    }

    fn allocate_label(&self, index: u16) -> Result<(), AreaError> {
        // Labels begin with 1, and so do the chunks.
        let index = if index == 1 { 0 } else { usize::from(index) };
        self.words.allocate::<LabelEntry>(self.offsets.labels, index, self.geometry.labels_max as usize)
    }

    #[inline]
    pub(crate) fn head(&self) -> &SegmentHead {
        self.head.at(0)
    }

    #[inline]
    pub(crate) fn bell(&self) -> &AtomicU64 {
        &self.head().bell
    }

    #[inline]
    pub(crate) fn chain(&self, chain: u32) -> &AtomicU64 {
        self.chains.at(chain)
    }

    pub(crate) fn label(&self, index: u16) -> &LabelEntry {
        self.labels.at(u32::from(index))
    }

    #[inline]
    pub(crate) fn block_head(&self, block: u32) -> &BlockHead {
        self.block_heads.at(block)
    }

    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> &Slot {
        self.slots.at(slot)
    }

    /// The address of a slot, for who pins.
    pub(crate) fn place(&self, slot: u32) -> At<Slot> {
        self.slots.place(slot)
    }

    /// The index of a slot of this segment.
    pub(crate) fn index_of(&self, slot: At<Slot>) -> u32 {
        self.slots.index_of(slot)
    }

    /// Block indices of a chain, newest first. Bounded: a chain that a liar bent into a ring ends after as many
    /// steps as there are blocks, and an index outside the table ends it at once (S1).
    pub(crate) fn blocks(&self, chain: u32) -> impl Iterator<Item = u32> + '_ {
        // ORDER: pairs with the Release store of the head in `Lanes::hang`: a block that is seen has a `next`.
        let mut link = self.chain(chain).load(Ordering::Acquire);
        let mut steps = 0;
        std::iter::from_fn(move || {
            let block = u32::try_from(link.checked_sub(1)?).ok()?;
            if block >= self.geometry.blocks_max || steps == self.geometry.blocks_max {
                return None;
            }
            steps += 1;
            // ORDER: relaxed; `next` was written before the block was hung (above) and never changes (S4).
            link = self.block_head(block).next.load(Ordering::Relaxed);
            Some(block)
        })
    }

    /// Slot indices of a block.
    pub(crate) fn slots_of(&self, block: u32) -> std::ops::Range<u32> {
        let first = block * self.geometry.slots_per_block;
        first..first + self.geometry.slots_per_block
    }

    /// Reads one slot if it is published, and as one thing: if the pin left meanwhile there is none. (Whoever took
    /// its place was published after the reader's fence, and sees what the reader announced.)
    #[inline]
    pub(crate) fn read(&self, index: u32) -> Option<Reading> {
        let slot = self.slot(index);
        // ORDER: Acquire pairs with the Release store of the state in `publish`: the words written before it are seen.
        let state = SlotState(slot.state.load(Ordering::Acquire));
        if state.is_empty() {
            return None;
        }
        // ORDER: relaxed, ordered by the load above and the fence below, as in a sequence lock's reader.
        let stamp = slot.stamp.load(Ordering::Relaxed);
        let since = slot.since.load(Ordering::Relaxed);
        let reading = Reading {
            slot: index,
            state,
            object: slot.object.load(Ordering::Relaxed),
            start: slot.start.load(Ordering::Relaxed),
            end: slot.end.load(Ordering::Relaxed),
            generation: stamp >> 16,
            label: stamp as u16,
            tick: since >> THREAD_BITS,
            thread: since as u32 & ((1 << THREAD_BITS) - 1),
        };
        // ORDER: pairs with the Release fence in `publish`, before the words of the next version are written.
        fences::local(Site::SlotReread, Ordering::Acquire);
        // ORDER: Acquire: who learns here that the pin left does so after what was copied under it;
        // `loom::a_block_is_hung_while_the_chain_is_scanned` fails without.
        let again = SlotState(slot.state.load(Ordering::Acquire));
        let same = again.version() == state.version() && !again.is_empty();
        same.then_some(Reading { state: again, ..reading })
    }

    /// Clears the slot of a pin if it is still that pin's (holder).
    pub(crate) fn clear(&self, pin: &Reading) -> bool {
        let state = &self.slot(pin.slot).state;
        // ORDER: Release pairs with the Acquire load in `read`. Whoever clears it otherwise stores the same value.
        state.compare_exchange(pin.state.0, pin.state.cleared().0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Calls `visit` with each pin or wish of `object`, until it returns `Some`.
    pub(crate) fn find<T>(&self, chain: u32, object: u64, mut visit: impl FnMut(Reading) -> Option<T>) -> Option<T> {
        for (count, block) in self.blocks(chain).enumerate() {
            if count % BLOCKS_BETWEEN_YIELDS == BLOCKS_BETWEEN_YIELDS - 1 {
                crate::sync::yield_now();
            }
            for index in self.slots_of(block) {
                let Some(reading) = self.read(index).filter(|reading| reading.object == object) else { continue };
                if let Some(found) = visit(reading) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Every published slot of the segment, whatever its file.
    pub(crate) fn all(&self) -> impl Iterator<Item = Reading> + '_ {
        // ORDER: Acquire pairs with the Release store in `Lanes::hang`.
        let used = self.head().blocks_used.load(Ordering::Acquire);
        let used = used.min(u64::from(self.geometry.blocks_max)) as u32;
        (0..used * self.geometry.slots_per_block).filter_map(|index| self.read(index))
    }

    pub(crate) fn read_label(&self, index: u16) -> (String, String) {
        if u32::from(index) >= self.geometry.labels_max {
            return Default::default();
        }
        let entry = self.label(index);
        // ORDER: Acquire pairs with the Release store in `write_label`.
        let lengths = entry.lengths.load(Ordering::Acquire);
        let bytes: Vec<u8> = entry.text.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let engine = (lengths as u8 as usize).min(bytes.len());
        let label = ((lengths >> 8) as u8 as usize).min(bytes.len() - engine);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
        (text(&bytes[..engine]), text(&bytes[engine..engine + label]))
    }

    /// Writes a label that no pin uses yet; to be called for each index in turn.
    pub(crate) fn write_label(&self, index: u16, engine: &str, label: &str) -> Result<(), AreaError> {
        debug_assert!(engine.len() + label.len() <= LABEL_BYTES_MAX);
        self.allocate_label(index)?;
        let mut bytes = [0; LABEL_BYTES_MAX];
        bytes[..engine.len()].copy_from_slice(engine.as_bytes());
        bytes[engine.len()..engine.len() + label.len()].copy_from_slice(label.as_bytes());
        let entry = self.label(index);
        for (word, chunk) in entry.text.iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_le_bytes(chunk.try_into().expect("chunks of 8")), Ordering::Relaxed);
        }
        // ORDER: Release pairs with the Acquire load in `read_label`.
        entry.lengths.store(engine.len() as u64 | (label.len() as u64) << 8, Ordering::Release);
        Ok(())
    }
}

/// Bytes of engine and label together.
pub(crate) const LABEL_BYTES_MAX: usize = 15 * 8;

/// Linux drops the map's lock every 4096 entries; a scan lets others run as often.
const BLOCKS_BETWEEN_YIELDS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(Slot::WORDS, 8);
        assert_eq!(SegmentHead::WORDS, 16);
        assert_eq!(std::mem::offset_of!(SegmentHead, bell), 64);
    }

    #[test]
    fn a_state_keeps_its_version_through_clear_and_flags() {
        let held = SlotState::held(1, Flags::WRITE.and(Flags::DEVICE));
        assert_eq!((held.version(), held.usage()), (1, SlotUse::Held));
        let handed = held.with(Flags::HANDED_OVER);
        assert_eq!(handed.version(), 1);
        assert!(handed.flags().has(Flags::DEVICE) && !handed.flags().has(Flags::LONG_TERM));
        assert!(handed.cleared().is_empty());
        assert_eq!(SlotState::wish(2, Flags::WRITE).usage(), SlotUse::Wish);
    }
}
