//! Shared memory as 64-bit words.
//!
//! All state of the layout area is atomics at offsets, without pointers, so that it can lie in memory which
//! several processes map at different addresses. Here such memory is an array of [`AtomicU64`], and a record
//! is a `repr(C)` struct that has only such words as fields.
//!
//! Stays true  W1: every record type is made of `AtomicU64` alone, so any run of words of its size is a valid one:
//!                 whatever bytes another process writes, reading them is defined behaviour.
//!             W2: the words stay mapped, and at the same address, for as long as the `Words` value lives.

use std::mem::size_of;
use std::ops::Range;
use std::ptr::NonNull;

use crate::sync::{Arc, AtomicU64};

use super::error::AreaError;

/// What keeps a run of words alive: a mapping in the product, a boxed slice in the models.
pub(crate) trait Backing: Send + Sync {
    /// The first word, and how many there are.
    fn words(&self) -> (NonNull<AtomicU64>, usize);

    /// Makes the memory of `words` real, so that touching them cannot fail.
    fn allocate(&self, words: Range<usize>) -> Result<(), AreaError>;
}

/// Tables grow by 64 KiB.
const CHUNK_WORDS: usize = 8192;

/// A run of shared words.
#[derive(Clone)]
pub(crate) struct Words {
    base: NonNull<AtomicU64>,
    len: usize,
    backing: Arc<dyn Backing>,
}

// SAFETY: the words are atomics, and by W2 `backing` (which is Send and Sync) keeps them mapped.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

/// A record in shared memory.
///
/// # Safety
/// The type is `repr(C)` and all of its fields are `AtomicU64` or arrays of it (W1).
pub(crate) unsafe trait Record: Sized {
    /// Length in words.
    const WORDS: usize = size_of::<Self>() / size_of::<AtomicU64>();
}

// SAFETY: it is the word itself.
unsafe impl Record for AtomicU64 {}

impl Words {
    pub(crate) fn new(backing: Arc<dyn Backing>) -> Self {
        let (base, len) = backing.words();
        Self { base, len, backing }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes the memory of a table's record `index` real, and of those after it up to a chunk: called with 0, 1, 2...
    /// it asks the kernel once for each chunk.
    pub(crate) fn allocate<T: Record>(&self, table: usize, index: usize, records: usize) -> Result<(), AreaError> {
        let chunk = (CHUNK_WORDS / T::WORDS).max(1);
        if !index.is_multiple_of(chunk) {
            return Ok(());
        }
        let end = records.min(index + chunk);
        self.backing.allocate(table + index * T::WORDS..table + end * T::WORDS)
    }

    /// The record that begins at `word`.
    #[inline]
    pub(crate) fn at<T: Record>(&self, word: usize) -> &T {
        assert!(word <= self.len && T::WORDS <= self.len - word, "record outside the area");
        // SAFETY: the record lies inside the words (checked above), which stay mapped while `self` lives (W2), and
        // any run of words is a valid `T` (W1). `T` holds atomics only, so shared access is all it needs.
        unsafe { &*self.base.add(word).cast::<T>().as_ptr() }
    }
}
