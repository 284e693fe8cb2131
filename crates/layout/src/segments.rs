//! Where segments come from: private memory, memfds, or files of a named area.
//!
//! Stays true  F1: each holder gets fresh memory, also where another had the place before it: children of the former one
//!                 may still map what that one had.
//!             F2: a holder's entry in the header names its file as long as the file is there, and no longer.
//! Dead owner  a file that no entry names is swept when the area is opened next.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::liveness::{InvitedHolder, OtherProcess, ThisProcess, started};
use crate::mechanism::error::AreaError;
use crate::mechanism::header::{AREA_VERSION, Growing};
use crate::mechanism::owner::{HOLDER_FREE, HOLDER_LINKED, Member, Owner};
use crate::mechanism::segment::{SEGMENT_MAGIC, Segment};
use crate::mechanism::view::Liveness;
use crate::mechanism::words::Words;
use crate::memory::{MapAs, Mapping, memfd};
use crate::named::{new_file, remove};
use crate::sync::{Arc, Mutex, Ordering, lock};

/// What segments are made of.
pub(crate) enum Source {
    /// Private memory: holders in this process only.
    Private,
    /// Memfds.
    Memfds,
    /// Files in the directory of a named area.
    Files(PathBuf),
}

/// Makes segments.
pub(crate) struct Segments {
    source: Source,
    incarnation: u64,
    /// Places at and above this were never used.
    used: Mutex<u32>,
}

/// Who is to hold a new segment.
pub(crate) enum Who {
    ThisProcess,
    Invited(OtherProcess),
}

impl Segments {
    pub(crate) fn new(source: Source, incarnation: u64) -> Self {
        Self { source, incarnation, used: Mutex::new(0) }
    }

    /// How many places were ever used.
    pub(crate) fn places(&self) -> u32 {
        *lock(&self.used)
    }

    pub(crate) fn are_shared(&self) -> bool {
        !matches!(self.source, Source::Private)
    }

    /// Takes over the place `index` of a former incarnation; to be called for growing places.
    pub(crate) fn take_over_place(&self, owner: &Owner, index: u32) -> Result<(), AreaError> {
        let mut used = lock(&self.used);
        while *used <= index {
            owner.view.header.allocate(Growing::Holders, *used)?;
            *used += 1;
        }
        Ok(())
    }

    /// A new segment for a holder in this process, linked before anybody can pin in it.
    pub(crate) fn new_member(&self, owner: &Owner) -> Result<Arc<Member>, AreaError> {
        self.add(owner, Who::ThisProcess).map(|(member, _)| member)
    }

    /// A new segment for a holder in another process, linked before anybody can pin in it, and its descriptor.
    pub(crate) fn invite(&self, owner: &Owner, process: OtherProcess) -> Result<(Arc<Member>, OwnedFd), AreaError> {
        let (member, file) = self.add(owner, Who::Invited(process))?;
        Ok((member, file.ok_or(AreaError::Embedded)?))
    }

    fn add(&self, owner: &Owner, who: Who) -> Result<(Arc<Member>, Option<OwnedFd>), AreaError> {
        let mut used = lock(&self.used);
        let index = free_place(owner, &mut used)?;
        let entry = owner.view.header.holder(index);
        let serial = entry.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let made = self.make(owner, index, serial, who).inspect_err(|_| {
            if let Source::Files(dir) = &self.source {
                remove(&segment_path(dir, index, serial));
            }
        });
        let Made { member, began, file } = made?;
        entry.pid.store(u64::from(member.liveness.pid()), Ordering::Relaxed);
        entry.started.store(began, Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire load in `Holder::join`.
        entry.state.store(HOLDER_LINKED, Ordering::Release);
        owner.link(Arc::clone(&member));
        Ok((member, file))
    }

    fn make(&self, owner: &Owner, index: u32, serial: u64, who: Who) -> Result<Made, AreaError> {
        let geometry = *owner.view.header.geometry();
        let words = geometry.segment().end;
        let over = |mapping| Segment::new(Words::new(Arc::new(mapping)), geometry);
        let file = match &self.source {
            Source::Private => None,
            Source::Memfds => Some(Arc::new(memfd("pinfold-segment", words)?)),
            Source::Files(dir) => Some(Arc::new(new_file(&segment_path(dir, index, serial), words)?)),
        };
        let segment = over(match &file {
            None => Mapping::private(words)?,
            Some(file) => Mapping::of_file(file, words, MapAs::Grown)?,
        });
        self.begin(&segment, index, serial)?;
        let in_file = |liveness: Box<dyn Liveness>| -> Box<dyn Liveness> {
            match &self.source {
                Source::Files(dir) => Box::new(InFile { path: segment_path(dir, index, serial), liveness }),
                _ => liveness,
            }
        };
        match who {
            Who::ThisProcess => {
                let liveness = in_file(Box::new(ThisProcess::new()));
                let began = match file {
                    None => 0,
                    Some(_) => started(std::process::id()).unwrap_or(0),
                };
                let member = Arc::new(Member::new(Arc::new(segment), index, true, liveness));
                Ok(Made { member, began, file: None })
            }
            Who::Invited(process) => {
                let file = file.ok_or(AreaError::Embedded)?;
                // The holder makes its pages real. Mapped anew, so that no descriptor of it stays here.
                drop(segment);
                let segment = Arc::new(over(Mapping::of_file(&file, words, MapAs::Written)?));
                let began = process.started();
                let liveness = in_file(Box::new(InvitedHolder { process, segment: Arc::clone(&segment) }));
                let member = Arc::new(Member::new(segment, index, false, liveness));
                Ok(Made { member, began, file: Arc::into_inner(file) })
            }
        }
    }

    fn begin(&self, segment: &Segment, place: u32, serial: u64) -> Result<(), AreaError> {
        segment.allocate_head()?;
        let head = segment.head();
        head.version.store(AREA_VERSION, Ordering::Relaxed);
        head.place.store(u64::from(place), Ordering::Relaxed);
        head.serial.store(serial, Ordering::Relaxed);
        head.incarnation.store(self.incarnation, Ordering::Relaxed);
        head.magic.store(SEGMENT_MAGIC, Ordering::Release);
        Ok(())
    }
}

struct Made {
    member: Arc<Member>,
    /// When its process started.
    began: u64,
    file: Option<OwnedFd>,
}

/// A holder whose segment is a file: it goes when nothing in it counts any more.
pub(crate) struct InFile {
    pub(crate) path: PathBuf,
    pub(crate) liveness: Box<dyn Liveness>,
}

impl Liveness for InFile {
    fn is_alive(&self) -> bool {
        self.liveness.is_alive()
    }

    fn pid(&self) -> u32 {
        self.liveness.pid()
    }

    fn settled(&self) {
        remove(&self.path);
    }
}

/// The file of a segment. Place and serial together are never used twice in one boot.
pub(crate) fn segment_path(dir: &Path, place: u32, serial: u64) -> PathBuf {
    dir.join(format!("segment.{place}.{serial}"))
}

/// The index of a holder entry that nobody uses.
fn free_place(owner: &Owner, used: &mut u32) -> Result<u32, AreaError> {
    let header = &owner.view.header;
    let free = (0..*used).find(|index| header.holder(*index).state.load(Ordering::Acquire) == HOLDER_FREE);
    if let Some(index) = free {
        return Ok(index);
    }
    let holders_max = header.geometry().holders_max;
    if *used == holders_max {
        return Err(AreaError::NoHolder { holders_max });
    }
    header.allocate(Growing::Holders, *used)?;
    *used += 1;
    Ok(*used - 1)
}
