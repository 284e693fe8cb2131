//! What all acts need: the pool, the device, the source.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pinfold::{Access, File, PinReport, Pinning, Pool, PoolOptions, Region, RegionOptions};

use super::device::{Device, STAND_IN_TAKES, Transfers};
use super::source::{PIECE, SECTOR, Source};
use crate::status::{CannotRun, doing};

/// What is moved at once, where the device is fast enough.
const LOAD: u64 = 64 << 20;

/// The same for the stand-in, which copies, and for what is left of a load on a slow device.
const LOAD_OF_STAND_IN: u64 = 16 << 20;
const LOAD_MIN: u64 = 1 << 20;

/// How long the device may take for a load: the demo is to end soon.
const LOAD_TAKES: Duration = Duration::from_millis(300);

/// The first transfers, which tell how fast the device is.
const FIRST: u64 = 4 << 20;

/// How often it is looked whether the device works on its own: on a busy machine it may be done before it is looked at.
const TRIES: usize = 4;

/// The pool, the device and the source.
pub(crate) struct Stage {
    pub(crate) pool: Pool,
    pub(crate) device: Device,
    /// Why the device is not the machine's.
    pub(crate) stands_in: Option<String>,
    pub(crate) source: Source,
    /// Bytes that are moved at once.
    pub(crate) load: u64,
    /// About how long that takes.
    pub(crate) load_takes: Duration,
    pub(crate) moved: Moved,
}

/// What devices have moved so far: transfers, and bytes.
#[derive(Default)]
pub(crate) struct Moved {
    transfers: AtomicU64,
    bytes: AtomicU64,
}

impl Moved {
    // ORDER: relaxed, here and below; counts for people.
    pub(crate) fn add(&self, transfers: u64, bytes: u64) {
        self.transfers.fetch_add(transfers, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Stage {
    /// Sets up. Where the machine has no device that writes into memory on its own, another stands in.
    pub(crate) fn set(source: Source) -> Result<Self, CannotRun> {
        let ring = match source.direct {
            true => Device::ring().and_then(|ring| try_out(&source, &ring).map(|rate| (ring, rate))),
            false => Err(CannotRun(format!("the file system of {} has no O_DIRECT", source.path.display()))),
        };
        match ring {
            Ok((ring, rate)) => {
                let wanted = LOAD.min(rate.in_time(LOAD_TAKES)).max(LOAD_MIN);
                let load = source.load(1 << wanted.ilog2());
                Self::with(source, ring, None, load, rate.time_of(load))
            }
            Err(why) => Self::with_stand_in(source, why.to_string()),
        }
    }

    /// The same on a device that needs nothing of the machine.
    pub(crate) fn with_stand_in(source: Source, why: String) -> Result<Self, CannotRun> {
        let load = source.load(LOAD_OF_STAND_IN);
        Self::with(source, Device::stand_in()?, Some(why), load, STAND_IN_TAKES)
    }

    fn with(
        source: Source,
        device: Device,
        stands_in: Option<String>,
        load: u64,
        load_takes: Duration,
    ) -> Result<Self, CannotRun> {
        let region = RegionOptions::new().allocate(true).memfd(load * 2 + load / 8).map_err(doing("no memory"))?;
        let pool = PoolOptions::new().shared(true).create(region)?;
        Ok(Self { pool, device, stands_in, source, load, load_takes, moved: Moved::default() })
    }

    /// A file of `len` bytes that has its blocks, zeroed: so that what is timed later is the device alone.
    pub(crate) fn create(&self, path: &str, len: u64) -> Result<File, CannotRun> {
        let file = self.pool.create(path)?;
        file.allocate(0..len).try_now()?;
        drop(file.pin(0..len, Access::Write).wait()?);
        Ok(file)
    }

    /// Has the device bring the source, from `from` on, into a range. `pin` pins parts of it.
    pub(crate) fn bring<'f>(
        &self,
        from: u64,
        range: Range<u64>,
        pin: impl Fn(Range<u64>) -> Pinning<'f>,
    ) -> Result<Transfers<'_>, CannotRun> {
        let pieces = self.source.pieces(from, range.start, range.end - range.start);
        let pinned = |piece: &super::source::Piece| pin(piece.to..piece.to + piece.len).wait();
        let pinned = pieces.iter().map(pinned).collect::<Result<Vec<_>, _>>()?;
        self.moved.add(pieces.len() as u64, range.end - range.start);
        self.device.start(&self.source, pieces.into_iter().zip(pinned).collect())
    }

    /// The same, into a whole file.
    pub(crate) fn bring_into(&self, file: &File, from: u64) -> Result<Transfers<'_>, CannotRun> {
        self.bring(from, 0..file.len(), |range| file.pin(range, Access::Write))
    }

    /// The pins of a range of a file.
    pub(crate) fn pins_of(&self, file: &File, range: &Range<u64>) -> Vec<PinReport> {
        let pins = self.pool.pins().into_iter();
        let is_in = |pin: &PinReport| pin.bytes.start < range.end && range.start < pin.bytes.end;
        pins.filter(|pin| pin.file == file.id() && is_in(pin)).collect()
    }

    /// The pin for which a change of a file sleeps; `None` once `ended` says that there is no such change any more.
    pub(crate) fn behind_whom(&self, file: &File, ended: impl Fn() -> bool) -> Option<PinReport> {
        while !ended() {
            let breaks = self.pool.breaks();
            let of_file = breaks.into_iter().find(|one| one.ranges.iter().any(|(broken, _, _)| *broken == file.id()));
            if let Some(behind) = of_file.and_then(|one| one.behind) {
                return Some(behind);
            }
            std::thread::yield_now();
        }
        None
    }
}

/// How fast a device is.
struct Rate {
    bytes: u64,
    took: Duration,
}

impl Rate {
    fn in_time(&self, time: Duration) -> u64 {
        (self.bytes as f64 * time.as_secs_f64() / self.took.as_secs_f64().max(1e-6)) as u64
    }

    fn time_of(&self, bytes: u64) -> Duration {
        self.took.mul_f64(bytes as f64 / self.bytes as f64)
    }
}

/// Lets the device read a little, to see that it works, on its own, and how fast.
fn try_out(source: &Source, device: &Device) -> Result<Rate, CannotRun> {
    for _ in 0..TRIES {
        if let Some(rate) = try_once(source, device)? {
            return Ok(rate);
        }
    }
    Err(CannotRun(format!("reads of {} end before anybody can wait for them", source.path.display())))
}

/// The rate, if the device was seen to work on its own.
fn try_once(source: &Source, device: &Device) -> Result<Option<Rate>, CannotRun> {
    let bytes = source.load(FIRST);
    let pool = Pool::new(Region::memfd(bytes).map_err(doing("no memory"))?)?;
    let reservation = pool.reserve(bytes).try_now()?;
    let pieces = source.pieces(0, 0, bytes).into_iter();
    let pinned = pieces.map(|piece| Ok((piece, reservation.pin(piece.to..piece.to + piece.len).wait()?)));
    let pinned = pinned.collect::<Result<_, CannotRun>>()?;
    let begun = Instant::now();
    let mut transfers = device.start(source, pinned)?;
    let on_its_own = transfers.are_under_way()?;
    let levels = transfers.land(|_, _| ())?;
    let took = levels.last().map_or(Duration::ZERO, |(at, _)| at.saturating_duration_since(begun));
    Ok(on_its_own.then_some(Rate { bytes, took }))
}

const _: () = assert!(LOAD_MIN.is_multiple_of(16 * SECTOR) && LOAD_MIN <= PIECE);
