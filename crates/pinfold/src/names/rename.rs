//! Renaming: two names change as one.
//!
//! Which directories have to be locked depends on what the names lead to, and that may change until they are. So a
//! rename looks, locks what it will need in the order that deadlocks nobody, and looks again: if anything is different
//! it starts over, because somebody else got on.

use std::path::Path;
use std::sync::Arc;

use super::directory::{Dir, Locked};
use super::link::settle;
use super::walk::{PathEnd, Walk};
use crate::Pool;
use crate::error::NameError;
use crate::lock::lock;
use crate::medium::record::{Draft, Entry};
use crate::moments::{Moment, pass};
use crate::node::Node;
use crate::pool::Shared;

/// What a rename does with what has the new name already.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Rename {
    /// It loses its name, at the very moment at which the other gets it: a file a file, a directory an empty directory.
    #[default]
    Replace,
    /// Nothing is renamed then.
    NoReplace,
    /// It gets the old name. Both have to be there; of any kind.
    Exchange,
}

/// One rename, as far as paths say.
struct Move<'p> {
    from: PathEnd<'p>,
    from_name: &'p [u8],
    to: PathEnd<'p>,
    to_name: &'p [u8],
    how: Rename,
}

/// What its two names lead to.
struct Found {
    source: Arc<Node>,
    target: Option<Arc<Node>>,
}

impl Pool {
    /// Gives what is called `from` the name `to`, atomically. Symbolic links are renamed, not followed. Two names of
    /// one file stay as they are. Waits for no transfer: blocks of a file that is replaced are parked.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT` without anything to rename, `EEXIST` for [`Rename::NoReplace`], `EISDIR` and `ENOTDIR`
    /// where a directory and something else should replace each other, `ENOTEMPTY` for a directory with entries,
    /// `EINVAL` for a directory that would come to lie in itself, `EBUSY` for `.`, `..` and the root.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, how: Rename) -> Result<(), NameError> {
        let from = Walk::new(&self.shared, from.as_ref())?.end()?;
        let to = Walk::new(&self.shared, to.as_ref())?.end()?;
        self.shared.rename_at(from, to, how)
    }
}

impl Shared {
    pub(super) fn rename_at(
        self: &Arc<Self>,
        from: PathEnd<'_>,
        to: PathEnd<'_>,
        how: Rename,
    ) -> Result<(), NameError> {
        let from_name = from.name().ok_or_else(|| from.error(NameError::Fixed))?;
        let to_name = to.name().ok_or_else(|| match how {
            Rename::NoReplace => to.error(NameError::Exists),
            Rename::Replace | Rename::Exchange => to.error(NameError::Fixed),
        })?;
        let change = Move { from, from_name, to, to_name, how };
        while !change.attempt(self)? {}
        Ok(())
    }
}

impl Move<'_> {
    /// False if the names led elsewhere once they were locked.
    fn attempt(&self, pool: &Arc<Shared>) -> Result<bool, NameError> {
        let found = self.look()?;
        let record = pool.journal.prepare(|draft| self.draft(&found, draft))?;
        pass(Moment::Found);
        let moving = self.moves_directory(&found).then(|| lock(&pool.moving));
        let replaced = found.target.clone().filter(|_| self.how != Rename::Exchange).and_then(Dir::of);
        let mut locked = Locked::new([&self.from.dir, &self.to.dir].into_iter().chain(&replaced));
        if !self.still(&found, &mut locked) {
            return Ok(false);
        }
        self.check_kinds(&found)?;
        self.check_cycles(&found)?;
        if found.is_one_node() {
            return Ok(true);
        }
        self.check_target(&found, replaced.as_ref(), &mut locked)?;
        replaced.iter().for_each(|replaced| locked.of(replaced).end_directory());
        self.apply(&found, &mut locked, record.time());
        record.append(&pool.region);
        drop((locked, moving));
        if let Some(target) = found.target.filter(|_| self.how != Rename::Exchange) {
            settle(pool, &target);
        }
        Ok(true)
    }

    /// What is so once it is done: one record, so both names or none.
    fn draft(&self, found: &Found, draft: &mut Draft) {
        let (from, to) = (self.from.dir.id().0, self.to.dir.id().0);
        match &found.target {
            Some(target) if self.how == Rename::Exchange => {
                draft.add(Entry::Name { dir: from, name: self.from_name, node: target.id.0 });
            }
            _ => draft.add(Entry::Unname { dir: from, name: self.from_name }),
        }
        draft.add(Entry::Name { dir: to, name: self.to_name, node: found.source.id.0 });
    }

    fn look(&self) -> Result<Found, NameError> {
        let source = self.from.dir.get(self.from_name).ok_or_else(|| self.from.error(NameError::NotFound))?;
        Ok(Found { source, target: self.to.dir.get(self.to_name) })
    }

    /// Whether a directory may get another parent (N4), or take part in a cycle if it did.
    fn moves_directory(&self, found: &Found) -> bool {
        let target_is_directory = found.target.as_ref().is_some_and(|target| is_directory(target));
        self.from.dir.id() != self.to.dir.id() && (is_directory(&found.source) || target_is_directory)
    }

    fn still(&self, found: &Found, locked: &mut Locked<'_>) -> bool {
        let source = locked.of(&self.from.dir).get(self.from_name);
        let source_is_there = source.is_some_and(|source| Arc::ptr_eq(source, &found.source));
        let target = locked.of(&self.to.dir).get(self.to_name);
        source_is_there && target.map(Arc::as_ptr) == found.target.as_ref().map(Arc::as_ptr)
    }

    /// What the names alone forbid.
    fn check_kinds(&self, found: &Found) -> Result<(), NameError> {
        let exchange = self.how == Rename::Exchange;
        match &found.target {
            Some(_) if self.how == Rename::NoReplace => return Err(self.to.error(NameError::Exists)),
            None if exchange => return Err(self.to.error(NameError::NotFound)),
            Some(target) if exchange && self.to.slash && !is_directory(target) => {
                return Err(self.to.error(NameError::NotDirectory));
            }
            _ => (),
        }
        match is_directory(&found.source) {
            false if self.from.slash => Err(self.from.error(NameError::NotDirectory)),
            false if self.to.slash && !exchange => Err(self.to.error(NameError::NotDirectory)),
            _ => Ok(()),
        }
    }

    /// No directory comes to lie in itself (N1).
    fn check_cycles(&self, found: &Found) -> Result<(), NameError> {
        if !self.moves_directory(found) {
            return Ok(());
        }
        if self.to.dir.is_in(&found.source) {
            return Err(self.from.refused("a directory cannot be moved into itself"));
        }
        match &found.target {
            Some(target) if self.from.dir.is_in(target) && self.how == Rename::Exchange => {
                Err(self.to.refused("a directory cannot be moved into itself"))
            }
            Some(target) if self.from.dir.is_in(target) => Err(self.to.error(NameError::NotEmpty)),
            _ => Ok(()),
        }
    }

    /// Whether the target can be replaced by the source, or take one at all.
    fn check_target(&self, found: &Found, replaced: Option<&Dir>, locked: &mut Locked<'_>) -> Result<(), NameError> {
        if locked.of(&self.to.dir).removed() {
            return Err(self.to.error(NameError::NotFound));
        }
        if self.how == Rename::Exchange || found.target.is_none() {
            return Ok(());
        }
        match (is_directory(&found.source), replaced) {
            (false, None) => Ok(()),
            (false, Some(_)) => Err(self.to.error(NameError::IsDirectory)),
            (true, None) => Err(self.to.error(NameError::NotDirectory)),
            (true, Some(replaced)) if locked.of(replaced).is_empty() => Ok(()),
            (true, Some(_)) => Err(self.to.error(NameError::NotEmpty)),
        }
    }

    /// Names are put before others go: a directory that moves is never without a parent.
    fn apply(&self, found: &Found, locked: &mut Locked<'_>, time: u64) {
        let Self { from, from_name, to, to_name, .. } = self;
        to.dir.put(locked.of(&to.dir), to_name, &found.source, time);
        pass(Moment::HalfRenamed);
        match &found.target {
            Some(target) if self.how == Rename::Exchange => {
                from.dir.put(locked.of(&from.dir), from_name, target, time);
            }
            target => {
                from.dir.take_out(locked.of(&from.dir), from_name, time);
                target.iter().for_each(|target| to.dir.forget_name(target, to_name));
            }
        }
    }
}

impl Found {
    fn is_one_node(&self) -> bool {
        self.target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &self.source))
    }
}

fn is_directory(node: &Node) -> bool {
    node.directory().is_some()
}
