//! One way to make a region of each kind, or the reason why this machine cannot.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use pinfold_region::{HugePageSize, OpenError, Region, RegionKind, RegionOptions};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// Every region begins with this many bytes, and can grow to as many again: two huge pages, and two more.
pub(crate) const LEN: u64 = 4 << 20;

/// A way to get a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Memfd,
    HugeMemfd,
    Tmpfs,
    Hugetlbfs,
    RegularFile,
    PersistentFile,
    DeviceDax,
    AdoptedFd,
    Adopted,
    DeviceOnly,
}

/// A region, and what must outlive it.
pub(crate) struct Fixture {
    pub(crate) region: Region,
    #[expect(dead_code, reason = "held for its drop")]
    keep: Box<dyn Any>,
}

impl Fixture {
    fn new(region: Region, keep: impl Any) -> Self {
        Self { region, keep: Box::new(keep) }
    }
}

/// Why a region of this kind cannot be made here.
pub(crate) struct Skipped(pub(crate) String);

impl Way {
    /// The kind of region that this way must give.
    pub(crate) fn kind(self) -> RegionKind {
        match self {
            Self::Memfd | Self::AdoptedFd => RegionKind::Memfd,
            Self::HugeMemfd => RegionKind::HugeMemfd,
            Self::Tmpfs => RegionKind::Tmpfs,
            Self::Hugetlbfs => RegionKind::Hugetlbfs,
            Self::RegularFile => RegionKind::RegularFile,
            Self::PersistentFile => RegionKind::PersistentFile,
            Self::DeviceDax => RegionKind::DeviceDax,
            Self::Adopted => RegionKind::Adopted,
            Self::DeviceOnly => RegionKind::DeviceOnly,
        }
    }

    /// Makes a region of `LEN` bytes; a device-DAX device has the length it has.
    pub(crate) fn make(self) -> Result<Fixture, Skipped> {
        let fixture = self.try_make()?;
        match fixture.region.kind() {
            kind if kind == self.kind() => Ok(fixture),
            other => Err(Skipped(format!("the folder for it gives a {other}"))),
        }
    }

    fn try_make(self) -> Result<Fixture, Skipped> {
        let options = RegionOptions::new().reserve(2 * LEN);
        match self {
            Self::Memfd => Ok(alone(options.memfd(LEN).unwrap())),
            Self::HugeMemfd => match options.memfd_huge(LEN, HugePageSize::TwoMiB) {
                Err(OpenError::HugePagesShort { .. }) => Err(no_huge_pages()),
                made => Ok(alone(made.unwrap())),
            },
            Self::Tmpfs => in_folder(&options, Path::new("/dev/shm")),
            Self::Hugetlbfs => match hugetlbfs_mount() {
                Some(folder) if free_huge_pages() > 0 => in_folder(&options, &folder),
                Some(_) => Err(no_huge_pages()),
                None => Err(Skipped("hugetlbfs is not mounted".into())),
            },
            Self::RegularFile => in_folder(&options, Path::new(env!("CARGO_TARGET_TMPDIR"))),
            Self::PersistentFile => match std::env::var_os("PINFOLD_TEST_DAX_FOLDER") {
                Some(folder) => in_folder(&options, Path::new(&folder)),
                None => Err(Skipped("PINFOLD_TEST_DAX_FOLDER names no folder on a DAX file system".into())),
            },
            Self::DeviceDax => match std::env::var_os("PINFOLD_TEST_DEVICE_DAX") {
                Some(device) => Ok(alone(zeroed(Region::open(device).unwrap()))),
                None => Err(Skipped("PINFOLD_TEST_DEVICE_DAX names no device that may be overwritten".into())),
            },
            Self::AdoptedFd => {
                let file = memfd_create("adopted", MemfdFlags::CLOEXEC).unwrap();
                ftruncate(&file, LEN).unwrap();
                Ok(alone(options.adopt_fd(file, LEN).unwrap()))
            }
            Self::Adopted => {
                let memory = Aligned::new();
                // SAFETY: the fixture drops the region before the memory, and makes no reference to it.
                let region = unsafe { Region::adopt(memory.0, LEN) }.unwrap();
                Ok(Fixture::new(region, memory))
            }
            Self::DeviceOnly => {
                // Each test has addresses of its own, since they share the process.
                static NEXT: AtomicU64 = AtomicU64::new(4096);
                let base = NEXT.fetch_add(LEN, Ordering::Relaxed);
                Ok(alone(Region::device_only(0, base, LEN).unwrap()))
            }
        }
    }

    /// Whether the CPU reaches the bytes.
    pub(crate) fn is_reachable(self) -> bool {
        self != Self::DeviceOnly
    }
}

fn alone(region: Region) -> Fixture {
    Fixture::new(region, ())
}

fn zeroed(region: Region) -> Region {
    region.zero(0..region.len()).unwrap();
    region
}

fn in_folder(options: &RegionOptions, parent: &Path) -> Result<Fixture, Skipped> {
    let folder = tempfile::tempdir_in(parent)
        .map_err(|why| Skipped(format!("{} cannot be written: {why}", parent.display())))?;
    match options.create(folder.path().join("pool"), LEN) {
        Err(OpenError::HugePagesShort { .. }) => Err(no_huge_pages()),
        made => Ok(Fixture::new(made.unwrap(), folder)),
    }
}

fn no_huge_pages() -> Skipped {
    Skipped(format!("too few huge pages of 2 MiB are free ({})", free_huge_pages()))
}

fn free_huge_pages() -> u64 {
    let free = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    free.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn hugetlbfs_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let folder = words.next()?;
        (words.next()? == "hugetlbfs").then(|| folder.into())
    })
}

/// `LEN` zeros that begin where a region may begin.
struct Aligned(NonNull<u8>);

impl Aligned {
    fn new() -> Self {
        // SAFETY: the layout is not empty.
        Self(NonNull::new(unsafe { alloc_zeroed(Self::layout()) }).unwrap())
    }

    fn layout() -> Layout {
        Layout::from_size_align(LEN as usize, 4096).unwrap()
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, by the same layout.
        unsafe { dealloc(self.0.as_ptr(), Self::layout()) };
    }
}
