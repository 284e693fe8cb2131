//! A device made of a thread, whose completions come when a test says so: now, late, never, twice, or after their owner
//! gave up. For tests of what is built on engines, and for torture where no real device is slow enough.
//!
//! It moves bytes as a device does: it knows addresses, and neither files nor pins. What it was told to write it writes,
//! at the latest when it is shut down; so a pool that does not wait for it shows foreign bytes.
//!
//! Stays true  V1: it writes what it was told to, once, and nothing after the completion.
//!             V2: when its thread has ended, it has written all.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use pinfold::{Access, PinInfo, Pinned, Pool, Quiescent, Until};

use crate::engine::Engine;
use crate::error::{LeftBehind, Refused, SubmitError, What};
use crate::flights::{Driver, Flights, InFlight, Outcome, PATIENCE, Ticket};
use crate::name;

/// When transfers end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Pace {
    /// When [`LateDevice::complete`] is called.
    #[default]
    OnCommand,
    /// By themselves, so long after they were submitted: a different time for each.
    After(Range<Duration>),
}

/// What a cancel does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cancels {
    /// The transfer ends at once, with `ECANCELED` and without another byte.
    #[default]
    Obeyed,
    /// Nothing.
    Ignored,
}

/// How a device is made.
#[derive(Clone, Debug)]
pub struct LateOptions {
    pace: Pace,
    cancels: Cancels,
    depth: usize,
    patience: Duration,
}

impl Default for LateOptions {
    fn default() -> Self {
        Self { pace: Pace::default(), cancels: Cancels::default(), depth: 1 << 16, patience: PATIENCE }
    }
}

impl LateOptions {
    /// On command, obedient, 65536 places, a second's patience.
    pub fn new() -> Self {
        Self::default()
    }

    /// When transfers end.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// What a cancel does.
    #[must_use]
    pub fn cancels(mut self, cancels: Cancels) -> Self {
        self.cancels = cancels;
        self
    }

    /// How many transfers are in flight at most.
    #[must_use]
    pub fn depth(mut self, transfers: usize) -> Self {
        self.depth = transfers;
        self
    }

    /// How long a transfer that is dropped is waited for, once it was cancelled.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// What the system says when no thread can be started.
    pub fn start(self) -> io::Result<LateDevice> {
        let name = format!("late device {}", name::unique()?);
        let flights = Flights::attended(&name, self.depth, self.patience)?;
        let (orders, inbox) = channel();
        let shared = Arc::new(Shared { flights, orders: Mutex::new(Some(orders)) });
        let works = Works { flights: Arc::clone(&shared), options: self, accepted: BTreeMap::new(), mixed: 0 };
        let thread = thread::Builder::new().name("pinfold-late".to_owned()).spawn(move || works.run(&inbox))?;
        Ok(LateDevice { shared, thread: Some(thread) })
    }
}

/// What the device is asked to do.
#[derive(Clone)]
pub struct LateRequest {
    does: Does,
    outcome: Option<Outcome>,
}

#[derive(Clone)]
enum Does {
    /// Writes these bytes into the pinned memory.
    Fill(Arc<[u8]>),
    /// Reads the pinned memory into this.
    Drain(Arc<Mutex<Vec<u8>>>),
}

impl LateRequest {
    /// Writes `bytes` into the pinned memory, from its start on: as many as there are, or as have room.
    pub fn fill(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { does: Does::Fill(bytes.into()), outcome: None }
    }

    /// Reads the pinned memory, and puts its bytes in place of what `into` holds.
    pub fn drain(into: &Arc<Mutex<Vec<u8>>>) -> Self {
        Self { does: Does::Drain(Arc::clone(into)), outcome: None }
    }

    /// The device will say so at the end, whatever it moved.
    #[must_use]
    pub fn and_say(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// What it is, in words.
    pub fn what(&self) -> What {
        let (verb, access) = match self.does {
            Does::Fill(_) => ("fill", Access::Write),
            Does::Drain(_) => ("drain", Access::Read),
        };
        What { verb, at: None, access, parts: 1, host: true }
    }
}

impl fmt::Debug for LateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LateRequest").field(&self.what().verb).finish()
    }
}

/// The device. Any thread may use it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Access, Pool, Region};
/// use pinfold_dma::late::{LateDevice, LateRequest};
///
/// let pool = Pool::new(Region::memfd(1 << 20)?)?;
/// let file = pool.create("/slow")?;
/// file.allocate(0..8192).wait()?;
/// let device = LateDevice::new()?;
///
/// let pinned = file.pin(0..8192, Access::Write).wait()?;
/// let transfer = device.submit(LateRequest::fill([7; 8192]), pinned)?;
/// let ticket = transfer.ticket();
/// file.truncate(0).detach().wait()?; // at once: what the device reaches is parked
/// assert_eq!(pool.stats().parked, 8192);
///
/// assert!(device.complete(ticket)); // late
/// assert!(!device.complete(ticket)); // and twice: nothing happens
/// drop(transfer);
/// assert_eq!(pool.stats().parked, 0);
/// # Ok(()) }
/// ```
pub struct LateDevice {
    shared: Arc<Shared>,
    /// Gone once it is shut down.
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    flights: Flights,
    /// Gone once it is shut down.
    orders: Mutex<Option<Sender<Order>>>,
}

impl LateDevice {
    /// One that does everything on command.
    ///
    /// # Errors
    /// As [`LateOptions::start`].
    pub fn new() -> io::Result<Self> {
        LateOptions::new().start()
    }

    /// Its name, which its pins carry.
    pub fn name(&self) -> &Arc<str> {
        self.shared.flights.name()
    }

    /// Gives the device a request. Where as many are in flight as it takes, it waits.
    ///
    /// # Errors
    /// [`Refused`], with the memory as it was.
    pub fn submit(&self, request: LateRequest, mut pinned: Pinned) -> Result<InFlight, Box<Refused<LateRequest>>> {
        let flights = &self.shared.flights;
        let what = request.what();
        loop {
            let places = pinned.segments().iter().map(|segment| segment.place()..segment.place() + segment.len);
            let (pool, places) = (pinned.pool(), places.collect());
            let refused = match flights.board(pinned, what) {
                Ok(ticket) => {
                    self.shared.order(Order::Accept(ticket, Work { request, pool, places, moved: None }));
                    return Ok(InFlight::new(Arc::clone(&self.shared) as Arc<dyn Driver>, ticket));
                }
                Err(refused) => refused,
            };
            if !matches!(refused.error, SubmitError::Full { .. }) {
                return Err(refused.of(request));
            }
            flights.wait_for_room(&*self.shared, what.parts);
            pinned = refused.pinned;
        }
    }

    /// Has the device move the bytes of a transfer now, without a completion. False if it has no such one, or had moved them.
    pub fn carry_out(&self, ticket: Ticket) -> bool {
        self.ask(|answer| Order::CarryOut(ticket, answer))
    }

    /// Has the device end a transfer now: it moves the bytes, unless it has, and says so. False if nothing came of it, since
    /// the transfer had ended before.
    pub fn complete(&self, ticket: Ticket) -> bool {
        self.ask(|answer| Order::Complete(ticket, answer))
    }

    /// How many transfers are in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.flights.in_flight()
    }

    /// How many of those were given up.
    pub fn given_up(&self) -> usize {
        self.shared.flights.given_up()
    }

    /// Writes everything that it was told to write, and ends. Transfers that are in flight are cancelled, where cancels are
    /// obeyed; the others are in quarantine, until the proof is shown to their pool.
    pub fn shut_down(mut self) -> LateIsQuiet {
        self.end();
        LateIsQuiet { name: Arc::clone(self.name()) }
    }

    /// Returns once the device has carried out the order; false if it is shut down.
    fn ask(&self, order: impl FnOnce(std::sync::mpsc::SyncSender<bool>) -> Order) -> bool {
        let (answer, answered) = sync_channel(1);
        self.shared.order(order(answer));
        answered.recv().unwrap_or(false)
    }

    /// The pools of what was left.
    fn end(&mut self) -> Vec<Pool> {
        let Some(thread) = self.thread.take().filter(|_| self.shared.flights.is_of_this_process()) else {
            return Vec::new();
        };
        self.shared.flights.close().into_iter().for_each(|ticket| self.shared.cancel(ticket));
        drop(lock(&self.shared.orders).take());
        // V2. It does not panic; and if it did, it writes no more.
        let _ = thread.join();
        self.shared.flights.abandon().0
    }
}

impl Drop for LateDevice {
    fn drop(&mut self) {
        let pools = self.end();
        let proof = LateIsQuiet { name: Arc::clone(self.name()) };
        // What cannot be released for want of a mark stays in quarantine.
        pools.iter().for_each(|pool| drop(pool.release(&proof)));
    }
}

// SAFETY: the thread is told of memory after `board`, and `complete` is called by it alone. The proof is made when it has
// ended, with all that it was told to write (V2).
unsafe impl Engine for LateDevice {
    type Request<'r> = LateRequest;
    type Proof = LateIsQuiet;

    fn name(&self) -> &Arc<str> {
        self.name()
    }

    fn submit<'r>(
        &self,
        request: Self::Request<'r>,
        pinned: Pinned,
    ) -> Result<InFlight, Box<Refused<Self::Request<'r>>>> {
        self.submit(request, pinned)
    }

    fn shut_down(self, _until: Until) -> Result<LateIsQuiet, LeftBehind> {
        Ok(self.shut_down())
    }
}

impl fmt::Debug for LateDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateDevice").field("name", self.name()).field("in_flight", &self.in_flight()).finish()
    }
}

/// The proof that a [`LateDevice`] has ended.
#[derive(Debug)]
pub struct LateIsQuiet {
    name: Arc<str>,
}

// SAFETY: made once the device's thread has ended. No other device has its name.
unsafe impl Quiescent for LateIsQuiet {
    fn covers(&self, pin: &PinInfo) -> bool {
        *pin.engine == *self.name
    }
}

impl Shared {
    fn order(&self, order: Order) {
        if let Some(orders) = &*lock(&self.orders) {
            // The thread listens as long as there is somebody to give orders.
            let _ = orders.send(order);
        }
    }
}

impl Driver for Shared {
    fn flights(&self) -> &Flights {
        &self.flights
    }

    fn cancel(&self, ticket: Ticket) {
        self.order(Order::Cancel(ticket));
    }
}

type Answer = std::sync::mpsc::SyncSender<bool>;

enum Order {
    Accept(Ticket, Work),
    CarryOut(Ticket, Answer),
    Complete(Ticket, Answer),
    Cancel(Ticket),
}

/// One transfer, as the device knows it.
struct Work {
    request: LateRequest,
    /// The memory, which is there as long as this is.
    pool: Pool,
    places: Vec<Range<u64>>,
    /// What it came to.
    moved: Option<Outcome>,
}

/// What the device's thread has.
struct Works {
    flights: Arc<Shared>,
    options: LateOptions,
    /// With the time at which it ends by itself.
    accepted: BTreeMap<Ticket, (Option<Instant>, Work)>,
    /// For times that differ.
    mixed: u64,
}

impl Works {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            match self.next(inbox) {
                Ok(order) => self.carry_out(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.complete_due();
        }
        // V2: the queue is torn down, and what it was told to write it has written.
        for (_, work) in self.accepted.values_mut() {
            work.carry_out();
        }
    }

    fn next(&self, inbox: &Receiver<Order>) -> Result<Order, RecvTimeoutError> {
        match self.accepted.values().filter_map(|(due, _)| *due).min() {
            Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn carry_out(&mut self, order: Order) {
        // Nobody listens to an answer whose asker has gone.
        match order {
            Order::Accept(ticket, work) => {
                let due = self.due();
                self.accepted.insert(ticket, (due, work));
            }
            Order::CarryOut(ticket, answer) => {
                let moved = self.accepted.get_mut(&ticket).is_some_and(|(_, work)| work.carry_out());
                let _ = answer.send(moved);
            }
            Order::Complete(ticket, answer) => {
                let _ = answer.send(self.complete(ticket));
            }
            Order::Cancel(ticket) => self.cancel(ticket),
        }
    }

    fn complete(&mut self, ticket: Ticket) -> bool {
        let outcome = match self.accepted.remove(&ticket) {
            Some((_, mut work)) => {
                work.carry_out();
                work.request.outcome.or(work.moved).unwrap_or(Ok(0))
            }
            // A second completion: what it says must not matter.
            None => Ok(0),
        };
        self.flights.flights.complete(ticket, outcome)
    }

    fn cancel(&mut self, ticket: Ticket) {
        if self.options.cancels == Cancels::Obeyed && self.accepted.remove(&ticket).is_some() {
            self.flights.flights.complete(ticket, Err(libc::ECANCELED));
        }
    }

    fn complete_due(&mut self) {
        let now = Instant::now();
        let is_due = |(due, _): &(Option<Instant>, Work)| due.is_some_and(|due| due <= now);
        let due: Vec<Ticket> =
            self.accepted.iter().filter(|(_, work)| is_due(work)).map(|(ticket, _)| *ticket).collect();
        for ticket in due {
            self.complete(ticket);
        }
    }

    fn due(&mut self) -> Option<Instant> {
        let Pace::After(Range { start, end }) = self.options.pace else { return None };
        self.mixed = (self.mixed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let share = (self.mixed >> 40) as f64 / f64::from(1 << 24);
        Some(Instant::now() + start + end.saturating_sub(start).mul_f64(share))
    }
}

impl Work {
    /// Moves the bytes, once; whether it did.
    fn carry_out(&mut self) -> bool {
        if self.moved.is_some() {
            return false;
        }
        self.moved = Some(self.move_bytes());
        true
    }

    fn move_bytes(&self) -> Outcome {
        match &self.request.does {
            Does::Fill(bytes) => self.fill(bytes),
            Does::Drain(into) => {
                let bytes = self.drain()?;
                let moved = bytes.len() as u64;
                *lock(into) = bytes;
                Ok(moved)
            }
        }
    }

    fn fill(&self, bytes: &[u8]) -> Outcome {
        let mut rest = bytes;
        for place in &self.places {
            let (now, later) = rest.split_at(rest.len().min((place.end - place.start) as usize));
            let memory = self.pool.region().bytes(place.start..place.start + now.len() as u64);
            memory.and_then(|memory| memory.copy_in(0, now)).map_err(|error| error.errno())?;
            rest = later;
        }
        Ok((bytes.len() - rest.len()) as u64)
    }

    fn drain(&self) -> Result<Vec<u8>, i32> {
        let mut bytes = Vec::new();
        for place in &self.places {
            let mut part = vec![0; (place.end - place.start) as usize];
            let memory = self.pool.region().bytes(place.clone());
            memory.and_then(|memory| memory.copy_out(0, &mut part)).map_err(|error| error.errno())?;
            bytes.extend(part);
        }
        Ok(bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
