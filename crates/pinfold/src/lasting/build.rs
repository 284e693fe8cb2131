//! From what a medium says to what is in memory: nodes, names, and which blocks are free.

use std::collections::HashMap;
use std::iter::once;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pinfold_layout::{BusyExtents, Extent};

use crate::by_id::ById;
use crate::cold::{Cold, ColdNames};
use crate::core::Nodes;
use crate::error::PoolError;
use crate::lock::lock;
use crate::medium::image::{FileImage, Image, KindImage, NodeImage, ROOT};
use crate::medium::skim::{Skimmed, SkimmedDirectory};
use crate::medium::superblock::Superblock;
use crate::names::{Directory, warm};
use crate::node::{FileBody, FileId, FileMap, Kind, Name, Node};

/// A pool that is about to be opened.
pub(super) struct Built {
    pub(super) nodes: Arc<Nodes>,
    pub(super) root: Arc<Node>,
    pub(super) last_node: u64,
    /// Nodes without a name: they end as soon as the pool is open.
    pub(super) orphans: Vec<Arc<Node>>,
    /// Runs that are in use, in order.
    used: Vec<Range<u64>>,
    /// Runs that are parked: neither used nor free.
    parked: Vec<Range<u64>>,
}

impl Built {
    /// Builds what an image says, which was checked. `busy` has what former owners of this boot left parked.
    pub(super) fn from(image: Image, superblock: &Superblock, busy: &BusyExtents) -> Result<Self, PoolError> {
        let mut used: Vec<Range<u64>> = image.chunks.iter().map(|(first, len)| *first..first + len).collect();
        used.push(0..superblock.first_block());
        for node in image.nodes.values() {
            if let KindImage::File(file) = &node.kind {
                used.extend(file.extents.runs().map(|(_, run)| run.block..run.end()));
            }
        }
        used.sort_unstable_by_key(|run| run.start);
        used.dedup_by(|next, run| {
            let goes_on = run.end == next.start;
            run.end = if goes_on { next.end } else { run.end };
            goes_on
        });
        let parked = parked(&image, &used, superblock.blocks(), busy)?;
        let last_node = image.last_node;
        let (nodes, names) = build_nodes(image.nodes);
        let root = nodes.get(&ROOT).map(Arc::clone);
        let root = root.ok_or_else(|| PoolError::Damaged("it has no root directory".into()))?;
        root.add_first_link();
        give_names(&nodes, names)?;
        let is_orphan = |node: &&Arc<Node>| node.id.0 != ROOT && lock(&node.life).links == 0;
        let orphans = nodes.values().filter(is_orphan).cloned().collect();
        let table = Nodes::default();
        nodes.values().for_each(|node| table.add(node));
        Ok(Self { nodes: Arc::new(table), root, last_node, orphans, used, parked })
    }

    /// Builds the directories of a pool that nobody reaches, and leaves all else cold.
    pub(super) fn cold(skimmed: Skimmed, superblock: &Superblock) -> Result<Self, PoolError> {
        let Skimmed { stream, places, directories, used, leaves, blocks, last_node } = skimmed;
        let table = Arc::new(Nodes::with_cold(Cold::new(stream.items, places, leaves, blocks)));
        let build = |directory: &mut SkimmedDirectory| {
            let names = std::mem::take(&mut directory.names);
            let names = ColdNames { nodes: Arc::clone(&table), names, directories: Vec::new() };
            let node = Node::restored(
                FileId(directory.node),
                Kind::Directory(Directory::cold(names)),
                std::mem::take(&mut directory.attributes),
            );
            node.add_first_link();
            table.add(&node);
            node
        };
        let mut directories = directories;
        let nodes: Vec<Arc<Node>> = directories.iter_mut().map(build).collect();
        let Some(cold) = table.cold() else { unreachable!("it was made with it") };
        cold.set_directories(&nodes);
        for (directory, node) in directories.iter().zip(&nodes) {
            let Some((above, name)) = &directory.name else { continue };
            let parent = &nodes[*above as usize];
            let name = Name { parent: Arc::downgrade(parent), name: cold.bytes(name).into() };
            *lock(&node.name) = Some(name);
            parent.directory().into_iter().for_each(|parent| parent.add_to_cold(node));
        }
        let shares = directories.iter().zip(&nodes).filter(|(directory, _)| directory.shares);
        shares.for_each(|(_, node)| warm(node));
        let root = table.known(FileId(ROOT)).ok_or_else(|| PoolError::Damaged("it has no root directory".into()))?;
        let last_node = last_node.max(superblock.last_node);
        let used = once(0..superblock.first_block()).chain(used).collect();
        Ok(Self { nodes: table, root, last_node, orphans: Vec::new(), used, parked: Vec::new() })
    }

    /// Devices may reach what this file is made of.
    pub(super) fn expose(&self, file: u64) {
        if let Some(node) = self.nodes.get(FileId(file))
            && let Some(body) = node.file()
        {
            // ORDER: relaxed; nobody has the pool yet.
            body.exposed.store(true, Ordering::Relaxed);
        }
    }

    /// Runs in use, in order.
    pub(super) fn used(&self) -> &[Range<u64>] {
        &self.used
    }

    /// What is free of a pool of so many blocks (L2).
    pub(super) fn free(&self, blocks: u64) -> Vec<Range<u64>> {
        let mut taken: Vec<&Range<u64>> = self.used.iter().chain(&self.parked).collect();
        taken.sort_unstable_by_key(|run| run.start);
        let mut free = Vec::new();
        let mut at = 0;
        for run in taken {
            if at < run.start {
                free.push(at..run.start);
            }
            at = at.max(run.end);
        }
        if at < blocks {
            free.push(at..blocks);
        }
        free
    }
}

/// What former owners left parked. Where the log does not know that it left its file, it is in the file still.
fn parked(image: &Image, used: &[Range<u64>], blocks: u64, busy: &BusyExtents) -> Result<Vec<Range<u64>>, PoolError> {
    for extent in busy.inherited() {
        let file = image.nodes.get(&extent.object).and_then(|node| match &node.kind {
            KindImage::File(file) => Some(file),
            KindImage::Directory(_) | KindImage::Symlink(_) | KindImage::Special(_) => None,
        });
        for part in file.into_iter().flat_map(|file| still_in(file, &extent)) {
            busy.forget(&part);
        }
    }
    let mut parked = Vec::new();
    for extent in busy.inherited() {
        let run = extent.block..extent.block + extent.len();
        let next = used.partition_point(|used| used.end <= run.start);
        if used.get(next).is_some_and(|used| used.start < run.end) || run.end > blocks {
            let why = format!("blocks {}..{} are parked, and in use as well", run.start, run.end);
            return Err(PoolError::Damaged(why));
        }
        parked.push(run);
    }
    Ok(parked)
}

/// The parts of an extent that are what the file is made of, at the same place.
fn still_in(file: &FileImage, extent: &Extent) -> Vec<Extent> {
    let same = |at: u64, block: u64| block.wrapping_sub(at) == extent.block.wrapping_sub(extent.start);
    let pieces = file.extents.pieces_in(extent.start..extent.end);
    let there = pieces.into_iter().filter_map(|piece| Some((piece.at, piece.end(), piece.run?.block)));
    there
        .filter(|(at, _, block)| same(*at, *block))
        .map(|(start, end, block)| Extent { object: extent.object, start, end, block })
        .collect()
}

type Names = Vec<(u64, Vec<(Arc<[u8]>, u64)>)>;

fn build_nodes(images: ById<NodeImage>) -> (ById<Arc<Node>>, Names) {
    let mut nodes = HashMap::with_capacity_and_hasher(images.len(), Default::default());
    let mut names = Names::new();
    for (id, NodeImage { attributes, kind }) in images {
        let kind = match kind {
            KindImage::Directory(entries) => {
                names.push((id, entries.into_iter().collect()));
                Kind::Directory(Directory::default())
            }
            KindImage::Symlink(target) => Kind::Symlink(target),
            KindImage::Special(special) => Kind::Special(special),
            KindImage::File(file) => Kind::File(body(file)),
        };
        nodes.insert(id, Node::restored(FileId(id), kind, attributes));
    }
    (nodes, names)
}

fn body(file: FileImage) -> FileBody {
    let map = FileMap { len: file.len, extents: file.extents, ..FileMap::default() };
    FileBody::restored(map)
}

/// Gives each node its names, and counts them.
fn give_names(nodes: &ById<Arc<Node>>, names: Names) -> Result<(), PoolError> {
    for (dir, entries) in names {
        let Some(parent) = nodes.get(&dir) else { continue };
        let mut filled = Vec::with_capacity(entries.len());
        for (name, id) in entries {
            let node = nodes.get(&id).ok_or_else(|| PoolError::Damaged(format!("a name leads to no node {id}")))?;
            let mut life = lock(&node.life);
            if node.directory().is_some() && (life.links > 0 || id == ROOT) {
                return Err(PoolError::Damaged(format!("the directory {id} has two names")));
            }
            life.links += 1;
            drop(life);
            *lock(&node.name) = Some(Name { parent: Arc::downgrade(parent), name: Arc::clone(&name) });
            filled.push((name, Arc::clone(node)));
        }
        if let Some(directory) = parent.directory() {
            directory.fill(filled);
        }
    }
    Ok(())
}
