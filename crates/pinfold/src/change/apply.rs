//! How a change is made, once nobody is in its ranges.
//!
//! What can fail comes first (blocks are taken, the part of a block that is kept is copied); then the commit, which cannot.

use std::ops::Range;
use std::sync::MutexGuard;

use pinfold_layout::{Effect, Extent, Idle, Policy};

use super::{Change, Operation};
use crate::allocator::Fresh;
use crate::error::{ChangeError, SpaceError};
use crate::extents::{Piece, Run, State};
use crate::file::{File, OpenFile};
use crate::lock::{lock, read, write};
use crate::medium::record::{Draft, Entry};
use crate::moments::{Moment, pass};
use crate::node::FileMap;
use crate::space::Goal;

impl Change<'_> {
    /// Makes what frees and moves nothing. False if it has come to free something meanwhile: then it has to be planned
    /// again.
    pub(super) fn make_in_place(&self) -> Result<bool, ChangeError> {
        match &self.operation {
            Operation::Truncate { len } => return self.grow(*len),
            Operation::Punch(range) => self.zero_edges(range)?,
            Operation::Zero { range, keep_size } => {
                self.file.open.set_aside_pinned(range).map_err(self.space())?;
                self.zero_edges(range)?;
                self.grow_unless(*keep_size, range.end)?;
            }
            Operation::Collapse(_) | Operation::Insert { .. } | Operation::Exchange { .. } => {
                unreachable!("what moves blocks is always broken")
            }
        }
        Ok(true)
    }

    fn grow(&self, len: u64) -> Result<bool, ChangeError> {
        let open = &self.file.open;
        let _longer = open.extending().map_err(|error| ChangeError::Edge(Box::new(error)))?;
        let record = open.pool.journal.prepare_one(Entry::Length { node: open.node.id.0, len })?;
        let mut map = write(&open.body().map);
        let grows = len >= map.len;
        if grows {
            map.len = len;
            open.note(record, &mut map);
        }
        drop(map);
        open.body().views.grown();
        Ok(grows)
    }

    fn grow_unless(&self, keep_size: bool, len: u64) -> Result<(), ChangeError> {
        if !keep_size {
            // False if it is that long already.
            self.grow(len)?;
        }
        Ok(())
    }

    /// Makes what breaks.
    pub(super) fn finish(&self, idle: Idle<'_>) -> Result<(), ChangeError> {
        match &self.operation {
            Operation::Truncate { len } => self.truncate(idle, *len)?,
            Operation::Punch(range) => {
                self.punch(idle, range)?;
                self.zero_edges(range)?;
            }
            Operation::Zero { range, keep_size } => {
                let edges = self.take_for_edges(range)?;
                self.zero_blocks(idle, range)?;
                self.zero_edges(range)?;
                self.put_under_edges(edges)?;
                self.grow_unless(*keep_size, range.end)?;
            }
            Operation::Collapse(range) => self.collapse(idle, range)?,
            Operation::Insert { at, len } => self.insert(idle, *at, *len)?,
            Operation::Exchange { range, other, at } => self.exchange(idle, range, other, *at)?,
        }
        self.file.open.pool.allocator.reap();
        self.make_a_move_durable()
    }

    /// Makes the record of what moved blocks durable before anybody is told (L3).
    fn make_a_move_durable(&self) -> Result<(), ChangeError> {
        let pool = &self.file.open.pool;
        match self.operation.effect() {
            Effect::Moves if pool.journal.flushes() => Ok(pool.flush_log()?),
            Effect::Moves | Effect::Frees => Ok(()),
        }
    }

    /// Makes the change while its ranges are closed, on the map and on record.
    fn commit(
        &self,
        idle: Idle<'_>,
        draft: impl Fn(&FileMap, &mut Draft),
        change: impl FnOnce(&mut FileMap) -> Vec<Extent>,
    ) -> Result<(), ChangeError> {
        self.commit_if(|_| Ok(()), idle, draft, change)
    }

    /// The same, if `check` has nothing against the map as it is when the change is made.
    fn commit_if(
        &self,
        check: impl Fn(&FileMap) -> Result<(), ChangeError>,
        idle: Idle<'_>,
        draft: impl Fn(&FileMap, &mut Draft),
        change: impl FnOnce(&mut FileMap) -> Vec<Extent>,
    ) -> Result<(), ChangeError> {
        let open = &self.file.open;
        // `populate` keeps out a device's pin that is being resolved: under `Detach` there may be one.
        let _populating = lock(&open.body().populate);
        let (record, mut map) = loop {
            let mut position = 0;
            let record = open.pool.journal.prepare(|to| {
                let map = read(&open.body().map);
                position = map.position;
                draft(&map, to);
            })?;
            let map = write(&open.body().map);
            // Else a record came in between, of a length or of what was synced: this one has to follow from it.
            if !open.pool.journal.is_live() || map.position == position {
                break (record, map);
            }
        };
        check(&map)?;
        open.node.modified_at(record.time());
        // Locked until the record is appended, so that the order of records is that of changes.
        map.position = record.commit(&open.pool.region, idle, || change(&mut map));
        Ok(())
    }

    fn truncate(&self, idle: Idle<'_>, len: u64) -> Result<(), ChangeError> {
        let open = &self.file.open;
        let block = open.pool.block;
        let last = block.floor(len);
        let kept = match block.is_aligned(len) {
            true => None,
            false => self.cut_block(last, len - block.offset(last))?,
        };
        let node = open.node.id.0;
        let new: Vec<Run> = kept.iter().flat_map(Fresh::runs).collect();
        let draft = |_: &FileMap, draft: &mut Draft| {
            draft.add(Entry::Length { node, len });
            draft.add(Entry::Take { node, at: block.ceil(len), len: u64::MAX });
            if !new.is_empty() {
                draft.add(Entry::Take { node, at: last, len: 1 });
                draft_put(draft, node, last, &new, true);
            }
        };
        self.commit(idle, draft, |map| {
            map.changes.note(last..u64::MAX);
            map.len = len;
            let mut left = map.take_out(open.node.id, block.ceil(len)..u64::MAX);
            if let Some(kept) = kept {
                left.extend(map.take_out(open.node.id, last..last + 1));
                put(map, last, kept, State::Written);
            }
            left
        })
    }

    /// Keeps the first `keep` bytes of the file's block `at`, and zeroes the rest (M2): in place, or, while a device may
    /// write it, in a new block that takes its place (L2).
    fn cut_block(&self, at: u64, keep: u64) -> Result<Option<Fresh<'_>>, ChangeError> {
        let open = &self.file.open;
        let (pool, block) = (&open.pool, open.pool.block);
        let Some(old) = read(&open.body().map).extents.piece(at, at + 1).bytes_at() else { return Ok(None) };
        let zero = |start: u64, end: u64| pool.zero_bytes(start..end).map_err(SpaceError::Zero);
        if self.policy == Policy::Wait || pool.area.first_busy(open.layout()?, at..at + 1).is_none() {
            let cut = block.offset(old) + keep..block.offset(old + 1);
            zero(cut.start, cut.end).map_err(self.space())?;
            // Durable before the record: the file may grow again, and read as zeros there.
            self.flush_if_it_lasts(cut)?;
            return Ok(None);
        }
        let fresh = pool.take(1, Goal { after: None, at }).map_err(self.space())?;
        let new = fresh.runs().next().map_or(old, |run| run.block);
        let bytes = |block_at: u64| pool.region.bytes(block.offset(block_at)..block.offset(block_at) + keep);
        let copied = bytes(old).and_then(|from| from.copy_to(bytes(new)?));
        copied.map_err(|source| ChangeError::Access { file: self.file.id(), source })?;
        zero(block.offset(new) + keep, block.offset(new + 1)).map_err(self.space())?;
        self.flush_if_it_lasts(block.offset(new)..block.offset(new + 1))?;
        Ok(Some(fresh))
    }

    fn flush_if_it_lasts(&self, place: Range<u64>) -> Result<(), ChangeError> {
        let pool = &self.file.open.pool;
        if pool.journal.flushes() {
            pool.flush_places(vec![place])?;
        }
        Ok(())
    }

    fn punch(&self, idle: Idle<'_>, range: &Range<u64>) -> Result<(), ChangeError> {
        let open = &self.file.open;
        let blocks = open.pool.block.inward(range);
        let (node, len) = (open.node.id.0, blocks.end - blocks.start);
        let draft = |_: &FileMap, draft: &mut Draft| draft.add(Entry::Take { node, at: blocks.start, len });
        self.commit(idle, draft, |map| {
            map.changes.note(blocks.clone());
            map.take_out(open.node.id, blocks.clone())
        })
    }

    /// Makes whole blocks unwritten, in place; those that a transfer still reaches are parked, and others take their
    /// place.
    fn zero_blocks(&self, idle: Idle<'_>, range: &Range<u64>) -> Result<(), ChangeError> {
        let open = &self.file.open;
        let blocks = open.pool.block.inward(range);
        let in_use =
            self.policy == Policy::Detach && open.pool.area.first_busy(open.layout()?, blocks.clone()).is_some();
        let keeps = |piece: &Piece| piece.run.is_some() && !in_use;
        let (kept, replaced): (Vec<Piece>, Vec<Piece>) =
            read(&open.body().map).extents.pieces(blocks.clone()).partition(keeps);
        let mut taken = Vec::with_capacity(replaced.len());
        for piece in &replaced {
            let after = read(&open.body().map).extents.before(piece.at);
            taken.push(open.pool.take(piece.len, Goal { after, at: piece.at }).map_err(self.space())?);
        }
        let node = open.node.id.0;
        let new: Vec<Vec<Run>> = taken.iter().map(|fresh| fresh.runs().collect()).collect();
        let draft = |_: &FileMap, draft: &mut Draft| {
            for (piece, runs) in replaced.iter().zip(&new) {
                draft.add(Entry::Take { node, at: piece.at, len: piece.len });
                draft_put(draft, node, piece.at, runs, false);
            }
            draft.add(Entry::Mark { node, at: blocks.start, len: blocks.end - blocks.start, written: false });
        };
        self.commit(idle, draft, |map| {
            map.changes.note(blocks.clone());
            kept.iter().for_each(|piece| drop(map.extents.set_state(piece, State::SetAside)));
            let mut left = Vec::new();
            for (piece, fresh) in replaced.iter().zip(taken) {
                left.extend(map.take_out(open.node.id, piece.at..piece.end()));
                put(map, piece.at, fresh, State::SetAside);
            }
            left
        })
    }

    fn collapse(&self, idle: Idle<'_>, range: &Range<u64>) -> Result<(), ChangeError> {
        // It may have been cut since it was planned.
        self.check_inside(range)?;
        let open = &self.file.open;
        let blocks = open.pool.block.outward(range);
        let (node, by) = (open.node.id.0, (blocks.end - blocks.start) as i64);
        let draft = |map: &FileMap, draft: &mut Draft| {
            draft.add(Entry::Take { node, at: blocks.start, len: by as u64 });
            draft.add(Entry::Shift { node, from: blocks.end, by: -by });
            draft.add(Entry::Length { node, len: map.len - (range.end - range.start) });
        };
        self.commit(idle, draft, |map| {
            map.changes.note(blocks.start..u64::MAX);
            let left = map.take_out(open.node.id, blocks.clone());
            map.extents.shift(blocks.end, -by);
            map.len -= range.end - range.start;
            left
        })
    }

    fn insert(&self, idle: Idle<'_>, at: u64, len: u64) -> Result<(), ChangeError> {
        // It may have been cut since it was planned.
        self.check_inside(&(at..at))?;
        pass(Moment::Closed);
        let open = &self.file.open;
        let (first, by) = (open.pool.block.floor(at), open.pool.block.floor(len) as i64);
        let node = open.node.id.0;
        let draft = |map: &FileMap, draft: &mut Draft| {
            draft.add(Entry::Shift { node, from: first, by });
            draft.add(Entry::Length { node, len: map.len.saturating_add(len) });
        };
        // It may have grown, and may until its map is locked.
        let fits = |map: &FileMap| self.check_len(map.len.saturating_add(len));
        self.commit_if(fits, idle, draft, |map| {
            map.changes.note(first..u64::MAX);
            map.extents.shift(first, by);
            map.len += len;
            Vec::new()
        })
    }

    fn exchange(&self, idle: Idle<'_>, range: &Range<u64>, other: &File, at: u64) -> Result<(), ChangeError> {
        let (ours, theirs) = (&self.file.open, &other.open);
        let block = ours.pool.block;
        self.check_exchange(range, other, &(at..at + (range.end - range.start)))?;
        let (here, there) =
            (block.outward(range), block.floor(at)..block.floor(at) + block.floor(range.end - range.start));
        // What is filled would leave behind a sync that has been at the file which it comes to, and not yet at this one.
        if ours.pool.journal.flushes() {
            ours.pool.settle(&ours.node, ours.body(), &here)?;
            ours.pool.settle(&theirs.node, theirs.body(), &there)?;
        }
        let (one, two, len) = (ours.node.id.0, theirs.node.id.0, here.end - here.start);
        let draft = |one_map: &FileMap, two_map: &FileMap, draft: &mut Draft| {
            draft.add(Entry::Take { node: one, at: here.start, len });
            draft.add(Entry::Take { node: two, at: there.start, len });
            draft_moved(draft, one, here.start, two_map, &there);
            draft_moved(draft, two, there.start, one_map, &here);
        };
        match ours.node.id == theirs.node.id {
            true => self.commit(idle, |map, to| draft(map, map, to), |map| exchange_in_one(map, &here, &there))?,
            false => commit_both(ours, theirs, idle, draft, |one, two| {
                one.changes.note(here.clone());
                two.changes.note(there.clone());
                let (from_one, from_two) = (one.extents.remove(here.clone()), two.extents.remove(there.clone()));
                put_moved(one, from_two, there.start, here.start);
                put_moved(two, from_one, here.start, there.start);
            })?,
        }
        ours.pool.share_dirty(&ours.node, &theirs.node);
        Ok(())
    }

    /// Zeroes what lies between a range and its whole blocks, in place.
    fn zero_edges(&self, range: &Range<u64>) -> Result<(), ChangeError> {
        self.each_edge(range, |edge| {
            self.file.open.zero_in_place(edge).map_err(|error| ChangeError::Edge(Box::new(error)))
        })
    }

    /// Takes blocks for the edges of a range that are holes, each with its file block.
    fn take_for_edges(&self, range: &Range<u64>) -> Result<Vec<(u64, Fresh<'_>)>, ChangeError> {
        let open = &self.file.open;
        let mut taken = Vec::new();
        self.each_edge(range, |edge| {
            let at = open.pool.block.floor(edge.start);
            if read(&open.body().map).extents.piece(at, at + 1).run.is_none() {
                taken.push((at, open.pool.take(1, Goal { after: None, at }).map_err(self.space())?));
            }
            Ok(())
        })?;
        Ok(taken)
    }

    /// Sets them aside where there are holes still. What somebody else has filled meanwhile needs none.
    fn put_under_edges(&self, edges: Vec<(u64, Fresh<'_>)>) -> Result<(), ChangeError> {
        for (at, fresh) in edges {
            self.file.open.put_under(at, fresh).map_err(self.space())?;
        }
        Ok(())
    }

    fn each_edge(
        &self,
        range: &Range<u64>,
        each: impl FnMut(Range<u64>) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let block = self.file.open.pool.block;
        let whole = block.to_bytes(&block.inward(range));
        let edges = match whole.is_empty() {
            true => [range.clone(), 0..0],
            false => [range.start..whole.start, whole.end..range.end],
        };
        edges.into_iter().filter(|edge| !edge.is_empty()).try_for_each(each)
    }

    fn space(&self) -> impl Fn(SpaceError) -> ChangeError + use<> {
        let file = self.file.id();
        move |source| ChangeError::Space { file, source }
    }
}

/// As [`Change::commit`], of two files, locked in order of their ids.
fn commit_both(
    one: &OpenFile,
    two: &OpenFile,
    idle: Idle<'_>,
    draft: impl Fn(&FileMap, &FileMap, &mut Draft),
    change: impl FnOnce(&mut FileMap, &mut FileMap),
) -> Result<(), ChangeError> {
    let swapped = two.node.id < one.node.id;
    let (first, second) = if swapped { (two, one) } else { (one, two) };
    let _populating: [MutexGuard<'_, ()>; 2] = [lock(&first.body().populate), lock(&second.body().populate)];
    let journal = &one.pool.journal;
    let (record, mut first, mut second) = loop {
        let mut positions = (0, 0);
        let record = journal.prepare(|to| {
            let (first, second) = (read(&first.body().map), read(&second.body().map));
            positions = (first.position, second.position);
            if swapped { draft(&second, &first, to) } else { draft(&first, &second, to) }
        })?;
        let (first, second) = (write(&first.body().map), write(&second.body().map));
        if !journal.is_live() || (first.position, second.position) == positions {
            break (record, first, second);
        }
    };
    [one, two].iter().for_each(|open| open.node.modified_at(record.time()));
    let position = record.commit(&one.pool.region, idle, || {
        if swapped {
            change(&mut second, &mut first)
        } else {
            change(&mut first, &mut second)
        }
        Vec::new()
    });
    (first.position, second.position) = (position, position);
    Ok(())
}

/// What the log says of blocks that are put into a hole.
fn draft_put(draft: &mut Draft, node: u64, mut at: u64, runs: &[Run], written: bool) {
    for run in runs {
        draft.add(Entry::Put { node, at, block: run.block, len: run.len, written });
        at += run.len;
    }
}

/// What the log says of blocks of a range of `from` that move to file block `to` of `node`. What is filled there counts as
/// set aside.
fn draft_moved(draft: &mut Draft, node: u64, to: u64, from: &FileMap, range: &Range<u64>) {
    for piece in from.extents.pieces_in(range.clone()) {
        let Some(run) = piece.run else { continue };
        let (at, written) = (to + (piece.at - range.start), run.state == State::Written);
        draft.add(Entry::Put { node, at, block: run.block, len: run.len, written });
    }
}

fn exchange_in_one(map: &mut FileMap, here: &Range<u64>, there: &Range<u64>) -> Vec<Extent> {
    map.changes.note(here.clone());
    map.changes.note(there.clone());
    let (from_here, from_there) = (map.extents.remove(here.clone()), map.extents.remove(there.clone()));
    put_moved(map, from_there, there.start, here.start);
    put_moved(map, from_here, here.start, there.start);
    Vec::new()
}

/// Puts runs that lay behind `from` behind `to`.
fn put_moved(map: &mut FileMap, runs: Vec<(u64, Run)>, from: u64, to: u64) {
    for (at, run) in runs {
        map.extents.insert(to + (at - from), run);
    }
}

/// Puts fresh blocks into a hole.
fn put(map: &mut FileMap, mut at: u64, fresh: Fresh<'_>, state: State) {
    for run in fresh.runs() {
        map.extents.insert(at, Run { state, ..run });
        at += run.len;
    }
    fresh.used();
}
