//! Names and handles: what keeps a file.

use pinfold::{FileId, Publish, Rename};
use rustix::io::Errno;

use super::{Model, ModelFile};

type Name = &'static str;

impl Model {
    pub(crate) fn check_create(&self, name: Name) -> Result<(), Errno> {
        if self.names.contains_key(name) { Err(Errno::EXIST) } else { Ok(()) }
    }

    /// A new file, which is open.
    pub(crate) fn created(&mut self, name: Name, file: FileId) {
        self.added(file, ModelFile { links: 1, opens: 1, ..ModelFile::default() });
        self.names.insert(name, file);
    }

    /// Ids are never used twice.
    pub(super) fn added(&mut self, file: FileId, new: ModelFile) {
        let younger = self.files.keys().all(|other| *other < file);
        assert!(younger && self.files.insert(file, new).is_none(), "{file} was used before");
    }

    pub(crate) fn look_up(&self, name: Name) -> Result<FileId, Errno> {
        self.names.get(name).copied().ok_or(Errno::NOENT)
    }

    /// One handle more.
    pub(crate) fn opened(&mut self, file: FileId) {
        self.file_mut(file).opens += 1;
    }

    /// One handle less.
    pub(crate) fn closed(&mut self, file: FileId) {
        self.file_mut(file).opens -= 1;
        self.end_if_over(file);
    }

    pub(crate) fn unlink(&mut self, name: Name) -> Result<(), Errno> {
        let file = self.names.remove(name).ok_or(Errno::NOENT)?;
        self.unlinked(file);
        Ok(())
    }

    fn unlinked(&mut self, file: FileId) {
        self.file_mut(file).links -= 1;
        self.end_if_over(file);
    }

    pub(crate) fn rename(&mut self, from: Name, to: Name, how: Rename) -> Result<(), Errno> {
        let source = self.look_up(from)?;
        match (how, self.names.get(to).copied()) {
            (Rename::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (Rename::Exchange, None) => return Err(Errno::NOENT),
            (_, Some(target)) if target == source => {}
            (Rename::Exchange, Some(target)) => {
                self.names.extend([(from, target), (to, source)]);
            }
            (_, target) => {
                self.names.remove(from);
                self.names.insert(to, source);
                target.into_iter().for_each(|target| self.unlinked(target));
            }
        }
        Ok(())
    }

    pub(crate) fn link(&mut self, from: Name, to: Name) -> Result<(), Errno> {
        let file = self.look_up(from)?;
        self.named(to, file, Publish::New)
    }

    /// One name more.
    pub(super) fn named(&mut self, name: Name, file: FileId, how: Publish) -> Result<(), Errno> {
        let old = self.names.get(name).copied();
        if old.is_some() && how == Publish::New {
            return Err(Errno::EXIST);
        }
        self.names.insert(name, file);
        self.file_mut(file).links += 1;
        old.into_iter().for_each(|old| self.unlinked(old));
        Ok(())
    }

    /// A file goes with its last name and its last handle; what is pinned of it is parked.
    fn end_if_over(&mut self, file: FileId) {
        let ModelFile { links: 0, opens: 0, .. } = self.file(file) else { return };
        self.take_out(file, 0..u64::MAX);
        self.files.remove(&file);
    }
}
