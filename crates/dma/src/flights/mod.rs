//! The transfers that an engine has in flight, and who waits for them: the half of an engine that all engines share.
//!
//! An engine takes pinned memory in with [`Flights::board`], tells its device the [`Ticket`], and says with
//! [`Flights::complete`] what the device gave back. Waiting, deadlines, futures, cancelling, giving up, late and double
//! completions are done here.
//!
//! Stays true  T1, T2 (see [`table`]), L1, L2 (see [`lead`]).
//! Who may     any thread. No lock is held while a thread sleeps, unpins or wakes others.
//! Lock order  under the table's lock nothing is locked but what the iterator of [`Flights::complete_all`] locks.
//! After fork  a child's handles do nothing.

mod in_flight;
mod lead;
mod parker;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinfold::{Pinned, Pool, Until};

use crate::error::{Refused, SubmitError, What};
use crate::process::Process;

pub use in_flight::InFlight;
use lead::Lead;
pub(crate) use parker::{Parker, Woke, timespec};
pub(crate) use table::After;
use table::Table;
pub use table::{Completion, Outcome, Ticket};

/// How long a transfer that is dropped is waited for after it was cancelled, unless the engine is told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The transfers that one engine has in flight.
pub struct Flights {
    name: Arc<str>,
    patience: Duration,
    parts_max: usize,
    process: Process,
    table: Mutex<Table>,
}

/// What [`InFlight`] asks of its engine.
pub trait Driver: Send + Sync {
    /// The engine's transfers.
    fn flights(&self) -> &Flights;

    /// Asks the device to end a transfer early. Its completion still comes, now or later, or never.
    fn cancel(&self, ticket: Ticket);

    /// Takes in completions that have come, for [`Flights::complete`]. If there are none, sleeps as `sleep` says until one
    /// comes, or until [`Driver::interrupt`]; without `sleep` it only looks. Called by one thread at a time, and only for
    /// engines that were made with [`Flights::driven`].
    fn drive(&self, _sleep: Option<Until>) -> Drove {
        Drove::Look
    }

    /// Ends a [`Driver::drive`] that sleeps.
    fn interrupt(&self) {}

    /// Sees to it that completions are taken in though no thread waits. Called when a future is polled, and before a
    /// transfer is left to itself. Where it fails, nothing has changed.
    ///
    /// # Errors
    /// What the system says when no thread can be started.
    fn attend(&self) -> io::Result<()> {
        Ok(())
    }
}

/// How a [`Driver::drive`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drove {
    /// Something came, or nothing: look.
    Look,
    /// The deadline passed.
    TimedOut,
    /// A signal came.
    Interrupted,
}

impl From<Woke> for Drove {
    fn from(woke: Woke) -> Self {
        match woke {
            Woke::Look => Self::Look,
            Woke::TimedOut => Self::TimedOut,
            Woke::Interrupted => Self::Interrupted,
        }
    }
}

/// Making one, for an engine.
impl Flights {
    /// For an engine whose completions are taken out of a queue by whoever waits ([`Driver::drive`]). At most `parts_max`
    /// parts are in flight.
    ///
    /// `name` goes into the pins' labels, and the engine's proof of quiescence speaks for it, so it must be no other
    /// queue's, now or later.
    ///
    /// # Errors
    /// What the system says when there is no memory.
    pub fn driven(name: &str, parts_max: usize, patience: Duration) -> io::Result<Self> {
        Self::new(name, parts_max, patience, Lead::of_waiters())
    }

    /// For an engine that has a thread of its own, or an interrupt, which calls [`Flights::complete`].
    ///
    /// # Errors
    /// As [`Flights::driven`].
    pub fn attended(name: &str, parts_max: usize, patience: Duration) -> io::Result<Self> {
        Self::new(name, parts_max, patience, Lead::of_nobody())
    }

    fn new(name: &str, parts_max: usize, patience: Duration, lead: Lead) -> io::Result<Self> {
        let (process, table) = (Process::this()?, Mutex::new(Table::new(lead)));
        Ok(Self { name: name.into(), patience, parts_max, process, table })
    }
}

/// Taking transfers in, and giving them back.
impl Flights {
    /// Takes pinned memory in, under the engine's name. The device may be told from here on, and must be told the ticket.
    ///
    /// # Errors
    /// [`SubmitError`]: the memory comes back as it was. [`SubmitError::Full`] where [`Flights::wait_for_room`] helps.
    #[inline]
    pub fn board(&self, pinned: Pinned, what: What) -> Result<Ticket, Box<Refused>> {
        let refused = |(error, pinned)| Box::new(Refused { error, request: (), pinned });
        if !self.process.is_current() {
            return Err(refused((SubmitError::Forked, pinned)));
        }
        let mut table = self.lock();
        if table.parts > 0 && table.parts + what.parts as usize > self.parts_max && !table.closed {
            let full = SubmitError::Full { in_flight: table.parts, max: self.parts_max };
            return Err(refused((full, pinned)));
        }
        table.board(pinned, what, &self.name).map_err(refused)
    }

    /// Sleeps, or takes completions in, until `parts` more find a place.
    pub fn wait_for_room(&self, driver: &dyn Driver, parts: u32) {
        let has_room =
            |table: &mut Table| table.closed || table.parts == 0 || table.parts + parts as usize <= self.parts_max;
        let ready = |table: &mut Table| has_room(table).then_some(());
        // Without a deadline it ends in no other way; in a child, `board` says so.
        let _ = self.wait(driver, Until::done(), None, ready);
    }

    /// Says that the device is done with a transfer, and does not touch its memory any more. False if it had no such one:
    /// what completed before, or was never submitted, is not touched.
    pub fn complete(&self, ticket: Ticket, outcome: Outcome) -> bool {
        self.complete_all([(ticket, outcome)]) == 1
    }

    /// The same of several; how many there were. The iterator runs under a lock: it must not call the engine.
    #[inline]
    pub fn complete_all(&self, outcomes: impl IntoIterator<Item = (Ticket, Outcome)>) -> usize {
        if !self.process.is_current() {
            return 0;
        }
        let mut after = After::default();
        let mut table = self.lock();
        let mut count = 0;
        for (ticket, outcome) in outcomes {
            count += usize::from(table.complete(ticket, outcome, &mut after));
        }
        if count > 0 {
            table.lead.tell_watchers(&mut after);
        }
        drop(table);
        after.run();
        count
    }
}

/// What there is.
impl Flights {
    /// The engine's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many transfers the device has.
    pub fn in_flight(&self) -> usize {
        self.count(|table| table.flying)
    }

    /// How many of those were given up: nobody waits for them, and their pins are in quarantine until they end.
    pub fn given_up(&self) -> usize {
        self.count(|table| table.given_up)
    }

    fn count(&self, of: impl FnOnce(&Table) -> usize) -> usize {
        // A child may have inherited the lock while somebody held it.
        if self.process.is_current() { of(&self.lock()) } else { 0 }
    }

    /// How long a transfer that is dropped is waited for.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the caller is in the process that made the engine.
    pub fn is_of_this_process(&self) -> bool {
        self.process.is_current()
    }
}

/// Ending an engine, in this order.
impl Flights {
    /// Takes in no more; what the device has is to be cancelled.
    pub fn close(&self) -> Vec<Ticket> {
        if !self.process.is_current() {
            return Vec::new();
        }
        let mut table = self.lock();
        table.closed = true;
        let mut after = After::default();
        table.lead.tell_watchers(&mut after);
        let tickets = table.tickets();
        drop(table);
        after.run();
        tickets
    }

    /// Waits until the device has nothing more; false if it still had something when the time was up.
    pub fn wait_until_idle(&self, driver: &dyn Driver, until: Until) -> bool {
        self.wait(driver, until, None, |table| (table.flying == 0).then_some(())).is_ok()
    }

    /// Waits until no thread is in [`Driver::drive`]; none gets in from here on.
    pub fn stop_driving(&self, driver: &dyn Driver) {
        if !self.process.is_current() {
            return;
        }
        self.lock().lead.stop();
        driver.interrupt();
        let _ = self.wait(driver, Until::done(), None, |table| (!table.lead.taken).then_some(()));
    }

    /// Puts what the device still has into quarantine; in which pools, and how many transfers those are. Their completions
    /// change nothing any more: only the engine's proof releases them.
    pub fn abandon(&self) -> (Vec<Pool>, usize) {
        if !self.process.is_current() {
            return Default::default();
        }
        let mut after = After::default();
        let abandoned = self.lock().abandon(&mut after);
        after.run();
        abandoned
    }
}

/// Why a thread waits no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    TimedOut,
    Interrupted,
    Forked,
}

impl Flights {
    /// Its state is sound at every point where a thread could panic.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` finds what it looks for, leading where nobody does. `ticket` names the transfer that it looks
    /// for, if it is one.
    #[inline]
    fn wait<T>(
        &self,
        driver: &dyn Driver,
        until: Until,
        ticket: Option<Ticket>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
    ) -> Result<T, Ended> {
        if !self.process.is_current() {
            return Err(Ended::Forked);
        }
        let mut table = self.lock();
        let mut ended = None;
        loop {
            // Looked at before giving up, so that what came with the deadline is not missed.
            if let Some(found) = ready(&mut table) {
                table.lead.pass_on();
                return Ok(found);
            }
            if let Some(ended) = ended {
                table.lead.pass_on();
                return Err(ended);
            }
            if let Some(ticket) = ticket {
                table.claim(ticket);
            }
            let drove;
            (table, drove) = match table.lead.is_free() {
                true => self.lead(table, driver, Some(until)),
                false => self.sleep(table, until, ticket),
            };
            ended = match drove {
                Drove::Look => None,
                Drove::TimedOut => Some(Ended::TimedOut),
                Drove::Interrupted => Some(Ended::Interrupted).filter(|_| until.is_interruptible()),
            };
        }
    }

    /// Takes completions that have come, if nobody else does.
    #[inline]
    pub fn take_in(&self, driver: &dyn Driver) {
        let table = self.lock();
        if table.lead.is_free() {
            self.lead(table, driver, None).0.lead.pass_on();
        }
    }

    fn lead<'t>(
        &'t self,
        mut table: MutexGuard<'t, Table>,
        driver: &dyn Driver,
        sleep: Option<Until>,
    ) -> (MutexGuard<'t, Table>, Drove) {
        table.lead.taken = true;
        drop(table);
        let drove = driver.drive(sleep);
        let mut table = self.lock();
        table.lead.taken = false;
        if !table.lead.is_free() {
            // Somebody else is to lead from here on: this thread may go to sleep (L2).
            table.lead.pass_on();
        }
        (table, drove)
    }

    fn sleep<'t>(
        &'t self,
        mut table: MutexGuard<'t, Table>,
        until: Until,
        ticket: Option<Ticket>,
    ) -> (MutexGuard<'t, Table>, Drove) {
        let parker = Parker::prepare();
        table.lead.sleeps(ticket, &parker);
        if let Some(ticket) = ticket {
            table.tell(ticket, table::Waiter::Thread(Arc::clone(&parker)));
        }
        drop(table);
        let woke = parker.park(until);
        let mut table = self.lock();
        table.lead.woke(&parker);
        (table, woke.into())
    }

    /// Keeps the lead for a thread of the engine, which is in [`Flights::attend`] or about to be. From here on every
    /// completion is taken in, whoever waits or does not. True if a thread leads that has to be interrupted for it.
    #[must_use]
    pub(crate) fn reserve_lead(&self, attendant: &Arc<Parker>) -> bool {
        let mut table = self.lock();
        table.lead.reserve(attendant);
        table.attend_all();
        table.lead.taken
    }

    /// Whoever waits leads from here on; the thread that was to is back from [`Flights::attend`] soon.
    pub(crate) fn release_lead(&self) {
        let mut table = self.lock();
        table.lead.release();
        table.lead.pass_on();
    }

    /// Leads, from when the lead is reserved for this thread until it is not any more: for the thread of an engine that
    /// serves futures, and what nobody waits for.
    pub(crate) fn attend(&self, driver: &dyn Driver, me: &Arc<Parker>) {
        if !self.take_lead_for_good(me) {
            return;
        }
        while self.lock().lead.is_reserved_for(me) {
            driver.drive(Some(Until::done()));
        }
        let mut table = self.lock();
        table.lead.taken = false;
        table.lead.pass_on();
    }

    /// Takes the lead, once it is reserved for this thread and the one that has it has left it. False if there is none any
    /// more.
    fn take_lead_for_good(&self, me: &Arc<Parker>) -> bool {
        loop {
            me.forget_news();
            let mut table = self.lock();
            if table.lead.is_stopped() {
                return false;
            }
            if !table.lead.taken && table.lead.is_reserved_for(me) {
                table.lead.taken = true;
                return true;
            }
            drop(table);
            me.park(Until::done());
        }
    }
}
