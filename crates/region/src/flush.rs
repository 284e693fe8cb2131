//! Making stores durable: what that takes on each kind of memory, behind one small trait.
//!
//! Stays true   P1: when `drain` returns without error, every byte that was handed to `write_back` before, by
//!              this thread, survives the loss of power (as far as the kind of memory promises it).
//! Who calls    the region, on any thread, after its bounds checks; implementors are `Sync`. No lock.
//! Dead owner   what was stored and not yet flushed is as the kind of memory has it: kept where only a loss
//!              of power can take it, since a process's death loses no store to shared memory.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::mm::{MsyncFlags, msync};
use rustix::param::page_size;

use crate::bytes::SharedBytes;
use crate::cache_lines::{CacheLineInstruction, CacheLines};

/// What makes the stores to a region durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: the bytes live as long as the memory does. Flushing costs nothing.
    Volatile,
    /// The kernel writes dirty pages to the file's medium (`msync`).
    PageCache,
    /// The CPU writes dirty cache lines back to persistent memory.
    CacheLines(CacheLineInstruction),
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volatile => write!(f, "volatile"),
            Self::PageCache => write!(f, "msync"),
            Self::CacheLines(instruction) => write!(f, "{instruction}"),
        }
    }
}

/// The door through which a region's stores become durable.
///
/// Each kind of memory comes with its own; [`Region::with_flusher`](crate::Region::with_flusher) puts another in
/// its place, for example one that records where a loss of power may fall.
pub trait Persist: Send + Sync {
    /// What makes stores durable here.
    fn durability(&self) -> Durability;

    /// Begins to write `bytes` back. They are durable once the next `drain` returns.
    ///
    /// # Errors
    /// The medium's, if it refuses at once. The bytes must then be taken for lost.
    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()>;

    /// Returns when all that was handed to `write_back` before is durable.
    ///
    /// # Errors
    /// The medium's. What was written back since the last drain must then be taken for lost.
    fn drain(&self) -> io::Result<()>;
}

impl<P: Persist + ?Sized> Persist for Arc<P> {
    fn durability(&self) -> Durability {
        (**self).durability()
    }

    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()> {
        (**self).write_back(bytes)
    }

    fn drain(&self) -> io::Result<()> {
        (**self).drain()
    }
}

/// For memory that has nothing to flush to.
#[derive(Debug)]
pub(crate) struct Volatile;

impl Persist for Volatile {
    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    fn write_back(&self, _bytes: SharedBytes<'_>) -> io::Result<()> {
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        Ok(())
    }
}

/// For a regular file: the kernel writes pages, waits for the medium, and flushes its cache.
#[derive(Debug)]
pub(crate) struct PageCache;

impl Persist for PageCache {
    fn durability(&self) -> Durability {
        Durability::PageCache
    }

    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = bytes.as_ptr().map_err(io::Error::other)?;
        let into_page = start.addr().get() % page_size();
        // SAFETY: a region begins and ends on a page boundary (M2, and its length's granule), so the page
        // that holds the first byte is mapped whole.
        let page = unsafe { start.sub(into_page) };
        let len = (into_page + bytes.len() as usize).next_multiple_of(page_size());
        // SAFETY: the pages are mapped for as long as `bytes` lives (B1); msync changes none of them.
        Ok(unsafe { msync(page.as_ptr().cast(), len, MsyncFlags::SYNC) }?)
    }

    fn drain(&self) -> io::Result<()> {
        Ok(())
    }
}

/// For persistent memory: the CPU writes cache lines back, and a fence waits for them.
impl Persist for CacheLines {
    fn durability(&self) -> Durability {
        Durability::CacheLines(self.instruction())
    }

    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()> {
        let start = bytes.as_ptr().map_err(io::Error::other)?;
        // SAFETY: the bytes are mapped for as long as `bytes` lives (B1).
        unsafe { self.write_back_lines(start.as_ptr(), bytes.len() as usize) };
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        self.fence();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Region;

    #[test]
    fn cache_lines_are_written_back_up_to_both_ends_of_a_region() {
        let Some(lines) = CacheLines::detect() else {
            return;
        };
        let region = Region::memfd(8192).unwrap().with_flusher(lines);
        assert_eq!(region.durability(), Durability::CacheLines(lines.instruction()));
        for range in [0..8192, 0..1, 63..65, 8191..8192, 8192..8192] {
            region.flush(range).unwrap();
        }
        region.fence().unwrap();
    }
}
