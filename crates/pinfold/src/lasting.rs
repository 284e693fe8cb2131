//! Lasting pools: made on a medium, opened again, closed.
//!
//! Opening reads the checkpoint, replays the log, and builds what is in memory; then a checkpoint is taken if there was
//! anything to replay, so that the log begins anew. What devices of a dead process may still reach is in the layout area
//! beside the pool: their pins are in quarantine, and what left files under them is parked.
//!
//! Stays true  L1: nothing is written before the whole of it was read and checked, and the layout area is there.
//!             L2: a block is in a file, parked, in the checkpoint or free, and in one of these alone.
//!             L3: the superblock says so as long as devices of this boot may reach the pool.
//! Lock order  none is held: nobody else has the pool yet, or any more.
//! Dead owner  leaves a log; the next one replays it. Files without a name, and reservations, go then; what a device
//!             reaches of them is parked.

mod build;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pinfold_layout::Area;
use pinfold_region::{Region, RegionKind, RegionOptions};

use self::build::Built;
use crate::allocator::Allocator;
use crate::core::Core;
use crate::error::{JournalError, PoolError};
use crate::file::evict;
use crate::journal::{Journal, Keeper, spare};
use crate::lock::lock;
use crate::medium::checkpoint::Stream;
use crate::medium::image::{Image, NoImage};
use crate::medium::log::is_empty;
use crate::medium::skim::Skimmed;
use crate::medium::superblock::{LOG_START, NoSuperblock, POOL_BYTES_MAX, POOL_BYTES_MIN, SUPERBLOCKS, Superblock};
use crate::pool::{Pool, PoolOptions, Shared};
use crate::sync::Room;
use crate::token::this_boot;
use crate::units::BlockSize;

/// How often what nobody syncs is made durable, unless told otherwise.
pub(crate) const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// Addresses that are set aside for a pool to grow into, unless it is longer.
const RESERVE_MIN: u64 = 64 << 30;

/// Lasting pools.
impl PoolOptions {
    /// How often what nobody syncs is made durable; `None`: never. Every 5 s unless told otherwise.
    #[must_use]
    pub fn commit_every(mut self, interval: Option<Duration>) -> Self {
        self.lasting.commit_every = interval;
        self
    }

    /// Where the layout area and the locks of rings lie: a directory. Beside the pool unless told otherwise: its path with
    /// `.live` at the end.
    #[must_use]
    pub fn live_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.lasting.live_dir = Some(dir.into());
        self
    }

    /// Lets [`PoolOptions::format`] take the place of a pool that is there. What that held is lost.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.lasting.force = force;
        self
    }

    /// Says that no device reaches the pool's memory, though the layout area which would know is lost. If one does, it
    /// writes into other files.
    #[must_use]
    pub fn no_dma_in_flight(mut self, so: bool) -> Self {
        self.lasting.no_dma_in_flight = so;
        self
    }

    /// Makes a pool of `len` bytes in the file `path`, or in a device-DAX device of that length. A file that is there already
    /// is used if it is no shorter, and holds no pool.
    ///
    /// # Errors
    /// [`PoolError`]: above all `Exists`. Nothing is written then.
    pub fn format(self, path: impl AsRef<Path>, len: u64) -> Result<Pool, PoolError> {
        let path = path.as_ref();
        self.check_length(len)?;
        let (options, beside) = (region_options(len), self.beside(path));
        if path.exists() {
            return self.format_region(options.open(path)?, len, Some(&beside));
        }
        let region = options.create(path, len)?;
        self.format_region(region, len, Some(&beside)).inspect_err(|_| {
            // It was made just now, and is nothing yet.
            let _ = std::fs::remove_file(path);
        })
    }

    /// Opens the pool that a file or device-DAX device holds, and becomes its owner.
    ///
    /// What devices of a process that died may still reach is in quarantine ([`Pool::quarantine`]).
    ///
    /// # Errors
    /// [`PoolError`]: `Region` while another process owns it, `NotAPool`, `Version`, `Damaged`, `Cut`, `AreaLost`. Nothing is
    /// written then.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Pool, PoolError> {
        let path = path.as_ref();
        let len = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let region = region_options(len).open(path)?;
        let beside = self.beside(path);
        self.open_region(region, Some(&beside))
    }

    /// As [`PoolOptions::format`], in memory that the caller has opened. For `live_dir` see [`PoolOptions::open_region`].
    ///
    /// # Errors
    /// As there.
    pub fn format_region(self, region: Region, len: u64, live_dir: Option<&Path>) -> Result<Pool, PoolError> {
        self.check_length(len)?;
        let block = BlockSize::new(self.bytes_of_block()).ok_or(PoolError::BadBlockSize(self.bytes_of_block()))?;
        if region.kind() == RegionKind::DeviceOnly {
            return Err(PoolError::NoMedium);
        }
        if region.len() < len {
            return Err(PoolError::Cut { len, have: region.len() });
        }
        let former = Superblock::read(&region);
        if !self.lasting.force && !matches!(former, Err(NoSuperblock::NotAPool)) {
            return Err(PoolError::Exists);
        }
        if let Ok(former) = &former {
            self.check_nobody_reaches(former, live_dir)?;
        }
        // Whoever has written the file may have left it there in large pages.
        region.forget_cache();
        let mut pool = [0; 16];
        rustix::rand::getrandom(&mut pool, rustix::rand::GetRandomFlags::empty()).map_err(PoolError::Random)?;
        let superblock = Superblock::new(pool, block.offset(block.floor(len)), block);
        write_first(&region, &superblock)?;
        self.open_region(region, live_dir)
    }

    /// As [`PoolOptions::open`], in memory that the caller has opened. Without `live_dir` nobody remembers pins beyond this
    /// process: if it is killed, the pool is opened in the same boot only with [`PoolOptions::no_dma_in_flight`].
    ///
    /// # Errors
    /// As there.
    pub fn open_region(self, region: Region, live_dir: Option<&Path>) -> Result<Pool, PoolError> {
        let superblock = Superblock::read(&region).map_err(NoImage::Superblock)?;
        let found = Found::read(&region, &superblock)?;
        let area = self.open_area(&superblock, live_dir)?;
        self.begin(region, superblock, found, area)
    }

    /// Where the layout area of a pool is.
    pub(crate) fn beside(&self, path: &Path) -> PathBuf {
        self.lasting.live_dir.clone().unwrap_or_else(|| live_dir_of(path))
    }

    fn check_length(&self, len: u64) -> Result<(), PoolError> {
        match (POOL_BYTES_MIN..=POOL_BYTES_MAX).contains(&len) {
            true => Ok(()),
            false => Err(PoolError::BadLength { len, min: POOL_BYTES_MIN, max: POOL_BYTES_MAX }),
        }
    }

    /// The layout area of a pool, taken over from its former owner.
    fn open_area(&self, superblock: &Superblock, live_dir: Option<&Path>) -> Result<Area, PoolError> {
        let needed = superblock.area_needed && superblock.boot == this_boot() && !self.lasting.no_dma_in_flight;
        let there = live_dir.is_some_and(|dir| Area::is_there(&dir.join(AREA)));
        if needed && !there {
            return Err(PoolError::AreaLost);
        }
        let options = self.area_options();
        let Some(dir) = live_dir else {
            return Ok(if self.is_shared() { Area::shared(options)? } else { Area::embedded(options)? });
        };
        make_dir(dir)?;
        let area = Area::open(&dir.join(AREA), options)?;
        if needed && area.parked_lost() > 0 && !area.quarantine().is_empty() {
            return Err(PoolError::AreaLost);
        }
        Ok(area)
    }

    /// Before another pool takes the place of one: no device may reach it.
    fn check_nobody_reaches(&self, former: &Superblock, live_dir: Option<&Path>) -> Result<(), PoolError> {
        let area = self.open_area(former, live_dir)?;
        match area.pins().into_iter().next() {
            Some(pin) => Err(PoolError::Reached(Box::new(pin))),
            None => Ok(()),
        }
    }

    fn begin(self, region: Region, superblock: Superblock, found: Found, area: Area) -> Result<Pool, PoolError> {
        let durable_commit = Arc::new(AtomicU64::new(0));
        let (block, blocks) = (superblock.block, superblock.blocks());
        let found = match !area.pins().is_empty() || !area.busy_extents().inherited().is_empty() {
            true => found.into_image(&region, &superblock)?,
            false => found,
        };
        let (end, chunks, checkpoint_bytes) = found.on_medium(&superblock);
        let chunks = chunks.iter().map(|(first, len)| *first..first + len).collect();
        let spare = spare(&superblock).max(spare_of(&superblock, checkpoint_bytes, end));
        let pool_id = superblock.pool;
        let opened =
            Superblock { epoch: superblock.epoch + 1, boot: this_boot(), area_needed: true, ..superblock.clone() };
        let built = match found {
            Found::Image(image) => Built::from(image, &superblock, &area.busy_extents())?,
            Found::Skimmed(skimmed) => Built::cold(skimmed, &superblock)?,
        };
        let allocator = Allocator::new(
            &region,
            block,
            blocks,
            built.free(blocks),
            area.busy_extents(),
            Arc::clone(&durable_commit),
        );
        for run in built.used() {
            allocator.put_behind(&region, run)?;
        }
        for pin in area.pins() {
            built.expose(pin.object);
        }
        allocator.set_spare(spare);
        durable_commit.store(area.busy_extents().newest_commit().0, Ordering::Release);
        let durability = region.durability();
        let core = Core {
            block,
            journal: Journal::new(opened, chunks, end, durability, &durable_commit),
            allocator,
            nodes: built.nodes,
            last_id: AtomicU64::new(built.last_node),
            to_sync: Default::default(),
            syncing: Default::default(),
            pinned_by_others: self.is_shared().into(),
            region,
        };
        core.journal.begin_anew(&core)?;
        let shared = Shared::new(pool_id, None, built.root, core, area, self.views())?;
        let keeper = Keeper::start(shared.core(), self.lasting.commit_every).map_err(PoolError::Thread)?;
        *lock(&shared.keeper) = keeper;
        for orphan in &built.orphans {
            evict(&shared, orphan, None);
        }
        Ok(Pool { shared })
    }
}

/// Lasting pools.
impl Pool {
    /// Makes a pool of `len` bytes in the file `path`, with blocks of 4 KiB. See [`PoolOptions::format`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = std::env::temp_dir().join(format!("pinfold-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir)?;
    /// # let path = dir.join("pool");
    /// use pinfold::Pool;
    ///
    /// let pool = Pool::format(&path, 64 << 20)?;
    /// pool.create("/model")?.write_at(0, b"weights")?;
    /// pool.sync()?; // from here on it is there, whatever happens
    /// pool.close()?;
    ///
    /// let pool = Pool::load(&path)?;
    /// assert_eq!(pool.open("/model")?.len(), 7);
    /// # drop(pool); std::fs::remove_dir_all(&dir)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn format(path: impl AsRef<Path>, len: u64) -> Result<Self, PoolError> {
        PoolOptions::new().format(path, len)
    }

    /// Opens the pool that a file or device-DAX device holds, and becomes its owner. See [`PoolOptions::open`].
    /// (`pool.open(path)` opens a file in a pool.)
    ///
    /// # Errors
    /// As there.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PoolError> {
        PoolOptions::new().open(path)
    }

    /// Makes everything durable, and says so on the medium: the next opening has nothing to replay. Handles that are left
    /// can read, and change nothing more. Dropping the last handle does the same, but cannot tell what went wrong.
    ///
    /// # Errors
    /// [`JournalError`]: what was synced before is there.
    pub fn close(self) -> Result<(), JournalError> {
        self.shared.evict_late();
        self.shared.close()
    }

    /// Takes a checkpoint now: the next opening has nothing to replay up to here.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn checkpoint(&self) -> Result<(), JournalError> {
        self.shared.journal.checkpoint(self.shared.core())
    }

    /// Makes a lasting pool `len` bytes long, while it is in use. Rounded down to whole blocks; a pool never shrinks.
    ///
    /// # Errors
    /// [`PoolError`]: `Grow` for memory that cannot, or not so far. The pool is as it was then.
    pub fn grow(&self, len: u64) -> Result<(), PoolError> {
        let shared = &self.shared;
        let Some(superblock) = shared.journal.superblock() else { return Err(PoolError::NoMedium) };
        let len = shared.block.offset(shared.block.floor(len));
        if len > POOL_BYTES_MAX {
            return Err(PoolError::BadLength { len, min: superblock.len, max: POOL_BYTES_MAX });
        }
        if len < superblock.len {
            return Err(PoolError::Shrinks { len: superblock.len, asked: len });
        }
        if len > shared.region.len() {
            shared.region.grow(len.next_multiple_of(shared.region.granule()))?;
        }
        shared.journal.change_superblock(shared.core(), |superblock| superblock.len = superblock.len.max(len))?;
        shared.allocator.grow(shared.block.floor(len));
        Ok(())
    }

    /// Whether it outlives its process.
    pub fn is_lasting(&self) -> bool {
        self.shared.journal.is_live()
    }

    /// How many bytes of the log are in use, and how many it has. Nothing without a medium.
    pub fn log_use(&self) -> (u64, u64) {
        self.shared.journal.log_use()
    }
}

impl Shared {
    fn close(&self) -> Result<(), JournalError> {
        if !self.journal.is_live() {
            return Ok(());
        }
        self.core().sync_all(Room::Wait)?;
        self.journal.checkpoint(self.core())?;
        self.allocator.reap();
        let reached = !self.area.pins().is_empty() || self.allocator.busy().stats() != Default::default();
        self.journal.change_superblock(self.core(), |superblock| superblock.area_needed = reached)?;
        self.journal.close();
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let keeper = lock(&self.keeper).take();
        // In a child of the owner's process nothing of it is ours.
        if self.region.bytes(0..0).is_err() {
            keeper.into_iter().for_each(Keeper::forget);
            return;
        }
        if !self.journal.has_failed() {
            // The keeper is needed until everything has its room in the log. What fails is found by the next opening.
            let _ = self.close();
        }
        drop(keeper);
    }
}

/// What a medium says, checked.
enum Found {
    /// There was nothing to replay.
    Skimmed(Skimmed),
    Image(Image),
}

impl Found {
    fn read(region: &Region, superblock: &Superblock) -> Result<Self, NoImage> {
        let stream = Stream::read(region, superblock)?;
        let stream = match is_empty(region, superblock)? {
            true => match Skimmed::of(stream, superblock) {
                Ok(skimmed) => return Ok(Self::Skimmed(skimmed)),
                Err(stream) => stream,
            },
            false => stream,
        };
        Image::of(stream, region, superblock).map(Self::Image)
    }

    /// The whole of it: where devices may reach files, these are looked at now.
    fn into_image(self, region: &Region, superblock: &Superblock) -> Result<Self, NoImage> {
        match self {
            Self::Skimmed(skimmed) => Image::of(skimmed.stream, region, superblock).map(Self::Image),
            image @ Self::Image(_) => Ok(image),
        }
    }

    /// Where the log ends; where the checkpoint lies, and how long it is.
    fn on_medium(&self, superblock: &Superblock) -> (u64, &[(u64, u64)], u64) {
        match self {
            Self::Skimmed(Skimmed { stream, .. }) => {
                (superblock.replay_from, &stream.chunks, stream.items.len() as u64)
            }
            Self::Image(image) => (image.end, &image.chunks, image.checkpoint_bytes),
        }
    }
}

/// Options of a lasting pool.
#[derive(Clone)]
pub(crate) struct Lasting {
    commit_every: Option<Duration>,
    live_dir: Option<PathBuf>,
    force: bool,
    no_dma_in_flight: bool,
}

impl Default for Lasting {
    fn default() -> Self {
        Self { commit_every: Some(COMMIT_EVERY), live_dir: None, force: false, no_dma_in_flight: false }
    }
}

/// The layout area, in the directory beside a pool.
pub(crate) const AREA: &str = "area";

/// The directory beside the pool at `path`.
pub fn live_dir_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".live");
    PathBuf::from(name)
}

fn make_dir(dir: &Path) -> Result<(), PoolError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(PoolError::LiveDir { dir: dir.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn region_options(len: u64) -> RegionOptions {
    RegionOptions::new().reserve(RESERVE_MIN.max(len.saturating_mul(2)))
}

/// Writes the first superblock of a pool; no other counts after this.
fn write_first(region: &Region, superblock: &Superblock) -> Result<(), PoolError> {
    region.allocate(0..superblock.block.offset(superblock.first_block()))?;
    let bytes = superblock.to_bytes();
    // Written once, the log is changed in place from here on: a file system underneath has nothing to note then.
    let log = LOG_START..LOG_START + superblock.log_len;
    region.zero(log.clone()).map_err(PoolError::Access)?;
    region.flush(log)?;
    let durable = |place: std::ops::Range<u64>| -> Result<(), PoolError> {
        region.flush(place)?;
        Ok(region.fence()?)
    };
    for place in SUPERBLOCKS {
        region.zero(place..place + bytes.len() as u64).map_err(PoolError::Access)?;
        durable(place..place + bytes.len() as u64)?;
    }
    let [place, _] = superblock.places();
    region.bytes(place..place + bytes.len() as u64).and_then(|to| to.copy_in(0, &bytes)).map_err(PoolError::Access)?;
    durable(place..place + bytes.len() as u64)
}

/// How many blocks the first checkpoint after an opening may need: it holds what the log has added.
fn spare_of(superblock: &Superblock, checkpoint_bytes: u64, end: u64) -> u64 {
    superblock.block.ceil(checkpoint_bytes + (end - superblock.replay_from)) + 2
}

impl From<NoImage> for PoolError {
    fn from(error: NoImage) -> Self {
        match error {
            NoImage::Superblock(NoSuperblock::NotAPool) => Self::NotAPool,
            NoImage::Superblock(NoSuperblock::Version(found)) => Self::Version { found },
            NoImage::Superblock(NoSuperblock::Damaged(why)) => Self::Damaged(why.to_owned()),
            NoImage::Superblock(NoSuperblock::Cut { len, have }) => Self::Cut { len, have },
            NoImage::Superblock(NoSuperblock::Io(error)) | NoImage::Io(error) => Self::Io(error),
            NoImage::Damaged(why) => Self::Damaged(why),
        }
    }
}
