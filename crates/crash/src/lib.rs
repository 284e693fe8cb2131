//! Loss of power in simulation, under a region.
//!
//! A [`Medium`] stands behind the flushes of a [`Region`](pinfold_region::Region) and knows at every moment which bytes are
//! durable. A test runs its load on the region as on any other. At each *boundary* (before and after each
//! flush and each fence takes effect) it may [`cut`](Medium::cut) the power in thought, and take from the [`Cut`] as many
//! [`Image`]s as it likes: what the medium may hold when the power comes back, with the stores that were not yet durable kept
//! or lost at will. An image becomes a region, and the program under test recovers from it.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! use pinfold_crash::{Keep, Medium};
//! use pinfold_region::{Durability, Region};
//!
//! // A program that promises: once `put` returns, the number is there.
//! fn put(region: &Region, number: u64) -> Result<(), Box<dyn std::error::Error>> {
//!     region.bytes(0..8)?.copy_in(0, &number.to_le_bytes())?;
//!     region.flush(0..8)?;
//!     Ok(region.fence()?)
//! }
//! fn get(region: &Region) -> u64 {
//!     let mut number = [0; 8];
//!     region.bytes(0..8).unwrap().copy_out(0, &mut number).unwrap();
//!     u64::from_le_bytes(number)
//! }
//!
//! let (medium, region) = Medium::new(1 << 20, Durability::PageCache)?;
//! let acknowledged = Arc::new(AtomicU64::new(0));
//! let promised = Arc::clone(&acknowledged);
//! medium.on_boundary(move |medium, _| {
//!     let cut = medium.cut().unwrap();
//!     for keep in Keep::various(0).take(10) {
//!         let survived = get(&cut.image(keep).into_region().unwrap());
//!         assert!(survived >= promised.load(Relaxed), "{cut}, {keep:?}: {survived} survived");
//!     }
//! });
//! for number in 1..=5 {
//!     put(&region, number)?;
//!     acknowledged.store(number, Relaxed);
//! }
//! assert_eq!(medium.boundaries(), 20); // five flushes, five fences, two sides of each
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Two ways to be everywhere
//!
//! - **A hook**, as above: one run, looked at from each boundary. The hook runs on the thread that flushes, so it must not
//!   touch the live region or what stands on it. It may also just collect cuts, which are cheap to keep, with what was
//!   acknowledged at the time; the test recovers from them when the run is over. That is the better form where the
//!   program flushes on threads of its own: an assertion that fails in a hook fails on the thread that flushed. (The
//!   power goes off then, so that the run ends by errors rather than by silence.)
//! - **Again and again**: run once and count the [`boundaries`](Medium::boundaries); then for each run once more with the
//!   [power off at](Medium::power_off_at) that boundary. The run ends by errors, as all flushes fail, and `cut` has the
//!   instant. For programs that must be seen to cope with that.
//!
//! A crash during a recovery: [`Image::into_medium`], and the same once more.
//!
//! # What is simulated
//!
//! Stores are in memory at once, and durable by and by. What a test may rely on, and what it must expect:
//!
//! | | [`PageCache`](pinfold_region::Durability::PageCache): `msync` | [`CacheLines`](pinfold_region::Durability::CacheLines): `clwb`, `sfence` |
//! |---|---|---|
//! | `flush` takes | the pages of 4096 bytes that hold the range, neighbours and all | its lines of 64 bytes, as they are at that moment |
//! | durable | when it returns | when the next `fence` *of the same thread* returns; no other thread's fence counts |
//! | stored to again after the flush | not durable | not durable: the line as it was flushed is |
//! | before that | each page is kept or lost, for itself, in no order | each line the same; flushed and changed since: old, flushed or new |
//! | without any flush | the kernel may write a page whenever it likes | the cache may evict a line whenever it likes |
//! | kept as a whole | a page; [`torn`](Cut::torn): a sector of 512 bytes | a line; [`torn`](Cut::torn): 8 bytes |
//!
//! Eight bytes that are stored at once, at a multiple of eight, are never torn, by any processor or disk that pinfold runs on. Whether more is
//! kept as a whole depends on the machine: disks promise a sector, processors move lines but promise eight bytes. Who
//! wants to be safe on all checks his records with [`Grain::Word`].
//!
//! On [`Volatile`](pinfold_region::Durability::Volatile) memory nothing becomes durable, whatever is flushed.
//!
//! # Media that fail, and media that lie
//!
//! [`Medium::on_call`] decides what becomes of each call. [`Answer::Fail`] gives an errno: `EIO` at the third flush, `ENOSPC`
//! from the tenth on. As in Linux, what a failed flush should have written is taken for clean afterwards: flushing again
//! succeeds, and writes nothing ([`FlushError`](pinfold_region::FlushError)). [`Answer::Lie`] leaves a flush or a fence out, to see that a
//! test notices.
//!
//! ```
//! use pinfold_crash::{Answer, Call, Medium};
//! use pinfold_region::Durability;
//!
//! let (medium, region) = Medium::new(1 << 20, Durability::PageCache)?;
//! medium.on_call(|call| match call {
//!     Call::WriteBack { nth: 2.., .. } => Answer::Fail(28), // ENOSPC, for ever
//!     _ => Answer::Honest,
//! });
//! region.flush(0..10)?;
//! region.flush(0..10)?;
//! assert_eq!(region.flush(0..10).unwrap_err().errno(), 28);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not see
//!
//! - **What lay in memory between two boundaries** and was stored over since: bytes are looked at when something happens to
//!   them. Of two stores to one place in one such interval, the first is never in an image. Of what was there at an earlier
//!   boundary, only [`Medium::evict`] makes images: call it in the hook, now and then.
//! - **The order of stores within a line.** Processors keep it; images may break it, at eight bytes. So a program that
//!   relies on it is found guilty by `torn(Grain::Word)`, and only by that.
//! - **Stores while a cut is taken.** Flushes wait for a cut, stores of other threads and of devices do not. So what a cut says is true, but two
//!   runs with several threads differ.
//! - **How a device's bytes travel.** A byte that a device wrote counts as one that a processor stored.
//! - The region's length, and whatever else is about a file and not in its bytes.
//!
//! # What it costs
//!
//! A cut reads what has memory behind it, and compares; a region of an image writes it. An image by itself costs the pages that differ.
//! Equal images (`==`) need no second recovery: comparing them costs less.

#![forbid(unsafe_code)]

mod call;
mod cut;
mod durable;
mod image;
mod keep;
mod medium;
mod memory;
mod pages;

pub use call::{Answer, Boundary, Call, Side};
pub use cut::Cut;
pub use image::Image;
pub use keep::{Grain, Keep};
pub use medium::Medium;
