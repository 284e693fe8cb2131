//! Names: the tree of directories, and what makes, finds and removes names in it.
//!
//! Stays true  N1: every directory but the root has one name, in the directory that its [`Name`](crate::node::Name)
//!                 says; from the root all are reached, each once. There are no cycles.
//!             N2: a directory that was removed is empty, and stays so.
//!             N3: a node has no fewer links than names; as many when no call that changes one is under way.
//!             N4: which directory a directory lies in changes with `Shared::moving` held.
//!             N5: nobody waits for a transfer, a layout or a device with a directory locked.
//! Who calls   anybody. Calls in different directories do not wait for one another; moves of directories from one
//!             directory to another do.
//! Lock order  `Shared::moving`; directories in the order of their ids ([`Locked`]); then `life`,
//!             `name` and the table of nodes, none under another. (Linux locks ancestors first instead, and therefore
//!             has to keep all ancestors still whenever it locks two directories. Here a caller looks first, locks what
//!             it will need, and looks again.) A lookup locks one directory at a time. Files end with no lock held.
//! A crash     leaves the names that the log has: what changes names appends its record with the directories still locked.

mod directory;
mod held;
mod link;
mod path;
mod rename;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Pool;
use crate::error::NameError;
use crate::file::File;
use crate::inode::Inode;
use crate::lock::read;
use crate::medium::attributes::Settings;
use crate::moments::{Moment, pass};
use crate::node::{FileId, FileKind, Kind, Metadata, Node, Special};

use directory::Dir;
pub(crate) use directory::{Directory, warm};
pub use held::{Held, Listed};
use path::Asked;
pub(crate) use path::{Last, Split, is_name, is_target};
pub use rename::Rename;
use walk::{Follow, PathEnd, Walk};

/// How many symbolic links may lie on the way of one path.
pub(crate) const LINKS_MAX: usize = 40;

/// What becomes of a file that has the name already, when another is given it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Publish {
    /// The name has to be free.
    #[default]
    New,
    /// It loses the name, at the very moment at which the other gets it.
    Replace,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name, without a path.
    pub name: OsString,
    /// What it leads to.
    pub id: FileId,
    /// What that is.
    pub kind: FileKind,
}

/// Files by name. Paths begin at the pool's root, with a slash or without.
impl Pool {
    /// A new, empty file.
    ///
    /// # Errors
    /// [`NameError`]: `EEXIST` if there is anything of that name, a symbolic link included.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<File, NameError> {
        let end = self.end(path.as_ref())?;
        self.shared.create_at(&end, &Settings::default())
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `EISDIR` for a directory.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File, NameError> {
        let path = path.as_ref();
        loop {
            let node = self.node(path, Follow::Yes)?;
            match &node.kind {
                Kind::Directory(_) => return Err(NameError::IsDirectory(path.to_path_buf())),
                Kind::Special(_) => return Err(NameError::Special(path.to_path_buf())),
                Kind::File(_) | Kind::Symlink(_) => {}
            }
            pass(Moment::Found);
            // Or else its last name went after it was found: then something else is there now, or nothing.
            if let Some(file) = File::open(&self.shared, &node) {
                return Ok(file);
            }
        }
    }

    /// Opens a file, a new one if there is none. Where a symbolic link leads nowhere, a file is made there.
    ///
    /// # Errors
    /// [`NameError`]: `EISDIR` for a directory.
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<File, NameError> {
        let path = path.as_ref();
        loop {
            let mut walk = Walk::new(&self.shared, path)?;
            let end = walk.end()?;
            if let Some(file) = self.open_or_create_at(&mut walk, &end)? {
                return Ok(file);
            }
        }
    }

    /// Removes the name of a file or symbolic link. A file goes with its last name and its last handle. Waits for no
    /// transfer: blocks that one reaches are parked until it is over.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `EISDIR` for a directory.
    pub fn unlink(&self, path: impl AsRef<Path>) -> Result<(), NameError> {
        self.shared.unlink_at(&self.end(path.as_ref())?)
    }

    /// A new, empty directory.
    ///
    /// # Errors
    /// [`NameError`]: `EEXIST` if there is anything of that name.
    pub fn create_dir(&self, path: impl AsRef<Path>) -> Result<(), NameError> {
        let end = self.end(path.as_ref())?;
        self.shared.add_new(&end, Kind::Directory(Directory::default()), &Settings::default()).map(drop)
    }

    /// Removes a directory, which has to be empty.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, `ENOTDIR` for anything else, `ENOTEMPTY`; `EBUSY` for the root, `EINVAL` for `.`.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<(), NameError> {
        self.shared.remove_dir_at(&self.end(path.as_ref())?)
    }

    /// One more name for a file or symbolic link, which is not followed.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT` without `existing`, `EEXIST` if there is anything of the new name, `EPERM` for a
    /// directory.
    pub fn link(&self, existing: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<(), NameError> {
        let (existing, new) = (existing.as_ref(), new.as_ref());
        loop {
            let node = self.node(existing, Follow::No)?;
            let end = self.end(new)?;
            if node.directory().is_some() {
                end.check_free()?;
                return Err(NameError::LinkToDirectory(existing.to_path_buf()));
            }
            pass(Moment::Found);
            // Or else its last name went after it was found.
            if let Some(linked) = self.shared.link_at(&end, &node) {
                return linked;
            }
        }
    }

    /// A new symbolic link. Its target need not be there; a relative one begins in the directory of the link, an absolute
    /// one at the pool's root.
    ///
    /// # Errors
    /// [`NameError`]: `EEXIST` if there is anything of that name.
    pub fn symlink(&self, target: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<(), NameError> {
        let target = Asked::new(target.as_ref())?.bytes().into();
        let end = self.end(new.as_ref())?;
        self.shared.add_new(&end, Kind::Symlink(target), &Settings::default()).map(drop)
    }

    /// A new special file. It opens through a mount alone.
    ///
    /// # Errors
    /// [`NameError`]: `EEXIST` if there is anything of that name.
    pub fn create_special(&self, path: impl AsRef<Path>, special: Special) -> Result<(), NameError> {
        let end = self.end(path.as_ref())?;
        self.shared.add_new(&end, Kind::Special(special), &Settings::default()).map(drop)
    }

    /// Where a symbolic link leads, as it was written.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `EINVAL` for anything else.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf, NameError> {
        let path = path.as_ref();
        let inode = Inode::of(&self.shared, self.node(path, Follow::No)?);
        inode.read_link().ok_or_else(|| NameError::NotLink(path.to_path_buf()))
    }

    /// What is known of what a path leads to.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata, NameError> {
        Ok(self.node(path.as_ref(), Follow::Yes)?.metadata(self.shared.block))
    }

    /// As [`Pool::metadata`], of the symbolic link itself if the path ends with one.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata, NameError> {
        Ok(self.node(path.as_ref(), Follow::No)?.metadata(self.shared.block))
    }

    /// The names in a directory, in order of their bytes, as of one moment. Without `.` and `..`.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `ENOTDIR` for anything else.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, NameError> {
        let path = path.as_ref();
        let dir = Dir::of(self.node(path, Follow::Yes)?);
        let dir = dir.ok_or_else(|| NameError::NotDirectory(path.to_path_buf()))?;
        let entries = read(dir.entries());
        Ok(entries.iter().map(|(name, node)| DirEntry::of(name, node)).collect())
    }

    /// Opens the file of an id, whatever its name. `None` if it has gone, or is no file.
    pub fn open_by_id(&self, id: FileId) -> Option<File> {
        File::open(&self.shared, &self.shared.nodes.get(id)?)
    }

    fn end<'p>(&'p self, path: &'p Path) -> Result<PathEnd<'p>, NameError> {
        Walk::new(&self.shared, path)?.end()
    }

    pub(crate) fn node_at(&self, path: &Path, follow: bool) -> Result<Arc<Node>, NameError> {
        self.node(path, if follow { Follow::Yes } else { Follow::No })
    }

    fn node(&self, path: &Path, follow: Follow) -> Result<Arc<Node>, NameError> {
        Walk::new(&self.shared, path)?.node(follow)
    }

    /// `None` if what was found changed meanwhile. Follows no more than [`LINKS_MAX`] links into one another.
    fn open_or_create_at(&self, walk: &mut Walk<'_>, end: &PathEnd<'_>) -> Result<Option<File>, NameError> {
        if end.slash || end.name().is_none() {
            return Err(end.error(NameError::IsDirectory));
        }
        let Ok(node) = end.node(&self.shared) else {
            return match self.shared.create_at(end, &Settings::default()) {
                Err(NameError::Exists(_)) => Ok(None),
                created => created.map(Some),
            };
        };
        match &node.kind {
            Kind::File(_) => {
                pass(Moment::Found);
                Ok(File::open(&self.shared, &node))
            }
            Kind::Directory(_) => Err(end.error(NameError::IsDirectory)),
            Kind::Special(_) => Err(end.error(NameError::Special)),
            Kind::Symlink(target) => {
                let behind = walk.end_behind(&end.dir, target)?;
                self.open_or_create_at(walk, &behind)
            }
        }
    }
}

impl DirEntry {
    fn of(name: &[u8], node: &Node) -> Self {
        Self { name: std::ffi::OsStr::from_bytes(name).to_os_string(), id: node.id, kind: node.kind.as_known() }
    }
}
