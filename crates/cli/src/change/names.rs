//! `rm`, `mv`, `ln`, `mkdir`: as their namesakes, in a pool.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{FileKind, Rename};
use pinfold_control::{Answer, Entry, Refusal, Request};
use rustix::io::Errno;

use super::ask::{Asked, each, each_in, is, refusal, unexpected, with_pool};
use crate::copy::beside;
use crate::status::{self, CannotRun, Status};

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Rm {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// What is removed, in the pool.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    paths: Vec<PathBuf>,
    /// Removes directories, with all that is in them.
    #[arg(short, long)]
    recursive: bool,
    /// What is not there is no failure.
    #[arg(short, long)]
    force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Mv {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// What is renamed, in the pool.
    #[arg(value_name = "FROM", required = true, value_hint = clap::ValueHint::Other)]
    from: Vec<PathBuf>,
    /// Its new name, or the directory that it goes into.
    #[arg(required = true, value_hint = clap::ValueHint::Other)]
    to: PathBuf,
    /// Replaces no file of that name: then nothing is renamed.
    #[arg(short, long, conflicts_with_all = ["force", "exchange"])]
    no_clobber: bool,
    /// Replaces a file of that name. As without it.
    #[arg(short, long)]
    force: bool,
    /// Exchanges the two names, in one step. A directory is exchanged, not gone into.
    #[arg(long)]
    exchange: bool,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Ln {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// The file that gets one more name, or where the symbolic link leads.
    #[arg(value_hint = clap::ValueHint::Other)]
    target: PathBuf,
    /// The new name, or the directory that it goes into.
    #[arg(value_hint = clap::ValueHint::Other)]
    new: PathBuf,
    /// Makes a symbolic link. Its target need not be there.
    #[arg(short, long)]
    symbolic: bool,
    /// Replaces a file or link of that name, in one step.
    #[arg(short, long)]
    force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Mkdir {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// The new directories, in the pool.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    paths: Vec<PathBuf>,
    /// Makes those above as well. What is there already is no failure.
    #[arg(short, long)]
    parents: bool,
}

pub(super) fn remove(asked: &Rm) -> Result<Status, CannotRun> {
    each(&asked.pool, &asked.paths, |pool, path| match remove_one(pool, path, asked.recursive) {
        Err(refusal) if asked.force && is(&refusal, Errno::NOENT) => Ok(()),
        removed => removed,
    })
}

fn remove_one(pool: &mut Asked, path: &Path, recursive: bool) -> Result<(), Refusal> {
    if has_no_name(path) {
        return Err(refusal(Errno::BUSY, format!("{}: the root, `.` and `..` cannot be removed", path.display())));
    }
    match pool.does(&Request::Unlink { path: path.to_owned() }) {
        Err(refusal) if is(&refusal, Errno::ISDIR) && recursive => remove_tree(pool, path),
        Err(found) if is(&found, Errno::ISDIR) => {
            let message = format!("{}: is a directory: -r removes it, with all that is in it", path.display());
            Err(refusal(Errno::ISDIR, message))
        }
        removed => removed,
    }
}

/// Whether a path ends with `/` alone, `.` or `..`: what it leads to has its name elsewhere.
fn has_no_name(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let last = bytes[..end].rsplit(|byte| *byte == b'/').next();
    !bytes.is_empty() && matches!(last, None | Some(b"" | b"." | b".."))
}

/// Removes what is in a directory, and then the directory: one request for each name.
fn remove_tree(pool: &mut Asked, top: &Path) -> Result<(), Refusal> {
    let mut directories = vec![top.to_owned()];
    while let Some(dir) = directories.last().cloned() {
        let mut below = Vec::new();
        for entry in list(pool, &dir)? {
            let path = dir.join(&entry.name);
            match entry.kind {
                FileKind::Directory => below.push(path),
                FileKind::File | FileKind::Symlink | FileKind::Special(_) => {
                    gone_is_fine(pool.does(&Request::Unlink { path }))?
                }
            }
        }
        if below.is_empty() {
            gone_is_fine(pool.does(&Request::RemoveDir { path: dir }))?;
            directories.pop();
        }
        directories.extend(below);
    }
    Ok(())
}

fn list(pool: &mut Asked, dir: &Path) -> Result<Vec<Entry>, Refusal> {
    match pool.ask(&Request::ReadDir { path: dir.to_owned() }) {
        Ok(Answer::Entries(entries)) => Ok(entries),
        Ok(other) => Err(unexpected(&other)),
        // Somebody else was faster.
        Err(refusal) if is(&refusal, Errno::NOENT) => Ok(Vec::new()),
        Err(refusal) => Err(refusal),
    }
}

fn gone_is_fine(removed: Result<(), Refusal>) -> Result<(), Refusal> {
    match removed {
        Err(refusal) if is(&refusal, Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

pub(super) fn rename(asked: &Mv) -> Result<Status, CannotRun> {
    let how = match (asked.exchange, asked.no_clobber) {
        (true, _) => Rename::Exchange,
        (_, true) => Rename::NoReplace,
        _ => Rename::Replace,
    };
    with_pool(&asked.pool, |pool| {
        if asked.from.len() > 1 && (asked.exchange || pool.kind(&asked.to)? != Some(FileKind::Directory)) {
            let message = format!("{}: is no directory; several files need one", asked.to.display());
            return Err(refusal(Errno::NOTDIR, message).into());
        }
        Ok(each_in(pool, &asked.from, |pool, from| {
            let to = match how {
                Rename::Exchange => asked.to.clone(),
                Rename::Replace | Rename::NoReplace => into_directory(pool, &asked.to, from)?,
            };
            pool.does(&Request::Rename { from: from.to_owned(), to, how })
        }))
    })
}

pub(super) fn link(asked: &Ln) -> Result<Status, CannotRun> {
    with_pool(&asked.pool, |pool| {
        let new = into_directory(pool, &asked.new, &asked.target)?;
        match asked.force && pool.kind_of_name(&new)?.is_some() {
            true => replace_by_link(pool, asked, new)?,
            false => pool.does(&link_named(asked, new))?,
        }
        Ok(Status::Held)
    })
}

fn link_named(asked: &Ln, new: PathBuf) -> Request {
    let target = asked.target.clone();
    match asked.symbolic {
        true => Request::Symlink { target, new },
        false => Request::Link { existing: target, new },
    }
}

/// A new link in place of what has the name: made beside it first, so that the name always leads somewhere.
fn replace_by_link(pool: &mut Asked, asked: &Ln, new: PathBuf) -> Result<(), Refusal> {
    let beside = beside(&new);
    pool.does(&link_named(asked, beside.clone()))?;
    let renamed = pool.does(&Request::Rename { from: beside.clone(), to: new, how: Rename::Replace });
    // It is still there if that failed, and between two names of one file, where a rename does nothing.
    gone_is_fine(pool.does(&Request::Unlink { path: beside }))?;
    renamed
}

/// A new name, or, if that is a directory, the name of `from` in it.
fn into_directory(pool: &mut Asked, to: &Path, from: &Path) -> Result<PathBuf, Refusal> {
    match (pool.kind(to)?, from.file_name()) {
        (Some(FileKind::Directory), Some(name)) => Ok(to.join(name)),
        _ => Ok(to.to_owned()),
    }
}

pub(super) fn make_directories(asked: &Mkdir) -> Result<Status, CannotRun> {
    each(&asked.pool, &asked.paths, |pool, path| match asked.parents {
        true => make_with_parents(pool, path),
        false => pool.does(&Request::CreateDir { path: path.to_owned() }),
    })
}

fn make_with_parents(pool: &mut Asked, path: &Path) -> Result<(), Refusal> {
    let mut above: Vec<&Path> = path.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
    above.reverse();
    for dir in above {
        match pool.does(&Request::CreateDir { path: dir.to_owned() }) {
            Err(refusal) if is(&refusal, Errno::EXIST) && pool.kind(dir)? == Some(FileKind::Directory) => {}
            made => made?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_its_name_elsewhere_is_not_removed() {
        for path in ["/", "//", ".", "..", "/a/.", "a/..", "a/../", "./"] {
            assert!(has_no_name(path.as_ref()), "{path}");
        }
        // An empty path is no path; the pool says so.
        for path in ["", "a", "/a", "a/", "/a/...", "..a"] {
            assert!(!has_no_name(path.as_ref()), "{path}");
        }
    }
}
