//! The two halves of a pin's life in shared memory: published by its holder, cleared by whoever has it.
//!
//! Stays true  P2: whoever clears a slot looks at `waited` after a full fence, and rings if the pin is older.
//!             P3: a slot's words are written while it is empty, by the thread of its lane, and its state last.

use std::ops::Range;

use crate::sync::{Ordering, ThisThread};

use super::error::UnpinError;
use super::fences::{self, Site};
use super::header::Cell;
use super::holder::Holder;
use super::lanes::EmptySlot;
use super::pin::{PinSpec, RawPin};
use super::segment::{Flags, Slot, SlotState, SlotUse, THREAD_BITS};
use super::view::Layout;
use super::word::LayoutWord;
use super::words::At;

/// A slot that holds a pin, and the cell of the file. Both are the holder's tables' records: whoever has it has the
/// holder.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    slot: At<Slot>,
    cell: At<Cell>,
}

/// Generation and label in one word.
#[inline]
fn stamp(before: LayoutWord, label: u16) -> u64 {
    before.0 << 16 | u64::from(label)
}

impl Holder {
    /// Writes an empty slot's words, then the one word that makes it a pin.
    #[inline]
    pub(super) fn publish(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        place: EmptySlot,
        before: LayoutWord,
        tick: u64,
    ) -> Held {
        let slot = self.write_slot(layout, range, spec, place, before, tick);
        // ORDER: Release pairs with the Acquire load of the state in `Segment::read`.
        slot.state.store(SlotState::held(place.version, spec.flags).0, Ordering::Release);
        Held { slot: place.slot, cell: layout.at }
    }

    #[inline]
    pub(super) fn write_slot(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        place: EmptySlot,
        before: LayoutWord,
        tick: u64,
    ) -> &Slot {
        let slot = self.slot_at(place.slot);
        // ORDER: pairs with the Acquire fence in `Segment::read`: who reads a new word reads that the old pin is gone.
        fences::local(Site::SlotRewrite, Ordering::Release);
        slot.object.store(layout.object, Ordering::Relaxed);
        slot.start.store(range.start, Ordering::Relaxed);
        slot.end.store(range.end, Ordering::Relaxed);
        slot.stamp.store(stamp(before, spec.label.0), Ordering::Relaxed);
        slot.since.store(tick << THREAD_BITS | u64::from(place.thread), Ordering::Relaxed);
        slot
    }

    /// Clears the slot, and rings if somebody may wait for it.
    #[inline]
    pub(crate) fn unpin(&self, held: &Held) {
        let generation = self.clear(held);
        // SAFETY: as in `slot_of`.
        self.left(unsafe { held.cell.get() }, generation);
    }

    /// The slot of a pin of this holder.
    #[inline]
    pub(crate) fn slot_of(&self, held: &Held) -> &Slot {
        self.slot_at(held.slot)
    }

    #[inline]
    pub(super) fn slot_at(&self, slot: At<Slot>) -> &Slot {
        // SAFETY: slots come from `lanes` of this holder, and lie in its segment, which it keeps.
        unsafe { slot.get() }
    }

    /// The cell of a layout of this area.
    #[inline]
    pub(super) fn cell_of(&self, layout: &Layout) -> &Cell {
        debug_assert_eq!(layout.area, self.view.area);
        // SAFETY: every caller has compared the layout's area with ours. Its number is one mapping's alone, so the cell
        // lies in the header of `view`, which this holder keeps.
        unsafe { layout.at.get() }
    }

    /// Clears the slot; the generation that the pin was of.
    #[inline]
    pub(crate) fn clear(&self, held: &Held) -> u64 {
        let slot = self.slot_of(held);
        let generation = slot.stamp.load(Ordering::Relaxed) >> 16;
        let state = SlotState(slot.state.load(Ordering::Relaxed));
        // ORDER: Release: what was copied under the pin is seen by who sees the slot empty.
        slot.state.store(state.cleared().0, Ordering::Release);
        generation
    }

    /// The second half of an unpin: fence, look, ring.
    #[inline]
    pub(crate) fn left(&self, cell: &Cell, generation: u64) {
        self.fences.light(Site::UnpinClear);
        if is_older(cell, generation) {
            self.fences.ring(Site::WakeUnpin, self.segment.bell());
        }
    }

    /// Gives back a pin that travelled as a number.
    ///
    /// # Errors
    /// [`UnpinError::NotHeld`] if it was given back before: a double unpin changes nothing.
    pub fn unpin_raw(&self, raw: RawPin) -> Result<(), UnpinError> {
        if !self.clock.is_of_this_process() {
            return Err(UnpinError::Forked);
        }
        let geometry = self.segment.geometry();
        if raw.holder != self.lanes.id() || raw.slot >= geometry.slots_max() || raw.cell >= geometry.files_max {
            return Err(UnpinError::NotHeld);
        }
        let slot = self.segment.slot(raw.slot);
        let mut state = SlotState(slot.state.load(Ordering::Acquire));
        loop {
            if state.usage() != SlotUse::Held || state.version() != raw.version {
                return Err(UnpinError::NotHeld);
            }
            let generation = slot.stamp.load(Ordering::Relaxed) >> 16;
            // ORDER: as in `unpin`. The exchange lets one of two who give back the same pin win.
            match slot.state.compare_exchange(state.0, state.cleared().0, Ordering::Release, Ordering::Acquire) {
                Ok(_) => {
                    self.left(self.view.header.cell(raw.cell), generation);
                    return Ok(());
                }
                Err(now) => state = SlotState(now),
            }
        }
    }

    /// Clears the slots of pins that leave as one, then fences once, then looks for each (T2).
    pub(crate) fn unpin_together(&self, pins: &[Held]) {
        if let [held] = pins {
            return self.unpin(held);
        }
        let cleared: Vec<(&Held, u64)> = pins.iter().rev().map(|held| (held, self.clear(held))).collect();
        self.fences.light(Site::UnpinClear);
        // SAFETY: as in `slot_at`: the pins are this holder's.
        let waited_for = |(held, generation): &(&Held, u64)| is_older(unsafe { held.cell.get() }, *generation);
        if cleared.iter().any(waited_for) {
            self.fences.ring(Site::WakeUnpin, self.segment.bell());
        }
    }

    /// What a held pin is a pin of.
    pub(crate) fn reach_of(&self, held: &Held) -> (u64, Range<u64>) {
        let slot = self.slot_of(held);
        // ORDER: relaxed; nobody writes the words of a slot that is held but whoever holds it.
        let word = |word: &crate::sync::AtomicU64| word.load(Ordering::Relaxed);
        (word(&slot.object), word(&slot.start)..word(&slot.end))
    }

    /// Whether an engine has the pin.
    pub(crate) fn is_handed_over(&self, held: &Held) -> bool {
        SlotState(self.slot_of(held).state.load(Ordering::Relaxed)).flags().has(Flags::HANDED_OVER)
    }

    /// Adds flags to a pin that is held.
    pub(crate) fn flag(&self, held: &Held, more: Flags) {
        let state = &self.slot_of(held).state;
        state.store(SlotState(state.load(Ordering::Relaxed)).with(more).0, Ordering::Release);
    }

    /// Takes a pin back from its engine, and rings if somebody may wait for it: the thread that made it looks again.
    pub(crate) fn take_back(&self, held: &Held) {
        let slot = self.slot_of(held);
        let generation = slot.stamp.load(Ordering::Relaxed) >> 16;
        let state = SlotState(slot.state.load(Ordering::Relaxed));
        slot.state.store(state.without(Flags::HANDED_OVER).0, Ordering::Release);
        // SAFETY: as in `slot_of`.
        self.left(unsafe { held.cell.get() }, generation);
    }

    /// Notes that the running thread has a pin that is held, and not the one that made it.
    pub(crate) fn claim(&self, held: &Held) {
        let since = &self.slot_of(held).since;
        let (before, mask) = (since.load(Ordering::Relaxed), (1 << THREAD_BITS) - 1);
        let now = before & !mask | u64::from(ThisThread::get().number);
        if now != before {
            // ORDER: relaxed; a break of this thread comes after it, and to those of others either thread is another.
            since.store(now, Ordering::Relaxed);
        }
    }

    /// Gives a pin that is held another label.
    pub(crate) fn relabel(&self, held: &Held, label: u16) {
        let stamp = &self.slot_of(held).stamp;
        // ORDER: relaxed; a scan that meets both reads the same generation, and either text.
        stamp.store(stamp.load(Ordering::Relaxed) & !u64::from(u16::MAX) | u64::from(label), Ordering::Relaxed);
    }

    /// A held pin as a number.
    pub(crate) fn raw(&self, held: &Held) -> RawPin {
        let state = SlotState(self.slot_of(held).state.load(Ordering::Relaxed));
        RawPin {
            holder: self.lanes.id(),
            slot: self.segment.index_of(held.slot),
            cell: self.view.header.index_of(held.cell),
            version: state.version(),
        }
    }
}

/// Whether somebody may wait for a pin of this generation. Asked after the fence that follows the clear.
#[inline]
fn is_older(cell: &Cell, generation: u64) -> bool {
    // ORDER: relaxed; the fence before it orders it after the clear. It pairs with the break's fence between raising
    // `waited` and scanning: either the break sees the slot empty, or this load sees `waited` raised.
    generation < cell.waited.load(Ordering::Relaxed)
}
