//! One run: the device, the store, the threads, and what is left of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::device::{Device, Late, Real, Stamps};
use crate::error::TortureError;
use crate::findings::ViolationKind;
use crate::load::{Load, Scale, Worker};
use crate::options::{Engine, Options};
use crate::report::{Left, Progress, Report};
use crate::store::{Guarded, InUse, Plain, Store};
use crate::tally::OperationKind;

/// How often it is looked whether anything hangs, or failed, and progress is told.
const TICK: Duration = Duration::from_millis(50);

/// A device, and why it is not a real one.
pub(crate) struct Chosen {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) no_real_device: Option<String>,
}

/// Tortures a store, and tells what was found. `progress` is called some times a second, on this thread.
///
/// # Errors
/// [`TortureError`] if it could not begin, or the device failed. What is wrong with the store is in the report.
pub fn run(options: &Options, progress: &dyn Fn(&Progress)) -> Result<Report, TortureError> {
    options.check()?;
    let scale = Scale::of(options.threads);
    let before = descriptors();
    let mut report = {
        let chosen = choose(options, scale)?;
        match options.baseline {
            true => torture(Plain::new(scale.bytes)?, chosen, scale, options, progress)?,
            false => torture(Guarded::new(scale.bytes)?, chosen, scale, options, progress)?,
        }
    };
    if let (Some(before), Some(after)) = (before, descriptors()) {
        report.add_descriptors(after.saturating_sub(before));
    }
    Ok(report)
}

/// The load against one store.
pub(crate) fn torture<S: Store>(
    store: S,
    chosen: Chosen,
    scale: Scale,
    options: &Options,
    progress: &dyn Fn(&Progress),
) -> Result<Report, TortureError> {
    let Chosen { device, no_real_device } = chosen;
    let described = device.describe();
    let load = Arc::new(Load::new(store, device, scale, options)?);
    let time = watched(&load, options, progress)?;
    let flown = load.in_flight.flown();
    let left = (!load.findings.hangs()).then(|| {
        load.check_all();
        let InUse { pins, bytes } = load.let_all_go();
        Left { pins, bytes, descriptors: 0 }
    });
    if let Some(why) = load.device_failure() {
        return Err(TortureError::Device(why));
    }
    let tally = &load.tally;
    Ok(Report {
        store: S::NAME,
        baseline: options.baseline,
        device: described,
        no_real_device,
        policies: options.policies,
        seed: options.seed,
        threads: options.threads,
        time,
        operations: OperationKind::ALL.into_iter().map(|kind| (kind, tally.of(kind))).collect(),
        longest: tally.longest(),
        transfers_in: tally.transfers_in.get(),
        transfers_out: tally.transfers_out.get(),
        bytes: tally.bytes.get(),
        in_flight_max: load.in_flight.max(),
        in_flight_share: (flown.as_secs_f64() / time.as_secs_f64()).min(1.0),
        copies: tally.copies.get(),
        through_views: load.store.through_views(),
        sectors_checked: load.findings.sectors_checked(),
        kept_out: tally.kept_out.get(),
        let_through: tally.let_through.get(),
        extended: tally.extended.get(),
        own_thread: tally.own_thread.get(),
        no_space: tally.no_space.get(),
        left,
        violations: load.findings.told(),
        violations_in_all: load.findings.count(),
    })
}

/// Runs the threads for as long as they shall, and until all have come back, or something hangs. How long that took.
fn watched<S: Store>(
    load: &Arc<Load<S>>,
    options: &Options,
    progress: &dyn Fn(&Progress),
) -> Result<Duration, TortureError> {
    let began = Instant::now();
    let threads = start(load, options)?;
    let goes_on = || !load.findings.is_stopped() && load.device_failure().is_none();
    while began.elapsed() < options.time && goes_on() && !threads.iter().any(JoinHandle::is_finished) {
        thread::sleep(TICK.min(options.time.saturating_sub(began.elapsed())));
        load.look_for_hangs();
        progress(&Progress {
            elapsed: began.elapsed(),
            of: options.time,
            operations: load.tally.operations().0,
            raced: load.tally.operations().1,
            transfers: load.tally.transfers_in.get() + load.tally.transfers_out.get(),
            violations: load.findings.count(),
        });
    }
    load.findings.stop();
    let stopped = Instant::now();
    while threads.iter().any(|thread| !thread.is_finished()) && !load.findings.hangs() {
        thread::sleep(Duration::from_millis(1));
        load.look_for_hangs();
        if stopped.elapsed() > options.patience {
            let what = format!("{} transfers in flight have not ended", load.in_flight.now());
            load.hangs(stopped.elapsed(), &what);
        }
    }
    if !load.findings.hangs() {
        threads.into_iter().for_each(|thread| came_back(load, thread));
    }
    Ok(began.elapsed())
}

fn start<S: Store>(load: &Arc<Load<S>>, options: &Options) -> Result<Vec<JoinHandle<()>>, TortureError> {
    let mut threads = Vec::with_capacity(options.threads);
    for number in 0..options.threads {
        let worker = Worker::new(load, number);
        let builder = thread::Builder::new().name(format!("torture-{number}"));
        match builder.spawn(move || worker.run()) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                load.findings.stop();
                threads.into_iter().for_each(|thread| came_back(load, thread));
                return Err(TortureError::Thread(error));
            }
        }
    }
    Ok(threads)
}

fn came_back<S: Store>(load: &Load<S>, thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let what = format!("a thread of the load panicked: {}", text.unwrap_or("it did not say why"));
        load.findings.add(ViolationKind::Unexplained, what);
    }
}

/// The device that the options ask for.
pub(crate) fn choose(options: &Options, scale: Scale) -> Result<Chosen, TortureError> {
    let late = |no_real_device| {
        let device = Arc::new(Late::start().map_err(TortureError::Thread)?);
        Ok(Chosen { device, no_real_device })
    };
    if options.engine == Engine::Late {
        return late(None);
    }
    match real(options.scratch.as_deref(), scale) {
        Ok(device) => Ok(Chosen { device: Arc::new(device), no_real_device: None }),
        Err(why) if options.engine == Engine::Auto => late(Some(why)),
        Err(why) => Err(TortureError::NoRealDevice(why)),
    }
}

/// A real device, with its scratch file in the first place that suits, or why in none.
fn real(scratch: Option<&Path>, scale: Scale) -> Result<Real, String> {
    let places = match scratch {
        Some(path) => vec![path.to_path_buf()],
        None => [".", "/var/tmp"].map(|dir| Path::new(dir).join(unused_name())).to_vec(),
    };
    let mut why = Vec::new();
    for path in places {
        match Real::start(&path, Stamps { ids: scale.ids, generations: scale.generations }) {
            Ok(device) => return Ok(device),
            Err(unsuited) => why.push(unsuited.to_string()),
        }
    }
    why.dedup();
    Err(why.join("; "))
}

fn unused_name() -> PathBuf {
    format!("pinfold-torture-{:016x}", fastrand::u64(..)).into()
}

/// How many descriptors this process has open, where the system tells.
fn descriptors() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}
