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

use crate::sync::{Arc, Mutex, Ordering, ThisThread, lock, yield_now};

use super::announce::{Admission, Announced, Phase};
use super::error::{LabelError, PinError, UnpinError};
use super::fences::{self, Site};
use super::header::Cell;
use super::lanes::Lanes;
use super::pin::{Access, Label, Pin, PinSpec, RawPin};
use super::recall::Recalls;
use super::segment::{Flags, LABEL_BYTES_MAX, Segment, Slot, SlotState, SlotUse, THREAD_BITS};
use super::sleeper::Sleeper;
use super::until::Until;
use super::view::{Layout, LayoutToken, View};
use super::word::LayoutWord;
use super::words::Table;

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
    /// The area's number; 0 in limited mode, which is no layout's.
    open_area: u64,
    lanes: Lanes,
    labels: Mutex<HashMap<(String, String), u16>>,
    /// Tells the owner, if it is in this process, that the holder is gone.
    pub(crate) on_leave: Option<Box<dyn Fn() + Send + Sync>>,
}

/// A slot that holds a pin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) slot: u32,
    pub(crate) cell: u32,
    pub(crate) state: SlotState,
    pub(crate) generation: u64,
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

/// A pin on its way: a slot of its own, empty or with its wish in it.
pub(crate) struct Attempt {
    slot: u32,
    state: SlotState,
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
        let want = Want { layout, start: range.start, end: range.end, spec, beside: &[] };
        let thread = ThisThread::get();
        let (slot, state) = self.place(&want, thread)?;
        if let Some(pinned) = self.pin_quietly(&want, slot, state, thread, &mut resolve) {
            return Ok(pinned);
        }
        self.pin_slowly(&want, slot, until, resolve)
    }

    /// Refuses what can never be pinned, then finds a slot for it.
    #[inline]
    pub(crate) fn place(&self, want: &Want<'_>, thread: ThisThread) -> Result<(u32, SlotState), PinError> {
        if want.start >= want.end || want.layout.area != self.open_area || !self.view.process.holds() {
            return Err(self.refusal(want));
        }
        self.lanes.empty_slot(&self.segment, &self.slots, want.layout.chain, thread)
    }

    #[cold]
    fn refusal(&self, want: &Want<'_>) -> PinError {
        if !self.view.process.holds() {
            PinError::Forked
        } else if want.layout.area != self.view.area {
            PinError::ForeignLayout(want.layout.object)
        } else if self.view.limited {
            PinError::Limited
        } else {
            PinError::BadRange(want.start..want.end)
        }
    }

    /// The pin of a file that nobody breaks: publish, fence, look, resolve, look.
    #[inline]
    fn pin_quietly<T>(
        &self,
        want: &Want<'_>,
        slot: u32,
        state: SlotState,
        thread: ThisThread,
        resolve: &mut impl FnMut() -> T,
    ) -> Option<(Held, T)> {
        let cell = self.cells.at(want.layout.cell);
        let before = LayoutWord(cell.word.load(Ordering::Acquire));
        if before.breaks() > 0 {
            return None;
        }
        let held = self.publish(want, slot, state, before.generation(), thread);
        self.view.fences.light(Site::PinPublish);
        // ORDER: Acquire pairs with the Release store in `Header::step`.
        let quiet = cell.word.load(Ordering::Acquire) == before.0;
        if quiet && cell.object.load(Ordering::Relaxed) == want.layout.object {
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

    #[cold]
    fn pin_slowly<T>(
        &self,
        want: &Want<'_>,
        slot: u32,
        until: Option<Until>,
        mut resolve: impl FnMut() -> T,
    ) -> Result<(Held, T), PinError> {
        let mut attempt = self.attempt(slot);
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
        let word = &self.cells.at(layout.cell).word;
        let slice = self.sleeper.backstop(until.deadline());
        match self.view.fences.futex().wait(word, at.futex_value(), slice) {
            Woke::Interrupted if until.is_interruptible() => Some(PinError::Interrupted),
            Woke::TimedOut if until.has_passed() => {
                Some(PinError::TimedOut { object: behind.object, range: behind.start..behind.end })
            }
            Woke::TimedOut => self.view.dead_owner().map(PinError::OwnerDied),
            _ => None,
        }
    }

    pub(crate) fn attempt(&self, slot: u32) -> Attempt {
        let state = SlotState(self.slots.at(slot).state.load(Ordering::Relaxed));
        Attempt { slot, state }
    }

    /// Publishes and looks, until the pin is in or a break is in its way.
    pub(crate) fn try_once<T>(
        &self,
        want: &Want<'_>,
        attempt: &mut Attempt,
        resolve: &mut impl FnMut() -> T,
    ) -> Result<Tried<T>, PinError> {
        let thread = ThisThread::get();
        let cell = self.cells.at(want.layout.cell);
        let wished = attempt.state.usage() == SlotUse::Wish;
        loop {
            let before = self.view.header.word(want.layout.cell);
            let held = self.publish(want, attempt.slot, attempt.state, before.generation(), thread);
            attempt.state = held.state.cleared();
            self.view.fences.light(Site::PinPublish);
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
                return Err(PinError::Stale(want.layout.object));
            }
            yield_now();
        }
    }

    /// Tells the break that waits for a wish that it is one no longer.
    fn fulfilled(&self, wished: bool) {
        if wished {
            self.view.fences.ring(Site::WakeWish, self.segment.bell());
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

    /// Writes a slot's words, then the one word that makes it a pin.
    #[inline]
    fn publish(&self, want: &Want<'_>, index: u32, state: SlotState, generation: u64, thread: ThisThread) -> Held {
        let slot = self.slots.at(index);
        if !state.is_empty() {
            slot.state.store(state.cleared().0, Ordering::Relaxed);
        }
        // ORDER: pairs with the Acquire fence in `Segment::read`: who reads a new word reads that the old pin is gone.
        fences::local(Site::SlotRewrite, Ordering::Release);
        self.write_slot(want, index, generation, thread);
        let next = state.next_held(want.spec.flags);
        // ORDER: Release pairs with the Acquire load of the state in `Segment::read`.
        slot.state.store(next.0, Ordering::Release);
        Held { slot: index, cell: want.layout.cell, state: next, generation }
    }

    #[inline]
    fn write_slot(&self, want: &Want<'_>, index: u32, generation: u64, thread: ThisThread) {
        let slot = self.slots.at(index);
        slot.object.store(want.layout.object, Ordering::Relaxed);
        slot.start.store(want.start, Ordering::Relaxed);
        slot.end.store(want.end, Ordering::Relaxed);
        slot.stamp.store(generation << 16 | u64::from(want.spec.label.0), Ordering::Relaxed);
        slot.since.store(self.view.tick() << THREAD_BITS | u64::from(thread.number), Ordering::Relaxed);
    }

    /// Leaves word that this pin waits, so that the next break lets it in first (G3).
    pub(crate) fn wish(&self, want: &Want<'_>, attempt: &mut Attempt) {
        fences::local(Site::SlotRewrite, Ordering::Release);
        self.write_slot(want, attempt.slot, 0, ThisThread::get());
        attempt.state = attempt.state.next_wish(want.spec.flags);
        // ORDER: Release pairs with the Acquire load of the state in `Segment::read`.
        self.slots.at(attempt.slot).state.store(attempt.state.0, Ordering::Release);
    }

    /// Takes a wish back, if there is one.
    pub(crate) fn withdraw(&self, attempt: &mut Attempt) {
        if attempt.state.is_empty() {
            return;
        }
        attempt.state = attempt.state.cleared();
        self.slots.at(attempt.slot).state.store(attempt.state.0, Ordering::Release);
        self.view.fences.ring(Site::WakeWish, self.segment.bell());
    }

    /// Clears the slot, and rings if somebody may wait for it.
    #[inline]
    pub(crate) fn unpin(&self, held: &Held) {
        self.clear(held);
        self.left(held.cell, held.generation);
    }

    #[inline]
    pub(crate) fn clear(&self, held: &Held) {
        // ORDER: Release: what was copied under the pin is seen by who sees the slot empty.
        self.slots.at(held.slot).state.store(held.state.cleared().0, Ordering::Release);
    }

    /// The second half of an unpin: fence, look, ring.
    #[inline]
    pub(crate) fn left(&self, cell: u32, generation: u64) {
        self.view.fences.light(Site::UnpinClear);
        if self.is_older(cell, generation) {
            self.view.fences.ring(Site::WakeUnpin, self.segment.bell());
        }
    }

    pub(crate) fn is_waited_for(&self, held: &Held) -> bool {
        self.is_older(held.cell, held.generation)
    }

    /// Whether somebody may wait for a pin of this generation. Asked after the fence that follows the clear.
    #[inline]
    fn is_older(&self, cell: u32, generation: u64) -> bool {
        // ORDER: relaxed; the fence before it orders it after the clear. It pairs with the break's fence between
        // raising `waited` and scanning: either the break sees the slot empty, or this load sees `waited` raised.
        generation < self.cells.at(cell).waited.load(Ordering::Relaxed)
    }

    /// Gives back a pin that travelled as a number.
    ///
    /// # Errors
    /// [`UnpinError::NotHeld`] if it was given back before: a double unpin changes nothing.
    pub fn unpin_raw(&self, raw: RawPin) -> Result<(), UnpinError> {
        if !self.view.process.holds() {
            return Err(UnpinError::Forked);
        }
        let geometry = self.segment.geometry();
        if raw.slot >= geometry.slots_max() || raw.cell >= geometry.files_max {
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
                    self.left(raw.cell, generation);
                    return Ok(());
                }
                Err(now) => state = SlotState(now),
            }
        }
    }

    /// Adds flags to a pin that is held.
    pub(crate) fn flag(&self, held: &mut Held, more: Flags) {
        held.state = held.state.with(more);
        self.slots.at(held.slot).state.store(held.state.0, Ordering::Release);
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
        Ok(Layout { object: token.object, area: self.view.area, cell: token.cell, chain, _keep: None })
    }

    /// How many pins of this holder are held, those given up included.
    pub fn pins(&self) -> usize {
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
        if !self.view.process.holds() {
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
