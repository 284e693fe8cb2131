//! The kinds of memory, and how to tell what a descriptor leads to.
//!
//! Stays true   K1: the kind is decided once, from the kernel's own account of the descriptor, before
//!              anything is mapped.
//! Who calls    the constructors, on any thread. There is no lock, and looking leaves nothing behind.

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, FsWord, Stat, fstat, fstatfs, major, minor};
use rustix::io::Errno;
use rustix::param::page_size;

use crate::dax::{DaxDevice, DaxError};

/// What a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegionKind {
    /// Unnamed memory of plain pages: a memfd, or a file on tmpfs that has no name left.
    Memfd,
    /// Unnamed memory of huge pages.
    HugeMemfd,
    /// A file on tmpfs.
    Tmpfs,
    /// A file on hugetlbfs.
    Hugetlbfs,
    /// A regular file, through the page cache.
    RegularFile,
    /// A file on persistent memory, mapped past the page cache (`MAP_SYNC`).
    PersistentFile,
    /// A device-DAX character device.
    DeviceDax,
    /// Memory that the caller had already.
    Adopted,
    /// Memory that only a device can address.
    DeviceOnly,
}

impl RegionKind {
    /// What unnamed memory becomes when it is given a name.
    pub(crate) fn named(self) -> Self {
        match self {
            Self::Memfd => Self::Tmpfs,
            Self::HugeMemfd => Self::Hugetlbfs,
            other => other,
        }
    }

    /// Whether the kernel has set its pages aside for the mapping, and says so when it has too few.
    pub(crate) fn is_huge(self) -> bool {
        matches!(self, Self::HugeMemfd | Self::Hugetlbfs)
    }

    /// Whether it is a file that outlives the machine's power, and whose length must.
    pub(crate) fn is_on_medium(self) -> bool {
        matches!(self, Self::RegularFile | Self::PersistentFile)
    }
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memfd => "memfd",
            Self::HugeMemfd => "memfd of huge pages",
            Self::Tmpfs => "tmpfs file",
            Self::Hugetlbfs => "hugetlbfs file",
            Self::RegularFile => "regular file",
            Self::PersistentFile => "file on persistent memory",
            Self::DeviceDax => "device-DAX",
            Self::Adopted => "adopted memory",
            Self::DeviceOnly => "device-only memory",
        })
    }
}

/// A size of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HugePageSize {
    /// 2 MiB.
    TwoMiB,
    /// 1 GiB.
    OneGiB,
}

impl HugePageSize {
    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::TwoMiB => 2 << 20,
            Self::OneGiB => 1 << 30,
        }
    }
}

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backing {
    /// `RegularFile` until a mapping shows that it is persistent memory.
    pub(crate) kind: RegionKind,
    /// Lengths and offsets are multiples of this.
    pub(crate) granule: u64,
    /// How many bytes there are now.
    pub(crate) size: u64,
}

/// Why a descriptor cannot be the memory of a region.
#[derive(Debug)]
pub(crate) enum BackingError {
    WrongType(&'static str),
    Dax(DaxError),
    Os(Errno),
}

impl Backing {
    /// Looks at what `file` leads to; device-DAX devices are described under `sysfs`.
    pub(crate) fn of(file: impl AsFd, sysfs: &Path) -> Result<Self, BackingError> {
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::of_regular(fstatfs(&file)?.f_type, &stat),
            FileType::CharacterDevice => Self::of_device(&stat, sysfs),
            other => Err(BackingError::WrongType(name_of(other))),
        }
    }

    fn of_regular(file_system: FsWord, stat: &Stat) -> Result<Self, BackingError> {
        let named = stat.st_nlink > 0;
        let kind = match file_system {
            TMPFS_MAGIC if named => RegionKind::Tmpfs,
            TMPFS_MAGIC => RegionKind::Memfd,
            HUGETLBFS_MAGIC if named => RegionKind::Hugetlbfs,
            HUGETLBFS_MAGIC => RegionKind::HugeMemfd,
            _ => RegionKind::RegularFile,
        };
        let granule = match kind {
            // hugetlbfs reports its page size as the block size of each file.
            RegionKind::Hugetlbfs | RegionKind::HugeMemfd => stat.st_blksize as u64,
            _ => page_size() as u64,
        };
        Ok(Self { kind, granule, size: stat.st_size as u64 })
    }

    fn of_device(stat: &Stat, sysfs: &Path) -> Result<Self, BackingError> {
        match DaxDevice::read(sysfs, major(stat.st_rdev), minor(stat.st_rdev)) {
            Ok(device) => Ok(Self { kind: RegionKind::DeviceDax, granule: device.align, size: device.size }),
            Err(DaxError::NotDax) => Err(BackingError::WrongType("a character device other than device-DAX")),
            Err(unreadable) => Err(BackingError::Dax(unreadable)),
        }
    }
}

impl From<Errno> for BackingError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::BlockDevice => "a block device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::Symlink => "a symbolic link",
        _ => "neither a file nor a device",
    }
}

const TMPFS_MAGIC: FsWord = 0x0102_1994;
const HUGETLBFS_MAGIC: FsWord = 0x9584_58f6;
