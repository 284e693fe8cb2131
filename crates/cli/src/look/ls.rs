//! `pinfold ls`: names, as `ls` shows them.

use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{FileKind, NameError, Snapshot, Special};
use serde_json::json;

use super::about_name;
use super::entry::Entry;
use crate::cli::Human;
use crate::clock;
use crate::names::{self, shown};
use crate::out::{complain, say, write};
use crate::pool::look;
use crate::screen::Screen;
use crate::status::{self, CannotRun, Status};
use crate::table::{Side, Table};

/// Lists names in a pool.
///
/// One name a line, in columns on a terminal; in order of their bytes. All of them: none is hidden. On a terminal, names that
/// a shell would not take as they are stand in quotes.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Ls {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// Paths in the pool; its root if none is given.
    #[arg(value_name = "PATH", default_value = "/", hide_default_value = true, value_hint = clap::ValueHint::Other)]
    pub(crate) paths: Vec<PathBuf>,
    /// A line for each name: kind, names of the file, size in bytes, time of its last change, name.
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Goes down into directories.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// One name a line, on a terminal too.
    #[arg(short = '1')]
    pub(crate) one: bool,
    /// Names end with NUL, and are as they are. For `xargs -0`.
    #[arg(short = '0', long, conflicts_with_all = ["long", "json"])]
    pub(crate) zero: bool,
    #[command(flatten)]
    pub(crate) human: Human,
    /// One JSON document, with all that is known of each. In names, `%` is `%25`, and what is no text is `%` and two digits.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A directory and what is in it, or what was asked for by itself.
struct Listed {
    dir: Option<PathBuf>,
    entries: Vec<Entry>,
}

pub(crate) fn ls(asked: &Ls) -> Result<Status, CannotRun> {
    let snapshot = look(&asked.pool)?;
    let screen = Screen::of_stdout();
    let (mut status, mut shows) = (Status::Held, Shows { asked, screen, first: true, lists: Vec::new() });
    let mut refused = |error: &NameError| {
        complain(about_name(&asked.pool, error));
        status = Status::CannotRun;
    };
    let (mut alone, mut dirs) = (Vec::new(), Vec::new());
    for path in &asked.paths {
        match at(&snapshot, path, asked.long) {
            Ok(entry) if entry.is_directory() => dirs.push(path.clone()),
            Ok(entry) => alone.push(entry),
            Err(error) => refused(&error),
        }
    }
    let headed = asked.recursive || asked.paths.len() > 1;
    if !alone.is_empty() {
        shows.list(Listed { dir: None, entries: alone })?;
    }
    // The next one is last.
    dirs.reverse();
    while let Some(dir) = dirs.pop() {
        match Entry::all_in(&snapshot, &dir) {
            Ok(entries) => {
                if asked.recursive {
                    let below = entries.iter().rev().filter(|entry| entry.is_directory());
                    dirs.extend(below.map(|entry| dir.join(&entry.name)));
                }
                shows.list(Listed { dir: headed.then_some(dir), entries })?;
            }
            Err(error) => refused(&error),
        }
    }
    shows.end()?;
    Ok(status)
}

/// What a path leads to. A link is shown itself in a long list, and where it leads nowhere.
fn at(snapshot: &Snapshot, path: &Path, long: bool) -> Result<Entry, NameError> {
    match Entry::at(snapshot, path, !long) {
        Err(NameError::NotFound(_)) if !long => Entry::at(snapshot, path, false),
        found => found,
    }
}

/// How lists are shown.
struct Shows<'a> {
    asked: &'a Ls,
    screen: Screen,
    first: bool,
    /// What is said at the end, as one document.
    lists: Vec<Listed>,
}

impl Shows<'_> {
    fn list(&mut self, listed: Listed) -> Result<(), CannotRun> {
        if self.asked.json {
            self.lists.push(listed);
            return Ok(());
        }
        let mut out = Vec::new();
        if let Some(dir) = &listed.dir
            && !self.asked.zero
        {
            if !self.first {
                out.push(b'\n');
            }
            self.put_name(&mut out, dir.as_os_str());
            out.extend(b":\n");
        }
        self.first = false;
        match (self.asked.zero, self.asked.long) {
            (true, _) => listed.entries.iter().for_each(|entry| self.put_zero(&mut out, &listed, entry)),
            (_, true) => self.put_long(&mut out, &listed.entries),
            (_, false) => self.put_short(&mut out, &listed.entries),
        }
        write(&out).map(drop)
    }

    /// With its directory where there are several: a name alone would say too little.
    fn put_zero(&self, out: &mut Vec<u8>, listed: &Listed, entry: &Entry) {
        let path = listed.dir.as_ref().map_or_else(|| PathBuf::from(&entry.name), |dir| dir.join(&entry.name));
        out.extend(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
        out.push(0);
    }

    fn put_short(&self, out: &mut Vec<u8>, entries: &[Entry]) {
        if !self.screen.is_terminal || self.asked.one {
            for entry in entries {
                self.put_entry(out, entry);
                out.push(b'\n');
            }
            return;
        }
        let names: Vec<String> = entries.iter().map(|entry| shown(&entry.name)).collect();
        let cells: Vec<(usize, String)> = entries
            .iter()
            .zip(&names)
            .map(|(entry, name)| (names::width(name), entry.painted(&self.screen, name)))
            .collect();
        out.extend(in_columns(&cells, self.screen.columns).into_bytes());
    }

    fn put_long(&self, out: &mut Vec<u8>, entries: &[Entry]) {
        let mut table = Table::new([Side::Left, Side::Right, Side::Right, Side::Left]);
        for entry in entries {
            let kind = match entry.metadata.kind {
                FileKind::File => "-",
                FileKind::Directory => "d",
                FileKind::Symlink => "l",
                FileKind::Special(Special::Pipe) => "p",
                FileKind::Special(Special::Socket) => "s",
                FileKind::Special(Special::CharDevice(_)) => "c",
                FileKind::Special(Special::BlockDevice(_)) => "b",
            };
            let len = self.asked.human.size(entry.metadata.len);
            let links = entry.metadata.links.to_string();
            table.row([kind.to_owned(), links, len, clock::short(entry.metadata.modified)]);
        }
        for (line, entry) in table.lines().iter().zip(entries) {
            out.extend(line.as_bytes());
            out.extend(b"  ");
            self.put_entry(out, entry);
            if let Some(target) = &entry.target {
                out.extend(b" -> ");
                self.put_name(out, target.as_os_str());
            }
            out.push(b'\n');
        }
    }

    fn put_entry(&self, out: &mut Vec<u8>, entry: &Entry) {
        match self.screen.is_terminal {
            true => out.extend(entry.painted(&self.screen, &shown(&entry.name)).into_bytes()),
            false => self.put_name(out, &entry.name),
        }
    }

    /// As it is, but on a terminal.
    fn put_name(&self, out: &mut Vec<u8>, name: &std::ffi::OsStr) {
        match self.screen.is_terminal {
            true => out.extend(shown(name).into_bytes()),
            false => out.extend(std::os::unix::ffi::OsStrExt::as_bytes(name)),
        }
    }

    fn end(self) -> Result<(), CannotRun> {
        if !self.asked.json {
            return Ok(());
        }
        let entries = self.lists.iter().flat_map(|list| &list.entries).map(Entry::to_json);
        let document = json!({ "pool": names::json(&self.asked.pool), "entries": entries.collect::<Vec<_>>() });
        say(format_args!("{document:#}"))
    }
}

/// Cells, each with its width, down and then across, in as many columns as fit.
fn in_columns(cells: &[(usize, String)], width: usize) -> String {
    let widest = cells.iter().map(|(wide, _)| *wide).max().unwrap_or(0) + 2;
    let columns = (width / widest).clamp(1, cells.len().max(1));
    let rows = cells.len().div_ceil(columns);
    let mut text = String::new();
    for row in 0..rows {
        for (at, (wide, cell)) in cells.iter().skip(row).step_by(rows).enumerate() {
            text.push_str(cell);
            if row + (at + 1) * rows < cells.len() {
                text.push_str(&" ".repeat(widest - wide));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_run_down_and_then_across() {
        let cells: Vec<_> = ["a", "bb", "c", "d", "e"].map(|cell| (cell.len(), cell.to_owned())).into();
        assert_eq!(in_columns(&cells, 9), "a   d\nbb  e\nc\n");
        assert_eq!(in_columns(&cells, 1), "a\nbb\nc\nd\ne\n");
        assert_eq!(in_columns(&[], 80), "");
    }
}
