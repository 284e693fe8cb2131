//! What the files of one thread may hold, by the steps that it made.
//!
//! A step that was done has one outcome; one that the end of the process came into has several, one for each moment at
//! which it may have come. A transfer that has not landed leaves its sectors with what was there or with what it brings.
//!
//! Stays true  M1: what a step does here follows from the step and from what is here, as it does in a pool.
//!             M2: a flight covers those sectors of a file that it still reaches: what was taken from the file under it
//!                 is no matter of the file's any more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::contents::{Contents, PER_BLOCK};
use super::seen::Seen;
use super::step::{Name, Step, following, stamp};
use crate::sectors::{FILE_SECTORS, SECTOR, Sectors};
use crate::stamp::{Word, Writer};

/// A file, whatever its names.
type Number = u32;

#[derive(Clone, Default)]
pub(super) struct Model {
    names: BTreeMap<Name, Number>,
    dirs: BTreeSet<Name>,
    files: BTreeMap<Number, Arc<Contents>>,
    reserved: Option<Number>,
    flights: Vec<Flight>,
    next: Number,
}

/// A transfer that has not landed.
#[derive(Clone)]
struct Flight {
    file: Number,
    /// What it still reaches.
    sectors: Sectors,
    /// Those of them that nobody else has written since it began.
    alone: Sectors,
    /// What it brings into sector 0, if it did: the others follow.
    first: crate::stamp::Stamp,
    /// Its process is gone. Nobody waits for it but a proof.
    orphaned: bool,
}

impl Flight {
    fn word(&self, sector: usize) -> Word {
        let mut stamp = self.first;
        stamp.sector = sector as u16;
        stamp.word()
    }

    fn leave(&mut self, sectors: Sectors) {
        self.sectors = self.sectors - sectors;
        self.alone = self.alone - sectors;
    }
}

/// What was read and what is here are not the same.
pub(super) struct Difference {
    pub(super) what: String,
    /// Of one file, if it is of one.
    pub(super) file: Option<Name>,
}

/// Told of what is there after each part of a step, but for the last.
pub(super) type Between<'b> = &'b mut dyn FnMut(&Model);

impl Model {
    /// Makes a step: the `number`th of a thread.
    pub(super) fn take(&mut self, step: &Step, thread: usize, number: u64, between: Between<'_>) {
        match step {
            Step::Write { to, sectors } => self.write(*to, &sectors_of(sectors), (thread, number), between),
            Step::Bring { to, blocks } => self.bring(*to, in_blocks(blocks), (thread, number), between),
            Step::Land => self.land(),
            Step::Reserve { blocks } => {
                self.let_reserved_go();
                let file = self.add(Contents::of_blocks(*blocks));
                self.reserved = Some(file);
                self.fly(file, in_blocks(&(0..*blocks)), (thread, number));
            }
            Step::Publish { to } => {
                self.land();
                if let Some(file) = self.reserved.take() {
                    self.name(*to, file);
                }
            }
            Step::Truncate { file, sectors } => self.truncate(*file, *sectors as usize, between),
            Step::Punch { file, sectors } => self.clear(*file, &sectors_of(sectors), None, between),
            Step::Zero { file, sectors } => {
                self.clear(*file, &sectors_of(sectors), Some(sectors.end as usize), between);
            }
            Step::Collapse { file, blocks } => self.collapse(*file, &blocks_of(blocks)),
            Step::Insert { file, at, blocks } => self.insert(*file, *at as usize, *blocks as usize),
            Step::Exchange { file, other, blocks } => self.exchange(*file, *other, &blocks_of(blocks)),
            Step::Unlink(name) => self.unlink(*name),
            Step::Rename { from, to } => self.rename(*from, *to),
            Step::Swap { one, other } => self.swap(*one, *other),
            Step::Link { from, to } => self.link(*from, *to),
            Step::MakeDir(name) => drop(self.dirs.insert(*name)),
            Step::RemoveDir(name) => drop(self.dirs.remove(name)),
            Step::Sync(name) => self.file(*name).into_iter().for_each(|file| self.settle(file)),
            Step::SyncAll => {
                let files: Vec<_> = self.files.keys().copied().collect();
                files.into_iter().for_each(|file| self.settle(file));
            }
            // What of that is durable afterwards is not promised to anybody.
            Step::Checkpoint | Step::Open(_) | Step::Close => {}
        }
    }

    fn file(&self, name: Name) -> Option<Number> {
        self.names.get(&name).copied()
    }

    fn contents(&mut self, file: Number) -> &mut Contents {
        Arc::make_mut(self.files.entry(file).or_default())
    }

    fn add(&mut self, contents: Contents) -> Number {
        self.next += 1;
        self.files.insert(self.next, Arc::new(contents));
        self.next
    }

    fn open_or_create(&mut self, name: Name) -> Number {
        self.file(name).unwrap_or_else(|| {
            let file = self.add(Contents::default());
            self.names.insert(name, file);
            file
        })
    }

    /// A file gets a name; who had it before loses it.
    fn name(&mut self, name: Name, file: Number) {
        if let Some(old) = self.names.insert(name, file) {
            self.forget_if_nameless(old);
        }
    }

    fn forget_if_nameless(&mut self, file: Number) {
        if self.reserved != Some(file) && !self.names.values().any(|named| *named == file) {
            self.files.remove(&file);
            self.flights.retain(|flight| flight.file != file);
        }
    }

    fn let_reserved_go(&mut self) {
        if let Some(file) = self.reserved.take() {
            self.forget_if_nameless(file);
        }
    }

    fn write(&mut self, to: Name, sectors: &Range<usize>, (thread, number): (usize, u64), between: Between<'_>) {
        let file = self.open_or_create(to);
        between(self);
        let first = stamp(Writer::Host, thread, number, sectors.start as u64);
        let words: Vec<_> = following(first, sectors.len() as u64).map(|stamp| stamp.word()).collect();
        let contents = self.contents(file);
        contents.fill(sectors);
        sectors.clone().zip(&words).for_each(|(sector, word)| contents.add(sector, *word));
        let old = contents.len;
        for len in (sectors.start / PER_BLOCK..=sectors.end / PER_BLOCK).map(|block| block * PER_BLOCK) {
            self.contents(file).len = old.max(len);
            between(self);
        }
        let contents = self.contents(file);
        contents.len = old.max(sectors.end);
        between(self);
        sectors.clone().zip(&words).for_each(|(sector, word)| self.contents(file).set(sector, *word));
        let set: Sectors = set_of(sectors);
        for flight in self.flights.iter_mut().filter(|flight| flight.file == file) {
            flight.alone = flight.alone - set;
        }
        let over: Vec<_> = self.flights.iter().filter(|flight| flight.file == file).cloned().collect();
        for flight in over {
            for sector in (flight.sectors & set).iter() {
                self.contents(file).add(sector, flight.word(sector));
            }
        }
    }

    fn bring(&mut self, to: Name, sectors: Range<usize>, by: (usize, u64), between: Between<'_>) {
        let file = self.open_or_create(to);
        between(self);
        let contents = self.contents(file);
        contents.len = contents.len.max(sectors.end);
        between(self);
        self.fly(file, sectors, by);
    }

    /// A device begins to write.
    fn fly(&mut self, file: Number, sectors: Range<usize>, (thread, number): (usize, u64)) {
        self.contents(file).fill(&sectors);
        let set = set_of(&sectors);
        let first = stamp(Writer::Device, thread, number, 0);
        let mut alone = set;
        for other in self.flights.iter_mut().filter(|other| other.file == file) {
            alone = alone - other.sectors;
            other.alone = other.alone - set;
        }
        let flight = Flight { file, sectors: set, alone, first, orphaned: false };
        sectors.for_each(|sector| self.contents(file).add(sector, flight.word(sector)));
        self.flights.push(flight);
    }

    /// All transfers of this process have ended.
    fn land(&mut self) {
        let (landed, rest) = std::mem::take(&mut self.flights).into_iter().partition(|flight| !flight.orphaned);
        self.flights = rest;
        let landed: Vec<Flight> = landed;
        for flight in landed {
            for sector in flight.alone.iter() {
                self.contents(flight.file).set(sector, flight.word(sector));
            }
        }
    }

    /// No transfer reaches these sectors of a file any more.
    fn leave(&mut self, file: Number, sectors: Sectors) {
        self.flights.iter_mut().filter(|flight| flight.file == file).for_each(|flight| flight.leave(sectors));
        self.flights.retain(|flight| flight.sectors != Sectors::NONE);
    }

    fn truncate(&mut self, name: Name, len: usize, between: Between<'_>) {
        if !len.is_multiple_of(PER_BLOCK) {
            self.land();
        }
        let Some(file) = self.file(name) else { return };
        let old = self.contents(file).len;
        if len < old {
            self.leave(file, set_of(&(len / PER_BLOCK * PER_BLOCK..FILE_SECTORS)));
            let edge = len..old.min(len.next_multiple_of(PER_BLOCK));
            self.contents(file).clear_edges_perhaps(&edge);
            between(self);
        }
        self.contents(file).truncate(len);
    }

    /// A range reads as zeros; with `end` the file ends there or later.
    fn clear(&mut self, name: Name, sectors: &Range<usize>, end: Option<usize>, between: Between<'_>) {
        if !is_in_blocks(sectors) {
            self.land();
        }
        let Some(file) = self.file(name) else { return };
        self.leave(file, outward(sectors));
        self.contents(file).clear_edges_perhaps(sectors);
        between(self);
        let whole = sectors.start.next_multiple_of(PER_BLOCK)..sectors.end / PER_BLOCK * PER_BLOCK;
        if !whole.is_empty() {
            self.contents(file).clear(&whole);
            between(self);
        }
        let contents = self.contents(file);
        contents.len = contents.len.max(end.unwrap_or(0));
        between(self);
        self.contents(file).clear(sectors);
    }

    fn collapse(&mut self, name: Name, blocks: &Range<usize>) {
        self.land();
        let Some(file) = self.file(name) else { return };
        if may_collapse(self.contents(file).len, blocks) {
            self.leave(file, set_of(&(blocks.start * PER_BLOCK..FILE_SECTORS)));
            self.contents(file).collapse(blocks);
        }
    }

    fn insert(&mut self, name: Name, at: usize, blocks: usize) {
        self.land();
        let Some(file) = self.file(name) else { return };
        if may_insert(self.contents(file).len, at, blocks) {
            self.leave(file, set_of(&(at * PER_BLOCK..FILE_SECTORS)));
            self.contents(file).insert(at, blocks);
        }
    }

    fn exchange(&mut self, name: Name, other: Name, blocks: &Range<usize>) {
        self.land();
        let (Some(file), Some(other)) = (self.file(name), self.file(other)) else { return };
        let shorter = self.contents(file).len.min(self.contents(other).len);
        if file != other && may_exchange(shorter, blocks) {
            let sectors = set_of(&(blocks.start * PER_BLOCK..blocks.end * PER_BLOCK));
            self.leave(file, sectors);
            self.leave(other, sectors);
            let mut theirs = self.contents(other).clone();
            self.contents(file).exchange(blocks, &mut theirs);
            *self.contents(other) = theirs;
        }
    }

    fn unlink(&mut self, name: Name) {
        if let Some(file) = self.names.remove(&name) {
            self.forget_if_nameless(file);
        }
    }

    fn rename(&mut self, from: Name, to: Name) {
        if let Some(file) = self.file(from)
            && self.file(to) != Some(file)
        {
            self.names.remove(&from);
            self.name(to, file);
        }
    }

    fn swap(&mut self, one: Name, other: Name) {
        if let (Some(first), Some(second)) = (self.file(one), self.file(other)) {
            self.names.extend([(one, second), (other, first)]);
        }
    }

    fn link(&mut self, from: Name, to: Name) {
        if let (Some(file), None) = (self.file(from), self.file(to)) {
            self.names.insert(to, file);
        }
    }

    fn settle(&mut self, file: Number) {
        let reached: Vec<_> =
            self.flights.iter().filter(|flight| flight.file == file).map(|flight| flight.sectors).collect();
        self.contents(file).settle(|block| reached.iter().any(|sectors| sectors.meets(set_of(&block))));
    }

    /// The process is gone; its transfers may go on.
    pub(super) fn outlive_process(&mut self, on_disk: bool) {
        self.let_reserved_go();
        for flight in &mut self.flights {
            (flight.orphaned, flight.alone) = (true, Sectors::NONE);
        }
        self.files.values_mut().for_each(|contents| Arc::make_mut(contents).outlive_process(on_disk));
    }

    /// Whether what was read of a pool is what is here; or else the first difference.
    pub(super) fn compare(&self, seen: &Seen) -> Result<(), Difference> {
        let here: Vec<_> = self.names.keys().collect();
        let there: Vec<_> = seen.names.keys().collect();
        if here != there {
            return Err(Difference { what: format!("the names are {there:?}, and should be {here:?}"), file: None });
        }
        if self.dirs != seen.dirs {
            let what = format!("the directories are {:?}, and should be {:?}", seen.dirs, self.dirs);
            return Err(Difference { what, file: None });
        }
        for (name, file) in &self.names {
            let differs = |what| Difference { what, file: Some(*name) };
            let first = self.names.iter().find(|(_, other)| *other == file).map(|(first, _)| first);
            if first != seen.first_of_same(*name) {
                return Err(differs(format!("{name} is a name of another file")));
            }
            compare_file(*name, &self.files[file], &seen.names[name].bytes).map_err(differs)?;
        }
        Ok(())
    }

    /// What was read is what is here from now on, durable, and nobody's transfers reach it.
    pub(super) fn found(&mut self, seen: &Seen) {
        self.flights.clear();
        for (name, file) in &self.names {
            let contents = self.files.get_mut(file).map(Arc::make_mut);
            contents.into_iter().for_each(|contents| contents.found(&seen.names[name].bytes));
        }
    }
}

fn compare_file(name: Name, contents: &Contents, bytes: &[u8]) -> Result<(), String> {
    let len = contents.len * SECTOR as usize;
    if bytes.len() != len {
        return Err(format!("file {name} is {} bytes long, and should be {len}", bytes.len()));
    }
    match contents.first_wrong(bytes) {
        None => Ok(()),
        Some((sector, word, may)) => {
            let may: Vec<_> = may.words().collect();
            Err(format!("file {name} holds at {}: {word}; it may hold {may:?}", sector as u64 * SECTOR))
        }
    }
}

/// Whether blocks can be taken out of a file that is so many sectors long: some have to stay behind them.
pub(super) fn may_collapse(len: usize, blocks: &Range<usize>) -> bool {
    blocks.end * PER_BLOCK < len
}

/// Whether a hole can be opened in a file: inside, and for all of it to find a place in a file of ours.
pub(super) fn may_insert(len: usize, at: usize, blocks: usize) -> bool {
    at * PER_BLOCK < len && len.next_multiple_of(PER_BLOCK) + blocks * PER_BLOCK <= FILE_SECTORS
}

/// Whether two files, the shorter of which is so long, both have these blocks.
pub(super) fn may_exchange(shorter: usize, blocks: &Range<usize>) -> bool {
    blocks.end * PER_BLOCK <= shorter
}

fn sectors_of(sectors: &Range<u64>) -> Range<usize> {
    sectors.start as usize..sectors.end as usize
}

fn blocks_of(blocks: &Range<u64>) -> Range<usize> {
    sectors_of(blocks)
}

fn in_blocks(blocks: &Range<u64>) -> Range<usize> {
    blocks.start as usize * PER_BLOCK..blocks.end as usize * PER_BLOCK
}

/// Whether a range is whole blocks.
pub(super) fn is_in_blocks(sectors: &Range<usize>) -> bool {
    sectors.start.is_multiple_of(PER_BLOCK) && sectors.end.is_multiple_of(PER_BLOCK)
}

fn set_of(sectors: &Range<usize>) -> Sectors {
    Sectors::of(sectors.start as u64 * SECTOR..sectors.end as u64 * SECTOR)
}

fn outward(sectors: &Range<usize>) -> Sectors {
    Sectors::outward(sectors.start as u64 * SECTOR..sectors.end as u64 * SECTOR)
}
