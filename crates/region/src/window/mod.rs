//! Windows: addresses that show parts of a region, piece by piece, and trap what is not shown.
//!
//! What a region is to devices, a window is to the host's loads and stores: a range of addresses of its own, each page of
//! which shows bytes of the region, or zeros, or is the end of what there is (`SIGBUS`), or is *trapped*: whoever touches it
//! sleeps until somebody has decided what is to be seen there. It knows no files and no pins.
//!
//! Stays true   W1: from `base`, `len` addresses are this window's, and mapped, for as long as it lives. What is to be seen
//!              there is changed in one step: nobody finds a page that is neither what it was nor what it becomes. A
//!              window of which the kernel has lost a part is given up: addresses that may be somebody else's are not touched.
//!              W2: a byte of the window lies at the same place in its 2 MiB as the offset that it was made for, so huge
//!              pages can show it.
//!              W3: a forked child has none of it, and dropping the child's copy unmaps nothing.
//! Who calls    anyone, on any thread; changes take turns.
//! Dead owner   the kernel unmaps.

mod spare;
mod traps;
mod userfaultfd;

use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, madvise, munlock};
use rustix::param::page_size;

use self::spare::{Rights, Spare, arm};
pub use self::traps::{Fault, NoTraps, Traps};
use self::userfaultfd::Trapped;
use crate::bytes::{Place, SharedBytes};
use crate::error::{AccessError, WindowError};
use crate::fork::Incarnation;
use crate::kind::RegionKind;
use crate::map::{BASE_ALIGN, Reservation};
use crate::region::{MappedFile, Memory, Region};

/// The most addresses that the windows of a process may have together.
pub const WINDOWS_MAX: u64 = 64 << 40;

/// How many they have.
static RESERVED: AtomicU64 = AtomicU64::new(0);

/// Addresses that show parts of a region. Made by [`Region::window`].
#[derive(Debug)]
pub struct Window {
    // In this order: the addresses are counted until they are unmapped.
    addresses: Reservation,
    _counted: Counted,
    /// Where in the reservation it begins, for W2.
    skew: usize,
    len: usize,
    rights: Rights,
    traps: Option<Arc<Traps>>,
    /// Held by who changes what is seen. True if a part was lost.
    lost: Mutex<bool>,
}

impl Region {
    /// A window of `len` bytes, a multiple of the page size, for what begins at `offset` of something that a page table may
    /// show in huge pages. With `traps` all of it is trapped, without it is inaccessible.
    ///
    /// # Errors
    /// [`WindowError`]: memory that has no file to map; too few addresses.
    pub fn window(
        &self,
        offset: u64,
        len: u64,
        stores: bool,
        traps: Option<&Arc<Traps>>,
    ) -> Result<Window, WindowError> {
        self.mapped_file()?;
        if len == 0 || !len.is_multiple_of(page_size() as u64) || !offset.is_multiple_of(page_size() as u64) {
            return Err(WindowError::Misaligned { start: offset, len, align: page_size() as u64 });
        }
        let skew = offset % BASE_ALIGN;
        let wide = len.checked_add(skew).ok_or(WindowError::NoAddresses { len, most: WINDOWS_MAX })?;
        let counted = Counted::add(wide)?;
        let opened_in = Incarnation::current().map_err(|source| WindowError::Os { doing: "looking", source })?;
        let addresses = Reservation::take(wide, BASE_ALIGN, opened_in).map_err(|errno| match errno {
            Errno::NOMEM => WindowError::NoAddresses { len, most: WINDOWS_MAX },
            errno => WindowError::Os { doing: "reserving addresses", source: errno.into() },
        })?;
        let window = Window {
            addresses,
            _counted: counted,
            skew: skew as usize,
            len: len as usize,
            rights: Rights { stores },
            traps: traps.map(Arc::clone),
            lost: Mutex::new(false),
        };
        if let Some(traps) = traps {
            // SAFETY: the addresses are the window's, of which nobody knows yet, and reserved only.
            let armed = unsafe { arm(traps, window.at(0), window.len, Trapped::All, window.rights) };
            armed.map_err(os("trapping a window"))?;
        }
        Ok(window)
    }

    fn mapped_file(&self) -> Result<&MappedFile, WindowError> {
        match &self.memory {
            Memory::Mapped(file) => Ok(file),
            Memory::Foreign { .. } => Err(WindowError::NoFile { kind: self.kind() }),
        }
    }
}

/// What there is to see.
impl Window {
    /// Its first byte.
    pub fn base(&self) -> NonNull<u8> {
        // SAFETY: inside the reservation.
        unsafe { self.addresses.base().add(self.skew) }
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "a window is never empty")]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// False in a child of the process that made it.
    pub fn is_of_this_process(&self) -> bool {
        self.addresses.opened_in().is_current()
    }

    /// Whether an access can be trapped there.
    pub fn traps(&self) -> bool {
        self.traps.is_some()
    }

    /// Where in the window an address lies.
    pub fn offset_of(&self, address: usize) -> Option<u64> {
        let offset = address.checked_sub(self.base().addr().get())?;
        (offset < self.len).then_some(offset as u64)
    }

    /// Bytes of the window. They are those that it shows at the moment of each access, which sleeps where it is trapped, and is
    /// a `SIGBUS` past the end, or (without traps) a `SIGSEGV` where nothing is shown.
    ///
    /// # Errors
    /// `Reversed`, `PastEnd`, `NotOwner`.
    pub fn bytes(&self, range: Range<u64>) -> Result<SharedBytes<'_>, AccessError> {
        if !self.is_of_this_process() {
            return Err(AccessError::NotOwner);
        }
        let opened_in = self.addresses.opened_in();
        // By W1 they are mapped while `self` is borrowed.
        SharedBytes::whole(Place::Host(self.base()), self.len(), opened_in).slice(range)
    }
}

/// Changes of what is seen. Offsets and lengths are whole pages.
impl Window {
    /// Shows bytes of the region from `at` on.
    ///
    /// # Errors
    /// [`WindowError`]; what was seen is still seen then.
    pub fn show(&self, at: u64, region: &Region, place: Range<u64>) -> Result<(), WindowError> {
        let len = place.end.saturating_sub(place.start);
        let granule = region.granule().max(page_size() as u64);
        let aligned = |value: u64| value.is_multiple_of(granule);
        if !aligned((self.base().addr().get() as u64).wrapping_add(at)) || !aligned(place.start) || !aligned(len) {
            return Err(WindowError::Misaligned { start: place.start, len, align: granule });
        }
        if place.end > region.len() {
            return Err(WindowError::PastEnd { start: place.start, end: place.end, len: region.len() });
        }
        let file = region.mapped_file()?;
        self.replace(at, len, "mapping blocks into a window", || {
            let flags = file.manner.flags();
            let spare = Spare::of_file(file.file.as_fd(), place.start, len as usize, self.rights, flags)?;
            if region.kind() == RegionKind::RegularFile {
                spare.advise(Advice::Random)?; // As the region itself is mapped, see `page_cache`.
            }
            Ok(spare)
        })
    }

    /// Shows zeros, of no memory; stores are trapped.
    ///
    /// # Errors
    /// As [`Window::show`]; without traps it is refused.
    pub fn show_zeros(&self, range: Range<u64>) -> Result<(), WindowError> {
        let len = range.end.saturating_sub(range.start);
        let traps = self.needs_traps()?;
        self.replace(range.start, len, "mapping zeros into a window", || {
            Spare::of_zeros(traps, len as usize, self.rights)
        })
    }

    /// Shows the end of what there is: accesses are `SIGBUS`, the kernel's `EFAULT`.
    ///
    /// # Errors
    /// As [`Window::show_zeros`].
    pub fn show_end(&self, range: Range<u64>) -> Result<(), WindowError> {
        let len = range.end.saturating_sub(range.start);
        let traps = self.needs_traps()?;
        self.replace(range.start, len, "mapping the end of a window", || {
            Spare::of_file(traps.nothing(), 0, len as usize, self.rights, MapFlags::SHARED)
        })
    }

    /// Traps what touches the range, whatever was seen there. When it returns, nothing gets through any more.
    ///
    /// # Errors
    /// As [`Window::show_zeros`].
    pub fn trap(&self, range: Range<u64>) -> Result<(), WindowError> {
        let len = range.end.saturating_sub(range.start);
        let traps = self.needs_traps()?;
        self.replace(range.start, len, "trapping a window", || Spare::trapping(traps, len as usize, self.rights))
    }

    /// As [`Window::trap`], of zeros: cheaper, and (of the whole of what [`Window::show_zeros`] has shown) never refused for
    /// want of mappings.
    ///
    /// # Errors
    /// As there.
    pub fn trap_zeros(&self, range: Range<u64>) -> Result<(), WindowError> {
        let len = range.end.saturating_sub(range.start);
        let (traps, lost) = (self.needs_traps()?, self.changing());
        self.check(range.start, len, *lost)?;
        let (start, len) = (self.at(range.start as usize), len as usize);
        // SAFETY: the addresses are the window's (W1), and who touches them expects to sleep.
        let trapped = unsafe { traps.register(start, len, Trapped::All) }.and_then(|()| {
            // SAFETY: there is nothing but zeros in it, which the kernel makes again when somebody asks.
            unsafe { forget(start, len) }
        });
        trapped.map_err(os("trapping a window"))
    }

    /// Wakes who sleeps in a range: each access is tried again.
    pub fn wake(&self, range: Range<u64>) {
        if let Some(traps) = &self.traps {
            let end = range.end.min(self.len());
            let base = self.base().addr().get();
            traps.wake(base + range.start.min(end) as usize..base + end as usize);
        }
    }

    fn needs_traps(&self) -> Result<&Traps, WindowError> {
        self.traps.as_deref().ok_or(WindowError::NoTraps)
    }

    /// Puts what `make` makes in the place of what is seen.
    fn replace(
        &self,
        at: u64,
        len: u64,
        doing: &'static str,
        make: impl FnOnce() -> Result<Spare, Errno>,
    ) -> Result<(), WindowError> {
        let mut lost = self.changing();
        self.check(at, len, *lost)?;
        let spare = make().map_err(os(doing))?;
        let to = self.at(at as usize);
        // SAFETY: the addresses are the window's (W1), and B2 holds for them as for a region's: nobody refers to them.
        let moved = unsafe { spare.move_to(to) };
        moved.map_err(|errno| {
            // What is refused is refused before the old mapping is gone; but for want of memory for the kernel's own records.
            // SAFETY: advice that holds already, and so changes nothing; it tells whether all of it is mapped.
            *lost = unsafe { madvise(to.cast(), len as usize, Advice::LinuxDontFork) } == Err(Errno::NOMEM);
            os(doing)(errno)
        })
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, bool> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, at: u64, len: u64, lost: bool) -> Result<(), WindowError> {
        let page = page_size() as u64;
        if lost || !self.is_of_this_process() {
            return Err(WindowError::Lost);
        }
        if len == 0 || !at.is_multiple_of(page) || !len.is_multiple_of(page) {
            return Err(WindowError::Misaligned { start: at, len, align: page });
        }
        match at.checked_add(len).is_some_and(|end| end <= self.len()) {
            true => Ok(()),
            false => Err(WindowError::PastEnd { start: at, end: at.saturating_add(len), len: self.len() }),
        }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len, "offset {offset} of a window of {}", self.len);
        // SAFETY: inside the window, or one past it.
        unsafe { self.base().as_ptr().add(offset) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            return;
        }
        if *self.changing() {
            self.addresses.give_up_from(0);
        }
        self.addresses.unmap();
        // Who sleeps in it finds out that it is gone.
        self.wake(0..self.len());
    }
}

/// Addresses that count.
#[derive(Debug)]
struct Counted(u64);

impl Counted {
    fn add(len: u64) -> Result<Self, WindowError> {
        // ORDER: relaxed; a number that no memory hangs on.
        let more = |had: u64| had.checked_add(len).filter(|sum| *sum <= WINDOWS_MAX);
        match RESERVED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(len)),
            Err(_) => Err(WindowError::NoAddresses { len, most: WINDOWS_MAX }),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // ORDER: relaxed; as above.
        RESERVED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Drops the pages of an anonymous mapping.
///
/// # Safety
/// It is the caller's, and nobody misses what it holds.
unsafe fn forget(start: *mut u8, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    let forget = || unsafe { madvise(start.cast(), len, Advice::LinuxDontNeed) };
    match forget() {
        // Somebody has locked all memory of the process.
        Err(Errno::INVAL) => {
            // SAFETY: it changes no byte.
            unsafe { munlock(start.cast(), len) }?;
            forget()
        }
        done => done,
    }
}

fn os(doing: &'static str) -> impl Fn(Errno) -> WindowError {
    move |errno| match errno {
        Errno::NOMEM => WindowError::NoMappings { doing },
        errno => WindowError::Os { doing, source: errno.into() },
    }
}
