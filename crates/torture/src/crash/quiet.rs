//! Pins of the dead are let go, each by the proof that nothing writes through it any more.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use pinfold::{OperatorDecision, Pool, Until};
use pinfold_dma::RingLock;

/// How pins are told that no ring's lock stands for: their device was a thread of the process that died.
const STAND_IN: &str = "late";

/// How many rings have not come to their end.
pub(super) fn rings(locks: &Path) -> Result<u64, Box<dyn Error>> {
    let mut rings = 0;
    for lock in RingLock::all_in(locks)? {
        rings += u64::from(lock.try_proof()?.is_none());
    }
    Ok(rings)
}

/// Waits for the end of every ring that has a lock, as long as `patience` says, and lets go of its pins. A device that was
/// a thread of a dead process is gone with it. How many pins there were.
pub(super) fn release(pool: &Pool, locks: &Path, patience: Option<Duration>) -> Result<usize, Box<dyn Error>> {
    let mut released = 0;
    let of_the_dead = pool.quarantine();
    for lock in RingLock::all_in(locks)? {
        // A ring of this process goes on.
        if !of_the_dead.iter().any(|pin| pin.engine == *lock.name()) {
            remove_if_gone(lock)?;
            continue;
        }
        let proof = lock.wait(patience.map_or(Until::done(), Until::after))?;
        released += pool.release(&proof)?;
        lock.remove(&proof)?;
    }
    for pin in of_the_dead.into_iter().filter(|pin| pin.engine.contains(STAND_IN)) {
        let (operator, reason) = ("torture".to_owned(), "the device was a thread of the dead process".to_owned());
        // The holder may have been swept meanwhile.
        released += usize::from(pool.release_by_operator(&OperatorDecision { pin: pin.id, operator, reason }).is_ok());
    }
    Ok(released)
}

/// The lock of a ring that left no pin.
fn remove_if_gone(lock: RingLock) -> Result<(), Box<dyn Error>> {
    if let Some(proof) = lock.try_proof()? {
        lock.remove(&proof)?;
    }
    Ok(())
}
