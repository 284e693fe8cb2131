//! The owner's side: a socket beside the pool, and a thread for each client.
//!
//! Stays true  S1: only processes of the owner's user and of root are served, and others are told so. Who connected is what the
//!                 kernel says.
//!             S2: there are never more than so many clients; one more is told so. A client that stops in the middle of
//!                 anything is hung up on, and what it asked for is withdrawn.
//!             S3: what one client waits for delays no other.
//!             S4: when `Serving` is gone, so are its threads, its clients, and the socket's name.
//! Lock order  the table of clients alone, for moments.
//! Dead owner  its clients see the connection end; the next owner replaces the socket.

mod session;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pinfold::Pool;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};

use crate::asker::{Bell, poll_until};
use crate::door::{Door, NoDoor, peer, socket_in};
use crate::refusal::Refusal;
use crate::wire::{Greeting, REPLY_MAX, Wire};

/// How an owner serves.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    clients_max: usize,
    message_time: Duration,
    idle_time: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { clients_max: 64, message_time: Duration::from_secs(5), idle_time: Duration::from_secs(600) }
    }
}

impl ServeOptions {
    /// 64 clients, 5 s for a message that has begun, 10 minutes between two.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many clients there are at most, from 1 on. Each has a thread, and one request at a time.
    #[must_use]
    pub fn clients_max(mut self, clients: usize) -> Self {
        self.clients_max = clients.max(1);
        self
    }

    /// How long a message may take once it has begun, either way. How long a request may wait is the client's to say.
    #[must_use]
    pub fn message_time(mut self, time: Duration) -> Self {
        self.message_time = time;
        self
    }

    /// How long a client may say nothing between two requests.
    #[must_use]
    pub fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = time;
        self
    }

    /// Serves a pool which this process owns. See [`serve`].
    ///
    /// # Errors
    /// As there.
    pub fn serve(self, pool: &Pool, live_dir: impl AsRef<Path>) -> Result<Serving, ServeError> {
        let live_dir = live_dir.as_ref();
        let failed = |doing| {
            let path = socket_in(live_dir);
            move |source| ServeError::System { path, doing, source }
        };
        let door = Door::open(live_dir).map_err(|error| match error {
            NoDoor::Living(pid) => ServeError::Living { path: socket_in(live_dir), pid },
            NoDoor::Failed(doing, source) => failed(doing)(source),
        })?;
        let shared = Arc::new(Shared {
            pool: pool.clone(),
            live_dir: live_dir.to_owned(),
            options: self,
            uid: rustix::process::geteuid().as_raw(),
            stopping: AtomicBool::new(false),
            bell: Bell::new().map_err(failed("make an event"))?,
            clients: Mutex::default(),
        });
        let path = door.path();
        let acceptor = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("pinfold-control".to_owned());
            thread.spawn(move || shared.accept_all(door)).map_err(failed("start a thread"))?
        };
        Ok(Serving { shared, acceptor: Some(acceptor), path, pid: std::process::id() })
    }
}

/// Serves a pool which this process owns, by the socket in its live directory ([`live_dir_of`](pinfold::live_dir_of)), until
/// what it gives is dropped. The socket of an owner that died is replaced.
///
/// Drop it before the pool is closed: it has a handle of the pool.
///
/// # Errors
/// [`ServeError`]: `Living` if a process that lives serves there already.
pub fn serve(pool: &Pool, live_dir: impl AsRef<Path>) -> Result<Serving, ServeError> {
    ServeOptions::new().serve(pool, live_dir)
}

/// Why a pool is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A process that lives has the socket.
    #[error("{}: {} serves there already", path.display(), owner(*pid))]
    Living {
        /// The socket.
        path: PathBuf,
        /// Who; 0 if that cannot be seen from here.
        pid: u32,
    },
    /// The kernel refused a step.
    #[error("{}: cannot {doing}: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// The step.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ServeError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Living { .. } => Errno::ADDRINUSE.raw_os_error(),
            Self::System { source, .. } => source.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
        }
    }
}

fn owner(pid: u32) -> String {
    match pid {
        0 => "a process that cannot be seen from here".to_owned(),
        pid => format!("process {pid}"),
    }
}

/// A pool is served while this lives. Dropping it hangs up on all clients, withdraws what they wait for, waits until what cannot
/// be withdrawn is done, and removes the socket.
#[must_use = "dropping it ends the serving"]
pub struct Serving {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    path: PathBuf,
    /// Who serves: a child of it does not.
    pid: u32,
}

impl Serving {
    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("path", &self.path).finish()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        if self.pid != std::process::id() {
            // The threads are not here, and joining them would be waiting for ever.
            std::mem::forget(acceptor);
            return;
        }
        // ORDER: pairs with the acceptor's load after it was woken.
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.bell.ring();
        let _ = acceptor.join();
    }
}

/// What the threads share.
struct Shared {
    pool: Pool,
    live_dir: PathBuf,
    options: ServeOptions,
    /// The owner's user.
    uid: u32,
    stopping: AtomicBool,
    /// Wakes the acceptor.
    bell: Bell,
    clients: Mutex<HashMap<u64, Arc<OwnedFd>>>,
}

/// How long nobody is let in after the kernel refused something that may be over soon.
const PAUSE: Duration = Duration::from_millis(50);

impl Shared {
    fn is_stopping(&self) -> bool {
        // ORDER: pairs with the store in `Serving::drop`.
        self.stopping.load(Ordering::Acquire)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Arc<OwnedFd>>> {
        // Whole at every point where a thread could panic.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets clients in until it is told to stop; then hangs up on all of them, and waits for their threads (S4).
    fn accept_all(self: &Arc<Self>, door: Door) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for number in 0.. {
            let mut fds = [PollFd::new(&door, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
            let polled = poll_until(&mut fds, None);
            if self.is_stopping() {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            let let_in = polled.map_err(io::Error::from).and_then(|_| self.let_in(&door, number));
            match let_in {
                Ok(thread) => threads.extend(thread),
                Err(_) => self.pause(),
            }
        }
        drop(door);
        for socket in self.clients().values() {
            // One that has gone by itself needs no more.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }

    /// Out of descriptors, or the like: looks again later.
    fn pause(&self) {
        let later = Instant::now().checked_add(PAUSE);
        let _ = poll_until(&mut [PollFd::new(&self.bell, PollFlags::IN)], later);
    }

    /// Lets one client in, if it may come in.
    fn let_in(self: &Arc<Self>, door: &Door, number: u64) -> io::Result<Option<JoinHandle<()>>> {
        let socket = match rustix::net::accept_with(door, SocketFlags::CLOEXEC) {
            Ok(socket) => Arc::new(socket),
            // It has gone, or there was none.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if let Err(refusal) = self.check(&socket) {
            // Who does not take it at once does without.
            let wire = Wire::new(socket, Duration::ZERO);
            let _ = wire.try_send(&Greeting::Refused(refusal), REPLY_MAX);
            return Ok(None);
        }
        let place = Place::take(self, number, &socket);
        let thread = std::thread::Builder::new().name("pinfold-client".to_owned());
        thread.spawn(move || session::serve(&place.shared, socket)).map(Some)
    }

    fn check(&self, socket: &Arc<OwnedFd>) -> Result<(), Refusal> {
        let peer = peer(socket.as_fd()).map_err(|error| Refusal::io("cannot see who connects", &error))?;
        if peer.uid != self.uid && peer.uid != 0 {
            let why = format!(
                "only processes of user {} and of root are served, not of user {}: ask as one of them",
                self.uid, peer.uid
            );
            return Err(Refusal::of(Errno::ACCESS, why));
        }
        let max = self.options.clients_max;
        match self.clients().len() < max {
            true => Ok(()),
            false => Err(Refusal::of(Errno::BUSY, format!("{max} clients are served, and no more: try again later"))),
        }
    }
}

/// A client's place in the table, until its thread ends.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Place {
    fn take(shared: &Arc<Shared>, number: u64, socket: &Arc<OwnedFd>) -> Self {
        shared.clients().insert(number, Arc::clone(socket));
        Self { shared: Arc::clone(shared), number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.clients().remove(&self.number);
    }
}
