//! Links: how nodes get names, and lose them.
//!
//! A link is counted before its name appears, and until after it has gone (N3): so no node ends that a name leads to.

use std::path::Path;
use std::sync::Arc;

use super::Publish;
use super::directory::{Dir, Locked};
use super::path::Last;
use super::walk::{PathEnd, Walk};
use crate::error::NameError;
use crate::file::{File, evict};
use crate::lock::lock;
use crate::medium::attributes::{More, Settings};
use crate::medium::record::{Entry, Made};
use crate::moments::{Moment, pass};
use crate::node::{FileBody, Kind, Node};
use crate::pool::Shared;

/// What the log has to be told of a node that gets its first name.
#[derive(Clone, Copy)]
pub(super) struct New<'n> {
    made: Made<'n>,
    settings: &'n Settings,
}

impl Shared {
    /// Gives an open file without a name one, atomically. What it replaces goes as by an unlink; a symbolic link at
    /// the end of the path is replaced, not followed.
    pub(crate) fn publish(self: &Arc<Self>, path: &Path, node: &Arc<Node>, how: Publish) -> Result<(), NameError> {
        let end = Walk::new(self, path)?.end()?;
        node.add_first_link();
        self.give_name(&end, node, None, how)
    }

    /// A new file. It is open before it is seen, so that it cannot end under its caller's hands.
    pub(super) fn create_at(self: &Arc<Self>, end: &PathEnd<'_>, settings: &Settings) -> Result<File, NameError> {
        if end.slash && end.name().is_some() {
            return Err(end.error(NameError::IsDirectory));
        }
        let node = self.new_node(Kind::File(FileBody::default()));
        let file = File::open_unnamed(self, &node);
        node.add_first_link();
        self.give_name(end, &node, Some(New { made: Made::File, settings }), Publish::New)?;
        Ok(file)
    }

    /// A new node that is no file.
    pub(super) fn add_new(
        self: &Arc<Self>,
        end: &PathEnd<'_>,
        kind: Kind,
        settings: &Settings,
    ) -> Result<Arc<Node>, NameError> {
        let node = self.new_node(kind);
        node.add_first_link();
        let made = match &node.kind {
            Kind::File(_) => Made::File,
            Kind::Directory(_) => Made::Directory,
            Kind::Symlink(target) => Made::Symlink(target),
            Kind::Special(special) => Made::Special(*special),
        };
        self.give_name(end, &node, Some(New { made, settings }), Publish::New)?;
        Ok(node)
    }

    /// One more name for a node that is no directory. `None` if its life is over.
    pub(super) fn link_at(self: &Arc<Self>, end: &PathEnd<'_>, node: &Arc<Node>) -> Option<Result<(), NameError>> {
        node.add_link().then(|| self.give_name(end, node, None, Publish::New))
    }

    /// Removes the name of what is no directory.
    pub(super) fn unlink_at(self: &Arc<Self>, end: &PathEnd<'_>) -> Result<(), NameError> {
        let name = end.name().ok_or_else(|| end.error(NameError::IsDirectory))?;
        let record = self.journal.prepare_one(Entry::Unname { dir: end.dir.id().0, name })?;
        pass(Moment::Found);
        let unlinked = {
            let mut entries = end.dir.lock();
            match entries.get(name) {
                Some(node) if node.directory().is_some() => return Err(end.error(NameError::IsDirectory)),
                Some(_) if end.slash => return Err(end.error(NameError::NotDirectory)),
                _ => {}
            }
            let unlinked =
                end.dir.take_out(&mut entries, name, record.time()).ok_or_else(|| end.error(NameError::NotFound))?;
            record.append(&self.region);
            unlinked
        };
        settle(self, &unlinked);
        Ok(())
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir_at(self: &Arc<Self>, end: &PathEnd<'_>) -> Result<(), NameError> {
        let name = match end.last {
            Last::Name(name) => name,
            Last::Here => return Err(end.refused("a directory is not removed by the name `.`")),
            Last::Parent => return Err(end.error(NameError::NotEmpty)),
            Last::Root => return Err(end.error(NameError::Fixed)),
        };
        loop {
            let node = end.node(self)?;
            let removed = Dir::of(Arc::clone(&node)).ok_or_else(|| end.error(NameError::NotDirectory))?;
            let record = self.journal.prepare_one(Entry::Unname { dir: end.dir.id().0, name })?;
            pass(Moment::Found);
            let mut locked = Locked::new([&end.dir, &removed]);
            if !locked.of(&end.dir).get(name).is_some_and(|now| Arc::ptr_eq(now, &node)) {
                continue;
            }
            if !locked.of(&removed).is_empty() {
                return Err(end.error(NameError::NotEmpty));
            }
            locked.of(&removed).end_directory();
            end.dir.take_out(locked.of(&end.dir), name, record.time());
            record.append(&self.region);
            drop(locked);
            settle(self, &node);
            return Ok(());
        }
    }

    /// Gives a node, whose link is counted already, its name; takes the count back if it gets none (N3). `new` says what
    /// the node is, if the log does not know it yet.
    pub(super) fn give_name(
        self: &Arc<Self>,
        end: &PathEnd<'_>,
        node: &Arc<Node>,
        new: Option<New<'_>>,
        how: Publish,
    ) -> Result<(), NameError> {
        match end.add(self, node, new, how) {
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
        new: Option<New<'_>>,
        how: Publish,
    ) -> Result<Option<Arc<Node>>, NameError> {
        let name = self.name().ok_or_else(|| self.error(NameError::Exists))?;
        let record = pool.journal.prepare(|draft| {
            let (dir, node) = (self.dir.id().0, node.id.0);
            if let Some(New { made, settings }) = new {
                draft.add(Entry::Make { node, made });
                settings.is_any().then(|| draft.add(Entry::Set { node, settings: *settings }));
            }
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
        if let Some(New { settings, .. }) = new {
            node.modified_at(record.time());
            node.set_times(settings.modified, record.time());
            More::set(&mut lock(&node.more), settings);
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
