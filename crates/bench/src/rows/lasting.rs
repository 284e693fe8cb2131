//! Rows 10 to 12: pools that last. Opening a large one; a synced append; creating while a checkpoint is taken.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pinfold::{Pool, PoolOptions};
use tempfile::TempDir;

use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns};
use crate::scratch;

const FILES: usize = 1_000_000;
const FILES_IN_A_DIRECTORY: usize = 1_000;
/// These rows take long.
const ROUNDS: usize = 5;
const PAGE: u64 = 4096;
const APPENDS: usize = 200;

pub(super) const ROW_10: [Comparison; 1] = [Comparison {
    row: 10,
    what: "opening a pool with 1,000,000 files",
    beside: "`find` over that tree on tmpfs",
    goal: Some(0.3),
    compared: "a pool on tmpfs, closed in good order, 1,000 files in each directory; the command `find`, warm. Both from \
               start to end, the pool's claim and layout area included. All of the checkpoint is checked; files are built \
               when their directory is first looked into.",
    ratios: open_beside_find,
}];

pub(super) const ROW_11: [Comparison; 1] = [Comparison {
    row: 11,
    what: "append 4 KiB + sync",
    beside: "write + fsync beside it",
    goal: Some(1.0),
    compared: "a pool in a preallocated file, and a file beside it, on the disk of the scratch directory; both go through the \
               same device. The pool's file has its blocks set aside.",
    ratios: append_beside_fsync,
}];

pub(super) const ROW_12: [Comparison; 1] = [Comparison {
    row: 12,
    what: "create in a checkpoint, 99.9th percentile",
    beside: "the same without a checkpoint",
    goal: Some(5.0),
    compared: "latencies of single creates in one directory of a pool on tmpfs with 1,000,000 files, as many in both.",
    ratios: create_beside_checkpoint,
}];

/// A pool on tmpfs with many empty files.
fn many_files(scratch: &TempDir, files: usize) -> Result<(), Skipped> {
    // A file costs the medium some tens of bytes, twice while a checkpoint is taken.
    let len = (files as u64 * 256).next_multiple_of(1 << 20) + (256 << 20);
    let pool = PoolOptions::new().commit_every(None).format(scratch.path().join("pool"), len)?;
    for_each_file(files, |dir, file| match file {
        None => Ok(pool.create_dir(format!("/{dir}"))?),
        Some(file) => {
            pool.create(format!("/{dir}/{file}"))?;
            Ok(())
        }
    })?;
    Ok(pool.close()?)
}

/// Calls `make` for each directory, and then for each file in it.
fn for_each_file(
    files: usize,
    mut make: impl FnMut(usize, Option<usize>) -> Result<(), Skipped>,
) -> Result<(), Skipped> {
    for file in 0..files {
        let dir = file / FILES_IN_A_DIRECTORY;
        if file % FILES_IN_A_DIRECTORY == 0 {
            make(dir, None)?;
        }
        make(dir, Some(file))?;
    }
    Ok(())
}

fn open_beside_find(setup: &Setup) -> Result<Ratios, Skipped> {
    let files = setup.scale.of(FILES);
    let scratch = scratch::on_tmpfs()?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    for_each_file(files, |dir, file| match file {
        None => Ok(fs::create_dir(tree.join(dir.to_string()))?),
        Some(file) => {
            fs::File::create(tree.join(format!("{dir}/{file}")))?;
            Ok(())
        }
    })?;
    many_files(&scratch, files)?;
    let open = || {
        let begun = Instant::now();
        let pool = Pool::load(scratch.path().join("pool"))?;
        let took = begun.elapsed();
        drop(pool);
        Ok(took)
    };
    take_turns(setup.scale.few(ROUNDS), open, || find(&tree))
}

fn find(tree: &Path) -> Result<Duration, Skipped> {
    let begun = Instant::now();
    let status = Command::new("find").arg(tree).stdout(Stdio::null()).status();
    let status = status.map_err(Skipped::of("the command `find`"))?;
    match status.success() {
        true => Ok(begun.elapsed()),
        false => Err(Skipped(format!("`find` failed: {status}"))),
    }
}

fn append_beside_fsync(setup: &Setup) -> Result<Ratios, Skipped> {
    if scratch::is_tmpfs(&setup.scratch)? {
        return Err(Skipped(format!("{} is in memory: nothing is synced there", setup.scratch.display())));
    }
    let scratch = scratch::fresh(&setup.scratch)?;
    let pool = PoolOptions::new().commit_every(None).format(scratch.path().join("pool"), 64 << 20)?;
    let (count, page) = (setup.scale.of(APPENDS), [7; PAGE as usize]);
    let mut round = 0;
    let in_pool = || {
        round += 1;
        let file = pool.create(format!("/{round}"))?;
        file.allocate(0..count as u64 * PAGE).keep_size().try_now()?;
        file.sync()?;
        let begun = Instant::now();
        for _ in 0..count {
            file.append(&page)?;
            file.sync()?;
        }
        let took = begun.elapsed();
        drop(file);
        pool.unlink(format!("/{round}"))?;
        Ok(took)
    };
    let beside = || {
        let path = scratch.path().join("beside");
        let mut file = fs::File::create(&path)?;
        file.sync_all()?;
        let begun = Instant::now();
        for _ in 0..count {
            file.write_all(&page)?;
            file.sync_all()?;
        }
        let took = begun.elapsed();
        fs::remove_file(path)?;
        Ok(took)
    };
    take_turns(setup.scale.few(ROUNDS), in_pool, beside)
}

fn create_beside_checkpoint(setup: &Setup) -> Result<Ratios, Skipped> {
    let scratch = scratch::on_tmpfs()?;
    many_files(&scratch, setup.scale.of(FILES))?;
    let pool = PoolOptions::new().commit_every(None).open(scratch.path().join("pool"))?;
    pool.create_dir("/new")?;
    let during = std::cell::Cell::new(0);
    let with = || {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let checkpoint = scope.spawn(|| {
                let taken = pool.checkpoint();
                ended.store(true, Ordering::Release);
                taken
            });
            let times = create_while(&pool, |_| !ended.load(Ordering::Acquire))?;
            match checkpoint.join() {
                Ok(taken) => taken?,
                Err(_) => return Err(Skipped("the checkpoint panicked".into())),
            }
            during.set(times.len());
            Ok(percentile(times))
        })
    };
    let without = || Ok(percentile(create_while(&pool, |done| done < during.get().max(1000))?));
    take_turns(setup.scale.few(ROUNDS), with, without)
}

/// The times of single creates, as long as `goes_on`. The files go again.
fn create_while(pool: &Pool, goes_on: impl Fn(usize) -> bool) -> Result<Vec<Duration>, Skipped> {
    let mut times = Vec::new();
    while goes_on(times.len()) || times.is_empty() {
        let path = format!("/new/{}", times.len());
        let begun = Instant::now();
        drop(pool.create(&path)?);
        times.push(begun.elapsed());
    }
    for made in 0..times.len() {
        pool.unlink(format!("/new/{made}"))?;
    }
    Ok(times)
}

/// The 99.9th.
fn percentile(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * 999 / 1000]
}
