//! The socket's name beside a pool: who may have it, and where it is.
//!
//! Stays true  D1: the name leads to a socket of a living owner, or to one that refuses, and never to half of one: a socket is
//!                 bound under another name, and renamed when it listens.
//!             D2: a living owner's socket is not replaced, and a dead one's is. Whoever looks, and then replaces or removes,
//!                 holds the lock of the directory meanwhile.
//! Dead owner  its socket stays, and refuses. Where a child of it inherited the socket, the kernel still says who listened.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;

/// The name of the socket in the live directory.
const NAME: &str = "socket";
/// Its name until it listens.
const FRESH: &str = "socket.new";
/// How many clients wait until they are let in.
const BACKLOG: i32 = 64;
/// How long a client waits until it is let in.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long somebody else may hold the directory's lock, who only looks and renames.
const LOCK_TIME: Duration = Duration::from_secs(5);

/// The socket in a live directory.
pub(crate) fn socket_in(live_dir: &Path) -> PathBuf {
    live_dir.join(NAME)
}

/// A socket that listens, under its name. Dropping it removes the name.
pub(crate) struct Door {
    dir: OwnedFd,
    live_dir: PathBuf,
    listener: OwnedFd,
    /// Device and inode.
    file: (u64, u64),
}

/// Why there is no door.
pub(crate) enum NoDoor {
    /// Somebody else, who lives, has it.
    Living(u32),
    Failed(&'static str, io::Error),
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> NoDoor {
    move |errno| NoDoor::Failed(doing, errno.into())
}

impl Door {
    pub(crate) fn open(live_dir: &Path) -> Result<Self, NoDoor> {
        let dir = open_dir(live_dir).map_err(failed("open the directory beside the pool"))?;
        let lock = DirLock::take(&dir)?;
        if let Some(pid) = living(&dir, live_dir)? {
            return Err(NoDoor::Living(pid));
        }
        let listener = listen(&dir, live_dir)?;
        let file = rename(&dir, live_dir)?;
        drop(lock);
        Ok(Self { dir, live_dir: live_dir.to_owned(), listener, file })
    }

    pub(crate) fn path(&self) -> PathBuf {
        socket_in(&self.live_dir)
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Where the lock cannot be had the name stays, and refuses.
        let Ok(_lock) = DirLock::take(&self.dir) else { return };
        if identity(&self.path()).is_ok_and(|there| there == self.file) {
            let _ = fs::remove_file(self.path());
        }
    }
}

/// Held while somebody looks at the name and changes it (D2).
struct DirLock<'d>(&'d OwnedFd);

impl<'d> DirLock<'d> {
    fn take(dir: &'d OwnedFd) -> Result<Self, NoDoor> {
        let late = Instant::now() + LOCK_TIME;
        loop {
            match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(dir)),
                Err(Errno::WOULDBLOCK) if Instant::now() < late => std::thread::sleep(Duration::from_millis(1)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(NoDoor::Failed("lock the directory beside the pool", errno.into())),
            }
        }
    }
}

impl Drop for DirLock<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

/// Who listens at the name, if anybody does who lives.
fn living(dir: &OwnedFd, live_dir: &Path) -> Result<Option<u32>, NoDoor> {
    match connect_in(dir, live_dir) {
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        // All places are taken: somebody has taken them.
        Err(Errno::AGAIN) => Ok(Some(0)),
        Err(errno) => Err(NoDoor::Failed("look who has the socket", errno.into())),
        Ok(socket) => {
            let owner = peer(socket.as_fd()).map_err(|error| NoDoor::Failed("look who has the socket", error))?;
            Ok(Some(owner.pid).filter(|pid| is_alive(*pid)))
        }
    }
}

/// Whether a process runs. One that cannot be seen from here counts as one.
fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    !matches!(rustix::process::test_kill_process(pid), Err(Errno::SRCH))
}

/// Makes a socket that only its user may use, and listens.
fn listen(dir: &OwnedFd, live_dir: &Path) -> Result<OwnedFd, NoDoor> {
    let fresh = live_dir.join(FRESH);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(NoDoor::Failed("remove what an owner left half-made", error));
        }
        _ => {}
    }
    let socket = new_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map_err(failed("make a socket"))?;
    // The name gets the rights that the socket has when it is bound.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("set the socket's rights"))?;
    let address = address(dir, live_dir, FRESH).map_err(failed("name the socket"))?;
    rustix::net::bind(&socket, &address).map_err(failed("bind the socket"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed("listen"))?;
    Ok(socket)
}

/// Gives a socket that listens its name; which file it is.
fn rename(dir: &OwnedFd, live_dir: &Path) -> Result<(u64, u64), NoDoor> {
    let file = identity(&live_dir.join(FRESH)).map_err(|error| NoDoor::Failed("look at the socket", error))?;
    rustix::fs::renameat(dir, FRESH, dir, NAME).map_err(failed("name the socket"))?;
    Ok(file)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn new_socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn open_dir(live_dir: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(live_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Connects to the socket of a live directory.
pub(crate) fn connect(live_dir: &Path) -> Result<OwnedFd, Errno> {
    connect_in(&open_dir(live_dir)?, live_dir)
}

fn connect_in(dir: &OwnedFd, live_dir: &Path) -> Result<OwnedFd, Errno> {
    let socket = new_socket(SocketFlags::CLOEXEC)?;
    // A full queue of clients is waited for no longer than this.
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_TIME))?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address(dir, live_dir, NAME)?))?;
    Ok(socket)
}

/// Where a socket is. An address has 107 bytes: a longer path goes through the directory's descriptor.
fn address(dir: &OwnedFd, live_dir: &Path, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(live_dir.join(name))
        .or_else(|_| SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())))
}

/// Who is at the other end of a socket.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// 0 if it cannot be seen from here.
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

/// Who connected, or listens, as the kernel saw it then.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `found` and `len` are there for the call, and `len` says how long `found` is.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut found).cast(), &raw mut len)
    };
    match got {
        0 => Ok(Peer { pid: u32::try_from(found.pid).unwrap_or(0), uid: found.uid }),
        _ => Err(io::Error::last_os_error()),
    }
}
