//! Other processes: this test binary once more, and forks.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write, stdin, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pinfold_region::{OpenError, Region};
use rustix::process::{WaitOptions, waitpid};

/// What another process does with a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Opens it as a region, and says what came of it.
    Open,
    /// Opens it and holds it until its input ends.
    Hold,
    /// As `Hold`, and has a forked child too, which lives until that input ends.
    HoldAndFork,
}

/// This test binary in another process.
pub(crate) struct Other {
    child: Child,
    input: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Marks the lines that are meant for the parent, between those of the test harness.
const MARK: &str = "@@ ";

impl Other {
    pub(crate) fn start(task: Task, path: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["in_another_process", "--exact", "--ignored", "--nocapture"])
            .env("PINFOLD_TEST_TASK", format!("{task:?}"))
            .env("PINFOLD_TEST_PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { input: child.stdin.take(), child, answers }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next thing it says.
    pub(crate) fn answer(&mut self) -> String {
        let marked = |line: String| line.strip_prefix(MARK).map(str::to_owned);
        self.answers.by_ref().find_map(|line| marked(line.unwrap())).expect("the other process said nothing")
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// What another process is told when it opens `path`.
pub(crate) fn open_elsewhere(path: &Path) -> String {
    Other::start(Task::Open, path).answer()
}

/// What `Open` answers when `pid` holds the claim.
pub(crate) fn claimed_by(pid: u32) -> String {
    format!("claimed by {pid}")
}

/// The other side of [`Other`].
pub(crate) fn act() {
    let (Ok(task), Some(path)) = (env::var("PINFOLD_TEST_TASK"), env::var_os("PINFOLD_TEST_PATH")) else {
        return;
    };
    let opened = Region::open(path);
    if task == format!("{:?}", Task::HoldAndFork) {
        assert!(opened.is_ok());
        // SAFETY: see `fork`; the child only waits for the end of its input.
        unsafe { fork(wait_for_the_end) };
    }
    say(&match &opened {
        Ok(_) => "opened".to_owned(),
        Err(OpenError::Claimed { holder, .. }) => claimed_by(holder.pid.unwrap()),
        Err(other) => other.to_string(),
    });
    if task != format!("{:?}", Task::Open) {
        wait_for_the_end();
    }
}

fn say(what: &str) {
    let mut out = stdout().lock();
    write!(out, "\n{MARK}{what}\n").unwrap();
    out.flush().unwrap();
}

/// Returns 0 once the input has ended.
fn wait_for_the_end() -> i32 {
    let mut line = String::new();
    while stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
    0
}

/// Runs `act` in a forked child, which ends with what it returns, and gives the child's pid.
///
/// # Safety
/// `act` neither panics nor takes a lock that another thread may have held at the fork.
pub(crate) unsafe fn fork(act: impl FnOnce() -> i32) -> i32 {
    unsafe extern "C" {
        fn fork() -> i32;
        fn _exit(status: i32) -> !;
    }
    // SAFETY: the child runs `act` alone, as promised, and ends without coming back.
    match unsafe { fork() } {
        0 => {
            // A panic that went on would bring the child back into the test harness.
            let status = catch_unwind(AssertUnwindSafe(act)).unwrap_or(101);
            // SAFETY: ends the process; no destructor is owed, since the parent runs them.
            unsafe { _exit(status) }
        }
        pid => pid,
    }
}

/// Waits for a forked child, and gives its exit status; `None` if a signal ended it.
pub(crate) fn wait(pid: i32) -> Option<i32> {
    let (_, status) = waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
}
