//! Where bytes of a medium are read from: the region of its owner, a file that somebody else owns, an image in a test.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use pinfold_region::{AccessError, Region, RegionKind};
use rustix::io::retry_on_intr;

/// Bytes that can be read, from any place, by anyone.
#[expect(clippy::len_without_is_empty, reason = "a medium is asked how long it is, not whether it is")]
pub trait Source {
    /// How many there are.
    ///
    /// # Errors
    /// What the medium says.
    fn len(&self) -> io::Result<u64>;

    /// Reads from `offset` on until `to` is full.
    ///
    /// # Errors
    /// What the medium says; `UnexpectedEof` past its end.
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(to, offset)
    }
}

impl Source for Region {
    fn len(&self) -> io::Result<u64> {
        Ok(Region::len(self))
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(to.len() as u64);
        if end > Region::len(self) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let refused = |error: AccessError| io::Error::from_raw_os_error(error.errno());
        let bytes = self.bytes(offset..end).map_err(refused)?;
        match self.file().filter(|_| self.kind() != RegionKind::DeviceDax) {
            // Not through the mapping: there, looking at a hole takes memory, and where there is none it is a `SIGBUS`.
            Some(file) => read_file(file, offset, to),
            None => bytes.copy_out(0, to).map_err(refused),
        }
    }
}

fn read_file(file: BorrowedFd<'_>, mut offset: u64, mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        match retry_on_intr(|| rustix::io::pread(file, &mut *to, offset))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (offset, to) = (offset + read as u64, &mut to[read..]),
        }
    }
    Ok(())
}

impl Source for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let part = start.and_then(|start| self.get(start..start.checked_add(to.len())?));
        to.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        Source::len(&self[..])
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        Source::read_at(&self[..], offset, to)
    }
}
