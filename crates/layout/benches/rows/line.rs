//! One line of the table: a subject, its peer, and the ratio of the two.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Scale;

/// A measured ratio.
pub(crate) struct Line {
    pub(crate) row: u32,
    pub(crate) what: &'static str,
    pub(crate) beside: &'static str,
    /// The design's; `None` where a line is for information.
    pub(crate) limit: Option<f64>,
    pub(crate) ratios: Ratios,
}

/// The ratios of all rounds, smallest first.
pub(crate) struct Ratios(Vec<f64>);

/// Runs subject and peer in turns; each gives the time that it took. Who goes first changes from round to round.
pub(crate) fn take_turns(
    scale: Scale,
    mut subject: impl FnMut() -> Duration,
    mut peer: impl FnMut() -> Duration,
) -> Ratios {
    // Warm: code, caches, and the slots of this thread.
    subject();
    peer();
    let mut ratios: Vec<f64> = (0..scale.rounds)
        .map(|round| {
            let (subject, peer) = if round % 2 == 0 {
                let subject = subject();
                (subject, peer())
            } else {
                let peer = peer();
                (subject(), peer)
            };
            subject.as_secs_f64() / peer.as_secs_f64().max(f64::MIN_POSITIVE)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    Ratios(ratios)
}

/// The time that `count` runs take together.
pub(crate) fn time<T>(count: usize, mut run: impl FnMut() -> T) -> Duration {
    let begun = Instant::now();
    for _ in 0..count {
        black_box(run());
    }
    begun.elapsed()
}

/// The middle one of several times.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub(crate) const HEADING: &str = "\
row  what                                          beside                            median   half of them      min .. max       limit";

impl Line {
    fn holds(&self) -> Option<bool> {
        self.limit.map(|limit| self.ratios.median() <= limit)
    }

    pub(crate) fn as_text(&self) -> String {
        let Self { row, what, beside, ratios, .. } = self;
        let limit = match (self.limit, self.holds()) {
            (Some(limit), Some(true)) => format!("{limit:.2}x  holds"),
            (Some(limit), _) => format!("{limit:.2}x  MISSED"),
            (None, _) => "none: for information".into(),
        };
        let [min, low, median, high, max] = ratios.quartiles();
        format!(
            "{row:>3}  {what:<44}  {beside:<31}  {median:>6.2}x   {low:.2} .. {high:.2}   {min:>5.2} .. {max:<7.2}  {limit}"
        )
    }

    fn as_json(&self) -> String {
        let Self { row, what, beside, ratios, .. } = self;
        let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".into());
        let limit = or_null(self.limit.map(|limit| limit.to_string()));
        let holds = or_null(self.holds().map(|holds| holds.to_string()));
        let [min, low, median, high, max] = ratios.quartiles();
        let rounds = ratios.0.len();
        let named = format!(r#""row":{row},"what":"{what}","beside":"{beside}""#);
        let spread = format!(r#""min":{min:.4},"low":{low:.4},"median":{median:.4},"high":{high:.4},"max":{max:.4}"#);
        format!(r#"{{{named},{spread},"rounds":{rounds},"limit":{limit},"holds":{holds}}}"#)
    }
}

/// All lines as one JSON array. No text in a line needs escaping.
pub(crate) fn as_json(lines: &[Line]) -> String {
    let lines: Vec<_> = lines.iter().map(Line::as_json).collect();
    format!("[\n  {}\n]", lines.join(",\n  "))
}

impl Ratios {
    fn median(&self) -> f64 {
        self.quartiles()[2]
    }

    /// The smallest, the quartiles, the largest: between the second and the fourth lie half of the rounds.
    fn quartiles(&self) -> [f64; 5] {
        [0, 1, 2, 3, 4].map(|quarter| self.0[(self.0.len() - 1) * quarter / 4])
    }
}
