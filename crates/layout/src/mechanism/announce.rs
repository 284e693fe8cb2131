//! Announcements: which ranges running breaks are draining or closing, for everybody to read.
//!
//! Stays true  N1: an announcement is written before the layout word says that a break begins, and removed after the
//!                 word says that it committed. So a pin that reads the same generation before and after it reads
//!                 the announcements has read those of that generation.
//!             N2: a record is written under its own version, odd meanwhile. A record that is being written belongs
//!                 to a break whose word has not changed yet; that break will see the pin by itself.
//! Who may     the owner writes, under its `breaks` lock; pins read, and bound every loop by the table's size.

use crate::sync::Ordering;

use super::fences::{self, Site};
use super::header::Header;
use super::word::LayoutWord;

/// How far a break is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Courtesy: newcomers wait, everybody else goes on.
    Draining,
    /// Nobody gets in.
    Closing,
}

/// One announced range, as a pin reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    pub(crate) object: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) break_id: u64,
    pub(crate) generation: u64,
    pub(crate) phase: Phase,
    /// The thread that breaks, as numbered in the owner's process.
    pub(crate) thread: u32,
    pub(crate) since: u64,
}

impl Announced {
    pub(crate) fn meets(&self, object: u64, start: u64, end: u64) -> bool {
        self.object == object && self.start < end && start < self.end
    }
}

/// What the announcements say to a pin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Admission {
    /// Nothing is in the way.
    Pass,
    /// This is.
    InTheWay(Announced),
    /// The records changed while they were read; so has the word.
    LookAgain,
}

impl Header {
    /// Looks for an announcement of `object` that `stops` its reader.
    pub(crate) fn admission(&self, object: u64, stops: impl Fn(&Announced) -> bool) -> Admission {
        // ORDER: Acquire pairs with the Release store in `announce`. The word was read with Acquire after it.
        let used = self.prologue().announcements_used.load(Ordering::Acquire);
        let used = used.min(u64::from(self.geometry().announcements_max)) as u32;
        for index in 0..used {
            match self.announced(index, object) {
                Ok(Some(announced)) if stops(&announced) => return Admission::InTheWay(announced),
                Ok(_) => {}
                Err(Torn) => return Admission::LookAgain,
            }
        }
        Admission::Pass
    }

    /// The record at `index` if it is announced for `object`.
    fn announced(&self, index: u32, object: u64) -> Result<Option<Announced>, Torn> {
        let record = self.announcement(index);
        // ORDER: Acquire pairs with the Release store of the version at the end of `announce`.
        let version = record.version.load(Ordering::Acquire);
        if version % 2 == 1 || record.object.load(Ordering::Relaxed) != object {
            return Ok(None);
        }
        // ORDER: Acquire pairs with the Release store in `set_phase`; the rest is guarded by the version.
        let phase = record.phase.load(Ordering::Acquire);
        let announced = Announced {
            object,
            start: record.start.load(Ordering::Relaxed),
            end: record.end.load(Ordering::Relaxed),
            break_id: record.break_id.load(Ordering::Relaxed),
            generation: record.generation.load(Ordering::Relaxed),
            phase: if phase & 0xff == Phase::Closing as u64 { Phase::Closing } else { Phase::Draining },
            thread: (phase >> 8) as u32,
            since: record.since.load(Ordering::Relaxed),
        };
        // ORDER: pairs with the Release fence in `announce`, between the odd version and the new words.
        fences::local(Site::AnnounceReread, Ordering::Acquire);
        if record.version.load(Ordering::Relaxed) != version {
            return Err(Torn);
        }
        Ok(Some(announced))
    }

    /// Writes `announced` into the free record at `index` (owner).
    pub(crate) fn announce(&self, index: u32, announced: &Announced) {
        let record = self.announcement(index);
        let version = record.version.load(Ordering::Relaxed);
        debug_assert!(version.is_multiple_of(2), "the owner writes one record at a time");
        // ORDER: Release pairs with the Acquire load in `announced`: a pin that passes over the record because it is being
        // written sees in its word how far the break got that had the record before;
        // `loom::pin_meets_two_breaks_in_a_row` fails without.
        record.version.store(version.wrapping_add(1), Ordering::Release);
        // ORDER: pairs with the Acquire fence in `announced`: who reads a new word reads the odd version next.
        fences::local(Site::AnnounceWrite, Ordering::Release);
        record.start.store(announced.start, Ordering::Relaxed);
        record.end.store(announced.end, Ordering::Relaxed);
        record.break_id.store(announced.break_id, Ordering::Relaxed);
        record.generation.store(announced.generation, Ordering::Relaxed);
        record.phase.store(phase_word(announced.phase, announced.thread), Ordering::Relaxed);
        record.since.store(announced.since, Ordering::Relaxed);
        record.object.store(announced.object, Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire load of the version in `announced`.
        record.version.store(version.wrapping_add(2), Ordering::Release);
        let used = &self.prologue().announcements_used;
        if used.load(Ordering::Relaxed) <= u64::from(index) {
            // ORDER: Release pairs with the Acquire load in `admission`.
            used.store(u64::from(index) + 1, Ordering::Release);
        }
    }

    /// Moves an announced range to another phase (owner). The word is stepped next.
    pub(crate) fn set_phase(&self, index: u32, phase: Phase, generation: u64, thread: u32) {
        let record = self.announcement(index);
        record.generation.store(generation, Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire load in `announced`.
        record.phase.store(phase_word(phase, thread), Ordering::Release);
    }

    /// Takes an announced range back (owner). The word said so before, and is stepped once more next (N1).
    pub(crate) fn withdraw(&self, index: u32) {
        // ORDER: Release; what the break changed is seen by who sees it gone.
        self.announcement(index).object.store(0, Ordering::Release);
    }

    /// Every announced range, for listings.
    pub(crate) fn all_announced(&self) -> Vec<Announced> {
        let used = self.prologue().announcements_used.load(Ordering::Acquire);
        (0..used.min(u64::from(self.geometry().announcements_max)) as u32)
            .filter_map(|index| {
                let object = self.announcement(index).object.load(Ordering::Acquire);
                if object == 0 { None } else { self.announced(index, object).ok().flatten() }
            })
            .collect()
    }

    /// The layout word of a cell.
    #[inline]
    pub(crate) fn word(&self, cell: u32) -> LayoutWord {
        // ORDER: Acquire pairs with the Release stores in `step`: announcements and the caller's changed layout are
        // seen by who sees the generation.
        LayoutWord(self.cell(cell).word.load(Ordering::Acquire))
    }

    /// Stores a cell's next word (owner, under its `breaks` lock).
    pub(crate) fn step(&self, cell: u32, next: LayoutWord) {
        let high = &self.prologue().generation_high;
        if high.load(Ordering::Relaxed) < next.generation() {
            high.store(next.generation(), Ordering::Relaxed);
        }
        // ORDER: Release pairs with the Acquire load in `word`.
        self.cell(cell).word.store(next.0, Ordering::Release);
    }

    /// Raises a cell's `waited` (owner, under its `breaks` lock); it never goes back (H3).
    pub(crate) fn raise_waited(&self, cell: u32, generation: u64) {
        let waited = &self.cell(cell).waited;
        // ORDER: relaxed; the caller's full fence orders it against the scan, and the unpin's fence its clear
        // against the load there.
        if waited.load(Ordering::Relaxed) < generation {
            waited.store(generation, Ordering::Relaxed);
        }
    }
}

fn phase_word(phase: Phase, thread: u32) -> u64 {
    phase as u64 | u64::from(thread) << 8
}

/// A record changed while it was read.
struct Torn;
