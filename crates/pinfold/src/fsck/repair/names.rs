//! Names are mended: those that lead nowhere go, and what is left without one gets one in `/lost+found`.

use std::collections::BTreeSet;

use super::super::report::Findings;
use super::super::state::{Body, Node, State};
use super::super::tree::Tree;
use super::Step;
use crate::medium::attributes::Attributes;
use crate::medium::image::ROOT;
use crate::names::is_target;
use crate::node::now;

/// Where nodes go that have no name.
const LOST_FOUND: &str = "lost+found";

/// How often the tree is looked at anew: what is mended may bring to light what it hid.
const ROUNDS_MAX: usize = 8;

/// What is to be changed.
#[derive(Default)]
struct Edits {
    /// Names that go: directory, name, node.
    remove: Vec<(u64, Box<[u8]>, u64)>,
    /// Nodes that have no name then, and shall have one.
    strays: BTreeSet<u64>,
}

/// Mends all names, and says how.
pub(super) fn mend(state: &mut State, findings: &Findings, steps: &mut Vec<Step>) {
    remove_bad_links(state, steps);
    // Where names were lost, files without one may be what they led to; else they were unlinked, or never published.
    let names_were_lost = findings.are_about_names();
    let mut strays: BTreeSet<u64> = std::mem::take(&mut state.strays).into_iter().collect();
    for _ in 0..ROUNDS_MAX {
        let edits = Edits::of(state, names_were_lost);
        strays.extend(&edits.strays);
        let done = edits.remove.is_empty() && strays.is_empty();
        for (dir, name, node) in edits.remove {
            state.names_mut(dir).and_then(|names| names.remove(&name));
            steps.push(Step::RemoveName { dir, name: name.into(), node });
        }
        name_strays(state, std::mem::take(&mut strays), steps);
        if done {
            return;
        }
    }
}

/// Symbolic links that lead to no path go, with all their names.
fn remove_bad_links(state: &mut State, steps: &mut Vec<Step>) {
    let is_bad = |node: &Node| matches!(&node.body, Body::Symlink(target) if !is_target(target));
    let bad: BTreeSet<u64> = state.nodes.iter().filter(|(_, node)| is_bad(node)).map(|(id, _)| *id).collect();
    if bad.is_empty() {
        return;
    }
    for node in state.nodes.values_mut() {
        if let Body::Directory(names) = &mut node.body {
            names.retain(|_, node| !bad.contains(node));
        }
    }
    for node in bad {
        state.nodes.remove(&node);
        steps.push(Step::RemoveLink { node });
    }
}

impl Edits {
    fn of(state: &State, names_were_lost: bool) -> Self {
        let tree = Tree::of(state);
        let mut edits = Self::default();
        let nowhere = tree.nowhere.iter().map(|((dir, name), node)| (*dir, Box::from(*name), *node));
        let of_root = tree.of_root.iter().map(|(dir, name)| (*dir, Box::from(*name), ROOT));
        let second = tree.second.iter().map(|(node, (dir, name))| (*dir, Box::from(*name), *node));
        edits.remove.extend(nowhere.chain(of_root).chain(second));
        for ((dir, name), node) in &tree.bad {
            edits.remove.push((*dir, Box::from(*name), *node));
            edits.strays.insert(*node);
        }
        for node in tree.cycles.iter().filter_map(|cycle| cycle.first()) {
            if let Some((dir, name)) = tree.first.get(node) {
                edits.remove.push((*dir, Box::from(*name), *node));
                edits.strays.insert(*node);
            }
        }
        edits.strays.extend(&tree.unreachable);
        if names_were_lost {
            let has_blocks = |node: &&u64| state.nodes.get(node).is_some_and(|node| node.blocks() > 0);
            edits.strays.extend(tree.orphans.iter().filter(has_blocks));
        }
        edits
    }
}

/// Gives nodes a name, if they are there and have none.
fn name_strays(state: &mut State, strays: BTreeSet<u64>, steps: &mut Vec<Step>) {
    let named: BTreeSet<u64> = {
        let all = state.directories().flat_map(|(_, names)| names.values());
        all.copied().filter(|node| strays.contains(node)).collect()
    };
    for node in strays.difference(&named).filter(|node| **node != ROOT) {
        if !state.nodes.contains_key(node) {
            continue;
        }
        let dir = lost_found(state, steps);
        let Some(names) = state.names_mut(dir) else { return };
        let name = free_name(&format!("#{node}"), |name| names.contains_key(name));
        names.insert(name.as_bytes().into(), *node);
        steps.push(Step::MoveToLostFound { node: *node, name: name.into_bytes() });
    }
}

/// The directory for strays, which is made if there is none.
fn lost_found(state: &mut State, steps: &mut Vec<Step>) -> u64 {
    let is_there = |state: &State, name: &str| state.names(ROOT).and_then(|names| names.get(name.as_bytes()).copied());
    if let Some(node) = is_there(state, LOST_FOUND).filter(|node| state.names(*node).is_some()) {
        return node;
    }
    // One that this repair has made.
    let made = steps.iter().find_map(|step| match step {
        Step::MakeLostFound { name } => Some(name.clone()),
        _ => None,
    });
    if let Some(node) = made.and_then(|name| state.names(ROOT)?.get(&name[..]).copied()) {
        return node;
    }
    let name = free_name(LOST_FOUND, |name| state.names(ROOT).is_some_and(|names| names.contains_key(name)));
    state.last_node += 1;
    let node = state.last_node;
    state.nodes.insert(node, Node { attributes: Attributes::made(now()), ..Node::directory() });
    if let Some(names) = state.names_mut(ROOT) {
        names.insert(name.as_bytes().into(), node);
    }
    steps.push(Step::MakeLostFound { name: name.into_bytes() });
    node
}

/// The name, or the first of it with a number that is not taken.
fn free_name(name: &str, is_taken: impl Fn(&[u8]) -> bool) -> String {
    let numbered = (1u64..).map(|number| format!("{name}.{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name.as_bytes())).unwrap_or_default()
}
