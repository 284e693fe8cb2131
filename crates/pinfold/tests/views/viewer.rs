//! What the tests do with views.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use pinfold::region::Traps;
use pinfold::{Access, File, Pool, PoolOptions, Recalled, Region, View};

/// Why views cannot be revoked here, said aloud; `None` if they can.
pub(crate) fn skipped() -> bool {
    match Traps::new() {
        Ok(_) => false,
        Err(why) => {
            println!("skipped: {why}");
            true
        }
    }
}

/// Ends a test that needs views that are revoked, where there are none.
macro_rules! needs_traps {
    () => {
        if $crate::viewer::skipped() {
            return;
        }
    };
}
pub(crate) use needs_traps;

/// A pool whose views are long-term pins.
pub(crate) fn pool_that_pins(len: u64) -> Pool {
    PoolOptions::new().trap_views(false).create(Region::memfd(len).unwrap()).unwrap()
}

/// A view for stores.
pub(crate) fn view(file: &File, len: u64) -> View {
    let view = file.map(0..len, Access::Write).recall(|_: &Recalled| panic!("nobody asks for this view")).wait();
    view.unwrap()
}

/// Loads and stores, as a program's own: by single instructions, at any offset of the view.
pub(crate) trait Memory {
    fn load(&self, at: u64) -> u8;
    fn store(&self, at: u64, byte: u8);
    fn load_word(&self, at: u64) -> u64;
    fn store_word(&self, at: u64, word: u64);
}

impl Memory for View {
    fn load(&self, at: u64) -> u8 {
        // SAFETY: mapped while the view lives; whoever else uses it, does so by single accesses.
        unsafe { AtomicU8::from_ptr(byte(self, at)) }.load(Ordering::Relaxed)
    }

    fn store(&self, at: u64, value: u8) {
        // SAFETY: as above.
        unsafe { AtomicU8::from_ptr(byte(self, at)) }.store(value, Ordering::Relaxed);
    }

    fn load_word(&self, at: u64) -> u64 {
        // SAFETY: as above; words are aligned.
        unsafe { AtomicU64::from_ptr(byte(self, at).cast()) }.load(Ordering::Relaxed)
    }

    fn store_word(&self, at: u64, word: u64) {
        // SAFETY: as above; words are aligned.
        unsafe { AtomicU64::from_ptr(byte(self, at).cast()) }.store(word, Ordering::Relaxed);
    }
}

fn byte(view: &View, at: u64) -> *mut u8 {
    assert!(at < view.len());
    // SAFETY: inside the view.
    unsafe { view.as_ptr().as_ptr().add(at as usize) }
}

/// The memory of a view, for the kernel.
#[expect(clippy::mut_from_ref, reason = "the memory is shared in any case; nothing but the kernel, and copies, use it")]
pub(crate) fn for_the_kernel(view: &View, at: u64, len: u64) -> &mut [u8] {
    assert!(at + len <= view.len());
    // SAFETY: mapped while the view lives; only the kernel uses it.
    unsafe { std::slice::from_raw_parts_mut(byte(view, at), len as usize) }
}
