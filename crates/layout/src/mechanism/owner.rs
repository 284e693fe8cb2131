//! The owner's side of an area: its members, the cells of its files, and the scan for who is in the way.
//!
//! Stays true  O1: a member is linked before its first slot is filled, so a scan that misses it is older than any
//!                 look of its pins at the word.
//!             O2: a cell's id is taken away only while nobody holds a pin on the file, as a break would see it.
//! Lock order  `cells`, then `breaks`, then the busy extents, then `members` and marks. None is held while asleep.
//! Dead owner  its locks die with it; header and segments say all that the next one must know.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use crate::sync::{Arc, AtomicU32, Mutex, Ordering, ThisThread, lock};

use super::attribution::{Observer, PinInfo, Quarantined};
use super::breaks::Breaks;
use super::error::AreaError;
use super::fences::Site;
use super::header::Growing;
use super::marks::{Marks, PinKey, RECALLED, VOID};
use super::parked::Busy;
use super::revoke::Views;
use super::segment::{Flags, Reading, Segment, SlotUse};
use super::sleeper::{Sleeper, WordRef};
use super::view::{Layout, Liveness, View};
use super::word::LayoutWord;

/// One segment and who holds it.
pub(crate) struct Member {
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: u32,
    /// The holder is in this process: its thread numbers are ours.
    pub(crate) local: bool,
    pub(crate) liveness: Box<dyn Liveness>,
    /// [`HERE`], [`LEAVING`], [`GONE`] or [`SETTLED`]; only grows.
    gone: AtomicU32,
}

/// The holder pins.
const HERE: u32 = 0;
/// The holder is gone: its device pins are in quarantine, its other pins are over.
const LEAVING: u32 = 1;
/// The same, and the header says so.
const GONE: u32 = 2;
/// Nothing in the segment counts, or will.
const SETTLED: u32 = 3;

impl Member {
    pub(crate) fn new(segment: Arc<Segment>, index: u32, local: bool, liveness: Box<dyn Liveness>) -> Self {
        Self { segment, index, local, liveness, gone: AtomicU32::new(HERE) }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire) != HERE
    }

    fn is_settled(&self) -> bool {
        self.gone.load(Ordering::Acquire) == SETTLED
    }

    /// Whether it was this caller who took the holder from one state to the next.
    fn pass(&self, from: u32, to: u32) -> bool {
        // ORDER: Release pairs with the Acquire in `is_gone`: who is woken afterwards sees it.
        self.gone.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The state of the owner.
pub(crate) struct Owner {
    pub(crate) view: Arc<View>,
    pub(crate) sleeper: Arc<Sleeper>,
    pub(crate) breaks: Mutex<Breaks>,
    pub(crate) busy: Busy,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) lasting_after: Duration,
    members: Mutex<Arc<[Arc<Member>]>>,
    cells: Mutex<Cells>,
    pub(crate) marks: Marks,
    pub(super) views: Mutex<Option<Arc<dyn Views>>>,
    /// Dropped with the owner: what tells others that nobody serves the area any more.
    pub(crate) keep: Option<Box<dyn Send + Sync>>,
}

#[derive(Default)]
struct Cells {
    by_object: HashMap<u64, (u32, Weak<KeepCell>)>,
    free: Vec<u32>,
    /// Objects whose last handle went; their cells may be freed.
    idle: Vec<u64>,
    /// How many of those stayed at the last sweep: pinned, or parked.
    stayed: usize,
    fresh: u32,
}

/// Cells that wait to be freed together. A sweep also looks at those that stayed the last time, so it comes only when
/// there are twice as many again.
const IDLE_CELLS_MAX: usize = 256;

/// Kept by the layouts of one file; the last one gives the cell back.
struct KeepCell {
    owner: Weak<Owner>,
    object: u64,
}

impl Drop for KeepCell {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade().filter(|owner| owner.view.clock.is_of_this_process()) {
            owner.give_back_cell(self.object);
        }
    }
}

/// A pin that is in the way, and what to sleep on until it may be gone.
#[derive(Clone)]
pub(crate) struct InTheWay {
    pub(crate) member: Arc<Member>,
    pub(crate) pin: Reading,
    /// The bell's value before the scan.
    pub(crate) bell: u32,
}

impl InTheWay {
    pub(crate) fn word(&self) -> WordRef {
        WordRef::Bell(Arc::clone(&self.member.segment))
    }

    pub(super) fn is_quarantined(&self) -> bool {
        self.member.is_gone() || self.pin.state.flags().has(Flags::ABANDONED)
    }

    /// Whether the pin was made by this thread, and no engine has it.
    pub(crate) fn is_of(&self, thread: ThisThread) -> bool {
        self.member.local && self.pin.thread == thread.number && !self.pin.state.flags().has(Flags::HANDED_OVER)
    }
}

/// A range of a file whose cell is known.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) layout: Layout,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Owner {
    pub(crate) fn new(
        view: Arc<View>,
        sleeper: Arc<Sleeper>,
        observer: Option<Arc<dyn Observer>>,
        lasting_after: Duration,
    ) -> Self {
        Self {
            view,
            sleeper,
            breaks: Mutex::new(Breaks::default()),
            busy: Busy::default(),
            observer,
            lasting_after,
            members: Mutex::new(Arc::new([])),
            cells: Mutex::new(Cells::default()),
            marks: Marks::default(),
            views: Mutex::new(None),
            keep: None,
        }
    }

    /// The members as they are now.
    ///
    /// After a fork the child sees none: it has not their memory, nor would the locks be free for sure.
    pub(crate) fn members(&self) -> Arc<[Arc<Member>]> {
        if !self.view.clock.is_of_this_process() {
            return Arc::new([]);
        }
        Arc::clone(&lock(&self.members))
    }

    /// Links a member. Its holder must not pin before this returns (O1).
    pub(crate) fn link(&self, member: Arc<Member>) {
        let mut members = lock(&self.members);
        let others = members.iter().filter(|other| other.index != member.index);
        *members = others.cloned().chain([member.clone()]).collect();
    }

    /// Links a member that a former owner of the area left. Nobody scans yet.
    pub(crate) fn take_over(&self, member: Arc<Member>) {
        if !member.liveness.is_alive() && member.pass(HERE, GONE) {
            self.view.header.holder(member.index).state.store(HOLDER_GONE, Ordering::Release);
        }
        self.link(member);
    }

    /// Takes a member out whose segment holds no pin that counts.
    fn unlink(&self, gone: &Member) {
        let mut members = lock(&self.members);
        *members = members.iter().filter(|member| !std::ptr::eq(&***member, gone)).cloned().collect();
        drop(members);
        self.marks.forget_segment(&self.view.header, gone.index);
    }

    /// The first pin that `counts`, member by member, with the bell as it was before the scan.
    pub(crate) fn first_in_the_way(
        &self,
        targets: &[Target],
        mut counts: impl FnMut(&Member, usize, &Reading) -> bool,
    ) -> Option<InTheWay> {
        self.members().iter().find_map(|member| {
            let bell = WordRef::Bell(Arc::clone(&member.segment)).value();
            let pin = targets.iter().enumerate().find_map(|(index, target)| {
                member.segment.find(target.layout.chain, target.layout.object, |pin| {
                    let meets = pin.reaches(target.start, target.end);
                    (meets && counts(member, index, &pin)).then_some(pin)
                })
            })?;
            Some(InTheWay { member: Arc::clone(member), pin, bell })
        })
    }

    /// Whether a slot holds a pin that counts at all: held, not void, and not a copy of a process that is gone.
    pub(crate) fn is_live(&self, member: &Member, pin: &Reading) -> bool {
        pin.state.usage() == SlotUse::Held
            && (pin.state.flags().has(Flags::DEVICE) || !member.is_gone())
            && !self.marks.is_void(PinKey::of(member.index, pin))
            // Looked at last: the marks of a segment are forgotten after it is settled.
            && !member.is_settled()
    }

    /// Notes that a holder is gone (G8): copies of a dead process are over, device pins stay, in quarantine. Gives
    /// the segment back if nothing in it counts any more.
    ///
    /// Returns whether it was.
    pub(crate) fn reap_if_dead(&self, member: &Member) -> bool {
        let died = !member.is_gone() && !member.liveness.is_alive();
        if died {
            self.holder_left(member);
        }
        died
    }

    /// The holder is gone, by its own word or by its death.
    pub(crate) fn holder_left(&self, member: &Member) {
        // Only one notes it, and nobody settles it before the header says so: afterwards its place may be another's.
        if member.pass(HERE, LEAVING) {
            self.view.header.holder(member.index).state.store(HOLDER_GONE, Ordering::Release);
            member.pass(LEAVING, GONE);
            self.view.fences.ring(Site::WakeReaped, member.segment.bell());
            self.settle(member);
        }
    }

    /// Gives the segment of a gone holder back once nothing in it counts.
    pub(crate) fn settle(&self, member: &Member) {
        let counts = |pin: Reading| self.is_live(member, &pin);
        if member.is_gone() && !member.segment.all().any(counts) && member.pass(GONE, SETTLED) {
            self.unlink(member);
            // Who read of a void mark that is forgotten now, and sleeps for it, is woken.
            self.view.fences.ring(Site::WakeReaped, member.segment.bell());
            // The place is free before its file goes: a crash in between leaves a file that nobody names.
            self.view.header.holder(member.index).state.store(HOLDER_FREE, Ordering::Release);
            member.liveness.settled();
        }
    }

    /// Declares a pin void: no device reaches it any more, or an operator says so (M2).
    pub(crate) fn void(&self, member: &Member, pin: &Reading) -> bool {
        // A living holder of this process clears its slot itself: that is us. Any other's slot is its own.
        let cleared = member.local && !member.is_gone() && member.segment.clear(pin);
        let marked = cleared || self.mark(member, pin, VOID);
        if marked {
            self.view.fences.ring(Site::WakeVoid, member.segment.bell());
            self.settle(member);
        }
        marked
    }

    /// Marks a long-term pin as wanted; true if it was not before.
    pub(crate) fn recall(&self, member: &Member, pin: &Reading) -> bool {
        !self.marks.is_recalled(PinKey::of(member.index, pin)) && self.mark(member, pin, RECALLED)
    }

    fn mark(&self, member: &Member, pin: &Reading, kind: u64) -> bool {
        // Under the lock, so that no mark is made for a member that is taken out: its place may be another's by now.
        let members = lock(&self.members);
        if !members.iter().any(|other| std::ptr::eq(&**other, member)) {
            return true;
        }
        let segment_of = |index| members.iter().find(|m| m.index == index).map(|m| &*m.segment);
        self.marks.set(&self.view.header, PinKey::of(member.index, pin), kind, segment_of)
    }

    /// What a listing says of a pin.
    pub(crate) fn describe(&self, member: &Member, pin: &Reading) -> PinInfo {
        let mut info = PinInfo::of(&member.segment, member.index, member.liveness.pid(), pin);
        info.recalled = info.long_term && self.marks.is_recalled(PinKey::of(member.index, pin));
        if member.is_gone() {
            info.quarantine = Some(Quarantined::HolderGone);
        }
        info
    }

    /// Every pin of the area that counts.
    pub(crate) fn pins(&self) -> Vec<PinInfo> {
        let members = self.members();
        let of = |member: &Arc<Member>| {
            let live = member.segment.all().filter(|pin| self.is_live(member, pin));
            live.map(|pin| self.describe(member, &pin)).collect::<Vec<_>>()
        };
        members.iter().flat_map(of).collect()
    }

    /// The first pin of a range that reaches what is in the file.
    ///
    /// A layout of another area has none here.
    pub(crate) fn first_busy(&self, layout: &Layout, range: std::ops::Range<u64>) -> Option<PinInfo> {
        if layout.area != self.view.area {
            return None;
        }
        let target = Target { layout: layout.clone(), start: range.start, end: range.end };
        let way = self.first_in_the_way(&[target], |member, _, pin| {
            self.is_live(member, pin) && self.busy.leaves_in_file(pin, range.start, range.end)
        })?;
        Some(self.describe(&way.member, &way.pin))
    }

    /// Notes which holders have died.
    pub(crate) fn reap_dead(&self) {
        for member in self.members().iter() {
            self.reap_if_dead(member);
        }
    }

    /// The layout of `object`, with a cell of its own from now on.
    pub(crate) fn layout(self: &Arc<Self>, object: u64) -> Result<Layout, AreaError> {
        if object == 0 {
            return Err(AreaError::ZeroObject);
        }
        if !self.view.clock.is_of_this_process() {
            return Err(AreaError::Forked);
        }
        let mut cells = lock(&self.cells);
        let (cell, keep) = match cells.by_object.get(&object) {
            Some((cell, keep)) => (*cell, keep.upgrade()),
            None => (self.new_cell(&mut cells, object)?, None),
        };
        let keep = keep.unwrap_or_else(|| Arc::new(KeepCell { owner: Arc::downgrade(self), object }));
        cells.by_object.insert(object, (cell, Arc::downgrade(&keep)));
        let chain = self.view.header.geometry().chain_of(object);
        let at = self.view.header.place(cell);
        Ok(Layout { object, area: self.view.area, cell, chain, at, _keep: Some(keep) })
    }

    fn new_cell(&self, cells: &mut Cells, object: u64) -> Result<u32, AreaError> {
        let cell = match cells.free.pop() {
            Some(cell) => cell,
            None => self.fresh_cell(cells)?,
        };
        let _breaks = lock(&self.breaks);
        let header = &self.view.header;
        // Above every generation so far: a pin of the same file that came through another cell is older.
        let high = header.prologue().generation_high.load(Ordering::Relaxed);
        header.step(cell, LayoutWord::quiet(high).stepped());
        // ORDER: Release: who sees the id sees the word.
        header.cell(cell).object.store(object, Ordering::Release);
        Ok(cell)
    }

    fn fresh_cell(&self, cells: &mut Cells) -> Result<u32, AreaError> {
        let files_max = self.view.header.geometry().files_max;
        if cells.fresh == files_max {
            self.sweep_cells(cells);
            return cells.free.pop().ok_or(AreaError::NoFile { files_max });
        }
        self.view.header.allocate(Growing::Cells, cells.fresh)?;
        cells.fresh += 1;
        self.view.header.prologue().cells_used.store(u64::from(cells.fresh), Ordering::Release);
        Ok(cells.fresh - 1)
    }

    /// The last handle of a file went. Its cell is freed with others, since that takes a full fence.
    fn give_back_cell(&self, object: u64) {
        let mut cells = lock(&self.cells);
        cells.idle.push(object);
        if cells.idle.len() >= IDLE_CELLS_MAX + 2 * cells.stayed {
            self.sweep_cells(&mut cells);
        }
    }

    /// Frees the cells of files that nobody in this process names, unless somebody holds a pin on the file, or blocks
    /// of it are parked (O2). Those stay until a later sweep.
    fn sweep_cells(&self, cells: &mut Cells) {
        let mut idle = std::mem::take(&mut cells.idle);
        idle.sort_unstable();
        idle.dedup();
        let unnamed = |object: &u64| cells.by_object.get(object).is_some_and(|(_, keep)| keep.strong_count() == 0);
        idle.retain(unnamed);
        let (parked, mut idle): (Vec<u64>, Vec<u64>) = idle.into_iter().partition(|object| self.busy.parks(*object));
        for object in &idle {
            self.view.header.cell(cells.by_object[object].0).object.store(0, Ordering::Relaxed);
        }
        // As a break: either the scan sees a pin, or the pin sees that the id is gone.
        self.view.fences.heavy(Site::SweepScan);
        idle.retain(|object| {
            let cell = cells.by_object[object].0;
            if self.is_pinned(*object) {
                self.view.header.cell(cell).object.store(*object, Ordering::Release);
                return true;
            }
            cells.by_object.remove(object);
            cells.free.push(cell);
            false
        });
        cells.idle = parked;
        cells.idle.append(&mut idle);
        cells.stayed = cells.idle.len();
    }

    fn is_pinned(&self, object: u64) -> bool {
        let chain = self.view.header.geometry().chain_of(object);
        self.members()
            .iter()
            .any(|member| member.segment.find(chain, object, |pin| self.is_live(member, &pin).then_some(())).is_some())
    }

    /// How many files have state.
    pub(crate) fn files(&self) -> usize {
        if !self.view.clock.is_of_this_process() {
            return 0;
        }
        lock(&self.cells).by_object.len()
    }
}

/// [`HolderEntry::state`](super::header::HolderEntry): nobody.
pub(crate) const HOLDER_FREE: u64 = 0;
/// A holder that pins.
pub(crate) const HOLDER_LINKED: u64 = 1;
/// Its holder is gone, its device pins are not.
pub(crate) const HOLDER_GONE: u64 = 2;
