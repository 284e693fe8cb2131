//! What can go wrong, one enum per operation, each with the number that a face hands on.
//!
//! Stays true   E1: an operation that fails has changed nothing, unless its documentation says what.
//!              E2: `errno()` is total: each case has one number, chosen in one place.
//! Who calls    anyone; errors are plain data. There is no lock, and nothing outlives a crash.

use std::fmt;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use crate::kind::RegionKind;

/// A region could not be opened, created or adopted. Nothing was claimed, mapped or left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The length is zero, not a multiple of what this kind maps, or past every address.
    #[error("{what}: length {len} is not a positive multiple of {granule} that can be mapped; round it")]
    BadLength {
        /// The region asked for.
        what: String,
        /// The length in bytes.
        len: u64,
        /// What the length must be a multiple of, in bytes.
        granule: u64,
    },
    /// The addresses to reserve for growth are fewer than the region needs, or past every address.
    #[error("{what}: cannot reserve {reserve} bytes of addresses for a region of {len}; reserve at least its length")]
    BadReserve {
        /// The region asked for.
        what: String,
        /// The bytes of address space asked for.
        reserve: u64,
        /// The length of the region in bytes.
        len: u64,
    },
    /// Memory from the caller does not begin on a page boundary.
    #[error("{what}: address {address:#x} is not a multiple of {align:#x}; align the memory")]
    Misaligned {
        /// The region asked for.
        what: String,
        /// The address given.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// What the path or descriptor names is not memory that a pool can live in.
    #[error("{what}: is {found}; give a regular file, a memfd or a device-DAX character device")]
    WrongType {
        /// The region asked for.
        what: String,
        /// What was found, with its article.
        found: &'static str,
    },
    /// The descriptor was not opened for reading and writing.
    #[error("{what}: is not open for reading and writing; open it with O_RDWR")]
    NotWritable {
        /// The region asked for.
        what: String,
    },
    /// The file or device is shorter than the length asked for.
    #[error("{what}: has {have} bytes, {asked} were asked for; extend it first, or ask for less")]
    TooShort {
        /// The region asked for.
        what: String,
        /// The bytes there are.
        have: u64,
        /// The bytes asked for.
        asked: u64,
    },
    /// Another owner has claimed this memory. It must let go first.
    #[error("{what}: is claimed by {holder}; stop it first")]
    Claimed {
        /// The region asked for.
        what: String,
        /// Who holds the claim.
        holder: Holder,
    },
    /// The kernel has too few free huge pages.
    #[error("{what}: needs {pages} huge pages of {page_size} bytes, and {free} are free; raise nr_hugepages")]
    HugePagesShort {
        /// The region asked for.
        what: String,
        /// How many pages the region needs.
        pages: u64,
        /// The size of one, in bytes.
        page_size: u64,
        /// How many the kernel has free, over all users.
        free: u64,
    },
    /// This machine cannot keep the promise of this kind of memory.
    #[error("{what}: {why}")]
    Unsupported {
        /// The region asked for.
        what: String,
        /// What is missing.
        why: &'static str,
    },
    /// The kernel refused a step.
    #[error("{what}: {doing} failed: {source}")]
    Os {
        /// The region asked for.
        what: String,
        /// The step that failed.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Who holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process, unless it is hidden from this one (in another pid namespace).
    pub pid: Option<u32>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => write!(f, "a process that cannot be seen from here"),
        }
    }
}

/// A range of a region cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The range ends before it begins.
    #[error("range {start}..{end} ends before it begins; swap its ends")]
    Reversed {
        /// First byte.
        start: u64,
        /// End, exclusive.
        end: u64,
    },
    /// The range reaches past the end.
    #[error("bytes {start}..{end} reach past the end at {len}; ask for less, or grow the region")]
    PastEnd {
        /// First byte.
        start: u64,
        /// End, exclusive; saturated where it would wrap.
        end: u64,
        /// Bytes there are.
        len: u64,
    },
    /// Only a device can address this memory: the CPU can neither copy nor zero it.
    #[error("only a device can address this memory; let an engine move the bytes")]
    DeviceOnly,
    /// The handle came through a fork: it belongs to the process that opened the region.
    #[error("this handle belongs to the process that opened the region, not to its forked child")]
    NotOwner,
}

/// A region could not grow. Its length and bytes are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrowError {
    /// The new length is not a multiple of what this kind maps.
    #[error("new length {len} is not a multiple of {granule}; round it")]
    BadLength {
        /// The length asked for.
        len: u64,
        /// What it must be a multiple of.
        granule: u64,
    },
    /// The new length is below the present one; a region never shrinks under its addresses.
    #[error("new length {asked} is below the present {len}; a region only grows")]
    Shrinks {
        /// The present length.
        len: u64,
        /// The length asked for.
        asked: u64,
    },
    /// The addresses reserved when the region was opened are used up.
    #[error("new length {asked} is past the {reserved} bytes of addresses reserved; open with a larger reserve")]
    PastReserve {
        /// The bytes of address space reserved.
        reserved: u64,
        /// The length asked for.
        asked: u64,
    },
    /// This kind of memory has the length it has.
    #[error("{kind} cannot grow")]
    FixedLength {
        /// The kind of the region.
        kind: RegionKind,
    },
    /// The handle came through a fork.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The kernel refused a step.
    #[error("growing to {asked} bytes: {doing} failed: {source}")]
    Os {
        /// The length asked for.
        asked: u64,
        /// The step that failed.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Memory could not be allocated where it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// The range cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The kernel has no memory or no space for the range.
    #[error("allocating bytes {}..{}: {source}", range.start, range.end)]
    Os {
        /// The range asked for.
        range: Range<u64>,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Bytes could not be made durable.
///
/// A flush that failed is not mended by repeating it: the kernel reports a lost write once and then
/// takes the pages for clean. Rewrite the range elsewhere, or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The range cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The medium did not take the range. Its bytes are not durable.
    #[error("flushing bytes {}..{}: {source}; take them for lost", range.start, range.end)]
    WriteBack {
        /// The range whose bytes are not durable.
        range: Range<u64>,
        /// The medium's answer.
        source: io::Error,
    },
    /// The fence failed: nothing since the fence before it is durable.
    #[error("fence: {source}; take for lost what was flushed since the last one")]
    Drain {
        /// The medium's answer.
        source: io::Error,
    },
}

/// A window was not made, or what is seen through one is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// There is nothing that could be mapped a second time.
    #[error("{kind} has no file that could be mapped into a window; use a memfd or a file")]
    NoFile {
        /// What the region is made of.
        kind: RegionKind,
    },
    /// Too few addresses are left.
    #[error("no {len} bytes of addresses: the windows of a process have at most {most} together")]
    NoAddresses {
        /// Bytes asked for.
        len: u64,
        /// The most of all windows, in bytes.
        most: u64,
    },
    /// Not whole pages, or not pages of the size that the region is made of.
    #[error("{len} bytes at {start} are not whole pages of {align} bytes, or lie otherwise in them than in the window")]
    Misaligned {
        /// Where they begin.
        start: u64,
        /// Bytes.
        len: u64,
        /// Bytes of a page.
        align: u64,
    },
    /// The range reaches past the end of the window, or of the region.
    #[error("bytes {start}..{end} of {len}")]
    PastEnd {
        /// First byte of the range.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// Bytes there are.
        len: u64,
    },
    /// The kernel gives no more mappings, or has no memory for them.
    #[error("{doing}: no more mappings: each piece of a window takes one or two of what vm.max_map_count allows")]
    NoMappings {
        /// The step that failed.
        doing: &'static str,
    },
    /// The window was made without traps.
    #[error("the window was made without traps")]
    NoTraps,
    /// The kernel ran out of memory while it changed the window, or the handle came through a fork.
    #[error("the window is lost: it belongs to another process, or the kernel had no memory while it was changed")]
    Lost,
    /// Anything else.
    #[error("{doing}: {source}")]
    Os {
        /// The step that failed.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl WindowError {
    /// The raw errno for faces.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoFile { .. } | Self::NoTraps => EOPNOTSUPP,
            Self::NoAddresses { .. } | Self::NoMappings { .. } => ENOMEM,
            Self::Misaligned { .. } => EINVAL,
            Self::PastEnd { .. } => ENXIO,
            Self::Lost => EPERM,
            Self::Os { source, .. } => raw(source),
        }
    }
}

impl OpenError {
    /// The raw errno for faces.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadLength { .. } | Self::BadReserve { .. } | Self::Misaligned { .. } => EINVAL,
            Self::WrongType { .. } => EINVAL,
            Self::NotWritable { .. } => EACCES,
            Self::TooShort { .. } => ENXIO,
            Self::Claimed { .. } => EBUSY,
            Self::HugePagesShort { .. } => ENOMEM,
            Self::Unsupported { .. } => EOPNOTSUPP,
            Self::Os { source, .. } => raw(source),
        }
    }

    /// The claim's holder, when that is why the region could not be opened.
    pub fn holder(&self) -> Option<Holder> {
        match self {
            Self::Claimed { holder, .. } => Some(*holder),
            _ => None,
        }
    }
}

impl AccessError {
    /// The raw errno for faces.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Reversed { .. } => EINVAL,
            Self::PastEnd { .. } => ENXIO,
            Self::DeviceOnly => EOPNOTSUPP,
            Self::NotOwner => EPERM,
        }
    }
}

impl GrowError {
    /// The raw errno for faces.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BadLength { .. } | Self::Shrinks { .. } => EINVAL,
            Self::PastReserve { .. } => ENOMEM,
            Self::FixedLength { .. } => EOPNOTSUPP,
            Self::Access(access) => access.errno(),
            Self::Os { source, .. } => raw(source),
        }
    }
}

impl AllocateError {
    /// The raw errno for faces.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Access(access) => access.errno(),
            Self::Os { source, .. } => raw(source),
        }
    }
}

impl FlushError {
    /// The raw errno for faces.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Access(access) => access.errno(),
            Self::WriteBack { source, .. } | Self::Drain { source } => raw(source),
        }
    }
}

const EINVAL: i32 = Errno::INVAL.raw_os_error();
const EACCES: i32 = Errno::ACCESS.raw_os_error();
const ENXIO: i32 = Errno::NXIO.raw_os_error();
const EBUSY: i32 = Errno::BUSY.raw_os_error();
const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
const EPERM: i32 = Errno::PERM.raw_os_error();
const EIO: i32 = Errno::IO.raw_os_error();

/// The errno inside an `io::Error`; `EIO` for one that did not come from the kernel.
fn raw(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}
