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
use crate::memory::{MapAs, Mapping, file_bytes};
use crate::mechanism::error::AreaError;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{
    FLAG_NAMED, FLAG_SHARED, Growing, Header, HolderEntry, ParkedEntry, Prologue, VoidMark,
};
use crate::mechanism::marks::{NEVER_USED, PinKey, VOID};
use crate::mechanism::owner::{HOLDER_FREE, HOLDER_LINKED, Member};
use crate::mechanism::parked_records::ParkedRecord;
use crate::mechanism::segment::{Flags, Reading, Segment, SlotUse};
use crate::mechanism::words::{Record, Words};
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
        let mut former = Former::default();
        for header in headers.iter().filter(|header| header.stamp.boot == boot) {
            // The newest one was complete when it got its name, so it says all; older ones are only closed.
            former = Former::read(&dir, header)?;
        }
        for header in headers.iter().filter(|header| header.stamp.boot == boot) {
            header.close()?;
        }
        former.forget_what_does_not_count();
        let incarnation = headers.last().map_or(0, |newest| newest.stamp.incarnation) + 1;
        let geometry = former.geometry.filter(|_| former.is_something()).unwrap_or(options.geometry);
        let area = dir.found(incarnation, geometry, options, lock)?;
        former.hand_over(&dir, &area)?;
        dir.publish(incarnation)?;
        area.serve()
    }

    /// How many parked extents of former incarnations had no place in the header
    /// ([`Geometry::parked_max`](crate::Geometry)), so that this one does not know them. Unless it is 0, memory that this
    /// area does not account for may be reached until every pin in [`Area::quarantine`] is gone.
    pub fn parked_lost(&self) -> u64 {
        self.owner.view.header.prologue().parked_lost.load(Ordering::Relaxed)
    }
}
