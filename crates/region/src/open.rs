//! Opening a region: check, claim, map, in this order.
//!
//! Stays true   O1: nothing is claimed that is not memory, nothing is mapped that is not claimed, nothing is
//!              named that is not mapped. What fails half-way is undone by the drops of what was made.
//! Who calls    anyone, on any thread. Locks: the claim, then the address registry; both are tried, not waited
//!              for.
//! Dead owner   a creator that dies half-way leaves no name, so the kernel frees the memory.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_getfl, fsync, ftruncate, linkat,
    memfd_create, open, unlink,
};
use rustix::io::Errno;
use rustix::param::page_size;

use crate::addresses::{Addresses, Space};
use crate::bytes::Place;
use crate::cache_lines::CacheLines;
use crate::claim::{Claim, ClaimError, reopen};
use crate::dax::{DaxError, SYSFS};
use crate::error::{AllocateError, OpenError};
use crate::flush::{PageCache, Persist, Volatile};
use crate::fork::Incarnation;
use crate::kind::{Backing, BackingError, HugePageSize, RegionKind};
use crate::map::{Manner, Mapping};
use crate::region::{MappedFile, Memory, Region};

/// How a region is opened: room to grow, and memory allocated at once.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold_region::RegionOptions;
///
/// let region = RegionOptions::new().reserve(1 << 30).allocate(true).memfd(1 << 20)?;
/// let before = region.bytes(0..4096)?;
/// region.grow(2 << 20)?; // `before` still points to the same bytes
/// before.copy_in(0, b"here")?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    reserve: Option<u64>,
    allocate: bool,
}

impl RegionOptions {
    /// No room to grow, memory on first touch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reserves `bytes` of addresses, the most that the region can grow to. They cost no memory.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.reserve = Some(bytes);
        self
    }

    /// Puts memory behind the whole region when it is opened and when it grows, see [`Region::allocate`].
    #[must_use]
    pub fn allocate(mut self, at_once: bool) -> Self {
        self.allocate = at_once;
        self
    }

    /// As [`Region::memfd`].
    ///
    /// # Errors
    /// As there; `BadReserve` besides, as for each of these.
    pub fn memfd(&self, len: u64) -> Result<Region, OpenError> {
        self.unnamed(Opening::of("memfd".into()), len, page_size() as u64, MemfdFlags::empty())
    }

    /// As [`Region::memfd_huge`].
    ///
    /// # Errors
    /// As there.
    pub fn memfd_huge(&self, len: u64, page_size: HugePageSize) -> Result<Region, OpenError> {
        let size = match page_size {
            HugePageSize::TwoMiB => MemfdFlags::HUGE_2MB,
            HugePageSize::OneGiB => MemfdFlags::HUGE_1GB,
        };
        let opening = Opening::of("memfd of huge pages".into());
        self.unnamed(opening, len, page_size.bytes(), MemfdFlags::HUGETLB | size)
    }

    fn unnamed(&self, opening: Opening, len: u64, granule: u64, flags: MemfdFlags) -> Result<Region, OpenError> {
        opening.check_length(len, granule)?;
        let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("pinfold", flags).map_err(opening.os("creating it (memfd_create)"))?;
        ftruncate(&file, len).map_err(opening.os("setting its length"))?;
        // Whoever is given the descriptor could take memory away under our addresses otherwise.
        fcntl_add_seals(&file, SealFlags::SHRINK).map_err(opening.os("sealing its length"))?;
        self.claim_and_map(&opening, file, Some(len))
    }

    /// As [`Region::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create(&self, path: impl AsRef<Path>, len: u64) -> Result<Region, OpenError> {
        let path = path.as_ref();
        let opening = Opening::of(path.display().to_string());
        opening.check_length(len, page_size() as u64)?;
        // Only to refuse early: that the name is free is decided by the link below.
        if path.symlink_metadata().is_ok() {
            return Err(opening.os("creating it")(Errno::EXIST));
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = open(parent, flags, Mode::RUSR | Mode::WUSR).map_err(opening.os("creating it (O_TMPFILE)"))?;
        ftruncate(&file, len).map_err(opening.os("setting its length"))?;
        let unnamed = self.claim_and_map(&opening, file, Some(len))?;
        let region = Region { kind: unnamed.kind.named(), ..unnamed };
        name(&opening, &region, parent, path)?;
        Ok(region)
    }

    /// As [`Region::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Region, OpenError> {
        let path = path.as_ref();
        let opening = Opening::of(path.display().to_string());
        // Look before opening: to open some devices is to make them act.
        let seen = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(opening.os("opening it"))?;
        opening.backing(&seen)?;
        let file = reopen(seen.as_fd()).map_err(opening.os("opening it"))?;
        drop(seen);
        self.claim_and_map(&opening, file, None)
    }

    /// As [`Region::adopt_fd`].
    ///
    /// # Errors
    /// As there.
    pub fn adopt_fd(&self, file: OwnedFd, len: u64) -> Result<Region, OpenError> {
        let opening = Opening::of(format!("descriptor {}", file.as_raw_fd()));
        opening.backing(&file)?;
        let flags = fcntl_getfl(&file).map_err(opening.os("looking at it"))?;
        if flags & OFlags::RWMODE != OFlags::RDWR || flags.contains(OFlags::PATH) {
            return Err(OpenError::NotWritable { what: opening.what });
        }
        self.claim_and_map(&opening, file, Some(len))
    }

    /// Claims `file`, and maps the first `len` bytes of it, or all.
    fn claim_and_map(&self, opening: &Opening, file: OwnedFd, len: Option<u64>) -> Result<Region, OpenError> {
        let opened_in = Incarnation::current().map_err(opening.os("preparing for forks"))?;
        let claim = opening.claim(&file)?;
        // Asked only now: before the claim somebody else may have changed the length.
        let backing = opening.backing(&file)?;
        let len = len.unwrap_or(backing.size);
        opening.check_length(len, backing.granule)?;
        if backing.size < len {
            return Err(OpenError::TooShort { what: opening.what.clone(), have: backing.size, asked: len });
        }
        let mapping = self.reserved_for(opening, len, backing.granule, opened_in)?;
        let try_sync = backing.kind == RegionKind::RegularFile && CacheLines::detect().is_some();
        let manner =
            mapping.map_claimed(claim, len, try_sync).map_err(|errno| opening.map_error(errno, len, backing))?;
        let kind = match manner {
            Manner::Sync => RegionKind::PersistentFile,
            Manner::Shared => backing.kind,
        };
        let region = Region {
            kind,
            granule: backing.granule,
            len: AtomicU64::new(len),
            growing: Mutex::new(()),
            memory: Memory::Mapped(MappedFile { mapping, manner, file, allocate: self.allocate }),
            flusher: opening.flusher(kind)?,
            opened_in,
        };
        // Advice: a kernel without it reads and writes more than it needs to.
        let _ = region.take_single_pages(0..len);
        if self.allocate {
            region.allocate(0..len).map_err(|why| opening.allocate_error(why))?;
        }
        Ok(region)
    }

    /// Addresses for `len` bytes, and for what the region may grow to.
    fn reserved_for(
        &self,
        opening: &Opening,
        len: u64,
        granule: u64,
        opened_in: Incarnation,
    ) -> Result<Mapping, OpenError> {
        let reserve = self.reserve.unwrap_or(len);
        let rounded = reserve.checked_next_multiple_of(granule).filter(|&bytes| bytes <= LEN_MAX);
        let Some(bytes) = rounded.filter(|&bytes| bytes >= len) else {
            return Err(OpenError::BadReserve { what: opening.what.clone(), reserve, len });
        };
        Mapping::reserve(bytes, granule, opened_in).map_err(opening.os("reserving addresses"))
    }
}

/// Gives the file of `region` its name, for ever if it is on a medium.
fn name(opening: &Opening, region: &Region, parent: &Path, path: &Path) -> Result<(), OpenError> {
    let file = region.file().expect("a region that was created has a file");
    let durable = region.kind.is_on_medium();
    if durable {
        fsync(file).map_err(opening.os("making it durable"))?;
    }
    let unnamed = OsString::from(format!("/proc/thread-self/fd/{}", file.as_raw_fd()));
    linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(opening.os("naming it"))?;
    if durable {
        let synced = sync_folder(parent).inspect_err(|_| {
            // Best effort: the name is new, and its region is about to be dropped.
            let _ = unlink(path);
        });
        synced.map_err(opening.os("making its name durable"))?;
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// See [`Region::adopt`].
pub(crate) fn adopt(base: NonNull<u8>, len: u64) -> Result<Region, OpenError> {
    let start = base.addr().get() as u64;
    foreign(Opening::of("adopted memory".into()), Space::Adopted, Place::Host(base), start, len)
}

/// See [`Region::device_only`].
pub(crate) fn device_only(device: u32, base: u64, len: u64) -> Result<Region, OpenError> {
    let opening = Opening::of(format!("memory of device {device}"));
    foreign(opening, Space::Device(device), Place::Device(base), base, len)
}

/// A region of addresses that somebody else answers for.
fn foreign(opening: Opening, space: Space, base: Place, start: u64, len: u64) -> Result<Region, OpenError> {
    let opened_in = Incarnation::current().map_err(opening.os("preparing for forks"))?;
    let granule = page_size() as u64;
    opening.check_length(len, granule)?;
    if !start.is_multiple_of(granule) {
        return Err(OpenError::Misaligned { what: opening.what, address: start, align: granule });
    }
    let Some(end) = start.checked_add(len) else {
        return Err(OpenError::BadLength { what: opening.what, len, granule });
    };
    let claim = Addresses::take(space, start..end, opened_in)
        .map_err(|holder| OpenError::Claimed { what: opening.what, holder })?;
    Ok(Region {
        kind: if matches!(base, Place::Host(_)) { RegionKind::Adopted } else { RegionKind::DeviceOnly },
        granule,
        len: AtomicU64::new(len),
        growing: Mutex::new(()),
        memory: Memory::Foreign { base, _claim: claim },
        flusher: Box::new(Volatile),
        opened_in,
    })
}

/// A region being opened, and what to call it in errors.
struct Opening {
    what: String,
}

impl Opening {
    fn of(what: String) -> Self {
        Self { what }
    }

    fn os<E: Into<io::Error>>(&self, doing: &'static str) -> impl FnOnce(E) -> OpenError {
        let what = self.what.clone();
        move |source| OpenError::Os { what, doing, source: source.into() }
    }

    fn check_length(&self, len: u64, granule: u64) -> Result<(), OpenError> {
        if len == 0 || len > LEN_MAX || !len.is_multiple_of(granule) {
            return Err(OpenError::BadLength { what: self.what.clone(), len, granule });
        }
        Ok(())
    }

    fn backing(&self, file: impl AsFd) -> Result<Backing, OpenError> {
        Backing::of(file, Path::new(SYSFS)).map_err(|why| match why {
            BackingError::WrongType(found) => OpenError::WrongType { what: self.what.clone(), found },
            BackingError::Os(errno) => self.os("looking at it")(errno),
            BackingError::Dax(DaxError::Attribute(file, source)) => {
                let what = format!("{} ({})", self.what, file.display());
                OpenError::Os { what, doing: "reading what the kernel says of it", source }
            }
            BackingError::Dax(DaxError::NotDax) => self.os("looking at it")(Errno::NODEV),
        })
    }

    fn claim(&self, file: impl AsFd) -> Result<Claim, OpenError> {
        Claim::take(file).map_err(|why| match why {
            ClaimError::Held(holder) => OpenError::Claimed { what: self.what.clone(), holder },
            ClaimError::Os(doing, source) => self.os(doing)(source),
        })
    }

    /// What makes stores to `kind` durable on this machine.
    fn flusher(&self, kind: RegionKind) -> Result<Box<dyn Persist>, OpenError> {
        match (kind, CacheLines::detect()) {
            (RegionKind::RegularFile, _) => Ok(Box::new(PageCache)),
            (RegionKind::PersistentFile | RegionKind::DeviceDax, Some(lines)) => Ok(Box::new(lines)),
            (RegionKind::PersistentFile | RegionKind::DeviceDax, None) => {
                let why = "this CPU has no known way to write cache lines back; use another kind of memory";
                Err(OpenError::Unsupported { what: self.what.clone(), why })
            }
            _ => Ok(Box::new(Volatile)),
        }
    }

    /// What a refused mapping means: with huge pages, most often that there are too few.
    fn map_error(&self, errno: Errno, len: u64, backing: Backing) -> OpenError {
        if !backing.kind.is_huge() || errno != Errno::NOMEM {
            return self.os("mapping it")(errno);
        }
        let (pages, page_size) = (len / backing.granule, backing.granule);
        OpenError::HugePagesShort { what: self.what.clone(), pages, page_size, free: free_huge_pages(page_size) }
    }

    fn allocate_error(&self, why: AllocateError) -> OpenError {
        let source = match why {
            AllocateError::Os { source, .. } => source,
            AllocateError::Access(access) => io::Error::other(access),
        };
        self.os("allocating memory")(source)
    }
}

/// How many huge pages are free and promised to nobody.
fn free_huge_pages(page_size: u64) -> u64 {
    let folder = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_size >> 10);
    let count = |name| fs::read_to_string(format!("{folder}/{name}")).ok()?.trim().parse::<u64>().ok();
    count("free_hugepages").unwrap_or(0).saturating_sub(count("resv_hugepages").unwrap_or(0))
}

/// No file is longer, and no address space as large.
const LEN_MAX: u64 = i64::MAX as u64;
