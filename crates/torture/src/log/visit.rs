//! A visit: one stay of a device or of the host in a range of a file, from the call to the end.

use super::legal::{IN_FLIGHT, Legal, Time};
use super::operations::Operation;
use crate::sectors::{SECTOR, Sectors};
use crate::stamp::{Stamp, Word, Writer};

/// Names a visit of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(pub(super) Time);

pub(super) struct Visit {
    /// When it was asked for; its name too.
    pub(super) called: Time,
    pub(super) by: Writer,
    /// The number of the file's stamps.
    id: u16,
    pub(super) sectors: Sectors,
    /// Those of them whose blocks may still be the file's: the others left under it, and are parked.
    pub(super) attached: Sectors,
    /// Those of them where no operation may have come after it: their blocks are the file's, unless one that came later
    /// took them, and what it writes stays.
    pub(super) certain: Sectors,
    /// When the last of them left under it.
    pub(super) detached: Time,
    /// When it was let in.
    pub(super) entered: Option<Time>,
    /// Whether its device has it.
    pub(super) is_submitted: bool,
    /// When its completion was seen, or the copy returned.
    pub(super) ended: Option<Time>,
    /// Whether it has left, its pin with it.
    pub(super) is_gone: bool,
    pub(super) met: Met,
    pub(super) role: Role,
}

pub(super) enum Role {
    Writes {
        generation: u8,
    },
    Sees(Sight),
    /// It is there, and does nothing to the bytes.
    Touches,
}

/// What somebody who reads may see, and what he saw.
pub(super) struct Sight {
    /// For each sector of the visit.
    pub(super) legal: Vec<Legal>,
    /// What was seen. Judged once every operation that ran meanwhile has returned.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Operations whose ranges a visit met.
#[derive(Clone, Copy, Default)]
pub(super) struct Met {
    /// One of them.
    pub(super) operation: Option<Time>,
    /// Whether there were others.
    pub(super) several: bool,
    /// Whether one ran that may have changed the file's length, wherever.
    pub(super) length: bool,
    /// Whether the visit reached past the end of the file when it was asked for.
    pub(super) end: bool,
}

impl Met {
    pub(super) fn note(&mut self, operation: Time) {
        self.several |= self.operation.is_some_and(|other| other != operation);
        self.operation = Some(operation);
    }
}

impl Visit {
    pub(super) fn new(called: Time, by: Writer, id: u16, sectors: Sectors, role: Role) -> Self {
        Self {
            called,
            by,
            id,
            sectors,
            attached: sectors,
            certain: sectors,
            detached: 0,
            entered: None,
            is_submitted: false,
            ended: None,
            is_gone: false,
            met: Met::default(),
            role,
        }
    }

    pub(super) fn is_device(&self) -> bool {
        self.by == Writer::Device
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.role, Role::Writes { .. })
    }

    pub(super) fn is_in(&self) -> bool {
        self.entered.is_some() && self.ended.is_none()
    }

    /// Whether it was in for certain before the operation began. A copy is asked for and over; nobody sees when in
    /// between it is in.
    pub(super) fn was_before(&self, operation: &Operation) -> bool {
        let since = if self.is_device() { self.entered } else { self.ended };
        since.is_some_and(|since| since < operation.began)
    }

    /// Whether it was over before the operation began.
    pub(super) fn was_over_before(&self, operation: &Operation) -> bool {
        self.ended.is_some_and(|ended| ended < operation.began)
    }

    /// Whether a break of that range may have to wait for it.
    pub(super) fn may_be_in_the_way_of(&self, breaks: Sectors) -> bool {
        self.is_device() && self.is_in() && self.attached.meets(breaks)
    }

    /// Whether a break of that range has to wait for it: a transfer that is in, with blocks that are the file's.
    pub(super) fn is_in_the_way_of(&self, breaks: Sectors) -> bool {
        self.may_be_in_the_way_of(breaks & self.certain)
    }

    /// What it writes into a sector.
    pub(super) fn word(&self, sector: usize) -> Option<Word> {
        let Role::Writes { generation } = self.role else { return None };
        Some(Stamp { writer: self.by, id: self.id, sector: sector as u16, generation }.word())
    }

    /// Its sectors with what it writes there, where their blocks are the file's.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, Word)> + '_ {
        let sectors = if self.is_write() { self.sectors & self.attached } else { Sectors::NONE };
        sectors.iter().filter_map(|sector| Some((sector, self.word(sector)?)))
    }

    /// The time that its words are given.
    pub(super) fn last(&self) -> Time {
        self.ended.unwrap_or(IN_FLIGHT)
    }

    /// Who reads may see this too, by something that began at `since`: unless the sector's block had left under him by then.
    pub(super) fn may_see(&mut self, sector: usize, legal: &Legal, since: Time) {
        let is_there = self.sectors.has(sector) && (self.attached.has(sector) || since <= self.detached);
        if is_there && let Role::Sees(sight) = &mut self.role {
            let first = self.sectors.iter().next().unwrap_or(0);
            sight.legal[sector - first].add_all(legal);
        }
    }
}

impl Sight {
    pub(super) fn of(legal: Vec<Legal>) -> Self {
        Self { legal, bytes: None }
    }

    /// The first sector that holds what it may not, and how many do.
    pub(super) fn faults(&self) -> Option<Fault<'_>> {
        let sectors = self.bytes.as_deref()?.chunks_exact(SECTOR as usize);
        let mut faults = self.legal.iter().zip(sectors).enumerate().filter_map(|(index, (legal, bytes))| {
            let found = Word::all_in(bytes).find(|word| !legal.allows(*word))?;
            Some((index, found, legal))
        });
        let (index, found, legal) = faults.next()?;
        Some(Fault { index, found, legal, more: faults.count() })
    }

    /// How many sectors were seen.
    pub(super) fn sectors(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64 / SECTOR)
    }
}

/// A sector that holds what it may not.
pub(super) struct Fault<'s> {
    pub(super) index: usize,
    pub(super) found: Word,
    pub(super) legal: &'s Legal,
    pub(super) more: usize,
}
