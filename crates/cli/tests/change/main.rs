//! Commands that change a pool: on one that nobody owns, and on one that another process owns.

#[path = "../common/mod.rs"]
mod common;
mod layout;
mod names;
mod own;
mod pools;
mod release;
mod whole;
