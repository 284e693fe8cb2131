//! What a file is made of: runs of blocks, and the holes between them.
//!
//! Stays true  E1: runs do not overlap, none is empty, and neighbours that could be one run are one.
//!             E2: a block that is set aside holds whatever it held before: nobody may read it (G10).
//!             E3: every filled run lies in `filled`.
//! Who may     whoever holds the file's map lock. What is put in and what is taken out is the callers' business: see M1
//!             in [`node`](crate::node).

mod by_place;

use std::ops::Range;

use by_place::ByPlace;

/// What blocks hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Whatever they held before: the file reads as zeros here.
    SetAside,
    /// The file's bytes. On the medium they count as set aside still: their bytes are not durable yet.
    Filled,
    /// The file's bytes, on the medium too. In a pool that has none, all that is filled is written.
    Written,
}

/// Blocks of the pool in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// The first, as a pool block.
    pub(crate) block: u64,
    /// How many blocks. Never 0.
    pub(crate) len: u64,
    pub(crate) state: State,
}

impl Run {
    /// Whether they hold the file's bytes. If not, the file reads as zeros here.
    pub(crate) fn holds_bytes(&self) -> bool {
        self.state != State::SetAside
    }

    pub(crate) fn end(&self) -> u64 {
        self.block + self.len
    }

    /// The part that begins `skip` blocks in and is `len` long.
    fn part(&self, skip: u64, len: u64) -> Self {
        Self { block: self.block + skip, len, ..*self }
    }
}

/// A part of a file: a run, or a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// Its first file block.
    pub(crate) at: u64,
    /// How many blocks.
    pub(crate) len: u64,
    /// What it is made of; `None` for a hole.
    pub(crate) run: Option<Run>,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.at + self.len
    }

    /// The pool block of a piece that holds the file's bytes.
    pub(crate) fn bytes_at(&self) -> Option<u64> {
        self.run.filter(Run::holds_bytes).map(|run| run.block)
    }
}

/// The runs of one file, by file block.
#[derive(Default, Clone, Debug)]
pub(crate) struct ExtentMap {
    runs: ByPlace,
    blocks: u64,
    filled: Range<u64>,
}

impl ExtentMap {
    /// The map of runs that are in order, and do not overlap.
    pub(crate) fn from_runs(runs: Vec<(u64, Run)>) -> Self {
        let blocks = runs.iter().map(|(_, run)| run.len).sum();
        Self { runs: ByPlace::from_runs(runs), blocks, filled: 0..0 }
    }

    /// How many runs there are.
    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }

    /// Every filled piece.
    pub(crate) fn filled(&self) -> Vec<Piece> {
        let filled = |piece: &Piece| piece.run.is_some_and(|run| run.state == State::Filled);
        match self.filled.is_empty() {
            true => Vec::new(),
            false => self.pieces_there(self.filled.clone()).filter(filled).collect(),
        }
    }

    /// The pieces of a range that are runs.
    pub(crate) fn pieces_in(&self, range: Range<u64>) -> Vec<Piece> {
        self.pieces_there(range).collect()
    }

    /// The file block after the last one that is no hole.
    pub(crate) fn end(&self) -> u64 {
        self.runs.last().map_or(0, |(at, run)| at + run.len)
    }

    /// The pieces of a range that are runs: what is a hole is passed over.
    fn pieces_there(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let first = self.runs.before(range.start).filter(|(at, run)| at + run.len > range.start);
        let end = range.end;
        let all = first.into_iter().chain(self.runs.from(range.start).take_while(move |(at, _)| *at < end));
        all.map(move |(at, run)| {
            let (start, end) = (at.max(range.start), (at + run.len).min(range.end));
            Piece { at: start, len: end - start, run: Some(run.part(start - at, end - start)) }
        })
    }

    /// How many blocks it has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Every run, with its first file block, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, Run)> + '_ {
        self.runs.iter()
    }

    /// The piece that begins at `at` and ends at `end` at the latest.
    pub(crate) fn piece(&self, at: u64, end: u64) -> Piece {
        if let Some((start, run)) = self.runs.at_or_before(at)
            && start + run.len > at
        {
            let skip = at - start;
            let len = (run.len - skip).min(end - at);
            return Piece { at, len, run: Some(run.part(skip, len)) };
        }
        let next = self.runs.from(at).next().map_or(end, |(start, _)| start.min(end));
        Piece { at, len: next - at, run: None }
    }

    /// The pieces of a range, in order, holes included.
    pub(crate) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let mut at = range.start;
        std::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let piece = self.piece(at, range.end);
            at = piece.end();
            Some(piece)
        })
    }

    /// The pool block that holds the file block before `at`.
    pub(crate) fn before(&self, at: u64) -> Option<u64> {
        let (start, run) = self.runs.before(at)?;
        (start + run.len == at).then_some(run.end() - 1)
    }

    /// Puts a run into a hole.
    pub(crate) fn insert(&mut self, at: u64, run: Run) {
        debug_assert!(run.len > 0);
        debug_assert!(self.piece(at, at + run.len) == Piece { at, len: run.len, run: None }, "{at} is no hole");
        self.blocks += run.len;
        self.note_filled(at, &run);
        self.put(at, run);
    }

    fn note_filled(&mut self, at: u64, run: &Run) {
        if run.state == State::Filled {
            self.filled = match self.filled.is_empty() {
                true => at..at + run.len,
                false => self.filled.start.min(at)..self.filled.end.max(at + run.len),
            };
        }
    }

    /// Inserts without counting, and makes one run of neighbours that fit (E1).
    fn put(&mut self, mut at: u64, mut run: Run) {
        let fits = |before: &Run, after: &Run| before.end() == after.block && before.state == after.state;
        if let Some((start, before)) = self.runs.before(at)
            && start + before.len == at
            && fits(&before, &run)
        {
            (at, run) = (start, Run { len: before.len + run.len, ..before });
        }
        if let Some(after) = self.runs.get(at + run.len)
            && fits(&run, &after)
        {
            let end = at + run.len;
            run.len += after.len;
            self.runs.remove(end);
        }
        self.runs.insert(at, run);
    }

    /// Takes the runs of a range out, cut where they reach over its ends; what they were.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> Vec<(u64, Run)> {
        self.cut(range.start);
        self.cut(range.end);
        let removed: Vec<_> = self.runs.from(range.start).take_while(|(at, _)| *at < range.end).collect();
        for (at, _) in &removed {
            self.runs.remove(*at);
        }
        self.blocks -= removed.iter().map(|(_, run)| run.len).sum::<u64>();
        removed
    }

    /// Makes `at` a place where a run begins, if it is inside one. The caller makes E1 hold again.
    fn cut(&mut self, at: u64) {
        let Some((start, whole)) = self.runs.before(at) else { return };
        if start + whole.len > at {
            self.runs.insert(start, whole.part(0, at - start));
            self.runs.insert(at, whole.part(at - start, start + whole.len - at));
        }
    }

    /// Says what the blocks of `piece` hold, where the file is still made of them. What was changed.
    pub(crate) fn set_state(&mut self, piece: &Piece, state: State) -> Vec<Piece> {
        let Some(expected) = piece.run else { return Vec::new() };
        let same = |now: &Piece| now.run.is_some_and(|run| run.block == expected.block + (now.at - piece.at));
        let differs = |now: &Piece| now.run.is_some_and(|run| run.state != state);
        let now: Vec<Piece> = self.pieces_there(piece.at..piece.end()).filter(same).filter(differs).collect();
        for part in &now {
            for (at, run) in self.remove(part.at..part.end()) {
                self.insert(at, Run { state, ..run });
            }
        }
        now
    }

    /// Says that filled pieces are written, where the file is still made of them. What was changed.
    pub(crate) fn set_written(&mut self, pieces: &[Piece]) -> Vec<Piece> {
        let changed = pieces.iter().flat_map(|piece| self.set_state(piece, State::Written)).collect();
        let left = self.filled();
        self.filled = match (left.first(), left.last()) {
            (Some(first), Some(last)) => first.at..last.end(),
            _ => 0..0,
        };
        changed
    }

    /// Moves everything from `from` on by `by` blocks up (`by` > 0) or down. Below lies a hole of that length.
    pub(crate) fn shift(&mut self, from: u64, by: i64) {
        self.cut(from);
        if self.filled.end > from {
            self.filled = self.filled.start.min(from.saturating_add_signed(by.min(0)))..u64::MAX;
        }
        let moved = self.runs.split_off(from);
        for (at, run) in moved {
            self.put(at.checked_add_signed(by).expect("shifts stay in the file"), run);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn run(block: u64, len: u64) -> Run {
        Run { block, len, state: State::Written }
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut map = ExtentMap::default();
        map.insert(0, run(10, 2));
        map.insert(4, run(14, 2));
        map.insert(2, run(12, 2));
        assert_eq!(map.runs().collect::<Vec<_>>(), [(0, run(10, 6))]);
        assert_eq!((map.before(6), map.before(8)), (Some(15), None));
    }

    #[test]
    fn an_unwritten_neighbour_stays_apart_until_it_is_written() {
        let mut map = ExtentMap::default();
        map.insert(0, run(10, 2));
        map.insert(2, Run { block: 12, len: 2, state: State::SetAside });
        assert_eq!(map.runs().count(), 2);
        map.set_state(&map.piece(2, 3), State::Written);
        assert_eq!(map.runs().next(), Some((0, run(10, 3))));
        map.set_state(&map.piece(3, 4), State::Written);
        assert_eq!(map.runs().count(), 1);
    }

    #[test]
    fn blocks_that_were_exchanged_meanwhile_are_not_marked() {
        let mut map = ExtentMap::default();
        map.insert(0, Run { block: 10, len: 2, state: State::SetAside });
        let before = map.piece(0, 2);
        map.remove(0..2);
        map.insert(0, Run { block: 20, len: 2, state: State::SetAside });
        map.set_state(&before, State::Written);
        assert_eq!(map.piece(0, 2).bytes_at(), None);
    }

    /// One entry for each block and no runs: the truth that the map is compared with.
    type Oracle = BTreeMap<u64, (u64, State)>;

    #[derive(Clone, Debug)]
    enum Step {
        Fill(u64, u64, State),
        Remove(u64, u64),
        Mark(u64, u64, State),
        /// All that is filled is written.
        Sync,
        Collapse(u64, u64),
        Open(u64, u64),
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![Just(State::SetAside), Just(State::Filled), Just(State::Written)]
    }

    fn step() -> impl Strategy<Value = Step> {
        let range = (0..40u64, 1..12u64);
        prop_oneof![
            (range.clone(), state()).prop_map(|((at, len), state)| Step::Fill(at, len, state)),
            range.clone().prop_map(|(at, len)| Step::Remove(at, len)),
            (range.clone(), state()).prop_map(|((at, len), state)| Step::Mark(at, len, state)),
            Just(Step::Sync),
            range.clone().prop_map(|(at, len)| Step::Collapse(at, len)),
            range.prop_map(|(at, len)| Step::Open(at, len)),
        ]
    }

    fn shifted(oracle: &Oracle, from: u64, by: i64) -> Oracle {
        let to = |at: u64| if at < from { at } else { at.checked_add_signed(by).unwrap() };
        oracle.iter().map(|(at, block)| (to(*at), *block)).collect()
    }

    fn apply(map: &mut ExtentMap, oracle: &mut Oracle, step: Step, next: &mut u64) {
        match step {
            Step::Fill(at, len, state) => {
                let holes: Vec<_> = map.pieces(at..at + len).filter(|piece| piece.run.is_none()).collect();
                for hole in holes {
                    map.insert(hole.at, Run { block: *next, len: hole.len, state });
                    oracle.extend((0..hole.len).map(|i| (hole.at + i, (*next + i, state))));
                    *next += hole.len;
                }
            }
            Step::Remove(at, len) => {
                let left: u64 = map.remove(at..at + len).iter().map(|(_, run)| run.len).sum();
                let before = oracle.len() as u64;
                oracle.retain(|block, _| !(at..at + len).contains(block));
                assert_eq!(left, before - oracle.len() as u64);
            }
            Step::Mark(at, len, state) => {
                let pieces: Vec<_> = map.pieces(at..at + len).collect();
                pieces.iter().for_each(|piece| drop(map.set_state(piece, state)));
                oracle.range_mut(at..at + len).for_each(|(_, block)| block.1 = state);
            }
            Step::Sync => {
                let filled = map.filled();
                let blocks: u64 = filled.iter().map(|piece| piece.len).sum();
                assert_eq!(blocks, oracle.values().filter(|(_, state)| *state == State::Filled).count() as u64, "E3");
                assert_eq!(map.set_written(&filled), filled);
                oracle
                    .values_mut()
                    .filter(|(_, state)| *state == State::Filled)
                    .for_each(|block| block.1 = State::Written);
            }
            Step::Collapse(at, len) => {
                map.remove(at..at + len);
                map.shift(at + len, -(len as i64));
                oracle.retain(|block, _| !(at..at + len).contains(block));
                *oracle = shifted(oracle, at + len, -(len as i64));
            }
            Step::Open(at, len) => {
                map.shift(at, len as i64);
                *oracle = shifted(oracle, at, len as i64);
            }
        }
    }

    fn check(map: &ExtentMap, oracle: &Oracle) {
        let blocks = map.runs().flat_map(|(at, run)| (0..run.len).map(move |i| (at + i, (run.block + i, run.state))));
        assert_eq!(&blocks.collect::<Oracle>(), oracle);
        assert_eq!(map.blocks(), oracle.len() as u64);
        let runs: Vec<_> = map.runs().collect();
        for pair in runs.windows(2) {
            let ((at, run), (next, after)) = (pair[0], pair[1]);
            assert!(at + run.len <= next, "runs overlap");
            let one = at + run.len == next && run.end() == after.block && run.state == after.state;
            assert!(!one, "neighbours that could be one run");
        }
        let covered: u64 = map.pieces(0..100).map(|piece| piece.len).sum();
        assert_eq!(covered, 100, "pieces leave nothing out");
    }

    proptest! {
        #[test]
        fn a_map_of_runs_is_a_map_of_blocks(steps in prop::collection::vec(step(), 1..60)) {
            let (mut map, mut oracle, mut next) = (ExtentMap::default(), Oracle::new(), 1000);
            for step in steps {
                apply(&mut map, &mut oracle, step, &mut next);
                check(&map, &oracle);
            }
        }
    }
}
