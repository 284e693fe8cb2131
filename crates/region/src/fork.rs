//! Which process opened a handle: a forked child holds copies of handles that are not its own.
//!
//! Stays true   F1: two processes that share history (parent, child, grandchild) have different
//!              incarnations, and asking costs one load.
//! Who calls    anyone, on any thread; there is no lock, so a fork at any instant is harmless.
//! After a fork the kernel wipes the page that holds the number; the child draws the next one when
//!              it first opens a region.
//! Dead owner   nothing is left.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::param::page_size;

/// Names one process among its ancestors and descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation(u64);

/// The page that a fork wipes: it holds this process's number, or 0 in a child that has none yet.
static WIPED_ON_FORK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last number drawn. A child inherits it, and so draws a larger one.
static LAST_DRAWN: AtomicU64 = AtomicU64::new(0);

impl Incarnation {
    /// The incarnation of the calling process.
    pub(crate) fn current() -> io::Result<Self> {
        let page = page()?;
        let number = page.load(Ordering::Relaxed);
        if number != 0 {
            return Ok(Self(number));
        }
        let drawn = LAST_DRAWN.fetch_add(1, Ordering::Relaxed) + 1;
        match page.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(Self(drawn)),
            Err(by_another_thread) => Ok(Self(by_another_thread)),
        }
    }

    /// Whether the calling process is the one this incarnation was taken in.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        let page = WIPED_ON_FORK.load(Ordering::Acquire);
        // SAFETY: an incarnation exists, so `current` has stored a page, which is never unmapped.
        self.0 == unsafe { &*page }.load(Ordering::Relaxed)
    }
}

/// The wiped page, mapped on first use.
fn page() -> io::Result<&'static AtomicU64> {
    let known = WIPED_ON_FORK.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: a page that was stored stays mapped for ever, zeroed or holding a number.
        return Ok(unsafe { &*known });
    }
    let fresh = map_page()?;
    // ORDER: Release pairs with the Acquire loads above; the page is zero, hence initialised, before
    // another thread can reach it.
    match WIPED_ON_FORK.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: as above; `fresh` has just become the stored page.
        Ok(_) => Ok(unsafe { &*fresh }),
        Err(first) => {
            // SAFETY: `fresh` was mapped by this call, and nobody else has seen it.
            unsafe { munmap(fresh.cast(), page_size()) }?;
            // SAFETY: as above; `first` is the stored page.
            Ok(unsafe { &*first })
        }
    }
}

/// Maps one zeroed page that a fork wipes.
fn map_page() -> io::Result<*mut AtomicU64> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let page =
        unsafe { mmap_anonymous(ptr::null_mut(), page_size(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
    // SAFETY: the advice covers exactly the page mapped above.
    match unsafe { madvise(page, page_size(), Advice::LinuxWipeOnFork) } {
        Ok(()) => Ok(page.cast()),
        Err(refused) => {
            // SAFETY: mapped above, and nobody else has seen it.
            unsafe { munmap(page, page_size()) }?;
            Err(refused.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_one_incarnation() {
        let first = Incarnation::current().unwrap();
        assert_eq!(first, Incarnation::current().unwrap());
        assert!(first.is_current());
        assert!(!Incarnation(first.0 + 1).is_current());
    }
}
