//! Requests to the process that owns a pinfold pool.
//!
//! A pool has one owner: its names, its blocks and its pins are changed by one process alone. Another process that wants to
//! change something asks that one, by a socket beside the pool: `POOL.live/socket`. An application that keeps a pool open calls
//! [`serve`]; whoever wants something calls [`reach`], which opens the pool, or, where somebody else owns it, connects to him.
//! Either way a request is carried out by the same code, [`carry_out`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("pool");
//! use pinfold::{Pool, live_dir_of};
//! use pinfold_control::{Answer, FileChange, Request, Waiting, reach, serve};
//!
//! // The owner.
//! let pool = Pool::format(&path, 64 << 20)?;
//! pool.create("/frames")?.write_at(0, &[7; 65536])?;
//! let serving = serve(&pool, live_dir_of(&path))?;
//!
//! // Anybody else of the same user.
//! let mut reached = reach(&path)?;
//! let change = FileChange::Truncate { len: 4096 };
//! let waiting = Waiting { timeout_ms: Some(1000), ..Waiting::default() };
//! reached.ask(&Request::Change { path: "/frames".into(), create: false, change, waiting })?;
//! assert_eq!(pool.open("/frames")?.len(), 4096);
//! assert!(matches!(reached.ask(&Request::Pins)?, Answer::Pins(pins) if pins.is_empty()));
//! reached.leave()?;
//!
//! drop(serving);
//! pool.close()?;
//! # Ok(()) }
//! ```
//!
//! # Who is served
//! Processes of the owner's user, and of root. The socket is its user's alone, and the kernel says who connected. A pool is one
//! domain of trust; still, nothing that a client sends makes the owner misbehave: messages and loops are bounded, and a client
//! that stops in the middle of anything is hung up on.
//!
//! # Who goes away
//! A client that hangs up withdraws the request that it waits for: bytes and layout are as they were (G6).
//!
//! # Features
//! - `tracing` (default): the events of pinfold and its engines.

mod answer;
mod asker;
mod carry_out;
mod client;
mod door;
mod path_text;
mod pin_text;
mod reach;
mod refusal;
mod request;
mod server;
mod wire;

pub use answer::{
    Answer, Break, BrokenRange, Entry, Metadata, PARKED_PINS_MAX, Parked, Pin, Quarantine, Released, Stats,
};
pub use carry_out::{carry_out, put, rings_in};
pub use client::{Client, ConnectError};
pub use pin_text::parse_pin_id;
pub use reach::{ReachError, Reached, reach};
pub use refusal::Refusal;
pub use request::{FileChange, Policy, Put, Request, Waiting};
pub use server::{ServeError, ServeOptions, Serving, serve};
