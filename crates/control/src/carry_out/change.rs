//! Changes of a file's length and layout, in the forms that a request can ask for (G6).

use std::path::Path;

use pinfold::{Allocation, Change, File, SpaceError};
use rustix::io::Errno;

use super::Task;
use crate::answer::Answer;
use crate::asker::Ended;
use crate::refusal::Refusal;
use crate::request::{FileChange, Policy, Waiting};

/// A change that is not made yet.
enum Prepared<'f> {
    Layout(Change<'f>),
    Space(Allocation<'f>),
}

impl Task<'_> {
    pub(super) fn change(
        &self,
        path: &Path,
        create: bool,
        change: &FileChange,
        waiting: Waiting,
    ) -> Result<Answer, Refusal> {
        let file = if create { self.pool.open_or_create(path)? } else { self.pool.open(path)? };
        let changed = match prepare(&file, change) {
            Prepared::Layout(of_layout) => self.change_layout(&file, change, of_layout, waiting),
            Prepared::Space(allocation) => self.allocate(&file, change, allocation, waiting),
        };
        changed.map(|()| Answer::Done).map_err(|refusal| refusal.about(path))
    }

    fn change_layout(
        &self,
        file: &File,
        asked: &FileChange,
        change: Change<'_>,
        waiting: Waiting,
    ) -> Result<(), Refusal> {
        let waits = match waiting.policy {
            Policy::Try => return Ok(change.try_now()?),
            Policy::Detach => change.detach(),
            Policy::Wait => change,
        };
        match self.asker.wait_for(waits.wait_async(), waiting.deadline())? {
            Ended::Ready(changed) => Ok(changed?),
            Ended::Late => last_look(file, asked, waiting.policy),
        }
    }

    fn allocate(
        &self,
        file: &File,
        asked: &FileChange,
        allocation: Allocation<'_>,
        waiting: Waiting,
    ) -> Result<(), Refusal> {
        if waiting.policy == Policy::Try {
            return Ok(allocation.try_now()?);
        }
        match self.asker.wait_for(allocation.wait_async(), waiting.deadline())? {
            Ended::Ready(allocated) => Ok(allocated?),
            Ended::Late => last_look(file, asked, waiting.policy),
        }
    }
}

fn prepare<'f>(file: &'f File, change: &FileChange) -> Prepared<'f> {
    Prepared::Layout(match change {
        FileChange::Truncate { len } => file.truncate(*len),
        FileChange::Punch { range } => file.punch(range.clone()),
        FileChange::Zero { range, keep_size: false } => file.zero(range.clone()),
        FileChange::Zero { range, keep_size: true } => file.zero(range.clone()).keep_size(),
        FileChange::Collapse { range } => file.collapse(range.clone()),
        FileChange::Insert { at, len } => file.insert(*at, *len),
        FileChange::Allocate { range, keep_size } => {
            let allocation = file.allocate(range.clone());
            return Prepared::Space(if *keep_size { allocation.keep_size() } else { allocation });
        }
    })
}

/// The deadline passed: if nothing is in the way any more it is made all the same, and otherwise it is said what is.
fn last_look(file: &File, asked: &FileChange, policy: Policy) -> Result<(), Refusal> {
    let timed_out = |what: &dyn std::fmt::Display| Refusal::of(Errno::TIMEDOUT, format!("timed out: {what}"));
    match prepare(file, asked) {
        Prepared::Layout(change) => {
            let change = if policy == Policy::Detach { change.detach() } else { change };
            match change.try_now() {
                Ok(()) => Ok(()),
                Err(error) if error.errno() == Errno::BUSY.raw_os_error() => Err(timed_out(&error)),
                Err(error) => Err(error.into()),
            }
        }
        Prepared::Space(allocation) => match allocation.try_now() {
            Ok(()) => Ok(()),
            Err(SpaceError::Full(space)) => Err(timed_out(&space)),
            Err(error) => Err(error.into()),
        },
    }
}
