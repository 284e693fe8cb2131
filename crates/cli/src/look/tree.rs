//! `pinfold tree`: all below a directory, as `tree` draws it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{FileKind, Snapshot};
use serde_json::{Value, json};

use super::entry::Entry;
use super::{about_name, from_root};
use crate::names::{self, shown};
use crate::out::{say, write};
use crate::pool::look;
use crate::screen::Screen;
use crate::status::{self, CannotRun, Status};

/// Draws all below a directory of a pool.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Tree {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// A directory in the pool; its root if none is given.
    #[arg(default_value = "/", hide_default_value = true, value_hint = clap::ValueHint::Other)]
    pub(crate) path: PathBuf,
    /// No deeper than this.
    #[arg(short = 'L', long, value_name = "LEVELS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) levels: Option<u32>,
    /// One JSON document: each directory has its `entries`.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A directory on the way down, and what is still to be shown of it.
struct Level {
    dir: PathBuf,
    rest: std::vec::IntoIter<Entry>,
    /// For the document.
    shown: Vec<Value>,
    of: Value,
}

pub(crate) fn tree(asked: &Tree) -> Result<Status, CannotRun> {
    let snapshot = look(&asked.pool)?;
    let said = |error: pinfold::NameError| about_name(&asked.pool, &error);
    let root = Entry::at(&snapshot, &asked.path, true).map_err(said)?;
    let entries = Entry::all_in(&snapshot, &asked.path).map_err(said)?;
    let mut drawing = Drawing { asked, screen: Screen::of_stdout(), out: Vec::new(), counts: [0; 3] };
    drawing.put_name(&root, asked.path.as_os_str().as_bytes());
    drawing.out.push(b'\n');
    let mut way = vec![Level::of(asked.path.clone(), entries, root.to_json())];
    loop {
        let Some(level) = way.last_mut() else { unreachable!("the root is left by the return") };
        let Some(entry) = level.rest.next() else {
            let done = way.pop().map(Level::into_json).unwrap_or_default();
            match way.last_mut() {
                Some(above) => above.shown.push(done),
                None => return drawing.end(done),
            }
            continue;
        };
        drawing.entry(&way, &entry);
        let below = descend(&snapshot, asked, &way, &entry).map_err(said)?;
        match (below, way.last_mut()) {
            (Some(below), _) => way.push(below),
            (None, Some(level)) if asked.json => level.shown.push(entry.to_json()),
            _ => {}
        }
    }
}

/// The level below an entry, if it is to be shown.
fn descend(
    snapshot: &Snapshot,
    asked: &Tree,
    way: &[Level],
    entry: &Entry,
) -> Result<Option<Level>, pinfold::NameError> {
    let deep = asked.levels.is_some_and(|levels| way.len() >= levels as usize);
    let Some(level) = way.last().filter(|_| entry.is_directory() && !deep) else { return Ok(None) };
    let dir = level.dir.join(&entry.name);
    let entries = Entry::all_in(snapshot, &dir)?;
    Ok(Some(Level::of(dir, entries, if asked.json { entry.to_json() } else { Value::Null })))
}

impl Level {
    fn of(dir: PathBuf, entries: Vec<Entry>, of: Value) -> Self {
        Self { dir, rest: entries.into_iter(), shown: Vec::new(), of }
    }

    fn is_over(&self) -> bool {
        self.rest.as_slice().is_empty()
    }

    fn into_json(self) -> Value {
        let mut value = self.of;
        if value.is_object() {
            value["entries"] = self.shown.into();
        }
        value
    }
}

struct Drawing<'a> {
    asked: &'a Tree,
    screen: Screen,
    out: Vec<u8>,
    /// Directories, files, links.
    counts: [u64; 3],
}

impl Drawing<'_> {
    fn entry(&mut self, way: &[Level], entry: &Entry) {
        let kind = match entry.metadata.kind {
            FileKind::Directory => 0,
            FileKind::File | FileKind::Special(_) => 1,
            FileKind::Symlink => 2,
        };
        self.counts[kind] += 1;
        let Some((here, above)) = way.split_last() else { return };
        for level in above {
            self.out.extend(if level.is_over() { "    " } else { "│   " }.as_bytes());
        }
        self.out.extend(if here.is_over() { "└── " } else { "├── " }.as_bytes());
        self.put_name(entry, entry.name.as_bytes());
        if let Some(target) = &entry.target {
            self.out.extend(b" -> ");
            self.put_plain(target);
        }
        self.out.push(b'\n');
    }

    fn put_name(&mut self, entry: &Entry, name: &[u8]) {
        match self.screen.is_terminal {
            true => {
                self.out.extend(entry.painted(&self.screen, &shown(std::ffi::OsStr::from_bytes(name))).into_bytes())
            }
            false => self.out.extend(name),
        }
    }

    fn put_plain(&mut self, path: &Path) {
        match self.screen.is_terminal {
            true => self.out.extend(shown(path).into_bytes()),
            false => self.out.extend(path.as_os_str().as_bytes()),
        }
    }

    fn end(mut self, document: Value) -> Result<Status, CannotRun> {
        if self.asked.json {
            let path = names::json(from_root(&self.asked.path));
            say(format_args!(
                "{:#}",
                json!({ "pool": names::json(&self.asked.pool), "path": path, "tree": document })
            ))?;
            return Ok(Status::Held);
        }
        let [dirs, files, links] = self.counts;
        let count = |number: u64, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
        let mut sums = vec![count(dirs, "directory", "directories"), count(files, "file", "files")];
        sums.extend((links > 0).then(|| count(links, "link", "links")));
        self.out.extend(format!("\n{}\n", sums.join(", ")).into_bytes());
        write(&self.out)?;
        Ok(Status::Held)
    }
}
