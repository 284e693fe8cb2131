//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod child;
pub mod raw;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinfold::{File, Pool, live_dir_of};
use pinfold_control::{Answer, Client, FileChange, Policy, Reached, Refusal, Request, Serving, Waiting, serve};
use rustix::io::Errno;
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;

/// How the pool is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By the process that owns it.
    Ours,
    /// Through the owner's socket.
    Socket,
}

pub const BOTH: [Way; 2] = [Way::Ours, Way::Socket];

/// A lasting pool in a directory of its own, and a way to ask it.
pub struct Lab {
    pub way: Way,
    pub reached: Reached,
    pub serving: Option<Serving>,
    pub pool: Pool,
    pub path: PathBuf,
    pub dir: TempDir,
}

impl Lab {
    pub fn new(way: Way) -> Self {
        let dir = scratch_dir();
        let path = dir.path().join("pool");
        let pool = Pool::format(&path, 32 * MIB).unwrap();
        Self::with(way, pool, path, dir)
    }

    /// Of a pool that is there.
    pub fn with(way: Way, pool: Pool, path: PathBuf, dir: TempDir) -> Self {
        let live_dir = live_dir_of(&path);
        let (reached, serving) = match way {
            Way::Ours => (Reached::Ours { pool: pool.clone(), live_dir }, None),
            Way::Socket => {
                let serving = serve(&pool, &live_dir).unwrap();
                (Reached::Theirs(Client::connect(live_dir).unwrap()), Some(serving))
            }
        };
        Self { way, reached, serving, pool, path, dir }
    }

    pub fn live_dir(&self) -> PathBuf {
        live_dir_of(&self.path)
    }

    /// One more client; for the socket.
    pub fn client(&self) -> Client {
        Client::connect(self.live_dir()).unwrap()
    }

    /// Asks for what is answered with "done".
    #[track_caller]
    pub fn does(&mut self, request: Request) {
        assert_eq!(self.reached.ask(&request), Ok(Answer::Done), "{request:?}, {:?}", self.way);
    }

    #[track_caller]
    pub fn answers(&mut self, request: Request) -> Answer {
        match self.reached.ask(&request) {
            Ok(answer) => answer,
            Err(refusal) => panic!("{request:?}, {:?}: {refusal}", self.way),
        }
    }

    #[track_caller]
    pub fn refuses(&mut self, request: Request, errno: Errno) -> Refusal {
        match self.reached.ask(&request) {
            Ok(answer) => panic!("{request:?}, {:?}: {answer:?}", self.way),
            Err(refusal) => {
                assert_eq!(Errno::from_raw_os_error(refusal.errno), errno, "{refusal}");
                refusal
            }
        }
    }
}

pub fn scratch_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A change of a file that is there, which waits as long as it takes.
pub fn change(path: impl AsRef<Path>, change: FileChange) -> Request {
    Request::Change { path: path.as_ref().to_owned(), create: false, change, waiting: Waiting::default() }
}

/// The same, with what is done about transfers in the way.
pub fn change_with(path: &str, change: FileChange, policy: Policy, timeout_ms: Option<u64>) -> Request {
    Request::Change { path: path.into(), create: false, change, waiting: Waiting { policy, timeout_ms } }
}

/// A new file, full of one byte.
pub fn filled(pool: &Pool, path: impl AsRef<Path>, len: u64, byte: u8) -> File {
    let file = pool.create(path).unwrap();
    file.write_at(0, &vec![byte; len as usize]).unwrap();
    file
}

pub fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0xee; file.len() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// Waits for a state.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < late, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// Waits until an operation sleeps for a pin.
#[track_caller]
pub fn wait_until_behind(pool: &Pool) {
    eventually("an operation waits for a pin", || pool.breaks().iter().any(|running| running.behind.is_some()));
}
