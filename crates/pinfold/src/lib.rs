//! Direct-access files in a pool of memory, into which devices may DMA, and whose blocks are never used again while
//! anyone can still reach them.
//!
//! A [`Pool`] is a region of memory with files in it. A file's bytes lie in the pool's blocks, and nowhere else: a device
//! that is given their addresses reads and writes the file itself. So a block must not be freed under it. [`File::pin`]
//! gives addresses, and as long as the [`Pinned`] lives, the blocks under them are used for nothing else, whatever happens
//! to the file: truncate, hole punch, unlink, the death of the process (G1).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold::{Access, Pool, Region};
//!
//! let pool = Pool::new(Region::memfd(64 << 20)?)?;
//! let file = pool.create("/chunk")?;
//! file.allocate(0..8 << 20).try_now()?;
//!
//! // A device writes into the file: give it addresses and lengths, and drop the pin when it is done.
//! let pinned = file.pin(0..8 << 20, Access::Write).labelled("nic 0", "chunk 17")?.wait()?;
//! println!("{:#x}, {} bytes", pinned.segments()[0].address, pinned.segments()[0].len);
//!
//! // Meanwhile the file is cut. This does not wait: what the device reaches is parked, and nobody gets it.
//! file.truncate(0).detach().wait()?;
//! println!("{}", pool.pins()[0]); // who, which bytes, through which engine, since when
//! assert_eq!(pool.stats().parked, 8 << 20);
//!
//! drop(pinned); // the completion came
//! assert_eq!(pool.stats().parked, 0);
//! # Ok(()) }
//! ```
//!
//! # Four forms
//! Whatever can wait is built first and then ended in one of four ways: `wait()`, `until(`[`Until`]`)` with a deadline,
//! `try_now()` which only looks, and `wait_async()`, a future of no particular runtime (G6). So are pins
//! ([`File::pin`]), changes of layout ([`File::truncate`], [`File::punch`], ...), and blocks ([`File::allocate`],
//! [`Pool::reserve`]). What gives up leaves everything as it was.
//!
//! # Views
//! [`File::map`] gives a file as memory: a [`View`] shows its blocks, and follows them. It keeps nobody waiting; a break takes it away while it
//! changes the layout. [`Pool::pin_addresses`] pins what lies under addresses of a view.
//!
//! # Bring your own memory
//! [`Region`] takes a memfd, files on tmpfs and hugetlbfs, regular files, device-DAX, memory that the caller has already,
//! and memory that only a device can address: that has files, pins and breaks too, and only copies by the host are
//! refused.
//!
//! # What lasts
//! A pool's names and block map live in memory, and end with its process, whatever its region is made of.
//!
//! # What it cannot see
//! A raw address that is kept after its pin is gone, a memory registration made behind its back, a system call into
//! memory that was not pinned. One host: atomics and futexes do not reach across hosts without hardware coherence.
//!
//! # Features
//! - `tracing` (default): an event for each wait that lasts, and for each pin that an operator releases.

mod allocation;
mod allocator;
mod by_id;
mod change;
mod changes;
mod cold;
mod copy;
mod core;
mod dirty;
mod error;
mod extents;
mod file;
pub mod fsck;
mod inode;
mod journal;
mod lasting;
mod lock;
mod long_term;
mod medium;
mod moments;
mod names;
mod node;
mod pinned;
mod pinning;
mod pool;
mod populate;
mod refusal;
mod report;
mod reservation;
mod snapshot;
mod space;
mod sync;
mod token;
mod units;
mod view;

pub use allocation::Allocation;
pub use change::Change;
pub use error::{
    AttributeError, ChangeError, CopyError, JournalError, NameError, NoSpace, PinError, PoolError, PublishError,
    SpaceError, ViewError,
};
pub use file::{File, FileExtent};
pub use inode::{Extend, Inode, SetAttributes};
pub use lasting::live_dir_of;
pub use long_term::{LongTermPinned, LongTermPinning};
pub use medium::source::Source;
pub use medium::superblock::{FORMAT_VERSION, POOL_BYTES_MAX, POOL_BYTES_MIN};
pub use names::{DirEntry, Held, Listed, Publish, Rename};
pub use node::{FileId, FileKind, Metadata, Special};
pub use pinfold_layout::{
    Access, AreaOptions, Label, LongTerm, OperatorDecision, PinInfo, Policy, Quiescent, Recall, Recalled, ReleaseError,
    Until,
};
pub use pinfold_region::{Region, RegionKind, RegionOptions};
pub use pinned::{Pinned, Segment};
pub use pinning::Pinning;
pub use pool::{Pool, PoolOptions, Zero};
pub use refusal::{NotBroken, NotPinned};
pub use report::{BreakReport, ParkedReport, PinReport, Place, Stats};
pub use reservation::{Reservation, Reserving, Unpublished};
pub use snapshot::{PoolInfo, Snapshot};
pub use token::{NotAToken, Redeemed, Token};
pub use units::FILE_BYTES_MAX;
pub use view::{AddressPinning, Mapping, View};
pub use {pinfold_layout as layout, pinfold_region as region};
