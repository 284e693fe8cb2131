//! The mechanism: everything that the models check. It takes the machine from `crate::sync` alone.

#![deny(clippy::disallowed_types)]

pub(crate) mod admission;
pub(crate) mod announce;
pub(crate) mod attribution;
pub(crate) mod breaks;
pub(crate) mod busy_extents;
pub(crate) mod error;
pub(crate) mod fences;
pub(crate) mod geometry;
pub(crate) mod header;
pub(crate) mod holder;
pub(crate) mod lanes;
pub(crate) mod layout_break;
pub(crate) mod marks;
pub(crate) mod owner;
pub(crate) mod parked_records;
pub(crate) mod pin;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub(crate) mod recall;
pub(crate) mod segment;
pub(crate) mod sleeper;
pub(crate) mod transfer;
pub(crate) mod until;
pub(crate) mod view;
pub(crate) mod word;
pub(crate) mod words;
