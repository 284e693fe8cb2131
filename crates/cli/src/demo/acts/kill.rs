//! A process is killed while its own ring writes into the pool.

use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use pinfold::layout::Quarantined;
use pinfold::{File, PinInfo, Quiescent, Until};
use pinfold_dma::RingLock;
use tempfile::TempDir;

use super::super::device::Device;
use super::super::ghost::Ghost;
use super::super::heir::{Heir, Were, places};
use super::super::invited::Invited;
use super::super::message::{Engine, Order};
use super::super::source::SECTOR;
use super::super::stage::Stage;
use super::super::story::{Act, Lasts, bytes};
use super::{after, held_by, holder};
use crate::status::{CannotRun, doing};

const SHARED: &str = "/shared";

/// How long the second process's transfers should take at least, and how often it may fill the file.
pub(super) const TAKES: Duration = Duration::from_millis(500);
const ROUNDS: RangeInclusive<f64> = 4.0..=16.0;

/// When the demo gives up waiting for the ring of the dead.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(10);

/// What goes on writing when the second process is dead.
enum Writes {
    Ring(RingLock),
    StandIn(Ghost),
}

pub(crate) fn kill(stage: &Stage) -> Result<Act, CannotRun> {
    let about = "A second process joins the pool, pins a file of it, and has a ring of its own write into it. Then it is \
                 killed. Its death is no proof that its DMA is over; that its ring is gone is one.";
    let file = stage.create(SHARED, stage.load)?;
    let mut were = Were::of(&file, SHARED);
    let locks = scratch()?;
    let mut act = Act::begin("kill", "A process is killed while its DMA is in flight", about);
    let lived = Instant::now();
    let mut guest = Invited::start()?;
    let writes = start(stage, &mut act, &guest, &file, &locks)?;

    let killed = Instant::now();
    let reaped = guest.kill()?;
    let marks = Marks::set(stage, were.places(&(0..stage.load)))?;
    let quarantine = stage.pool.quarantine();
    act.at(killed, format!("kill -9 {}", guest.pid()));
    act.at(reaped, format!("it is dead and reaped, {} later", after(killed, reaped)));
    act.lasted(format!("process {}", guest.pid()), Lasts::Lives, lived, reaped);
    act.met = quarantine.iter().any(|pin| pin.pid == guest.pid());
    if !act.met {
        act.check("G8", "its pin outlived it", guest.had_ended());
        stage.pool.unlink(SHARED)?;
        return Ok(act);
    }
    still_held(&mut act, stage, &file, &quarantine)?;

    let gone = until_released(&mut act, stage, &file, writes, reaped, &marks)?;
    act.lasted(format!("the pin of {}", guest.pid()), Lasts::Quarantine, reaped, gone);
    were.were_reached(&(0..stage.load), gone);
    let heir = Heir::new(stage)?;
    let had = heir.wait_for_blocks(stage.load)?;
    act.done(format!("{} gets blocks", Heir::PATH), had);
    heir.move_in(&mut act, had, &were)?;
    heir.check_and_remove(&mut act)?;
    stage.pool.unlink(SHARED)?;
    Ok(act)
}

/// Has the second process start its transfers.
fn start(stage: &Stage, act: &mut Act, guest: &Invited, file: &File, locks: &TempDir) -> Result<Writes, CannotRun> {
    let token = file.layout_token()?;
    let engine = match &stage.device {
        Device::Ring(_) => Engine::RingWithLockIn(locks.path().to_owned()),
        Device::StandIn(_) => Engine::Owners(Ghost::name()),
    };
    let order = Order {
        object: token.object,
        cell: token.cell,
        blocks: 0..file.len() / stage.pool.block_size(),
        region: stage.pool.region().len(),
        rounds: rounds(TAKES, stage.load_takes),
        engine,
    };
    let transfers = guest.bring(stage, file, &order)?;
    act.now(format!("process {} has joined, and has pinned {} of {SHARED}", guest.pid(), bytes(file.len())));
    if let Engine::Owners(name) = order.engine {
        act.now(format!("{name} writes into it, as a ring of its own would"));
        let ghost = Ghost::start(name, &stage.pool, places(&file.extents(), &(0..file.len())))?;
        ghost.watch(1);
        return Ok(Writes::StandIn(ghost));
    }
    let moves = order.rounds * file.len();
    stage.moved.add(transfers, moves);
    let lock = RingLock::all_in(locks.path())?.pop();
    let lock = lock.ok_or_else(|| CannotRun("the ring of the second process has no lock".to_owned()))?;
    act.now(format!("its own ring, {}, has {transfers} transfers in flight, {} in all", lock.name(), bytes(moves)));
    Ok(Writes::Ring(lock))
}

/// What the death of the process has not changed.
fn still_held(act: &mut Act, stage: &Stage, file: &File, quarantine: &[PinInfo]) -> Result<(), CannotRun> {
    let of_the_dead = quarantine.iter().all(|pin| pin.quarantine == Some(Quarantined::HolderGone));
    let whose = quarantine.first().map_or_else(String::new, holder);
    act.now(format!("its pin stays, and is in quarantine: {whose}"));
    act.check("G8", "its pin outlived it, in quarantine", of_the_dead && quarantine.len() == 1);
    let half = stage.load / 2;
    file.punch(0..half).detach().wait()?;
    let punched = Instant::now();
    let quarantined = stage.pool.stats().quarantined;
    act.at(punched, format!("a punch under Detach is done at once: {} are parked", bytes(quarantined)));
    act.done("a punch, Detach", punched);
    act.check("G1", "all that its DMA reaches was parked", quarantined == half);
    let refused = stage.pool.reserve(half).try_now().err();
    let said = refused.map_or("there are enough".to_owned(), |error| error.to_string());
    act.now(format!("nobody gets them: {said}"));
    act.check("G7", "why a block is not free is said: it is in quarantine", said.contains("in quarantine"));
    Ok(())
}

/// Shows the proof while a truncate waits for it; when there was one.
fn until_released(
    act: &mut Act,
    stage: &Stage,
    file: &File,
    writes: Writes,
    reaped: Instant,
    marks: &Marks,
) -> Result<Instant, CannotRun> {
    let asked = Instant::now();
    let how = writes.how_it_ends();
    std::thread::scope(|scope| {
        let truncate = scope.spawn(|| file.truncate(0).until(Until::after(GONE_AFTER)).map(|()| Instant::now()));
        let behind = stage.behind_whom(file, || truncate.is_finished());
        act.now(format!(
            "a truncate under Wait waits for the dead: {}",
            behind.as_ref().map_or(String::new(), held_by)
        ));
        let named = behind.is_some_and(|behind| behind.pin.quarantine == Some(Quarantined::HolderGone));
        act.check("G7", "for whom it waits is said, by name", named);
        let proof = writes.wait_until_quiet()?;
        let gone = Instant::now();
        let trace = marks.trace(stage)?;
        act.at(gone, format!("{how}, {} after the death", after(reaped, gone)));
        act.at(gone, trace);
        act.check("G8", "its blocks were nobody's before there was a proof", !truncate.is_finished());
        act.check("G8", "the proof released its pin", stage.pool.release(&*proof)? == 1);
        let ended = truncate.join().expect("a truncate does not panic")?;
        act.at(ended, format!("the truncate goes on by itself, {} after the proof", after(gone, ended)));
        act.waited("a truncate, Wait", asked, ended);
        act.check("G2", "the proof, and nothing else, let the truncate go on", ended >= gone);
        Ok(gone)
    })
}

impl Writes {
    /// The proof that it writes no more.
    fn wait_until_quiet(self) -> Result<Box<dyn Quiescent>, CannotRun> {
        match self {
            Self::Ring(lock) => Ok(Box::new(lock.wait(Until::after(GONE_AFTER))?)),
            Self::StandIn(ghost) => {
                ghost.watch(1024);
                Ok(Box::new(ghost.stop()))
            }
        }
    }

    /// How the proof comes about.
    fn how_it_ends(&self) -> &'static str {
        match self {
            Self::Ring(_) => "the lock of its ring is free: the ring is gone, and its DMA with it",
            Self::StandIn(_) => "the device is stopped",
        }
    }
}

/// A mark in each page of some places, which a transfer into the page wipes out.
struct Marks(Vec<Range<u64>>);

impl Marks {
    /// What no file begins a sector with.
    const MARK: [u8; 8] = *b"\xffmarked\xff";

    fn set(stage: &Stage, places: Vec<Range<u64>>) -> Result<Self, CannotRun> {
        let marks = Self(places);
        for at in marks.pages() {
            stage.pool.region().bytes(at..at + SECTOR)?.copy_in(0, &Self::MARK)?;
        }
        Ok(marks)
    }

    fn pages(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|place| place.clone().step_by(SECTOR as usize))
    }

    /// What has been written since, in words.
    fn trace(&self, stage: &Stage) -> Result<String, CannotRun> {
        Ok(match self.wiped_out(stage)? {
            0 => "since the death its DMA has written nothing: it was just over, but nobody could know".to_owned(),
            count => format!("since the death its DMA has written {count} of {} pages", self.pages().count()),
        })
    }

    /// How many are gone.
    fn wiped_out(&self, stage: &Stage) -> Result<usize, CannotRun> {
        let mut wiped_out = 0;
        for at in self.pages() {
            let mut found = Self::MARK;
            stage.pool.region().bytes(at..at + SECTOR)?.copy_out(0, &mut found)?;
            wiped_out += usize::from(found != Self::MARK);
        }
        Ok(wiped_out)
    }
}

/// How often a load has to be moved, so that it takes that long.
pub(super) fn rounds(wanted: Duration, load_takes: Duration) -> u64 {
    let rounds = wanted.as_secs_f64() / load_takes.as_secs_f64().max(1e-3);
    rounds.clamp(*ROUNDS.start(), *ROUNDS.end()) as u64
}

/// A directory for what the second process leaves, wherever one may be made.
pub(super) fn scratch() -> Result<TempDir, CannotRun> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(Into::into);
    let usual = [std::env::temp_dir(), "/dev/shm".into(), "/var/tmp".into(), ".".into()];
    let mut refused = None;
    for place in runtime.into_iter().chain(usual) {
        match tempfile::Builder::new().prefix("pinfold-demo-").tempdir_in(place) {
            Ok(dir) => return Ok(dir),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let why = refused.map_or(String::new(), |error| error.to_string());
    Err(doing("no directory can be written to")(why))
}
