//! For how much of the time transfers are in flight.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

#[derive(Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: u64,
    max: u64,
    /// Since when there has been one without a gap.
    since: Option<Instant>,
    flown: Duration,
}

impl Flight {
    /// One more is in flight.
    pub(crate) fn begins(&self) {
        let mut state = lock(&self.state);
        state.now += 1;
        state.max = state.max.max(state.now);
        state.since.get_or_insert_with(Instant::now);
    }

    /// One has ended.
    pub(crate) fn ends(&self) {
        let mut state = lock(&self.state);
        state.now -= 1;
        if state.now == 0
            && let Some(since) = state.since.take()
        {
            state.flown += since.elapsed();
        }
    }

    /// How many are in flight.
    pub(crate) fn now(&self) -> u64 {
        lock(&self.state).now
    }

    /// The most that there were.
    pub(crate) fn max(&self) -> u64 {
        lock(&self.state).max
    }

    /// For how long at least one was.
    pub(crate) fn flown(&self) -> Duration {
        let state = lock(&self.state);
        state.flown + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
