//! A layout break: makes sure that nobody is in a range, and keeps everybody out while its blocks are taken away.
//!
//! Drain is courtesy: newcomers wait outside, and the break sleeps while older transfers are in. Close is safe: nobody
//! gets in, everybody who is in counts, and only when nobody is, the caller may change the layout.
//! (Linux: `xfs_break_dax_layouts()`, `ext4_break_layouts()`.)
//!
//! Stays true  A1: "announce, fence, scan" meets "publish, fence, look": of a break and a pin at least one sees the
//!                 other.
//!             A2: before a break sleeps on a bell, `waited` was raised and fenced, and the bell was read before the
//!                 scan that found the pin. So that pin's leaving changes the bell, or was seen (G2).
//!             A3: a break holds no lock while it sleeps, only its announcement (G5).
//! A crash     of the owner leaves announcements behind that nobody serves: who sleeps there sees `EOWNERDEAD`.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin as StdPin;
use std::task::{Context, Poll};

use crate::sync::{Arc, AtomicU64, Instant, Ordering, ThisThread, Woke, boot_ms, close_lasts_too_long};

use super::announce::Phase;
use super::attribution::PinInfo;
use super::breaks::{Begun, Contender, Thresholds};
use super::busy_extents::{CommitId, Extent};
use super::error::BreakError;
use super::fences::Site;
use super::marks::PinKey;
use super::owner::{InTheWay, Member, Owner, Target};
use super::segment::{Flags, Reading, SlotUse};
use super::sleeper::{Registration, WordRef};
use super::until::Until;
use super::view::Layout;

/// What happens to transfers that are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The operation is deferred until no transfer is in. As Linux does.
    Wait,
    /// The operation is done at once; who is still in keeps what it reaches, parked.
    Detach,
}

/// What the operation does with the blocks of its ranges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It frees them: truncate, punch hole, zero range, unlink.
    Frees,
    /// It moves or exchanges them: collapse and insert range, exchange of extents. That always waits.
    Moves,
}

/// How long a wish is let in before a break that comes later (courtesy).
const GRACE_MS: u64 = 50;

/// A break of one layout, or of two, that runs or is about to. Dropping it withdraws.
pub struct LayoutBreak {
    owner: Arc<Owner>,
    targets: Arc<[Target]>,
    policy: Policy,
    stage: Stage,
    id: Option<u64>,
    /// Device pins below this are waited for while draining; pins below this are in the way when closed.
    thresholds: Thresholds,
    /// A copy or a view that did not end in time: drained like a transfer.
    stuck: Option<PinKey>,
    /// Since when it has let wishes in first.
    courteous_since: Option<u64>,
    cancel: Arc<AtomicU64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Draining,
    Closing { since: Instant },
    Closed,
}

/// What a break sleeps for.
pub(crate) struct Asleep {
    word: WordRef,
    value: u32,
    at: Option<Instant>,
    behind: Option<InTheWay>,
}

enum Progress {
    Closed,
    Asleep(Asleep),
}

/// How a wait fails that is given up, with the pin that is still in the way.
type GiveUp = fn(Option<Box<PinInfo>>) -> BreakError;

/// Whose thread is stopped by a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiter {
    ThisThread,
    Future,
}

/// What there is to see before anything is announced.
enum Glance {
    Nothing,
    /// A pin that waited gets in first (G3).
    Wish(InTheWay),
    Pin(InTheWay),
}

/// The proof that nobody is in the ranges, or (under [`Policy::Detach`]) that nobody but transfers whose blocks will be
/// parked. The ranges stay closed while it lives; dropping it opens them unchanged.
///
/// Make the change and tell what left with [`Idle::commit`].
#[must_use = "dropping it opens the range unchanged"]
pub struct Idle<'a> {
    of: &'a mut LayoutBreak,
}

/// Ends the wait of a break from another thread.
#[derive(Clone)]
pub struct Canceller {
    owner: Arc<Owner>,
    word: Arc<AtomicU64>,
}

impl Canceller {
    /// The break gives up with [`BreakError::Cancelled`], unless nothing is in its way any more.
    pub fn cancel(&self) {
        self.word.store(1, Ordering::Release);
        self.owner.view.fences.futex().wake(&self.word);
    }

    fn is_cancelled(&self) -> bool {
        self.word.load(Ordering::Acquire) != 0
    }
}

impl LayoutBreak {
    /// A break of `ranges`, each of one object or of one of two. Nothing is announced before it is drained.
    pub(crate) fn new(
        owner: &Arc<Owner>,
        ranges: &[(&Layout, Range<u64>)],
        policy: Policy,
        effect: Effect,
    ) -> Result<Self, BreakError> {
        if policy == Policy::Detach && effect == Effect::Moves {
            return Err(BreakError::DetachMoves);
        }
        let mut targets: Vec<Target> = Vec::with_capacity(ranges.len());
        for (layout, range) in ranges {
            if range.start >= range.end {
                return Err(BreakError::BadRange(range.clone()));
            }
            if layout.area != owner.view.area || layout._keep.is_none() {
                return Err(BreakError::Stale(layout.object));
            }
            targets.push(Target { layout: (*layout).clone(), start: range.start, end: range.end });
        }
        // In order of (object, start), as every break: whoever needs two takes them in the same order.
        targets.sort_by_key(|target| (target.layout.object, target.start));
        if let Some(pair) =
            targets.windows(2).find(|pair| pair[0].meets(pair[1].layout.object, pair[1].start, pair[1].end))
        {
            return Err(BreakError::BadRange(pair[1].start..pair[1].end));
        }
        match targets.chunk_by(|a, b| a.layout.object == b.layout.object).count() {
            0 => return Err(BreakError::BadRange(0..0)),
            1 | 2 => {}
            files => return Err(BreakError::TooManyFiles(files)),
        }
        Ok(Self {
            owner: Arc::clone(owner),
            thresholds: vec![0; targets.len()],
            targets: targets.into(),
            policy,
            stage: Stage::New,
            id: None,
            stuck: None,
            courteous_since: None,
            cancel: Arc::new(AtomicU64::new(0)),
        })
    }

    /// Lets another thread end the wait.
    pub fn canceller(&self) -> Canceller {
        Canceller { owner: Arc::clone(&self.owner), word: Arc::clone(&self.cancel) }
    }

    /// Waits until nothing is in the way, as long as `until` says. The ranges are closed while the result lives.
    ///
    /// A deadline or a signal that comes when nothing is in the way any more does not fail the operation.
    ///
    /// # Errors
    /// [`BreakError`]; the break has withdrawn then, and may be drained again. What it recalled stays recalled.
    pub fn drain(&mut self, until: Until) -> Result<Idle<'_>, BreakError> {
        self.check_process()?;
        let mut last: Option<GiveUp> = None;
        loop {
            let asleep = match self.advance(Waiter::ThisThread) {
                Ok(Progress::Closed) => return Ok(Idle { of: self }),
                Ok(Progress::Asleep(asleep)) => asleep,
                Err(error) => {
                    self.withdraw();
                    return Err(error);
                }
            };
            if let Some(error) = last {
                let behind = asleep.behind.map(|way| Box::new(self.owner.describe(&way.member, &way.pin)));
                self.withdraw();
                return Err(error(behind));
            }
            last = self.sleep(&asleep, until);
        }
    }

    /// Only looks: closes the ranges if nothing is in the way, and recalls, announces and raises nothing otherwise.
    ///
    /// # Errors
    /// [`BreakError::Busy`] names the first pin in the way.
    pub fn try_drain(&mut self) -> Result<Idle<'_>, BreakError> {
        self.check_process()?;
        if self.stage != Stage::New {
            self.withdraw();
        }
        match self.glance(false) {
            Glance::Nothing => {}
            Glance::Wish(way) => {
                return Err(BreakError::Contended { object: way.pin.object, range: way.pin.start..way.pin.end });
            }
            Glance::Pin(way) => return Err(self.busy(&way)),
        }
        if let Err(contender) = self.close_at_once(false)? {
            return Err(BreakError::Contended { object: contender.object, range: contender.start..contender.end });
        }
        if let Some(way) = self.in_the_way_of_close() {
            let error = self.busy(&way);
            self.withdraw();
            return Err(error);
        }
        if let Err(error) = self.closed() {
            self.withdraw();
            return Err(error);
        }
        Ok(Idle { of: self })
    }

    /// As [`LayoutBreak::drain`], as a future of no particular runtime. Dropping it withdraws.
    pub fn drain_async(&mut self) -> Draining<'_> {
        Draining { of: Some(self), registration: None }
    }

    fn check_process(&self) -> Result<(), BreakError> {
        if self.owner.view.clock.is_of_this_process() { Ok(()) } else { Err(BreakError::Forked) }
    }

    fn busy(&self, way: &InTheWay) -> BreakError {
        // What is said of it should be true: its holder may have died since somebody looked.
        self.owner.reap_if_dead(&way.member);
        BreakError::Busy(Box::new(self.owner.describe(&way.member, &way.pin)))
    }

    /// Goes as far as it gets without sleeping.
    fn advance(&mut self, waiter: Waiter) -> Result<Progress, BreakError> {
        loop {
            match self.stage {
                Stage::New => {
                    if let Some(asleep) = self.set_out()? {
                        return Ok(Progress::Asleep(asleep));
                    }
                }
                Stage::Draining => {
                    if let Some(way) = self.in_the_way_of_drain() {
                        self.check_deadlock(&way, waiter)?;
                        return Ok(Progress::Asleep(Asleep::behind(way)));
                    }
                    if let Some(contender) = self.close() {
                        if waiter == Waiter::ThisThread && contender.thread == ThisThread::get().number {
                            return Err(BreakError::NestedBreak(contender.start..contender.end));
                        }
                        return Ok(Progress::Asleep(Asleep::behind_break(contender)));
                    }
                }
                Stage::Closing { since } => {
                    let Some(way) = self.in_the_way_of_close() else {
                        self.closed()?;
                        self.note(None);
                        return Ok(Progress::Closed);
                    };
                    let device = way.pin.state.flags().has(Flags::DEVICE);
                    match close_lasts_too_long(since) {
                        Err(patience_ends) if !device => {
                            return Ok(Progress::Asleep(Asleep { at: Some(patience_ends), ..Asleep::behind(way) }));
                        }
                        _ => self.open_again(&way),
                    }
                }
                Stage::Closed => return Ok(Progress::Closed),
            }
        }
    }

    /// From nothing announced to Drain, or to Close where nothing is to be seen.
    fn set_out(&mut self) -> Result<Option<Asleep>, BreakError> {
        match self.glance(true) {
            Glance::Wish(way) => {
                self.courteous_since.get_or_insert_with(boot_ms);
                let grace_ends = Instant::now() + std::time::Duration::from_millis(GRACE_MS);
                return Ok(Some(Asleep { at: Some(grace_ends), ..Asleep::behind(way) }));
            }
            Glance::Nothing if self.close_at_once(true)?.is_ok() => return Ok(None),
            Glance::Nothing | Glance::Pin(_) => {}
        }
        if let Ok(begun) = self.owner.begin(&self.targets, Phase::Draining, true)? {
            self.begun(begun, Stage::Draining);
        }
        // One fence for two scans: for who is in, and (with `waited` raised) before sleeping.
        self.owner.view.fences.heavy(Site::DrainScan);
        self.recall();
        Ok(None)
    }

    fn begun(&mut self, begun: Begun, stage: Stage) {
        self.id = Some(begun.id);
        self.thresholds = begun.thresholds;
        self.stage = stage;
    }

    /// Announces "closing" before anything else; without `raise`, those who are in leave without ringing.
    fn close_at_once(&mut self, raise: bool) -> Result<Result<(), Contender>, BreakError> {
        let begun = match self.owner.begin(&self.targets, Phase::Closing, raise)? {
            Ok(begun) => begun,
            Err(contender) => return Ok(Err(contender)),
        };
        self.begun(begun, Stage::Closing { since: Instant::now() });
        self.owner.view.fences.heavy(Site::CloseScan);
        Ok(Ok(()))
    }

    /// From Drain to Close; the break that has closed part of it, if one has.
    fn close(&mut self) -> Option<Contender> {
        match self.owner.close(self.id.expect("draining breaks are announced")) {
            Ok(thresholds) => self.thresholds = thresholds,
            Err(contender) => return Some(contender),
        }
        self.stage = Stage::Closing { since: Instant::now() };
        self.owner.view.fences.heavy(Site::CloseScan);
        None
    }

    /// Nobody is in the closed ranges any more: only now what shows them goes (V1).
    fn closed(&mut self) -> Result<(), BreakError> {
        self.owner.revoke_views(&self.targets)?;
        self.stage = Stage::Closed;
        Ok(())
    }

    /// From Close back to Drain. The thresholds stay: all that was in when it closed is waited for, `way` above all.
    fn open_again(&mut self, way: &InTheWay) {
        self.stuck = Some(PinKey::of(way.member.index, &way.pin));
        self.owner.open_again(self.id.expect("closing breaks are announced"));
        self.owner.reopen_views(&self.targets);
        self.stage = Stage::Draining;
        self.recall();
    }

    /// What is to be seen without announcing anything. Who is `patient` has time to let others in first.
    fn glance(&self, patient: bool) -> Glance {
        if let Some(way) = self.due_wish(patient) {
            return Glance::Wish(way);
        }
        let found = self.owner.first_in_the_way(&self.targets, |member, index, pin| {
            self.counts_at_first(member, pin) && self.is_in(index, pin)
        });
        found.map_or(Glance::Nothing, Glance::Pin)
    }

    /// A wish that has nothing left to wait for but breaks that came after it, while there is time to be courteous.
    fn due_wish(&self, patient: bool) -> Option<InTheWay> {
        let now = boot_ms();
        if self.courteous_since.is_some_and(|since| now >= since + GRACE_MS) {
            return None;
        }
        let header = &self.owner.view.header;
        // Who waits, waits for a break that runs or has just ended: most of the time there is nothing to look for.
        let may_be_due = |target: &Target| {
            // ORDER: relaxed; it only bounds a courtesy.
            let just_ended = now < header.cell(target.layout.cell).ended.load(Ordering::Relaxed) + GRACE_MS;
            just_ended || patient && header.word(target.layout.cell).breaks() > 0
        };
        if !self.targets.iter().any(may_be_due) {
            return None;
        }
        self.owner.first_in_the_way(&self.targets, |member, index, pin| {
            pin.state.usage() == SlotUse::Wish
                && may_be_due(&self.targets[index])
                && !member.is_gone()
                && !self.owner.was_broken_by(pin.object, pin.start, pin.end, pin.generation)
        })
    }

    fn counts_at_first(&self, member: &Member, pin: &Reading) -> bool {
        let device = pin.state.flags().has(Flags::DEVICE);
        self.owner.is_live(member, pin) && (self.policy == Policy::Wait && device)
    }

    /// Whether the pin reaches what is in the file, not only what was parked since it was made.
    fn is_in(&self, index: usize, pin: &Reading) -> bool {
        let target = &self.targets[index];
        self.owner.busy.leaves_in_file(pin, target.start, target.end)
    }

    fn in_the_way_of_drain(&self) -> Option<InTheWay> {
        self.owner.first_in_the_way(&self.targets, |member, index, pin| {
            let waited_for = self.counts_at_first(member, pin) || self.stuck == Some(PinKey::of(member.index, pin));
            pin.generation < self.thresholds[index]
                && waited_for
                && self.owner.is_live(member, pin)
                && self.is_in(index, pin)
        })
    }

    fn in_the_way_of_close(&self) -> Option<InTheWay> {
        self.owner.first_in_the_way(&self.targets, |member, index, pin| {
            let copy = !pin.state.flags().has(Flags::DEVICE);
            pin.generation < self.thresholds[index]
                && (self.policy == Policy::Wait || copy)
                && self.owner.is_live(member, pin)
                && self.is_in(index, pin)
        })
    }

    /// Asks for the long-term pins of the ranges, under either policy: parked blocks too are to come back some day.
    fn recall(&self) {
        let mut marked = false;
        self.owner.first_in_the_way(&self.targets, |member, _, pin| {
            if pin.state.flags().has(Flags::LONG_TERM) && self.owner.is_live(member, pin) {
                marked |= self.owner.recall(member, pin);
            }
            false
        });
        if marked {
            self.owner.view.fences.ring(Site::WakeRecall, &self.owner.view.header.prologue().recall_bell);
        }
    }

    fn check_deadlock(&self, way: &InTheWay, waiter: Waiter) -> Result<(), BreakError> {
        match waiter == Waiter::ThisThread && way.is_of(ThisThread::get()) {
            true => Err(BreakError::Deadlock(Box::new(self.owner.describe(&way.member, &way.pin)))),
            false => Ok(()),
        }
    }

    /// Sleeps; how to fail if something is still in the way after the next look.
    fn sleep(&self, asleep: &Asleep, until: Until) -> Option<GiveUp> {
        self.note(asleep.behind.clone());
        let canceller = self.canceller();
        if canceller.is_cancelled() {
            return Some(|_| BreakError::Cancelled);
        }
        let at = [asleep.at, self.owner.sleeper.backstop(until.deadline())].into_iter().flatten().min();
        let words = [(asleep.word.word(), asleep.value), (&*self.cancel, 0)];
        let woke = match Arc::strong_count(&self.cancel) {
            // Nobody else has a canceller: one word is cheaper to sleep on than two.
            2 => self.owner.view.fences.futex().wait(words[0].0, words[0].1, at),
            _ => self.owner.view.fences.futex().wait_any(&words, at),
        };
        if let Some(way) = &asleep.behind {
            self.owner.reap_if_dead(&way.member);
        }
        match woke {
            _ if canceller.is_cancelled() => Some(|_| BreakError::Cancelled),
            Woke::Interrupted if until.is_interruptible() => Some(BreakError::Interrupted),
            _ if until.has_passed() => Some(BreakError::TimedOut),
            _ => None,
        }
    }

    fn covers(&self, extent: &Extent) -> bool {
        let within = |target: &Target| target.start <= extent.start && extent.end <= target.end;
        self.targets.iter().any(|target| target.layout.object == extent.object && within(target))
    }

    fn note(&self, behind: Option<InTheWay>) {
        if let Some(id) = self.id {
            self.owner.note_asleep(id, behind);
        }
    }

    /// Takes the announcement back; the break may set out again.
    fn withdraw(&mut self) {
        if !self.owner.view.clock.is_of_this_process() {
            return;
        }
        let was_closed = matches!(self.stage, Stage::Closing { .. } | Stage::Closed);
        if let Some(id) = self.id.take() {
            self.owner.end(id);
            if was_closed {
                self.owner.reopen_views(&self.targets);
            }
        }
        self.stage = Stage::New;
        self.stuck = None;
        self.courteous_since = None;
    }
}

impl Asleep {
    fn behind(way: InTheWay) -> Self {
        Self { word: way.word(), value: way.bell, at: None, behind: Some(way) }
    }

    fn behind_break(contender: Contender) -> Self {
        Self { word: contender.word, value: contender.value, at: None, behind: None }
    }
}

impl Drop for LayoutBreak {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Idle<'_> {
    /// Makes the caller's change while the ranges are closed, parks what left, opens the ranges.
    ///
    /// `change` returns the extents that left their files, each inside the ranges of the break. It must not panic: then
    /// nobody knows what left, and the ranges stay closed for good.
    ///
    /// In a named area (`Area::open`) what left is on record for the next owner when this returns, and not before. So
    /// a caller with a journal makes the change durable after that (G9).
    pub fn commit(self, change: impl FnOnce() -> Vec<Extent>) -> CommitId {
        // Without its id, the break opens nothing as it is dropped: not even when the change panics.
        let id = self.of.id.take().expect("an idle break is announced");
        let left = change();
        debug_assert!(left.iter().all(|extent| self.of.covers(extent)), "an extent left from outside the ranges");
        let detached = self.of.policy == Policy::Detach;
        let commit = self.of.owner.commit(id, left, detached);
        self.of.owner.reopen_views(&self.of.targets);
        if detached {
            self.of.recall();
        }
        commit
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.of.withdraw();
    }
}

/// A break on its way: see [`LayoutBreak::drain_async`].
#[must_use = "a future does nothing until it is polled"]
pub struct Draining<'a> {
    of: Option<&'a mut LayoutBreak>,
    registration: Option<Registration>,
}

impl<'a> Future for Draining<'a> {
    type Output = Result<Idle<'a>, BreakError>;

    fn poll(mut self: StdPin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let of = self.of.take().expect("a future is not polled after it is ready");
        if let Err(error) = of.check_process() {
            return Poll::Ready(Err(error));
        }
        match of.advance(Waiter::Future) {
            Ok(Progress::Closed) => Poll::Ready(Ok(Idle { of })),
            Err(error) => {
                of.withdraw();
                Poll::Ready(Err(error))
            }
            Ok(Progress::Asleep(asleep)) => {
                if of.canceller().is_cancelled() {
                    of.withdraw();
                    return Poll::Ready(Err(BreakError::Cancelled));
                }
                if let Some(way) = &asleep.behind {
                    of.owner.reap_if_dead(&way.member);
                }
                of.note(asleep.behind);
                let words = vec![(asleep.word, asleep.value), (WordRef::Own(Arc::clone(&of.cancel)), 0)];
                let registration = self.registration.get_or_insert_with(|| of.owner.sleeper.registration());
                registration.wake_when_changed(words, asleep.at, context.waker());
                self.of = Some(of);
                Poll::Pending
            }
        }
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        if let Some(of) = &mut self.of {
            of.withdraw();
        }
    }
}
