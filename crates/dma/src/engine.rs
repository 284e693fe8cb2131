//! The trait of all engines.

use std::sync::Arc;

use pinfold::{Pinned, Quiescent, Until};

use crate::error::{LeftBehind, Refused};
use crate::flights::InFlight;

/// Something that moves data between a device and pinned memory: an io_uring, an RDMA queue pair, a CUDA stream.
///
/// A request goes in with the memory, by value, and both come back with its completion. In between nobody but the engine
/// can let go of the pins. [`Flights`](crate::Flights) does what all engines have in common: use it, and what is left to
/// write is to tell the device, to hear its completions, to ask it to cancel, and to prove that it is quiet.
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use pinfold::{Access, PinInfo, Pinned, Quiescent, Until};
/// # use pinfold::Segment;
/// # use pinfold_dma::{Driver, Engine, Flights, InFlight, LeftBehind, Refused, Ticket, What};
/// # struct QueuePair; struct Remote { key: u64 }
/// # impl QueuePair {
/// #     fn read(&self, _: u64, _: u64, _: &[Segment]) {}
/// #     fn into_error_state(&self) {}
/// #     fn next_flushed(&self) -> Option<u64> { None }
/// # }
/// /// One queue pair: requests go to its send queue, a thread polls its completion queue.
/// struct Rdma {
///     shared: Arc<Shared>,
/// }
///
/// struct Shared {
///     flights: Flights,
///     pair: QueuePair,
/// }
///
/// impl Driver for Shared {
///     fn flights(&self) -> &Flights {
///         &self.flights
///     }
///
///     fn cancel(&self, _: Ticket) {
///         // A work request cannot be taken back: its completion comes, or the queue pair fails.
///     }
/// }
///
/// // SAFETY: the queue pair is told of memory after `board`, and completions reach `complete` from its completion queue
/// // alone. `shut_down` makes its proof once the pair is in error state and every request was flushed.
/// unsafe impl Engine for Rdma {
///     type Request<'r> = Remote;
///     type Proof = PairIsFlushed;
///
///     fn name(&self) -> &Arc<str> {
///         self.shared.flights.name()
///     }
///
///     fn submit<'r>(
///         &self,
///         remote: Self::Request<'r>,
///         pinned: Pinned,
///     ) -> Result<InFlight, Box<Refused<Self::Request<'r>>>> {
///         let what = What { verb: "RDMA read", at: None, access: Access::Write, parts: 1, host: false };
///         let segments = pinned.segments().to_vec();
///         let ticket = match self.shared.flights.board(pinned, what) {
///             Ok(ticket) => ticket,
///             Err(refused) => return Err(refused.of(remote)),
///         };
///         self.shared.pair.read(ticket.bits(), remote.key, &segments);
///         Ok(InFlight::new(self.shared.clone(), ticket))
///     }
///
///     fn shut_down(self, _: Until) -> Result<PairIsFlushed, LeftBehind> {
///         self.shared.flights.close();
///         self.shared.pair.into_error_state();
///         while let Some(flushed) = self.shared.pair.next_flushed() {
///             self.shared.flights.complete(Ticket::from_bits(flushed), Err(libc::ECANCELED));
///         }
///         Ok(PairIsFlushed { name: self.name().clone() })
///     }
/// }
///
/// struct PairIsFlushed {
///     name: Arc<str>,
/// }
///
/// // SAFETY: only `shut_down` makes one, after the queue pair was flushed, and no other pair has its name.
/// unsafe impl Quiescent for PairIsFlushed {
///     fn covers(&self, pin: &PinInfo) -> bool {
///         *pin.engine == *self.name
///     }
/// }
/// ```
///
/// The suite in `conformance` (a feature) tells whether an engine keeps the contract.
///
/// # Safety
/// - From before the device is told of memory until its completion was seen, the [`Pinned`] is kept: it is not dropped,
///   not handed out, and its pins carry the engine's name.
/// - What did not complete when the engine ends is [abandoned](Pinned::abandon), never dropped.
/// - A [`Engine::Proof`] exists only once the device can reach no memory that this engine was given.
pub unsafe trait Engine: Send + Sync + Sized {
    /// What the device is asked to do with the memory: which file and offset, which remote key, which stream.
    type Request<'r>;
    /// What proves that the device is done with all that it was ever given.
    type Proof: Quiescent;

    /// The engine's name, which its pins carry. No other queue's, now or later.
    fn name(&self) -> &Arc<str>;

    /// Tells the device to move data between pinned memory and what the request names. Where the queue is full it waits
    /// for room.
    ///
    /// # Errors
    /// [`Refused`], with request and memory as they were. What the device refuses later is a completion.
    fn submit<'r>(
        &self,
        request: Self::Request<'r>,
        pinned: Pinned,
    ) -> Result<InFlight, Box<Refused<Self::Request<'r>>>>;

    /// Cancels what is in flight, waits for it as long as `until` says, and ends the engine. Dropping an engine does the
    /// same, with the engine's patience.
    ///
    /// # Errors
    /// [`LeftBehind`] if something did not end: its pins are in quarantine, and the engine sees to it that they are released
    /// when its proof can be made.
    fn shut_down(self, until: Until) -> Result<Self::Proof, LeftBehind>;
}
