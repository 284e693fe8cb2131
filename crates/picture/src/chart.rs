//! What a picture is made of: plain data, that anybody can fill.

use std::ops::Range;
use std::sync::Arc;

/// A pool at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chart {
    /// What stands over the picture: the pool's path, say.
    pub title: String,
    /// Bytes of a block.
    pub block_size: u64,
    /// How many blocks the pool has.
    pub blocks: u64,
    /// What its blocks are, in any order. Blocks that none names are [`What::Unknown`]; a block that several name is the one's
    /// that begins first, and the picture says how many such blocks there are.
    pub stretches: Vec<Stretch>,
    /// Who pins which blocks, in any order. They lie over the stretches.
    pub pins: Vec<PinMark>,
}

/// Blocks in a row that are the same thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Which blocks of the pool.
    pub blocks: Range<u64>,
    /// What they are.
    pub what: What,
}

/// What a block is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The pool's own, in a word: `superblock`, `log`, `checkpoint`.
    Meta(&'static str),
    /// A file's.
    File {
        /// Which part of which file.
        of: Part,
        /// Whether it is set aside and holds no bytes yet.
        unwritten: bool,
    },
    /// Nobody's.
    Free,
    /// It has left its file, and is kept by pins that have a holder, or until its freeing is durable.
    Parked {
        /// Which part of which file it was.
        was: Part,
        /// Who or what keeps it. Pieces of one file about which the same is said are listed as one.
        by: Arc<str>,
    },
    /// It has left its file, and is kept by pins in quarantine.
    Quarantined {
        /// Which part of which file it was.
        was: Part,
        /// Who keeps it.
        by: Arc<str>,
    },
    /// Nobody said.
    Unknown,
}

/// A part of a file, from an offset on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What the file is called. Any text: the pictures replace what cannot be shown.
    pub name: Arc<str>,
    /// Which file it is, whatever its name. Its colour follows from this number.
    pub id: u64,
    /// Where in the file the stretch begins, in bytes.
    pub offset: u64,
}

/// A pin, and where its blocks are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinMark {
    /// Which blocks of the pool.
    pub blocks: Range<u64>,
    /// Who holds it.
    pub who: Arc<str>,
    /// Whether it has no holder any more.
    pub quarantined: bool,
}
