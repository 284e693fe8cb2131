//! The client's side by hand: bytes into the socket, and what comes back.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use pinfold_control::Request;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;

pub struct Raw(pub UnixStream);

impl Raw {
    /// Without a greeting.
    pub fn connect(live_dir: &Path) -> Self {
        Self(UnixStream::connect(live_dir.join("socket")).unwrap())
    }

    /// Greeted.
    pub fn greeted(live_dir: &Path) -> Self {
        let mut raw = Self::connect(live_dir);
        raw.say(br#"{"pinfold_control":2}"#).unwrap();
        let greeting = raw.hear().unwrap();
        assert_eq!(greeting["welcome"]["pid"], std::process::id(), "{greeting}");
        raw
    }

    /// A message, whatever it is.
    pub fn say(&mut self, message: &[u8]) -> std::io::Result<()> {
        let mut bytes = (message.len() as u32).to_le_bytes().to_vec();
        bytes.extend(message);
        self.0.write_all(&bytes)
    }

    pub fn ask(&mut self, request: &Request) {
        self.say(&serde_json::to_vec(request).unwrap()).unwrap();
    }

    /// With descriptors beside it.
    pub fn ask_with(&mut self, request: &Request, files: &[BorrowedFd<'_>]) {
        let request = serde_json::to_vec(request).unwrap();
        let mut bytes = (request.len() as u32).to_le_bytes().to_vec();
        bytes.extend(request);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(files)));
        let sent = rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty());
        assert_eq!(sent.unwrap(), bytes.len());
    }

    /// The next message; `None` when the other end has hung up.
    pub fn hear(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut bytes).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// Waits until it is hung up on; with what errno it was told why, if it was.
    pub fn is_hung_up_on(&mut self) -> Option<i64> {
        let mut errno = None;
        while let Some(said) = self.hear() {
            errno = said["refused"]["errno"].as_i64();
        }
        errno
    }
}
