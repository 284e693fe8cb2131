//! Changes of a file's layout: what each of them breaks, who is in its way, and what it does.

use std::ops::Range;

use pinfold::{FILE_BYTES_MAX, FileId, Policy};
use rustix::io::Errno;

use super::{BlockId, Model, ModelPin, Verdict};
use crate::steps::{Form, Op};

/// File blocks of one file or of two.
pub(crate) type Ranges = Vec<(FileId, Range<u64>)>;

/// A change that waits while other steps go on.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) file: FileId,
    pub(crate) op: Op<FileId>,
    pub(crate) ranges: Ranges,
}

enum Plan {
    Break(Ranges),
    InPlace,
}

impl Model {
    pub(crate) fn change(&mut self, file: FileId, op: &Op<FileId>, policy: Policy, form: Form) -> Verdict {
        let moves = matches!(op, Op::Collapse(_) | Op::Insert { .. } | Op::Exchange { .. });
        let ranges = match self.plan(file, op) {
            Err(errno) => return Verdict::Refused(errno),
            Ok(Plan::InPlace) => return Verdict::of(self.make_in_place(file, op)),
            Ok(Plan::Break(_)) if moves && policy == Policy::Detach => return Verdict::Refused(Errno::OPNOTSUPP),
            Ok(Plan::Break(ranges)) => ranges,
        };
        if policy == Policy::Wait && self.in_the_way(&ranges).next().is_some() {
            return Self::kept_off(form, Errno::BUSY, self.in_the_way(&ranges));
        }
        Verdict::of(self.finish(file, op, policy))
    }

    /// A change under `Wait` that is polled once: it is done, refused, or waits from now on.
    pub(crate) fn begin(&mut self, file: FileId, op: &Op<FileId>) -> Verdict {
        let verdict = self.change(file, op, Policy::Wait, Form::Future);
        if let (Verdict::Pending, Ok(Plan::Break(ranges))) = (verdict, self.plan(file, op)) {
            self.pending = Some(Pending { file, op: op.clone(), ranges });
        }
        verdict
    }

    /// The change that waits is polled again.
    pub(crate) fn poll(&mut self) -> Verdict {
        let Pending { file, op, ranges } = self.pending.clone().expect("a change that waits");
        if self.in_the_way(&ranges).next().is_some() {
            return Verdict::Pending;
        }
        self.pending = None;
        Verdict::of(self.finish(file, &op, Policy::Wait))
    }

    /// The pins that reach what is in these ranges now, not only what has left them.
    fn in_the_way<'a>(&'a self, ranges: &'a Ranges) -> impl Iterator<Item = &'a ModelPin> {
        self.pins.iter().filter(move |pin| ranges.iter().any(|(file, blocks)| pin.is_in(*file, blocks)))
    }

    fn plan(&self, file: FileId, op: &Op<FileId>) -> Result<Plan, Errno> {
        let len = self.file(file).len;
        match op {
            Op::Truncate(to) if *to > FILE_BYTES_MAX => Err(Errno::FBIG),
            Op::Truncate(to) if *to >= len => Ok(Plan::InPlace),
            Op::Truncate(to) => Ok(Plan::Break(vec![(file, to / self.block..u64::MAX)])),
            Op::Punch(range) | Op::Zero { range, .. } => {
                check_range(range)?;
                let whole = self.inward(range);
                Ok(if whole.is_empty() { Plan::InPlace } else { Plan::Break(vec![(file, whole)]) })
            }
            Op::Collapse(range) => {
                self.check_collapse(file, range)?;
                Ok(Plan::Break(vec![(file, range.start / self.block..u64::MAX)]))
            }
            Op::Insert { at, len } => {
                self.check_insert(file, *at, *len)?;
                Ok(Plan::Break(vec![(file, at / self.block..u64::MAX)]))
            }
            Op::Exchange { range, other, at } => {
                let theirs = self.check_exchange(file, range, *other, *at)?;
                Ok(Plan::Break(vec![(file, self.outward(range)), (*other, self.outward(&theirs))]))
            }
        }
    }

    fn check_blocks(&self, range: &Range<u64>) -> Result<(), Errno> {
        check_range(range)?;
        let aligned = range.start.is_multiple_of(self.block) && range.end.is_multiple_of(self.block);
        if aligned { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn check_collapse(&self, file: FileId, range: &Range<u64>) -> Result<(), Errno> {
        self.check_blocks(range)?;
        if range.end < self.file(file).len { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn check_insert(&self, file: FileId, at: u64, by: u64) -> Result<(), Errno> {
        self.check_blocks(&(at..at.saturating_add(by)))?;
        let len = self.file(file).len;
        match at >= len {
            true => Err(Errno::INVAL),
            false if len + by > FILE_BYTES_MAX => Err(Errno::FBIG),
            false => Ok(()),
        }
    }

    /// The other range.
    fn check_exchange(&self, file: FileId, ours: &Range<u64>, other: FileId, at: u64) -> Result<Range<u64>, Errno> {
        let theirs = at..at.saturating_add(ours.end.saturating_sub(ours.start));
        self.check_blocks(ours)?;
        self.check_blocks(&theirs)?;
        let meet = file == other && ours.start < theirs.end && theirs.start < ours.end;
        let inside = ours.end <= self.file(file).len && theirs.end <= self.file(other).len;
        if inside && !meet { Ok(theirs) } else { Err(Errno::INVAL) }
    }

    /// Makes what frees and moves nothing, or refuses it and changes nothing.
    fn make_in_place(&mut self, file: FileId, op: &Op<FileId>) -> Result<(), Errno> {
        match op {
            Op::Truncate(len) => self.file_mut(file).len = *len,
            Op::Punch(range) => self.zero_in_place(file, range),
            Op::Zero { range, keep_size } => self.zero(file, range, *keep_size, Policy::Wait)?,
            Op::Collapse(_) | Op::Insert { .. } | Op::Exchange { .. } => unreachable!("these move blocks"),
        }
        Ok(())
    }

    /// Makes what frees or moves, or refuses it and changes nothing.
    fn finish(&mut self, file: FileId, op: &Op<FileId>, policy: Policy) -> Result<(), Errno> {
        match op {
            Op::Truncate(len) => self.truncate(file, *len, policy),
            Op::Punch(range) => {
                let whole = self.inward(range);
                self.note(file, whole.clone());
                self.take_out(file, whole);
                self.zero_in_place(file, range);
                Ok(())
            }
            Op::Zero { range, keep_size } => self.zero(file, range, *keep_size, policy),
            Op::Collapse(range) => {
                self.check_collapse(file, range)?;
                self.note(file, range.start / self.block..u64::MAX);
                self.take_out(file, self.outward(range));
                self.shift(file, range.end, -((range.end - range.start) as i64));
                Ok(())
            }
            Op::Insert { at, len } => {
                self.check_insert(file, *at, *len)?;
                self.note(file, at / self.block..u64::MAX);
                self.shift(file, *at, *len as i64);
                Ok(())
            }
            Op::Exchange { range, other, at } => {
                let theirs = self.check_exchange(file, range, *other, *at)?;
                self.exchange(file, self.outward(range), *other, self.outward(&theirs));
                Ok(())
            }
        }
    }

    fn note(&mut self, file: FileId, blocks: Range<u64>) {
        self.file_mut(file).changes.push(blocks);
    }

    fn truncate(&mut self, file: FileId, len: u64, policy: Policy) -> Result<(), Errno> {
        let (last, keep) = (len / self.block, (len % self.block) as usize);
        let kept = self.file(file).map.get(&last).copied().filter(|block| keep > 0 && self.blocks[block].written);
        let reached = self.in_the_way(&vec![(file, last..last + 1)]).next().is_some();
        let replaced = kept.filter(|_| policy == Policy::Detach && reached);
        self.check_space(replaced.iter().count() as u64)?;
        self.note(file, last..u64::MAX);
        self.take_out(file, len.div_ceil(self.block)..u64::MAX);
        if let Some(old) = replaced {
            let kept = self.blocks[&old].bytes[..keep].to_vec();
            self.take_out(file, last..last + 1);
            let new = self.put_new(file, last, true);
            self.block_mut(new).bytes[..keep].copy_from_slice(&kept);
        } else if let Some(block) = kept {
            self.block_mut(block).bytes[keep..].fill(0);
        }
        self.file_mut(file).len = len;
        Ok(())
    }

    fn zero(&mut self, file: FileId, range: &Range<u64>, keep_size: bool, policy: Policy) -> Result<(), Errno> {
        let (whole, outward) = (self.inward(range), self.outward(range));
        let reached = !whole.is_empty() && self.in_the_way(&vec![(file, whole.clone())]).next().is_some();
        let replaced = policy == Policy::Detach && reached;
        // Where a device is in, all of the whole blocks are replaced.
        let there = if replaced { self.file(file).map.range(whole.clone()).count() as u64 } else { 0 };
        self.check_space(self.holes(file, &outward) + there)?;
        if !whole.is_empty() {
            self.note(file, whole.clone());
        }
        if replaced {
            self.take_out(file, whole.clone());
        }
        self.zero_in_place(file, range);
        let there: Vec<BlockId> = self.file(file).map.range(whole).map(|(_, block)| *block).collect();
        there.into_iter().for_each(|block| self.block_mut(block).written = false);
        self.fill(file, outward, false);
        let file = self.file_mut(file);
        file.len = if keep_size { file.len } else { file.len.max(range.end) };
        Ok(())
    }

    /// Moves what lies at `from` and behind, and the end of the file, by so many bytes.
    fn shift(&mut self, file: FileId, from: u64, by: i64) {
        let (from, blocks) = (from / self.block, by / self.block as i64);
        let file = self.file_mut(file);
        let moved = file.map.split_off(&from);
        file.map.extend(moved.into_iter().map(|(at, block)| (at.checked_add_signed(blocks).unwrap(), block)));
        file.len = file.len.checked_add_signed(by).unwrap();
    }

    fn exchange(&mut self, file: FileId, ours: Range<u64>, other: FileId, theirs: Range<u64>) {
        self.note(file, ours.clone());
        self.note(other, theirs.clone());
        let from_us = self.lift(file, &ours);
        let from_them = self.lift(other, &theirs);
        self.file_mut(file).map.extend(from_them.into_iter().map(|(skip, block)| (ours.start + skip, block)));
        self.file_mut(other).map.extend(from_us.into_iter().map(|(skip, block)| (theirs.start + skip, block)));
    }

    /// Takes blocks up to put them elsewhere, each with its distance from the start of the range.
    fn lift(&mut self, file: FileId, blocks: &Range<u64>) -> Vec<(u64, BlockId)> {
        let map = &mut self.file_mut(file).map;
        let lifted: Vec<_> = map.range(blocks.clone()).map(|(at, block)| (at - blocks.start, *block)).collect();
        map.retain(|at, _| !blocks.contains(at));
        lifted
    }

    /// Whether something of the range that a token names was changed since, or so much elsewhere that nobody knows.
    pub(super) fn changed_since(&self, file: FileId, seen: usize, blocks: &Range<u64>) -> bool {
        const REMEMBERED_MAX: usize = 64;
        let since = &self.file(file).changes[seen..];
        let meets = |change: &Range<u64>| change.start < blocks.end && blocks.start < change.end;
        since.len() > REMEMBERED_MAX || since.iter().any(meets)
    }

    pub(super) fn generation(&self, file: FileId) -> usize {
        self.file(file).changes.len()
    }
}

fn check_range(range: &Range<u64>) -> Result<(), Errno> {
    if range.start >= range.end || range.end > FILE_BYTES_MAX { Err(Errno::INVAL) } else { Ok(()) }
}
