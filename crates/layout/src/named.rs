//! Named areas: an area that lives as long as a device can reach the region, not as long as its owner.
//!
//! It is a directory: a header file and a segment file for each holder, so that each is written by one party and can be
//! handed over by itself. Whoever opens it while nobody owns it becomes its owner, with a new header and a new
//! incarnation, and takes over what the former one left: device pins, in quarantine where their holder is dead; void
//! marks; parked extents.
//!
//! Stays true  D1: one process owns the directory: it holds the lock file.
//!             D2: a header file is complete, and describes all that is inherited, before it has its name. The one with
//!                 the highest incarnation counts.
//!             D3: the former header is closed before its segments are scanned: as in a break, either the scan sees a
//!                 pin, or the pin sees that nobody serves it.
//!             D4: what is damaged, foreign or newer is left as it is.
//! Other boot  what is of another boot no device can reach: it is thrown away.
//! Trust       whoever may write a segment file may also cut it short, under the owner's feet: all holders of a named
//!             area belong to one domain of trust. (A memfd is sealed against that.)

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::area::{Area, AreaOptions, close};
use crate::liveness::{FormerHolder, OtherProcess};
use crate::mechanism::error::AreaError;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{
    FLAG_NAMED, FLAG_SHARED, Growing, Header, HolderEntry, ParkedEntry, Prologue, VoidMark,
};
use crate::mechanism::marks::{NEVER_USED, PinKey, VOID};
use crate::mechanism::owner::{HOLDER_FREE, HOLDER_LINKED, Member};
use crate::mechanism::parked_records::{ParkedRecord, whole_ones};
use crate::mechanism::segment::{Flags, Reading, Segment, SlotUse};
use crate::mechanism::words::{Record, Words};
use crate::memory::{MapAs, Mapping, file_bytes};
use crate::owner_lock::OwnerLock;
use crate::prologue::{Stamp, boot_id, read_words};
use crate::segments::{InFile, Segments, Source, segment_path};
use crate::sync::{Arc, Ordering};

impl Area {
    /// Opens the area named by the directory `path`, or makes it (its parent must exist), and becomes its owner.
    ///
    /// What a former owner of this boot left is taken over: the device pins of dead processes are in quarantine, those
    /// of living ones are theirs until they unpin or die; `Cpu` pins of dead processes are gone; what was parked stays
    /// parked ([`BusyExtents::inherited`](crate::BusyExtents::inherited)). While any of that is left, the area keeps its
    /// capacities, whatever `options` say. Holders of the former owner must be [invited](Area::invite) again.
    ///
    /// Holders write files of the directory, and who may write a file may cut it short: unlike those of
    /// [`Area::shared`], they can bring the owner down. They belong to its domain of trust.
    ///
    /// # Errors
    /// [`AreaError::Owned`] while another process, or this one, owns it. [`AreaError::NotAnArea`],
    /// [`AreaError::Damaged`], [`AreaError::Version`]: then nothing was written.
    pub fn open(path: &Path, options: AreaOptions) -> Result<Self, AreaError> {
        if !options.geometry.is_sound() {
            return Err(AreaError::BadGeometry);
        }
        let dir = Directory::enter(path)?;
        let lock = OwnerLock::take(path)?;
        let headers = dir.headers()?;
        let boot = boot_id()?;
        let of_this_boot = || headers.iter().filter(|header| header.stamp.boot == boot);
        // The newest one was complete when it got its name, so it says all. Older ones are only closed: whoever was killed
        // while he threw them away may have begun with their segments.
        let newest = of_this_boot().next_back();
        let mut former = newest.map_or_else(|| Ok(Former::default()), |newest| Former::read(&dir, newest))?;
        of_this_boot().try_for_each(FoundHeader::close)?;
        former.forget_what_does_not_count();
        let incarnation = headers.last().map_or(0, |newest| newest.stamp.incarnation) + 1;
        let geometry = former.geometry.filter(|_| former.is_something()).unwrap_or(options.geometry);
        let unborn = Unborn { path: dir.unborn(incarnation) };
        let area = unborn.make(&dir, incarnation, geometry, options, lock)?;
        former.hand_over(&dir, &area)?;
        unborn.publish(&dir.header(incarnation))?;
        dir.sweep(incarnation, &area.owner.view.header, area.segments.places())?;
        area.serve()
    }

    /// Whether the directory `path` holds an area. It only looks.
    pub fn is_there(path: &Path) -> bool {
        let is_header = |entry: io::Result<fs::DirEntry>| {
            let named = entry.ok()?.file_name().to_str().map(Named::parse)?;
            Some(matches!(named, Named::Header(_)))
        };
        fs::read_dir(path).is_ok_and(|mut entries| entries.any(|entry| is_header(entry) == Some(true)))
    }

    /// How many parked extents of former incarnations had no place in the header
    /// ([`Geometry::parked_max`](crate::Geometry)), so that this one does not know them. Unless it is 0, memory that this
    /// area does not account for may be reached until every pin in [`Area::quarantine`] is gone.
    pub fn parked_lost(&self) -> u64 {
        self.owner.view.header.prologue().parked_lost.load(Ordering::Relaxed)
    }
}

/// The directory of a named area.
struct Directory {
    path: PathBuf,
}

/// A file of the directory, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Lock,
    /// Of this incarnation.
    Header(u64),
    /// A header that had not got its name when its owner died.
    Unborn(u64),
    /// Of this place and serial.
    Segment(u32, u64),
    /// Not ours.
    Other,
}

impl Named {
    pub(crate) fn parse(name: &str) -> Self {
        let mut parts = name.split('.');
        let kind = parts.next();
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let numbers = (number(), number(), parts.next());
        match (kind, numbers) {
            (Some(crate::owner_lock::LOCK), (None, None, None)) => Self::Lock,
            (Some("header"), (Some(incarnation), None, None)) => Self::Header(incarnation),
            (Some("new"), (Some(incarnation), None, None)) => Self::Unborn(incarnation),
            (Some("segment"), (Some(place), Some(serial), None)) => {
                u32::try_from(place).map_or(Self::Other, |place| Self::Segment(place, serial))
            }
            _ => Self::Other,
        }
    }
}

impl Directory {
    /// The directory at `path`, which is made if there is none. One that holds other files, and none of ours, is
    /// somebody else's.
    fn enter(path: &Path) -> Result<Self, AreaError> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed("make its directory"))?,
        }
        let not_ours = || AreaError::NotAnArea(path.display().to_string());
        if !fs::metadata(path).map_err(failed("look at its directory"))?.is_dir() {
            return Err(not_ours());
        }
        let path = path.canonicalize().map_err(failed("look at its directory"))?;
        let dir = Self { path };
        let names = dir.names()?;
        if !names.is_empty() && names.iter().all(|(_, named)| *named == Named::Other) {
            return Err(not_ours());
        }
        Ok(dir)
    }

    fn names(&self) -> Result<Vec<(PathBuf, Named)>, AreaError> {
        let list = || -> io::Result<Vec<_>> {
            fs::read_dir(&self.path)?
                .map(|entry| {
                    let entry = entry?;
                    Ok((entry.path(), entry.file_name().to_str().map_or(Named::Other, Named::parse)))
                })
                .collect()
        };
        list().map_err(failed("list its directory"))
    }

    /// Every header, checked, the newest last.
    fn headers(&self) -> Result<Vec<FoundHeader>, AreaError> {
        let mut headers = Vec::new();
        for (path, named) in self.names()? {
            if let Named::Header(incarnation) = named {
                headers.push(FoundHeader::check(&path, incarnation)?);
            }
        }
        headers.sort_by_key(|header| header.stamp.incarnation);
        Ok(headers)
    }

    fn unborn(&self, incarnation: u64) -> PathBuf {
        self.path.join(format!("new.{incarnation}"))
    }

    fn header(&self, incarnation: u64) -> PathBuf {
        self.path.join(format!("header.{incarnation}"))
    }

    /// Throws away what no header names any more.
    fn sweep(&self, incarnation: u64, header: &Header, places: u32) -> Result<(), AreaError> {
        for (path, named) in self.names()? {
            let in_use = match named {
                Named::Lock | Named::Other => true,
                Named::Header(of) => of == incarnation,
                Named::Unborn(_) => false,
                Named::Segment(place, serial) => {
                    let entry = || header.holder(place);
                    place < places
                        && entry().state.load(Ordering::Acquire) != HOLDER_FREE
                        && entry().serial.load(Ordering::Relaxed) == serial
                }
            };
            if !in_use {
                remove(&path);
            }
        }
        Ok(())
    }
}

/// A header of a former incarnation.
pub(crate) struct FoundHeader {
    what: String,
    file: Arc<OwnedFd>,
    pub(crate) stamp: Stamp,
}

impl FoundHeader {
    fn check(path: &Path, incarnation: u64) -> Result<Self, AreaError> {
        let file = private_file().open(path).map_err(failed("open its header"))?;
        Self::of(file, path, incarnation)
    }

    /// The header in `file`, which has the name `path`. It is only read.
    pub(crate) fn of(file: File, path: &Path, incarnation: u64) -> Result<Self, AreaError> {
        let (what, file) = (path.display().to_string(), OwnedFd::from(file));
        let stamp = Stamp::check(&file, &what)?;
        let named = stamp.flags & FLAG_NAMED != 0 && stamp.incarnation == incarnation;
        if !named {
            return Err(AreaError::Damaged { what, why: "it is not the header that its name says" });
        }
        Ok(Self { what, file: Arc::new(file), stamp })
    }

    /// Tells those who still have it mapped that nobody serves it (D3).
    fn close(&self) -> Result<(), AreaError> {
        let words = self.stamp.geometry.header().end;
        let mapping = Mapping::of_file(&self.file, words, MapAs::Grown)?;
        let header = Header::new(Words::new(Arc::new(mapping)), self.stamp.geometry);
        let used = header.prologue().cells_used.load(Ordering::Acquire).min(u64::from(self.stamp.geometry.files_max));
        // They are real, or the header is damaged; then this is an error, and not a SIGBUS.
        (0..used as u32).try_for_each(|cell| header.allocate(Growing::Cells, cell))?;
        close(&header);
        Ok(())
    }

    pub(crate) fn damaged(&self, why: &'static str) -> AreaError {
        AreaError::Damaged { what: self.what.clone(), why }
    }

    /// The prologue as it is now, as words.
    pub(crate) fn prologue(&self) -> Result<PrologueWords, AreaError> {
        Ok(PrologueWords(read_words(&self.file, 0, Prologue::WORDS)?))
    }

    /// The extents that it says are parked.
    pub(crate) fn parked(&self) -> Result<Vec<ParkedRecord>, AreaError> {
        let geometry = self.stamp.geometry;
        let mut parked = Vec::new();
        for_each_entry::<{ ParkedEntry::WORDS }>(self, geometry.header().parked, geometry.parked_max, |_, words| {
            let record = ParkedRecord::read(words).map_err(|_| self.damaged("a parked extent has another checksum"))?;
            parked.extend(record);
            Ok(true)
        })?;
        Ok(whole_ones(parked))
    }

    /// The pins that it says are void.
    pub(crate) fn voids(&self) -> Result<Vec<PinKey>, AreaError> {
        let geometry = self.stamp.geometry;
        let mut voids = Vec::new();
        for_each_entry::<{ VoidMark::WORDS }>(self, geometry.header().voids, geometry.voids_max, |_, words| {
            let [used, segment, slot, version] = words;
            if used & VOID != 0 {
                voids.push(PinKey { segment: segment as u32, slot: slot as u32, version });
            }
            Ok(used != NEVER_USED)
        })?;
        Ok(voids)
    }

    /// The places of holders that are in use.
    pub(crate) fn holders(&self) -> Result<Vec<HolderWords>, AreaError> {
        let geometry = self.stamp.geometry;
        let mut holders = Vec::new();
        for_each_entry::<{ HolderEntry::WORDS }>(
            self,
            geometry.header().holders,
            geometry.holders_max,
            |index, words| {
                let [state, pid, started, serial, ..] = words;
                if state != HOLDER_FREE {
                    holders.push(HolderWords {
                        index,
                        linked: state == HOLDER_LINKED,
                        pid: pid as u32,
                        started,
                        serial,
                    });
                }
                Ok(true)
            },
        )?;
        Ok(holders)
    }
}

/// A prologue as it was read.
pub(crate) struct PrologueWords(Vec<u64>);

impl PrologueWords {
    /// The word at `offset`, in bytes; 0 past the end.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        self.0.get(offset / 8).copied().unwrap_or(0)
    }
}

/// What a header says of one holder.
pub(crate) struct HolderWords {
    pub(crate) index: u32,
    linked: bool,
    pub(crate) pid: u32,
    pub(crate) started: u64,
    pub(crate) serial: u64,
}

impl HolderWords {
    /// Its process, if that runs and was not found gone.
    pub(crate) fn living(&self) -> Result<Option<OtherProcess>, AreaError> {
        match self.linked {
            true => OtherProcess::find(self.pid, self.started),
            false => Ok(None),
        }
    }
}

/// What a former incarnation of this boot left.
#[derive(Default)]
struct Former {
    geometry: Option<Geometry>,
    generation_high: u64,
    commit_high: u64,
    parked_lost: u64,
    parked: Vec<ParkedRecord>,
    voids: Vec<PinKey>,
    segments: Vec<FormerSegment>,
}

/// Entries that are read at a time.
const ENTRIES: usize = 1024;

impl Former {
    fn read(dir: &Directory, header: &FoundHeader) -> Result<Self, AreaError> {
        let (geometry, prologue) = (header.stamp.geometry, header.prologue()?);
        let open = |holder: HolderWords| FormerSegment::open(dir, geometry, holder);
        Ok(Self {
            geometry: Some(geometry),
            generation_high: prologue.word(std::mem::offset_of!(Prologue, generation_high)),
            commit_high: prologue.word(std::mem::offset_of!(Prologue, commit_high)),
            parked_lost: prologue.word(std::mem::offset_of!(Prologue, parked_lost)),
            segments: header.holders()?.into_iter().map(open).collect::<Result<_, _>>()?,
            voids: header.voids()?,
            parked: header.parked()?,
        })
    }

    /// To be called once the header is closed: nobody pins any more.
    fn forget_what_does_not_count(&mut self) {
        let voids = &self.voids;
        self.segments.retain(|segment| segment.counts(voids));
    }

    fn is_something(&self) -> bool {
        !self.segments.is_empty() || !self.parked.is_empty()
    }

    /// Writes all of it into the new area.
    fn hand_over(self, dir: &Directory, area: &Area) -> Result<(), AreaError> {
        let owner = &area.owner;
        let header = &owner.view.header;
        header.prologue().generation_high.store(self.generation_high, Ordering::Relaxed);
        if !self.segments.is_empty() {
            header.prologue().parked_lost.store(self.parked_lost, Ordering::Relaxed);
        }
        for key in self.voids {
            if self.segments.iter().any(|segment| segment.index == key.segment) {
                owner.marks.set(header, key, VOID, |_| None);
            }
        }
        for former in self.segments {
            area.segments.take_over_place(owner, former.index)?;
            let entry = header.holder(former.index);
            entry.pid.store(u64::from(former.pid), Ordering::Relaxed);
            entry.started.store(former.started, Ordering::Relaxed);
            entry.serial.store(former.serial, Ordering::Relaxed);
            entry.state.store(HOLDER_LINKED, Ordering::Release);
            owner.take_over(former.into_member(dir));
        }
        owner.inherit(self.parked, self.commit_high);
        Ok(())
    }
}

/// Calls `take` with each entry of a table of the header, until it says no.
fn for_each_entry<const WORDS: usize>(
    header: &FoundHeader,
    table: usize,
    entries: u32,
    mut take: impl FnMut(u32, [u64; WORDS]) -> Result<bool, AreaError>,
) -> Result<(), AreaError> {
    for first in (0..entries as usize).step_by(ENTRIES) {
        let count = ENTRIES.min(entries as usize - first);
        let words = read_words(&header.file, table + first * WORDS, count * WORDS)?;
        for (index, entry) in words.chunks_exact(WORDS).enumerate() {
            let entry = entry.try_into().expect("chunks of this length");
            if !take((first + index) as u32, entry)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A segment of a former incarnation.
struct FormerSegment {
    index: u32,
    serial: u64,
    pid: u32,
    started: u64,
    living: Option<OtherProcess>,
    segment: Arc<Segment>,
}

impl FormerSegment {
    fn open(dir: &Directory, geometry: Geometry, holder: HolderWords) -> Result<Self, AreaError> {
        let living = holder.living()?;
        let HolderWords { index, pid, started, serial, .. } = holder;
        let path = segment_path(&dir.path, index, serial);
        let file = match private_file().open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = path.display().to_string();
                return Err(AreaError::Damaged { what, why: "it is missing, and its pins are not known" });
            }
            Err(error) => return Err(failed("open a segment")(error)),
        };
        let words = geometry.segment().end;
        if file.metadata().map_err(failed("look at a segment"))?.len() < file_bytes(words) {
            // Its holder cut it short. What was cut off were pins of its own.
            file.set_len(file_bytes(words)).map_err(failed("size a segment"))?;
        }
        let mapping = Mapping::of_file(&Arc::new(OwnedFd::from(file)), words, MapAs::Written)?;
        let segment = Arc::new(Segment::new(Words::new(Arc::new(mapping)), geometry));
        Ok(Self { index, serial, pid, started, living, segment })
    }

    /// Whether a pin in it is one: any pin of a living process, a device pin of a dead one that was not declared void.
    fn counts(&self, voids: &[PinKey]) -> bool {
        let counts = |pin: Reading| {
            pin.state.usage() == SlotUse::Held
                && (self.living.is_some() || pin.state.flags().has(Flags::DEVICE))
                && !voids.contains(&PinKey::of(self.index, &pin))
        };
        self.segment.all().any(counts)
    }

    fn into_member(self, dir: &Directory) -> Arc<Member> {
        let Self { index, serial, pid, living, segment, .. } = self;
        let path = segment_path(&dir.path, index, serial);
        let liveness = Box::new(FormerHolder { pid, process: living, segment: Arc::clone(&segment) });
        Arc::new(Member::new(segment, index, false, Box::new(InFile { path, liveness })))
    }
}

/// A header file that has not got its name. If it does not get it, the file goes again.
struct Unborn {
    path: PathBuf,
}

impl Unborn {
    fn make(
        &self,
        dir: &Directory,
        incarnation: u64,
        geometry: Geometry,
        options: AreaOptions,
        lock: OwnerLock,
    ) -> Result<Area, AreaError> {
        remove(&self.path);
        let words = geometry.header().end;
        let file = Arc::new(new_file(&self.path, words)?);
        let stamp = Stamp::of_this_process(options.flags() | FLAG_SHARED | FLAG_NAMED, incarnation, geometry)?;
        let segments = Segments::new(Source::Files(dir.path.clone()), incarnation);
        let words = Words::new(Arc::new(Mapping::of_file(&file, words, MapAs::Grown)?));
        let mut area = Area::over(words, segments, &stamp, options, Some(Box::new(lock)))?;
        area.header = Some(file);
        Ok(area)
    }

    fn publish(&self, path: &Path) -> Result<(), AreaError> {
        fs::rename(&self.path, path).map_err(failed("name its header"))
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        // Nothing is there any more once it was published.
        remove(&self.path);
    }
}

/// How files of the directory are opened.
pub(crate) fn private_file() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

/// A new file of `words` words, none of them real yet.
pub(crate) fn new_file(path: &Path, words: usize) -> Result<OwnedFd, AreaError> {
    let file = private_file().create_new(true).open(path).map_err(failed("make a file"))?;
    file.set_len(file_bytes(words)).map_err(failed("size a file of it")).inspect_err(|_| remove(path))?;
    Ok(file.into())
}

/// Removes a file. One that cannot be removed now is swept when the area is opened next.
pub(crate) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> AreaError {
    move |error| AreaError::System { what, source: Errno::from_io_error(&error).unwrap_or(Errno::IO) }
}
