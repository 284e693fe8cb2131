//! What was found wrong, and when to stop looking.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lock::lock;

/// What kind of promise was broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ViolationKind {
    /// Bytes that had no business where they were found.
    Corruption,
    /// An operation returned while a transfer that it promised to wait for was in flight.
    TooEarly,
    /// A transfer got into a range that a break was waiting for.
    NotKeptOut,
    /// An operation was refused, and nobody was in its way.
    NotLetThrough,
    /// Something did not end.
    Hang,
    /// Something was not given back.
    Leak,
    /// What was done, or synced, is not there after the end of its process.
    Lost,
    /// The check of a pool found an error in it, or it could not be opened again.
    Damage,
    /// An error that no load of this kind explains.
    Unexplained,
}

impl ViolationKind {
    /// The guarantee that was broken, by its number.
    pub fn guarantee(self) -> &'static str {
        match self {
            Self::Corruption => "G1 or G10",
            Self::TooEarly | Self::Leak => "G1",
            Self::NotKeptOut => "G3",
            Self::NotLetThrough => "G5",
            Self::Hang => "G2 or G4",
            Self::Lost | Self::Damage => "G9",
            Self::Unexplained => "G6",
        }
    }

    /// In a word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Corruption => "corruption",
            Self::TooEarly => "too early",
            Self::NotKeptOut => "not kept out",
            Self::NotLetThrough => "not let through",
            Self::Hang => "hang",
            Self::Leak => "leak",
            Self::Lost => "lost",
            Self::Damage => "damage",
            Self::Unexplained => "unexplained",
        }
    }
}

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// Which.
    pub kind: ViolationKind,
    /// What was seen, and what should have been.
    pub what: String,
    /// How long after the start.
    pub after: Duration,
    /// For corruption, what last happened to that sector of the file: when by the file's own clock, to what that was called
    /// when, and what.
    pub history: Vec<String>,
}

impl Violation {
    pub(crate) fn to_json(&self) -> Value {
        let Self { kind, what, after, history } = self;
        let (guarantee, after) = (kind.guarantee(), after.as_secs_f64());
        json!({ "kind": kind.name(), "guarantee": guarantee, "what": what, "after_s": after, "history": history })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, what, after, history } = self;
        write!(f, "{} ({}) after {:.3} s: {what}", kind.name(), kind.guarantee(), after.as_secs_f64())?;
        history.iter().try_for_each(|line| write!(f, "\n      {line}"))
    }
}

/// So many are told in full; the others are counted.
const TOLD_MAX: usize = 16;

/// All that was found wrong in one run.
pub(crate) struct Findings {
    began: Instant,
    told: Mutex<Vec<Violation>>,
    count: AtomicU64,
    checked: AtomicU64,
    stop: AtomicBool,
    hangs: AtomicBool,
}

impl Findings {
    pub(crate) fn new() -> Self {
        let (told, count, checked, stop, hangs) = Default::default();
        Self { began: Instant::now(), told, count, checked, stop, hangs }
    }

    pub(crate) fn add(&self, kind: ViolationKind, what: String) {
        self.add_with(kind, what, Vec::new());
    }

    pub(crate) fn add_with(&self, kind: ViolationKind, what: String, history: Vec<String>) {
        let mut told = lock(&self.told);
        // ORDER: relaxed; a count for people, and the lock is held.
        self.count.fetch_add(1, Ordering::Relaxed);
        if told.len() < TOLD_MAX {
            told.push(Violation { kind, what, after: self.began.elapsed(), history });
        }
        if kind == ViolationKind::Hang {
            // ORDER: relaxed; as `stop`.
            self.hangs.store(true, Ordering::Relaxed);
            self.stop();
        }
        if told.len() == TOLD_MAX {
            self.stop();
        }
    }

    /// Whether anything hangs: then nobody waits for anything any more.
    pub(crate) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }

    /// Asks everybody to come to an end.
    pub(crate) fn stop(&self) {
        // ORDER: relaxed; it only says that it is time to end, and passes nothing on.
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// So many sectors were compared with what they may hold.
    pub(crate) fn checked(&self, sectors: u64) {
        // ORDER: relaxed; a count for people.
        self.checked.fetch_add(sectors, Ordering::Relaxed);
    }

    pub(crate) fn sectors_checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Those that are told in full.
    pub(crate) fn told(&self) -> Vec<Violation> {
        lock(&self.told).clone()
    }
}
