//! What callers get wrong, and what may fail under them: each is told so, by name and with an errno, and nothing is lost
//! or left behind.

mod capacity;
#[path = "../common/mod.rs"]
mod common;
mod device_only;
mod forks;
mod ranges;
mod space;
mod strangers;

use pinfold::{Pool, PoolOptions, Region};

use common::{Census, MIB, alone, descriptors};

/// Runs what must leave nothing behind, in a pool of 4 MiB.
#[track_caller]
fn nothing_stays(test: impl FnOnce(&Pool)) {
    nothing_stays_in(PoolOptions::new(), test);
}

/// The same in a pool that is made in a certain way. No other test of this file runs meanwhile, since descriptors are the
/// process's.
#[track_caller]
fn nothing_stays_in(options: PoolOptions, test: impl FnOnce(&Pool)) {
    let _alone = alone();
    let outside = descriptors();
    let pool = options.create(Region::memfd(4 * MIB).unwrap()).unwrap();
    let before = Census::of(&pool);
    test(&pool);
    assert_eq!(Census::of(&pool), before, "something was left behind");
    drop(pool);
    assert_eq!(descriptors(), outside, "a descriptor was left behind");
}

/// Asserts that every word stands in a message: what, where, what to do.
#[track_caller]
fn assert_says(error: &dyn std::error::Error, words: &[&str]) {
    let message = error.to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}
