//! Files as their users know them: bytes, space, pins, reservations, tokens, and the memory under all of it.

mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod layout;
mod long_term;
mod memory;
mod messages;
mod pins;
mod reservations;
mod tokens;
mod waiting;

#[test]
fn the_other_process() {
    common::child::obey_parent();
}
