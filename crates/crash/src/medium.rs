//! The medium under a region: it sees each flush, and knows which bytes are durable.
//!
//! Stays true  P1: between the two boundaries of a call, and while a hook runs, no other call takes effect: calls of
//!                 several threads come one after the other.
//!             P2: no call takes effect while a cut is taken. So if a store is in the cut's memory, what its thread had
//!                 made durable before is durable in the cut.
//!             P3: once the power is off, nothing becomes durable, and each call fails.
//! Who calls   the region, on any thread that flushes; the test, on any. Hooks run on the thread that flushes.
//! Lock order  `turn`; then a hook's, for as long as it takes to fetch it; then `state`. A hook runs under `turn` alone.
//! A panic in a hook goes on through the flush that called it, and the power goes off: whoever flushes next is told.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use pinfold_region::{Durability, Persist, Region, SharedBytes};
use rustix::io::Errno;

use crate::call::{Answer, Boundary, Call, Side};
use crate::cut::Cut;
use crate::durable::Durable;
use crate::image::memfd;
use crate::keep::Keep;
use crate::memory::Memory;
use crate::pages::{PAGE, Pages};

/// The medium under one region. Clones are handles of the same.
#[derive(Clone)]
pub struct Medium(Arc<Inner>);

struct Inner {
    memory: Memory,
    durability: Durability,
    len: u64,
    turn: Mutex<()>,
    /// The thread that runs a hook now.
    in_hook: Mutex<Option<ThreadId>>,
    on_boundary: Mutex<Option<OnBoundary>>,
    on_call: Mutex<Option<OnCall>>,
    state: Mutex<State>,
}

type OnBoundary = Box<dyn FnMut(&Medium, &Boundary) + Send>;
type OnCall = Box<dyn FnMut(&Call) -> Answer + Send>;

struct State {
    durable: Durable,
    /// The boundary passed last.
    at: Option<Boundary>,
    boundaries: u64,
    write_backs: u64,
    drains: u64,
    /// The boundary at which the power goes.
    cut_at: Option<u64>,
    last_cut: Option<Cut>,
    power: Power,
}

enum Power {
    On,
    Off(Cut),
    /// A hook panicked.
    Broken,
}

impl Medium {
    /// A medium of `len` zeros, and the region over it, a memfd that reports `durability`:
    /// [`PageCache`](Durability::PageCache) and [`CacheLines`](Durability::CacheLines) flush as described [above](crate);
    /// on [`Volatile`](Durability::Volatile) nothing ever becomes durable.
    ///
    /// # Errors
    /// As [`Region::memfd`].
    pub fn new(len: u64, durability: Durability) -> io::Result<(Self, Region)> {
        let region = memfd(len)?;
        Self::under(region, durability, Pages::zeros(len as usize / PAGE))
    }

    /// A medium that holds `pages`, under `region`, whose memory holds them too.
    pub(crate) fn under(region: Region, durability: Durability, pages: Pages) -> io::Result<(Self, Region)> {
        let state = State {
            durable: Durable::new(durability, pages),
            at: None,
            boundaries: 0,
            write_backs: 0,
            drains: 0,
            cut_at: None,
            last_cut: None,
            power: Power::On,
        };
        let medium = Self(Arc::new(Inner {
            memory: Memory::of(&region)?,
            durability,
            len: region.len(),
            turn: Mutex::default(),
            in_hook: Mutex::default(),
            on_boundary: Mutex::default(),
            on_call: Mutex::default(),
            state: Mutex::new(state),
        }));
        Ok((medium.clone(), region.with_flusher(Door(medium))))
    }

    /// Calls `hook` at each boundary from now on, in place of the hook before; at once if a hook sets another.
    ///
    /// It runs on the thread that flushes, under whatever locks that holds: it must not use the region, nor what
    /// stands on it. A flush of the region gets `EDEADLK` there. It may cut and recover as often as it likes.
    pub fn on_boundary(&self, hook: impl FnMut(&Self, &Boundary) + Send + 'static) {
        *lock(&self.0.on_boundary) = Some(Box::new(hook));
    }

    /// Lets `answer` decide what becomes of each call from now on, asked between its boundaries; without it, all are
    /// answered honestly. The rules for hooks hold.
    pub fn on_call(&self, answer: impl FnMut(&Call) -> Answer + Send + 'static) {
        *lock(&self.0.on_call) = Some(Box::new(answer));
    }

    /// How many boundaries were passed.
    pub fn boundaries(&self) -> u64 {
        lock(&self.0.state).boundaries
    }

    /// Cuts the power in thought: what may be on the medium if it failed now. If it is off, what may be since it went.
    ///
    /// # Errors
    /// What the kernel says when the memory is read. An error also if a hook panicked.
    pub fn cut(&self) -> io::Result<Cut> {
        lock(&self.0.state).cut(&self.0)
    }

    /// Switches the power off when `boundary` is reached, at once if it was.
    ///
    /// # Errors
    /// As [`power_off`](Self::power_off).
    pub fn power_off_at(&self, boundary: u64) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        if boundary < state.boundaries {
            return state.power_off(&self.0);
        }
        state.cut_at = Some(boundary);
        Ok(())
    }

    /// Switches the power off: from now on each flush fails, and nothing becomes durable. The memory stays as memory.
    ///
    /// # Errors
    /// As [`cut`](Self::cut); the power is on then.
    pub fn power_off(&self) -> io::Result<()> {
        lock(&self.0.state).power_off(&self.0)
    }

    /// Lets what `keep` chooses reach the medium unasked, as the kernel writes pages and a cache evicts lines at any time.
    /// It is the only way to an image with bytes that were stored over since: those of a line as it was at an earlier boundary.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn evict(&self, keep: Keep) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        let cut = match &state.power {
            Power::On => state.look(&self.0)?,
            Power::Off(_) => return Ok(()),
            Power::Broken => return Err(broken()),
        };
        let grain = state.durable.grain();
        cut.choose(grain, keep, |offset, bytes, version| state.durable.evict(offset, bytes, version));
        Ok(())
    }
}

impl State {
    fn cut(&mut self, inner: &Inner) -> io::Result<Cut> {
        match &self.power {
            Power::On => {}
            Power::Off(cut) => return Ok(cut.clone()),
            Power::Broken => return Err(broken()),
        }
        let cut = self.look(inner)?;
        self.last_cut = Some(cut.clone());
        Ok(cut)
    }

    fn look(&self, inner: &Inner) -> io::Result<Cut> {
        let at_risk = self.durable.at_risk(&inner.memory, self.last_cut.as_ref())?;
        Ok(Cut::new(self.at.clone(), inner.durability, inner.len, self.durable.pages.clone(), at_risk))
    }

    fn power_off(&mut self, inner: &Inner) -> io::Result<()> {
        self.power = Power::Off(self.cut(inner)?);
        Ok(())
    }

    fn check_power(&self) -> io::Result<()> {
        match &self.power {
            Power::On => Ok(()),
            Power::Off(cut) => Err(io::Error::other(cut.to_string())),
            Power::Broken => Err(broken()),
        }
    }

    /// Reaches the next boundary.
    fn pass(&mut self, inner: &Inner, call: &Call, side: Side) -> io::Result<Boundary> {
        let boundary = Boundary { number: self.boundaries, call: call.clone(), side };
        self.boundaries += 1;
        self.at = Some(boundary.clone());
        if self.cut_at == Some(boundary.number) {
            self.power_off(inner)?;
        }
        Ok(boundary)
    }
}

impl Inner {
    /// Does what `call` asks for, on behalf of the thread `by`.
    fn take_effect(&self, call: &Call, by: ThreadId) -> io::Result<()> {
        let durable = &mut lock(&self.state).durable;
        match call {
            Call::WriteBack { bytes, .. } => durable.write_back(&self.memory, bytes.clone(), by)?,
            Call::Drain { .. } => durable.drain(by),
        }
        Ok(())
    }

    /// Fails `call`.
    fn give_up(&self, call: &Call, by: ThreadId, errno: i32) -> io::Result<()> {
        let durable = &mut lock(&self.state).durable;
        match call {
            Call::WriteBack { bytes, .. } => durable.give_up(&self.memory, bytes.clone())?,
            Call::Drain { .. } => durable.give_up_handed(by),
        }
        Err(io::Error::from_raw_os_error(errno))
    }
}

/// What the region flushes through.
struct Door(Medium);

impl Door {
    fn pass(&self, name: impl FnOnce(&mut State) -> Call) -> io::Result<()> {
        let inner = &*self.0.0;
        let by = thread::current().id();
        if *lock(&inner.in_hook) == Some(by) {
            return Err(Errno::DEADLK.into());
        }
        let _turn = lock(&inner.turn);
        let call = {
            let mut state = lock(&inner.state);
            state.check_power()?;
            name(&mut state)
        };
        self.boundary(&call, Side::Before)?;
        let outcome = match self.answer(&call) {
            Answer::Honest => inner.take_effect(&call, by),
            Answer::Lie => Ok(()),
            Answer::Fail(errno) => inner.give_up(&call, by, errno),
        };
        self.boundary(&call, Side::After)?;
        outcome
    }

    /// Passes a boundary; fails if the power is off behind it.
    fn boundary(&self, call: &Call, side: Side) -> io::Result<()> {
        let inner = &*self.0.0;
        let boundary = lock(&inner.state).pass(inner, call, side)?;
        with_hook(inner, &inner.on_boundary, |hook| hook(&self.0, &boundary));
        lock(&inner.state).check_power()
    }

    fn answer(&self, call: &Call) -> Answer {
        let inner = &*self.0.0;
        with_hook(inner, &inner.on_call, |answer| answer(call)).unwrap_or(Answer::Honest)
    }
}

impl Persist for Door {
    fn durability(&self) -> Durability {
        self.0.0.durability
    }

    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()> {
        let bytes = bytes.offset()..bytes.offset() + bytes.len();
        self.pass(|state| {
            state.write_backs += 1;
            Call::WriteBack { nth: state.write_backs - 1, bytes }
        })
    }

    fn drain(&self) -> io::Result<()> {
        self.pass(|state| {
            state.drains += 1;
            Call::Drain { nth: state.drains - 1 }
        })
    }
}

/// Runs the hook in `slot`, if there is one, with the slot open: it may set another.
fn with_hook<H, R>(inner: &Inner, slot: &Mutex<Option<H>>, run: impl FnOnce(&mut H) -> R) -> Option<R> {
    let mut hook = lock(slot).take()?;
    let result = {
        let _inside = Inside::enter(inner);
        run(&mut hook)
    };
    lock(slot).get_or_insert(hook);
    Some(result)
}

/// A thread in a hook.
struct Inside<'m> {
    inner: &'m Inner,
    was_panicking: bool,
}

impl<'m> Inside<'m> {
    fn enter(inner: &'m Inner) -> Self {
        *lock(&inner.in_hook) = Some(thread::current().id());
        Self { inner, was_panicking: thread::panicking() }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *lock(&self.inner.in_hook) = None;
        if thread::panicking() && !self.was_panicking {
            lock(&self.inner.state).power = Power::Broken;
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("a hook panicked at a boundary before; see its message")
}

/// A panic under a lock leaves what it guards whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durability = self.0.durability;
        write!(f, "Medium({} bytes, {durability}, {} boundaries passed)", self.0.len, self.boundaries())
    }
}
