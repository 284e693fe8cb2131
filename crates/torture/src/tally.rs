//! What was done, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A kind of operation that frees or moves blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OperationKind {
    /// A file is cut.
    Truncate,
    /// A hole is punched.
    Punch,
    /// A range is zeroed, and keeps blocks.
    Zero,
    /// A range is taken out, what follows moves down.
    Collapse,
    /// A hole is put in, what follows moves up.
    Insert,
    /// Two ranges are exchanged, in one file or between two.
    Exchange,
    /// A name goes, and its file with it; another file gets the name.
    Unlink,
    /// A file takes another one's name, and the other goes.
    RenameOver,
    /// A reservation is dropped before it has a name.
    ReservationDropped,
    /// A reservation takes the name of a file, which goes.
    PublishedOver,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Truncate,
        Self::Punch,
        Self::Zero,
        Self::Collapse,
        Self::Insert,
        Self::Exchange,
        Self::Unlink,
        Self::RenameOver,
        Self::ReservationDropped,
        Self::PublishedOver,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::Punch => "punch",
            Self::Zero => "zero",
            Self::Collapse => "collapse",
            Self::Insert => "insert",
            Self::Exchange => "exchange",
            Self::Unlink => "unlink",
            Self::RenameOver => "rename over",
            Self::ReservationDropped => "reservation dropped",
            Self::PublishedOver => "published over",
        }
    }
}

/// How often one kind of operation was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct OperationCounts {
    /// Made.
    pub made: u64,
    /// Made, and a transfer was in flight in its range when it began.
    pub raced: u64,
    /// Not made, and changed nothing: busy, too late, no space.
    pub refused: u64,
}

/// A counter.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        // ORDER: relaxed; counts for people, which pass nothing on.
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn raise(&self, to: u64) {
        // ORDER: as above.
        self.0.fetch_max(to, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Counts {
    made: Count,
    raced: Count,
    refused: Count,
}

#[derive(Default)]
pub(crate) struct Tally {
    operations: [Counts; OperationKind::ALL.len()],
    /// Transfers into files, and out of them.
    pub(crate) transfers_in: Count,
    pub(crate) transfers_out: Count,
    pub(crate) bytes: Count,
    /// Copies by the host.
    pub(crate) copies: Count,
    /// Newcomers that were seen to be kept out (G3).
    pub(crate) kept_out: Count,
    /// Tries with nobody in the way, which were let through (G5).
    pub(crate) let_through: Count,
    /// Pins that grew while an operation waited for them (G4).
    pub(crate) extended: Count,
    /// Operations that were told that they would wait for their own thread, since a completion that another thread takes
    /// had just come.
    pub(crate) own_thread: Count,
    /// Anything that found no space.
    pub(crate) no_space: Count,
    longest_us: Count,
}

impl Tally {
    pub(crate) fn made(&self, kind: OperationKind, is_raced: bool, took: Duration) {
        let counts = &self.operations[kind as usize];
        counts.made.add(1);
        counts.raced.add(u64::from(is_raced));
        self.longest_us.raise(took.as_micros() as u64);
    }

    pub(crate) fn refused(&self, kind: OperationKind) {
        self.operations[kind as usize].refused.add(1);
    }

    pub(crate) fn of(&self, kind: OperationKind) -> OperationCounts {
        let Counts { made, raced, refused } = &self.operations[kind as usize];
        OperationCounts { made: made.get(), raced: raced.get(), refused: refused.get() }
    }

    /// Made, and raced.
    pub(crate) fn operations(&self) -> (u64, u64) {
        let all = OperationKind::ALL.map(|kind| self.of(kind));
        (all.iter().map(|counts| counts.made).sum(), all.iter().map(|counts| counts.raced).sum())
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.get())
    }
}
