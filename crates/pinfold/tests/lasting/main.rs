//! Pools that outlive their process (G9): made, closed, opened again; and what is lost when they are not closed.

#[path = "../common/mod.rs"]
mod common;

mod cold;
mod killed;
mod reopened;
mod while_syncing;

#[test]
fn the_other_process() {
    common::child::obey_parent();
}

/// A directory for pools: in memory, if the machine has such a file system.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// All bytes of a file.
fn contents(pool: &pinfold::Pool, path: &str) -> Vec<u8> {
    let file = pool.open(path).unwrap();
    common::bytes_of(&file, 0..file.len())
}
