//! What can go wrong, one enum for each kind of operation, each case with the number that matters and an `errno`.

mod file;
mod inode;
mod names;
mod pool;
mod space;
mod view;

pub use file::{ChangeError, CopyError, PinError};
pub use inode::AttributeError;
pub use names::{NameError, PublishError};
pub use pool::{JournalError, PoolError};
pub use space::{NoSpace, SpaceError};
pub use view::ViewError;

use rustix::io::Errno;

/// The errno inside an `io::Error`; `EIO` for one that did not come from the kernel.
fn raw(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}
