//! Pins of addresses: what `get_user_pages()` does, for memory that is a view.

use std::ops::Range;
use std::sync::Arc;

use pinfold_layout::{Access, Label, LabelError, Until};

use super::registry;
use super::shown::Shown;
use crate::error::PinError;
use crate::file::File;
use crate::pinned::Pinned;
use crate::pinning::{Pinning, Want};
use crate::pool::Pool;

/// A pin of addresses that is about to be made: one of four forms makes it.
#[must_use = "nothing is pinned before one of the four forms is called"]
pub struct AddressPinning {
    file: File,
    range: Range<u64>,
    access: Access,
    addresses: Range<usize>,
    label: Label,
}

impl Pool {
    /// A pin of the blocks under a range of addresses in a view of this pool, for a device that is told addresses of memory, and not
    /// of a file. [`Access`] is the device's.
    ///
    /// What is pinned is what the file has at that place: as with [`File::pin`](crate::File::pin), which it comes to once it is
    /// known whose the addresses are. So whether a page is shown at that moment makes no difference; a hole is given blocks; and if a break
    /// has closed the range, the pin waits, or the break sees it.
    ///
    /// # Errors
    /// `EFAULT` for what is not in one view of this pool, lies past the end of its file, or is to be written through a view for
    /// loads.
    pub fn pin_addresses(&self, address: usize, len: u64, access: Access) -> Result<AddressPinning, PinError> {
        let addresses = address..address.saturating_add(len as usize);
        let shown = registry::at(address).filter(|shown| Arc::ptr_eq(&shown.open.pool, &self.shared));
        let found = shown.and_then(|shown| Some((file_range(&shown, &addresses)?, shown)));
        match found {
            Some((range, shown)) if access == Access::Read || shown.access == Access::Write => {
                let file = File { open: Arc::clone(&shown.open) };
                Ok(AddressPinning { file, range, access, addresses, label: Label::default() })
            }
            _ => Err(PinError::BadAddress { addresses }),
        }
    }
}

fn file_range(shown: &Shown, addresses: &Range<usize>) -> Option<Range<u64>> {
    let start = shown.window.offset_of(addresses.start)?;
    shown.window.offset_of(addresses.end.checked_sub(1)?)?;
    let len = addresses.end.checked_sub(addresses.start)? as u64;
    Some(shown.first + start..shown.first + start + len)
}

impl AddressPinning {
    /// As [`Pinning::labelled`].
    ///
    /// # Errors
    /// As there.
    pub fn labelled(mut self, engine: &str, label: &str) -> Result<Self, LabelError> {
        self.label = self.file.open.pool.holder.label(engine, label)?;
        Ok(self)
    }

    /// As [`Pinning::wait`].
    ///
    /// # Errors
    /// As there; `EFAULT` past the end of the file.
    pub fn wait(self) -> Result<Pinned, PinError> {
        self.until(Until::done())
    }

    /// As [`Pinning::until`].
    ///
    /// # Errors
    /// As [`AddressPinning::wait`].
    pub fn until(self, until: Until) -> Result<Pinned, PinError> {
        self.pinning().until(until).map_err(|error| self.of_addresses(error))
    }

    /// As [`Pinning::try_now`].
    ///
    /// # Errors
    /// As [`AddressPinning::wait`].
    pub fn try_now(self) -> Result<Pinned, PinError> {
        self.pinning().try_now().map_err(|error| self.of_addresses(error))
    }

    /// As [`Pinning::wait_async`].
    ///
    /// # Errors
    /// As [`AddressPinning::wait`].
    pub async fn wait_async(self) -> Result<Pinned, PinError> {
        self.pinning().wait_async().await.map_err(|error| self.of_addresses(error))
    }

    fn pinning(&self) -> Pinning<'_> {
        Pinning::of(Want { label: self.label, ..Want::of(&self.file, self.range.clone(), self.access) })
    }

    fn of_addresses(&self, error: PinError) -> PinError {
        match error {
            PinError::PastEnd { .. } => PinError::BadAddress { addresses: self.addresses.clone() },
            error => error,
        }
    }
}
