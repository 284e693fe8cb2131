//! What can go wrong, one enum for each operation, each case with the number that matters and an `errno`.

use std::ops::Range;

use rustix::io::Errno;

use super::attribution::PinInfo;
use super::revoke::NotRevoked;

/// Why an area could not be made, opened, joined or grown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AreaError {
    /// A capacity is zero, too large, or (for chains) no power of two.
    #[error("the area's capacities are not usable: each must be at least 1, and `chains` a power of two")]
    BadGeometry,
    /// The kernel refused memory or an object for the area.
    #[error("the layout area could not {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The memory is not a layout area at all.
    #[error("{0} is not a layout area of pinfold")]
    NotAnArea(String),
    /// It is one, but its checksum or a size does not match.
    #[error("{what} is damaged: {why}; nothing was written to it")]
    Damaged {
        /// Which file or descriptor.
        what: String,
        /// What does not match.
        why: &'static str,
    },
    /// It was written by another version.
    #[error("{what} has version {found} of the layout area, this library knows version {known}")]
    Version {
        /// Which file or descriptor.
        what: String,
        /// The version found.
        found: u64,
        /// The version known here.
        known: u64,
    },
    /// It is of an earlier boot of the machine, or of another machine.
    #[error("{0} belongs to another boot: no device can reach what it describes; ask its owner again")]
    OtherBoot(String),
    /// Another process owns it.
    #[error("{what} is in use by process {pid}")]
    Owned {
        /// Which directory.
        what: String,
        /// Who owns it.
        pid: u32,
    },
    /// All places for holders are taken, those in quarantine included.
    #[error("no place for another holder: all {holders_max} are in use or in quarantine")]
    NoHolder {
        /// The capacity.
        holders_max: u32,
    },
    /// All places for files with state are taken by files in use.
    #[error("no place for another file: all {files_max} with state are in use")]
    NoFile {
        /// The capacity.
        files_max: u32,
    },
    /// Object 0 means "no object".
    #[error("0 is not an object id")]
    ZeroObject,
    /// The invitation was made for another process.
    #[error("this segment was made for process {invited}, and this is process {pid}")]
    NotInvited {
        /// Who was invited.
        invited: u32,
        /// Who came.
        pid: u32,
    },
    /// A holder joined through this invitation before.
    #[error("a holder has joined through this invitation before: each serves once")]
    JoinedBefore,
    /// The area's owner died, or serves the area no more.
    #[error("the owner of the area, process {0}, died or closed it")]
    OwnerDied(u32),
    /// The process to be invited does not exist.
    #[error("there is no process {0} to invite")]
    NoProcess(u32),
    /// The area lies in this process's private memory.
    #[error("an embedded area cannot be shared: make it with `Area::shared` or `Area::open`")]
    Embedded,
    /// The handle was inherited through a fork.
    #[error("this handle belongs to the process that forked this one")]
    Forked,
}

impl AreaError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::BadGeometry | Self::ZeroObject | Self::NotAnArea(_) | Self::Embedded => Errno::INVAL,
            Self::System { source, .. } => *source,
            Self::Damaged { .. } => Errno::UCLEAN,
            Self::Version { .. } => Errno::PROTONOSUPPORT,
            Self::OtherBoot(_) => Errno::STALE,
            Self::Owned { .. } => Errno::BUSY,
            Self::NoHolder { .. } | Self::NoFile { .. } => Errno::NOBUFS,
            Self::NotInvited { .. } => Errno::PERM,
            Self::JoinedBefore => Errno::ALREADY,
            Self::OwnerDied(_) => Errno::OWNERDEAD,
            Self::NoProcess(_) => Errno::SRCH,
            Self::Forked => Errno::BADF,
        };
        errno.raw_os_error()
    }

    pub(crate) fn system(what: &'static str) -> impl Fn(Errno) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Why a pin was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The range is empty, or its end lies before its start.
    #[error("{}..{} is not a range to pin", .0.start, .0.end)]
    BadRange(Range<u64>),
    /// `try_pin` only: a break is draining or closing this range. `pin` waits for it.
    #[error("the layout of object {object} is being broken at {}..{}", range.start, range.end)]
    LayoutBreaking {
        /// Whose layout.
        object: u64,
        /// What is being broken.
        range: Range<u64>,
    },
    /// The deadline passed while a break was in the way.
    #[error("timed out behind a break of object {object} at {}..{}", range.start, range.end)]
    TimedOut {
        /// Whose layout.
        object: u64,
        /// What is being broken.
        range: Range<u64>,
    },
    /// A signal came while a break was in the way.
    #[error("interrupted behind a layout break")]
    Interrupted,
    /// The wait would be for the caller himself: for his own break, or for one that waits for a pin of his.
    #[error("this pin would wait for itself: the break at {}..{} waits for, or is made by, its own thread or transfer", .0.start, .0.end)]
    Deadlock(Range<u64>),
    /// All slots of the holder's segment are taken.
    #[error("all {slots_max} pin slots are in use; `Geometry::blocks_max` sets how many there are")]
    NoSlot {
        /// The capacity.
        slots_max: u32,
    },
    /// More threads pin at a time than there are lanes.
    #[error("more than {threads_max} threads pin through one holder")]
    TooManyThreads {
        /// The capacity.
        threads_max: u32,
    },
    /// The kernel gave no memory for more slots.
    #[error("no memory for more pin slots: {0}")]
    NoMemory(Errno),
    /// A long-term pin needs a recall handler (G11).
    #[error("a long-term pin needs a recall handler")]
    NoRecall,
    /// The area is in limited mode: only copies get in (G12).
    #[error("this area is in limited mode: no device can pin anything; copies by the CPU work")]
    Limited,
    /// The layout's state was given up, or belongs to another file now: get a new handle.
    #[error("the layout of object {0} is no longer known by this handle")]
    Stale(u64),
    /// The layout belongs to another area.
    #[error("the layout of object {0} belongs to another area")]
    ForeignLayout(u64),
    /// The area's owner died, or serves the area no more.
    #[error("the owner of the area, process {0}, died or closed it")]
    OwnerDied(u32),
    /// The handle was inherited through a fork.
    #[error("this handle belongs to the process that forked this one")]
    Forked,
    /// The holder's own segment holds what cannot be there.
    #[error("the holder's segment is damaged")]
    Damaged,
}

impl PinError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::BadRange(_) | Self::ForeignLayout(_) => Errno::INVAL,
            Self::LayoutBreaking { .. } => Errno::BUSY,
            Self::TimedOut { .. } => Errno::TIMEDOUT,
            Self::Interrupted => Errno::INTR,
            Self::Deadlock(_) => Errno::DEADLK,
            Self::NoSlot { .. } | Self::TooManyThreads { .. } => Errno::NOBUFS,
            Self::NoMemory(errno) => *errno,
            Self::NoRecall | Self::Limited => Errno::OPNOTSUPP,
            Self::Stale(_) => Errno::STALE,
            Self::OwnerDied(_) => Errno::OWNERDEAD,
            Self::Forked => Errno::BADF,
            Self::Damaged => Errno::UCLEAN,
        };
        errno.raw_os_error()
    }

    pub(crate) fn from_growth(error: AreaError) -> Self {
        match error {
            AreaError::System { source, .. } => Self::NoMemory(source),
            _ => Self::Damaged,
        }
    }
}

/// Why a layout was not broken. Bytes and layout are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BreakError {
    /// No range, an empty one, one whose end lies before its start, or two of one object that overlap.
    #[error("{}..{} is not a range to break, or it overlaps another of the same break", .0.start, .0.end)]
    BadRange(Range<u64>),
    /// A break covers the layouts of two files at most.
    #[error("a break covers one file or two, not {0}")]
    TooManyFiles(usize),
    /// `try_drain` only: this pin is the first in the way.
    #[error("busy: {0}")]
    Busy(Box<PinInfo>),
    /// `try_drain` only: another break is closing this range, or a pin that waited gets in first.
    #[error("busy: another operation on object {object} at {}..{} comes first", range.start, range.end)]
    Contended {
        /// Whose layout.
        object: u64,
        /// What is being changed.
        range: Range<u64>,
    },
    /// The deadline passed. The pin is the first in the way, if it was a pin.
    #[error("timed out{}", match .0 { Some(pin) => format!(": {pin}"), None => String::new() })]
    TimedOut(Option<Box<PinInfo>>),
    /// A signal came.
    #[error("interrupted{}", match .0 { Some(pin) => format!(" while waiting: {pin}"), None => String::new() })]
    Interrupted(Option<Box<PinInfo>>),
    /// [`Canceller::cancel`](super::layout_break::Canceller::cancel) was called.
    #[error("cancelled")]
    Cancelled,
    /// The break would wait for a pin of its own thread that was not given to an engine.
    #[error("the break would wait for its own thread: {0}")]
    Deadlock(Box<PinInfo>),
    /// The break would wait for another one that its own thread holds closed.
    #[error("the break would wait for another break of its own thread, at {}..{}", .0.start, .0.end)]
    NestedBreak(Range<u64>),
    /// All places for announced ranges are taken, or a file has 65,535 running breaks.
    #[error("no place for another announcement: all {announcements_max} are in use")]
    NoAnnouncement {
        /// The capacity.
        announcements_max: u32,
    },
    /// What moves or exchanges blocks cannot leave a transfer behind: use [`Policy::Wait`](super::layout_break::Policy).
    #[error("an operation that moves blocks cannot detach from its pins: it must wait for them")]
    DetachMoves,
    /// The layout's state was given up, or belongs to another area.
    #[error("the layout of object {0} is no longer known by this handle")]
    Stale(u64),
    /// What shows the range could not be taken away.
    #[error("a view was not revoked: {0}")]
    NotRevoked(#[from] NotRevoked),
    /// The handle was inherited through a fork.
    #[error("this handle belongs to the process that forked this one")]
    Forked,
}

impl BreakError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::NotRevoked(error) => return error.errno,
            Self::BadRange(_) | Self::TooManyFiles(_) => Errno::INVAL,
            Self::Busy(_) | Self::Contended { .. } => Errno::BUSY,
            Self::TimedOut(_) => Errno::TIMEDOUT,
            Self::Interrupted(_) => Errno::INTR,
            Self::Cancelled => Errno::CANCELED,
            Self::Deadlock(_) | Self::NestedBreak(_) => Errno::DEADLK,
            Self::NoAnnouncement { .. } => Errno::NOBUFS,
            Self::DetachMoves => Errno::OPNOTSUPP,
            Self::Stale(_) => Errno::STALE,
            Self::Forked => Errno::BADF,
        };
        errno.raw_os_error()
    }
}

/// Why a wait for space ended without space.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// Nothing came free, and nothing durable is parked that a pin could give back: what is parked waits for its commit
    /// to become durable first, or there is nothing.
    #[error("no parked extent waits for a pin: {not_durable} units wait for their commit to become durable")]
    NothingPinned {
        /// Units parked whose commit is not durable yet. If there are any: commit, and try again.
        not_durable: u64,
    },
    /// `try_` only, or the deadline passed: this pin is the first that keeps an extent.
    #[error("{}: {pin}", if *.timed_out { "timed out" } else { "busy" })]
    Busy {
        /// Who keeps the oldest parked extent.
        pin: Box<PinInfo>,
        /// Whether a deadline passed.
        timed_out: bool,
    },
    /// A signal came.
    #[error("interrupted while waiting for space")]
    Interrupted,
    /// The wait would be for a pin of the caller's own thread that was not given to an engine.
    #[error("the wait for space would be for its own thread: {0}")]
    Deadlock(Box<PinInfo>),
}

impl SpaceError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::NothingPinned { .. } => Errno::NOSPC,
            Self::Busy { timed_out: false, .. } => Errno::BUSY,
            Self::Busy { timed_out: true, .. } => Errno::TIMEDOUT,
            Self::Interrupted => Errno::INTR,
            Self::Deadlock(_) => Errno::DEADLK,
        };
        errno.raw_os_error()
    }
}

/// Why a raw pin was not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpinError {
    /// The pin is not held: it was unpinned before, or never made by this holder.
    #[error("this pin is not held: it was unpinned before, or belongs to another holder")]
    NotHeld,
    /// The handle was inherited through a fork.
    #[error("this handle belongs to the process that forked this one")]
    Forked,
}

impl UnpinError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotHeld => Errno::INVAL.raw_os_error(),
            Self::Forked => Errno::BADF.raw_os_error(),
        }
    }
}

/// Why a label was not interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// Engine and label together are too long.
    #[error("engine and label have {len} bytes together, the most is {max}")]
    TooLong {
        /// Their length in bytes.
        len: usize,
        /// The capacity.
        max: usize,
    },
    /// All labels of the holder are taken.
    #[error("all {labels_max} labels of this holder are in use")]
    NoPlace {
        /// The capacity.
        labels_max: u32,
    },
}
