//! Transfers: a device brings stamps into a range of a file, or takes its bytes out.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pinfold::{Access, Pinned};

use super::arrivals::Arrival;
use super::{Known, Worker};
use crate::device::{Arrived, Then, Way, first_stamp};
use crate::findings::ViolationKind;
use crate::log::{Excuse, FileLog, HeldBack, Ticket};
use crate::sectors::{BLOCK, Sectors};
use crate::store::{Form, Refused, Store};

/// How long a transfer that will grow waits for an operation that waits for it.
const LINGER: Duration = Duration::from_micros(300);

/// So many device reads may wait to be looked at.
const ARRIVALS_MAX: usize = 256;

/// What a device will do.
#[derive(Clone, Copy)]
enum Who {
    Writes { generation: u8 },
    Reads,
}

impl Who {
    fn access(self) -> Access {
        match self {
            Self::Writes { .. } => Access::Write,
            Self::Reads => Access::Read,
        }
    }

    fn call(self, log: &FileLog, sectors: Sectors) -> Ticket {
        match self {
            Self::Writes { generation } => log.call_write(sectors, generation),
            Self::Reads => log.call_read(sectors),
        }
    }
}

impl<S: Store> Worker<S> {
    /// A device writes into a file. Where, if it does.
    pub(super) fn bring_in(&mut self, known: &Known<S::File>) -> Option<Range<u64>> {
        let range = self.range_for_device(known)?;
        let generation = known.log.id.device_generation()?;
        let who = Who::Writes { generation };
        let form = self.any_form();
        let grows = range.end - range.start > BLOCK && self.choices.u32(0..16) == 0;
        let got_in = match grows {
            true => self.get_in_and_grow(known, &range, who, form),
            false => self.get_in(known, &range, who, form).map(|(ticket, pinned)| (vec![ticket], pinned)),
        };
        let Some((tickets, pinned)) = got_in else {
            known.log.id.device_is_done(generation);
            return None;
        };
        let len = pinned.len();
        let way = Way::In(first_stamp(known.log.id.number(), generation, Sectors::of(range.clone())));
        self.load.tally.transfers_in.add(1);
        self.submit(&known.log, tickets, way, pinned);
        Some(range.start..range.start + len)
    }

    /// A device would write where an operation waits for others to leave: it has to stay out (G3).
    pub(super) fn intrude(&mut self) {
        let waited_for = (0..self.load.names.len()).find_map(|_| {
            let known = self.any_file()?;
            let range = known.log.waited_for()?;
            Some((known, range))
        });
        let Some((known, range)) = waited_for else { return };
        let Some(generation) = known.log.id.device_generation() else { return };
        let way = Way::In(first_stamp(known.log.id.number(), generation, Sectors::of(range.clone())));
        match self.get_in(&known, &range, Who::Writes { generation }, Form::Try) {
            Some((ticket, pinned)) => self.submit(&known.log, vec![ticket], way, pinned),
            None => known.log.id.device_is_done(generation),
        }
    }

    /// A device reads out of a file. Where, if it does.
    pub(super) fn take_out(&mut self, known: &Known<S::File>) -> Option<Range<u64>> {
        if self.load.arrivals.len() >= ARRIVALS_MAX {
            return None;
        }
        let range = self.range_for_device(known)?;
        let form = self.any_form();
        let (ticket, pinned) = self.get_in(known, &range, Who::Reads, form)?;
        self.load.tally.transfers_out.add(1);
        self.submit(&known.log, vec![ticket], Way::Out, pinned);
        Some(range)
    }

    /// A device writes into a reservation.
    pub(super) fn bring_in_reserved(&mut self, reservation: &S::Reservation, log: &Arc<FileLog>) {
        let granule = self.any_granule().max(self.load.device.granule());
        let Some(range) = self.any_range(log.len(), granule) else { return };
        let Some(generation) = log.id.device_generation() else { return };
        let sectors = Sectors::of(range.clone());
        let ticket = log.call_write(sectors, generation);
        let pinned = {
            let _call = self.load.watch.call(self.number, "a pin of a reservation", log.id.number());
            self.load.store.pin_reserved(reservation, range)
        };
        match pinned {
            Ok(pinned) => {
                log.entered(ticket);
                self.load.tally.transfers_in.add(1);
                self.submit(log, vec![ticket], Way::In(first_stamp(log.id.number(), generation, sectors)), pinned);
            }
            Err(error) => {
                log.refused(ticket);
                log.id.device_is_done(generation);
                self.load.unexplained("a pin of a reservation", &error);
            }
        }
    }

    fn range_for_device(&mut self, known: &Known<S::File>) -> Option<Range<u64>> {
        if self.load.in_flight.now() >= self.load.scale.in_flight_max {
            return None;
        }
        let granule = self.any_granule().max(self.load.device.granule());
        self.any_range(known.log.len(), granule)
    }

    /// A pin. A try that finds a break which cannot end yet is tried again: it must not get in (G3).
    fn get_in(&mut self, known: &Known<S::File>, range: &Range<u64>, who: Who, form: Form) -> Option<(Ticket, Pinned)> {
        let (refused, held_back) = match self.try_to_get_in(known, range, who, form) {
            Ok(got_in) => return Some(got_in),
            Err(refused) => refused,
        };
        if refused == Refused::NoSpace {
            self.no_space();
        }
        let held_back = held_back?;
        self.load.tally.kept_out.add(1);
        let (ticket, pinned) = self.try_to_get_in(known, range, who, Form::Try).ok()?;
        known.log.got_in_past(ticket, held_back);
        Some((ticket, pinned))
    }

    fn try_to_get_in(
        &self,
        known: &Known<S::File>,
        range: &Range<u64>,
        who: Who,
        form: Form,
    ) -> Result<(Ticket, Pinned), (Refused, Option<HeldBack>)> {
        let Known { file, log } = known;
        let ticket = who.call(log, Sectors::of(range.clone()));
        let pinned = {
            let _call = Self::call(&self.load, self.number, "a pin", known);
            self.not_for_itself(form, |form| self.load.store.pin(file, range.clone(), who.access(), form))
        };
        match pinned {
            Ok(pinned) => {
                log.entered(ticket);
                Ok((ticket, pinned))
            }
            Err(refused) => {
                let held_back = log.is_kept_out_by(ticket).filter(|_| refused == Refused::Busy);
                self.judge_refusal(known, range, &refused, log.refused(ticket));
                Err((refused, held_back))
            }
        }
    }

    /// Pins a part of the range, and the rest once an operation waits for that part (G4).
    fn get_in_and_grow(
        &mut self,
        known: &Known<S::File>,
        range: &Range<u64>,
        who: Who,
        form: Form,
    ) -> Option<(Vec<Ticket>, Pinned)> {
        let middle = range.start + ((range.end - range.start) / 2).next_multiple_of(BLOCK);
        let (first, mut pinned) = self.get_in(known, &(range.start..middle.min(range.end)), who, form)?;
        if middle >= range.end {
            return Some((vec![first], pinned));
        }
        let since = Instant::now();
        while !known.log.holds_back_another(first) && since.elapsed() < LINGER {
            std::thread::yield_now();
        }
        let rest = middle..range.end;
        let second = who.call(&known.log, Sectors::of(rest.clone()));
        let extended = {
            let _call = Self::call(&self.load, self.number, "an extension of a pin", known);
            self.load.store.extend(&mut pinned, &known.file, rest.clone(), who.access())
        };
        match extended {
            Ok(()) => {
                known.log.entered(second);
                self.load.tally.extended.add(1);
                Some((vec![first, second], pinned))
            }
            Err(refused) => {
                // What was to be added may stay pinned as long as the transfer: it goes with it, and counts until then.
                self.judge_extension(known, &rest, &refused, known.log.excuse(second));
                known.log.given_up(second);
                Some((vec![first, second], pinned))
            }
        }
    }

    fn judge_refusal(&self, known: &Known<S::File>, range: &Range<u64>, refused: &Refused, excuse: Excuse) {
        let id = known.log.id.number();
        match refused {
            Refused::Busy if !excuse.a_break => self.load.findings.add(
                ViolationKind::NotLetThrough,
                format!("file {id}: a pin of {range:?} was told that it is busy, and nothing broke it"),
            ),
            Refused::PastEnd if !excuse.the_length => self.load.unexplained(&format!("a pin of {range:?}"), refused),
            Refused::Deadlock | Refused::Other(_) => self.load.unexplained(&format!("a pin of {range:?}"), refused),
            Refused::Busy | Refused::PastEnd | Refused::TimedOut | Refused::NoSpace => {}
        }
    }

    fn judge_extension(&self, known: &Known<S::File>, range: &Range<u64>, refused: &Refused, excuse: Excuse) {
        match refused {
            Refused::Deadlock if excuse.a_break => {}
            Refused::Busy | Refused::TimedOut => self.load.unexplained("an extension of a pin", refused),
            _ => self.judge_refusal(known, range, refused, excuse),
        }
    }

    /// A blocking call that was told that it would wait for its own thread is made again as a future, which may. It
    /// happens when a completion came just now, and the thread that takes completions has not let go of its pin yet.
    pub(super) fn not_for_itself<T>(
        &self,
        form: Form,
        call: impl Fn(Form) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        match call(form) {
            Err(Refused::Deadlock) => {
                self.load.tally.own_thread.add(1);
                call(Form::Async)
            }
            ended => ended,
        }
    }

    fn submit(&self, log: &Arc<FileLog>, tickets: Vec<Ticket>, way: Way, pinned: Pinned) {
        self.load.tally.bytes.add(pinned.len());
        self.load.in_flight.begins();
        let then = self.then(Arc::clone(log), tickets.clone(), way);
        {
            let _call = self.load.watch.call(self.number, "a submit of a transfer", log.id.number());
            self.load.device.start(way, pinned, then);
        }
        tickets.iter().for_each(|ticket| log.submitted(*ticket));
    }

    /// What is done with the completion. It must not keep the load alive: then the device would end on its own thread.
    fn then(&self, log: Arc<FileLog>, tickets: Vec<Ticket>, way: Way) -> Then {
        let (in_flight, arrivals) = (Arc::clone(&self.load.in_flight), Arc::clone(&self.load.arrivals));
        Box::new(move |moved| {
            tickets.iter().for_each(|ticket| log.completed(*ticket));
            let arrived = match moved {
                Ok((pinned, arrived)) => {
                    drop(pinned);
                    arrived
                }
                Err(why) => {
                    arrivals.fail(why);
                    Arrived::Nothing
                }
            };
            tickets.iter().for_each(|ticket| log.gone(*ticket));
            match (way, arrived) {
                (Way::In(first), _) => log.id.device_is_done(first.generation),
                (Way::Out, Arrived::Nothing) => {}
                (Way::Out, arrived) => arrivals.add(Arrival { log, ticket: tickets[0], arrived }),
            }
            in_flight.ends();
        })
    }
}
