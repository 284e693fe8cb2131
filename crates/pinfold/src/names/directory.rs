//! A directory: names in order, each with the node that it leads to.
//!
//! What stays true, and the order of locks, is written in [`names`](super).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockWriteGuard};

use crate::cold::ColdNames;
use crate::lock::{lock, read, write};
use crate::node::{FileId, Kind, Name, Node};

/// What makes a node a directory. It does not name its parent: the node's own [`Name`] does (N1).
#[derive(Default)]
pub(crate) struct Directory {
    entries: RwLock<Entries>,
    /// Whether its names are still as the checkpoint has them (see [`cold`](crate::cold)).
    is_cold: AtomicBool,
}

/// The names in a directory.
#[derive(Default)]
pub(super) struct Entries {
    by_name: BTreeMap<Arc<[u8]>, Arc<Node>>,
    /// How many of them lead to directories.
    directories: u32,
    removed: bool,
    /// What stands for the names of a cold directory.
    cold: Option<Box<ColdNames>>,
}

/// A node that is a directory.
#[derive(Clone)]
pub(super) struct Dir(Arc<Node>);

/// Directories that are locked together, each once, in the order of their ids.
pub(super) struct Locked<'d> {
    guards: Vec<(FileId, RwLockWriteGuard<'d, Entries>)>,
}

impl Directory {
    /// Some names after one, or from the first on, in order, each with the id of its node.
    pub(crate) fn names_after(&self, name: Option<&[u8]>, at_most: usize) -> Vec<(Arc<[u8]>, u64)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = read(&self.entries);
        let names = entries.by_name.range::<[u8], _>((from, Bound::Unbounded)).take(at_most);
        names.map(|(name, node)| (Arc::clone(name), node.id.number())).collect()
    }

    /// Fills a directory of a pool that is being opened.
    pub(crate) fn fill(&self, names: impl IntoIterator<Item = (Arc<[u8]>, Arc<Node>)>) {
        let by_name: BTreeMap<Arc<[u8]>, Arc<Node>> = names.into_iter().collect();
        let mut entries = write(&self.entries);
        entries.directories = by_name.values().map(|node| counted(node)).sum();
        entries.by_name = by_name;
    }

    /// A directory of a pool that is being opened, whose names are cold.
    pub(crate) fn cold(names: ColdNames) -> Self {
        let directories = names.directories.len() as u32;
        let entries = Entries { directories, cold: Some(Box::new(names)), ..Entries::default() };
        Self { entries: RwLock::new(entries), is_cold: AtomicBool::new(true) }
    }

    /// One more directory that lies in a cold one.
    pub(crate) fn add_to_cold(&self, node: &Arc<Node>) {
        let mut entries = write(&self.entries);
        entries.directories += 1;
        entries.cold.iter_mut().for_each(|cold| cold.directories.push(Arc::clone(node)));
    }

    /// Calls `look` with the names of a cold directory, which stay cold meanwhile.
    pub(crate) fn look_if_cold<T>(&self, look: impl FnOnce(&ColdNames) -> T) -> Option<T> {
        read(&self.entries).cold.as_deref().map(look)
    }

    /// How many directories lie in it.
    pub(crate) fn directories(&self) -> u32 {
        read(&self.entries).directories
    }
}

impl Drop for Directory {
    /// Takes a tree down level by level: it may be deeper than the stack.
    fn drop(&mut self) {
        let mut left = self.take_all();
        while let Some(node) = left.pop() {
            if let Some(Node { kind: Kind::Directory(mut directory), .. }) = Arc::into_inner(node) {
                left.append(&mut directory.take_all());
            }
        }
    }
}

impl Directory {
    fn take_all(&mut self) -> Vec<Arc<Node>> {
        let entries = self.entries.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cold = entries.cold.take().map(|cold| cold.directories);
        std::mem::take(&mut entries.by_name).into_values().chain(cold.into_iter().flatten()).collect()
    }
}

impl Entries {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.by_name.get(name)
    }

    /// Every name, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Arc<Node>)> {
        self.by_name.iter().map(|(name, node)| (&name[..], node))
    }

    /// Whether the directory has gone itself, and takes no names any more (N2).
    pub(super) fn removed(&self) -> bool {
        self.removed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The directory, which is empty, goes (N2).
    pub(super) fn end_directory(&mut self) {
        debug_assert!(self.is_empty(), "N2: a directory with entries goes");
        self.removed = true;
    }

    fn insert(&mut self, name: Arc<[u8]>, node: Arc<Node>) -> Option<Arc<Node>> {
        self.directories += counted(&node);
        let old = self.by_name.insert(name, node)?;
        self.directories -= counted(&old);
        Some(old)
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let old = self.by_name.remove(name)?;
        self.directories -= counted(&old);
        Some(old)
    }
}

/// Builds what lies in a directory, if that has not been done (see [`cold`](crate::cold)).
pub(crate) fn warm(node: &Arc<Node>) {
    if let Some(directory) = node.directory() {
        warm_directory(node, directory);
    }
}

#[inline]
fn warm_directory(node: &Arc<Node>, directory: &Directory) {
    // ORDER: Acquire pairs with the Release below; then its names are there.
    if directory.is_cold.load(Ordering::Acquire) {
        let mut entries = write(&directory.entries);
        if let Some(cold) = entries.cold.take() {
            entries.by_name = cold.build(node).into_iter().collect();
            directory.is_cold.store(false, Ordering::Release);
        }
    }
}

fn counted(node: &Node) -> u32 {
    u32::from(node.directory().is_some())
}

impl Dir {
    /// `None` for a node that is none.
    pub(super) fn of(node: Arc<Node>) -> Option<Self> {
        let is_directory = node.directory().is_some();
        is_directory.then_some(Self(node))
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.0
    }

    pub(super) fn id(&self) -> FileId {
        self.0.id
    }

    /// What a name leads to now.
    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<Node>> {
        read(self.entries()).get(name).cloned()
    }

    /// The directory in which it lies. `None` for the root, and for one that was removed.
    pub(super) fn parent(&self) -> Option<Self> {
        let parent = lock(&self.0.name).as_ref()?.parent.upgrade()?;
        Self::of(parent)
    }

    /// Whether `node` is this directory or one above it. Certain with `moving` held (N4).
    pub(super) fn is_in(&self, node: &Node) -> bool {
        let mut up = Some(self.clone());
        while let Some(dir) = up {
            if dir.id() == node.id {
                return true;
            }
            up = dir.parent();
        }
        false
    }

    /// A name leads to `node` from `time` on, now; what it led to before, which still believes that it has this name.
    pub(super) fn put(&self, entries: &mut Entries, name: &[u8], node: &Arc<Node>, time: u64) -> Option<Arc<Node>> {
        let name: Arc<[u8]> = name.into();
        *lock(&node.name) = Some(Name { parent: Arc::downgrade(&self.0), name: Arc::clone(&name) });
        self.0.modified_at(time);
        let former = entries.insert(name, Arc::clone(node));
        [Some(node), former.as_ref()].into_iter().flatten().for_each(|node| node.changed_at(time));
        former
    }

    /// A name leads nowhere from `time` on, now; what it led to before.
    pub(super) fn take_out(&self, entries: &mut Entries, name: &[u8], time: u64) -> Option<Arc<Node>> {
        let old = entries.remove(name)?;
        self.0.modified_at(time);
        old.changed_at(time);
        self.forget_name(&old, name);
        Some(old)
    }

    /// A node is not known by this name any more; if it has another one already, it keeps that.
    pub(super) fn forget_name(&self, node: &Node, name: &[u8]) {
        let mut known = lock(&node.name);
        if known.as_ref().is_some_and(|known| known.parent.as_ptr() == Arc::as_ptr(&self.0) && *known.name == *name) {
            *known = None;
        }
    }

    pub(super) fn lock(&self) -> RwLockWriteGuard<'_, Entries> {
        write(self.entries())
    }

    pub(super) fn entries(&self) -> &RwLock<Entries> {
        match &self.0.kind {
            Kind::Directory(directory) => {
                warm_directory(&self.0, directory);
                &directory.entries
            }
            Kind::File(_) | Kind::Symlink(_) | Kind::Special(_) => unreachable!("`of` takes directories alone"),
        }
    }
}

impl<'d> Locked<'d> {
    pub(super) fn new(dirs: impl IntoIterator<Item = &'d Dir>) -> Self {
        let mut dirs = Vec::from_iter(dirs);
        dirs.sort_unstable_by_key(|dir| dir.id());
        dirs.dedup_by_key(|dir| dir.id());
        Self { guards: dirs.into_iter().map(|dir| (dir.id(), dir.lock())).collect() }
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = FileId> {
        self.guards.iter().map(|(id, _)| *id)
    }

    /// The names in one of them.
    pub(super) fn of(&mut self, dir: &Dir) -> &mut Entries {
        match self.guards.iter_mut().find(|(id, _)| *id == dir.id()) {
            Some((_, entries)) => entries,
            None => unreachable!("{} was not locked", dir.id()),
        }
    }
}
