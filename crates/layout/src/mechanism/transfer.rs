//! A transfer: a set of pins that comes and leaves as one, as all pages of one I/O do.
//!
//! Stays true  T1: a transfer that is in never sleeps: it gets what it asks for, or `EDEADLK` (G4).
//!             T2: it only grows, and its pins leave together, the one that came first last: while an operation waits
//!                 for that one, those that came after it are still held or gone with it.

use std::ops::Range;

use crate::sync::{Arc, ThisThread};

use super::admission::{Attempt, Reach, Tried, Want};
use super::announce::Announced;
use super::error::PinError;
use super::holder::Holder;
use super::pin::PinSpec;
use super::publish::Held;
use super::segment::Flags;
use super::until::Until;
use super::view::Layout;
use super::word::LayoutWord;

/// One range of a batch.
#[derive(Clone, Debug)]
pub struct PinRequest<'a> {
    /// Of which object.
    pub layout: &'a Layout,
    /// Which range.
    pub range: Range<u64>,
    /// What kind of pin.
    pub spec: PinSpec,
}

/// Pins that leave as one. An engine takes it by value, and gives it back with the completion.
#[must_use = "dropping a transfer unpins"]
pub struct Transfer {
    holder: Arc<Holder>,
    pins: Vec<Held>,
    reaches: Vec<Reach>,
    handed_over: bool,
}

impl Holder {
    /// Pins several ranges as one transfer. While it waits for one of them it holds none.
    ///
    /// `resolve` is called with the index of each request.
    ///
    /// # Errors
    /// As [`Holder::pin`]; then nothing is pinned.
    pub fn transfer<T>(
        self: &Arc<Self>,
        requests: &[PinRequest<'_>],
        until: Until,
        mut resolve: impl FnMut(usize) -> T,
    ) -> Result<(Transfer, Vec<T>), PinError> {
        let mut wishes = None;
        let mut last = None;
        loop {
            let behind = match self.gather(requests, &mut resolve)? {
                Gathered::All(transfer, resolved) => return Ok((transfer, resolved)),
                Gathered::Behind(behind) => behind,
            };
            if let Some(error) = last {
                return Err(error);
            }
            let Behind { index, announced, at } = behind;
            let layout = requests[index].layout;
            if self.waits_for_itself(&announced, layout.cell, at) {
                return Err(PinError::Deadlock(requests[index].range.clone()));
            }
            // The first time it wishes for the one that was refused. If then another is refused, for all of them: else
            // breaks that take turns on its ranges would keep it out for ever (G3).
            let wished = if wishes.is_none() { std::slice::from_ref(&requests[index]) } else { requests };
            wishes = Some(Wishes::of(self, wished)?);
            last = self.sleep_on_word(layout, at, until, &announced);
        }
    }

    /// As [`Holder::transfer`], but never waits.
    ///
    /// # Errors
    /// [`PinError::LayoutBreaking`] if a break is in the way of one of them; then nothing is pinned.
    pub fn try_transfer<T>(
        self: &Arc<Self>,
        requests: &[PinRequest<'_>],
        mut resolve: impl FnMut(usize) -> T,
    ) -> Result<(Transfer, Vec<T>), PinError> {
        match self.gather(requests, &mut resolve)? {
            Gathered::All(transfer, resolved) => Ok((transfer, resolved)),
            Gathered::Behind(Behind { announced, .. }) => {
                Err(PinError::LayoutBreaking { object: announced.object, range: announced.start..announced.end })
            }
        }
    }

    fn gather<T>(
        self: &Arc<Self>,
        requests: &[PinRequest<'_>],
        resolve: &mut impl FnMut(usize) -> T,
    ) -> Result<Gathered<T>, PinError> {
        let mut transfer =
            Transfer { holder: Arc::clone(self), pins: Vec::new(), reaches: Vec::new(), handed_over: false };
        let mut resolved = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let added = transfer.add(request.layout, request.range.clone(), request.spec, || resolve(index))?;
            match added {
                Ok(value) => resolved.push(value),
                Err((announced, at)) => return Ok(Gathered::Behind(Behind { index, announced, at })),
            }
        }
        Ok(Gathered::All(transfer, resolved))
    }
}

enum Gathered<T> {
    All(Transfer, Vec<T>),
    Behind(Behind),
}

/// Which request is refused, and by which break, at which value of the word.
struct Behind {
    index: usize,
    announced: Announced,
    at: LayoutWord,
}

/// The wishes of a batch that waits, taken back together.
struct Wishes<'a> {
    holder: &'a Holder,
    attempts: Vec<Attempt>,
}

impl<'a> Wishes<'a> {
    fn of(holder: &'a Holder, requests: &[PinRequest<'_>]) -> Result<Self, PinError> {
        let mut wishes = Self { holder, attempts: Vec::with_capacity(requests.len()) };
        for PinRequest { layout, range, spec } in requests {
            let want = Want { layout, start: range.start, end: range.end, spec: *spec, beside: &[] };
            let mut attempt = Attempt::at(holder.place(&want, ThisThread::get())?);
            holder.wish(&want, &mut attempt, holder.view.header.word(layout.cell));
            wishes.attempts.push(attempt);
        }
        Ok(wishes)
    }
}

impl Drop for Wishes<'_> {
    fn drop(&mut self) {
        self.attempts.iter_mut().for_each(|attempt| self.holder.withdraw(attempt));
    }
}

impl Transfer {
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
    fn add<T>(
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
        let want = Want { layout, start: range.start, end: range.end, spec, beside: &self.reaches };
        let mut attempt = Attempt::at(self.holder.place(&want, ThisThread::get())?);
        match self.holder.try_once(&want, &mut attempt, &mut resolve)? {
            Tried::Pinned(held, resolved) => {
                self.pins.push(held);
                self.reaches.push(Reach { object: layout.object, start: range.start, end: range.end });
                Ok(Ok(resolved))
            }
            Tried::Behind(announced, at) => Ok(Err((announced, at))),
        }
    }

    /// How many pins it has.
    pub fn pins(&self) -> usize {
        self.pins.len()
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

    /// Gives the transfer up: nobody will see its completion. Its pins stay, in quarantine, until a proof says that
    /// no device reaches them, or an operator decides (G8).
    pub fn abandon(mut self) {
        self.flag(Flags::HANDED_OVER.and(Flags::ABANDONED));
        self.pins.clear();
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
    }
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer").field("reaches", &self.reaches).finish()
    }
}
