//! Invitations: how another process becomes a holder.
//!
//! The owner makes a segment for one process and hands over two descriptors: the header, which cannot be written
//! through it, and the segment, which is that process's alone. Who it is the owner knows from the invitation; nothing
//! that is written in a segment changes that.
//!
//! Stays true  J1: a segment is linked before its descriptor exists outside the owner, so before its first slot.
//!             J2: one holder joins through one invitation, once.
//! Dead holder the owner sees its end through a pidfd, and by the time it started; whether it had joined or not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::area::{Area, next_area};
use crate::liveness::OtherProcess;
use crate::mechanism::error::AreaError;
use crate::mechanism::fences::Fences;
use crate::mechanism::header::{FLAG_LIMITED, FLAG_SHARED, Header, HolderEntry};
use crate::mechanism::holder::Holder;
use crate::mechanism::owner::HOLDER_LINKED;
use crate::mechanism::segment::{HOLDER_INVITED, HOLDER_JOINED, HOLDER_LEFT, SEGMENT_MAGIC, Segment, SegmentHead};
use crate::mechanism::sleeper::Sleeper;
use crate::mechanism::view::View;
use crate::mechanism::words::{Record, Words};
use crate::memory::{MapAs, Mapping, file_bytes, read_only_twin};
use crate::prologue::{Stamp, boot_id, read_words, size_of_file};
use crate::sync::{Arc, Ordering, ProcessClock};

/// What a process needs to [join](Holder::join): two descriptors, to be sent over any Unix socket (`SCM_RIGHTS`).
///
/// It is made for one process, and serves once. A process that never joins keeps its place until it ends.
#[derive(Debug)]
#[must_use = "the place stays taken until the invited process ends"]
pub struct Invitation {
    header: OwnedFd,
    segment: OwnedFd,
    holder: u32,
}

impl Invitation {
    /// Header and segment, to be sent in this order.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.header.as_fd(), self.segment.as_fd()]
    }

    /// Header and segment.
    pub fn into_fds(self) -> [OwnedFd; 2] {
        [self.header, self.segment]
    }

    /// The index under which listings name the holder.
    pub fn holder(&self) -> u32 {
        self.holder
    }
}

impl Area {
    /// Invites the process `pid`: makes a segment for it, and links it. The area watches the process from now on.
    ///
    /// # Errors
    /// [`AreaError::Embedded`] for an area that cannot be shared, [`AreaError::NoProcess`], [`AreaError::NoHolder`];
    /// [`AreaError::System`] for want of descriptors (two for the invitation, one stays) or memory.
    pub fn invite(&self, pid: u32) -> Result<Invitation, AreaError> {
        if !self.owner.view.clock.is_of_this_process() {
            return Err(AreaError::Forked);
        }
        let header = read_only_twin(self.header.as_deref().ok_or(AreaError::Embedded)?)?;
        let (member, segment) = self.segments.invite(&self.owner, OtherProcess::open(pid)?)?;
        Ok(Invitation { header, segment, holder: member.index })
    }
}

impl Holder {
    /// Becomes the holder for which the owner of an area made these two descriptors.
    ///
    /// Dropping the holder says goodbye: its device pins that are left stay, in quarantine.
    ///
    /// # Errors
    /// [`AreaError`]: for what is not an area, damaged, of another version or boot; [`AreaError::NotInvited`] in any
    /// other process than the invited one, [`AreaError::JoinedBefore`] the second time, [`AreaError::OwnerDied`] when
    /// nobody serves the area any more. Nothing is written before all of it was checked.
    pub fn join(header: OwnedFd, segment: OwnedFd) -> Result<Arc<Self>, AreaError> {
        let stamp = Stamp::check(&header, "the header")?;
        if stamp.flags & FLAG_SHARED == 0 {
            return Err(AreaError::Damaged {
                what: "the header".to_owned(),
                why: "it is of an area that is not shared",
            });
        }
        if stamp.boot != boot_id()? {
            return Err(AreaError::OtherBoot("the header".to_owned()));
        }
        let ticket = Ticket::check(&segment, &stamp)?;
        let owner = OtherProcess::find(stamp.owner_pid, stamp.owner_started)?;
        let owner = owner.ok_or(AreaError::OwnerDied(stamp.owner_pid))?;
        check_invited(&header, &stamp, &ticket)?;

        let clock = ProcessClock::start().map_err(AreaError::system("start the clock of this process"))?;
        let words = Mapping::of_file(&Arc::new(header), stamp.geometry.header().end, MapAs::Read)?;
        let fences = Fences::new(false, true);
        let view = Arc::new(View {
            header: Header::new(Words::new(Arc::new(words)), stamp.geometry),
            fences,
            clock,
            area: next_area(),
            limited: stamp.flags & FLAG_LIMITED != 0,
            owner: Some(Box::new(owner)),
        });
        if let Some(pid) = view.dead_owner() {
            return Err(AreaError::OwnerDied(pid));
        }
        let words = Mapping::of_file(&Arc::new(segment), stamp.geometry.segment().end, MapAs::Grown)?;
        let segment = Arc::new(Segment::new(Words::new(Arc::new(words)), stamp.geometry));
        let sleeper = Arc::new(Sleeper::new(fences.futex(), true, clock));
        sleeper.start()?;

        let mut holder = Self::new(view, Arc::clone(&segment), ticket.place, false, sleeper);
        let state = &segment.head().holder_state;
        // ORDER: the exchange lets one of two win; it is the holder's own word.
        state
            .compare_exchange(HOLDER_INVITED, HOLDER_JOINED, Ordering::AcqRel, Ordering::Acquire)
            .map_err(|_| AreaError::JoinedBefore)?;
        holder.on_leave = Some(Box::new(move || {
            // ORDER: Release pairs with the Acquire in `InvitedHolder::is_alive`: its last unpins are seen.
            segment.head().holder_state.store(HOLDER_LEFT, Ordering::Release);
        }));
        let holder = Arc::new(holder);
        holder.serve_recalls();
        Ok(holder)
    }
}

/// Which invitation a segment is.
struct Ticket {
    place: u32,
    serial: u64,
}

impl Ticket {
    fn check(segment: &OwnedFd, stamp: &Stamp) -> Result<Self, AreaError> {
        let what = || "the segment".to_owned();
        let words = read_words(segment, 0, SegmentHead::WORDS)?;
        if words.first() != Some(&SEGMENT_MAGIC) {
            return Err(AreaError::NotAnArea(what()));
        }
        let damaged = |why| AreaError::Damaged { what: what(), why };
        let &[_, version, _, place, serial, incarnation, ..] = &words[..] else {
            return Err(damaged("it ends in its head"));
        };
        if version != crate::mechanism::header::AREA_VERSION {
            let known = crate::mechanism::header::AREA_VERSION;
            return Err(AreaError::Version { what: what(), found: version, known });
        }
        if incarnation != stamp.incarnation {
            return Err(damaged("it belongs to another header"));
        }
        if place >= u64::from(stamp.geometry.holders_max) {
            return Err(damaged("its place is none"));
        }
        if size_of_file(segment)? < file_bytes(stamp.geometry.segment().end) {
            return Err(damaged("it is shorter than its capacities say"));
        }
        Ok(Self { place: place as u32, serial })
    }
}

/// Whether the owner's record of the place says that it is this process's.
fn check_invited(header: &OwnedFd, stamp: &Stamp, ticket: &Ticket) -> Result<(), AreaError> {
    let at = stamp.geometry.header().holders + ticket.place as usize * HolderEntry::WORDS;
    let entry = read_words(header, at, HolderEntry::WORDS)?;
    let &[state, pid, started, serial, ..] = &entry[..] else {
        return Err(AreaError::Damaged { what: "the header".to_owned(), why: "it ends in its holders" });
    };
    let this = std::process::id();
    let same = pid == u64::from(this) && crate::liveness::started(this).is_none_or(|began| began == started);
    if state != HOLDER_LINKED || serial != ticket.serial || !same {
        return Err(AreaError::NotInvited { invited: pid as u32, pid: this });
    }
    Ok(())
}
