//! Free space: the blocks of a pool that belong to nobody.
//!
//! Where a run is taken:
//! 1. Behind the block that it continues, if that is free.
//! 2. If it is short, from the smallest free run that holds it, so that long runs stay long.
//! 3. From 2 MiB on, where block and file block are congruent, so that the memory can be mapped by huge pages; else
//!    from the smallest run that holds it; else in pieces, from the longest runs.
//!
//! A file that grows is given room for as much again (see `rooms`). What is kept so is free all the same, and is used
//! before anything is cut into pieces.
//!
//! Stays true  F1: `free` is what lies in free runs and in rooms, and no block is in both.
//!             F2: what is taken lay in here, and is no longer: no block is given out twice (G1).
//! Costs       O(log n) for each run that is taken or given back, n free runs; a search looks at a few runs. Where no
//!             run is long enough, the rooms are emptied first, `ROOMS_MAX` of them at most.
//! Who calls   the allocator, under its `space` lock; nothing here locks, waits, or touches the memory itself.
//! A crash     leaves nothing: what is free follows from the maps of the files.

mod rooms;
mod runs;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rooms::{Room, Rooms};
use runs::{Runs, len};

/// How many runs are tried for a congruent place, before one that is long enough to have one for certain.
const TRIED_MAX: usize = 8;
/// A room is at most that many times 2 MiB,
const ROOM_MAX: u64 = 16;
/// and at most one part in that many of what is free.
const ROOM_SHARE: u64 = 256;

/// Where a run would best lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Goal {
    /// The block that it continues: the one which has the file's block before `at`, as for an append.
    pub(crate) after: Option<u64>,
    /// The file's block that it is for. Block and file block are best congruent modulo 2 MiB.
    pub(crate) at: u64,
}

/// The free blocks of a pool.
#[derive(Debug)]
pub(crate) struct FreeSpace {
    blocks: u64,
    align: u64,
    /// Blocks in `runs` and `rooms`.
    free: u64,
    runs: Runs,
    rooms: Rooms,
}

impl FreeSpace {
    /// A pool of `blocks` blocks, none of them free. `align` is how many make 2 MiB: 1 if one block does.
    pub(crate) fn new(blocks: u64, align: u64) -> Self {
        debug_assert!(align > 0 && blocks <= u64::MAX / 2, "{blocks} blocks, {align} to 2 MiB");
        Self { blocks, align, free: 0, runs: Runs::default(), rooms: Rooms::default() }
    }

    /// The pool has more blocks. They are in use.
    pub(crate) fn grow(&mut self, blocks: u64) {
        debug_assert!(blocks >= self.blocks, "a pool only grows");
        self.blocks = blocks;
    }

    /// How many blocks are free.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// How many blocks the longest free run has. Looks at each room: for statistics, not for each operation.
    pub(crate) fn longest(&self) -> u64 {
        let with_rooms = self.rooms.iter().map(|room| self.behind(room.end).end - room.start);
        let without = self.runs.longest().map(|run| len(&run));
        with_rooms.chain(without).max().unwrap_or(0)
    }

    /// Whether `block` is free.
    pub(crate) fn contains(&self, block: u64) -> bool {
        self.runs.at(block).is_some() || self.rooms.contains(block)
    }

    /// The free runs, in order of place.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let mut runs = self.runs.iter().peekable();
        let mut rooms = self.rooms.iter().peekable();
        std::iter::from_fn(move || {
            let Some(room) = rooms.next_if(|room| runs.peek().is_none_or(|run| room.start < run.start)) else {
                return runs.next();
            };
            // By F5 nothing but a run of the index can touch a room, and that only behind it.
            let behind = runs.next_if(|run| run.start == room.end);
            Some(room.start..behind.map_or(room.end, |run| run.end))
        })
    }

    /// Takes `want` blocks, in as few and as long runs as there are, in the order of the file. `None` if fewer are free:
    /// then nothing is taken.
    pub(crate) fn take(&mut self, want: u64, goal: Goal) -> Option<Vec<Range<u64>>> {
        if want > self.free {
            return None;
        }
        if want == 0 {
            return Some(Vec::new());
        }
        self.free -= want;
        let mut taken = Vec::new();
        match goal.after {
            None => self.take_rest(want, goal.at, 0, &mut taken),
            Some(after) => match self.rooms.take(after + 1, want) {
                Some(run) => taken.push(run),
                None => self.append(want, goal.at, after + 1, &mut taken),
            },
        }
        Some(taken)
    }

    /// Gives back blocks that were taken.
    pub(crate) fn give_back(&mut self, run: Range<u64>) {
        debug_assert!(run.start <= run.end && run.end <= self.blocks, "{run:?} is not in a pool of {}", self.blocks);
        if run.is_empty() {
            return;
        }
        debug_assert!(!self.contains(run.start) && !self.contains(run.end - 1), "{run:?} is given back twice");
        while let Some(room) = self.rooms.first(run.start + 1..=run.end) {
            self.end_room(room);
        }
        self.free += len(&run);
        self.runs.add(run);
        debug_assert!(self.free <= self.blocks, "more is free than there is");
    }

    /// Takes `want` blocks for a file that grows: from `next` on, if that is free, and keeps room behind them.
    fn append(&mut self, want: u64, at: u64, next: u64, taken: &mut Vec<Range<u64>>) {
        let before = self.end_room(next);
        let grown = before + want;
        let room = self.room_for(grown, at + want);
        let here = self.behind(next);
        let here = self.take_piece(next..here.end.min(next + want), taken);
        self.take_rest(want - here, at + here, room, taken);
        if let Some(last) = taken.last() {
            self.keep_room(last.end, Room { len: room, grown, used: before > 0 });
        }
    }

    /// Takes `want` blocks, with that much `room` behind them where there is such a place.
    fn take_rest(&mut self, mut want: u64, mut at: u64, room: u64, taken: &mut Vec<Range<u64>>) {
        while want > 0 {
            let piece = self.place(want, at, room);
            let len = self.take_piece(piece, taken);
            (want, at) = (want - len, at + len);
        }
    }

    fn take_piece(&mut self, piece: Range<u64>, taken: &mut Vec<Range<u64>>) -> u64 {
        let len = len(&piece);
        self.runs.cut(piece.clone());
        match taken.last_mut() {
            Some(last) if last.end == piece.start => last.end = piece.end,
            _ if len == 0 => {}
            _ => taken.push(piece),
        }
        len
    }

    /// The best place for as many of `want` blocks as there is one for.
    fn place(&mut self, want: u64, at: u64, room: u64) -> Range<u64> {
        let roomy = if room > 0 { self.whole(want + room, at) } else { None };
        if let Some(start) = roomy.or_else(|| self.whole(want, at)) {
            return start..start + want;
        }
        if self.rooms.kept() > 0 {
            self.empty_rooms();
            return self.place(want, at, room);
        }
        self.part(at)
    }

    /// Where a run that holds `want` blocks is best cut.
    fn whole(&self, want: u64, at: u64) -> Option<u64> {
        let smallest = self.runs.holding(want).next()?.start;
        if want < self.align {
            return Some(smallest);
        }
        Some(self.congruent(want, at).unwrap_or(smallest))
    }

    /// Where `want` blocks are free and congruent to the file block `at`.
    fn congruent(&self, want: u64, at: u64) -> Option<u64> {
        let certain = self.runs.holding(want + self.align - 1).take(1);
        let mut tried = self.runs.holding(want).take(TRIED_MAX).chain(certain);
        tried.find_map(|run| Some(self.first_congruent(run.start, at)).filter(|start| start + want <= run.end))
    }

    /// Of the longest run as much as is good for the file from `at` on, which needs more than that: whole congruent
    /// stretches of 2 MiB, so that the next piece can begin with one too; all of it where it holds none.
    fn part(&self, at: u64) -> Range<u64> {
        let Some(run) = self.runs.longest() else { unreachable!("F1: fewer blocks are free than were counted") };
        let start = self.first_congruent(run.start, at);
        let len = run.end.saturating_sub(start);
        let len = len.saturating_sub((at + len) % self.align);
        if len < self.align {
            return run;
        }
        start..start + len
    }

    /// The first block from `start` on that is congruent to the file block `at`.
    fn first_congruent(&self, start: u64, at: u64) -> u64 {
        start + (at % self.align + self.align - start % self.align) % self.align
    }

    /// What is free from `block` on, rooms apart; empty if `block` is not.
    fn behind(&self, block: u64) -> Range<u64> {
        self.runs.at(block).unwrap_or(block..block)
    }

    /// How much room a file that has `grown` by so much is given behind its block `end`. A long room ends where 2 MiB of
    /// the file do, so that the next one can begin congruent.
    fn room_for(&self, grown: u64, end: u64) -> u64 {
        let len = grown.min(ROOM_MAX * self.align).min(self.free / ROOM_SHARE);
        let over = (end + len) % self.align;
        if len < self.align { len } else { len - over }
    }

    /// Keeps `room` from `start` on, as far as it is free, for the file that ends there.
    fn keep_room(&mut self, start: u64, room: Room) {
        let kept = start..self.behind(start).end.min(start + room.len);
        self.runs.cut(kept.clone());
        let given_up = self.rooms.keep(start, Room { len: len(&kept), ..room });
        self.runs.add(given_up);
    }

    /// Ends the room at `start`, if there is one; returns how far its file had grown.
    fn end_room(&mut self, start: u64) -> u64 {
        let Some(room) = self.rooms.end(start) else { return 0 };
        self.runs.add(start..start + room.len);
        room.grown
    }

    fn empty_rooms(&mut self) {
        for room in self.rooms.empty() {
            self.runs.add(room);
        }
    }

    /// F1, F3, F4 and F5.
    #[cfg(test)]
    fn check(&self) {
        self.runs.check();
        self.rooms.check(|block| self.contains(block));
        let mut free: Vec<_> = self.runs.iter().chain(self.rooms.iter()).collect();
        free.sort_by_key(|run| run.start);
        assert!(free.is_sorted_by(|run, next| run.end <= next.start), "F1, F4: a block is free twice");
        assert_eq!(self.free, free.iter().map(len).sum::<u64>(), "F1: miscounted");
    }
}
