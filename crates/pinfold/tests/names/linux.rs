//! Linux itself: a folder on a tmpfs, by the system calls that the pool's calls are named after.

use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{Error, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pinfold::{FileKind, Rename};
use rustix::fs::{CWD, RenameFlags, renameat_with, statfs};

use crate::calls::{Answer, Call, Known, Names};

const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A folder of its own, removed when it is dropped.
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// `None` where there is no tmpfs to write to.
    pub(crate) fn new() -> Option<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let shm = Path::new("/dev/shm");
        if statfs(shm).ok()?.f_type as i64 != TMPFS_MAGIC {
            return None;
        }
        // ORDER: relaxed; only that no number is given twice matters.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let root = shm.join(format!("pinfold-names-{}-{number}", std::process::id()));
        std::fs::create_dir(&root).ok()?;
        Some(Self { root })
    }

    /// Not by `Path::join`, which would leave the folder for an absolute path.
    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.root.display())
    }

    fn open(&self, path: &str, create: bool, new: bool) -> Result<Answer> {
        let file = OpenOptions::new().read(true).write(true).create(create).create_new(new).open(self.path(path))?;
        Ok(Answer::Opened(file.metadata()?.ino()))
    }

    fn rename(&self, from: &str, to: &str, how: Rename) -> Result<()> {
        let flags = match how {
            Rename::Replace => RenameFlags::empty(),
            Rename::NoReplace => RenameFlags::NOREPLACE,
            Rename::Exchange => RenameFlags::EXCHANGE,
        };
        Ok(renameat_with(CWD, self.path(from), CWD, self.path(to), flags)?)
    }

    fn read_dir(&self, path: &str) -> Result<Answer> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(path))? {
            let (entry, metadata) = entry.and_then(|entry| entry.metadata().map(|metadata| (entry, metadata)))?;
            names.push((entry.file_name().into_string().unwrap(), metadata.ino(), kind(metadata.file_type())));
        }
        names.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        Ok(Answer::Names(names))
    }

    fn answer(&self, call: &Call) -> Result<Answer> {
        let done = |()| Answer::Done;
        match call {
            Call::Create(path) => self.open(path, false, true),
            Call::Open(path) => self.open(path, false, false),
            Call::OpenOrCreate(path) => self.open(path, true, false),
            Call::Unlink(path) => std::fs::remove_file(self.path(path)).map(done),
            Call::CreateDir(path) => std::fs::create_dir(self.path(path)).map(done),
            Call::RemoveDir(path) => std::fs::remove_dir(self.path(path)).map(done),
            Call::Rename(from, to, how) => self.rename(from, to, *how).map(done),
            Call::Link(existing, new) => std::fs::hard_link(self.path(existing), self.path(new)).map(done),
            Call::Symlink(target, new) => std::os::unix::fs::symlink(target, self.path(new)).map(done),
            Call::ReadLink(path) => {
                std::fs::read_link(self.path(path)).map(|target| Answer::Target(target.to_str().unwrap().to_string()))
            }
            Call::Metadata(path) => std::fs::metadata(self.path(path)).map(|metadata| known(&metadata)),
            Call::SymlinkMetadata(path) => std::fs::symlink_metadata(self.path(path)).map(|metadata| known(&metadata)),
            Call::ReadDir(path) => self.read_dir(path),
        }
    }
}

impl Names for Folder {
    fn call(&mut self, call: &Call) -> std::result::Result<Answer, i32> {
        self.answer(call).map_err(|error: Error| error.raw_os_error().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn known(metadata: &Metadata) -> Answer {
    let links = metadata.nlink() as u32;
    Answer::Known(Known { id: metadata.ino(), kind: kind(metadata.file_type()), links })
}

fn kind(kind: FileType) -> FileKind {
    match kind {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        _ => FileKind::File,
    }
}
