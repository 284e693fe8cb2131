//! What programs have open through the mount: files, and directories with the names that a listing has begun to show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pinfold::{File, Held, Listed};

use crate::shards::Shards;

/// Handles by the numbers that the kernel has for them.
pub(crate) struct Handles<T> {
    last: AtomicU64,
    open: Shards<T>,
}

/// A directory that is open. A listing shows the names of one moment: that at which it was read from its beginning.
pub(crate) struct OpenDir {
    pub(crate) dir: Held,
    listing: Mutex<Arc<[Listed]>>,
}

pub(crate) type Files = Handles<File>;
pub(crate) type Dirs = Handles<Arc<OpenDir>>;

impl<T: Clone> Handles<T> {
    pub(crate) fn new() -> Self {
        Self { last: AtomicU64::new(0), open: Shards::default() }
    }

    pub(crate) fn add(&self, open: T) -> u64 {
        // ORDER: relaxed; only that no number is given twice matters.
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.of(number).insert(number, open);
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<T> {
        self.open.of(number).get(&number).cloned()
    }

    /// Ends one. What it held goes with no lock held.
    pub(crate) fn end(&self, number: u64) {
        let ended = self.open.of(number).remove(&number);
        drop(ended);
    }
}

impl OpenDir {
    pub(crate) fn new(dir: Held) -> Arc<Self> {
        Arc::new(Self { dir, listing: Mutex::new(Arc::new([])) })
    }

    /// The names to show from an offset on; from zero on they are read anew.
    pub(crate) fn listing(&self, offset: u64) -> Arc<[Listed]> {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            *listing = self.dir.list().into();
        }
        Arc::clone(&listing)
    }
}
