//! What a medium holds when the power comes back, and how a program finds it: as a region.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use pinfold_region::{Durability, OpenError, Persist, Region, SharedBytes};
use rustix::io::{Errno, pwritev, retry_on_intr};

use crate::medium::Medium;
use crate::pages::{PAGE, Page, Pages};

/// What a medium holds when the power comes back. A clone shares its pages.
#[derive(Clone)]
pub struct Image {
    durability: Durability,
    len: u64,
    pages: Pages,
}

impl Image {
    pub(crate) fn new(durability: Durability, len: u64, pages: Pages) -> Self {
        Self { durability, len, pages }
    }

    /// Bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Copies bytes from `offset` on until `to` is full.
    ///
    /// # Errors
    /// `UnexpectedEof` if there are too few; `to` is as it was then.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(to.len() as u64).filter(|end| *end <= self.len);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset as usize;
        let mut to = to;
        while !to.is_empty() {
            let page = &self.pages.get(at / PAGE)[at % PAGE..];
            let (part, rest) = to.split_at_mut(page.len().min(to.len()));
            part.copy_from_slice(&page[..part.len()]);
            at += part.len();
            to = rest;
        }
        Ok(())
    }

    /// A region with these bytes, for a recovery. It reports the medium's durability; the power does not fail again.
    ///
    /// # Errors
    /// What the kernel refuses: memory, descriptors.
    pub fn into_region(self) -> io::Result<Region> {
        let durability = self.durability;
        Ok(self.memory()?.with_flusher(Steady(durability)))
    }

    /// The same on a medium of its own: the power may fail again, during the recovery.
    ///
    /// # Errors
    /// As [`into_region`](Self::into_region).
    pub fn into_medium(self) -> io::Result<(Medium, Region)> {
        Medium::under(self.memory()?, self.durability, self.pages)
    }

    /// A memfd with these bytes. Where there are zeros it has no memory yet.
    fn memory(&self) -> io::Result<Region> {
        let region = memfd(self.len)?;
        let file = region.file().ok_or(io::ErrorKind::Unsupported)?;
        let mut run = Run { start: 0, pages: Vec::new() };
        for (index, page) in self.pages.present() {
            if index != run.start + run.pages.len() {
                run.write(file)?;
                run = Run { start: index, pages: run.pages };
                run.pages.clear();
            }
            run.pages.push(IoSlice::new(page));
        }
        run.write(file)?;
        Ok(region)
    }
}

/// New memory; zeros.
pub(crate) fn memfd(len: u64) -> io::Result<Region> {
    let named = |refused: OpenError| {
        let errno = io::Error::from_raw_os_error(refused.errno());
        io::Error::new(errno.kind(), refused)
    };
    Region::memfd(len).map_err(named)
}

/// Pages that follow one another.
struct Run<'p> {
    start: usize,
    pages: Vec<IoSlice<'p>>,
}

impl Run<'_> {
    fn write(&mut self, to: BorrowedFd<'_>) -> io::Result<()> {
        let mut at = (self.start * size_of::<Page>()) as u64;
        let mut rest = &mut self.pages[..];
        while !rest.is_empty() {
            let written = match retry_on_intr(|| pwritev(to, rest, at))? {
                0 => return Err(Errno::NOSPC.into()),
                written => written,
            };
            IoSlice::advance_slices(&mut rest, written);
            at += written as u64;
        }
        Ok(())
    }
}

/// Under a region whose power does not fail.
struct Steady(Durability);

impl Persist for Steady {
    fn durability(&self) -> Durability {
        self.0
    }

    fn write_back(&self, _bytes: SharedBytes<'_>) -> io::Result<()> {
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        Ok(())
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.pages == other.pages
    }
}

impl Eq for Image {}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes, {} pages other than zeros)", self.len, self.pages.present().count())
    }
}
