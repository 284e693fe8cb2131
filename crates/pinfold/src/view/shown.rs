//! A view as its faults and the breaks of its file see it: a window, and what it shows of the file.
//!
//! Stays true  V1: what is shown was put into the table and the window while its range was pinned, the file's `populate` held, and
//!                 the view's table locked. So a break that closed the range, and found nobody in it, finds all of it (`layout`,
//!                 V1); who puts bytes under a hole finds the zeros that are shown there; and what the file's length says was
//!                 looked at under the table's lock.
//!             V2: who was asleep in a fault is woken when nothing of ours is held any more, not even the view.
//! Lock order  a file's `answers`; pins; a file's `populate`; a view's table; the file's `map`. The list of a file's views is locked
//!             for a moment, with nothing under it.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinfold_layout::{Access, NotRevoked, PinError, PinSpec};
use pinfold_region::{Fault, Window, WindowError};
use rustix::param::page_size;

use super::table::{self, Piece, Seen, Table};
use crate::file::OpenFile;
use crate::lock::{lock, read};
use crate::moments::{Moment, pass};
use crate::units::HUGE_PAGE;

/// How many pieces are mapped for one fault, at most.
const PIECES_MAX: usize = 64;
/// How far one fault looks, in bytes.
const LOOK_MAX: u64 = 1 << 30;
/// How long a store that found no space is refused, before the next access to its page is looked at anew. A store that comes to
/// its signal no sooner faults once more. Others find the page so meanwhile: the kernel knows no answer to one access alone.
const REFUSED: Duration = Duration::from_micros(200);

/// A view, without its user's handle.
pub(crate) struct Shown {
    pub(crate) open: Arc<OpenFile>,
    pub(super) window: Window,
    /// Which byte of the file the window begins with: the first of a block.
    pub(super) first: u64,
    pub(super) access: Access,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    table: Table,
    stores: Ramp,
    loads: Ramp,
}

/// Who goes through a hole in order is given more of it each time.
#[derive(Default)]
struct Ramp {
    next: u64,
    len: u64,
}

impl Ramp {
    /// How many bytes to give from `at` on.
    fn from(&mut self, at: u64, least: u64) -> u64 {
        self.len = if at == self.next { (self.len * 2).clamp(least, HUGE_PAGE.max(least)) } else { least };
        self.next = at + self.len;
        self.len
    }
}

/// What a fault came to.
enum Answer {
    /// Who sleeps in this range of the window may try again.
    Wake(Range<u64>),
    /// It is refused, and so are others, for a moment.
    Refused(Range<u64>),
    /// A break has closed the range: it wakes who sleeps there.
    Asleep,
    /// There are no more mappings. Who sleeps in this range may try again once views have given some up.
    NoRoom(Range<u64>),
}

/// What is to be done when a fault was looked at, by who holds nothing of the view any more (V2).
pub(super) struct Answered {
    /// Addresses in which sleepers may try again.
    pub(super) wake: Range<usize>,
    /// All views are to give up what they show, before that.
    pub(super) no_room: bool,
    /// The access was refused: when its page is to be looked at anew.
    pub(super) again_after: Option<Duration>,
}

impl Shown {
    pub(super) fn new(open: &Arc<OpenFile>, window: Window, first: u64, access: Access) -> Self {
        Self { open: Arc::clone(open), window, first, access, state: Mutex::default() }
    }

    /// The file blocks of a range of the window.
    fn blocks(&self, range: &Range<u64>) -> Range<u64> {
        self.open.pool.block.outward(&(self.first + range.start..self.first + range.end))
    }

    /// The part of the window that shows file blocks.
    fn range_of(&self, blocks: &Range<u64>) -> Range<u64> {
        let block = self.open.pool.block;
        let within = |at: u64| {
            let byte = at.min(block.floor(u64::MAX)).saturating_mul(block.bytes());
            byte.saturating_sub(self.first).min(self.window.len())
        };
        within(blocks.start)..within(blocks.end)
    }

    /// Bytes of the least that can be shown of the region: of a huge page all or nothing.
    fn granule(&self) -> u64 {
        self.open.pool.region.granule().max(page_size() as u64)
    }

    fn spec(&self) -> PinSpec {
        PinSpec::cpu(self.access)
    }

    /// Shows what there is of file blocks from the start of the window on, so that its first touch costs no fault of ours.
    /// What a break has closed meanwhile is left to faults.
    pub(super) fn show_what_is_there(&self) -> Result<(), WindowError> {
        let mut at = 0;
        while at < self.window.len() {
            let range = at..self.window.len().min(at + LOOK_MAX);
            let Ok(_pin) = self.try_pin(&range) else { return Ok(()) };
            let _populating = lock(&self.open.body().populate);
            let mut state = lock(&self.state);
            at = match self.show_blocks(&mut state.table, &range)? {
                Some(next) => next,
                // Nothing follows in the file: nor is there anything to look for in the rest of a long window.
                None if self.is_past_the_last_block(range.end) => return Ok(()),
                None => range.end,
            };
        }
        Ok(())
    }

    fn is_past_the_last_block(&self, at: u64) -> bool {
        let map = read(&self.open.body().map);
        self.open.pool.block.to_bytes(&(0..map.extents.end())).end <= self.first + at
    }

    fn try_pin(&self, range: &Range<u64>) -> Result<pinfold_layout::Pin<&pinfold_layout::Holder, ()>, PinError> {
        let layout = self.open.layout().map_err(|_| PinError::Stale(self.open.node.id.number()))?;
        self.open.pool.holder.try_pin(layout, self.blocks(range), self.spec(), || ())
    }

    /// Shows the blocks with bytes in a range of the window that are not shown, up to the end of the file. Where it goes on, if there
    /// were too many.
    ///
    /// The caller has pinned the range, and holds `populate` (V1).
    fn show_blocks(&self, table: &mut Table, range: &Range<u64>) -> Result<Option<u64>, WindowError> {
        let (found, next) = {
            let map = read(&self.open.body().map);
            let end = (map.len.saturating_sub(self.first)).next_multiple_of(self.granule()).min(range.end);
            if range.start >= end {
                return Ok(None);
            }
            let pieces = map.extents.pieces(self.blocks(&(range.start..end))).filter_map(|piece| {
                let place = self.open.pool.block.offset(piece.bytes_at()?);
                let whole = self.range_of(&(piece.at..piece.end()));
                let part = whole.start.max(range.start)..whole.end.min(end);
                // The window may begin with it, and not before.
                let skip = self.first + part.start - self.open.pool.block.offset(piece.at);
                (!part.is_empty()).then_some((part, place + skip))
            });
            let found: Vec<_> = pieces.take(PIECES_MAX).collect();
            let full = found.len() == PIECES_MAX;
            let next = found.last().filter(|_| full).map(|(part, _)| part.end);
            (found, next.filter(|next| *next < range.end))
        };
        for (part, place) in in_rows(found) {
            self.show(table, part, place)?;
        }
        Ok(next)
    }

    /// Shows bytes of the region, but for what is shown already.
    fn show(&self, table: &mut Table, range: Range<u64>, place: u64) -> Result<(), WindowError> {
        let mut at = range.start;
        while at < range.end {
            let gap = match table.at(at) {
                Some(Piece { range: shown, seen: Seen::Blocks { .. } }) => {
                    at = shown.end;
                    continue;
                }
                _ => at..table.next_blocks(at).min(range.end),
            };
            has_room()?;
            let from = place + (gap.start - range.start);
            let len = gap.end - gap.start;
            self.may_be_stored();
            self.window.show(gap.start, &self.open.pool.region, from..from + len)?;
            table.put(gap.clone(), Seen::Blocks { place: from });
            // Once more: a sync in between has found nothing to list the file for.
            self.may_be_stored();
            at = gap.end;
        }
        Ok(())
    }

    /// From here on there is something to sync at any moment, and what lies past the end may be other than zeros.
    fn may_be_stored(&self) {
        if self.access == Access::Write {
            self.open.body().views.may_store_past_the_end();
            self.open.pool.note_viewed(&self.open.node);
        }
    }

    /// Answers a fault, and says what is to be woken: a range of addresses (V2).
    pub(super) fn answer(&self, fault: Fault) -> Option<Answered> {
        let at = self.window.offset_of(fault.address)?;
        let addresses = |range: &Range<u64>| {
            let (base, page) = (self.window.base().addr().get(), page_size());
            base + range.start as usize / page * page..base + (range.end as usize).next_multiple_of(page)
        };
        let answer = self.look(at, fault.stores);
        let no_room = matches!(answer, Answer::NoRoom(_));
        match answer {
            Answer::Wake(range) | Answer::NoRoom(range) => {
                Some(Answered { wake: addresses(&range), no_room, again_after: None })
            }
            Answer::Refused(range) => Some(Answered { wake: addresses(&range), no_room, again_after: Some(REFUSED) }),
            Answer::Asleep => None,
        }
    }

    fn look(&self, at: u64, stores: bool) -> Answer {
        let around = self.around(at);
        let alone = self.range_of(&self.blocks(&(at..at + 1)));
        let _answering = self.open.body().views.answering();
        for range in [around, alone.clone()] {
            match self.try_pin(&range) {
                Ok(_pin) => {
                    pass(Moment::Answering);
                    return self.resolve(at, stores, &range);
                }
                Err(PinError::LayoutBreaking { .. }) => {}
                // No slot is free at the moment: it faults again.
                Err(_) => return Answer::Wake(alone),
            }
        }
        Answer::Asleep
    }

    /// What one fault looks at: what is not shown around it, but nothing far before.
    fn around(&self, at: u64) -> Range<u64> {
        let huge = (self.first + at) / HUGE_PAGE * HUGE_PAGE;
        let start = huge.saturating_sub(self.first);
        let within = start..self.window.len().min(at.saturating_add(LOOK_MAX));
        let gap = lock(&self.state).table.gap(at, within);
        // Whole blocks: what is shown ends with a page of the file, which may be in the middle of one.
        let whole = self.range_of(&self.blocks(&gap));
        if whole.contains(&at) { whole } else { self.range_of(&self.blocks(&(at..at + 1))) }
    }

    /// Decides what is to be seen at `at`, under a pin of `range` (V1).
    fn resolve(&self, at: u64, stores: bool, range: &Range<u64>) -> Answer {
        let alone = self.range_of(&self.blocks(&(at..at + 1)));
        loop {
            let fill = {
                let _populating = lock(&self.open.body().populate);
                let mut state = lock(&self.state);
                match self.resolve_what_is_there(&mut state, at, stores, range) {
                    Ok(Ok(answer)) => return answer,
                    Ok(Err(fill)) => fill,
                    Err(_) => {
                        drop(state);
                        return Answer::NoRoom(alone);
                    }
                }
            };
            // Outside of the locks, which it takes itself; under the pin still.
            let filled = self.open.populate(fill.clone());
            let block = self.blocks(&(at..at + 1));
            if filled.is_err() && (fill == block || self.open.populate(block).is_err()) {
                return self.refuse(at, &alone);
            }
        }
    }

    /// As [`Shown::resolve`]; the blocks that have to be filled first, if some have.
    fn resolve_what_is_there(
        &self,
        state: &mut State,
        at: u64,
        stores: bool,
        range: &Range<u64>,
    ) -> Result<Result<Answer, Range<u64>>, WindowError> {
        match state.table.at(at).map(|piece| piece.seen) {
            Some(Seen::Blocks { .. } | Seen::End) => return Ok(Ok(Answer::Wake(at..at + 1))),
            Some(Seen::Zeros | Seen::Refused) if !stores => return Ok(Ok(Answer::Wake(at..at + 1))),
            _ => {}
        }
        let page = page_size() as u64;
        let (len, piece) = {
            let map = read(&self.open.body().map);
            let block = self.blocks(&(at..at + 1)).start;
            (map.len, map.extents.piece(block, self.blocks(range).end))
        };
        let end = len.saturating_sub(self.first).next_multiple_of(self.granule());
        if at >= end {
            let past = at..(at + 1).next_multiple_of(HUGE_PAGE).min(range.end).max(at + page);
            let past = past.start..past.end.min(state.table.gap(at, past.clone()).end);
            self.window.show_end(past.clone())?;
            state.table.put(past.clone(), Seen::End);
            return Ok(Ok(Answer::Wake(past)));
        }
        if piece.bytes_at().is_some() {
            self.show_blocks(&mut state.table, range)?;
            if state.table.at(at).is_none_or(|piece| !matches!(piece.seen, Seen::Blocks { .. })) {
                // It came after more pieces than one fault maps.
                self.show_blocks(&mut state.table, &(at..range.end))?;
            }
            return Ok(Ok(Answer::Wake(range.clone())));
        }
        let hole = self.range_of(&(piece.at..piece.end()));
        // A store gets whole blocks, a load single pages of zeros.
        let (begin, least) = match stores {
            true => (self.range_of(&self.blocks(&(at..at + 1))).start, self.open.pool.block.bytes()),
            false => (at / page * page, 16 * page),
        };
        let hole = hole.start.max(begin)..hole.end.min(end).min(range.end);
        let ramp = if stores { &mut state.stores } else { &mut state.loads };
        let given = hole.start..hole.end.min(hole.start + ramp.from(hole.start, least));
        if stores {
            return Ok(Err(self.blocks(&given)));
        }
        let given = given.start..given.end.min(state.table.next_piece(at).max(at + page));
        has_room()?;
        self.window.show_zeros(given.clone())?;
        state.table.put(given.clone(), Seen::Zeros);
        Ok(Ok(Answer::Wake(given)))
    }

    /// Gives up what it shows, so that others have mappings. It is asked for again by faults.
    pub(super) fn make_room(&self) {
        if self.window.traps() {
            // In one step, which splits nothing, and so is never refused for want of mappings.
            let all = 0..self.window.len();
            let mut state = lock(&self.state);
            if self.window.trap(all.clone()).is_ok() {
                state.table.take(all).iter().for_each(|piece| self.note_stored(piece));
            }
        }
    }

    /// There is no block for a store.
    fn refuse(&self, at: u64, alone: &Range<u64>) -> Answer {
        let mut state = lock(&self.state);
        let refused = at..at + page_size() as u64;
        // Somebody else found one.
        if state.table.pieces(refused.clone()).any(|piece| matches!(piece.seen, Seen::Blocks { .. })) {
            return Answer::Wake(refused);
        }
        if self.window.show_end(refused.clone()).is_err() {
            return Answer::NoRoom(alone.clone());
        }
        state.table.put(refused.clone(), Seen::Refused);
        Answer::Refused(refused)
    }

    /// An access was refused long enough: the next one is looked at anew.
    pub(super) fn look_again(&self, address: usize) {
        let Some(at) = self.window.offset_of(address) else { return };
        let mut state = lock(&self.state);
        if let Some(piece) = state.table.at(at).filter(|piece| piece.seen == Seen::Refused) {
            self.trap(&mut state.table, &piece.range, |_| true).unwrap_or_default();
        }
    }

    /// Takes away what is shown of file blocks.
    pub(super) fn revoke(&self, blocks: &Range<u64>) -> Result<(), NotRevoked> {
        let range = self.range_of(blocks);
        let revoked = self.trap(&mut lock(&self.state).table, &range, |_| true);
        revoked.map_err(|error| not_revoked(&error))
    }

    /// Takes away zeros that are shown where bytes are about to be. The caller holds `populate`.
    pub(super) fn hide_zeros(&self, blocks: &Range<u64>) -> Result<(), NotRevoked> {
        let range = self.range_of(blocks);
        let hidden = self.trap(&mut lock(&self.state).table, &range, |seen| seen == Seen::Zeros);
        hidden.map_err(|error| not_revoked(&error))
    }

    /// The file has become longer: what was past its end is looked at anew.
    pub(super) fn grown(&self) {
        let mut state = lock(&self.state);
        // It fails for want of mappings only: then it is an end that comes too early, until the next change.
        let _ = self.trap(&mut state.table, &(0..self.window.len()), |seen| seen == Seen::End);
    }

    /// Wakes who sleeps in a fault of file blocks.
    pub(super) fn wake(&self, blocks: &Range<u64>) {
        self.window.wake(self.range_of(blocks));
    }

    /// Traps a range again, as far as there is something of this kind.
    fn trap(&self, table: &mut Table, range: &Range<u64>, wanted: impl Fn(Seen) -> bool) -> Result<(), WindowError> {
        let pieces: Vec<Piece> = table.pieces(range.clone()).filter(|piece| wanted(piece.seen)).collect();
        let (zeros, others): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(|piece| piece.seen == Seen::Zeros);
        // One step for all, from the first to the last: fewer mappings, and nothing to split but at the ends.
        if let (Some(first), Some(last)) = (others.first(), others.last()) {
            let all = first.range.start..last.range.end;
            if table.pieces(all.clone()).all(|piece| wanted(piece.seen)) {
                self.window.trap(all.clone())?;
                table.take(all).iter().for_each(|piece| self.note_stored(piece));
            } else {
                for piece in &others {
                    self.window.trap(piece.range.clone())?;
                    table.take(piece.range.clone());
                    self.note_stored(piece);
                }
            }
        }
        for piece in zeros {
            // Trapped with the others, most of the time.
            if table.at(piece.range.start).is_none() {
                continue;
            }
            self.window.trap_zeros(piece.range.clone())?;
            table.take(piece.range.clone());
        }
        Ok(())
    }

    /// What could be stored into, and now cannot, is to be synced once more.
    fn note_stored(&self, piece: &Piece) {
        if let Some(place) = self.stored(piece) {
            self.open.pool.note_dirty(&self.open.node, place);
        }
    }

    fn stored(&self, piece: &Piece) -> Option<Range<u64>> {
        match piece.seen {
            Seen::Blocks { place } if self.access == Access::Write => {
                Some(place..place + (piece.range.end - piece.range.start))
            }
            _ => None,
        }
    }

    /// The places in the region that may be stored into at this moment.
    pub(super) fn writable_places(&self) -> Vec<Range<u64>> {
        let state = lock(&self.state);
        state.table.pieces(0..self.window.len()).filter_map(|piece| self.stored(&piece)).collect()
    }

    /// Shows memory that is pinned for as long as the view lives.
    pub(super) fn show_pinned(&self, range: Range<u64>, place: u64) -> Result<(), WindowError> {
        self.show(&mut lock(&self.state).table, range, place)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if !self.window.is_of_this_process() {
            return;
        }
        let pieces = lock(&self.state).table.take(0..u64::MAX);
        pieces.iter().for_each(|piece| self.note_stored(piece));
    }
}

fn has_room() -> Result<(), WindowError> {
    match table::is_full() {
        true => Err(WindowError::NoMappings { doing: "mapping a piece of a view" }),
        false => Ok(()),
    }
}

/// Pieces that go on from one another in the region, as one.
fn in_rows(pieces: Vec<(Range<u64>, u64)>) -> Vec<(Range<u64>, u64)> {
    let mut rows: Vec<(Range<u64>, u64)> = Vec::with_capacity(pieces.len());
    for (part, place) in pieces {
        match rows.last_mut() {
            Some((last, from)) if last.end == part.start && *from + (last.end - last.start) == place => {
                last.end = part.end;
            }
            _ => rows.push((part, place)),
        }
    }
    rows
}

fn not_revoked(error: &WindowError) -> NotRevoked {
    NotRevoked { why: error.to_string(), errno: error.errno() }
}
