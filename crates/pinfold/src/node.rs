//! A node: one file, directory or symbolic link, whatever its names.
//!
//! A file's life and a transfer's are separate: a pin keeps blocks, and neither a name nor a size.
//!
//! Stays true  M1: what is put into a file's map is put there under a pin of its range, and what is taken out is taken
//!                 out inside a break of it. So while a range is closed, its map stands still.
//!             M2: the bytes of a file's last block that lie past its end are zero, and so is, or reads, all after it. But
//!                 for what was stored there through a view, which shows whole pages: that is zeroed before the file becomes
//!                 longer.
//!             M3: a node without links and without open handles is evicted, once, and nobody opens it after.
//! Lock order  directories; `life`; `extend`; then pins; then `populate`; `map`; the allocator's. None is held while a
//!             break or a pin waits, but `extend`, which breaks never take.
//! Dead owner  nodes live in memory, and die with it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, SystemTime};

use pinfold_layout::Extent;
use rustix::time::{ClockId, clock_gettime};

use crate::changes::Changes;
use crate::dirty::Dirty;
use crate::extents::{ExtentMap, Run};
use crate::file::OpenFile;
use crate::lock::{lock, read, write};
use crate::medium::attributes::{Attributes, More};
use crate::medium::codec::{Decoded, Garbled};
use crate::names::Directory;
use crate::units::BlockSize;
use crate::view::FileViews;

/// Names a file of a pool, whatever it is called. Never used twice in a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub(crate) u64);

impl FileId {
    /// The number, as pins and tokens carry it.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.0)
    }
}

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// Bytes.
    File,
    /// Names.
    Directory,
    /// Another path.
    Symlink,
    /// A name for something of the kernel's: it opens through a mount alone.
    Special(Special),
}

/// What is no bytes of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Special {
    /// A named pipe.
    Pipe,
    /// A local socket.
    Socket,
    /// A device that moves bytes, by its number as `stat` gives it.
    CharDevice(u64),
    /// A device that moves blocks, likewise.
    BlockDevice(u64),
}

impl Special {
    /// As it is written down: what it is, and its number.
    pub(crate) fn numbers(self) -> [u64; 2] {
        match self {
            Self::Pipe => [1, 0],
            Self::Socket => [2, 0],
            Self::CharDevice(device) => [3, device],
            Self::BlockDevice(device) => [4, device],
        }
    }

    pub(crate) fn of_numbers(numbers: [u64; 2]) -> Decoded<Self> {
        match numbers {
            [1, 0] => Ok(Self::Pipe),
            [2, 0] => Ok(Self::Socket),
            [3, device] => Ok(Self::CharDevice(device)),
            [4, device] => Ok(Self::BlockDevice(device)),
            _ => Err(Garbled("a special file of an unknown kind")),
        }
    }
}

/// What is known of a file, directory or link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Which file it is, whatever its name.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes; of a link, of its target.
    pub len: u64,
    /// Bytes of the blocks that it has.
    pub allocated: u64,
    /// How many names it has. A directory's count as everywhere on Unix: two, and one for each directory in it; none once
    /// it was removed.
    pub links: u32,
    /// When its bytes, names or target last changed through a call (a device's writes and stores through views are not seen), or
    /// what that was set to.
    pub modified: SystemTime,
    /// When anything of it last changed: that, its attributes, or how many names it has.
    pub changed: SystemTime,
    /// What the time of its last reading was set to; else as `modified`. Reading does not change it.
    pub accessed: SystemTime,
    /// Permissions, and the three bits above them: `0o7777`. As long as nobody has set them: 0644, of directories 0755, of links 0777.
    pub mode: u32,
    /// The owner's user id. `None` as long as nobody has set it: whoever owns the pool.
    pub uid: Option<u32>,
    /// The owner's group id, likewise.
    pub gid: Option<u32>,
}

pub(crate) struct Node {
    pub(crate) id: FileId,
    pub(crate) kind: Kind,
    /// Under which name it was last linked. For a directory it says which one it lies in; for all others it is for people.
    /// `None` when that name is gone, even where another is left.
    pub(crate) name: Mutex<Option<Name>>,
    pub(crate) life: Mutex<Life>,
    /// Nanoseconds since 1970: when its bytes, names or target changed, and when anything of it did.
    modified: AtomicU64,
    changed: AtomicU64,
    /// What few nodes have. Locked while any of it, or a time, is set by somebody.
    pub(crate) more: Mutex<Option<Box<More>>>,
    /// Whether the log knows of that.
    touched: AtomicBool,
}

pub(crate) enum Kind {
    File(FileBody),
    Directory(Directory),
    Symlink(Box<[u8]>),
    Special(Special),
}

/// A name in a directory.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) parent: Weak<Node>,
    pub(crate) name: Arc<[u8]>,
}

/// How many names and handles keep a node.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) links: u32,
    /// Open states: one, or two for the moment in which the last handle of one goes and another is opened.
    pub(crate) opens: u32,
    pub(crate) current: Weak<OpenFile>,
    /// A reservation: nobody else opens it before it has its name, not even by its id.
    pub(crate) reserved: bool,
}

impl Life {
    /// Nobody names it, nobody has it open.
    pub(crate) fn is_over(&self) -> bool {
        self.links == 0 && self.opens == 0
    }
}

/// What makes a node a file of bytes.
#[derive(Default)]
pub(crate) struct FileBody {
    pub(crate) map: RwLock<FileMap>,
    /// Held while blocks are put under holes, or are written for the first time.
    pub(crate) populate: Mutex<()>,
    /// Held by whoever makes the file longer.
    pub(crate) extend: Mutex<()>,
    /// Whether its layout was ever given to what may outlive its handles: a device's pin, another process.
    pub(crate) exposed: AtomicBool,
    /// Which of its blocks hold bytes that are not durable.
    pub(crate) dirty: Mutex<Dirty>,
    /// What shows its blocks.
    pub(crate) views: FileViews,
    /// Held from when these notes are taken until what they speak of was flushed.
    pub(crate) flushing: Mutex<()>,
}

#[derive(Default)]
pub(crate) struct FileMap {
    /// Bytes.
    pub(crate) len: u64,
    pub(crate) extents: ExtentMap,
    /// The end of the last record that changed it: what a checkpoint holds of it is true up to there.
    pub(crate) position: u64,
    /// What was broken when, for tokens.
    pub(crate) changes: Changes,
    /// The file's life is over: the log says so now, or is about to, and nothing of it after that.
    pub(crate) ended: bool,
}

impl Kind {
    /// As callers know it.
    pub(crate) fn as_known(&self) -> FileKind {
        match self {
            Self::File(_) => FileKind::File,
            Self::Directory(_) => FileKind::Directory,
            Self::Symlink(_) => FileKind::Symlink,
            Self::Special(special) => FileKind::Special(*special),
        }
    }
}

impl Node {
    pub(crate) fn new(id: FileId, kind: Kind) -> Arc<Self> {
        Self::restored(id, kind, Attributes::made(now()))
    }

    /// A node that a medium has.
    pub(crate) fn restored(id: FileId, kind: Kind, attributes: Attributes) -> Arc<Self> {
        let Attributes { modified, changed, more } = attributes;
        let (name, life, touched) = Default::default();
        let (modified, changed) = (AtomicU64::new(modified), AtomicU64::new(changed));
        Arc::new(Self { id, kind, name, life, modified, changed, more: Mutex::new(more), touched })
    }

    /// What it has beside its bytes.
    pub(crate) fn attributes(&self) -> Attributes {
        let more = lock(&self.more);
        Attributes { modified: self.modified_nanos(), changed: self.changed_nanos(), more: more.clone() }
    }

    /// When it was changed last, in nanoseconds since 1970.
    pub(crate) fn modified_nanos(&self) -> u64 {
        self.modified.load(Ordering::Relaxed)
    }

    /// When anything of it was changed last, likewise.
    pub(crate) fn changed_nanos(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    /// Whether it was touched since this was last asked.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    /// The body of a file; `None` for directories and links.
    pub(crate) fn file(&self) -> Option<&FileBody> {
        match &self.kind {
            Kind::File(body) => Some(body),
            Kind::Directory(_) | Kind::Symlink(_) | Kind::Special(_) => None,
        }
    }

    pub(crate) fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            Kind::File(_) | Kind::Symlink(_) | Kind::Special(_) => None,
        }
    }

    /// The first name of a new node.
    pub(crate) fn add_first_link(&self) {
        lock(&self.life).links += 1;
    }

    /// One name more. False if the node's life is over: then it gets none.
    pub(crate) fn add_link(&self) -> bool {
        let mut life = lock(&self.life);
        let alive = !life.is_over();
        life.links += u32::from(alive);
        alive
    }

    /// One name less. True if the node's life is over: then the caller evicts it.
    #[must_use]
    pub(crate) fn remove_link(&self) -> bool {
        let mut life = lock(&self.life);
        life.links -= 1;
        life.is_over()
    }

    /// Its bytes, names or target changed then, as a record says: if nothing did later (`medium::attributes`, A1).
    pub(crate) fn modified_at(&self, time: u64) {
        // ORDER: relaxed, as in all that follows; times for people.
        if self.changed.fetch_max(time, Ordering::Relaxed) <= time {
            self.modified.store(time, Ordering::Relaxed);
        }
    }

    /// Something else of it changed then.
    pub(crate) fn changed_at(&self, time: u64) {
        self.changed.fetch_max(time, Ordering::Relaxed);
    }

    /// Somebody sets its time. The caller has locked `more`, and appends a record of that.
    pub(crate) fn set_times(&self, modified: Option<u64>, time: u64) {
        let is_last = self.changed.fetch_max(time, Ordering::Relaxed) <= time;
        if let Some(modified) = modified.filter(|_| is_last) {
            self.touched.store(false, Ordering::Relaxed);
            self.modified.store(modified, Ordering::Relaxed);
        }
    }

    /// It is changed now, by what no record speaks of, or has spoken of before.
    pub(crate) fn touch(&self) {
        let now = now();
        self.modified.store(now, Ordering::Relaxed);
        self.changed.store(now, Ordering::Relaxed);
        self.is_touched();
    }

    /// That it was changed is on no record.
    pub(crate) fn is_touched(&self) {
        // ORDER: relaxed; whoever takes the flag took the file off the pool's list before, under its lock.
        self.touched.store(true, Ordering::Relaxed);
    }

    pub(crate) fn metadata(&self, block: BlockSize) -> Metadata {
        let names = lock(&self.life).links;
        let (len, blocks, links) = match &self.kind {
            Kind::File(body) => {
                let map = read(&body.map);
                (map.len, map.extents.blocks(), names)
            }
            Kind::Directory(directory) => (0, 0, if names == 0 { 0 } else { 2 + directory.directories() }),
            Kind::Symlink(target) => (target.len() as u64, 0, names),
            Kind::Special(_) => (0, 0, names),
        };
        let allocated = block.offset(blocks);
        let known = Metadata { len, allocated, links, ..Metadata::of(self.id, self.kind.as_known()) };
        let more = lock(&self.more);
        known.with(self.modified_nanos(), self.changed_nanos(), more.as_deref())
    }

    /// The path under which it was last linked, from the root. `None` if that is gone.
    pub(crate) fn path(&self) -> Option<Vec<u8>> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut name = lock(&self.name).clone();
        while let Some(Name { parent, name: last }) = name {
            names.push(last);
            name = lock(&parent.upgrade()?.name).clone();
        }
        (!names.is_empty()).then(|| names.iter().rev().flat_map(|name| [b"/", &name[..]].concat()).collect())
    }
}

impl Metadata {
    /// Of something of which nothing else is known.
    pub(crate) fn of(id: FileId, kind: FileKind) -> Self {
        let (modified, changed, accessed) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        let mode = match kind {
            FileKind::File | FileKind::Special(_) => 0o644,
            FileKind::Directory => 0o755,
            FileKind::Symlink => 0o777,
        };
        Self { id, kind, len: 0, allocated: 0, links: 0, modified, changed, accessed, mode, uid: None, gid: None }
    }

    /// The same with these attributes; times in nanoseconds since 1970.
    pub(crate) fn with(self, modified: u64, changed: u64, more: Option<&More>) -> Self {
        let time = |nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        let more = more.map(More::settings).unwrap_or_default();
        Self {
            modified: time(modified),
            changed: time(changed),
            accessed: time(more.accessed.unwrap_or(modified)),
            mode: more.mode.unwrap_or(self.mode),
            uid: more.uid,
            gid: more.gid,
            ..self
        }
    }
}

impl FileBody {
    /// Of a file that a medium has.
    pub(crate) fn restored(map: FileMap) -> Self {
        let body = Self { map: RwLock::new(map), ..Self::default() };
        // Its last owner may have been killed with a view of it.
        body.views.may_store_past_the_end();
        body
    }

    /// Takes everything out of the map of a file that nobody has open, if nobody can have pinned it either.
    pub(crate) fn take_unseen(&self, id: FileId, pinned_by_others: &AtomicBool) -> Option<Vec<Extent>> {
        let mut map = write(&self.map);
        // ORDER: relaxed. Pins through handles: the last one went under `life`. Other pins look their blocks up in the
        // map, which is locked: they did so before this, and it shows, or will find none. Copies ended with their handles.
        let seen = self.exposed.load(Ordering::Relaxed) || pinned_by_others.load(Ordering::Relaxed);
        (!seen).then(|| map.take_all(id))
    }
}

impl FileMap {
    /// Ends the file: takes everything out of the map, as extents that left `id`. Inside a break, or where nobody reaches it.
    pub(crate) fn take_all(&mut self, id: FileId) -> Vec<Extent> {
        (self.len, self.ended) = (0, true);
        self.take_out(id, 0..u64::MAX)
    }

    /// Takes the runs of a range of file blocks out of the map, as extents that left `id` (M1: inside a break).
    pub(crate) fn take_out(&mut self, id: FileId, range: std::ops::Range<u64>) -> Vec<Extent> {
        let left = self.extents.remove(range);
        left.into_iter().map(|(at, run)| extent(id, at, &run)).collect()
    }
}

fn extent(FileId(object): FileId, at: u64, run: &Run) -> Extent {
    Extent { object, start: at, end: at + run.len, block: run.block }
}

/// Nanoseconds since 1970, as of the last tick of the kernel.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}
