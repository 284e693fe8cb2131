//! Random pins, breaks and reaps, beside a dull model that has one entry per block and knows no ranges.
//!
//! The model moves real block numbers: a small allocator gets blocks from nobody but [`BusyExtents::reap`], prefers
//! those that were freed last, and gives them away at once. So a block that comes back too early is in another file in
//! the next step, and a pin that still reaches it is seen.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use common::Fixture;
use pinfold_layout::{
    Access, Area, AreaOptions, BreakError, BusyStats, CommitId, Effect, Extent, FreeExtent, Layout, PinInfo,
    PinRequest, PinSpec, Policy, Quiescent, Transfer, Until,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Objects are 7 and 8.
const OBJECTS: u64 = 2;
const FIRST_OBJECT: u64 = 7;
/// Positions of each object: few, so that ranges meet often.
const POSITIONS: u64 = 12;
/// Blocks on the medium: fewer than would do for a pool that leaks.
const BLOCKS: u64 = 48;

type Block = u64;
type Position = (u64, u64);

#[derive(Clone, Debug)]
enum Step {
    /// Pins what it needs; what is not mapped is allocated first, as by a write.
    Pin { object: u64, range: Range<u64>, device: bool, by_engine: bool },
    /// Drops the nth pin.
    Unpin(prop::sample::Index),
    /// Gives the nth pin up.
    Abandon(prop::sample::Index),
    /// A proof for everything that was given up.
    Prove,
    /// Frees what lies in `freed`, a part of what is broken.
    Free { policy: Policy, object: u64, range: Range<u64>, freed: Range<u64>, blocking: bool },
    /// Exchanges a range of one object with the same range of the other.
    Exchange { range: Range<u64> },
    /// Reaps what is durable: the nth commit and all before it.
    Reap(prop::sample::Index),
    /// Drops the object's layout and gets it anew.
    Reopen { object: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let object = || FIRST_OBJECT..FIRST_OBJECT + OBJECTS;
    let range = || (0..POSITIONS, 1..=POSITIONS).prop_map(|(start, len)| start..(start + len).min(POSITIONS));
    let policy = prop_oneof![Just(Policy::Wait), Just(Policy::Detach)];
    let step = prop_oneof![
        6 => (object(), range(), prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(object, range, device, by_engine)| Step::Pin { object, range, device, by_engine }),
        5 => any::<prop::sample::Index>().prop_map(Step::Unpin),
        1 => any::<prop::sample::Index>().prop_map(Step::Abandon),
        1 => Just(Step::Prove),
        8 => (policy, object(), range(), range(), prop::bool::weighted(0.2)).prop_map(
            |(policy, object, range, freed, blocking)| {
                // A part of what is broken, often none of it.
                let freed = freed.start.max(range.start)..freed.end.min(range.end).max(range.start);
                let freed = freed.start.min(freed.end)..freed.end;
                Step::Free { policy, object, range, freed, blocking }
            }
        ),
        2 => range().prop_map(|range| Step::Exchange { range }),
        4 => any::<prop::sample::Index>().prop_map(Step::Reap),
        1 => object().prop_map(|object| Step::Reopen { object }),
    ];
    prop::collection::vec(step, 1..60)
}

/// The truth that the area is compared with: where each block is, and what each pin reached when it was made.
#[derive(Default)]
struct Oracle {
    files: BTreeMap<Position, Block>,
    /// What left a file, with its commit.
    parked: BTreeMap<Block, CommitId>,
    /// The allocator; the last one freed is the first one used.
    free: Vec<Block>,
    pins: Vec<ModelPin>,
    durable: Option<CommitId>,
    commits: Vec<CommitId>,
}

struct ModelPin {
    /// Positions and the blocks that were there.
    reached: BTreeMap<Position, Block>,
    device: bool,
    held: HeldBy,
}

enum HeldBy {
    /// The pin, and whether its engine has it.
    Transfer {
        transfer: Transfer,
        by_engine: bool,
    },
    Quarantine,
}

impl Oracle {
    fn new() -> Self {
        Self { free: (0..BLOCKS).rev().collect(), ..Self::default() }
    }

    /// Maps what is not mapped; false, and nothing done, if there is no room for all of it.
    fn allocate(&mut self, object: u64, range: &Range<u64>) -> bool {
        let holes: Vec<_> =
            range.clone().map(|at| (object, at)).filter(|position| !self.files.contains_key(position)).collect();
        if holes.len() > self.free.len() {
            return false;
        }
        for position in holes {
            let block = self.free.pop().expect("counted above");
            // G1, in the one place where it would hurt.
            assert!(!self.is_reached(block), "block {block} is given away while a pin reaches it");
            self.files.insert(position, block);
        }
        true
    }

    fn is_reached(&self, block: Block) -> bool {
        self.pins.iter().any(|pin| pin.reached.values().any(|reached| *reached == block))
    }

    fn mapped(&self, object: u64, range: &Range<u64>) -> BTreeMap<Position, Block> {
        let positions = self.files.range((object, range.start)..(object, range.end));
        positions.map(|(position, block)| (*position, *block)).collect()
    }

    /// The pins that reach what is in the files in one of these ranges now.
    fn busy<'a>(&'a self, ranges: &'a [(u64, Range<u64>)]) -> impl Iterator<Item = &'a ModelPin> + 'a {
        self.pins.iter().filter(move |pin| {
            pin.reached.iter().any(|(position, block)| {
                ranges.iter().any(|(object, range)| position.0 == *object && range.contains(&position.1))
                    && self.files.get(position) == Some(block)
            })
        })
    }

    /// Takes what lies in the range out of the file, and says so in as few extents as there are runs.
    fn take_out(&mut self, object: u64, range: &Range<u64>) -> Vec<Extent> {
        let mut left: Vec<Extent> = Vec::new();
        for (position, block) in self.mapped(object, range) {
            self.files.remove(&position);
            let at = position.1;
            match left.last_mut().filter(|last| last.end == at && last.block + last.len() == block) {
                Some(last) => last.end += 1,
                None => left.push(Extent { object, start: at, end: at + 1, block }),
            }
        }
        left
    }

    fn exchange(&mut self, range: &Range<u64>) {
        let [first, second] = [FIRST_OBJECT, FIRST_OBJECT + 1];
        let (firsts, seconds) = (self.mapped(first, range), self.mapped(second, range));
        self.files.retain(|position, _| !range.contains(&position.1));
        self.files.extend(firsts.into_iter().map(|((_, at), block)| ((second, at), block)));
        self.files.extend(seconds.into_iter().map(|((_, at), block)| ((first, at), block)));
    }

    /// What a reap must give: durable, and reached by nobody.
    fn reapable(&self) -> BTreeSet<Block> {
        let durable = |commit: &CommitId| self.durable.is_some_and(|durable| *commit <= durable);
        let blocks = self.parked.iter().filter(|(block, commit)| durable(commit) && !self.is_reached(**block));
        blocks.map(|(block, _)| *block).collect()
    }

    fn stats(&self) -> BusyStats {
        let mut stats = BusyStats::default();
        let free = self.reapable();
        for block in self.parked.keys() {
            let reaches = |pin: &&ModelPin| pin.reached.values().any(|reached| reached == block);
            let in_quarantine = |pin: &ModelPin| matches!(pin.held, HeldBy::Quarantine);
            let mut by = self.pins.iter().filter(reaches);
            let count = match by.next() {
                None if free.contains(block) => &mut stats.free,
                None => &mut stats.not_durable,
                Some(first) if in_quarantine(first) && by.all(in_quarantine) => &mut stats.quarantined,
                Some(_) => &mut stats.pinned,
            };
            *count += 1;
        }
        stats
    }

    fn given_back(&mut self, free: Vec<FreeExtent>) {
        let expected = self.reapable();
        let mut given = BTreeSet::new();
        for extent in free.into_iter().map(FreeExtent::into_extent) {
            for block in extent.block..extent.block + extent.len() {
                assert!(given.insert(block), "block {block} is given twice in one reap");
            }
        }
        assert_eq!(given, expected, "what is durable and reached by nobody, all of it and nothing else");
        for block in given {
            self.parked.remove(&block).expect("it is parked until it is given, once");
            self.free.push(block);
        }
    }

    /// No block is lost, none is in two places.
    fn check(&self) {
        let everywhere = self.files.values().chain(self.parked.keys()).chain(&self.free);
        let mut blocks: Vec<_> = everywhere.copied().collect();
        blocks.sort_unstable();
        assert_eq!(blocks, (0..BLOCKS).collect::<Vec<_>>());
        for pin in &self.pins {
            for (position, block) in &pin.reached {
                // G1 as the contract says it: the same file at the same offset, or parked.
                let there = self.files.get(position) == Some(block) || self.parked.contains_key(block);
                assert!(there, "a pin of {position:?} reaches block {block}, which is neither there nor parked");
            }
        }
    }
}

/// The area under test and its model, in step.
struct InStep {
    fixture: Fixture,
    layouts: BTreeMap<u64, Layout>,
    oracle: Oracle,
    engine: PinSpec,
}

/// No device moves data in these tests.
struct AllQuiet;

// SAFETY: as the type says: none reaches any pin.
unsafe impl Quiescent for AllQuiet {
    fn covers(&self, _: &PinInfo) -> bool {
        true
    }
}

impl InStep {
    fn new(shared: bool) -> Self {
        let make = if shared { Area::shared } else { Area::embedded };
        let fixture = Fixture::of(make(AreaOptions::default()).unwrap());
        let layouts = (FIRST_OBJECT..FIRST_OBJECT + OBJECTS)
            .map(|object| (object, fixture.area.layout(object).unwrap()))
            .collect();
        let engine = PinSpec::device(Access::Write).labelled(fixture.holder.label("model", "").unwrap());
        Self { fixture, layouts, oracle: Oracle::new(), engine }
    }

    fn area(&self) -> &Area {
        &self.fixture.area
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Pin { object, range, device, by_engine } => self.pin(object, range, device, by_engine),
            Step::Unpin(nth) => drop(self.take_held(&nth)),
            Step::Abandon(nth) => self.abandon(&nth),
            Step::Prove => self.prove(),
            Step::Free { policy, object, range, freed, blocking } => self.free(policy, object, range, freed, blocking),
            Step::Exchange { range } => self.exchange(&range),
            Step::Reap(nth) => self.reap(&nth),
            Step::Reopen { object } => {
                self.layouts.remove(&object);
                let layout = self.area().layout(object).unwrap();
                self.layouts.insert(object, layout);
            }
        }
        self.compare();
    }

    fn pin(&mut self, object: u64, range: Range<u64>, device: bool, by_engine: bool) {
        if !self.oracle.allocate(object, &range) {
            return;
        }
        let spec = if device { self.engine } else { PinSpec::cpu(Access::Write) };
        let request = PinRequest { layout: &self.layouts[&object], range: range.clone(), spec };
        let oracle = &self.oracle;
        let resolve = |_| oracle.mapped(object, &range);
        let (mut transfer, mut resolved) =
            self.fixture.holder.transfer(&[request], Until::done(), resolve).expect("no break runs");
        if by_engine {
            transfer.hand_over();
        }
        let reached = resolved.pop().expect("one request");
        self.oracle.pins.push(ModelPin { reached, device, held: HeldBy::Transfer { transfer, by_engine } });
    }

    /// Takes the nth pin that has a holder out of the model.
    fn take_held(&mut self, nth: &prop::sample::Index) -> Option<ModelPin> {
        let held = |pin: &ModelPin| matches!(pin.held, HeldBy::Transfer { .. });
        let indices: Vec<_> =
            self.oracle.pins.iter().enumerate().filter(|(_, pin)| held(pin)).map(|(index, _)| index).collect();
        (!indices.is_empty()).then(|| self.oracle.pins.remove(*nth.get(&indices)))
    }

    fn abandon(&mut self, nth: &prop::sample::Index) {
        let Some(ModelPin { reached, device, held }) = self.take_held(nth) else { return };
        let HeldBy::Transfer { transfer, .. } = held else { unreachable!("it was taken for having a holder") };
        transfer.abandon();
        self.oracle.pins.push(ModelPin { reached, device, held: HeldBy::Quarantine });
    }

    fn prove(&mut self) {
        let before = self.oracle.pins.len();
        self.oracle.pins.retain(|pin| matches!(pin.held, HeldBy::Transfer { .. }));
        assert_eq!(self.area().release(&AllQuiet).unwrap(), before - self.oracle.pins.len());
    }

    fn free(&mut self, policy: Policy, object: u64, range: Range<u64>, freed: Range<u64>, blocking: bool) {
        let layout = self.layouts[&object].clone();
        let mut brk = self.area().break_layout(&[(&layout, range.clone())], policy, Effect::Frees).unwrap();
        let ranges = [(object, range)];
        let in_the_way: Vec<_> =
            self.oracle.busy(&ranges).filter(|pin| policy == Policy::Wait || !pin.device).collect();
        if in_the_way.is_empty() {
            let idle = if blocking { brk.drain(Until::done()) } else { brk.try_drain() };
            let oracle = &mut self.oracle;
            let mut left = Vec::new();
            let commit = idle.expect("nobody is in the way").commit(|| {
                left = oracle.take_out(object, &freed);
                left.clone()
            });
            for extent in left {
                oracle.parked.extend((extent.block..extent.block + extent.len()).map(|block| (block, commit)));
            }
            oracle.commits.push(commit);
        } else if blocking {
            let by_own_hand = |pin: &&ModelPin| matches!(pin.held, HeldBy::Transfer { by_engine: false, .. });
            match brk.drain(Until::after(Duration::ZERO)).map(drop).unwrap_err() {
                BreakError::Deadlock(_) => assert!(in_the_way.iter().any(by_own_hand)),
                // A copy's own thread is told only after the patience that copies are granted.
                BreakError::TimedOut(Some(_)) => assert!(!in_the_way.iter().all(|pin| by_own_hand(pin) && pin.device)),
                error => panic!("{error}"),
            }
        } else {
            let error = brk.try_drain().map(drop).unwrap_err();
            assert!(matches!(error, BreakError::Busy(_)), "{error}");
        }
    }

    fn exchange(&mut self, range: &Range<u64>) {
        let layouts: Vec<_> = self.layouts.values().cloned().collect();
        let ranges: Vec<_> = layouts.iter().map(|layout| (layout, range.clone())).collect();
        let mut brk = self.area().break_layout(&ranges, Policy::Wait, Effect::Moves).unwrap();
        let objects: Vec<_> = layouts.iter().map(|layout| (layout.object(), range.clone())).collect();
        let busy = self.oracle.busy(&objects).next().is_some();
        let drained = brk.try_drain();
        assert_eq!(drained.is_err(), busy);
        if let Ok(idle) = drained {
            let oracle = &mut self.oracle;
            let commit = idle.commit(|| {
                oracle.exchange(range);
                Vec::new()
            });
            oracle.commits.push(commit);
        }
    }

    fn reap(&mut self, nth: &prop::sample::Index) {
        if self.oracle.commits.is_empty() {
            return;
        }
        let durable = *nth.get(&self.oracle.commits);
        self.oracle.durable = self.oracle.durable.max(Some(durable));
        let free = self.area().busy_extents().reap(durable, |free| free);
        self.oracle.given_back(free);
    }

    fn compare(&self) {
        self.oracle.check();
        let area = self.area();
        assert_eq!(area.busy_extents().stats(), self.oracle.stats());
        assert_eq!((area.pins().len(), area.breaks().len()), (self.oracle.pins.len(), 0));
        for (object, layout) in &self.layouts {
            for at in 0..POSITIONS {
                let busy = self.oracle.busy(&[(*object, at..at + 1)]).next().is_some();
                assert_eq!(area.first_busy(layout, at..at + 1).is_some(), busy, "position {at} of object {object}");
            }
        }
        let parked: u64 = area.parked().iter().map(|info| info.blocks.end - info.blocks.start).sum();
        assert_eq!(parked, self.oracle.parked.len() as u64);
    }

    /// Everybody leaves, everything is freed: then nothing may be missing.
    fn end(mut self) {
        self.oracle.pins.retain(|pin| matches!(pin.held, HeldBy::Quarantine));
        self.prove();
        for object in self.layouts.keys().copied().collect::<Vec<_>>() {
            self.free(Policy::Wait, object, 0..POSITIONS, 0..POSITIONS, true);
        }
        self.oracle.durable = self.oracle.commits.last().copied();
        let free = self.area().busy_extents().reap(CommitId::ALL, |free| free);
        self.oracle.given_back(free);
        self.compare();
        assert_eq!((self.oracle.free.len() as u64, self.oracle.parked.len()), (BLOCKS, 0), "everything came back");
        assert_eq!((self.area().busy_extents().stats(), self.fixture.holder.pins()), (BusyStats::default(), 0));
    }
}

proptest! {
    // What fails is kept beside this file, and tried first from then on.
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("failures"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn g1_no_block_is_free_while_a_pin_reaches_it_and_all_come_back(shared in any::<bool>(), steps in steps()) {
        let mut in_step = InStep::new(shared);
        for step in steps {
            in_step.run(step);
        }
        in_step.end();
    }
}
