//! Devices against every operation that frees or moves blocks, with every sector stamped.
//!
//! ```
//! use std::time::Duration;
//! use pinfold_torture::{Engine, Options, run};
//!
//! let options = Options { time: Duration::from_millis(300), engine: Engine::Late, ..Options::default() };
//! let report = run(&options, &|progress| eprintln!("{} raced", progress.raced))?;
//! assert!(report.is_as_it_should_be(), "{report}");
//! # Ok::<(), pinfold_torture::TortureError>(())
//! ```
//!
//! Many threads bring a device into small files of one pool that is nearly full: it fills ranges of them with stamps, or
//! takes their bytes out. At once they cut, punch, zero, shift, exchange, unlink and replace those files. Each file has a view; every
//! other device is told addresses of it, and every other look of the host is taken through it. A log of who did
//! what, and when, says of every sector which stamps it may hold; whatever is read, by the host or by a device, is
//! compared with that. A late write that hits somebody else's block is seen as a foreign stamp, one that hits the file's
//! own new block as a stale one.
//!
//! A *raced* operation is one whose range met a transfer in flight when it began, by that log.
//!
//! What it checks: G1 and G10 (every sector holds what it may, and no operation returns before the transfers that it
//! promises to wait for), G2 and G4 (nothing hangs), G3 (a newcomer does not get in past a break that waits), G5 (what has
//! nobody in its way does not wait), and that pins, blocks and descriptors come back.
//!
//! [`crash`] kills the owners of lasting pools instead, again and again.
//!
//! The same load runs against a plain store that frees without looking ([`Options::baseline`]), and has to find its
//! corruption: else it would find none in pinfold either.
//!
//! Stays true  H1: load and checks are the same code for all stores.
//!             H2: what hangs ends the run, with a report that names it; its threads are left where they are.
//! Who calls   one run at a time: who opens descriptors meanwhile disturbs the count of them.
//! A crash     leaves nothing: the scratch file has no name, the pool is in memory.

pub mod crash;
mod device;
mod error;
mod findings;
mod flight;
mod load;
mod lock;
mod log;
mod options;
mod report;
mod run;
mod sectors;
mod stamp;
mod store;
mod tally;
mod touch;
mod watch;

#[cfg(test)]
mod tests;

pub use error::TortureError;
pub use findings::{Violation, ViolationKind};
pub use options::{Engine, Options, Policies};
pub use report::{Left, Progress, Report};
pub use run::run;
pub use tally::{OperationCounts, OperationKind};
