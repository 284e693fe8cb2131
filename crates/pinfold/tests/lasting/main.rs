//! Pools that outlive their process (G9): made, closed, opened again; and what is lost when they are not closed.

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod common;

mod reopened;
