//! Row 9: what a file costs that is made and goes again.

use std::ffi::CString;

use pinfold::{Access, File, Pool, Region};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, open, openat, unlinkat};

use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns, time};
use crate::scratch;

const PAGE: u64 = 4096;
const LIVES: usize = 2_000;
/// A name comes back after so many others.
const NAMES: usize = 1_000;

const UNPINNED: Comparison = Comparison {
    row: 9,
    what: "create + allocate 4 KiB + unlink",
    beside: "by system calls on tmpfs",
    goal: Some(0.5),
    compared: "create, allocate, close and unlink in a memfd pool; openat(O_CREAT|O_EXCL), fallocate, close and unlinkat \
               on tmpfs. Neither is synced. A file that was pinned is unlinked by a break, others need none.",
    ratios: |setup| life_beside_tmpfs(setup, stay_unpinned),
};

pub(super) const ROW_9: [Comparison; 2] = [
    UNPINNED,
    Comparison {
        what: "the same, a pin + unpin in between",
        goal: None,
        ratios: |setup| life_beside_tmpfs(setup, pin_once),
        ..UNPINNED
    },
];

/// What is done with a file while it lives.
type Life = fn(&File) -> Result<(), Skipped>;

fn stay_unpinned(_: &File) -> Result<(), Skipped> {
    Ok(())
}

fn pin_once(file: &File) -> Result<(), Skipped> {
    drop(file.pin(0..PAGE, Access::Write).try_now()?);
    Ok(())
}

fn life_beside_tmpfs(setup: &Setup, life: Life) -> Result<Ratios, Skipped> {
    let pool = Pool::new(Region::memfd(64 << 20)?)?;
    let scratch = scratch::on_tmpfs()?;
    let directory = open(scratch.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let paths: Vec<String> = (0..NAMES).map(|number| format!("/file-{number}")).collect();
    let names = paths.iter().map(|path| CString::new(&path[1..])).collect::<Result<Vec<_>, _>>()?;
    let in_pool = |path: &String| {
        let file = pool.create(path)?;
        file.allocate(0..PAGE).try_now()?;
        life(&file)?;
        drop(file);
        Ok(pool.unlink(path)?)
    };
    let on_tmpfs = |name: &CString| {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(&directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        fallocate(&file, FallocateFlags::empty(), 0, PAGE)?;
        drop(file);
        Ok(unlinkat(&directory, name, AtFlags::empty())?)
    };
    let count = setup.scale.of(LIVES);
    let (mut paths, mut names) = (paths.iter().cycle(), names.iter().cycle());
    take_turns(
        setup.scale,
        || time(count, || paths.next().map(in_pool).transpose()),
        || time(count, || names.next().map(on_tmpfs).transpose()),
    )
}
