//! `pinfold get`: files of a pool, to the host.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use pinfold::region::{Holder, OpenError};
use pinfold::{DirEntry, FileId, FileKind, Metadata, NameError, Pool, PoolError, Snapshot};

use super::failed::Failed;
use super::host::{self, Target};
use super::own_pool::OwnPool;
use super::progress::Progress;
use super::sums::Sums;
use super::workers::do_all;
use super::{ends_with_slash, is_contents, is_dash, own_files};
use crate::look::has_unwritten;
use crate::names::shown;
use crate::out::say;
use crate::pool::{about, look, settle, unsettled};
use crate::status::{self, CannotRun, Status};

/// Copies files out of a pool.
///
/// Each gets its name once it is whole, in one step. Bytes go from the pool's blocks straight to the disk, past the page cache
/// where the file system can do that. Kept are bytes, holes, names, directories and symbolic links. Who is killed leaves no half
/// file under its name; where the file system has no unnamed files, it is left as `.pinfold-` and numbers beside it. A pool that
/// another process owns is read as `cat` reads it; a file whose blocks change meanwhile is copied again.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Get {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// Paths in the pool.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    pub(crate) paths: Vec<PathBuf>,
    /// Where to: a new name, or a directory that is there; `-` is standard output.
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::AnyPath)]
    pub(crate) file: PathBuf,
    /// Directories too, with all below them. Symbolic links stay links then.
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Replaces files that are there.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Says what is copied, and how fast it went.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// What it came to, as one JSON document. Bytes.
    #[arg(long, conflicts_with = "verbose")]
    pub(crate) json: bool,
}

/// What is to be done, in this order.
#[derive(Default)]
struct Plan {
    directories: Vec<(PathBuf, PathBuf)>,
    files: Vec<Job>,
    /// Name in the pool, name here, where it leads.
    links: Vec<(PathBuf, PathBuf, PathBuf)>,
    /// What was left out, and why.
    refused: Vec<(PathBuf, Failed)>,
}

struct Job {
    file: FileId,
    from: PathBuf,
    to: PathBuf,
    len: u64,
}

/// Where a file goes to.
enum Goes {
    /// It is new, or takes the place of a file if the second says so.
    Whole(PathBuf, bool),
    /// Into something that has no length.
    Stream(fs::File),
}

pub(crate) fn get(asked: &Get) -> Result<Status, CannotRun> {
    let own = own_if_it_can(&asked.pool)?;
    let paths: Vec<&Path> = asked.paths.iter().map(PathBuf::as_path).collect();
    let silent = match &own {
        Some(_) => None,
        None => settle(&asked.pool, if asked.recursive { &[] } else { &paths }).err(),
    };
    let get = Getting { asked, snapshot: look(&asked.pool)?, own, silent };
    let plan = get.plan()?;
    let sums = get.carry_out(&plan)?;
    if let Some(own) = get.own {
        own.close()?;
    }
    match (asked.json, asked.verbose) {
        _ if is_dash(&asked.file) => {}
        (true, _) => say(format_args!("{:#}", sums.to_json(&asked.pool)))?,
        (_, true) => say(sums.to_text())?,
        _ => {}
    }
    Ok(if sums.failed == 0 { Status::Held } else { Status::CannotRun })
}

/// The pool, owned; `None` where another process owns it, or where it may only be read.
fn own_if_it_can(pool: &Path) -> Result<Option<OwnPool>, CannotRun> {
    match Pool::load(pool) {
        Ok(own) => OwnPool::of(own, pool).map(Some),
        Err(PoolError::Region(OpenError::Claimed { .. })) => Ok(None),
        Err(PoolError::Region(OpenError::Os { source, .. }))
            if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
        {
            Ok(None)
        }
        Err(error) => Err(about(pool, &error)),
    }
}

struct Getting<'a> {
    asked: &'a Get,
    /// Says what there is; nobody else changes it if we own the pool.
    snapshot: Snapshot,
    own: Option<OwnPool>,
    /// The owner, if it was to be asked and does not answer.
    silent: Option<Holder>,
}

impl Getting<'_> {
    fn plan(&self) -> Result<Plan, CannotRun> {
        let Get { paths, file, recursive, .. } = self.asked;
        let refuse = |why: &str| Err(CannotRun(format!("{}: {why}", shown(file))));
        let mut plan = Plan::default();
        if is_dash(file) {
            for path in paths {
                self.add_to_stream(&mut plan, path);
            }
            return Ok(plan);
        }
        let there = host::at(file).map_err(|error| CannotRun(format!("{}: {error}", shown(file))))?;
        let into = there.as_ref().is_some_and(fs::Metadata::is_dir);
        if !into && paths.len() > 1 {
            return refuse("is no directory; several files need one");
        }
        let is_directory =
            |path: &PathBuf| self.snapshot.metadata(path).is_ok_and(|found| found.kind == FileKind::Directory);
        if !into && ends_with_slash(file) && (there.is_some() || !(*recursive && paths.iter().all(is_directory))) {
            return refuse("is no directory");
        }
        for path in paths {
            let to = match into && !is_contents(path) {
                true => file.join(path.file_name().unwrap_or_default()),
                false => file.clone(),
            };
            self.add(&mut plan, path, to);
        }
        Ok(plan)
    }

    fn add_to_stream(&self, plan: &mut Plan, path: &Path) {
        match self.snapshot.metadata(path) {
            Ok(Metadata { kind: FileKind::File, id, len, .. }) => {
                plan.files.push(Job { file: id, from: path.to_owned(), to: PathBuf::from("-"), len });
            }
            Ok(_) => plan.refused.push((path.to_owned(), Failed::new("is a directory; standard output takes files"))),
            Err(error) => plan.refused.push((path.to_owned(), without_path(path, &error))),
        }
    }

    /// What was asked for by name, and all below it.
    fn add(&self, plan: &mut Plan, path: &Path, to: PathBuf) {
        let follow = !self.asked.recursive || is_contents(path);
        let found = if follow { self.snapshot.metadata(path) } else { self.snapshot.symlink_metadata(path) };
        match found {
            Ok(found) if found.kind == FileKind::Directory && !self.asked.recursive => {
                plan.refused
                    .push((path.to_owned(), Failed::new("is a directory; say -r to copy it with all below it")));
            }
            Ok(found) => {
                let mut left = vec![(path.to_owned(), to, found)];
                while let Some((from, to, found)) = left.pop() {
                    if let Err(error) = self.one(plan, &mut left, &from, to, &found) {
                        let why = without_path(&from, &error);
                        plan.refused.push((from, why));
                    }
                }
            }
            Err(error) => plan.refused.push((path.to_owned(), without_path(path, &error))),
        }
    }

    fn one(
        &self,
        plan: &mut Plan,
        left: &mut Vec<(PathBuf, PathBuf, Metadata)>,
        from: &Path,
        to: PathBuf,
        found: &Metadata,
    ) -> Result<(), NameError> {
        match found.kind {
            FileKind::File => plan.files.push(Job { file: found.id, from: from.to_owned(), to, len: found.len }),
            FileKind::Symlink => plan.links.push((from.to_owned(), to, self.snapshot.read_link(from)?)),
            FileKind::Special(_) => {
                plan.refused.push((from.to_owned(), Failed::new("is a pipe, socket or device, which is not copied")));
            }
            FileKind::Directory => {
                plan.directories.push((from.to_owned(), to.clone()));
                // The last one is next.
                for DirEntry { name, .. } in self.snapshot.read_dir(from)?.into_iter().rev() {
                    let below = from.join(&name);
                    match is_one_name(&name) {
                        true => {
                            let found = self.snapshot.symlink_metadata(&below)?;
                            left.push((below, to.join(&name), found));
                        }
                        false => plan.refused.push((
                            below,
                            Failed::new("is no name for a file; the pool is damaged, or made to deceive"),
                        )),
                    }
                }
            }
        }
        Ok(())
    }

    fn carry_out(&self, plan: &Plan) -> Result<Sums, CannotRun> {
        let progress = Progress::of(Some(plan.files.iter().map(|job| job.len).sum()));
        let engine = self.own.as_ref().map_or("looks at the pool", |own| own.engine.kind());
        let mut sums = Sums { engine, failed: plan.refused.len() as u64, ..Sums::default() };
        let failed = |from: &Path, why: &Failed| {
            progress.complain(format_args!("{}: {}: {}", shown(&self.asked.pool), shown(from), why.why));
        };
        plan.refused.iter().for_each(|(from, why)| failed(from, why));
        for (from, to) in &plan.directories {
            match create_dir(to) {
                Ok(()) => sums.directories += 1,
                Err(why) => {
                    failed(from, &why);
                    sums.failed += 1;
                    continue;
                }
            }
            self.told(&progress, from, to)?;
        }
        let one = |job: &Job| {
            progress.now(shown(&job.from));
            self.file(job, &progress).map_err(|failed| failed.while_writing(&job.to))?;
            self.told(&progress, &job.from, &job.to).map_err(|error| Failed::new(error.0))
        };
        // To a stream one after the other.
        let at_once = if is_dash(&self.asked.file) { 1 } else { usize::MAX };
        let undone = do_all(&plan.files, at_once, one, |job, why| failed(&job.from, why));
        sums.files_but(&undone, plan.files.len());
        progress.left_out(&self.asked.pool, &undone);
        sums.bytes = plan.files.iter().map(|job| job.len).sum();
        for (from, to, leads_to) in &plan.links {
            match self.link(leads_to, to).map_err(|failed| failed.while_writing(to)) {
                Ok(()) => sums.links += 1,
                Err(why) => {
                    failed(from, &why);
                    sums.failed += 1;
                    continue;
                }
            }
            self.told(&progress, from, to)?;
        }
        (sums.moved, sums.time) = progress.end();
        Ok(sums)
    }

    fn file(&self, job: &Job, progress: &Progress) -> Result<(), Failed> {
        if let Some(holder) = self.silent.filter(|_| has_unwritten(&self.snapshot, &job.from)) {
            progress.complain(unsettled(&self.asked.pool, &job.from, holder));
        }
        match self.goes(job)? {
            Goes::Stream(to) => self.to_stream(job, &to, progress),
            Goes::Whole(to, replace) => {
                let target = Target::begin(&to, job.len)?;
                match &self.own {
                    Some(own) => own.get(&own.open_file(job.file)?, &target, progress)?,
                    None => self.looked_at(job, &target, progress)?,
                }
                target.finish(replace).map_err(|error| match error.kind() {
                    ErrorKind::AlreadyExists => exists(&job.to),
                    _ => error.into(),
                })
            }
        }
    }

    /// Where a file goes to, found out before anything is copied.
    fn goes(&self, job: &Job) -> Result<Goes, Failed> {
        let to = &job.to;
        if is_dash(&self.asked.file) {
            return Ok(Goes::Stream(fs::File::from(io::stdout().as_fd().try_clone_to_owned()?)));
        }
        if fs::symlink_metadata(to).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(Goes::Whole(to.clone(), false));
        }
        let there = fs::metadata(to)?;
        if there.is_dir() {
            return Err(Failed::new(format!("{} is a directory", shown(to))));
        }
        if own_files(&self.asked.pool).contains(&host::identity(&there)) {
            return Err(Failed::new(format!("{} is the pool itself", shown(to))));
        }
        match (self.asked.force, there.is_file()) {
            (false, _) => Err(exists(to)),
            // The file behind a link, and not the link.
            (true, true) => Ok(Goes::Whole(fs::canonicalize(to)?, true)),
            (true, false) => Ok(Goes::Stream(OpenOptions::new().write(true).open(to)?)),
        }
    }

    fn to_stream(&self, job: &Job, to: &fs::File, progress: &Progress) -> Result<(), Failed> {
        if let Some(own) = &self.own {
            own.get_to_stream(&own.open_file(job.file)?, to, progress)?;
            return Ok(());
        }
        let mut snapshot = None;
        let mut buffer = vec![0; STEP];
        let (mut at, mut tries) = (0, 0);
        loop {
            match snapshot.as_ref().unwrap_or(&self.snapshot).read_at(job.file, at, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    match io::Write::write_all(&mut &*to, &buffer[..read]) {
                        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                        written => written?,
                    }
                    at += read as u64;
                    progress.moved(read as u64);
                }
                Err(PoolError::Changed(_)) if tries < TRIES => {
                    tries += 1;
                    snapshot = Some(self.look_again(job)?);
                }
                Err(error) => return Err(Failed::new(error.to_string())),
            }
        }
    }

    /// Copies what a look at the pool shows: all of a file that stayed as it was meanwhile.
    fn looked_at(&self, job: &Job, target: &Target, progress: &Progress) -> Result<(), Failed> {
        let mut snapshot = None;
        for _ in 0..TRIES {
            match copy_looked_at(snapshot.as_ref().unwrap_or(&self.snapshot), job, target, progress) {
                Err(Looked::Changed) => snapshot = Some(self.look_again(job)?),
                Err(Looked::Failed(why)) => return Err(why),
                Ok(()) => return Ok(()),
            }
        }
        Err(Failed::new("is being changed all the time by the process that owns the pool; try again"))
    }

    /// The pool as it is now, with the same file at the same path.
    fn look_again(&self, job: &Job) -> Result<Snapshot, Failed> {
        let snapshot = look(&self.asked.pool).map_err(|error| Failed::new(error.0))?;
        match snapshot.metadata(&job.from).is_ok_and(|found| found.id == job.file) {
            true => Ok(snapshot),
            false => Err(Failed::new("was removed or replaced while it was copied; try again")),
        }
    }

    fn link(&self, leads_to: &Path, to: &Path) -> Result<(), Failed> {
        match fs::symlink_metadata(to) {
            Ok(there) if there.is_dir() => return Err(Failed::new(format!("{} is a directory", shown(to)))),
            Ok(_) if !self.asked.force => return Err(exists(to)),
            Ok(there) if own_files(&self.asked.pool).contains(&host::identity(&there)) => {
                return Err(Failed::new(format!("{} is the pool itself", shown(to))));
            }
            Ok(_) => return Ok(host::replace_by_link(leads_to, to)?),
            Err(_) => {}
        }
        Ok(std::os::unix::fs::symlink(leads_to, to)?)
    }

    fn told(&self, progress: &Progress, from: &Path, to: &Path) -> Result<(), CannotRun> {
        match self.asked.verbose && !is_dash(to) {
            true => progress.say(format_args!("{} -> {}", shown(from), shown(to))),
            false => Ok(()),
        }
    }
}

/// Why a look at a file gave no copy.
enum Looked {
    Changed,
    Failed(Failed),
}

impl<E: Into<Failed>> From<E> for Looked {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn copy_looked_at(snapshot: &Snapshot, job: &Job, target: &Target, progress: &Progress) -> Result<(), Looked> {
    let len = snapshot.metadata(&job.from)?.len;
    let to = fs::File::from(target.fd(false).try_clone_to_owned()?);
    // Nothing of an earlier try stays.
    to.set_len(0)?;
    to.set_len(len)?;
    let mut buffer = vec![0; STEP];
    for extent in snapshot.extents(&job.from)?.into_iter().filter(|extent| extent.written) {
        let (mut at, end) = (extent.offset, (extent.offset + extent.len).min(len));
        while at < end {
            let wanted = (end - at).min(STEP as u64) as usize;
            match snapshot.read_at(job.file, at, &mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(read) => {
                    to.write_all_at(&buffer[..read], at)?;
                    at += read as u64;
                    progress.moved(read as u64);
                }
                Err(PoolError::Changed(_)) => return Err(Looked::Changed),
                Err(error) => return Err(Looked::Failed(Failed::new(error.to_string()))),
            }
        }
    }
    Ok(())
}

/// Read at once of a pool that is only looked at.
const STEP: usize = 1 << 20;

/// How often a file is copied anew that changes meanwhile.
const TRIES: u32 = 20;

/// Whether it is one name, and leads to nothing but what lies in its directory: a pool may come from anywhere.
fn is_one_name(name: &std::ffi::OsStr) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

fn create_dir(to: &Path) -> Result<(), Failed> {
    match fs::create_dir(to) {
        Err(error)
            if error.kind() == ErrorKind::AlreadyExists && fs::metadata(to).is_ok_and(|there| there.is_dir()) =>
        {
            Ok(())
        }
        Err(error) => Err(Failed::new(format!("{}: {error}", shown(to)))),
        Ok(()) => Ok(()),
    }
}

fn exists(to: &Path) -> Failed {
    Failed::new(format!("{} is there already; say -f to replace it", shown(to)))
}

/// The path stands before it already.
fn without_path(path: &Path, error: &NameError) -> Failed {
    let text = error.to_string();
    Failed::new(text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for name in ["..", ".", "", "/", "a/b", "/etc", "../x", "a/", "a/."] {
            assert!(!is_one_name(name.as_ref()), "{name}");
        }
        for name in ["a", "...", ".a", "a b", "-"] {
            assert!(is_one_name(name.as_ref()), "{name}");
        }
    }
}
