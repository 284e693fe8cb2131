//! The fences and wake-ups that the protocols stand on, each with a name.
//!
//! A model can take any one of them out by name, and must then fail; the product is compiled with all of them.
//!
//! Pins pay for a fence twice in their short life, breaks once in a while. So in an area of one process the pin's side
//! is a compiler fence only, and the break's side fences every thread of the process (`membarrier`): asymmetric
//! fences. Between processes, or where the kernel refuses that, both sides are real.

use crate::sync::{AtomicU64, Futex, Ordering, compiler_fence, fence, fence_all_threads, removed};

/// One fence or wake-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Site {
    /// Pin: between publishing the slot and the second look at the word.
    PinPublish,
    /// Pin: between resolving and the last look at the word.
    PinResolved,
    /// Unpin: between clearing the slot and the look at `waited`.
    UnpinClear,
    /// Publish: between reading that a slot is empty and writing its words.
    SlotRewrite,
    /// Scan: between reading a slot's words and its state again.
    SlotReread,
    /// Break: between announcing and scanning.
    DrainScan,
    /// Break: between "closing" and scanning.
    CloseScan,
    /// Freeing a file's cell: between taking its id away and scanning for pins.
    SweepScan,
    /// Commit: between raising `waited` and the first reap.
    Park,
    /// Space: between giving blocks back and looking whether anybody watches.
    SpaceGiven,
    /// Space: between beginning to watch and the attempt.
    SpaceWatched,
    /// Announcement: between marking the record as being written and writing it.
    AnnounceWrite,
    /// Admission: between reading an announcement's words and its version again.
    AnnounceReread,
    /// The last pin in the way wakes the break (G2).
    WakeUnpin,
    /// The end of a break, or its opening again, wakes who sleeps on the word.
    WakeWord,
    /// A wish that is fulfilled or withdrawn wakes the break that let it in first.
    WakeWish,
    /// The reaping of a holder wakes who sleeps on its bell.
    WakeReaped,
    /// A break that recalls wakes the sleepers of the holders.
    WakeRecall,
    /// A mark that voids a pin wakes who sleeps on its holder's bell.
    WakeVoid,
    /// Blocks that came free, or were parked, wake who waits for space (G2).
    WakeSpace,
}

impl Site {
    /// Every site, for the test that takes out one after the other.
    #[cfg(test)]
    #[allow(dead_code, reason = "used by the models")]
    pub(crate) const ALL: [Self; 20] = [
        Self::PinPublish,
        Self::PinResolved,
        Self::UnpinClear,
        Self::SlotRewrite,
        Self::SlotReread,
        Self::DrainScan,
        Self::CloseScan,
        Self::SweepScan,
        Self::Park,
        Self::SpaceGiven,
        Self::SpaceWatched,
        Self::AnnounceWrite,
        Self::AnnounceReread,
        Self::WakeUnpin,
        Self::WakeWord,
        Self::WakeWish,
        Self::WakeReaped,
        Self::WakeRecall,
        Self::WakeVoid,
        Self::WakeSpace,
    ];
}

/// A fence of the one thread that calls it.
#[inline]
pub(crate) fn local(site: Site, order: Ordering) {
    if !removed(site) {
        fence(order);
    }
}

/// Which kind of full fence an area uses, and how its words are slept on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fences {
    asymmetric: bool,
    futex: Futex,
}

impl Fences {
    pub(crate) const fn new(asymmetric: bool, shared: bool) -> Self {
        Self { asymmetric, futex: Futex::new(shared) }
    }

    pub(crate) fn futex(self) -> Futex {
        self.futex
    }

    pub(crate) fn asymmetric(self) -> bool {
        self.asymmetric
    }

    /// The pin's side of a full fence.
    #[inline]
    pub(crate) fn light(self, site: Site) {
        if removed(site) {
            return;
        }
        if self.asymmetric {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// The break's side of a full fence.
    pub(crate) fn heavy(self, site: Site) {
        if removed(site) {
            return;
        }
        if self.asymmetric {
            fence_all_threads();
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// Bumps a bell and wakes who sleeps on it. What the bell was before.
    pub(crate) fn ring(self, site: Site, bell: &AtomicU64) -> u64 {
        // ORDER: Release pairs with the Acquire load of the bell before a scan: who reads the new value sees the
        // cleared slot. Who reads the old one is woken, or does not get to sleep.
        let before = bell.fetch_add(1, Ordering::Release);
        self.wake(site, bell);
        before
    }

    pub(crate) fn wake(self, site: Site, word: &AtomicU64) {
        if !removed(site) {
            self.futex.wake(word);
        }
    }
}
