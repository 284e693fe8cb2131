//! Memory that is not atomic. Shuttle does not watch it; what is in it is checked all the same.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Bytes(AtomicU64);

impl Bytes {
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, new: u64) {
        self.0.store(new, Ordering::Relaxed);
    }
}
