//! A file of the subject, and a view of it: what the load does with the file is done through the view, every other time.
//!
//! Devices get addresses of the view. The host loads by the kernel's accesses: they find out that there is nothing past the end, where a
//! program's own would end the program.

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
        scratch.with(|scratch| {
            let loaded = scratch.write_at(memory(view, offset, to.len()), 0).is_ok_and(|loaded| loaded == to.len());
            loaded && end <= self.file.len() && scratch.read_exact_at(to, 0).is_ok()
        })
    }
}

/// Memory of a view, for the kernel.
fn memory(view: &View, offset: u64, len: usize) -> &[u8] {
    assert!(offset + len as u64 <= view.len());
    // SAFETY: the view has as many bytes, mapped while it lives; the slice is given to the kernel, and looked at by nobody.
    unsafe { std::slice::from_raw_parts(view.as_ptr().as_ptr().add(offset as usize), len) }
}

/// Files into which the kernel copies: one for each thread that does at a time.
#[derive(Default)]
pub(crate) struct Scratch(Mutex<Vec<HostFile>>);

impl Scratch {
    /// What `copy` says with a file that nobody else has meanwhile.
    fn with(&self, copy: impl FnOnce(&HostFile) -> bool) -> bool {
        let free = lock(&self.0).pop();
        let Some(file) = free.or_else(|| memfd_create("torture", MemfdFlags::CLOEXEC).ok().map(HostFile::from)) else {
            return false;
        };
        let done = copy(&file);
        lock(&self.0).push(file);
        done
    }
}
