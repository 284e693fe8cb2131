//! The peer of row 6: a ring of one's own, with plain buffers and nothing else.
//!
//! Stays true  B1: no buffer is freed, looked at or used again while a read into it is in flight.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

use crate::report::Skipped;

pub(super) const PAGE: usize = 4096;

/// Reads pages of a file into buffers of its own, as many at a time as there are buffers.
pub(super) struct RawRing {
    ring: IoUring,
    file: File,
    buffers: Box<[Buffer]>,
    /// The buffers into which no read is in flight.
    free: Vec<usize>,
}

/// Aligned as O_DIRECT wants it.
#[repr(align(4096))]
struct Buffer(UnsafeCell<[u8; PAGE]>);

impl RawRing {
    pub(super) fn new(file: File, depth: usize) -> Result<Self, Skipped> {
        let ring = IoUring::new(depth.try_into()?).map_err(Skipped::of("io_uring"))?;
        let buffers = (0..depth).map(|_| Buffer(UnsafeCell::new([0; PAGE]))).collect();
        Ok(Self { ring, file, buffers, free: (0..depth).collect() })
    }

    /// Reads the pages at `offsets`, and returns when all are there.
    pub(super) fn read(&mut self, offsets: impl Iterator<Item = u64>) -> Result<(), Skipped> {
        let mut offsets = offsets.peekable();
        loop {
            while let Some(offset) = offsets.next_if(|_| !self.free.is_empty()) {
                self.push(offset)?;
            }
            if self.in_flight() == 0 {
                return Ok(());
            }
            self.ring.submit_and_wait(1)?;
            self.reap()?;
        }
    }

    fn in_flight(&self) -> usize {
        self.buffers.len() - self.free.len()
    }

    fn push(&mut self, offset: u64) -> Result<(), Skipped> {
        let Some(index) = self.free.pop() else { return Ok(()) };
        let to = self.buffers[index].0.get().cast();
        let read = opcode::Read::new(types::Fd(self.file.as_raw_fd()), to, PAGE as u32).offset(offset);
        let read = read.build().user_data(index as u64);
        // SAFETY: `to` is PAGE bytes that nobody uses and that stay until the completion was seen (B1), and so does the
        // file: `drop` waits.
        let pushed = unsafe { self.ring.submission().push(&read) };
        if pushed.is_err() {
            self.free.push(index);
        }
        Ok(pushed?)
    }

    fn reap(&mut self) -> Result<(), Skipped> {
        let mut outcome = Ok(());
        for done in self.ring.completion() {
            self.free.push(done.user_data() as usize);
            match done.result() {
                whole if whole == PAGE as i32 => (),
                errno if errno < 0 => outcome = Err(io::Error::from_raw_os_error(-errno).into()),
                short => outcome = Err(Skipped(format!("a read of {PAGE} bytes ended after {short}"))),
            }
        }
        outcome
    }
}

impl Drop for RawRing {
    /// Waits for what is in flight. Where that fails, the buffers stay for ever (B1).
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            let waited = self.ring.submit_and_wait(1);
            // Nobody asks any more how it ended.
            let _ = self.reap();
            if waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                std::mem::forget(std::mem::take(&mut self.buffers));
                return;
            }
        }
    }
}
