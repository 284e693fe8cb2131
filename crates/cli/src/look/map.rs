//! `pinfold map`: where the bytes of a file lie, as `filefrag -v` and `xfs_bmap` show it; or the picture of the pool.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{FileExtent, Snapshot};
use pinfold_picture::Look;
use serde_json::{Value, json};

use super::chart::{self, chart};
use super::held::Held;
use super::{about_name, from_root};
use crate::names::{self, shown};
use crate::out::{say, write};
use crate::pool::look;
use crate::screen::Screen;
use crate::size;
use crate::status::{self, CannotRun, Status};
use crate::table::{Side, Table};

/// Shows what each block of a pool is, or where the bytes of a file lie.
///
/// Without a path, a picture: what lies where, how fragmented it is, what is parked or pinned, and by whom. With the path of a
/// file, its extents and holes.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Map {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// A file in the pool: only where its bytes lie.
    #[arg(value_hint = clap::ValueHint::Other)]
    pub(crate) path: Option<PathBuf>,
    /// Writes the picture of the pool to this file, as SVG; `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["path", "json"])]
    pub(crate) output: Option<PathBuf>,
    /// One JSON document: of a file in bytes, of a pool in blocks.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn map(asked: &Map) -> Result<Status, CannotRun> {
    let snapshot = look(&asked.pool)?;
    match &asked.path {
        Some(path) => map_file(asked, &snapshot, path)?,
        None => map_pool(asked, &snapshot)?,
    }
    Ok(Status::Held)
}

fn map_pool(asked: &Map, snapshot: &Snapshot) -> Result<(), CannotRun> {
    let held = Held::of_snapshot(&asked.pool, snapshot)?;
    let chart = chart(&asked.pool, snapshot, &held);
    match &asked.output {
        _ if asked.json => say(format_args!("{:#}", chart::to_json(&asked.pool, &chart))),
        Some(path) if path.as_os_str() == "-" => write(pinfold_picture::svg(&chart).as_bytes()).map(drop),
        Some(path) => write_file(asked, path, pinfold_picture::svg(&chart).as_bytes()),
        None => {
            let screen = Screen::of_stdout();
            let look = Look { columns: screen.columns, coloured: screen.coloured };
            write(pinfold_picture::text(&chart, look).as_bytes()).map(drop)
        }
    }
}

fn write_file(asked: &Map, path: &Path, bytes: &[u8]) -> Result<(), CannotRun> {
    let same = |one: &Path, other: &Path| match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    };
    if same(path, &asked.pool) {
        return Err(CannotRun(format!("{}: is the pool itself; give another file for the picture", shown(path))));
    }
    std::fs::write(path, bytes).map_err(|error| CannotRun(format!("{}: {error}", shown(path))))
}

fn map_file(asked: &Map, snapshot: &Snapshot, path: &Path) -> Result<(), CannotRun> {
    let said = |error: pinfold::NameError| about_name(&asked.pool, &error);
    let len = snapshot.metadata(path).map_err(said)?.len;
    let extents = snapshot.extents(path).map_err(said)?;
    if asked.json {
        return say(format_args!("{:#}", to_json(&asked.pool, path, len, &extents)));
    }
    let holes = holes(len, &extents);
    let counts = [size::count(extents.len() as u64, "extent"), size::count(holes.len() as u64, "hole")];
    say(format_args!("{}: {}, {}", shown(from_root(path)), size::in_words(len), counts.join(", ")))?;
    match extents.len() + holes.len() {
        0 => Ok(()),
        _ => say(table(&extents, &holes)),
    }
}

/// Where the file has no blocks.
fn holes(len: u64, extents: &[FileExtent]) -> Vec<std::ops::Range<u64>> {
    let starts = std::iter::once(0).chain(extents.iter().map(|extent| extent.offset + extent.len));
    let ends = extents.iter().map(|extent| extent.offset).chain([len]);
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
}

fn table(extents: &[FileExtent], holes: &[std::ops::Range<u64>]) -> Table {
    let extent = |extent: &FileExtent| {
        let end = extent.offset + extent.len;
        let place = size::range(&(extent.place..extent.place + extent.len));
        let state = if extent.written { "" } else { "set aside, not written" };
        (extent.offset, [size::range(&(extent.offset..end)), place, size::exact(extent.len), state.to_owned()])
    };
    let hole = |hole: &std::ops::Range<u64>| {
        (hole.start, [size::range(hole), "hole".to_owned(), size::exact(hole.end - hole.start), String::new()])
    };
    let mut rows: Vec<_> = extents.iter().map(extent).chain(holes.iter().map(hole)).collect();
    rows.sort_unstable_by_key(|(start, _)| *start);
    let columns = [("IN FILE", Side::Left), ("IN POOL", Side::Left), ("LENGTH", Side::Right), ("", Side::Left)];
    let mut table = Table::titled(&columns);
    rows.into_iter().for_each(|(_, row)| table.row(row));
    table
}

fn to_json(pool: &Path, path: &Path, len: u64, extents: &[FileExtent]) -> Value {
    let extent = |extent: &FileExtent| json!({ "offset": extent.offset, "length": extent.len, "place": extent.place, "written": extent.written });
    json!({
        "pool": names::json(pool),
        "path": names::json(from_root(path)),
        "size": len,
        "extents": extents.iter().map(extent).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_what_no_extent_covers() {
        let at = |offset, len| FileExtent { offset, len, place: 0, written: true };
        assert_eq!(holes(100, &[]), vec![std::ops::Range { start: 0, end: 100 }]);
        assert_eq!(holes(0, &[]), []);
        assert_eq!(holes(100, &[at(10, 20), at(30, 10), at(50, 100)]), [0..10, 40..50]);
        assert_eq!(holes(100, &[at(0, 64)]), vec![std::ops::Range { start: 64, end: 100 }]);
    }
}
