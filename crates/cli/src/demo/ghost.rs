//! What stands in for the ring of a process that is killed: a device made of a thread of the owner's process. Once started
//! it writes until it is stopped, whoever lives or dies.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pinfold::{PinInfo, Pool, Quiescent};

use super::source::SECTOR;
use crate::status::{CannotRun, doing};

/// The device.
pub(crate) struct Ghost {
    name: String,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    written: AtomicU64,
}

/// The proof that the device is stopped. Only [`Ghost::stop`] makes it.
pub(crate) struct GhostIsQuiet(String);

// SAFETY: it comes from `Ghost::stop`, which has waited for the end of the one thread that writes for pins of this name. No
// other device of this process has the name, and it is never started again.
unsafe impl Quiescent for GhostIsQuiet {
    fn covers(&self, pin: &PinInfo) -> bool {
        pin.engine == self.0
    }
}

impl Ghost {
    /// The name of the next one.
    pub(crate) fn name() -> String {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // ORDER: relaxed; only that no number comes twice matters.
        format!("stand-in {}.{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Starts to write into these places of the pool.
    pub(crate) fn start(name: String, pool: &Pool, places: Vec<Range<u64>>) -> Result<Self, CannotRun> {
        let state = Arc::<State>::default();
        let (pool, works) = (pool.clone(), Arc::clone(&state));
        let thread = std::thread::Builder::new().spawn(move || works.write(&pool, &places));
        Ok(Self { name, state, thread: Some(thread.map_err(doing("cannot start a thread"))?) })
    }

    /// Returns once it has written so many sectors more.
    pub(crate) fn watch(&self, sectors: u64) {
        // ORDER: relaxed; a count for people.
        let seen = self.state.written.load(Ordering::Relaxed);
        while self.state.written.load(Ordering::Relaxed) < seen + sectors {
            std::thread::yield_now();
        }
    }

    /// Stops it, and waits for its end.
    pub(crate) fn stop(mut self) -> GhostIsQuiet {
        self.end();
        GhostIsQuiet(std::mem::take(&mut self.name))
    }

    fn end(&mut self) {
        // ORDER: relaxed; the join is what makes its end known.
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, it writes no more.
            let _ = thread.join();
        }
    }
}

impl Drop for Ghost {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn write(&self, pool: &Pool, places: &[Range<u64>]) {
        for turn in 1_u64.. {
            for sector in places.iter().flat_map(|place| place.clone().step_by(SECTOR as usize)) {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let memory = pool.region().bytes(sector..sector + SECTOR);
                // Its places are inside the region, which is the host's.
                let _ = memory.and_then(|memory| memory.copy_in(0, &[turn as u8; SECTOR as usize]));
                // ORDER: relaxed; a count for people.
                if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        }
    }
}
