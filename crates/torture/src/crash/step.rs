//! What the threads of a victim do: sequences that follow from a seed alone.
//!
//! A step says what is tried, not what comes of it: that depends on what is there. So whoever judges a victim afterwards
//! makes the same steps on a model, and need only be told how many of them there were.
//!
//! Stays true  P1: two walks of the same seed and thread are the same.
//!             P2: no more than [`FLIGHTS`] transfers of a thread are begun between two steps that wait for all of them.

use std::ops::Range;

use crate::device::Stamps;
use crate::sectors::{BLOCK, FILE_BLOCKS, FILE_SECTORS, SECTOR};
use crate::stamp::{Stamp, Writer};

/// Steps of one thread at most; then it waits for its end.
pub(super) const STEPS: usize = 4096;
/// Names of files that a thread has for itself.
const NAMES: u64 = 8;
/// Names of directories that it makes and removes.
const DIRS: u64 = 3;
/// How many transfers it begins before it waits for them.
const FLIGHTS: u32 = 24;
/// Threads at most: each has its part of the stamps.
pub(super) const THREADS_MAX: usize = 8;
/// What a device can bring in.
pub(super) const STAMPS: Stamps = Stamps { ids: 64, generations: 8 };

/// A file's name, one of those that a thread has for itself.
pub(super) type Name = u8;

/// One step. Places are counted in sectors or blocks of the file, as their names say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The host writes.
    Write {
        to: Name,
        sectors: Range<u64>,
    },
    /// A device begins to write.
    Bring {
        to: Name,
        blocks: Range<u64>,
    },
    /// Waits for all transfers that this thread has begun.
    Land,
    /// Blocks without a name are taken, and a device begins to write them all. What was reserved before is let go.
    Reserve {
        blocks: u64,
    },
    /// What is reserved gets a name, once it is written.
    Publish {
        to: Name,
    },
    Truncate {
        file: Name,
        sectors: u64,
    },
    Punch {
        file: Name,
        sectors: Range<u64>,
    },
    Zero {
        file: Name,
        sectors: Range<u64>,
    },
    Collapse {
        file: Name,
        blocks: Range<u64>,
    },
    Insert {
        file: Name,
        at: u64,
        blocks: u64,
    },
    /// Blocks of two files change places.
    Exchange {
        file: Name,
        other: Name,
        blocks: Range<u64>,
    },
    Unlink(Name),
    Rename {
        from: Name,
        to: Name,
    },
    /// Two names change places.
    Swap {
        one: Name,
        other: Name,
    },
    Link {
        from: Name,
        to: Name,
    },
    MakeDir(Name),
    RemoveDir(Name),
    /// The file stays open, whatever becomes of its name.
    Open(Name),
    /// What is open is closed.
    Close,
    Sync(Name),
    SyncAll,
    Checkpoint,
}

impl Step {
    /// Whether it may change the file of a name, or all files.
    pub(super) fn concerns(&self, name: Name) -> bool {
        match self {
            Self::Write { to, .. } | Self::Bring { to, .. } | Self::Publish { to } => *to == name,
            Self::Truncate { file, .. } | Self::Punch { file, .. } | Self::Zero { file, .. } => *file == name,
            Self::Collapse { file, .. } | Self::Insert { file, .. } => *file == name,
            Self::Exchange { file: one, other, .. } | Self::Swap { one, other } => [*one, *other].contains(&name),
            Self::Rename { from, to } | Self::Link { from, to } => [*from, *to].contains(&name),
            Self::Unlink(file) | Self::Sync(file) => *file == name,
            Self::Land | Self::SyncAll | Self::Checkpoint => true,
            Self::Reserve { .. } | Self::MakeDir(_) | Self::RemoveDir(_) | Self::Open(_) | Self::Close => false,
        }
    }
}

/// The steps of one thread.
pub(super) struct Steps {
    choices: fastrand::Rng,
    begun: u32,
    next: Option<Step>,
}

impl Steps {
    pub(super) fn of(seed: u64, thread: usize) -> impl Iterator<Item = Step> {
        let choices = fastrand::Rng::with_seed(seed.wrapping_add((thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self { choices, begun: 0, next: None }.take(STEPS)
    }

    fn name(&mut self) -> Name {
        self.choices.u64(0..NAMES) as Name
    }

    fn blocks(&mut self, longest: u64) -> Range<u64> {
        let len = self.choices.u64(1..=longest);
        let start = self.choices.u64(0..=FILE_BLOCKS - len);
        start..start + len
    }

    /// As often as not whole blocks.
    fn sectors(&mut self, longest: u64) -> Range<u64> {
        let blocks = self.blocks(longest);
        let mut sectors = blocks.start * BLOCK / SECTOR..blocks.end * BLOCK / SECTOR;
        if self.choices.bool() {
            sectors.start += self.choices.u64(0..8);
            sectors.end = (sectors.start + self.choices.u64(1..=longest * 8)).min(FILE_SECTORS as u64);
        }
        sectors
    }

    fn len(&mut self) -> u64 {
        let blocks = self.choices.u64(0..=FILE_BLOCKS) * BLOCK / SECTOR;
        let odd = if self.choices.u8(0..4) == 0 { self.choices.u64(0..8) } else { 0 };
        (blocks + odd).min(FILE_SECTORS as u64)
    }

    fn choose(&mut self) -> Step {
        match self.choices.u8(0..64) {
            0..12 => Step::Write { to: self.name(), sectors: self.sectors(4) },
            12..28 => Step::Bring { to: self.name(), blocks: self.blocks(8) },
            28 => Step::Land,
            29..32 => Step::Reserve { blocks: self.choices.u64(1..=FILE_BLOCKS) },
            32..34 => Step::Publish { to: self.name() },
            34..39 => Step::Truncate { file: self.name(), sectors: self.len() },
            39..42 => Step::Punch { file: self.name(), sectors: self.sectors(8) },
            42..44 => Step::Zero { file: self.name(), sectors: self.sectors(8) },
            44 => Step::Collapse { file: self.name(), blocks: self.blocks(4) },
            45 => Step::Insert { file: self.name(), at: self.choices.u64(0..8), blocks: self.choices.u64(1..5) },
            46 => Step::Exchange { file: self.name(), other: self.name(), blocks: self.blocks(4) },
            47..51 => Step::Unlink(self.name()),
            51..54 => Step::Rename { from: self.name(), to: self.name() },
            54 => Step::Swap { one: self.name(), other: self.name() },
            55 => Step::Link { from: self.name(), to: self.name() },
            56 => Step::MakeDir(self.choices.u64(0..DIRS) as Name),
            57 => Step::RemoveDir(self.choices.u64(0..DIRS) as Name),
            58..60 => Step::Open(self.name()),
            60 => Step::Close,
            61 => Step::Sync(self.name()),
            62 => Step::SyncAll,
            _ if self.choices.u8(0..16) == 0 => Step::Checkpoint,
            _ => Step::Sync(self.name()),
        }
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let step = self.next.take().unwrap_or_else(|| self.choose());
        match step {
            Step::Bring { .. } | Step::Reserve { .. } if self.begun == FLIGHTS => {
                self.begun = 0;
                self.next = Some(step);
                return Some(Step::Land);
            }
            Step::Bring { .. } | Step::Reserve { .. } => self.begun += 1,
            Step::Land => self.begun = 0,
            _ => {}
        }
        Some(step)
    }
}

/// What the `number`th step of a thread writes into sectors from `first` on: told from what all others wrote lately.
pub(super) fn stamp(writer: Writer, thread: usize, number: u64, first: u64) -> Stamp {
    let (thread, threads) = (thread as u64, THREADS_MAX as u64);
    let number = match writer {
        Writer::Device => {
            let each = u64::from(STAMPS.ids) * u64::from(STAMPS.generations) / threads;
            thread * each + number % each
        }
        Writer::Host => (number * threads + thread) % (1 << 24),
    };
    let (id, generation) = match writer {
        Writer::Device => (number % u64::from(STAMPS.ids), number / u64::from(STAMPS.ids)),
        Writer::Host => (number >> 8, number & 0xff),
    };
    Stamp { writer, id: id as u16, sector: first as u16, generation: generation as u8 }
}

/// The same for the sectors that follow.
pub(super) fn following(first: Stamp, sectors: u64) -> impl Iterator<Item = Stamp> {
    (0..sectors).map(move |step| Stamp { sector: first.sector + step as u16, ..first })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn steps_follow_from_seed_and_thread() {
        let steps = |seed, thread| Steps::of(seed, thread).collect::<Vec<_>>();
        assert_eq!(steps(7, 1), steps(7, 1));
        assert_ne!(steps(7, 1), steps(7, 2));
        assert_eq!(steps(8, 0).len(), STEPS);
    }

    #[test]
    fn no_more_is_begun_than_the_device_takes_before_it_is_waited_for() {
        let mut begun = 0;
        for step in Steps::of(1, 0) {
            match step {
                Step::Land => begun = 0,
                Step::Bring { .. } | Step::Reserve { .. } => begun += 1,
                _ => {}
            }
            assert!(begun <= FLIGHTS);
        }
    }

    #[test]
    fn what_is_written_differs_by_thread_and_step() {
        for (writer, steps) in [(Writer::Host, 4096), (Writer::Device, 64)] {
            let words = |thread| (0..steps).map(move |number| stamp(writer, thread, number, 3).word());
            let all: HashSet<_> = (0..THREADS_MAX).flat_map(words).collect();
            assert_eq!(all.len() as u64, steps * THREADS_MAX as u64);
        }
    }
}
