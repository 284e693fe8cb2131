//! Letting pins go that are in quarantine (G8): by the proofs that rings left beside the pool, or by an operator.
//!
//! Stays true  R1: a ring's lock file goes only after the pool was told, and only if it took it.
//!             R2: an operator's decision is on the medium before the pin counts no more.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pinfold::OperatorDecision;
use pinfold::layout::PinId;
use pinfold_dma::{LockError, RingLock};

use super::Task;
use crate::answer::{Answer, Pin, Released};
use crate::refusal::Refusal;

/// In the live directory: the locks of rings.
const RINGS: &str = "rings";

/// In the live directory: what operators decided, a line of JSON for each.
const DECISIONS: &str = "decisions.log";

/// Where the rings that move data into a pool keep their locks, so that the next owner can ask whether they are gone:
/// [`UringOptions::lock_dir`](pinfold_dma::UringOptions::lock_dir).
pub fn rings_in(live_dir: impl AsRef<Path>) -> PathBuf {
    live_dir.as_ref().join(RINGS)
}

impl Task<'_> {
    pub(super) fn release_by_proof(&self) -> Result<Answer, Refusal> {
        let mut released = Released::default();
        for lock in self.ring_locks()? {
            match lock.try_proof()? {
                None => released.rings_there += 1,
                Some(proof) => {
                    released.pins += self.pool.release(&proof)? as u64;
                    lock.remove(&proof)?;
                    released.rings_gone += 1;
                }
            }
        }
        released.left = self.pool.quarantine().len() as u64;
        Ok(Answer::Released(released))
    }

    fn ring_locks(&self) -> Result<Vec<RingLock>, Refusal> {
        match RingLock::all_in(rings_in(self.live_dir)) {
            // No ring was ever made.
            Err(LockError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            locks => Ok(locks?),
        }
    }

    pub(super) fn release_by_operator(&self, pin: PinId, operator: &str, reason: &str) -> Result<Answer, Refusal> {
        let decision = OperatorDecision { pin, operator: operator.to_owned(), reason: reason.to_owned() };
        let found = self.pins().find(|found| found.id == pin && found.quarantine.is_some());
        // What is not in quarantine is refused by the pool, with what is wrong, and nothing was decided.
        if let Some(found) = found.iter().find(|_| is_whole(&decision)) {
            write_down(self.live_dir, &decision, found).map_err(|error| {
                let log = self.live_dir.join(DECISIONS);
                Refusal::io(format_args!("nothing was released: cannot log it in {}", log.display()), &error)
            })?;
        }
        let released = self.pool.release_by_operator(&decision)?;
        Ok(Answer::ReleasedPin(found.unwrap_or_else(|| Pin::of(released, self.pool.block_size()))))
    }
}

/// As the pool asks for.
fn is_whole(decision: &OperatorDecision) -> bool {
    !decision.operator.trim().is_empty() && !decision.reason.trim().is_empty()
}

fn write_down(live_dir: &Path, decision: &OperatorDecision, pin: &Pin) -> io::Result<()> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let line = serde_json::json!({
        "unix_time": seconds,
        "operator": decision.operator,
        "reason": decision.reason,
        "pin": pin,
    });
    let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(live_dir.join(DECISIONS))?;
    log.write_all(format!("{line}\n").as_bytes())?;
    log.sync_all()?;
    // The name as well, where it is new.
    fs::File::open(live_dir)?.sync_all()
}
