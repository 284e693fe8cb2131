//! A directory that is held: its names are looked up and changed without a path that leads to it, as with Linux's `openat`. So it stays
//! the same directory when it is renamed, and no link on a way to it is followed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use super::directory::{Dir, Directory};
use super::path::Asked;
use super::rename::Rename;
use super::walk::PathEnd;
use crate::error::NameError;
use crate::file::File;
use crate::inode::{Inode, SetAttributes};
use crate::lock::read;
use crate::medium::attributes::MODE_BITS;
use crate::moments::{Moment, pass};
use crate::node::{Kind, Special};
use crate::pool::Shared;

/// A directory, whatever its path, even when it has none any more: then it has no names, and takes none (`ENOENT`).
///
/// Each name is one name: `.`, `..` and what has a slash in it are refused (`EINVAL`). What is made can be given attributes, and has them
/// from the moment at which it has its name, after a crash too.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Pool, Region, Rename, SetAttributes};
///
/// let pool = Pool::new(Region::memfd(1 << 20)?)?;
/// pool.create_dir("/in")?;
/// let dir = pool.inode("/in")?.held().ok_or("a directory")?;
/// pool.rename("/in", "/out", Rename::NoReplace)?;
///
/// dir.create("frame", &SetAttributes { mode: Some(0o600), ..Default::default() })?;
/// assert_eq!(pool.metadata("/out/frame")?.mode, 0o600);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Held {
    pool: Arc<Shared>,
    dir: Dir,
}

/// A name in a directory, and what it leads to.
#[derive(Clone)]
pub struct Listed {
    /// The name, without a path.
    pub name: OsString,
    /// What it leads to.
    pub inode: Inode,
}

impl Inode {
    /// The directory that this is. `None` if it is something else.
    pub fn held(&self) -> Option<Held> {
        Some(Held { pool: Arc::clone(self.pool()), dir: Dir::of(Arc::clone(self.node()))? })
    }
}

impl Held {
    /// The directory itself.
    pub fn inode(&self) -> Inode {
        Inode::of(&self.pool, Arc::clone(self.dir.node()))
    }

    /// The directory in which it lies; of the root, the root. `None` if it was removed.
    pub fn parent(&self) -> Option<Inode> {
        let parent = match self.dir.id() == self.pool.root.id {
            true => self.dir.clone(),
            false => self.dir.parent()?,
        };
        Some(Inode::of(&self.pool, Arc::clone(parent.node())))
    }

    /// What a name leads to. `None` if there is nothing of that name.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<Inode> {
        let node = self.dir.get(name.as_ref().as_bytes())?;
        Some(Inode::of(&self.pool, node))
    }

    /// All its names, in order of their bytes, as of one moment. Without `.` and `..`.
    pub fn list(&self) -> Vec<Listed> {
        let entries = read(self.dir.entries());
        let listed = |(name, node): (&[u8], &Arc<_>)| Listed {
            name: OsString::from_vec(name.to_vec()),
            inode: Inode::of(&self.pool, Arc::clone(node)),
        };
        entries.iter().map(listed).collect()
    }

    /// A new, empty file.
    ///
    /// # Errors
    /// [`NameError`]: `EEXIST` if there is anything of that name; `EINVAL` for a mode that is none.
    pub fn create(&self, name: impl AsRef<OsStr>, attributes: &SetAttributes) -> Result<File, NameError> {
        let end = self.end(name.as_ref())?;
        check(&end, attributes)?;
        self.pool.create_at(&end, &attributes.settings())
    }

    /// A new, empty directory.
    ///
    /// # Errors
    /// As [`Held::create`].
    pub fn create_dir(&self, name: impl AsRef<OsStr>, attributes: &SetAttributes) -> Result<Inode, NameError> {
        self.add(name.as_ref(), Kind::Directory(Directory::default()), attributes)
    }

    /// A new symbolic link (see [`Pool::symlink`](crate::Pool::symlink)).
    ///
    /// # Errors
    /// As [`Held::create`].
    pub fn symlink(
        &self,
        target: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
        attributes: &SetAttributes,
    ) -> Result<Inode, NameError> {
        let target = Asked::new(target.as_ref())?.bytes().into();
        self.add(name.as_ref(), Kind::Symlink(target), attributes)
    }

    /// A new special file.
    ///
    /// # Errors
    /// As [`Held::create`].
    pub fn create_special(
        &self,
        name: impl AsRef<OsStr>,
        special: Special,
        attributes: &SetAttributes,
    ) -> Result<Inode, NameError> {
        self.add(name.as_ref(), Kind::Special(special), attributes)
    }

    /// One more name for what is no directory.
    ///
    /// # Errors
    /// [`NameError`]: `EEXIST` if there is anything of that name, `EPERM` for a directory, `EXDEV` for what is of another pool, `ENOENT` if
    /// its last name and its last handle have gone.
    pub fn link(&self, existing: &Inode, name: impl AsRef<OsStr>) -> Result<(), NameError> {
        let end = self.end(name.as_ref())?;
        if !Arc::ptr_eq(&self.pool, existing.pool()) {
            return Err(end.error(NameError::OtherPool));
        }
        if existing.node().directory().is_some() {
            return Err(end.error(NameError::LinkToDirectory));
        }
        pass(Moment::Found);
        let linked = self.pool.link_at(&end, existing.node());
        linked.unwrap_or_else(|| Err(end.error(NameError::NotFound)))
    }

    /// Removes the name of what is no directory (see [`Pool::unlink`](crate::Pool::unlink)).
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `EISDIR` for a directory.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> Result<(), NameError> {
        self.pool.unlink_at(&self.end(name.as_ref())?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, `ENOTDIR` for anything else, `ENOTEMPTY`.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<(), NameError> {
        self.pool.remove_dir_at(&self.end(name.as_ref())?)
    }

    /// Gives what is called `from` here the name `to` in `dir`, atomically (see [`Pool::rename`](crate::Pool::rename)).
    ///
    /// # Errors
    /// As there, and `EXDEV` for a directory of another pool.
    pub fn rename(
        &self,
        from: impl AsRef<OsStr>,
        dir: &Self,
        to: impl AsRef<OsStr>,
        how: Rename,
    ) -> Result<(), NameError> {
        let (from, to) = (self.end(from.as_ref())?, dir.end(to.as_ref())?);
        if !Arc::ptr_eq(&self.pool, &dir.pool) {
            return Err(to.error(NameError::OtherPool));
        }
        self.pool.rename_at(from, to, how)
    }

    fn add(&self, name: &OsStr, kind: Kind, attributes: &SetAttributes) -> Result<Inode, NameError> {
        let end = self.end(name)?;
        check(&end, attributes)?;
        let node = self.pool.add_new(&end, kind, &attributes.settings())?;
        Ok(Inode::of(&self.pool, node))
    }

    fn end<'n>(&self, name: &'n OsStr) -> Result<PathEnd<'n>, NameError> {
        PathEnd::in_dir(&self.dir, name)
    }
}

fn check(end: &PathEnd<'_>, attributes: &SetAttributes) -> Result<(), NameError> {
    match attributes.mode {
        Some(mode) if mode & !MODE_BITS != 0 => Err(end.refused("a mode has no bits but 0o7777")),
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("id", &self.dir.id()).finish()
    }
}
