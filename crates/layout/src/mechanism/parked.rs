//! What is parked, and who reaches it.
//!
//! What a pin reaches is decided oldest first: of its range, the part that left the file after the pin's generation is in
//! the first parked extent that took it, and in no later one; what none took is in the file. (Otherwise one stuck pin
//! would keep every later generation of its range, and the pool would leak dry.)
//!
//! Stays true  B2: the pins that reach a parked extent only become fewer: its range was closed when it was parked, so
//!                 every pin that is older was published by then.
//!             B3: a piece that a pin reaches stays parked, so that later pieces of the same range know it was taken.
//! Lock order  `set` is taken after `breaks`, and after `returning`; members and marks after it.

#![allow(clippy::single_range_in_vec_init, reason = "sets of ranges, often of one")]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::sync::{Arc, AtomicU32, AtomicU64, Instant, Mutex, Ordering, lock};

use super::attribution::BusyExtentInfo;
use super::busy_extents::{BusyStats, CommitId, Extent};
use super::marks::PinKey;
use super::owner::{InTheWay, Member, Owner};
use super::parked_records::{ParkedRecord, ParkedRecords};
use super::segment::Reading;
use super::sleeper::WordRef;

/// The owner's set of parked extents.
#[derive(Default)]
pub(crate) struct Busy {
    pub(super) set: Mutex<Set>,
    records: Mutex<ParkedRecords>,
    /// How many objects have parked extents: a scan without any takes no lock.
    parked: AtomicU32,
    /// Held while blocks are on their way from here to the caller's allocator (see [`space`](super::space)).
    pub(super) returning: Mutex<()>,
    /// Grows when blocks came free or were parked, if anybody watches; who waits for space sleeps on it.
    pub(super) space: Arc<AtomicU64>,
    /// How many watch it.
    pub(super) watching: AtomicU32,
}

#[derive(Default)]
pub(super) struct Set {
    pub(super) by_object: HashMap<u64, Vec<Parked>>,
    /// Objects that parked something, and in which commit: oldest first, until that is durable.
    awaiting: VecDeque<(u64, u64)>,
    /// Objects that have durable extents: the ones that a reap looks at.
    pub(super) ready: BTreeSet<u64>,
    pub(super) commit: u64,
    pub(super) durable: u64,
}

impl Set {
    fn add(&mut self, parked: Parked) {
        let (commit, object) = (parked.commit, parked.extent.object);
        if self.awaiting.back() != Some(&(commit, object)) {
            self.awaiting.push_back((commit, object));
        }
        self.by_object.entry(object).or_default().push(parked);
    }

    /// Takes note that this commit and all older ones are durable. Whether something parked has become so.
    pub(super) fn note_durable(&mut self, durable_up_to: CommitId) -> bool {
        self.durable = self.durable.max(durable_up_to.0.min(self.commit));
        let awaited = self.awaiting.len();
        while let Some((_, object)) = self.awaiting.pop_front_if(|(commit, _)| *commit <= self.durable) {
            self.ready.insert(object);
        }
        self.awaiting.len() < awaited
    }

    /// How much is parked in commits that are not durable yet, whether pins reach it or not.
    pub(super) fn not_durable(&self) -> u64 {
        let parked = self.by_object.values().flatten().filter(|parked| parked.commit > self.durable);
        parked.map(|parked| parked.extent.len()).sum()
    }

    /// How much is parked, and why.
    pub(super) fn stats(&self, owner: &Owner) -> BusyStats {
        let mut stats = BusyStats::default();
        for (object, parked) in &self.by_object {
            let reachers = owner.reachers(*object, parked);
            for (parked, pieces) in parked.iter().zip(reached_pieces(parked, &reachers)) {
                let held = pieces.iter().filter(|(_, who)| !reachers[*who].way.is_quarantined());
                let all = union(pieces.iter().map(|(piece, _)| piece.clone()));
                let by_holders = union(held.map(|(piece, _)| piece.clone()));
                stats.pinned += by_holders;
                stats.quarantined += all - by_holders;
                let rest = parked.extent.len() - all;
                match parked.commit <= self.durable {
                    true => stats.free += rest,
                    false => stats.not_durable += rest,
                }
            }
        }
        stats
    }
}

#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub(super) extent: Extent,
    /// Pins of this generation and later do not reach it.
    pub(super) generation: u64,
    pub(super) commit: u64,
    /// Whether any pin may reach it at all: not if the range was drained.
    pub(super) reached: bool,
    pub(super) since: Instant,
    pub(super) said: u32,
    /// Parked by a former incarnation of the area.
    pub(super) inherited: bool,
    /// Its record in the header, where it outlives the owner.
    pub(super) entry: Option<u32>,
}

/// A pin that may reach parked extents of one object.
pub(crate) struct Reacher {
    pub(crate) way: InTheWay,
}

impl Reacher {
    fn key(&self) -> PinKey {
        PinKey::of(self.way.member.index, &self.way.pin)
    }
}

impl Busy {
    /// Parks what left (owner, under the `breaks` lock).
    pub(crate) fn park(
        &self,
        owner: &Owner,
        left: Vec<Extent>,
        generation_of: impl Fn(u64) -> u64,
        reached: bool,
    ) -> CommitId {
        let mut set = lock(&self.set);
        set.commit += 1;
        let commit = set.commit;
        owner.view.header.prologue().commit_high.store(commit, Ordering::Relaxed);
        for extent in left.into_iter().filter(|extent| !extent.is_empty()) {
            let generation = generation_of(extent.object);
            let mut parked = Parked {
                extent,
                generation,
                commit,
                reached,
                inherited: false,
                since: Instant::now(),
                said: 0,
                entry: None,
            };
            if reached {
                parked.entry = owner.keep_parked(&parked.extent, generation, commit);
            }
            set.add(parked);
        }
        self.count(&set);
        CommitId(commit)
    }

    pub(super) fn count(&self, set: &Set) {
        self.parked.store(set.by_object.len().min(u32::MAX as usize) as u32, Ordering::Release);
    }

    /// Whether blocks of `object` are parked.
    pub(crate) fn parks(&self, object: u64) -> bool {
        self.parked.load(Ordering::Acquire) > 0 && lock(&self.set).by_object.contains_key(&object)
    }

    /// Whether part of `pin` in `start..end` is still in the file, and not in what was parked after the pin was made.
    pub(crate) fn leaves_in_file(&self, pin: &Reading, start: u64, end: u64) -> bool {
        // ORDER: Acquire pairs with the Release in `count`. A break that parked did so before this one closed.
        if self.parked.load(Ordering::Acquire) == 0 {
            return true;
        }
        let set = lock(&self.set);
        let Some(parked) = set.by_object.get(&pin.object) else { return true };
        let mut rest = vec![pin.start.max(start)..pin.end.min(end)];
        for parked in parked.iter().filter(|parked| parked.generation > pin.generation) {
            rest = cut(rest, parked.extent.start, parked.extent.end).0;
        }
        !rest.is_empty()
    }
}

impl Owner {
    /// The live pins of `object` that are older than its youngest parked extent.
    pub(super) fn reachers(&self, object: u64, parked: &[Parked]) -> Vec<Reacher> {
        let Some(youngest) = parked.iter().filter(|p| p.reached).map(|p| p.generation).max() else { return Vec::new() };
        let chain = self.view.header.geometry().chain_of(object);
        let mut reachers = Vec::new();
        for member in self.members().iter() {
            let bell = WordRef::Bell(Arc::clone(&member.segment)).value();
            member.segment.find(chain, object, |pin| {
                if pin.generation < youngest && self.is_live(member, &pin) {
                    reachers.push(Reacher { way: InTheWay { member: Arc::clone(member), pin, bell } });
                }
                None::<()>
            });
        }
        reachers
    }
}

/// For each parked extent the pieces that are reached, and by which reachers.
pub(super) type Reached = Vec<Vec<(Range<u64>, usize)>>;

/// Oldest first: each part of a pin's range is reached in the first extent that took it after the pin was made.
pub(super) fn reached_pieces(parked: &[Parked], reachers: &[Reacher]) -> Reached {
    let mut reached: Reached = vec![Vec::new(); parked.len()];
    for (who, reacher) in reachers.iter().enumerate() {
        let pin = &reacher.way.pin;
        let mut rest = vec![pin.start..pin.end];
        for (index, parked) in parked.iter().enumerate() {
            if rest.is_empty() {
                break;
            }
            if parked.generation <= pin.generation {
                continue;
            }
            let (left, taken) = cut(rest, parked.extent.start, parked.extent.end);
            rest = left;
            reached[index].extend(taken.into_iter().map(|piece| (piece, who)));
        }
    }
    reached
}

/// Cuts `start..end` out of `ranges`: what is left, and what was taken.
pub(crate) fn cut(ranges: Vec<Range<u64>>, start: u64, end: u64) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let (mut left, mut taken) = (Vec::new(), Vec::new());
    for range in ranges {
        if range.start >= end || start >= range.end {
            left.push(range);
            continue;
        }
        taken.push(range.start.max(start)..range.end.min(end));
        if range.start < start {
            left.push(range.start..start);
        }
        if end < range.end {
            left.push(end..range.end);
        }
    }
    (left, taken)
}

/// Length of the union of ranges.
pub(super) fn union(ranges: impl Iterator<Item = Range<u64>>) -> u64 {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_by_key(|range| range.start);
    let mut end = 0;
    let mut length = 0;
    for range in ranges {
        length += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    length
}

impl Owner {
    /// Moves what is free out of one object's parked extents.
    pub(super) fn reap_object(&self, object: u64, parked: &mut Vec<Parked>, durable: u64, free: &mut Vec<Extent>) {
        let reachers = self.reachers(object, parked);
        let reached = reached_pieces(parked, &reachers);
        let before = cfg!(debug_assertions).then(|| parked.clone());
        let already_free = free.len();
        let mut kept = Vec::new();
        for (mut parked, pieces) in std::mem::take(parked).into_iter().zip(reached) {
            if parked.commit > durable {
                kept.push(parked);
                continue;
            }
            let whole = vec![parked.extent.start..parked.extent.end];
            let rest = pieces.iter().fold(whole, |rest, (piece, _)| cut(rest, piece.start, piece.end).0);
            free.extend(rest.iter().map(|range| parked.extent.part(range.start, range.end)));
            if pieces.is_empty() {
                self.drop_parked(&mut parked.entry);
                continue;
            }
            let still = rest.into_iter().fold(vec![parked.extent.start..parked.extent.end], |still, range| {
                cut(still, range.start, range.end).0
            });
            for range in still {
                let extent = parked.extent.part(range.start, range.end);
                let entry = match extent == parked.extent {
                    true => parked.entry.take(),
                    false => self.keep_parked(&extent, parked.generation, parked.commit),
                };
                kept.push(Parked { extent, entry, ..parked.clone() });
            }
            self.drop_parked(&mut parked.entry);
        }
        if let Some(before) = before {
            self.check_free(object, &before, &reachers, &free[already_free..]);
        }
        *parked = kept;
    }

    /// Looks once more whether anyone reaches what is given (Linux: the warning in `dax_disassociate_entry()`).
    ///
    /// Only pins that were `seen` before count: one that is published since then, at an older generation, is an attempt
    /// that will find the word changed and leave; `loom::a_pin_keeps_one_generation` meets one.
    fn check_free(&self, object: u64, before: &[Parked], seen: &[Reacher], free: &[Extent]) {
        let mut reachers = self.reachers(object, before);
        reachers.retain(|reacher| seen.iter().any(|seen| seen.key() == reacher.key()));
        for (parked, pieces) in before.iter().zip(reached_pieces(before, &reachers)) {
            for (piece, who) in pieces {
                let part = parked.extent.part(piece.start, piece.end);
                let given = free
                    .iter()
                    .find(|free| free.block < part.block + part.len() && part.block < free.block + free.len());
                assert!(given.is_none(), "{given:?} is given away while {:?} reaches it", reachers[who].way.pin);
            }
        }
    }

    pub(super) fn explain(&self, object: u64, parked: &[Parked], durable: u64) -> Vec<BusyExtentInfo> {
        let reachers = self.reachers(object, parked);
        let reached = reached_pieces(parked, &reachers);
        let info = |(parked, pieces): (&Parked, Vec<(Range<u64>, usize)>)| {
            let mut who: Vec<usize> = pieces.iter().map(|(_, who)| *who).collect();
            who.sort_unstable();
            who.dedup();
            let of = |member: &Member, pin: &Reading| self.describe(member, pin);
            BusyExtentInfo {
                object,
                range: parked.extent.start..parked.extent.end,
                blocks: parked.extent.block..parked.extent.block + parked.extent.len(),
                durable: parked.commit <= durable,
                pins: who.iter().map(|who| of(&reachers[*who].way.member, &reachers[*who].way.pin)).collect(),
                parked_for: parked.since.elapsed(),
            }
        };
        parked.iter().zip(reached).map(info).collect()
    }

    /// The extents that pins have kept for long, each once for every doubling of the time.
    pub(crate) fn lasting_extents(&self) -> Vec<BusyExtentInfo> {
        let mut set = lock(&self.busy.set);
        let durable = set.durable;
        let mut lasting = Vec::new();
        for (object, parked) in &mut set.by_object {
            let due = |parked: &Parked, after: Duration| {
                parked.reached && parked.since.elapsed() >= after.saturating_mul(1 << parked.said.min(30))
            };
            if !parked.iter().any(|parked| due(parked, self.lasting_after)) {
                continue;
            }
            let infos = self.explain(*object, parked, durable);
            for (parked, info) in parked.iter_mut().zip(infos) {
                if due(parked, self.lasting_after) && !info.pins.is_empty() {
                    parked.said += 1;
                    lasting.push(info);
                }
            }
        }
        lasting
    }

    /// Writes a parked extent where the next owner of this boot finds it.
    pub(super) fn keep_parked(&self, extent: &Extent, generation: u64, commit: u64) -> Option<u32> {
        let record = ParkedRecord { extent: *extent, generation, commit };
        lock(&self.busy.records).keep(&self.view.header, &record)
    }

    pub(super) fn drop_parked(&self, entry: &mut Option<u32>) {
        if entry.is_some() {
            lock(&self.busy.records).forget(&self.view.header, entry);
        }
    }

    /// Takes over what a former incarnation had parked, oldest first. Its commits count as durable: what they freed is
    /// free on the medium, or the caller says otherwise ([`BusyExtents::forget`]).
    pub(crate) fn inherit(&self, mut records: Vec<ParkedRecord>, commit_high: u64) {
        records.sort_by_key(|record| record.commit);
        let mut set = lock(&self.busy.set);
        set.commit = records.last().map_or(0, |youngest| youngest.commit).max(commit_high);
        set.durable = set.commit;
        self.view.header.prologue().commit_high.store(set.commit, Ordering::Relaxed);
        for ParkedRecord { extent, generation, commit } in records {
            let entry = self.keep_parked(&extent, generation, commit);
            let (since, said) = (Instant::now(), 0);
            let parked = Parked { extent, generation, commit, reached: true, inherited: true, since, said, entry };
            set.add(parked);
        }
        set.note_durable(CommitId::ALL);
        self.busy.count(&set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_leaves_both_sides() {
        let (left, taken) = cut(vec![0..10, 20..30], 5, 25);
        assert_eq!(left, vec![0..5, 25..30]);
        assert_eq!(taken, vec![5..10, 20..25]);
    }

    #[test]
    fn a_union_counts_overlaps_once() {
        assert_eq!(union([0..4, 2..6, 10..11].into_iter()), 7);
    }
}
