//! `pinfold put`: files of the host, into a pool.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::Args;
use pinfold::{FileKind, Publish};

use super::failed::Failed;
use super::host::{self, Source};
use super::progress::Progress;
use super::sums::Sums;
use super::target::Target;
use super::workers::do_all;
use super::{ends_with_slash, is_contents, is_dash, own_files, source_shown};
use crate::names::shown;
use crate::out::say;
use crate::status::{self, CannotRun, Status};

/// Copies files into a pool.
///
/// Each gets its name once it is whole, in one step. Bytes go from the disk straight into the pool's blocks, past the page
/// cache where the file system can do that. Kept are bytes, holes, names, directories and symbolic links; owners, modes and
/// times are not. Who is killed leaves no half file.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Put {
    /// The pool: a file or device.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) pool: PathBuf,
    /// Files of this machine; `-` is standard input.
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to, in the pool: a new name, or a directory that is there.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::Other)]
    pub(crate) path: PathBuf,
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
    /// Name here, name in the pool, where it leads.
    links: Vec<(PathBuf, PathBuf, PathBuf)>,
    /// What was left out, and why.
    refused: Vec<(PathBuf, Failed)>,
}

struct Job {
    from: PathBuf,
    to: PathBuf,
    /// Nobody knows of a stream.
    len: Option<u64>,
}

pub(crate) fn put(asked: &Put) -> Result<Status, CannotRun> {
    let target = Target::find(&asked.pool)?;
    let put = Putting { asked, target };
    let plan = put.plan()?;
    let sums = put.carry_out(&plan)?;
    put.end(sums)
}

struct Putting<'a> {
    asked: &'a Put,
    target: Target,
}

impl Putting<'_> {
    fn plan(&self) -> Result<Plan, CannotRun> {
        let Put { files, path, .. } = self.asked;
        let refuse = |why: &str| Err(CannotRun(format!("{}: {}: {why}", shown(&self.asked.pool), shown(path))));
        let there = self.target.kind(path, true).map_err(|error| self.about(&error))?;
        let into = there == Some(FileKind::Directory);
        if !into && files.len() > 1 {
            return refuse("is no directory in the pool; several files need one");
        }
        let becomes_directory = files.iter().all(|file| fs::metadata(file).is_ok_and(|file| file.is_dir()));
        if !into && ends_with_slash(path) && (there.is_some() || !becomes_directory) {
            return refuse("is no directory in the pool");
        }
        let mut plan = Plan::default();
        let walk = Walk { asked: self.asked, own: own_files(&self.asked.pool) };
        for file in files {
            let to = match into {
                true if is_dash(file) => return refuse("is a directory; give standard input a name in it"),
                true if !is_contents(file) => path.join(file.file_name().unwrap_or_default()),
                _ => path.clone(),
            };
            walk.add(&mut plan, file, to);
        }
        Ok(plan)
    }

    fn carry_out(&self, plan: &Plan) -> Result<Sums, CannotRun> {
        let total = plan.files.iter().map(|job| job.len).try_fold(0_u64, |sum, len| Some(sum.saturating_add(len?)));
        let progress = Progress::of(total);
        let mut sums = Sums { engine: self.target.engine(), ..Sums::default() };
        let failed = |from: &Path, why: &Failed| {
            progress.complain(format_args!("{}: {}", source_shown(from), why.why));
        };
        for (from, why) in &plan.refused {
            failed(from, why);
        }
        sums.failed = plan.refused.len() as u64;
        for (from, to) in &plan.directories {
            match self.create_dir(to) {
                Ok(()) => sums.directories += 1,
                Err(why) => {
                    failed(from, &why);
                    sums.failed += 1;
                    continue;
                }
            }
            self.told(&progress, from, to)?;
        }
        let bytes = std::sync::atomic::AtomicU64::new(0);
        let one = |job: &Job| {
            progress.now(source_shown(&job.from));
            // ORDER: relaxed; read after the threads have ended.
            bytes.fetch_add(self.file(job, &progress)?, std::sync::atomic::Ordering::Relaxed);
            self.told(&progress, &job.from, &job.to).map_err(|error| Failed::new(error.0))
        };
        let undone = do_all(&plan.files, usize::MAX, one, |job, why| failed(&job.from, why));
        sums.files_but(&undone, plan.files.len());
        progress.left_out(&self.asked.pool, &undone);
        sums.bytes = bytes.into_inner();
        for (from, to, leads_to) in &plan.links {
            match self.link(leads_to, to) {
                Ok(()) => sums.links += 1,
                Err(why) => {
                    failed(from, &why);
                    sums.failed += 1;
                    continue;
                }
            }
            self.told(&progress, from, to)?;
        }
        progress.now("making it durable".to_owned());
        self.target.sync().map_err(|error| self.about(&error))?;
        (sums.moved, sums.time) = progress.end();
        Ok(sums)
    }

    fn create_dir(&self, to: &Path) -> Result<(), Failed> {
        match self.target.kind(to, true)? {
            Some(FileKind::Directory) => Ok(()),
            Some(_) => Err(Failed::new(format!("{} is in the pool, and is no directory", shown(to)))),
            None => self.target.create_dir(to),
        }
    }

    fn file(&self, job: &Job, progress: &Progress) -> Result<u64, Failed> {
        let how = self.may_be(&job.to)?;
        let source = if is_dash(&job.from) { Source::stdin()? } else { Source::open(&job.from)? };
        self.target.put(&source, &job.to, how, progress)
    }

    fn link(&self, leads_to: &Path, to: &Path) -> Result<(), Failed> {
        let how = self.may_be(to)?;
        self.target.symlink(leads_to, to, how)
    }

    /// Whether a name is free, or may be taken from what has it: found out before anything is copied.
    fn may_be(&self, to: &Path) -> Result<Publish, Failed> {
        match (self.target.kind(to, false)?, self.asked.force) {
            (None, _) => Ok(Publish::New),
            (Some(FileKind::Directory), _) => Err(Failed::new(format!("{} is a directory in the pool", shown(to)))),
            (Some(_), true) => Ok(Publish::Replace),
            (Some(_), false) => Err(Failed::new(format!("{} is in the pool already; say -f to replace it", shown(to)))),
        }
    }

    fn told(&self, progress: &Progress, from: &Path, to: &Path) -> Result<(), CannotRun> {
        match self.asked.verbose {
            true => progress.say(format_args!("{} -> {}", source_shown(from), shown(to))),
            false => Ok(()),
        }
    }

    fn end(self, sums: Sums) -> Result<Status, CannotRun> {
        let Self { asked, target } = self;
        target.close()?;
        match (asked.json, asked.verbose) {
            (true, _) => say(format_args!("{:#}", sums.to_json(&asked.pool)))?,
            (_, true) => say(sums.to_text())?,
            _ => {}
        }
        Ok(if sums.failed == 0 { Status::Held } else { Status::CannotRun })
    }

    fn about(&self, failed: &Failed) -> CannotRun {
        CannotRun(format!("{}: {}", shown(&self.asked.pool), failed.why))
    }
}

/// Looks for what there is to copy.
struct Walk<'a> {
    asked: &'a Put,
    own: HashSet<(u64, u64)>,
}

impl Walk<'_> {
    /// What was asked for by name, and all below it.
    fn add(&self, plan: &mut Plan, from: &Path, to: PathBuf) {
        if is_dash(from) {
            plan.files.push(Job { from: from.to_owned(), to, len: None });
            return;
        }
        let found =
            if self.asked.recursive && !is_contents(from) { fs::symlink_metadata(from) } else { fs::metadata(from) };
        let found = match found {
            Ok(found) => found,
            Err(error) => return plan.refused.push((from.to_owned(), error.into())),
        };
        if self.own.contains(&host::identity(&found)) {
            plan.refused.push((from.to_owned(), Failed::new("is the pool itself, or belongs to it")));
        } else if found.is_dir() && !self.asked.recursive {
            plan.refused.push((from.to_owned(), Failed::new("is a directory; say -r to copy it with all below it")));
        } else {
            let mut left = vec![(from.to_owned(), to, found, true)];
            while let Some((from, to, found, asked_for)) = left.pop() {
                if let Err(why) = self.one(plan, &mut left, &from, to, &found, asked_for) {
                    plan.refused.push((from, why.into()));
                }
            }
        }
    }

    fn one(
        &self,
        plan: &mut Plan,
        left: &mut Vec<(PathBuf, PathBuf, Metadata, bool)>,
        from: &Path,
        to: PathBuf,
        found: &Metadata,
        asked_for: bool,
    ) -> io::Result<()> {
        let kind = found.file_type();
        if kind.is_symlink() {
            plan.links.push((from.to_owned(), to, fs::read_link(from)?));
        } else if kind.is_file() {
            plan.files.push(Job { from: from.to_owned(), to, len: Some(found.len()) });
        } else if kind.is_dir() {
            plan.directories.push((from.to_owned(), to.clone()));
            let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
            // The last one is next.
            entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.file_name()));
            for entry in entries {
                let found = entry.metadata()?;
                if !self.own.contains(&host::identity(&found)) {
                    left.push((entry.path(), to.join(entry.file_name()), found, false));
                }
            }
        } else if asked_for && !kind.is_socket() {
            plan.files.push(Job { from: from.to_owned(), to, len: None });
        } else {
            plan.refused.push((from.to_owned(), Failed::new("is no file, directory or link; it is left out")));
        }
        Ok(())
    }
}
