//! A pin: the right to DMA into, or copy from, a range of a file.

use std::future::Future;
use std::ops::{Deref, Range};
use std::pin::Pin as StdPin;
use std::task::{Context, Poll};

use smallvec::smallvec;

use crate::sync::{Arc, ThisThread};

use super::admission::{Attempt, Tried, Want};
use super::error::PinError;
use super::holder::Holder;
use super::publish::Held;
use super::segment::Flags;
use super::sleeper::{Registration, WordRef};
use super::transfer::Transfer;
use super::view::Layout;

/// What the device, or the copy, does with the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It reads the file's bytes.
    Read,
    /// It writes them.
    Write,
}

/// An interned text of one holder, for listings. [`Holder::label`] makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Label(pub(crate) u16);

/// What kind of pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PinSpec {
    pub(crate) flags: Flags,
    pub(crate) label: Label,
}

impl PinSpec {
    /// A pin through which a device moves data. It outlives its process, and newcomers wait behind a break.
    pub const fn device(access: Access) -> Self {
        Self { flags: access.flags().and(Flags::DEVICE), label: Label(0) }
    }

    /// A pin for one copy by the CPU: short, passes a break that drains, ends with its process. Whoever holds one
    /// sleeps for nothing but a page fault.
    pub const fn cpu(access: Access) -> Self {
        Self { flags: access.flags(), label: Label(0) }
    }

    /// The same with a label.
    #[must_use]
    pub const fn labelled(mut self, label: Label) -> Self {
        self.label = label;
        self
    }
}

impl Access {
    const fn flags(self) -> Flags {
        match self {
            Self::Read => Flags(0),
            Self::Write => Flags::WRITE,
        }
    }
}

/// A pin that is held. Dropping it unpins, from any thread.
///
/// `H` is `&Holder` for a pin that stays in its scope, `Arc<Holder>` for one that travels. `T` is what the range was
/// resolved to; it is worth nothing once the pin is gone.
#[must_use = "dropping a pin unpins"]
pub struct Pin<H: Deref<Target = Holder>, T = ()> {
    holder: H,
    held: Held,
    resolved: T,
}

impl<H: Deref<Target = Holder>, T> Pin<H, T> {
    #[inline]
    pub(crate) fn new(holder: H, held: Held, resolved: T) -> Self {
        Self { holder, held, resolved }
    }

    /// What `resolve` returned for the range.
    #[inline]
    pub fn resolved(&self) -> &T {
        &self.resolved
    }

    /// The pinned object; 0 in a child of the process that pinned.
    pub fn object(&self) -> u64 {
        match self.holder.clock.is_of_this_process() {
            true => self.holder.reach_of(&self.held).0,
            false => 0,
        }
    }

    /// The pinned range; an empty one in a child of the process that pinned.
    pub fn range(&self) -> Range<u64> {
        if !self.holder.view.clock.is_of_this_process() {
            return 0..0;
        }
        self.holder.reach_of(&self.held).1
    }

    /// Says that an engine has the pin now, and will unpin it without the help of this thread. A blocking break by
    /// this thread then waits for it, instead of refusing to wait for itself.
    pub fn hand_over(&mut self) {
        if self.holder.clock.is_of_this_process() {
            self.holder.flag(&self.held, Flags::HANDED_OVER);
        }
    }

    pub(crate) fn raw(&self) -> RawPin {
        self.holder.raw(&self.held)
    }

    /// Turns the pin into a number that travels through a C interface or a completion's user data. It stays held
    /// until [`Holder::unpin_raw`].
    pub fn into_raw(self) -> (RawPin, T) {
        let raw = self.raw();
        (raw, self.into_parts().2)
    }

    /// What it is made of; it is still held.
    fn into_parts(self) -> (H, Held, T) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never used or dropped again, so its two owning fields are moved out, each once.
        let (holder, resolved) =
            unsafe { (std::ptr::read(&raw const this.holder), std::ptr::read(&raw const this.resolved)) };
        (holder, this.held, resolved)
    }
}

impl<T> Pin<Arc<Holder>, T> {
    /// A transfer that has this pin, and may grow.
    pub fn into_transfer(self) -> (Transfer, T) {
        let (holder, held, resolved) = self.into_parts();
        let handed_over = holder.clock.is_of_this_process() && holder.is_handed_over(&held);
        (Transfer::of(holder, smallvec![held], handed_over), resolved)
    }
}

impl<H: Deref<Target = Holder>, T> Drop for Pin<H, T> {
    #[inline]
    fn drop(&mut self) {
        if self.holder.clock.is_of_this_process() {
            self.holder.unpin(&self.held);
        }
    }
}

impl<H: Deref<Target = Holder>, T> std::fmt::Debug for Pin<H, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin").field("range", &self.range()).field("slot", &self.raw().slot).finish()
    }
}

/// A pin as a number. Only the holder that made it can give it back, once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RawPin {
    /// Which holder of this process made it.
    pub holder: u64,
    /// Slot of the holder's segment.
    pub slot: u32,
    /// Cell of the layout.
    pub cell: u32,
    /// Version of the slot: tells this pin from a later one in the same slot.
    pub version: u64,
}

impl Holder {
    /// As [`Holder::try_pin`], for a pin that outlives the borrow.
    ///
    /// # Errors
    /// As there.
    pub fn try_pin_owned<T>(
        self: &Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        resolve: impl FnMut() -> T,
    ) -> Result<Pin<Arc<Self>, T>, PinError> {
        let (held, resolved) = self.acquire(layout, range, spec, None, resolve)?;
        Ok(Pin::new(Arc::clone(self), held, resolved))
    }

    /// As [`Holder::pin_owned`], as a future of no particular runtime. Dropping it withdraws.
    pub fn pin_async<T, F: FnMut() -> T + Unpin>(
        self: &Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
        spec: PinSpec,
        resolve: F,
    ) -> Pinning<F> {
        Pinning {
            holder: Arc::clone(self),
            layout: layout.clone(),
            range,
            spec,
            resolve,
            attempt: None,
            registration: None,
        }
    }
}

/// A pin on its way: see [`Holder::pin_async`].
#[must_use = "a future does nothing until it is polled"]
pub struct Pinning<F> {
    holder: Arc<Holder>,
    layout: Layout,
    range: Range<u64>,
    spec: PinSpec,
    resolve: F,
    attempt: Option<Attempt>,
    registration: Option<Registration>,
}

impl<T, F: FnMut() -> T + Unpin> Future for Pinning<F> {
    type Output = Result<Pin<Arc<Holder>, T>, PinError>;

    fn poll(self: StdPin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let want =
            Want { layout: &this.layout, start: this.range.start, end: this.range.end, spec: this.spec, beside: &[] };
        let holder = Arc::clone(&this.holder);
        // A future may be polled on another thread each time, and only a lane's thread fills its slots: the wish stays
        // where it is until the new attempt has replaced it, also when `resolve` panics; or until there is no other slot.
        let place = holder.place(&want, ThisThread::get()).or_else(|full| {
            holder.withdraw(&mut this.attempt.take().ok_or(full)?);
            holder.place(&want, ThisThread::get())
        })?;
        let mut attempt = Attempt::at(place).in_place_of(this.attempt.as_ref());
        let tried = holder.try_once(&want, &mut attempt, &mut this.resolve);
        if let Ok(Tried::Behind(_, at)) = tried {
            holder.wish(&want, &mut attempt, at);
        }
        if let Some(mut earlier) = this.attempt.take() {
            holder.withdraw(&mut earlier);
        }
        match tried? {
            Tried::Pinned(held, resolved) => Poll::Ready(Ok(Pin::new(holder, held, resolved))),
            Tried::Behind(_, at) => {
                if let Some(pid) = holder.view.dead_owner() {
                    holder.withdraw(&mut attempt);
                    return Poll::Ready(Err(PinError::OwnerDied(pid)));
                }
                this.attempt = Some(attempt);
                let word = WordRef::Cell(Arc::clone(&holder.view), this.layout.cell);
                let registration = this.registration.get_or_insert_with(|| holder.sleeper.registration());
                registration.wake_when_changed(vec![(word, at.futex_value())], None, context.waker());
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Pinning<F> {
    fn drop(&mut self) {
        if let Some(attempt) = &mut self.attempt
            && self.holder.clock.is_of_this_process()
        {
            self.holder.withdraw(attempt);
        }
    }
}
