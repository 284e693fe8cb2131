//! What comes through a region's door: its calls, their two boundaries, and how the medium answers.

use std::fmt;
use std::ops::Range;

/// One call through the region's door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Bytes are handed over to become durable.
    WriteBack {
        /// How many such calls came before it.
        nth: u64,
        /// The bytes, counted from the start of the region.
        bytes: Range<u64>,
    },
    /// What was handed over before must be durable at its end.
    Drain {
        /// How many such calls came before it.
        nth: u64,
    },
}

/// On which side of a call's effect a boundary lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has done nothing yet.
    Before,
    /// It has done what it does, and its caller does not know yet.
    After,
}

/// An instant at which the power may fail: one side of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// How many boundaries came before it.
    pub number: u64,
    /// The call.
    pub call: Call,
    /// The side of its effect.
    pub side: Side,
}

/// How the medium answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does what it promises.
    Honest,
    /// It says that it did, and does nothing: as if the call were not in the program.
    Lie,
    /// It fails with this raw errno. What it should have made durable is given up: it may be on the medium or not, and
    /// flushing the same bytes again does nothing until they change (as Linux takes pages for clean that it failed to write).
    Fail(i32),
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteBack { nth, bytes } => write!(f, "write_back {nth} of bytes {}..{}", bytes.start, bytes.end),
            Self::Drain { nth } => write!(f, "drain {nth}"),
        }
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "boundary {}, {side} {}", self.number, self.call)
    }
}
