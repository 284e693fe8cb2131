//! What a copy came to.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::workers::Undone;
use crate::names;
use crate::size;

/// What was copied.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) links: u64,
    /// Lengths of the files.
    pub(super) bytes: u64,
    /// What of them was moved: all but holes.
    pub(super) moved: u64,
    pub(super) time: Duration,
    /// What was not copied.
    pub(super) failed: u64,
    /// By what.
    pub(super) engine: &'static str,
}

impl Sums {
    /// Of so many files all were copied but these.
    pub(super) fn files_but(&mut self, undone: &Undone, of: usize) {
        self.files = (of as u64).saturating_sub(undone.sum());
        self.failed += undone.sum();
    }

    pub(super) fn to_json(&self, pool: &Path) -> Value {
        json!({
            "pool": names::json(pool),
            "files": self.files,
            "directories": self.directories,
            "links": self.links,
            "bytes": self.bytes,
            "moved": self.moved,
            "milliseconds": self.time.as_millis() as u64,
            "failed": self.failed,
            "engine": self.engine,
        })
    }

    /// `3 files, 1.2G, of which 1.0G were moved by io_uring in 2.3 s (0.5G/s)`.
    pub(super) fn to_text(&self) -> String {
        let mut what = vec![size::count(self.files, "file")];
        let directories =
            |number: u64| if number == 1 { "1 directory".to_owned() } else { format!("{number} directories") };
        what.extend((self.directories > 0).then(|| directories(self.directories)));
        what.extend((self.links > 0).then(|| size::count(self.links, "link")));
        let seconds = self.time.as_secs_f64();
        let rate = (self.moved as f64 / seconds.max(1e-9)) as u64;
        format!(
            "{}: {}, {} moved by {} in {seconds:.1} s, {}/s",
            what.join(", "),
            size::human(self.bytes),
            size::human(self.moved),
            self.engine,
            size::human(rate)
        )
    }
}
