//! Engines: they move data between devices and the pinned memory of a [`pinfold`] pool, and never let go of a pin while
//! their device may still write.
//!
//! [`Uring`] moves data between any descriptor and pinned memory: files and block devices with `O_DIRECT` or without,
//! sockets, pipes. A request goes in with the memory, and both come back with the completion:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold::{Access, Pool, Region};
//! use pinfold_dma::{Request, Uring};
//!
//! let pool = Pool::new(Region::memfd(64 << 20)?)?;
//! let file = pool.create("/program")?;
//! file.allocate(0..65536).wait()?;
//!
//! // The device writes into the blocks of the file.
//! let ring = Uring::new()?;
//! let source = std::fs::File::open("/proc/self/exe")?;
//! let pinned = file.pin(0..65536, Access::Write).wait()?;
//! let transfer = ring.submit(Request::read(&source, 0), pinned)?;
//! println!("{}", pool.pins()[0]); // ... holds a device write pin ..., through io_uring 4711.1-...
//!
//! // It does not wait for the device: what that still reaches is parked, and nobody gets it.
//! file.truncate(4096).detach().wait()?;
//!
//! let pinned = transfer.wait()?.whole()?; // or `until` a deadline, `try_now`, or `.await`
//! drop(pinned); // unpins
//! assert_eq!(pool.stats().parked, 0);
//! # Ok(()) }
//! ```
//!
//! # What happens to a transfer
//! - **It completes.** [`Completion`] gives the memory back, still pinned. Errors of the device, and short ends, are results.
//! - **It is dropped.** [`InFlight`] cancels, and waits as long as the engine's patience lasts. What does not end is in
//!   quarantine (G8): a pin without a holder, which `Wait` waits for by name and `Detach` does not. When its completion does
//!   come, it unpins.
//! - **Its engine is dropped.** That cancels all and waits. What does not end is in quarantine until the queue is gone: each
//!   ring has a locked file that it alone keeps, and when the lock can be taken, no DMA of the ring is left. A thread waits
//!   for that, and releases.
//! - **Its process dies.** The kernel goes on for a while. With [`UringOptions::lock_dir`] the next owner finds the ring's
//!   lock, asks it, and shows the proof to the pool: see [`RingLock`].
//!
//! Never does a time-out unpin, nor a process's death.
//!
//! # Engines of your own
//! [`Engine`] is the trait for RDMA, GPUs and whatever else moves data; [`Flights`] is the half that all engines share, and
//! `conformance` (a feature) is the suite that they have to pass. [`late::LateDevice`] is an engine whose completions come
//! when a test says so.
//!
//! # Bring your own completion
//! A ring that you have already needs no engine. Keep the [`Pinned`](pinfold::Pinned) with what you keep for each request,
//! from before the submission until after the completion:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::collections::HashMap;
//! use std::os::fd::AsRawFd;
//!
//! use io_uring::{IoUring, opcode, types};
//! use pinfold::{Access, Pinned, Pool, Region, Until};
//! use pinfold_dma::RingLock;
//!
//! # let pool = Pool::new(Region::memfd(1 << 20)?)?;
//! # let file = pool.create("/mine")?;
//! # file.allocate(0..4096).wait()?;
//! # let source = std::fs::File::open("/dev/zero")?;
//! let mut ring = IoUring::new(8)?;
//! // 1. A name for the pins, and the lock that proves when the ring is gone.
//! // SAFETY: the descriptor is registered before it is closed, and nothing else carries the name.
//! let (held, lock) = unsafe { RingLock::take(None) }?;
//! ring.submitter().register_files(&[held.as_raw_fd()])?;
//! drop(held);
//!
//! // 2. Pin, say who has it, keep it, submit: in this order.
//! let mut in_flight: HashMap<u64, Pinned> = HashMap::new();
//! let mut pinned = file.pin(0..4096, Access::Write).labelled(lock.name(), "block 0")?.wait()?;
//! pinned.hand_over();
//! let segment = pinned.segments()[0];
//! let read = opcode::Read::new(types::Fd(source.as_raw_fd()), segment.address as *mut u8, segment.len as u32);
//! in_flight.insert(17, pinned);
//! // SAFETY: the memory is pinned until its completion was seen.
//! unsafe { ring.submission().push(&read.build().user_data(17)) }?;
//! ring.submit_and_wait(1)?;
//!
//! // 3. With the completion it is yours again.
//! for completion in ring.completion() {
//!     let mut pinned = in_flight.remove(&completion.user_data()).expect("one of ours");
//!     pinned.written(completion.result().max(0) as u64);
//!     pinned.take_back();
//! }
//!
//! // 4. What you give up is abandoned, never dropped, and released when the ring is gone.
//! for (_, pinned) in in_flight.drain() {
//!     pinned.abandon();
//! }
//! drop(ring);
//! pool.release(&lock.wait(Until::done())?)?;
//! # Ok(()) }
//! ```
//!
//! With the feature `compio`, a pinned range is an owned buffer for compio's rings.
//!
//! # What it cannot see
//! A transfer belongs to its pins, not to its file descriptor: what another program does to the same file or disk is between
//! you and it. What the kernel copies for a descriptor without `O_DIRECT` counts as a device's transfer: it outlives the
//! process too.
//!
//! # Limits
//! - Linux 5.11 or later for [`Uring`]; 5.19 for registered memory.
//! - The kernel counts a transfer to the thread that submitted it. If that thread ends first, a transfer that waits for its
//!   data (a receive) may end with `ECANCELED`. Pins are safe either way.
//! - Each queue takes one of its holder's labels (1024, unless the area was made with more).
//!
//! # Features
//! - `tracing` (default): an event for each transfer that is given up.
//! - `conformance`: the suite for engines.
//! - `compio`: owned buffers.

#[cfg(feature = "compio")]
pub mod compio;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod error;
mod flights;
pub mod late;
mod lock;
mod name;
mod process;
mod uring;

pub use engine::Engine;
pub use error::{
    Doing, LeftBehind, LockError, Refused, RegisterError, RingError, SubmitError, TransferError, WaitError, What,
};
pub use flights::{Completion, Driver, Drove, Flights, InFlight, Outcome, PATIENCE, Ticket};
pub use lock::{RingIsGone, RingLock};
pub use uring::{Registered, Request, Uring, UringOptions};
