//! A look at a pool's medium, by whoever may read it: what was there at one moment. Nothing is written, nothing is claimed;
//! the pool may have an owner who works on it meanwhile.
//!
//! Stays true  Q1: what is shown is the state of one moment. The superblock is read before and after: while it is the same,
//!                 neither its checkpoint nor the log behind it was overwritten.
//!             Q2: bytes of a file are shown only if the file was still made of the same blocks after they were read.
//! Who calls   faces that only look: `ls`, `cat`, `fsck`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::error::{NameError, PoolError};
use crate::file::FileExtent;
use crate::medium::attributes::{Attributes, More};
use crate::medium::image::{FileImage, Image, KindImage, NoImage, NodeImage, ROOT};
use crate::medium::log::replay;
use crate::medium::record::Record;
use crate::medium::source::Source;
use crate::medium::superblock::Superblock;
use crate::names::{DirEntry, LINKS_MAX, Last, Split};
use crate::node::{FileId, FileKind, Metadata};

/// How often a state is read again while the owner changes it.
const TRIES: u32 = 50;

/// What a pool's medium says, as of one moment.
pub struct Snapshot {
    source: Box<dyn Source + Send + Sync>,
    superblock: Superblock,
    image: Image,
    links: BTreeMap<u64, u32>,
}

/// What a pool is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolInfo {
    /// Tells it from all others.
    pub id: [u8; 16],
    /// The version of its format.
    pub format: u32,
    /// Bytes of a block.
    pub block_size: u64,
    /// Bytes of the pool.
    pub len: u64,
    /// Bytes of superblocks and log: what comes before the first block.
    pub reserved: u64,
    /// Bytes of the log, and how many of them hold records that are not in the checkpoint.
    pub log: (u64, u64),
    /// How many records those are.
    pub records: u64,
    /// Where the checkpoint lies, in bytes of the region.
    pub checkpoint: Vec<Range<u64>>,
    /// The number of its last superblock.
    pub generation: u64,
    /// Whether devices of the present boot may reach it, as far as the superblock knows.
    pub reached: bool,
    /// Files, directories and links.
    pub nodes: u64,
    /// Bytes of blocks in files.
    pub in_files: u64,
    /// Bytes of blocks that are in no file and not the checkpoint's. What is parked is among them.
    pub free: u64,
}

impl Snapshot {
    /// Looks at the pool that a file holds.
    ///
    /// # Errors
    /// [`PoolError`]: `NotAPool`, `Version`, `Damaged`, `Cut`, `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PoolError> {
        let path = path.as_ref();
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let kind = std::fs::metadata(path).map_err(PoolError::Io)?.file_type();
        match kind.is_file() || kind.is_char_device() {
            true => Self::of(File::open(path).map_err(PoolError::Io)?),
            false => Err(PoolError::NotAPool),
        }
    }

    /// Looks at a pool from anywhere.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn of(source: impl Source + Send + Sync + 'static) -> Result<Self, PoolError> {
        let source: Box<dyn Source + Send + Sync> = Box::new(source);
        let (superblock, image) = read_one_moment(&*source)?;
        let mut links = BTreeMap::new();
        for node in image.nodes.values() {
            if let KindImage::Directory(entries) = &node.kind {
                entries.values().for_each(|node| *links.entry(*node).or_default() += 1);
            }
        }
        Ok(Self { source, superblock, image, links })
    }

    /// What the pool is.
    pub fn info(&self) -> PoolInfo {
        let block = self.superblock.block;
        let blocks_in_files: u64 = self.files().map(|(_, file)| file.extents.blocks()).sum();
        let of_checkpoint: u64 = self.image.chunks.iter().map(|(_, len)| len).sum();
        let used = self.superblock.first_block() + blocks_in_files + of_checkpoint;
        PoolInfo {
            id: self.superblock.pool,
            format: self.superblock.version,
            block_size: block.bytes(),
            len: self.superblock.len,
            reserved: block.offset(self.superblock.first_block()),
            log: (self.superblock.log_len, self.image.end - self.superblock.replay_from),
            records: self.image.records,
            checkpoint: self.image.chunks.iter().map(|(first, len)| block.to_bytes(&(*first..first + len))).collect(),
            generation: self.superblock.generation,
            reached: self.superblock.area_needed && self.superblock.boot == crate::token::this_boot(),
            nodes: self.image.nodes.len() as u64,
            in_files: block.offset(blocks_in_files),
            free: block.offset(self.superblock.blocks() - used),
        }
    }

    /// What is known of what a path leads to.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata, NameError> {
        self.known(self.walk(path.as_ref(), true)?, path.as_ref())
    }

    /// As [`Snapshot::metadata`], of the symbolic link itself if the path ends with one.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata, NameError> {
        self.known(self.walk(path.as_ref(), false)?, path.as_ref())
    }

    /// The names in a directory, in order of their bytes. Without `.` and `..`.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `ENOTDIR` for anything else.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, NameError> {
        let path = path.as_ref();
        match &self.node(self.walk(path, true)?, path)?.kind {
            KindImage::Directory(entries) => {
                let entry = |(name, id): (&[u8], u64)| {
                    let kind = kind_of(self.image.nodes.get(&id)?);
                    Some(DirEntry { name: std::ffi::OsString::from_vec(name.to_vec()), id: FileId(id), kind })
                };
                Ok(entries.iter().filter_map(|(name, id)| entry((name, *id))).collect())
            }
            KindImage::File(_) | KindImage::Symlink(_) | KindImage::Special(_) => {
                Err(NameError::NotDirectory(path.to_owned()))
            }
        }
    }

    /// Where a symbolic link leads, as it was written.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `EINVAL` for anything else.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf, NameError> {
        let path = path.as_ref();
        match &self.node(self.walk(path, false)?, path)?.kind {
            KindImage::Symlink(target) => Ok(PathBuf::from(std::ffi::OsString::from_vec(target.to_vec()))),
            KindImage::File(_) | KindImage::Directory(_) | KindImage::Special(_) => {
                Err(NameError::NotLink(path.to_owned()))
            }
        }
    }

    /// The names of the extended attributes of what a path leads to, or of the symbolic link at its end.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn extended_names(&self, path: impl AsRef<Path>) -> Result<Vec<Vec<u8>>, NameError> {
        let more = self.more(path.as_ref())?;
        Ok(more.into_iter().flat_map(|more| more.extended.keys()).map(|name| name.to_vec()).collect())
    }

    /// The value of an extended attribute of such a thing, if it has one of that name.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn extended(&self, path: impl AsRef<Path>, name: &[u8]) -> Result<Option<Vec<u8>>, NameError> {
        let more = self.more(path.as_ref())?;
        Ok(more.and_then(|more| more.extended.get(name)).map(|value| value.to_vec()))
    }

    fn more(&self, path: &Path) -> Result<Option<&More>, NameError> {
        Ok(self.node(self.walk(path, false)?, path)?.attributes.more.as_deref())
    }

    /// What a file is made of, in order. Where nothing is listed is a hole.
    ///
    /// # Errors
    /// [`NameError`]: `ENOENT`, or `EISDIR` for a directory.
    pub fn extents(&self, path: impl AsRef<Path>) -> Result<Vec<FileExtent>, NameError> {
        let id = self.walk(path.as_ref(), true)?;
        Ok(self.extents_of(self.file(id, path.as_ref())?))
    }

    /// Every file, those without a name too, each with what it is made of.
    pub fn all_extents(&self) -> impl Iterator<Item = (FileId, Vec<FileExtent>)> + '_ {
        self.files().map(|(id, file)| (FileId(id), self.extents_of(file)))
    }

    /// Copies bytes of a file from `offset` on into `to`; how many: fewer than asked for only at the end of the file. Holes
    /// read as zeros.
    ///
    /// # Errors
    /// [`PoolError`]: `Io`, and `Changed` if the file was cut or moved meanwhile: look at the pool anew.
    pub fn read_at(&self, file: FileId, offset: u64, to: &mut [u8]) -> Result<usize, PoolError> {
        let Some(KindImage::File(image)) = self.image.nodes.get(&file.0).map(|node| &node.kind) else {
            return Err(PoolError::Changed(file));
        };
        let bytes = offset..offset.saturating_add(to.len() as u64).min(image.len);
        if bytes.is_empty() {
            return Ok(0);
        }
        let block = self.superblock.block;
        for piece in image.extents.pieces(block.outward(&bytes)) {
            let whole = block.to_bytes(&(piece.at..piece.end()));
            let part = whole.start.max(bytes.start)..whole.end.min(bytes.end);
            let to = &mut to[(part.start - offset) as usize..(part.end - offset) as usize];
            match piece.bytes_at() {
                None => to.fill(0),
                Some(first) => {
                    let place = block.offset(first) + (part.start - whole.start);
                    self.source.read_at(place, to).map_err(PoolError::Io)?;
                }
            }
        }
        self.check_unchanged(file, image)?;
        Ok((bytes.end - bytes.start) as usize)
    }

    /// Q2: freed blocks are used again only after the log says that they left the file.
    fn check_unchanged(&self, file: FileId, image: &FileImage) -> Result<(), PoolError> {
        let now = Superblock::read(&*self.source).map_err(NoImage::Superblock)?;
        let a_record = |_: &Record<'_>| Err(io::Error::other("a record"));
        let nothing_new = now.generation == self.superblock.generation
            && replay(&*self.source, &now, self.image.end, a_record).is_ok();
        if nothing_new {
            return Ok(());
        }
        let (_, now) = read_one_moment(&*self.source)?;
        match now.nodes.get(&file.0).map(|node| &node.kind) {
            Some(KindImage::File(now)) if now.changed_at == image.changed_at => Ok(()),
            _ => Err(PoolError::Changed(file)),
        }
    }

    fn files(&self) -> impl Iterator<Item = (u64, &FileImage)> {
        self.image.nodes.iter().filter_map(|(id, node)| match &node.kind {
            KindImage::File(file) => Some((*id, file)),
            KindImage::Directory(_) | KindImage::Symlink(_) | KindImage::Special(_) => None,
        })
    }

    fn extents_of(&self, file: &FileImage) -> Vec<FileExtent> {
        let block = self.superblock.block;
        let runs = file.extents.runs().map(|(at, run)| FileExtent {
            offset: block.offset(at),
            len: block.offset(run.len),
            place: block.offset(run.block),
            written: run.holds_bytes(),
        });
        runs.collect()
    }

    fn node(&self, id: u64, path: &Path) -> Result<&NodeImage, NameError> {
        self.image.nodes.get(&id).ok_or_else(|| NameError::NotFound(path.to_owned()))
    }

    fn file(&self, id: u64, path: &Path) -> Result<&FileImage, NameError> {
        match &self.node(id, path)?.kind {
            KindImage::File(file) => Ok(file),
            KindImage::Directory(_) => Err(NameError::IsDirectory(path.to_owned())),
            KindImage::Symlink(_) => Err(NameError::NotFound(path.to_owned())),
            KindImage::Special(_) => Err(NameError::Special(path.to_owned())),
        }
    }

    fn known(&self, id: u64, path: &Path) -> Result<Metadata, NameError> {
        let node = self.node(id, path)?;
        let names = self.links.get(&id).copied().unwrap_or(0);
        let (len, blocks, links) = match &node.kind {
            KindImage::File(file) => (file.len, file.extents.blocks(), names),
            KindImage::Directory(entries) => {
                let is_directory =
                    |id: &&u64| self.image.nodes.get(id).is_some_and(|node| kind_of(node) == FileKind::Directory);
                (0, 0, 2 + entries.values().filter(is_directory).count() as u32)
            }
            KindImage::Symlink(target) => (target.len() as u64, 0, names),
            KindImage::Special(_) => (0, 0, names),
        };
        let allocated = self.superblock.block.offset(blocks);
        let Attributes { modified, changed, more } = &node.attributes;
        let known = Metadata { len, allocated, links, ..Metadata::of(FileId(id), kind_of(node)) };
        Ok(known.with(*modified, *changed, more.as_deref()))
    }

    /// What a path leads to.
    fn walk(&self, path: &Path, follow: bool) -> Result<u64, NameError> {
        if path.as_os_str().is_empty() {
            return Err(NameError::Empty);
        }
        let mut walk = Walk { snapshot: self, asked: path, links: 0 };
        walk.to(&[ROOT], path.as_os_str().as_bytes(), follow).map(|way| way.last().copied().unwrap_or(ROOT))
    }
}

/// A way along a path: the directories from the root on, and at its end what was found.
struct Walk<'s> {
    snapshot: &'s Snapshot,
    asked: &'s Path,
    links: usize,
}

impl Walk<'_> {
    fn to(&mut self, from: &[u64], path: &[u8], follow: bool) -> Result<Vec<u64>, NameError> {
        let split = Split::of(path);
        let mut way = if split.absolute { vec![ROOT] } else { from.to_vec() };
        for part in split.before() {
            way = self.step(way, part, true)?;
        }
        let way = self.step(way, split.last, follow || split.slash)?;
        let is_directory =
            way.last().and_then(|id| self.snapshot.image.nodes.get(id)).map(kind_of) == Some(FileKind::Directory);
        match split.slash && !is_directory {
            true => Err(NameError::NotDirectory(self.asked.to_owned())),
            false => Ok(way),
        }
    }

    fn step(&mut self, mut way: Vec<u64>, part: Last<'_>, follow: bool) -> Result<Vec<u64>, NameError> {
        let here = way.last().copied().unwrap_or(ROOT);
        let KindImage::Directory(entries) = &self.snapshot.node(here, self.asked)?.kind else {
            return Err(NameError::NotDirectory(self.asked.to_owned()));
        };
        match part {
            Last::Here => {}
            Last::Root => way.truncate(1),
            Last::Parent => way.truncate(way.len().saturating_sub(1).max(1)),
            Last::Name(name) => {
                let id = *entries.get(name).ok_or_else(|| NameError::NotFound(self.asked.to_owned()))?;
                match &self.snapshot.node(id, self.asked)?.kind {
                    KindImage::Symlink(target) if follow => {
                        self.links += 1;
                        if self.links > LINKS_MAX {
                            return Err(NameError::Loop(self.asked.to_owned()));
                        }
                        return self.to(&way, target, true);
                    }
                    _ => way.push(id),
                }
            }
        }
        Ok(way)
    }
}

fn kind_of(node: &NodeImage) -> FileKind {
    match &node.kind {
        KindImage::File(_) => FileKind::File,
        KindImage::Directory(_) => FileKind::Directory,
        KindImage::Symlink(_) => FileKind::Symlink,
        KindImage::Special(special) => FileKind::Special(*special),
    }
}

/// Q1. An owner may take a checkpoint while this reads: then it is read again.
fn read_one_moment(source: &(dyn Source + Send + Sync)) -> Result<(Superblock, Image), PoolError> {
    let generation = || Superblock::read(source).map(|superblock| superblock.generation).ok();
    let mut before = generation();
    for _ in 1..TRIES {
        let read = Superblock::read_with_image(source);
        let after = generation();
        if before == after {
            return Ok(read?);
        }
        before = after;
    }
    Ok(Superblock::read_with_image(source)?)
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("nodes", &self.image.nodes.len()).finish_non_exhaustive()
    }
}
