//! Findings: what is not as it should be, or worth knowing; each in one line that says what, where, and what to do.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use pinfold_layout::PinInfo;

use crate::node::FileKind;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// It is as it may be: what an owner that works, or one that died, leaves.
    Note,
    /// Nothing is lost by it now.
    Warning,
    /// It must not be: something is lost, or will be.
    Error,
}

/// What helps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Remedy {
    /// Nothing is needed.
    Nothing,
    /// The pool's next opening sees to it.
    Opening,
    /// [`Repair`](super::Repair) mends it.
    Repair,
    /// Nothing here: what is lost cannot be had again by looking at the medium alone, or must not be touched now.
    Beyond,
}

/// To whom blocks belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Superblocks and log.
    Reserved,
    /// The checkpoint.
    Checkpoint,
    /// A file.
    File {
        /// Its node.
        node: u64,
        /// The file's block that the first of them is.
        at: u64,
    },
    /// A file that they left, while a device may reach them.
    Parked {
        /// Its node.
        node: u64,
        /// The file's block that the first of them was.
        at: u64,
    },
}

/// What a check found.
///
/// `place`s are bytes of the pool, `position`s bytes of the log since it began, `blocks` blocks of the pool (of a file where
/// `at`, a block of the file, stands beside them); `node` and `dir` are numbers of nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "fields are called what they are, and their units are above")]
pub enum Finding {
    /// Neither superblock is one.
    NotAPool,
    /// A superblock cannot be used.
    SuperblockDamaged { place: u64, why: String, other_is_whole: bool },
    /// A superblock was written by another version.
    SuperblockVersion { place: u64, found: u32 },
    /// The two superblocks are of two pools.
    SuperblockOfAnotherPool { place: u64 },
    /// The two superblocks say different things under one number.
    SuperblocksOfOneGeneration { generation: u64 },
    /// One superblock is older: whoever wrote them was interrupted between the two.
    SuperblockBehind { place: u64 },
    /// The older superblock does not come before the younger one.
    SuperblocksDisagree { what: &'static str },
    /// What holds the pool is shorter than it.
    Cut { len: u64, have: u64 },
    /// The medium could not be read.
    Unreadable { what: &'static str, place: u64, why: String },
    /// A chunk of the checkpoint cannot be used.
    ChunkDamaged { index: u64, block: u64, why: &'static str },
    /// The checkpoint has more or fewer bytes than the superblock says.
    CheckpointBytes { says: u64, has: u64 },
    /// The checkpoint has more or fewer nodes than the superblock says.
    CheckpointNodes { says: u64, has: u64 },
    /// An item of the checkpoint cannot be read, and nothing behind it.
    ItemGarbled { at: u64, why: &'static str },
    /// The checkpoint has a node twice.
    NodeTwice { node: u64 },
    /// A part of a record cannot be read.
    EntryGarbled { position: u64, why: &'static str },
    /// A record says what cannot be.
    EntryImpossible { position: u64, node: u64, why: &'static str },
    /// Records speak of a node that is not there, and does not end.
    NodeAbsent { position: u64, node: u64 },
    /// The log ends with a record that is not whole.
    TornTail { position: u64 },
    /// Whole records lie behind the log's end. They were not durable.
    RecordsBehind { end: u64, first: u64, count: u64 },
    /// The log ends where it was longer once.
    LogDamaged { end: u64, durable: u64 },
    /// A later opening's records lie in the log.
    LaterOpening { end: u64, first: u64, count: u64 },
    /// The checkpoint has a node as of a position that the log does not reach.
    NodeAhead { node: u64, position: u64, end: u64 },
    /// No node has such a number.
    BadId { node: u64 },
    /// A node's number is larger than the largest that was given.
    IdPastLast { node: u64, last: u64 },
    /// There is no root directory.
    NoRoot,
    /// The root is no directory.
    RootNotDirectory,
    /// A name leads to a node that is not there.
    NameToNowhere { dir: u64, name: Vec<u8>, node: u64 },
    /// A name that no file can have.
    BadName { dir: u64, name: Vec<u8>, node: u64 },
    /// A directory has a name twice.
    NameTwice { dir: u64, name: Vec<u8>, nodes: [u64; 2] },
    /// A name stands in what is no directory.
    NameInNoDirectory { dir: u64, name: Vec<u8>, node: u64 },
    /// A directory has two names.
    DirectoryTwice { node: u64, kept: (u64, Vec<u8>), other: (u64, Vec<u8>) },
    /// The root has a name.
    RootNamed { dir: u64, name: Vec<u8> },
    /// A directory with names in it has none itself.
    Unreachable { node: u64, names: u64 },
    /// Directories lie in one another, and are not reached from the root.
    Cycle { nodes: Vec<u64> },
    /// A node has no name. It ends when the pool is opened next.
    Orphan { node: u64, kind: FileKind, blocks: u64 },
    /// A symbolic link leads to what is no path.
    BadTarget { node: u64, target: Vec<u8> },
    /// A file is longer than a file can be.
    TooLong { node: u64, len: u64 },
    /// A file has blocks where no file can.
    PastLargest { node: u64, at: u64, blocks: u64 },
    /// Blocks behind the end of a file hold bytes that are not zero: it would show them as it grows.
    BytesPastEnd { node: u64, at: u64, blocks: u64 },
    /// Blocks lie past the pool's last one.
    OutOfPool { blocks: Range<u64>, owner: Owner, pool: u64 },
    /// Blocks belong to two.
    Shared { blocks: Range<u64>, one: Owner, other: Owner },
    /// The layout area cannot be read.
    AreaUnreadable { why: String },
    /// Devices of this boot may reach the pool, and the layout area that would know what is not there.
    AreaLost,
    /// The layout area had no place for some of what is parked.
    ParkedLost { count: u64 },
    /// A holder's segment is missing or cut.
    SegmentUnknown { path: PathBuf },
    /// A device's pin reaches file blocks that are neither in its file nor parked.
    PinOnNothing { pin: Box<PinInfo>, blocks: Range<u64> },
    /// Pins are in quarantine.
    Quarantine { pins: u64 },
    /// A process owns the pool.
    Owned { pid: u32 },
    /// The pool changed all the while it was looked at, so that nothing is known.
    Moving,
    /// A control socket that nobody serves.
    StaleSocket { path: PathBuf },
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        use Finding::*;
        match self {
            SuperblockBehind { .. }
            | TornTail { .. }
            | RecordsBehind { .. }
            | Orphan { .. }
            | Quarantine { .. }
            | Owned { .. }
            | StaleSocket { .. } => Severity::Note,
            SuperblockDamaged { other_is_whole: true, .. }
            | SuperblocksDisagree { .. }
            | Moving
            | IdPastLast { .. }
            | BytesPastEnd { .. }
            | ParkedLost { .. }
            | PinOnNothing { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        use Finding::*;
        match self {
            Quarantine { .. } | Owned { .. } | Moving | ParkedLost { .. } | PinOnNothing { .. } => Remedy::Nothing,
            SuperblockBehind { .. } | TornTail { .. } | RecordsBehind { .. } | Orphan { .. } | IdPastLast { .. } => {
                Remedy::Opening
            }
            SuperblockDamaged { other_is_whole: true, .. }
            | SuperblocksDisagree { .. }
            | NoRoot
            | NameToNowhere { .. }
            | BadName { .. }
            | NameTwice { .. }
            | NameInNoDirectory { .. }
            | DirectoryTwice { .. }
            | RootNamed { .. }
            | Unreachable { .. }
            | Cycle { .. }
            | BadTarget { .. }
            | TooLong { .. }
            | PastLargest { .. }
            | BytesPastEnd { .. }
            | OutOfPool { owner: Owner::File { .. }, .. }
            | StaleSocket { .. } => Remedy::Repair,
            Shared { one, other, .. } => match one.is_parked() || other.is_parked() {
                true => Remedy::Beyond,
                false => Remedy::Repair,
            },
            _ => Remedy::Beyond,
        }
    }

    /// Whether it says that names are not what they should be.
    pub(super) fn is_about_names(&self) -> bool {
        use Finding::*;
        matches!(
            self,
            NoRoot
                | NameToNowhere { .. }
                | BadName { .. }
                | NameTwice { .. }
                | NameInNoDirectory { .. }
                | DirectoryTwice { .. }
                | RootNamed { .. }
                | Unreachable { .. }
                | Cycle { .. }
        )
    }

    /// Whether it is about the superblocks alone.
    pub(super) fn is_about_superblocks(&self) -> bool {
        use Finding::*;
        matches!(self, SuperblockDamaged { .. } | SuperblocksDisagree { .. })
    }

    /// Whether it is about nodes, names or blocks.
    pub(super) fn is_about_state(&self) -> bool {
        !self.is_about_superblocks() && !matches!(self, Self::StaleSocket { .. })
    }

    /// The nodes that it speaks of.
    pub fn nodes(&self) -> Vec<u64> {
        use Finding::*;
        match self {
            NodeTwice { node }
            | EntryImpossible { node, .. }
            | NodeAhead { node, .. }
            | BadId { node }
            | IdPastLast { node, .. }
            | Unreachable { node, .. }
            | Orphan { node, .. }
            | BadTarget { node, .. }
            | TooLong { node, .. }
            | PastLargest { node, .. }
            | BytesPastEnd { node, .. } => vec![*node],
            NameToNowhere { dir, .. } | NameInNoDirectory { dir, .. } | RootNamed { dir, .. } => vec![*dir],
            BadName { dir, node, .. } => vec![*dir, *node],
            NameTwice { dir, nodes, .. } => vec![*dir, nodes[0], nodes[1]],
            DirectoryTwice { node, kept, other } => vec![*node, kept.0, other.0],
            Cycle { nodes } => nodes.clone(),
            OutOfPool { owner, .. } => owner.node().into_iter().collect(),
            Shared { one, other, .. } => one.node().into_iter().chain(other.node()).collect(),
            PinOnNothing { pin, .. } => vec![pin.object],
            _ => Vec::new(),
        }
    }
}

impl Owner {
    pub(super) fn is_parked(&self) -> bool {
        matches!(self, Self::Parked { .. })
    }

    fn node(&self) -> Option<u64> {
        match self {
            Self::File { node, .. } | Self::Parked { node, .. } => Some(*node),
            Self::Reserved | Self::Checkpoint => None,
        }
    }
}

impl Severity {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Remedy {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Opening => "opening",
            Self::Repair => "repair",
            Self::Beyond => "beyond",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved => f.write_str("superblocks and log"),
            Self::Checkpoint => f.write_str("the checkpoint"),
            Self::File { node, at } => write!(f, "node {node} from its block {at} on"),
            Self::Parked { node, at } => write!(f, "what left node {node} and is parked, from its block {at} on"),
        }
    }
}
