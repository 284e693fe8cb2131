//! Signals whose handlers do nothing but end a system call, or have it go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const USER_1: i32 = 10;
const USER_2: i32 = 12;

unsafe extern "C" {
    fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
    fn siginterrupt(signal: i32, interrupts: i32) -> i32;
    fn tgkill(process: i32, thread: i32, signal: i32) -> i32;
    fn gettid() -> i32;
}

/// What the handler of a signal does to a system call that it came in upon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    /// Set without `SA_RESTART`.
    Interrupts,
    /// Set with `SA_RESTART`.
    Restarts,
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);
static HOLD: AtomicBool = AtomicBool::new(false);

/// Only atomics: it may run at any point of any thread.
extern "C" fn handle(_: i32) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
    while HOLD.load(Ordering::SeqCst) {
        std::hint::spin_loop();
    }
}

impl Handler {
    fn number(self) -> i32 {
        match self {
            Self::Interrupts => USER_1,
            Self::Restarts => USER_2,
        }
    }

    /// Sets it for this process.
    pub(crate) fn set(self) {
        // SAFETY: the handler uses atomics alone, so it may run at any point of any thread.
        unsafe {
            signal(self.number(), handle);
            siginterrupt(self.number(), i32::from(self == Self::Interrupts));
        }
    }

    /// Sends its signal to a thread, for which it was [`set`](Self::set).
    pub(crate) fn send(self, to: Tid) {
        // SAFETY: the signal has a handler; sending to a thread that is gone is an error, and no harm.
        unsafe { tgkill(std::process::id() as i32, to.0, self.number()) };
    }
}

/// How often a handler was called.
pub(crate) fn handled() -> usize {
    HANDLED.load(Ordering::SeqCst)
}

/// Handlers do not return until this is dropped.
pub(crate) struct HandlersHold(());

impl HandlersHold {
    pub(crate) fn new() -> Self {
        HOLD.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for HandlersHold {
    fn drop(&mut self) {
        HOLD.store(false, Ordering::SeqCst);
    }
}

/// A thread, as the kernel numbers it.
#[derive(Clone, Copy)]
pub(crate) struct Tid(i32);

impl Tid {
    pub(crate) fn of_this_thread() -> Self {
        // SAFETY: it only asks.
        Self(unsafe { gettid() })
    }

    /// Whether the thread sleeps in the kernel, where a signal reaches it. One that spins does not.
    pub(crate) fn is_asleep(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
    }
}
