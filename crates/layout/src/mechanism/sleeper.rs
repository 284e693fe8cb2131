//! The sleeper: one thread for each area and process, which sleeps on behalf of all futures, and does the chores
//! that nobody waits for: the coarse clock, recalls, the reaping of dead holders.
//!
//! Stays true  E1: an entry's word is compared with its value after the entry is in the queue, so a change between
//!                 the future's look and its registration is not missed.
//! Lock order  `queue` is taken alone; wakers and chores run without it.

use std::task::Waker;
use std::time::Duration;

use crate::sync::{
    Arc, AtomicU64, Futex, Instant, JoinHandle, Mutex, Ordering, ProcessClock, WAIT_ANY_MAX, lock, spawn,
};

use super::error::AreaError;
use super::segment::Segment;
use super::view::View;

/// In shared memory whoever rings can be killed between clearing and waking, so a sleeper looks again after this.
/// A backstop, never a proof.
pub(crate) const BACKSTOP: Duration = Duration::from_millis(50);

/// How often the coarse clock moves, and chores are done.
const TICK: Duration = Duration::from_millis(100);

/// A word that can be slept on, and what keeps its memory mapped.
#[derive(Clone)]
pub(crate) enum WordRef {
    /// A holder's bell.
    Bell(Arc<Segment>),
    /// A file's layout word.
    Cell(Arc<View>, u32),
    /// The owner's recall bell.
    Recall(Arc<View>),
    /// A word of this process.
    Own(Arc<AtomicU64>),
}

impl WordRef {
    pub(crate) fn word(&self) -> &AtomicU64 {
        match self {
            Self::Bell(segment) => segment.bell(),
            Self::Cell(view, cell) => &view.header.cell(*cell).word,
            Self::Recall(view) => &view.header.prologue().recall_bell,
            Self::Own(word) => word,
        }
    }

    /// What a futex compares, now.
    pub(crate) fn value(&self) -> u32 {
        // ORDER: Acquire pairs with the Release of whoever rings: what was done before is seen.
        self.word().load(Ordering::Acquire) as u32
    }
}

/// Something the sleeper does whenever it wakes.
pub(crate) trait Chore: Send + Sync {
    /// Does what is to be done, and adds what it waits for. Called again with the next tick at the latest.
    fn look(&self, waits: &mut Vec<(WordRef, u32)>);
}

struct Entry {
    id: u64,
    words: Vec<(WordRef, u32)>,
    at: Option<Instant>,
    waker: Waker,
}

#[derive(Default)]
struct Queue {
    entries: Vec<Entry>,
    last_id: u64,
    chores: Vec<std::sync::Weak<dyn Chore>>,
    ended: bool,
}

struct Inner {
    queue: Mutex<Queue>,
    /// Bumped when the queue changes.
    control: Arc<AtomicU64>,
    futex: Futex,
    shared: bool,
    clock: ProcessClock,
}

/// Handle of the sleeper; dropping it ends the thread.
pub(crate) struct Sleeper {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle>>,
}

impl Sleeper {
    pub(crate) fn new(futex: Futex, shared: bool, clock: ProcessClock) -> Self {
        let control = Arc::new(AtomicU64::new(0));
        let inner = Arc::new(Inner { queue: Mutex::new(Queue::default()), control, futex, shared, clock });
        Self { inner, thread: Mutex::new(None) }
    }

    /// Starts the thread.
    pub(crate) fn start(&self) -> Result<(), AreaError> {
        let inner = Arc::clone(&self.inner);
        let thread =
            spawn("pinfold-sleeper", move || inner.run()).map_err(AreaError::system("start its sleeper thread"))?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// When a sleeper that waits until `until` must look again.
    pub(crate) fn backstop(&self, until: Option<Instant>) -> Option<Instant> {
        self.inner.backstop(until)
    }

    /// A place in the queue for one future.
    pub(crate) fn registration(&self) -> Registration {
        let mut queue = lock(&self.inner.queue);
        queue.last_id += 1;
        Registration { inner: Arc::clone(&self.inner), id: queue.last_id }
    }

    pub(crate) fn add_chore(&self, chore: std::sync::Weak<dyn Chore>) {
        lock(&self.inner.queue).chores.push(chore);
        self.nudge();
    }

    /// Makes the sleeper look again.
    pub(crate) fn nudge(&self) {
        self.inner.nudge();
    }
}

/// One future's place in the queue; it goes with the future. (Not keyed by waker: many futures may share one.)
pub(crate) struct Registration {
    inner: Arc<Inner>,
    id: u64,
}

impl Registration {
    /// Wakes `waker` once one of the words differs from its value, at `at`, or earlier without reason. Replaces what
    /// the future registered before. Between processes a future looks again as often as a sleeping thread does.
    pub(crate) fn wake_when_changed(&self, words: Vec<(WordRef, u32)>, at: Option<Instant>, waker: &Waker) {
        let at = self.inner.backstop(at);
        let mut queue = lock(&self.inner.queue);
        queue.entries.retain(|entry| entry.id != self.id);
        queue.entries.push(Entry { id: self.id, words, at, waker: waker.clone() });
        drop(queue);
        self.inner.nudge();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.inner.clock.is_of_this_process() {
            lock(&self.inner.queue).entries.retain(|entry| entry.id != self.id);
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        if !self.inner.clock.is_of_this_process() {
            // The thread is the parent's, and so are the locks that it may have held at the fork.
            std::mem::forget(thread);
            return;
        }
        lock(&self.inner.queue).ended = true;
        self.nudge();
        thread.join_unless_it_is_this_one();
    }
}

impl Inner {
    fn backstop(&self, until: Option<Instant>) -> Option<Instant> {
        if !self.shared {
            return until;
        }
        let backstop = Instant::now() + BACKSTOP;
        Some(until.map_or(backstop, |at| at.min(backstop)))
    }

    fn nudge(&self) {
        self.control.fetch_add(1, Ordering::Release);
        self.futex.wake(&self.control);
    }

    fn run(&self) {
        loop {
            let control = (WordRef::Own(Arc::clone(&self.control)), self.control.load(Ordering::Acquire) as u32);
            let mut waits = vec![control];
            self.clock.tick();
            if !self.do_chores(&mut waits) {
                return;
            }
            let mut at = Instant::now() + TICK;
            let woken = self.due(&mut waits, &mut at);
            if !woken.is_empty() {
                woken.into_iter().for_each(Waker::wake);
                continue;
            }
            // Words that do not fit into one call are looked at as often as a backstop.
            if self.shared && waits.len() > 1 || waits.len() > WAIT_ANY_MAX {
                at = at.min(Instant::now() + BACKSTOP);
            }
            let words: Vec<_> = waits.iter().map(|(word, value)| (word.word(), *value)).collect();
            self.futex.wait_any(&words, Some(at));
        }
    }

    /// Does the chores; false when the sleeper is to end.
    fn do_chores(&self, waits: &mut Vec<(WordRef, u32)>) -> bool {
        let mut queue = lock(&self.queue);
        if queue.ended {
            return false;
        }
        queue.chores.retain(|chore| chore.strong_count() > 0);
        let chores = queue.chores.clone();
        drop(queue);
        chores.iter().filter_map(std::sync::Weak::upgrade).for_each(|chore| chore.look(waits));
        true
    }

    /// Takes out the wakers whose time has come; adds what the others wait for, `next` until the first of their times.
    fn due(&self, waits: &mut Vec<(WordRef, u32)>, next: &mut Instant) -> Vec<Waker> {
        let now = Instant::now();
        let mut queue = lock(&self.queue);
        let mut woken = Vec::new();
        queue.entries.retain(|entry| {
            let changed = entry.words.iter().any(|(word, value)| word.value() != *value);
            if changed || entry.at.is_some_and(|at| at <= now) {
                woken.push(entry.waker.clone());
                return false;
            }
            waits.extend(entry.words.iter().cloned());
            *next = entry.at.map_or(*next, |at| at.min(*next));
            true
        });
        woken
    }
}
