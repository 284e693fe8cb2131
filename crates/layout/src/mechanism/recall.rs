//! Recall: a break asks for long-term pins back (G11).
//!
//! The owner marks the pin on its side and rings the recall bell; the sleeper of the holder's process finds the mark
//! and calls the pin's handler, once. What the handler does is the holder's business: unpin soon, or keep the break
//! waiting until its deadline.

use std::collections::HashMap;
use std::ops::Range;

use crate::sync::{Arc, Mutex, Ordering, lock};

use super::error::PinError;
use super::holder::Holder;
use super::marks::RECALLED;
use super::pin::{Access, Label, Pin, PinSpec, RawPin};
use super::segment::Flags;
use super::sleeper::{Chore, WordRef};
use super::until::Until;
use super::view::{Layout, View};

/// Told when a break wants a long-term pin back.
pub trait Recall: Send + Sync {
    /// A break waits for this pin. Make the device let go, then drop the pin.
    ///
    /// Called once, on the area's sleeper thread: do not wait here, pass it on.
    fn recall(&self, recalled: &Recalled);
}

impl<F: Fn(&Recalled) + Send + Sync> Recall for F {
    fn recall(&self, recalled: &Recalled) {
        self(recalled);
    }
}

/// Which pin is wanted back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recalled {
    /// The pinned object.
    pub object: u64,
    /// The pinned range.
    pub range: Range<u64>,
}

/// A slot of the holder's segment, and its version.
type SlotVersion = (u32, u64);

/// A pin that can be recalled, and how.
type Recallable = (Recalled, Arc<dyn Recall>);

/// The handlers of one holder's long-term pins.
#[derive(Default)]
pub(crate) struct Recalls {
    handlers: Mutex<HashMap<SlotVersion, Recallable>>,
    /// Kept here, since the sleeper only borrows its chores.
    pub(crate) chore: Mutex<Option<Arc<dyn Chore>>>,
}

/// A long-term pin: a memory registration, a device's window. Dropping it unpins.
#[must_use = "dropping a pin unpins"]
pub struct LongTermPin<T = ()> {
    /// Before `pin`, so that a recall that comes in between finds no handler rather than no pin.
    _handler: Handler,
    pin: Pin<Arc<Holder>, T>,
}

struct Handler {
    recalls: Arc<Recalls>,
    key: SlotVersion,
}

impl Drop for Handler {
    fn drop(&mut self) {
        lock(&self.recalls.handlers).remove(&self.key);
    }
}

impl<T> LongTermPin<T> {
    /// What `resolve` returned for the range.
    pub fn resolved(&self) -> &T {
        self.pin.resolved()
    }

    /// The pinned range.
    pub fn range(&self) -> Range<u64> {
        self.pin.range()
    }
}

/// What a long-term pin is for, and what gives it back.
#[derive(Clone)]
pub struct LongTerm {
    access: Access,
    label: Label,
    recall: Option<Arc<dyn Recall>>,
}

impl LongTerm {
    /// A device's access that `recall` ends when a break asks for it. Without a handler the pin is refused.
    pub fn new(access: Access, recall: Option<Arc<dyn Recall>>) -> Self {
        Self { access, label: Label::default(), recall }
    }

    /// The same with a label.
    #[must_use]
    pub fn labelled(mut self, label: Label) -> Self {
        self.label = label;
        self
    }

    /// Nobody's thread waits for it: whoever has it gives it back when it is recalled.
    fn spec(&self) -> PinSpec {
        let spec = PinSpec::device(self.access).labelled(self.label);
        PinSpec { flags: spec.flags.and(Flags::LONG_TERM).and(Flags::HANDED_OVER), ..spec }
    }
}

impl Holder {
    /// Pins for as long as the caller likes, and gives the pin back when a break asks for it.
    ///
    /// # Errors
    /// [`PinError::NoRecall`] without a handler (`EOPNOTSUPP`, as in Linux); otherwise as [`Holder::pin`].
    pub fn pin_long_term<T>(
        self: &Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
        term: LongTerm,
        until: Until,
        resolve: impl FnMut() -> T,
    ) -> Result<LongTermPin<T>, PinError> {
        let spec = term.spec();
        let recall = term.recall.ok_or(PinError::NoRecall)?;
        Ok(self.recallable(recall, self.pin_owned(layout, range, spec, until, resolve)?))
    }

    /// As [`Holder::pin_long_term`], but never waits.
    ///
    /// # Errors
    /// As there, and [`PinError::LayoutBreaking`] if a break is in the way.
    pub fn try_pin_long_term<T>(
        self: &Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
        term: LongTerm,
        resolve: impl FnMut() -> T,
    ) -> Result<LongTermPin<T>, PinError> {
        let spec = term.spec();
        let recall = term.recall.ok_or(PinError::NoRecall)?;
        Ok(self.recallable(recall, self.try_pin_owned(layout, range, spec, resolve)?))
    }

    /// As [`Holder::pin_long_term`], as a future of no particular runtime.
    pub fn pin_long_term_async<T, F: FnMut() -> T + Unpin>(
        self: &Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
        term: LongTerm,
        resolve: F,
    ) -> impl Future<Output = Result<LongTermPin<T>, PinError>> + use<T, F> {
        let pinning = self.pin_async(layout, range, term.spec(), resolve);
        let holder = Arc::clone(self);
        async move {
            let recall = term.recall.ok_or(PinError::NoRecall)?;
            Ok(holder.recallable(recall, pinning.await?))
        }
    }

    /// Registers the handler of a pin.
    fn recallable<T>(&self, recall: Arc<dyn Recall>, pin: Pin<Arc<Self>, T>) -> LongTermPin<T> {
        let RawPin { slot, version, .. } = pin.raw();
        let key = (slot, version);
        let recalled = Recalled { object: pin.object(), range: pin.range() };
        lock(&self.recalls.handlers).insert(key, (recalled, recall));
        // A break may have marked the pin before its handler was here.
        self.sleeper.nudge();
        LongTermPin { _handler: Handler { recalls: Arc::clone(&self.recalls), key }, pin }
    }
}

/// The sleeper's part: finds marks for one holder and calls handlers.
pub(crate) struct RecallChore {
    pub(crate) view: Arc<View>,
    pub(crate) segment: u32,
    pub(crate) recalls: Arc<Recalls>,
}

impl Chore for RecallChore {
    fn look(&self, waits: &mut Vec<(WordRef, u32)>) {
        if lock(&self.recalls.handlers).is_empty() {
            return;
        }
        let bell = WordRef::Recall(Arc::clone(&self.view));
        let value = bell.value();
        for (recalled, handler) in self.wanted() {
            handler.recall(&recalled);
        }
        waits.push((bell, value));
    }
}

impl RecallChore {
    /// Takes out the handlers whose pins are marked.
    fn wanted(&self) -> Vec<Recallable> {
        let mut handlers = lock(&self.recalls.handlers);
        (0..self.view.header.geometry().voids_max)
            .map(|index| self.view.header.void_mark(index))
            .take_while(|mark| mark.used.load(Ordering::Acquire) != super::marks::NEVER_USED)
            .filter(|mark| mark.used.load(Ordering::Acquire) & RECALLED != 0)
            .filter(|mark| mark.segment.load(Ordering::Relaxed) == u64::from(self.segment))
            .filter_map(|mark| {
                let key = (mark.slot.load(Ordering::Relaxed) as u32, mark.version.load(Ordering::Relaxed));
                handlers.remove(&key)
            })
            .collect()
    }
}
