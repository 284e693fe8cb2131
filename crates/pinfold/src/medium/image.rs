//! The state of a pool as its medium says it: the checkpoint, with the log replayed over it.
//!
//! A checkpoint is taken while the work goes on, node by node: it is as of no single moment. What makes it one is the
//! log, from the position where the checkpoint began. Names and nodes are what the last record says of them, so replaying
//! what a checkpoint has already changes nothing; a file carries the position up to which it is true.
//!
//! Stays true  I1: no block is in two files, nor outside of the pool ([`Image::check`]).
//!             I2: every name can be one, leads to a node, and stands in a directory.
//!             I3: a directory has one name, and the root none; from the root all are reached. (One that was removed and
//!                 has not ended has no name, and is empty.)
//!             I4: the log is as long as what is in the checkpoint says that it was, and as its records say.
//! Who calls   whoever opens a pool, or looks at one.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use super::attributes::Attributes;
use super::checkpoint::{Item, Names, Stream, Unreadable};
use super::codec::{Garbled, Reader};
use super::log::{places, reached_behind, replay};
use super::record::{Entry, Made, Record};
use super::source::Source;
use super::superblock::{NUMBERS_END, NoSuperblock, Superblock};
use crate::by_id::ById;
use crate::extents::{ExtentMap, Run, State};
use crate::names::{is_name, is_target};
use crate::node::Special;
use crate::units::FILE_BYTES_MAX;

/// The id of the root directory.
pub(crate) const ROOT: u64 = 1;

/// All nodes of a pool.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) nodes: ById<NodeImage>,
    /// The largest id that was given.
    pub(crate) last_node: u64,
    /// Where the checkpoint lies: (first block, how many).
    pub(crate) chunks: Vec<(u64, u64)>,
    /// Bytes of the checkpoint's items.
    pub(crate) checkpoint_bytes: u64,
    /// The position after the last record.
    pub(crate) end: u64,
    /// How many records were replayed.
    pub(crate) records: u64,
    /// Nodes that records speak of, which were not there: they have to end in the log.
    absent: HashSet<u64>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct NodeImage {
    pub(crate) attributes: Attributes,
    pub(crate) kind: KindImage,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum KindImage {
    File(FileImage),
    Directory(Entries),
    Symlink(Box<[u8]>),
    Special(Special),
}

/// Names in a directory, each with its node.
pub(crate) type Entries = BTreeMap<Arc<[u8]>, u64>;

/// What a file is made of.
#[derive(Debug, Default)]
pub(crate) struct FileImage {
    /// Bytes.
    pub(crate) len: u64,
    pub(crate) extents: ExtentMap,
    /// Records before this position are in its checkpoint.
    position: u64,
    /// The end of the last record that changed it.
    pub(crate) changed_at: u64,
}

/// Why there is no image.
#[derive(Debug)]
pub(crate) enum NoImage {
    Superblock(NoSuperblock),
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for NoImage {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Garbled> for NoImage {
    fn from(Garbled(why): Garbled) -> Self {
        Self::Damaged(why.to_owned())
    }
}

impl From<Unreadable> for NoImage {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Io(error) => Self::Io(error),
            Unreadable::Damaged(why) => Self::Damaged(why.to_owned()),
        }
    }
}

fn damaged<T>(why: String) -> Result<T, NoImage> {
    Err(NoImage::Damaged(why))
}

impl Image {
    /// Reads the whole of it, and checks it.
    pub(crate) fn read(source: &(impl Source + ?Sized), superblock: &Superblock) -> Result<Self, NoImage> {
        Self::of(Stream::read(source, superblock)?, source, superblock)
    }

    /// What a checkpoint and the log say, checked.
    pub(crate) fn of(
        stream: Stream,
        source: &(impl Source + ?Sized),
        superblock: &Superblock,
    ) -> Result<Self, NoImage> {
        let mut image = Self { last_node: superblock.last_node.max(ROOT), ..Self::default() };
        image.checkpoint_bytes = stream.items.len() as u64;
        // A node takes a dozen bytes as a rule.
        image.nodes.reserve((superblock.checkpoint.nodes as usize).min(stream.items.len() / 12));
        image.take_items(&stream.items)?;
        if image.nodes.len() as u64 != superblock.checkpoint.nodes {
            return damaged("a checkpoint has not as many nodes as its superblock says".into());
        }
        image.chunks = stream.chunks;
        if superblock.checkpoint.blocks == 0 {
            image.nodes.entry(ROOT).or_insert_with(|| NodeImage::directory(Attributes::default()));
        }
        image.replay(source, superblock)?;
        if let Some(node) = image.absent.iter().next() {
            return damaged(format!("the log speaks of node {node}, which is not there"));
        }
        image.check(superblock)?;
        Ok(image)
    }

    /// Takes every record. Where the log ends too early it is damaged (I4), unless it has grown when it is looked at again.
    fn replay(&mut self, source: &(impl Source + ?Sized), superblock: &Superblock) -> Result<(), NoImage> {
        self.end = superblock.replay_from;
        let mut looked_at = None;
        loop {
            self.end = replay(source, superblock, self.end, |record| self.take_record(record))?;
            let Some(reached) = reached_behind(source, superblock, self.end)? else { return Ok(()) };
            if looked_at == Some(self.end) {
                let [place, _] = places(superblock, self.end, 1);
                let (place, end) = (place.start, self.end);
                return damaged(format!(
                    "its log is not whole at byte {place}: it ends at position {end}, and was durable up to {reached}"
                ));
            }
            looked_at = Some(self.end);
        }
    }

    fn take_items(&mut self, items: &[u8]) -> Result<(), NoImage> {
        let mut reader = Reader::new(items);
        while !reader.is_empty() {
            let (node, image) = match Item::read(&mut reader)? {
                Item::File { node, attributes, len, position, extents } => {
                    let kind = KindImage::File(FileImage { len, extents, position, changed_at: position });
                    (node, NodeImage { attributes, kind })
                }
                Item::Directory { node, attributes } => (node, NodeImage::directory(attributes)),
                Item::Symlink { node, attributes, target } => {
                    (node, NodeImage { attributes, kind: KindImage::Symlink(target.into()) })
                }
                Item::Special { node, attributes, special } => {
                    (node, NodeImage { attributes, kind: KindImage::Special(special) })
                }
                Item::Names { dir, names } => {
                    self.add_names(dir, names)?;
                    continue;
                }
            };
            self.last_node = self.last_node.max(node);
            if self.nodes.insert(node, image).is_some() {
                return damaged(format!("a checkpoint has node {node} twice"));
            }
        }
        Ok(())
    }

    fn add_names(&mut self, dir: u64, names: Names<'_>) -> Result<(), NoImage> {
        match self.nodes.get_mut(&dir).map(|node| &mut node.kind) {
            Some(KindImage::Directory(entries)) => {
                for read in names {
                    let (name, node) = read?;
                    if entries.insert(name.into(), node).is_some() {
                        let name = String::from_utf8_lossy(name);
                        return damaged(format!("a checkpoint has the name {name:?} twice in node {dir}"));
                    }
                }
                Ok(())
            }
            _ => damaged(format!("a checkpoint has names in node {dir}, which is no directory")),
        }
    }

    fn take_record(&mut self, record: &Record<'_>) -> Result<(), NoImage> {
        self.records += 1;
        for entry in record.entries() {
            self.take_entry(record, entry?)?;
        }
        Ok(())
    }

    fn take_entry(&mut self, record: &Record<'_>, entry: Entry<'_>) -> Result<(), NoImage> {
        match entry {
            Entry::Make { node, made } => self.make(node, made, record.time),
            Entry::End { node } => {
                self.nodes.remove(&node);
                self.absent.remove(&node);
            }
            Entry::Name { dir, name, node } => {
                if let Some(entries) = self.directory(dir, record.time)? {
                    let former = entries.insert(name.into(), node);
                    former.into_iter().chain([node]).for_each(|node| self.note_change(node, record.time));
                }
            }
            Entry::Unname { dir, name } => {
                if let Some(entries) = self.directory(dir, record.time)? {
                    let former = entries.remove(name);
                    former.into_iter().for_each(|node| self.note_change(node, record.time));
                }
            }
            Entry::Touch { node } => self.with_attributes(node, |attributes| attributes.modified_at(record.time)),
            Entry::Set { node, settings } => {
                self.with_attributes(node, |attributes| attributes.set(&settings, record.time));
            }
            Entry::Extend { node, name, value } => {
                self.with_attributes(node, |attributes| attributes.set_extended(name, value, record.time));
            }
            Entry::Mark { node, .. } if !self.nodes.contains_key(&node) => {}
            Entry::Length { node, .. }
            | Entry::Put { node, .. }
            | Entry::Take { node, .. }
            | Entry::Mark { node, .. }
            | Entry::Shift { node, .. } => return self.change_file(record, node, entry),
        }
        Ok(())
    }

    /// Of a node that ended, who had it in hand may come to speak of it afterwards.
    fn with_attributes(&mut self, node: u64, change: impl FnOnce(&mut Attributes)) {
        if let Some(node) = self.nodes.get_mut(&node) {
            change(&mut node.attributes);
        }
    }

    /// A node has a name more, or less.
    fn note_change(&mut self, node: u64, time: u64) {
        self.with_attributes(node, |attributes| attributes.changed_at(time));
    }

    fn make(&mut self, node: u64, made: Made<'_>, time: u64) {
        self.last_node = self.last_node.max(node);
        let kind = || match made {
            Made::File => KindImage::File(FileImage::default()),
            Made::Directory => KindImage::Directory(Entries::new()),
            Made::Symlink(target) => KindImage::Symlink(target.into()),
            Made::Special(special) => KindImage::Special(special),
        };
        // The checkpoint may have seen it after it was made.
        self.nodes.entry(node).or_insert_with(|| NodeImage { attributes: Attributes::made(time), kind: kind() });
    }

    fn note_absent(&mut self, node: u64) {
        self.absent.insert(node);
    }

    /// The names in a directory that a record changes. `None` if it is not there.
    fn directory(&mut self, dir: u64, time: u64) -> Result<Option<&mut Entries>, NoImage> {
        if !self.nodes.contains_key(&dir) {
            self.note_absent(dir);
        }
        let Some(node) = self.nodes.get_mut(&dir) else { return Ok(None) };
        node.attributes.modified_at(time);
        match &mut node.kind {
            KindImage::Directory(entries) => Ok(Some(entries)),
            KindImage::File(_) | KindImage::Symlink(_) | KindImage::Special(_) => {
                damaged(format!("the log has names in node {dir}, which is no directory"))
            }
        }
    }

    fn change_file(&mut self, record: &Record<'_>, id: u64, entry: Entry<'_>) -> Result<(), NoImage> {
        let Some(node) = self.nodes.get_mut(&id) else {
            self.note_absent(id);
            return Ok(());
        };
        let KindImage::File(file) = &mut node.kind else {
            return damaged(format!("the log changes node {id} like a file, which it is not"));
        };
        if record.position < file.position {
            return Ok(());
        }
        // A mark comes with a sync, long after what it speaks of.
        if !matches!(entry, Entry::Mark { .. }) {
            node.attributes.modified_at(record.time);
        }
        file.apply(entry).or_else(|why| damaged(format!("the log speaks of node {id}: {why}")))?;
        file.changed_at = record.end;
        Ok(())
    }

    /// I1, I2 and I3, and that all numbers are possible.
    fn check(&self, superblock: &Superblock) -> Result<(), NoImage> {
        let mut used: Vec<(u64, u64, u64)> = self.chunks.iter().map(|(block, len)| (*block, block + len, 0)).collect();
        let mut lies_in = ById::default();
        for (id, node) in &self.nodes {
            if *id == 0 || *id >= NUMBERS_END {
                return damaged(format!("a node has the number {id}"));
            }
            match &node.kind {
                KindImage::File(file) => {
                    self.check_file(*id, file, superblock)?;
                    used.extend(file.extents.runs().map(|(_, run)| (run.block, run.end(), *id)));
                }
                KindImage::Directory(entries) => self.check_names(*id, entries, &mut lies_in)?,
                KindImage::Symlink(target) if !is_target(target) => {
                    return damaged(format!("node {id} is a symbolic link, and leads to no path"));
                }
                KindImage::Symlink(_) | KindImage::Special(_) => {}
            }
        }
        self.check_tree(&lies_in)?;
        check_blocks(used, superblock)
    }

    fn check_file(&self, id: u64, file: &FileImage, superblock: &Superblock) -> Result<(), NoImage> {
        if file.len > FILE_BYTES_MAX || file.extents.end() > superblock.block.ceil(FILE_BYTES_MAX) {
            return damaged(format!("node {id} has {} bytes, or blocks for more than a file can have", file.len));
        }
        if file.position > self.end {
            let (position, end) = (file.position, self.end);
            return damaged(format!(
                "its log ends at position {end}, and the checkpoint has node {id} as of position {position}"
            ));
        }
        Ok(())
    }

    /// I2. Notes in which directory each directory lies.
    fn check_names(&self, id: u64, entries: &Entries, lies_in: &mut ById<u64>) -> Result<(), NoImage> {
        for (name, to) in entries {
            let named = || String::from_utf8_lossy(name).into_owned();
            if !is_name(name) {
                return damaged(format!("node {id} has the name {:?}, which cannot be one", named()));
            }
            let Some(node) = self.nodes.get(to) else {
                return damaged(format!("the name {:?} in node {id} leads to node {to}, which is not there", named()));
            };
            let is_directory = matches!(node.kind, KindImage::Directory(_));
            if is_directory && (*to == ROOT || lies_in.insert(*to, id).is_some()) {
                return damaged(format!("the directory {to} has a second name, {:?} in node {id}", named()));
            }
        }
        Ok(())
    }

    /// I3.
    fn check_tree(&self, lies_in: &ById<u64>) -> Result<(), NoImage> {
        if !self.nodes.get(&ROOT).is_some_and(|root| matches!(root.kind, KindImage::Directory(_))) {
            return damaged("it has no root directory".into());
        }
        let is_lost = |id: &u64, node: &NodeImage| match &node.kind {
            KindImage::Directory(entries) => *id != ROOT && !entries.is_empty() && !lies_in.contains_key(id),
            KindImage::File(_) | KindImage::Symlink(_) | KindImage::Special(_) => false,
        };
        if let Some((id, _)) = self.nodes.iter().find(|(id, node)| is_lost(id, node)) {
            return damaged(format!("the directory {id} has no name, and is not empty"));
        }
        // So whoever goes up comes to the root, or comes around.
        let mut seen_from = ById::default();
        for start in lies_in.keys() {
            let mut at = start;
            while let Some(above) = lies_in.get(at) {
                match seen_from.insert(*at, *start) {
                    None => at = above,
                    Some(from) if from == *start => return damaged(format!("the directory {at} lies in itself")),
                    Some(_) => break,
                }
            }
        }
        Ok(())
    }
}

/// I1.
fn check_blocks(mut used: Vec<(u64, u64, u64)>, superblock: &Superblock) -> Result<(), NoImage> {
    used.sort_unstable();
    let (first, blocks) = (superblock.first_block(), superblock.blocks());
    let outside = used.iter().find(|(start, end, _)| *start < first || *end > blocks);
    if let Some((start, end, node)) = outside {
        return damaged(format!("blocks {start}..{end} of node {node} lie outside of the pool"));
    }
    match used.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => damaged(format!("block {} is in node {} and in node {}", pair[1].0, pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}

impl NodeImage {
    fn directory(attributes: Attributes) -> Self {
        Self { attributes, kind: KindImage::Directory(Entries::new()) }
    }
}

impl FileImage {
    fn apply(&mut self, entry: Entry<'_>) -> Result<(), &'static str> {
        match entry {
            Entry::Length { len, .. } => self.len = len,
            Entry::Put { at, block, len, written, .. } => {
                let end = at.checked_add(len).filter(|_| len > 0).ok_or("blocks past the end of any file")?;
                if self.extents.piece(at, end).run.is_some() || self.extents.piece(at, end).len < len {
                    return Err("blocks are put where there are some");
                }
                block.checked_add(len).ok_or("blocks past the end of any pool")?;
                let state = if written { State::Written } else { State::SetAside };
                self.extents.insert(at, Run { block, len, state });
            }
            Entry::Take { at, len, .. } => drop(self.extents.remove(at..at.saturating_add(len))),
            Entry::Mark { len: 0, .. } => {}
            Entry::Mark { at, len, written, .. } => {
                let state = if written { State::Written } else { State::SetAside };
                for piece in self.extents.pieces_in(at..at.saturating_add(len)) {
                    self.extents.set_state(&piece, state);
                }
            }
            Entry::Shift { from, by, .. } => self.shift(from, by)?,
            _ => {}
        }
        Ok(())
    }

    fn shift(&mut self, from: u64, by: i64) -> Result<(), &'static str> {
        let end = self.extents.end();
        if end <= from {
            return Ok(());
        }
        let to = from.checked_add_signed(by).ok_or("blocks move below the start of a file")?;
        end.checked_add_signed(by).ok_or("blocks move past the end of any file")?;
        // What they move over is a hole, or else runs would overlap.
        if by < 0 && !self.extents.pieces_in(to..from).is_empty() {
            return Err("blocks move onto others");
        }
        self.extents.shift(from, by);
        Ok(())
    }
}

impl Superblock {
    /// The superblock and the image of what `source` holds, both checked.
    pub(crate) fn read_with_image(source: &(impl Source + ?Sized)) -> Result<(Self, Image), NoImage> {
        let superblock = Self::read(source).map_err(NoImage::Superblock)?;
        let image = Image::read(source, &superblock)?;
        Ok((superblock, image))
    }
}
