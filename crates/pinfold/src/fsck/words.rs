//! Findings in words: one line each.

use std::fmt;

use super::finding::{Finding, Remedy};
use crate::node::{FileKind, Special};

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what(f)?;
        match self.advice() {
            "" => Ok(()),
            advice => write!(f, ": {advice}"),
        }
    }
}

/// A name as people can read it.
pub(super) fn quoted(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

/// What a kind of node is called.
pub(super) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
        FileKind::Special(Special::Pipe) => "named pipe",
        FileKind::Special(Special::Socket) => "socket",
        FileKind::Special(Special::CharDevice(_)) => "character device",
        FileKind::Special(Special::BlockDevice(_)) => "block device",
    }
}

impl Finding {
    /// Its name for programs, which does not change.
    pub fn kind(&self) -> &'static str {
        use Finding::*;
        match self {
            NotAPool => "not-a-pool",
            SuperblockDamaged { .. } => "superblock-damaged",
            SuperblockVersion { .. } => "superblock-version",
            SuperblockOfAnotherPool { .. } => "superblock-of-another-pool",
            SuperblocksOfOneGeneration { .. } => "superblocks-of-one-generation",
            SuperblockBehind { .. } => "superblock-behind",
            SuperblocksDisagree { .. } => "superblocks-disagree",
            Cut { .. } => "cut",
            Unreadable { .. } => "unreadable",
            ChunkDamaged { .. } => "chunk-damaged",
            CheckpointBytes { .. } => "checkpoint-bytes",
            CheckpointNodes { .. } => "checkpoint-nodes",
            ItemGarbled { .. } => "item-garbled",
            NodeTwice { .. } => "node-twice",
            EntryGarbled { .. } => "entry-garbled",
            EntryImpossible { .. } => "entry-impossible",
            NodeAbsent { .. } => "node-absent",
            TornTail { .. } => "torn-tail",
            RecordsBehind { .. } => "records-behind",
            LogDamaged { .. } => "log-damaged",
            LaterOpening { .. } => "later-opening",
            NodeAhead { .. } => "node-ahead",
            BadId { .. } => "bad-id",
            IdPastLast { .. } => "id-past-last",
            NoRoot => "no-root",
            RootNotDirectory => "root-not-directory",
            NameToNowhere { .. } => "name-to-nowhere",
            BadName { .. } => "bad-name",
            NameTwice { .. } => "name-twice",
            NameInNoDirectory { .. } => "name-in-no-directory",
            DirectoryTwice { .. } => "directory-twice",
            RootNamed { .. } => "root-named",
            Unreachable { .. } => "unreachable",
            Cycle { .. } => "cycle",
            Orphan { .. } => "orphan",
            BadTarget { .. } => "bad-target",
            TooLong { .. } => "too-long",
            PastLargest { .. } => "past-largest",
            BytesPastEnd { .. } => "bytes-past-end",
            OutOfPool { .. } => "out-of-pool",
            Shared { .. } => "shared",
            AreaUnreadable { .. } => "area-unreadable",
            AreaLost => "area-lost",
            ParkedLost { .. } => "parked-lost",
            SegmentUnknown { .. } => "segment-unknown",
            PinOnNothing { .. } => "pin-on-nothing",
            Quarantine { .. } => "quarantine",
            Owned { .. } => "owned",
            Moving => "moving",
            StaleSocket { .. } => "stale-socket",
        }
    }

    fn what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Finding::*;
        match self {
            NotAPool => write!(f, "there is no superblock: it is not a pool"),
            SuperblockDamaged { place, why, .. } => write!(f, "the superblock at byte {place}: {why}"),
            SuperblockVersion { place, found } => write!(f, "the superblock at byte {place} has format {found}"),
            SuperblockOfAnotherPool { place } => write!(f, "the superblock at byte {place} is of another pool"),
            SuperblocksOfOneGeneration { generation } => {
                write!(f, "both superblocks have generation {generation}, and they differ")
            }
            SuperblockBehind { place } => write!(f, "the superblock at byte {place} is one older than the other"),
            SuperblocksDisagree { what } => write!(f, "the two superblocks disagree: {what}"),
            Cut { len, have } => write!(f, "the pool has {len} bytes, and only {have} are there"),
            Unreadable { what, place, why } => write!(f, "{what} at byte {place} could not be read ({why})"),
            ChunkDamaged { index, block, why } => write!(f, "chunk {index} of the checkpoint, at block {block}, {why}"),
            CheckpointBytes { says, has } => {
                write!(f, "the checkpoint has {has} bytes, and its superblock says {says}")
            }
            CheckpointNodes { says, has } => {
                write!(f, "the checkpoint has {has} nodes, and its superblock says {says}")
            }
            ItemGarbled { at, why } => {
                write!(f, "the checkpoint cannot be read from its byte {at} on ({why})")
            }
            NodeTwice { node } => write!(f, "the checkpoint has node {node} twice"),
            EntryGarbled { position, why } => {
                write!(f, "the record at {position} of the log has a part that is none ({why})")
            }
            EntryImpossible { position, node, why } => {
                write!(f, "the record at {position} of the log says of node {node} what cannot be ({why})")
            }
            NodeAbsent { position, node } => {
                write!(f, "the record at {position} of the log speaks of node {node}, which is not there")
            }
            TornTail { position } => write!(f, "the last record of the log, at {position}, is not whole"),
            RecordsBehind { end, first, count } => {
                write!(f, "the log ends at {end}, and {count} whole records lie behind, the first at {first}")
            }
            LogDamaged { end, durable } => {
                write!(f, "the record at {end} of the log is not whole, and the log was durable up to {durable}")
            }
            LaterOpening { end, first, count } => {
                write!(f, "the log ends at {end}, and {count} records of a later opening follow, the first at {first}")
            }
            NodeAhead { node, position, end } => {
                write!(f, "the log ends at {end}, and the checkpoint has node {node} as of {position}")
            }
            BadId { node } => write!(f, "{node} is no number of a node"),
            IdPastLast { node, last } => {
                write!(f, "node {node} is in the checkpoint, whose largest number should be {last}")
            }
            NoRoot => write!(f, "there is no root directory"),
            RootNotDirectory => write!(f, "node 1, the root, is no directory"),
            NameToNowhere { dir, name, node } => {
                write!(f, "the name {} in node {dir} leads to node {node}, which is not there", quoted(name))
            }
            BadName { dir, name, .. } => write!(f, "the name {} in node {dir} cannot be one", quoted(name)),
            NameTwice { dir, name, nodes: [one, other] } => {
                write!(f, "node {dir} has the name {} twice, for node {one} and for node {other}", quoted(name))
            }
            NameInNoDirectory { dir, name, node } => {
                write!(f, "the name {} of node {node} stands in node {dir}, which is no directory", quoted(name))
            }
            DirectoryTwice { node, kept, other } => write!(
                f,
                "the directory {node} has two names, {} in node {} and {} in node {}",
                quoted(&kept.1),
                kept.0,
                quoted(&other.1),
                other.0
            ),
            RootNamed { dir, name } => write!(f, "the name {} in node {dir} leads to the root", quoted(name)),
            Unreachable { node, names } => write!(f, "the directory {node} has {names} names in it, and none itself"),
            Cycle { nodes } => write!(f, "the directories {nodes:?} lie in one another, and not in the root"),
            Orphan { node, kind, blocks } => {
                write!(f, "node {node}, a {} of {blocks} blocks, has no name", kind_name(*kind))
            }
            BadTarget { node, target } => {
                write!(f, "the symbolic link {node} leads to {}, which is no path", quoted(target))
            }
            TooLong { node, len } => write!(f, "node {node} has {len} bytes, more than a file can have"),
            PastLargest { node, at, blocks } => {
                write!(f, "node {node} has {blocks} blocks from its block {at} on, where no file can have any")
            }
            BytesPastEnd { node, at, blocks } => {
                write!(f, "node {node} has bytes behind its end, in its blocks {at}..{}", at.saturating_add(*blocks))
            }
            OutOfPool { blocks, owner, pool } => {
                write!(f, "blocks {blocks:?} of {owner} lie past the pool's {pool} blocks")
            }
            Shared { blocks, one, other } => {
                write!(f, "blocks {blocks:?} belong to {one}, and to {other} as well")
            }
            AreaUnreadable { why } => write!(f, "what devices reach is not known: {why}"),
            AreaLost => write!(f, "devices of this boot may reach the pool, and its layout area is not there"),
            ParkedLost { count } => write!(f, "{count} parked extents had no place in the layout area"),
            SegmentUnknown { path } => {
                write!(f, "{} is missing or cut: what its holder pinned is not known", path.display())
            }
            PinOnNothing { pin, blocks } => {
                write!(f, "{pin}, of which {blocks:?} are neither in the file nor parked")
            }
            Quarantine { pins } => write!(f, "{pins} pins are in quarantine, and keep what they reach"),
            Owned { pid } => write!(f, "process {pid} owns the pool; this is how it was at one moment"),
            Moving => write!(f, "the pool changed all the while it was looked at"),
            StaleSocket { path } => write!(f, "{} is a socket that no owner serves", path.display()),
        }
    }

    /// What to do, without a full stop; empty where there is nothing.
    fn advice(&self) -> &'static str {
        use Finding::*;
        match self {
            NotAPool => "is it the right file?",
            SuperblockDamaged { other_is_whole: true, .. } => {
                "the other one is whole, and a repair writes this one anew"
            }
            SuperblockDamaged { .. } => "get a copy of the pool from before",
            SuperblockVersion { .. } => "use the program that wrote it",
            SuperblockOfAnotherPool { .. } | SuperblocksOfOneGeneration { .. } => {
                "which one is meant cannot be told, so nothing is mended"
            }
            SuperblockBehind { .. } => "who wrote them was interrupted, and the next opening writes it",
            SuperblocksDisagree { .. } => "a repair writes the older one anew",
            Cut { .. } => "bring the rest back before anything else",
            Unreadable { .. } => "the medium fails; copy what can be read",
            ChunkDamaged { .. }
            | CheckpointBytes { .. }
            | CheckpointNodes { .. }
            | ItemGarbled { .. }
            | NodeTwice { .. } => "what it said is lost, so nothing is mended; get a copy of the pool from before",
            EntryGarbled { .. } | EntryImpossible { .. } | NodeAbsent { .. } => {
                "what came after it cannot be trusted, so nothing is mended; get a copy of the pool from before"
            }
            TornTail { .. } => "it does not count, and the next opening begins the log anew",
            RecordsBehind { .. } => "they were not durable when the power went, and do not count",
            LogDamaged { .. } | NodeAhead { .. } => {
                "what it said is lost, though it was synced, so nothing is mended; get a copy of the pool from before"
            }
            LaterOpening { .. } => {
                "a younger superblock is lost, and this is an old state of the pool: do not open it, get a copy from before"
            }
            BadId { .. } | RootNotDirectory => "nothing is mended",
            IdPastLast { .. } => "the next opening counts on from it",
            NoRoot => "a repair makes one, and puts what has no name into /lost+found",
            NameToNowhere { .. } | RootNamed { .. } => "a repair removes the name",
            BadName { .. } => "a repair moves what it leads to into /lost+found",
            NameTwice { .. } => {
                "a repair keeps the second, and moves the first into /lost+found if it has no other name"
            }
            NameInNoDirectory { .. } => "a repair moves it into /lost+found",
            DirectoryTwice { .. } => "a repair keeps the first",
            Unreachable { .. } => "a repair moves it into /lost+found",
            Cycle { .. } => "a repair moves the first of them into /lost+found",
            Orphan { .. } => "it ends when the pool is opened next",
            BadTarget { .. } => "a repair removes it",
            TooLong { .. } => "a repair cuts it where its blocks end",
            PastLargest { .. } => "a repair takes them out of it",
            BytesPastEnd { .. } => "a repair makes them read as zeros",
            OutOfPool { .. } | Shared { .. } => match self.remedy() {
                Remedy::Repair => self.advice_on_blocks(),
                _ => "a device may reach them, so nothing is mended; start the machine anew",
            },
            AreaUnreadable { .. } | AreaLost | SegmentUnknown { .. } => {
                "start the machine anew, and no device of this boot reaches anything"
            }
            ParkedLost { .. } => {
                "until the pins in quarantine are gone, memory that nobody accounts for may be reached"
            }
            PinOnNothing { .. } => "if a device has it, find out what it reaches",
            Quarantine { .. } | Owned { .. } => "",
            Moving => "nothing is known of it; look again when its owner has less to do",
            StaleSocket { .. } => "a repair removes it",
        }
    }

    fn advice_on_blocks(&self) -> &'static str {
        match self {
            Self::Shared { one: super::Owner::File { .. }, other: super::Owner::File { .. }, .. } => {
                "a repair gives the second a copy of its own; look at what both hold"
            }
            _ => "a repair takes them out of the file, which reads as zeros there",
        }
    }
}
