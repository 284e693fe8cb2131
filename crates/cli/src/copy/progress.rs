//! How far a copy is: a bar on a terminal, and nothing elsewhere.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::workers::Undone;
use crate::names::shown;
use crate::out::{complain, say};
use crate::size;
use crate::status::CannotRun;

/// How far a copy of several files is.
pub(super) struct Progress {
    bar: ProgressBar,
    since: Instant,
    /// Bytes that were moved, holes left out.
    moved: AtomicU64,
}

impl Progress {
    /// Of so many bytes, holes included; `None` where nobody knows.
    pub(super) fn of(total: Option<u64>) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{bar:24} {done:>5} of {all}, {rate:>5}/s, {eta} left  {wide_msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {done:>5}, {rate:>5}/s  {wide_msg}")),
        };
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, since: Instant::now(), moved: AtomicU64::new(0) }
    }

    /// Bytes came.
    pub(super) fn moved(&self, bytes: u64) {
        // ORDER: relaxed; a sum for people.
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.bar.inc(bytes);
    }

    /// A hole was passed over.
    pub(super) fn passed(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// What is being done.
    pub(super) fn now(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Says a line on standard output, above the bar.
    pub(super) fn say(&self, line: impl std::fmt::Display) -> Result<(), CannotRun> {
        self.bar.suspend(|| say(line))
    }

    /// Says what went wrong.
    pub(super) fn complain(&self, why: impl std::fmt::Display) {
        self.bar.suspend(|| complain(why));
    }

    /// Says how many files were left since others could not be copied.
    pub(super) fn left_out(&self, pool: &Path, undone: &Undone) {
        if undone.left > 0 {
            let files = size::count(undone.left as u64, "more file");
            self.complain(format_args!("{}: {files} left out: all would fail for the same reason", shown(pool)));
        }
    }

    /// Ends it: bytes that were moved, and how long it took.
    pub(super) fn end(self) -> (u64, Duration) {
        self.bar.finish_and_clear();
        (self.moved.into_inner(), self.since.elapsed())
    }
}

/// With sizes as everywhere in the command.
fn style(template: &str) -> ProgressStyle {
    let human = |of: fn(&ProgressState) -> u64| {
        move |state: &ProgressState, to: &mut dyn Write| {
            // A bar that cannot be drawn is no failure.
            let _ = to.write_str(&size::human(of(state)));
        }
    };
    let style = ProgressStyle::with_template(template).expect("the template is sound");
    style
        .with_key("done", human(ProgressState::pos))
        .with_key("all", human(|state| state.len().unwrap_or(0)))
        .with_key("rate", human(|state| state.per_sec() as u64))
}
