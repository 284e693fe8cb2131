//! A random load, most of it on what is cut, removed and renamed: there other file systems had their bugs.

use fastrand::Rng;
use pinfold::{Extend, Pool, Publish, Rename, SetAttributes};

use crate::history::{Event, History, Id, SECTOR, State};

const BLOCK: u64 = 4096;
const SECTORS: u64 = BLOCK / SECTOR;
const NAMES: [&str; 8] = ["/a", "/b", "/c", "/d", "/dir/a", "/dir/b", "/dir/c", "/dir/d"];
/// How long files become, in sectors.
const LEN_MAX: u64 = 40;
/// An extended attribute.
pub(crate) const MARK: &[u8] = b"user.mark";

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write { name: usize, sector: u64, sectors: u64 },
    Truncate { name: usize, sectors: u64, detach: bool },
    Punch { name: usize, sector: u64, sectors: u64 },
    Zero { name: usize, sector: u64, sectors: u64 },
    Collapse { name: usize, block: u64, blocks: u64 },
    Insert { name: usize, block: u64, blocks: u64 },
    Exchange { one: usize, two: usize, blocks: u64 },
    Unlink { name: usize },
    Rename { from: usize, to: usize, exchange: bool },
    Link { from: usize, to: usize },
    Publish { name: usize, sectors: u64, written: u64 },
    Mode { name: usize },
    Mark { name: usize, gone: bool },
    SyncFile { name: usize },
    Sync,
    Checkpoint,
}

/// What is done, and what is known of it.
pub(crate) struct Load {
    rng: Rng,
    pub(crate) history: History,
    files: Id,
}

impl Load {
    pub(crate) fn new(seed: u64) -> Self {
        let mut history = History::default();
        history.states.push(State { names: [("/dir".to_owned(), None)].into(), ..State::default() });
        Self { rng: Rng::with_seed(seed), history, files: 0 }
    }

    pub(crate) fn next(&mut self) -> Operation {
        let rng = &mut self.rng;
        let (name, other) = (rng.usize(..NAMES.len()), rng.usize(..NAMES.len()));
        let (sector, sectors) = (rng.u64(..LEN_MAX / 2), rng.u64(1..LEN_MAX / 2));
        let (block, blocks) = (rng.u64(..2), rng.u64(1..3));
        match rng.u8(..38) {
            0..8 => Operation::Write { name, sector, sectors },
            8..13 => Operation::Truncate { name, sectors: rng.u64(..LEN_MAX), detach: rng.bool() },
            13..15 => Operation::Punch { name, sector, sectors },
            15 => Operation::Zero { name, sector, sectors },
            16 => Operation::Collapse { name, block, blocks },
            17 => Operation::Insert { name, block, blocks },
            18 => Operation::Exchange { one: name, two: other, blocks },
            19..21 => Operation::Unlink { name },
            21..25 => Operation::Rename { from: name, to: other, exchange: rng.u8(..4) == 0 },
            25 => Operation::Link { from: name, to: other },
            26..28 => Operation::Publish { name, sectors: sectors.max(2), written: rng.u64(1..sectors.max(2)) },
            28..31 => Operation::SyncFile { name },
            31..33 => Operation::Sync,
            33..35 => Operation::Mode { name },
            35..37 => Operation::Mark { name, gone: rng.u8(..3) == 0 },
            _ => Operation::Checkpoint,
        }
    }

    fn id(&self, name: usize) -> Option<Id> {
        *self.history.states.last()?.names.get(NAMES[name])?
    }

    fn len(&self, id: Id) -> u64 {
        self.history.last().lens[&id]
    }

    /// Notes what the operation may already have done to bytes when the power fails in the middle of it, and what will be so
    /// when it is done. Called before it begins; [`Load::end`] says that it is done.
    pub(crate) fn begin(&mut self, operation: &Operation) {
        let mut state = self.history.last();
        if let Operation::Write { name, .. } = *operation
            && self.id(name).is_none()
        {
            // A file is made first, and written then.
            self.make(name, &mut state);
            self.history.states.push(state.clone());
        }
        let now = self.history.now();
        self.note(operation, now, &mut state);
        self.history.states.push(state);
    }

    fn note(&mut self, operation: &Operation, now: usize, state: &mut State) {
        let value = now as u32;
        match *operation {
            Operation::Write { name, sector, sectors } => {
                let Some(id) = self.id(name) else { return };
                self.each(id, sector..sector + sectors, |bytes, at| bytes.note(now, at, Event::Write(value)));
                grow(state, id, (sector + sectors) * SECTOR);
            }
            Operation::Truncate { name, sectors, .. } => {
                let Some(id) = self.id(name) else { return };
                self.each(id, sectors..2 * LEN_MAX, |bytes, at| bytes.note(now, at, Event::Reset));
                state.lens.insert(id, sectors * SECTOR);
            }
            Operation::Punch { name, sector, sectors } => {
                let Some(id) = self.id(name) else { return };
                self.zero(id, now, sector..sector + sectors);
            }
            Operation::Zero { name, sector, sectors } => {
                let Some(id) = self.id(name) else { return };
                self.zero(id, now, sector..sector + sectors);
                grow(state, id, (sector + sectors) * SECTOR);
            }
            Operation::Collapse { name, block, blocks } => {
                let Some(id) = self.id(name).filter(|id| (block + blocks) * BLOCK < self.len(*id)) else { return };
                let bytes = self.history.bytes.get_mut(&id).unwrap();
                bytes.mixed = Some(bytes.all_values());
                let (from, to) = ((block * SECTORS) as usize, ((block + blocks) * SECTORS) as usize);
                bytes.now.resize(bytes.now.len().max(to), 0);
                bytes.now.drain(from..to);
                *state.lens.get_mut(&id).unwrap() -= blocks * BLOCK;
            }
            Operation::Insert { name, block, blocks } => {
                let Some(id) = self.id(name).filter(|id| block * BLOCK < self.len(*id)) else { return };
                let bytes = self.history.bytes.get_mut(&id).unwrap();
                bytes.mixed = Some(bytes.all_values());
                let from = (block * SECTORS) as usize;
                bytes.now.resize(bytes.now.len().max(from), 0);
                bytes.now.splice(from..from, std::iter::repeat_n(0, (blocks * SECTORS) as usize));
                *state.lens.get_mut(&id).unwrap() += blocks * BLOCK;
            }
            Operation::Exchange { one, two, blocks } => {
                let Some((one, two)) = self.exchanged(one, two, blocks) else { return };
                let values = |id: &Id| self.history.bytes[id].all_values();
                let both: std::collections::BTreeSet<u32> = values(&one).union(&values(&two)).copied().collect();
                for at in 0..(blocks * SECTORS) as usize {
                    let (a, b) = (self.history.bytes[&one].value(at), self.history.bytes[&two].value(at));
                    self.history.bytes.get_mut(&one).unwrap().note(now, at, Event::Write(b));
                    self.history.bytes.get_mut(&two).unwrap().note(now, at, Event::Write(a));
                }
                for id in [one, two] {
                    self.history.bytes.get_mut(&id).unwrap().mixed = Some(both.clone());
                }
            }
            Operation::Unlink { name } => drop(state.names.remove(NAMES[name]).map(|_| ())),
            Operation::Rename { from, to, exchange } => rename(state, NAMES[from], NAMES[to], exchange),
            Operation::Link { from, to } => {
                if let (Some(id), None) = (self.id(from), self.id(to)) {
                    state.names.insert(NAMES[to].to_owned(), Some(id));
                }
            }
            Operation::Publish { name, sectors, written } => {
                let id = self.make(name, state);
                self.each(id, 0..written, |bytes, at| bytes.note(now, at, Event::Write(value)));
                // It comes whole, or not at all.
                let bytes = self.history.bytes.get_mut(&id).unwrap();
                bytes.sync();
                state.lens.insert(id, sectors * SECTOR);
            }
            Operation::Mode { name } => {
                let Some(id) = self.id(name) else { return };
                state.marks.entry(id).or_default().mode = Some(mode_of(value));
            }
            Operation::Mark { name, gone } => {
                let Some(id) = self.id(name) else { return };
                state.marks.entry(id).or_default().extended = (!gone).then_some(value);
            }
            Operation::SyncFile { .. } | Operation::Sync | Operation::Checkpoint => {}
        }
    }

    fn exchanged(&self, one: usize, two: usize, blocks: u64) -> Option<(Id, Id)> {
        let (one, two) = (self.id(one)?, self.id(two)?);
        let long = |id| self.len(id) >= blocks * BLOCK;
        (one != two && long(one) && long(two)).then_some((one, two))
    }

    fn make(&mut self, name: usize, state: &mut State) -> Id {
        self.files += 1;
        state.names.insert(NAMES[name].to_owned(), Some(self.files));
        state.lens.insert(self.files, 0);
        self.history.bytes.insert(self.files, Default::default());
        self.files
    }

    fn each(&mut self, id: Id, sectors: std::ops::Range<u64>, mut what: impl FnMut(&mut crate::history::Bytes, usize)) {
        let bytes = self.history.bytes.get_mut(&id).unwrap();
        sectors.for_each(|at| what(bytes, at as usize));
    }

    /// Whole blocks become zeros with the layout, the edges as by a write.
    fn zero(&mut self, id: Id, now: usize, sectors: std::ops::Range<u64>) {
        let whole = sectors.start.next_multiple_of(SECTORS)..sectors.end / SECTORS * SECTORS;
        self.each(id, sectors, |bytes, at| {
            let event = if whole.contains(&(at as u64)) { Event::Reset } else { Event::Write(0) };
            bytes.note(now, at, event);
        });
    }

    pub(crate) fn carry_out(&mut self, pool: &Pool, operation: &Operation) {
        let value = (self.history.now() - 1) as u32;
        let full = |sectors: u64| value.to_le_bytes().repeat((sectors * SECTOR / 4) as usize);
        // Where the model says that nothing is to be done, the call is refused.
        match *operation {
            Operation::Write { name, sector, sectors } => {
                pool.open_or_create(NAMES[name]).unwrap().write_at(sector * SECTOR, &full(sectors)).unwrap();
            }
            Operation::Truncate { name, sectors, detach } => {
                let Ok(file) = pool.open(NAMES[name]) else { return };
                let change = file.truncate(sectors * SECTOR);
                if detach { change.detach().wait().unwrap() } else { change.wait().unwrap() }
            }
            Operation::Punch { name, sector, sectors } => {
                let Ok(file) = pool.open(NAMES[name]) else { return };
                file.punch(sector * SECTOR..(sector + sectors) * SECTOR).wait().unwrap();
            }
            Operation::Zero { name, sector, sectors } => {
                let Ok(file) = pool.open(NAMES[name]) else { return };
                file.zero(sector * SECTOR..(sector + sectors) * SECTOR).wait().unwrap();
            }
            Operation::Collapse { name, block, blocks } => {
                let Ok(file) = pool.open(NAMES[name]) else { return };
                let _ = file.collapse(block * BLOCK..(block + blocks) * BLOCK).wait();
            }
            Operation::Insert { name, block, blocks } => {
                let Ok(file) = pool.open(NAMES[name]) else { return };
                let _ = file.insert(block * BLOCK, blocks * BLOCK).wait();
            }
            Operation::Exchange { one, two, blocks } => {
                let (Ok(one), Ok(two)) = (pool.open(NAMES[one]), pool.open(NAMES[two])) else { return };
                let _ = one.exchange(0..blocks * BLOCK, &two, 0).wait();
            }
            Operation::Unlink { name } => drop(pool.unlink(NAMES[name])),
            Operation::Rename { from, to, exchange } => {
                let how = if exchange { Rename::Exchange } else { Rename::Replace };
                let _ = pool.rename(NAMES[from], NAMES[to], how);
            }
            Operation::Link { from, to } => drop(pool.link(NAMES[from], NAMES[to])),
            Operation::Publish { name, sectors, written } => {
                let reservation = pool.reserve(sectors * SECTOR).try_now().unwrap();
                let pinned = reservation.pin(0..written * SECTOR).wait().unwrap();
                pinned.copy_in(0, &full(written)).unwrap();
                drop(pinned);
                reservation.publish(NAMES[name], Publish::Replace).unwrap();
            }
            Operation::Mode { name } => {
                let Ok(inode) = pool.inode(NAMES[name]) else { return };
                inode.set(&SetAttributes { mode: Some(mode_of(value)), ..Default::default() }).unwrap();
            }
            Operation::Mark { name, gone } => {
                let Ok(inode) = pool.inode(NAMES[name]) else { return };
                match gone {
                    true => drop(inode.remove_extended(MARK)),
                    false => inode.set_extended(MARK, &value.to_le_bytes(), Extend::Any).unwrap(),
                }
            }
            Operation::SyncFile { name } => {
                let Ok(file) = pool.open(NAMES[name]) else { return };
                file.sync().unwrap();
            }
            Operation::Sync => pool.sync().unwrap(),
            Operation::Checkpoint => pool.checkpoint().unwrap(),
        }
    }

    /// The operation is done.
    pub(crate) fn end(&mut self, operation: &Operation) {
        let done = self.history.now() - 1;
        match operation {
            Operation::Sync => {
                self.history.bytes.values_mut().for_each(crate::history::Bytes::sync);
                self.history.synced = done;
            }
            Operation::SyncFile { name } => {
                if let Some(id) = self.id(*name) {
                    self.history.bytes.get_mut(&id).unwrap().sync();
                    self.history.synced = done;
                }
            }
            _ => {}
        }
    }
}

/// Never what a file has whose mode nobody set.
fn mode_of(value: u32) -> u32 {
    0o1000 | value & 0o777
}

fn grow(state: &mut State, id: Id, len: u64) {
    let now = state.lens.entry(id).or_default();
    *now = (*now).max(len);
}

fn rename(state: &mut State, from: &str, to: &str, exchange: bool) {
    let (Some(source), target) = (state.names.get(from).copied(), state.names.get(to).copied()) else { return };
    if target == Some(source) || (exchange && target.is_none()) {
        return;
    }
    state.names.insert(to.to_owned(), source);
    match target.filter(|_| exchange) {
        Some(target) => drop(state.names.insert(from.to_owned(), target)),
        None => drop(state.names.remove(from)),
    }
}
