//! A table by numbers, in parts that each have a lock of their own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;

pub(crate) struct Shards<T>([Mutex<HashMap<u64, T>>; SHARDS]);

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl<T> Shards<T> {
    /// The part in which a number is, or would be.
    pub(crate) fn of(&self, number: u64) -> MutexGuard<'_, HashMap<u64, T>> {
        self.0[(number % SHARDS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
