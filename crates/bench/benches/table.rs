//! `cargo bench -p pinfold-bench`: the speed table. `-- --json` for programs, `-- --row 5` for one row; without
//! `--bench` (as `cargo test --benches` calls it), or with `--test`, a smoke run.

use std::process::ExitCode;

use pinfold_bench::{Options, Progress, Report, run};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let row = words.iter().skip_while(|word| *word != "--row").nth(1).and_then(|word| word.parse().ok());
    let smoke = has("--test") || !has("--bench");
    let options = Options { rows: row.map(|row| vec![row]), smoke, ..Options::default() };
    if !has("--json") {
        println!("{}", Report::HEADING);
    }
    let report = run(&options, |progress| match progress {
        Progress::Done(line) if !has("--json") => println!("{line}"),
        _ => {}
    });
    match report {
        Ok(report) if has("--json") => println!("{:#}", report.to_json()),
        Ok(report) => print!("\n{}", report.notes()),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
