//! Batches: several ranges pinned as one transfer, or none of them.
//!
//! Stays true  T3: a batch that waits holds nothing, only wishes: two batches never wait for each other.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::sync::{Arc, ThisThread};

use super::admission::{Attempt, Want};
use super::announce::Announced;
use super::error::PinError;
use super::holder::Holder;
use super::pin::PinSpec;
use super::sleeper::{Registration, WordRef};
use super::transfer::Transfer;
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
            if self.waits_for_itself(&announced, layout.cell, at, requests[index].spec) {
                return Err(PinError::Deadlock(requests[index].range.clone()));
            }
            wishes = Some(Wishes::in_place_of(wishes, self, requests, (index, at))?);
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

    /// As [`Holder::transfer`], as a future of no particular runtime. Dropping it withdraws.
    pub fn transfer_async<'a, T, F: FnMut(usize) -> T + Unpin>(
        self: &Arc<Self>,
        requests: &'a [PinRequest<'a>],
        resolve: F,
    ) -> Gathering<'a, F> {
        Gathering { holder: Arc::clone(self), requests, resolve, wishes: None, registration: None }
    }

    fn gather<T>(
        self: &Arc<Self>,
        requests: &[PinRequest<'_>],
        resolve: &mut impl FnMut(usize) -> T,
    ) -> Result<Gathered<T>, PinError> {
        let mut transfer = Transfer::empty(self);
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
struct Wishes {
    holder: Arc<Holder>,
    /// For each request its wish, if it has one.
    attempts: Vec<Option<Attempt>>,
}

impl Wishes {
    /// The first time a batch wishes for the range that was refused. If then another one is, for all of them: else breaks
    /// that take turns on its ranges would keep it out (G3). The new wishes stand before the earlier ones go, and wait
    /// since those did.
    fn in_place_of(
        earlier: Option<Self>,
        holder: &Arc<Holder>,
        requests: &[PinRequest<'_>],
        (refused, at): (usize, LayoutWord),
    ) -> Result<Self, PinError> {
        let mut wishes = Self { holder: Arc::clone(holder), attempts: Vec::with_capacity(requests.len()) };
        for (index, PinRequest { layout, range, spec }) in requests.iter().enumerate() {
            if earlier.is_none() && index != refused {
                wishes.attempts.push(None);
                continue;
            }
            let want = Want { layout, start: range.start, end: range.end, spec: *spec, beside: &[] };
            let waited = earlier.as_ref().and_then(|earlier| earlier.attempts[index].as_ref());
            let mut attempt = Attempt::at(holder.place(&want, ThisThread::get())?).in_place_of(waited);
            let at = if index == refused { at } else { holder.view.header.word(layout.cell) };
            holder.wish(&want, &mut attempt, at);
            wishes.attempts.push(Some(attempt));
        }
        Ok(wishes)
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        if self.holder.clock.is_of_this_process() {
            self.attempts.iter_mut().flatten().for_each(|attempt| self.holder.withdraw(attempt));
        }
    }
}

/// A batch on its way: see [`Holder::transfer_async`].
#[must_use = "a future does nothing until it is polled"]
pub struct Gathering<'a, F> {
    holder: Arc<Holder>,
    requests: &'a [PinRequest<'a>],
    resolve: F,
    wishes: Option<Wishes>,
    registration: Option<Registration>,
}

impl<T, F: FnMut(usize) -> T + Unpin> Future for Gathering<'_, F> {
    type Output = Result<(Transfer, Vec<T>), PinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Behind { index, at, .. } = match this.holder.gather(this.requests, &mut this.resolve)? {
            Gathered::All(transfer, resolved) => {
                this.wishes = None;
                return Poll::Ready(Ok((transfer, resolved)));
            }
            Gathered::Behind(behind) => behind,
        };
        if let Some(pid) = this.holder.view.dead_owner() {
            return Poll::Ready(Err(PinError::OwnerDied(pid)));
        }
        this.wishes = Some(Wishes::in_place_of(this.wishes.take(), &this.holder, this.requests, (index, at))?);
        let word = WordRef::Cell(Arc::clone(&this.holder.view), this.requests[index].layout.cell);
        let registration = this.registration.get_or_insert_with(|| this.holder.sleeper.registration());
        registration.wake_when_changed(vec![(word, at.futex_value())], None, context.waker());
        Poll::Pending
    }
}
