//! Messages between the pool's owner and its guest: a line of text, and descriptors beside it.
//!
//! Packets keep their borders, so a message is never cut or joined. A process that died is an error at the other end.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::status::{CannotRun, doing};

/// Bytes of a message, and descriptors beside it, at most.
const TEXT_MAX: usize = 16 << 10;
const FDS_MAX: usize = 4;

/// One end.
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Both ends: one to keep, one for a child's standard input.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), CannotRun> {
        let (kept, given) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(doing("cannot make a socket for a second process"))?;
        Ok((Self(kept), given))
    }

    /// The end that a process was given.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(crate) fn send(&self, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), CannotRun> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = text.len() <= TEXT_MAX && (fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        if !fits {
            return Err(CannotRun("a message to the other process is too long".to_owned()));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)
            .map_err(doing("cannot reach the other process"))?;
        Ok(())
    }

    pub(crate) fn receive(&self) -> Result<(String, Vec<OwnedFd>), CannotRun> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; TEXT_MAX];
        let got =
            rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(doing("cannot hear the other process"))?;
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(CannotRun("a message of the other process was cut short".to_owned()));
        }
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        text.truncate(got.bytes);
        match text.is_empty() {
            true => Err(CannotRun("the other process is gone".to_owned())),
            false => Ok((String::from_utf8(text)?, fds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn text_and_descriptors_come_through_together() {
        let (here, there) = Socket::pair().unwrap();
        let there = Socket::of(there);
        here.send("two", &[std::io::stdin().as_fd(), std::io::stdout().as_fd()]).unwrap();
        here.send("none", &[]).unwrap();
        let (text, fds) = there.receive().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("two", 2));
        assert_eq!(there.receive().unwrap().0, "none");
        drop(here);
        assert_eq!(there.receive().unwrap_err().to_string(), "the other process is gone");
    }
}
