//! Maps by ids of nodes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Ids are numbers in a row: multiplying spreads them enough.
#[derive(Default, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// Makes hashers of ids.
pub(crate) type ByIdHasher = BuildHasherDefault<IdHasher>;

/// A map by ids.
pub(crate) type ById<T> = HashMap<u64, T, ByIdHasher>;
