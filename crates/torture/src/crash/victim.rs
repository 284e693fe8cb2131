//! A process that owns a pool, and is killed: it opens the pool, whatever its predecessor left, and changes it with many
//! threads and a device until its end.
//!
//! Stays true  V1: it is told nothing of what is in the pool: its steps follow from the seed (P1).
//!             V2: pins that it finds in quarantine are released by the proof that their ring is gone, while it works.
//! A crash     is what it is for.

use std::error::Error;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use pinfold::{
    Access, Change, ChangeError, CopyError, File, JournalError, NameError, PinError, Pinned, Pinning, Pool,
    PoolOptions, Publish, Rename, Reservation, SpaceError, live_dir_of,
};
use rustix::io::Errno;

use super::contents::PER_BLOCK;
use super::model::{is_in_blocks, may_collapse, may_exchange, may_insert};
use super::quiet::release;
use super::seen::{dir, path};
use super::step::{Name, STAMPS, Step, Steps, following, stamp};
use super::witness::{Came, Witness};
use crate::device::{Device, Late, Real, Way};
use crate::lock::lock;
use crate::sectors::{BLOCK, FILE_BYTES, SECTOR};
use crate::stamp::{Stamp, Writer};

/// Which variable tells a process that it is one, and what it is to do.
const ROLE: &str = "PINFOLD_TORTURE_VICTIM";
/// What it says when it has opened the pool.
pub(super) const OPEN: &str = "open";
/// How what it says begins if it could not go on.
const FAILED: &str = "failed: ";
/// How many transfers a flood has in flight, into reservations of so many bytes.
const FLOOD: usize = 256;
const FLOOD_BYTES: u64 = 2 << 20;
/// How many files it keeps open beside those that it works on.
const OPEN_MAX: usize = 6;

/// A process that changes a pool until it is killed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Victim {
    pub(super) pool: PathBuf,
    /// What the device reads; without it, a device that is a thread of the process stands in.
    pub(super) scratch: Option<PathBuf>,
    pub(super) witness: PathBuf,
    pub(super) threads: usize,
    pub(super) seed: u64,
    /// The number of each thread's first step.
    pub(super) first: u64,
    /// Whether the device has so much to do that it goes on for long after the end.
    pub(super) flood: bool,
}

impl Victim {
    /// What this process is to do, if it was started as one. A program that can be one asks before anything else.
    pub fn asked_for() -> Option<Self> {
        Self::from_text(&std::env::var(ROLE).ok()?)
    }

    fn to_text(&self) -> Option<String> {
        let path = |path: &Path| path.to_str().map(str::to_owned);
        let scratch = match &self.scratch {
            Some(scratch) => path(scratch)?,
            None => String::new(),
        };
        let Self { threads, seed, first, .. } = self;
        let (flood, words) = (u8::from(self.flood), [path(&self.pool)?, scratch, path(&self.witness)?]);
        Some(format!("{threads} {seed} {first} {flood}\n{}", words.join("\n")))
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut numbers = lines.next()?.split(' ').map(|number| number.parse::<u64>().ok());
        let mut number = || numbers.next().flatten();
        let (threads, seed, first, flood) = (number()? as usize, number()?, number()?, number()? != 0);
        let (pool, scratch, witness) = (lines.next()?, lines.next()?, lines.next()?);
        let scratch = (!scratch.is_empty()).then(|| scratch.into());
        Some(Self { pool: pool.into(), scratch, witness: witness.into(), threads, seed, first, flood })
    }

    /// Starts it: `program` is one that asks [`Victim::asked_for`].
    pub(super) fn start(&self, program: &mut Command) -> io::Result<Child> {
        let text = self.to_text().ok_or_else(|| io::Error::other("a path that is not UTF-8"))?;
        program.env(ROLE, text).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    }

    /// What it said before its end of why it could not go on.
    pub(super) fn failure(said: &str) -> Option<&str> {
        said.lines().find_map(|line| line.split_once(FAILED)).map(|(_, why)| why)
    }

    /// Does it, until this process is killed or whoever started it is gone.
    pub fn run(&self) -> ! {
        if let Err(why) = self.work() {
            say(&format!("{FAILED}{why}"));
        }
        let mut nothing = Vec::new();
        let _ = io::stdin().lock().read_to_end(&mut nothing);
        std::process::exit(0);
    }

    fn work(&self) -> Result<(), Box<dyn Error>> {
        let pool = PoolOptions::new().open(&self.pool)?;
        say(OPEN);
        let locks = locks_of(&self.pool);
        std::fs::create_dir_all(&locks)?;
        {
            let (pool, locks) = (pool.clone(), locks.clone());
            spawn("quiet", move || release(&pool, &locks, None).map(drop).map_err(|why| why.to_string()))?;
        }
        let device: Arc<dyn Device> = match &self.scratch {
            Some(scratch) => Arc::new(Real::with(scratch, STAMPS, &locks)?),
            None => Arc::new(Late::start()?),
        };
        if self.flood {
            let (pool, device) = (pool.clone(), Arc::clone(&device));
            spawn("flood", move || flood(&pool, &*device).map_err(|refused| format!("the flood: {}", refused.what)))?;
        }
        let witness = Arc::new(Witness::open(&self.witness)?);
        for thread in 0..self.threads {
            let mut hands = Hands::new(&pool, &device, thread, self.first);
            let (steps, witness) = (Steps::of(self.seed, thread), Arc::clone(&witness));
            spawn("victim", move || hands.work(steps, &witness).map_err(|why| format!("thread {thread}: {why}")))?;
        }
        Ok(())
    }
}

/// Where the locks of a pool's rings lie.
pub(super) fn locks_of(pool: &Path) -> PathBuf {
    live_dir_of(pool).join("rings")
}

fn spawn(name: &str, work: impl FnOnce() -> Result<(), String> + Send + 'static) -> io::Result<()> {
    let tells = move || {
        if let Err(why) = work() {
            say(&format!("{FAILED}{why}"));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(tells).map(drop)
}

fn say(what: &str) {
    let mut out = io::stdout().lock();
    // Who does not listen has killed us, or is gone.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

/// Why a step was not done.
struct Refused {
    errno: i32,
    what: String,
}

macro_rules! refused_by {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self { errno: error.errno(), what: error.to_string() }
            }
        }
    )*};
}

refused_by!(ChangeError, CopyError, JournalError, NameError, PinError, SpaceError, pinfold::Unpublished);

/// Fills reservations over and over, with as much in flight as a ring takes; each is let go with transfers in flight.
fn flood(pool: &Pool, device: &dyn Device) -> Result<(), Refused> {
    let in_flight = Arc::new(InFlight::default());
    loop {
        let reservation = match pool.reserve(FLOOD_BYTES).try_now() {
            Ok(reservation) => reservation,
            Err(SpaceError::Full(_)) => {
                // Some of what was let go comes back with the transfers.
                in_flight.wait_for_fewer(1)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for number in 0..FLOOD as u64 * 4 {
            let start = number * FILE_BYTES % FLOOD_BYTES;
            let pinned = labelled(device, reservation.pin(start..start + FILE_BYTES))?.wait()?;
            in_flight.wait_for_fewer(FLOOD)?;
            in_flight.start(device, pinned, stamp(Writer::Device, 0, number, 0));
        }
    }
}

/// So that the proof that the device is gone speaks of the pin whenever the end comes.
fn labelled<'f>(device: &dyn Device, pinning: Pinning<'f>) -> Result<Pinning<'f>, Refused> {
    let refused =
        |error: pinfold::layout::LabelError| Refused { errno: Errno::INVAL.raw_os_error(), what: error.to_string() };
    pinning.labelled(device.name(), "torture").map_err(refused)
}

/// How many transfers of one thread are in flight, and whether one failed.
#[derive(Default)]
struct InFlight {
    now: Mutex<(usize, Option<String>)>,
    fewer: Condvar,
}

impl InFlight {
    fn start(self: &Arc<Self>, device: &dyn Device, pinned: Pinned, first: Stamp) {
        lock(&self.now).0 += 1;
        let in_flight = Arc::clone(self);
        let landed = move |ended: Result<(Pinned, _), String>| {
            // The pin goes before it is said that the transfer is over.
            let failed = ended.map(drop).err();
            let mut now = lock(&in_flight.now);
            now.0 -= 1;
            now.1 = now.1.take().or(failed);
            in_flight.fewer.notify_all();
        };
        device.start(Way::In(first), pinned, Box::new(landed));
    }

    /// Waits until fewer than `many` are in flight.
    fn wait_for_fewer(&self, many: usize) -> Result<(), Refused> {
        let mut now = lock(&self.now);
        while now.0 >= many {
            now = self.fewer.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        match now.1.take() {
            Some(what) => Err(Refused { errno: Errno::IO.raw_os_error(), what }),
            None => Ok(()),
        }
    }
}

/// One thread of a victim, and what it has in hand.
struct Hands {
    pool: Pool,
    device: Arc<dyn Device>,
    thread: usize,
    first: u64,
    in_flight: Arc<InFlight>,
    reserved: Option<Reservation>,
    open: Vec<File>,
}

impl Hands {
    fn new(pool: &Pool, device: &Arc<dyn Device>, thread: usize, first: u64) -> Self {
        let (pool, device) = (pool.clone(), Arc::clone(device));
        Self { pool, device, thread, first, in_flight: Arc::default(), reserved: None, open: Vec::new() }
    }

    fn work(&mut self, steps: impl Iterator<Item = Step>, witness: &Witness) -> Result<(), String> {
        for (number, step) in steps.enumerate() {
            let (thread, first) = (self.thread, self.first);
            let note = |came| witness.note(thread, number, came).map_err(|error| error.to_string());
            note(Came::Begun)?;
            match self.take(&step, first + number as u64) {
                Ok(()) => note(Came::Done)?,
                Err(refused) if refused.errno == Errno::NOSPC.raw_os_error() => return note(Came::NoSpace),
                Err(refused) => return Err(format!("{step:?}: {}", refused.what)),
            }
        }
        Ok(())
    }

    fn take(&mut self, step: &Step, number: u64) -> Result<(), Refused> {
        match step {
            Step::Write { to, sectors } => self.write(*to, sectors, number),
            Step::Bring { to, blocks } => self.bring(*to, blocks, number),
            Step::Land => self.land(),
            Step::Reserve { blocks } => self.reserve(*blocks, number),
            Step::Publish { to } => self.publish(*to),
            Step::Truncate { file, sectors } => {
                self.change(*file, (*sectors as usize).is_multiple_of(PER_BLOCK), |file| {
                    file.truncate(sectors * SECTOR)
                })
            }
            Step::Punch { file, sectors } => {
                self.change(*file, is_whole(sectors), |file| file.punch(bytes_of(sectors, SECTOR)))
            }
            Step::Zero { file, sectors } => {
                self.change(*file, is_whole(sectors), |file| file.zero(bytes_of(sectors, SECTOR)))
            }
            Step::Collapse { file, blocks } => self.move_blocks(*file, |file| {
                let may = may_collapse(sectors_in(file), &usizes(blocks));
                may.then(|| file.collapse(bytes_of(blocks, BLOCK)))
            }),
            Step::Insert { file, at, blocks } => self.move_blocks(*file, |file| {
                let may = may_insert(sectors_in(file), *at as usize, *blocks as usize);
                may.then(|| file.insert(at * BLOCK, blocks * BLOCK))
            }),
            Step::Exchange { file, other, blocks } => self.exchange(*file, *other, blocks),
            Step::Unlink(name) => if_there(self.pool.unlink(path(self.thread, *name))),
            Step::Rename { from, to } => self.rename(*from, *to, Rename::Replace),
            Step::Swap { one, other } => self.rename(*one, *other, Rename::Exchange),
            Step::Link { from, to } => if_there(self.pool.link(path(self.thread, *from), path(self.thread, *to))),
            Step::MakeDir(name) => if_there(self.pool.create_dir(dir(self.thread, *name))),
            Step::RemoveDir(name) => if_there(self.pool.remove_dir(dir(self.thread, *name))),
            Step::Open(name) => {
                if self.open.len() < OPEN_MAX {
                    let file = self.find(*name)?;
                    self.open.extend(file);
                }
                Ok(())
            }
            Step::Close => {
                self.open.clear();
                Ok(())
            }
            Step::Sync(name) => match self.find(*name)? {
                Some(file) => Ok(file.sync()?),
                None => Ok(()),
            },
            Step::SyncAll => Ok(self.pool.sync()?),
            Step::Checkpoint => Ok(self.pool.checkpoint()?),
        }
    }

    fn find(&self, name: Name) -> Result<Option<File>, Refused> {
        match self.pool.open(path(self.thread, name)) {
            Ok(file) => Ok(Some(file)),
            Err(NameError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, to: Name, sectors: &Range<u64>, number: u64) -> Result<(), Refused> {
        let mut bytes = vec![0; ((sectors.end - sectors.start) * SECTOR) as usize];
        let first = stamp(Writer::Host, self.thread, number, sectors.start);
        let stamps = following(first, sectors.end - sectors.start);
        bytes.chunks_mut(SECTOR as usize).zip(stamps).for_each(|(sector, stamp)| stamp.word().fill(sector));
        Ok(self.pool.open_or_create(path(self.thread, to))?.write_at(sectors.start * SECTOR, &bytes)?)
    }

    fn bring(&self, to: Name, blocks: &Range<u64>, number: u64) -> Result<(), Refused> {
        let file = self.pool.open_or_create(path(self.thread, to))?;
        let bytes = bytes_of(blocks, BLOCK);
        file.allocate(bytes.clone()).try_now()?;
        let pinned = labelled(&*self.device, file.pin(bytes.clone(), Access::Write))?.wait()?;
        self.fly(pinned, bytes.start / SECTOR, number);
        Ok(())
    }

    fn fly(&self, pinned: Pinned, first: u64, number: u64) {
        self.in_flight.start(&*self.device, pinned, stamp(Writer::Device, self.thread, number, first));
    }

    fn land(&self) -> Result<(), Refused> {
        self.in_flight.wait_for_fewer(1)
    }

    fn reserve(&mut self, blocks: u64, number: u64) -> Result<(), Refused> {
        drop(self.reserved.take());
        let reservation = self.pool.reserve(blocks * BLOCK).try_now()?;
        self.fly(labelled(&*self.device, reservation.pin(0..blocks * BLOCK))?.wait()?, 0, number);
        self.reserved = Some(reservation);
        Ok(())
    }

    fn publish(&mut self, to: Name) -> Result<(), Refused> {
        self.land()?;
        if let Some(reservation) = self.reserved.take() {
            reservation.publish(path(self.thread, to), Publish::Replace)?;
        }
        Ok(())
    }

    /// What frees: whole blocks under the transfers that reach them, parts of blocks after them.
    fn change(&self, name: Name, whole: bool, change: impl FnOnce(&File) -> Change<'_>) -> Result<(), Refused> {
        if !whole {
            self.land()?;
        }
        let Some(file) = self.find(name)? else { return Ok(()) };
        let change = change(&file);
        Ok(if whole { change.detach() } else { change }.wait()?)
    }

    fn move_blocks(&self, name: Name, change: impl FnOnce(&File) -> Option<Change<'_>>) -> Result<(), Refused> {
        self.land()?;
        let Some(file) = self.find(name)? else { return Ok(()) };
        match change(&file) {
            Some(change) => Ok(change.wait()?),
            None => Ok(()),
        }
    }

    fn exchange(&self, name: Name, other: Name, blocks: &Range<u64>) -> Result<(), Refused> {
        self.land()?;
        let (Some(file), Some(other)) = (self.find(name)?, self.find(other)?) else { return Ok(()) };
        let shorter = sectors_in(&file).min(sectors_in(&other));
        if file.id() != other.id() && may_exchange(shorter, &usizes(blocks)) {
            file.exchange(bytes_of(blocks, BLOCK), &other, blocks.start * BLOCK).wait()?;
        }
        Ok(())
    }

    fn rename(&self, from: Name, to: Name, how: Rename) -> Result<(), Refused> {
        if_there(self.pool.rename(path(self.thread, from), path(self.thread, to), how))
    }
}

/// What finds nothing to do it to, or something in its place, is done.
fn if_there(done: Result<(), NameError>) -> Result<(), Refused> {
    match done {
        Ok(()) | Err(NameError::NotFound(_) | NameError::Exists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn sectors_in(file: &File) -> usize {
    (file.len() / SECTOR) as usize
}

fn bytes_of(range: &Range<u64>, unit: u64) -> Range<u64> {
    range.start * unit..range.end * unit
}

fn usizes(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

fn is_whole(sectors: &Range<u64>) -> bool {
    is_in_blocks(&usizes(sectors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_told_all_that_it_needs() {
        for scratch in [None, Some("/s c".into())] {
            let victim = Victim {
                pool: "/p".into(),
                scratch,
                witness: "/w".into(),
                threads: 3,
                seed: u64::MAX,
                first: 7,
                flood: true,
            };
            assert_eq!(Victim::from_text(&victim.to_text().unwrap()), Some(victim));
        }
    }

    #[test]
    fn what_a_victim_says_of_its_failure_is_found() {
        assert_eq!(Victim::failure("test x ... open\nfailed: thread 1: no\n"), Some("thread 1: no"));
        assert_eq!(Victim::failure("open\n"), None);
    }
}
