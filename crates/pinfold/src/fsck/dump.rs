//! The medium as it lies there, part by part: for people who look for what went wrong, and for programs. Nothing is compared
//! here; damage is a part that says why it is none.

use std::fmt;
use std::ops::Range;

use super::checkpoint::Checkpoint;
use super::log::{End, Log};
use super::report::Findings;
use super::state::{Body, State};
use super::superblocks::{Superblocks, why_not};
use super::words::kind_name;
use crate::extents::{ExtentMap, State as BlockState};
use crate::medium::attributes::{Attributes, Settings};
use crate::medium::checkpoint::Item;
use crate::medium::codec::{Decoded, Reader};
use crate::medium::log::places;
use crate::medium::record::{Entry, Made, Record};
use crate::medium::source::Source;
use crate::medium::superblock::{LOG_START, SUPERBLOCK_BYTES, SUPERBLOCKS, Superblock};
use crate::node::{FileKind, Special};

/// What lies on a medium. Beside an owner that works, its parts may be of different moments.
pub struct Dump<'s, S: ?Sized> {
    source: &'s S,
    superblocks: Superblocks,
}

/// One thing on the medium: a superblock, a chunk, an item, a record, an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What it is, in one word.
    pub what: &'static str,
    /// Where it lies, in bytes of the medium; empty where it has no place of its own.
    pub place: Range<u64>,
    /// What it says.
    pub facts: Vec<Fact>,
    /// What it is made of.
    pub parts: Vec<Part>,
    /// What is wrong with it.
    pub wrong: Option<String>,
}

/// Something that is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// Of what.
    pub name: &'static str,
    /// What.
    pub value: Value,
}

/// A value on the medium.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Value {
    /// A number.
    Number(u64),
    /// A number that may be less than 0.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// A name or a target.
    Text(Vec<u8>),
    /// What names a pool, or a boot.
    Id([u8; 16]),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(u64::MAX) => f.write_str("all"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number:+}"),
            Self::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Self::Text(text) => f.write_str(&super::words::quoted(text)),
            Self::Id(id) => id.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// One line, without the parts.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        self.facts.iter().try_for_each(|fact| write!(f, " {}={}", fact.name, fact.value))?;
        match &self.wrong {
            Some(why) => write!(f, " WRONG: {why}"),
            None => Ok(()),
        }
    }
}

impl Part {
    fn new(what: &'static str) -> Self {
        Self { what, place: 0..0, facts: Vec::new(), parts: Vec::new(), wrong: None }
    }

    fn at(self, place: Range<u64>) -> Self {
        Self { place, ..self }
    }

    fn number(self, name: &'static str, number: u64) -> Self {
        self.with(name, Value::Number(number))
    }

    fn text(self, name: &'static str, text: &[u8]) -> Self {
        self.with(name, Value::Text(text.to_vec()))
    }

    fn with(mut self, name: &'static str, value: Value) -> Self {
        self.facts.push(Fact { name, value });
        self
    }

    fn wrong(self, why: impl Into<String>) -> Self {
        Self { wrong: Some(why.into()), ..self }
    }

    /// Whether it speaks of a node, as the one that it changes or holds, or that a name leads to.
    fn speaks_of(&self, node: u64) -> bool {
        let is_node = |fact: &Fact| matches!(fact.name, "node" | "dir") && fact.value == Value::Number(node);
        self.facts.iter().any(is_node)
    }

    /// The same with those of its parts alone that speak of a node, if it or any of them does.
    fn about(mut self, node: u64) -> Option<Self> {
        if self.speaks_of(node) {
            return Some(self);
        }
        self.parts = self.parts.into_iter().filter_map(|part| part.about(node)).collect();
        (!self.parts.is_empty()).then_some(self)
    }
}

impl<'s, S: Source + ?Sized> Dump<'s, S> {
    /// Reads the superblocks: they say where the rest lies.
    pub fn of(source: &'s S) -> Self {
        Self { source, superblocks: Superblocks::read(source) }
    }

    /// Both superblocks, whether they are whole or not; the one that counts says so.
    pub fn superblocks(&self) -> Vec<Part> {
        let chosen = self.superblocks.chosen().map(|(index, _)| index);
        let parts = self.superblocks.found.iter().enumerate().map(|(index, found)| {
            let place = SUPERBLOCKS[index]..SUPERBLOCKS[index] + SUPERBLOCK_BYTES as u64;
            let part = Part::new("superblock").at(place);
            match found {
                Ok(superblock) => superblock_part(part, superblock).with("counts", Value::Flag(chosen == Some(index))),
                Err(why) => part.wrong(why_not(why)),
            }
        });
        parts.collect()
    }

    /// Calls `take` with each record of the log that counts, then with one part for its end: what is there instead of a
    /// record, and what lies behind.
    pub fn log(&self, mut take: impl FnMut(Part)) {
        let Some((_, superblock)) = self.superblocks.chosen() else { return };
        let log = match Log::read(self.source, superblock) {
            Ok(log) => log,
            Err(why) => return take(Part::new("log").at(LOG_START..LOG_START + superblock.log_len).wrong(why)),
        };
        let end = log.replay(superblock.replay_from, |record| take(record_part(superblock, record)));
        let mut part = Part::new("end").at(places(superblock, end, 0)[0].clone()).number("position", end);
        let End { torn, behind, durable, later } = log.end(end);
        if let Some(behind) = behind {
            part = part.number("behind", behind.count).number("first", behind.first);
        }
        if let Some(later) = later {
            part = part.number("later", later.count).number("first", later.first);
        }
        part.wrong = match () {
            () if durable.is_some() => Some(format!("it was durable up to {}", durable.unwrap_or_default())),
            () if behind.is_some() => Some("whole records lie behind".into()),
            () if torn => Some("a record that is not whole is there".into()),
            () => None,
        };
        take(part);
    }

    /// Calls `take` with each chunk of the checkpoint, then with each item.
    pub fn checkpoint(&self, mut take: impl FnMut(Part)) {
        let Some((_, superblock)) = self.superblocks.chosen() else { return };
        let mut findings = Findings::default();
        let checkpoint = Checkpoint::read(self.source, superblock, &mut findings);
        for (index, chunk) in checkpoint.chunks.iter().enumerate() {
            let part = Part::new("chunk").at(superblock.block.to_bytes(&chunk.blocks)).number("index", index as u64);
            let part = part.number("block", chunk.blocks.start).number("blocks", chunk.blocks.end - chunk.blocks.start);
            let part = part.number("bytes", chunk.items.len() as u64);
            take(match chunk.damage {
                Some(why) => part.wrong(why),
                None => part,
            });
        }
        let unread = findings.listed().iter().filter(|_| checkpoint.chunks.iter().all(|chunk| chunk.damage.is_none()));
        unread.for_each(|finding| take(Part::new("chunk").wrong(finding.to_string())));
        let mut reader = Reader::new(&checkpoint.items);
        while !reader.is_empty() {
            let at = (checkpoint.items.len() - reader.left()) as u64;
            match Item::read(&mut reader).and_then(item_part) {
                Ok(part) => take(part),
                Err(why) => return take(Part::new("item").number("at", at).wrong(why.0)),
            }
        }
    }

    /// A node as it is by checkpoint and log, then the items and records that speak of it, with those parts alone that do.
    pub fn node(&self, node: u64, mut take: impl FnMut(Part)) {
        let Some((_, superblock)) = self.superblocks.chosen() else { return };
        let (mut findings, mut state) = (Findings::default(), State::default());
        let checkpoint = Checkpoint::read(self.source, superblock, &mut findings);
        state.take_items(&checkpoint.items, superblock, &mut findings);
        if let Ok(log) = Log::read(self.source, superblock) {
            log.replay(superblock.replay_from, |record| state.take_record(record, &mut findings));
        }
        take(node_part(&state, node));
        self.checkpoint(|part| part.about(node).into_iter().for_each(&mut take));
        self.log(|part| part.about(node).into_iter().for_each(&mut take));
    }
}

fn superblock_part(part: Part, superblock: &Superblock) -> Part {
    let place = superblock.checkpoint;
    part.with("pool", Value::Id(superblock.pool))
        .number("generation", superblock.generation)
        .number("epoch", superblock.epoch)
        .number("len", superblock.len)
        .number("block", superblock.block.bytes())
        .number("log_len", superblock.log_len)
        .number("replay_from", superblock.replay_from)
        .number("checkpoint_block", place.block)
        .number("checkpoint_blocks", place.blocks)
        .number("checkpoint_bytes", place.bytes)
        .number("checkpoint_nodes", place.nodes)
        .number("last_node", superblock.last_node)
        .with("boot", Value::Id(superblock.boot))
        .with("area_needed", Value::Flag(superblock.area_needed))
}

fn record_part(superblock: &Superblock, record: &Record<'_>) -> Part {
    let [place, _] = places(superblock, record.position, record.end - record.position);
    let part = Part::new("record").at(place).number("position", record.position);
    let part = part.number("bytes", record.end - record.position).number("epoch", superblock.epoch);
    let mut part = part.number("durable", record.durable).number("time", record.time);
    for entry in record.entries() {
        part.parts.push(match entry {
            Ok(entry) => entry_part(entry),
            Err(why) => Part::new("entry").wrong(why.0),
        });
    }
    part
}

fn entry_part(entry: Entry<'_>) -> Part {
    match entry {
        Entry::Make { node, made } => {
            let part = Part::new("make").number("node", node);
            match made {
                Made::File => part.text("kind", b"file"),
                Made::Directory => part.text("kind", b"directory"),
                Made::Symlink(target) => part.text("kind", b"symlink").text("target", target),
                Made::Special(special) => special_part(part, special),
            }
        }
        Entry::End { node } => Part::new("end").number("node", node),
        Entry::Name { dir, name, node } => Part::new("name").number("dir", dir).text("name", name).number("node", node),
        Entry::Unname { dir, name } => Part::new("unname").number("dir", dir).text("name", name),
        Entry::Length { node, len } => Part::new("length").number("node", node).number("len", len),
        Entry::Put { node, at, block, len, written } => {
            let part = Part::new("put").number("node", node).number("at", at).number("block", block);
            part.number("len", len).with("written", Value::Flag(written))
        }
        Entry::Take { node, at, len } => Part::new("take").number("node", node).number("at", at).number("len", len),
        Entry::Mark { node, at, len, written } => {
            let part = Part::new("mark").number("node", node).number("at", at).number("len", len);
            part.with("written", Value::Flag(written))
        }
        Entry::Shift { node, from, by } => {
            Part::new("shift").number("node", node).number("from", from).with("by", Value::Signed(by))
        }
        Entry::Touch { node } => Part::new("touch").number("node", node),
        Entry::Set { node, settings } => settings_part(Part::new("set").number("node", node), &settings),
        Entry::Extend { node, name, value } => {
            let part = Part::new(if value.is_some() { "extend" } else { "unextend" }).number("node", node);
            value.into_iter().fold(part.text("name", name), |part, value| part.text("value", value))
        }
    }
}

fn item_part(item: Item<'_>) -> Decoded<Part> {
    Ok(match item {
        Item::File { node, attributes, len, position, extents } => {
            let part = attributes_part(Part::new("file").number("node", node), &attributes).number("len", len);
            Part { parts: extent_parts(&extents), ..part.number("position", position) }
        }
        Item::Directory { node, attributes } => {
            attributes_part(Part::new("directory").number("node", node), &attributes)
        }
        Item::Symlink { node, attributes, target } => {
            attributes_part(Part::new("symlink").number("node", node), &attributes).text("target", target)
        }
        Item::Special { node, attributes, special } => {
            special_part(attributes_part(Part::new("special").number("node", node), &attributes), special)
        }
        Item::Names { dir, names } => {
            let name = |read: Decoded<(&[u8], u64)>| {
                read.map(|(name, node)| Part::new("name").text("name", name).number("node", node))
            };
            let parts = names.map(name).collect::<Decoded<_>>()?;
            Part { parts, ..Part::new("names").number("dir", dir) }
        }
    })
}

/// The times of a node, and what else it has.
fn attributes_part(part: Part, attributes: &Attributes) -> Part {
    let part = part.number("modified", attributes.modified);
    let part = match attributes.changed == attributes.modified {
        true => part,
        false => part.number("changed", attributes.changed),
    };
    let Some(more) = &attributes.more else { return part };
    more.extended.iter().fold(settings_part(part, &more.settings()), |mut part, (name, value)| {
        part.parts.push(Part::new("extended").text("name", name).text("value", value));
        part
    })
}

fn settings_part(part: Part, settings: &Settings) -> Part {
    let Settings { modified, accessed, mode, uid, gid } = *settings;
    let [mode, uid, gid] = [mode, uid, gid].map(|number| number.map(u64::from));
    let fields = [("modified", modified), ("accessed", accessed), ("mode", mode), ("uid", uid), ("gid", gid)];
    fields.into_iter().fold(part, |part, (name, number)| match number {
        Some(number) => part.number(name, number),
        None => part,
    })
}

fn special_part(part: Part, special: Special) -> Part {
    let part = part.text("kind", kind_name(FileKind::Special(special)).as_bytes());
    match special {
        Special::Pipe | Special::Socket => part,
        Special::CharDevice(device) | Special::BlockDevice(device) => part.number("device", device),
    }
}

fn extent_parts(extents: &ExtentMap) -> Vec<Part> {
    let part = |(at, run): (u64, crate::extents::Run)| {
        let part = Part::new("run").number("at", at).number("block", run.block).number("len", run.len);
        part.with("written", Value::Flag(run.state == BlockState::Written))
    };
    extents.runs().map(part).collect()
}

fn node_part(state: &State, id: u64) -> Part {
    let part = Part::new("node").number("node", id);
    let Some(node) = state.nodes.get(&id) else { return part.wrong("it is not there") };
    let part = attributes_part(part.text("kind", kind_name(node.kind()).as_bytes()), &node.attributes);
    let mut part = match &node.body {
        Body::File(file) => Part { parts: extent_parts(&file.extents), ..part.number("len", file.len) },
        Body::Symlink(target) => part.text("target", target),
        Body::Special(special) => special_part(part, *special),
        Body::Directory(names) => {
            let name = |name: &[u8], node| Part::new("name").text("name", name).number("node", node);
            Part { parts: names.iter().map(|(text, node)| name(text, *node)).collect(), ..part }
        }
    };
    for (dir, names) in state.directories() {
        for (name, _) in names.iter().filter(|(_, node)| **node == id) {
            part.parts.push(Part::new("named").number("dir", dir).text("name", name));
        }
    }
    part
}
