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
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use pinfold_layout::{Area, Effect, Layout, Policy, Until};
use rustix::thread::{CpuSet, futex, sched_getaffinity, sched_setaffinity};

use crate::Scale;
use crate::fixture::{DEVICE, Fixture};
use crate::line::{Line, Ratios, median, take_turns};

const SAMPLES: usize = 21;

/// Row 5, and for information the same for a future, whose waker runs on the area's sleeper thread.
pub(crate) fn last_unpin_beside_round_trip(scale: Scale) -> Vec<Line> {
    let beside = "futex round trip of two threads";
    let line = |what, limit, drain| Line { row: 5, what, beside, limit, ratios: unpin_beside_round_trip(scale, drain) };
    vec![
        line("unpin -> the sleeping break returns", Some(0.75), drain_blocking as Drain),
        line("unpin -> the awaited break returns", None, drain_awaiting),
    ]
}

/// Drains one block and gives the moment at which it knew that nobody is in.
type Drain = fn(&Area, &Layout) -> Instant;

fn drain_blocking(area: &Area, layout: &Layout) -> Instant {
    let mut brk = area.break_layout(&[(layout, 0..1)], Policy::Wait, Effect::Frees).expect("a range");
    let idle = brk.drain(Until::done()).expect("the pin leaves");
    let returned = Instant::now();
    idle.commit(Vec::new);
    returned
}

fn drain_awaiting(area: &Area, layout: &Layout) -> Instant {
    let mut brk = area.break_layout(&[(layout, 0..1)], Policy::Wait, Effect::Frees).expect("a range");
    let idle = block_on(brk.drain_async()).expect("the pin leaves");
    let returned = Instant::now();
    idle.commit(Vec::new);
    returned
}

fn unpin_beside_round_trip(scale: Scale, drain: Drain) -> Ratios {
    // In a thread of its own, since it stays on one core, and so would the rows after this one.
    thread::scope(|scope| scope.spawn(|| measure(scale, drain)).join().expect("it measures"))
}

fn measure(scale: Scale, drain: Drain) -> Ratios {
    let fixture = &Fixture::embedded();
    let samples = scale.of(SAMPLES);
    let (go, breaker_goes) = mpsc::channel();
    let (breaker_returns, returned) = mpsc::channel();
    let (echo_starts, echo_thread) = mpsc::channel();
    let words = &PingPong::default();
    thread::scope(|scope| {
        scope.spawn(move || {
            stay_on_core(1);
            breaker_returns.send((this_thread(), Instant::now())).expect("somebody measures");
            for () in breaker_goes {
                let at = drain(&fixture.area, &fixture.layout);
                breaker_returns.send((0, at)).expect("somebody measures");
            }
        });
        scope.spawn(move || {
            stay_on_core(1);
            words.echo(&echo_starts);
        });
        stay_on_core(0);
        let breaker = Asleep::new(returned.recv().expect("the breaker runs").0);
        let echo = Asleep::new(echo_thread.recv().expect("the echo runs"));
        let unpin_to_return = || {
            let pin = fixture.holder.pin(&fixture.layout, 0..1, DEVICE, Until::done(), || ()).expect("no break");
            go.send(()).expect("the breaker runs");
            spin_until(|| fixture.area.breaks().iter().any(|info| info.behind.is_some()) && breaker.is_so());
            let unpinned = Instant::now();
            drop(pin);
            returned.recv().expect("the breaker runs").1.duration_since(unpinned)
        };
        let round_trip = || {
            spin_until(|| echo.is_so());
            words.round_trip()
        };
        let times = |sample: &dyn Fn() -> Duration| median((0..samples).map(|_| sample()).collect());
        let ratios = take_turns(scale, || times(&unpin_to_return), || times(&round_trip));
        drop(go);
        words.end();
        ratios
    })
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
        let next = self.ping.load(Ordering::Relaxed) + 1;
        let begun = Instant::now();
        self.ping.store(next, Ordering::Release);
        wake(&self.ping);
        sleep_while(&self.pong, next - 1);
        begun.elapsed()
    }

    /// Answers until the end.
    fn echo(&self, starts: &mpsc::Sender<u32>) {
        starts.send(this_thread()).expect("somebody measures");
        let mut answered = 0;
        loop {
            let asked = sleep_while(&self.ping, answered);
            if asked == END {
                return;
            }
            answered = asked;
            self.pong.store(answered, Ordering::Release);
            wake(&self.pong);
        }
    }

    fn end(&self) {
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

fn this_thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Whether a thread of this process sleeps, as the kernel sees it.
struct Asleep(File);

impl Asleep {
    fn new(thread: u32) -> Self {
        Self(File::open(format!("/proc/self/task/{thread}/stat")).expect("a thread of this process"))
    }

    fn is_so(&self) -> bool {
        let mut stat = [0; 128];
        let len = self.0.read_at(&mut stat, 0).expect("the thread still runs");
        // "number (name) state ...": the name may hold anything, so look behind its last bracket.
        let name_ends = stat[..len].iter().rposition(|byte| *byte == b')').expect("a name in brackets");
        stat[name_ends + 2] == b'S'
    }
}

fn spin_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
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
