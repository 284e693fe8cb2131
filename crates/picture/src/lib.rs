//! The picture of a pool: its blocks by file, free, parked, quarantined and pinned, so that a person sees how fragmented it
//! is, and what is stuck.
//!
//! A [`Chart`] says what each block is. It is plain data: a live pool can fill it, and so can whoever only reads a pool's
//! medium. Out of a chart come a picture for a browser ([`svg`]) and one for a terminal ([`text`]). Both show every block
//! once, at its place; one parked block in 16 TiB is too small for that, and is marked all the same.
//!
//! ```
//! use pinfold_picture::{Chart, Look, Part, Stretch, What};
//!
//! let weights = Part { name: "/weights".into(), id: 7, offset: 0 };
//! let chart = Chart {
//!     title: "a small pool".into(),
//!     block_size: 4096,
//!     blocks: 64,
//!     stretches: vec![
//!         Stretch { blocks: 0..24, what: What::File { of: weights, unwritten: false } },
//!         Stretch { blocks: 24..64, what: What::Free },
//!     ],
//!     pins: vec![],
//! };
//! let plain = pinfold_picture::text(&chart, Look { columns: 80, coloured: false });
//! assert!(plain.contains("AAAAAAAA........"));
//! assert!(pinfold_picture::svg(&chart).starts_with("<svg "));
//! ```
//!
//! Stays true  P1: the same chart gives the same bytes.
//!             P2: names are data: no text of a chart becomes markup, or moves a terminal's cursor.
//!             P3: an SVG picture is smaller than 1 MiB, and holds neither scripts nor references to anything outside of it.
//! Who calls   anybody; nothing here reads a file, locks, or prints.

mod chart;
mod palette;
mod rows;
mod runs;
mod said;
mod shown;
mod size;
mod sums;
mod svg;
mod text;

pub use chart::{Chart, Part, PinMark, Stretch, What};
pub use svg::svg;
pub use text::{Look, text};
