//! io_uring: between any descriptor and pinned memory.
//!
//! Stays true  U1: a request is entered when `submit` returns, or refused, or has completed with an error.
//!             U2: a transfer's user data is its ticket and, in the lowest 16 bits, 0 or the number of the part, from 1.
//! Who may     any thread.
//! Lock order  the submission queue's, then the table's, then one of the ring's and that of transfers in parts.
//! Dead owner  the kernel ends the ring, and its transfers with it, in its own time; the lock tells when (`lock`).

mod close;
mod parts;
mod request;
mod ring;
mod windows;

use std::mem::MaybeUninit;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use io_uring::{cqueue, opcode, squeue};
use pinfold::{Pinned, Pool, Until};

use crate::engine::Engine;
use crate::error::{LeftBehind, LockError, Refused, RegisterError, RingError, SubmitError};
use crate::flights::{Driver, Drove, Flights, InFlight, Outcome, PATIENCE, Ticket};
use crate::lock::{RingIsGone, RingLock, Taken};

use parts::{Gathering, Memory, Split};
pub use request::Request;
use ring::{Queue, Ring, SAYS_NOTHING};
pub use windows::Registered;

/// How an io_uring is made.
#[derive(Clone, Debug)]
pub struct UringOptions {
    depth: u32,
    patience: Duration,
    lock_dir: Option<PathBuf>,
    attended: bool,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self { depth: 256, patience: PATIENCE, lock_dir: None, attended: false }
    }
}

impl UringOptions {
    /// 256 places, a second's patience, a lock without a name.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many transfers are in flight at most, from 1 to 32768: who submits one more waits. A transfer that is split into
    /// several parts counts as so many.
    #[must_use]
    pub fn depth(mut self, transfers: u32) -> Self {
        self.depth = transfers;
        self
    }

    /// How long a transfer that is dropped is waited for, once it was cancelled. What has not ended then stays in quarantine
    /// until it does.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Keeps the ring's lock in a directory, as `ring-NAME.lock`, that its user alone may read: so that the next owner of
    /// an area can ask whether the ring is gone ([`RingLock::all_in`]). Otherwise only this process can.
    #[must_use]
    pub fn lock_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.lock_dir = Some(dir.into());
        self
    }

    /// Starts the thread that takes completions in at once, rather than with the first future. Then a transfer completes
    /// though nobody waits for it; each completion costs a switch of threads. Without it, whoever waits takes them in, and a
    /// blocking operation of the thread that would have to gets `EDEADLK` (G4). Where no thread can be started, there is no
    /// ring.
    #[must_use]
    pub fn attended(mut self, attended: bool) -> Self {
        self.attended = attended;
        self
    }

    /// Sets it up.
    ///
    /// # Errors
    /// [`RingError`]: io_uring is forbidden or missing, or something has run out.
    pub fn create(self) -> Result<Uring, RingError> {
        let failed = |doing| move |source| RingError::System { doing, source };
        let ring = Ring::new(self.depth)?;
        let taken = Taken::new(self.lock_dir.as_deref())?;
        if let Err(error) = ring.io().submitter().register_files(&[taken.raw()]) {
            taken.undo();
            return Err(failed("register the ring's lock")(error));
        }
        // From here on the ring alone holds it.
        let Taken { held, lock } = taken;
        drop(held);
        let flights = Flights::driven(lock.name(), self.depth as usize, self.patience);
        let flights = flights.inspect_err(|_| lock.forget()).map_err(failed("remember which process made the ring"))?;
        let shared = Arc::new_cyclic(|this| Shared {
            this: Weak::clone(this),
            flights,
            depth: self.depth,
            lock,
            ring: Mutex::new(Some(Arc::new(ring))),
            gathering: Mutex::default(),
            attendant: Mutex::default(),
            farewell: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        // From here on what fails is undone by its end.
        let ring = Uring { shared };
        if self.attended {
            ring.shared.attend().map_err(failed("start the ring's thread"))?;
        }
        Ok(ring)
    }
}

/// An io_uring, for transfers between descriptors and pinned memory. Any thread may use it.
///
/// Completions are taken in by whoever waits for one, so nothing else has to run. A thread for it is started when the
/// first future is polled, or when a transfer goes on that nobody waits for.
///
/// A transfer belongs to the thread that submits it as far as the kernel is concerned: if that thread ends first, a
/// transfer that is not under way yet (a receive that waits for data) may end with `ECANCELED`.
///
/// Dropping it cancels what is in flight and waits for it, as long as its patience lasts. What has not ended then is in
/// quarantine, and is released when the kernel lets go of the ring's lock.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Access, Pool, Region};
/// use pinfold_dma::{Request, Uring};
///
/// let pool = Pool::new(Region::memfd(16 << 20)?)?;
/// let file = pool.create("/copy")?;
/// file.allocate(0..4096).wait()?;
/// let ring = Uring::new()?;
///
/// let source = std::fs::File::open("/proc/self/exe")?;
/// let pinned = file.pin(0..4096, Access::Write).wait()?;
/// let pinned = ring.submit(Request::read(&source, 0), pinned)?.wait()?.whole()?;
///
/// let mut magic = [0; 4];
/// pinned.copy_out(0, &mut magic)?;
/// assert_eq!(&magic, b"\x7fELF");
/// # Ok(()) }
/// ```
pub struct Uring {
    shared: Arc<Shared>,
}

/// What outlives the [`Uring`] while there are transfers of it.
struct Shared {
    this: Weak<Self>,
    flights: Flights,
    depth: u32,
    lock: RingLock,
    /// Gone once it is closed.
    ring: Mutex<Option<Arc<Ring>>>,
    gathering: Mutex<Gathering>,
    attendant: Mutex<Option<JoinHandle<()>>>,
    /// How long the attendant waits when it ends the ring itself.
    farewell: Mutex<Option<Until>>,
    closing: AtomicBool,
}

impl Uring {
    /// One with the usual options.
    ///
    /// # Errors
    /// As [`UringOptions::create`].
    pub fn new() -> Result<Self, RingError> {
        UringOptions::new().create()
    }

    /// Its name, which its pins carry: `io_uring 4711.3-1f2e3d4c5b6a7988`.
    pub fn name(&self) -> &Arc<str> {
        self.shared.flights.name()
    }

    /// Submits one request. Where the queue is full it waits for room.
    ///
    /// The range is moved from its start, in the order of its segments. What does not fit into as many parts as the queue
    /// is deep, or on a stream into one, is not moved: the transfer ends short.
    ///
    /// # Errors
    /// [`Refused`], with the memory as it was; the request is `Copy`. What the kernel says of the transfer is a completion.
    pub fn submit(&self, request: Request<'_>, pinned: Pinned) -> Result<InFlight, Box<Refused>> {
        self.submit_one(request, pinned, Room::Wait)
    }

    /// As [`Uring::submit`], but never waits: [`SubmitError::Full`] where the queue is full.
    ///
    /// # Errors
    /// As there.
    pub fn try_submit(&self, request: Request<'_>, pinned: Pinned) -> Result<InFlight, Box<Refused>> {
        self.submit_one(request, pinned, Room::Refuse)
    }

    /// Submits several requests, in one call of the kernel where they find room; what became of each, in order.
    pub fn submit_all<'r>(
        &self,
        requests: impl IntoIterator<Item = (Request<'r>, Pinned)>,
    ) -> Vec<Result<InFlight, Box<Refused>>> {
        // Taken before anything is locked: the iterator may do what it likes.
        let requests: Vec<_> = requests.into_iter().collect();
        let Some(ring) = self.shared.ring() else {
            return requests.into_iter().map(|(_, pinned)| Err(self.shared.is_shut_down(pinned))).collect();
        };
        let mut scratch = Vec::new();
        let mut submitted = Vec::with_capacity(requests.len());
        let mut queue = ring.lock();
        for (request, pinned) in requests {
            let staged;
            (queue, staged) = self.shared.stage(&ring, queue, &mut scratch, request, pinned, Room::Wait);
            submitted.push(staged);
        }
        self.shared.enter(&ring, &mut queue);
        submitted
    }

    fn submit_one(&self, request: Request<'_>, pinned: Pinned, room: Room) -> Result<InFlight, Box<Refused>> {
        let Some(ring) = self.shared.ring() else { return Err(self.shared.is_shut_down(pinned)) };
        let mut scratch = Vec::new();
        let (mut queue, submitted) = self.shared.stage(&ring, ring.lock(), &mut scratch, request, pinned, room);
        self.shared.enter(&ring, &mut queue);
        submitted
    }

    /// How many transfers are in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.flights.in_flight()
    }

    /// How many of those were given up: dropped, cancelled, and not ended yet. Their pins are in quarantine.
    pub fn given_up(&self) -> usize {
        self.shared.flights.given_up()
    }

    /// Asks later, and from elsewhere, whether the ring is gone.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn lock(&self) -> Result<RingLock, LockError> {
        self.shared.lock.try_clone()
    }

    /// Cancels what is in flight, waits as long as `until` says, and ends the ring.
    ///
    /// # Errors
    /// [`LeftBehind`] if something did not end. It is in quarantine, until the kernel is done with it: then a thread
    /// releases it, or whoever asks [`Uring::lock`] first.
    pub fn shut_down(self, until: Until) -> Result<RingIsGone, LeftBehind> {
        match self.shared.close(until) {
            0 => Ok(RingIsGone::seen(self.name())),
            transfers => Err(LeftBehind { engine: Arc::clone(self.name()), transfers }),
        }
    }
}

/// Registered memory.
impl Uring {
    /// Registers the memory under a pool's files as it is now, so that the kernel need not look its pages up for each read
    /// and write: in windows of at most 1 GiB. What is in place already stays; what a pool gets later is registered by
    /// another call. Transfers of one segment that lies in one window use it; all others are plain.
    ///
    /// Registered memory is locked in RAM, and the pool lives, until [`Uring::unregister`] or the end of the ring.
    ///
    /// # Errors
    /// [`RegisterError`] where nothing could be registered at all. What was refused in part is in [`Registered`], and costs
    /// speed, nothing else.
    pub fn register(&self, pool: &Pool) -> Result<Registered, RegisterError> {
        let ring = self.registering()?;
        ring.lock().windows.register(ring.io(), pool, &pool.backed())
    }

    /// What of a pool is registered.
    pub fn registered(&self, pool: &Pool) -> Vec<Range<u64>> {
        let ring = self.shared.ring();
        ring.map_or(Vec::new(), |ring| ring.lock().windows.of(pool).collect())
    }

    /// Undoes [`Uring::register`]. Transfers in flight are not disturbed.
    ///
    /// # Errors
    /// [`RegisterError::ShutDown`].
    pub fn unregister(&self, pool: &Pool) -> Result<(), RegisterError> {
        let ring = self.registering()?;
        let closed = ring.lock().windows.close(ring.io(), pool);
        // Not under the lock: the last handle of a pool may be among them.
        drop(closed);
        Ok(())
    }

    fn registering(&self) -> Result<Arc<Ring>, RegisterError> {
        if !self.shared.flights.is_of_this_process() {
            return Err(RegisterError::Forked);
        }
        self.shared.ring().ok_or_else(|| RegisterError::ShutDown(Arc::clone(self.name())))
    }
}

// SAFETY: the kernel is told of memory by `stage` alone, after it is in the table. Entries leave the table by the kernel's
// completions, or into quarantine (T1). `RingIsGone` is made when all have completed, or when the ring's lock is free (R1).
unsafe impl Engine for Uring {
    type Request<'r> = Request<'r>;
    type Proof = RingIsGone;

    fn name(&self) -> &Arc<str> {
        self.name()
    }

    fn submit<'r>(
        &self,
        request: Self::Request<'r>,
        pinned: Pinned,
    ) -> Result<InFlight, Box<Refused<Self::Request<'r>>>> {
        self.submit(request, pinned).map_err(|refused| refused.of(request))
    }

    fn shut_down(self, until: Until) -> Result<RingIsGone, LeftBehind> {
        self.shut_down(until)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.shared.close(Until::after(self.shared.flights.patience()));
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("name", self.name()).field("in_flight", &self.in_flight()).finish()
    }
}

/// What to do where the queue is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Wait,
    Refuse,
}

impl Shared {
    fn ring(&self) -> Option<Arc<Ring>> {
        if !self.flights.is_of_this_process() {
            return None;
        }
        lock(&self.ring).clone()
    }

    fn is_shut_down(&self, pinned: Pinned) -> Box<Refused> {
        let error = match self.flights.is_of_this_process() {
            true => SubmitError::ShutDown(Arc::clone(self.flights.name())),
            false => SubmitError::Forked,
        };
        Box::new(Refused { error, request: (), pinned })
    }

    /// Takes a request in and stages its entries; who has the queue enters them. `scratch` keeps what they point to.
    fn stage<'q>(
        self: &Arc<Self>,
        ring: &'q Ring,
        mut queue: MutexGuard<'q, Queue>,
        scratch: &mut Vec<Split>,
        request: Request<'_>,
        mut pinned: Pinned,
        room: Room,
    ) -> (MutexGuard<'q, Queue>, Result<InFlight, Box<Refused>>) {
        if let Err(error) = self.check(&queue, &request) {
            return (queue, Err(Box::new(Refused { error, request: (), pinned })));
        }
        let split = Split::of(pinned.segments(), if request.has_places() { self.depth } else { 1 });
        let what = request.what(split.parts());
        let ticket = loop {
            match self.flights.board(pinned, what) {
                Ok(ticket) => break ticket,
                Err(refused) if room == Room::Wait && matches!(refused.error, SubmitError::Full { .. }) => {
                    self.enter(ring, &mut queue);
                    drop(queue);
                    self.flights.wait_for_room(&**self, what.parts);
                    queue = ring.lock();
                    pinned = refused.pinned;
                }
                Err(refused) => return (queue, Err(refused)),
            }
        };
        self.push(&mut queue, &request, &split, ticket);
        if let Split::Several(_) = split {
            scratch.push(split);
        }
        (queue, Ok(InFlight::new(Arc::clone(self) as Arc<dyn Driver>, ticket)))
    }

    fn check(&self, queue: &Queue, request: &Request<'_>) -> Result<(), SubmitError> {
        if let Some(errno) = queue.broken {
            return Err(SubmitError::Broken { engine: Arc::clone(self.flights.name()), errno });
        }
        request.check()
    }

    #[inline]
    fn push(&self, queue: &mut Queue, request: &Request<'_>, split: &Split, ticket: Ticket) {
        let parts = match split {
            Split::One { address, len } => {
                let fixed = queue.windows.find(*address, u64::from(*len)).filter(|_| request.takes_fixed());
                let memory = match fixed {
                    Some(buffer) => Memory::Fixed { address: *address, len: *len, buffer },
                    None => Memory::One { address: *address, len: *len },
                };
                queue.staged.push(request.entry(&memory, 0).user_data(user_data(ticket, 0)));
                return;
            }
            Split::Several(parts) => parts,
        };
        if parts.len() > 1 {
            lock(&self.gathering).begin(ticket, parts);
        }
        for (index, part) in parts.iter().enumerate() {
            let number = if parts.len() > 1 { index as u64 + 1 } else { 0 };
            let entry = request.entry(&part.memory(), part.skip());
            queue.staged.push(entry.user_data(user_data(ticket, number)));
        }
    }

    /// Has the kernel take what is staged (U1).
    fn enter(&self, ring: &Ring, queue: &mut Queue) {
        let Err(refusal) = ring.enter(queue, || self.flights.take_in(self)) else { return };
        let left = refusal.left.into_iter();
        self.flights.complete_all(left.filter_map(|data| self.outcome(data, Err(refusal.errno))));
    }

    /// Has the kernel take entries of our own, which say nothing.
    fn enter_now(&self, entries: impl IntoIterator<Item = squeue::Entry>) {
        let Some(ring) = self.ring() else { return };
        let mut queue = ring.lock();
        queue.staged.extend(entries.into_iter().map(|entry| entry.user_data(SAYS_NOTHING)));
        self.enter(&ring, &mut queue);
    }

    /// What a completion comes to: nothing, for a part that is not the last.
    #[inline]
    fn outcome(&self, user_data: u64, outcome: Outcome) -> Option<(Ticket, Outcome)> {
        if user_data == SAYS_NOTHING {
            return None;
        }
        let (ticket, part) = (Ticket::from_bits(user_data >> PART_BITS), user_data as usize & PART_MASK);
        match part.checked_sub(1) {
            None => Some((ticket, outcome)),
            Some(part) => Some((ticket, lock(&self.gathering).ended(ticket, part, outcome)?)),
        }
    }

    fn take_completions(&self, ring: &Ring) {
        let mut room = [const { MaybeUninit::<cqueue::Entry>::uninit() }; COMPLETIONS_MAX];
        loop {
            let taken = ring.take(&mut room);
            let outcomes = taken.iter().map(|entry| (entry.user_data(), outcome_of(entry.result())));
            self.flights.complete_all(outcomes.filter_map(|(data, outcome)| self.outcome(data, outcome)));
            if taken.len() < COMPLETIONS_MAX {
                return;
            }
        }
    }
}

impl Driver for Shared {
    fn flights(&self) -> &Flights {
        &self.flights
    }

    fn cancel(&self, ticket: Ticket) {
        let parts = lock(&self.gathering).parts(ticket);
        let numbers = parts.map_or(0..=0, |parts| 1..=parts as u64);
        self.enter_now(numbers.map(|number| opcode::AsyncCancel::new(user_data(ticket, number)).build()));
    }

    fn drive(&self, sleep: Option<Until>) -> Drove {
        let Some(ring) = self.ring() else { return Drove::Look };
        let mut drove = Drove::Look;
        if !ring.has_completions() {
            match sleep {
                Some(until) => drove = ring.sleep(until),
                None => ring.bring_overflow(),
            }
        }
        self.take_completions(&ring);
        drove
    }

    fn interrupt(&self) {
        self.enter_now([opcode::Nop::new().build()]);
    }

    fn attend(&self) -> io::Result<()> {
        self.start_attendant()
    }
}

/// How many completions are taken out at once.
const COMPLETIONS_MAX: usize = 64;

const PART_BITS: u32 = 16;
const PART_MASK: usize = (1 << PART_BITS) - 1;

/// U2.
#[inline]
fn user_data(ticket: Ticket, part: u64) -> u64 {
    ticket.bits() << PART_BITS | part
}

fn outcome_of(result: i32) -> Outcome {
    u64::try_from(result).map_err(|_| -result)
}

/// What these locks guard is sound at every point where a thread could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
