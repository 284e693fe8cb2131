//! A medium that refuses: each flush and each fence of a workload in turn fails.
//!
//! What has to come of it: the call that needed it says so; later changes are refused in one clear line; reads go on; nothing
//! hangs. And what was synced before is there when the pool is opened again (G9), from whatever the medium has: without the
//! bytes that it refused, with them (it took them, and said that it had not), or with all that the kernel wrote later.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pinfold::region::{Durability, Persist, SharedBytes};
use pinfold::{Pool, PoolError, Rename};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::format::{Medium, POOL_BYTES};
use super::look::{State, opened, quiet, region_of, seen, state_of};

/// What a medium holds when power goes, and which of its calls fails.
struct Shadow {
    /// The address of the region's first byte.
    base: u64,
    fails_at: usize,
    errno: Errno,
    calls: AtomicUsize,
    held: Mutex<Held>,
}

struct Held {
    /// Without what was refused.
    durable: Medium,
    /// With it.
    and_refused: Medium,
    /// Handed over since the last fence.
    pending: Vec<(u64, Vec<u8>)>,
}

impl Shadow {
    fn fails_now(&self) -> bool {
        // ORDER: relaxed; only that each call has a number of its own matters.
        self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails_at
    }

    fn refusal(&self) -> io::Error {
        self.errno.into()
    }
}

impl Persist for Shadow {
    fn durability(&self) -> Durability {
        Durability::PageCache
    }

    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()> {
        let mut copy = vec![0; bytes.len() as usize];
        bytes.copy_out(0, &mut copy).map_err(io::Error::other)?;
        let place = bytes.address() - self.base;
        let mut held = self.held.lock().unwrap();
        if self.fails_now() {
            held.and_refused.write(place, &copy);
            return Err(self.refusal());
        }
        held.pending.push((place, copy));
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap();
        let fails = self.fails_now();
        for (place, bytes) in std::mem::take(&mut held.pending) {
            held.and_refused.write(place, &bytes);
            if !fails {
                held.durable.write(place, &bytes);
            }
        }
        if fails { Err(self.refusal()) } else { Ok(()) }
    }
}

/// A region whose flushes a shadow follows.
struct Lab {
    file: File,
    shadow: Arc<Shadow>,
}

impl Lab {
    fn new(fails_at: usize, errno: Errno) -> (Self, Result<Pool, PoolError>) {
        let file = File::from(memfd_create("refuses", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(POOL_BYTES).unwrap();
        let region = region_of(&file);
        let base = region.bytes(0..0).unwrap().address();
        let nothing = Medium::of_len(POOL_BYTES);
        let held = Held { durable: nothing.clone(), and_refused: nothing, pending: Vec::new() };
        let calls = AtomicUsize::new(0);
        let shadow = Arc::new(Shadow { base, fails_at, errno, calls, held: Mutex::new(held) });
        let pool = quiet().format_region(region.with_flusher(Arc::clone(&shadow)), POOL_BYTES, None);
        (Self { file, shadow }, pool)
    }

    /// What the medium may hold now.
    fn media(&self) -> [(&'static str, Medium); 3] {
        let held = self.shadow.held.lock().unwrap();
        [
            ("without what it refused", held.durable.clone()),
            ("with what it refused", held.and_refused.clone()),
            ("with all that was stored", Medium::of(&self.file).unwrap()),
        ]
    }

    fn calls(&self) -> usize {
        self.shadow.calls.load(Ordering::Relaxed)
    }
}

type Done = Result<(), Box<dyn Error>>;

/// What is done to a pool: which paths it changes, and how. A sync changes none.
type Step = (&'static [&'static str], fn(&Pool) -> Done);

const STEPS: &[Step] = &[
    (&["/", "/a"], |pool| Ok(pool.create("/a")?.write_at(0, &[1; 10_000])?)),
    (&[], |pool| Ok(pool.sync()?)),
    (&["/", "/dir", "/dir/b"], |pool| {
        pool.create_dir("/dir")?;
        Ok(pool.create("/dir/b")?.write_at(4000, &[2; 9000])?)
    }),
    (&[], |pool| Ok(pool.sync()?)),
    (&["/a"], |pool| Ok(pool.open("/a")?.write_at(100, &[3; 5000])?)),
    (&["/a"], |pool| Ok(pool.open("/a")?.truncate(7000).wait()?)),
    (&[], |pool| Ok(pool.open("/a")?.sync()?)),
    (&[], |pool| Ok(pool.checkpoint()?)),
    (&["/dir", "/dir/b"], |pool| Ok(pool.unlink("/dir/b")?)),
    (&["/", "/c"], |pool| Ok(pool.create("/c")?.write_at(0, &[4; 30_000])?)),
    (&[], |pool| Ok(pool.sync()?)),
    (&["/", "/c", "/d"], |pool| Ok(pool.rename("/c", "/d", Rename::NoReplace)?)),
    (&["/d"], |pool| Ok(pool.open("/d")?.punch(4096..12_288).wait()?)),
    (&["/", "/e"], |pool| Ok(pool.create("/e")?.write_at(0, &[5; 12_288])?)),
    (&[], |pool| Ok(pool.sync()?)),
    (&[], |pool| Ok(pool.checkpoint()?)),
    (&["/e"], |pool| Ok(pool.open("/e")?.write_at(0, &[6; 4096])?)),
];

/// The changes among them, tried again on a pool that takes none: also what changes bytes in place.
fn check_takes_no_changes(pool: &Pool, what: &str) {
    let before = state_of(pool);
    let attempts: &[fn(&Pool) -> Done] = &[
        |pool| {
            pool.create("/late")?;
            Ok(())
        },
        |pool| Ok(pool.create_dir("/late dir")?),
        |pool| Ok(pool.open("/a")?.write_at(0, &[9; 50])?),
        |pool| Ok(pool.open("/a")?.write_at(1 << 20, &[9; 5000])?),
        |pool| {
            pool.open("/a")?.append(b"late")?;
            Ok(())
        },
        |pool| Ok(pool.open("/a")?.truncate(10).wait()?),
        |pool| Ok(pool.open("/a")?.truncate(1 << 21).wait()?),
        |pool| Ok(pool.open("/a")?.punch(10..20).wait()?),
        |pool| Ok(pool.open("/a")?.zero(0..5000).wait()?),
        |pool| Ok(pool.open("/a")?.allocate(1 << 20..2 << 20).try_now()?),
        |pool| Ok(pool.unlink("/a")?),
        |pool| Ok(pool.checkpoint()?),
        |pool| Ok(pool.sync()?),
    ];
    for (number, attempt) in attempts.iter().enumerate() {
        let error = attempt(pool).expect_err("nothing is changed any more").to_string();
        assert!(error.contains("takes no more changes"), "{what}, attempt {number}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
    assert!(state_of(pool) == before, "{what}: something was changed, and it was refused");
}

/// What was synced, and which paths of it were changed since.
#[derive(Default)]
struct Promised {
    state: State,
    changed: BTreeSet<PathBuf>,
}

impl Promised {
    #[track_caller]
    fn check(&self, found: &State, what: &str) {
        for (path, node) in self.state.iter().filter(|(path, _)| !self.changed.contains(*path)) {
            let now = found.get(path);
            let differs = now.map(|now| now.difference(node));
            assert!(now == Some(node), "{what}: {} is not as it was synced: {differs:?}", path.display());
        }
    }
}

/// Runs all steps, the call of that number failing. How many calls there were.
fn run(fails_at: usize, errno: Errno) -> usize {
    let what = format!("call {fails_at} fails with {errno}");
    let (lab, pool) = Lab::new(fails_at, errno);
    let mut promised = Promised::default();
    match pool {
        Ok(pool) => {
            let failed = STEPS.iter().any(|(paths, step)| {
                promised.changed.extend(paths.iter().map(PathBuf::from));
                let done = step(&pool);
                match &done {
                    Ok(()) if paths.is_empty() => {
                        promised = Promised { state: state_of(&pool), changed: BTreeSet::new() };
                    }
                    Ok(()) => {}
                    Err(error) => check_says_so(error.as_ref(), errno, &what),
                }
                done.is_err()
            });
            if failed {
                let _ = pool.create("/a");
                check_takes_no_changes_if_there(&pool, &what);
            }
            let closed = pool.close();
            assert!(!failed || closed.is_err(), "{what}: it was not closed in good order");
        }
        Err(error) => check_says_so(&error, errno, &what),
    }
    for (which, medium) in lab.media() {
        let what = format!("{what}, {which}");
        match (seen(&medium), opened(&medium)) {
            (Ok(looked_at), Ok(pool)) => {
                assert!(state_of(&pool) == looked_at, "{what}");
                promised.check(&looked_at, &what);
                pool.create("/it goes on").unwrap();
            }
            // It failed while it was made.
            (Err(PoolError::NotAPool), Err(PoolError::NotAPool)) if promised.state.is_empty() => {}
            (looked_at, opened) => panic!("{what}: {:?}, {:?}", looked_at.err(), opened.err()),
        }
    }
    lab.calls()
}

fn check_takes_no_changes_if_there(pool: &Pool, what: &str) {
    if pool.open(Path::new("/a")).is_ok() {
        check_takes_no_changes(pool, what);
    }
}

/// It names what failed, or what failed before, and why.
fn check_says_so(error: &(dyn Error + 'static), errno: Errno, what: &str) {
    let said = error.to_string();
    let reason = io::Error::from(errno).to_string();
    assert!(said.contains(&reason), "{what}: {said}, and not {reason}");
}

fn run_all(errno: Errno) {
    let calls = run(usize::MAX, errno);
    assert!(calls > 40, "{calls} calls");
    for fails_at in 1..=calls {
        run(fails_at, errno);
    }
    println!("{calls} calls");
}

#[test]
fn g9_an_io_error_at_any_flush_or_fence_loses_nothing_that_was_synced() {
    run_all(Errno::IO);
}

#[test]
fn g9_a_full_medium_at_any_flush_or_fence_loses_nothing_that_was_synced() {
    run_all(Errno::NOSPC);
}

#[test]
fn who_waits_for_room_in_the_log_is_told_when_the_checkpoint_fails() {
    let (lab, pool) = Lab::new(usize::MAX, Errno::IO);
    let (pool, before) = (pool.unwrap(), lab.calls());
    drop(pool);
    // The first flush after the pool is open is the keeper's: nobody syncs.
    let (_lab, pool) = Lab::new(before + 1, Errno::IO);
    let pool = pool.unwrap();
    let error = (0..1_000_000).find_map(|i| pool.create(format!("/{i}")).err()).expect("the log fills").to_string();
    assert!(error.contains("takes no more changes"), "{error}");
    assert!(pool.close().is_err());
}
