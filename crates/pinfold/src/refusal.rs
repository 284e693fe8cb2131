//! Refusals of the mechanism, which knows objects and blocks, said of files and bytes: who is in the way, how, and since
//! when (G7).
//!
//! Who may     whoever holds no lock but `extend`: names and running operations are looked up. Not in a child, which may have
//!             inherited any lock.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use pinfold_layout::{BreakError, PinError};

use crate::node::FileId;
use crate::pool::Shared;
use crate::report::{BreakReport, PinReport, write_range};

/// Why a range of a file was not pinned. Nothing is pinned.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Access, PinError, Pool, Region};
///
/// let pool = Pool::new(Region::memfd(1 << 20)?)?;
/// let file = pool.create("/frame")?;
/// file.truncate(65536).wait()?;
/// let pinned = file.pin(0..4096, Access::Write).labelled("camera 0", "frame 17")?.wait()?;
/// let mut cut = std::pin::pin!(file.truncate(0).wait_async());
/// let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// assert!(cut.as_mut().poll(&mut context).is_pending());
///
/// let refused = file.pin(0..8192, Access::Read).try_now().unwrap_err(); // behind the truncate
/// assert_eq!(refused.errno(), 16); // EBUSY
/// let holder = refused.holder().expect("the truncate waits for a pin"); // for whom that waits
/// assert_eq!((holder.bytes.clone(), holder.pin.engine.as_str()), (0..4096, "camera 0"));
/// # drop(pinned);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NotPinned {
    wanted: Wanted,
    behind: Option<BreakReport>,
    cause: PinError,
}

/// Why the layout of a file was not broken. Bytes and layout are as they were.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinfold::{Access, Pool, Region};
///
/// let pool = Pool::new(Region::memfd(1 << 20)?)?;
/// let file = pool.create("/frame")?;
/// file.truncate(65536).wait()?;
/// let pinned = file.pin(0..4096, Access::Write).labelled("camera 0", "frame 17")?.wait()?;
///
/// let busy = file.truncate(0).try_now().unwrap_err();
/// println!("{busy}"); // busy: /frame bytes 0..4096: process 42 holds a device write pin, through camera 0, ...
/// assert_eq!(busy.holder().unwrap().pin.label, "frame 17");
/// # drop(pinned);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NotBroken {
    wanted: Vec<Wanted>,
    holder: Option<PinReport>,
    behind: Option<BreakReport>,
    cause: BreakError,
}

/// What was to be pinned or broken.
#[derive(Debug)]
struct Wanted {
    file: FileId,
    path: Option<PathBuf>,
    bytes: Range<u64>,
}

impl NotPinned {
    /// For whom the operation in the way waits, if there is one, and if it waits for a pin.
    pub fn holder(&self) -> Option<&PinReport> {
        self.behind.as_ref()?.behind.as_ref()
    }

    /// The operation that is in the way, as it was when the pin was refused.
    pub fn behind(&self) -> Option<&BreakReport> {
        self.behind.as_ref()
    }

    /// What the mechanism says: of objects, which are [`FileId::number`]s, and ranges of blocks.
    pub fn cause(&self) -> &PinError {
        &self.cause
    }

    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        self.cause.errno()
    }
}

impl NotBroken {
    /// The first pin in the way, if it was one.
    pub fn holder(&self) -> Option<&PinReport> {
        self.holder.as_ref()
    }

    /// The other operation that is in the way, if it was none of the pins.
    pub fn behind(&self) -> Option<&BreakReport> {
        self.behind.as_ref()
    }

    /// What the mechanism says: of objects, which are [`FileId::number`]s, and ranges of blocks.
    pub fn cause(&self) -> &BreakError {
        &self.cause
    }

    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        self.cause.errno()
    }
}

impl Shared {
    /// Says of bytes of a file why they were not pinned.
    #[cold]
    pub(crate) fn not_pinned(&self, file: FileId, bytes: Range<u64>, cause: PinError) -> Box<NotPinned> {
        if matches!(cause, PinError::Forked) {
            return Box::new(NotPinned { wanted: Wanted { file, path: None, bytes }, behind: None, cause });
        }
        let behind = match &cause {
            PinError::LayoutBreaking { object, range } | PinError::TimedOut { object, range } => {
                self.running(&[(*object, range.clone())])
            }
            PinError::Deadlock(range) => self.running(&[(file.0, range.clone())]),
            _ => None,
        };
        Box::new(NotPinned { wanted: self.wanted(file, bytes), behind, cause })
    }

    /// Says of ranges of blocks why they were not broken.
    #[cold]
    pub(crate) fn not_broken(
        &self,
        ranges: impl IntoIterator<Item = (FileId, Range<u64>)>,
        cause: BreakError,
    ) -> Box<NotBroken> {
        let ranges: Vec<_> = ranges.into_iter().collect();
        if matches!(cause, BreakError::Forked) {
            let wanted =
                ranges.into_iter().map(|(file, blocks)| Wanted { file, path: None, bytes: self.bytes_of(&blocks) });
            return Box::new(NotBroken { wanted: wanted.collect(), holder: None, behind: None, cause });
        }
        let holder = match &cause {
            BreakError::Busy(pin) | BreakError::Deadlock(pin) => Some(pin),
            BreakError::TimedOut(pin) | BreakError::Interrupted(pin) => pin.as_ref(),
            _ => None,
        };
        let holder = holder.map(|pin| self.pin_report((**pin).clone()));
        let behind = match &cause {
            BreakError::Contended { object, range } => self.running(&[(*object, range.clone())]),
            BreakError::TimedOut(None) | BreakError::Interrupted(None) | BreakError::NestedBreak(_) => {
                let objects: Vec<_> = ranges.iter().map(|(file, blocks)| (file.0, blocks.clone())).collect();
                self.running(&objects)
            }
            _ => None,
        };
        let wanted = ranges.iter().map(|(file, blocks)| self.wanted(*file, self.bytes_of(blocks))).collect();
        Box::new(NotBroken { wanted, holder, behind, cause })
    }

    fn wanted(&self, file: FileId, bytes: Range<u64>) -> Wanted {
        Wanted { file, path: self.path(file), bytes }
    }

    /// The first operation that runs in one of these ranges of blocks.
    fn running(&self, ranges: &[(u64, Range<u64>)]) -> Option<BreakReport> {
        let meets = |(object, broken): &(u64, Range<u64>)| {
            ranges.iter().any(|(other, range)| object == other && broken.start < range.end && range.start < broken.end)
        };
        let found = self.area.breaks().into_iter().find(|info| info.ranges.iter().any(meets))?;
        Some(self.break_report(found))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, self.file, self.path.as_deref(), &self.bytes)
    }
}

/// What is in the way, as far as it is known.
fn write_behind(f: &mut fmt::Formatter<'_>, behind: Option<&BreakReport>) -> fmt::Result {
    match behind {
        Some(behind) => write!(f, "{behind}"),
        // It ended while this was put together.
        None => write!(f, "another operation"),
    }
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.wanted)?;
        match &self.cause {
            PinError::LayoutBreaking { .. } => write!(f, "busy: behind ")?,
            PinError::TimedOut { .. } => write!(f, "timed out behind ")?,
            PinError::Deadlock(_) => write!(f, "would wait for its own thread or transfer, behind ")?,
            PinError::Interrupted => return write!(f, "interrupted while waiting to be pinned"),
            PinError::Stale(_) => return write!(f, "this handle knows the file's layout no longer: open it again"),
            PinError::ForeignLayout(_) => return write!(f, "the file's layout is another pool's"),
            PinError::BadRange(_) => return write!(f, "is no range to pin"),
            cause => return write!(f, "{cause}"),
        }
        write_behind(f, self.behind.as_ref())
    }
}

impl fmt::Display for NotBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.cause {
            BreakError::Busy(_) | BreakError::Contended { .. } => "busy: ",
            BreakError::TimedOut(_) => "timed out: ",
            BreakError::Interrupted(_) => "interrupted while waiting: ",
            BreakError::Deadlock(_) | BreakError::NestedBreak(_) => "would wait for its own thread: ",
            BreakError::Stale(_) => {
                return self.write_of_files(f, &"this handle knows its layout no longer: open it again");
            }
            BreakError::BadRange(_) => return self.write_of_files(f, &"is no range to change"),
            cause => return self.write_of_files(f, cause),
        };
        write!(f, "{what}")?;
        match &self.holder {
            Some(holder) => write!(f, "{holder}"),
            None => {
                self.write_files(f)?;
                write!(f, ": behind ")?;
                write_behind(f, self.behind.as_ref())
            }
        }
    }
}

impl NotBroken {
    fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.iter().enumerate().try_for_each(|(index, wanted)| {
            let and = if index == 0 { "" } else { " and " };
            write!(f, "{and}{wanted}")
        })
    }

    fn write_of_files(&self, f: &mut fmt::Formatter<'_>, what: &dyn fmt::Display) -> fmt::Result {
        self.write_files(f)?;
        write!(f, ": {what}")
    }
}

impl std::error::Error for NotPinned {}

impl std::error::Error for NotBroken {}
