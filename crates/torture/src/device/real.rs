//! A real device: io_uring, with direct I/O to a scratch file.
//!
//! The scratch file has two parts. The first is stamps, written once: a sector for every generation, file number and
//! sector of a file, in this order. So a transfer into a range of a file reads from one range, and what it brings says
//! where it belongs. The second part is slots, for what the device takes out of files.
//!
//! Stays true  S1: the stamps are written before anybody reads them, and never again.
//!             S2: a slot is one transfer's until its bytes were looked at.
//! A crash     leaves nothing: the scratch file has no name once it is open.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pinfold::{Access, Pinned, Pool, Region};
use pinfold_dma::{Request, Uring, UringOptions};
use rustix::fs::OFlags;

use super::completions::Completions;
use super::{Arrived, Device, Then, Way};

use crate::lock::lock;
use crate::sectors::{BLOCK, FILE_BYTES, FILE_SECTORS, SECTOR};
use crate::stamp::{Stamp, Writer};

/// How much can be on its way out of files, or wait to be looked at.
pub(crate) const SLOTS: u64 = 1024;

/// What buffers for direct I/O are aligned to.
const ALIGN: usize = BLOCK as usize;

/// How many transfers are tried to see whether any is in flight after its submit.
const PROBES: usize = 32;

pub(crate) struct Real {
    /// Before `ring`: it waits for what is in flight.
    completions: Completions,
    ring: Uring,
    scratch: Arc<Scratch>,
    path: PathBuf,
}

/// Why a place gives no device that is worth the name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsuited {
    /// There is none.
    #[error("{0}")]
    Refused(String),
    /// The file system copies.
    #[error("{}: {why}", path.display())]
    NotDirect { path: PathBuf, why: String },
}

struct Scratch {
    file: File,
    ids: u16,
    generations: u8,
    granule: u64,
    free: Mutex<Vec<u64>>,
}

/// A place for what the device takes out of a file: nobody else's while this lives.
pub(crate) struct Slot {
    scratch: Arc<Scratch>,
    offset: u64,
    len: u64,
}

impl Real {
    /// With a new scratch file at `path`, which loses its name at once.
    pub(crate) fn start(path: &Path, ids: u16, generations: u8) -> Result<Self, Unsuited> {
        let refused = |error: &dyn std::error::Error| Unsuited::Refused(error.to_string());
        let ring = UringOptions::new().depth(1024).create().map_err(|error| refused(&error))?;
        let scratch = Scratch::create(path, ids, generations)?;
        if !is_ever_in_flight(&ring, &scratch).map_err(|error| refused(&*error))? {
            let why = "direct I/O is over when the call that submits it returns".to_owned();
            return Err(Unsuited::NotDirect { path: path.to_path_buf(), why });
        }
        let completions = Completions::start().map_err(|error| refused(&error))?;
        Ok(Self { completions, ring, scratch: Arc::new(scratch), path: path.to_path_buf() })
    }

    fn submit(&self, way: Way, pinned: Pinned, slot: Option<&Slot>) -> Result<pinfold_dma::InFlight, String> {
        let request = match (way, slot) {
            (Way::Out, Some(slot)) => Request::write(&self.scratch.file, slot.offset),
            (Way::Out, None) => return Err(format!("more than {SLOTS} device reads wait to be looked at")),
            (Way::In(first), _) => Request::read(&self.scratch.file, self.scratch.place(first)),
        };
        self.ring.submit(request, pinned).map_err(|refused| refused.error.to_string())
    }
}

impl Device for Real {
    fn start(&self, way: Way, pinned: Pinned, then: Then) {
        let slot = if way == Way::Out { self.scratch.slot(pinned.len()) } else { None };
        match self.submit(way, pinned, slot.as_ref()) {
            Err(error) => then(Err(error)),
            Ok(in_flight) => self.completions.of(
                in_flight,
                Box::new(move |ended| {
                    let whole = ended.map_err(|e| e.to_string()).and_then(|c| c.whole().map_err(|e| e.to_string()));
                    then(whole.map(|pinned| (pinned, slot.map_or(Arrived::Nothing, Arrived::OnDisk))));
                }),
            ),
        }
    }

    fn granule(&self) -> u64 {
        self.scratch.granule
    }

    fn describe(&self) -> String {
        let dir = self.path.parent().unwrap_or(&self.path);
        format!("io_uring, direct I/O to a scratch file in {}", dir.display())
    }

    fn is_at_work(&self) -> bool {
        // Counted first: what ends meanwhile is counted twice, and not at all if it was the last.
        let in_flight = self.ring.in_flight();
        in_flight > Queues::of_this_process().iter().map(Queues::waiting).sum()
    }

    fn explain(&self) -> String {
        let queues: Vec<String> = Queues::of_this_process().iter().map(Queues::to_string).collect();
        format!("{} transfers are in the ring, whose queues are at {}", self.ring.in_flight(), queues.join("; "))
    }
}

/// Where a ring is with its queues: what somebody has not taken out of one of them is told from what the kernel has.
struct Queues {
    /// Heads and tails, as the kernel tells them, of what is submitted and of what is completed.
    submissions: [u32; 2],
    completions: [u32; 2],
}

impl Queues {
    /// Of all rings. Without those that the kernel is busy with, or says nothing of.
    fn of_this_process() -> Vec<Self> {
        let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let is_ring = |descriptor: &std::fs::DirEntry| {
            std::fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]")
        };
        let said_of = |descriptor: std::fs::DirEntry| {
            std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(descriptor.file_name())).ok()
        };
        descriptors.filter(is_ring).filter_map(said_of).filter_map(|said| Self::said(&said)).collect()
    }

    fn said(text: &str) -> Option<Self> {
        let at = |what: &str| text.lines().find_map(|line| line.strip_prefix(what)?.trim().parse().ok());
        Some(Self { submissions: [at("SqHead:")?, at("SqTail:")?], completions: [at("CqHead:")?, at("CqTail:")?] })
    }

    /// How many entries are still to be taken out: by the kernel, or by us.
    fn waiting(&self) -> usize {
        [self.submissions, self.completions].iter().map(|[head, tail]| tail.wrapping_sub(*head) as usize).sum()
    }
}

impl std::fmt::Display for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([taken, submitted], [seen, completed]) = (self.submissions, self.completions);
        write!(f, "{taken} of {submitted} submitted, {seen} of {completed} completed")
    }
}

/// Whether there is a transfer that has not ended when its submit returns: else nothing is ever raced.
fn is_ever_in_flight(ring: &Uring, scratch: &Scratch) -> Result<bool, Box<dyn std::error::Error>> {
    let pool = Pool::new(Region::memfd(FILE_BYTES)?)?;
    let file = pool.create("probe")?;
    file.truncate(FILE_BYTES).wait()?;
    let mut over = 0;
    for _ in 0..PROBES {
        let pinned = file.pin(0..FILE_BYTES, Access::Write).wait()?;
        let mut in_flight = ring.submit(Request::read(&scratch.file, 0), pinned).map_err(|refused| refused.error)?;
        match in_flight.try_now()? {
            Some(_) => over += 1,
            None => drop(in_flight.wait()?),
        }
    }
    Ok(over < PROBES / 2)
}

impl Scratch {
    fn create(path: &Path, ids: u16, generations: u8) -> Result<Self, Unsuited> {
        let failed = |error: io::Error| Unsuited::NotDirect { path: path.to_path_buf(), why: error.to_string() };
        let mut options = File::options();
        options.read(true).write(true);
        options.clone().create_new(true).mode(0o600).open(path).map_err(failed)?;
        let direct = options.custom_flags(OFlags::DIRECT.bits() as i32).open(path);
        std::fs::remove_file(path).map_err(failed)?;
        let file = direct.map_err(failed)?;
        let stamps = u64::from(ids) * u64::from(generations) * FILE_BYTES;
        let free = Mutex::new((0..SLOTS).map(|slot| stamps + slot * FILE_BYTES).collect());
        let scratch = Self { file, ids, generations, granule: BLOCK, free };
        scratch.write_stamps().and_then(|()| scratch.write_slots()).map_err(failed)?;
        scratch.file.sync_all().map_err(failed)?;
        Ok(Self { granule: scratch.smallest_granule(), ..scratch })
    }

    fn write_stamps(&self) -> io::Result<()> {
        let mut page = Aligned::new(FILE_BYTES as usize);
        for generation in 0..self.generations {
            for id in 0..self.ids {
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
    fn place(&self, first: Stamp) -> u64 {
        let files = u64::from(first.generation) * u64::from(self.ids) + u64::from(first.id);
        files * FILE_BYTES + u64::from(first.sector) * SECTOR
    }

    fn slot(self: &Arc<Self>, len: u64) -> Option<Slot> {
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
    use std::io::Write;

    use rustix::fs::fstatfs;

    use super::*;

    /// Keeps the ring of another test out of the list.
    static RINGS: Mutex<()> = Mutex::new(());

    /// File systems that answer a read from their cache within the call: ext4, XFS, btrfs.
    const ANSWER_AT_ONCE: [i64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

    #[test]
    fn a_ring_says_where_its_queues_are() {
        let _alone = lock(&RINGS);
        let ring = match Uring::new() {
            Ok(ring) => ring,
            Err(why) => return println!("skipped: {why}"),
        };
        let (reader, mut writer) = io::pipe().unwrap();
        let pool = Pool::new(Region::memfd(FILE_BYTES).unwrap()).unwrap();
        let file = pool.create("/file").unwrap();
        file.allocate(0..BLOCK).wait().unwrap();
        let pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
        let _in_flight = ring.submit(Request::read_stream(&reader), pinned).unwrap();
        let queues = Queues::of_this_process();
        let [queues] = &*queues else { panic!("there is one ring in this process") };
        assert_eq!(queues.to_string(), "1 of 1 submitted, 0 of 0 completed");
        assert_eq!(queues.waiting(), 0, "the kernel has it");
        writer.write_all(b"x").unwrap();
        // Nobody takes it out.
        while Queues::of_this_process().iter().map(Queues::waiting).sum::<usize>() == 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_whose_reads_are_over_at_once_is_no_real_device() {
        let _alone = lock(&RINGS);
        let file = File::open("/proc/self/exe").unwrap();
        let kind = fstatfs(&file).unwrap().f_type as i64;
        if !ANSWER_AT_ONCE.contains(&kind) {
            return println!("skipped: a file system of kind {kind:#x} may answer later");
        }
        let mut cached = vec![0; FILE_BYTES as usize];
        file.read_exact_at(&mut cached, 0).unwrap();
        let scratch = Scratch { file, ids: 1, generations: 1, granule: BLOCK, free: Mutex::default() };
        let ring = match Uring::new() {
            Ok(ring) => ring,
            Err(why) => return println!("skipped: {why}"),
        };
        assert!(!is_ever_in_flight(&ring, &scratch).unwrap());
    }
}
