//! Names of queues: one for each, for ever.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// What tells one queue from all others: process, number, and a random number, since process numbers come again, and two
/// processes of different namespaces may have the same.
pub(crate) fn unique() -> Result<String, Errno> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    // ORDER: relaxed; only that no number comes twice matters.
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(format!("{}.{number}-{:016x}", std::process::id(), u64::from_ne_bytes(random)))
}
