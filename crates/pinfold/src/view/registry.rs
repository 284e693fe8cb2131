//! Who has views of what: of a file, for those who change it; and at an address, for faults and for who pins addresses.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use pinfold_layout::{NotRevoked, Views};

use super::shown::Shown;
use crate::core::Nodes;
use crate::lock::{lock, read, write};
use crate::node::FileId;

/// The views of this process, by their first address.
static BY_ADDRESS: RwLock<BTreeMap<usize, (usize, Weak<Shown>)>> = RwLock::new(BTreeMap::new());
/// How many there are.
static VIEWS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn add(shown: &Arc<Shown>) {
    let addresses = addresses_of(shown);
    write(&BY_ADDRESS).insert(addresses.start, (addresses.end, Arc::downgrade(shown)));
    // ORDER: relaxed; who is given an address of the view knows of it from whoever made the view.
    VIEWS.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn remove(shown: &Arc<Shown>) {
    if write(&BY_ADDRESS).remove(&addresses_of(shown).start).is_some() {
        VIEWS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn addresses_of(shown: &Shown) -> Range<usize> {
    let base = shown.window.base().addr().get();
    base..base + shown.window.len() as usize
}

/// The view that has an address.
pub(super) fn at(address: usize) -> Option<Arc<Shown>> {
    let views = read(&BY_ADDRESS);
    let (_, (end, shown)) = views.range(..=address).next_back()?;
    (address < *end).then(|| shown.upgrade())?
}

/// All views of this process.
pub(super) fn all() -> Vec<Arc<Shown>> {
    read(&BY_ADDRESS).values().filter_map(|(_, shown)| shown.upgrade()).collect()
}

/// Whether a part of memory is a view's: whoever touches it may sleep until a fault is answered, and that takes a file's
/// `populate`.
#[inline]
pub(crate) fn is_in_a_view(bytes: &[u8]) -> bool {
    VIEWS.load(Ordering::Relaxed) > 0 && meets_a_view(bytes.as_ptr_range())
}

#[cold]
fn meets_a_view(bytes: Range<*const u8>) -> bool {
    let views = read(&BY_ADDRESS);
    let last = views.range(..bytes.end.addr()).next_back();
    last.is_some_and(|(_, (end, _))| *end > bytes.start.addr())
}

/// The views of one file. Most files never have one, and there are many files.
#[derive(Default)]
pub(crate) struct FileViews {
    viewed: OnceLock<Box<Viewed>>,
    /// Whether bytes past the end may be other than zeros (node, M2): a page is mapped whole. A former owner may have left it so.
    past_the_end: AtomicBool,
}

/// What is kept of a file from its first view on.
#[derive(Default)]
struct Viewed {
    count: AtomicUsize,
    list: Mutex<Vec<Weak<Shown>>>,
    /// Held by everybody who answers a fault, around the pin of what he shows.
    answers: RwLock<()>,
}

impl FileViews {
    pub(super) fn add(&self, shown: &Arc<Shown>) {
        let viewed = self.viewed.get_or_init(Box::default);
        let mut list = lock(&viewed.list);
        list.push(Arc::downgrade(shown));
        // ORDER: relaxed. Whoever has to know of a view takes a lock that its faults took after this: `populate`, or the map's.
        viewed.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, shown: &Arc<Shown>) {
        let Some(viewed) = self.viewed.get() else { return };
        let mut list = lock(&viewed.list);
        let had = list.len();
        list.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(shown)));
        viewed.count.fetch_sub(had - list.len(), Ordering::Relaxed);
    }

    /// If the file has views at this moment.
    fn now(&self) -> Option<&Viewed> {
        self.viewed.get().map(|viewed| &**viewed).filter(|viewed| viewed.count.load(Ordering::Relaxed) > 0)
    }

    /// Those there are now.
    pub(super) fn all(&self) -> Vec<Arc<Shown>> {
        let all = |viewed: &Viewed| lock(&viewed.list).iter().filter_map(Weak::upgrade).collect();
        self.now().map(all).unwrap_or_default()
    }

    /// To be held around the pin of an answer to a fault.
    pub(super) fn answering(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.viewed.get().map(|viewed| read(&viewed.answers))
    }

    /// While this is held nobody answers a fault. Those who do are waited for, and they wait for nobody who could hold this.
    ///
    /// For who only looks whether a range is idle: an answer holds more than what was touched, and is nobody that he could know of.
    pub(crate) fn no_answers(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.now().map(|viewed| write(&viewed.answers))
    }

    /// Whether somebody waits in [`FileViews::no_answers`] or has come through.
    #[cfg(test)]
    pub(super) fn are_stopped(&self) -> bool {
        self.now().is_some_and(|viewed| viewed.answers.try_read().is_err())
    }

    /// Takes away zeros that are shown of file blocks that are about to hold bytes. The caller holds `populate`.
    pub(crate) fn hide_zeros(&self, blocks: &Range<u64>) -> Result<(), NotRevoked> {
        self.all().iter().try_for_each(|shown| shown.hide_zeros(blocks))
    }

    /// The file has become longer.
    pub(crate) fn grown(&self) {
        self.all().iter().for_each(|shown| shown.grown());
    }

    /// The places in the region that views may store into at this moment, at any moment.
    pub(crate) fn writable_places(&self) -> Vec<Range<u64>> {
        self.all().iter().flat_map(|shown| shown.writable_places()).collect()
    }

    /// From here on bytes past the end may be other than zeros.
    pub(crate) fn may_store_past_the_end(&self) {
        // ORDER: relaxed; who stores there while the file becomes longer races with that in any case.
        self.past_the_end.store(true, Ordering::Relaxed);
    }

    /// Whether they may: asked by who makes them zeros before the file becomes longer. They stay zeros if nobody has a view.
    pub(crate) fn take_stored_past_the_end(&self) -> bool {
        if !self.past_the_end.load(Ordering::Relaxed) {
            return false;
        }
        // In this order, so that a view that comes in between says so after this.
        self.past_the_end.store(false, Ordering::Relaxed);
        if self.now().is_some() {
            self.past_the_end.store(true, Ordering::Relaxed);
        }
        true
    }
}

/// What a pool's breaks know of its views.
pub(super) struct OfPool {
    pub(super) nodes: Arc<Nodes>,
}

impl OfPool {
    fn of(&self, object: u64) -> Vec<Arc<Shown>> {
        let node = self.nodes.known(FileId(object));
        node.and_then(|node| Some(node.file()?.views.all())).unwrap_or_default()
    }
}

impl Views for OfPool {
    fn revoke(&self, object: u64, blocks: Range<u64>) -> Result<(), NotRevoked> {
        self.of(object).iter().try_for_each(|shown| shown.revoke(&blocks))
    }

    fn reopened(&self, object: u64, blocks: Range<u64>) {
        self.of(object).iter().for_each(|shown| shown.wake(&blocks));
    }
}
