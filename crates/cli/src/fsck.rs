//! `pinfold fsck`: the face of `pinfold::fsck`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::fsck::{Finding, Repair, RepairError, Report, Severity, Totals, check};
use pinfold::live_dir_of;
use serde_json::{Value, json};

use crate::names::shown;
use crate::out::{complain, say};
use crate::pool::{about_region, check_live_dir, open_to_look};
use crate::size::human;
use crate::status::{CannotRun, Status, doing};

const HELP: &str = "\
Exit status:
  0  nothing is wrong, or all that was is mended; there may be warnings and notes
  1  something is wrong, and left as it is
  2  the command line is wrong
  3  it could not be checked or mended (no such file, in use, a device may reach it); one line on stderr says why";

/// Checks a pool, and mends what can be mended without guessing.
///
/// All of its medium is read: superblocks, checkpoint, log; every block is to belong to one owner, every name to lead
/// somewhere, and what devices reach to be in a file or parked. Without `--repair` nothing is written, and the pool may
/// have an owner who works on it.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Fsck {
    /// The file that holds the pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Mends what can be mended, and asks before it writes.
    ///
    /// A damaged superblock beside a whole one, names that lead nowhere, directories and files that have lost their name
    /// (they go to /lost+found), blocks in two files (each gets its own), blocks that cannot be a file's. Not while another
    /// process owns the pool, or a device may reach it; and nothing at all if anything else is wrong.
    #[arg(long)]
    repair: bool,
    /// Does not ask.
    #[arg(long, requires = "repair")]
    yes: bool,
    /// The findings as one JSON document.
    #[arg(long)]
    json: bool,
}

/// How many findings of a kind are shown; JSON has them all.
const SHOWN_MAX: usize = 20;

/// Checks, and repairs if that was asked for.
pub(crate) fn fsck(asked: &Fsck) -> Result<Status, CannotRun> {
    let (pool, live_dir) = (&asked.pool, live_dir_of(&asked.pool));
    if asked.repair && !asked.yes && (asked.json || !std::io::stdin().is_terminal()) {
        return Err(CannotRun("a repair asks before it writes: say --yes where nobody answers".into()));
    }
    let file = open_to_look(pool)?;
    check_live_dir(pool)?;
    let report = check(&file, Some(&live_dir));
    if report.findings.contains(&Finding::Moving) {
        return Err(CannotRun(format!("{}: {}", shown(pool), Finding::Moving)));
    }
    match asked.repair {
        false => {
            say(if asked.json { json_of(pool, &report, None).to_string() } else { words_of(pool, &report) })?;
            Ok(Status::of(report.is_clean()))
        }
        true => repair(asked, &report, &live_dir),
    }
}

fn repair(asked: &Fsck, report: &Report, live_dir: &Path) -> Result<Status, CannotRun> {
    let pool = &asked.pool;
    if !asked.json {
        say(words_of(pool, report))?;
    }
    let plan = match Repair::of(pool, Some(live_dir)) {
        Ok(plan) => plan,
        Err(error) => return refused(asked, report, &error),
    };
    let steps: Vec<String> = plan.steps().iter().map(ToString::to_string).collect();
    let suspects: Vec<u64> = plan.suspects().collect();
    if steps.is_empty() {
        say(if asked.json {
            json_of(pool, report, Some(repair_json(&[], &[], report, None))).to_string()
        } else {
            "nothing to mend".into()
        })?;
        return Ok(Status::of(report.is_clean()));
    }
    if !asked.json {
        say(format_args!("to be done:\n  {}", steps.join("\n  ")))?;
        if !asked.yes && !is_confirmed()? {
            say("nothing was written")?;
            return Ok(Status::of(report.is_clean()));
        }
    }
    let after = plan.commit().map_err(doing(shown(pool)))?;
    match asked.json {
        true => {
            let repair = repair_json(&steps, &suspects, report, Some(&after));
            say(json_of(pool, report, Some(repair)))?;
        }
        false => {
            if !suspects.is_empty() {
                say(format_args!("look at what these files hold: {}", named(report, &suspects)))?;
            }
            say(format_args!("done\n{}", words_of(pool, &after)))?;
        }
    }
    Ok(Status::of(after.is_clean()))
}

/// What cannot be mended is wrong still; what was not to be touched now is another matter.
fn refused(asked: &Fsck, report: &Report, error: &RepairError) -> Result<Status, CannotRun> {
    let why = match error {
        RepairError::Region(error) => about_region(&asked.pool, error),
        error => CannotRun(format!("{}: {error}", shown(&asked.pool))),
    };
    if asked.json {
        let repair = json!({ "done": false, "refused": error.to_string(), "steps": [], "suspects": [] });
        say(json_of(&asked.pool, report, Some(repair)))?;
    }
    match error {
        RepairError::Beyond(_) | RepairError::NotMended(_) if !report.is_clean() => {
            complain(why);
            Ok(Status::Failed)
        }
        _ => Err(why),
    }
}

fn is_confirmed() -> Result<bool, CannotRun> {
    say("shall it be done? Type yes, or anything else to leave all as it is.")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(doing("standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// One line if nothing is wrong; else the findings, the worst first.
fn words_of(pool: &Path, report: &Report) -> String {
    let mut words = String::new();
    let mut nodes = Vec::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for finding in report.findings.iter().filter(|finding| finding.severity() == severity) {
            let count = shown.entry(finding.kind()).or_default();
            *count += 1;
            if *count <= SHOWN_MAX {
                let _ = writeln!(words, "{severity}: {finding}");
                nodes.extend(finding.nodes());
            }
        }
        let not_shown = shown.iter().filter(|(_, count)| **count > SHOWN_MAX);
        for (kind, count) in not_shown {
            let _ = writeln!(words, "{severity}: {} more of this kind ({kind})", count - SHOWN_MAX);
        }
        let listed = report.findings.iter().filter(|finding| finding.severity() == severity).count() as u64;
        if listed < report.count(severity) {
            let _ = writeln!(words, "{severity}: {} more", report.count(severity) - listed);
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes.retain(|node| report.path_of(*node).is_some());
    if !nodes.is_empty() {
        let _ = writeln!(words, "where: {}", named(report, &nodes));
    }
    let _ = write!(words, "{}: {}", shown(pool), summary(report));
    words
}

/// What a pool is, in one line.
fn summary(report: &Report) -> String {
    let counted =
        [Severity::Error, Severity::Warning, Severity::Note].map(|severity| (severity, report.count(severity)));
    let counted: Vec<String> =
        counted.iter().filter(|(_, count)| *count > 0).map(|(severity, n)| count(*n, severity.name())).collect();
    let found = match report.is_clean() {
        true if counted.is_empty() => "nothing is wrong".into(),
        true => format!("nothing is wrong ({})", counted.join(", ")),
        false => counted.join(", "),
    };
    let Totals { total, reserved, checkpoint, in_files, parked, quarantined, free, .. } = report.totals;
    if total == 0 {
        return found;
    }
    let kinds = [
        (reserved, "log"),
        (checkpoint, "checkpoint"),
        (in_files, "in files"),
        (parked, "parked"),
        (quarantined, "in quarantine"),
        (free, "free"),
    ];
    let kinds: Vec<String> =
        kinds.iter().filter(|(bytes, _)| *bytes > 0).map(|(bytes, of)| format!("{} {of}", human(*bytes))).collect();
    let Totals { files, directories, symlinks, .. } = report.totals;
    let mut nodes = vec![count(files, "file"), count_as(directories, "directory", "directories")];
    if symlinks > 0 {
        nodes.push(count(symlinks, "link"));
    }
    format!("{found}; {}; of {}: {}", nodes.join(", "), human(total), kinds.join(", "))
}

fn count(number: u64, what: &str) -> String {
    count_as(number, what, &format!("{what}s"))
}

fn count_as(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Nodes with their paths.
fn named(report: &Report, nodes: &[u64]) -> String {
    let name = |node: &u64| match report.path_of(*node) {
        Some(path) => format!("node {node} is {}", path.display()),
        None => format!("node {node}"),
    };
    nodes.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn json_of(pool: &Path, report: &Report, repair: Option<Value>) -> Value {
    let mut document = json!({
        "pool": pool.display().to_string(),
        "clean": report.is_clean(),
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
        "findings": findings_json(report),
        "totals": totals_json(&report.totals),
    });
    if let Some(repair) = repair {
        document["repair"] = repair;
    }
    document
}

fn findings_json(report: &Report) -> Vec<Value> {
    let path = |node: &u64| report.path_of(*node).map(|path| path.display().to_string());
    let finding = |finding: &Finding| {
        let nodes = finding.nodes();
        json!({
            "severity": finding.severity().name(),
            "kind": finding.kind(),
            "remedy": finding.remedy().name(),
            "says": finding.to_string(),
            "nodes": nodes.iter().map(|node| json!({ "node": node, "path": path(node) })).collect::<Vec<_>>(),
        })
    };
    report.findings.iter().map(finding).collect()
}

fn totals_json(totals: &Totals) -> Value {
    let id: String = totals.pool.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "id": id,
        "block_size": totals.block_size,
        "total": totals.total,
        "reserved": totals.reserved,
        "checkpoint": totals.checkpoint,
        "in_files": totals.in_files,
        "parked": totals.parked,
        "quarantined": totals.quarantined,
        "free": totals.free,
        "generation": totals.generation,
        "epoch": totals.epoch,
        "files": totals.files,
        "directories": totals.directories,
        "symlinks": totals.symlinks,
        "names": totals.names,
        "records": totals.records,
        "log_used": totals.log_used,
        "log": totals.log,
    })
}

fn repair_json(steps: &[String], suspects: &[u64], report: &Report, after: Option<&Report>) -> Value {
    let path = |node: &u64| report.path_of(*node).map(|path| path.display().to_string());
    let suspects: Vec<Value> = suspects.iter().map(|node| json!({ "node": node, "path": path(node) })).collect();
    let left = after.unwrap_or(report);
    json!({
        "done": after.is_some(),
        "refused": null,
        "steps": steps,
        "suspects": suspects,
        "clean": left.is_clean(),
        "left": findings_json(left),
    })
}
