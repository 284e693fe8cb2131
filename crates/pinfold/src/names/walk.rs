//! The way along a path.
//!
//! Takes the lock of each directory on its way, one after the other, never two. What it found may have changed when it
//! returns: who changes names looks again, with the directory locked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LINKS_MAX;
use super::directory::Dir;
use super::path::{Asked, Last, Split};
use crate::error::NameError;
use crate::node::{Kind, Node};
use crate::pool::Shared;

/// One path, and how many symbolic links were followed on it.
pub(super) struct Walk<'p> {
    pool: &'p Shared,
    asked: Asked<'p>,
    links: usize,
}

/// Where a path ends: a name in a directory, whether or not there is one.
pub(super) struct PathEnd<'p> {
    pub(super) dir: Dir,
    pub(super) last: Last<'p>,
    /// Only a directory will do.
    pub(super) slash: bool,
    asked: Asked<'p>,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    Yes,
    No,
}

impl<'p> Walk<'p> {
    pub(super) fn new(pool: &'p Shared, path: &'p Path) -> Result<Self, NameError> {
        Ok(Self { pool, asked: Asked::new(path)?, links: 0 })
    }

    /// Where the path ends. A symbolic link there is not followed.
    pub(super) fn end(&mut self) -> Result<PathEnd<'p>, NameError> {
        self.end_from(&root(self.pool), self.asked.bytes())
    }

    /// What the path leads to.
    pub(super) fn node(&mut self, follow: Follow) -> Result<Arc<Node>, NameError> {
        self.node_from(&root(self.pool), self.asked.bytes(), follow)
    }

    /// Where the target of a symbolic link in `dir` ends.
    pub(super) fn end_behind<'t>(&mut self, dir: &Dir, target: &'t [u8]) -> Result<PathEnd<'t>, NameError>
    where
        'p: 't,
    {
        self.count_link()?;
        self.end_from(dir, target)
    }

    fn end_from<'t>(&mut self, from: &Dir, path: &'t [u8]) -> Result<PathEnd<'t>, NameError>
    where
        'p: 't,
    {
        let split = Split::of(path);
        let mut dir = if split.absolute { root(self.pool) } else { from.clone() };
        for part in split.before() {
            dir = self.step(&dir, part)?;
        }
        self.asked.check_name(split.last)?;
        Ok(PathEnd { dir, last: split.last, slash: split.slash, asked: self.asked })
    }

    fn step(&mut self, dir: &Dir, part: Last<'_>) -> Result<Dir, NameError> {
        self.asked.check_name(part)?;
        let node = look_up(self.pool, dir, part).ok_or_else(|| self.asked.error(NameError::NotFound))?;
        let node = match &node.kind {
            Kind::Symlink(target) => self.follow(dir, target)?,
            Kind::File(_) | Kind::Directory(_) | Kind::Special(_) => node,
        };
        Dir::of(node).ok_or_else(|| self.asked.error(NameError::NotDirectory))
    }

    fn node_from(&mut self, from: &Dir, path: &[u8], follow: Follow) -> Result<Arc<Node>, NameError> {
        let end = self.end_from(from, path)?;
        let node = end.node(self.pool)?;
        let node = match &node.kind {
            Kind::Symlink(target) if follow == Follow::Yes || end.slash => self.follow(&end.dir, target)?,
            _ => node,
        };
        if end.slash && node.directory().is_none() {
            return Err(self.asked.error(NameError::NotDirectory));
        }
        Ok(node)
    }

    /// What the target of a symbolic link in `dir` leads to. No deeper than [`LINKS_MAX`].
    fn follow(&mut self, dir: &Dir, target: &[u8]) -> Result<Arc<Node>, NameError> {
        self.count_link()?;
        self.node_from(dir, target, Follow::Yes)
    }

    fn count_link(&mut self) -> Result<(), NameError> {
        self.links += 1;
        match self.links > LINKS_MAX {
            true => Err(self.asked.error(NameError::Loop)),
            false => Ok(()),
        }
    }
}

impl<'p> PathEnd<'p> {
    /// A name in a directory that the caller has.
    pub(super) fn in_dir(dir: &Dir, name: &'p OsStr) -> Result<Self, NameError> {
        let asked = Asked::new(Path::new(name))?;
        let last = Last::of(name.as_bytes());
        if !matches!(last, Last::Name(_)) || name.as_bytes().contains(&b'/') {
            return Err(asked.refused("it has to be one name, without a slash, and neither `.` nor `..`"));
        }
        asked.check_name(last)?;
        Ok(Self { dir: dir.clone(), last, slash: false, asked })
    }

    /// What is there now.
    pub(super) fn node(&self, pool: &Shared) -> Result<Arc<Node>, NameError> {
        look_up(pool, &self.dir, self.last).ok_or_else(|| self.error(NameError::NotFound))
    }

    /// The name; `None` for `.`, `..` and the root.
    pub(super) fn name(&self) -> Option<&'p [u8]> {
        match self.last {
            Last::Name(name) => Some(name),
            Last::Here | Last::Parent | Last::Root => None,
        }
    }

    pub(super) fn error(&self, case: fn(PathBuf) -> NameError) -> NameError {
        self.asked.error(case)
    }

    pub(super) fn refused(&self, why: &'static str) -> NameError {
        self.asked.refused(why)
    }
}

pub(super) fn root(pool: &Shared) -> Dir {
    match Dir::of(Arc::clone(&pool.root)) {
        Some(root) => root,
        None => unreachable!("the root is a directory"),
    }
}

fn look_up(pool: &Shared, dir: &Dir, part: Last<'_>) -> Option<Arc<Node>> {
    match part {
        Last::Name(name) => dir.get(name),
        Last::Here => Some(Arc::clone(dir.node())),
        Last::Parent if dir.id() != pool.root.id => dir.parent().map(|parent| Arc::clone(parent.node())),
        Last::Parent | Last::Root => Some(Arc::clone(&pool.root)),
    }
}
