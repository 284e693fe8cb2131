//! Admission: how a pin gets in while breaks run, or waits outside.
//!
//! Stays true  D1: while a break drains, transfers that are new to it stay out, copies pass, and so does what a transfer
//!                 adds that is already in one of the break's ranges. What closes lets nobody in.
//!             D2: nobody sleeps for himself: neither for a break of his own thread, nor for one that waits for a pin of
//!                 his own (G4).
//!             D3: whoever sleeps leaves his wish, so that the next break lets him in first (G3).

use std::ops::Range;

use crate::sync::{Ordering, ThisThread, Woke, yield_now};

use super::announce::{Admission, Announced, Phase};
use super::error::PinError;
use super::fences::Site;
use super::holder::Holder;
use super::lanes::EmptySlot;
use super::pin::PinSpec;
use super::publish::Held;
use super::segment::{Flags, Slot, SlotState, SlotUse};
use super::until::Until;
use super::view::Layout;
use super::word::LayoutWord;
use super::words::At;

/// What is to be pinned.
#[derive(Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) spec: PinSpec,
    /// What the same transfer holds already.
    pub(crate) beside: &'a [Held],
}

/// A pin on its way: a slot of the trying thread's lane, empty or with a wish in it.
pub(crate) struct Attempt {
    slot: At<Slot>,
    wish: Option<SlotState>,
    /// Where the word was when the pin first had to wait: breaks that were announced later come after it.
    waits_since: Option<LayoutWord>,
}

impl Attempt {
    pub(crate) fn at(place: EmptySlot) -> Self {
        Self { slot: place.slot, wish: None, waits_since: None }
    }

    /// Goes on where `earlier` waited.
    pub(crate) fn in_place_of(mut self, earlier: Option<&Self>) -> Self {
        self.waits_since = earlier.and_then(|earlier| earlier.waits_since);
        self
    }
}

/// How an attempt ended.
pub(crate) enum Tried<T> {
    Pinned(Held, T),
    /// Behind this break, at this value of the word. Nothing is published.
    Behind(Announced, LayoutWord),
}

impl Holder {
    /// Refuses what can never be pinned, then finds a slot for it.
    pub(crate) fn place(&self, want: &Want<'_>, thread: ThisThread) -> Result<EmptySlot, PinError> {
        if !self.clock.is_of_this_process() {
            return Err(PinError::Forked);
        }
        if want.layout.area != self.view.area {
            return Err(PinError::ForeignLayout(want.layout.object));
        }
        if self.view.limited && want.spec.flags.has(Flags::DEVICE) {
            return Err(PinError::Limited);
        }
        if want.start >= want.end {
            return Err(PinError::BadRange(want.start..want.end));
        }
        self.lanes.empty_slot(&self.segment, want.layout.chain, thread)
    }

    #[cold]
    pub(super) fn pin_slowly<T>(
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
            if self.waits_for_itself(&announced, want.layout.cell, at, spec) {
                self.withdraw(&mut attempt);
                return Err(PinError::Deadlock(range));
            }
            self.wish(want, &mut attempt, at);
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
                    // A break that let the wish in first would sleep on: `loom::a_withdrawn_wish_wakes_the_break`.
                    self.fulfilled(wished);
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

    /// Whether one of these pins lies in the ranges of the break: then the break cannot close before that one leaves.
    fn is_in(&self, pins: &[Held], break_id: u64) -> bool {
        pins.iter().any(|held| {
            let (object, range) = self.reach_of(held);
            let found = self.view.header.admission(object, |announced| {
                announced.break_id == break_id && announced.meets(object, range.start, range.end)
            });
            matches!(found, Admission::InTheWay(_))
        })
    }

    /// Whether sleeping for this break would be sleeping for the running thread itself.
    ///
    /// A copy waits for what closes only, and that opens again at once when it meets a transfer of this thread, or soon
    /// when it meets a copy: so it waits for itself only behind a break that this thread holds closed.
    pub(crate) fn waits_for_itself(&self, announced: &Announced, cell: u32, at: LayoutWord, spec: PinSpec) -> bool {
        let thread = ThisThread::get();
        let own_break = self.beside_owner && announced.thread == thread.number;
        let verdict = own_break || spec.flags.has(Flags::DEVICE) && self.blocks(announced, thread);
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
                (mine && with_me && pin.generation < range.generation && pin.reaches(range.start, range.end))
                    .then_some(())
            });
            own.is_some()
        })
    }

    /// Leaves word that this pin waits, so that later breaks let it in first (G3).
    pub(crate) fn wish(&self, want: &Want<'_>, attempt: &mut Attempt, at: LayoutWord) {
        let Ok(place) = self.lanes.again(&self.segment, attempt.slot, ThisThread::get()) else { return };
        let since = *attempt.waits_since.get_or_insert(at);
        let range = want.start..want.end;
        let slot = self.write_slot(want.layout, range, want.spec, place, since, self.clock.now());
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
}
