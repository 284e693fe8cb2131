//! What one process sees of an area: the header, how to fence, what time it is.

use crate::sync::{Arc, Ordering, ProcessClock};

use super::fences::Fences;
use super::header::{Cell, Header, OWNER_SERVES};
use super::words::At;

/// Whether a process, or the one that owns an area, still runs.
pub(crate) trait Liveness: Send + Sync {
    /// False once every thread of the process has ended. Never true again after that.
    fn is_alive(&self) -> bool;

    /// For people; the process may be gone and its number another's.
    fn pid(&self) -> u32;

    /// The holder is gone, and nothing that it left counts any more: its segment may go too. Called once.
    fn settled(&self) {}
}

/// The area as one process sees it.
pub(crate) struct View {
    pub(crate) header: Header,
    pub(crate) fences: Fences,
    pub(crate) clock: ProcessClock,
    /// Tells the areas of one process apart.
    pub(crate) area: u64,
    pub(crate) limited: bool,
    /// The owner, where it is another process.
    pub(crate) owner: Option<Box<dyn Liveness>>,
}

impl View {
    /// The pid of the owner if it is another process, and dead, or serves the area no more.
    pub(crate) fn dead_owner(&self) -> Option<u32> {
        let owner = self.owner.as_ref()?;
        let serves = self.header.prologue().owner_state.load(Ordering::Acquire) == OWNER_SERVES;
        (!serves || !owner.is_alive()).then(|| owner.pid())
    }
}

/// A file's layout, as pins and breaks name it: a cell of the area, and the id that must be found there.
///
/// Cheap to clone. While the owner's process has one, the cell stays the file's.
#[derive(Clone)]
pub struct Layout {
    pub(crate) object: u64,
    pub(crate) area: u64,
    pub(crate) cell: u32,
    pub(crate) chain: u32,
    /// The cell, in the header of the area that `area` numbers.
    pub(crate) at: At<Cell>,
    /// Gives the cell back when the last handle in the owner's process goes.
    pub(crate) _keep: Option<Arc<dyn Send + Sync>>,
}

impl Layout {
    /// The id under which the owner made it.
    pub fn object(&self) -> u64 {
        self.object
    }

    /// What another process needs to name this layout; send it beside the invitation.
    pub fn token(&self) -> LayoutToken {
        LayoutToken { object: self.object, cell: self.cell }
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("object", &self.object).field("cell", &self.cell).finish()
    }
}

/// Names a layout across processes. Not a right: a token of a file that is gone gets `ESTALE`, never another's blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LayoutToken {
    /// The id under which the owner made the layout.
    pub object: u64,
    /// Its cell in the area.
    pub cell: u32,
}
