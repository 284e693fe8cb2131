//! The dull model: a map of paths. Too slow to ship, too plain to be wrong.

use std::collections::BTreeMap;

use pinfold::{FileKind, Rename};
use rustix::io::Errno;

use crate::calls::{Answer, Call, Id, Known, Names};

#[derive(Clone)]
struct Thing {
    id: Id,
    kind: FileKind,
    target: String,
}

/// Every path in its shortest form, without a slash at its end: the root is empty.
pub(crate) struct Model {
    paths: BTreeMap<String, Thing>,
    last_id: Id,
}

/// Where a path ends: a directory that is there, and the last part.
struct End {
    dir: String,
    /// Empty for the root.
    last: String,
    slash: bool,
}

impl End {
    fn path(&self) -> String {
        match self.last.as_str() {
            "" => String::new(),
            "." => self.dir.clone(),
            ".." => parent(&self.dir),
            name => format!("{}/{name}", self.dir),
        }
    }

    fn is_name(&self) -> bool {
        !["", ".", ".."].contains(&self.last.as_str())
    }
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_string())
}

/// Whether `path` is `above`, or lies below it.
fn is_in(path: &str, above: &str) -> bool {
    path == above || path.starts_with(&format!("{above}/"))
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut model = Self { paths: BTreeMap::new(), last_id: 0 };
        model.add(String::new(), FileKind::Directory, "");
        model
    }

    fn add(&mut self, path: String, kind: FileKind, target: &str) -> Id {
        self.last_id += 1;
        self.paths.insert(path, Thing { id: self.last_id, kind, target: target.to_string() });
        self.last_id
    }

    fn end(&self, from: &str, path: &str, links: &mut usize) -> Result<End, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let mut dir = if path.starts_with('/') { String::new() } else { from.to_string() };
        let mut parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let last = parts.pop().unwrap_or("").to_string();
        for part in parts {
            dir = self.find(&dir, part, true, links)?;
            if self.paths[&dir].kind != FileKind::Directory {
                return Err(Errno::NOTDIR);
            }
        }
        Ok(End { dir, last, slash: path.ends_with('/') })
    }

    fn find(&self, from: &str, path: &str, follow: bool, links: &mut usize) -> Result<String, Errno> {
        let end = self.end(from, path, links)?;
        let thing = self.paths.get(&end.path()).ok_or(Errno::NOENT)?;
        let mut found = end.path();
        if thing.kind == FileKind::Symlink && (follow || end.slash) {
            *links += 1;
            if *links > 40 {
                return Err(Errno::LOOP);
            }
            found = self.find(&end.dir, &thing.target, true, links)?;
        }
        match end.slash && self.paths[&found].kind != FileKind::Directory {
            true => Err(Errno::NOTDIR),
            false => Ok(found),
        }
    }

    fn end_of(&self, path: &str) -> Result<End, Errno> {
        self.end("", path, &mut 0)
    }

    fn thing(&self, path: &str, follow: bool) -> Result<(String, &Thing), Errno> {
        let path = self.find("", path, follow, &mut 0)?;
        let thing = &self.paths[&path];
        Ok((path, thing))
    }

    fn known(&self, path: &str, follow: bool) -> Result<Answer, Errno> {
        let (path, Thing { id, kind, .. }) = self.thing(path, follow)?;
        let links = match kind {
            FileKind::Directory => 2 + self.inside(&path).filter(|(_, thing)| thing.kind == *kind).count(),
            FileKind::File | FileKind::Symlink | FileKind::Special(_) => {
                self.paths.values().filter(|thing| thing.id == *id).count()
            }
        };
        Ok(Answer::Known(Known { id: *id, kind: *kind, links: links as u32 }))
    }

    fn inside(&self, dir: &str) -> impl Iterator<Item = (&String, &Thing)> {
        self.paths.iter().filter(move |(path, _)| !path.is_empty() && parent(path) == dir)
    }

    /// A new name that is free.
    fn free(&self, path: &str, kind: FileKind) -> Result<String, Errno> {
        let end = self.end_of(path)?;
        if !end.is_name() || self.paths.contains_key(&end.path()) {
            return Err(Errno::EXIST);
        }
        match end.slash && kind != FileKind::Directory {
            true => Err(Errno::NOENT),
            false => Ok(end.path()),
        }
    }

    fn create(&mut self, path: &str) -> Result<Answer, Errno> {
        let end = self.end_of(path)?;
        if end.is_name() && end.slash {
            return Err(Errno::ISDIR);
        }
        let path = self.free(path, FileKind::File)?;
        Ok(Answer::Opened(self.add(path, FileKind::File, "")))
    }

    fn open(&self, path: &str) -> Result<Answer, Errno> {
        match self.thing(path, true)?.1 {
            Thing { kind: FileKind::Directory, .. } => Err(Errno::ISDIR),
            thing => Ok(Answer::Opened(thing.id)),
        }
    }

    fn open_or_create(&mut self, path: &str) -> Result<Answer, Errno> {
        let (mut dir, mut path, mut links) = (String::new(), path.to_string(), 0);
        loop {
            let end = self.end(&dir, &path, &mut links)?;
            if end.slash || !end.is_name() {
                return Err(Errno::ISDIR);
            }
            match self.paths.get(&end.path()) {
                None => return Ok(Answer::Opened(self.add(end.path(), FileKind::File, ""))),
                Some(Thing { kind: FileKind::Directory, .. }) => return Err(Errno::ISDIR),
                Some(Thing { kind: FileKind::File, id, .. }) => return Ok(Answer::Opened(*id)),
                Some(Thing { target, .. }) => (dir, path) = (end.dir, target.clone()),
            }
            links += 1;
            if links > 40 {
                return Err(Errno::LOOP);
            }
        }
    }

    fn unlink(&mut self, path: &str) -> Result<Answer, Errno> {
        let end = self.end_of(path)?;
        if !end.is_name() {
            return Err(Errno::ISDIR);
        }
        match self.paths.get(&end.path()).ok_or(Errno::NOENT)?.kind {
            FileKind::Directory => return Err(Errno::ISDIR),
            _ if end.slash => return Err(Errno::NOTDIR),
            _ => self.paths.remove(&end.path()),
        };
        Ok(Answer::Done)
    }

    fn remove_dir(&mut self, path: &str) -> Result<Answer, Errno> {
        let end = self.end_of(path)?;
        match end.last.as_str() {
            "" => return Err(Errno::BUSY),
            "." => return Err(Errno::INVAL),
            ".." => return Err(Errno::NOTEMPTY),
            _ => (),
        }
        if self.paths.get(&end.path()).ok_or(Errno::NOENT)?.kind != FileKind::Directory {
            return Err(Errno::NOTDIR);
        }
        if self.inside(&end.path()).next().is_some() {
            return Err(Errno::NOTEMPTY);
        }
        self.paths.remove(&end.path());
        Ok(Answer::Done)
    }

    fn link(&mut self, existing: &str, new: &str) -> Result<Answer, Errno> {
        let thing = self.thing(existing, false)?.1.clone();
        let new = self.free(new, FileKind::File)?;
        if thing.kind == FileKind::Directory {
            return Err(Errno::PERM);
        }
        self.paths.insert(new, thing);
        Ok(Answer::Done)
    }

    fn rename(&mut self, from: &str, to: &str, how: Rename) -> Result<Answer, Errno> {
        let (from, to) = (self.end_of(from)?, self.end_of(to)?);
        if !from.is_name() {
            return Err(Errno::BUSY);
        }
        if !to.is_name() {
            return Err(if how == Rename::NoReplace { Errno::EXIST } else { Errno::BUSY });
        }
        let source = self.paths.get(&from.path()).ok_or(Errno::NOENT)?;
        let target = self.paths.get(&to.path());
        let source_is_dir = source.kind == FileKind::Directory;
        let target_is_dir = target.is_some_and(|target| target.kind == FileKind::Directory);
        match (how, target) {
            (Rename::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (Rename::Exchange, None) => return Err(Errno::NOENT),
            (Rename::Exchange, Some(_)) if to.slash && !target_is_dir => return Err(Errno::NOTDIR),
            _ => (),
        }
        if !source_is_dir && (from.slash || (to.slash && how != Rename::Exchange)) {
            return Err(Errno::NOTDIR);
        }
        if source_is_dir && is_in(&to.dir, &from.path()) {
            return Err(Errno::INVAL);
        }
        if target_is_dir && is_in(&from.dir, &to.path()) {
            return Err(if how == Rename::Exchange { Errno::INVAL } else { Errno::NOTEMPTY });
        }
        if target.is_some_and(|target| target.id == source.id) {
            return Ok(Answer::Done);
        }
        if how == Rename::Replace && target.is_some() {
            match (source_is_dir, target_is_dir) {
                (true, false) => return Err(Errno::NOTDIR),
                (false, true) => return Err(Errno::ISDIR),
                _ if self.inside(&to.path()).next().is_some() => return Err(Errno::NOTEMPTY),
                _ => self.paths.remove(&to.path()),
            };
        }
        self.swap(&from.path(), &to.path());
        Ok(Answer::Done)
    }

    /// What is at one path goes to the other, with all below it.
    fn swap(&mut self, one: &str, other: &str) {
        let moved = |path: String| match (path.strip_prefix(one), path.strip_prefix(other)) {
            (Some(_), _) if is_in(&path, one) => format!("{other}{}", &path[one.len()..]),
            (_, Some(_)) if is_in(&path, other) => format!("{one}{}", &path[other.len()..]),
            _ => path,
        };
        let paths = std::mem::take(&mut self.paths);
        self.paths = paths.into_iter().map(|(path, thing)| (moved(path), thing)).collect();
    }

    fn read_dir(&self, path: &str) -> Result<Answer, Errno> {
        let (path, thing) = self.thing(path, true)?;
        if thing.kind != FileKind::Directory {
            return Err(Errno::NOTDIR);
        }
        let name = |path: &str| path.rsplit_once('/').unwrap().1.to_string();
        Ok(Answer::Names(self.inside(&path).map(|(path, thing)| (name(path), thing.id, thing.kind)).collect()))
    }

    fn answer(&mut self, call: &Call) -> Result<Answer, Errno> {
        match call {
            Call::Create(path) => self.create(path),
            Call::Open(path) => self.open(path),
            Call::OpenOrCreate(path) => self.open_or_create(path),
            Call::Unlink(path) => self.unlink(path),
            Call::CreateDir(path) => {
                let path = self.free(path, FileKind::Directory)?;
                self.add(path, FileKind::Directory, "");
                Ok(Answer::Done)
            }
            Call::RemoveDir(path) => self.remove_dir(path),
            Call::Rename(from, to, how) => self.rename(from, to, *how),
            Call::Link(existing, new) => self.link(existing, new),
            Call::Symlink(target, new) => {
                let new = self.free(new, FileKind::Symlink)?;
                self.add(new, FileKind::Symlink, target);
                Ok(Answer::Done)
            }
            Call::ReadLink(path) => match self.thing(path, false)?.1 {
                Thing { kind: FileKind::Symlink, target, .. } => Ok(Answer::Target(target.clone())),
                _ => Err(Errno::INVAL),
            },
            Call::Metadata(path) => self.known(path, true),
            Call::SymlinkMetadata(path) => self.known(path, false),
            Call::ReadDir(path) => self.read_dir(path),
        }
    }
}

impl Names for Model {
    fn call(&mut self, call: &Call) -> Result<Answer, i32> {
        self.answer(call).map_err(Errno::raw_os_error)
    }
}
