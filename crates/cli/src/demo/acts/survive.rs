//! The owner of a pool in a file is killed, and the pool is opened again while its DMA may go on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use pinfold::{File, OperatorDecision, Pool, PoolOptions, Until};
use pinfold_dma::RingLock;

use super::super::expect::{Bytes, compare, write};
use super::super::owner::{ARGUMENT, SAYS, SYNCED, rings};
use super::super::stage::Stage;
use super::super::story::{Act, Lasts, bytes};
use super::kill::{GONE_AFTER, TAKES, rounds, scratch};
use super::{after, holder};
use crate::status::{CannotRun, doing};

/// What is brought in: little, since it may lie on a disk.
const LOAD_MAX: u64 = 2 << 20;

/// Who gets all that is free.
const NEXT: &str = "/next";

pub(crate) fn survive(stage: &Stage) -> Result<Act, CannotRun> {
    let about = "A pool in a file, owned by a second process, which brings the source in, syncs, and reserves more, with its \
                 ring writing into that. Then it is killed, and the pool is opened again at once.";
    let mut act = Act::begin("survive", "A pool in a file outlives its owner", about);
    let dir = scratch()?;
    let path = dir.path().join("pool");
    let load = stage.load.min(LOAD_MAX);
    PoolOptions::new().format(&path, 4 * load + (16 << 20))?.close()?;
    act.now(format!("{} is a pool of {} now", path.display(), bytes(4 * load + (16 << 20))));

    let lived = Instant::now();
    let mut owner = Owner::start(stage, &path, load)?;
    owner.says(SAYS[0])?;
    act.now(format!("process {} has brought {} into {SYNCED}, and synced it", owner.pid(), bytes(load)));
    owner.says(SAYS[1])?;
    act.now("its device writes into a reservation, which has no name");
    let killed = Instant::now();
    owner.kill()?;
    let reaped = Instant::now();
    act.at(killed, format!("kill -9 {}", owner.pid()));
    act.lasted(format!("process {}", owner.pid()), Lasts::Lives, lived, reaped);

    let pool = Pool::load(&path)?;
    let opened = Instant::now();
    act.at(opened, format!("it is dead, and the pool is open again {} later", after(reaped, opened)));
    act.done("opening the pool", opened);
    what_survived(&mut act, stage, &pool, load)?;
    act.met = !pool.quarantine().is_empty();
    until_quiet(&mut act, stage, &pool, &path, reaped)?;
    pool.close()?;
    Ok(act)
}

/// What was synced, by its checksum; what was not, by its absence.
fn what_survived(act: &mut Act, stage: &Stage, pool: &Pool, load: u64) -> Result<(), CannotRun> {
    let compared = compare(&pool.open(SYNCED)?, &stage.source, &[(load, Bytes::Source(0))])?;
    act.check("G9", format!("{SYNCED} is there: {compared}"), compared.is_right());
    let names = pool.read_dir("/")?.len();
    act.check("G9", "nothing else has a name: the reservation went with its owner", names == 1);
    Ok(())
}

/// Others get all that is free, while the dead process's ring may write; then there is the proof.
fn until_quiet(act: &mut Act, stage: &Stage, pool: &Pool, path: &Path, reaped: Instant) -> Result<(), CannotRun> {
    let quarantine = pool.quarantine();
    let stats = pool.stats();
    if let Some(pin) = quarantine.first() {
        let pins = quarantine.len();
        act.now(format!("{pins} pins in quarantine keep {}: {}", bytes(stats.quarantined), holder(pin)));
    }
    let next = fill(stage, pool, stats.free)?;
    act.now(format!("{NEXT} gets all that is free, {}", bytes(stats.free)));
    let released = release(&mut *act, pool, path)?;
    let gone = Instant::now();
    act.at(gone, format!("{released} pins are released, {} after the death", after(reaped, gone)));
    act.lasted("the pins of the dead", Lasts::Quarantine, reaped, gone);
    act.check("G8", "all of its pins were released", released == quarantine.len());
    let compared = compare(&next, &stage.source, &[(next.len(), Bytes::Inverted(0))])?;
    act.check("G1", format!("nothing that the dead ring wrote hit {NEXT}: {compared}"), compared.is_right());
    // What it freed comes back once that is durable.
    pool.sync()?;
    act.check("G9", "all blocks add up", pool.stats().quarantined == 0 && pool.stats().free == stats.quarantined);
    Ok(())
}

/// Lets the pins of the dead go, by the proof that its ring is gone. How many there were.
fn release(act: &mut Act, pool: &Pool, path: &Path) -> Result<usize, CannotRun> {
    let locks = RingLock::all_in(rings(path))?;
    if locks.is_empty() {
        // What stood in for the ring was a thread of the process that is dead.
        act.now("there is no ring to ask: a person decides");
        let decision = |pin: pinfold::PinInfo| OperatorDecision {
            pin: pin.id,
            operator: "the demo".to_owned(),
            reason: "the device was a thread of the dead process".to_owned(),
        };
        let pins = pool.quarantine();
        pins.iter().cloned().try_for_each(|pin| pool.release_by_operator(&decision(pin)).map(drop))?;
        return Ok(pins.len());
    }
    let mut released = 0;
    for lock in locks {
        let proof = lock.wait(Until::after(GONE_AFTER))?;
        act.now(format!("{} is gone, and its DMA with it", lock.name()));
        released += pool.release(&proof)?;
        lock.remove(&proof)?;
    }
    Ok(released)
}

/// A file on so many free bytes, full of what no transfer writes.
fn fill(stage: &Stage, pool: &Pool, len: u64) -> Result<File, CannotRun> {
    let next = pool.create(NEXT)?;
    next.allocate(0..len).try_now()?;
    write(&next, &stage.source, Bytes::Inverted(0), len)?;
    Ok(next)
}

/// The second process. Killed at the latest when this is dropped.
struct Owner {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Owner {
    fn start(stage: &Stage, pool: &Path, load: u64) -> Result<Self, CannotRun> {
        let program = std::env::current_exe().map_err(doing("cannot find this program"))?;
        let takes = stage.load_takes.mul_f64(load as f64 / stage.load as f64);
        let mut command = Command::new(program);
        command.arg(ARGUMENT).arg(pool).arg(&stage.source.path).arg(load.to_string());
        command.arg(rounds(TAKES, takes).to_string());
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.map_err(doing("cannot start a second process"))?;
        let said = process.stdout.take().ok_or_else(|| CannotRun("the second process says nothing".to_owned()))?;
        Ok(Self { process, said: BufReader::new(said) })
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for what it is to say.
    fn says(&mut self, what: &str) -> Result<(), CannotRun> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(doing("cannot hear the second process"))?;
        match line.trim() == what {
            true => Ok(()),
            false => Err(CannotRun("the second process could not do its part".to_owned())),
        }
    }

    fn kill(&mut self) -> Result<(), CannotRun> {
        self.process.kill().map_err(doing("cannot kill the second process"))?;
        self.process.wait().map_err(doing("cannot reap the second process"))?;
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
