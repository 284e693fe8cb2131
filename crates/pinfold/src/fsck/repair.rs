//! The repair: what can be mended without guessing, and nothing else.
//!
//! It works on the state in memory, and writes that as a new checkpoint into free blocks; then a superblock that names it
//! takes the place of the one that does not count. Copies of shared blocks lie in free blocks too. So until the last write
//! all is as it was.
//!
//! Stays true  R1: it has claimed the pool, as an owner does, from the look on until it is dropped.
//!             R2: nothing that the superblock which counts names is written over, nor anything parked.
//!             R3: it refuses while a device may reach the pool, and if anything was found for which there is no remedy
//!                 here: then nothing is written at all.
//!             R4: before it writes, what it is about to write was looked at as everything else is.
//! A crash     see C3.

mod blocks;
mod free;
mod names;
mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pinfold_layout::PinInfo;
use pinfold_region::{AccessError, AllocateError, FlushError, OpenError, Region, RegionOptions};

use self::free::Free;
use super::finding::{Finding, Owner, Remedy};
use super::report::{Findings, Report};
use super::state::State;
use super::words::quoted;
use super::{Seen, check, look, owned, tree};

/// A pool that was claimed and looked at, and what would mend it. Nothing is written before [`Repair::commit`].
pub struct Repair {
    region: Region,
    live_dir: Option<PathBuf>,
    report: Report,
    /// What is to be done, if there is a pool at all.
    plan: Option<Plan>,
}

/// What is to be done.
struct Plan {
    seen: Seen,
    /// The state as it should be, if it is another one.
    state: Option<State>,
    /// Blocks that are copied: (from, to).
    copies: Vec<(Range<u64>, u64)>,
    free: Free,
    steps: Vec<Step>,
    suspects: BTreeSet<u64>,
}

/// A step of a repair.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "fields are called what they are; units as in `Finding`")]
pub enum Step {
    /// A superblock is written.
    Superblock { place: u64 },
    /// A new checkpoint is written.
    Checkpoint,
    /// There is a root directory.
    MakeRoot,
    /// There is a directory for what has no name.
    MakeLostFound { name: Vec<u8> },
    /// A node gets a name there.
    MoveToLostFound { node: u64, name: Vec<u8> },
    /// A name goes.
    RemoveName { dir: u64, name: Vec<u8>, node: u64 },
    /// A symbolic link that leads to no path goes, with its names.
    RemoveLink { node: u64 },
    /// A file loses blocks that cannot be its own: it reads as zeros there.
    TakeOut { node: u64, at: u64, blocks: u64 },
    /// A file gets a copy of blocks that it shares.
    CopyShared { node: u64, at: u64, blocks: u64 },
    /// A file ends where its blocks do.
    Shorten { node: u64, len: u64 },
    /// What lies behind the end of a file reads as zeros.
    Unwrite { node: u64, at: u64, blocks: u64 },
    /// A socket that nobody serves goes.
    RemoveSocket { path: PathBuf },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = |at: &u64, blocks: &u64| format!("{at}..{}", at.saturating_add(*blocks));
        match self {
            Self::Superblock { place } => write!(f, "write the superblock at byte {place}"),
            Self::Checkpoint => write!(f, "write a new checkpoint"),
            Self::MakeRoot => write!(f, "make a root directory"),
            Self::MakeLostFound { name } => write!(f, "make the directory {} in the root", quoted(name)),
            Self::MoveToLostFound { node, name } => write!(f, "move node {node} there, as {}", quoted(name)),
            Self::RemoveName { dir, name, node } => {
                write!(f, "remove the name {} of node {node} from node {dir}", quoted(name))
            }
            Self::RemoveLink { node } => write!(f, "remove the symbolic link {node}, and its names"),
            Self::TakeOut { node, at, blocks: count } => {
                write!(f, "take the blocks {} out of node {node}, which reads as zeros there", blocks(at, count))
            }
            Self::CopyShared { node, at, blocks: count } => {
                write!(f, "give node {node} a copy of its own of the blocks {}", blocks(at, count))
            }
            Self::Shorten { node, len } => write!(f, "cut node {node} to {len} bytes, where its blocks end"),
            Self::Unwrite { node, at, blocks: count } => {
                write!(f, "make the blocks {} of node {node}, behind its end, read as zeros", blocks(at, count))
            }
            Self::RemoveSocket { path } => write!(f, "remove {}", path.display()),
        }
    }
}

/// Why nothing is mended. Nothing was written, but for the last cases, which say so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The pool could not be claimed; above all while another process owns it.
    #[error(transparent)]
    Region(#[from] OpenError),
    /// A device may reach the pool.
    #[error("a device may reach the pool, so nothing was written: {0}")]
    Reached(Box<PinInfo>),
    /// There is no remedy here for something that was found.
    #[error("beyond repair, so nothing was written: {0}")]
    Beyond(Box<Finding>),
    /// Too few blocks are free for a new checkpoint and for copies.
    #[error("a repair needs {needed} more bytes than are free: make the pool longer, or copy what it holds")]
    NoSpace {
        /// Bytes that are missing.
        needed: u64,
    },
    /// What would be written is not right either: it is not written.
    #[error("the repair would leave this, so nothing was written: {0}")]
    NotMended(Box<Finding>),
    /// There is no memory behind a part of the pool. The superblock that counts is as it was.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The memory cannot be reached. The superblock that counts is as it was.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The medium refused. The superblock that counts is as it was, or as it should be.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// A file beside the pool could not be removed. The pool itself is mended.
    #[error("could not remove {}: {source}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Repair {
    /// Claims the pool that a file or a device-DAX device holds, looks at it, and works out what would mend it.
    ///
    /// # Errors
    /// [`RepairError`]; nothing was written.
    pub fn of(path: impl AsRef<Path>, live_dir: Option<&Path>) -> Result<Self, RepairError> {
        Self::of_region(RegionOptions::new().open(path)?, live_dir)
    }

    /// As [`Repair::of`], in memory that the caller has opened.
    ///
    /// # Errors
    /// [`RepairError`]; nothing was written.
    pub fn of_region(region: Region, live_dir: Option<&Path>) -> Result<Self, RepairError> {
        let (report, seen) = look(&region, live_dir);
        let beyond = report.findings.iter().find(|finding| finding.remedy() == Remedy::Beyond);
        let beyond = seen.as_ref().map_or(beyond, |seen| seen.findings.beyond());
        if let Some(finding) = beyond {
            return Err(RepairError::Beyond(Box::new(finding.clone())));
        }
        let plan = seen.map(|seen| Plan::of(&region, seen)).transpose()?;
        Ok(Self { region, live_dir: live_dir.map(Path::to_owned), report, plan })
    }

    /// What was found, before anything is mended.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What would be done, in order. Nothing: there is nothing to mend.
    pub fn steps(&self) -> &[Step] {
        self.plan.as_ref().map_or(&[], |plan| &plan.steps)
    }

    /// The files whose bytes may not be what was written to them: they share blocks, or lose some.
    pub fn suspects(&self) -> impl Iterator<Item = u64> {
        self.plan.iter().flat_map(|plan| &plan.suspects).copied()
    }

    /// Does it, and looks at the pool once more. The claim ends with this.
    ///
    /// # Errors
    /// [`RepairError`]. An error here leaves the pool as it was, or mended.
    pub fn commit(self) -> Result<Report, RepairError> {
        if let Some(plan) = self.plan {
            plan.write(&self.region)?;
        }
        Ok(check(&self.region, self.live_dir.as_deref()))
    }
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair").field("steps", &self.steps()).finish_non_exhaustive()
    }
}

impl Plan {
    fn of(region: &Region, seen: Seen) -> Result<Self, RepairError> {
        if seen.findings.ask_for_superblock() {
            check_nobody_reaches(&seen)?;
        }
        let owned = owned(&seen.superblock, &seen.chunks, &seen.state, &seen.beside);
        let free = Free::of(&owned, seen.superblock.blocks());
        let mut plan =
            Self { state: None, copies: Vec::new(), free, steps: Vec::new(), suspects: BTreeSet::new(), seen };
        if plan.seen.findings.ask_for_checkpoint() {
            plan.mend_state(region)?;
        }
        if plan.seen.findings.ask_for_superblock() {
            plan.steps.extend(write::places(&plan.seen).map(|place| Step::Superblock { place }));
        }
        plan.steps.extend(plan.seen.beside.stale_socket().map(|path| Step::RemoveSocket { path }));
        Ok(plan)
    }

    fn mend_state(&mut self, region: &Region) -> Result<(), RepairError> {
        let mut state = self.seen.state.clone();
        if state.made_root {
            self.steps.push(Step::MakeRoot);
        }
        names::mend(&mut state, &self.seen.findings, &mut self.steps);
        self.mend_blocks(region, &mut state)?;
        check_mended(region, &self.seen, &state)?;
        self.steps.push(Step::Checkpoint);
        self.state = Some(state);
        Ok(())
    }
}

/// R3.
fn check_nobody_reaches(seen: &Seen) -> Result<(), RepairError> {
    if let Some(pin) = seen.beside.area.iter().flat_map(|area| &area.pins).find(|pin| pin.pin.device) {
        return Err(RepairError::Reached(Box::new(pin.pin.clone())));
    }
    match seen.beside.is_missing_for(&seen.superblock) {
        true => Err(RepairError::Beyond(Box::new(Finding::AreaLost))),
        false => Ok(()),
    }
}

/// Looks at what is about to be written (R4).
fn check_mended(region: &Region, seen: &Seen, state: &State) -> Result<(), RepairError> {
    let mut findings = Findings::default();
    let superblock = &seen.superblock;
    tree::check_nodes(state, &mut findings);
    tree::Tree::of(state).check(state, &mut findings);
    super::blocks::check_places(superblock, state, &mut findings);
    super::blocks::check_ends(region, superblock, state, &mut findings);
    // The former checkpoint is not overwritten either.
    let owned = owned(superblock, &seen.chunks, state, &seen.beside);
    super::blocks::check(&owned, superblock.blocks(), &mut findings);
    let wrong = findings.listed().iter().find(|finding| finding.severity() == super::Severity::Error);
    match wrong {
        Some(finding) => Err(RepairError::NotMended(Box::new(finding.clone()))),
        None => Ok(()),
    }
}

/// The file of an owner, and its block.
fn file_of(owner: &Owner) -> Option<(u64, u64)> {
    match owner {
        Owner::File { node, at } => Some((*node, *at)),
        Owner::Reserved | Owner::Checkpoint | Owner::Parked { .. } => None,
    }
}
