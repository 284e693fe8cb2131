//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pinfold_layout::{
    Access, Area, AreaOptions, BusyExtents, CommitId, Effect, Extent, FreeExtent, Geometry, Holder, Layout,
    LayoutBreak, PinSpec, Policy, SpaceError, Until,
};

/// A device that writes.
pub(crate) const DEVICE: PinSpec = PinSpec::device(Access::Write);
/// A copy that writes.
pub(crate) const COPY: PinSpec = PinSpec::cpu(Access::Write);

/// An area, embedded unless told otherwise, with one holder and the layout of object 7.
pub(crate) struct Fixture {
    pub(crate) area: Arc<Area>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) layout: Layout,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(AreaOptions::default())
    }

    /// The same with small tables, so that rare edges become common.
    pub(crate) fn small() -> Self {
        Self::with(AreaOptions::default().geometry(small_geometry()))
    }

    pub(crate) fn with(options: AreaOptions) -> Self {
        Self::of(Area::embedded(options).expect("an embedded area"))
    }

    pub(crate) fn of(area: Area) -> Self {
        let area = Arc::new(area);
        let holder = area.holder().expect("a holder");
        let layout = area.layout(7).expect("a layout");
        Self { area, holder, layout }
    }
}

pub(crate) fn small_geometry() -> Geometry {
    Geometry {
        files_max: 8,
        announcements_max: 4,
        holders_max: 4,
        parked_max: 8,
        voids_max: 4,
        chains: 2,
        blocks_max: 4,
        slots_per_block: 2,
        labels_max: 4,
    }
}

/// Waits for a state that another thread brings about, without sleeping.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 60, "this never came about: {what}");
        std::thread::yield_now();
    }
}

/// A thread, as the kernel numbers it.
#[derive(Clone, Copy)]
pub(crate) struct Tid(rustix::thread::Pid);

impl Tid {
    pub(crate) fn of_this_thread() -> Self {
        Self(rustix::thread::gettid())
    }

    /// Whether the thread sleeps in the kernel. One that spins does not.
    pub(crate) fn is_asleep(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.0.as_raw_nonzero()));
        let stat = stat.unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
    }
}

/// Starts something on a thread that is asleep, or at its end, when this returns.
pub(crate) fn asleep<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, T> {
    let (send, thread) = std::sync::mpsc::channel();
    let working = scope.spawn(move || {
        send.send(Tid::of_this_thread()).unwrap();
        work()
    });
    let thread = thread.recv().unwrap();
    wait_until("it sleeps", || thread.is_asleep() || working.is_finished());
    working
}

/// Waits until some break sleeps for a pin.
pub(crate) fn wait_until_a_break_sleeps(area: &Area) {
    wait_until("a break sleeps", || area.breaks().iter().any(|info| info.behind.is_some()));
}

/// What is in use at a moment. A test takes one before and one after, and nothing may be left over.
///
/// Descriptors are the process's, so tests that count them run [`alone`].
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Census {
    pub(crate) pins: usize,
    pub(crate) breaks: usize,
    pub(crate) announcements: usize,
    pub(crate) parked: usize,
    pub(crate) holders: usize,
    pub(crate) descriptors: usize,
}

impl Census {
    pub(crate) fn of(area: &Area) -> Self {
        let breaks = area.breaks();
        Self {
            pins: area.pins().len(),
            breaks: breaks.len(),
            announcements: breaks.iter().map(|info| info.ranges.len()).sum(),
            parked: area.parked().len(),
            holders: area.holders(),
            descriptors: std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count(),
        }
    }
}

/// Keeps the other tests of this file out that ask for the same.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed says so by itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker that unparks the running thread; each call gives another one.
pub(crate) fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Runs one future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = waker();
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once, with a waker that wakes nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A break of object 7's layout that frees.
pub(crate) fn break_of(area: &Area, layout: &Layout, range: Range<u64>, policy: Policy) -> LayoutBreak {
    area.break_layout(&[(layout, range)], policy, Effect::Frees).unwrap()
}

/// A run of blocks of object 7.
pub(crate) fn extent(start: u64, end: u64) -> Extent {
    Extent { object: 7, start, end, block: 100 + start }
}

/// Reaps, as an allocator does.
pub(crate) fn reaped(busy: &BusyExtents) -> Vec<Extent> {
    busy.reap(CommitId::ALL, |free| free.into_iter().map(FreeExtent::into_extent).collect())
}

/// Reaps, and waits for as long as there is nothing.
pub(crate) fn reap_or_wait(busy: &BusyExtents, until: Until) -> Result<Vec<Extent>, SpaceError> {
    let mut watch = busy.watch();
    loop {
        match reaped(busy) {
            free if !free.is_empty() => return Ok(free),
            _ => watch.wait(CommitId::ALL, until)?,
        }
    }
}

/// The same as a future.
pub(crate) async fn reap_or_wait_async(busy: &BusyExtents) -> Result<Vec<Extent>, SpaceError> {
    let mut watch = busy.watch();
    loop {
        match reaped(busy) {
            free if !free.is_empty() => return Ok(free),
            _ => watch.wait_async(CommitId::ALL).await?,
        }
    }
}

/// Ends the other threads of a test also when it fails.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
