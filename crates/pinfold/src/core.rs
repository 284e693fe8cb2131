//! What of a pool lies under its handles: memory, blocks, nodes, and the way to the medium.
//!
//! The keeper works on it while the pool is open, and has nothing else: so the last handle of a pool, and not the keeper,
//! ends the layout area and the claim.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use pinfold_region::Region;

use crate::allocator::Allocator;
use crate::by_id::ById;
use crate::cold::Cold;
use crate::error::JournalError;
use crate::journal::Journal;
use crate::lock::lock;
use crate::moments::{Moment, pass};
use crate::names::warm;
use crate::node::{FileId, Kind, Node};
use crate::units::BlockSize;

/// What the handles of a pool and its keeper share.
pub(crate) struct Core {
    pub(crate) block: BlockSize,
    pub(crate) journal: Journal,
    pub(crate) allocator: Allocator,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) last_id: AtomicU64,
    /// Files with bytes that are not durable, in a pool whose memory has to be flushed.
    pub(crate) to_sync: Mutex<Vec<Weak<Node>>>,
    /// Held by who syncs all of them: another one's list is of files that are still on their way.
    pub(crate) syncing: Mutex<()>,
    /// Whether files may be pinned by other processes, or by who was given the layout area, and not through their
    /// handles alone.
    pub(crate) pinned_by_others: AtomicBool,
    pub(crate) region: Region,
}

impl Core {
    /// A new node, in the table.
    pub(crate) fn new_node(&self, kind: Kind) -> Arc<Node> {
        // ORDER: relaxed; only that no number is given twice matters.
        let id = FileId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let node = Node::new(id, kind);
        self.nodes.add(&node);
        node
    }

    /// The largest id that was given.
    pub(crate) fn last_node(&self) -> u64 {
        // ORDER: relaxed; whoever is in the table was given his number before he came there, under its lock.
        self.last_id.load(Ordering::Relaxed)
    }

    /// Makes all records durable that were appended before this, and gives back what they freed.
    pub(crate) fn flush_log(&self) -> Result<(), JournalError> {
        let durable = self.journal.flush(&self.region)?;
        self.allocator.note_durable(durable);
        Ok(())
    }
}

/// Finds nodes by their ids.
pub(crate) struct Nodes {
    shards: [Mutex<ById<Weak<Node>>>; SHARDS],
    /// Those that are not in the table yet.
    cold: Option<Cold>,
}

/// In how many parts the table lies, each with a lock of its own.
const SHARDS: usize = 64;

impl Default for Nodes {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), cold: None }
    }
}

impl Nodes {
    /// A table of a pool that is being opened.
    pub(crate) fn with_cold(cold: Cold) -> Self {
        Self { cold: Some(cold), ..Self::default() }
    }

    /// The nodes that are not in the table yet, if there ever were any.
    pub(crate) fn cold(&self) -> Option<&Cold> {
        self.cold.as_ref()
    }

    fn shard(&self, id: FileId) -> &Mutex<ById<Weak<Node>>> {
        &self.shards[(id.0 % SHARDS as u64) as usize]
    }

    pub(crate) fn add(&self, node: &Arc<Node>) {
        lock(self.shard(node.id)).insert(node.id.0, Arc::downgrade(node));
    }

    pub(crate) fn forget(&self, id: FileId) {
        lock(self.shard(id)).remove(&id.0);
    }

    /// A node that is in the table.
    pub(crate) fn known(&self, id: FileId) -> Option<Arc<Node>> {
        lock(self.shard(id)).get(&id.0)?.upgrade()
    }

    /// With no directory locked: a cold node is warmed, with all that lies beside it.
    pub(crate) fn get(&self, id: FileId) -> Option<Arc<Node>> {
        self.known(id).or_else(|| {
            pass(Moment::Unknown);
            self.cold.as_ref()?.warm(id);
            self.known(id)
        })
    }

    /// Every node that is in the table, in no order, in parts.
    pub(crate) fn by_shard(&self) -> impl Iterator<Item = Vec<Arc<Node>>> {
        self.shards.iter().map(|shard| lock(shard).values().filter_map(Weak::upgrade).collect())
    }

    /// Every node there is, in no order. Then none is cold. With no directory locked.
    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        let directories = self.cold.iter().flat_map(Cold::directories);
        directories.for_each(|directory| warm(&directory));
        self.by_shard().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, Region};

    /// Else the memory of every node that ever was would stay.
    #[test]
    fn what_has_ended_leaves_the_table() {
        let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
        let entries = || pool.shared.nodes.shards.iter().map(|shard| lock(shard).len()).sum::<usize>();
        let before = entries();
        let open = pool.create("/open").unwrap();
        pool.create("/written").unwrap().write_at(0, b"bytes").unwrap();
        pool.create_dir("/dir").unwrap();
        pool.symlink("open", "/link").unwrap();
        drop(pool.reserve(4096).try_now().unwrap());
        assert_eq!(entries(), before + 4);
        ["/open", "/written", "/link"].iter().for_each(|path| pool.unlink(path).unwrap());
        pool.remove_dir("/dir").unwrap();
        drop(open);
        assert_eq!(entries(), before);
    }
}
