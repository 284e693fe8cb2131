//! An inode: a file, directory, link or special file, whatever its names, and what it has beside its bytes: times, mode, owner, extended
//! attributes.
//!
//! Stays true  I1: a node's attributes change, and the record that says so is appended, with them locked: the log has changes in their
//!                 order, and a checkpoint has what the log before it says.
//! Lock order  a node's attributes; the log's end. Nothing else is locked with them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::Pool;
use crate::error::AttributeError;
use crate::file::File;
use crate::lock::lock;
use crate::medium::attributes::{EXTENDED_BYTES_MAX, Extended, MODE_BITS, More, Settings, is_extended_name};
use crate::medium::record::Entry;
use crate::node::{FileId, Kind, Metadata, Node};
use crate::pool::Shared;

/// Any node of a pool. It says nothing of how long the node lives: what it is asked of a file that has gone is answered as it was.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Extend, Pool, Region, SetAttributes};
///
/// let pool = Pool::new(Region::memfd(1 << 20)?)?;
/// pool.create("/frames")?;
/// let inode = pool.inode("/frames")?;
/// inode.set(&SetAttributes { mode: Some(0o600), ..Default::default() })?;
/// inode.set_extended(b"user.camera", b"left", Extend::Any)?;
/// assert_eq!(inode.metadata().mode, 0o600);
/// assert_eq!(inode.extended(b"user.camera").as_deref(), Some(&b"left"[..]));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Inode {
    pool: Arc<Shared>,
    node: Arc<Node>,
}

/// Which attributes are to be set, and to what. What is `None` stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttributes {
    /// Permissions, and the three bits above them: `0o7777`.
    pub mode: Option<u32>,
    /// The owner's user id.
    pub uid: Option<u32>,
    /// The owner's group id.
    pub gid: Option<u32>,
    /// When it was last read. Reading does not change it. Nothing before 1970.
    pub accessed: Option<SystemTime>,
    /// When its bytes last changed, as far as its user is concerned. Nothing before 1970.
    pub modified: Option<SystemTime>,
}

/// What becomes of an extended attribute that is there already, or is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extend {
    /// It is set in any case.
    #[default]
    Any,
    /// It is made. Refused if it is there (`XATTR_CREATE`).
    New,
    /// It is replaced. Refused if it is not there (`XATTR_REPLACE`).
    Replace,
}

impl Inode {
    pub(crate) fn of(pool: &Arc<Shared>, node: Arc<Node>) -> Self {
        Self { pool: Arc::clone(pool), node }
    }

    pub(crate) fn pool(&self) -> &Arc<Shared> {
        &self.pool
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Opens it, whatever its name. `None` if it is no file, or has gone.
    pub fn open(&self) -> Option<File> {
        File::open(&self.pool, &self.node)
    }

    /// Where it leads, as it was written. `None` if it is no symbolic link.
    pub fn read_link(&self) -> Option<PathBuf> {
        match &self.node.kind {
            Kind::Symlink(target) => Some(PathBuf::from(OsString::from_vec(target.to_vec()))),
            Kind::File(_) | Kind::Directory(_) | Kind::Special(_) => None,
        }
    }

    /// Which one it is.
    pub fn id(&self) -> FileId {
        self.node.id
    }

    /// What is known of it.
    pub fn metadata(&self) -> Metadata {
        self.node.metadata(self.pool.block)
    }

    /// Sets attributes, all of them or none.
    ///
    /// # Errors
    /// [`AttributeError`].
    pub fn set(&self, to: &SetAttributes) -> Result<(), AttributeError> {
        if let Some(mode) = to.mode.filter(|mode| mode & !MODE_BITS != 0) {
            return Err(AttributeError::BadMode { file: self.id(), mode });
        }
        let settings = to.settings();
        let record = self.pool.journal.prepare_one(Entry::Set { node: self.node.id.0, settings })?;
        let mut more = lock(&self.node.more);
        self.node.set_times(settings.modified, record.time());
        More::set(&mut more, &settings);
        record.append(&self.pool.region);
        Ok(())
    }

    /// The value of an extended attribute.
    pub fn extended(&self, name: &[u8]) -> Option<Vec<u8>> {
        lock(&self.node.more).as_ref()?.extended.get(name).map(|value| value.to_vec())
    }

    /// The names of all extended attributes, in order of their bytes.
    pub fn extended_names(&self) -> Vec<Vec<u8>> {
        let more = lock(&self.node.more);
        more.iter().flat_map(|more| more.extended.keys()).map(|name| name.to_vec()).collect()
    }

    /// Sets an extended attribute. Any name will do; Linux knows those that begin with `user.`, `trusted.`, `security.` and `system.`.
    ///
    /// # Errors
    /// [`AttributeError`]: `EEXIST` and `ENODATA` as `how` says; `ERANGE`, `E2BIG`, `ENOSPC` for what is too long.
    pub fn set_extended(&self, name: &[u8], value: &[u8], how: Extend) -> Result<(), AttributeError> {
        let file = self.id();
        if !is_extended_name(name) {
            return Err(AttributeError::BadName { file });
        }
        if value.len() > EXTENDED_BYTES_MAX {
            return Err(AttributeError::TooLong { file, len: value.len() });
        }
        self.extend(name, Some(value), |extended| match extended.contains_key(name) {
            true if how == Extend::New => Err(AttributeError::Exists { file }),
            false if how == Extend::Replace => Err(AttributeError::NotFound { file }),
            // As a list each name has a NUL behind it.
            false if extended.keys().map(|name| name.len() + 1).sum::<usize>() + name.len() >= EXTENDED_BYTES_MAX => {
                Err(AttributeError::TooMany { file })
            }
            _ => Ok(()),
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// [`AttributeError`]: `ENODATA` if there is none of that name.
    pub fn remove_extended(&self, name: &[u8]) -> Result<(), AttributeError> {
        let file = self.id();
        self.extend(name, None, |extended| match extended.contains_key(name) {
            true => Ok(()),
            false => Err(AttributeError::NotFound { file }),
        })
    }

    fn extend(
        &self,
        name: &[u8],
        value: Option<&[u8]>,
        check: impl FnOnce(&Extended) -> Result<(), AttributeError>,
    ) -> Result<(), AttributeError> {
        let record = self.pool.journal.prepare_one(Entry::Extend { node: self.node.id.0, name, value })?;
        let mut more = lock(&self.node.more);
        check(more.as_ref().map_or(&Extended::new(), |more| &more.extended))?;
        self.node.changed_at(record.time());
        More::set_extended(&mut more, name, value);
        record.append(&self.pool.region);
        Ok(())
    }
}

impl SetAttributes {
    pub(crate) fn settings(&self) -> Settings {
        let Self { mode, uid, gid, accessed, modified } = *self;
        Settings { modified: modified.map(nanos), accessed: accessed.map(nanos), mode, uid, gid }
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Pool {
    /// What a path leads to.
    ///
    /// # Errors
    /// [`NameError`](crate::NameError).
    pub fn inode(&self, path: impl AsRef<std::path::Path>) -> Result<Inode, crate::NameError> {
        Ok(Inode::of(&self.shared, self.node_at(path.as_ref(), true)?))
    }

    /// As [`Pool::inode`], of the symbolic link itself if the path ends with one.
    ///
    /// # Errors
    /// [`NameError`](crate::NameError).
    pub fn symlink_inode(&self, path: impl AsRef<std::path::Path>) -> Result<Inode, crate::NameError> {
        Ok(Inode::of(&self.shared, self.node_at(path.as_ref(), false)?))
    }

    /// The one of an id. `None` if it has gone.
    pub fn inode_by_id(&self, id: FileId) -> Option<Inode> {
        Some(Inode::of(&self.shared, self.shared.nodes.get(id)?))
    }
}
