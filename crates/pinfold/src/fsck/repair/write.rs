//! What is mended is written, in the order in which an owner writes: bytes, checkpoint, superblock; each durable before the
//! next.

use std::ops::Range;

use pinfold_region::Region;

use super::super::Seen;
use super::super::state::{Body, State};
use super::{Free, Plan, RepairError, Step};
use crate::medium::checkpoint::{
    CHUNK_HEADER, chunk_header, write_directory, write_file, write_names, write_special, write_symlink,
};
use crate::medium::codec::Writer;
use crate::medium::superblock::{CheckpointPlace, SUPERBLOCKS, Superblock};
use crate::units::BlockSize;

/// Bytes that are copied at a time.
const COPIED_AT_A_TIME: u64 = 1 << 20;

/// Where the superblock is written, in this order: over the one that does not count first.
pub(super) fn places(seen: &Seen) -> impl Iterator<Item = u64> {
    [SUPERBLOCKS[1 - seen.index], SUPERBLOCKS[seen.index]].into_iter()
}

impl Plan {
    pub(super) fn write(mut self, region: &Region) -> Result<(), RepairError> {
        let mut next = self.seen.superblock.clone();
        next.generation += 1;
        if let Some(state) = self.state.take() {
            for (from, to) in &self.copies {
                copy(region, next.block, from.clone(), *to)?;
            }
            next.replay_from = self.seen.end;
            // What lies behind the log's end is of a former opening from here on.
            next.epoch += 1;
            next.last_node = next.last_node.max(state.last_node);
            write_checkpoint(region, &state, &mut self.free, &mut next)?;
            region.fence()?;
        }
        for step in &self.steps {
            match step {
                Step::Superblock { place } => {
                    put(region, *place, &next.to_bytes())?;
                    region.fence()?;
                }
                Step::RemoveSocket { path } => {
                    std::fs::remove_file(path).map_err(|source| RepairError::Remove { path: path.clone(), source })?
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes bytes, and makes them durable at the next fence.
fn put(region: &Region, place: u64, bytes: &[u8]) -> Result<(), RepairError> {
    let range = place..place + bytes.len() as u64;
    region.allocate(range.clone())?;
    region.bytes(range.clone())?.copy_in(0, bytes)?;
    Ok(region.flush(range)?)
}

fn copy(region: &Region, block: BlockSize, from: Range<u64>, to: u64) -> Result<(), RepairError> {
    let Range { start, end } = block.to_bytes(&from);
    let to = block.offset(to);
    let mut buffer = vec![0; COPIED_AT_A_TIME as usize];
    for at in (start..end).step_by(COPIED_AT_A_TIME as usize) {
        let len = COPIED_AT_A_TIME.min(end - at);
        let buffer = &mut buffer[..len as usize];
        region.bytes(at..at + len)?.copy_out(0, buffer)?;
        put(region, to + (at - start), buffer)?;
    }
    Ok(())
}

/// Writes a state into free blocks, and says in `next` where.
fn write_checkpoint(region: &Region, state: &State, free: &mut Free, next: &mut Superblock) -> Result<(), RepairError> {
    let items = encode(state, next.replay_from);
    let runs = take_chunks(free, next.block, items.len() as u64)?;
    let first = runs.first().cloned().unwrap_or_default();
    next.checkpoint = CheckpointPlace {
        block: first.start,
        blocks: first.end - first.start,
        bytes: items.len() as u64,
        nodes: state.nodes.len() as u64,
    };
    let mut rest = &items[..];
    for (index, run) in runs.iter().enumerate() {
        let room = (next.block.offset(run.end - run.start) - CHUNK_HEADER) as usize;
        let (items, later) = rest.split_at(room.min(rest.len()));
        let after = runs.get(index + 1).map(|run| (run.start, run.end - run.start));
        let header = chunk_header(next, index as u64, after, items);
        put(region, next.block.offset(run.start), &[&header, items].concat())?;
        rest = later;
    }
    Ok(())
}

/// Runs that hold so many bytes, and a header each.
fn take_chunks(free: &mut Free, block: BlockSize, bytes: u64) -> Result<Vec<Range<u64>>, RepairError> {
    let mut taken: Vec<Range<u64>> = Vec::new();
    loop {
        let room: u64 = taken.iter().map(|run| block.offset(run.end - run.start) - CHUNK_HEADER).sum();
        if room >= bytes && !taken.is_empty() {
            return Ok(taken);
        }
        taken.extend(free.take(block.ceil(bytes - room + CHUNK_HEADER), block)?);
    }
}

/// How many names are in one item.
const NAMES_AT_A_TIME: usize = 512;

fn encode(state: &State, position: u64) -> Vec<u8> {
    let mut to = Writer::default();
    for (id, node) in &state.nodes {
        match &node.body {
            Body::File(file) => write_file(&mut to, *id, &node.attributes, file.len, position, &file.extents),
            Body::Directory(_) => write_directory(&mut to, *id, &node.attributes),
            Body::Symlink(target) => write_symlink(&mut to, *id, &node.attributes, target),
            Body::Special(special) => write_special(&mut to, *id, &node.attributes, *special),
        }
    }
    for (dir, names) in state.directories() {
        let names: Vec<(&[u8], u64)> = names.iter().map(|(name, node)| (&name[..], *node)).collect();
        names.chunks(NAMES_AT_A_TIME).for_each(|names| write_names(&mut to, dir, names.iter().copied()));
    }
    to.bytes
}
