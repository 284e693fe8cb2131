//! The pool: a region, its block map and its names.
//!
//! Stays true  O1: region, layout area and holder live as long as any handle, any pin, and any transfer that was given
//!                 up and not released.
//!             O2: the keeper is gone before the last handle is: nobody but the handles has more than the `Core`.
//! Lock order  see [`node`](crate::node).
//! Dead owner  a pool without a medium ends with its process. What devices still reach then is the region's memory, which
//!             the kernel keeps for them, and which no other pool gets. A lasting one is opened again (`lasting`).

use std::iter::once;
use std::ops::{Deref, Range};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pinfold_layout::{Area, AreaOptions, Holder, OperatorDecision, PinInfo, Quiescent, ReleaseError, Transfer};
use pinfold_region::{Region, RegionKind};

use crate::allocator::{Allocator, Fresh};
use crate::core::Core;
use crate::error::{NoSpace, PoolError, SpaceError};
use crate::file::evict;
use crate::journal::{Journal, Keeper};
use crate::lasting::Lasting;
use crate::lock::lock;
use crate::names::Directory;
use crate::node::{FileId, Kind, Node};
use crate::space::Goal;
use crate::token::this_opening;
use crate::units::BlockSize;
use crate::view::PoolViews;

/// How a pool is made.
#[derive(Clone)]
pub struct PoolOptions {
    block_size: u64,
    area: AreaOptions,
    shared: bool,
    zero: Option<Arc<dyn Zero>>,
    trap_views: bool,
    pub(crate) lasting: Lasting,
}

/// Writes zeros into memory that only a device can address.
pub trait Zero: Send + Sync {
    /// Writes `len` zeros at `address`, and returns when they are there.
    ///
    /// # Errors
    /// What the device says. The blocks are not used then.
    fn zero(&self, address: u64, len: u64) -> std::io::Result<()>;
}

impl<F: Fn(u64, u64) -> std::io::Result<()> + Send + Sync> Zero for F {
    fn zero(&self, address: u64, len: u64) -> std::io::Result<()> {
        self(address, len)
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        let (area, lasting) = (AreaOptions::default(), Lasting::default());
        Self { block_size: 4096, area, shared: false, zero: None, trap_views: true, lasting }
    }
}

impl PoolOptions {
    /// Blocks of 4 KiB, an area for this process alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a block: a power of two from 4 KiB to 2 MiB.
    #[must_use]
    pub fn block_size(mut self, bytes: u64) -> Self {
        self.block_size = bytes;
        self
    }

    /// How the layout area is made: capacities, limited mode (G12), who is told of waits that last.
    #[must_use]
    pub fn area(mut self, options: AreaOptions) -> Self {
        self.area = options;
        self
    }

    /// Lets other processes be invited to pin ([`Pool::area`]).
    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// How blocks are zeroed where the host cannot (G10). Needed for [`RegionKind::DeviceOnly`], unused elsewhere.
    #[must_use]
    pub fn zero_with(mut self, zero: impl Zero + 'static) -> Self {
        self.zero = Some(Arc::new(zero));
        self
    }

    /// Whether views are taken away by breaks where the kernel offers that (default), or are long-term pins in any case
    /// ([`View::revocable`](crate::View::revocable)): for who must do without userfaultfd, and for testing that one does.
    #[must_use]
    pub fn trap_views(mut self, trap: bool) -> Self {
        self.trap_views = trap;
        self
    }

    pub(crate) fn views(&self) -> PoolViews {
        if self.trap_views { PoolViews::default() } else { PoolViews::never_trapped() }
    }

    pub(crate) fn bytes_of_block(&self) -> u64 {
        self.block_size
    }

    pub(crate) fn area_options(&self) -> AreaOptions {
        self.area.clone()
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// A new, empty pool on `region`, which ends with its process. What the region held is not looked at, and nobody will
    /// see it. For one that lasts see [`PoolOptions::format`].
    ///
    /// # Errors
    /// [`PoolError`]; the region is dropped then.
    pub fn create(self, region: Region) -> Result<Pool, PoolError> {
        let block = BlockSize::new(self.block_size).ok_or(PoolError::BadBlockSize(self.block_size))?;
        if region.len() < block.bytes() {
            return Err(PoolError::TooSmall { len: region.len(), block: block.bytes() });
        }
        let views = self.views();
        let zero = self.zero.filter(|_| region.kind() == RegionKind::DeviceOnly);
        if zero.is_none() && region.kind() == RegionKind::DeviceOnly {
            return Err(PoolError::NoZeroing);
        }
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(PoolError::Random)?;
        let area = if self.shared { Area::shared(self.area)? } else { Area::embedded(self.area)? };
        let root = Node::new(ROOT, Kind::Directory(Directory::default()));
        root.add_first_link();
        let durable_commit = Arc::new(AtomicU64::new(u64::MAX));
        let blocks = block.floor(region.len());
        let core = Core {
            block,
            journal: Journal::default(),
            allocator: Allocator::new(&region, block, blocks, once(0..blocks), area.busy_extents(), durable_commit),
            nodes: Arc::default(),
            last_id: AtomicU64::new(ROOT.0),
            to_sync: Mutex::default(),
            syncing: Mutex::default(),
            pinned_by_others: AtomicBool::new(self.shared),
            region,
        };
        core.nodes.add(&root);
        let shared = Shared::new(id, zero, root, core, area, views)?;
        Ok(Pool { shared })
    }
}

/// The root directory.
pub(crate) const ROOT: FileId = FileId(1);

/// Files in a region of memory. Cheap to clone; all clones are one pool.
#[derive(Clone)]
pub struct Pool {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of a pool share.
pub(crate) struct Shared {
    pub(crate) id: [u8; 16],
    /// This boot of this machine, and this opening of the pool: tokens do not outlive them.
    pub(crate) host: [u8; 16],
    zero: Option<Arc<dyn Zero>>,
    /// The address of the region's first byte, for devices.
    pub(crate) base: u64,
    pub(crate) root: Arc<Node>,
    /// Held while a directory moves to another one.
    pub(crate) moving: Mutex<()>,
    /// Files whose blocks are still to be taken out (see [`evict`]).
    pub(crate) to_evict: Mutex<Vec<Arc<Node>>>,
    /// This pool itself, while transfers that were given up may reach its memory (O1).
    kept_mapped: Mutex<Option<Arc<Shared>>>,
    /// Of a pool with a medium.
    pub(crate) keeper: Mutex<Option<Keeper>>,
    pub(crate) views: PoolViews,
    // From here on in the order in which they must go.
    pub(crate) holder: Arc<Holder>,
    pub(crate) area: Area,
    core: Arc<Core>,
}

impl Deref for Shared {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Pool {
    /// A new, empty pool on `region`, with blocks of 4 KiB, for this process. See [`PoolOptions`] for more.
    ///
    /// # Errors
    /// [`PoolError`]; the region is dropped then.
    pub fn new(region: Region) -> Result<Self, PoolError> {
        PoolOptions::new().create(region)
    }

    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        &self.shared.region
    }

    /// The layout area: to invite other processes, and to look at what is below.
    pub fn area(&self) -> &Area {
        self.shared.others_pin();
        &self.shared.area
    }

    /// The holder of this process's pins.
    pub fn holder(&self) -> &Arc<Holder> {
        self.shared.others_pin();
        &self.shared.holder
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> u64 {
        self.shared.block.bytes()
    }

    /// The pins without a holder (G8).
    pub fn quarantine(&self) -> Vec<PinInfo> {
        self.shared.area.quarantine()
    }

    /// Lets the pins go that a proof covers, out of quarantine; how many there were. Operations that waited for them go
    /// on.
    ///
    /// # Errors
    /// [`ReleaseError::NoMark`] when the table of void marks is full.
    pub fn release(&self, proof: &dyn Quiescent) -> Result<usize, ReleaseError> {
        let released = self.shared.area.release(proof)?;
        self.shared.after_release();
        Ok(released)
    }

    /// Lets one pin go, out of quarantine, because a person says that no device reaches it. The decision is logged.
    ///
    /// # Errors
    /// [`ReleaseError::HasHolder`] for a pin that is not in quarantine.
    pub fn release_by_operator(&self, decision: &OperatorDecision) -> Result<PinInfo, ReleaseError> {
        let released = self.shared.area.release_by_operator(decision)?;
        self.shared.after_release();
        Ok(released)
    }
}

/// Whether two handles are of one pool.
impl PartialEq for Pool {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Pool {}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish()
    }
}

impl Shared {
    /// From here on pins may be made that no handle of a file knows of.
    fn others_pin(&self) {
        // ORDER: relaxed; whoever pins so has looked up his blocks after this, under the map's lock, and it is read
        // under that lock.
        self.pinned_by_others.store(true, Ordering::Relaxed);
    }

    /// A pool over `core`, whose nodes are there.
    pub(crate) fn new(
        id: [u8; 16],
        zero: Option<Arc<dyn Zero>>,
        root: Arc<Node>,
        core: Core,
        area: Area,
        views: PoolViews,
    ) -> Result<Arc<Self>, PoolError> {
        let host = this_opening(core.journal.epoch());
        Ok(Arc::new(Self {
            id,
            host,
            zero,
            base: core.region.bytes(0..0).map_or(0, |start| start.address()),
            root,
            moving: Mutex::new(()),
            to_evict: Mutex::default(),
            kept_mapped: Mutex::default(),
            keeper: Mutex::default(),
            views,
            holder: area.holder()?,
            area,
            core: Arc::new(core),
        }))
    }

    /// What the keeper works on.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Takes `want` blocks (see [`Allocator::take`]), of what could not be evicted in time too.
    pub(crate) fn take(self: &Arc<Self>, want: u64, goal: Goal) -> Result<Fresh<'_>, SpaceError> {
        match self.allocator.take(&self.region, want, goal) {
            Err(SpaceError::Full(space)) => match self.make_free(&space) {
                true => self.allocator.take(&self.region, want, goal),
                false => Err(SpaceError::Full(space)),
            },
            taken => taken,
        }
    }

    /// Whether it is worth trying again: what is freed and not durable is durable after a commit (G9), and what could not be
    /// evicted in time may be evicted now.
    pub(crate) fn make_free(self: &Arc<Self>, space: &NoSpace) -> bool {
        let durable = space.not_durable > 0 && self.flush_log().is_ok();
        self.evict_late() || durable
    }

    /// Writes zeros over pool blocks.
    pub(crate) fn zero(&self, blocks: &Range<u64>) -> std::io::Result<()> {
        self.zero_bytes(self.block.to_bytes(blocks))
    }

    /// Writes zeros over bytes of the region.
    pub(crate) fn zero_bytes(&self, bytes: Range<u64>) -> std::io::Result<()> {
        match &self.zero {
            Some(zero) => zero.zero(self.base + bytes.start, bytes.end - bytes.start),
            None => self.region.zero(bytes).map_err(|error| std::io::Error::from_raw_os_error(error.errno())),
        }
    }

    /// Gives a transfer up, and keeps the pool's memory mapped and claimed while it may reach it (O1).
    pub(crate) fn abandon(self: &Arc<Self>, transfer: Transfer) {
        // Under the lock, so that a release in between does not let the memory go.
        let mut kept_mapped = lock(&self.kept_mapped);
        transfer.abandon();
        *kept_mapped = Some(Arc::clone(self));
    }

    fn after_release(self: &Arc<Self>) {
        self.allocator.reap();
        let mut kept_mapped = lock(&self.kept_mapped);
        if self.area.quarantine().is_empty() {
            // Not the last handle: the caller has one.
            kept_mapped.take();
        }
    }

    /// Tries again what could not be evicted when it should have been; false if there was nothing. It waits for nobody:
    /// such a file is open to none.
    pub(crate) fn evict_late(self: &Arc<Self>) -> bool {
        let late = std::mem::take(&mut *lock(&self.to_evict));
        late.iter().for_each(|node| evict(self, node, None));
        !late.is_empty()
    }
}

/// The path of a file, if it has a name.
pub(crate) fn path_of(node: &Node) -> Option<PathBuf> {
    Some(PathBuf::from(std::ffi::OsString::from_vec(node.path()?)))
}
