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

    /// The table of `len` records that begins at `word`.
    pub(crate) fn table<T: Record>(&self, word: usize, len: u32) -> Table<T> {
        let end = (len as usize).checked_mul(T::WORDS).and_then(|words| words.checked_add(word));
        assert!(end.is_some_and(|end| end <= self.len), "a table outside the area");
        // SAFETY: `word` lies inside the run or at its end (checked above).
        let base = unsafe { self.base.add(word) }.cast();
        Table { base, len, _words: self.clone() }
    }
}

/// Records side by side in shared words.
pub(crate) struct Table<T> {
    base: NonNull<T>,
    len: u32,
    _words: Words,
}

// SAFETY: as `Words`, which it keeps.
unsafe impl<T: Record> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Record> Sync for Table<T> {}

/// A record by its address: what a pin's path follows without looking the table up again.
pub(crate) struct At<T>(NonNull<T>);

impl<T> Clone for At<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<T> {}

// SAFETY: it is an address; following it is unsafe, and the record is atomics.
unsafe impl<T: Record> Send for At<T> {}
// SAFETY: as above.
unsafe impl<T: Record> Sync for At<T> {}

impl<T: Record> At<T> {
    pub(crate) fn new(address: NonNull<T>) -> Self {
        Self(address)
    }

    pub(crate) fn address(self) -> NonNull<T> {
        self.0
    }

    /// The record.
    ///
    /// # Safety
    /// The table that it lies in is kept for as long as the reference lives.
    #[inline]
    pub(crate) unsafe fn get<'a>(self) -> &'a T {
        // SAFETY: `Table::place` made it, so the address is a record's; the caller keeps the table's words mapped (W2).
        unsafe { self.0.as_ref() }
    }
}

impl<T: Record> Table<T> {
    /// The address of the record at `index`.
    pub(crate) fn place(&self, index: u32) -> At<T> {
        At(NonNull::from(self.at(index)))
    }

    /// The index of a record of this table.
    pub(crate) fn index_of(&self, at: At<T>) -> u32 {
        let bytes = at.0.as_ptr() as usize - self.base.as_ptr() as usize;
        let index = (bytes / size_of::<T>()) as u32;
        debug_assert!(index < self.len);
        index
    }

    /// The record at `index`; an index outside the table is an assertion.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> &T {
        assert!(index < self.len, "a record outside its table");
        // SAFETY: `base..base + len` lies inside the words (checked when the table was made), which stay mapped while
        // `_words` lives (W2), and any run of words is a valid `T` (W1). `T` holds atomics only, so shared access is all
        // it needs.
        unsafe { &*self.base.as_ptr().add(index as usize) }
    }
}
