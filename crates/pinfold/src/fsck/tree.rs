//! Names: whether all of them lead somewhere, and everything is reached from the root, once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::finding::Finding;
use super::report::Findings;
use super::state::{Body, State};
use crate::by_id::ById;
use crate::medium::image::ROOT;
use crate::medium::superblock::NUMBERS_END;
use crate::names::{is_name, is_target};
use crate::node::FileKind;
use crate::units::FILE_BYTES_MAX;

/// A name in a directory.
pub(super) type Place<'s> = (u64, &'s [u8]);

/// What the names of a state make together.
#[derive(Default)]
pub(super) struct Tree<'s> {
    /// The first name of each node that has one; of a directory that is reached from the root, the one by which it is.
    pub(super) first: ById<Place<'s>>,
    /// Every name of a directory but the first.
    pub(super) second: Vec<(u64, Place<'s>)>,
    /// Names that lead to no node.
    pub(super) nowhere: Vec<(Place<'s>, u64)>,
    /// Names of the root.
    pub(super) of_root: Vec<Place<'s>>,
    /// Names that cannot be, and what they lead to.
    pub(super) bad: Vec<(Place<'s>, u64)>,
    /// Directories with names in them, without one.
    pub(super) unreachable: Vec<u64>,
    /// Directories that lie in one another.
    pub(super) cycles: Vec<Vec<u64>>,
    /// Other nodes without a name.
    pub(super) orphans: Vec<u64>,
}

impl<'s> Tree<'s> {
    pub(super) fn of(state: &'s State) -> Self {
        let mut tree = Self::default();
        let reached = tree.walk(state);
        for (dir, names) in state.directories() {
            for (name, node) in names {
                tree.take(state, (dir, name), *node);
            }
        }
        tree.find_lost(state, &reached);
        tree
    }

    /// Goes from the root to all directories that are reached, each by the way that is found first.
    fn walk(&mut self, state: &'s State) -> BTreeSet<u64> {
        let (mut reached, mut next) = (BTreeSet::from([ROOT]), VecDeque::from([ROOT]));
        while let Some(dir) = next.pop_front() {
            for (name, node) in state.names(dir).into_iter().flatten() {
                if state.names(*node).is_some() && is_name(name) && reached.insert(*node) {
                    self.first.insert(*node, (dir, name));
                    next.push_back(*node);
                }
            }
        }
        reached
    }

    fn take(&mut self, state: &'s State, place: Place<'s>, node: u64) {
        if !state.nodes.contains_key(&node) {
            return self.nowhere.push((place, node));
        }
        if node == ROOT {
            return self.of_root.push(place);
        }
        if !is_name(place.1) {
            return self.bad.push((place, node));
        }
        let first = *self.first.entry(node).or_insert(place);
        if first != place && state.names(node).is_some() {
            self.second.push((node, place));
        }
    }

    /// What is not reached.
    fn find_lost(&mut self, state: &State, reached: &BTreeSet<u64>) {
        let mut looked_at = reached.clone();
        let named_badly: BTreeSet<u64> = self.bad.iter().map(|(_, node)| *node).collect();
        for (id, node) in state.nodes.iter().filter(|(id, _)| **id != ROOT && !named_badly.contains(id)) {
            match &node.body {
                Body::Directory(names) if !self.first.contains_key(id) && !names.is_empty() => {
                    self.unreachable.push(*id)
                }
                Body::Directory(_) if self.first.contains_key(id) => self.find_cycle(*id, &mut looked_at),
                _ if !self.first.contains_key(id) => self.orphans.push(*id),
                _ => {}
            }
        }
    }

    /// Goes up from a directory until it meets one that was looked at before; on the way it may meet itself.
    fn find_cycle(&mut self, from: u64, looked_at: &mut BTreeSet<u64>) {
        let mut way = Vec::new();
        let mut here = from;
        while looked_at.insert(here) {
            way.push(here);
            let Some((parent, _)) = self.first.get(&here) else { return };
            here = *parent;
        }
        if let Some(start) = way.iter().position(|node| *node == here) {
            let mut cycle = way.split_off(start);
            cycle.sort_unstable();
            self.cycles.push(cycle);
        }
    }

    pub(super) fn check(&self, state: &State, findings: &mut Findings) {
        let name = |place: &Place<'_>| (place.0, place.1.to_vec());
        for ((dir, name), node) in &self.nowhere {
            findings.add(Finding::NameToNowhere { dir: *dir, name: name.to_vec(), node: *node });
        }
        for (dir, name) in &self.of_root {
            findings.add(Finding::RootNamed { dir: *dir, name: name.to_vec() });
        }
        for ((dir, name), node) in &self.bad {
            findings.add(Finding::BadName { dir: *dir, name: name.to_vec(), node: *node });
        }
        for (node, other) in &self.second {
            if let Some(kept) = self.first.get(node) {
                findings.add(Finding::DirectoryTwice { node: *node, kept: name(kept), other: name(other) });
            }
        }
        for node in &self.unreachable {
            let names = state.names(*node).map_or(0, BTreeMap::len) as u64;
            findings.add(Finding::Unreachable { node: *node, names });
        }
        for nodes in &self.cycles {
            findings.add(Finding::Cycle { nodes: nodes.clone() });
        }
        for node in &self.orphans {
            let (kind, blocks) = state.nodes.get(node).map_or((FileKind::File, 0), |node| (node.kind(), node.blocks()));
            findings.add(Finding::Orphan { node: *node, kind, blocks });
        }
    }

    /// The path of a node, by first names. `None` if it is not reached.
    pub(super) fn path(&self, node: u64) -> Option<PathBuf> {
        let (mut names, mut here) = (Vec::new(), node);
        while here != ROOT {
            let (parent, name) = self.first.get(&here)?;
            names.push(*name);
            if names.len() > self.first.len() {
                return None;
            }
            here = *parent;
        }
        let path = names.iter().rev().flat_map(|name| [b"/", *name].concat()).collect::<Vec<u8>>();
        Some(PathBuf::from(std::ffi::OsString::from_vec(if path.is_empty() { b"/".to_vec() } else { path })))
    }
}

/// Looks at each node by itself.
pub(super) fn check_nodes(state: &State, findings: &mut Findings) {
    if state.names(ROOT).is_none() {
        findings.add(Finding::RootNotDirectory);
    }
    for (id, node) in &state.nodes {
        if *id == 0 || *id >= NUMBERS_END {
            findings.add(Finding::BadId { node: *id });
        }
        match &node.body {
            Body::File(file) if file.len > FILE_BYTES_MAX => {
                findings.add(Finding::TooLong { node: *id, len: file.len });
            }
            Body::Symlink(target) if !is_target(target) => {
                findings.add(Finding::BadTarget { node: *id, target: target.to_vec() });
            }
            Body::File(_) | Body::Directory(_) | Body::Symlink(_) | Body::Special(_) => {}
        }
    }
}
