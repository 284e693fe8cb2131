//! Who takes completions out of the queue: whoever waits. One thread leads, the others sleep until it has news for them,
//! and when it has what it wanted, it wakes one of them to lead on.
//!
//! Stays true  L1: at most one thread leads. It alone takes completions out of the queue.
//!             L2: while nobody leads, and somebody could, no thread sleeps unwoken: who stops leading, and who stops
//!                 waiting, wakes one that sleeps.

use std::sync::Arc;

use super::parker::Parker;
use super::table::{After, Ticket};

/// Who leads, who may, and who sleeps.
pub(crate) struct Lead {
    /// A thread leads.
    pub(crate) taken: bool,
    by: By,
    /// Who sleeps: for a completion, or (`None`) for any change.
    asleep: Vec<(Option<Ticket>, Arc<Parker>)>,
}

enum By {
    /// Whoever waits.
    Waiters,
    /// A thread that does nothing else; where it sleeps until it leads.
    Attendant(Arc<Parker>),
    /// Nobody: completions come in by themselves, or not at all any more.
    Nobody,
}

impl Lead {
    /// Whoever waits leads.
    pub(crate) fn of_waiters() -> Self {
        Self { taken: false, by: By::Waiters, asleep: Vec::new() }
    }

    /// Nobody has to: the engine has a thread that completes.
    pub(crate) fn of_nobody() -> Self {
        Self { taken: false, by: By::Nobody, asleep: Vec::new() }
    }

    /// Whether a thread that waits may lead.
    pub(crate) fn is_free(&self) -> bool {
        !self.taken && matches!(self.by, By::Waiters)
    }

    /// Whether completions are taken in though nobody waits for them.
    pub(crate) fn is_attended(&self) -> bool {
        !matches!(self.by, By::Waiters)
    }

    /// Nobody leads from here on, once who leads now has stopped. Who was to lead, and sleeps, learns of it.
    pub(crate) fn stop(&mut self) {
        if let By::Attendant(attendant) = std::mem::replace(&mut self.by, By::Nobody) {
            attendant.unpark();
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.by, By::Nobody)
    }

    /// Whoever waits leads again.
    pub(crate) fn release(&mut self) {
        if matches!(self.by, By::Attendant(_)) {
            self.by = By::Waiters;
        }
    }

    /// Only this thread leads from here on, or learns that nobody does.
    pub(crate) fn reserve(&mut self, attendant: &Arc<Parker>) {
        if matches!(self.by, By::Waiters) {
            self.by = By::Attendant(Arc::clone(attendant));
        }
        attendant.unpark();
    }

    /// Whether only this thread leads.
    pub(crate) fn is_reserved_for(&self, attendant: &Arc<Parker>) -> bool {
        matches!(&self.by, By::Attendant(other) if Arc::ptr_eq(attendant, other))
    }

    pub(crate) fn sleeps(&mut self, ticket: Option<Ticket>, parker: &Arc<Parker>) {
        self.asleep.push((ticket, Arc::clone(parker)));
    }

    pub(crate) fn woke(&mut self, parker: &Arc<Parker>) {
        self.asleep.retain(|(_, asleep)| !Arc::ptr_eq(asleep, parker));
    }

    /// Wakes who must lead next (L2).
    pub(crate) fn pass_on(&self) {
        match &self.by {
            _ if self.taken => {}
            By::Attendant(parker) => parker.unpark(),
            By::Waiters => self.asleep.first().into_iter().for_each(|(_, parker)| parker.unpark()),
            By::Nobody => self.asleep.iter().for_each(|(_, parker)| parker.unpark()),
        }
    }

    /// Wakes who waits for any change.
    pub(crate) fn tell_watchers(&self, after: &mut After) {
        let watchers = self.asleep.iter().filter(|(ticket, _)| ticket.is_none());
        after.threads.extend(watchers.map(|(_, parker)| Arc::clone(parker)));
    }
}
