//! The door to the machine, as a checker plays it (`crate::checker` is loom or shuttle): the same items as the product's
//! `sync`, so that the mechanism's own source compiles against them.
//!
//! Words are the checker's atomics, except those from which nothing follows (padding, geometry, coarse clocks): loom's
//! time grows with every word it watches. A futex is a list of sleepers and the checker's `park`, so a wake-up that is
//! lost leaves a thread parked for ever, which is reported as a deadlock. `membarrier` is the full fence that it stands
//! for. Time does not pass, except where a model says so: whoever sleeps with a time-out must be woken as well.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic as real;

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{Ordering, compiler_fence};
pub(crate) use std::time::Instant;

pub(crate) use checker::sync::atomic::fence;
pub(crate) use checker::sync::{Mutex, MutexGuard};

use rustix::io::Errno;

use crate::checker;
use crate::mechanism::fences::Site;

/// An atomic of the checker's, or a plain one that it does not watch. As small as the product's.
macro_rules! atomic {
    ($name:ident, $int:ty) => {
        pub(crate) struct $name(Box<Inner<checker::sync::atomic::$name, real::$name>>);

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }

        impl $name {
            pub(crate) fn new(value: $int) -> Self {
                Self(Box::new(Inner::Watched(checker::sync::atomic::$name::new(value))))
            }

            /// A word from whose order nothing follows.
            pub(crate) fn unwatched(value: $int) -> Self {
                Self(Box::new(Inner::Plain(real::$name::new(value))))
            }

            pub(crate) fn load(&self, order: Ordering) -> $int {
                match &*self.0 {
                    Inner::Watched(word) => {
                        if step() {
                            word.load(order)
                        } else {
                            0
                        }
                    }
                    Inner::Plain(word) => word.load(order),
                }
            }

            pub(crate) fn store(&self, value: $int, order: Ordering) {
                match &*self.0 {
                    Inner::Watched(word) => {
                        if step() {
                            word.store(value, order)
                        }
                    }
                    Inner::Plain(word) => word.store(value, order),
                }
            }

            pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                match &*self.0 {
                    Inner::Watched(word) => {
                        if step() {
                            word.fetch_add(value, order)
                        } else {
                            0
                        }
                    }
                    Inner::Plain(word) => word.fetch_add(value, order),
                }
            }

            pub(crate) fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                match &*self.0 {
                    Inner::Watched(word) => {
                        if step() {
                            word.fetch_sub(value, order)
                        } else {
                            0
                        }
                    }
                    Inner::Plain(word) => word.fetch_sub(value, order),
                }
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                match &*self.0 {
                    Inner::Watched(word) => {
                        if step() {
                            word.compare_exchange(current, new, success, failure)
                        } else {
                            Err(0)
                        }
                    }
                    Inner::Plain(word) => word.compare_exchange(current, new, success, failure),
                }
            }
        }
    };
}

enum Inner<W, P> {
    Watched(W),
    Plain(P),
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

const _: () = assert!(size_of::<AtomicU64>() == 8);

/// No word has this value.
const NO_VALUE: u64 = u64::MAX - 0x5eed;

/// What the word is now, as the kernel sees it when it compares: never an old value, and ordering nothing.
pub(crate) fn newest(word: &AtomicU64) -> u64 {
    match word.compare_exchange(NO_VALUE, NO_VALUE, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(value) | Err(value) => value,
    }
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn yield_now() {
    checker::thread::yield_now();
}

/// The site that this run takes out, by the environment: the test of all sites runs each model in a process of its own.
pub(crate) const WITHOUT: &str = "PINFOLD_MODEL_WITHOUT";

pub(crate) fn removed(site: Site) -> bool {
    static OUT: OnceLock<Option<String>> = OnceLock::new();
    OUT.get_or_init(|| std::env::var(WITHOUT).ok()).as_ref().is_some_and(|out| *out == format!("{site:?}"))
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Woke {
    Look,
    TimedOut,
    Interrupted,
}

/// Sleeping on words. Between processes and within one it is the same here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Futex;

/// A thread that sleeps, or is about to.
struct SleepingThread {
    words: Vec<*const AtomicU64>,
    thread: checker::thread::Thread,
    parked: bool,
    woken: bool,
}

thread_local! {
    /// Who sleeps in the execution at hand: the checker runs all its threads on one thread of the system.
    static SLEEPING: RefCell<Vec<Option<SleepingThread>>> = const { RefCell::new(Vec::new()) };
    static BOOT_MS: Cell<u64> = const { Cell::new(1000) };
    static CLOSE_PATIENCE: Cell<Patience> = const { Cell::new(Patience::Endless) };
}

/// Begins an execution: nobody sleeps.
pub(crate) fn begin_execution(patience: Patience) {
    SLEEPING.with_borrow_mut(Vec::clear);
    BOOT_MS.set(1000);
    NOTES.with_borrow_mut(|notes| notes.fill((0, NonNull::dangling())));
    MORTAL.set(None);
    DYING.set(None);
    CLOSE_PATIENCE.set(patience);
}

impl Futex {
    pub(crate) const fn new(_shared: bool) -> Self {
        Self
    }

    pub(crate) fn wait(self, word: &AtomicU64, value: u32, until: Option<Instant>) -> Woke {
        self.wait_any(&[(word, value)], until)
    }

    /// Goes to sleep first and compares then, so that no wake-up falls in between.
    pub(crate) fn wait_any(self, words: &[(&AtomicU64, u32)], until: Option<Instant>) -> Woke {
        if until.is_some_and(|at| at <= Instant::now()) {
            return Woke::TimedOut;
        }
        let index = lie_down(words);
        if words.iter().any(|(word, value)| newest(word) as u32 != *value) {
            SLEEPING.with_borrow_mut(|sleeping| sleeping[index] = None);
            return Woke::Look;
        }
        while !is_woken(index) {
            checker::thread::park();
        }
        SLEEPING.with_borrow_mut(|sleeping| sleeping[index] = None);
        Woke::Look
    }

    pub(crate) fn wake(self, word: &AtomicU64) {
        if !step() {
            return;
        }
        // Outside the list's borrow: under shuttle another thread may run meanwhile.
        wake_up(word).iter().for_each(checker::thread::Thread::unpark);
    }
}

/// Marks who sleeps on `word` as woken; whom of them to unpark.
fn wake_up(word: &AtomicU64) -> Vec<checker::thread::Thread> {
    SLEEPING.with_borrow_mut(|sleeping| {
        let sleepers =
            sleeping.iter_mut().flatten().filter(|sleeper| sleeper.words.contains(&std::ptr::from_ref(word)));
        let parked = sleepers.filter_map(|sleeper| {
            sleeper.woken = true;
            std::mem::take(&mut sleeper.parked).then(|| sleeper.thread.clone())
        });
        parked.collect()
    })
}

fn lie_down(words: &[(&AtomicU64, u32)]) -> usize {
    let words = words.iter().map(|(word, _)| std::ptr::from_ref(*word)).collect();
    let sleeper = SleepingThread { words, thread: checker::thread::current(), parked: false, woken: false };
    SLEEPING.with_borrow_mut(|sleeping| {
        sleeping.push(Some(sleeper));
        sleeping.len() - 1
    })
}

/// Whether the sleeper was woken; if not, it parks next.
fn is_woken(index: usize) -> bool {
    SLEEPING.with_borrow_mut(|sleeping| {
        let sleeper = sleeping[index].as_mut().expect("a sleeper takes itself out");
        sleeper.parked = !sleeper.woken;
        sleeper.woken
    })
}

pub(crate) const WAIT_ANY_MAX: usize = 128;

pub(crate) fn asymmetric_fences_offered() -> bool {
    false
}

pub(crate) fn fence_all_threads() {
    fence(Ordering::SeqCst);
}

/// The running thread of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThisThread {
    pub(crate) lane: u32,
    pub(crate) number: u32,
}

/// Threads of a model are numbered from 1, which is the main one.
const NUMBERS: usize = 16;

checker::thread_local! {
    static NUMBER: Cell<u32> = Cell::new(1);
}

thread_local! {
    /// What each thread noted, by its number.
    static NOTES: RefCell<[(u64, NonNull<()>); NUMBERS]> = const { RefCell::new([(0, NonNull::dangling()); NUMBERS]) };
    /// The thread whose process will be killed, and the steps that it has left.
    static MORTAL: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
    /// The thread that was killed, while it is unwound.
    static DYING: Cell<Option<u32>> = const { Cell::new(None) };
}

impl ThisThread {
    pub(crate) fn get() -> Self {
        let number = NUMBER.with(Cell::get);
        Self { lane: number - 1, number }
    }
}

pub(crate) fn noted(key: u64) -> Option<NonNull<()>> {
    let number = ThisThread::get().number as usize;
    let (noted_key, noted) = NOTES.with_borrow(|notes| notes[number]);
    (noted_key == key).then_some(noted)
}

pub(crate) fn note(key: u64, noted: NonNull<()>) {
    let number = ThisThread::get().number as usize;
    NOTES.with_borrow_mut(|notes| notes[number] = (key, noted));
}

/// Starts a thread of the model under a number of its own, 2 or more: that decides its lane.
pub(crate) fn start<T: Send + 'static>(
    number: u32,
    run: impl FnOnce() -> T + Send + 'static,
) -> checker::thread::JoinHandle<T> {
    checker::thread::spawn(move || as_thread(number, run))
}

/// Runs `run` under the number of another thread, which does not run meanwhile.
pub(crate) fn as_thread<T>(number: u32, run: impl FnOnce() -> T) -> T {
    let own = NUMBER.with(|own| own.replace(number));
    let result = run();
    NUMBER.with(|number| number.set(own));
    result
}

/// Runs `run` until its end or until it has made `steps` steps in shared memory, whichever comes first: there its
/// process is killed, and nothing of it runs any more, no destructor either. Whether it was killed.
pub(crate) fn killed_after(steps: u32, run: impl FnOnce()) -> bool {
    MORTAL.set(Some((ThisThread::get().number, steps)));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    MORTAL.set(None);
    DYING.set(None);
    match ended {
        Ok(()) => false,
        Err(payload) if payload.is::<Killed>() => true,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

struct Killed;

/// Before each step in shared memory: whether it is made. A killed thread makes none while it is unwound.
fn step() -> bool {
    if is_unwound() {
        return false;
    }
    match MORTAL.get() {
        Some((number, steps)) if number == ThisThread::get().number => match steps.checked_sub(1) {
            Some(left) => MORTAL.set(Some((number, left))),
            None => {
                DYING.set(Some(number));
                std::panic::resume_unwind(Box::new(Killed));
            }
        },
        _ => {}
    }
    true
}

/// Whether the running thread is killed, or its model has failed. Another one may run while a killed one is unwound.
fn is_unwound() -> bool {
    std::thread::panicking() && DYING.get().is_none_or(|dying| dying == ThisThread::get().number)
}

/// Tells a process from its child, and here the living from the killed. Time stands still.
#[derive(Clone, Copy)]
pub(crate) struct ProcessClock;

impl ProcessClock {
    pub(crate) fn start() -> Result<Self, Errno> {
        Ok(Self)
    }

    pub(crate) fn tick(self) {}

    pub(crate) fn now(self) -> u64 {
        if is_unwound() { 0 } else { boot_ms() }
    }

    pub(crate) fn is_of_this_process(self) -> bool {
        self.now() != 0
    }
}

pub(crate) fn boot_ms() -> u64 {
    BOOT_MS.get()
}

/// How long a Close waits for copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    Endless,
    /// It opens again at the first look that finds one.
    None,
}

pub(crate) fn close_lasts_too_long(since: Instant) -> Result<(), Instant> {
    match CLOSE_PATIENCE.get() {
        // A time that never comes in a model.
        Patience::Endless => Err(since + std::time::Duration::from_secs(86_400)),
        Patience::None => Ok(()),
    }
}

/// The sleeper's thread is not started in models: a thread of the model does its chores.
pub(crate) struct JoinHandle;

impl Drop for JoinHandle {
    /// As the product's, it has something to drop.
    fn drop(&mut self) {}
}

impl JoinHandle {
    pub(crate) fn join_unless_it_is_this_one(self) {}
}

pub(crate) fn spawn(_name: &str, _run: impl FnOnce() + Send + 'static) -> Result<JoinHandle, Errno> {
    Ok(JoinHandle)
}
