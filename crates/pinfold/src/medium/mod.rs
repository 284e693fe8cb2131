//! The medium: what a lasting pool looks like in its file or device, byte by byte. Drawn in `docs/format.md`.
//!
//! ```text
//!  0            64 KiB         128 KiB                    first block
//!  | superblock  | superblock   | log, a ring of records   | blocks: files, checkpoints, free space
//! ```
//!
//! The working state is in memory. A change is a [`record`] in the log; a [`checkpoint`] is the whole state, written into
//! free blocks beside the old one, and takes over by the superblock. Opening reads the checkpoint and replays the log:
//! that makes an [`Image`](image::Image).
//!
//! Stays true  X1: nothing that is read is believed before its checksum was compared, and its numbers were checked
//!                 against the pool they are in.
//!             X2: of two valid superblocks the younger counts. The other is overwritten first: one is whole at any moment.
//!             X3: all numbers are little-endian, whatever the machine.
//! Who calls   `journal` writes, `open`, `snapshot` and `fsck` read. Nothing here locks, or knows what is pinned.
//! A crash     leaves the older superblock, a log that ends at its first torn record, or blocks that nothing names.
//! Damage      of any byte of it is told, or mended by what is there twice. What was durable does not end silently.

pub(crate) mod attributes;
pub(crate) mod checkpoint;
pub(crate) mod codec;
pub(crate) mod image;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod skim;
pub(crate) mod source;
pub(crate) mod superblock;
