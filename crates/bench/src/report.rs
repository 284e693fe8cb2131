//! What was measured: as a table for people, as JSON for programs.

use std::fmt;

use serde_json::{Value, json};

use crate::Setup;
use crate::rounds::Ratios;

/// What one line of the table compares.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Comparison {
    /// The row's number in the design.
    pub row: u32,
    /// The subject.
    pub what: &'static str,
    /// Its peer: what a user would have instead.
    pub beside: &'static str,
    /// The design's goal, as the most that the ratio should be; `None` where a line is for information.
    pub goal: Option<f64>,
    /// In words, what is inside the measured time of both.
    pub compared: &'static str,
    pub(crate) ratios: Measure,
}

pub(crate) type Measure = fn(&Setup) -> Result<Ratios, Skipped>;

/// Why something is not measured here. Any error becomes one by `?`.
pub(crate) struct Skipped(pub(crate) String);

impl Skipped {
    /// An error with what it came of.
    pub(crate) fn of<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl<E: std::error::Error> From<E> for Skipped {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What came of one comparison.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It was measured.
    Measured(Ratios),
    /// It cannot be measured on this machine, and why.
    Skipped(String),
}

/// One line of the table. Its `Display` is that line, under [`Report::HEADING`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Line {
    /// What was compared.
    pub comparison: Comparison,
    /// What came of it.
    pub outcome: Outcome,
}

/// The table. `Display` is for people, [`Report::to_json`] for programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// In the order of the rows.
    pub lines: Vec<Line>,
    /// Whether this was a smoke run, whose ratios say nothing.
    pub smoke: bool,
}

impl Comparison {
    pub(crate) fn measure(&self, setup: &Setup) -> Line {
        let outcome = match (self.ratios)(setup) {
            Ok(ratios) => Outcome::Measured(ratios),
            Err(Skipped(why)) => Outcome::Skipped(why),
        };
        Line { comparison: *self, outcome }
    }
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, what, beside, goal, .. } = self;
        f.debug_struct("Comparison")
            .field("row", row)
            .field("what", what)
            .field("beside", beside)
            .field("goal", goal)
            .finish()
    }
}

impl Line {
    /// The ratios; `None` if it was skipped.
    pub fn ratios(&self) -> Option<&Ratios> {
        match &self.outcome {
            Outcome::Measured(ratios) => Some(ratios),
            Outcome::Skipped(_) => None,
        }
    }

    /// Whether the median reaches the goal; `None` without goal or median.
    pub fn is_reached(&self) -> Option<bool> {
        Some(self.ratios()?.median() <= self.comparison.goal?)
    }

    fn to_json(&self) -> Value {
        let Comparison { row, what, beside, goal, compared, .. } = self.comparison;
        let [min, low, median, high, max] = match self.ratios() {
            Some(ratios) => ratios.quartiles().map(Some),
            None => [None; 5],
        };
        let skipped = match &self.outcome {
            Outcome::Skipped(why) => Some(why),
            Outcome::Measured(_) => None,
        };
        json!({
            "row": row, "what": what, "beside": beside, "compared": compared,
            "min": min, "low": low, "median": median, "high": high, "max": max,
            "rounds": self.ratios().map(Ratios::rounds), "skipped": skipped,
            "goal": goal, "reached": self.is_reached(),
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { row, what, beside, goal, .. } = self.comparison;
        write!(f, "{row:>3}  {what:<44}  {beside:<32}")?;
        let ratios = match &self.outcome {
            Outcome::Skipped(why) => return write!(f, "  skipped: {why}"),
            Outcome::Measured(ratios) => ratios,
        };
        let [_, low, median, high, _] = ratios.quartiles();
        write!(f, "{:>8}  {:<16}", format!("{median:.2}x"), format!("{low:.2} .. {high:.2}"))?;
        match (goal, self.is_reached()) {
            (Some(goal), Some(true)) => write!(f, "{goal:.2}x  reached"),
            (Some(goal), _) => write!(f, "{goal:.2}x  MISSED"),
            (None, _) => write!(f, "none: for information"),
        }
    }
}

impl Report {
    /// What stands above the lines.
    pub const HEADING: &str = "\
row  what                                          beside                            median  half of them    we want";

    /// What stands above the lines of a smoke run too.
    pub const SMOKE: &str = "     a smoke run, to see that everything runs: these ratios say nothing";

    /// `smoke`, and `lines`: of each its `row`, `what`, `beside` and `compared`; of its ratios `min`, `low`, `median`,
    /// `high` and `max` (`low` to `high` are half of them) and the number of `rounds`, or `skipped` and why; `goal` and
    /// `reached`. What there is not is `null`.
    pub fn to_json(&self) -> Value {
        json!({ "smoke": self.smoke, "lines": self.lines.iter().map(Line::to_json).collect::<Vec<_>>() })
    }

    /// What is compared, row by row, in words.
    pub fn notes(&self) -> impl fmt::Display {
        let note = |line: &Line| format!("{:>3}  {}\n", line.comparison.row, line.comparison.compared);
        let mut notes: Vec<_> = self.lines.iter().map(note).collect();
        notes.dedup();
        notes.concat()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::HEADING)?;
        if self.smoke {
            writeln!(f, "{}", Self::SMOKE)?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\nWhat is compared:\n{}", self.notes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPARISON: Comparison = Comparison {
        row: 7,
        what: "this",
        beside: "that",
        goal: Some(1.5),
        compared: "This; that.",
        ratios: |_| Err(Skipped("no \"that\" here".into())),
    };

    fn measured(median: f64) -> Line {
        Line { comparison: COMPARISON, outcome: Outcome::Measured(Ratios::of(vec![median])) }
    }

    #[test]
    fn a_goal_is_reached_up_to_the_very_ratio() {
        assert_eq!(measured(1.5).is_reached(), Some(true));
        assert_eq!(measured(1.51).is_reached(), Some(false));
        assert!(measured(1.5).to_string().ends_with("1.50x  reached"), "{}", measured(1.5));
        assert!(measured(1.51).to_string().ends_with("1.50x  MISSED"), "{}", measured(1.51));
    }

    #[test]
    fn a_line_without_a_goal_is_for_information() {
        let line = Line { comparison: Comparison { goal: None, ..COMPARISON }, ..measured(1.0) };
        assert_eq!(line.is_reached(), None);
        assert!(line.to_string().ends_with("none: for information"), "{line}");
    }

    #[test]
    fn what_cannot_be_measured_says_why_and_is_neither_reached_nor_missed() {
        let setup = Setup { scale: crate::rounds::Scale::SMOKE, scratch: "/".into() };
        let line = COMPARISON.measure(&setup);
        assert!(line.to_string().ends_with("skipped: no \"that\" here"), "{line}");
        assert_eq!(line.is_reached(), None);
        let json: Value = line.to_json().to_string().parse().expect("it is JSON, whatever the text");
        assert_eq!(json["skipped"], "no \"that\" here");
        assert_eq!((&json["median"], &json["reached"]), (&Value::Null, &Value::Null));
    }
}
