//! Where a pool lies whose owners are killed: on a disk, or in memory that outlives its process.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use pinfold::PoolOptions;
use tempfile::TempDir;

use super::model::Model;
use super::seen::part;
use super::step::{Name, Step};
use super::victim::locks_of;
use super::witness::Came;

/// Bytes of a pool: a few times what its files would like, since what devices reach is parked.
const POOL_BYTES: u64 = 24 << 20;

/// How many steps of a thread are remembered, and how many of them are told of one file.
const LAST_MAX: usize = 4096;
const TOLD_MAX: usize = 24;

/// What file systems in memory say that they are.
const TMPFS: i64 = 0x0102_1994;

/// A pool, and what it may hold.
pub(super) struct Ground {
    /// For a person.
    pub(super) name: &'static str,
    pub(super) pool: PathBuf,
    pub(super) witness: PathBuf,
    pub(super) on_disk: bool,
    /// Of each thread, all that its part may hold: one model alone once the pool was looked at.
    pub(super) may: Vec<Vec<Model>>,
    /// Of each thread, its last steps, with the number of their owner, and how far they came.
    pub(super) last: Vec<VecDeque<(u64, Step, Came)>>,
    /// How many steps were numbered.
    pub(super) steps: u64,
    /// The directory, which goes with this.
    _dir: TempDir,
}

impl Ground {
    /// On a disk: below `dir`.
    pub(super) fn on_disk(dir: &Path, threads: usize) -> Result<Self, String> {
        match is_in_memory(dir) {
            Ok(false) => Self::new("disk", dir, true, threads),
            Ok(true) => Err(format!("{} lies in memory", dir.display())),
            Err(error) => Err(format!("{}: {error}", dir.display())),
        }
    }

    /// In memory that outlives the process.
    pub(super) fn in_memory(threads: usize) -> Result<Self, String> {
        let dir = Path::new("/dev/shm");
        match is_in_memory(dir) {
            Ok(true) => Self::new("memory", dir, false, threads),
            Ok(false) => Err(format!("{} is no file system in memory", dir.display())),
            Err(error) => Err(format!("{}: {error}", dir.display())),
        }
    }

    /// Remembers what a thread of an owner did.
    pub(super) fn remember(&mut self, thread: usize, owner: u64, steps: impl Iterator<Item = (Step, Came)>) {
        let last = &mut self.last[thread];
        last.extend(steps.map(|(step, came)| (owner, step, came)));
        last.drain(..last.len().saturating_sub(LAST_MAX));
    }

    /// What may have happened to a file of a thread lately, for a person.
    pub(super) fn told(last: &VecDeque<(u64, Step, Came)>, name: Name) -> Vec<String> {
        let concerning = last.iter().rev().filter(|(_, step, _)| step.concerns(name)).take(TOLD_MAX);
        let mut told: Vec<_> =
            concerning.map(|(owner, step, came)| format!("owner {owner}: {step:?}, {came:?}")).collect();
        told.reverse();
        told
    }

    fn new(name: &'static str, dir: &Path, on_disk: bool, threads: usize) -> Result<Self, String> {
        let said = |error: io::Error| format!("{}: {error}", dir.display());
        let dir = tempfile::Builder::new().prefix("pinfold-torture-").tempdir_in(dir).map_err(said)?;
        let (pool, witness) = (dir.path().join("pool"), dir.path().join("witness"));
        make(&pool, threads).map_err(|error| error.to_string())?;
        let (may, last) = (vec![vec![Model::default()]; threads], vec![VecDeque::new(); threads]);
        Ok(Self { name, pool, witness, on_disk, may, last, steps: 0, _dir: dir })
    }
}

fn make(path: &Path, threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let pool = PoolOptions::new().format(path, POOL_BYTES)?;
    for thread in 0..threads {
        pool.create_dir(part(thread))?;
        ["even", "odd", "dirs"].iter().try_for_each(|dir| pool.create_dir(part(thread).join(dir)))?;
    }
    pool.close()?;
    Ok(std::fs::create_dir_all(locks_of(path))?)
}

fn is_in_memory(dir: &Path) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(File::open(dir)?)?.f_type as i64;
    Ok(kind == TMPFS)
}
