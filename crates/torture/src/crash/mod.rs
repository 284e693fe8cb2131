//! Owners of lasting pools are killed, at any moment, with DMA in flight; what they leave is judged.
//!
//! An owner is a process of its own ([`Victim`]). Many threads of it change the pool: they write, cut, punch, shift,
//! exchange, link, rename, unlink, reserve, publish and sync, and a ring brings stamps into the files meanwhile. Then it is
//! killed, often one more before the pool is looked at, sometimes while it opens the pool. What is there must be what was
//! done, or some outcome of the step that the end came into (G9), zeros or the file's own bytes everywhere (G10), the
//! medium without a fault; and while the rings of the dead write on, all that is free goes to another file, whose every
//! sector has to stay as it is (G1, G8).
//!
//! Pools lie on a disk and in memory, in turn. On a disk, what was not synced may read as zeros; in memory it may not.
//!
//! ```no_run
//! use pinfold_torture::crash::{CrashOptions, Victim, run};
//!
//! if let Some(victim) = Victim::asked_for() {
//!     victim.run();
//! }
//! let report = run(&CrashOptions { rounds: 10, ..CrashOptions::default() }, &|progress| eprintln!("{}", progress.rounds))?;
//! assert!(report.is_as_it_should_be(), "{report}");
//! # Ok::<(), pinfold_torture::TortureError>(())
//! ```
//!
//! Stays true  H1: what owners do follows from the seed, so that nobody has to ask the dead. How their threads meet, and
//!                 when they die, does not.
//!             H2: what hangs ends the run, with a report that names it.
//! A crash     leaves directories named `pinfold-torture-…`.

mod contents;
mod ground;
mod judge;
mod model;
mod quiet;
mod report;
mod seen;
mod step;
mod victim;
mod witness;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use self::ground::Ground;
use self::judge::Judge;
use self::model::Model;
use self::report::Sums;
pub use self::report::{CrashProgress, CrashReport};
use self::step::{STAMPS, STEPS, Steps, THREADS_MAX};
pub use self::victim::Victim;
use self::witness::{Came, Witness};
use crate::device::Real;
use crate::error::TortureError;
use crate::findings::{Findings, ViolationKind};
use crate::lock::lock;
use crate::options::Engine;

/// How long an owner is left to work at most.
const WORKS: Duration = Duration::from_millis(40);
/// How long one that dies early has for opening the pool.
const OPENS: Duration = Duration::from_millis(8);

/// How many owners are killed, and where.
#[derive(Clone, Debug)]
pub struct CrashOptions {
    /// How often a pool is judged. Before each judgement one to three owners are killed.
    pub rounds: u64,
    /// How many threads each owner has.
    pub threads: usize,
    /// What owners do follows from it.
    pub seed: u64,
    /// Which device.
    pub engine: Engine,
    /// A directory on a disk, for a pool and for what the device reads. If `None`, the current directory or `/var/tmp`.
    pub dir: Option<PathBuf>,
    /// With which arguments this program becomes an owner, if it takes any: it asks [`Victim::asked_for`].
    pub arguments: Vec<OsString>,
    /// What takes longer than this counts as hanging.
    pub patience: Duration,
}

impl Default for CrashOptions {
    /// 500 rounds, two threads, a seed from the clock.
    fn default() -> Self {
        Self {
            rounds: 500,
            threads: 2,
            seed: fastrand::u64(..),
            engine: Engine::default(),
            dir: None,
            arguments: Vec::new(),
            patience: Duration::from_secs(60),
        }
    }
}

impl CrashOptions {
    fn check(&self) -> Result<(), TortureError> {
        if self.threads == 0 || self.threads > THREADS_MAX {
            let bounds = "1 to 8";
            return Err(TortureError::BadOption { what: "a number of threads", given: self.threads as u64, bounds });
        }
        if self.rounds == 0 || self.rounds > 1_000_000 {
            let bounds = "1 to 1000000";
            return Err(TortureError::BadOption { what: "a number of rounds", given: self.rounds, bounds });
        }
        Ok(())
    }
}

/// What all of a run share.
struct Run {
    options: CrashOptions,
    findings: Findings,
    sums: Sums,
    /// What is being done, and since when.
    now: Mutex<(&'static str, Instant)>,
    scratch: Option<PathBuf>,
}

/// Kills owners, and tells what was found. `progress` is called after each round, on this thread.
///
/// # Errors
/// [`TortureError`] if it could not begin. What is wrong with pools is in the report.
pub fn run(options: &CrashOptions, progress: &dyn Fn(&CrashProgress)) -> Result<CrashReport, TortureError> {
    options.check()?;
    let dir = directory(options.dir.as_deref())?;
    let (scratch, no_real_device) = scratch(options, dir.path())?;
    let (grounds, without) = grounds(dir.path(), options.threads)?;
    let names = grounds.iter().map(|ground| ground.name).collect();
    let began = Instant::now();
    let now = Mutex::new(("beginning", began));
    let device = match &scratch {
        Some(_) => "io_uring, direct I/O out of a scratch file".to_owned(),
        None => "a test device, which dies with its process".to_owned(),
    };
    let run = Run { options: options.clone(), findings: Findings::new(), sums: Sums::default(), now, scratch };
    let run = Arc::new(run);
    run.watch(grounds, progress)?;
    let Run { findings, sums, .. } = &*run;
    Ok(CrashReport {
        grounds: names,
        without,
        device,
        no_real_device,
        seed: options.seed,
        threads: options.threads,
        time: began.elapsed(),
        rounds: sums.rounds.get(),
        kills: sums.kills.get(),
        early: sums.early.get(),
        steps: sums.steps.get(),
        in_doubt: sums.in_doubt.get(),
        pins: sums.pins.get(),
        kept: sums.kept.get(),
        rings_outlived: sums.outlived.get(),
        sectors_checked: findings.sectors_checked(),
        checks: sums.checks.get(),
        violations: findings.told(),
        violations_in_all: findings.count(),
    })
}

/// A directory of our own on a disk.
fn directory(dir: Option<&Path>) -> Result<tempfile::TempDir, TortureError> {
    let places = match dir {
        Some(dir) => vec![dir],
        None => vec![Path::new("."), Path::new("/var/tmp")],
    };
    let mut why = Vec::new();
    for place in places {
        match tempfile::Builder::new().prefix("pinfold-torture-").tempdir_in(place) {
            Ok(dir) => return Ok(dir),
            Err(error) => why.push(format!("{}: {error}", place.display())),
        }
    }
    Err(TortureError::NoGround(why.join("; ")))
}

/// What a real device reads, or why there is none.
fn scratch(options: &CrashOptions, dir: &Path) -> Result<(Option<PathBuf>, Option<String>), TortureError> {
    if options.engine == Engine::Late {
        return Ok((None, None));
    }
    let path = dir.join("scratch");
    match Real::prepare(&path, STAMPS) {
        Ok(()) => Ok((Some(path), None)),
        Err(why) if options.engine == Engine::Auto => Ok((None, Some(why.to_string()))),
        Err(why) => Err(TortureError::NoRealDevice(why.to_string())),
    }
}

fn grounds(dir: &Path, threads: usize) -> Result<(Vec<Ground>, Vec<String>), TortureError> {
    let (mut grounds, mut without) = (Vec::new(), Vec::new());
    for ground in [Ground::on_disk(dir, threads), Ground::in_memory(threads)] {
        match ground {
            Ok(ground) => grounds.push(ground),
            Err(why) => without.push(why),
        }
    }
    match grounds.is_empty() {
        true => Err(TortureError::NoGround(without.join("; "))),
        false => Ok((grounds, without)),
    }
}

impl Run {
    /// Runs all rounds on a thread of their own, and sees to it that each goes on (H2).
    fn watch(self: &Arc<Self>, grounds: Vec<Ground>, progress: &dyn Fn(&CrashProgress)) -> Result<(), TortureError> {
        let (told, tells) = channel();
        let run = Arc::clone(self);
        let rounds = move || run.rounds(grounds, &told);
        let thread = thread::Builder::new().name("judge".to_owned()).spawn(rounds).map_err(TortureError::Thread)?;
        loop {
            match tells.recv_timeout(Duration::from_millis(100)) {
                Ok(told) => progress(&told),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let (doing, since) = *lock(&self.now);
                    if since.elapsed() > self.options.patience * 2 {
                        let what = format!("{doing} has taken {:.1} s", since.elapsed().as_secs_f64());
                        self.findings.add(ViolationKind::Hang, what);
                        return Ok(());
                    }
                }
            }
        }
        match thread.join() {
            Ok(ended) => ended,
            Err(_) => {
                self.findings.add(ViolationKind::Unexplained, "the judge panicked".to_owned());
                Ok(())
            }
        }
    }

    fn rounds(&self, mut grounds: Vec<Ground>, tell: &Sender<CrashProgress>) -> Result<(), TortureError> {
        let mut choices = fastrand::Rng::with_seed(self.options.seed);
        for round in 0..self.options.rounds {
            let number = grounds.len() as u64;
            let ground = &mut grounds[(round % number) as usize];
            for _ in 0..choices.u8(1..=3) {
                self.kill_one(ground, &mut choices)?;
            }
            let now = |doing| self.doing(doing);
            let judge =
                Judge { findings: &self.findings, sums: &self.sums, patience: self.options.patience, now: &now };
            // A check takes time, in which transfers of the dead would end: now and then the pool is opened at once.
            let goes_on = judge.judge(ground, choices.bool());
            self.sums.rounds.add(1);
            let progress = CrashProgress {
                rounds: round + 1,
                of: self.options.rounds,
                kills: self.sums.kills.get(),
                violations: self.findings.count(),
            };
            // Who does not listen has given up.
            let _ = tell.send(progress);
            if !goes_on || self.findings.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    fn doing(&self, what: &'static str) {
        *lock(&self.now) = (what, Instant::now());
    }

    /// Starts an owner and kills it; what the pool may hold then.
    fn kill_one(&self, ground: &mut Ground, choices: &mut fastrand::Rng) -> Result<(), TortureError> {
        self.doing("starting an owner");
        let witness = Witness::create(&ground.witness).map_err(TortureError::Process)?;
        let victim = Victim {
            pool: ground.pool.clone(),
            scratch: self.scratch.clone(),
            witness: ground.witness.clone(),
            threads: self.options.threads,
            seed: choices.u64(..),
            first: ground.steps,
            flood: self.scratch.is_some() && choices.bool(),
        };
        ground.steps += STEPS as u64;
        let program = std::env::current_exe().map_err(TortureError::Process)?;
        let child = victim.start(Command::new(program).args(&self.options.arguments)).map_err(TortureError::Process)?;
        let early = choices.u8(0..4) == 0;
        let said = self.let_live_and_kill(child, early, choices)?;
        self.sums.kills.add(1);
        self.sums.early.add(u64::from(early));
        if let Some(why) = Victim::failure(&said) {
            self.findings.add(ViolationKind::Unexplained, format!("an owner of the pool on {}: {why}", ground.name));
        }
        for thread in 0..self.options.threads {
            let came = witness.of(thread).map_err(TortureError::Process)?;
            self.sums.steps.add(came.len() as u64);
            self.sums.in_doubt.add(u64::from(came.last().is_some_and(|last| *last != Came::Done)));
            let may = &mut ground.may[thread];
            *may = outcomes(std::mem::take(may), &victim, thread, &came);
            may.iter_mut().for_each(|model| model.outlive_process(ground.on_disk));
            ground.remember(thread, self.sums.kills.get(), Steps::of(victim.seed, thread).zip(came));
        }
        Ok(())
    }

    /// All that it said.
    fn let_live_and_kill(
        &self,
        mut child: Child,
        early: bool,
        choices: &mut fastrand::Rng,
    ) -> Result<String, TortureError> {
        let mut out = child.stdout.take().map(BufReader::new);
        let mut said = String::new();
        if !early {
            self.doing("opening a pool for its owner");
            if let Some(out) = &mut out {
                while !said.contains(victim::OPEN) && Victim::failure(&said).is_none() {
                    if out.read_line(&mut said).map_err(TortureError::Process)? == 0 {
                        break;
                    }
                }
            }
        }
        let lives = if early { OPENS } else { WORKS };
        thread::sleep(lives.mul_f64(choices.f64()));
        self.doing("killing an owner");
        child.kill().and_then(|()| child.wait()).map_err(TortureError::Process)?;
        if let Some(out) = &mut out {
            out.read_to_string(&mut said).map_err(TortureError::Process)?;
        }
        Ok(said)
    }
}

/// What a thread's part may hold after its steps, by what it may have held before.
fn outcomes(mut may: Vec<Model>, victim: &Victim, thread: usize, came: &[Came]) -> Vec<Model> {
    for ((number, step), came) in (victim.first..).zip(Steps::of(victim.seed, thread)).zip(came) {
        if *came == Came::Done {
            may.iter_mut().for_each(|model| model.take(&step, thread, number, &mut |_| ()));
            continue;
        }
        let mut outcomes = Vec::new();
        for mut model in may {
            outcomes.push(model.clone());
            model.take(&step, thread, number, &mut |between| outcomes.push(between.clone()));
            if *came == Came::Begun {
                outcomes.push(model);
            }
        }
        may = outcomes;
    }
    may
}
