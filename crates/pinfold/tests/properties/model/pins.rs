//! Pins, tokens and reservations: who reaches which blocks.

use std::collections::BTreeSet;
use std::ops::Range;

use pinfold::layout::PinId;
use pinfold::{Access, FileId, Publish};
use rustix::io::Errno;

use super::{BlockId, Model, ModelFile, Verdict};
use crate::steps::Form;

/// A pin: held by a transfer, or given up.
#[derive(Debug)]
pub(crate) struct ModelPin {
    pub(crate) id: PinId,
    pub(crate) file: FileId,
    /// Blocks of the file.
    pub(crate) range: Range<u64>,
    pub(crate) facts: PinFacts,
    /// `None` in quarantine.
    pub(crate) transfer: Option<usize>,
    /// The transfer that was given up, and whose completion may come.
    late: Option<usize>,
    /// This thread made it, or has claimed it.
    pub(crate) ours: bool,
    /// An engine has it.
    pub(crate) handed_over: bool,
    pub(crate) parts: Vec<Part>,
    /// File blocks of the range whose block has left the file since.
    left: BTreeSet<u64>,
    /// Those blocks: parked for this pin.
    pub(super) keeps: BTreeSet<BlockId>,
}

/// What a listing says of a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PinFacts {
    pub(crate) access: Access,
    pub(crate) engine: Option<usize>,
    pub(crate) long_term: bool,
}

/// Pinned bytes of one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) block: BlockId,
    /// In the block.
    pub(crate) bytes: Range<usize>,
    /// Where they were in the file.
    pub(crate) offset: u64,
}

/// What is to be pinned.
#[derive(Clone, Debug)]
pub(crate) struct ModelWant {
    pub(crate) file: FileId,
    pub(crate) range: Range<u64>,
    pub(crate) access: Access,
    /// Through a reservation, which leaves blocks unwritten.
    pub(crate) reserved: bool,
    /// Through a token, made when the file had changed so often.
    pub(crate) token: Option<usize>,
}

/// A range of a file as it was.
#[derive(Clone, Debug)]
pub(crate) struct ModelToken {
    pub(crate) file: FileId,
    pub(crate) range: Range<u64>,
    pub(crate) generation: usize,
}

impl ModelPin {
    pub(crate) fn new(id: PinId, want: &ModelWant, blocks: Range<u64>, facts: PinFacts, transfer: usize) -> Self {
        Self {
            id,
            file: want.file,
            range: blocks,
            facts,
            transfer: Some(transfer),
            late: None,
            ours: true,
            handed_over: facts.long_term,
            parts: Vec::new(),
            left: BTreeSet::new(),
            keeps: BTreeSet::new(),
        }
    }

    /// Only with the help of this thread does it leave.
    pub(super) fn is_own(&self) -> bool {
        self.ours && !self.handed_over
    }

    /// What is parked for it.
    pub(crate) fn keeps(&self) -> impl Iterator<Item = BlockId> {
        self.keeps.iter().copied()
    }

    /// Whether it reaches what is in the file there, not only what has left it.
    pub(super) fn is_in(&self, file: FileId, blocks: &Range<u64>) -> bool {
        let (start, end) = (self.range.start.max(blocks.start), self.range.end.min(blocks.end));
        self.file == file && start < end && end - start > self.left.range(start..end).count() as u64
    }

    /// A block leaves the file: it is this pin's from now on if it was in its range.
    pub(super) fn left_file(&mut self, at: u64, block: BlockId) {
        if self.range.contains(&at) && self.left.insert(at) {
            self.keeps.insert(block);
        }
    }
}

impl Model {
    /// Refuses what can never be pinned, or is not any more what its token named.
    pub(crate) fn check_want(&self, want: &ModelWant) -> Result<(), Errno> {
        if want.range.start >= want.range.end {
            return Err(Errno::INVAL);
        }
        let blocks = self.outward(&want.range);
        if want.token.is_some_and(|seen| self.changed_since(want.file, seen, &blocks)) {
            return Err(Errno::STALE);
        }
        if want.range.end > self.file(want.file).len { Err(Errno::NXIO) } else { Ok(()) }
    }

    /// What pinning all of these does, but for the pins themselves: `ENOSPC` of one leaves what the others populated.
    pub(crate) fn pin(&mut self, wants: &[ModelWant], form: Form) -> Verdict {
        if let Some(errno) = wants.iter().find_map(|want| self.check_want(want).err()) {
            return Verdict::Refused(errno);
        }
        let mut refused = None;
        for want in wants {
            if self.is_broken(want) {
                return match form {
                    Form::Try => Verdict::Refused(Errno::BUSY),
                    Form::Wait | Form::Deadline => Verdict::Refused(Errno::DEADLK),
                    Form::Future => Verdict::Pending,
                };
            }
            if self.resolve(want).is_err() {
                let missing = self.holes(want.file, &self.outward(&want.range));
                refused = refused.or(Some(self.without_space(missing, form)));
            }
        }
        refused.unwrap_or(Verdict::Done(()))
    }

    /// As [`Model::pin`] of one range more for a transfer. The pin itself stays, even without its blocks.
    pub(crate) fn extend(&mut self, transfer: usize, want: &ModelWant) -> Extended {
        if let Err(errno) = self.check_want(want) {
            return Extended::Refused(errno);
        }
        let in_too = |pending: &super::Pending| {
            let mut own = self.pins.iter().filter(|pin| pin.transfer == Some(transfer));
            own.any(|pin| pending.ranges.iter().any(|(file, blocks)| *file == pin.file && meet(&pin.range, blocks)))
        };
        if self.is_broken(want) && !self.pending.as_ref().is_some_and(in_too) {
            return Extended::Refused(Errno::DEADLK);
        }
        self.resolve(want).map_or_else(Extended::PinnedWithout, |()| Extended::Pinned)
    }

    /// Whether the change that waits keeps newcomers out there.
    fn is_broken(&self, want: &ModelWant) -> bool {
        let blocks = self.outward(&want.range);
        let pending = self.pending.iter().flat_map(|pending| &pending.ranges);
        pending.into_iter().any(|(file, broken)| *file == want.file && meet(broken, &blocks))
    }

    /// Memory for what is pinned. A reservation has it.
    fn resolve(&mut self, want: &ModelWant) -> Result<(), Errno> {
        if want.reserved { Ok(()) } else { self.populate(want.file, self.outward(&want.range)) }
    }

    /// The bytes that a pin of this range reaches now.
    pub(crate) fn parts(&self, file: FileId, range: &Range<u64>) -> Vec<Part> {
        let part = |(index, bytes): (u64, Range<usize>)| Part {
            block: self.file(file).map[&index],
            offset: index * self.block + bytes.start as u64,
            bytes,
        };
        self.spread(range).into_iter().map(part).collect()
    }

    fn parts_of(&self, transfer: usize) -> impl Iterator<Item = (FileId, &Part)> {
        let pins = self.pins.iter().filter(move |pin| pin.transfer == Some(transfer));
        pins.flat_map(|pin| pin.parts.iter().map(|part| (pin.file, part)))
    }

    /// The bytes of a transfer as its holder sees them: of a reservation what was not recorded is zeros.
    pub(crate) fn view(&self, transfer: usize) -> Vec<u8> {
        let mut view = Vec::new();
        for (file, part) in self.parts_of(transfer) {
            let start = view.len();
            match self.recorded.get(&file) {
                None => view.extend_from_slice(&self.blocks[&part.block].bytes[part.bytes.clone()]),
                Some(recorded) => {
                    view.resize(start + part.bytes.len(), 0);
                    let whole = part.offset..part.offset + part.bytes.len() as u64;
                    for range in recorded.iter().map(|range| cut(range, &whole)).filter(|range| !range.is_empty()) {
                        let (skip, len) = ((range.start - whole.start) as usize, (range.end - range.start) as usize);
                        let from = part.bytes.start + skip;
                        view[start + skip..start + skip + len]
                            .copy_from_slice(&self.blocks[&part.block].bytes[from..from + len]);
                    }
                }
            }
        }
        view
    }

    /// The pinned bytes from `at` on, `len` of them, counted over a transfer; fewer at its end.
    pub(crate) fn parts_at(&self, transfer: usize, at: u64, len: u64) -> Vec<(FileId, Part)> {
        let parts = self.parts_of(transfer).map(|(file, part)| (file, part.clone())).collect();
        cut_parts(parts, at, len)
    }

    /// A device writes to memory; with `recorded`, whoever made a reservation is told.
    pub(crate) fn dma(&mut self, parts: &[(FileId, Part)], from: &[u8], recorded: bool) {
        let mut rest = from;
        for (file, part) in parts {
            let (now, later) = rest.split_at(part.bytes.len());
            self.block_mut(part.block).bytes[part.bytes.clone()].copy_from_slice(now);
            rest = later;
            if recorded {
                self.record(*file, part.offset..part.offset + part.bytes.len() as u64);
            }
        }
    }

    /// A device wrote a range of a reservation. What lies past its end is not part of it.
    pub(crate) fn record(&mut self, file: FileId, range: Range<u64>) {
        if let Some(recorded) = self.recorded.get_mut(&file) {
            recorded.push(range);
        }
    }

    /// Whether what was not recorded of a file may be anything: a reservation, or what one left.
    pub(crate) fn is_unsettled(&self, file: FileId) -> bool {
        self.recorded.contains_key(&file)
    }

    pub(crate) fn unpin(&mut self, transfer: usize) {
        self.pins.retain(|pin| pin.transfer != Some(transfer));
        self.sweep();
    }

    /// The transfer has no holder any more.
    pub(crate) fn abandon(&mut self, transfer: usize) {
        self.of_transfer(transfer).for_each(|pin| (pin.transfer, pin.handed_over) = (None, true));
    }

    /// The same, but its engine has it still.
    pub(crate) fn give_up(&mut self, transfer: usize) {
        self.of_transfer(transfer).for_each(|pin| pin.late = Some(transfer));
        self.abandon(transfer);
    }

    /// What is left of a transfer that was given up leaves.
    pub(crate) fn complete_late(&mut self, transfer: usize) {
        self.pins.retain(|pin| pin.late != Some(transfer));
        self.sweep();
    }

    pub(crate) fn set_handed_over(&mut self, transfer: usize, handed_over: bool) {
        self.of_transfer(transfer).for_each(|pin| pin.handed_over = handed_over);
    }

    pub(crate) fn set_ours(&mut self, transfer: usize, ours: bool) {
        self.of_transfer(transfer).for_each(|pin| pin.ours = ours);
    }

    pub(crate) fn relabel(&mut self, transfer: usize, engine: usize) {
        self.of_transfer(transfer).for_each(|pin| pin.facts.engine = Some(engine));
    }

    fn of_transfer(&mut self, transfer: usize) -> impl Iterator<Item = &mut ModelPin> {
        self.pins.iter_mut().filter(move |pin| pin.transfer == Some(transfer))
    }

    /// A proof lets pins out of quarantine: how many.
    pub(crate) fn release(&mut self, covers: impl Fn(&ModelPin) -> bool) -> usize {
        let before = self.pins.len();
        self.pins.retain(|pin| pin.transfer.is_some() || !covers(pin));
        self.sweep();
        before - self.pins.len()
    }

    pub(crate) fn token(&self, file: FileId, range: &Range<u64>) -> Result<ModelToken, Errno> {
        let want = ModelWant { file, range: range.clone(), access: Access::Read, reserved: false, token: None };
        self.check_want(&want)?;
        Ok(ModelToken { file, range: range.clone(), generation: self.generation(file) })
    }

    pub(crate) fn redeem(&mut self, token: &ModelToken) -> Result<(), Errno> {
        let gone = !self.files.contains_key(&token.file);
        if gone || self.changed_since(token.file, token.generation, &self.outward(&token.range)) {
            return Err(Errno::STALE);
        }
        self.opened(token.file);
        Ok(())
    }

    pub(crate) fn check_reserve(&self, len: u64, form: Form) -> Verdict {
        let want = len.div_ceil(self.block);
        match self.check_space(want) {
            Ok(()) => Verdict::Done(()),
            Err(_) => self.without_space(want, form),
        }
    }

    pub(crate) fn reserved(&mut self, file: FileId, len: u64) {
        self.added(file, ModelFile { len, opens: 1, reserved: true, ..ModelFile::default() });
        self.fill(file, 0..len.div_ceil(self.block), false);
        self.recorded.insert(file, Vec::new());
    }

    /// A reservation becomes a file, with zeros where nobody wrote, or is as it was.
    pub(crate) fn publish(&mut self, file: FileId, name: &'static str, how: Publish, form: Form) -> Verdict {
        let mut keepers = self.pins.iter().filter(|pin| pin.is_in(file, &(0..u64::MAX))).peekable();
        if keepers.peek().is_some() {
            return Self::kept_off(form, Errno::BUSY, keepers);
        }
        if how == Publish::New && self.names.contains_key(name) {
            return Verdict::Refused(Errno::EXIST);
        }
        self.settle(file);
        self.file_mut(file).reserved = false;
        Verdict::of(self.named(name, file, how))
    }

    fn settle(&mut self, file: FileId) {
        let recorded = self.recorded.remove(&file).unwrap_or_default();
        let len = self.file(file).len;
        for (index, block) in self.file(file).map.clone() {
            let whole = index * self.block..((index + 1) * self.block).min(len);
            let block = self.block_mut(block);
            let mut seen = vec![0; block.bytes.len()];
            for range in recorded.iter().map(|range| cut(range, &whole)).filter(|range| !range.is_empty()) {
                let part = (range.start - whole.start) as usize..(range.end - whole.start) as usize;
                seen[part.clone()].copy_from_slice(&block.bytes[part]);
            }
            (block.bytes, block.written) = (seen, true);
        }
    }
}

/// What extending a transfer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extended {
    Pinned,
    /// There is a pin on the range, but nothing is resolved.
    PinnedWithout(Errno),
    Refused(Errno),
}

fn meet(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn cut(range: &Range<u64>, within: &Range<u64>) -> Range<u64> {
    range.start.max(within.start)..range.end.min(within.end)
}

/// The bytes from `at` on, `len` of them, counted over all parts; fewer at the end.
pub(crate) fn cut_parts(parts: Vec<(FileId, Part)>, at: u64, len: u64) -> Vec<(FileId, Part)> {
    let mut begins = 0;
    let mut found = Vec::new();
    for (file, Part { block, bytes, offset }) in parts {
        let within = cut(&(at..at.saturating_add(len)), &(begins..begins + bytes.len() as u64));
        if !within.is_empty() {
            let skip = within.start - begins;
            let start = bytes.start + skip as usize;
            let bytes = start..start + (within.end - within.start) as usize;
            found.push((file, Part { block, bytes, offset: offset + skip }));
        }
        begins += bytes.len() as u64;
    }
    found
}
