//! Links: how nodes get names, and lose them.
//!
//! A link is counted before its name appears, and until after it has gone (N3): so no node ends that a name leads to.

use std::path::Path;
use std::sync::Arc;

use super::Publish;
use super::walk::{PathEnd, Walk};
use crate::error::NameError;
use crate::file::{File, evict};
use crate::medium::record::{Entry, Made};
use crate::moments::{Moment, pass};
use crate::node::{FileBody, Kind, Node};
use crate::pool::Shared;

impl Shared {
    /// Gives an open file without a name one, atomically. What it replaces goes as by an unlink; a symbolic link at
    /// the end of the path is replaced, not followed.
    pub(crate) fn publish(self: &Arc<Self>, path: &Path, node: &Arc<Node>, how: Publish) -> Result<(), NameError> {
        let end = Walk::new(self, path)?.end()?;
        node.add_first_link();
        self.give_name(&end, node, None, how)
    }

    /// A new file. It is open before it is seen, so that it cannot end under its caller's hands.
    pub(super) fn create_at(self: &Arc<Self>, end: &PathEnd<'_>) -> Result<File, NameError> {
        if end.slash && end.name().is_some() {
            return Err(end.error(NameError::IsDirectory));
        }
        let node = self.new_node(Kind::File(FileBody::default()));
        let file = File::open_unnamed(self, &node);
        node.add_first_link();
        self.give_name(end, &node, Some(Made::File), Publish::New)?;
        Ok(file)
    }

    /// A new node that is no file.
    pub(super) fn add_new(self: &Arc<Self>, end: &PathEnd<'_>, kind: Kind) -> Result<(), NameError> {
        let node = self.new_node(kind);
        node.add_first_link();
        let made = match &node.kind {
            Kind::File(_) => Made::File,
            Kind::Directory(_) => Made::Directory,
            Kind::Symlink(target) => Made::Symlink(target),
            Kind::Special(special) => Made::Special(*special),
        };
        self.give_name(end, &node, Some(made), Publish::New)
    }

    /// Gives a node, whose link is counted already, its name; takes the count back if it gets none (N3). `made` says what
    /// the node is, if the log does not know it yet.
    pub(super) fn give_name(
        self: &Arc<Self>,
        end: &PathEnd<'_>,
        node: &Arc<Node>,
        made: Option<Made<'_>>,
        how: Publish,
    ) -> Result<(), NameError> {
        match end.add(self, node, made, how) {
            Ok(None) => Ok(()),
            Ok(Some(replaced)) => {
                settle(self, &replaced);
                Ok(())
            }
            Err(error) => {
                settle(self, node);
                Err(error)
            }
        }
    }
}

impl PathEnd<'_> {
    /// Refuses what could be no new name for anything but a directory.
    pub(super) fn check_free(&self) -> Result<(), NameError> {
        match self.name().map(|name| self.dir.get(name)) {
            None | Some(Some(_)) => Err(self.error(NameError::Exists)),
            Some(None) if self.slash => Err(self.error(NameError::NotFound)),
            Some(None) => Ok(()),
        }
    }

    /// Makes the name lead to a node; what it led to before.
    fn add(
        &self,
        pool: &Shared,
        node: &Arc<Node>,
        made: Option<Made<'_>>,
        how: Publish,
    ) -> Result<Option<Arc<Node>>, NameError> {
        let name = self.name().ok_or_else(|| self.error(NameError::Exists))?;
        let record = pool.journal.prepare(|draft| {
            let (dir, node) = (self.dir.id().0, node.id.0);
            made.into_iter().for_each(|made| draft.add(Entry::Make { node, made }));
            draft.add(Entry::Name { dir, name, node });
        })?;
        pass(Moment::Found);
        let mut entries = self.dir.lock();
        match entries.get(name) {
            Some(_) if how == Publish::New => return Err(self.error(NameError::Exists)),
            Some(old) if old.directory().is_some() => return Err(self.error(NameError::IsDirectory)),
            Some(_) if self.slash => return Err(self.error(NameError::NotDirectory)),
            None if self.slash && node.directory().is_none() => return Err(self.error(NameError::NotFound)),
            None if entries.removed() => return Err(self.error(NameError::NotFound)),
            _ => (),
        }
        if made.is_some() {
            node.modified_at(record.time());
        }
        let replaced = self.dir.put(&mut entries, name, node, record.time());
        record.append(&pool.region);
        replaced.iter().for_each(|old| self.dir.forget_name(old, name));
        Ok(replaced)
    }
}

/// Counts a name less, and ends the node if that was the last thing that kept it. With no directory locked (N5).
pub(super) fn settle(pool: &Arc<Shared>, node: &Arc<Node>) {
    if node.remove_link() {
        evict(pool, node, None);
    }
}
