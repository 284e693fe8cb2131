//! One transfer on its way, in the hand of who submitted it.
//!
//! Stays true  I1: while this lives and the completion was not taken, the ticket is its own.
//!             I2: dropping it never unpins what the device has: it cancels, waits, and leaves the rest in quarantine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pinfold::Until;

use crate::error::WaitError;

use super::table::{Completion, Landed, Table, Ticket, Waiter};
use super::{Driver, Ended};

/// A transfer that a device has. Ask it for its completion in one of four forms: [`wait`](InFlight::wait),
/// [`until`](InFlight::until), [`try_now`](InFlight::try_now), or as a future of no particular runtime.
///
/// Whoever waits takes in the completions of all transfers of the engine. So a thread that submits, and then blocks in a
/// truncate of the very range, would wait for itself, and is told so (`EDEADLK`), unless another thread waits for the
/// transfer, or the engine has a thread of its own.
///
/// Dropping it cancels the transfer and waits until it has ended, but no longer than the engine's patience: then its pins
/// stay, in quarantine, until it does end or the engine proves that it cannot any more (G8).
#[must_use = "dropping a transfer cancels it"]
pub struct InFlight {
    driver: Arc<dyn Driver>,
    ticket: Ticket,
    taken: bool,
}

impl InFlight {
    /// For an engine, once its device has the ticket. Make one for each ticket.
    #[inline]
    pub fn new(driver: Arc<dyn Driver>, ticket: Ticket) -> Self {
        Self { driver, ticket, taken: false }
    }

    /// What the device knows it by.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`WaitError::Abandoned`] if the engine ended first, and could not end it.
    #[inline]
    pub fn wait(mut self) -> Result<Completion, WaitError> {
        self.until(Until::done())
    }

    /// Waits as long as `until` says.
    ///
    /// # Errors
    /// As [`InFlight::wait`], and `ETIMEDOUT`, `EINTR`: the transfer goes on, and can be waited for again.
    #[inline]
    pub fn until(&mut self, until: Until) -> Result<Completion, WaitError> {
        if self.taken {
            return Err(WaitError::Taken);
        }
        let flights = self.driver.flights();
        let landed =
            flights.wait(&*self.driver, until, Some(self.ticket), |table| table.take(self.ticket, flights.name()));
        match landed {
            Ok(landed) => self.landed(landed),
            Err(Ended::TimedOut) => Err(WaitError::TimedOut),
            Err(Ended::Interrupted) => Err(WaitError::Interrupted),
            Err(Ended::Forked) => Err(WaitError::Forked),
        }
    }

    /// Only looks: the completion, if it has come.
    ///
    /// # Errors
    /// As [`InFlight::wait`].
    #[inline]
    pub fn try_now(&mut self) -> Result<Option<Completion>, WaitError> {
        if self.taken {
            return Err(WaitError::Taken);
        }
        if !self.driver.flights().is_of_this_process() {
            return Err(WaitError::Forked);
        }
        let mut landed = self.take();
        if landed.is_none() {
            self.driver.flights().take_in(&*self.driver);
            landed = self.take();
        }
        landed.map(|landed| self.landed(landed)).transpose()
    }

    #[inline]
    fn take(&self) -> Option<Landed> {
        let flights = self.driver.flights();
        flights.lock().take(self.ticket, flights.name())
    }

    /// Asks the device to end it early. It has ended when its completion comes, with `ECANCELED` if that was in time.
    pub fn cancel(&self) {
        if !self.taken && self.driver.flights().is_of_this_process() {
            self.driver.cancel(self.ticket);
        }
    }

    /// Lets the transfer go on alone. Its pins leave with its completion, which nobody sees. The engine starts a thread for
    /// that, unless it has one; where none can be had, they leave when somebody waits for another transfer of the engine.
    pub fn let_go(mut self) {
        let flights = self.driver.flights();
        if self.taken || !flights.is_of_this_process() {
            return;
        }
        self.taken = true;
        let landed = self.leave(Table::let_go);
        // Unpins, with the table unlocked.
        drop(landed);
    }

    /// Takes the completion, or leaves the transfer in the table without an owner.
    fn leave(&self, leave: impl FnOnce(&mut Table, Ticket)) -> Option<Landed> {
        if let Some(landed) = self.take() {
            return Some(landed);
        }
        // Where no thread can be had, the next one that waits for anything takes the completion in.
        let _ = self.driver.attend();
        let flights = self.driver.flights();
        let mut table = flights.lock();
        let landed = table.take(self.ticket, flights.name());
        if landed.is_none() {
            leave(&mut table, self.ticket);
        }
        landed
    }

    #[inline]
    fn landed(&mut self, landed: Landed) -> Result<Completion, WaitError> {
        self.taken = true;
        match landed {
            Landed::Completion(completion) => Ok(completion),
            Landed::Lost => Err(WaitError::Abandoned(Arc::clone(self.driver.flights().name()))),
        }
    }
}

impl Future for InFlight {
    type Output = Result<Completion, WaitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.try_now() {
            Ok(None) => {}
            Ok(Some(completion)) => return Poll::Ready(Ok(completion)),
            Err(error) => return Poll::Ready(Err(error)),
        }
        if let Err(error) = this.driver.attend() {
            return Poll::Ready(Err(WaitError::NoThread(error)));
        }
        let flights = this.driver.flights();
        let mut table = flights.lock();
        let landed = table.take(this.ticket, flights.name());
        if landed.is_none() {
            table.tell(this.ticket, Waiter::Task(context.waker().clone()));
        }
        drop(table);
        landed.map_or(Poll::Pending, |landed| Poll::Ready(this.landed(landed)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let flights = self.driver.flights();
        if self.taken || !flights.is_of_this_process() {
            return;
        }
        if let Ok(Some(_)) = self.try_now() {
            return;
        }
        let flights = self.driver.flights();
        self.driver.cancel(self.ticket);
        let patience = Until::after(flights.patience);
        if flights
            .wait(&*self.driver, patience, Some(self.ticket), |table| table.take(self.ticket, flights.name()))
            .is_ok()
        {
            return;
        }
        if self.leave(Table::give_up).is_none() {
            tell_given_up(flights.name());
        }
    }
}

#[cfg(feature = "tracing")]
fn tell_given_up(engine: &str) {
    tracing::warn!(engine, "a transfer did not end when it was cancelled: its pins are in quarantine");
}

#[cfg(not(feature = "tracing"))]
fn tell_given_up(_engine: &str) {}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engine = self.driver.flights().name();
        f.debug_struct("InFlight").field("engine", engine).field("ticket", &self.ticket).finish()
    }
}
