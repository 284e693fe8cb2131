//! What is cold: nodes that the checkpoint has, and memory does not.
//!
//! Opening a pool that was closed in good order builds its directories, and leaves what lies in them as bytes. A directory
//! becomes *warm* when it is first looked into, and all that lies in it: then these nodes are in the table, and it is as if
//! they had never been cold.
//!
//! Stays true  C1: what is cold was checked when the pool was opened ([`skim`](crate::medium::skim)): it is read without doubt.
//!             C2: a cold node has one name, in a cold directory. Directories are never cold themselves; what has several
//!                 names is warmed before anybody has the pool.
//!             C3: a directory becomes warm once, with its names locked; its nodes are in the table before they are unlocked,
//!                 each from when it has its name: whoever knows its id may open it from then on.
//! Lock order  a directory's names, then the table of nodes, as everywhere.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crate::core::Nodes;
use crate::lock::lock;
use crate::medium::checkpoint::{Item, read_extents};
use crate::medium::codec::Reader;
use crate::medium::skim::{Place, PlaceKind, Places};
use crate::moments::{Moment, pass};
use crate::names::warm;
use crate::node::{FileBody, FileId, FileMap, Kind, Name, Node};

/// The nodes of a checkpoint, where they stand in it.
pub(crate) struct Cold {
    items: Vec<u8>,
    places: Places,
    /// By ordinal.
    directories: OnceLock<Vec<Weak<Node>>>,
    /// How many nodes are cold, and how many blocks they have.
    nodes: AtomicU64,
    blocks: AtomicU64,
}

/// The names in a cold directory.
pub(crate) struct ColdNames {
    pub(crate) nodes: Arc<Nodes>,
    /// Where they stand in the items.
    pub(crate) names: Vec<Range<usize>>,
    /// The directories that lie in it: nobody else keeps them.
    pub(crate) directories: Vec<Arc<Node>>,
}

impl Cold {
    pub(crate) fn new(items: Vec<u8>, places: Places, leaves: u64, blocks: u64) -> Self {
        let directories = OnceLock::new();
        Self { items, places, directories, nodes: AtomicU64::new(leaves), blocks: AtomicU64::new(blocks) }
    }

    /// The directories, by ordinal. Said once.
    pub(crate) fn set_directories(&self, directories: &[Arc<Node>]) {
        self.directories.get_or_init(|| directories.iter().map(Arc::downgrade).collect());
    }

    /// A part of the items.
    pub(crate) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.items[range.clone()]
    }

    /// The directories that there still are, each with its ordinal.
    pub(crate) fn directories(&self) -> impl Iterator<Item = Arc<Node>> {
        self.directories.get().into_iter().flatten().filter_map(Weak::upgrade)
    }

    /// How many nodes are cold, and how many blocks they have.
    pub(crate) fn count(&self) -> (u64, u64) {
        // ORDER: relaxed; numbers for people.
        (self.nodes.load(Ordering::Relaxed), self.blocks.load(Ordering::Relaxed))
    }

    /// Warms the directory in which a node lies, if that is where it may be.
    pub(crate) fn warm(&self, node: FileId) {
        let PlaceKind::In(ordinal) = self.places.get(node.0).kind else { return };
        let directory = self.directories.get().and_then(|all| all.get(ordinal as usize)?.upgrade());
        directory.iter().for_each(warm);
    }

    /// Every name in items of names, with the id of its node.
    fn names(&self, ranges: &[Range<usize>]) -> impl Iterator<Item = (&[u8], u64)> {
        let names = |range: &Range<usize>| match Item::read(&mut Reader::new(self.bytes(range))) {
            Ok(Item::Names { names, .. }) => Some(names),
            _ => None,
        };
        ranges.iter().filter_map(names).flatten().filter_map(Result::ok)
    }

    /// Makes a node of its item (C1).
    fn build(&self, place: Place) -> Option<Arc<Node>> {
        let (node, attributes, kind) = match Item::read(&mut Reader::new(&self.items[place.item..])).ok()? {
            Item::File { node, attributes, len, extents, .. } => {
                let map = FileMap { len, extents, ..FileMap::default() };
                (node, attributes, Kind::File(FileBody::restored(map)))
            }
            Item::Symlink { node, attributes, target } => (node, attributes, Kind::Symlink(target.into())),
            Item::Special { node, attributes, special } => (node, attributes, Kind::Special(special)),
            Item::Directory { .. } | Item::Names { .. } => return None,
        };
        let node = Node::restored(FileId(node), kind, attributes);
        let blocks = node.file().map_or(0, |body| crate::lock::read(&body.map).extents.blocks());
        // ORDER: relaxed, as in `count`.
        self.nodes.fetch_sub(1, Ordering::Relaxed);
        self.blocks.fetch_sub(blocks, Ordering::Relaxed);
        Some(node)
    }

    /// The item of a node that is no directory, as it stands there.
    fn item(&self, place: Place) -> Option<&[u8]> {
        let bytes = &self.items[place.item..];
        let mut reader = Reader::new(bytes);
        Item::read_with(&mut reader, |from| read_extents(from, |_, _| {})).ok()?;
        Some(&bytes[..bytes.len() - reader.left()])
    }
}

impl ColdNames {
    /// Builds all that lies in a directory, and gives it its names (C3).
    pub(crate) fn build(self, parent: &Arc<Node>) -> Vec<(Arc<[u8]>, Arc<Node>)> {
        let Some(cold) = self.nodes.cold() else { return Vec::new() };
        let named = |(name, id): (&[u8], u64)| {
            let place = cold.places.get(id);
            let node = match place.kind {
                PlaceKind::In(_) => cold.build(place)?,
                // Its other names may have been first.
                PlaceKind::Shared => self.nodes.known(FileId(id)).or_else(|| cold.build(place))?,
                // `directories` keeps it.
                _ => return Some((Arc::from(name), self.nodes.known(FileId(id))?)),
            };
            pass(Moment::Warming);
            node.add_first_link();
            let name: Arc<[u8]> = name.into();
            *lock(&node.name) = Some(Name { parent: Arc::downgrade(parent), name: Arc::clone(&name) });
            // Not before it has a name: whoever finds it by its id would take its life to be over (C3).
            self.nodes.add(&node);
            Some((name, node))
        };
        cold.names(&self.names).filter_map(named).collect()
    }

    /// Each node that lies in the directory and is none itself, with its item in the checkpoint.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let cold = self.nodes.cold();
        cold.into_iter().flat_map(|cold| {
            let leaf = |(_, id): (&[u8], u64)| match cold.places.get(id) {
                place @ Place { kind: PlaceKind::In(_), .. } => Some((id, cold.item(place)?)),
                _ => None,
            };
            cold.names(&self.names).filter_map(leaf)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use crate::Pool;
    use crate::moments::{Moment, meanwhile, next};

    #[test]
    fn a_file_that_is_becoming_warm_is_found_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let pool = Pool::format(&path, 16 << 20).unwrap();
        let id = pool.create("/file").unwrap().id();
        pool.close().unwrap();
        let pool = Pool::load(&path).unwrap();
        let (comes, came) = channel();
        let (ends, ended) = channel();
        let other = pool.clone();
        let looks_for_it = move || {
            let looks = thread::spawn(move || {
                let waits = comes.clone();
                next(Moment::Unknown, move || waits.send(()).unwrap());
                let found = other.open_by_id(id).is_some();
                let _ = comes.send(());
                found
            });
            ends.send(looks).unwrap();
            // To an answer, or to where it waits until the directory is warm.
            came.recv().unwrap();
        };
        let names = meanwhile(Moment::Warming, looks_for_it, || pool.read_dir("/").unwrap().len());
        assert_eq!(names, 1);
        assert!(ended.recv().unwrap().join().unwrap(), "it is there all the time");
    }
}
