//! Which process made an engine: a forked child has copies of handles that are not its own.
//!
//! Stays true   F1: a handle is its maker's alone. In a child it does nothing: the queue, the transfers in flight and
//!                  their pins are the parent's.
//! Who calls    anyone; there is no lock.
//! After a fork the kernel wipes the page with the number; a child that makes an engine draws the next one.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::param::page_size;

/// The last number drawn. A child inherits it, and so draws a larger one.
static LAST_DRAWN: AtomicU64 = AtomicU64::new(0);

/// One process among its ancestors and descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    /// Holds `number` in that process, and 0 or another one in its children.
    page: &'static AtomicU64,
    number: u64,
}

impl Process {
    /// The calling process.
    pub(crate) fn this() -> Result<Self, Errno> {
        let page = page()?;
        // ORDER: relaxed, here and below; the number is compared, and stands for no other memory.
        let drawn = match page.load(Ordering::Relaxed) {
            0 => LAST_DRAWN.fetch_add(1, Ordering::Relaxed) + 1,
            number => return Ok(Self { page, number }),
        };
        let first = page.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed);
        Ok(Self { page, number: first.err().unwrap_or(drawn) })
    }

    /// Whether the caller is that process.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.page.load(Ordering::Relaxed) == self.number
    }
}

/// The page that a fork wipes.
fn page() -> Result<&'static AtomicU64, Errno> {
    static PAGE: OnceLock<&'static AtomicU64> = OnceLock::new();
    if let Some(page) = PAGE.get() {
        return Ok(page);
    }
    // Of two threads that come first, one maps a page for nothing.
    let fresh = wiped_on_fork()?;
    Ok(PAGE.get_or_init(|| fresh))
}

fn wiped_on_fork() -> Result<&'static AtomicU64, Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let page =
        unsafe { mmap_anonymous(ptr::null_mut(), page_size(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
    // SAFETY: the advice covers exactly the page mapped above.
    unsafe { madvise(page, page_size(), Advice::LinuxWipeOnFork) }?;
    // SAFETY: the page is aligned, zeroed, and never unmapped.
    Ok(unsafe { &*page.cast::<AtomicU64>() })
}
