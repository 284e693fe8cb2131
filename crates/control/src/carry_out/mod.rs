//! Carrying a request out, on a pool which this process owns: the one way in which it is done, whoever asks.
//!
//! Stays true  C1: a request that is refused has changed nothing, unless the refusal says what.
//!             C2: nothing that a request says makes this panic, and no loop is longer than what the pool holds.
//! Who calls   a command on a pool which it owns itself; the server, one thread for each client. No lock is held here.
//! A crash     leaves what the pool's log has; a decision of an operator is written down before it counts.

mod change;
mod fill;
mod put;
mod release;

use std::os::fd::BorrowedFd;
use std::path::Path;

use pinfold::Pool;
use rustix::io::Errno;

use crate::answer::{Answer, Break, Metadata, Parked, Pin, Stats};
use crate::asker::Asker;
use crate::refusal::Refusal;
use crate::request::{Put, Request};

pub use release::rings_in;

/// Carries a request out, on a pool which this process owns.
///
/// `live_dir` is the directory beside the pool ([`live_dir_of`](pinfold::live_dir_of)), where the locks of its rings are.
///
/// # Errors
/// What the pool says. [`Request::Put`] has no descriptor here (`EBADF`): see [`put`].
pub fn carry_out(pool: &Pool, live_dir: impl AsRef<Path>, request: &Request) -> Result<Answer, Refusal> {
    Task { pool, live_dir: live_dir.as_ref(), asker: Asker::default() }.carry_out(request)
}

/// Copies a file of the host in, on a pool which this process owns: from its first byte on, as many as it has now. It gets its
/// name when it is whole. `progress` is told how many bytes of how many are there.
///
/// A descriptor with `O_DIRECT` is read by DMA, straight into the file's blocks.
///
/// # Errors
/// What the pool says; `EINVAL` for anything but a regular file; what the file's reads say, and `EIO` if it becomes shorter
/// meanwhile.
pub fn put(
    pool: &Pool,
    live_dir: impl AsRef<Path>,
    source: BorrowedFd<'_>,
    put: &Put,
    mut progress: impl FnMut(u64, u64),
) -> Result<Answer, Refusal> {
    Task { pool, live_dir: live_dir.as_ref(), asker: Asker::default() }.put(source, put, &mut progress)
}

/// A request that is carried out.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) live_dir: &'a Path,
    pub(crate) asker: Asker<'a>,
}

impl Task<'_> {
    pub(crate) fn carry_out(&self, request: &Request) -> Result<Answer, Refusal> {
        let pool = self.pool;
        match request {
            Request::CreateDir { path } => done(pool.create_dir(path)),
            Request::Unlink { path } => done(pool.unlink(path)),
            Request::RemoveDir { path } => done(pool.remove_dir(path)),
            Request::Rename { from, to, how } => done(pool.rename(from, to, *how)),
            Request::Link { existing, new } => done(pool.link(existing, new)),
            Request::Symlink { target, new } => done(pool.symlink(target, new)),
            Request::Change { path, create, change, waiting } => self.change(path, *create, change, *waiting),
            Request::Sync { path: Some(path) } => done(pool.open(path)?.sync()),
            Request::Sync { path: None } => done(pool.sync()),
            Request::Checkpoint => done(pool.checkpoint()),
            Request::Grow { len } => {
                pool.grow(*len)?;
                Ok(Answer::Grown { len: pool.stats().total })
            }
            Request::ReadDir { path } => {
                Ok(Answer::Entries(pool.read_dir(path)?.into_iter().map(Into::into).collect()))
            }
            Request::Metadata { path, follow } => {
                let known = if *follow { pool.metadata(path) } else { pool.symlink_metadata(path) };
                Ok(Answer::Metadata(Metadata::from(known?)))
            }
            Request::Stats => Ok(Answer::Stats(Stats::of(pool))),
            Request::Pins => Ok(Answer::Pins(self.pins().collect())),
            Request::Breaks => Ok(Answer::Breaks(pool.breaks().into_iter().map(Break::from).collect())),
            Request::Parked => {
                let parked = pool.parked().into_iter().map(|parked| Parked::of(parked, pool.block_size()));
                Ok(Answer::Parked(parked.collect()))
            }
            Request::Quarantine => Ok(Answer::Pins(self.pins().filter(|pin| pin.quarantine.is_some()).collect())),
            Request::ReleaseByProof => self.release_by_proof(),
            Request::ReleaseByOperator { pin, operator, reason } => self.release_by_operator(*pin, operator, reason),
            Request::Put(_) => Err(Refusal::of(Errno::BADF, "a file that is to be copied in comes as a descriptor")),
        }
    }

    fn pins(&self) -> impl Iterator<Item = Pin> {
        self.pool.pins().into_iter().map(Pin::from)
    }
}

fn done<E>(ended: Result<(), E>) -> Result<Answer, Refusal>
where
    Refusal: From<E>,
{
    ended?;
    Ok(Answer::Done)
}
