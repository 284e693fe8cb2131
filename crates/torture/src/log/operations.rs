//! Operations in the log: who was in when one began, who came while it ran, and what is true once it has returned.
//!
//! Nobody sees when between its call and its return an operation is made. Who was in before the call was before it, who
//! is called after the return comes after it, and of everybody else both is allowed.

use std::ops::Range;

use super::change::{Change, Scope};
use super::history::Event;
use super::legal::{Legal, Time};
use super::visit::{Role, Visit};
use super::{FileLog, State};
use crate::findings::ViolationKind;
use crate::lock::lock;
use crate::sectors::{FILE_BYTES, SECTOR, Sectors};

/// One that runs.
pub(super) struct Operation {
    pub(super) began: Time,
    pub(super) scope: Scope,
    pub(super) promise: Promise,
    /// Whether anybody else was in its range, or came there.
    met_somebody: bool,
}

/// What an operation promises to those in its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Promise {
    /// It waits for the transfers that are in.
    pub(crate) waits: bool,
    /// It does not give up: nobody gets in before it is made.
    pub(crate) stays: bool,
}

impl Promise {
    /// Where nobody can be in the way.
    pub(crate) const NONE: Self = Self { waits: false, stays: false };
}

impl Operation {
    pub(super) fn meet(&mut self) {
        self.met_somebody = true;
    }
}

/// An operation that is about to be made.
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation that began has to be ended"]
pub(crate) struct Begun {
    began: Time,
    /// Whether a transfer was in flight in its range.
    pub(crate) is_raced: bool,
}

/// An exchange between two files that is about to be made.
#[derive(Clone, Debug)]
#[must_use = "an operation that began has to be ended"]
pub(crate) struct BegunExchange {
    /// This file's side, and the other's.
    sides: [Begun; 2],
    pub(crate) range: Range<u64>,
    pub(crate) at: u64,
}

impl BegunExchange {
    pub(crate) fn is_raced(&self) -> bool {
        self.sides.iter().any(|side| side.is_raced)
    }
}

/// An operation that has begun and cannot end yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldBack(pub(super) Time);

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// It was made.
    Made,
    /// It changed nothing: somebody was in its way.
    Busy,
    /// It changed nothing, for another reason.
    Refused,
}

impl FileLog {
    /// An operation is about to be called. `None` if one runs beside which this one would not be understood.
    ///
    /// `choose` is told the length of the file, and says what is made.
    pub(crate) fn begin(
        &self,
        promise: Promise,
        choose: impl FnOnce(u64) -> Option<Change>,
    ) -> Option<(Begun, Change)> {
        let mut state = lock(&self.state);
        if !state.may_begin(true) {
            return None;
        }
        let change = choose(state.len)?;
        let scope = change.scope(state.len);
        state.may_begin(scope.is_shared).then(|| (state.begin(scope, promise), change))
    }

    /// A file that has no name yet is about to get one, once every transfer into it is over.
    pub(crate) fn begin_publish(&self, promise: Promise) -> Begun {
        let scope = Scope { affects: Sectors::NONE, ..Scope::moving(0..FILE_BYTES) };
        lock(&self.state).begin(scope, promise)
    }

    /// It has one, or not.
    pub(crate) fn end_publish(&self, begun: Begun, ended: Ended) {
        let mut state = lock(&self.state);
        state.end(self, begun, ended, |_, _, _, _| ());
        state.judge(self);
    }

    /// An operation has returned.
    pub(crate) fn end(&self, begun: Begun, change: &Change, ended: Ended) {
        let mut state = lock(&self.state);
        let after = |contents: &mut Vec<Legal>, len: &mut u64, since, now| change.apply(contents, len, since, now);
        state.end(self, begun, ended, after);
        state.judge(self);
    }

    /// An exchange of whole blocks with those of another file is about to be called. `choose` is told the lengths of both,
    /// and says which range of this file, and where as much of the other begins.
    pub(crate) fn begin_exchange(
        &self,
        other: &Self,
        promise: Promise,
        choose: impl FnOnce(u64, u64) -> Option<(Range<u64>, u64)>,
    ) -> Option<BegunExchange> {
        self.with(other, |one, two| {
            if !one.may_begin(false) || !two.may_begin(false) {
                return None;
            }
            let (range, at) = choose(one.len, two.len)?;
            let (ours, theirs) = (Scope::moving(range.clone()), Scope::moving(at..at + (range.end - range.start)));
            Some(BegunExchange { sides: [one.begin(ours, promise), two.begin(theirs, promise)], range, at })
        })
    }

    /// An exchange has returned.
    pub(crate) fn end_exchange(&self, other: &Self, begun: BegunExchange, ended: Ended) {
        let BegunExchange { sides: [ours, theirs], range, at } = begun;
        self.with(other, |one, two| {
            let ended = match ended {
                // Who is in the way on one side is in the way.
                Ended::Busy if one.has_met_somebody(ours) || two.has_met_somebody(theirs) => Ended::Refused,
                ended => ended,
            };
            // Both sides are prepared before either is changed.
            one.prepare(self, ours, ended);
            two.prepare(other, theirs, ended);
            if ended == Ended::Made {
                let (here, there) = ((range.start / SECTOR) as usize, (at / SECTOR) as usize);
                for step in 0..((range.end - range.start) / SECTOR) as usize {
                    std::mem::swap(&mut one.contents[here + step], &mut two.contents[there + step]);
                }
            }
            one.settle(ours, ended);
            two.settle(theirs, ended);
            one.judge(self);
            two.judge(other);
        });
    }

    /// Locks two files' logs, always in the same order.
    fn with<T>(&self, other: &Self, then: impl FnOnce(&mut State, &mut State) -> T) -> T {
        if self.id.number() < other.id.number() {
            let (mut one, mut two) = (lock(&self.state), lock(&other.state));
            then(&mut one, &mut two)
        } else {
            let (mut two, mut one) = (lock(&other.state), lock(&self.state));
            then(&mut one, &mut two)
        }
    }

    /// Whether a transfer is in flight anywhere in the file.
    pub(crate) fn is_raced(&self) -> bool {
        lock(&self.state).is_raced(Sectors::ALL)
    }
}

impl State {
    /// What shifts or cuts runs alone, with nobody who might make the file longer.
    fn may_begin(&self, is_shared: bool) -> bool {
        match is_shared {
            true => self.operations.iter().all(|other| other.scope.is_shared),
            false => self.operations.is_empty() && !self.visits.iter().any(|visit| visit.is_copy_in()),
        }
    }

    fn is_raced(&self, breaks: Sectors) -> bool {
        self.visits.iter().any(|visit| visit.is_submitted && visit.is_in_the_way_of(breaks))
    }

    fn begin(&mut self, scope: Scope, promise: Promise) -> Begun {
        let is_raced = self.is_raced(scope.breaks);
        let began = self.tick();
        let mut operation = Operation { began, scope, promise, met_somebody: false };
        for visit in self.visits.iter_mut().filter(|visit| !visit.is_gone) {
            visit.met.length |= !scope.is_shared;
            if visit.sectors.meets(scope.breaks) {
                visit.met.note(began);
                operation.met_somebody = true;
            }
        }
        for other in self.operations.iter_mut().filter(|other| other.scope.touches.meets(scope.touches)) {
            other.met_somebody = true;
            operation.met_somebody = true;
        }
        self.note_operation(
            &operation,
            if promise.waits { "an operation that waits begins" } else { "an operation that detaches begins" },
        );
        self.operations.push(operation);
        Begun { began, is_raced }
    }

    fn note_operation(&mut self, operation: &Operation, what: &'static str) {
        let Operation { began, scope, .. } = *operation;
        let sectors = scope.breaks | scope.affects;
        let event = Event { at: self.clock, of: began, what, sectors, moves: scope.moves, generation: None };
        self.history.note(event);
    }

    fn has_met_somebody(&self, begun: Begun) -> bool {
        self.operations.iter().any(|operation| operation.began == begun.began && operation.met_somebody)
    }

    fn end(
        &mut self,
        log: &FileLog,
        begun: Begun,
        ended: Ended,
        after: impl FnOnce(&mut Vec<Legal>, &mut u64, Time, Time),
    ) {
        self.prepare(log, begun, ended);
        if ended == Ended::Made {
            let now = self.clock;
            after(&mut self.contents, &mut self.len, begun.began, now);
        }
        self.settle(begun, ended);
    }

    /// Before the contents change: who was in the operation's way is out, or detached, or a violation; and what nobody
    /// can have written before it is taken out of them.
    fn prepare(&mut self, log: &FileLog, begun: Begun, ended: Ended) {
        let now = self.tick();
        let Some(operation) = self.operations.iter().find(|operation| operation.began == begun.began) else { return };
        if ended == Ended::Busy && !operation.met_somebody {
            let Scope { breaks, .. } = operation.scope;
            log.findings.add(
                ViolationKind::NotLetThrough,
                format!("file {}: busy, but nobody was in sectors {breaks:?}", log.id.number()),
            );
        }
        if ended != Ended::Made {
            return;
        }
        let Operation { scope, promise: Promise { waits, .. }, .. } = *operation;
        let uncontested = scope.breaks - self.let_go_by_others(operation);
        let contents = &mut self.contents;
        for visit in self.visits.iter_mut().filter(|visit| visit.is_device() && visit.is_in()) {
            if !visit.was_before(operation) {
                if waits {
                    // It is still in, so the operation was before it: what it writes was not moved.
                    visit
                        .words()
                        .filter(|(at, _)| scope.affects.has(*at))
                        .for_each(|(at, word)| contents[at].remove(word));
                }
                continue;
            }
            if waits && visit.is_in_the_way_of(uncontested) {
                log.too_early(visit, scope);
            }
            // What it wrote until now was copied where a block is kept in part; it writes no more there.
            visit.words().filter(|(at, _)| scope.breaks.has(*at)).for_each(|(at, word)| contents[at].end(word, now));
            visit.is_detached_by(scope, now);
        }
    }

    /// After the contents changed: what newcomers wrote may be there too, and who reads may have seen it.
    fn settle(&mut self, begun: Begun, ended: Ended) {
        let Some(index) = self.operations.iter().position(|operation| operation.began == begun.began) else { return };
        let operation = self.operations.swap_remove(index);
        self.note_operation(&operation, if ended == Ended::Made { "was made" } else { "was refused" });
        if ended != Ended::Made {
            return;
        }
        let Scope { breaks, affects, .. } = operation.scope;
        for visit in self.visits.iter_mut().filter(|visit| !visit.was_before(&operation)) {
            if visit.entered.is_some() {
                for (sector, word) in visit.words().filter(|(sector, _)| affects.has(*sector)) {
                    self.contents[sector].add(word, visit.last());
                }
            }
            let is_after = operation.promise.waits && visit.is_device();
            if visit.ended.is_none() && !is_after {
                visit.certain = visit.certain - operation.scope.reaches();
            }
        }
        for visit in self.visits.iter_mut().filter(|visit| !visit.was_over_before(&operation)) {
            let seen = match visit.was_before(&operation) {
                true => affects - breaks,
                false => affects,
            };
            for sector in (seen & visit.sectors).iter() {
                visit.may_see(sector, &self.contents[sector], begun.began);
            }
        }
    }

    /// What others that run may take from under transfers, without waiting: nobody need wait for those any more then.
    fn let_go_by_others(&self, operation: &Operation) -> Sectors {
        let others = self.operations.iter().filter(|o| o.began != operation.began && !o.promise.waits);
        others.fold(Sectors::NONE, |sectors, other| sectors | other.scope.breaks)
    }

    /// Whether somebody has to leave before this operation can be made.
    pub(super) fn is_held_back(&self, operation: &Operation) -> bool {
        let uncontested = operation.scope.breaks - self.let_go_by_others(operation);
        let holds_back = |visit: &Visit| visit.was_before(operation) && visit.is_in_the_way_of(uncontested);
        operation.promise.waits && self.visits.iter().any(holds_back)
    }
}

impl Visit {
    fn is_copy_in(&self) -> bool {
        !self.is_device() && !matches!(self.role, Role::Sees(_)) && !self.is_gone
    }

    /// The operation was made while it was in: the blocks that left are parked; those that moved, moved under it.
    fn is_detached_by(&mut self, scope: Scope, now: Time) {
        if scope.moves {
            self.certain = self.certain - scope.breaks;
            return;
        }
        self.attached = self.attached - scope.breaks;
        self.detached = now;
    }
}

impl FileLog {
    fn too_early(&self, visit: &Visit, scope: Scope) {
        let does = if visit.is_write() { "writes" } else { "reads" };
        let what = format!(
            "file {}: an operation on sectors {:?} returned while a device that was in before it still {does} sectors {:?}",
            self.id.number(),
            scope.breaks,
            visit.sectors
        );
        self.findings.add(ViolationKind::TooEarly, what);
    }
}
