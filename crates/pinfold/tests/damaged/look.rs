//! All that a pool shows, whoever shows it.
#![allow(dead_code, reason = "each user of this file needs a part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pinfold::{DirEntry, FileExtent, FileKind, Metadata, Pool, PoolError, PoolOptions, Region, Snapshot};
use rustix::fs::{MemfdFlags, memfd_create};

use super::format::Medium;

/// What a name leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) kind: FileKind,
    pub(crate) len: u64,
    pub(crate) links: u32,
    modified: SystemTime,
    changed: SystemTime,
    /// As most nodes have none of them: none.
    attributes: Option<Attributes>,
    /// Of a file; of a link, its target.
    pub(crate) bytes: Vec<u8>,
    /// Offset, length, whether there are bytes.
    extents: Vec<(u64, u64, bool)>,
}

/// What few nodes have.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Attributes {
    accessed: SystemTime,
    mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
    extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    fn of(known: &Metadata, extended: Vec<(Vec<u8>, Vec<u8>)>) -> Option<Self> {
        let Metadata { kind, modified, accessed, mode, uid, gid, .. } = *known;
        let usual = match kind {
            FileKind::File | FileKind::Special(_) => 0o644,
            FileKind::Directory => 0o755,
            FileKind::Symlink => 0o777,
        };
        let is_plain = (accessed, mode, uid, gid, extended.len()) == (modified, usual, None, None, 0);
        (!is_plain).then_some(Self { accessed, mode, uid, gid, extended })
    }

    fn described(&self) -> String {
        let Self { accessed, mode, uid, gid, extended } = self;
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let extended: Vec<_> = extended.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
        format!(", accessed {}, mode {mode:o}, owner {uid:?} {gid:?}, extended {extended:?}", nanos(*accessed))
    }
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
}

impl Node {
    /// All of it in a line, its bytes as a checksum.
    pub(crate) fn described(&self) -> String {
        let Self { kind, len, links, extents, .. } = self;
        let modified = nanos(self.modified);
        let attributes = self.attributes.as_ref().map(Attributes::described).unwrap_or_default();
        let bytes = crc32c::crc32c(&self.bytes);
        format!(
            "{kind:?}, {len} bytes, crc32c {bytes:08x}, {links} links, modified {modified}, extents {extents:?}{attributes}"
        )
    }

    /// In which of its parts it differs from another, for a person.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let bytes = self.bytes.iter().zip(&other.bytes).position(|(one, other)| one != other);
        let known = |node: &Self| {
            (node.len, node.links, node.modified, node.changed, node.attributes.clone(), node.extents.clone())
        };
        format!("{:?} and not {:?}, and bytes from {bytes:?} on", known(self), known(other))
    }
}

/// Everything by its path.
pub(crate) type State = BTreeMap<PathBuf, Node>;

/// How much of either end of a file is read at most: one may say that it is 2^60 bytes long.
const READ_MAX: u64 = 64 << 10;

/// Who shows a pool.
pub(crate) trait Shows {
    fn names(&self, path: &Path) -> Vec<DirEntry>;
    fn known(&self, path: &Path) -> Metadata;
    fn target(&self, path: &Path) -> Vec<u8>;
    fn extended(&self, path: &Path) -> Vec<(Vec<u8>, Vec<u8>)>;
    fn made_of(&self, path: &Path) -> Vec<FileExtent>;
    fn read(&self, path: &Path, offset: u64, to: &mut [u8]) -> usize;
}

impl Shows for Snapshot {
    fn names(&self, path: &Path) -> Vec<DirEntry> {
        self.read_dir(path).unwrap()
    }

    fn known(&self, path: &Path) -> Metadata {
        self.symlink_metadata(path).unwrap()
    }

    fn target(&self, path: &Path) -> Vec<u8> {
        self.read_link(path).unwrap().into_os_string().into_encoded_bytes()
    }

    fn extended(&self, path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
        let names = self.extended_names(path).unwrap();
        names.into_iter().map(|name| (name.clone(), self.extended(path, &name).unwrap().unwrap())).collect()
    }

    fn made_of(&self, path: &Path) -> Vec<FileExtent> {
        self.extents(path).unwrap()
    }

    fn read(&self, path: &Path, offset: u64, to: &mut [u8]) -> usize {
        self.read_at(self.metadata(path).unwrap().id, offset, to).unwrap()
    }
}

impl Shows for Pool {
    fn names(&self, path: &Path) -> Vec<DirEntry> {
        self.read_dir(path).unwrap()
    }

    fn known(&self, path: &Path) -> Metadata {
        self.symlink_metadata(path).unwrap()
    }

    fn target(&self, path: &Path) -> Vec<u8> {
        self.read_link(path).unwrap().into_os_string().into_encoded_bytes()
    }

    fn extended(&self, path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
        let inode = self.symlink_inode(path).unwrap();
        let names = inode.extended_names();
        names.into_iter().map(|name| (name.clone(), inode.extended(&name).unwrap())).collect()
    }

    fn made_of(&self, path: &Path) -> Vec<FileExtent> {
        self.open(path).unwrap().extents()
    }

    fn read(&self, path: &Path, offset: u64, to: &mut [u8]) -> usize {
        self.open(path).unwrap().read_at(offset, to).unwrap()
    }
}

/// Looks at everything.
pub(crate) fn state_of(shows: &impl Shows) -> State {
    let (mut state, mut to_see) = (State::new(), vec![PathBuf::from("/")]);
    while let Some(path) = to_see.pop() {
        let known = shows.known(&path);
        let attributes = Attributes::of(&known, shows.extended(&path));
        let Metadata { kind, len, links, modified, changed, .. } = known;
        let (mut bytes, mut extents) = (Vec::new(), Vec::new());
        match kind {
            FileKind::Directory => to_see.extend(shows.names(&path).into_iter().map(|entry| path.join(entry.name))),
            FileKind::Symlink => bytes = shows.target(&path),
            FileKind::Special(_) => {}
            FileKind::File => {
                // Its beginning, and its end.
                for offset in [0, len.saturating_sub(READ_MAX).max(READ_MAX)] {
                    let mut part = vec![0; len.saturating_sub(offset).min(READ_MAX) as usize];
                    part.fill(0xEE);
                    assert_eq!(shows.read(&path, offset, &mut part), part.len(), "{}", path.display());
                    bytes.append(&mut part);
                }
                extents = shows.made_of(&path).iter().map(|part| (part.offset, part.len, part.written)).collect();
            }
        }
        assert!(state.insert(path, Node { kind, len, links, modified, changed, attributes, bytes, extents }).is_none());
    }
    state
}

/// What somebody sees who only looks at a medium.
pub(crate) fn seen(medium: &Medium) -> Result<State, PoolError> {
    Snapshot::of(medium.clone()).map(|snapshot| state_of(&snapshot))
}

/// A medium as memory that can be opened as a region.
pub(crate) fn file_of(medium: &Medium) -> File {
    let file = File::from(memfd_create("damaged", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(medium.len).unwrap();
    medium.pages().for_each(|(at, page)| file.write_all_at(page, at).unwrap());
    file
}

/// The file as a region.
pub(crate) fn region_of(file: &File) -> Region {
    let len = file.metadata().unwrap().len();
    Region::adopt_fd(OwnedFd::from(file.try_clone().unwrap()), len).unwrap()
}

/// Options of a pool that does nothing by itself, and that no device reaches.
pub(crate) fn quiet() -> PoolOptions {
    PoolOptions::new().commit_every(None).no_dma_in_flight(true)
}

/// Opens a copy of a medium. Nothing may be written where it is refused.
pub(crate) fn opened(medium: &Medium) -> Result<Pool, PoolError> {
    let file = file_of(medium);
    let opened = quiet().open_region(region_of(&file), None);
    if opened.is_err() {
        assert!(Medium::of(&file).unwrap() == *medium, "something was written, and it was refused");
    }
    opened
}
