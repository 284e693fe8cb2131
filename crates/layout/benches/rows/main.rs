//! Rows 1 to 5 of the speed that the design wants: each a ratio, taken in one run beside what a user would have instead.
//!
//! ```text
//! cargo bench -p pinfold-layout                       the table
//! cargo bench -p pinfold-layout -- --json             the same as JSON, and nothing else
//! cargo bench -p pinfold-layout -- --row 5            one row
//! cargo test  -p pinfold-layout --benches             each row with tiny counts: does it run at all?
//! ```
//!
//! Subject and peer take turns in many short rounds, so that what disturbs the machine disturbs both. A line shows the
//! median of the rounds' ratios, where half of them lie, the smallest and the largest, and whether the median keeps to
//! the limit. There is no absolute time in it: that would be a statement about the machine.

#![allow(clippy::disallowed_types, reason = "a bench measures the real machine")]

mod break_alone;
mod fixture;
mod line;
mod pins;
mod wake;

use line::Line;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Pairs of subject and peer.
    pub(crate) rounds: usize,
    /// Divides the counts within a round and the sizes of what is set up.
    pub(crate) shrink: usize,
}

impl Scale {
    const FULL: Self = Self { rounds: 201, shrink: 1 };
    const TINY: Self = Self { rounds: 3, shrink: 1000 };

    /// `count`, or as much of it as this scale wants.
    pub(crate) fn of(self, count: usize) -> usize {
        (count / self.shrink).max(2)
    }
}

type Row = fn(Scale) -> Vec<Line>;

const ROWS: [(u32, Row); 5] = [
    (1, pins::beside_arc),
    (2, pins::gigabyte_beside_page),
    (3, break_alone::million_extents_beside_one),
    (4, break_alone::many_pins_beside_none),
    (5, wake::last_unpin_beside_round_trip),
];

#[derive(Default)]
struct Arguments {
    json: bool,
    row: Option<u32>,
    /// `cargo bench` passes `--bench`, `cargo test` does not.
    bench: bool,
    test: bool,
    list: bool,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => arguments.json = true,
                "--bench" => arguments.bench = true,
                "--test" => arguments.test = true,
                "--list" => arguments.list = true,
                "--row" => arguments.row = Some(row_number(words.next())?),
                // What test runners pass to every target.
                "--nocapture" | "--exact" | "--ignored" | "-q" | "--quiet" => {}
                "--format" | "--color" | "--test-threads" => drop(words.next()),
                other => return Err(format!("what is {other}? There are --json and --row N")),
            }
        }
        Ok(arguments)
    }

    fn is_full(&self) -> bool {
        self.bench && !self.test
    }

    fn scale(&self) -> Scale {
        if self.is_full() { Scale::FULL } else { Scale::TINY }
    }
}

fn row_number(word: Option<String>) -> Result<u32, String> {
    let number = word.and_then(|word| word.parse().ok());
    number.filter(|number| ROWS.iter().any(|(row, _)| row == number)).ok_or("--row takes a number from 1 to 5".into())
}

fn main() -> std::process::ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return std::process::ExitCode::from(2);
        }
    };
    if arguments.list {
        println!("rows: test");
        return std::process::ExitCode::SUCCESS;
    }
    let wanted = ROWS.iter().filter(|(row, _)| arguments.row.is_none_or(|only| only == *row));
    let mut lines = Vec::new();
    if !arguments.json {
        println!("{}", line::HEADING);
        if !arguments.is_full() {
            println!("     tiny counts, to see that it runs: these ratios say nothing");
        }
    }
    for (_, measure) in wanted {
        for line in measure(arguments.scale()) {
            if !arguments.json {
                println!("{}", line.as_text());
            }
            lines.push(line);
        }
    }
    if arguments.json {
        println!("{}", line::as_json(&lines));
    }
    std::process::ExitCode::SUCCESS
}
