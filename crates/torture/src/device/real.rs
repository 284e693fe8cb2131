//! A real device: io_uring, with direct I/O to a scratch file.
//!
//! A crash     leaves nothing that it made itself: its scratch file has no name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfold::{Access, Pinned, Pool, Region};
use pinfold_dma::{Request, Uring, UringOptions};

use super::completions::Completions;
use super::scratch::{Scratch, Slot, Stamps, unsuited};
use super::{Arrived, Device, Then, Way};
use crate::sectors::FILE_BYTES;

/// How much can be on its way out of files, or wait to be looked at.
pub(crate) const SLOTS: u64 = 1024;

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

impl Real {
    /// With a new scratch file at `path`, which loses its name at once.
    pub(crate) fn start(path: &Path, stamps: Stamps) -> Result<Self, Unsuited> {
        let ring = new_ring(UringOptions::new())?;
        let scratch = Scratch::create(path, stamps, SLOTS)?;
        std::fs::remove_file(path).map_err(unsuited(path))?;
        let scratch = scratch.fill().map_err(unsuited(path))?;
        check_in_flight(&ring, &scratch, path)?;
        Self::of(ring, scratch, path)
    }

    /// Makes a scratch file of stamps alone at `path`, which keeps its name, for devices that [`Real::with`] starts; or
    /// says why none would be worth the name.
    pub(crate) fn prepare(path: &Path, stamps: Stamps) -> Result<(), Unsuited> {
        let ring = new_ring(UringOptions::new())?;
        let scratch = Scratch::create(path, stamps, 0)?.fill().map_err(unsuited(path))?;
        check_in_flight(&ring, &scratch, path)
    }

    /// With a scratch file that [`Real::prepare`] made, and the lock of its ring in the directory `locks`.
    pub(crate) fn with(path: &Path, stamps: Stamps, locks: &Path) -> Result<Self, Unsuited> {
        Self::of(new_ring(UringOptions::new().lock_dir(locks))?, Scratch::open(path, stamps)?, path)
    }

    fn of(ring: Uring, scratch: Scratch, path: &Path) -> Result<Self, Unsuited> {
        let completions = Completions::start().map_err(refused)?;
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

    fn name(&self) -> &str {
        self.ring.name()
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

fn refused(error: impl std::fmt::Display) -> Unsuited {
    Unsuited::Refused(error.to_string())
}

fn new_ring(options: UringOptions) -> Result<Uring, Unsuited> {
    options.depth(1024).create().map_err(refused)
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

fn check_in_flight(ring: &Uring, scratch: &Scratch, path: &Path) -> Result<(), Unsuited> {
    match is_ever_in_flight(ring, scratch).map_err(refused)? {
        true => Ok(()),
        false => {
            let why = "direct I/O is over when the call that submits it returns".to_owned();
            Err(Unsuited::NotDirect { path: path.to_path_buf(), why })
        }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::unix::fs::FileExt;
    use std::sync::Mutex;

    use rustix::fs::fstatfs;

    use super::*;
    use crate::lock::lock;
    use crate::sectors::BLOCK;

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
        let scratch = Scratch::of(file);
        let ring = match Uring::new() {
            Ok(ring) => ring,
            Err(why) => return println!("skipped: {why}"),
        };
        assert!(!is_ever_in_flight(&ring, &scratch).unwrap());
    }
}
