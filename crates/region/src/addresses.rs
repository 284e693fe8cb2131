//! The addresses that this process's regions use: a range belongs to one region at a time.
//!
//! Stays true   A1: no two entries of one space overlap. So memory that has no file to lock (adopted, or on
//!              a device) has one owner in the process that can name it.
//! Who calls    the constructors and `Drop`, on any thread. The registry's mutex is the last one taken.
//! After a fork the child's copies of entries are released by nobody. Those of mapped regions mean nothing
//!              there, since the mapping is not inherited. Those of adopted and device memory go on
//!              refusing: that memory may still be the parent's, whose pid they name.
//! Dead owner   the registry dies with its process, as its addresses do.

use std::ops::Range;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Holder;
use crate::fork::Incarnation;

/// What a range of addresses counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Addresses of this process, mapped by us.
    Mapped,
    /// Addresses of this process, mapped by the caller.
    Adopted,
    /// Addresses of the device that the caller calls by this number.
    Device(u32),
}

/// A range of addresses, used by one region until this is dropped.
#[derive(Debug)]
pub(crate) struct Addresses {
    entry: Entry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    space: Space,
    range: Range<u64>,
    opened_in: Incarnation,
    pid: u32,
}

static IN_USE: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

impl Addresses {
    /// Takes `range` of `space`, unless a region that uses part of it is there already.
    pub(crate) fn take(space: Space, range: Range<u64>, opened_in: Incarnation) -> Result<Self, Holder> {
        let entry = Entry { space, range, opened_in, pid: process::id() };
        let mut in_use = lock();
        in_use.retain(|other| other.space != Space::Mapped || other.opened_in == opened_in);
        if let Some(first) = in_use.iter().find(|other| other.overlaps(&entry)) {
            return Err(Holder { pid: Some(first.pid) });
        }
        in_use.push(entry.clone());
        Ok(Self { entry })
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        // Look first, lock second: in a forked child the mutex may be held for ever.
        if self.entry.opened_in.is_current() {
            lock().retain(|other| *other != self.entry);
        }
    }
}

impl Entry {
    fn overlaps(&self, other: &Self) -> bool {
        let ranges_meet = self.range.start < other.range.end && other.range.start < self.range.end;
        ranges_meet && self.space.is_same_as(other.space)
    }
}

impl Space {
    fn is_same_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Device(one), Self::Device(two)) => one == two,
            (Self::Device(_), _) | (_, Self::Device(_)) => false,
            _ => true,
        }
    }
}

/// The entries. Each change of them is one call, so a panic elsewhere leaves nothing half done.
fn lock() -> MutexGuard<'static, Vec<Entry>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(device: u32, range: Range<u64>) -> Result<Addresses, Holder> {
        Addresses::take(Space::Device(device), range, Incarnation::current().unwrap())
    }

    #[test]
    fn ranges_that_meet_are_refused_and_neighbours_are_not() {
        let _first = take(900, 100..200).unwrap();
        for meets in [100..200, 150..160, 50..101, 199..300, 0..u64::MAX] {
            assert_eq!(take(900, meets).unwrap_err(), Holder { pid: Some(process::id()) });
        }
        let _below = take(900, 0..100).unwrap();
        let _above = take(900, 200..300).unwrap();
        let _elsewhere = take(901, 100..200).unwrap();
    }

    #[test]
    fn a_range_that_was_dropped_can_be_taken_again() {
        drop(take(902, 0..10).unwrap());
        take(902, 0..10).unwrap();
    }
}
