//! Operations on what a file is made of.

use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;
use pinfold::Policy;

use super::{Known, Worker};
use crate::log::{Change, Ended, Promise};
use crate::sectors::{BLOCK, FILE_BYTES};
use crate::store::{Form, Refused, Store};
use crate::tally::OperationKind;

impl<S: Store> Worker<S> {
    /// Some operation, where a transfer is most likely in flight if `near` says where one was begun.
    pub(super) fn operate(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        if known.log.len() < 2 * BLOCK {
            self.grow(known);
        }
        match self.choices.u32(0..100) {
            0..22 => self.truncate(known, near),
            22..54 => self.punch_or_zero(known, near),
            54..68 => self.collapse(known, near),
            68..82 => self.insert(known, near),
            82..88 => self.swap(known, near),
            88..96 => self.exchange(known, near),
            _ => self.grow(known),
        }
    }

    fn truncate(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        let granule = self.any_granule();
        self.change(known, OperationKind::Truncate, |choices, len| {
            let within = near.filter(|near| near.end <= len).unwrap_or(0..len);
            let count = (within.end - within.start) / granule;
            (count > 0)
                .then(|| Change::Truncate { len: within.start / granule * granule + choices.u64(0..count) * granule })
        });
        if self.choices.u32(0..4) > 0 {
            self.grow(known);
        }
    }

    /// A file is cut to make room.
    pub(super) fn cut(&mut self, known: &Known<S::File>) {
        self.change(known, OperationKind::Truncate, |choices, len| {
            (len > BLOCK).then(|| Change::Truncate { len: choices.u64(0..len / BLOCK) * BLOCK })
        });
    }

    /// Longer frees nothing, and so waits for nothing: it only looks, and must succeed (G5).
    pub(super) fn grow(&mut self, known: &Known<S::File>) {
        let granule = self.any_granule();
        let choices = &mut self.choices;
        let begun = known.log.begin(Promise::NONE, |len| {
            let more = (FILE_BYTES - len) / granule;
            Some(Change::Truncate { len: len + choices.u64(0..=more) * granule })
        });
        let Some((begun, change)) = begun else { return };
        let _call = Self::call(&self.load, self.number, "a truncate to a larger size", known);
        match self.load.store.change(&known.file, &change, Policy::Wait, Form::Try) {
            Ok(()) => {
                self.load.tally.let_through.add(1);
                known.log.end(begun, &change, Ended::Made);
            }
            // The log knows that nobody can have been in the way.
            Err(Refused::Busy) => known.log.end(begun, &change, Ended::Busy),
            Err(error) => {
                known.log.end(begun, &change, Ended::Refused);
                self.load.unexplained("a truncate to a larger size", &error);
            }
        }
    }

    fn punch_or_zero(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        let (granule, zeroes) = (self.any_granule(), self.choices.u32(0..3) == 0);
        let kind = if zeroes { OperationKind::Zero } else { OperationKind::Punch };
        self.change(known, kind, |choices, len| {
            let range = any_part(choices, len / granule * granule, granule, near)?;
            Some(if zeroes { Change::Zero(range) } else { Change::Punch(range) })
        });
    }

    fn collapse(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        self.change(known, OperationKind::Collapse, |choices, len| {
            // It ends before the file does.
            let range = any_part(choices, len.saturating_sub(1) / BLOCK * BLOCK, BLOCK, near)?;
            Some(Change::Collapse(range))
        });
    }

    fn insert(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        self.change(known, OperationKind::Insert, |choices, len| {
            let at = any_part(choices, len.saturating_sub(1) / BLOCK * BLOCK, BLOCK, near)?.start;
            let room = (FILE_BYTES - len) / BLOCK;
            (room > 0).then(|| Change::Insert { at, len: choices.u64(1..=room.min(4)) * BLOCK })
        });
    }

    fn swap(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        self.change(known, OperationKind::Exchange, |choices, len| {
            let whole = len / BLOCK * BLOCK;
            let range = any_part(choices, whole, BLOCK, near)?;
            let at = any_part(choices, whole, BLOCK, None)?.start;
            let end = at + (range.end - range.start);
            (end <= whole && (end <= range.start || range.end <= at)).then_some(Change::Swap { range, at })
        });
    }

    /// Begins, makes and ends a change that `choose` chooses for a file of that length.
    pub(super) fn change(
        &mut self,
        known: &Known<S::File>,
        kind: OperationKind,
        choose: impl FnOnce(&mut Rng, u64) -> Option<Change>,
    ) {
        let moves = matches!(kind, OperationKind::Collapse | OperationKind::Insert | OperationKind::Exchange);
        let policy = if moves { Policy::Wait } else { self.load.options.policies.pick(&mut self.choices) };
        let form = self.any_form();
        let choices = &mut self.choices;
        let begun = known.log.begin(promise::<S>(policy, form), |len| choose(choices, len));
        let Some((begun, change)) = begun else { return };
        let load = Arc::clone(&self.load);
        let call = Self::call(&load, self.number, kind.name(), known);
        let made = self.not_for_itself(form, |form| load.store.change(&known.file, &change, policy, form));
        let ended = self.ended(kind, form, &made);
        known.log.end(begun, &change, ended);
        self.count(kind, begun.is_raced, ended, &call);
        drop(call);
        if made == Err(Refused::NoSpace) && kind != OperationKind::Truncate {
            self.no_space();
        }
    }

    fn exchange(&mut self, known: &Known<S::File>, near: Option<Range<u64>>) {
        let Some(other) = self.any_file().filter(|other| !Arc::ptr_eq(&other.log, &known.log)) else { return };
        let form = self.any_form();
        let choices = &mut self.choices;
        let begun = known.log.begin_exchange(&other.log, promise::<S>(Policy::Wait, form), |ours, theirs| {
            let range = any_part(choices, ours / BLOCK * BLOCK, BLOCK, near)?;
            let room = (theirs / BLOCK * BLOCK).checked_sub(range.end - range.start)?;
            let at = choices.u64(0..=room / BLOCK) * BLOCK;
            Some((range, at))
        });
        let Some(begun) = begun else { return };
        let load = Arc::clone(&self.load);
        let call = Self::call(&load, self.number, "exchange", known);
        let made = self.not_for_itself(form, |form| {
            load.store.exchange((&known.file, begun.range.clone()), (&other.file, begun.at), form)
        });
        let ended = self.ended(OperationKind::Exchange, form, &made);
        let is_raced = begun.is_raced();
        known.log.end_exchange(&other.log, begun, ended);
        self.count(OperationKind::Exchange, is_raced, ended, &call);
    }

    /// What an answer means for the log.
    fn ended(&self, kind: OperationKind, form: Form, made: &Result<(), Refused>) -> Ended {
        match made {
            Ok(()) => {
                self.load.tally.let_through.add(u64::from(form == Form::Try));
                Ended::Made
            }
            Err(Refused::Busy) if form == Form::Try => Ended::Busy,
            Err(Refused::TimedOut) if matches!(form, Form::For(_)) => Ended::Refused,
            Err(Refused::NoSpace) => Ended::Refused,
            Err(error) => {
                self.load.unexplained(kind.name(), error);
                Ended::Refused
            }
        }
    }

    fn count(&self, kind: OperationKind, is_raced: bool, ended: Ended, call: &crate::watch::Call<'_>) {
        match ended {
            Ended::Made => self.load.tally.made(kind, is_raced, call.took()),
            Ended::Busy | Ended::Refused => self.load.tally.refused(kind),
        }
    }
}

/// A blocking call may be told that it would wait for its own thread, and be made again; so it may give up in between.
fn promise<S: Store>(policy: Policy, form: Form) -> Promise {
    Promise { waits: S::WAITS && policy == Policy::Wait, stays: form == Form::Async }
}

/// A range in `0..len`, in granules; one that meets `near`, if that lies in there.
fn any_part(choices: &mut Rng, len: u64, granule: u64, near: Option<Range<u64>>) -> Option<Range<u64>> {
    let count = len / granule;
    if count == 0 {
        return None;
    }
    let blocks = choices.u64(1..=(4 * BLOCK / granule).min(count));
    let at = match near.filter(|near| near.start < len) {
        Some(near) => choices.u64(near.start / granule..near.end.min(len).div_ceil(granule)),
        None => choices.u64(0..count),
    };
    let start = at.min(count - blocks);
    Some(start * granule..(start + blocks) * granule)
}
