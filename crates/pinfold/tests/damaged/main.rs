//! Media that are not what was written: every byte flipped, parts cut off, zeroed or made up, a medium that refuses, a full
//! one. Each time an error or the right answer; never a panic, never another file's bytes, never what was synced lost
//! without a word (G9).

#[path = "../common/mod.rs"]
mod common;

mod crafted;
mod cuts;
mod flips;
mod format;
mod full_disk;
mod io_errors;
mod look;
mod sample;
