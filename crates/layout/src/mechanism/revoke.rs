//! Views: what shows ranges to the host's loads and stores, and is taken away while they are closed.
//! (Linux: `unmap_mapping_range()`.)
//!
//! A view is no pin. It shows its range for as long as nobody changes the layout, and a break takes it away itself, without
//! asking anybody: when the range is closed, and before the change is made.
//!
//! Stays true  V1: what a view shows was put there under a pin of its range, by whoever answers its faults, and stays when
//!                 that pin has left. So once a range is closed and a scan found nobody in it, nobody puts anything there
//!                 until it opens: what is there is all that has to be taken away. (Linux has a lock for this, and must unmap
//!                 before it looks for pins, since its pins are taken out of page tables.)
//!             V2: an access that finds its range closed is told of the opening after the layout word says so.
//! Lock order  none of the mechanism's is held while a view is revoked. While its users are told of the opening, the caller of
//!             `commit` may hold any of his: so that takes none but its own, for a moment.

use std::ops::Range;

use crate::sync::{Arc, lock};

use super::owner::{Owner, Target};

/// The views of an area's objects, as its breaks see them. One implementation for all of them.
pub trait Views: Send + Sync {
    /// Takes away what shows any of the range. When it returns, no load and no store gets through any more; each waits for
    /// [`Views::reopened`], or finds the range closed and leaves.
    ///
    /// # Errors
    /// [`NotRevoked`]: the break fails with it, and has changed nothing.
    fn revoke(&self, object: u64, range: Range<u64>) -> Result<(), NotRevoked>;

    /// The range was closed, and is open: what waits there is tried again. Also called where nothing was revoked.
    fn reopened(&self, object: u64, range: Range<u64>);
}

/// Why views still show what they showed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct NotRevoked {
    /// For people.
    pub why: String,
    /// The number for a face.
    pub errno: i32,
}

impl Owner {
    /// From now on breaks revoke these.
    pub(crate) fn set_views(&self, views: Arc<dyn Views>) {
        *lock(&self.views) = Some(views);
    }

    /// Takes the views of closed ranges away, in which a scan found nobody (V1).
    pub(crate) fn revoke_views(&self, targets: &[Target]) -> Result<(), NotRevoked> {
        let Some(views) = self.views() else { return Ok(()) };
        targets.iter().try_for_each(|target| views.revoke(target.layout.object, target.start..target.end))
    }

    /// Tells views that ranges are open again (V2).
    pub(crate) fn reopen_views(&self, targets: &[Target]) {
        if let Some(views) = self.views() {
            targets.iter().for_each(|target| views.reopened(target.layout.object, target.start..target.end));
        }
    }

    fn views(&self) -> Option<Arc<dyn Views>> {
        lock(&self.views).clone()
    }
}
