//! Reports: what is where, who holds it, whom that delays (G7). Computed when asked, not stored.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinfold_layout::{BreakInfo, PinInfo};

use crate::cold::Cold;
use crate::lock::read;
use crate::node::{FileId, Node};
use crate::pool::{Pool, Shared, path_of};

/// How much of a pool is used, and by what. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// One block.
    pub block_size: u64,
    /// All blocks.
    pub total: u64,
    /// Free blocks.
    pub free: u64,
    /// The longest run of free blocks.
    pub longest_free: u64,
    /// In files, those without a name and reservations included.
    pub in_files: u64,
    /// Has left its file, and is kept by pins that have a holder.
    pub parked: u64,
    /// The same, by pins in quarantine.
    pub quarantined: u64,
    /// Was freed and is not durable yet.
    pub not_durable: u64,
    /// How many files, directories and links there are.
    pub nodes: u64,
    /// How many pins are held.
    pub pins: u64,
}

/// A pin, and what it is a pin of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinReport {
    /// Which file.
    pub file: FileId,
    /// Under which name it was last linked, if it has one.
    pub path: Option<PathBuf>,
    /// Which bytes, in whole blocks.
    pub bytes: Range<u64>,
    /// Who holds it, how, since when.
    pub pin: PinInfo,
}

/// An operation that waits, or is about to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BreakReport {
    /// What it breaks: files and bytes.
    pub ranges: Vec<(FileId, Option<PathBuf>, Range<u64>)>,
    /// How long it has run.
    pub running_for: Duration,
    /// For whom it waits.
    pub behind: Option<PinReport>,
}

/// Blocks that have left their file and are not free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedReport {
    /// Which file they were of.
    pub file: FileId,
    /// Which bytes of it.
    pub bytes: Range<u64>,
    /// Where they are, in bytes of the region.
    pub place: Range<u64>,
    /// Who keeps them.
    pub pins: Vec<PinInfo>,
    /// For how long they have been parked.
    pub parked_for: Duration,
}

/// What a byte of the region is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// It belongs to a file.
    File {
        /// Which file.
        file: FileId,
        /// Under which name it was last linked, if it has one.
        path: Option<PathBuf>,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// It has left its file, and is not free.
    Parked(ParkedReport),
    /// It is free.
    Free,
    /// It was on its way from one to another while it was looked for, or lies past the last block.
    Unknown,
}

impl Pool {
    /// How much is used, and by what.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        shared.evict_late();
        shared.allocator.reap();
        let busy = shared.allocator.busy().stats();
        let (free, longest) = shared.allocator.free();
        let (cold, in_cold) = shared.nodes.cold().map_or((0, 0), Cold::count);
        let nodes: Vec<_> = shared.nodes.by_shard().flatten().collect();
        let in_warm = nodes.iter().filter_map(|node| node.file()).map(|body| read(&body.map).extents.blocks());
        let in_files: u64 = in_cold + in_warm.sum::<u64>();
        let bytes = |blocks: u64| shared.block.offset(blocks);
        Stats {
            block_size: shared.block.bytes(),
            total: bytes(shared.allocator.blocks()),
            free: bytes(free),
            longest_free: bytes(longest),
            in_files: bytes(in_files),
            parked: bytes(busy.pinned),
            quarantined: bytes(busy.quarantined),
            not_durable: bytes(busy.not_durable + shared.allocator.freed()),
            nodes: cold + nodes.len() as u64,
            pins: shared.area.pins().len() as u64,
        }
    }

    /// The parts of the region that have memory behind them, in bytes from its start: every block that was ever given out
    /// lies in one. For engines that register memory with a device; what is registered elsewhere would be filled by it.
    pub fn backed(&self) -> Vec<Range<u64>> {
        self.shared.allocator.backed()
    }

    /// Every pin, those in quarantine included: who holds which bytes of which file.
    pub fn pins(&self) -> Vec<PinReport> {
        self.shared.area.pins().into_iter().map(|pin| self.shared.pin_report(pin)).collect()
    }

    /// Every operation that runs, and for whom it waits.
    pub fn breaks(&self) -> Vec<BreakReport> {
        self.shared.area.breaks().into_iter().map(|info| self.shared.break_report(info)).collect()
    }

    /// Everything that has left its file and is not free, and who keeps it.
    pub fn parked(&self) -> Vec<ParkedReport> {
        self.shared.allocator.reap();
        let report = |info: pinfold_layout::BusyExtentInfo| ParkedReport {
            file: FileId(info.object),
            bytes: self.shared.bytes_of(&info.range),
            place: self.shared.bytes_of(&info.blocks),
            pins: info.pins,
            parked_for: info.parked_for,
        };
        self.shared.area.parked().into_iter().map(report).collect()
    }

    /// What a byte of the region is: the reverse of [`File::extents`](crate::File::extents). It looks through all files.
    pub fn what_is_at(&self, place: u64) -> Place {
        let shared = &self.shared;
        let block = shared.block.floor(place);
        let rest = place - shared.block.offset(block);
        let in_file = |node: &Node| {
            let map = read(&node.file()?.map);
            map.extents.runs().find(|(_, run)| (run.block..run.block + run.len).contains(&block)).map(|(at, run)| {
                let offset = shared.block.offset(at + (block - run.block)) + rest;
                Place::File { file: node.id, path: path_of(node), offset }
            })
        };
        if let Some(found) = shared.nodes.all().iter().find_map(|node| in_file(node)) {
            return found;
        }
        if let Some(parked) = self.parked().into_iter().find(|parked| parked.place.contains(&place)) {
            return Place::Parked(parked);
        }
        if shared.allocator.is_free(block) { Place::Free } else { Place::Unknown }
    }
}

impl Shared {
    pub(crate) fn pin_report(&self, pin: PinInfo) -> PinReport {
        let file = FileId(pin.object);
        PinReport { file, path: self.path(file), bytes: self.bytes_of(&pin.range), pin }
    }

    pub(crate) fn break_report(&self, info: BreakInfo) -> BreakReport {
        let range = |(object, range): (u64, Range<u64>)| {
            let file = FileId(object);
            (file, self.path(file), self.bytes_of(&range))
        };
        BreakReport {
            ranges: info.ranges.into_iter().map(range).collect(),
            running_for: info.running_for,
            behind: info.behind.map(|pin| self.pin_report(pin)),
        }
    }

    /// Under which name a file was last linked, if it has one.
    pub(crate) fn path(&self, file: FileId) -> Option<PathBuf> {
        path_of(&*self.nodes.get(file)?)
    }

    /// Bytes of a range of blocks; the end of what is open-ended stays the highest number.
    pub(crate) fn bytes_of(&self, blocks: &Range<u64>) -> Range<u64> {
        let block = self.block.bytes();
        blocks.start.saturating_mul(block)..blocks.end.saturating_mul(block)
    }
}

/// A range of a file, as people read it.
pub(crate) fn write_range(
    f: &mut fmt::Formatter<'_>,
    file: FileId,
    path: Option<&Path>,
    bytes: &Range<u64>,
) -> fmt::Result {
    match path {
        Some(path) => write!(f, "{}", path.display())?,
        None => write!(f, "{file}")?,
    }
    match bytes.end {
        u64::MAX => write!(f, " bytes {} to the end", bytes.start),
        end => write!(f, " bytes {}..{end}", bytes.start),
    }
}

impl fmt::Display for PinReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, self.file, self.path.as_deref(), &self.bytes)?;
        write!(f, ": {}", self.pin.who())
    }
}

impl fmt::Display for BreakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an operation on ")?;
        for (index, (file, path, bytes)) in self.ranges.iter().enumerate() {
            write!(f, "{}", if index == 0 { "" } else { " and " })?;
            write_range(f, *file, path.as_deref(), bytes)?;
        }
        write!(f, ", for {:.1} s", self.running_for.as_secs_f64())?;
        match &self.behind {
            Some(pin) => write!(f, ", waits for {pin}"),
            None => Ok(()),
        }
    }
}
