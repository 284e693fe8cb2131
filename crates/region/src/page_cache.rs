//! Regular files: what the kernel is told of the use that is made of their pages.
//!
//! A fault would read ahead, into pages of the cache that are as large as the file system allows, up to 2 MiB; from then on a
//! byte that is changed there makes all of such a page dirty, and a flush writes all of it. A pool flushes little and often.
//! So faults take single pages here, and whoever is about to read much says so ([`Region::will_need`]).

use std::ops::Range;

use rustix::fs::fadvise;
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

use crate::kind::RegionKind;
use crate::region::Region;

/// Regular files.
impl Region {
    /// Says that these bytes are about to be read, so that the kernel reads them in one go. Costs a system call for a regular
    /// file, and nothing for other memory. Advice: what is out of bounds, or refused, changes nothing.
    pub fn will_need(&self, range: Range<u64>) {
        let _ = self.advise(range, Advice::WillNeed);
    }

    /// Lets the kernel forget what it has of a regular file's bytes, if it is clean, nobody has mapped it, and it may be read
    /// anew. To be called before the first use of a file that somebody else has written.
    pub fn forget_cache(&self) {
        if let Some(file) = self.file().filter(|_| self.kind() == RegionKind::RegularFile) {
            let _ = fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    /// Faults take single pages in this range.
    pub(crate) fn take_single_pages(&self, range: Range<u64>) -> Result<(), Errno> {
        self.advise(range, Advice::Random)
    }

    fn advise(&self, range: Range<u64>, advice: Advice) -> Result<(), Errno> {
        if self.kind() != RegionKind::RegularFile {
            return Ok(());
        }
        let bytes = self.bytes(range).map_err(|_| Errno::INVAL)?;
        let start = bytes.as_ptr().map_err(|_| Errno::INVAL)?;
        let into_page = start.addr().get() % page_size();
        // SAFETY: a region begins on a page boundary (M2): the page of the first byte is mapped whole.
        let page = unsafe { start.sub(into_page) };
        // SAFETY: the pages are mapped for as long as `bytes` lives (B1); no such advice changes a byte of theirs.
        unsafe { madvise(page.as_ptr().cast(), into_page + bytes.len() as usize, advice) }
    }
}
