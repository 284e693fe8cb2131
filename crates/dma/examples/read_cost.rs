//! What pins cost where it counts: CPU time for each 4 KiB read with `O_DIRECT`, 32 in flight, into pinned blocks of a pool
//! (pinned anew for each read), beside the same reads by a bare io_uring loop into a plain buffer.
//!
//! ```text
//! cargo run --release -p pinfold-dma --example read_cost [SCRATCH_FILE]
//! ```
//!
//! Both go through the same file in the same order, by turns; the ratio is that of the medians.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use io_uring::{IoUring, opcode, types};
use pinfold::{Access, Pinned, Pool, Region};
use pinfold_dma::{InFlight, Request, Uring};

type Outcome<T> = Result<T, Box<dyn Error>>;

const READ: u64 = 4096;
const DEPTH: u64 = 32;
const READS: u64 = 20_000;
const ROUNDS: usize = 9;
const SCRATCH: u64 = 256 << 20;

fn main() -> Outcome<()> {
    let path = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("pinfold-read-cost"), PathBuf::from);
    let source = scratch(&path)?;
    let mut bare = Bare::new()?;
    let (pinned, registered) = (Pins::new()?, Pins::new()?);
    registered.ring.register(&registered.file.pool())?;
    let [mut bare_costs, mut pinned_costs, mut reused_costs, mut registered_costs] = [const { Vec::new() }; 4];
    for round in 0..ROUNDS as u64 {
        bare_costs.push(cost(|| bare.read(&source, round))?);
        pinned_costs.push(cost(|| pinned.read(&source, round, Pinning::EachRead))?);
        reused_costs.push(cost(|| pinned.read(&source, round, Pinning::Once))?);
        registered_costs.push(cost(|| registered.read(&source, round, Pinning::EachRead))?);
    }
    std::fs::remove_file(&path)?;
    let (bare, pinned) = (median(bare_costs), median(pinned_costs));
    let (reused, registered) = (median(reused_costs), median(registered_costs));
    println!("CPU time for each 4 KiB read, {DEPTH} in flight:");
    println!("  into a plain buffer, by a bare loop  {:>6} ns", bare.as_nanos());
    println!("  into blocks pinned for each read     {:>6} ns: {:.3}x", pinned.as_nanos(), ratio(pinned, bare));
    println!("  into blocks pinned once              {:>6} ns: {:.3}x", reused.as_nanos(), ratio(reused, bare));
    println!(
        "  pinned for each read, and registered   {:>6} ns: {:.3}x",
        registered.as_nanos(),
        ratio(registered, bare)
    );
    Ok(())
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn median(mut costs: Vec<Duration>) -> Duration {
    costs.sort();
    costs[costs.len() / 2]
}

/// CPU time of the whole process, for each read.
fn cost(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let before = cpu_time();
    work()?;
    Ok((cpu_time() - before) / READS as u32)
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The place of the nth read in the file: anywhere.
fn place(nth: u64, round: u64) -> u64 {
    let mixed = (nth + round * READS + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) % (SCRATCH / READ) * READ
}

fn scratch(path: &PathBuf) -> Outcome<File> {
    let mut file = File::create(path)?;
    for _ in 0..SCRATCH >> 20 {
        file.write_all(&[7; 1 << 20])?;
    }
    file.sync_all()?;
    Ok(File::options().read(true).custom_flags(libc::O_DIRECT).open(path)?)
}

/// What a user would have instead.
struct Bare {
    ring: IoUring,
    buffer: Vec<u8>,
}

impl Bare {
    fn new() -> Outcome<Self> {
        Ok(Self { ring: IoUring::new(DEPTH as u32)?, buffer: vec![0; (DEPTH * READ + READ) as usize] })
    }

    fn read(&mut self, source: &File, round: u64) -> Outcome<()> {
        let start = self.buffer.as_mut_ptr();
        let start = start.wrapping_add(start.align_offset(READ as usize));
        let mut free: Vec<u64> = (0..DEPTH).collect();
        let (mut submitted, mut done) = (0, 0);
        while done < READS {
            while let Some(slot) = free.pop_if(|_| submitted < READS) {
                let to = start.wrapping_add((slot * READ) as usize);
                let entry = opcode::Read::new(types::Fd(source.as_raw_fd()), to, READ as u32)
                    .offset(place(submitted, round))
                    .build()
                    .user_data(slot);
                // SAFETY: the slot is inside the buffer, which outlives the loop, and no other read uses it.
                unsafe { self.ring.submission().push(&entry) }?;
                submitted += 1;
            }
            self.ring.submit_and_wait(1)?;
            for completion in self.ring.completion() {
                assert_eq!(completion.result(), READ as i32);
                free.push(completion.user_data());
                done += 1;
            }
        }
        Ok(())
    }
}

/// The same into pinned blocks.
struct Pins {
    ring: Uring,
    file: pinfold::File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pinning {
    EachRead,
    Once,
}

impl Pins {
    fn new() -> Outcome<Self> {
        let pool = Pool::new(Region::memfd(16 << 20)?)?;
        let file = pool.create("/reads")?;
        file.allocate(0..DEPTH * READ).wait()?;
        Ok(Self { ring: Uring::new()?, file })
    }

    fn read(&self, source: &File, round: u64, pinning: Pinning) -> Outcome<()> {
        let pin = |slot: u64| self.file.pin(slot * READ..(slot + 1) * READ, Access::Write).wait();
        let mut free: Vec<(u64, Option<Pinned>)> = (0..DEPTH).map(|slot| (slot, None)).collect();
        let mut in_flight: VecDeque<(u64, InFlight)> = VecDeque::with_capacity(DEPTH as usize);
        let mut submitted = 0;
        let mut slots = Vec::with_capacity(DEPTH as usize);
        let mut requests = Vec::with_capacity(DEPTH as usize);
        loop {
            while let Some((slot, pinned)) = free.pop_if(|_| submitted < READS) {
                let pinned = pinned.map_or_else(|| pin(slot), Ok)?;
                requests.push((Request::read(source, place(submitted, round)), pinned));
                slots.push(slot);
                submitted += 1;
            }
            for (slot, submitted) in slots
                .drain(..)
                .zip(self.ring.submit_all(std::mem::replace(&mut requests, Vec::with_capacity(DEPTH as usize))))
            {
                in_flight.push_back((slot, submitted.map_err(|refused| refused.error)?));
            }
            let Some((slot, oldest)) = in_flight.pop_front() else { return Ok(()) };
            let mut ended = Some((slot, oldest.wait()?));
            while let Some((slot, completion)) = ended.take() {
                let pinned = completion.whole()?;
                match pinning {
                    Pinning::EachRead => free.push((slot, None)),
                    Pinning::Once => free.push((slot, Some(pinned))),
                }
                if let Some((slot, next)) = in_flight.front_mut()
                    && let Some(completion) = next.try_now()?
                {
                    ended = Some((*slot, completion));
                    in_flight.pop_front();
                }
            }
        }
    }
}
