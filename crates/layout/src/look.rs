//! A look at a named area by whoever may read its directory: what is pinned, what is parked, who owns it. The area may have
//! an owner who works on it meanwhile.
//!
//! Stays true  V1: nothing is written, locked or taken over.
//!             V2: files are read and never mapped: one that is cut short meanwhile is an error, and not a `SIGBUS`.
//!             V3: a pin that is listed was held at a moment of the look: its slot was read twice, and said the same.
//! Who calls   whoever only looks: a checker, a listing. What is listed may have left by the time it is read.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::area::Area;
use crate::liveness::OtherProcess;
use crate::mechanism::attribution::{PinInfo, Quarantined};
use crate::mechanism::busy_extents::{CommitId, Extent};
use crate::mechanism::error::AreaError;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{OWNER_SERVES, Prologue};
use crate::mechanism::marks::PinKey;
use crate::mechanism::parked::cut;
use crate::mechanism::parked_records::ParkedRecord;
use crate::mechanism::segment::{Flags, HOLDER_LEFT, LabelEntry, Reading, Segment, SegmentHead, Slot, SlotUse};
use crate::mechanism::words::{Record, Words};
use crate::memory::Mapping;
use crate::named::{FoundHeader, HolderWords, Named, failed};
use crate::prologue::{boot_id, read_words};
use crate::segments::segment_path;
use crate::sync::{Arc, AtomicU64, Ordering};

/// What a named area holds, as its files say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AreaLook {
    /// How often it was opened.
    pub incarnation: u64,
    /// Whether it is of this boot of this machine. If not, no device reaches anything through it: then nothing is listed.
    pub is_of_this_boot: bool,
    /// Who opened it last.
    pub owner_pid: u32,
    /// Whether that process lives, and serves it still.
    pub is_served: bool,
    /// Pins that count: every pin of a living process, and the device pins of a dead one.
    pub pins: Vec<PinLook>,
    /// What left its object and was not taken back yet, oldest first.
    pub parked: Vec<ParkedLook>,
    /// How many parked extents had no place in the header, and died with an owner ([`Area::parked_lost`]).
    pub parked_lost: u64,
    /// Segments that are missing or too short: what their holders pinned is not known.
    pub unknown: Vec<PathBuf>,
}

/// A pin, and where what it reaches is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinLook {
    /// Who holds it, how, since when.
    pub pin: PinInfo,
    /// The parts of its range that lie in no parked extent: the object has to have them.
    pub in_object: Vec<Range<u64>>,
}

/// A parked extent, and who reaches it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedLook {
    /// What it is.
    pub extent: Extent,
    /// In which commit it left its object.
    pub commit: CommitId,
    /// The pins that reach a part of it. None: it is free as soon as its commit is durable.
    pub pins: Vec<PinInfo>,
}

/// How often a header that was found is looked for again when it has gone.
const TRIES: u32 = 100;

impl Area {
    /// What the area named by the directory `path` holds, whether anybody owns it or not. `None` if there is no area. It
    /// only looks: nothing is written, locked or taken over.
    ///
    /// # Errors
    /// [`AreaError::NotAnArea`], [`AreaError::Damaged`], [`AreaError::Version`], and what the kernel says.
    pub fn look(path: &Path) -> Result<Option<AreaLook>, AreaError> {
        for _ in 0..TRIES {
            let Some((incarnation, header)) = newest_header(path)? else { return Ok(None) };
            match File::open(&header) {
                Ok(file) => return AreaLook::of(path, &FoundHeader::of(file, &header, incarnation)?).map(Some),
                // A new owner's header took its place.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("open its header")(error)),
            }
        }
        Err(AreaError::System { what: "get hold of its header", source: Errno::BUSY })
    }
}

/// The header that counts, and its incarnation.
fn newest_header(path: &Path) -> Result<Option<(u64, PathBuf)>, AreaError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(failed("list its directory"))?,
    };
    let mut newest = None;
    for entry in entries {
        let entry = entry.map_err(failed("list its directory"))?;
        if let Some(Named::Header(incarnation)) = entry.file_name().to_str().map(Named::parse) {
            newest = newest.max(Some((incarnation, entry.path())));
        }
    }
    Ok(newest)
}

impl AreaLook {
    fn of(dir: &Path, header: &FoundHeader) -> Result<Self, AreaError> {
        let (stamp, prologue) = (header.stamp, header.prologue()?);
        let mut look = Self {
            incarnation: stamp.incarnation,
            is_of_this_boot: stamp.boot == boot_id()?,
            owner_pid: stamp.owner_pid,
            is_served: false,
            pins: Vec::new(),
            parked: Vec::new(),
            parked_lost: 0,
            unknown: Vec::new(),
        };
        if !look.is_of_this_boot {
            return Ok(look);
        }
        let lives = OtherProcess::find(stamp.owner_pid, stamp.owner_started)?.is_some();
        look.is_served = lives && prologue.word(std::mem::offset_of!(Prologue, owner_state)) == OWNER_SERVES;
        look.parked_lost = prologue.word(std::mem::offset_of!(Prologue, parked_lost));
        let mut parked = header.parked()?;
        parked.sort_by_key(|record| record.commit);
        let voids = header.voids()?;
        let mut pins = Vec::new();
        for holder in header.holders()? {
            match Copied::of(dir, stamp.geometry, &holder)? {
                Some(segment) => segment.add_pins(&holder, &voids, &mut pins)?,
                // Of a living owner's it went just now.
                None if look.is_served => {}
                None => look.unknown.push(segment_path(dir, holder.index, holder.serial)),
            }
        }
        look.place(&pins, &parked);
        Ok(look)
    }

    /// Which pin reaches what.
    fn place(&mut self, pins: &[(PinInfo, u64)], parked: &[ParkedRecord]) {
        let listed = |record: &ParkedRecord| ParkedLook {
            extent: record.extent,
            commit: CommitId(record.commit),
            pins: Vec::new(),
        };
        self.parked = parked.iter().map(listed).collect();
        for (pin, generation) in pins {
            let mut rest = vec![pin.range.clone()];
            let of_object = |record: &ParkedRecord| record.extent.object == pin.object;
            // Oldest first: what was parked after the pin was made took it; see `mechanism::parked`.
            for (index, record) in parked.iter().enumerate().filter(|(_, record)| of_object(record)) {
                if record.generation <= *generation || rest.is_empty() {
                    continue;
                }
                let (left, taken) = cut(rest, record.extent.start, record.extent.end);
                rest = left;
                if !taken.is_empty() {
                    self.parked[index].pins.push(pin.clone());
                }
            }
            self.pins.push(PinLook { pin: pin.clone(), in_object: rest });
        }
    }
}

/// A segment as it was at two moments.
struct Copied {
    before: Segment,
    after: Segment,
}

impl Copied {
    /// `None` if its file is missing, or shorter than what is in use of it.
    fn of(dir: &Path, geometry: Geometry, holder: &HolderWords) -> Result<Option<Self>, AreaError> {
        let file = match File::open(segment_path(dir, holder.index, holder.serial)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed("open a segment"))?,
        };
        let (Some(before), Some(after)) = (copy(&file, geometry)?, copy(&file, geometry)?) else { return Ok(None) };
        Ok(Some(Self { before, after }))
    }

    /// Adds the pins that count, each with its generation.
    fn add_pins(
        &self,
        holder: &HolderWords,
        voids: &[PinKey],
        pins: &mut Vec<(PinInfo, u64)>,
    ) -> Result<(), AreaError> {
        let left = self.after.head().holder_state.load(Ordering::Acquire) == HOLDER_LEFT;
        let lives = !left && holder.living()?.is_some();
        let counts = |pin: &Reading| {
            pin.state.usage() == SlotUse::Held
                && pin.start < pin.end
                && (lives || pin.state.flags().has(Flags::DEVICE))
                && !voids.contains(&PinKey::of(holder.index, pin))
        };
        let still = |pin: &Reading| self.after.read(pin.slot).is_some_and(|after| is_same(pin, &after));
        for pin in self.before.all().filter(counts).filter(still) {
            let mut info = PinInfo::of(&self.after, holder.index, holder.pid, &pin);
            if !lives && info.quarantine.is_none() {
                info.quarantine = Some(Quarantined::HolderGone);
            }
            pins.push((info, pin.generation));
        }
        Ok(())
    }
}

fn is_same(one: &Reading, other: &Reading) -> bool {
    let words = |pin: &Reading| (pin.object, pin.start, pin.end, pin.generation, pin.label);
    one.state.version() == other.state.version() && words(one) == words(other)
}

/// A copy of what is in use of a segment, in private memory; `None` if its file ends before.
fn copy(file: &File, geometry: Geometry) -> Result<Option<Segment>, AreaError> {
    let at = geometry.segment();
    let words = Words::new(Arc::new(Mapping::private(at.end)?));
    let head = read_words(file, 0, SegmentHead::WORDS)?;
    let used = head.get(std::mem::offset_of!(SegmentHead, blocks_used) / 8).copied().unwrap_or(0);
    let slots = used.min(u64::from(geometry.blocks_max)) as usize * geometry.slots_per_block as usize;
    let labels = geometry.labels_max as usize * LabelEntry::WORDS;
    for (start, count) in [(0, SegmentHead::WORDS), (at.labels, labels), (at.slots, slots * Slot::WORDS)] {
        if !copy_words(file, start, count, &words)? {
            return Ok(None);
        }
    }
    Ok(Some(Segment::new(words, geometry)))
}

/// Words that are read at a time.
const WORDS_AT_A_TIME: usize = 1 << 16;

/// Copies words of a file into new memory, where the same words are zero; false if the file ends before.
fn copy_words(file: &File, start: usize, count: usize, to: &Words) -> Result<bool, AreaError> {
    for done in (0..count).step_by(WORDS_AT_A_TIME) {
        let wanted = WORDS_AT_A_TIME.min(count - done);
        let read = read_words(file, start + done, wanted)?;
        if read.len() < wanted {
            return Ok(false);
        }
        let table = to.table::<AtomicU64>(start + done, wanted as u32);
        for (index, word) in (0..).zip(read).filter(|(_, word)| *word != 0) {
            table.at(index).store(word, Ordering::Relaxed);
        }
    }
    Ok(true)
}
