//! Messages over a stream: whole or not at all, within bounds (W1) and in time (W2).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::asker::poll_until;

/// Bytes before each message.
const LENGTH: usize = 4;

/// One end of a connection.
pub(crate) struct Wire<S> {
    socket: S,
    /// How long a message may take, once it has begun.
    message_time: Duration,
}

/// A message that came.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// The descriptor that came with it.
    pub(crate) file: Option<OwnedFd>,
}

/// Why nothing came, or went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a message of {len} bytes is too long: the most is {max}")]
    TooLong { len: usize, max: usize },
    #[error("a message stopped in the middle")]
    Stopped,
    #[error("nothing came in time")]
    Silent,
    #[error("the connection ended in the middle of a message")]
    Cut,
    #[error("a message is not what it should be: {0}")]
    Garbage(String),
    #[error("{0}")]
    System(Errno),
}

/// What became of a message that need not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Yes,
    /// The other end does not read at the moment.
    NoRoom,
}

impl WireError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::TooLong { .. } => Errno::MSGSIZE,
            Self::Stopped | Self::Silent => Errno::TIMEDOUT,
            Self::Cut => Errno::CONNRESET,
            Self::Garbage(_) => Errno::BADMSG,
            Self::System(errno) => *errno,
        }
    }
}

impl Message {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        serde_json::from_slice(&self.bytes).map_err(|error| WireError::Garbage(error.to_string()))
    }
}

impl<S: AsFd> Wire<S> {
    pub(crate) fn new(socket: S, message_time: Duration) -> Self {
        Self { socket, message_time }
    }

    /// The next message. `None` at the end of the stream.
    ///
    /// # Errors
    /// [`WireError`]: the connection is of no more use.
    pub(crate) fn receive(&self, begin_by: Option<Instant>, max: usize) -> Result<Option<Message>, WireError> {
        let mut file = None;
        let mut length = [0; LENGTH];
        // The time for the message begins with its first byte.
        let first = self.read(&mut length, &mut file, begin_by)?.ok_or(WireError::Silent)?;
        if first == 0 {
            return Ok(None);
        }
        let end_by = Instant::now().checked_add(self.message_time);
        self.read_all(&mut length[first..], &mut file, end_by)?;
        let len = u32::from_le_bytes(length) as usize;
        if len > max {
            return Err(WireError::TooLong { len, max });
        }
        let mut bytes = vec![0; len];
        self.read_all(&mut bytes, &mut file, end_by)?;
        Ok(Some(Message { bytes, file }))
    }

    fn read_all(
        &self,
        mut rest: &mut [u8],
        file: &mut Option<OwnedFd>,
        until: Option<Instant>,
    ) -> Result<(), WireError> {
        while !rest.is_empty() {
            match self.read(rest, file, until)?.ok_or(WireError::Stopped)? {
                0 => return Err(WireError::Cut),
                read => rest = &mut rest[read..],
            }
        }
        Ok(())
    }

    /// Reads what there is, and one descriptor if there is one. `None` if the time was over first.
    fn read(
        &self,
        into: &mut [u8],
        file: &mut Option<OwnedFd>,
        until: Option<Instant>,
    ) -> Result<Option<usize>, WireError> {
        loop {
            // Room for one descriptor: the kernel closes what is more.
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let got =
                retry_on_intr(|| rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(into)], &mut control, flags));
            match got {
                Ok(got) => {
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(files) = message {
                            files.for_each(|received| *file = Some(received));
                        }
                    }
                    return Ok(Some(got.bytes));
                }
                Err(Errno::AGAIN) => {
                    if !self.is_ready(PollFlags::IN, until)? {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(WireError::System(errno)),
            }
        }
    }

    /// Sends a message, and a descriptor with its first bytes.
    ///
    /// # Errors
    /// [`WireError`]: the connection is of no more use.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        file: Option<BorrowedFd<'_>>,
        max: usize,
    ) -> Result<(), WireError> {
        let bytes = framed(message, max)?;
        let end_by = Instant::now().checked_add(self.message_time);
        let sent = loop {
            match self.write(&bytes, file)? {
                0 => self.wait_for_room(end_by)?,
                sent => break sent,
            }
        };
        self.write_all(&bytes[sent..], end_by)
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub(crate) fn try_send(&self, message: &impl Serialize, max: usize) -> Result<Sent, WireError> {
        let bytes = framed(message, max)?;
        match self.write(&bytes, None)? {
            0 => Ok(Sent::NoRoom),
            sent => {
                self.write_all(&bytes[sent..], Instant::now().checked_add(self.message_time))?;
                Ok(Sent::Yes)
            }
        }
    }

    fn write_all(&self, mut rest: &[u8], until: Option<Instant>) -> Result<(), WireError> {
        while !rest.is_empty() {
            match self.write(rest, None)? {
                0 => self.wait_for_room(until)?,
                sent => rest = &rest[sent..],
            }
        }
        Ok(())
    }

    /// Writes what there is room for.
    fn write(&self, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> Result<usize, WireError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        if !files.is_empty() {
            // It was made for one.
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = retry_on_intr(|| rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags));
        match sent {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(WireError::System(errno)),
        }
    }

    fn wait_for_room(&self, until: Option<Instant>) -> Result<(), WireError> {
        match self.is_ready(PollFlags::OUT, until)? {
            true => Ok(()),
            false => Err(WireError::Stopped),
        }
    }

    fn is_ready(&self, events: PollFlags, until: Option<Instant>) -> Result<bool, WireError> {
        poll_until(&mut [PollFd::new(&self.socket, events)], until).map_err(WireError::System)
    }
}

impl<S: AsFd> AsFd for Wire<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn framed(message: &impl Serialize, max: usize) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; LENGTH];
    serde_json::to_writer(&mut bytes, message).map_err(|error| WireError::Garbage(error.to_string()))?;
    let len = bytes.len() - LENGTH;
    if len > max {
        return Err(WireError::TooLong { len, max });
    }
    bytes[..LENGTH].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::wire::REPLY_MAX;

    fn pair() -> (Wire<UnixStream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Wire::new(ours, Duration::from_millis(20)), theirs)
    }

    fn now() -> Option<Instant> {
        Some(Instant::now())
    }

    #[test]
    fn a_message_in_pieces_is_one() {
        let (wire, mut other) = pair();
        let wire = Wire { message_time: Duration::from_secs(60), ..wire };
        let writes = std::thread::spawn(move || {
            for byte in [5, 0, 0, 0].iter().chain(b"\"abc\"") {
                other.write_all(&[*byte]).unwrap();
                std::thread::yield_now();
            }
            other
        });
        let message = wire.receive(None, 5).unwrap().unwrap();
        assert_eq!(message.read::<String>().unwrap(), "abc");
        assert!(message.file.is_none());
        drop(writes.join().unwrap());
        assert!(wire.receive(None, 5).unwrap().is_none());
    }

    #[test]
    fn what_stops_or_is_cut_or_is_too_long_is_told_apart() {
        let (wire, mut other) = pair();
        assert!(matches!(wire.receive(now(), 8), Err(WireError::Silent)));
        other.write_all(&[9, 0, 0, 0]).unwrap();
        assert!(matches!(wire.receive(None, 8), Err(WireError::TooLong { len: 9, max: 8 })));
        other.write_all(&[8, 0, 0, 0, b'"']).unwrap();
        assert!(matches!(wire.receive(None, 8), Err(WireError::Stopped)));
        other.write_all(&[8, 0, 0, 0, b'"']).unwrap();
        drop(other);
        assert!(matches!(wire.receive(None, 8), Err(WireError::Cut)));
        assert!(wire.receive(None, 8).unwrap().is_none());
    }

    #[test]
    fn one_descriptor_comes_with_its_message_and_no_more() {
        let (wire, other) = pair();
        let other = Wire::new(other, Duration::from_secs(60));
        let file = tempfile::tempfile().unwrap();
        other.send(&"with", Some(file.as_fd()), 64).unwrap();
        other.send(&"without", None, 64).unwrap();
        let message = wire.receive(None, 64).unwrap().unwrap();
        let mut received = std::fs::File::from(message.file.unwrap());
        (&file).write_all(b"here").unwrap();
        let mut bytes = String::new();
        std::io::Seek::rewind(&mut received).unwrap();
        received.read_to_string(&mut bytes).unwrap();
        assert_eq!(bytes, "here");
        assert!(wire.receive(None, 64).unwrap().unwrap().file.is_none());
    }

    #[test]
    fn a_reader_that_stops_is_hung_up_on_and_what_need_not_arrive_is_left_out() {
        let (wire, other) = pair();
        let long = "x".repeat(8000);
        while wire.try_send(&long, 1 << 20).unwrap() == Sent::Yes {}
        assert!(matches!(wire.send(&long, None, 1 << 20), Err(WireError::Stopped)));
        // In the middle of a message as well, which is longer than all buffers.
        let (half, deaf) = pair();
        assert!(matches!(half.send(&"x".repeat(8 << 20), None, REPLY_MAX), Err(WireError::Stopped)));
        drop((other, deaf));
        assert!(matches!(wire.send(&"x", None, 64), Err(WireError::System(Errno::PIPE))));
        assert!(matches!(wire.send(&long, None, 64), Err(WireError::TooLong { .. })));
    }
}
