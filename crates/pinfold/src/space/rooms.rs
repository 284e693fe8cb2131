//! Rooms: free blocks that are kept for the file that ends before them.
//!
//! Files that grow by turns would take block after block from the start of the same free run, and none would ever
//! continue in place. So an append leaves as much room behind it as its file has grown in one go: a file of n blocks
//! then has O(log n) extents, and no more is set aside than was asked for. Ext3 calls this a reservation window, XFS
//! speculative preallocation.
//!
//! A room is a wish, not a promise: its blocks count as free, and go to whoever finds no other place.
//!
//! Stays true  F4: a room's blocks are in no free run, and in no other room.
//!             F5: the block before a room is in use: who frees it ends the room. So a room goes with its file, and
//!                 rooms do not touch.
//! Who calls   `FreeSpace` alone.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

/// How many rooms there are at most.
const ROOMS_MAX: usize = 1024;

/// The rooms, by their first block.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: BTreeMap<u64, Room>,
    /// Blocks in all of them.
    kept: u64,
    /// The hand of a clock over the pool, which ends a room when there are too many, and spares those that were used
    /// since it came by: so files that were written twice do not end the rooms of those that go on.
    hand: u64,
}

/// What is kept behind one file. An empty room still remembers how its file grew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// Blocks that are kept.
    pub(super) len: u64,
    /// Blocks that the file took, append after append.
    pub(super) grown: u64,
    /// Whether its file came back since the hand passed.
    pub(super) used: bool,
}

impl Rooms {
    /// Takes `want` blocks from the front of the room at `start`, if they are there.
    pub(super) fn take(&mut self, start: u64, want: u64) -> Option<Range<u64>> {
        let room = *self.rooms.get(&start).filter(|room| want <= room.len)?;
        let taken = start..start + want;
        self.kept -= want;
        self.rooms.remove(&start);
        self.rooms.insert(taken.end, Room { len: room.len - want, grown: room.grown + want, used: true });
        Some(taken)
    }

    /// Keeps `room` at `start`. Returns what another room has to give up for it.
    #[must_use]
    pub(super) fn keep(&mut self, start: u64, room: Room) -> Range<u64> {
        self.kept += room.len;
        let displaced = self.rooms.insert(start, room);
        debug_assert!(displaced.is_none_or(|old| old.len == 0), "F5: a room behind a block that was free");
        if self.rooms.len() <= ROOMS_MAX {
            return start..start;
        }
        self.end_unused()
    }

    /// Ends the next room that was not used since the hand passed it.
    fn end_unused(&mut self) -> Range<u64> {
        loop {
            let next = self.rooms.range_mut(self.hand..).next();
            let Some((start, room)) = next else {
                self.hand = 0;
                continue;
            };
            self.hand = start + 1;
            if !std::mem::take(&mut room.used) {
                let start = *start;
                return self.end(start).map_or(start..start, |room| start..start + room.len);
            }
        }
    }

    /// Ends the room at `start`; the caller gives its blocks back.
    pub(super) fn end(&mut self, start: u64) -> Option<Room> {
        let room = self.rooms.remove(&start)?;
        self.kept -= room.len;
        Some(room)
    }

    /// The first block of the first room that begins in `starts`.
    pub(super) fn first(&self, starts: RangeInclusive<u64>) -> Option<u64> {
        self.rooms.range(starts).next().map(|(start, _)| *start)
    }

    /// Whether `block` is kept in a room.
    pub(super) fn contains(&self, block: u64) -> bool {
        self.rooms.range(..=block).next_back().is_some_and(|(start, room)| block < start + room.len)
    }

    /// Empties all rooms: their files are remembered, and given room again when they come back.
    pub(super) fn empty(&mut self) -> impl Iterator<Item = Range<u64>> {
        self.kept = 0;
        self.rooms.iter_mut().map(|(start, room)| *start..start + std::mem::take(&mut room.len))
    }

    /// The rooms that are not empty, in order of place.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.rooms.iter().filter(|(_, room)| room.len > 0).map(|(start, room)| *start..start + room.len)
    }

    /// How many blocks are kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// F5, and how many rooms there are.
    #[cfg(test)]
    pub(super) fn check(&self, is_free: impl Fn(u64) -> bool) {
        assert!(self.rooms.len() <= ROOMS_MAX, "too many rooms");
        assert_eq!(self.kept, self.rooms.values().map(|room| room.len).sum::<u64>(), "miscounted");
        for (start, room) in &self.rooms {
            assert!(start.checked_sub(1).is_some_and(|before| !is_free(before)), "F5: {room:?} at {start}");
        }
    }
}
