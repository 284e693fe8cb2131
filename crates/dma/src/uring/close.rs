//! The ring's thread, and the ring's end.
//!
//! Stays true  E1: the ring is closed after nobody is in it any more, and after what it still had was put into quarantine.
//!             E2: what was left in quarantine is released once the ring's lock is free.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use pinfold::{Pool, Until};

use crate::flights::{Driver, Parker};
use crate::lock::RingLock;

use super::{Shared, lock};

impl Shared {
    /// Starts the thread that takes completions while nobody waits, unless it runs, or the ring is at its end.
    pub(super) fn start_attendant(&self) -> io::Result<()> {
        let mut attendant = lock(&self.attendant);
        // ORDER: relaxed; `join_attendant` takes the lock after the flag was set, and finds what was started before.
        if attendant.is_some() || !self.flights.is_of_this_process() || self.closing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(shared) = self.this.upgrade() else { return Ok(()) };
        let place = Arc::<Parker>::default();
        let its_place = Arc::clone(&place);
        let thread = thread::Builder::new().name("pinfold-uring".to_owned());
        // Only what runs is left anything to.
        *attendant = Some(thread.spawn(move || shared.serve(&its_place))?);
        let is_led = self.flights.reserve_lead(&place);
        drop(attendant);
        if is_led {
            self.interrupt();
        }
        Ok(())
    }

    /// What the ring's thread does.
    fn serve(&self, place: &Arc<Parker>) {
        self.flights.attend(self, place);
        let farewell = lock(&self.farewell).take();
        if let Some(until) = farewell {
            self.wind_up(until);
        }
    }

    /// Ends the ring; how many transfers were left. Once it was called, it does nothing.
    pub(super) fn close(&self, until: Until) -> usize {
        // ORDER: relaxed; of several calls, which come one after the other, the first one counts.
        if !self.flights.is_of_this_process() || self.closing.swap(true, Ordering::Relaxed) {
            return 0;
        }
        if self.is_attendant() {
            // It is the one who takes completions, so it cannot wait for them here: it does once it is back from this.
            *lock(&self.farewell) = Some(until);
            let in_flight = self.flights.in_flight();
            self.flights.release_lead();
            return in_flight;
        }
        self.wind_up(until)
    }

    fn wind_up(&self, until: Until) -> usize {
        self.flights.close().into_iter().for_each(|ticket| self.cancel(ticket));
        self.flights.wait_until_idle(self, until);
        self.flights.stop_driving(self);
        self.join_attendant();
        // What came meanwhile.
        self.drive(None);
        self.end()
    }

    fn is_attendant(&self) -> bool {
        lock(&self.attendant).as_ref().is_some_and(|attendant| attendant.thread().id() == thread::current().id())
    }

    fn join_attendant(&self) {
        let attendant = lock(&self.attendant).take();
        if let Some(attendant) = attendant.filter(|attendant| attendant.thread().id() != thread::current().id()) {
            // It does not panic; and if it did, it has ended.
            let _ = attendant.join();
        }
    }

    /// E1, E2.
    fn end(&self) -> usize {
        let Some(ring) = lock(&self.ring).take() else { return 0 };
        let (pools, left) = self.flights.abandon();
        let windows = std::mem::take(&mut ring.lock().windows);
        drop(ring);
        drop(windows.into_pools());
        match self.lock.try_clone() {
            Ok(lock) if left == 0 => lock.forget(),
            Ok(lock) => release_when_gone(lock, pools),
            // Without a descriptor nobody can wait for the lock. It stays, and so does the quarantine.
            Err(_) => {}
        }
        left
    }
}

/// Releases what a ring left behind, when it is gone. Where no thread can be started, it stays in quarantine until somebody
/// else asks the lock.
fn release_when_gone(lock: RingLock, pools: Vec<Pool>) {
    tell_left_behind(lock.name());
    let release = move || {
        let Ok(proof) = lock.wait(Until::done()) else { return };
        if pools.iter().all(|pool| pool.release(&proof).is_ok()) {
            lock.forget();
        }
    };
    drop(thread::Builder::new().name("pinfold-ring-end".to_owned()).spawn(release));
}

#[cfg(feature = "tracing")]
fn tell_left_behind(engine: &str) {
    tracing::warn!(
        engine,
        "a ring was closed before its transfers ended: their pins are in quarantine until it is gone"
    );
}

#[cfg(not(feature = "tracing"))]
fn tell_left_behind(_engine: &str) {}
