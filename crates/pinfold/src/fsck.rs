//! The check of a pool's medium, and its repair.
//!
//! The check reads everything by itself, and goes on after a finding: both superblocks, every chunk of the checkpoint, every
//! record of the log, and what lies behind the log's end. Then it compares: each block belongs to one or to nobody, each name
//! leads somewhere, everything is reached from the root, and what devices reach is in a file or parked. It shares the
//! decoding of single records with the opening of a pool, and nothing else.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("pinfold-doc-fsck-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # let path = dir.join("pool");
//! # pinfold::Pool::format(&path, 64 << 20)?.close()?;
//! let report = pinfold::fsck::check(&std::fs::File::open(&path)?, Some(&pinfold::live_dir_of(&path)));
//! report.findings.iter().for_each(|finding| println!("{}: {finding}", finding.severity()));
//! assert!(report.is_clean());
//! assert_eq!(report.totals.sum(), report.totals.total);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(()) }
//! ```
//!
//! Stays true  C1: a check writes nothing, claims nothing, and may run beside an owner that works.
//!             C2: what it says is of one moment: what the superblocks name is read while they stand still, or once more.
//!             C3: a repair writes beside what is there, and its superblock comes last, over the one that does not count.
//! Who calls   whoever may read the medium; a repair claims the pool as an owner does.
//! A crash     in a repair leaves the pool as it was before, or as it is after.

mod area;
mod blocks;
mod checkpoint;
mod dump;
mod finding;
mod log;
mod repair;
mod report;
mod state;
mod superblocks;
#[cfg(test)]
mod tests;
mod tree;
mod words;

use std::ops::Range;
use std::path::Path;

pub use dump::{Dump, Fact, Part, Value};
pub use finding::{Finding, Owner, Remedy, Severity};
pub use repair::{Repair, RepairError, Step};
pub use report::{Report, Totals};

use area::Beside;
use blocks::Owned;
use checkpoint::Checkpoint;
use log::{End, Log};
use report::Findings;
use state::{Body, State};
use superblocks::Superblocks;
use tree::Tree;

use crate::medium::source::Source;
use crate::medium::superblock::{LOG_START, Superblock};

/// How often a pool is looked at anew because its owner changed it meanwhile.
const TRIES: u32 = 50;

/// Looks at a medium, whoever owns it: a file, a region, an image in memory. With `live_dir`, the directory beside a pool
/// ([`live_dir_of`](crate::live_dir_of)), what devices reach is compared too. It only looks.
pub fn check(source: &(impl Source + ?Sized), live_dir: Option<&Path>) -> Report {
    look(source, live_dir).0
}

/// What a check found, beside its report: what a repair works on.
struct Seen {
    findings: Findings,
    /// Which of the two superblocks counts, and what it says.
    index: usize,
    superblock: Superblock,
    chunks: Vec<Range<u64>>,
    state: State,
    /// Where the log ends.
    end: u64,
    beside: Beside,
}

/// As [`check`]. Nothing was seen where no superblock is whole.
fn look(source: &(impl Source + ?Sized), live_dir: Option<&Path>) -> (Report, Option<Seen>) {
    let beside = Beside::look(live_dir);
    for _ in 0..TRIES {
        if let Ok(found) = Reading::of(source).and_then(|reading| reading.taken_in(source)) {
            return found.compared(source, beside);
        }
    }
    (Report::of_one(Finding::Moving), None)
}

/// The superblocks were changed while what they name was read.
struct Moved;

/// What was read while the superblocks stood still. It is not taken in yet: that lasts, and an owner does not wait.
struct Reading {
    findings: Findings,
    superblocks: Superblocks,
    checkpoint: Checkpoint,
    log: Result<Log, String>,
}

impl Reading {
    fn of(source: &(impl Source + ?Sized)) -> Result<Self, Moved> {
        let mut findings = Findings::default();
        let superblocks = Superblocks::read(source);
        superblocks.check(&mut findings);
        let (checkpoint, log) = match superblocks.chosen() {
            Some((_, superblock)) => {
                (Checkpoint::read(source, superblock, &mut findings), Log::read(source, superblock))
            }
            None => (Checkpoint::default(), Err("no superblock says where it lies".into())),
        };
        match superblocks.are_still(source) {
            true => Ok(Self { findings, superblocks, checkpoint, log }),
            false => Err(Moved),
        }
    }

    /// Puts the state together.
    fn taken_in(mut self, source: &(impl Source + ?Sized)) -> Result<Found, Moved> {
        let Some((index, superblock)) = self.superblocks.chosen() else { return Ok(Found::Nothing(self.findings)) };
        let superblock = superblock.clone();
        let mut state = State::default();
        state.take_items(&self.checkpoint.items, &superblock, &mut self.findings);
        let end = self.take_log(source, &superblock, &mut state)?;
        let Self { mut findings, checkpoint, .. } = self;
        state.check_after(end, &mut findings);
        Ok(Found::Pool(Box::new(Seen {
            findings,
            index,
            superblock,
            chunks: checkpoint.blocks().collect(),
            state,
            end,
            beside: Beside::look(None),
        })))
    }

    /// Brings a state up to the end of the log, and says what is wrong there; where the log ends.
    fn take_log(
        &mut self,
        source: &(impl Source + ?Sized),
        superblock: &Superblock,
        state: &mut State,
    ) -> Result<u64, Moved> {
        let (mut end, mut read_before) = (superblock.replay_from, false);
        loop {
            let log = match &self.log {
                Ok(log) => log,
                Err(why) => {
                    let (what, place) = ("the log", LOG_START);
                    self.findings.add(Finding::Unreadable { what, place, why: why.clone() });
                    return Ok(end);
                }
            };
            let before = end;
            end = log.replay(before, |record| state.take_record(record, &mut self.findings));
            let looks_whole = log.end(end) == End::default();
            if looks_whole || (read_before && end == before) {
                log.check_end(end, &mut self.findings);
                return Ok(end);
            }
            // A record that was not there when the ring was read may be there by now: then there is more to read.
            self.log = Log::read(source, superblock);
            read_before = true;
            if !self.superblocks.are_still(source) {
                return Err(Moved);
            }
        }
    }
}

/// What was read.
enum Found {
    /// No superblock is whole.
    Nothing(Findings),
    Pool(Box<Seen>),
}

impl Found {
    fn compared(self, source: &(impl Source + ?Sized), mut beside: Beside) -> (Report, Option<Seen>) {
        match self {
            Self::Nothing(findings) => (Report::of(&findings, Totals::default(), |_| None), None),
            Self::Pool(mut seen) => {
                beside.look_again();
                seen.beside = beside;
                (seen.report(source), Some(*seen))
            }
        }
    }
}

impl Seen {
    /// Compares, and counts.
    fn report(&mut self, source: &(impl Source + ?Sized)) -> Report {
        let (superblock, state, findings) = (&self.superblock, &self.state, &mut self.findings);
        let tree = Tree::of(state);
        tree::check_nodes(state, findings);
        tree.check(state, findings);
        blocks::check_places(superblock, state, findings);
        if !self.beside.is_served() {
            blocks::check_ends(source, superblock, state, findings);
        }
        let owned = owned(superblock, &self.chunks, state, &self.beside);
        blocks::check(&owned, superblock.blocks(), findings);
        self.beside.check(superblock, state, findings);
        let totals = self.totals(&owned);
        Report::of(&self.findings, totals, |node| tree.path(node))
    }

    fn totals(&self, owned: &[Owned]) -> Totals {
        let Self { superblock, state, .. } = self;
        let bytes = |blocks: u64| superblock.block.offset(blocks);
        let [reserved, checkpoint, in_files, parked, quarantined] = blocks::count(owned, superblock.blocks());
        let used = reserved + checkpoint + in_files + parked + quarantined;
        let of_kind = |is: fn(&Body) -> bool| state.nodes.values().filter(|node| is(&node.body)).count() as u64;
        Totals {
            pool: superblock.pool,
            block_size: superblock.block.bytes(),
            total: bytes(superblock.blocks()),
            reserved: bytes(reserved),
            checkpoint: bytes(checkpoint),
            in_files: bytes(in_files),
            parked: bytes(parked),
            quarantined: bytes(quarantined),
            free: bytes(superblock.blocks() - used),
            generation: superblock.generation,
            epoch: superblock.epoch,
            files: of_kind(|body| matches!(body, Body::File(_))),
            directories: of_kind(|body| matches!(body, Body::Directory(_))),
            symlinks: of_kind(|body| matches!(body, Body::Symlink(_))),
            names: state.directories().map(|(_, names)| names.len() as u64).sum(),
            records: state.records,
            log_used: self.end - superblock.replay_from,
            log: superblock.log_len,
        }
    }
}

fn owned(superblock: &Superblock, chunks: &[Range<u64>], state: &State, beside: &Beside) -> Vec<Owned> {
    blocks::owned(superblock, chunks.iter().cloned(), state, beside.parked(state).into_iter())
}
