//! The table: one entry for each transfer that the device has, or whose completion nobody has taken yet.
//!
//! Stays true  T1: pinned memory is in its entry from before the device is told until its completion was seen. It leaves
//!                 by the completion, or, when the engine ends without one, into quarantine; by nothing else.
//!             T2: a ticket names one transfer. One that has been used names nothing: a second completion changes nothing.
//! Who may     whoever holds the lock around it; see [`Flights`](super::Flights).

use std::sync::{Arc, Weak};
use std::task::Waker;

use pinfold::layout::Holder;
use pinfold::{Access, Label, Pinned, Pool, RegionKind};

use crate::error::{Doing, SubmitError, TransferError, What};

use super::lead::Lead;
use super::parker::Parker;

/// What a device carries with a transfer and gives back with its completion: 48 bits, so that an engine has 16 of a word
/// for itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket {
    index: u32,
    version: u32,
}

impl Ticket {
    /// Bits of each half.
    const HALF: u32 = 24;
    /// The most transfers that a table has.
    const INDEX_MAX: u32 = (1 << Self::HALF) - 1;

    /// The ticket as a number below 2^48.
    pub fn bits(self) -> u64 {
        u64::from(self.version) << Self::HALF | u64::from(self.index)
    }

    /// The ticket that a device gave back. Higher bits than the 48 are ignored.
    pub fn from_bits(bits: u64) -> Self {
        let half = (1 << Self::HALF) - 1;
        Self { index: (bits & half) as u32, version: (bits >> Self::HALF & half) as u32 }
    }
}

/// What a device says at the end: how many bytes moved, counted from the start of the range in order, or an `errno`.
pub type Outcome = Result<u64, i32>;

/// The end of a transfer: the memory is the caller's again, and what became of it.
#[derive(Debug)]
pub struct Completion {
    /// The memory, still pinned. Dropping it unpins.
    pub pinned: Pinned,
    /// How many bytes moved: the first of the range, in order. Fewer than all where the device ended short.
    pub result: Result<u64, TransferError>,
    /// What is said of it where all bytes were wanted.
    short: Option<Box<TransferError>>,
}

impl Completion {
    /// The memory, if every byte of it moved. Otherwise it is unpinned.
    ///
    /// # Errors
    /// What the device said, and [`TransferError::Short`].
    pub fn whole(self) -> Result<Pinned, TransferError> {
        self.result?;
        self.short.map_or(Ok(self.pinned), |short| Err(*short))
    }
}

/// A transfer from the moment it was taken in until its completion was taken. It stays where it is meanwhile.
struct Aboard {
    pinned: Pinned,
    what: What,
    care: Care,
    /// Somebody takes its completion in without the help of the thread that waits for it.
    attended: bool,
    /// What the device said, once it is done.
    outcome: Option<Outcome>,
}

/// Who wants to know of a completion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// An [`InFlight`](super::InFlight).
    Owned,
    /// Nobody; its pins go with it.
    LetGo,
    /// Nobody, and it did not end when it was cancelled: its pins are in quarantine.
    GivenUp,
}

enum State {
    /// The ticket names nothing.
    Free,
    Aboard(Aboard),
    /// The engine ended before the transfer did. Its pins are in quarantine.
    Lost,
}

impl State {
    /// A transfer that the device has.
    fn flying(&mut self) -> Option<&mut Aboard> {
        match self {
            Self::Aboard(aboard) if aboard.outcome.is_none() => Some(aboard),
            _ => None,
        }
    }

    fn is_flying(&self) -> bool {
        matches!(self, Self::Aboard(Aboard { outcome: None, .. }))
    }
}

struct Entry {
    version: u32,
    state: State,
    waiter: Waiter,
}

/// Whom to tell of one completion.
pub(crate) enum Waiter {
    Nobody,
    Thread(Arc<Parker>),
    Task(Waker),
}

/// What the table knows of a pool whose memory has been in it.
struct Known {
    holder: Weak<Holder>,
    /// The engine's name, in that holder's words.
    label: Label,
    device_only: bool,
}

/// What is to be done once the lock is released.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) threads: Vec<Arc<Parker>>,
    tasks: Vec<Waker>,
    unpin: Vec<Pinned>,
}

impl After {
    pub(crate) fn run(self) {
        drop(self.unpin);
        self.threads.iter().for_each(|parker| parker.unpark());
        self.tasks.into_iter().for_each(Waker::wake);
    }

    fn tell(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Nobody => {}
            Waiter::Thread(parker) => self.threads.push(parker),
            Waiter::Task(waker) => self.tasks.push(waker),
        }
    }
}

/// All transfers of one engine.
pub(crate) struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
    known: Vec<Known>,
    /// Parts that the device has.
    pub(crate) parts: usize,
    /// Transfers that the device has.
    pub(crate) flying: usize,
    /// How many of those are given up.
    pub(crate) given_up: usize,
    /// No more come aboard.
    pub(crate) closed: bool,
    pub(crate) lead: Lead,
}

impl Table {
    pub(crate) fn new(lead: Lead) -> Self {
        let (entries, free, known) = Default::default();
        Self { entries, free, known, parts: 0, flying: 0, given_up: 0, closed: false, lead }
    }

    /// Takes pinned memory in, under the engine's name.
    ///
    /// # Errors
    /// With the memory as it was.
    #[inline]
    pub(crate) fn board(
        &mut self,
        mut pinned: Pinned,
        what: What,
        engine: &Arc<str>,
    ) -> Result<Ticket, (SubmitError, Pinned)> {
        let label = match self.check(&pinned, &what, engine) {
            Ok(label) => label,
            Err(error) => return Err((error, pinned)),
        };
        let Some(index) = self.place() else {
            let full = SubmitError::Full { in_flight: self.flying, max: Ticket::INDEX_MAX as usize };
            return Err((full, pinned));
        };
        pinned.relabel(label);
        let attended = self.lead.is_attended();
        match attended {
            true => pinned.hand_over(),
            // Whoever waits takes completions in: that is the running thread, until another waits (G4).
            false => pinned.claim(),
        }
        self.parts += what.parts as usize;
        self.flying += 1;
        let entry = &mut self.entries[index as usize];
        entry.state = State::Aboard(Aboard { pinned, what, care: Care::Owned, attended, outcome: None });
        Ok(Ticket { index, version: entry.version })
    }

    #[inline]
    fn check(&mut self, pinned: &Pinned, what: &What, engine: &Arc<str>) -> Result<Label, SubmitError> {
        if self.closed {
            return Err(SubmitError::ShutDown(Arc::clone(engine)));
        }
        if what.access == Access::Write && pinned.access() != Access::Write {
            return Err(SubmitError::ReadOnly(*what));
        }
        let known = self.known(pinned, engine)?;
        match known.device_only && what.host {
            true => Err(SubmitError::DeviceOnly(*what)),
            false => Ok(known.label),
        }
    }

    /// What is known of the memory's pool. Asking the pool takes locks, so it is asked once.
    #[inline]
    fn known(&mut self, pinned: &Pinned, engine: &Arc<str>) -> Result<&Known, SubmitError> {
        let holder = pinned.holder();
        // A holder that is gone is remembered as long as its place is: no other one is mistaken for it.
        if let Some(index) = self.known.iter().position(|known| known.holder.as_ptr() == Arc::as_ptr(holder)) {
            return Ok(&self.known[index]);
        }
        let label = holder.label(engine, "")?;
        let device_only = pinned.pool().region().kind() == RegionKind::DeviceOnly;
        self.known.retain(|known| known.holder.strong_count() > 0);
        self.known.push(Known { holder: Arc::downgrade(holder), label, device_only });
        Ok(&self.known[self.known.len() - 1])
    }

    /// An entry that is free.
    #[inline]
    fn place(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        // The last index stays unused, so that not every number is a ticket.
        let index = u32::try_from(self.entries.len()).ok().filter(|index| *index < Ticket::INDEX_MAX)?;
        self.entries.push(Entry { version: 0, state: State::Free, waiter: Waiter::Nobody });
        Some(index)
    }

    /// The entry that the ticket names (T2).
    #[inline]
    fn entry(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(ticket.index as usize);
        entry.filter(|entry| entry.version == ticket.version && !matches!(entry.state, State::Free))
    }

    /// Empties an entry; its ticket names nothing from here on.
    #[inline]
    fn vacate(&mut self, ticket: Ticket) -> State {
        let entry = &mut self.entries[ticket.index as usize];
        entry.version = entry.version.wrapping_add(1) & ((1 << Ticket::HALF) - 1);
        entry.waiter = Waiter::Nobody;
        self.free.push(ticket.index);
        std::mem::replace(&mut entry.state, State::Free)
    }

    /// The device is done with a transfer. False if it had no such one.
    #[inline]
    pub(crate) fn complete(&mut self, ticket: Ticket, outcome: Outcome, after: &mut After) -> bool {
        let Some(entry) = self.entry(ticket) else { return false };
        let Some(aboard) = entry.state.flying() else { return false };
        aboard.outcome = Some(outcome);
        if aboard.what.access == Access::Write {
            aboard.pinned.written(outcome.unwrap_or(0));
        }
        let (what, care) = (aboard.what, aboard.care);
        if care == Care::Owned {
            if aboard.attended {
                aboard.pinned.take_back();
            }
            after.tell(std::mem::replace(&mut entry.waiter, Waiter::Nobody));
        } else if let State::Aboard(aboard) = self.vacate(ticket) {
            after.unpin.push(aboard.pinned);
        }
        self.leaves(what, care);
        true
    }

    #[inline]
    fn leaves(&mut self, what: What, care: Care) {
        self.parts -= what.parts as usize;
        self.flying -= 1;
        self.given_up -= usize::from(care == Care::GivenUp);
    }

    /// The completion, if it has come.
    #[inline]
    pub(crate) fn take(&mut self, ticket: Ticket, engine: &Arc<str>) -> Option<Landed> {
        if self.entry(ticket)?.state.is_flying() {
            return None;
        }
        let State::Aboard(Aboard { pinned, what, outcome, .. }) = self.vacate(ticket) else {
            return Some(Landed::Lost);
        };
        let of = || Box::new(Doing { engine: Arc::clone(engine), what });
        let (result, len) = (outcome.unwrap_or(Ok(0)), pinned.len());
        let short = result.ok().filter(|moved| *moved != len);
        let short = short.map(|moved| Box::new(TransferError::Short { of: of(), moved, len }));
        let result = result.map_err(|errno| TransferError::Failed { of: of(), errno });
        Some(Landed::Completion(Completion { pinned, result, short }))
    }

    /// The running thread will take the completion in, unless somebody does in any case.
    pub(super) fn claim(&mut self, ticket: Ticket) {
        if let Some(aboard) =
            self.entry(ticket).and_then(|entry| entry.state.flying()).filter(|aboard| !aboard.attended)
        {
            aboard.pinned.claim();
        }
    }

    /// From here on somebody takes in every completion, whoever waits or does not.
    pub(super) fn attend_all(&mut self) {
        for aboard in self.entries.iter_mut().filter_map(|entry| entry.state.flying()) {
            aboard.pinned.hand_over();
            aboard.attended = true;
        }
    }

    /// Tells `waiter` when the completion comes.
    pub(crate) fn tell(&mut self, ticket: Ticket, waiter: Waiter) {
        if let Some(entry) = self.entry(ticket) {
            entry.waiter = waiter;
        }
    }

    /// Nobody wants the completion of a transfer that flies: its pins go with it.
    pub(crate) fn let_go(&mut self, ticket: Ticket) {
        self.leave_unattended(ticket, Care::LetGo);
    }

    /// The same of one that was cancelled and does not end: its pins are in quarantine until it does.
    pub(crate) fn give_up(&mut self, ticket: Ticket) {
        self.leave_unattended(ticket, Care::GivenUp);
    }

    fn leave_unattended(&mut self, ticket: Ticket, care: Care) {
        let attended = self.lead.is_attended();
        let Some(entry) = self.entry(ticket) else { return };
        let Some(aboard) = entry.state.flying() else { return };
        aboard.care = care;
        match attended {
            true => {
                aboard.attended = true;
                aboard.pinned.hand_over();
            }
            // No thread could be had for it: it stays with the one that leaves it, which would wait for itself (G4).
            false => aboard.pinned.claim(),
        }
        if care == Care::GivenUp {
            aboard.pinned.give_up();
        }
        entry.waiter = Waiter::Nobody;
        self.given_up += usize::from(care == Care::GivenUp);
    }

    /// Every transfer that the device has.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        let flying = self.entries.iter().enumerate().filter(|(_, entry)| entry.state.is_flying());
        flying.map(|(index, entry)| Ticket { index: index as u32, version: entry.version }).collect()
    }

    /// Puts into quarantine what the device still has; in which pools, and how many transfers those are.
    pub(crate) fn abandon(&mut self, after: &mut After) -> (Vec<Pool>, usize) {
        let mut pools: Vec<Pool> = Vec::new();
        let tickets = self.tickets();
        for ticket in &tickets {
            let Some(entry) = self.entry(*ticket) else { continue };
            let State::Aboard(aboard) = std::mem::replace(&mut entry.state, State::Lost) else { continue };
            after.tell(std::mem::replace(&mut entry.waiter, Waiter::Nobody));
            if aboard.care != Care::Owned {
                self.vacate(*ticket);
            }
            self.leaves(aboard.what, aboard.care);
            if !pools.iter().any(|pool| Arc::ptr_eq(pool.holder(), aboard.pinned.holder())) {
                pools.push(aboard.pinned.pool());
            }
            aboard.pinned.abandon();
        }
        (pools, tickets.len())
    }
}

/// How a transfer ended for its owner.
pub(crate) enum Landed {
    Completion(Completion),
    Lost,
}
