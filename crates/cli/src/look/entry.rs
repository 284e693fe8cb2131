//! One name of a pool, and what it leads to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pinfold::{FileKind, Metadata, NameError, Snapshot, Special};
use serde_json::{Value, json};

use super::from_root;
use crate::screen::{Screen, Style};
use crate::{clock, names};

/// A name with all that is shown of it.
pub(crate) struct Entry {
    pub(crate) name: OsString,
    /// From the root.
    pub(crate) path: PathBuf,
    pub(crate) metadata: Metadata,
    /// Of a symbolic link: where it leads.
    pub(crate) target: Option<PathBuf>,
}

impl Entry {
    /// What a path leads to, under the name that it was asked for by. A link at its end is followed if `follow`.
    pub(crate) fn at(snapshot: &Snapshot, path: &Path, follow: bool) -> Result<Self, NameError> {
        let metadata = if follow { snapshot.metadata(path)? } else { snapshot.symlink_metadata(path)? };
        let target = (metadata.kind == FileKind::Symlink).then(|| snapshot.read_link(path)).transpose()?;
        Ok(Self { name: path.as_os_str().to_owned(), path: from_root(path), metadata, target })
    }

    /// What is in a directory, in order of the bytes of names.
    pub(crate) fn all_in(snapshot: &Snapshot, dir: &Path) -> Result<Vec<Self>, NameError> {
        let entries = snapshot.read_dir(dir)?.into_iter().map(|entry| {
            let at = Self::at(snapshot, &dir.join(&entry.name), false)?;
            Ok(Self { name: entry.name, ..at })
        });
        entries.collect()
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.metadata.kind == FileKind::Directory
    }

    /// The name in its colour, as it is or as [`names::shown`].
    pub(crate) fn painted(&self, screen: &Screen, name: &str) -> String {
        match self.metadata.kind {
            FileKind::File => name.to_owned(),
            FileKind::Directory => screen.paint(Style::Directory, name),
            FileKind::Symlink => screen.paint(Style::Link, name),
            FileKind::Special(_) => name.to_owned(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let Metadata { id, len, allocated, links, modified, changed, accessed, mode, uid, gid, .. } = &self.metadata;
        let mut value = json!({
            "name": names::json(&self.name),
            "path": names::json(&self.path),
            "kind": word(self.metadata.kind),
            "id": id.number(),
            "size": len,
            "allocated": allocated,
            "links": links,
            "modified": clock::json(*modified),
            "changed": clock::json(*changed),
            "accessed": clock::json(*accessed),
            "mode": mode,
            "uid": uid,
            "gid": gid,
        });
        if let Some(target) = &self.target {
            value["target"] = names::json(target).into();
        }
        value
    }
}

/// A kind for programs.
pub(crate) fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Special(Special::Pipe) => "pipe",
        FileKind::Special(Special::Socket) => "socket",
        FileKind::Special(Special::CharDevice(_)) => "char_device",
        FileKind::Special(Special::BlockDevice(_)) => "block_device",
    }
}
