//! The mechanism's own source under shuttle: more threads than loom can have, in schedules drawn at random.

#![allow(missing_docs, reason = "the models are documented where they are")]

use shuttle as checker;

mod bytes;
#[allow(dead_code, unreachable_pub, unused_imports, reason = "models use a part of the mechanism")]
#[path = "../../../layout/src/mechanism/mod.rs"]
mod mechanism;
mod store;
#[allow(dead_code, reason = "the mechanism decides what it takes")]
#[path = "../common/sync.rs"]
mod sync;
#[allow(dead_code, reason = "shared with the models under loom")]
#[path = "../common/world.rs"]
mod world;

mod crowd;
