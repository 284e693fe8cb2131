//! Other processes for tests: this test binary once more, playing a role.
//!
//! A test file that uses it has a test named [`CHILD`], which calls [`play`] with its roles.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The test that is run in the other process.
const CHILD: &str = "the_other_process";
const ROLE: &str = "PINFOLD_CONTROL_ROLE";
const ARGUMENT: &str = "PINFOLD_CONTROL_ARGUMENT";

/// What the other process does; it gets the argument that its parent gave.
pub type Role = fn(&str);

/// For the test named [`CHILD`]: plays the role that this process was started for, if it was.
pub fn play(roles: &[(&str, Role)]) {
    let Ok(wanted) = std::env::var(ROLE) else { return };
    let role = roles.iter().find(|(name, _)| *name == wanted).expect("a role of this file");
    role.1(&std::env::var(ARGUMENT).unwrap());
}

/// For a role: says a word, and waits until it is killed, or its parent is gone.
pub fn say_and_wait(word: &str) {
    println!("\n{word}");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

/// Another process. It is killed when this is dropped.
pub struct Other {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Other {
    pub fn start(role: &str, argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENT, argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says a word on a line of its own.
    #[track_caller]
    pub fn expect(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert_ne!(self.says.read_line(&mut line).unwrap(), 0, "it ended before it said {word:?}");
        }
    }

    /// Kills it, and returns once it is dead and reaped.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
