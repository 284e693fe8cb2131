//! The state of a pool as its medium says it, put together by itself: the second account of what `medium::image` says, which
//! goes on where that one stops.
//!
//! Stays true  S1: nothing is left out without a finding that says so.
//! Who calls   the check, and the repair, which changes it and writes it down.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::report::Findings;
use crate::extents::{ExtentMap, Run, State as BlockState};
use crate::medium::attributes::Attributes;
use crate::medium::checkpoint::Item;
use crate::medium::codec::Reader;
use crate::medium::image::ROOT;
use crate::medium::record::{Entry, Made, Record};
use crate::medium::superblock::Superblock;
use crate::node::{FileKind, Special};

/// All nodes and names.
#[derive(Default, Clone)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<u64, Node>,
    /// The largest number that was given.
    pub(super) last_node: u64,
    /// How many records are in it.
    pub(super) records: u64,
    /// Nodes that lost a name which stood where none can, or twice.
    pub(super) strays: Vec<u64>,
    /// The root was not there, and should have been.
    pub(super) made_root: bool,
    /// Nodes that records speak of and that are not there, and where they first do: they have to end.
    absent: BTreeMap<u64, u64>,
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
}

#[derive(Clone)]
pub(super) enum Body {
    File(File),
    Directory(BTreeMap<Box<[u8]>, u64>),
    Symlink(Box<[u8]>),
    Special(Special),
}

#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) len: u64,
    pub(super) extents: ExtentMap,
    /// Records before this are in it.
    position: u64,
}

impl Node {
    pub(super) fn directory() -> Self {
        Self { attributes: Attributes::default(), body: Body::Directory(BTreeMap::new()) }
    }

    pub(super) fn kind(&self) -> FileKind {
        match self.body {
            Body::File(_) => FileKind::File,
            Body::Directory(_) => FileKind::Directory,
            Body::Symlink(_) => FileKind::Symlink,
            Body::Special(special) => FileKind::Special(special),
        }
    }

    /// How many blocks it has.
    pub(super) fn blocks(&self) -> u64 {
        match &self.body {
            Body::File(file) => file.extents.blocks(),
            Body::Directory(_) | Body::Symlink(_) | Body::Special(_) => 0,
        }
    }
}

impl State {
    /// The names of a directory.
    pub(super) fn names(&self, dir: u64) -> Option<&BTreeMap<Box<[u8]>, u64>> {
        match &self.nodes.get(&dir)?.body {
            Body::Directory(names) => Some(names),
            Body::File(_) | Body::Symlink(_) | Body::Special(_) => None,
        }
    }

    pub(super) fn names_mut(&mut self, dir: u64) -> Option<&mut BTreeMap<Box<[u8]>, u64>> {
        match &mut self.nodes.get_mut(&dir)?.body {
            Body::Directory(names) => Some(names),
            Body::File(_) | Body::Symlink(_) | Body::Special(_) => None,
        }
    }

    pub(super) fn file_mut(&mut self, node: u64) -> Option<&mut File> {
        match &mut self.nodes.get_mut(&node)?.body {
            Body::File(file) => Some(file),
            Body::Directory(_) | Body::Symlink(_) | Body::Special(_) => None,
        }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (u64, &File)> {
        self.nodes.iter().filter_map(|(id, node)| match &node.body {
            Body::File(file) => Some((*id, file)),
            Body::Directory(_) | Body::Symlink(_) | Body::Special(_) => None,
        })
    }

    /// Every directory with its names.
    pub(super) fn directories(&self) -> impl Iterator<Item = (u64, &BTreeMap<Box<[u8]>, u64>)> {
        self.nodes.keys().filter_map(|id| Some((*id, self.names(*id)?)))
    }

    /// Takes all items of a checkpoint.
    pub(super) fn take_items(&mut self, items: &[u8], superblock: &Superblock, findings: &mut Findings) {
        self.last_node = superblock.last_node.max(ROOT);
        let mut reader = Reader::new(items);
        while !reader.is_empty() {
            let at = (items.len() - reader.left()) as u64;
            let taken = Item::read(&mut reader).and_then(|item| self.take_item(item, superblock, findings));
            if let Err(why) = taken {
                findings.add(Finding::ItemGarbled { at, why: why.0 });
                break;
            }
        }
        let has = self.nodes.len() as u64 - u64::from(self.made_root);
        if has != superblock.checkpoint.nodes {
            findings.add(Finding::CheckpointNodes { says: superblock.checkpoint.nodes, has });
        }
        if !self.nodes.contains_key(&ROOT) {
            // A pool that was made just now has no checkpoint, and a root all the same.
            if superblock.checkpoint.blocks > 0 {
                findings.add(Finding::NoRoot);
                self.made_root = true;
            }
            self.nodes.insert(ROOT, Node::directory());
        }
    }

    fn take_item(
        &mut self,
        item: Item<'_>,
        superblock: &Superblock,
        findings: &mut Findings,
    ) -> Result<(), crate::medium::codec::Garbled> {
        let (node, attributes, body) = match item {
            Item::File { node, attributes, len, position, extents } => {
                (node, attributes, Body::File(File { len, extents, position }))
            }
            Item::Directory { node, attributes } => (node, attributes, Body::Directory(BTreeMap::new())),
            Item::Symlink { node, attributes, target } => (node, attributes, Body::Symlink(target.into())),
            Item::Special { node, attributes, special } => (node, attributes, Body::Special(special)),
            Item::Names { dir, names } => {
                for name in names {
                    let (name, node) = name?;
                    self.take_name(dir, name, node, findings);
                }
                return Ok(());
            }
        };
        if node > superblock.last_node {
            findings.add(Finding::IdPastLast { node, last: superblock.last_node });
        }
        self.last_node = self.last_node.max(node);
        if self.nodes.insert(node, Node { attributes, body }).is_some() {
            findings.add(Finding::NodeTwice { node });
        }
        Ok(())
    }

    fn take_name(&mut self, dir: u64, name: &[u8], node: u64, findings: &mut Findings) {
        // Names come after all nodes: the root's, where it is missing, are what is left of it.
        if dir == ROOT && !self.nodes.contains_key(&ROOT) {
            findings.add(Finding::NoRoot);
            self.nodes.insert(ROOT, Node::directory());
            self.made_root = true;
        }
        let Some(names) = self.names_mut(dir) else {
            self.strays.push(node);
            return findings.add(Finding::NameInNoDirectory { dir, name: name.to_vec(), node });
        };
        if let Some(first) = names.insert(name.into(), node) {
            self.strays.push(first);
            findings.add(Finding::NameTwice { dir, name: name.to_vec(), nodes: [first, node] });
        }
    }

    /// Takes a record of the log.
    pub(super) fn take_record(&mut self, record: &Record<'_>, findings: &mut Findings) {
        self.records += 1;
        for entry in record.entries() {
            match entry {
                Ok(entry) => self.take_entry(record, entry, findings),
                Err(why) => findings.add(Finding::EntryGarbled { position: record.position, why: why.0 }),
            }
        }
    }

    fn take_entry(&mut self, record: &Record<'_>, entry: Entry<'_>, findings: &mut Findings) {
        let position = record.position;
        match entry {
            Entry::Make { node, made } => self.make(node, made, record.time),
            Entry::End { node } => {
                self.nodes.remove(&node);
                self.absent.remove(&node);
            }
            // Of a node that ended, who had it in hand may come to speak of it afterwards.
            Entry::Mark { node, .. } if !self.nodes.contains_key(&node) => {}
            Entry::Touch { node } | Entry::Set { node, .. } | Entry::Extend { node, .. } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    change_attributes(&mut node.attributes, entry, record.time);
                }
            }
            Entry::Name { dir, .. } | Entry::Unname { dir, .. } => {
                if let Err(why) = self.change_names(record, dir, entry) {
                    findings.add(Finding::EntryImpossible { position, node: dir, why });
                }
            }
            Entry::Length { node, .. }
            | Entry::Put { node, .. }
            | Entry::Take { node, .. }
            | Entry::Mark { node, .. }
            | Entry::Shift { node, .. } => {
                if let Err(why) = self.change_file(record, node, entry) {
                    findings.add(Finding::EntryImpossible { position, node, why });
                }
            }
        }
    }

    /// To be called after the last record: the log ends at `end`.
    pub(super) fn check_after(&mut self, end: u64, findings: &mut Findings) {
        for (node, position) in std::mem::take(&mut self.absent) {
            findings.add(Finding::NodeAbsent { position, node });
        }
        for (node, file) in self.files().filter(|(_, file)| file.position > end) {
            findings.add(Finding::NodeAhead { node, position: file.position, end });
        }
    }

    fn make(&mut self, node: u64, made: Made<'_>, time: u64) {
        self.last_node = self.last_node.max(node);
        let body = match made {
            Made::File => Body::File(File::default()),
            Made::Directory => Body::Directory(BTreeMap::new()),
            Made::Symlink(target) => Body::Symlink(target.into()),
            Made::Special(special) => Body::Special(special),
        };
        // The checkpoint may have seen it after it was made.
        self.nodes.entry(node).or_insert(Node { attributes: Attributes::made(time), body });
    }

    fn note_absent(&mut self, node: u64, position: u64) {
        self.absent.entry(node).or_insert(position);
    }

    fn change_names(&mut self, record: &Record<'_>, dir: u64, entry: Entry<'_>) -> Result<(), &'static str> {
        let Some(node) = self.nodes.get_mut(&dir) else {
            self.note_absent(dir, record.position);
            return Ok(());
        };
        let Body::Directory(names) = &mut node.body else { return Err("it is no directory") };
        node.attributes.modified_at(record.time);
        let (former, now) = match entry {
            Entry::Name { name, node, .. } => (names.insert(name.into(), node), Some(node)),
            Entry::Unname { name, .. } => (names.remove(name), None),
            _ => (None, None),
        };
        for changed in former.into_iter().chain(now) {
            if let Some(node) = self.nodes.get_mut(&changed) {
                node.attributes.changed_at(record.time);
            }
        }
        Ok(())
    }

    fn change_file(&mut self, record: &Record<'_>, id: u64, entry: Entry<'_>) -> Result<(), &'static str> {
        let Some(node) = self.nodes.get_mut(&id) else {
            self.note_absent(id, record.position);
            return Ok(());
        };
        let Body::File(file) = &mut node.body else { return Err("it is no file") };
        if record.position < file.position {
            return Ok(());
        }
        if !matches!(entry, Entry::Mark { .. }) {
            node.attributes.modified_at(record.time);
        }
        file.apply(entry)
    }
}

fn change_attributes(attributes: &mut Attributes, entry: Entry<'_>, time: u64) {
    match entry {
        Entry::Touch { .. } => attributes.modified_at(time),
        Entry::Set { settings, .. } => attributes.set(&settings, time),
        Entry::Extend { name, value, .. } => attributes.set_extended(name, value, time),
        _ => {}
    }
}

impl File {
    /// Its runs, each with its first file block.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, Run)> + '_ {
        self.extents.runs()
    }

    fn apply(&mut self, entry: Entry<'_>) -> Result<(), &'static str> {
        let state = |written| if written { BlockState::Written } else { BlockState::SetAside };
        match entry {
            Entry::Length { len, .. } => self.len = len,
            Entry::Put { at, block, len, written, .. } => self.put(at, Run { block, len, state: state(written) })?,
            Entry::Take { at, len, .. } => drop(self.extents.remove(at..at.saturating_add(len))),
            Entry::Mark { at, len, written, .. } => {
                for piece in self.extents.pieces_in(at..at.saturating_add(len)) {
                    self.extents.set_state(&piece, state(written));
                }
            }
            Entry::Shift { from, by, .. } => self.shift(from, by)?,
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, at: u64, run: Run) -> Result<(), &'static str> {
        if run.len == 0 {
            return Err("no blocks are put");
        }
        let end = at.checked_add(run.len).ok_or("blocks are put past the end of any file")?;
        run.block.checked_add(run.len).ok_or("blocks past the end of any pool are put")?;
        if !self.extents.pieces_in(at..end).is_empty() {
            return Err("blocks are put where there are some");
        }
        self.extents.insert(at, run);
        Ok(())
    }

    fn shift(&mut self, from: u64, by: i64) -> Result<(), &'static str> {
        let end = self.extents.end();
        if end <= from {
            return Ok(());
        }
        let to = from.checked_add_signed(by).ok_or("blocks move below the start of a file")?;
        end.checked_add_signed(by).ok_or("blocks move past the end of any file")?;
        if by < 0 && !self.extents.pieces_in(to..from).is_empty() {
            return Err("blocks move onto others");
        }
        self.extents.shift(from, by);
        Ok(())
    }
}
