//! The scratch file of a real device.
//!
//! It has two parts. The first is stamps, written once: a sector for every generation, file number and sector of a file,
//! in this order. So a transfer into a range of a file reads from one range, and what it brings says where it belongs. The
//! second part is slots, for what the device takes out of files.
//!
//! Stays true  S1: the stamps are written before anybody reads them, and never again.
//!             S2: a slot is one transfer's until its bytes were looked at.
//! A crash     leaves the file, if it still has its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;

use super::real::Unsuited;
use crate::lock::lock;
use crate::sectors::{BLOCK, FILE_BYTES, FILE_SECTORS, SECTOR};
use crate::stamp::{Stamp, Writer};

/// What buffers for direct I/O are aligned to.
const ALIGN: usize = BLOCK as usize;

/// How many stamps there are: each file number has so many generations, and each of these all sectors of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamps {
    pub(crate) ids: u16,
    pub(crate) generations: u8,
}

pub(super) struct Scratch {
    pub(super) file: File,
    stamps: Stamps,
    pub(super) granule: u64,
    free: Mutex<Vec<u64>>,
}

/// A place for what the device takes out of a file: nobody else's while this lives.
pub(crate) struct Slot {
    scratch: Arc<Scratch>,
    pub(super) offset: u64,
    len: u64,
}

impl Stamps {
    fn bytes(self) -> u64 {
        u64::from(self.ids) * u64::from(self.generations) * FILE_BYTES
    }
}

/// Turns what the system says of a file into why it does not do.
pub(super) fn unsuited(path: &Path) -> impl Fn(io::Error) -> Unsuited {
    move |error| Unsuited::NotDirect { path: path.to_path_buf(), why: error.to_string() }
}

impl Scratch {
    /// A new one, with so many slots; it keeps its name, and what it holds is not written yet.
    pub(super) fn create(path: &Path, stamps: Stamps, slots: u64) -> Result<Self, Unsuited> {
        let mut options = File::options();
        options.read(true).write(true);
        options.clone().create_new(true).mode(0o600).open(path).map_err(unsuited(path))?;
        let file = options.custom_flags(OFlags::DIRECT.bits() as i32).open(path).inspect_err(|_| {
            // It was made just now, and is nothing yet.
            let _ = std::fs::remove_file(path);
        });
        let file = file.map_err(unsuited(path))?;
        let free = Mutex::new((0..slots).map(|slot| stamps.bytes() + slot * FILE_BYTES).collect());
        Ok(Self { file, stamps, granule: BLOCK, free })
    }

    /// One that another process has filled, for stamps alone.
    pub(super) fn open(path: &Path, stamps: Stamps) -> Result<Self, Unsuited> {
        let mut options = File::options();
        let file = options.read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path).map_err(unsuited(path))?;
        Ok(Self { file, stamps, granule: BLOCK, free: Mutex::default() })
    }

    /// Writes all that is to be in it (S1).
    pub(super) fn fill(self) -> io::Result<Self> {
        self.write_stamps()?;
        self.write_slots()?;
        self.file.sync_all()?;
        Ok(Self { granule: self.smallest_granule(), ..self })
    }

    fn write_stamps(&self) -> io::Result<()> {
        let mut page = Aligned::new(FILE_BYTES as usize);
        for generation in 0..self.stamps.generations {
            for id in 0..self.stamps.ids {
                for (sector, bytes) in page.bytes().chunks_exact_mut(SECTOR as usize).enumerate().take(FILE_SECTORS) {
                    Stamp { writer: Writer::Device, id, sector: sector as u16, generation }.word().fill(bytes);
                }
                let first = Stamp { writer: Writer::Device, id, sector: 0, generation };
                self.file.write_all_at(page.bytes(), self.place(first))?;
            }
        }
        Ok(())
    }

    /// So that a transfer finds blocks there, and need not wait for the file system to make them.
    fn write_slots(&self) -> io::Result<()> {
        let mut zeros = Aligned::new(FILE_BYTES as usize);
        lock(&self.free).iter().try_for_each(|slot| self.file.write_all_at(zeros.bytes(), *slot))
    }

    /// A sector, where the device moves single ones.
    fn smallest_granule(&self) -> u64 {
        let mut buffer = Aligned::new(2 * ALIGN);
        let sector = &mut buffer.bytes()[SECTOR as usize..2 * SECTOR as usize];
        match self.file.read_exact_at(sector, SECTOR) {
            Ok(()) => SECTOR,
            Err(_) => BLOCK,
        }
    }

    /// Where this stamp lies, and behind it those of the sectors that follow.
    pub(super) fn place(&self, first: Stamp) -> u64 {
        let files = u64::from(first.generation) * u64::from(self.stamps.ids) + u64::from(first.id);
        files * FILE_BYTES + u64::from(first.sector) * SECTOR
    }

    pub(super) fn slot(self: &Arc<Self>, len: u64) -> Option<Slot> {
        let offset = lock(&self.free).pop()?;
        Some(Slot { scratch: Arc::clone(self), offset, len })
    }
}

impl Slot {
    /// What was written into it.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut buffer = Aligned::new(self.len as usize);
        self.scratch.file.read_exact_at(buffer.bytes(), self.offset)?;
        Ok(buffer.bytes().to_vec())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.scratch.free).push(self.offset);
    }
}

/// Memory that direct I/O accepts.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        Self { memory, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Scratch {
        /// Of a file that is there, whatever it holds.
        pub(in super::super) fn of(file: File) -> Self {
            Self { file, stamps: Stamps { ids: 1, generations: 1 }, granule: BLOCK, free: Mutex::default() }
        }
    }
}
