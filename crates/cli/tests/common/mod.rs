//! The command, run as a user would.

#![allow(dead_code, reason = "each test file uses a part")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

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

pub(crate) fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the command can be started");
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
