//! What a checkpoint holds: every node as it is when it is come by, while the work goes on.
//!
//! A node is locked only while it is written down, a directory for some names at a time. What changes before or after is
//! in the log, from the position where the checkpoint began.
//!
//! What is cold is copied as it stands. It may become warm meanwhile, and is not written down again then.

use std::collections::HashSet;
use std::sync::Arc;

use crate::by_id::{ById, ByIdHasher};
use crate::core::Nodes;
use crate::lock::read;
use crate::medium::checkpoint::{write_directory, write_file, write_names, write_special, write_symlink};
use crate::medium::codec::Writer;
use crate::names::Directory;
use crate::node::{Kind, Node};

/// How many names are written down under one lock of their directory.
const NAMES_AT_A_TIME: usize = 512;

/// What was written down.
pub(super) struct Captured {
    pub(super) items: Vec<u8>,
    pub(super) nodes: u64,
}

/// Writes down all nodes, then all names.
pub(super) fn capture(nodes: &Nodes) -> Captured {
    let (mut writer, mut directories) = (Writer::default(), Vec::new());
    let cold = copy_cold(&mut writer, nodes);
    let mut count = cold.nodes.len() as u64;
    for node in nodes.by_shard().flatten() {
        if cold.nodes.contains(&node.id.number()) {
            continue;
        }
        count += 1;
        write_node(&mut writer, &node);
        if node.directory().is_some() {
            directories.push(node);
        }
    }
    for node in &directories {
        match (cold.names.get(&node.id.number()), node.directory()) {
            (Some(names), _) => names.iter().for_each(|names| writer.bytes.extend_from_slice(names)),
            (None, Some(directory)) => write_all_names(&mut writer, node.id.number(), directory),
            (None, None) => {}
        }
    }
    Captured { items: writer.bytes, nodes: count }
}

/// What was cold when it was come by.
#[derive(Default)]
struct Copied<'c> {
    /// Nodes whose items were copied.
    nodes: HashSet<u64, ByIdHasher>,
    /// The items of names of directories, still to be copied.
    names: ById<Vec<&'c [u8]>>,
}

fn copy_cold<'c>(writer: &mut Writer, nodes: &'c Nodes) -> Copied<'c> {
    let mut copied = Copied::default();
    let Some(cold) = nodes.cold() else { return copied };
    for node in cold.directories() {
        let Some(directory) = node.directory() else { continue };
        directory.look_if_cold(|names| {
            for (leaf, item) in names.leaves() {
                writer.bytes.extend_from_slice(item);
                copied.nodes.insert(leaf);
            }
            copied.names.insert(node.id.number(), names.names.iter().map(|range| cold.bytes(range)).collect());
        });
    }
    copied
}

fn write_node(writer: &mut Writer, node: &Node) {
    let (id, attributes) = (node.id.number(), node.attributes());
    match &node.kind {
        Kind::File(body) => {
            let map = read(&body.map);
            write_file(writer, id, &attributes, map.len, map.position, &map.extents);
        }
        Kind::Directory(_) => write_directory(writer, id, &attributes),
        Kind::Symlink(target) => write_symlink(writer, id, &attributes, target),
        Kind::Special(special) => write_special(writer, id, &attributes, *special),
    }
}

fn write_all_names(writer: &mut Writer, id: u64, directory: &Directory) {
    let mut after: Option<Arc<[u8]>> = None;
    loop {
        let names = directory.names_after(after.as_deref(), NAMES_AT_A_TIME);
        let Some((last, _)) = names.last() else { return };
        after = Some(Arc::clone(last));
        write_names(writer, id, names.iter().map(|(name, node)| (&name[..], *node)));
    }
}
