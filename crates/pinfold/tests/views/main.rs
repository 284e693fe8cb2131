//! Views: a range of a file as memory of this process, revoked by breaks.
//!
//! Two modes: breaks take views away by themselves (userfaultfd), or ask them back (long-term pins). What holds in both is tested
//! in both; a machine without userfaultfd says so, and skips what needs it.

mod addresses;
mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod faults;
mod huge;
mod pinned;
mod processes;
mod revoked;
mod stress;
mod viewer;
