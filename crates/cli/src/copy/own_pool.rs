//! Copies into and out of a pool that this process owns.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use pinfold::{Access, FILE_BYTES_MAX, File, FileId, Pool, Publish, Reservation, live_dir_of};
use pinfold_control::{Request, carry_out};
use rustix::io::Errno;

use super::engine::{Engine, Moving};
use super::failed::Failed;
use super::host::{self, Source};
use super::progress::Progress;
use super::windows::{Window, data_of, move_all};
use crate::names::shown;
use crate::status::CannotRun;

/// Bytes of one transfer of a stream.
const STEP: u64 = 1 << 20;

/// A pool that this process owns, and what moves bytes in and out.
pub(super) struct OwnPool {
    pub(super) pool: Pool,
    pub(super) engine: Engine,
    path: PathBuf,
}

impl OwnPool {
    /// Lets go what rings of dead processes pinned that are gone.
    pub(super) fn of(pool: Pool, path: &Path) -> Result<Self, CannotRun> {
        if !pool.quarantine().is_empty() {
            carry_out(&pool, live_dir_of(path), &Request::ReleaseByProof)
                .map_err(|refusal| CannotRun(format!("{}: {refusal}", shown(path))))?;
        }
        Ok(Self { pool, engine: Engine::of(path), path: path.to_owned() })
    }

    /// Makes everything durable, and lets go of the pool.
    pub(super) fn close(self) -> Result<(), CannotRun> {
        // Before the pool: its ring goes through the pool's memory.
        drop(self.engine);
        self.pool.close().map_err(|error| CannotRun(format!("{}: {error}", shown(&self.path))))
    }

    /// The file of a number.
    pub(super) fn open_file(&self, file: FileId) -> Result<File, Failed> {
        self.pool.open_by_id(file).ok_or_else(|| Failed::new("is not there any more"))
    }

    /// Puts a file: reserves, fills, publishes. How long it is.
    pub(super) fn put(&self, source: &Source, to: &Path, how: Publish, progress: &Progress) -> Result<u64, Failed> {
        let reservation = match source.len {
            Some(len) => self.fill(source, len, progress)?,
            None => self.fill_from_stream(source, progress)?,
        };
        let len = reservation.len();
        reservation.publish(to, how)?;
        Ok(len)
    }

    fn fill(&self, source: &Source, len: u64, progress: &Progress) -> Result<Reservation, Failed> {
        let data = data_of(source.file(), len)?;
        let in_data: u64 = data.iter().map(|range| range.end - range.start).sum();
        let reserving = self.pool.reserve(len);
        let reservation = if in_data < len || len == 0 { reserving.sparse() } else { reserving }.try_now()?;
        let begin = |Window { range, direct }: &Window| {
            let pinned = reservation.pin(range.clone()).try_now()?;
            self.engine.read(&source.fd(*direct), Some(range.start), pinned)
        };
        move_all(Window::all_of(&data, source.is_direct()), begin, |bytes| progress.moved(bytes))?;
        progress.passed(len - in_data);
        Ok(reservation)
    }

    /// Nobody knows how long it will be: as long as a file can be, until its end has come.
    fn fill_from_stream(&self, source: &Source, progress: &Progress) -> Result<Reservation, Failed> {
        let mut reservation = self.pool.reserve(FILE_BYTES_MAX).sparse().try_now()?;
        let (mut at, mut step) = (0, STEP);
        loop {
            let pinned = match reservation.pin(at..at + step).try_now() {
                // There may be room for what is still to come.
                Err(error) if error.errno() == Errno::NOSPC.raw_os_error() && step > self.pool.block_size() => {
                    step /= 2;
                    continue;
                }
                pinned => pinned?,
            };
            let read = self.engine.read(&source.fd(false), None, pinned)?.wait()?;
            if read == 0 {
                break;
            }
            at += read;
            progress.moved(read);
        }
        reservation.truncate(at)?;
        Ok(reservation)
    }

    /// Gets a file into one of the host, which is as long already.
    pub(super) fn get(&self, file: &File, target: &host::Target, progress: &Progress) -> Result<(), Failed> {
        let data = data_in(file);
        let in_data: u64 = data.iter().map(|range| range.end - range.start).sum();
        let begin = |Window { range, direct }: &Window| {
            let pinned = file.pin(range.clone(), Access::Read).try_now()?;
            pinned.will_need();
            self.engine.write(&target.fd(*direct), Some(range.start), pinned)
        };
        move_all(Window::all_of(&data, target.is_direct()), begin, |bytes| progress.moved(bytes))?;
        progress.passed(file.len() - in_data);
        Ok(())
    }

    /// Gets a file into a stream. False if nobody reads any more.
    pub(super) fn get_to_stream(&self, file: &File, to: &fs::File, progress: &Progress) -> Result<bool, Failed> {
        let len = file.len();
        let mut at = 0;
        while at < len {
            let data = file.seek_data(at).unwrap_or(len).min(len);
            if !zeros(to, data - at)? {
                return Ok(false);
            }
            progress.passed(data - at);
            let end = file.seek_hole(data).unwrap_or(len).min(len);
            at = data;
            while at < end {
                let pinned = file.pin(at..end.min(at + STEP), Access::Read).try_now()?;
                pinned.will_need();
                match self.engine.write(to, None, pinned).map(Moving::wait)? {
                    Ok(0) => return Err(Failed::new("takes nothing any more")),
                    Ok(written) => {
                        at += written;
                        progress.moved(written);
                    }
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }
}

/// The ranges of a file that hold data.
fn data_in(file: &File) -> Vec<Range<u64>> {
    let len = file.len();
    let mut data = Vec::new();
    let mut at = 0;
    // A file that grows meanwhile has data behind what was its end.
    while let Some(start) = file.seek_data(at).filter(|start| *start < len) {
        let end = file.seek_hole(start).unwrap_or(len).min(len);
        data.push(start..end);
        at = end;
    }
    data
}

/// Writes zeros. False if nobody reads any more.
fn zeros(mut to: &fs::File, len: u64) -> io::Result<bool> {
    match io::copy(&mut io::Read::take(io::repeat(0), len), &mut to).and_then(|_| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}
