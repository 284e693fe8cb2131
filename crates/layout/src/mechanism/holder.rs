//! A holder: one party that pins, with a segment of its own.
//!
//! Stays true  P1: a pin is published before it is looked at again, and resolved after; what changed in between makes
//!                 it leave and start over. Then either the break sees the pin, or the pin sees the break. This is
//!                 `get_user_pages_fast()` racing with `unmap_mapping_range()`.
//! Who may     any thread; each fills the slots of its own lane, and anybody who has the pin clears it.
//! After fork  the child's handles do nothing: the segment is its parent's.

use std::collections::HashMap;
use std::ops::Range;

use crate::sync::{Arc, Mutex, Ordering, ProcessClock, lock};

use super::error::{LabelError, PinError};
use super::fences::{self, Fences, Site};
use super::lanes::Lanes;
use super::pin::{Label, Pin, PinSpec};
use super::publish::Held;
use super::recall::Recalls;
use super::segment::{Flags, LABEL_BYTES_MAX, Segment, SlotUse};
use super::sleeper::Sleeper;
use super::until::Until;
use super::view::{Layout, LayoutToken, View};
use super::word::LayoutWord;

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
    pub(super) fences: Fences,
    pub(crate) clock: ProcessClock,
    /// Of which area's layouts copies are let in, and device pins: in limited mode these are let into none (area 0).
    open_areas: [u64; 2],
    pub(super) lanes: Lanes,
    labels: Mutex<HashMap<(String, String), u16>>,
    /// Tells the owner, if it is in this process, that the holder is gone.
    pub(crate) on_leave: Option<Box<dyn Fn() + Send + Sync>>,
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
            fences: view.fences,
            clock: view.clock,
            open_areas: [view.area, if view.limited { 0 } else { view.area }],
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
        let open_area = self.open_areas[usize::from(spec.flags.has(Flags::DEVICE))];
        if range.start >= range.end || layout.area != open_area || tick == 0 {
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
    pub(super) fn resolve<T>(&self, held: &Held, resolve: &mut impl FnMut() -> T) -> T {
        let leaving = Leaving { holder: self, held };
        let resolved = resolve();
        std::mem::forget(leaving);
        // ORDER: pairs with the full fence between "closing" and the change: a resolve that saw the change sees
        // the word that announced it.
        fences::local(Site::PinResolved, Ordering::Acquire);
        resolved
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
        let at = self.view.header.place(token.cell);
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
        // The chore has the recalls, which have the chore.
        drop(lock(&self.recalls.chore).take());
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
