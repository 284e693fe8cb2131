//! The running breaks: their announcements, and the steps of the layout words.
//!
//! Stays true  K1: the words change under the `breaks` lock only, and in this order: announce, step to begin; step to
//!                 close; step to commit, withdraw, step to end. So the count says how many are announced.
//!             K2: two breaks that overlap are never closed at the same time (the range lock).
//! Who may     the owner's process, any thread.
//! Lock order  `breaks`, then the busy extents. The caller fences and scans after it is released.

use std::collections::HashMap;

use crate::sync::{Arc, Instant, MutexGuard, Ordering, ThisThread, boot_ms, lock};

use super::announce::{Announced, Phase};
use super::attribution::BreakInfo;
use super::busy_extents::{CommitId, Extent};
use super::error::BreakError;
use super::fences::Site;
use super::header::{Growing, Header};
use super::owner::{InTheWay, Owner, Target};
use super::sleeper::WordRef;
use super::word::BREAKS_MAX;

/// The breaks that run in one area.
#[derive(Default)]
pub(crate) struct Breaks {
    running: HashMap<u64, Running>,
    last_id: u64,
    free: Vec<u32>,
    fresh: u32,
}

struct Running {
    targets: Arc<[Target]>,
    announcements: Vec<u32>,
    /// For each target the generation with which it began.
    begun: Thresholds,
    closed: bool,
    thread: u32,
    since: Instant,
    /// Asleep for this pin, since then, and how often that was said aloud.
    asleep: Option<(InTheWay, Instant)>,
    said: u32,
}

/// For each target the generation below which a pin is older.
pub(crate) type Thresholds = Vec<u64>;

/// Another break has closed what this one wants to close.
pub(crate) struct Contender {
    pub(crate) word: WordRef,
    pub(crate) value: u32,
    pub(crate) thread: u32,
    pub(crate) object: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What a begun break remembers.
pub(crate) struct Begun {
    pub(crate) id: u64,
    pub(crate) thresholds: Thresholds,
}

impl Owner {
    fn breaks(&self) -> MutexGuard<'_, Breaks> {
        lock(&self.breaks)
    }

    /// Announces a break, draining or closing at once. With `raise` the pins that are in will ring as they leave.
    ///
    /// Closing at once gives `Err(None)` if another break has closed part of it: then nothing was announced.
    pub(crate) fn begin(
        &self,
        targets: &Arc<[Target]>,
        phase: Phase,
        raise: bool,
    ) -> Result<Result<Begun, Contender>, BreakError> {
        let header = &self.view.header;
        let mut breaks = self.breaks();
        if phase == Phase::Closing
            && let Some(contender) = breaks.contender(self, 0, targets)
        {
            return Ok(Err(contender));
        }
        let announcements_max = header.geometry().announcements_max;
        let full = BreakError::NoAnnouncement { announcements_max };
        if cells_of(targets).any(|cell| header.word(cell).breaks() == BREAKS_MAX) {
            return Err(full);
        }
        let announcements = breaks.take_records(header, targets.len()).ok_or(full)?;
        breaks.last_id += 1;
        let id = breaks.last_id;
        let thread = ThisThread::get().number;
        let thresholds: Thresholds = targets.iter().map(|t| header.word(t.layout.cell).begun().generation()).collect();
        for ((target, index), generation) in targets.iter().zip(&announcements).zip(&thresholds) {
            header.announce(
                *index,
                &Announced {
                    object: target.layout.object,
                    start: target.start,
                    end: target.end,
                    break_id: id,
                    generation: *generation,
                    phase,
                    thread,
                    since: boot_ms(),
                },
            );
        }
        for cell in cells_of(targets) {
            let word = header.word(cell).begun();
            header.step(cell, word);
            if raise {
                header.raise_waited(cell, word.generation());
            }
        }
        let closed = phase == Phase::Closing;
        let running = Running {
            targets: Arc::clone(targets),
            announcements,
            begun: thresholds.clone(),
            closed,
            thread,
            since: Instant::now(),
            asleep: None,
            said: 0,
        };
        breaks.running.insert(id, running);
        Ok(Ok(Begun { id, thresholds }))
    }

    /// Takes the range lock and announces "closing". The caller fences and scans.
    pub(crate) fn close(&self, id: u64) -> Result<Thresholds, Contender> {
        let mut breaks = self.breaks();
        let targets = Arc::clone(&breaks.running[&id].targets);
        if let Some(contender) = breaks.contender(self, id, &targets) {
            return Err(contender);
        }
        Ok(self.change_phase(&mut breaks, id, Phase::Closing))
    }

    /// Back from Close to Drain: copies go on. Wakes who waits for what was closing.
    pub(crate) fn open_again(&self, id: u64) {
        let mut breaks = self.breaks();
        self.change_phase(&mut breaks, id, Phase::Draining);
        let targets = Arc::clone(&breaks.running[&id].targets);
        drop(breaks);
        self.wake_words(&targets);
    }

    fn change_phase(&self, breaks: &mut Breaks, id: u64, phase: Phase) -> Thresholds {
        let header = &self.view.header;
        let running = breaks.running.get_mut(&id).expect("a break that runs");
        running.closed = phase == Phase::Closing;
        let thresholds: Thresholds =
            running.targets.iter().map(|t| header.word(t.layout.cell).stepped().generation()).collect();
        for (index, generation) in running.announcements.iter().zip(&thresholds) {
            header.set_phase(*index, phase, *generation, running.thread);
        }
        for cell in cells_of(&running.targets) {
            let word = header.word(cell).stepped();
            header.step(cell, word);
            if phase == Phase::Closing {
                header.raise_waited(cell, word.generation());
            }
        }
        thresholds
    }

    /// The change is made: steps to commit, parks what left, opens.
    pub(crate) fn commit(&self, id: u64, left: Vec<Extent>, reached: bool) -> CommitId {
        let header = &self.view.header;
        let mut breaks = self.breaks();
        let targets = Arc::clone(&breaks.running[&id].targets);
        for cell in cells_of(&targets) {
            header.step(cell, header.word(cell).stepped());
        }
        let generation_of = |object: u64| {
            let target = targets.iter().find(|t| t.layout.object == object).unwrap_or(&targets[0]);
            header.word(target.layout.cell).generation()
        };
        let leaves_something = left.iter().any(|extent| !extent.is_empty());
        let commit = self.busy.park(self, left, generation_of, reached);
        if reached {
            // From here on the pins that reach what was parked ring as they leave.
            cells_of(&targets).for_each(|cell| header.raise_waited(cell, header.word(cell).generation()));
        }
        self.end_locked(&mut breaks, id);
        drop(breaks);
        self.wake_words(&targets);
        if reached {
            self.view.fences.heavy(Site::Park);
        }
        if leaves_something {
            self.announce_space();
        }
        commit
    }

    /// Withdraws a break that changed nothing.
    pub(crate) fn end(&self, id: u64) {
        let mut breaks = self.breaks();
        let targets = Arc::clone(&breaks.running[&id].targets);
        self.end_locked(&mut breaks, id);
        drop(breaks);
        self.wake_words(&targets);
    }

    fn end_locked(&self, breaks: &mut Breaks, id: u64) {
        let header = &self.view.header;
        let running = breaks.running.remove(&id).expect("a break that runs");
        for index in &running.announcements {
            header.withdraw(*index);
        }
        breaks.free.extend(running.announcements);
        for cell in cells_of(&running.targets) {
            // ORDER: relaxed; it only bounds a courtesy.
            header.cell(cell).ended.store(boot_ms(), Ordering::Relaxed);
            header.step(cell, header.word(cell).ended());
        }
    }

    fn wake_words(&self, targets: &[Target]) {
        for cell in cells_of(targets) {
            self.view.fences.wake(Site::WakeWord, &self.view.header.cell(cell).word);
        }
    }

    /// Whether a break runs in the range that was announced by `generation`: then who has waited since then still has
    /// something to wait for. Later ones do not count, or a chain of breaks that overlap would keep him out for ever.
    pub(crate) fn was_broken_by(&self, object: u64, start: u64, end: u64, generation: u64) -> bool {
        let breaks = self.breaks();
        let mut announced = breaks.running.values().flat_map(|running| running.targets.iter().zip(&running.begun));
        announced.any(|(target, begun)| *begun <= generation && target.meets(object, start, end))
    }

    /// Notes for whom a break sleeps.
    pub(crate) fn note_asleep(&self, id: u64, behind: Option<InTheWay>) {
        if let Some(running) = self.breaks().running.get_mut(&id) {
            let since = running.asleep.as_ref().map_or_else(Instant::now, |(_, since)| *since);
            running.asleep = behind.map(|behind| (behind, since));
        }
    }

    /// Every running break.
    pub(crate) fn running_breaks(&self) -> Vec<BreakInfo> {
        if !self.view.clock.is_of_this_process() {
            return Vec::new();
        }
        let breaks = self.breaks();
        let mut ids: Vec<_> = breaks.running.keys().copied().collect();
        ids.sort_unstable();
        ids.iter().map(|id| breaks.running[id].describe(self)).collect()
    }

    /// The breaks whose sleep has lasted, each once for every doubling of the time.
    pub(crate) fn lasting_breaks(&self) -> Vec<BreakInfo> {
        let mut breaks = self.breaks();
        let mut lasting = Vec::new();
        for running in breaks.running.values_mut() {
            let Some((_, since)) = &running.asleep else { continue };
            if since.elapsed() >= self.lasting_after.saturating_mul(1 << running.said.min(30)) {
                running.said += 1;
                lasting.push(running.describe(self));
            }
        }
        lasting
    }
}

impl Running {
    fn describe(&self, owner: &Owner) -> BreakInfo {
        BreakInfo {
            ranges: self.targets.iter().map(|t| (t.layout.object, t.start..t.end)).collect(),
            closing: self.closed,
            running_for: self.since.elapsed(),
            behind: self.asleep.as_ref().map(|(way, _)| owner.describe(&way.member, &way.pin)),
        }
    }
}

impl Breaks {
    /// The closed break, other than `id`, that meets `targets`.
    fn contender(&self, owner: &Owner, id: u64, targets: &[Target]) -> Option<Contender> {
        let closed = self.running.iter().filter(|(other, running)| **other != id && running.closed);
        closed.flat_map(|(_, running)| running.targets.iter().map(move |target| (running, target))).find_map(
            |(running, theirs)| {
                targets.iter().find(|t| t.meets(theirs.layout.object, theirs.start, theirs.end))?;
                let word = WordRef::Cell(Arc::clone(&owner.view), theirs.layout.cell);
                Some(Contender {
                    value: word.value(),
                    word,
                    thread: running.thread,
                    object: theirs.layout.object,
                    start: theirs.start,
                    end: theirs.end,
                })
            },
        )
    }

    /// Free announcement records, all or none.
    fn take_records(&mut self, header: &Header, count: usize) -> Option<Vec<u32>> {
        while self.free.len() < count {
            let fresh = self.fresh;
            if fresh == header.geometry().announcements_max || header.allocate(Growing::Announcements, fresh).is_err() {
                return None;
            }
            self.free.push(fresh);
            self.fresh += 1;
        }
        Some(self.free.split_off(self.free.len() - count))
    }
}

impl Target {
    pub(crate) fn meets(&self, object: u64, start: u64, end: u64) -> bool {
        self.layout.object == object && self.start < end && start < self.end
    }
}

/// The cells of a break, each once: its targets are sorted by object.
fn cells_of(targets: &[Target]) -> impl Iterator<Item = u32> + '_ {
    targets.chunk_by(|a, b| a.layout.cell == b.layout.cell).map(|of_one| of_one[0].layout.cell)
}
