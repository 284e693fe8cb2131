//! A file that is open: its handle, its layout, its end.
//!
//! Stays true  F1: all handles of a file share one [`OpenFile`], and with it one layout.
//!             F2: when the last handle of a file without a name goes, the file goes: blocks that a transfer reaches are
//!                 parked, and nobody waits.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use pinfold_layout::{Access, AreaError, Effect, Extent, Layout, Policy, Until};

use crate::error::JournalError;
use crate::extents::Piece;
use crate::inode::Inode;
use crate::journal::Prepared;
use crate::lock::{lock, read, write};
use crate::medium::record::Entry;
use crate::node::{FileBody, FileId, FileMap, Metadata, Node};
use crate::pinning::{Pinning, Want};
use crate::pool::Shared;

/// A file of a pool. Cheap to clone; all clones are one open file.
#[derive(Clone)]
pub struct File {
    pub(crate) open: Arc<OpenFile>,
}

/// What all handles of a file share while it is open.
pub(crate) struct OpenFile {
    pub(crate) pool: Arc<Shared>,
    pub(crate) node: Arc<Node>,
    layout: OnceLock<Layout>,
}

/// A part of a file that is made of blocks in a row. In bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileExtent {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is, to the end of its last block.
    pub len: u64,
    /// Where it begins in the pool's region.
    pub place: u64,
    /// Whether it holds bytes. If not, it is set aside, and reads as zeros.
    pub written: bool,
}

impl File {
    /// Opens a node that is a file. `None` if its life is over, if it is reserved, or if it is none.
    pub(crate) fn open(pool: &Arc<Shared>, node: &Arc<Node>) -> Option<Self> {
        node.file()?;
        let mut life = lock(&node.life);
        if life.reserved {
            return None;
        }
        if let Some(open) = life.current.upgrade() {
            return Some(Self { open });
        }
        if life.is_over() {
            return None;
        }
        Some(Self::enter(pool, node, &mut life))
    }

    /// Opens a node that has no name yet.
    pub(crate) fn open_unnamed(pool: &Arc<Shared>, node: &Arc<Node>) -> Self {
        Self::enter(pool, node, &mut lock(&node.life))
    }

    fn enter(pool: &Arc<Shared>, node: &Arc<Node>, life: &mut crate::node::Life) -> Self {
        let open = Arc::new(OpenFile { pool: Arc::clone(pool), node: Arc::clone(node), layout: OnceLock::new() });
        life.opens += 1;
        life.current = Arc::downgrade(&open);
        Self { open }
    }

    /// Which file it is, whatever its name.
    pub fn id(&self) -> FileId {
        self.open.node.id
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a file is asked how long it is, not whether it is")]
    pub fn len(&self) -> u64 {
        read(&self.open.body().map).len
    }

    /// What it is beside its bytes.
    pub fn inode(&self) -> Inode {
        Inode::of(&self.open.pool, Arc::clone(&self.open.node))
    }

    /// What is known of it.
    pub fn metadata(&self) -> Metadata {
        self.open.node.metadata(self.open.pool.block)
    }

    /// The pool.
    pub fn pool(&self) -> crate::Pool {
        crate::Pool::of(&self.open.pool)
    }

    /// A pin of a range of bytes, for a device that reads or writes it ([`Access`] is the device's). It has to end with
    /// one of its four forms:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pinfold::{Access, Pool, Region};
    ///
    /// let pool = Pool::new(Region::memfd(16 << 20)?)?;
    /// let file = pool.create("/frame")?;
    /// file.truncate(1 << 20).wait()?;
    /// let pinned = file.pin(0..65536, Access::Write).labelled("camera 0", "frame 17")?.wait()?;
    /// for segment in pinned.segments() {
    ///     // Tell the device: `segment.len` bytes at `segment.address`.
    /// }
    /// drop(pinned); // once the device is done
    /// # Ok(()) }
    /// ```
    pub fn pin(&self, range: Range<u64>, access: Access) -> Pinning<'_> {
        Pinning::of(Want::of(self, range, access))
    }

    /// What it is made of, in order. Where nothing is listed is a hole.
    pub fn extents(&self) -> Vec<FileExtent> {
        let block = self.open.pool.block;
        let map = read(&self.open.body().map);
        let runs = map.extents.runs().map(|(at, run)| FileExtent {
            offset: block.offset(at),
            len: block.offset(run.len),
            place: block.offset(run.block),
            written: run.holds_bytes(),
        });
        runs.collect()
    }

    /// The first byte at `offset` or later that lies in a block with data. `None` if there is none before the end.
    pub fn seek_data(&self, offset: u64) -> Option<u64> {
        self.seek(offset, |piece| piece.bytes_at().is_some())
    }

    /// The first byte at `offset` or later that lies in a hole; the end of the file counts as one. `None` past the end.
    pub fn seek_hole(&self, offset: u64) -> Option<u64> {
        let found = self.seek(offset, |piece| piece.bytes_at().is_none());
        found.or_else(|| Some(self.len()).filter(|len| offset < *len))
    }

    fn seek(&self, offset: u64, wanted: impl Fn(&Piece) -> bool) -> Option<u64> {
        let block = self.open.pool.block;
        let map = read(&self.open.body().map);
        let blocks = block.outward(&(offset..map.len));
        let piece = map.extents.pieces(blocks).find(wanted)?;
        Some(block.offset(piece.at).max(offset)).filter(|found| *found < map.len)
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("id", &self.id()).field("len", &self.len()).finish()
    }
}

impl OpenFile {
    /// Appends the record of a change that the map, locked, has already.
    pub(crate) fn note(&self, record: Prepared<'_>, map: &mut FileMap) {
        self.node.modified_at(record.time());
        map.position = record.append(&self.pool.region);
    }

    pub(crate) fn body(&self) -> &FileBody {
        self.node.file().expect("only files are opened")
    }

    /// The file's layout, for copies, which are over when the file is closed. It has state from the first of them on
    /// until then.
    #[inline]
    pub(crate) fn layout(&self) -> Result<&Layout, AreaError> {
        match self.layout.get() {
            Some(layout) => Ok(layout),
            None => self.first_layout(),
        }
    }

    #[cold]
    fn first_layout(&self) -> Result<&Layout, AreaError> {
        let layout = self.pool.area.layout(self.node.id.0)?;
        Ok(self.layout.get_or_init(|| layout))
    }

    /// The file's layout, for pins that may outlive its handles.
    pub(crate) fn layout_for_pins(&self) -> Result<&Layout, AreaError> {
        let exposed = &self.body().exposed;
        // ORDER: relaxed; it is read after `life` was locked for the end of this handle. Looked at first, so that the
        // pins of one file write no line that they share.
        if !exposed.load(Ordering::Relaxed) {
            exposed.store(true, Ordering::Relaxed);
        }
        self.layout()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let over = {
            let mut life = lock(&self.node.life);
            life.opens -= 1;
            life.is_over()
        };
        if over {
            evict(&self.pool, &self.node, self.layout.get());
        }
    }
}

/// Ends a node whose life is over (M3): nobody names it and nobody has it open. Waits for no transfer (F2).
pub(crate) fn evict(pool: &Arc<Shared>, node: &Arc<Node>, layout: Option<&Layout>) {
    let ended = match node.file() {
        Some(body) => end_file(pool, node, body, layout),
        None => pool.journal.prepare_one(Entry::End { node: node.id.0 }).map_err(|_| EvictError).map(|record| {
            record.append(&pool.region);
        }),
    };
    match ended {
        // Not before: a checkpoint has a node until the log says that it ended.
        Ok(()) => pool.nodes.forget(node.id),
        // No place for a break or a layout at the moment: the blocks stay where they are, and it is tried again.
        Err(EvictError) => lock(&pool.to_evict).push(Arc::clone(node)),
    }
}

fn end_file(pool: &Arc<Shared>, node: &Arc<Node>, body: &FileBody, layout: Option<&Layout>) -> Result<(), EvictError> {
    let record = pool.journal.prepare_one(Entry::End { node: node.id.0 })?;
    let Some(unseen) = body.take_unseen(node.id, &pool.pinned_by_others) else {
        return detach_all(pool, node, body, layout, record);
    };
    let position = record.append(&pool.region);
    let runs = unseen.into_iter().map(|extent: Extent| extent.block..extent.block + extent.len());
    match pool.journal.flushes() {
        true => pool.allocator.give_back_at(position, runs.collect()),
        false => pool.allocator.give_back_unexposed(runs),
    }
    Ok(())
}

/// Takes all blocks out of a file that nobody can open any more.
fn detach_all(
    pool: &Shared,
    node: &Node,
    body: &FileBody,
    layout: Option<&Layout>,
    record: Prepared<'_>,
) -> Result<(), EvictError> {
    let layout = match layout {
        Some(layout) => layout.clone(),
        None => pool.area.layout(node.id.0)?,
    };
    let mut brk = pool.area.break_layout(&[(&layout, 0..u64::MAX)], Policy::Detach, Effect::Frees)?;
    let idle = brk.drain(Until::done())?;
    // Before the log, as everywhere: a sync may be about to say something of it.
    let mut map = write(&body.map);
    record.commit(&pool.region, idle, || map.take_all(node.id));
    drop(map);
    pool.allocator.reap();
    Ok(())
}

struct EvictError;

impl From<JournalError> for EvictError {
    fn from(_: JournalError) -> Self {
        Self
    }
}

impl From<AreaError> for EvictError {
    fn from(_: AreaError) -> Self {
        Self
    }
}

impl From<pinfold_layout::BreakError> for EvictError {
    fn from(_: pinfold_layout::BreakError) -> Self {
        Self
    }
}
