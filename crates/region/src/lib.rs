//! The memory under a pool: map, claim, zero, flush.
//!
//! A [`Region`] is a range of memory into which devices may DMA: a memfd, a file on tmpfs or hugetlbfs, a
//! regular file, persistent memory, a device-DAX device, memory that the caller had already, or memory
//! that only a device can address. It has one owner at a time. It knows no files, no names and no pins.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold_region::Region;
//!
//! let region = Region::memfd(1 << 20)?;
//! region.allocate(0..region.len())?; // a full /dev/shm is an error here, not a SIGBUS later
//!
//! let block = region.bytes(8192..12288)?;
//! block.copy_in(0, b"direct access")?;
//! region.flush(8192..12288)?; // free here; msync or cache-line write-back on other kinds
//! region.fence()?;
//!
//! let mut seen = [0; 13];
//! block.copy_out(0, &mut seen)?;
//! assert_eq!(&seen, b"direct access");
//! # Ok(()) }
//! ```
//!
//! # Windows
//!
//! A [`Window`] is what a region is to the host's loads and stores: addresses of its own that show parts of it, piece by piece, and trap
//! what is not shown ([`Traps`]). What is seen there changes in one step, under threads that use it. It needs a region that has a file.
//!
//! # What each kind promises
//!
//! | [`RegionKind`] | claimed by | [`flush`](Region::flush) | grows | [`allocate`](Region::allocate) |
//! |---|---|---|---|---|
//! | memfd, tmpfs | its file | nothing to do | yes | `fallocate` |
//! | memfd of huge pages, hugetlbfs | its file | nothing to do | yes | `fallocate`; mapping reserves the pages |
//! | regular file | its file | `msync` | yes | `fallocate` |
//! | file on persistent memory | its file | cache lines | yes | `fallocate` |
//! | device-DAX | its device node | cache lines | no | nothing to do |
//! | adopted memory | its addresses, in this process | nothing to do | no | populates the pages |
//! | device-only | its addresses, in this process | nothing to do | no | nothing to do |
//!
//! # What it cannot see
//!
//! - Two device nodes for one device-DAX device are two files to claim. Memory that is adopted by address is
//!   claimed within its process: nobody can tell that another process has it mapped.
//! - Whoever may write a file may truncate it under the region: touching what is gone is a `SIGBUS`. A memfd
//!   made here is sealed against that. So is a file whose medium fails while a page is read.
//! - The claim is advisory, as `flock` is: it keeps out those who ask.
//! - An address kept after the region is dropped.
//!
//! # What was not run
//!
//! Device-DAX and `MAP_SYNC` need persistent or CXL memory: the code is here, its parsing of sysfs is tested, a
//! real device was never mapped by it. The aarch64 code was compiled, not run.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("pinfold-region needs 64-bit Linux: its regions are larger than 32-bit address spaces");

mod addresses;
mod bytes;
mod cache_lines;
mod claim;
mod copy;
mod dax;
mod error;
mod flush;
mod fork;
mod kind;
mod map;
mod open;
mod page_cache;
mod region;
mod window;

pub use bytes::SharedBytes;
pub use cache_lines::CacheLineInstruction;
pub use claim::holder_of;
pub use error::{AccessError, AllocateError, FlushError, GrowError, Holder, OpenError, WindowError};
pub use flush::{Durability, Persist};
pub use kind::{HugePageSize, RegionKind};
pub use map::BASE_ALIGN;
pub use open::RegionOptions;
pub use region::Region;
pub use window::{Fault, NoTraps, Traps, WINDOWS_MAX, Window};
