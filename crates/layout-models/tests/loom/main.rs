//! The mechanism's own source under loom.

#![allow(missing_docs, reason = "the models are documented where they are")]

#[allow(dead_code, unreachable_pub, unused_imports, reason = "models use a part of the mechanism")]
#[path = "../../../layout/src/mechanism/mod.rs"]
mod mechanism;
#[allow(dead_code, reason = "the mechanism decides what it takes")]
#[path = "../common/sync.rs"]
mod sync;
#[path = "../common/world.rs"]
mod world;

use loom as checker;

mod actors;
mod bytes;
mod check;

mod cells;
mod detach;
mod holders;
mod needed;
mod newcomers;
mod pin_and_close;
mod space;
mod two_breaks;
mod views;
