//! The suite that every engine has to pass.
//!
//! Say how transfers of your engine are begun and ended ([`Rig`]), and run [`check`] in a test:
//!
//! ```
//! use pinfold::Pinned;
//! use pinfold_dma::conformance::{self, Begun, Rig};
//! use pinfold_dma::late::{LateDevice, LateRequest};
//! use pinfold_dma::{InFlight, Ticket};
//!
//! struct Late;
//!
//! impl Rig for Late {
//!     type Engine = LateDevice;
//!     type Handle = Ticket;
//!
//!     fn engine(&self) -> LateDevice {
//!         LateDevice::new().unwrap()
//!     }
//!
//!     fn fill(&self, device: &LateDevice, pinned: Pinned, byte: u8) -> Begun<Ticket> {
//!         let bytes = vec![byte; pinned.len() as usize];
//!         let in_flight = device.submit(LateRequest::fill(bytes), pinned).map_err(|refused| refused.pinned)?;
//!         let ticket = in_flight.ticket();
//!         Ok((in_flight, ticket))
//!     }
//!
//!     fn finish(&self, device: &LateDevice, ticket: Ticket) {
//!         device.complete(ticket);
//!     }
//!
//!     fn fail(&self, device: &LateDevice, pinned: Pinned) -> InFlight {
//!         let request = LateRequest::fill([0; 512]).and_say(Err(libc::EIO));
//!         let in_flight = device.submit(request, pinned).unwrap();
//!         device.complete(in_flight.ticket());
//!         in_flight
//!     }
//! }
//!
//! let report = conformance::check(&Late).unwrap();
//! assert!(report.passed.len() > 10);
//! ```
//!
//! It is run by one thread, makes threads of its own, and waits for states, never for time; where a state does not come
//! within a minute it says so. A test that runs it should run nothing else beside it in the process: it counts descriptors.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use pinfold::{Access, File, PinInfo, Pinned, Pool, Region, Until};

use crate::engine::Engine;
use crate::error::WaitError;
use crate::flights::InFlight;

/// How transfers of an engine are begun and ended.
pub trait Rig: Sync {
    /// The engine.
    type Engine: Engine;
    /// What ends one transfer.
    type Handle: Send;

    /// A new engine.
    fn engine(&self) -> Self::Engine;

    /// Begins a transfer that writes `byte` over all of the pinned memory, once it is let. It does not end before
    /// [`Rig::finish`], but a cancel ends it. What is refused comes back.
    fn fill(&self, engine: &Self::Engine, pinned: Pinned, byte: u8) -> Begun<Self::Handle>;

    /// Lets a transfer write and end. It may end in a moment, but it must end. For one that has ended already it does nothing,
    /// or has the device say a second time that it has.
    fn finish(&self, engine: &Self::Engine, handle: Self::Handle);

    /// Begins a transfer into the memory that ends with an error of the device, by itself.
    fn fail(&self, engine: &Self::Engine, pinned: Pinned) -> InFlight;

    /// An engine whose transfers do not end when they are cancelled, and whose patience is short; nothing if there is no way
    /// to make one.
    fn stubborn_engine(&self) -> Option<Self::Engine> {
        None
    }

    /// The same handle again, if a device can be made to complete twice.
    fn again(&self, _handle: &Self::Handle) -> Option<Self::Handle> {
        None
    }
}

/// A transfer, and what ends it; or the memory, if it was refused.
pub type Begun<H> = Result<(InFlight, H), Pinned>;

/// What was checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The checks that passed.
    pub passed: Vec<&'static str>,
    /// Those that could not be made, and why.
    pub skipped: Vec<(&'static str, &'static str)>,
}

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{check}: {what}")]
pub struct Violation {
    /// Which check.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
}

/// Makes every check, each with an engine and a pool of its own.
///
/// # Errors
/// The first [`Violation`].
pub fn check<R: Rig>(rig: &R) -> Result<Report, Violation> {
    let checks: [(&'static str, Check<R>); 15] = [
        ("bytes arrive", bytes_arrive),
        ("pins last from submit to completion", pins_last),
        ("a truncate waits for a transfer, and goes on by itself", a_truncate_waits),
        ("a detaching truncate parks what a transfer reaches", detach_parks),
        ("a break by the thread that submitted is never left asleep", own_thread),
        ("a deadline leaves the transfer as it was", deadlines),
        ("a future is woken", futures),
        ("dropping a transfer cancels it", drop_cancels),
        ("what is let go unpins by itself", let_go),
        ("a failure gives the memory back", failure),
        ("a refused request gives the memory back as it was", refusal),
        ("a second completion changes nothing", twice),
        ("what was given up is in quarantine until it ends", given_up),
        ("what an engine leaves is in quarantine until its proof", left_behind),
        ("an engine that ends answers those who wait", shut_down),
    ];
    let mut report = Report::default();
    let before = descriptors();
    for (name, check) in checks {
        match run(rig, name, check)? {
            Ran::Passed => report.passed.push(name),
            Ran::Skipped(why) => report.skipped.push((name, why)),
        }
    }
    let name = "no descriptor is left open";
    match before {
        None => report.skipped.push((name, "there is no /proc/self/fd")),
        Some(before) => {
            eventually("descriptors are closed", || descriptors() <= Some(before)).map_err(|Broken(what)| {
                Violation { check: name, what: format!("{what}: {before} before, {:?} now", descriptors()) }
            })?;
            report.passed.push(name);
        }
    }
    Ok(report)
}

type Check<R> = fn(&R, &Bench) -> Result<Ran, Broken>;

enum Ran {
    Passed,
    Skipped(&'static str),
}

/// What was seen.
struct Broken(String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn run<R: Rig>(rig: &R, name: &'static str, check: Check<R>) -> Result<Ran, Violation> {
    let violation = |Broken(what)| Violation { check: name, what };
    let bench = Bench::new().map_err(violation)?;
    let ran = check(rig, &bench).map_err(violation)?;
    bench.expect_nothing_left().map_err(violation)?;
    Ok(ran)
}

/// Where a check takes place: a pool with a file of zeros.
struct Bench {
    pool: Pool,
    file: File,
    free: u64,
}

/// Bytes of the file.
const LEN: u64 = 64 << 10;

/// How long a state may take to come.
const MINUTE: Duration = Duration::from_secs(60);

impl Bench {
    fn new() -> Result<Self, Broken> {
        let pool = Pool::new(Region::memfd(4 << 20)?)?;
        let file = pool.create("/file")?;
        let free = pool.stats().free;
        file.allocate(0..LEN).wait()?;
        Ok(Self { pool, file, free })
    }

    fn pin(&self) -> Result<Pinned, Broken> {
        Ok(self.file.pin(0..LEN, Access::Write).wait()?)
    }

    fn pins(&self) -> Vec<PinInfo> {
        self.pool.area().pins()
    }

    /// Every byte of the file.
    fn bytes(&self) -> Result<Vec<u8>, Broken> {
        let mut bytes = vec![0; LEN as usize];
        self.file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    fn expect_bytes(&self, byte: u8) -> Result<(), Broken> {
        let bytes = self.bytes()?;
        match bytes.iter().position(|found| *found != byte) {
            Some(at) => Err(Broken(format!("byte {at} is {}, not {byte}", bytes[at]))),
            None => Ok(()),
        }
    }

    fn expect_pins(&self, count: usize, when: &str) -> Result<(), Broken> {
        let pins = self.pins();
        expect(pins.len() == count, || format!("{} pins {when}, not {count}: {pins:?}", pins.len()))
    }

    /// No pin, no parked block, and after the file is cut every block is free.
    fn expect_nothing_left(&self) -> Result<(), Broken> {
        eventually("every pin is gone", || self.pins().is_empty())?;
        self.file.truncate(0).wait()?;
        let free = self.pool.stats().free;
        expect(free == self.free, || format!("{} bytes are free at the end, {} were at first", free, self.free))
    }
}

fn bytes_arrive<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 7)?;
    rig.finish(&engine, handle);
    let pinned = in_flight.wait()?.whole()?;
    let mut last = [0];
    pinned.copy_out(LEN - 1, &mut last)?;
    expect(last == [7], || format!("the last byte is {last:?} in the pinned memory"))?;
    drop(pinned);
    bench.expect_bytes(7)?;
    Ok(Ran::Passed)
}

fn pins_last<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    bench.expect_pins(1, "in flight")?;
    let pin = bench.pins().swap_remove(0);
    expect(pin.engine == **engine.name(), || format!("the pin carries {:?}, not the engine's name", pin.engine))?;
    expect(pin.device && pin.quarantine.is_none(), || format!("not a device's pin with a holder: {pin}"))?;
    rig.finish(&engine, handle);
    let completion = in_flight.wait()?;
    bench.expect_pins(1, "while the completion has the memory")?;
    drop(completion);
    bench.expect_pins(0, "once the memory was dropped")?;
    Ok(Ran::Passed)
}

fn a_truncate_waits<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    thread::scope(|scope| {
        let truncate = scope.spawn(|| bench.file.truncate(0).wait());
        let waits =
            eventually("the truncate waits", || bench.pool.area().breaks().iter().any(|wait| wait.behind.is_some()));
        let still = bench.file.len();
        rig.finish(&engine, handle);
        drop(in_flight.wait()?);
        joined(truncate)??;
        waits?;
        expect(still == LEN, || format!("the file had {still} bytes while the transfer was in flight"))
    })?;
    expect(bench.file.len() == 0, || "the truncate was not done".to_owned())?;
    Ok(Ran::Passed)
}

fn detach_parks<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    bench.file.truncate(0).detach().wait()?;
    let parked = bench.pool.stats().parked;
    expect(parked == LEN, || format!("{parked} bytes are parked, not {LEN}"))?;
    rig.finish(&engine, handle);
    drop(in_flight.wait()?.whole()?);
    let parked = bench.pool.stats().parked;
    expect(parked == 0, || format!("{parked} bytes are parked at the end"))?;
    Ok(Ran::Passed)
}

fn own_thread<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    let short = Until::after(Duration::from_millis(1));
    let waited = bench.file.truncate(0).until(short).err().map(|error| error.errno());
    // It waits where the completion comes in by itself; where this thread would have to take it in, it is told so (G4).
    let told = matches!(waited, Some(libc::ETIMEDOUT | libc::EDEADLK));
    expect(told, || format!("the break said {waited:?}, neither ETIMEDOUT nor EDEADLK, in flight"))?;
    rig.finish(&engine, handle);
    let completion = in_flight.wait()?;
    let refused = bench.file.truncate(0).until(Until::after(MINUTE)).err().map(|error| error.errno());
    expect(refused == Some(libc::EDEADLK), || format!("the break said {refused:?}, not EDEADLK, of what came back"))?;
    drop(completion);
    Ok(Ran::Passed)
}

fn deadlines<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (mut in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    expect(in_flight.try_now()?.is_none(), || "it had ended before it was let".to_owned())?;
    let late = in_flight.until(Until::after(Duration::from_millis(1)));
    expect(matches!(late, Err(WaitError::TimedOut)), || format!("{late:?}, not timed out"))?;
    bench.expect_pins(1, "after the deadline")?;
    rig.finish(&engine, handle);
    drop(in_flight.until(Until::after(MINUTE))?.whole()?);
    let taken = in_flight.try_now();
    expect(matches!(taken, Err(WaitError::Taken)), || format!("{taken:?} after the completion was taken"))?;
    Ok(Ran::Passed)
}

fn futures<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 3)?;
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut in_flight = pin!(in_flight);
    let early = in_flight.as_mut().poll(&mut Context::from_waker(&waker));
    expect(early.is_pending(), || format!("{early:?} before it was let"))?;
    rig.finish(&engine, handle);
    // ORDER: Acquire pairs with the Release in `wake`.
    eventually("the future is woken", || woken.times.load(Ordering::Acquire) > 0)?;
    match in_flight.poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(completion) => drop(completion?.whole()?),
        Poll::Pending => return Err(Broken("the future was woken, and is pending".to_owned())),
    }
    bench.expect_bytes(3)?;
    Ok(Ran::Passed)
}

#[derive(Default)]
struct Woken {
    times: AtomicUsize,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::Release);
    }
}

fn drop_cancels<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, _handle) = begin(rig, &engine, bench.pin()?, 1)?;
    drop(in_flight);
    bench.expect_pins(0, "after the transfer was dropped")?;
    bench.expect_bytes(0)?;
    Ok(Ran::Passed)
}

fn let_go<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 5)?;
    in_flight.let_go();
    bench.expect_pins(1, "of a transfer that was let go")?;
    expect(bench.pool.quarantine().is_empty(), || "what was let go is in quarantine".to_owned())?;
    rig.finish(&engine, handle);
    eventually("it unpins", || bench.pins().is_empty())?;
    bench.expect_bytes(5)?;
    Ok(Ran::Passed)
}

fn failure<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let completion = rig.fail(&engine, bench.pin()?).wait()?;
    let Err(error) = &completion.result else { return Err(Broken(format!("{completion:?} is no failure"))) };
    expect(error.errno() > 0, || format!("{error} has no errno"))?;
    bench.expect_pins(1, "while the completion has the memory")?;
    drop(completion);
    bench.expect_pins(0, "after the failure")?;
    Ok(Ran::Passed)
}

fn refusal<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let pinned = bench.file.pin(0..LEN, Access::Read).labelled("its own", "label")?.wait()?;
    let Err(pinned) = rig.fill(&engine, pinned, 1) else {
        return Err(Broken("a device may write into memory that is pinned for reading".to_owned()));
    };
    let pin = bench.pins().swap_remove(0);
    let label = (pin.engine.as_str(), pin.label.as_str());
    expect(label == ("its own", "label"), || format!("the memory came back under {label:?}"))?;
    let refused = bench.file.truncate(0).until(Until::after(MINUTE)).err().map(|error| error.errno());
    expect(refused == Some(libc::EDEADLK), || format!("the break said {refused:?}, not EDEADLK, of what came back"))?;
    drop(pinned);
    Ok(Ran::Passed)
}

fn twice<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (mut in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    let (Some(untaken), Some(taken)) = (rig.again(&handle), rig.again(&handle)) else {
        rig.finish(&engine, handle);
        in_flight.until(Until::done())?;
        return Ok(Ran::Skipped("this device completes once"));
    };
    rig.finish(&engine, handle);
    rig.finish(&engine, untaken);
    drop(in_flight.until(Until::after(MINUTE))?.whole()?);
    bench.expect_pins(0, "after the completion")?;
    // The next transfer may have the place of the one before.
    let (next, handle) = begin(rig, &engine, bench.pin()?, 2)?;
    rig.finish(&engine, taken);
    bench.expect_pins(1, "of the next transfer")?;
    bench.expect_bytes(1)?;
    rig.finish(&engine, handle);
    drop(next.wait()?.whole()?);
    bench.expect_bytes(2)?;
    Ok(Ran::Passed)
}

fn given_up<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let Some(engine) = rig.stubborn_engine() else { return Ok(Ran::Skipped("every transfer can be cancelled")) };
    let (in_flight, handle) = begin(rig, &engine, bench.pin()?, 1)?;
    drop(in_flight);
    expect(bench.pool.quarantine().len() == 1, || format!("{:?} in quarantine", bench.pool.quarantine()))?;
    let busy = bench.file.truncate(0).try_now().err().map(|error| error.errno());
    expect(busy == Some(libc::EBUSY), || format!("a break that only looks said {busy:?}, not EBUSY"))?;
    rig.finish(&engine, handle);
    eventually("its completion releases it", || bench.pins().is_empty())?;
    bench.expect_bytes(1)?;
    Ok(Ran::Passed)
}

fn left_behind<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let Some(engine) = rig.stubborn_engine() else { return Ok(Ran::Skipped("every transfer can be cancelled")) };
    let (in_flight, _handle) = begin(rig, &engine, bench.pin()?, 9)?;
    bench.file.truncate(0).detach().wait()?;
    let ended = engine.shut_down(Until::after(Duration::from_millis(1)));
    let waited = in_flight.wait();
    expect(matches!(waited, Err(WaitError::Abandoned(_))), || format!("who waited for it got {waited:?}"))?;
    if let Ok(proof) = ended {
        // Until the proof is shown.
        expect(bench.pool.quarantine().len() == 1, || format!("{:?} in quarantine", bench.pool.quarantine()))?;
        expect(bench.pool.stats().quarantined == LEN, || "its blocks are not kept".to_owned())?;
        bench.pool.release(&proof)?;
    }
    eventually("it is released by a proof", || bench.pins().is_empty())?;
    Ok(Ran::Passed)
}

fn shut_down<R: Rig>(rig: &R, bench: &Bench) -> Result<Ran, Broken> {
    let engine = rig.engine();
    let (in_flight, _handle) = begin(rig, &engine, bench.pin()?, 1)?;
    let waiting = thread::spawn(move || in_flight.wait());
    let proof = engine.shut_down(Until::done())?;
    let completion = joined(waiting)??;
    let said = completion.result.as_ref().err().map(|error| error.errno());
    expect(said == Some(libc::ECANCELED), || format!("who waited got {said:?}, not ECANCELED"))?;
    expect(bench.pool.quarantine().is_empty(), || "something is in quarantine".to_owned())?;
    bench.pool.release(&proof)?;
    bench.expect_pins(1, "while the completion has the memory")?;
    drop(completion);
    Ok(Ran::Passed)
}

fn begin<R: Rig>(rig: &R, engine: &R::Engine, pinned: Pinned, byte: u8) -> Result<(InFlight, R::Handle), Broken> {
    rig.fill(engine, pinned, byte).map_err(|_| Broken("a request was refused".to_owned()))
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(otherwise())) }
}

/// Waits for a state.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Broken> {
    let late = Instant::now() + MINUTE;
    while !holds() {
        if Instant::now() > late {
            return Err(Broken(format!("not within a minute: {what}")));
        }
        thread::yield_now();
    }
    Ok(())
}

fn joined<T>(thread: impl Join<T>) -> Result<T, Broken> {
    thread.join().map_err(|_| Broken("a thread panicked".to_owned()))
}

/// Both kinds of threads.
trait Join<T> {
    fn join(self) -> thread::Result<T>;
}

impl<T> Join<T> for thread::JoinHandle<T> {
    fn join(self) -> thread::Result<T> {
        Self::join(self)
    }
}

impl<T> Join<T> for thread::ScopedJoinHandle<'_, T> {
    fn join(self) -> thread::Result<T> {
        Self::join(self)
    }
}

/// How many descriptors this process has open.
fn descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} checks passed", self.passed.len())?;
        self.skipped.iter().try_for_each(|(check, why)| write!(f, "\nskipped: {check}: {why}"))
    }
}
