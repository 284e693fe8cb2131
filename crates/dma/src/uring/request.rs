//! What an io_uring is asked to do with pinned memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use io_uring::{opcode, squeue, types};
use pinfold::Access;

use crate::error::{SubmitError, What};

use super::parts::Memory;

/// A transfer between a descriptor and pinned memory.
///
/// The descriptor is borrowed until the request is submitted: the kernel has the file from then on, whether the descriptor
/// is closed or not.
#[derive(Clone, Copy, Debug)]
pub struct Request<'fd> {
    fd: BorrowedFd<'fd>,
    op: Op,
    at: Option<u64>,
    flags: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Read,
    Write,
    Receive,
    Send,
}

/// The kernel's way to say "where the file's position is", and the only way for what has none.
const AT_POSITION: u64 = u64::MAX;

impl<'fd> Request<'fd> {
    /// Reads from a file or device at `offset`, in bytes, into the pinned memory. Opened with `O_DIRECT` or not.
    pub fn read(fd: &'fd impl AsFd, offset: u64) -> Self {
        Self { fd: fd.as_fd(), op: Op::Read, at: Some(offset), flags: 0 }
    }

    /// Writes the pinned memory to a file or device at `offset`, in bytes.
    pub fn write(fd: &'fd impl AsFd, offset: u64) -> Self {
        Self { fd: fd.as_fd(), op: Op::Write, at: Some(offset), flags: 0 }
    }

    /// Reads from what has no offsets (a pipe, a terminal), or from where a file's position is. It ends short, like
    /// `read(2)`, with what there is.
    pub fn read_stream(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), op: Op::Read, at: None, flags: 0 }
    }

    /// Writes to what has no offsets, or to where a file's position is.
    pub fn write_stream(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), op: Op::Write, at: None, flags: 0 }
    }

    /// Receives from a socket. It ends short, like `recv(2)`, with what there is.
    pub fn receive(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), op: Op::Receive, at: None, flags: 0 }
    }

    /// Sends through a socket.
    pub fn send(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), op: Op::Send, at: None, flags: libc::MSG_NOSIGNAL }
    }

    /// For sockets: ends when all bytes have moved, or when the other end is gone.
    #[must_use]
    pub fn whole(mut self) -> Self {
        if matches!(self.op, Op::Receive | Op::Send) {
            self.flags |= libc::MSG_WAITALL;
        }
        self
    }

    /// Whether parts of it may move side by side, each at its own offset.
    pub(super) fn has_places(&self) -> bool {
        self.at.is_some()
    }

    /// Whether a registered buffer serves it.
    pub(super) fn takes_fixed(&self) -> bool {
        matches!(self.op, Op::Read | Op::Write)
    }

    pub(super) fn what(&self, parts: u32) -> What {
        let (verb, access) = match self.op {
            Op::Read => ("read", Access::Write),
            Op::Write => ("write", Access::Read),
            Op::Receive => ("receive", Access::Write),
            Op::Send => ("send", Access::Read),
        };
        What { verb, at: self.at, access, parts, host: true }
    }

    pub(super) fn check(&self) -> Result<(), SubmitError> {
        match self.at.is_some_and(|at| i64::try_from(at).is_err()) {
            true => Err(SubmitError::BadOffset(self.what(1))),
            false => Ok(()),
        }
    }

    /// The entry for one part, `skip` bytes into the range.
    pub(super) fn entry(&self, memory: &Memory<'_>, skip: u64) -> squeue::Entry {
        let fd = types::Fd(self.fd.as_raw_fd());
        // Saturated: the kernel refuses what no file has.
        let at = self.at.map_or(AT_POSITION, |at| at.saturating_add(skip).min(i64::MAX as u64));
        match (self.op, memory) {
            (Op::Read, Memory::One { address, len }) => {
                opcode::Read::new(fd, *address as *mut u8, *len).offset(at).build()
            }
            (Op::Write, Memory::One { address, len }) => {
                opcode::Write::new(fd, *address as *const u8, *len).offset(at).build()
            }
            (Op::Read, Memory::Fixed { address, len, buffer }) => {
                opcode::ReadFixed::new(fd, *address as *mut u8, *len, *buffer).offset(at).build()
            }
            (Op::Write, Memory::Fixed { address, len, buffer }) => {
                opcode::WriteFixed::new(fd, *address as *const u8, *len, *buffer).offset(at).build()
            }
            (Op::Read, Memory::Several { vectors, .. }) => {
                opcode::Readv::new(fd, vectors.as_ptr().cast(), vectors.len() as u32).offset(at).build()
            }
            (Op::Write, Memory::Several { vectors, .. }) => {
                opcode::Writev::new(fd, vectors.as_ptr().cast(), vectors.len() as u32).offset(at).build()
            }
            (Op::Receive, Memory::One { address, len } | Memory::Fixed { address, len, .. }) => {
                opcode::Recv::new(fd, *address as *mut u8, *len).flags(self.flags).build()
            }
            (Op::Send, Memory::One { address, len } | Memory::Fixed { address, len, .. }) => {
                opcode::Send::new(fd, *address as *const u8, *len).flags(self.flags).build()
            }
            (Op::Receive, Memory::Several { header, .. }) => {
                opcode::RecvMsg::new(fd, header.as_ptr()).flags(self.flags as u32).build()
            }
            (Op::Send, Memory::Several { header, .. }) => {
                opcode::SendMsg::new(fd, header.as_ptr()).flags(self.flags as u32).build()
            }
        }
    }
}
