//! Pools for the commands: with an owner, and without.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use pinfold::{FileKind, Pool, Snapshot};
use tempfile::TempDir;

use crate::common::{Ended, pinfold, run};

/// Who owns the pool while commands run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Nobody,
    /// `pinfold own`, in another process.
    Other,
}

pub(crate) const BOTH: [Owner; 2] = [Owner::Nobody, Owner::Other];

/// A pool in a file, for commands.
pub(crate) struct PoolFile {
    pub(crate) owner: Option<Own>,
    pub(crate) path: PathBuf,
    _dir: TempDir,
}

/// `pinfold own`, which is ready.
pub(crate) struct Own {
    pub(crate) child: Child,
    pub(crate) said: String,
    /// Kept open, so that it may say more.
    pub(crate) says: BufReader<ChildStdout>,
}

impl PoolFile {
    /// With what `fill` puts in.
    pub(crate) fn new(owner: Owner, fill: impl FnOnce(&Pool)) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
        let path = dir.path().join("pool");
        let pool = Pool::format(&path, 32 << 20).expect("a pool");
        fill(&pool);
        pool.close().expect("it can be closed");
        Self::there(owner, path, dir)
    }

    /// One that is there.
    pub(crate) fn there(owner: Owner, path: PathBuf, dir: TempDir) -> Self {
        let owner = (owner == Owner::Other).then(|| Own::start(&path, &[]));
        Self { owner, path, _dir: dir }
    }

    /// Runs a command on it: its name, and what comes after the pool.
    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Ended {
        run(pinfold().arg(command).arg(&self.path).args(arguments))
    }

    /// It does what it should, and says nothing.
    #[track_caller]
    pub(crate) fn does(&self, command: &str, arguments: &[&str]) {
        let ended = self.run(command, arguments).expect(0);
        assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""), "{command} {arguments:?}");
    }

    /// It refuses, and says why on one line.
    #[track_caller]
    pub(crate) fn refuses(&self, command: &str, arguments: &[&str], why: &str) {
        self.run(command, arguments).expect(3).expect_one_line_about(why);
    }

    /// What is there, whoever owns it.
    pub(crate) fn now(&self) -> Snapshot {
        Snapshot::open(&self.path).expect("it can be looked at")
    }

    /// The names in a directory.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let entries = self.now().read_dir(dir).expect("a directory");
        entries.into_iter().map(|entry| entry.name.into_string().expect("text")).collect()
    }

    pub(crate) fn kind(&self, path: &str) -> Option<FileKind> {
        self.now().symlink_metadata(path).ok().map(|known| known.kind)
    }

    pub(crate) fn len(&self, path: &str) -> u64 {
        self.now().metadata(path).expect("it is there").len
    }

    pub(crate) fn allocated(&self, path: &str) -> u64 {
        self.now().metadata(path).expect("it is there").allocated
    }
}

impl Own {
    pub(crate) fn start(pool: &Path, arguments: &[&str]) -> Self {
        let mut child =
            pinfold().arg("own").arg(pool).args(arguments).stdout(Stdio::piped()).spawn().expect("it can be started");
        let mut says = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut said = String::new();
        says.read_line(&mut said).expect("it says that it is ready");
        Self { child, said, says }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
