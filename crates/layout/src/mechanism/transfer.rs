//! A transfer: a set of pins that comes and leaves as one, as all pages of one I/O do.
//!
//! Stays true  T1: a transfer that is in never sleeps: it gets what it asks for, or `EDEADLK` (G4).
//!             T2: it only grows, and its pins leave together, the one that came first last: while an operation waits
//!                 for that one, those that came after it are still held or gone with it.

use std::ops::Range;

use smallvec::SmallVec;

use crate::sync::{Arc, ThisThread};

use super::admission::{Attempt, Tried, Want};
use super::announce::Announced;
use super::error::PinError;
use super::holder::Holder;
use super::pin::{Label, PinSpec, RawPin};
use super::publish::Held;
use super::segment::Flags;
use super::view::Layout;
use super::word::LayoutWord;

/// Pins that leave as one. An engine takes it by value, and gives it back with the completion.
#[must_use = "dropping a transfer unpins"]
pub struct Transfer {
    holder: Arc<Holder>,
    /// Most transfers have one.
    pins: SmallVec<[Held; 1]>,
    handed_over: bool,
    /// Pins in quarantine whose completion may still come.
    given_up: Vec<RawPin>,
}

impl Transfer {
    /// A transfer that holds nothing yet.
    pub(super) fn empty(holder: &Arc<Holder>) -> Self {
        Self::of(Arc::clone(holder), SmallVec::new(), false)
    }

    /// A transfer that has these pins.
    pub(super) fn of(holder: Arc<Holder>, pins: SmallVec<[Held; 1]>, handed_over: bool) -> Self {
        Self { holder, pins, handed_over, given_up: Vec::new() }
    }

    /// Pins more, to finish. Passes a break that drains if the transfer already holds a pin in one of that break's
    /// ranges; it never sleeps.
    ///
    /// # Errors
    /// [`PinError::Deadlock`] for what cannot be let through: a break that the transfer is not in, or a range that
    /// closes. What the transfer held before it still holds.
    pub fn extend<T>(
        &mut self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        resolve: impl FnMut() -> T,
    ) -> Result<T, PinError> {
        let refused = range.clone();
        self.add(layout, range, spec, resolve)?.map_err(|_| PinError::Deadlock(refused))
    }

    /// One pin more, or the break that is in its way.
    pub(super) fn add<T>(
        &mut self,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        mut resolve: impl FnMut() -> T,
    ) -> Result<Result<T, (Announced, LayoutWord)>, PinError> {
        let spec = match self.handed_over {
            true => PinSpec { flags: spec.flags.and(Flags::HANDED_OVER), ..spec },
            false => spec,
        };
        let want = Want { layout, start: range.start, end: range.end, spec, beside: &self.pins };
        let mut attempt = Attempt::at(self.holder.place(&want, ThisThread::get())?);
        match self.holder.try_once(&want, &mut attempt, &mut resolve)? {
            Tried::Pinned(held, resolved) => {
                self.pins.push(held);
                Ok(Ok(resolved))
            }
            Tried::Behind(announced, at) => Ok(Err((announced, at))),
        }
    }

    /// How many pins it has.
    pub fn pins(&self) -> usize {
        self.pins.len() + self.given_up.len()
    }

    /// The holder that made it.
    pub fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Says that an engine has the transfer now: it leaves without the help of this thread.
    pub fn hand_over(&mut self) {
        self.flag(Flags::HANDED_OVER);
        self.handed_over = true;
    }

    /// Says that this thread has the transfer now, whichever made it: only with its help does it leave, so a blocking break
    /// by this thread refuses to wait for itself.
    pub fn claim(&mut self) {
        if self.holder.clock.is_of_this_process() {
            self.pins.iter().for_each(|held| self.holder.claim(held));
        }
    }

    /// Says that the transfer is its caller's again: a blocking break by the thread that had it refuses once more to
    /// wait for itself. One that waits already looks again.
    pub fn take_back(&mut self) {
        if self.holder.clock.is_of_this_process() {
            self.pins.iter().for_each(|held| self.holder.take_back(held));
        }
        self.handed_over = false;
    }

    /// Says that nobody waits for the transfer any more, while its engine still has it: its pins are in quarantine, until
    /// the engine sees the completion and drops it, or a proof or an operator releases them (G8).
    pub fn give_up(&mut self) {
        if !self.holder.clock.is_of_this_process() {
            return;
        }
        // By number from here on, and noted before anybody can release them: the slot of one that was released is
        // another pin's.
        self.given_up.extend(self.pins.iter().map(|held| self.holder.raw(held)));
        self.flag(Flags::HANDED_OVER.and(Flags::ABANDONED));
        self.pins.clear();
    }

    /// Gives all of its pins another label: an engine's, which its proof speaks for.
    pub fn relabel(&mut self, label: Label) {
        if self.holder.clock.is_of_this_process() {
            self.pins.iter().for_each(|held| self.holder.relabel(held, label.0));
        }
    }

    /// Gives the transfer up: nobody will see its completion. Its pins stay, in quarantine, until a proof says that
    /// no device reaches them, or an operator decides (G8).
    pub fn abandon(mut self) {
        self.give_up();
        self.given_up.clear();
    }

    fn flag(&mut self, more: Flags) {
        if self.holder.clock.is_of_this_process() {
            for held in &self.pins {
                self.holder.flag(held, more);
            }
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if !self.holder.clock.is_of_this_process() {
            return;
        }
        self.holder.unpin_together(&self.pins);
        for raw in self.given_up.iter().rev() {
            // Not held any more: it was released meanwhile.
            let _ = self.holder.unpin_raw(*raw);
        }
    }
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer").field("holder", &self.holder).field("pins", &self.pins()).finish()
    }
}
