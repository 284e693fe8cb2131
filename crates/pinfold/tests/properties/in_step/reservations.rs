//! Steps of writers: reserve, fill, publish.

use std::ops::Range;

use pinfold::{Publish, Reservation, Unpublished};

use super::{Ended, Held, InStep, agree, ended, until};
use crate::steps::Form;

impl InStep {
    pub(super) fn nth_reservation(&self, nth: usize) -> Option<&Reservation> {
        self.reservations.get(nth % self.reservations.len().max(1))
    }

    pub(super) fn reserve(&mut self, len: u64, form: Form) {
        let model = self.model.check_reserve(len, form);
        let Some(((), reservation)) = agree(model, ended!(self.pool.reserve(len), form, model)) else { return };
        assert_eq!(reservation.len(), len);
        // Nobody reads what is not published.
        assert!(self.pool.open_by_id(reservation.id()).is_none(), "a reservation was opened");
        self.model.reserved(reservation.id(), len);
        self.reservations.push(reservation);
    }

    /// An engine without a completion of ours: it pins, writes, unpins, and says so afterwards, or never.
    pub(super) fn fill(&mut self, nth: usize, range: Range<u64>, said: bool, whole_blocks: bool) {
        let Some(reservation) = self.nth_reservation(nth) else { return };
        let (id, len) = (reservation.id(), reservation.len());
        let start = range.start % len;
        let range = start..start.saturating_add(range.end.saturating_sub(range.start).max(1)).min(len);
        let pinned = reservation.pin(range.clone()).try_now().unwrap();
        let parts = self.model.parts(id, &range);
        let segments = pinned.segments().to_vec();
        self.compare_segments(id, &range, &parts, &segments);
        self.dma_into(parts.into_iter().map(|part| (id, part)).collect());
        drop(pinned);
        if !said {
            return;
        }
        // A device that writes whole blocks says so of the last one too, whose end is not part of the file.
        let block = self.model.block;
        let end = if whole_blocks && range.end == len { len.next_multiple_of(block) } else { range.end };
        self.nth_reservation(nth).expect("it is there").written(range.start..end);
        self.model.record(id, range.start..end);
    }

    /// An engine's completion says how much it wrote.
    pub(super) fn written_by_pin(&mut self, pin: usize, bytes: u64) {
        if self.transfers.is_empty() {
            return;
        }
        let nth = pin % self.transfers.len();
        let number = self.transfers[nth].number;
        let parts = self.model.parts_at(number, 0, bytes);
        self.dma_into(parts.clone());
        let Held::Short(pinned) = &self.transfers[nth].held else { return };
        pinned.written(bytes);
        for (file, part) in parts {
            self.model.record(file, part.offset..part.offset + part.bytes.len() as u64);
        }
    }

    pub(super) fn publish(&mut self, nth: usize, name: &'static str, how: Publish, form: Form) {
        if self.reservations.is_empty() {
            return;
        }
        let form = if form == Form::Future { Form::Try } else { form };
        let reservation = self.reservations.remove(nth % self.reservations.len());
        let model = self.model.publish(reservation.id(), name, how, form);
        let published = match form {
            Form::Try => reservation.publish(name, how),
            _ => reservation.publish_until(name, how, until(form, &model)),
        };
        let ended = Ended::of(published.as_ref().map(|_| ()).map_err(Unpublished::errno));
        agree(model, ended);
        match published {
            Ok(file) => self.handles.push(file),
            Err(Unpublished { reservation, .. }) => self.reservations.push(reservation),
        }
    }

    pub(super) fn drop_reservation(&mut self, nth: usize) {
        if !self.reservations.is_empty() {
            let reservation = self.reservations.remove(nth % self.reservations.len());
            let id = reservation.id();
            drop(reservation);
            self.model.closed(id);
        }
    }
}
