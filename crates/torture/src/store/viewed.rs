//! A file of the subject, and a view of it: what the load does with the file is done through the view, every other time.
//!
//! Devices get addresses of the view. The host loads and stores there, itself or by the kernel: of a copy that finds nothing past the end, or no
//! space for a hole, the first part is made.

use std::fs::File as HostFile;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use pinfold::{Access, File, PinError, Pinned, Pool, Until, View};
use rustix::fs::{MemfdFlags, memfd_create};

use super::Form;
use super::guarded::block_on;
use crate::lock::lock;
use crate::sectors::{FILE_BYTES, SECTOR};
use crate::touch;

/// Cheap to clone; all clones are one open file with one view.
#[derive(Clone)]
pub(crate) struct Viewed {
    pub(crate) file: File,
    /// None where accesses cannot be trapped: a view would be a pin, and in everybody's way.
    view: Option<Arc<View>>,
}

impl Viewed {
    pub(crate) fn new(file: File) -> Self {
        let view = file.map(0..FILE_BYTES, Access::Write).wait().ok().map(Arc::new);
        Self { file, view }
    }

    /// The view, for what begins at every other sector.
    fn view_for(&self, offset: u64) -> Option<&View> {
        self.view.as_deref().filter(|_| (offset / SECTOR).is_multiple_of(2))
    }

    pub(crate) fn pin(&self, pool: &Pool, range: Range<u64>, access: Access, form: Form) -> Result<Pinned, PinError> {
        let Some(view) = self.view_for(range.start) else {
            let pinning = self.file.pin(range, access);
            return match form {
                Form::Wait => pinning.wait(),
                Form::For(time) => pinning.until(Until::after(time)),
                Form::Try => pinning.try_now(),
                Form::Async => block_on(pinning.wait_async()),
            };
        };
        let pinning = pool.pin_addresses(view.address() + range.start as usize, range.end - range.start, access)?;
        match form {
            Form::Wait => pinning.wait(),
            Form::For(time) => pinning.until(Until::after(time)),
            Form::Try => pinning.try_now(),
            Form::Async => block_on(pinning.wait_async()),
        }
    }

    /// Whether a range was copied out through the view. Not if it reaches past the end, before or after.
    pub(crate) fn load(&self, scratch: &Scratch, offset: u64, to: &mut [u8]) -> bool {
        let end = offset + to.len() as u64;
        let Some(view) = self.view_for(offset).filter(|_| end <= FILE_BYTES && end <= self.file.len()) else {
            return false;
        };
        let memory = memory(view, offset, to.len());
        let loaded = match by_hand(offset) {
            true => load(memory, to),
            false => None,
        };
        let loaded = loaded.or_else(|| scratch.with(|scratch| load_by_kernel(scratch, memory, to)));
        loaded == Some(to.len()) && end <= self.file.len()
    }

    /// How many bytes were copied in through the view, from the first on. `None` if that was not tried.
    pub(crate) fn store(&self, scratch: &Scratch, offset: u64, from: &[u8]) -> Option<usize> {
        let end = offset + from.len() as u64;
        let view = self.view_for(offset).filter(|_| end <= FILE_BYTES && end <= self.file.len())?;
        let memory = memory(view, offset, from.len());
        let stored = match by_hand(offset) {
            true => store(from, memory),
            false => None,
        };
        stored.or_else(|| scratch.with(|scratch| store_by_kernel(scratch, from, memory)))
    }
}

/// Whether the program itself touches the view, and not the kernel for it.
fn by_hand(offset: u64) -> bool {
    (offset / SECTOR).is_multiple_of(4)
}

/// Bytes of a view that lives while this is used. Others load and store there, so it is never a slice of Rust's.
fn memory(view: &View, offset: u64, len: usize) -> *mut [u8] {
    assert!(offset + len as u64 <= view.len());
    std::ptr::slice_from_raw_parts_mut(view.as_ptr().as_ptr().wrapping_add(offset as usize), len)
}

fn load(memory: *mut [u8], to: &mut [u8]) -> Option<usize> {
    let mut words = vec![0_u64; to.len() / 8];
    // SAFETY: `memory` is a view's, and its sectors are whole words; what is torn is judged word by word.
    let loaded = 8 * unsafe { touch::copy(memory.cast::<u64>(), words.as_mut_ptr(), words.len())? };
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    to.iter_mut().zip(words).for_each(|(to, from)| *to = from);
    Some(loaded)
}

fn store(from: &[u8], memory: *mut [u8]) -> Option<usize> {
    let words: Vec<u64> = from.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    // SAFETY: as in `load`.
    Some(8 * unsafe { touch::copy(words.as_ptr(), memory.cast::<u64>(), words.len())? })
}

fn load_by_kernel(scratch: &HostFile, memory: *mut [u8], to: &mut [u8]) -> Option<usize> {
    // SAFETY: memory of a view; only the kernel looks at the slice.
    let memory = unsafe { &*memory };
    let loaded = scratch.write_at(memory, 0).ok()?;
    scratch.read_exact_at(&mut to[..loaded], 0).ok()?;
    Some(loaded)
}

fn store_by_kernel(scratch: &HostFile, from: &[u8], memory: *mut [u8]) -> Option<usize> {
    scratch.write_all_at(from, 0).ok()?;
    let mut done = 0;
    while done < from.len() {
        // SAFETY: memory of a view; only the kernel looks at the slice.
        let rest = unsafe { &mut (&mut *memory)[done..] };
        match scratch.read_at(rest, done as u64) {
            Ok(stored) if stored > 0 => done += stored,
            _ => break,
        }
    }
    Some(done)
}

/// Files out of which and into which the kernel copies: one for each thread that does at a time.
#[derive(Default)]
pub(crate) struct Scratch(Mutex<Vec<HostFile>>);

impl Scratch {
    /// What `copy` says with a file that nobody else has meanwhile.
    fn with<T>(&self, copy: impl FnOnce(&HostFile) -> Option<T>) -> Option<T> {
        let free = lock(&self.0).pop();
        let file = match free {
            Some(file) => file,
            None => memfd_create("torture", MemfdFlags::CLOEXEC).ok()?.into(),
        };
        let done = copy(&file);
        lock(&self.0).push(file);
        done
    }
}
