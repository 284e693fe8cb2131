//! Memory that is not atomic.

/// Loom fails if two accesses, one of them a write, are not ordered.
pub(crate) struct Bytes(loom::cell::UnsafeCell<u64>);

impl Bytes {
    pub(crate) fn new(value: u64) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn read(&self) -> u64 {
        // SAFETY: loom runs one thread at a time, and fails before this if a write is not ordered before it.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) fn write(&self, new: u64) {
        // SAFETY: as above, for any other access.
        self.0.with_mut(|value| unsafe { *value = new });
    }
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Bytes {}
// SAFETY: as above.
unsafe impl Send for Bytes {}
