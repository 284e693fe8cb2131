//! The subject: a pinfold pool.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pinfold::{Access, ChangeError, PinError, Pinned, Policy, Pool, Publish, Region, Rename, Reservation, Until};
use rustix::io::Errno;

use super::viewed::{Scratch, Viewed};
use super::{Form, InUse, Refused, Store};
use crate::error::TortureError;
use crate::log::Change;
use crate::tally::Count;

pub(crate) struct Guarded {
    pool: Pool,
    scratch: Scratch,
    through_views: Count,
}

impl Guarded {
    /// A pool on a new memfd of `len` bytes.
    pub(crate) fn new(len: u64) -> Result<Self, TortureError> {
        Ok(Self { pool: Pool::new(Region::memfd(len)?)?, scratch: Scratch::default(), through_views: Count::default() })
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Store for Guarded {
    type File = Viewed;
    type Reservation = Reservation;

    const NAME: &'static str = "pinfold";
    const WAITS: bool = true;

    fn create(&self, name: &str) -> Result<Viewed, Refused> {
        self.pool.create(name).map(Viewed::new).map_err(|error| refused(error.errno(), &error))
    }

    fn unlink(&self, name: &str) -> Result<(), Refused> {
        self.pool.unlink(name).map_err(|error| refused(error.errno(), &error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Refused> {
        self.pool.rename(from, to, Rename::Replace).map_err(|error| refused(error.errno(), &error))
    }

    fn pin(&self, file: &Viewed, range: Range<u64>, access: Access, form: Form) -> Result<Pinned, Refused> {
        let pinned = file.pin(&self.pool, range, access, form);
        pinned.map_err(|error| match error {
            // Of addresses that are the view's, for sure.
            PinError::BadAddress { .. } => Refused::PastEnd,
            error => refused(error.errno(), &error),
        })
    }

    fn extend(&self, pinned: &mut Pinned, file: &Viewed, range: Range<u64>, access: Access) -> Result<(), Refused> {
        pinned.extend(&file.file, range, access).map(drop).map_err(|error| refused(error.errno(), &error))
    }

    fn change(&self, file: &Viewed, change: &Change, policy: Policy, form: Form) -> Result<(), Refused> {
        let file = &file.file;
        let change = match change {
            Change::Truncate { len } => file.truncate(*len),
            Change::Punch(range) => file.punch(range.clone()),
            Change::Zero(range) => file.zero(range.clone()),
            Change::Collapse(range) => file.collapse(range.clone()),
            Change::Insert { at, len } => file.insert(*at, *len),
            Change::Swap { range, at } => file.exchange(range.clone(), file, *at),
        };
        make(change.policy(policy), form)
    }

    fn exchange(&self, one: (&Viewed, Range<u64>), other: (&Viewed, u64), form: Form) -> Result<(), Refused> {
        make(one.0.file.exchange(one.1, &other.0.file, other.1), form)
    }

    fn allocate(&self, file: &Viewed, range: Range<u64>) -> Result<(), Refused> {
        file.file.allocate(range).try_now().map_err(|error| refused(error.errno(), &error))
    }

    fn read_at(&self, file: &Viewed, offset: u64, to: &mut [u8]) -> Result<usize, Refused> {
        if file.load(&self.scratch, offset, to) {
            self.through_views.add(1);
            return Ok(to.len());
        }
        file.file.read_at(offset, to).map_err(|error| refused(error.errno(), &error))
    }

    fn write_at(&self, file: &Viewed, offset: u64, from: &[u8]) -> Result<usize, Refused> {
        if let Some(stored) = file.store(&self.scratch, offset, from) {
            self.through_views.add(1);
            return Ok(stored);
        }
        file.file.write_at(offset, from).map_err(|error| refused(error.errno(), &error))?;
        Ok(from.len())
    }

    fn reserve(&self, len: u64) -> Result<Reservation, Refused> {
        match self.pool.reserve(len).wait().map_err(|error| refused(error.errno(), &error)) {
            Err(Refused::Deadlock) => block_on(self.pool.reserve(len).wait_async()),
            reserved => return reserved,
        }
        .map_err(|error| refused(error.errno(), &error))
    }

    fn pin_reserved(&self, reservation: &Reservation, range: Range<u64>) -> Result<Pinned, Refused> {
        reservation.pin(range).wait().map_err(|error| refused(error.errno(), &error))
    }

    fn publish(&self, mut reservation: Reservation, name: &str) -> Result<Viewed, Refused> {
        loop {
            let unpublished = match reservation.publish_until(name, Publish::Replace, Until::done()) {
                Ok(file) => return Ok(Viewed::new(file)),
                Err(unpublished) => unpublished,
            };
            match refused(unpublished.errno(), &unpublished) {
                // A completion came just now, and the thread that takes completions has not let go of its pin yet.
                Refused::Deadlock => reservation = unpublished.reservation,
                other => return Err(other),
            }
            thread::yield_now();
        }
    }

    fn explain(&self) -> String {
        let pins = self.pool.pins().into_iter().map(|pin| format!("pin: {pin}"));
        let breaks = self.pool.breaks().into_iter().map(|running| running.to_string());
        pins.chain(breaks).collect::<Vec<_>>().join("; ")
    }

    fn in_use(&self) -> InUse {
        let stats = self.pool.stats();
        InUse { pins: stats.pins, bytes: stats.total - stats.free }
    }

    fn through_views(&self) -> u64 {
        self.through_views.get()
    }
}

fn make(change: pinfold::Change<'_>, form: Form) -> Result<(), Refused> {
    let made = match form {
        Form::Wait => change.wait(),
        Form::For(time) => change.until(Until::after(time)),
        Form::Try => change.try_now(),
        Form::Async => block_on(change.wait_async()),
    };
    made.map_err(|error: ChangeError| refused(error.errno(), &error))
}

fn refused(errno: i32, error: &dyn std::error::Error) -> Refused {
    match Errno::from_raw_os_error(errno) {
        Errno::BUSY => Refused::Busy,
        Errno::TIMEDOUT => Refused::TimedOut,
        Errno::NOSPC => Refused::NoSpace,
        Errno::NXIO => Refused::PastEnd,
        Errno::DEADLK => Refused::Deadlock,
        _ => Refused::Other(error.to_string()),
    }
}

/// Runs one future to its end on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
