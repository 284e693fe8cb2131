//! Blocks: each belongs to one, or to nobody.

use std::collections::BTreeMap;
use std::ops::Range;

use super::finding::{Finding, Owner};
use super::report::Findings;
use super::state::{File, State};
use crate::extents::State as BlockState;
use crate::medium::source::Source;
use crate::medium::superblock::Superblock;
use crate::units::{BlockSize, FILE_BYTES_MAX};

/// Blocks, and whose they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Owned {
    pub(super) blocks: Range<u64>,
    pub(super) owner: Owner,
    /// Parked, and kept by pins in quarantine alone.
    pub(super) quarantined: bool,
}

impl Owned {
    pub(super) fn new(blocks: Range<u64>, owner: Owner) -> Self {
        Self { blocks, owner, quarantined: false }
    }

    /// The owner, of the part from a block on.
    fn from(&self, block: u64) -> Owner {
        let skip = block - self.blocks.start;
        match self.owner {
            Owner::File { node, at } => Owner::File { node, at: at.saturating_add(skip) },
            Owner::Parked { node, at } => Owner::Parked { node, at: at.saturating_add(skip) },
            owner => owner,
        }
    }
}

/// Two owners of the same blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Overlap {
    pub(super) blocks: Range<u64>,
    /// Who has them first.
    pub(super) one: Owner,
    pub(super) other: Owner,
}

/// Every block that somebody has, by its first. `chunks` are the checkpoint's.
pub(super) fn owned(
    superblock: &Superblock,
    chunks: impl Iterator<Item = Range<u64>>,
    state: &State,
    parked: impl Iterator<Item = Owned>,
) -> Vec<Owned> {
    let mut owned = vec![Owned::new(0..superblock.first_block(), Owner::Reserved)];
    owned.extend(chunks.map(|blocks| Owned::new(blocks, Owner::Checkpoint)));
    for (node, file) in state.files() {
        let runs = file.runs().map(|(at, run)| Owned::new(run.block..run.end(), Owner::File { node, at }));
        owned.extend(runs);
    }
    owned.extend(parked);
    owned.sort_by_key(|owned| (owned.blocks.start, owned.blocks.end));
    owned
}

/// Where two have the same blocks. Of more than two, each is compared with the one that reaches furthest: so each part that
/// somebody has already is in the overlap of who comes later.
pub(super) fn overlaps(owned: &[Owned]) -> Vec<Overlap> {
    let mut found = Vec::new();
    let mut furthest: Option<&Owned> = None;
    for next in owned {
        if let Some(before) = furthest.filter(|before| before.blocks.end > next.blocks.start) {
            let blocks = next.blocks.start..next.blocks.end.min(before.blocks.end);
            found.push(Overlap { one: before.from(blocks.start), other: next.from(blocks.start), blocks });
        }
        if furthest.is_none_or(|before| before.blocks.end < next.blocks.end) {
            furthest = Some(next);
        }
    }
    found
}

/// Finds what overlaps, or lies outside of the pool.
pub(super) fn check(owned: &[Owned], pool: u64, findings: &mut Findings) {
    for Overlap { blocks, one, other } in overlaps(owned) {
        // Pieces of an extent that was being divided as its owner died.
        if !(one.is_parked() && one == other) {
            findings.add(Finding::Shared { blocks, one, other });
        }
    }
    for one in owned.iter().filter(|one| one.blocks.end > pool) {
        let start = one.blocks.start.max(pool);
        findings.add(Finding::OutOfPool { blocks: start..one.blocks.end, owner: one.from(start), pool });
    }
}

/// How many blocks there are of each kind. A block that two have counts for the first of them here.
pub(super) fn count(owned: &[Owned], pool: u64) -> [u64; 5] {
    let kind = |owned: &Owned| match owned.owner {
        Owner::Reserved => 0,
        Owner::Checkpoint => 1,
        Owner::File { .. } => 2,
        Owner::Parked { .. } if owned.quarantined => 4,
        Owner::Parked { .. } => 3,
    };
    let mut by_kind: [Vec<Range<u64>>; 5] = Default::default();
    for one in owned {
        by_kind[kind(one)].push(one.blocks.start.min(pool)..one.blocks.end.min(pool));
    }
    let mut taken: Vec<Range<u64>> = Vec::new();
    let mut so_far = 0;
    by_kind.map(|runs| {
        taken.extend(runs);
        taken = union(std::mem::take(&mut taken));
        let all: u64 = taken.iter().map(|run| run.end - run.start).sum();
        let of_this = all - so_far;
        so_far = all;
        of_this
    })
}

/// The same blocks, in order, each once.
pub(super) fn union(mut runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    runs.sort_unstable_by_key(|run| run.start);
    let mut union: Vec<Range<u64>> = Vec::with_capacity(runs.len());
    for run in runs.into_iter().filter(|run| !run.is_empty()) {
        match union.last_mut().filter(|last| run.start <= last.end) {
            Some(last) => last.end = last.end.max(run.end),
            None => union.push(run),
        }
    }
    union
}

/// Finds blocks where no file can have any.
pub(super) fn check_places(superblock: &Superblock, state: &State, findings: &mut Findings) {
    let most = superblock.block.floor(FILE_BYTES_MAX);
    for (node, file) in state.files() {
        for (at, run) in file.runs().filter(|(at, run)| at + run.len > most) {
            let start = at.max(most);
            findings.add(Finding::PastLargest { node, at: start, blocks: at + run.len - start });
        }
    }
}

/// Finds bytes behind the ends of files. Not while somebody owns the pool: he may be about to move an end.
pub(super) fn check_ends(
    source: &(impl Source + ?Sized),
    superblock: &Superblock,
    state: &State,
    findings: &mut Findings,
) {
    for (node, file) in state.files() {
        for (at, blocks) in bytes_past_end(source, superblock, file) {
            findings.add(Finding::BytesPastEnd { node, at, blocks });
        }
    }
}

/// The written runs of whole blocks behind the end of a file that are not all zeros: (first file block, how many).
pub(super) fn bytes_past_end(
    source: &(impl Source + ?Sized),
    superblock: &Superblock,
    file: &File,
) -> BTreeMap<u64, u64> {
    let block = superblock.block;
    let end = block.ceil(file.len.min(FILE_BYTES_MAX));
    let mut found = BTreeMap::new();
    for piece in file.extents.pieces_in(end..u64::MAX) {
        let Some(run) = piece.run.filter(|run| run.state == BlockState::Written) else { continue };
        if run.end() <= superblock.blocks() && !is_zero(source, block, run.block..run.end()) {
            found.insert(piece.at, piece.len);
        }
    }
    found
}

/// Whether all bytes of some blocks are zero. What cannot be read is not.
fn is_zero(source: &(impl Source + ?Sized), block: BlockSize, blocks: Range<u64>) -> bool {
    let mut buffer = vec![0; block.bytes() as usize];
    blocks.into_iter().all(|at| source.read_at(block.offset(at), &mut buffer).is_ok() && buffer.iter().all(|b| *b == 0))
}
