//! The live memory of a region, read beside it.
//!
//! Stays true  M1: it is read through a descriptor of its own, never through an address: reading makes no page where
//!                 there is none, and whoever stores meanwhile (a thread, a device) races with nobody in the sense of
//!                 the language.
//! Who calls   the medium, on the thread that flushes or cuts. No lock.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use pinfold_region::Region;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::pages::{PAGE, Page, ZEROS};

/// Bytes that are read at once.
const STRIDE: u64 = 64 << 10;

pub(crate) struct Memory {
    file: File,
    len: u64,
}

impl Memory {
    /// The memory of a memfd.
    pub(crate) fn of(region: &Region) -> io::Result<Self> {
        let file = region.file().ok_or(io::ErrorKind::Unsupported)?;
        // Opened again, so that seeking here moves nobody else's position.
        let file = File::open(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))?;
        Ok(Self { file, len: region.len() })
    }

    /// Shows each unit of `unit` bytes that holds a byte of `range`, with its offset, in order.
    pub(crate) fn each_unit(&self, range: Range<u64>, unit: usize, mut see: impl FnMut(u64, &[u8])) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let size = unit as u64;
        let (mut at, end) = (range.start / size * size, range.end.next_multiple_of(size));
        let mut read = vec![0; STRIDE.min(end - at) as usize];
        while at < end {
            let part = &mut read[..STRIDE.min(end - at) as usize];
            self.file.read_exact_at(part, at)?;
            for (offset, bytes) in (at..).step_by(unit).zip(part.chunks_exact(unit)) {
                see(offset, bytes);
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Shows each page that may hold anything but zeros, and of the others those that are `expected` to, in order.
    pub(crate) fn each_page(
        &self,
        expected: impl Fn(usize) -> bool,
        mut see: impl FnMut(usize, &Page),
    ) -> io::Result<()> {
        let mut at = 0;
        while at < self.len {
            let data = self.next_data(at)?;
            let hole = at as usize / PAGE..data.start as usize / PAGE;
            hole.filter(|index| expected(*index)).for_each(|index| see(index, &ZEROS));
            at = data.end;
            self.each_unit(data, PAGE, |offset, bytes| {
                if let Some(page) = bytes.first_chunk() {
                    see(offset as usize / PAGE, page);
                }
            })?;
        }
        Ok(())
    }

    /// The first bytes at or after `at` that have memory; empty, and at the end, if there are none.
    fn next_data(&self, at: u64) -> io::Result<Range<u64>> {
        let page = PAGE as u64;
        let start = match seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start / page * page,
            Err(Errno::NXIO) => return Ok(self.len..self.len),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&self.file, SeekFrom::Hole(start))?;
        Ok(start..end.next_multiple_of(page).min(self.len))
    }
}
