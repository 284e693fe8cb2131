//! `pinfold info`: what a pool is, as `xfs_info` shows it. `mkfs` shows the same of what it made.

use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::PoolInfo;
use serde_json::{Value, json};

use crate::names::{self, shown};
use crate::out::say;
use crate::pool::{holder_named, look, owner_of};
use crate::size;
use crate::status::{self, CannotRun, Status};

/// Shows what a pool is: its size, blocks, log and checkpoint, and who owns it.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Info {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// One JSON document. Sizes in bytes.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn info(asked: &Info) -> Result<Status, CannotRun> {
    let info = look(&asked.pool)?.info();
    match asked.json {
        true => say(format_args!("{:#}", to_json(&asked.pool, &info)))?,
        false => say(of_pool(&asked.pool, &info))?,
    }
    Ok(Status::Held)
}

/// What a pool is, for programs.
pub(crate) fn to_json(path: &Path, info: &PoolInfo) -> Value {
    let owner = owner_of(path);
    json!({
        "pool": names::json(path),
        "id": hex(&info.id),
        "format": info.format,
        "size": info.len,
        "block_size": info.block_size,
        "reserved": info.reserved,
        "log": { "size": info.log.0, "used": info.log.1, "records": info.records },
        "checkpoint": info.checkpoint.iter().map(|range| json!([range.start, range.end])).collect::<Vec<_>>(),
        "generation": info.generation,
        "nodes": info.nodes,
        "in_files": info.in_files,
        "free": info.free,
        "open": info.reached,
        "owner": owner.map(|holder| holder.pid),
    })
}

/// What a pool is, for people.
pub(crate) fn of_pool(path: &Path, info: &PoolInfo) -> String {
    let exact = size::exact;
    let blocks = info.len / info.block_size;
    let of_checkpoint: u64 = info.checkpoint.iter().map(|range| range.end - range.start).sum();
    let checkpoint = match of_checkpoint {
        0 => "none: the pool is as it was made".to_owned(),
        bytes => format!(
            "{} in {}, generation {}",
            exact(bytes),
            size::count(info.checkpoint.len() as u64, "part"),
            info.generation
        ),
    };
    let lines = [
        ("pool", shown(path)),
        ("id", format!("{}, format {}", hex(&info.id), info.format)),
        ("size", format!("{}, {blocks} blocks of {}", exact(info.len), exact(info.block_size))),
        ("in files", size::human(info.in_files)),
        ("free", size::human(info.free)),
        ("nodes", format!("{} (files, directories, links)", info.nodes)),
        (
            "log",
            format!(
                "{}, {} used by {}",
                exact(info.log.0),
                size::human(info.log.1),
                size::count(info.records, "record")
            ),
        ),
        ("checkpoint", checkpoint),
        ("state", state(path, info)),
    ];
    let line = |(title, text): &(&str, String)| format!("{title:<11} {text}");
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn state(path: &Path, info: &PoolInfo) -> String {
    match (owner_of(path), info.reached) {
        (Some(holder), _) => format!("open, owned by {}", holder_named(holder)),
        (None, true) => "not closed: its owner died, or cannot be seen from here".to_owned(),
        (None, false) => "closed".to_owned(),
    }
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
