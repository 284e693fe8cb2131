//! The mechanism's own source under loom.

#![allow(missing_docs, reason = "the models are documented where they are")]

#[allow(dead_code, unreachable_pub, unused_imports, reason = "models use a part of the mechanism")]
#[path = "../../../layout/src/mechanism/mod.rs"]
mod mechanism;
#[allow(dead_code, reason = "the mechanism decides what it takes")]
mod sync;
#[path = "../common/world.rs"]
mod world;

mod actors;
mod check;

mod cells;
mod detach;
mod holders;
mod newcomers;
mod pin_and_close;
mod two_breaks;
