//! Bytes in the files of a layout area that an owner left.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pinfold::layout::Area;
use pinfold::{Access, Pool, live_dir_of};

use crate::format::Medium;
use crate::look::quiet;

/// A pool and the directory beside it, as their owner left them: with pins, and with blocks that left their file under one.
struct Template {
    dir: tempfile::TempDir,
    pool: Medium,
    /// The files of the area.
    files: Vec<(PathBuf, Medium)>,
    /// Where in which of them its maker is spoken of.
    maker: Vec<(usize, u64)>,
}

/// So much of a file is changed: the rest of it is room.
const CHANGED_MAX: u64 = 64 << 10;
/// A process that is not there.
const NOBODY: u64 = 1 << 30;

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| Template::new().expect("an area can be made"))
}

impl Template {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let (theirs, dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let path = theirs.path().join("pool");
        let pool = Pool::format(&path, 16 << 20)?;
        let file = pool.create("/file")?;
        file.write_at(0, &[7; 64 << 10])?;
        let pinned = [0..8192, 4096..12288, 40960..65536].map(|range| file.pin(range, Access::Write).wait());
        let pinned = pinned.into_iter().collect::<Result<Vec<_>, _>>()?;
        file.truncate(49152).detach().wait()?;
        file.punch(0..4096).detach().wait()?;
        pool.sync()?;
        let mut files = Vec::new();
        take_in(&live_dir_of(&path), &live_dir_of(&dir.path().join("pool")), &mut files)?;
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        let medium = Medium::of(&File::open(&path)?)?;
        drop((pinned, file));
        pool.close()?;
        Ok(Self { dir, pool: medium, maker: places_of(&files, u64::from(std::process::id())), files })
    }

    fn pool(&self) -> PathBuf {
        self.dir.path().join("pool")
    }

    /// Puts everything back.
    fn restore(&self) -> io::Result<()> {
        write(&self.pool(), &self.pool)?;
        fs::remove_dir_all(live_dir_of(&self.pool())).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        for (path, medium) in &self.files {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            write(path, medium)?;
        }
        Ok(())
    }

    /// Whoever wrote the area is gone: its words speak of a process that is not there.
    fn kill(&self) -> io::Result<()> {
        self.maker.iter().try_for_each(|(file, at)| put(&self.files[*file].0, *at, NOBODY.to_le_bytes()))
    }

    /// Changes words: each change is eleven bytes, one that says in which file, two where, and eight that lie there then.
    fn change(&self, changes: &[u8]) -> io::Result<()> {
        for change in changes.as_chunks::<11>().0 {
            let (path, medium) = &self.files[usize::from(change[0]) % self.files.len()];
            let at = u64::from(u16::from_le_bytes([change[1], change[2]])) * 8;
            if at + 8 <= medium.len.min(CHANGED_MAX) {
                let word = change.last_chunk::<8>().expect("there are eight");
                put(path, at, *word)?;
            }
        }
        Ok(())
    }
}

/// What lies below `from`, for `to`; what is empty is left out, and so are sockets.
fn take_in(from: &Path, to: &Path, files: &mut Vec<(PathBuf, Medium)>) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            take_in(&entry, &to, files)?;
        } else if entry.is_file() && fs::metadata(&entry)?.len() > 0 {
            files.push((to, Medium::of(&File::open(entry)?)?));
        }
    }
    Ok(())
}

/// Where this word lies.
fn places_of(files: &[(PathBuf, Medium)], word: u64) -> Vec<(usize, u64)> {
    let in_page = |(at, page): (u64, &[u8])| {
        let words = page.as_chunks::<8>().0.iter().enumerate();
        let found = words.filter(|(_, bytes)| u64::from_le_bytes(**bytes) == word);
        found.map(|(number, _)| at + number as u64 * 8).collect::<Vec<_>>()
    };
    let in_file = |(number, (_, medium)): (usize, &(PathBuf, Medium))| {
        medium.pages().flat_map(in_page).map(|at| (number, at)).collect::<Vec<_>>()
    };
    files.iter().enumerate().flat_map(in_file).collect()
}

fn write(path: &Path, medium: &Medium) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(medium.len)?;
    medium.pages().try_for_each(|(at, page)| file.write_all_at(page, at))
}

fn put(path: &Path, at: u64, word: [u8; 8]) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all_at(&word, at)
}

/// The bytes change words of the area's files; with the first of them odd, whoever had pinned is dead.
pub(crate) fn layout_area(data: &[u8]) {
    let template = template();
    let (how, changes) = data.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
    let killed = || if how & 1 == 1 { template.kill() } else { Ok(()) };
    let made = template.restore().and_then(|()| killed()).and_then(|()| template.change(changes));
    made.expect("the files are ours");
    template.files.iter().filter_map(|(path, _)| path.parent()).for_each(|dir| drop(Area::look(dir)));
    // Who opens it takes it over. Not closed in good order: pins may be left.
    if let Ok(pool) = quiet().open(template.pool()) {
        let stats = pool.stats();
        drop((pool.parked(), pool.pins(), pool.quarantine()));
        assert!(stats.free <= stats.total, "{stats:?}");
    }
}

/// Nothing changed, with whoever had pinned alive and dead; and a word of each file.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let change = |file: u8| [&[1, file, 20, 0][..], &[255; 8]].concat();
    [vec![0], vec![1]].into_iter().chain((0..template().files.len() as u8).map(change)).collect()
}
