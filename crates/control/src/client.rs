//! The client's side: asks the owner of a pool.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::Serialize;

use crate::answer::Answer;
use crate::door::{CONNECT_TIME, connect, peer, socket_in};
use crate::refusal::Refusal;
use crate::request::{Put, Request};
use crate::wire::{Greeting, Hello, REPLY_MAX, REQUEST_MAX, Reply, VERSION, Wire, WireError};

/// How long a message may take once it has begun.
const MESSAGE_TIME: Duration = Duration::from_secs(30);

/// A connection to the owner of a pool. Dropping it in the middle of a request withdraws that.
pub struct Client {
    wire: Wire<OwnedFd>,
    owner: u32,
}

/// Why an owner cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody serves here, or ever did.
    #[error("{}: no owner serves here: `pinfold own` does, and a program that calls `pinfold_control::serve`", .0.display())]
    NoSocket(PathBuf),
    /// Its owner has died, or ended.
    #[error("{}: the owner that served here is gone", .0.display())]
    OwnerGone(PathBuf),
    /// It is there, and does not answer.
    #[error("{}: the owner does not answer: is it stopped?", .0.display())]
    NoAnswer(PathBuf),
    /// It answers what this program does not understand.
    #[error("{}: what answers is no owner of a pool: {why}", path.display())]
    NotAnOwner {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// It does not want this client.
    #[error("{}: the owner refuses: {refusal}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What it says.
        refusal: Refusal,
    },
    /// The kernel refuses.
    #[error("{}: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ConnectError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoSocket(_) => Errno::NOENT.raw_os_error(),
            Self::OwnerGone(_) => Errno::CONNREFUSED.raw_os_error(),
            Self::NoAnswer(_) => Errno::TIMEDOUT.raw_os_error(),
            Self::NotAnOwner { .. } => Errno::PROTO.raw_os_error(),
            Self::Refused { refusal, .. } => refusal.errno,
            Self::System { source, .. } => source.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
        }
    }

    /// Whether nobody serves there.
    pub fn is_no_owner(&self) -> bool {
        matches!(self, Self::NoSocket(_) | Self::OwnerGone(_))
    }
}

impl Client {
    /// Connects to the owner of the pool with this live directory ([`live_dir_of`](pinfold::live_dir_of)).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(live_dir: impl AsRef<Path>) -> Result<Self, ConnectError> {
        let live_dir = live_dir.as_ref();
        let path = socket_in(live_dir);
        let socket = connect(live_dir).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => ConnectError::NoSocket(path.clone()),
            Errno::CONNREFUSED => ConnectError::OwnerGone(path.clone()),
            Errno::AGAIN => ConnectError::NoAnswer(path.clone()),
            errno => ConnectError::System { path: path.clone(), source: errno.into() },
        })?;
        // As the kernel saw it: an owner in another namespace has another number there.
        let seen = peer(socket.as_fd()).map_or(0, |peer| peer.pid);
        let wire = Wire::new(socket, MESSAGE_TIME);
        // One that refuses at once may have hung up by now: what it says is there to be read all the same.
        let _ = wire.send(&Hello { pinfold_control: VERSION }, None, REQUEST_MAX);
        let greeting = wire.receive(Instant::now().checked_add(CONNECT_TIME), REPLY_MAX);
        let not_an_owner = |why: String| ConnectError::NotAnOwner { path: path.clone(), why };
        let greeting = match greeting {
            Ok(Some(message)) => message.read().map_err(|error| not_an_owner(error.to_string()))?,
            Ok(None) | Err(WireError::System(Errno::CONNRESET)) => return Err(ConnectError::OwnerGone(path)),
            Err(WireError::Silent | WireError::Stopped) => return Err(ConnectError::NoAnswer(path)),
            Err(error) => return Err(not_an_owner(error.to_string())),
        };
        match greeting {
            Greeting::Refused(refusal) => Err(ConnectError::Refused { path, refusal }),
            Greeting::Welcome { pinfold_control: VERSION, pid } => {
                Ok(Self { wire, owner: if seen == 0 { pid } else { seen } })
            }
            Greeting::Welcome { pinfold_control, .. } => {
                Err(not_an_owner(format!("it speaks version {pinfold_control}")))
            }
        }
    }

    /// The owner's process.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Has a request carried out, and waits for the answer as long as that takes: the request says how long it may wait.
    ///
    /// # Errors
    /// What the owner says. `EOWNERDEAD` if it goes away before it has answered: then nobody knows how far it came.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, Refusal> {
        self.send(request, None)?;
        self.hear(&mut |_, _| ())
    }

    /// Has the owner copy a file of the host in. It gets the descriptor, and reads the file itself, from its first byte on.
    /// `progress` is told how many bytes of how many are there.
    ///
    /// # Errors
    /// As [`Client::ask`], and as [`put`](crate::put).
    pub fn put(
        &mut self,
        source: BorrowedFd<'_>,
        put: &Put,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Answer, Refusal> {
        self.send(&Request::Put(put.clone()), Some(source))?;
        self.hear(&mut progress)
    }

    fn send(&self, request: &impl Serialize, file: Option<BorrowedFd<'_>>) -> Result<(), Refusal> {
        match self.wire.send(request, file, REQUEST_MAX) {
            Ok(()) => Ok(()),
            Err(error @ WireError::TooLong { .. }) => Err(Refusal::of(error.errno(), error)),
            // It has hung up, and may have said why before.
            Err(WireError::System(Errno::PIPE | Errno::CONNRESET)) => self.hear(&mut |_, _| ()).map(drop),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn hear(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, Refusal> {
        let mut whole: Option<Answer> = None;
        loop {
            let message = self.wire.receive(None, REPLY_MAX).map_err(|error| self.lost(&error))?;
            let message = message.ok_or_else(|| self.lost(&"it hung up"))?;
            let (part, last) = match message.read().map_err(|error| self.lost(&error))? {
                Reply::Progress { done, of } => {
                    progress(done, of);
                    continue;
                }
                Reply::Part(part) => (part, false),
                Reply::Done(part) => (part, true),
                Reply::Refused(refusal) => return Err(refusal),
            };
            let so_far = match whole.take() {
                None => part,
                Some(mut so_far) => match so_far.add(part) {
                    true => so_far,
                    false => return Err(self.lost(&"its answer is of two kinds")),
                },
            };
            if last {
                return Ok(so_far);
            }
            whole = Some(so_far);
        }
    }

    fn lost(&self, why: &dyn std::fmt::Display) -> Refusal {
        let owner = self.owner;
        let why = format!("lost the owner, process {owner}, before it answered ({why}): look how far it came");
        Refusal::of(Errno::OWNERDEAD, why)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("owner", &self.owner).finish()
    }
}
