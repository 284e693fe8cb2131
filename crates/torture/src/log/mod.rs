//! The stamp log: who wrote what into which sectors of a file, and so what each of them may hold.
//!
//! Every call is noted before it is made and after it returned, every completion when it is seen and before its pin
//! goes. Where the order of two things follows from that, exactly one outcome is allowed; where it does not, either.
//!
//! Stays true  L1: a word is legal in a sector only if it was written there by a write that may have come last, or moved
//!                 there with its block. So a foreign stamp, a stale one, and zeros over what was written are faults.
//!             L2: what is seen is judged after every operation that ran meanwhile has returned, so that both its
//!                 outcomes are known.
//!             L3: times are of one file and unique: two things of a file are in the order in which they took its lock.
//! Lock order  a file's log is locked for a moment, under nothing; two of them in the order of their numbers.
//! Who calls   the load's threads before and after their calls, and the device's threads at completions.

mod change;
mod history;
mod legal;
mod operations;
mod visit;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, Mutex};

pub(crate) use change::Change;

use history::{Event, History};
use legal::{IN_FLIGHT, Legal, Time};
use operations::Operation;
pub(crate) use operations::{Ended, HeldBack, Promise};
pub(crate) use visit::Ticket;
use visit::{Met, Role, Sight, Visit};

use crate::findings::{Findings, ViolationKind};
use crate::lock::lock;
use crate::sectors::{BLOCK, FILE_SECTORS, SECTOR, Sectors};
use crate::stamp::{Id, Writer};

/// What is known of one file, from its making to its end.
pub(crate) struct FileLog {
    pub(crate) id: Id,
    findings: Arc<Findings>,
    state: Mutex<State>,
}

struct State {
    clock: Time,
    /// Bytes.
    len: u64,
    contents: Vec<Legal>,
    visits: Vec<Visit>,
    operations: Vec<Operation>,
    history: History,
}

/// Why a visit that was refused may have been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excuse {
    /// A break of its range ran.
    pub(crate) a_break: bool,
    /// It reached past the end of the file, or the file's length may have changed.
    pub(crate) the_length: bool,
}

impl FileLog {
    /// A file of `len` bytes that nobody wrote.
    pub(crate) fn new(id: Id, len: u64, findings: &Arc<Findings>) -> Arc<Self> {
        let contents = vec![Legal::zeros(); FILE_SECTORS];
        let (visits, operations, history) = Default::default();
        let state = State { clock: 0, len, contents, visits, operations, history };
        Arc::new(Self { id, findings: Arc::clone(findings), state: Mutex::new(state) })
    }

    /// Bytes, as of the last operation that returned.
    pub(crate) fn len(&self) -> u64 {
        lock(&self.state).len
    }

    /// A pin is about to be asked for, for a device that writes.
    pub(crate) fn call_write(&self, sectors: Sectors, generation: u8) -> Ticket {
        lock(&self.state).call(self, Writer::Device, sectors, Role::Writes { generation })
    }

    /// A pin is about to be asked for, for a device that reads.
    pub(crate) fn call_read(&self, sectors: Sectors) -> Ticket {
        let mut state = lock(&self.state);
        let sight = state.sight(sectors);
        state.call(self, Writer::Device, sectors, sight)
    }

    /// What might explain that a visit is refused.
    pub(crate) fn excuse(&self, ticket: Ticket) -> Excuse {
        let Met { operation, length, end, .. } = lock(&self.state).visit(ticket).met;
        Excuse { a_break: operation.is_some(), the_length: length || end }
    }

    /// There will be no pin. What might explain it.
    pub(crate) fn refused(&self, ticket: Ticket) -> Excuse {
        let excuse = self.excuse(ticket);
        lock(&self.state).note(ticket, "was refused");
        lock(&self.state).visits.retain(|visit| visit.called != ticket.0);
        excuse
    }

    /// Nothing will be moved, but there may be a pin all the same, until the visit is gone.
    pub(crate) fn given_up(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        let visit = state.visit(ticket);
        visit.attached = Sectors::NONE;
        if let Role::Sees(sight) = &mut visit.role {
            sight.bytes = Some(Vec::new());
        }
    }

    /// The pin was given.
    pub(crate) fn entered(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        let now = state.tick();
        state.visit(ticket).entered = Some(now);
        state.show(ticket);
        state.note(ticket, "is in");
    }

    /// The device has the transfer.
    pub(crate) fn submitted(&self, ticket: Ticket) {
        // It may have ended already, and been forgotten.
        let mut state = lock(&self.state);
        let visit = state.visits.iter_mut().find(|visit| visit.called == ticket.0);
        visit.into_iter().for_each(|visit| visit.is_submitted = true);
    }

    /// The completion was seen. The pin is still there.
    pub(crate) fn completed(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        state.ended(ticket);
        state.note(ticket, "has ended");
    }

    /// The pin is gone.
    pub(crate) fn gone(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        state.visit(ticket).is_gone = true;
        state.judge(self);
    }

    /// What a device read has arrived: one word for each eight bytes of the visit.
    pub(crate) fn arrived(&self, ticket: Ticket, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        state.saw(ticket, bytes);
        state.judge(self);
    }

    /// A copy into the file is about to be called. `None` while an operation runs that may change the file's length.
    pub(crate) fn copy_in_begins(&self, sectors: Sectors, generation: u8) -> Option<Ticket> {
        let mut state = lock(&self.state);
        if state.operations.iter().any(|operation| !operation.scope.is_shared) {
            return None;
        }
        let ticket = state.call(self, Writer::Host, sectors, Role::Writes { generation });
        state.visit(ticket).entered = Some(ticket.0);
        state.show(ticket);
        Some(ticket)
    }

    /// Blocks are about to be set aside. `None` as for a copy into the file.
    pub(crate) fn allocation_begins(&self, sectors: Sectors) -> Option<Ticket> {
        let mut state = lock(&self.state);
        let alone = state.operations.iter().any(|operation| !operation.scope.is_shared);
        (!alone).then(|| state.call(self, Writer::Host, sectors, Role::Touches))
    }

    /// An allocation has returned.
    pub(crate) fn allocation_ends(&self, ticket: Ticket) {
        lock(&self.state).visits.retain(|visit| visit.called != ticket.0);
    }

    /// A copy into the file has returned. It wrote the first `done` bytes, and nothing else.
    pub(crate) fn copy_in_ends(&self, ticket: Ticket, done: u64) {
        let mut state = lock(&self.state);
        state.unwrite_from(ticket, done);
        state.ended(ticket);
        state.note(ticket, if done > 0 { "has returned" } else { "was refused" });
        state.visit(ticket).is_gone = true;
        state.judge(self);
    }

    /// A copy out of the file is about to be called.
    pub(crate) fn copy_out_begins(&self, sectors: Sectors) -> Ticket {
        let mut state = lock(&self.state);
        let sight = state.sight(sectors);
        let ticket = state.call(self, Writer::Host, sectors, sight);
        state.visit(ticket).entered = Some(ticket.0);
        ticket
    }

    /// A copy out of the file has returned, with these bytes: fewer than asked for at the end of the file.
    pub(crate) fn copy_out_ends(&self, ticket: Ticket, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        state.ended(ticket);
        state.note(ticket, "has returned");
        state.check_end(self, ticket, bytes.len() as u64);
        state.saw(ticket, bytes);
        state.visit(ticket).is_gone = true;
        state.judge(self);
    }

    /// Whether the visit that was just refused proves that a break has begun which cannot end yet: the one operation that
    /// it met waits for a transfer that is in flight.
    pub(crate) fn is_kept_out_by(&self, ticket: Ticket) -> Option<HeldBack> {
        let mut state = lock(&self.state);
        let Visit { met: Met { operation, several, .. }, called, .. } = *state.visit(ticket);
        let operation = state.operations.iter().find(|other| Some(other.began) == operation)?;
        let proves = !several && operation.began < called && operation.promise.stays && state.is_held_back(operation);
        proves.then_some(HeldBack(operation.began))
    }

    /// Bytes of the file that an operation breaks which cannot be made yet, nor give up.
    pub(crate) fn waited_for(&self) -> Option<Range<u64>> {
        let state = lock(&self.state);
        let mut operations = state.operations.iter().filter(|operation| operation.promise.stays);
        let Operation { scope, .. } = operations.find(|operation| state.is_held_back(operation))?;
        let within = scope.breaks & Sectors::of(0..state.len);
        let first = within.iter().next()? as u64 * SECTOR;
        Some(first..(first + BLOCK).min(state.len))
    }

    /// Whether an operation has begun that waits for this transfer.
    pub(crate) fn holds_back_another(&self, ticket: Ticket) -> bool {
        let state = lock(&self.state);
        let Some(visit) = state.visits.iter().find(|visit| visit.called == ticket.0) else { return false };
        state.operations.iter().any(|operation| {
            operation.promise.waits && visit.was_before(operation) && visit.is_in_the_way_of(operation.scope.breaks)
        })
    }

    /// After a visit got in: a violation if that break has not ended (G3).
    pub(crate) fn got_in_past(&self, ticket: Ticket, held_back: HeldBack) {
        let mut state = lock(&self.state);
        let sectors = state.visit(ticket).sectors;
        let still = state.operations.iter().find(|other| other.began == held_back.0);
        if let Some(operation) = still.filter(|operation| state.is_held_back(operation)) {
            let (id, breaks) = (self.id.number(), operation.scope.breaks);
            let what = format!("file {id}: a device got into {sectors:?} past an operation that waits for {breaks:?}");
            self.findings.add(ViolationKind::NotKeptOut, what);
        }
    }
}

impl State {
    fn tick(&mut self) -> Time {
        self.clock += 1;
        self.clock
    }

    fn visit(&mut self, ticket: Ticket) -> &mut Visit {
        let found = self.visits.iter_mut().find(|visit| visit.called == ticket.0);
        found.expect("a visit is known until it is gone, and judged if it reads")
    }

    fn note(&mut self, ticket: Ticket, what: &'static str) {
        let at = self.clock;
        let visit = self.visit(ticket);
        let generation = match visit.role {
            Role::Writes { generation } => Some(generation),
            Role::Sees(_) | Role::Touches => None,
        };
        let (of, sectors) = (visit.called, visit.sectors);
        self.history.note(Event { at, of, what, sectors, moves: false, generation });
    }

    fn call(&mut self, log: &FileLog, by: Writer, sectors: Sectors, role: Role) -> Ticket {
        let called = self.tick();
        let mut visit = Visit::new(called, by, log.id.number(), sectors, role);
        visit.met.end = sectors.meets(!Sectors::of(0..self.len));
        for operation in &mut self.operations {
            visit.met.length |= !operation.scope.is_shared;
            if operation.scope.breaks.meets(sectors) {
                visit.met.note(operation.began);
                operation.meet();
            }
        }
        let what = match (by, &visit.role) {
            (Writer::Device, Role::Writes { .. }) => "a device that writes is called",
            (Writer::Device, _) => "a device that reads is called",
            (Writer::Host, Role::Writes { .. }) => "a copy in is called",
            (Writer::Host, Role::Sees(_)) => "a copy out is called",
            (Writer::Host, Role::Touches) => "an allocation is called",
        };
        self.visits.push(visit);
        self.note(Ticket(called), what);
        Ticket(called)
    }

    /// What may be seen now.
    fn sight(&self, sectors: Sectors) -> Role {
        Role::Sees(Sight::of(sectors.iter().map(|sector| self.contents[sector].clone()).collect()))
    }

    /// From now on its words may be there.
    fn show(&mut self, ticket: Ticket) {
        let words: Vec<_> = self.visit(ticket).words().collect();
        for (sector, word) in words {
            self.contents[sector].add(word, IN_FLIGHT);
            let others = self.visits.iter_mut().filter(|other| other.ended.is_none());
            others.for_each(|other| other.may_see(sector, &Legal::only(word), ticket.0));
        }
    }

    /// From now on its words are there.
    fn ended(&mut self, ticket: Ticket) {
        let now = self.tick();
        let Self { visits, operations, contents, .. } = self;
        let visit = visits.iter_mut().find(|visit| visit.called == ticket.0).expect("only what was called ends");
        let uncertain = operations.iter().map(|operation| match visit.was_before(operation) {
            false => operation.scope.reaches(),
            // It is made while the visit is in, or after it.
            true if !operation.promise.waits => operation.scope.breaks,
            true => Sectors::NONE,
        });
        visit.certain = visit.certain - uncertain.fold(Sectors::NONE, |all, more| all | more);
        visit.ended = Some(now);
        for (sector, word) in visit.words() {
            match visit.entered.filter(|_| visit.certain.has(sector)) {
                Some(since) => contents[sector].settle(word, since, now),
                None => contents[sector].end(word, now),
            }
        }
    }

    /// It wrote `done` bytes, and no more. Of a sector of which it wrote a part, that may be there or not.
    fn unwrite_from(&mut self, ticket: Ticket, done: u64) {
        let Some(first) = self.visit(ticket).sectors.iter().next() else { return };
        let end = first as u64 * SECTOR + done;
        let (begun, whole) = (Sectors::of(0..end.next_multiple_of(SECTOR)), Sectors::of(0..end / SECTOR * SECTOR));
        let words: Vec<_> = self.visit(ticket).words().filter(|(sector, _)| !begun.has(*sector)).collect();
        words.into_iter().for_each(|(sector, word)| self.contents[sector].remove(word));
        let visit = self.visit(ticket);
        visit.sectors = visit.sectors & begun;
        visit.certain = visit.certain & whole;
    }

    fn saw(&mut self, ticket: Ticket, bytes: Vec<u8>) {
        if let Role::Sees(sight) = &mut self.visit(ticket).role {
            sight.bytes = Some(bytes);
        }
    }

    /// A copy is short only where the file ends.
    fn check_end(&mut self, log: &FileLog, ticket: Ticket, got: u64) {
        let len = self.len;
        let visit = self.visit(ticket);
        let first = visit.sectors.iter().next().unwrap_or(0) as u64 * SECTOR;
        let asked = visit.sectors.iter().count() as u64 * SECTOR;
        let there = asked.min(len.saturating_sub(first));
        if !visit.met.length && got != there {
            let what = format!("file {}: {got} bytes at {first}, and {there} are there", log.id.number());
            log.findings.add(ViolationKind::Corruption, what);
        }
    }

    /// Forgets who is gone and who no operation that runs can still concern; what those who read saw is judged (L2).
    fn judge(&mut self, log: &FileLog) {
        let oldest = self.operations.iter().map(|operation| operation.began).min().unwrap_or(Time::MAX);
        let history = &self.history;
        self.visits.retain(|visit| {
            let is_over = visit.is_gone && visit.ended.is_none_or(|ended| ended < oldest);
            match &visit.role {
                Role::Writes { .. } | Role::Touches => !is_over,
                Role::Sees(sight) if is_over && sight.bytes.is_some() => {
                    log.check(visit, sight, history);
                    false
                }
                Role::Sees(_) => true,
            }
        });
    }
}

impl FileLog {
    fn check(&self, visit: &Visit, sight: &Sight, history: &History) {
        self.findings.checked(sight.sectors());
        let Some(fault) = sight.faults() else { return };
        let first = visit.sectors.iter().next().unwrap_or(0);
        let (id, offset) = (self.id.number(), (first + fault.index) as u64 * SECTOR);
        let by = if visit.is_device() { "a device read" } else { "a copy found" };
        let more = match fault.more {
            0 => String::new(),
            more => format!(" (and {more} more sectors like it)"),
        };
        let what = format!("file {id} offset {offset}: {by} {}; it may hold {}{more}", fault.found, fault.legal);
        self.findings.add_with(ViolationKind::Corruption, what, history.of(first + fault.index));
    }
}
