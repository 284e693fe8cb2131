//! How long an operation may wait (G6).

use std::time::Duration;

use crate::sync::Instant;

/// The blocking form and the one with a deadline, as one argument.
///
/// The other two forms have methods of their own: `try_…` only looks, `…_async` gives a future.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    at: Option<Instant>,
    interruptible: bool,
}

impl Until {
    /// Waits for as long as it takes.
    pub const fn done() -> Self {
        Self { at: None, interruptible: false }
    }

    /// Waits for at most `duration` from now.
    pub fn after(duration: Duration) -> Self {
        // A deadline that the clock cannot express never comes.
        Self { at: Instant::now().checked_add(duration), interruptible: false }
    }

    /// Waits until `at`.
    pub const fn at(at: Instant) -> Self {
        Self { at: Some(at), interruptible: false }
    }

    /// Gives up with `EINTR` when the waiting thread handles a signal (whose handler was set without `SA_RESTART`).
    #[must_use]
    pub const fn interruptible(mut self) -> Self {
        self.interruptible = true;
        self
    }

    /// When it ends; `None` if it does not.
    pub fn deadline(self) -> Option<Instant> {
        self.at
    }

    /// Whether a signal ends it.
    pub fn is_interruptible(self) -> bool {
        self.interruptible
    }

    pub(crate) fn has_passed(self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }
}
