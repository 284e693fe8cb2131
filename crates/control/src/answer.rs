//! Answers: what the owner of a pool says. Plain data.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pinfold::layout::{PinId, Quarantined};
use pinfold::{Access, BreakReport, DirEntry, FileKind, ParkedReport, PinInfo, PinReport, Pool, Special};
use serde::{Deserialize, Serialize};

use crate::path_text;

/// What came of a request that was carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Answer {
    /// It is done, and there is no more to say.
    Done,
    /// The pool has so many bytes now.
    Grown {
        /// Bytes.
        len: u64,
    },
    /// The names in a directory, in order of their bytes.
    Entries(Vec<Entry>),
    /// What is known of a file.
    Metadata(Metadata),
    /// How much is used, and by what.
    Stats(Stats),
    /// Pins.
    Pins(Vec<Pin>),
    /// Operations that run.
    Breaks(Vec<Break>),
    /// What has left its file and is not free.
    Parked(Vec<Parked>),
    /// What proofs let go.
    Released(Released),
    /// The pin that an operator let go.
    ReleasedPin(Pin),
    /// A file was copied in.
    Put {
        /// Bytes of it.
        len: u64,
    },
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Without a path.
    #[serde(with = "path_text")]
    pub name: OsString,
    /// What it leads to, by number.
    pub file: u64,
    /// What that is.
    #[serde(with = "KindText")]
    pub kind: FileKind,
}

/// As [`pinfold::Metadata`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in `pinfold::Metadata`")]
pub struct Metadata {
    pub file: u64,
    #[serde(with = "KindText")]
    pub kind: FileKind,
    pub len: u64,
    pub allocated: u64,
    pub links: u32,
    pub modified: SystemTime,
    pub changed: SystemTime,
    pub accessed: SystemTime,
    pub mode: u32,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// As [`pinfold::Stats`], and how full the log is. Bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in `pinfold::Stats`")]
pub struct Stats {
    pub block_size: u64,
    pub total: u64,
    pub free: u64,
    pub longest_free: u64,
    pub in_files: u64,
    pub parked: u64,
    pub quarantined: u64,
    pub not_durable: u64,
    pub nodes: u64,
    pub pins: u64,
    /// Bytes of the log in use.
    pub log_used: u64,
    /// Bytes of the log; none without a medium.
    pub log: u64,
    /// The process that owns the pool.
    pub owner: u32,
}

/// As [`pinfold::PinReport`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Names the pin.
    #[serde(with = "crate::pin_text")]
    pub id: PinId,
    /// Which file, by number.
    pub file: u64,
    /// Under which name it was last linked, if it has one.
    #[serde(with = "path_text::optional")]
    pub path: Option<PathBuf>,
    /// Which bytes, in whole blocks.
    pub bytes: Range<u64>,
    /// The same, in blocks.
    pub blocks: Range<u64>,
    /// The holder's process.
    pub pid: u32,
    /// What is done with it.
    #[serde(with = "AccessText")]
    pub access: Access,
    /// Whether a device moves the data.
    pub device: bool,
    /// Whether it stays until it is recalled.
    pub long_term: bool,
    /// Whether an operation asked for it back.
    pub recalled: bool,
    /// The engine's name, if it has a label.
    pub engine: String,
    /// What it is for, if it has a label.
    pub label: String,
    /// How long it has been held.
    pub held_ms: u64,
    /// Why it has no holder, if it has none (G8).
    pub quarantine: Option<Quarantine>,
}

/// Why a pin has no holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quarantine {
    /// The holder's process died.
    HolderGone,
    /// The holder gave the transfer up.
    GivenUp,
}

/// As [`pinfold::BreakReport`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// What it breaks.
    pub ranges: Vec<BrokenRange>,
    /// How long it has run.
    pub running_ms: u64,
    /// For whom it waits.
    pub behind: Option<Pin>,
}

/// A range that an operation breaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenRange {
    /// Of which file, by number.
    pub file: u64,
    /// Under which name that was last linked, if it has one.
    #[serde(with = "path_text::optional")]
    pub path: Option<PathBuf>,
    /// Which bytes; what is open-ended ends with the highest number.
    pub bytes: Range<u64>,
}

/// As [`pinfold::ParkedReport`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parked {
    /// Which file it was of, by number.
    pub file: u64,
    /// Which bytes of it.
    pub bytes: Range<u64>,
    /// Where it is, in bytes of the region.
    pub place: Range<u64>,
    /// Who keeps it: the first [`PARKED_PINS_MAX`] of them.
    pub pins: Vec<Pin>,
    /// How many keep it.
    pub pins_in_all: u64,
    /// For how long.
    pub parked_ms: u64,
}

/// How many of those who keep a parked extent are named.
pub const PARKED_PINS_MAX: usize = 32;

/// What a look at the rings' locks came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// How many pins left quarantine.
    pub pins: u64,
    /// How many rings are gone. Their lock files went.
    pub rings_gone: u64,
    /// How many rings are not.
    pub rings_there: u64,
    /// How many pins are still in quarantine.
    pub left: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FileKind", rename_all = "snake_case")]
enum KindText {
    File,
    Directory,
    Symlink,
    Special(#[serde(with = "SpecialText")] Special),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Special", rename_all = "snake_case")]
enum SpecialText {
    Pipe,
    Socket,
    CharDevice(u64),
    BlockDevice(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Access", rename_all = "snake_case")]
enum AccessText {
    Read,
    Write,
}

/// How many entries of a list go into one message: at the longest names that there are, half of what one may have.
const PART: usize = 256;

impl Answer {
    /// The same in parts, each of which fits into a message.
    pub(crate) fn into_parts(self) -> Vec<Self> {
        match self {
            Self::Entries(list) => parts(list, Self::Entries),
            Self::Pins(list) => parts(list, Self::Pins),
            Self::Breaks(list) => parts(list, Self::Breaks),
            Self::Parked(list) => parts(list, Self::Parked),
            one => vec![one],
        }
    }

    /// Adds what comes after a part. False if it is of another kind.
    pub(crate) fn add(&mut self, next: Self) -> bool {
        match (self, next) {
            (Self::Entries(list), Self::Entries(more)) => list.extend(more),
            (Self::Pins(list), Self::Pins(more)) => list.extend(more),
            (Self::Breaks(list), Self::Breaks(more)) => list.extend(more),
            (Self::Parked(list), Self::Parked(more)) => list.extend(more),
            _ => return false,
        }
        true
    }
}

fn parts<T>(list: Vec<T>, part: fn(Vec<T>) -> Answer) -> Vec<Answer> {
    let mut rest = list.into_iter();
    let mut parts = vec![part(rest.by_ref().take(PART).collect())];
    while rest.len() > 0 {
        parts.push(part(rest.by_ref().take(PART).collect()));
    }
    parts
}

impl From<DirEntry> for Entry {
    fn from(entry: DirEntry) -> Self {
        Self { name: entry.name, file: entry.id.number(), kind: entry.kind }
    }
}

impl From<pinfold::Metadata> for Metadata {
    fn from(known: pinfold::Metadata) -> Self {
        let pinfold::Metadata { id, kind, len, allocated, links, modified, changed, accessed, mode, uid, gid } = known;
        Self { file: id.number(), kind, len, allocated, links, modified, changed, accessed, mode, uid, gid }
    }
}

impl Stats {
    pub(crate) fn of(pool: &Pool) -> Self {
        let pinfold::Stats {
            block_size,
            total,
            free,
            longest_free,
            in_files,
            parked,
            quarantined,
            not_durable,
            nodes,
            pins,
        } = pool.stats();
        let ((log_used, log), owner) = (pool.log_use(), std::process::id());
        Self {
            block_size,
            total,
            free,
            longest_free,
            in_files,
            parked,
            quarantined,
            not_durable,
            nodes,
            pins,
            log_used,
            log,
            owner,
        }
    }
}

impl Pin {
    /// A pin of which no report says what it is a pin of.
    pub(crate) fn of(pin: PinInfo, block_size: u64) -> Self {
        let bytes = pin.range.start.saturating_mul(block_size)..pin.range.end.saturating_mul(block_size);
        Self {
            id: pin.id,
            file: pin.object,
            path: None,
            bytes,
            blocks: pin.range,
            pid: pin.pid,
            access: pin.access,
            device: pin.device,
            long_term: pin.long_term,
            recalled: pin.recalled,
            engine: pin.engine,
            label: pin.label,
            held_ms: ms(pin.held_for),
            quarantine: pin.quarantine.map(|why| match why {
                Quarantined::HolderGone => Quarantine::HolderGone,
                Quarantined::GivenUp => Quarantine::GivenUp,
            }),
        }
    }

    fn info(&self) -> PinInfo {
        PinInfo {
            id: self.id,
            pid: self.pid,
            object: self.file,
            range: self.blocks.clone(),
            access: self.access,
            device: self.device,
            long_term: self.long_term,
            recalled: self.recalled,
            engine: self.engine.clone(),
            label: self.label.clone(),
            held_for: Duration::from_millis(self.held_ms),
            quarantine: self.quarantine.map(|why| match why {
                Quarantine::HolderGone => Quarantined::HolderGone,
                Quarantine::GivenUp => Quarantined::GivenUp,
            }),
        }
    }
}

impl From<PinReport> for Pin {
    fn from(report: PinReport) -> Self {
        let PinReport { file, path, bytes, pin } = report;
        Self { file: file.number(), path, bytes, ..Self::of(pin, 1) }
    }
}

impl From<BreakReport> for Break {
    fn from(report: BreakReport) -> Self {
        let range = |(file, path, bytes): (pinfold::FileId, _, _)| BrokenRange { file: file.number(), path, bytes };
        Self {
            ranges: report.ranges.into_iter().map(range).collect(),
            running_ms: ms(report.running_for),
            behind: report.behind.map(Pin::from),
        }
    }
}

impl Parked {
    pub(crate) fn of(report: ParkedReport, block_size: u64) -> Self {
        let ParkedReport { file, bytes, place, pins, parked_for } = report;
        let pins_in_all = pins.len() as u64;
        let pins = pins.into_iter().take(PARKED_PINS_MAX).map(|pin| Pin::of(pin, block_size)).collect();
        Self { file: file.number(), bytes, place, pins, pins_in_all, parked_ms: ms(parked_for) }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As [`PinReport`] says it.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}", path.display())?,
            None => write!(f, "file {}", self.file)?,
        }
        write!(f, " bytes {}..{}: {}", self.bytes.start, self.bytes.end, self.info().who())
    }
}

#[cfg(test)]
mod tests {
    use pinfold::Region;

    use super::*;

    #[test]
    fn a_pin_says_the_same_as_its_report() {
        let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
        let file = pool.create("/file").unwrap();
        file.allocate(0..65536).try_now().unwrap();
        let pinned = file.pin(4096..12288, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
        let report = pool.pins().remove(0);
        assert_eq!(Pin::from(report.clone()).to_string(), report.to_string());
        pinned.abandon();
        pool.unlink("/file").unwrap();
        drop(file);
        let report = pool.pins().remove(0);
        let pin = Pin::from(report.clone());
        assert_eq!(pin.to_string(), report.to_string());
        assert_eq!(Pin::of(report.pin, 4096), Pin { path: None, ..pin.clone() });
        let text = serde_json::to_string(&pin).unwrap();
        assert_eq!(serde_json::from_str::<Pin>(&text).unwrap(), pin, "{text}");
    }

    #[test]
    fn a_list_goes_in_parts_and_comes_back_whole() {
        let entry = |file| Entry { name: OsString::from(format!("{file}")), file, kind: FileKind::File };
        for count in [0, 1, PART as u64, PART as u64 + 1, 1000] {
            let whole = Answer::Entries((0..count).map(entry).collect());
            let mut parts = whole.clone().into_parts().into_iter();
            let mut joined = parts.next().unwrap();
            assert!(parts.all(|part| joined.add(part)));
            assert_eq!(joined, whole);
        }
        assert!(!Answer::Done.add(Answer::Done));
        assert!(!Answer::Pins(vec![]).add(Answer::Entries(vec![])));
    }
}
