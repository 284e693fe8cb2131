//! `pinfold stat`: all that is known of a file.

use std::path::PathBuf;

use clap::Args;
use pinfold::{FileExtent, FileKind, NameError, Snapshot, Special};
use serde_json::{Value, json};

use super::each;
use super::entry::Entry;
use crate::names::{self, shown};
use crate::out::say;
use crate::pool::look;
use crate::status::{self, CannotRun, Status};
use crate::{clock, size};

/// Shows all that is known of files, directories and links in a pool.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Stat {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// Paths in the pool.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    pub(crate) paths: Vec<PathBuf>,
    /// Follows a symbolic link at the end of a path.
    #[arg(short = 'L', long)]
    pub(crate) dereference: bool,
    /// One JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn stat(asked: &Stat) -> Result<Status, CannotRun> {
    let snapshot = look(&asked.pool)?;
    let mut found = Vec::new();
    let status = each(&asked.pool, &asked.paths, |path| {
        found.push(Known::of(&snapshot, Entry::at(&snapshot, path, asked.dereference)?)?);
        Ok(())
    })?;
    if asked.json {
        let entries: Vec<Value> = found.iter().map(Known::to_json).collect();
        say(format_args!("{:#}", json!({ "pool": names::json(&asked.pool), "entries": entries })))?;
        return Ok(status);
    }
    found.iter().try_for_each(|known| say(known.to_text()))?;
    Ok(status)
}

struct Known {
    entry: Entry,
    extents: Option<Vec<FileExtent>>,
}

impl Known {
    fn of(snapshot: &Snapshot, entry: Entry) -> Result<Self, NameError> {
        let is_file = entry.metadata.kind == FileKind::File;
        let extents = is_file.then(|| snapshot.extents(&entry.path)).transpose()?;
        Ok(Self { entry, extents })
    }

    /// Bytes of blocks that were set aside, and hold nothing yet.
    fn set_aside(&self) -> u64 {
        let extents = self.extents.iter().flatten();
        extents.filter(|extent| !extent.written).map(|extent| extent.len).sum()
    }

    fn to_json(&self) -> Value {
        let mut value = self.entry.to_json();
        if let Some(extents) = &self.extents {
            value["extents"] = extents.len().into();
            value["set_aside"] = self.set_aside().into();
        }
        value
    }

    fn to_text(&self) -> String {
        let Entry { path, metadata, target, .. } = &self.entry;
        let arrow = target.as_ref().map(|target| format!(" -> {}", shown(target))).unwrap_or_default();
        let kind = match metadata.kind {
            FileKind::File => "regular file",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symbolic link",
            FileKind::Special(Special::Pipe) => "named pipe",
            FileKind::Special(Special::Socket) => "socket",
            FileKind::Special(Special::CharDevice(_)) => "character device",
            FileKind::Special(Special::BlockDevice(_)) => "block device",
        };
        let mut lines = vec![
            format!("    Path: {}{arrow}", shown(path)),
            format!(
                "    Kind: {kind}, {}, number {}",
                size::count(u64::from(metadata.links), "name"),
                metadata.id.number()
            ),
        ];
        if let Some(extents) = &self.extents {
            lines.push(format!("    Size: {}", with_unit(metadata.len)));
            let aside = match self.set_aside() {
                0 => String::new(),
                bytes => format!(", {} of it set aside and not written", size::exact(bytes)),
            };
            let blocks = with_unit(metadata.allocated);
            lines.push(format!("  Blocks: {blocks} in {}{aside}", size::count(extents.len() as u64, "extent")));
        }
        let owner = |id: Option<u32>| id.map_or_else(|| "the pool's".to_owned(), |id| id.to_string());
        let (user, group) = (owner(metadata.uid), owner(metadata.gid));
        lines.push(format!("  Access: {:04o}, user {user}, group {group}", metadata.mode));
        lines.push(format!("Modified: {}", clock::long(metadata.modified)));
        lines.join("\n")
    }
}

/// `1048576 bytes (1.0M)`.
fn with_unit(bytes: u64) -> String {
    match bytes {
        0..1024 => size::count(bytes, "byte"),
        _ => format!("{bytes} bytes ({})", size::human(bytes)),
    }
}
