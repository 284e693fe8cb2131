//! Waiting for space: for blocks that come back to the caller's allocator.
//!
//! They come in many ways: a pin leaves, and what it kept is reaped; what nobody could have seen is given back as it is; what
//! was taken and not used is put back. Of most of these only the caller knows. So whoever finds no space watches first,
//! then tries once more, and sleeps only if nothing has changed since he began to watch; whoever gives blocks back says
//! so, which costs a look at one word while nobody watches.
//!
//! Stays true  V1: "watch, fence, try" meets "give back, fence, look who watches", or both take one lock: of a waiter and
//!                 blocks that come free, the waiter sees the blocks, or who gives them back sees the waiter, and wakes
//!                 him (G2).
//!             V2: with `returning` in hand, nothing is on its way from the busy extents to the allocator. So whoever finds
//!                 under it that nothing is kept, and that nothing has changed since before his attempt, has missed nothing.
//!             V3: he sleeps on `space` as it was before his attempt, and on the bells, as they were before the scan, of
//!                 all pins that keep what is durable. What is parked, or becomes durable, changes `space`.
//! Who may     the owner's process, any thread.
//! Lock order  `returning`, then the busy set; nothing is held while somebody sleeps.

use crate::sync::{Arc, Instant, Ordering, ThisThread, WAIT_ANY_MAX, Woke, lock};

use super::busy_extents::CommitId;
use super::error::SpaceError;
use super::fences::Site;
use super::owner::{InTheWay, Owner};
use super::parked::{reached_pieces, union};
use super::sleeper::{BACKSTOP, WordRef};
use super::until::Until;

/// Sees whatever comes free from its making on, so that a wait for space misses nothing (G2).
/// [`BusyExtents::watch`](super::busy_extents::BusyExtents::watch) makes it.
///
/// Make it after a first attempt has failed, and try again before you wait; each wait that ends well asks for another
/// attempt. Drop it when you have what you want: while it lives, whoever gives blocks back wakes for it.
///
/// ```
/// use std::sync::Mutex;
/// use pinfold_layout::{BusyExtents, CommitId, FreeExtent, SpaceError, Until};
///
/// /// Your allocator, with one block at a time.
/// struct Allocator {
///     busy: BusyExtents,
///     free: Mutex<Vec<u64>>,
/// }
///
/// impl Allocator {
///     fn take(&self) -> Option<u64> {
///         let give = |free: Vec<FreeExtent>| {
///             let blocks = free.into_iter().map(FreeExtent::into_extent).flat_map(|run| run.block..run.block + run.len());
///             self.free.lock().unwrap().extend(blocks);
///         };
///         self.busy.reap(CommitId::ALL, give);
///         self.free.lock().unwrap().pop()
///     }
///
///     /// Blocks that were taken and not used. Nobody can have pinned them.
///     fn put_back(&self, block: u64) {
///         self.free.lock().unwrap().push(block);
///         self.busy.came_free();
///     }
///
///     fn take_or_wait(&self, until: Until) -> Result<u64, SpaceError> {
///         if let Some(block) = self.take() {
///             return Ok(block);
///         }
///         let mut watch = self.busy.watch();
///         loop {
///             if let Some(block) = self.take() {
///                 return Ok(block);
///             }
///             watch.wait(CommitId::ALL, until)?;
///         }
///     }
/// }
/// # let area = pinfold_layout::Area::embedded(pinfold_layout::AreaOptions::default())?;
/// # let allocator = Allocator { busy: area.busy_extents(), free: Mutex::default() };
/// # assert!(matches!(allocator.take_or_wait(Until::done()), Err(SpaceError::NothingPinned { not_durable: 0 })));
/// # allocator.put_back(7);
/// # assert_eq!(allocator.take_or_wait(Until::done())?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SpaceWatch {
    owner: Arc<Owner>,
    /// What `space` was before the caller's latest attempt.
    seen: u32,
    /// That attempt began after the deadline: there is no other.
    late: bool,
}

/// Why there is no space yet: pins keep it.
struct Kept {
    /// What changes when one of them leaves, or when blocks come free in another way.
    words: Vec<(WordRef, u32)>,
    /// The one that keeps the oldest extent.
    first: InTheWay,
}

/// What there is of durable extents.
enum Durable {
    /// Some part is reached by nobody: the next reap gives it.
    Free,
    /// All of it is kept by these pins, oldest extent first.
    Kept(Vec<InTheWay>),
    /// There is none.
    Nothing {
        /// Units parked whose commit is not durable yet.
        not_durable: u64,
    },
}

impl SpaceWatch {
    pub(super) fn new(owner: &Arc<Owner>) -> Self {
        let busy = &owner.busy;
        // ORDER: the fence pairs with the one in `came_free` (V1).
        busy.watching.fetch_add(1, Ordering::Relaxed);
        owner.view.fences.heavy(Site::SpaceWatched);
        // Who reaps after this sees the watch; what was reaped before it, the caller's attempt finds.
        drop(lock(&busy.returning));
        Self { owner: Arc::clone(owner), seen: owner.space_word().value(), late: false }
    }

    /// Waits until it is worth trying again: blocks came free, or a reap will give some. As long as `until` says.
    ///
    /// `durable_up_to` as in [`BusyExtents::reap`](super::busy_extents::BusyExtents::reap), which belongs to each attempt.
    ///
    /// # Errors
    /// [`SpaceError`]; above all [`SpaceError::NothingPinned`] when no wait would help: nothing came free since before the
    /// attempt, nothing is on its way, and no pin keeps anything.
    pub fn wait(&mut self, durable_up_to: CommitId, until: Until) -> Result<(), SpaceError> {
        let mut last = None;
        while let Some(kept) = self.look(durable_up_to)? {
            match last {
                Some(Woke::TimedOut) => return Err(self.busy(&kept, true)),
                Some(Woke::Interrupted) => return Err(SpaceError::Interrupted),
                _ => {}
            }
            if kept.first.is_of(ThisThread::get()) {
                let pin = self.owner.describe(&kept.first.member, &kept.first.pin);
                return Err(SpaceError::Deadlock(Box::new(pin)));
            }
            last = self.sleep(&kept.words, until);
        }
        self.late = until.has_passed();
        Ok(())
    }

    /// As [`SpaceWatch::wait`], but only looks.
    ///
    /// # Errors
    /// [`SpaceError::Busy`] names the pin that keeps the oldest extent.
    pub fn try_wait(&mut self, durable_up_to: CommitId) -> Result<(), SpaceError> {
        match self.look(durable_up_to)? {
            Some(kept) => Err(self.busy(&kept, false)),
            None => Ok(()),
        }
    }

    /// As [`SpaceWatch::wait`], as a future of no particular runtime.
    ///
    /// # Errors
    /// As there.
    pub fn wait_async(&mut self, durable_up_to: CommitId) -> impl Future<Output = Result<(), SpaceError>> + Send {
        let mut registration = None;
        std::future::poll_fn(move |context| {
            let Some(kept) = self.look(durable_up_to)? else { return std::task::Poll::Ready(Ok(())) };
            let registration = registration.get_or_insert_with(|| self.owner.sleeper.registration());
            registration.wake_when_changed(kept.words, None, context.waker());
            std::task::Poll::Pending
        })
    }

    /// What keeps the space back; `None` if it is worth trying again.
    fn look(&mut self, durable_up_to: CommitId) -> Result<Option<Kept>, SpaceError> {
        let owner = &self.owner;
        if !owner.view.clock.is_of_this_process() {
            return Err(SpaceError::NothingPinned { not_durable: 0 });
        }
        let returning = lock(&owner.busy.returning);
        let space = owner.space_word();
        let now = space.value();
        if std::mem::replace(&mut self.seen, now) != now && !self.late {
            return Ok(None);
        }
        let (became_durable, durable) = owner.durable_extents(durable_up_to);
        if became_durable && owner.announce_space() == Some(now) {
            // Others that sleep do not sleep for what keeps it. This one is about to.
            self.seen = now.wrapping_add(1);
        }
        let keepers = match durable {
            Durable::Free => return Ok(None),
            Durable::Nothing { not_durable } => return Err(SpaceError::NothingPinned { not_durable }),
            Durable::Kept(keepers) => keepers,
        };
        drop(returning);
        let first = keepers[0].clone();
        let mut words = vec![(space, self.seen)];
        for way in keepers {
            if !words.iter().any(|(word, _)| std::ptr::eq(word.word(), way.member.segment.bell())) {
                words.push((way.word(), way.bell));
            }
            owner.reap_if_dead(&way.member);
        }
        Ok(Some(Kept { words, first }))
    }

    fn busy(&self, kept: &Kept, timed_out: bool) -> SpaceError {
        let pin = Box::new(self.owner.describe(&kept.first.member, &kept.first.pin));
        SpaceError::Busy { pin, timed_out }
    }

    fn sleep(&self, words: &[(WordRef, u32)], until: Until) -> Option<Woke> {
        let words: Vec<_> = words.iter().map(|(word, value)| (word.word(), *value)).collect();
        let mut at = self.owner.sleeper.backstop(until.deadline());
        if words.len() > WAIT_ANY_MAX {
            // Those that do not fit into one call are looked at as often as a backstop.
            let backstop = Instant::now() + BACKSTOP;
            at = Some(at.map_or(backstop, |at| at.min(backstop)));
        }
        let woke = self.owner.view.fences.futex().wait_any(&words, at);
        match woke {
            Woke::Interrupted if until.is_interruptible() => Some(woke),
            _ if until.has_passed() => Some(Woke::TimedOut),
            _ => None,
        }
    }
}

impl Drop for SpaceWatch {
    fn drop(&mut self) {
        // ORDER: relaxed; who still sees it wakes somebody for nothing.
        self.owner.busy.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for SpaceWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpaceWatch").field("seen", &self.seen).finish()
    }
}

impl Owner {
    /// Tells who waits for space to try again, after blocks were put back in a way that only the caller knows.
    pub(super) fn came_free(&self) {
        // ORDER: pairs with the fence in `SpaceWatch::new`: either that watch is seen below, or its caller's attempt sees
        // what came free before this (V1).
        self.view.fences.light(Site::SpaceGiven);
        self.announce_space();
    }

    /// The same after a change of the busy extents: with `returning` in hand, or after the set was locked. What `space`
    /// was before, if anybody watches.
    ///
    /// It needs no fence of its own: who watches takes the same lock before he sleeps. Either he does so later, and sees
    /// the change, or his watch is seen here.
    pub(super) fn announce_space(&self) -> Option<u32> {
        // ORDER: relaxed, as said.
        let is_watched = self.busy.watching.load(Ordering::Relaxed) > 0;
        is_watched.then(|| self.view.fences.ring(Site::WakeSpace, &self.busy.space) as u32)
    }

    fn space_word(&self) -> WordRef {
        WordRef::Own(Arc::clone(&self.busy.space))
    }

    /// Looks through what is durable; and whether that is more than was known.
    fn durable_extents(&self, durable_up_to: CommitId) -> (bool, Durable) {
        let mut set = lock(&self.busy.set);
        let became_durable = set.note_durable(durable_up_to);
        let (mut free, mut kept): (bool, Vec<(u64, InTheWay)>) = (false, Vec::new());
        for object in &set.ready {
            let Some(parked) = set.by_object.get(object) else { continue };
            // Bells before slots: a pin that leaves after this changes one of them.
            let reachers = self.reachers(*object, parked);
            for (parked, pieces) in parked.iter().zip(reached_pieces(parked, &reachers)) {
                if parked.commit <= set.durable {
                    free |= union(pieces.iter().map(|(piece, _)| piece.clone())) < parked.extent.len();
                    kept.extend(pieces.iter().map(|(_, who)| (parked.commit, reachers[*who].way.clone())));
                }
            }
        }
        kept.sort_by_key(|(commit, _)| *commit);
        let durable = match (free, kept.is_empty()) {
            (true, _) => Durable::Free,
            (false, true) => Durable::Nothing { not_durable: set.not_durable() },
            (false, false) => Durable::Kept(kept.into_iter().map(|(_, way)| way).collect()),
        };
        (became_durable, durable)
    }
}
