//! `pinfold dump`: a pool's medium as it lies there, for people who look for what went wrong.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use clap::Args;
use pinfold::fsck::{self, Part};
use serde_json::{Value, json};

use crate::names;
use crate::names::shown;
use crate::out::say;
use crate::status::{self, CannotRun, Status, doing};

/// Shows what lies on a pool's medium: superblocks, the log record by record, the checkpoint item by item.
///
/// Nothing is compared and nothing written; damage is shown where it is. All three are shown if none is asked for. Beside an
/// owner that works, they may be of different moments.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Dump {
    /// The file that holds the pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Both superblocks.
    #[arg(long)]
    superblocks: bool,
    /// The records of the log, and how it ends.
    #[arg(long)]
    log: bool,
    /// The chunks of the checkpoint, and its items.
    #[arg(long)]
    checkpoint: bool,
    /// One node: what it is, and all items and records that speak of it.
    #[arg(long, value_name = "N")]
    node: Option<u64>,
    /// Bytes of the pool as they are, from one offset up to another.
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    hex: Vec<Range<u64>>,
    /// Everything as one JSON document.
    #[arg(long)]
    json: bool,
}

/// The most bytes that are shown as they are.
const HEX_MAX: u64 = 16 << 20;

/// Offsets in bytes, decimal or with 0x.
fn range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let range = text.split_once("..").and_then(|(from, to)| Some(number(from)?..number(to)?));
    match range.filter(|range| range.start < range.end) {
        None => Err("two offsets, as in 0..136 or 0x10000..0x10088".into()),
        Some(range) if range.end - range.start > HEX_MAX => Err(format!("no more than {HEX_MAX} bytes at a time")),
        Some(range) => Ok(range),
    }
}

/// Where what is shown goes.
enum To {
    Lines,
    /// What was shown so far.
    Json(Vec<Value>),
}

/// Shows what was asked for.
pub(crate) fn dump(asked: &Dump) -> Result<Status, CannotRun> {
    let file = crate::pool::open_to_look(&asked.pool)?;
    let dump = fsck::Dump::of(&file);
    let mut to = if asked.json { To::Json(Vec::new()) } else { To::Lines };
    let mut ended = Ok(());
    let mut take = |part: Part| {
        if ended.is_ok() {
            ended = to.show(&part);
        }
    };
    let all = !(asked.superblocks || asked.log || asked.checkpoint || asked.node.is_some() || !asked.hex.is_empty());
    if asked.superblocks || all {
        dump.superblocks().into_iter().for_each(&mut take);
    }
    if asked.log || all {
        dump.log(&mut take);
    }
    if asked.checkpoint || all {
        dump.checkpoint(&mut take);
    }
    if let Some(node) = asked.node {
        dump.node(node, &mut take);
    }
    ended?;
    for range in &asked.hex {
        let bytes = read(&file, range).map_err(doing(shown(&asked.pool)))?;
        to.show_bytes(range.start, &bytes)?;
    }
    if let To::Json(parts) = to {
        say(Value::Array(parts))?;
    }
    Ok(Status::Held)
}

/// What there is of a range.
fn read(file: &File, range: &Range<u64>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let mut have = 0;
    loop {
        match file.read_at(&mut bytes[have..], range.start + have as u64) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

impl To {
    fn show(&mut self, part: &Part) -> Result<(), CannotRun> {
        match self {
            Self::Json(parts) => {
                parts.push(json_of(part));
                Ok(())
            }
            Self::Lines => {
                let mut lines = String::new();
                add_lines(&mut lines, part, 0);
                say(lines.trim_end_matches('\n'))
            }
        }
    }

    fn show_bytes(&mut self, start: u64, bytes: &[u8]) -> Result<(), CannotRun> {
        match self {
            Self::Json(parts) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                parts.push(json!({ "what": "bytes", "place": [start, start + bytes.len() as u64], "hex": hex }));
                Ok(())
            }
            Self::Lines => say(hex_lines(start, bytes).trim_end_matches('\n')),
        }
    }
}

/// One line for each part, with the place of what has one.
fn add_lines(lines: &mut String, part: &Part, depth: usize) {
    let place = match part.place.is_empty() && part.place.start == 0 {
        true => String::new(),
        false => format!("@{:#x} ", part.place.start),
    };
    lines.push_str(&format!("{:indent$}{place}{part}\n", "", indent = depth * 2));
    part.parts.iter().for_each(|part| add_lines(lines, part, depth + 1));
}

fn json_of(part: &Part) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("what".into(), part.what.into());
    if !part.place.is_empty() {
        object.insert("place".into(), json!([part.place.start, part.place.end]));
    }
    for fact in &part.facts {
        let value = match &fact.value {
            fsck::Value::Number(number) => json!(number),
            fsck::Value::Signed(number) => json!(number),
            fsck::Value::Flag(flag) => json!(flag),
            fsck::Value::Text(text) => json!(names::json(OsStr::from_bytes(text))),
            other => json!(other.to_string()),
        };
        object.insert(fact.name.into(), value);
    }
    if let Some(why) = &part.wrong {
        object.insert("wrong".into(), json!(why));
    }
    if !part.parts.is_empty() {
        object.insert("parts".into(), part.parts.iter().map(json_of).collect());
    }
    Value::Object(object)
}

/// Sixteen bytes a line, as `hexdump -C` shows them; lines that are the same as the one before are a star.
fn hex_lines(start: u64, bytes: &[u8]) -> String {
    let mut lines = String::new();
    let mut before: Option<&[u8]> = None;
    let mut starred = false;
    for (index, line) in bytes.chunks(16).enumerate() {
        if before == Some(line) && line.len() == 16 {
            if !std::mem::replace(&mut starred, true) {
                lines.push_str("*\n");
            }
            continue;
        }
        (before, starred) = (Some(line), false);
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = line
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        lines.push_str(&format!("{:08x}  {:<47}  |{text}|\n", start + index as u64 * 16, hex.join(" ")));
    }
    lines.push_str(&format!("{:08x}\n", start + bytes.len() as u64));
    lines
}
