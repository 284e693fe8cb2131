//! The checkpoint, chunk by chunk: what is damaged is named, and what can still be read is read.

use std::ops::Range;

use super::finding::Finding;
use super::report::Findings;
use crate::medium::checkpoint::{CHUNK_HEADER, ChunkClaim};
use crate::medium::source::Source;
use crate::medium::superblock::Superblock;

/// A checkpoint as it lies there.
#[derive(Default)]
pub(super) struct Checkpoint {
    /// All of its items.
    pub(super) items: Vec<u8>,
    pub(super) chunks: Vec<Chunk>,
}

/// A part of it.
pub(super) struct Chunk {
    /// Its blocks.
    pub(super) blocks: Range<u64>,
    /// Where in `items` its own are.
    pub(super) items: Range<usize>,
    /// What is wrong with it. Its items are there all the same, if anything of it could be read.
    pub(super) damage: Option<&'static str>,
}

impl Checkpoint {
    /// Reads what the superblock names.
    pub(super) fn read(source: &(impl Source + ?Sized), superblock: &Superblock, findings: &mut Findings) -> Self {
        let place = superblock.checkpoint;
        let mut checkpoint = Self::default();
        let mut next = (place.blocks > 0).then_some((place.block, place.blocks));
        while let Some((block, blocks)) = next {
            next = checkpoint.read_chunk(source, superblock, block, blocks, findings);
        }
        let has = checkpoint.items.len() as u64;
        if has != place.bytes {
            findings.add(Finding::CheckpointBytes { says: place.bytes, has });
        }
        checkpoint
    }

    /// The blocks in which it lies.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.chunks.iter().map(|chunk| chunk.blocks.clone())
    }

    /// Reads one chunk; where the next one lies.
    fn read_chunk(
        &mut self,
        source: &(impl Source + ?Sized),
        superblock: &Superblock,
        block: u64,
        blocks: u64,
        findings: &mut Findings,
    ) -> Option<(u64, u64)> {
        let index = self.chunks.len() as u64;
        let mut damaged = |why| findings.add(Finding::ChunkDamaged { index, block, why });
        let pool = superblock.blocks();
        if block < superblock.first_block() || blocks > pool || block > pool - blocks {
            damaged("lies outside of the pool");
            return None;
        }
        let place = superblock.block.offset(block);
        let mut header = [0; CHUNK_HEADER as usize];
        if let Err(error) = source.read_at(place, &mut header) {
            findings.add(Finding::Unreadable { what: "a chunk of the checkpoint", place, why: error.to_string() });
            return None;
        }
        let claim = ChunkClaim::of(&header);
        let why_not = claim.as_ref().map_or(Some("is none"), |claim| claim.why_not(superblock, index, blocks));
        // None of another checkpoint is followed: so each is met once, and this ends.
        let (Some(claim), None) = (claim, why_not) else {
            damaged(why_not.unwrap_or_default());
            return None;
        };
        let start = self.items.len();
        if start as u64 + claim.bytes() > superblock.checkpoint.bytes {
            damaged("has more than the whole checkpoint should");
            return None;
        }
        self.items.resize(start + claim.bytes() as usize, 0);
        if let Err(error) = source.read_at(place + CHUNK_HEADER, &mut self.items[start..]) {
            self.items.truncate(start);
            findings.add(Finding::Unreadable { what: "a chunk of the checkpoint", place, why: error.to_string() });
            return None;
        }
        let damage = (!claim.holds(&self.items[start..])).then_some("has another checksum");
        damage.into_iter().for_each(damaged);
        self.chunks.push(Chunk { blocks: block..block + blocks, items: start..self.items.len(), damage });
        claim.next()
    }
}
