//! What devices took out of files, until somebody looks at it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::device::Arrived;
use crate::lock::lock;
use crate::log::{FileLog, Ticket};

#[derive(Default)]
pub(super) struct Arrivals {
    waiting: Mutex<VecDeque<Arrival>>,
    failure: Mutex<Option<String>>,
}

pub(super) struct Arrival {
    pub(super) log: Arc<FileLog>,
    pub(super) ticket: Ticket,
    pub(super) arrived: Arrived,
}

impl Arrivals {
    pub(super) fn add(&self, arrival: Arrival) {
        lock(&self.waiting).push_back(arrival);
    }

    /// How many wait to be looked at.
    pub(super) fn len(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// Compares the oldest with what it may be. False if there was none.
    pub(super) fn look_at_one(&self) -> bool {
        let Some(Arrival { log, ticket, arrived }) = lock(&self.waiting).pop_front() else { return false };
        match arrived.bytes() {
            Ok(bytes) => log.arrived(ticket, bytes),
            Err(error) => self.fail(format!("could not read back what a device wrote: {error}")),
        }
        true
    }

    pub(super) fn look_at_all(&self) {
        while self.look_at_one() {}
    }

    /// The device failed: nothing can be said of the bytes any more.
    pub(super) fn fail(&self, why: String) {
        lock(&self.failure).get_or_insert(why);
    }

    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }
}
