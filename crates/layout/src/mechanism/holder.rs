//! A holder: one party that pins, with a segment of its own.
//!
//! Stays true  P1: a pin is published before it is looked at again, and resolved after; what changed in between makes
//!                 it leave and start over. Then either the break sees the pin, or the pin sees the break. This is
//!                 `get_user_pages_fast()` racing with `unmap_mapping_range()`.
//!             P2: whoever clears a slot looks at `waited` after a full fence, and rings if the pin is older.
//! Who may     any thread; each fills the slots of its own lane, and anybody who has the pin clears it.
//! After fork  the child's handles do nothing: the segment is its parent's.

use std::collections::HashMap;
use std::ops::Range;

use crate::sync::{Arc, Mutex, Ordering, ProcessClock, ThisThread, lock, yield_now};

use super::announce::{Admission, Announced, Phase};
use super::error::{LabelError, PinError, UnpinError};
use super::fences::{self, Fences, Site};
use super::header::Cell;
use super::lanes::{EmptySlot, Lanes};
use super::pin::{Access, Label, Pin, PinSpec, RawPin};
use super::recall::Recalls;
use super::segment::{Flags, LABEL_BYTES_MAX, Segment, Slot, SlotState, SlotUse, THREAD_BITS};
use super::sleeper::Sleeper;
use super::until::Until;
use super::view::{Layout, LayoutToken, View};
use super::word::LayoutWord;
use super::words::{At, Table};

/// One party that pins. Make one for each process, or for each part of a program that may end on its own.
pub struct Holder {
    pub(crate) view: Arc<View>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: u32,
    /// Whether breaks run in this process too.
    pub(crate) beside_owner: bool,
    pub(crate) sleeper: Arc<Sleeper>,
    pub(crate) recalls: Arc<Recalls>,
    /// What the pin's path touches, close at hand.
    slots: Table<Slot>,
    cells: Table<Cell>,
    fences: Fences,
    pub(crate) clock: ProcessClock,
    /// The area's number; 0 in limited mode, which is no layout's.
    open_area: u64,
    lanes: Lanes,
    labels: Mutex<HashMap<(String, String), u16>>,
    /// Tells the owner, if it is in this process, that the holder is gone.
    pub(crate) on_leave: Option<Box<dyn Fn() + Send + Sync>>,
}

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

/// What is to be pinned.
#[derive(Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) spec: PinSpec,
    /// What the same transfer holds already.
    pub(crate) beside: &'a [Reach],
}

/// A range of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) object: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A pin on its way: a slot of the trying thread's lane, empty or with a wish in it.
pub(crate) struct Attempt {
    slot: At<Slot>,
    wish: Option<SlotState>,
}

impl Attempt {
    pub(crate) fn at(place: EmptySlot) -> Self {
        Self { slot: place.slot, wish: None }
    }
}

/// How an attempt ended.
pub(crate) enum Tried<T> {
    Pinned(Held, T),
    /// Behind this break, at this value of the word. Nothing is published.
    Behind(Announced, LayoutWord),
}

impl Holder {
    pub(crate) fn new(
        view: Arc<View>,
        segment: Arc<Segment>,
        index: u32,
        beside_owner: bool,
        sleeper: Arc<Sleeper>,
    ) -> Self {
        Self {
            slots: segment.slots(),
            cells: view.header.cells(),
            fences: view.fences,
            clock: view.clock,
            open_area: if view.limited { 0 } else { view.area },
            view,
            segment,
            index,
            beside_owner,
            sleeper,
            recalls: Arc::new(Recalls::default()),
            lanes: Lanes::new(),
            labels: Mutex::new(HashMap::new()),
            on_leave: None,
        }
    }

    /// Pins `range` of a layout, waiting as long as `until` says while a break is in the way.
    ///
    /// `resolve` looks up what the range is made of (blocks, addresses) in the caller's own maps. It runs once the pin
    /// is admitted, and again if the layout changed meanwhile; what it returned last is kept in the pin. It must not
    /// wait for a break.
    ///
    /// While the pin lives, the blocks that it resolved to are not used for anything else (G1).
    ///
    /// # Errors
    /// See [`PinError`]. No slot is left behind by one.
    #[inline]
    pub fn pin<T>(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        until: Until,
        resolve: impl FnMut() -> T,
    ) -> Result<Pin<&Self, T>, PinError> {
        let (held, resolved) = self.acquire(layout, range, spec, Some(until), resolve)?;
        Ok(Pin::new(self, held, resolved))
    }

    /// As [`Holder::pin`], for a pin that outlives the borrow: it keeps the holder.
    pub fn pin_owned<T>(
        self: &Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        until: Until,
        resolve: impl FnMut() -> T,
    ) -> Result<Pin<Arc<Self>, T>, PinError> {
        let (held, resolved) = self.acquire(layout, range, spec, Some(until), resolve)?;
        Ok(Pin::new(Arc::clone(self), held, resolved))
    }

    /// As [`Holder::pin`], but never waits: [`PinError::LayoutBreaking`] if a break is in the way.
    #[inline]
    pub fn try_pin<T>(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        resolve: impl FnMut() -> T,
    ) -> Result<Pin<&Self, T>, PinError> {
        let (held, resolved) = self.acquire(layout, range, spec, None, resolve)?;
        Ok(Pin::new(self, held, resolved))
    }

    #[inline]
    pub(crate) fn acquire<T>(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        until: Option<Until>,
        mut resolve: impl FnMut() -> T,
    ) -> Result<(Held, T), PinError> {
        if let Some(pinned) = self.pin_quietly(layout, range.clone(), spec, &mut resolve) {
            return Ok(pinned);
        }
        self.pin_slowly(layout, range, spec, until, resolve)
    }

    /// The pin of a file that nobody breaks, in a slot at hand: publish, fence, look, resolve, look. Whatever is not as
    /// usual is left to [`Holder::pin_slowly`], so that this path is a straight line.
    #[inline]
    fn pin_quietly<T>(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        resolve: &mut impl FnMut() -> T,
    ) -> Option<(Held, T)> {
        let tick = self.clock.now();
        if range.start >= range.end || layout.area != self.open_area || tick == 0 {
            return None;
        }
        let place = self.lanes.slot_at_hand(layout.chain)?;
        let cell = self.cell_of(layout);
        // ORDER: Acquire pairs with the Release store in `Header::step`, here and below.
        let before = LayoutWord(cell.word.load(Ordering::Acquire));
        if before.breaks() > 0 {
            return None;
        }
        let held = self.publish(layout, range, spec, place, before, tick);
        self.fences.light(Site::PinPublish);
        let quiet = cell.word.load(Ordering::Acquire) == before.0;
        if quiet && cell.object.load(Ordering::Relaxed) == layout.object {
            let resolved = self.resolve(&held, resolve);
            if cell.word.load(Ordering::Relaxed) == before.0 {
                return Some((held, resolved));
            }
        }
        self.unpin(&held);
        None
    }

    /// Resolves under a published pin, then fences for the last look at the word.
    #[inline]
    fn resolve<T>(&self, held: &Held, resolve: &mut impl FnMut() -> T) -> T {
        let leaving = Leaving { holder: self, held };
        let resolved = resolve();
        std::mem::forget(leaving);
        // ORDER: pairs with the full fence between "closing" and the change: a resolve that saw the change sees
        // the word that announced it.
        fences::local(Site::PinResolved, Ordering::Acquire);
        resolved
    }

    /// Refuses what can never be pinned, then finds a slot for it.
    pub(crate) fn place(&self, want: &Want<'_>, thread: ThisThread) -> Result<EmptySlot, PinError> {
        if !self.clock.is_of_this_process() {
            return Err(PinError::Forked);
        }
        if want.layout.area != self.view.area {
            return Err(PinError::ForeignLayout(want.layout.object));
        }
        if self.view.limited {
            return Err(PinError::Limited);
        }
        if want.start >= want.end {
            return Err(PinError::BadRange(want.start..want.end));
        }
        self.lanes.empty_slot(&self.segment, &self.slots, want.layout.chain, thread)
    }

    #[cold]
    fn pin_slowly<T>(
        &self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        until: Option<Until>,
        mut resolve: impl FnMut() -> T,
    ) -> Result<(Held, T), PinError> {
        let want = &Want { layout, start: range.start, end: range.end, spec, beside: &[] };
        let mut attempt = Attempt::at(self.place(want, ThisThread::get())?);
        let mut last = None;
        loop {
            let (announced, at) = match self.try_once(want, &mut attempt, &mut resolve)? {
                Tried::Pinned(held, resolved) => return Ok((held, resolved)),
                Tried::Behind(announced, at) => (announced, at),
            };
            let range = announced.start..announced.end;
            let Some(until) = until else {
                return Err(PinError::LayoutBreaking { object: announced.object, range });
            };
            if let Some(error) = last {
                self.withdraw(&mut attempt);
                return Err(error);
            }
            if self.waits_for_itself(&announced, want.layout.cell, at) {
                self.withdraw(&mut attempt);
                return Err(PinError::Deadlock(range));
            }
            self.wish(want, &mut attempt);
            last = self.sleep_on_word(want.layout, at, until, &announced);
        }
    }

    /// Sleeps while the word of `layout` is `at`; the error to give if the break is still in the way afterwards.
    pub(crate) fn sleep_on_word(
        &self,
        layout: &Layout,
        at: LayoutWord,
        until: Until,
        behind: &Announced,
    ) -> Option<PinError> {
        use crate::sync::Woke;
        let word = &self.cell_of(layout).word;
        let slice = self.sleeper.backstop(until.deadline());
        match self.fences.futex().wait(word, at.futex_value(), slice) {
            Woke::Interrupted if until.is_interruptible() => Some(PinError::Interrupted),
            Woke::TimedOut if until.has_passed() => {
                Some(PinError::TimedOut { object: behind.object, range: behind.start..behind.end })
            }
            Woke::TimedOut => self.view.dead_owner().map(PinError::OwnerDied),
            _ => None,
        }
    }

    /// Publishes and looks, until the pin is in or a break is in its way.
    pub(crate) fn try_once<T>(
        &self,
        want: &Want<'_>,
        attempt: &mut Attempt,
        resolve: &mut impl FnMut() -> T,
    ) -> Result<Tried<T>, PinError> {
        let thread = ThisThread::get();
        let cell = self.cell_of(want.layout);
        let wished = attempt.wish.is_some();
        loop {
            let before = self.view.header.word(want.layout.cell);
            if let Some(wish) = attempt.wish.take() {
                self.slot_at(attempt.slot).state.store(wish.cleared().0, Ordering::Relaxed);
            }
            let place = self.lanes.again(&self.segment, attempt.slot, thread)?;
            let held = self.publish(want.layout, want.start..want.end, want.spec, place, before, self.clock.now());
            self.fences.light(Site::PinPublish);
            let now = self.view.header.word(want.layout.cell);
            let known = cell.object.load(Ordering::Relaxed) == want.layout.object;
            let verdict = match known && now == before {
                true => self.admit(want, now),
                false => Admission::LookAgain,
            };
            match verdict {
                Admission::Pass => {
                    let resolved = self.resolve(&held, resolve);
                    if cell.word.load(Ordering::Relaxed) == now.0 {
                        self.fulfilled(wished);
                        return Ok(Tried::Pinned(held, resolved));
                    }
                }
                Admission::InTheWay(announced) => {
                    self.unpin(&held);
                    return Ok(Tried::Behind(announced, now));
                }
                Admission::LookAgain => {}
            }
            self.unpin(&held);
            if !known {
                self.fulfilled(wished);
                let stale = PinError::Stale(want.layout.object);
                return Err(self.view.dead_owner().map_or(stale, PinError::OwnerDied));
            }
            yield_now();
        }
    }

    /// Tells the break that waits for a wish that it is one no longer.
    fn fulfilled(&self, wished: bool) {
        if wished {
            self.fences.ring(Site::WakeWish, self.segment.bell());
        }
    }

    /// Whether the breaks that run at `now` let the pin in.
    fn admit(&self, want: &Want<'_>, now: LayoutWord) -> Admission {
        if now.breaks() == 0 {
            return Admission::Pass;
        }
        let device = want.spec.flags.has(Flags::DEVICE);
        let verdict = self.view.header.admission(want.layout.object, |announced| {
            let meets = announced.meets(want.layout.object, want.start, want.end);
            // Draining is courtesy: it keeps out the transfers that are new to this operation. Copies pass.
            meets && (announced.phase == Phase::Closing || device && !self.is_in(want.beside, announced.break_id))
        });
        // Look at the word again: what the list said must be of this generation.
        match self.view.header.word(want.layout.cell) == now {
            true => verdict,
            false => Admission::LookAgain,
        }
    }

    /// Whether one of `reaches` lies in the ranges of the break: then the break cannot close before that one leaves.
    fn is_in(&self, reaches: &[Reach], break_id: u64) -> bool {
        reaches.iter().any(|reach| {
            let found = self.view.header.admission(reach.object, |announced| {
                announced.break_id == break_id && announced.meets(reach.object, reach.start, reach.end)
            });
            matches!(found, Admission::InTheWay(_))
        })
    }

    /// Whether sleeping for this break would be sleeping for the running thread itself.
    pub(crate) fn waits_for_itself(&self, announced: &Announced, cell: u32, at: LayoutWord) -> bool {
        let thread = ThisThread::get();
        let own_break = self.beside_owner && announced.thread == thread.number;
        let verdict = own_break || self.blocks(announced, thread);
        // Only a verdict on what still runs counts.
        verdict && self.view.header.word(cell) == at
    }

    /// Whether a pin of `thread` that no engine has is in the way of the break.
    fn blocks(&self, announced: &Announced, thread: ThisThread) -> bool {
        let ranges = self.view.header.all_announced().into_iter().filter(|a| a.break_id == announced.break_id);
        ranges.into_iter().any(|range| {
            let chain = self.segment.geometry().chain_of(range.object);
            let own = self.segment.find(chain, range.object, |pin| {
                let mine = pin.thread == thread.number && pin.state.usage() == SlotUse::Held;
                let with_me = !pin.state.flags().has(Flags::HANDED_OVER);
                (mine && with_me && pin.generation < range.generation && pin.reaches(range.start, range.end)).then_some(())
            });
            own.is_some()
        })
    }

    /// Writes an empty slot's words, then the one word that makes it a pin.
    #[inline]
    fn publish(
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
    fn write_slot(
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

    /// Leaves word that this pin waits, so that the next break lets it in first (G3).
    pub(crate) fn wish(&self, want: &Want<'_>, attempt: &mut Attempt) {
        let Ok(place) = self.lanes.again(&self.segment, attempt.slot, ThisThread::get()) else { return };
        let range = want.start..want.end;
        let slot = self.write_slot(want.layout, range, want.spec, place, LayoutWord::quiet(0), self.clock.now());
        let wish = SlotState::wish(place.version, want.spec.flags);
        // ORDER: Release pairs with the Acquire load of the state in `Segment::read`.
        slot.state.store(wish.0, Ordering::Release);
        attempt.wish = Some(wish);
    }

    /// Takes a wish back, if there is one.
    pub(crate) fn withdraw(&self, attempt: &mut Attempt) {
        let Some(wish) = attempt.wish.take() else { return };
        self.slot_at(attempt.slot).state.store(wish.cleared().0, Ordering::Release);
        self.fences.ring(Site::WakeWish, self.segment.bell());
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
    fn slot_at(&self, slot: At<Slot>) -> &Slot {
        // SAFETY: slots come from `lanes` of this holder, whose table `slots` it keeps.
        unsafe { slot.get() }
    }

    /// The cell of a layout of this area.
    #[inline]
    fn cell_of(&self, layout: &Layout) -> &Cell {
        debug_assert_eq!(layout.area, self.view.area);
        // SAFETY: every caller has compared the layout's area with ours. Its number is one mapping's alone, so the cell
        // lies in the table `cells`, which this holder keeps.
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
        let slot = self.slots.at(raw.slot);
        let mut state = SlotState(slot.state.load(Ordering::Acquire));
        loop {
            if state.usage() != SlotUse::Held || state.version() != raw.version {
                return Err(UnpinError::NotHeld);
            }
            let generation = slot.stamp.load(Ordering::Relaxed) >> 16;
            // ORDER: as in `unpin`. The exchange lets one of two who give back the same pin win.
            match slot.state.compare_exchange(state.0, state.cleared().0, Ordering::Release, Ordering::Acquire) {
                Ok(_) => {
                    self.left(self.cells.at(raw.cell), generation);
                    return Ok(());
                }
                Err(now) => state = SlotState(now),
            }
        }
    }

    /// Clears the slots of pins that leave as one, then fences once, then looks for each (T2).
    pub(crate) fn unpin_together(&self, pins: &[Held]) {
        let cleared: Vec<(&Held, u64)> = pins.iter().rev().map(|held| (held, self.clear(held))).collect();
        self.fences.light(Site::UnpinClear);
        // SAFETY: as in `slot_at`: the pins are this holder's.
        let waited_for = |(held, generation): &(&Held, u64)| is_older(unsafe { held.cell.get() }, *generation);
        if cleared.iter().any(waited_for) {
            self.fences.ring(Site::WakeUnpin, self.segment.bell());
        }
    }

    /// Adds flags to a pin that is held.
    pub(crate) fn flag(&self, held: &Held, more: Flags) {
        let state = &self.slot_of(held).state;
        state.store(SlotState(state.load(Ordering::Relaxed)).with(more).0, Ordering::Release);
    }

    /// A held pin as a number.
    pub(crate) fn raw(&self, held: &Held) -> RawPin {
        let state = SlotState(self.slot_of(held).state.load(Ordering::Relaxed));
        RawPin {
            holder: self.lanes.id(),
            slot: self.slots.index_of(held.slot),
            cell: self.cells.index_of(held.cell),
            version: state.version(),
        }
    }

    /// Interns a text for people: through which engine a pin moves, and what for. The same pair gives the same label.
    ///
    /// # Errors
    /// [`LabelError`] if the pair is too long or all labels are taken.
    pub fn label(&self, engine: &str, label: &str) -> Result<Label, LabelError> {
        let len = engine.len() + label.len();
        if len > LABEL_BYTES_MAX {
            return Err(LabelError::TooLong { len, max: LABEL_BYTES_MAX });
        }
        let mut labels = lock(&self.labels);
        let key = (engine.to_owned(), label.to_owned());
        if let Some(&index) = labels.get(&key) {
            return Ok(Label(index));
        }
        // Label 0 is no label.
        let labels_max = self.segment.geometry().labels_max;
        let full = LabelError::NoPlace { labels_max };
        if labels.len() + 1 >= labels_max as usize {
            return Err(full);
        }
        let index = labels.len() as u16 + 1;
        self.segment.write_label(index, engine, label).map_err(|_| full)?;
        labels.insert(key, index);
        Ok(Label(index))
    }

    /// The layout that a token names. Whether it still is that file's shows when it is pinned.
    ///
    /// # Errors
    /// [`PinError::Stale`] if there is no such layout.
    pub fn layout(&self, token: LayoutToken) -> Result<Layout, PinError> {
        let geometry = self.segment.geometry();
        if token.object == 0 || token.cell >= geometry.files_max {
            return Err(PinError::Stale(token.object));
        }
        let chain = geometry.chain_of(token.object);
        let at = self.cells.place(token.cell);
        Ok(Layout { object: token.object, area: self.view.area, cell: token.cell, chain, at, _keep: None })
    }

    /// How many pins of this holder are held, those given up included.
    pub fn pins(&self) -> usize {
        if !self.clock.is_of_this_process() {
            return 0;
        }
        self.segment.all().filter(|pin| pin.state.usage() == SlotUse::Held).count()
    }

    /// This holder's index in the area; listings name it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// A device pin for `access`, without label.
    pub(crate) fn long_term_spec(access: Access, label: Label) -> PinSpec {
        let spec = PinSpec::device(access).labelled(label);
        PinSpec { flags: spec.flags.and(Flags::LONG_TERM).and(Flags::HANDED_OVER), ..spec }
    }
}

/// Whether somebody may wait for a pin of this generation. Asked after the fence that follows the clear.
#[inline]
fn is_older(cell: &Cell, generation: u64) -> bool {
    // ORDER: relaxed; the fence before it orders it after the clear. It pairs with the break's fence between raising
    // `waited` and scanning: either the break sees the slot empty, or this load sees `waited` raised.
    generation < cell.waited.load(Ordering::Relaxed)
}

/// Unpins if `resolve` panics.
struct Leaving<'a> {
    holder: &'a Holder,
    held: &'a Held,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.holder.unpin(self.held);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !self.clock.is_of_this_process() {
            return;
        }
        if let Some(leave) = &self.on_leave {
            leave();
        }
    }
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").field("index", &self.index).field("pins", &self.pins()).finish()
    }
}
