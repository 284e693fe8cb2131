//! The keeper: a thread of each lasting pool. It takes checkpoints when the log fills, and now and then makes durable what
//! nobody asked for.
//!
//! It has the pool's [`Core`] and nothing else, and never opens a file: no file ends in its hands, for that would wait for
//! the checkpoint which only it can take. Nor does it wait for room in the log.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Live, Work};
use crate::core::Core;
use crate::error::JournalError;
use crate::lock::lock;
use crate::sync::Room;

/// The thread. It has ended when this was dropped.
pub(crate) struct Keeper {
    live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// A keeper for a pool with a medium. It syncs every `interval`, if there is one.
    pub(crate) fn start(core: &Arc<Core>, interval: Option<Duration>) -> io::Result<Option<Self>> {
        let Some(live) = &core.journal.live else { return Ok(None) };
        let kept = Arc::clone(core);
        let builder = std::thread::Builder::new().name("pinfold-keeper".into());
        let thread = builder.spawn(move || keep(&kept, interval))?;
        Ok(Some(Self { live: Arc::clone(live), thread: Some(thread) }))
    }

    /// In a child of the process that started it there is no such thread, and nothing to wait for.
    pub(crate) fn forget(mut self) {
        std::mem::forget(self.thread.take());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        lock(&self.live.signals).over = true;
        self.live.changed.notify_all();
        // It panics at nothing; and if it did, nothing of its could be mended here.
        let _ = thread.join();
    }
}

fn keep(core: &Core, interval: Option<Duration>) {
    let Some(live) = &core.journal.live else { return };
    loop {
        // What fails is told to whoever waits for room, syncs, or changes something next.
        let _ = match live.await_work(interval) {
            Work::Over => return,
            Work::Checkpoint => core.journal.checkpoint(core),
            Work::Sync => sync(core),
        };
    }
}

fn sync(core: &Core) -> Result<(), JournalError> {
    while !core.sync_all(Room::Try)? {
        core.journal.checkpoint(core)?;
    }
    Ok(())
}
