//! Operations on names: a file goes, and another has its name at once.

use std::sync::Arc;

use super::{Known, Worker};
use crate::log::{Ended, FileLog, Promise};
use crate::sectors::BLOCK;
use crate::store::{Refused, Store};
use crate::tally::OperationKind;

impl<S: Store> Worker<S> {
    /// A name goes, and its file with it as soon as nobody else has it open; a new file gets the name.
    pub(super) fn unlink(&mut self) {
        let index = self.any_name();
        let load = Arc::clone(&self.load);
        let known = self.with_name(index, |path, named| {
            if let Some(known) = named.take() {
                let is_raced = known.log.is_raced();
                let call = Self::call(&load, self.number, "unlink", &known);
                let unlinked = load.store.unlink(path);
                drop(known);
                self.count_name(OperationKind::Unlink, unlinked, is_raced, &call);
            }
            self.name_again(path, named)
        });
        if let Some(known) = known.flatten() {
            self.grow(&known);
        }
    }

    /// A file gets the name of another one, which goes; a new file gets its own.
    pub(super) fn rename_over(&mut self) {
        let (from, to) = (self.any_name(), self.any_name());
        if from == to {
            return;
        }
        let load = Arc::clone(&self.load);
        let new = self.with_name(from, |from_path, from_named| {
            let moved = from_named.clone()?;
            self.with_name(to, |to_path, to_named| {
                let replaced = to_named.take();
                let is_raced = replaced.as_ref().is_some_and(|known| known.log.is_raced());
                let call = Self::call(&load, self.number, "rename over", &moved);
                let renamed = load.store.rename(from_path, to_path);
                drop(replaced);
                if self.count_name(OperationKind::RenameOver, renamed, is_raced, &call) {
                    *to_named = Some(moved);
                    *from_named = None;
                }
            })?;
            if from_named.is_none() { self.name_again(from_path, from_named) } else { None }
        });
        if let Some(known) = new.flatten() {
            self.grow(&known);
        }
    }

    /// A reservation is filled by devices, and dropped or published before they are done.
    pub(super) fn reserve(&mut self) {
        let len = self.choices.u64(1..=8) * BLOCK;
        let Some(id) = self.load.ids.take() else { return };
        let reserved = {
            let _call = self.load.watch.call(self.number, "a reservation", id.number());
            self.load.store.reserve(len)
        };
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(Refused::NoSpace) => return self.no_space(),
            Err(error) => return self.load.unexplained("a reservation", &error),
        };
        let log = FileLog::new(id, len, &self.load.findings);
        for _ in 0..self.choices.u32(1..=3) {
            self.bring_in_reserved(&reservation, &log);
        }
        match self.choices.u32(0..5) {
            0..2 => self.drop_reservation(reservation, &log),
            _ => self.publish(reservation, log),
        }
    }

    fn drop_reservation(&self, reservation: S::Reservation, log: &Arc<FileLog>) {
        let is_raced = log.is_raced();
        let call = self.load.watch.call(self.number, "the drop of a reservation", log.id.number());
        drop(reservation);
        self.load.tally.made(OperationKind::ReservationDropped, is_raced, call.took());
    }

    /// Waits for the transfers into the reservation; whoever comes for the name meanwhile takes another one.
    fn publish(&mut self, reservation: S::Reservation, log: Arc<FileLog>) {
        let index = self.any_name();
        let load = Arc::clone(&self.load);
        self.with_name(index, |path, named| {
            let begun = log.begin_publish(Promise { waits: S::WAITS, stays: false });
            let is_raced = begun.is_raced || named.as_ref().is_some_and(|known| known.log.is_raced());
            let call = load.watch.call(self.number, "the publishing of a reservation", log.id.number());
            match load.store.publish(reservation, path) {
                Ok(file) => {
                    log.end_publish(begun, Ended::Made);
                    *named = Some(Known { file, log: Arc::clone(&log) });
                    load.tally.made(OperationKind::PublishedOver, is_raced, call.took());
                }
                Err(error) => {
                    log.end_publish(begun, Ended::Refused);
                    load.unexplained("the publishing of a reservation", &error);
                }
            }
        });
    }

    /// A new file for a name that has none.
    fn name_again(&self, path: &str, named: &mut Option<Known<S::File>>) -> Option<Known<S::File>> {
        match self.load.create(path) {
            Ok(known) => *named = Some(known),
            // Most numbers are with files that transfers keep: later, then.
            Err(Refused::NoSpace) => {}
            Err(error) => self.load.unexplained("the making of a file", &error),
        }
        named.clone()
    }

    fn count_name(
        &self,
        kind: OperationKind,
        done: Result<(), Refused>,
        is_raced: bool,
        call: &crate::watch::Call<'_>,
    ) -> bool {
        match &done {
            Ok(()) => self.load.tally.made(kind, is_raced, call.took()),
            Err(error) => self.load.unexplained(kind.name(), error),
        }
        done.is_ok()
    }
}
