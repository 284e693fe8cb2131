//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod child;
pub(crate) mod churn;
pub(crate) mod signals;

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use pinfold::{File, PinReport, Pool, Region, Stats};
use pinfold_layout::{PinInfo, Quiescent};
use rustix::io::Errno;

pub(crate) const MIB: u64 = 1 << 20;
/// Bytes of a block, where a test says nothing else.
pub(crate) const BLOCK: u64 = 4096;

/// A pool of so many bytes on a memfd.
pub(crate) fn pool_of(len: u64) -> Pool {
    Pool::new(Region::memfd(len).expect("a memfd")).expect("a pool")
}

/// A new file, full of one byte.
pub(crate) fn filled(pool: &Pool, path: &str, len: u64, byte: u8) -> File {
    let file = pool.create(path).expect("a new name");
    file.write_at(0, &vec![byte; len as usize]).expect("there is space");
    file
}

/// The bytes of a range, which lies in the file.
#[track_caller]
pub(crate) fn bytes_of(file: &File, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0xEE; (range.end - range.start) as usize];
    assert_eq!(file.read_at(range.start, &mut bytes).expect("readable"), bytes.len(), "the file ends before");
    bytes
}

/// Whether a range holds nothing but one byte.
#[track_caller]
pub(crate) fn is_all(file: &File, range: Range<u64>, byte: u8) -> bool {
    bytes_of(file, range).iter().all(|found| *found == byte)
}

/// Puts every free block of a pool into one file, full of one byte.
pub(crate) fn use_up(pool: &Pool, path: &str, byte: u8) -> File {
    let file = pool.create(path).expect("a new name");
    file.write_at(0, &vec![byte; pool.stats().free as usize]).expect("all that is free can be had");
    let full = file.append(&[byte]).expect_err("nothing is left");
    assert_errno(full.errno(), Errno::NOSPC, &full);
    assert_eq!(pool.stats().free, 0);
    file
}

/// Takes names away.
pub(crate) fn unlink(pool: &Pool, paths: &[&str]) {
    paths.iter().for_each(|path| pool.unlink(path).expect("it has this name"));
}

/// The pins of one file.
pub(crate) fn pins_of(pool: &Pool, file: &File) -> Vec<PinReport> {
    pool.pins().into_iter().filter(|pin| pin.file == file.id()).collect()
}

#[track_caller]
pub(crate) fn assert_errno(errno: i32, expected: Errno, error: &dyn std::error::Error) {
    assert_eq!(Errno::from_raw_os_error(errno), expected, "of: {error}");
}

/// The test's device says that it is quiet.
pub(crate) struct DeviceIsQuiet;

// SAFETY: there is no device behind the pins of these tests; what stands for one has stopped when a test says so.
unsafe impl Quiescent for DeviceIsQuiet {
    fn covers(&self, _pin: &PinInfo) -> bool {
        true
    }
}

/// Waits for a state that another thread brings about, without sleeping.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 60, "this never came about: {what}");
        thread::yield_now();
    }
}

/// Waits until an operation sleeps for a pin of a file.
#[track_caller]
pub(crate) fn wait_until_behind(pool: &Pool, file: &File) {
    wait_until("an operation sleeps for the pin", || is_behind(pool, file));
}

/// Whether an operation sleeps for a pin of a file.
pub(crate) fn is_behind(pool: &Pool, file: &File) -> bool {
    pool.breaks().iter().any(|running| running.behind.as_ref().is_some_and(|pin| pin.file == file.id()))
}

/// What is in use at a moment. A test takes one before and one after, and nothing may be left over.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Census {
    stats: Stats,
    breaks: usize,
    parked: usize,
    holders: usize,
    descriptors: usize,
}

impl Census {
    pub(crate) fn of(pool: &Pool) -> Self {
        Self {
            // How free blocks lie may differ.
            stats: Stats { longest_free: 0, ..pool.stats() },
            breaks: pool.breaks().len(),
            parked: pool.parked().len(),
            holders: pool.area().holders(),
            descriptors: descriptors(),
        }
    }
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
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

/// Runs one future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once, with a waker that wakes nobody.
pub(crate) fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Does something also when the test fails.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
