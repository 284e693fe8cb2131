//! Where a thread sleeps until somebody has news for it.
//!
//! Stays true  K1: who unparks between `prepare` and `park` is not missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pinfold::Until;
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::thread::futex;

/// One thread's place to sleep.
#[derive(Default, Debug)]
pub(crate) struct Parker {
    news: AtomicU32,
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Woke {
    /// There may be news.
    Look,
    /// The time is up.
    TimedOut,
    /// A signal came.
    Interrupted,
}

const NONE: u32 = 0;
const SOME: u32 = 1;

impl Parker {
    /// The running thread's, which has no news yet. Called before others are told of it.
    pub(crate) fn prepare() -> Arc<Self> {
        thread_local! {
            static MINE: Arc<Parker> = Arc::default();
        }
        // A thread that is ending may have lost its own.
        let parker = MINE.try_with(Arc::clone).unwrap_or_default();
        parker.forget_news();
        parker
    }

    /// There is no news yet. Called before the thread looks for itself.
    pub(crate) fn forget_news(&self) {
        // ORDER: relaxed; who unparks does so, or has changed what the thread looks at, under the table's lock, which the
        // thread takes after this.
        self.news.store(NONE, Ordering::Relaxed);
    }

    /// Sleeps until there is news, or as long as `until` says.
    pub(crate) fn park(&self, until: Until) -> Woke {
        // ORDER: Acquire pairs with the Release in `unpark`; what is news is read under the table's lock anyway.
        while self.news.load(Ordering::Acquire) == NONE {
            let left = match until.deadline().map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Woke::TimedOut,
                left => left.map(timespec),
            };
            match futex::wait(&self.news, futex::Flags::PRIVATE, NONE, left.as_ref()) {
                Err(Errno::INTR) if until.is_interruptible() => return Woke::Interrupted,
                _ => {}
            }
        }
        Woke::Look
    }

    /// Wakes the thread, or keeps it from falling asleep.
    pub(crate) fn unpark(&self) {
        self.news.store(SOME, Ordering::Release);
        // Waking cannot fail on a word that is mapped.
        let _ = futex::wake(&self.news, futex::Flags::PRIVATE, 1);
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
