//! Attribution: who holds which bytes of which file, by what kind of pin, through which engine, since when, and whom
//! that delays (G7).

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::sync::boot_ms;

use super::pin::Access;
use super::quarantine::OperatorDecision;
use super::segment::{Flags, Reading, Segment};

/// One pin, as its holder published it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinInfo {
    /// Names the pin: for an operator's decision, and to tell it from a later one.
    pub id: PinId,
    /// The holder's process. Known from the invitation, not from what the holder wrote.
    pub pid: u32,
    /// The pinned object.
    pub object: u64,
    /// The pinned range.
    pub range: Range<u64>,
    /// What is done with it.
    pub access: Access,
    /// Whether a device moves the data.
    pub device: bool,
    /// Whether it stays until it is recalled.
    pub long_term: bool,
    /// Whether a break asked for it back.
    pub recalled: bool,
    /// The engine's name, if the pin has a label.
    pub engine: String,
    /// What the pin is for, if it has a label.
    pub label: String,
    /// How long it has been held, to a tenth of a second.
    pub held_for: Duration,
    /// Why the pin has no holder, if it has none (G8).
    pub quarantine: Option<Quarantined>,
}

impl PinInfo {
    /// What the slot itself says of a pin; what only the owner knows (recalled, holder gone) is left out.
    pub(crate) fn of(segment: &Segment, holder: u32, pid: u32, pin: &Reading) -> Self {
        let flags = pin.state.flags();
        let (engine, label) = match pin.label {
            0 => Default::default(),
            index => segment.read_label(index),
        };
        Self {
            id: PinId { holder, slot: pin.slot, version: pin.state.version() },
            pid,
            object: pin.object,
            range: pin.start..pin.end,
            access: if flags.has(Flags::WRITE) { Access::Write } else { Access::Read },
            device: flags.has(Flags::DEVICE),
            long_term: flags.has(Flags::LONG_TERM),
            recalled: false,
            engine,
            label,
            held_for: Duration::from_millis(boot_ms().saturating_sub(pin.tick)),
            quarantine: flags.has(Flags::ABANDONED).then_some(Quarantined::GivenUp),
        }
    }

    /// Who holds it, how, and since when, as a text without object and range: for who has better words for those.
    pub fn who(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.describe(f, format_args!("")))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, of_what: fmt::Arguments<'_>) -> fmt::Result {
        let kind = match (self.device, self.long_term) {
            (_, true) => "a long-term",
            (true, false) => "a device",
            (false, false) => "a CPU",
        };
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        write!(f, "process {} holds {kind} {access} pin{of_what}", self.pid)?;
        if !self.engine.is_empty() {
            write!(f, ", through {}", self.engine)?;
        }
        if !self.label.is_empty() {
            write!(f, ", for {}", self.label)?;
        }
        write!(f, ", for {:.1} s", self.held_for.as_secs_f64())?;
        match self.quarantine {
            Some(Quarantined::HolderGone) => write!(f, "; its process is gone: in quarantine as {}", self.id),
            Some(Quarantined::GivenUp) => write!(f, "; it was given up: in quarantine as {}", self.id),
            None => Ok(()),
        }
    }
}

/// Names one pin of the area.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PinId {
    /// Index of the holder's segment.
    pub holder: u32,
    /// Slot in it.
    pub slot: u32,
    /// Version of the slot.
    pub version: u64,
}

impl fmt::Display for PinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.holder, self.slot, self.version)
    }
}

/// Why a pin has no holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quarantined {
    /// The holder's process died.
    HolderGone,
    /// The holder gave the transfer up.
    GivenUp,
}

impl fmt::Display for PinInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, format_args!(" on object {} at {}..{}", self.object, self.range.start, self.range.end))
    }
}

/// One running break.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BreakInfo {
    /// Objects and ranges that it breaks.
    pub ranges: Vec<(u64, Range<u64>)>,
    /// Whether it has closed its ranges, or is about to.
    pub closing: bool,
    /// How long it has run.
    pub running_for: Duration,
    /// The pin it sleeps for, if it sleeps for one.
    pub behind: Option<PinInfo>,
}

/// One extent that left its file and is not free yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusyExtentInfo {
    /// The object it left.
    pub object: u64,
    /// Where it was.
    pub range: Range<u64>,
    /// The blocks, in the caller's numbers.
    pub blocks: Range<u64>,
    /// Whether its commit is durable.
    pub durable: bool,
    /// Who reaches it.
    pub pins: Vec<PinInfo>,
    /// How long it has been parked.
    pub parked_for: Duration,
}

/// Told what lasts: a break that sleeps, an extent that stays parked. Called on the area's sleeper thread.
pub trait Observer: Send + Sync {
    /// A break has slept for longer than the area's `lasting_after`. Called again whenever that time has doubled.
    fn break_lasts(&self, info: &BreakInfo);

    /// A parked extent has been kept by pins for longer than `lasting_after`. Called again whenever that has doubled.
    fn extent_lasts(&self, _info: &BusyExtentInfo) {}

    /// An operator released a pin from quarantine. Called on the operator's thread.
    fn pin_released(&self, _decision: &OperatorDecision, _pin: &PinInfo) {}
}
