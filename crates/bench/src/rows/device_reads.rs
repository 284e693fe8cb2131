//! Row 6: what a device's read into a pin costs the CPU.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use pinfold::{Access, Pool, Region};
use pinfold_dma::{InFlight, Request, Uring, UringOptions};
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use super::raw_ring::{PAGE, RawRing};
use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns};
use crate::scratch;

const DEPTH: usize = 32;
const READS: usize = 1_000;
/// Bytes of the file that is read.
const FILE: usize = 16 << 20;

const DIRECT: Comparison = Comparison {
    row: 6,
    what: "CPU time of a 4 KiB O_DIRECT read into a pin",
    beside: "a bare io_uring, a plain buffer",
    goal: Some(1.05),
    compared: "CPU time of the process for 4 KiB reads, 32 in flight: pin, submit, complete, unpin each; a bare io_uring \
               into plain buffers. What is registered spares the kernel its own pinning.",
    ratios: |setup| from_device(setup, Memory::AsItIs),
};

/// For information the same without a device too: the kernel copies what it has.
pub(super) const ROW_6: [Comparison; 3] = [
    DIRECT,
    Comparison {
        what: "the same, the pool registered with the ring",
        ratios: |setup| from_device(setup, Memory::Registered),
        ..DIRECT
    },
    Comparison {
        what: "the first out of the page cache",
        goal: None,
        ratios: |setup| pins_beside_buffers(setup, OFlags::empty(), Memory::AsItIs),
        ..DIRECT
    },
];

/// What the subject's ring knows of the pool's memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    AsItIs,
    Registered,
}

fn from_device(setup: &Setup, memory: Memory) -> Result<Ratios, Skipped> {
    match scratch::is_tmpfs(&setup.scratch)? {
        true => Err(Skipped(format!("files in {} lie in memory, no device reads them", setup.scratch.display()))),
        false => pins_beside_buffers(setup, OFlags::DIRECT, memory),
    }
}

fn pins_beside_buffers(setup: &Setup, how: OFlags, memory: Memory) -> Result<Ratios, Skipped> {
    let directory = scratch::fresh(&setup.scratch)?;
    let path = &directory.path().join("file");
    let written =
        File::create_new(path).and_then(|mut file| file.write_all(&vec![1; FILE]).and_then(|()| file.sync_all()));
    written.map_err(Skipped::of(path.display()))?;
    let mut subject = PinningRing::new(open(path, how)?, memory)?;
    let mut peer = RawRing::new(open(path, how)?, DEPTH)?;
    let count = setup.scale.of(READS);
    let (here, there) = (Pages::default(), Pages::default());
    take_turns(
        setup.scale,
        || cpu_time(|| subject.read(here.take(count))),
        || cpu_time(|| peer.read(there.take(count))),
    )
}

/// Reads pages of a file into the pages of a pool's file, each pinned for its read alone.
struct PinningRing {
    /// Oldest first.
    in_flight: VecDeque<InFlight>,
    ring: Uring,
    from: File,
    into: pinfold::File,
    next_page: u64,
}

impl PinningRing {
    fn new(from: File, memory: Memory) -> Result<Self, Skipped> {
        let len = (DEPTH * PAGE) as u64;
        let into = Pool::new(Region::memfd(4 * len)?)?.create("/file")?;
        into.write_at(0, &vec![1; DEPTH * PAGE])?;
        let ring = UringOptions::new().depth(DEPTH as u32).create()?;
        if memory == Memory::Registered {
            register(&ring, &into.pool())?;
        }
        Ok(Self { in_flight: VecDeque::with_capacity(DEPTH), ring, from, into, next_page: 0 })
    }

    /// Reads the pages at `offsets`, and returns when all are there.
    fn read(&mut self, offsets: impl Iterator<Item = u64>) -> Result<(), Skipped> {
        let mut offsets = offsets.peekable();
        loop {
            self.fill_up(&mut offsets)?;
            let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
            drop(oldest.wait()?.whole()?);
            self.take_what_is_done()?;
        }
    }

    /// Submits, by one call, as many reads as there is room for.
    fn fill_up(&mut self, offsets: &mut impl Iterator<Item = u64>) -> Result<(), Skipped> {
        let room = DEPTH - self.in_flight.len();
        let mut requests = Vec::with_capacity(room);
        for offset in offsets.take(room) {
            let start = self.next_page * PAGE as u64;
            self.next_page = (self.next_page + 1) % DEPTH as u64;
            let pinned = self.into.pin(start..start + PAGE as u64, Access::Write).wait()?;
            requests.push((Request::read(&self.from, offset), pinned));
        }
        for submitted in self.ring.submit_all(requests) {
            self.in_flight.push_back(submitted?);
        }
        Ok(())
    }

    fn take_what_is_done(&mut self) -> Result<(), Skipped> {
        while let Some(oldest) = self.in_flight.front_mut() {
            let Some(done) = oldest.try_now()? else { break };
            self.in_flight.pop_front();
            drop(done.whole()?);
        }
        Ok(())
    }
}

/// All of it, or it would be something else that is measured.
fn register(ring: &Uring, pool: &Pool) -> Result<(), Skipped> {
    let refused = ring.register(pool)?.refused;
    match refused.first() {
        None => Ok(()),
        Some((_, errno)) => Err(Skipped::of("could not register the pool")(io::Error::from_raw_os_error(*errno))),
    }
}

fn open(path: &Path, how: OFlags) -> Result<File, Skipped> {
    let opened = File::options().read(true).custom_flags(how.bits() as i32).open(path);
    opened.map_err(Skipped::of(path.display()))
}

/// The CPU time that the process spends meanwhile, all of its threads together, the kernel's for it included.
fn cpu_time(run: impl FnOnce() -> Result<(), Skipped>) -> Result<Duration, Skipped> {
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
    let begun = now()?;
    run()?;
    Ok(now()?.saturating_sub(begun))
}

/// Which page is read next: each far from the one before, so that no two reads become one.
#[derive(Default)]
struct Pages(Cell<u64>);

impl Pages {
    fn take(&self, count: usize) -> impl Iterator<Item = u64> {
        let next = || self.0.replace((self.0.get() + 7_919 * PAGE as u64) % FILE as u64);
        std::iter::repeat_with(next).take(count)
    }
}
