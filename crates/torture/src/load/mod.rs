//! The load: many threads, which bring devices into files, and change the files under them.
//!
//! A few small files share a pool that is nearly full, so that a block which is freed belongs to another file at once.
//!
//! Stays true  W1: every call is in the log before it is made and after it returned, and every completion before its pin
//!                 goes.
//!             W2: what a thread chooses follows from the seed and from what it was answered.
//! Lock order  a name; then a file's log. Nothing that waits for a transfer is called with a name locked.

mod arrivals;
mod copies;
mod names;
mod operations;
mod transfers;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) use worker::Worker;

use crate::device::Device;
use crate::error::TortureError;
use crate::findings::{Findings, ViolationKind};
use crate::flight::Flight;
use crate::lock::lock;
use crate::log::{Change, Ended, FileLog, Promise};
use crate::options::Options;
use crate::sectors::{BLOCK, FILE_BLOCKS, FILE_BYTES, Sectors};
use crate::stamp::Ids;
use crate::store::{Form, InUse, Refused, Store};
use crate::tally::Tally;
use crate::watch::Watch;
use arrivals::Arrivals;

/// How often the patience for everybody else the device has.
const DEVICE_PATIENCE: u32 = 10;

/// How big everything is, for so many threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Names.
    pub(crate) names: usize,
    /// Numbers for files, those without a name included.
    pub(crate) ids: u16,
    /// Generations of each file's stamps.
    pub(crate) generations: u8,
    /// Bytes of the store: less than half of what the files would like.
    pub(crate) bytes: u64,
    /// How many transfers shall be in flight at least.
    pub(crate) in_flight_min: u64,
    /// And at most.
    pub(crate) in_flight_max: u64,
}

impl Scale {
    pub(crate) fn of(threads: usize) -> Self {
        let names = (4 * threads).clamp(16, 128);
        let ids = 3 * names as u64;
        // About 64 MiB of stamps.
        let generations = ((64 << 20) / (ids * FILE_BYTES)).clamp(8, 32) as u8;
        let bytes = names as u64 * FILE_BLOCKS * 4 / 10 * BLOCK;
        let in_flight_max = (16 * threads as u64).clamp(32, 512);
        Self { names, ids: ids as u16, generations, bytes, in_flight_min: in_flight_max / 8, in_flight_max }
    }
}

/// What all threads of the load share.
pub(crate) struct Load<S: Store> {
    pub(crate) store: S,
    device: Arc<dyn Device>,
    names: Vec<Name<S::File>>,
    ids: Arc<Ids>,
    scale: Scale,
    options: Options,
    pub(crate) findings: Arc<Findings>,
    pub(crate) tally: Tally,
    pub(crate) watch: Watch,
    pub(crate) in_flight: Arc<Flight>,
    arrivals: Arc<Arrivals>,
    /// When something had lasted for too long, and the device was at work.
    excused: Mutex<Option<Instant>>,
}

/// A name, and the file that has it. Nobody has it for the moment in which another file gets it.
struct Name<F> {
    path: String,
    file: Mutex<Option<Known<F>>>,
}

/// A file, and what is known of it.
#[derive(Clone)]
struct Known<F> {
    file: F,
    log: Arc<FileLog>,
}

impl<S: Store> Load<S> {
    /// With files of different lengths, all of holes.
    pub(crate) fn new(
        store: S,
        device: Arc<dyn Device>,
        scale: Scale,
        options: &Options,
    ) -> Result<Self, TortureError> {
        let names = (0..scale.names).map(|name| Name { path: format!("file-{name}"), file: Mutex::default() });
        let load = Self {
            store,
            device,
            names: names.collect(),
            ids: Ids::new(scale.ids, scale.generations),
            scale,
            options: options.clone(),
            findings: Arc::new(Findings::new()),
            tally: Tally::default(),
            watch: Watch::new(options.threads),
            in_flight: Arc::default(),
            arrivals: Arc::default(),
            excused: Mutex::default(),
        };
        for (index, name) in load.names.iter().enumerate() {
            let known = load
                .create(&name.path)
                .map_err(|error| TortureError::Beginning(format!("{}: {error:?}", name.path)))?;
            let change = Change::Truncate { len: (index as u64 % FILE_BLOCKS + 1) * BLOCK };
            let begun = known.log.begin(Promise::NONE, |_| Some(change));
            if let Some((begun, change)) = begun {
                let made = load.store.change(&known.file, &change, pinfold::Policy::Wait, Form::Try);
                known.log.end(begun, &change, if made.is_ok() { Ended::Made } else { Ended::Refused });
            }
            *lock(&name.file) = Some(known);
        }
        Ok(load)
    }

    /// A new file under a name that is free.
    fn create(&self, path: &str) -> Result<Known<S::File>, Refused> {
        let id = self.ids.take().ok_or(Refused::NoSpace)?;
        Ok(Known { file: self.store.create(path)?, log: FileLog::new(id, 0, &self.findings) })
    }

    /// Why the device failed, if it did.
    pub(crate) fn device_failure(&self) -> Option<String> {
        self.arrivals.failure()
    }

    /// Once all threads and transfers have ended: every byte of every file is what it may be.
    pub(crate) fn check_all(&self) {
        self.arrivals.look_at_all();
        for name in &self.names {
            let Some(Known { file, log }) = lock(&name.file).clone() else { continue };
            let ticket = log.copy_out_begins(Sectors::ALL);
            let mut bytes = vec![0; FILE_BYTES as usize];
            match self.store.read_at(&file, 0, &mut bytes) {
                Ok(len) => {
                    bytes.truncate(len);
                    log.copy_out_ends(ticket, bytes);
                }
                Err(error) => self.unexplained("a copy of a whole file", &error),
            }
        }
    }

    /// Lets all files go; what is in use then, and should not be.
    pub(crate) fn let_all_go(&self) -> InUse {
        for name in &self.names {
            if lock(&name.file).take().is_some()
                && let Err(error) = self.store.unlink(&name.path)
            {
                self.unexplained("an unlink", &error);
            }
        }
        let left = self.store.in_use();
        if left != InUse::default() {
            let InUse { pins, bytes } = left;
            let what = format!("all files are gone, and {pins} pins and {bytes} bytes of blocks are left");
            self.findings.add(ViolationKind::Leak, what);
        }
        left
    }

    /// A violation, if a thread has been in one call for too long.
    pub(crate) fn look_for_hangs(&self) {
        if let Some((lasts, what)) = self.watch.hanging(self.options.patience) {
            self.hangs(lasts, &what);
        }
    }

    /// Something has not ended for so long, which is too long: who waits for whom. While the device is at work it may wait
    /// for that, which has more time; and once it is not, everybody has theirs again.
    pub(crate) fn hangs(&self, lasts: Duration, what: &str) {
        let patience = self.options.patience;
        let mut excused = lock(&self.excused);
        if lasts < DEVICE_PATIENCE * patience && self.device.is_at_work() {
            *excused = Some(Instant::now());
        }
        if lasts < DEVICE_PATIENCE * patience && excused.is_some_and(|at| at.elapsed() < patience) {
            return;
        }
        if !self.findings.hangs() {
            let (device, store) = (self.device.explain(), self.store.explain());
            self.findings.add(ViolationKind::Hang, format!("{what}: {device}; {store}"));
        }
    }

    fn unexplained(&self, what: &str, error: &Refused) {
        self.findings.add(ViolationKind::Unexplained, format!("{what} was refused: {error:?}"));
    }
}
