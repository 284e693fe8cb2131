//! Filling a reservation from a file: by a ring, whole pieces of it side by side; and by copies what a ring cannot take, or
//! where there is none.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use pinfold::Reservation;
use pinfold_dma::{InFlight, Request, Uring, UringOptions};
use rustix::io::{Errno, retry_on_intr};

use super::Task;
use super::put::Progress;
use super::release::rings_in;
use crate::asker::Ended;
use crate::refusal::Refusal;

/// Bytes of one transfer.
const PIECE: u64 = 4 << 20;
/// Transfers side by side.
const DEPTH: u32 = 8;
/// What `O_DIRECT` needs offsets and lengths to be a multiple of: the largest that there is.
const ALIGNED: u64 = 4096;
/// How long a transfer that is given up is waited for, before it is left in quarantine until it ends.
const PATIENCE: Duration = Duration::from_millis(250);

impl Task<'_> {
    pub(super) fn fill(
        &self,
        source: BorrowedFd<'_>,
        reservation: &Reservation,
        progress: Progress<'_>,
    ) -> Result<(), Refusal> {
        let len = reservation.len();
        let by_ring = match self.ring() {
            Some(ring) => {
                let by_ring = 0..len - len % ALIGNED;
                let mut filling = Filling { task: self, source, reservation, progress, done: 0 };
                filling.by_ring(&ring, by_ring.clone())?;
                by_ring.end
            }
            None => 0,
        };
        let mut filling = Filling { task: self, source, reservation, progress, done: by_ring };
        filling.by_copies(by_ring..len)
    }

    /// `None` where io_uring is forbidden, or too much of it is in use: then the bytes are copied.
    fn ring(&self) -> Option<Uring> {
        let rings = rings_in(self.live_dir);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&rings).ok()?;
        UringOptions::new().depth(DEPTH).patience(PATIENCE).lock_dir(rings).create().ok()
    }
}

/// A reservation that is being filled.
struct Filling<'f, 'p> {
    task: &'f Task<'f>,
    source: BorrowedFd<'f>,
    reservation: &'f Reservation,
    progress: Progress<'p>,
    done: u64,
}

impl Filling<'_, '_> {
    fn by_ring(&mut self, ring: &Uring, range: Range<u64>) -> Result<(), Refusal> {
        let mut next = range.start;
        // What a transfer did not bring, though it did not fail.
        let mut again: VecDeque<Range<u64>> = VecDeque::new();
        let mut in_flight: VecDeque<(Range<u64>, InFlight)> = VecDeque::new();
        loop {
            while in_flight.len() < DEPTH as usize {
                let piece = match again.pop_front() {
                    Some(piece) => piece,
                    None if next < range.end => next..(next + PIECE).min(range.end),
                    None => break,
                };
                next = next.max(piece.end);
                let transfer = self.submit(ring, &piece)?;
                in_flight.push_back((piece, transfer));
            }
            let Some((piece, transfer)) = in_flight.pop_front() else { return Ok(()) };
            let moved = self.wait_for(transfer)?;
            if moved == 0 {
                return Err(shorter());
            }
            self.advance(moved);
            if moved < piece.end - piece.start {
                again.push_back(piece.start + moved..piece.end);
            }
        }
    }

    fn submit(&self, ring: &Uring, piece: &Range<u64>) -> Result<InFlight, Refusal> {
        let pinned = self.reservation.pin(piece.clone()).wait()?;
        ring.submit(Request::read(&self.source, piece.start), pinned)
            .map_err(|refused| Refusal::new(refused.error.errno(), refused.error))
    }

    fn wait_for(&self, transfer: InFlight) -> Result<u64, Refusal> {
        let ended = match self.task.asker.wait_for(transfer, None)? {
            Ended::Ready(ended) => ended,
            Ended::Late => return Err(Refusal::of(Errno::TIMEDOUT, "timed out")),
        };
        let completion = ended.map_err(|error| Refusal::new(error.errno(), error))?;
        completion.result.map_err(|error| Refusal::new(error.errno(), error))
    }

    fn by_copies(&mut self, range: Range<u64>) -> Result<(), Refusal> {
        // Aligned, and read in whole multiples, so that it does for `O_DIRECT` too.
        let mut memory = vec![0; (PIECE + ALIGNED) as usize];
        let skip = memory.as_ptr().align_offset(ALIGNED as usize).min(ALIGNED as usize);
        let buffer = &mut memory[skip..skip + PIECE as usize];
        let mut at = range.start;
        while at < range.end {
            self.task.asker.check()?;
            let wanted = (range.end - at).min(PIECE);
            let read = retry_on_intr(|| rustix::io::pread(self.source, &mut *buffer, at));
            let read = read.map_err(|errno| Refusal::io("cannot read the file", &errno.into()))?;
            let read = (read as u64).min(wanted);
            if read == 0 {
                return Err(shorter());
            }
            let pinned = self.reservation.pin(at..at + read).wait()?;
            pinned.copy_in(0, &buffer[..read as usize]).map_err(|error| Refusal::new(error.errno(), error))?;
            at += read;
            self.advance(read);
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.reservation.len());
    }
}

fn shorter() -> Refusal {
    Refusal::of(Errno::IO, "the file became shorter while it was read: try again")
}
