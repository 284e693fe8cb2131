//! Pins, layout breaks and busy extents: direct-access memory whose blocks are never used again while anyone can still
//! reach them.
//!
//! You have memory into which devices DMA (a slab pool, a registered buffer, a file system on persistent memory) and an
//! allocator for it. Free a block while a transfer is in flight, and the device writes into whatever the allocator put
//! there next. This crate is the mechanism that Linux has for files on DAX (`dax_layout_busy_page()`, break, wait), in
//! user space and completed. It knows objects, ranges, holders and time; it knows no files, no names and no I/O, and it
//! touches no byte of your memory.
//!
//! - A **pin** says that a range of an object is under DMA, or under a copy. Making one takes a few stores.
//! - A **break** makes sure that nobody is in a range while you take its blocks away: it waits for those who are in
//!   ([`Policy::Wait`]), or leaves them what they reach ([`Policy::Detach`]).
//! - **Busy extents** are what left an object and may not be used yet. [`BusyExtents::reap`] is the only way back into the
//!   allocator, and a [`FreeExtent`] the proof that it was taken. Whoever finds no space there watches for it
//!   ([`SpaceWatch`]), tries again, and waits.
//!
//! ```
//! use pinfold_layout::{Access, Area, AreaOptions, CommitId, Effect, Extent, PinSpec, Policy, Until};
//!
//! let area = Area::embedded(AreaOptions::default())?;
//! let holder = area.holder()?;
//! let cache_entry = area.layout(7)?; // object 7, of which blocks 40..48 are positions 0..8
//!
//! // A device reads into positions 2..4. `resolve` looks up your own map, once the pin is in.
//! let write = PinSpec::device(Access::Write);
//! let transfer = holder.pin(&cache_entry, 2..4, write, Until::done(), || 42..44)?;
//! assert_eq!(transfer.resolved(), &(42..44));
//!
//! // Meanwhile the entry is evicted. Nobody waits for the device: what it reaches is parked.
//! let mut eviction = area.break_layout(&[(&cache_entry, 0..8)], Policy::Detach, Effect::Frees)?;
//! eviction.drain(Until::done())?.commit(|| vec![Extent { object: 7, start: 0, end: 8, block: 40 }]);
//!
//! let busy = area.busy_extents();
//! let free: u64 = busy.reap(CommitId::ALL, |free| free.iter().map(|free| free.extent().len()).sum());
//! assert_eq!(free, 6);
//! println!("still busy: {}", area.parked()[0].pins[0]); // who, what, through which engine, since when
//!
//! drop(transfer); // the completion came
//! assert_eq!(busy.reap(CommitId::ALL, |free| free[0].extent().block), 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it cannot see
//! A raw address that is kept after its pin is gone, a memory registration made behind its back, a system call into memory
//! that was not pinned. One host: atomics and futexes do not reach across hosts without hardware coherence.
//!
//! # Features
//! - `tracing` (default): an event for each wait that lasts, and for each pin that an operator releases.

mod area;
mod event;
mod invite;
mod liveness;
mod look;
mod mechanism;
mod memory;
mod named;
mod owner_lock;
mod prologue;
mod segments;
mod sync;

pub use area::{Area, AreaOptions};
pub use event::EventWaker;
pub use invite::Invitation;
pub use look::{AreaLook, ParkedLook, PinLook};
pub use mechanism::attribution::{BreakInfo, BusyExtentInfo, Observer, PinId, PinInfo, Quarantined};
pub use mechanism::batch::{Gathering, PinRequest};
pub use mechanism::busy_extents::{BusyExtents, BusyStats, CommitId, Extent, FreeExtent};
pub use mechanism::error::{AreaError, BreakError, LabelError, PinError, SpaceError, UnpinError};
pub use mechanism::geometry::Geometry;
pub use mechanism::holder::Holder;
pub use mechanism::layout_break::{Canceller, Draining, Effect, Idle, LayoutBreak, Policy};
pub use mechanism::pin::{Access, Label, Pin, PinSpec, Pinning, RawPin};
pub use mechanism::quarantine::{OperatorDecision, Quiescent, ReleaseError};
pub use mechanism::recall::{LongTerm, LongTermPin, Recall, Recalled};
pub use mechanism::revoke::{NotRevoked, Views};
pub use mechanism::space::SpaceWatch;
pub use mechanism::transfer::Transfer;
pub use mechanism::until::Until;
pub use mechanism::view::{Layout, LayoutToken};
