//! Who leads, with a device that brings nothing: each hand-over at the one moment in which it could be missed.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pinfold::Until;

use super::{Driver, Drove, Flights, Parker, Ticket};

/// Its queue is empty: who drives it sleeps until it is interrupted.
struct Empty {
    flights: Flights,
    drives: Sender<()>,
    interrupts: (Sender<()>, Mutex<Receiver<()>>),
}

impl Driver for Empty {
    fn flights(&self) -> &Flights {
        &self.flights
    }

    fn cancel(&self, _: Ticket) {}

    fn drive(&self, _: Option<Until>) -> Drove {
        self.drives.send(()).unwrap();
        self.interrupts.1.lock().unwrap().recv().unwrap();
        Drove::Look
    }

    fn interrupt(&self) {
        self.interrupts.0.send(()).unwrap();
    }
}

/// Waits until another thread of this process sleeps.
fn eventually_asleep(thread: rustix::thread::Pid) {
    let (path, begun) = (format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()), Instant::now());
    while std::fs::read_to_string(&path).unwrap().rsplit(") ").next().is_some_and(|rest| !rest.starts_with('S')) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not sleep");
        thread::yield_now();
    }
}

#[test]
fn who_is_to_lead_when_another_has_left_learns_that_nobody_leads_any_more() {
    let (drives, driven) = channel();
    let (interrupt, interrupted) = channel();
    let interrupts = (interrupt, Mutex::new(interrupted));
    let driver = Empty { flights: Flights::driven("empty", 1, Duration::ZERO).unwrap(), drives, interrupts };
    let flights = &driver.flights;
    let place = Arc::<Parker>::default();
    let (started, thread) = channel();
    let (ends, ended) = channel();
    thread::scope(|scope| {
        // One that waits leads.
        scope.spawn(|| flights.wait(&driver, Until::done(), None, |table| table.lead.is_stopped().then_some(())));
        driven.recv().unwrap();
        scope.spawn(|| {
            started.send(rustix::thread::gettid()).unwrap();
            flights.attend(&driver, &place);
            ends.send(()).unwrap();
        });
        let thread = thread.recv().unwrap();
        eventually_asleep(thread);
        assert!(flights.reserve_lead(&place), "the other one leads still");
        // It is to lead when that one has left; but the engine ends first.
        eventually_asleep(thread);
        flights.stop_driving(&driver);
        let learned = ended.recv_timeout(Duration::from_secs(60));
        // Whatever was missed: so that this ends.
        place.unpark();
        assert_eq!(learned, Ok(()));
    });
}
