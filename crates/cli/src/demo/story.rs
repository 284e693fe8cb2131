//! What the demo tells: acts, each with what happened when, who held what for how long, and what was checked.
//!
//! Only data: [`text`](super::text) and [`json`](super::json) show it.

use std::time::{Duration, Instant};

/// What the numbers of the checks stand for.
pub(crate) const GUARANTEES: &str = "\
G1 no block is used again under DMA; G2 no lost wake-up; G3 no starvation; G5 nobody outside of the range is delayed; G7 \
every wait and every missing block is explained; G8 holders may die; G9 what was synced is there; G10 no old data is seen.";

/// One act.
pub(crate) struct Act {
    /// For programs.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What is about to be shown, in a sentence.
    pub(crate) about: &'static str,
    begun: Instant,
    events: Vec<Event>,
    tracks: Vec<Track>,
    pub(crate) checks: Vec<Check>,
    /// Whether what the act is about met a transfer in flight.
    pub(crate) met: bool,
    /// Why the device was not the machine's.
    pub(crate) stands_in: Option<String>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    /// Since the act began.
    pub(crate) at: Duration,
    pub(crate) what: String,
}

/// What somebody did or held, over time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Track {
    pub(crate) who: String,
    pub(crate) shape: Shape,
}

/// How it is drawn. Times are since the act began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// How much there was of something, from each time on.
    Level { of: &'static str, points: Vec<(Duration, u64)> },
    /// It lasted.
    Lasts { what: Lasts, from: Duration, to: Duration },
    /// It was done at one moment.
    Done { at: Duration },
}

/// What lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lasts {
    Waits,
    Lives,
    Quarantine,
}

impl Lasts {
    /// In a word that stands before how long.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waits => "waited",
            Self::Lives => "lived",
            Self::Quarantine => "in quarantine",
        }
    }
}

/// What was checked, by the number of the guarantee.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Check {
    pub(crate) guarantee: &'static str,
    pub(crate) what: String,
    pub(crate) held: bool,
}

impl Act {
    pub(crate) fn begin(name: &'static str, title: &'static str, about: &'static str) -> Self {
        let (events, tracks, checks) = Default::default();
        Self { name, title, about, begun: Instant::now(), events, tracks, checks, met: false, stands_in: None }
    }

    fn since_begin(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begun)
    }

    /// Something happened now.
    pub(crate) fn now(&mut self, what: impl Into<String>) {
        self.at(Instant::now(), what);
    }

    /// Something happened.
    pub(crate) fn at(&mut self, at: Instant, what: impl Into<String>) {
        self.events.push(Event { at: self.since_begin(at), what: what.into() });
    }

    /// What happened, in the order of time.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at);
        events
    }

    pub(crate) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// How much of something somebody had, from each time on.
    pub(crate) fn level(&mut self, who: impl Into<String>, of: &'static str, points: &[(Instant, u64)]) {
        let points = points.iter().map(|(at, level)| (self.since_begin(*at), *level)).collect();
        self.tracks.push(Track { who: who.into(), shape: Shape::Level { of, points } });
    }

    /// Something lasted.
    pub(crate) fn lasted(&mut self, who: impl Into<String>, what: Lasts, from: Instant, to: Instant) {
        let (from, to) = (self.since_begin(from), self.since_begin(to));
        self.tracks.push(Track { who: who.into(), shape: Shape::Lasts { what, from, to } });
    }

    /// Somebody waited.
    pub(crate) fn waited(&mut self, who: impl Into<String>, from: Instant, to: Instant) {
        self.lasted(who, Lasts::Waits, from, to);
    }

    /// Somebody did not have to wait.
    pub(crate) fn done(&mut self, who: impl Into<String>, at: Instant) {
        let at = self.since_begin(at);
        self.tracks.push(Track { who: who.into(), shape: Shape::Done { at } });
    }

    /// What was promised, and whether it is so.
    pub(crate) fn check(&mut self, guarantee: &'static str, what: impl Into<String>, held: bool) {
        self.checks.push(Check { guarantee, what: what.into(), held });
    }

    pub(crate) fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// Since the act began, until the last thing that happened.
    pub(crate) fn length(&self) -> Duration {
        let ends = self.tracks.iter().map(|track| match &track.shape {
            Shape::Level { points, .. } => points.last().map_or(Duration::ZERO, |(at, _)| *at),
            Shape::Lasts { to, .. } => *to,
            Shape::Done { at } => *at,
        });
        ends.max().unwrap_or_default()
    }
}

/// A time as the timeline tells it.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Bytes as people read them.
pub(crate) use crate::size::in_words as bytes;
