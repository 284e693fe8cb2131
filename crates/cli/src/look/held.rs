//! What is held of a pool: pins, and whom they delay. Its owner is asked, by the socket beside the pool. Where nobody answers,
//! the layout area beside it is read.
//!
//! Stays true  H1: nothing is claimed, and nothing written.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinfold::layout::{Area, AreaLook, PinInfo, Quarantined};
use pinfold::region::Holder;
use pinfold::{Access, FileKind, Snapshot, live_dir_of};
use pinfold_control::{Answer, Client, ConnectError, Refusal, Request};
use serde_json::{Value, json};

use crate::names::{self, shown};
use crate::pool::{check_live_dir, holder_named, look, owner_of, process_name};
use crate::size;
use crate::status::CannotRun;

/// All that is held, at one moment where the owner says it.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) pins: Vec<Pin>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) parked: Vec<Parked>,
    pub(crate) kept: Kept,
    /// The owner, and why it was not asked. Then nobody knows what waits.
    pub(crate) silent: Option<(Holder, String)>,
}

/// What is neither in a file nor free, in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Kept {
    /// By pins with a holder.
    pub(crate) parked: u64,
    /// By pins without.
    pub(crate) quarantined: u64,
    /// Until its freeing is durable.
    pub(crate) not_durable: u64,
}

/// A pin.
#[derive(Clone)]
pub(crate) struct Pin {
    pub(crate) id: String,
    pub(crate) file: u64,
    pub(crate) path: Option<PathBuf>,
    pub(crate) bytes: Range<u64>,
    pub(crate) pid: u32,
    pub(crate) access: Access,
    pub(crate) device: bool,
    pub(crate) long_term: bool,
    pub(crate) recalled: bool,
    pub(crate) engine: String,
    pub(crate) label: String,
    pub(crate) held_for: Duration,
    /// Why it has no holder, if it has none.
    pub(crate) quarantine: Option<Quarantined>,
}

/// An operation that runs.
pub(crate) struct Waiting {
    pub(crate) ranges: Vec<(u64, Option<PathBuf>, Range<u64>)>,
    pub(crate) running_for: Duration,
    /// The pin that it waits for.
    pub(crate) behind: Option<Pin>,
}

/// What left its file and is not free.
pub(crate) struct Parked {
    pub(crate) file: u64,
    pub(crate) path: Option<PathBuf>,
    pub(crate) bytes: Range<u64>,
    /// Where it is, in bytes of the pool.
    pub(crate) place: Range<u64>,
    /// Who keeps it.
    pub(crate) pins: Vec<Pin>,
}

impl Held {
    /// Asks whoever knows.
    pub(crate) fn of(path: &Path) -> Result<Self, CannotRun> {
        Self::of_snapshot(path, &look(path)?)
    }

    /// The same for a pool that was looked at already.
    pub(crate) fn of_snapshot(path: &Path, snapshot: &Snapshot) -> Result<Self, CannotRun> {
        // Whoever opens a pool says so on it; who closes it with nobody in it takes that back.
        if !snapshot.info().reached {
            return Ok(Self::default());
        }
        let owner = owner_of(path);
        let silent = match owner {
            None => None,
            Some(holder) => match Self::of_owner(path) {
                Ok(held) => return Ok(held),
                Err(why) => Some((holder, why)),
            },
        };
        check_live_dir(path)?;
        let area = Area::look(&live_dir_of(path).join("area"));
        let area = area.map_err(|error| CannotRun(format!("{}: {error}", shown(path))))?;
        let names = Names::of(snapshot);
        Ok(Self { silent, ..area.map(|area| Self::of_area(&area, snapshot, &names)).unwrap_or_default() })
    }

    fn of_owner(path: &Path) -> Result<Self, String> {
        let mut client = Client::connect(live_dir_of(path)).map_err(|error| match error {
            ConnectError::NoSocket(_) => "it does not serve others".to_owned(),
            error => error.to_string(),
        })?;
        let mut ask = |request: Request| client.ask(&request).map_err(|refusal: Refusal| refusal.message);
        let mut held = Self::default();
        if let Answer::Pins(pins) = ask(Request::Pins)? {
            held.pins = pins.into_iter().map(Pin::from).collect();
        }
        if let Answer::Breaks(breaks) = ask(Request::Breaks)? {
            held.waiting = breaks.into_iter().map(Waiting::from).collect();
        }
        if let Answer::Parked(parked) = ask(Request::Parked)? {
            held.parked = parked.into_iter().map(Parked::from).collect();
        }
        if let Answer::Stats(stats) = ask(Request::Stats)? {
            let pinfold_control::Stats { parked, quarantined, not_durable, .. } = stats;
            held.kept = Kept { parked, quarantined, not_durable };
        }
        Ok(held)
    }

    fn of_area(area: &AreaLook, snapshot: &Snapshot, names: &Names) -> Self {
        let block = snapshot.info().block_size;
        let pin = |pin: &PinInfo| Pin::of_info(pin, block, names);
        let parked = area.parked.iter().map(|parked| {
            let extent = parked.extent;
            let len = extent.end - extent.start;
            Parked {
                file: extent.object,
                path: names.get(extent.object),
                bytes: bytes(&(extent.start..extent.end), block),
                place: bytes(&(extent.block..extent.block + len), block),
                pins: parked.pins.iter().map(pin).collect(),
            }
        });
        let parked: Vec<Parked> = parked.collect();
        let mut kept = Kept::default();
        parked.iter().for_each(|parked| kept.add(parked));
        Self { pins: area.pins.iter().map(|look| pin(&look.pin)).collect(), parked, kept, ..Self::default() }
    }

    /// The operations that wait for a pin.
    pub(crate) fn delayed_by(&self, pin: &Pin) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().filter(|waiting| waiting.behind.as_ref().is_some_and(|behind| behind.id == pin.id))
    }

    /// What is said of an owner that does not answer.
    pub(crate) fn note(&self, pool: &Path) -> Option<String> {
        let (holder, why) = self.silent.as_ref()?;
        let owner = holder_named(*holder);
        Some(format!(
            "{}: {owner} owns the pool, and was not asked: {why}; what waits for a pin is not known",
            shown(pool)
        ))
    }
}

impl Kept {
    fn add(&mut self, parked: &Parked) {
        let reached = |pins: &mut dyn Iterator<Item = &Pin>| {
            let parts = pins.map(|pin| pin.bytes.start.max(parked.bytes.start)..pin.bytes.end.min(parked.bytes.end));
            covered(parts.collect())
        };
        let all = reached(&mut parked.pins.iter());
        let held = reached(&mut parked.pins.iter().filter(|pin| pin.quarantine.is_none()));
        self.parked += held;
        self.quarantined += all - held;
        self.not_durable += (parked.bytes.end - parked.bytes.start) - all;
    }

    /// All of it.
    pub(crate) fn sum(&self) -> u64 {
        self.parked + self.quarantined + self.not_durable
    }
}

/// How much ranges cover.
fn covered(mut ranges: Vec<Range<u64>>) -> u64 {
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut sum, mut end) = (0, 0);
    for range in ranges.into_iter().filter(|range| range.start < range.end) {
        sum += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    sum
}

/// Under which names files are found.
pub(crate) struct Names(HashMap<u64, PathBuf>);

impl Names {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut names = HashMap::new();
        let mut left = vec![PathBuf::from("/")];
        while let Some(dir) = left.pop() {
            for entry in snapshot.read_dir(&dir).unwrap_or_default() {
                let path = dir.join(&entry.name);
                match entry.kind {
                    FileKind::Directory => left.push(path),
                    _ => drop(names.entry(entry.id.number()).or_insert(path)),
                }
            }
        }
        Self(names)
    }

    pub(crate) fn get(&self, file: u64) -> Option<PathBuf> {
        self.0.get(&file).cloned()
    }
}

fn bytes(blocks: &Range<u64>, block: u64) -> Range<u64> {
    blocks.start.saturating_mul(block)..blocks.end.saturating_mul(block)
}

impl Pin {
    fn of_info(pin: &PinInfo, block: u64, names: &Names) -> Self {
        Self {
            id: pin.id.to_string(),
            file: pin.object,
            path: names.get(pin.object),
            bytes: bytes(&pin.range, block),
            pid: pin.pid,
            access: pin.access,
            device: pin.device,
            long_term: pin.long_term,
            recalled: pin.recalled,
            engine: pin.engine.clone(),
            label: pin.label.clone(),
            held_for: pin.held_for,
            quarantine: pin.quarantine,
        }
    }
}

impl From<pinfold_control::Pin> for Pin {
    fn from(pin: pinfold_control::Pin) -> Self {
        Self {
            id: pin.id.to_string(),
            file: pin.file,
            path: pin.path,
            bytes: pin.bytes,
            pid: pin.pid,
            access: pin.access,
            device: pin.device,
            long_term: pin.long_term,
            recalled: pin.recalled,
            engine: pin.engine,
            label: pin.label,
            held_for: Duration::from_millis(pin.held_ms),
            quarantine: pin.quarantine.map(|why| match why {
                pinfold_control::Quarantine::HolderGone => Quarantined::HolderGone,
                pinfold_control::Quarantine::GivenUp => Quarantined::GivenUp,
            }),
        }
    }
}

impl From<pinfold_control::Break> for Waiting {
    fn from(running: pinfold_control::Break) -> Self {
        let ranges = running.ranges.into_iter().map(|range| (range.file, range.path, range.bytes));
        Self {
            ranges: ranges.collect(),
            running_for: Duration::from_millis(running.running_ms),
            behind: running.behind.map(Pin::from),
        }
    }
}

impl From<pinfold_control::Parked> for Parked {
    fn from(parked: pinfold_control::Parked) -> Self {
        let pins: Vec<Pin> = parked.pins.into_iter().map(Pin::from).collect();
        let path = pins.iter().find_map(|pin| pin.path.clone());
        Self { file: parked.file, path, bytes: parked.bytes, place: parked.place, pins }
    }
}

/// A file under its name, or its number where it has none.
pub(crate) fn file(path: Option<&PathBuf>, number: u64) -> String {
    path.map_or_else(|| format!("(file {number}, without a name)"), shown)
}

impl Pin {
    /// Its file.
    pub(crate) fn of_file(&self) -> String {
        file(self.path.as_ref(), self.file)
    }

    /// `device write`, `long-term read, recalled`.
    pub(crate) fn kind(&self) -> String {
        let by = match (self.long_term, self.device) {
            (true, _) => "long-term",
            (false, true) => "device",
            (false, false) => "CPU",
        };
        format!("{by} {}{}", self.access_word(), if self.recalled { ", recalled" } else { "" })
    }

    fn access_word(&self) -> &'static str {
        match self.access {
            Access::Read => "read",
            Access::Write => "write",
        }
    }

    /// `4711 (python3)`.
    pub(crate) fn process(&self) -> String {
        let alive = self.quarantine != Some(Quarantined::HolderGone);
        match process_name(self.pid).filter(|_| alive) {
            Some(name) => format!("{} ({name})", self.pid),
            None => self.pid.to_string(),
        }
    }

    /// `process 4711 (python3), device write, through nic 0`.
    pub(crate) fn who(&self) -> String {
        let engine = if self.engine.is_empty() { String::new() } else { format!(", through {}", self.engine) };
        format!("process {}, {}{engine}", self.process(), self.kind())
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "file": self.file,
            "path": self.path.as_ref().map(names::json),
            "bytes": [self.bytes.start, self.bytes.end],
            "pid": self.pid,
            "access": self.access_word(),
            "device": self.device,
            "long_term": self.long_term,
            "recalled": self.recalled,
            "engine": self.engine,
            "label": self.label,
            "held_ms": self.held_for.as_millis() as u64,
            "quarantine": self.quarantine.map(|why| match why {
                Quarantined::HolderGone => "holder_gone",
                Quarantined::GivenUp => "given_up",
            }),
        })
    }
}

impl Waiting {
    /// The files and bytes that it changes.
    pub(crate) fn what(&self) -> String {
        let ranges = self.ranges.iter();
        let ranges =
            ranges.map(|(number, path, bytes)| format!("{} {}", file(path.as_ref(), *number), size::range(bytes)));
        ranges.collect::<Vec<_>>().join(" and ")
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let range = |(number, path, bytes): &(u64, Option<PathBuf>, Range<u64>)| json!({ "file": number, "path": path.as_ref().map(names::json), "bytes": [bytes.start, bytes.end] });
        json!({
            "ranges": self.ranges.iter().map(range).collect::<Vec<_>>(),
            "running_ms": self.running_for.as_millis() as u64,
            "behind": self.behind.as_ref().map(|pin| &pin.id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Range<u64> {
        start..end
    }

    #[test]
    fn what_several_cover_counts_once() {
        assert_eq!(covered(vec![range(10, 20), range(0, 5), range(15, 30), range(16, 17), range(40, 40)]), 25);
        assert_eq!(covered(Vec::new()), 0);
    }
}
