//! Row 5: how long after the last unpin the sleeping break goes on.
//!
//! Subject: one thread sleeps in `drain` behind a pin. The measured time begins where the other thread unpins, and ends
//! where `drain` has returned to the sleeper: one wake, and what the break looks at before it believes it.
//!
//! Peer: two threads and a futex. One changes a word, wakes the other and sleeps; the other wakes, changes a second word
//! and wakes the first: two wakes. It is what somebody would write who asks the other side whether it is done.
//!
//! In both the sleeper is known to be asleep when the time begins: the kernel says so (state `S`), which is asked
//! before, and not counted. Both sleepers stay on one core and the thread that measures on another, so that a ratio
//! compares two ways to wake somebody, not two decisions of the scheduler.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Scope, Thread};
use std::time::{Duration, Instant};

use pinfold_layout::{Area, BreakError, Effect, Layout, Policy, Until};
use rustix::thread::{CpuSet, futex, sched_getaffinity, sched_setaffinity};

use super::area::{DEVICE, OneFile};
use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, Scale, median, take_turns};

const SAMPLES: usize = 21;

const BLOCKING: Comparison = Comparison {
    row: 5,
    what: "unpin -> the sleeping break returns",
    beside: "futex round trip of two threads",
    goal: Some(0.75),
    compared: "From the last unpin to the return of the break that slept behind it; from a wake to the answering wake.",
    ratios: |setup| unpin_beside_round_trip(setup, drain_blocking),
};

/// For information the same for a future too, whose waker runs on the area's sleeper thread.
pub(super) const ROW_5: [Comparison; 2] = [
    BLOCKING,
    Comparison {
        what: "unpin -> the awaited break returns",
        goal: None,
        ratios: |setup| unpin_beside_round_trip(setup, drain_awaiting),
        ..BLOCKING
    },
];

/// Drains one block and gives the moment at which it knew that nobody is in.
type Drain = fn(&Area, &Layout) -> Result<Instant, BreakError>;

fn drain_blocking(area: &Area, layout: &Layout) -> Result<Instant, BreakError> {
    let mut brk = area.break_layout(&[(layout, 0..1)], Policy::Wait, Effect::Frees)?;
    let idle = brk.drain(Until::done())?;
    let returned = Instant::now();
    idle.commit(Vec::new);
    Ok(returned)
}

fn drain_awaiting(area: &Area, layout: &Layout) -> Result<Instant, BreakError> {
    let mut brk = area.break_layout(&[(layout, 0..1)], Policy::Wait, Effect::Frees)?;
    let idle = block_on(brk.drain_async())?;
    let returned = Instant::now();
    idle.commit(Vec::new);
    Ok(returned)
}

fn unpin_beside_round_trip(setup: &Setup, drain: Drain) -> Result<Ratios, Skipped> {
    // In a thread of its own, since it stays on one core, and so would the rows after this one.
    thread::scope(|scope| {
        let measuring = thread::Builder::new().spawn_scoped(scope, || measure(setup.scale, drain))?;
        measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Two sleepers, a break and an echo, and in turns a look at how soon each of them answers.
fn measure(scale: Scale, drain: Drain) -> Result<Ratios, Skipped> {
    let file = &OneFile::embedded()?;
    let words = &PingPong::default();
    thread::scope(|scope| {
        let breaker = Breaker::start(scope, file, drain)?;
        let echo = Echo::start(scope, words)?;
        stay_on_core(0);
        let samples = scale.of(SAMPLES);
        take_turns(
            scale,
            || median_of(samples, || breaker.unpin_to_return()),
            || median_of(samples, || echo.round_trip()),
        )
    })
}

fn median_of(samples: usize, sample: impl FnMut() -> Result<Duration, Skipped>) -> Result<Duration, Skipped> {
    Ok(median(std::iter::repeat_with(sample).take(samples).collect::<Result<_, _>>()?))
}

/// The thread that breaks the layout whenever it is told to. It ends when this is dropped.
struct Breaker<'s> {
    file: &'s OneFile,
    asleep: Asleep,
    go: mpsc::Sender<()>,
    returned: mpsc::Receiver<Result<Instant, BreakError>>,
}

impl<'s> Breaker<'s> {
    fn start(scope: &'s Scope<'s, '_>, file: &'s OneFile, drain: Drain) -> Result<Self, Skipped> {
        let (go, told) = mpsc::channel();
        let (returns, returned) = mpsc::channel();
        let asleep = Asleep::start(scope, move || {
            for () in told {
                let _ = returns.send(drain(&file.area, &file.layout));
            }
        })?;
        Ok(Self { file, asleep, go, returned })
    }

    fn unpin_to_return(&self) -> Result<Duration, Skipped> {
        let OneFile { area, holder, layout } = self.file;
        let pin = holder.pin(layout, 0..1, DEVICE, Until::done(), || ())?;
        self.go.send(())?;
        while !area.breaks().iter().any(|info| info.behind.is_some()) || !self.asleep.is_so()? {
            if let Ok(early) = self.returned.try_recv() {
                early?;
                return Err(Skipped("the break did not wait for the pin".into()));
            }
            thread::yield_now();
        }
        let unpinned = Instant::now();
        drop(pin);
        Ok(self.returned.recv()??.duration_since(unpinned))
    }
}

/// The thread that answers each wake by another. It ends when this is dropped.
struct Echo<'s> {
    words: &'s PingPong,
    asleep: Asleep,
}

impl<'s> Echo<'s> {
    fn start(scope: &'s Scope<'s, '_>, words: &'s PingPong) -> Result<Self, Skipped> {
        Ok(Self { words, asleep: Asleep::start(scope, || words.echo())? })
    }

    fn round_trip(&self) -> Result<Duration, Skipped> {
        while !self.asleep.is_so()? {
            thread::yield_now();
        }
        Ok(self.words.round_trip())
    }
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        self.words.end();
    }
}

/// Two words, each slept on by one thread and changed by the other.
#[derive(Default)]
struct PingPong {
    ping: AtomicU32,
    pong: AtomicU32,
}

const END: u32 = u32::MAX;

impl PingPong {
    fn round_trip(&self) -> Duration {
        // ORDER: relaxed; this thread alone changes it.
        let next = self.ping.load(Ordering::Relaxed) + 1;
        let begun = Instant::now();
        // ORDER: pairs with the Acquire in `sleep_while`: who sees the turn sees what led to it.
        self.ping.store(next, Ordering::Release);
        wake(&self.ping);
        sleep_while(&self.pong, next - 1);
        begun.elapsed()
    }

    /// Answers until the end.
    fn echo(&self) {
        let mut answered = 0;
        loop {
            let asked = sleep_while(&self.ping, answered);
            if asked == END {
                return;
            }
            answered = asked;
            // ORDER: as in `round_trip`.
            self.pong.store(answered, Ordering::Release);
            wake(&self.pong);
        }
    }

    fn end(&self) {
        // ORDER: as in `round_trip`.
        self.ping.store(END, Ordering::Release);
        wake(&self.ping);
    }
}

fn wake(word: &AtomicU32) {
    futex::wake(word, futex::Flags::PRIVATE, 1).expect("the word is mapped");
}

/// What the word is once it is not `value` any more.
fn sleep_while(word: &AtomicU32, value: u32) -> u32 {
    loop {
        // ORDER: pairs with the stores in `round_trip` and `echo`.
        let now = word.load(Ordering::Acquire);
        if now != value {
            return now;
        }
        // Woken, changed or interrupted: look again.
        let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
    }
}

/// Keeps the running thread on the `index`th core that the process may use, if it may use two.
fn stay_on_core(index: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let Some(core) = cores.nth(index).filter(|_| allowed.count() > 1) else { return };
    let mut one = CpuSet::new();
    one.set(core);
    // Refused, the ratio is only less steady.
    let _ = sched_setaffinity(None, &one);
}

/// Whether a thread of this process sleeps, as the kernel sees it.
struct Asleep(File);

impl Asleep {
    /// Runs something in a thread on the second core, and watches it. What cannot be watched is not run.
    fn start<'s>(scope: &'s Scope<'s, '_>, run: impl FnOnce() + Send + 's) -> Result<Self, Skipped> {
        let (opens, opened) = mpsc::channel();
        thread::Builder::new().spawn_scoped(scope, move || {
            stay_on_core(1);
            let stat = File::open("/proc/thread-self/stat");
            let is_open = stat.is_ok();
            if opens.send(stat).is_ok() && is_open {
                run();
            }
        })?;
        Ok(Self(opened.recv()??))
    }

    fn is_so(&self) -> Result<bool, Skipped> {
        let mut stat = [0; 128];
        let len = self.0.read_at(&mut stat, 0)?;
        // "number (name) state ...": the name may hold anything, so look behind its last bracket.
        let name_ends = stat[..len].iter().rposition(|byte| *byte == b')');
        Ok(name_ends.and_then(|end| stat[..len].get(end + 2)) == Some(&b'S'))
    }
}

/// Runs one future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
