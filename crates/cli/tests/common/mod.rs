//! The command, run as a user would.

#![allow(dead_code, reason = "each test file uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// `pinfold`, with nothing of the caller's environment that changes what it says.
pub(crate) fn pinfold() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.env_remove("NO_COLOR").env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
    command
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The most that a command says in a test. A file of 2^60 bytes would fill the machine before it were gathered.
const SAID_MAX: u64 = 256 << 20;

/// Waits for a command that was started, and gathers what it says through pipes.
#[track_caller]
pub(crate) fn ended(child: Child) -> Output {
    gathered(child, SAID_MAX).expect("it says no more than a test asked for")
}

/// What a command says, if that is not more than `most` bytes. Who says more finds nobody who reads, and ends.
pub(crate) fn gathered(mut child: Child, most: u64) -> Option<Output> {
    drop(child.stdin.take());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let [stdout, stderr] = std::thread::scope(|scope| {
        let errors = scope.spawn(|| up_to(stderr, most));
        [up_to(stdout, most), errors.join().expect("it reads")]
    });
    let status = child.wait().expect("it ends");
    Some(Output { status, stdout: stdout?, stderr: stderr? })
}

fn up_to(pipe: Option<impl Read>, most: u64) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most + 1).read_to_end(&mut said).expect("it can be read");
    }
    (said.len() as u64 <= most).then_some(said)
}

fn output(command: &mut Command) -> Output {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    ended(started.expect("the command can be started"))
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = output(command);
    let text = |bytes| String::from_utf8(bytes).expect("it says text");
    Ended { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Ended {
    /// It ended with `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// It said nothing but one line, on stderr, which names `what`.
    #[track_caller]
    pub(crate) fn expect_one_line_about(self, what: &str) {
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.contains(what), "{}", self.stderr);
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("one JSON document")
    }
}

/// A directory for one test, and the name of a pool in it.
pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    /// In memory.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { dir: dir.expect("a directory for the test") }
    }

    /// On the disk that the target directory lies on.
    pub(crate) fn on_disk() -> Self {
        Self { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the test") }
    }

    /// One of each.
    pub(crate) fn each() -> [Self; 2] {
        [Self::in_memory(), Self::on_disk()]
    }

    /// With a pool of 64 MiB.
    pub(crate) fn with_pool(self) -> Self {
        self.run("mkfs", ["--size", "64M"]).expect(0);
        self
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.path("pool")
    }

    /// `pinfold COMMAND POOL ...`, in this directory.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, command: &str, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut pinfold = pinfold();
        pinfold.current_dir(self.dir.path()).arg(command).arg("pool").args(arguments);
        pinfold
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, command: &str, arguments: impl IntoIterator<Item = A>) -> Ended {
        run(&mut self.command(command, arguments))
    }

    /// A file of the host.
    pub(crate) fn file(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in the directory")).expect("its directory");
        fs::write(&path, bytes).expect("a file of the test");
        path
    }
}

/// Bytes that are like no others nearby.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Bytes of the blocks that a file has.
pub(crate) fn allocated(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").blocks() * 512
}

/// All below a directory: names, kinds, bytes and links are the same.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let (left, right) = (names_in(one), names_in(other));
    assert_eq!(left, right, "{} and {}", one.display(), other.display());
    for name in left {
        let (one, other) = (one.join(&name), other.join(&name));
        let kind = fs::symlink_metadata(&one).expect("it is there").file_type();
        let same = fs::symlink_metadata(&other).expect("it is there").file_type();
        assert_eq!(kind, same, "{}", other.display());
        if kind.is_symlink() {
            assert_eq!(fs::read_link(&one).expect("a link"), fs::read_link(&other).expect("a link"));
        } else if kind.is_dir() {
            assert_same(&one, &other);
        } else if !kind.is_fifo() {
            assert!(fs::read(&one).expect("a file") == fs::read(&other).expect("a file"), "{}", other.display());
        }
    }
}

fn names_in(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    names
}

/// The command may make no io_uring.
pub(crate) fn without_io_uring(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only two system calls are made, on memory of this frame.
    unsafe { command.pre_exec(forbid_io_uring) }
}

/// As the default profile of a container does.
fn forbid_io_uring() -> std::io::Result<()> {
    const IO_URING_SETUP: u32 = libc::SYS_io_uring_setup as u32;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut rules = [
        rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, IO_URING_SETUP),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, REFUSE),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: plain numbers.
    let no_privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its rules live until the call returns.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    match (no_privileges, filtered) {
        (0, 0) => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// How a run ended that says bytes.
pub(crate) struct EndedInBytes {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

pub(crate) fn run_for_bytes(command: &mut Command) -> EndedInBytes {
    let Output { status, stdout, stderr } = output(command);
    let stderr = String::from_utf8(stderr).expect("it complains in text");
    EndedInBytes { status: status.code(), stdout, stderr }
}

impl EndedInBytes {
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Vec<u8> {
        assert_eq!(self.status, Some(status), "stderr:\n{}", self.stderr);
        self.stdout
    }
}

impl Ended {
    /// It said nothing.
    #[track_caller]
    pub(crate) fn expect_silence(self) {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""));
    }
}

/// Lets a command run as somebody who may do less, with `dir` open to all; false if there is nobody such.
pub(crate) fn as_nobody(command: &mut Command, dir: &Path) -> bool {
    const NOBODY: u32 = 65534;
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("permissions");
        command.uid(NOBODY).gid(NOBODY);
        return pinfold().uid(NOBODY).gid(NOBODY).arg("--version").output().is_ok_and(|ended| ended.status.success());
    }
    true
}
