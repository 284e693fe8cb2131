//! The door to the machine: atomics, locks, futexes, threads and clocks.
//!
//! The mechanism takes all of these from here, and a lint refuses the direct import, so that the same source runs
//! under a model checker whose `sync` tries every interleaving.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) use std::time::Instant;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::thread::{MembarrierCommand, futex as sys_futex};

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

/// Locks, also after a panic elsewhere: what our locks guard is changed in steps that leave it whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Lets another thread run.
pub(crate) fn yield_now() {
    std::thread::yield_now();
}

/// Whether a model has taken this fence or wake-up out. In the product none is.
#[inline(always)]
pub(crate) const fn removed(_site: crate::mechanism::fences::Site) -> bool {
    false
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Woke {
    /// Woken, or the value had changed already, or for no reason: look again.
    Look,
    /// The time is up.
    TimedOut,
    /// A signal came.
    Interrupted,
}

/// Sleeping on words, in one process or across several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Futex {
    shared: bool,
}

impl Futex {
    pub(crate) const fn new(shared: bool) -> Self {
        Self { shared }
    }

    /// Sleeps while the low half of `word` is `value`.
    pub(crate) fn wait(self, word: &AtomicU64, value: u32, until: Option<Instant>) -> Woke {
        let left = match until.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return Woke::TimedOut,
            left => left.map(timespec),
        };
        match sys_futex::wait(low_half(word), self.flags(), value, left.as_ref()) {
            Err(Errno::TIMEDOUT) => Woke::TimedOut,
            Err(Errno::INTR) => Woke::Interrupted,
            _ => Woke::Look,
        }
    }

    /// Sleeps until one of `words` differs from its value. Words beyond the kernel's limit are left to the time-out.
    pub(crate) fn wait_any(self, words: &[(&AtomicU64, u32)], until: Option<Instant>) -> Woke {
        let shared = if self.shared { sys_futex::WaitFlags::empty() } else { sys_futex::WaitFlags::PRIVATE };
        let waits: Vec<_> = words
            .iter()
            .take(WAIT_ANY_MAX)
            .map(|(word, value)| {
                let mut wait = sys_futex::Wait::new();
                wait.val = u64::from(*value);
                wait.uaddr = sys_futex::WaitPtr::new(std::ptr::from_ref(low_half(word)).cast_mut().cast());
                wait.flags = sys_futex::WaitFlags::SIZE_U32 | shared;
                wait
            })
            .collect();
        let at = until.map(|at| {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
            timespec(now + at.saturating_duration_since(Instant::now()))
        });
        let slept =
            sys_futex::waitv(&waits, sys_futex::WaitvFlags::empty(), at.as_ref(), sys_futex::ClockId::Monotonic);
        match slept {
            Err(Errno::TIMEDOUT) => Woke::TimedOut,
            Err(Errno::INTR) => Woke::Interrupted,
            Err(Errno::NOSYS | Errno::INVAL) => self.wait_a_moment(words, until),
            _ => Woke::Look,
        }
    }

    /// Before Linux 5.16: sleeps on the first word alone, for a moment; the caller looks at all of them.
    fn wait_a_moment(self, words: &[(&AtomicU64, u32)], until: Option<Instant>) -> Woke {
        let moment = Instant::now() + Duration::from_millis(2);
        let at = until.map_or(moment, |at| at.min(moment));
        match self.wait(words[0].0, words[0].1, Some(at)) {
            Woke::TimedOut if until.is_none_or(|at| at > moment) => Woke::Look,
            woke => woke,
        }
    }

    /// Wakes who sleeps on `word`.
    pub(crate) fn wake(self, word: &AtomicU64) {
        // Waking cannot fail on a mapped word, and the kernel takes at most i32::MAX.
        let _ = sys_futex::wake(low_half(word), self.flags(), i32::MAX as u32);
    }

    fn flags(self) -> sys_futex::Flags {
        if self.shared { sys_futex::Flags::empty() } else { sys_futex::Flags::PRIVATE }
    }
}

/// The kernel's `FUTEX_WAITV_MAX`.
pub(crate) const WAIT_ANY_MAX: usize = 128;

fn timespec(duration: Duration) -> rustix::time::Timespec {
    rustix::time::Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

/// The half of a word that a futex can watch.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let half = std::ptr::from_ref(word).cast::<AtomicU32>();
    let index = if cfg!(target_endian = "little") { 0 } else { 1 };
    // SAFETY: both halves lie inside the word, are aligned for an AtomicU32, and live as long as it does. The
    // reference is only handed to the kernel, which reads the half whole.
    unsafe { &*half.add(index) }
}

/// Whether this kernel lets one side of a pair of fences do the other's work (`membarrier`, private expedited).
pub(crate) fn asymmetric_fences_offered() -> bool {
    static OFFERED: OnceLock<bool> = OnceLock::new();
    *OFFERED.get_or_init(|| rustix::thread::membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok())
}

/// A full fence on every running thread of this process.
pub(crate) fn fence_all_threads() {
    fence(Ordering::SeqCst);
    loop {
        match rustix::thread::membarrier(MembarrierCommand::PrivateExpedited) {
            Ok(()) => return,
            // A child of the process that registered registers for itself.
            Err(Errno::PERM) => drop(rustix::thread::membarrier(MembarrierCommand::RegisterPrivateExpedited)),
            // For want of a little kernel memory, which comes back.
            Err(_) => yield_now(),
        }
    }
}

/// The running thread: which lane of each holder is its own, and its number among all threads of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThisThread {
    /// Small, and given to another thread when this one ends.
    pub(crate) lane: u32,
    /// Never given again before 2^24 threads have come and gone. Never 0.
    pub(crate) number: u32,
}

impl ThisThread {
    const NONE: Self = Self { lane: u32::MAX, number: 0 };

    pub(crate) fn get() -> Self {
        Self::known().unwrap_or_else(enter_thread)
    }

    /// The thread, unless it is new here.
    pub(crate) fn known() -> Option<Self> {
        let thread = THREAD.get();
        (thread.number != 0).then_some(thread)
    }
}

/// What the running thread noted last under `key`. One note for each thread: a cache, not a store.
#[inline]
pub(crate) fn noted(key: u64) -> Option<NonNull<()>> {
    let (noted_key, noted) = NOTE.get();
    (noted_key == key).then_some(noted)
}

/// Notes something for the running thread, in place of what it noted before.
pub(crate) fn note(key: u64, noted: NonNull<()>) {
    NOTE.set((key, noted));
}

thread_local! {
    static THREAD: Cell<ThisThread> = const { Cell::new(ThisThread::NONE) };
    static NOTE: Cell<(u64, NonNull<()>)> = const { Cell::new((0, NonNull::dangling())) };
    static LEAVE: LeaveThread = const { LeaveThread };
}

/// Lanes without a thread, how many there are, and how many threads there have been.
static LANES: Mutex<(Vec<u32>, u32, u32)> = Mutex::new((Vec::new(), 0, 0));

#[cold]
fn enter_thread() -> ThisThread {
    let mut lanes = lock(&LANES);
    let lane = lanes.0.pop().unwrap_or_else(|| {
        lanes.1 += 1;
        lanes.1 - 1
    });
    lanes.2 = lanes.2 % ((1 << crate::mechanism::segment::THREAD_BITS) - 1) + 1;
    let thread = ThisThread { lane, number: lanes.2 };
    drop(lanes);
    THREAD.set(thread);
    // A thread that is past its destructors keeps its lane for good; there is at most one such per thread.
    let _ = LEAVE.try_with(|_| ());
    thread
}

struct LeaveThread;

impl Drop for LeaveThread {
    fn drop(&mut self) {
        NOTE.set((0, NonNull::dangling()));
        let thread = THREAD.replace(ThisThread::NONE);
        if thread.number != 0 {
            lock(&LANES).0.push(thread.lane);
        }
    }
}

/// Tells a process from the child it forked, and the time: a page that the kernel wipes on fork holds this process's
/// coarse clock, which is never 0 here, and always 0 in a child.
#[derive(Clone, Copy)]
pub(crate) struct ProcessClock(&'static AtomicU64);

impl ProcessClock {
    /// Starts the clock of this process. Fails where the kernel cannot wipe a page on fork (before Linux 4.14).
    pub(crate) fn start() -> Result<Self, Errno> {
        static CLOCK: Mutex<Option<ProcessClock>> = Mutex::new(None);
        let mut clock = lock(&CLOCK);
        // In a child the inherited page was wiped, and stays so: every handle that came with the fork looks there. The
        // child gets a page of its own.
        if let Some(running) = clock.filter(|clock| clock.is_of_this_process()) {
            return Ok(running);
        }
        let page = rustix::param::page_size();
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping, at an address of the kernel's choice; it is never unmapped.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), page, prot, MapFlags::PRIVATE)? };
        // SAFETY: the whole of the mapping made above, which nobody uses yet.
        unsafe { rustix::mm::madvise(base, page, Advice::LinuxWipeOnFork)? };
        // SAFETY: the page is mapped for good, zeroed and aligned, so it begins with a valid atomic word.
        let started = Self(unsafe { &*base.cast::<AtomicU64>() });
        started.tick();
        Ok(*clock.insert(started))
    }

    /// Moves the clock; the sleeper does, some times a second.
    pub(crate) fn tick(self) {
        // ORDER: relaxed; a coarse time, nothing follows from it.
        self.0.store(boot_ms().max(1), Ordering::Relaxed);
    }

    /// Milliseconds since boot, coarse; 0 in a child of the process that started the clock.
    #[inline]
    pub(crate) fn now(self) -> u64 {
        // ORDER: relaxed; it was started before the handle that asks was made, and wiped before the child runs.
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_of_this_process(self) -> bool {
        self.now() != 0
    }
}

/// Milliseconds since boot.
pub(crate) fn boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// How long "closing" waits for copies before it opens again.
const CLOSE_MAX: Duration = Duration::from_millis(1);

/// Whether a Close that began at `since` must open again; otherwise until when it may go on.
pub(crate) fn close_lasts_too_long(since: Instant) -> Result<(), Instant> {
    let end = since + CLOSE_MAX;
    if Instant::now() >= end { Ok(()) } else { Err(end) }
}

/// A thread of ours.
pub(crate) struct JoinHandle(std::thread::JoinHandle<()>);

impl JoinHandle {
    /// Waits for its end, unless it is the caller.
    pub(crate) fn join_unless_it_is_this_one(self) {
        if self.0.thread().id() != std::thread::current().id() {
            // It does not panic; if a waker that it called did, that has been reported.
            let _ = self.0.join();
        }
    }
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle, Errno> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(JoinHandle).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
}
