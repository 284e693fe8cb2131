//! What is tortured: the few things that the load asks of a store. Load and checks are the same code for all of them.

mod guarded;
mod plain;
mod unguarded;
mod viewed;

use std::ops::Range;
use std::time::Duration;

use pinfold::{Access, Pinned, Policy};

use crate::log::Change;

pub(crate) use guarded::Guarded;
pub(crate) use plain::Plain;
pub(crate) use unguarded::Unguarded;
#[cfg(test)]
pub(crate) use viewed::Viewed;

/// A store of files in a region, into which devices do DMA.
///
/// Ranges are in bytes, and inside the file where it is not said otherwise.
pub(crate) trait Store: Send + Sync + 'static {
    /// An open file.
    type File: Clone + Send + Sync + 'static;
    /// A file without a name, which devices fill.
    type Reservation: Send + 'static;

    /// In a word.
    const NAME: &'static str;
    /// Whether an operation under [`Policy::Wait`] waits for transfers.
    const WAITS: bool;

    /// A new, empty file.
    fn create(&self, name: &str) -> Result<Self::File, Refused>;
    /// Takes a name away. The file goes with its last handle.
    fn unlink(&self, name: &str) -> Result<(), Refused>;
    /// Gives a file another name, which loses the file that it had.
    fn rename(&self, from: &str, to: &str) -> Result<(), Refused>;

    /// Memory for a device. `access` is the device's.
    fn pin(&self, file: &Self::File, range: Range<u64>, access: Access, form: Form) -> Result<Pinned, Refused>;
    /// More of it for the same transfer. Never waits.
    fn extend(&self, pinned: &mut Pinned, file: &Self::File, range: Range<u64>, access: Access) -> Result<(), Refused>;

    /// Frees or moves blocks.
    fn change(&self, file: &Self::File, change: &Change, policy: Policy, form: Form) -> Result<(), Refused>;
    /// Exchanges blocks with those of another file.
    fn exchange(&self, one: (&Self::File, Range<u64>), other: (&Self::File, u64), form: Form) -> Result<(), Refused>;
    /// Sets blocks aside.
    fn allocate(&self, file: &Self::File, range: Range<u64>) -> Result<(), Refused>;

    /// Copies out; how many bytes there are.
    fn read_at(&self, file: &Self::File, offset: u64, to: &mut [u8]) -> Result<usize, Refused>;
    /// Copies in; how many bytes, from the first on. Fewer than there are, or an error, if there is no more space.
    fn write_at(&self, file: &Self::File, offset: u64, from: &[u8]) -> Result<usize, Refused>;

    /// A file of `len` bytes without a name.
    fn reserve(&self, len: u64) -> Result<Self::Reservation, Refused>;
    /// Memory of it, for a device that writes.
    fn pin_reserved(&self, reservation: &Self::Reservation, range: Range<u64>) -> Result<Pinned, Refused>;
    /// Gives it a name, which loses the file that it had. Waits for transfers into it.
    fn publish(&self, reservation: Self::Reservation, name: &str) -> Result<Self::File, Refused>;

    /// Who waits for whom, for a person.
    fn explain(&self) -> String;
    /// What is in use.
    fn in_use(&self) -> InUse;
    /// How many copies, out and in, were loads or stores through views.
    fn through_views(&self) -> u64;
}

/// In which of its forms an operation is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Blocking.
    Wait,
    /// Blocking, with a deadline.
    For(Duration),
    /// It only looks.
    Try,
    /// As a future.
    Async,
}

/// What a store has given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct InUse {
    pub(crate) pins: u64,
    /// Bytes of blocks that are not free.
    pub(crate) bytes: u64,
}

/// Why something was not done. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Somebody is in the way (`EBUSY`).
    Busy,
    /// The deadline passed (`ETIMEDOUT`).
    TimedOut,
    /// No block is free (`ENOSPC`).
    NoSpace,
    /// The range reaches past the end (`ENXIO`).
    PastEnd,
    /// It would wait for its own thread (`EDEADLK`).
    Deadlock,
    /// Anything else.
    Other(String),
}
