//! What nobody has looked at since the pool was opened is as it was, whoever comes to look, and whenever.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pinfold::{FileId, FileKind, Metadata, Place, Pool, PoolOptions, Rename, Snapshot, fsck};
use tempfile::TempDir;

use crate::common::MIB;
use crate::{contents, scratch};

const DIRECTORIES: usize = 12;
/// More than are written down under one lock.
const IN_THE_LARGEST: usize = 1200;

/// A pool of all kinds of things, closed in good order.
fn closed() -> (TempDir, PathBuf) {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().commit_every(None).format(&path, 32 * MIB).unwrap();
    for i in 0..DIRECTORIES {
        let within = if i % 3 == 2 { format!("/d{}", i - 1) } else { String::new() };
        let name = format!("{within}/d{i}");
        pool.create_dir(&name).unwrap();
        for file in 0..if i == 1 { IN_THE_LARGEST } else { i * 2 } {
            let file = pool.create(format!("{name}/{file}")).unwrap();
            if file.metadata().id.number().is_multiple_of(5) {
                file.write_at(file.metadata().id.number() % 3 * 8192, &[i as u8; 3000]).unwrap();
            }
        }
        pool.symlink(format!("../d{i}"), format!("{name}/link")).unwrap();
    }
    pool.link("/d10/3", "/d9/second").unwrap();
    pool.link("/d10/3", "/d10/third").unwrap();
    pool.close().unwrap();
    (dir, path)
}

fn load(path: &Path) -> Pool {
    PoolOptions::new().commit_every(None).open(path).unwrap()
}

/// Everything below a directory, by path.
fn tree(read_dir: &dyn Fn(&Path) -> Vec<(OsString, Metadata)>) -> BTreeMap<PathBuf, Metadata> {
    let (mut all, mut left) = (BTreeMap::new(), vec![PathBuf::from("/")]);
    while let Some(dir) = left.pop() {
        for (name, metadata) in read_dir(&dir) {
            let path = dir.join(name);
            if metadata.kind == FileKind::Directory {
                left.push(path.clone());
            }
            all.insert(path, metadata);
        }
    }
    all
}

fn tree_of(pool: &Pool) -> BTreeMap<PathBuf, Metadata> {
    tree(&|dir| {
        let entries = pool.read_dir(dir).unwrap().into_iter();
        let known = |name: OsString| (name.clone(), pool.symlink_metadata(dir.join(name)).unwrap());
        entries.map(|entry| known(entry.name)).collect()
    })
}

/// The same, by who builds everything at once.
fn tree_on(path: &Path) -> BTreeMap<PathBuf, Metadata> {
    let snapshot = Snapshot::open(path).unwrap();
    tree(&|dir| {
        let entries = snapshot.read_dir(dir).unwrap().into_iter();
        let known = |name: OsString| (name.clone(), snapshot.symlink_metadata(dir.join(name)).unwrap());
        entries.map(|entry| known(entry.name)).collect()
    })
}

fn check_medium(path: &Path) {
    let report = fsck::check(&std::fs::File::open(path).unwrap(), None);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn g9_what_nobody_looked_at_is_counted_and_is_what_it_was() {
    let (_dir, path) = closed();
    let before = tree_on(&path);
    let pool = load(&path);
    let blocks: u64 = Snapshot::open(&path).unwrap().info().in_files;
    let stats = pool.stats();
    assert_eq!(
        (stats.nodes, stats.in_files),
        (before.len() as u64 - 2 + 1, blocks),
        "two have a second name; the root"
    );
    assert_eq!(tree_of(&pool), before);
    let warm = pool.stats();
    assert_eq!((warm.nodes, warm.in_files, warm.free), (stats.nodes, stats.in_files, stats.free));
}

#[test]
fn g9_a_checkpoint_has_what_nobody_looked_at() {
    let (_dir, path) = closed();
    let mut expected = tree_on(&path);
    for round in 0..DIRECTORIES {
        let pool = load(&path);
        // One directory is looked at, and the rest is copied.
        let within = if round % 3 == 2 { format!("/d{}", round - 1) } else { String::new() };
        let dir = format!("{within}/d{round}");
        pool.create(format!("{dir}/new")).unwrap().write_at(0, &[9; 100]).unwrap();
        pool.checkpoint().unwrap();
        if round % 2 == 0 {
            pool.rename(format!("{dir}/new"), "/moved", Rename::Replace).unwrap();
        }
        let moved = ["/moved".to_owned(), format!("{dir}/new")].map(PathBuf::from);
        for path in [PathBuf::from(&dir)].iter().chain(&moved) {
            expected.remove(path);
            expected.extend(pool.symlink_metadata(path).ok().map(|metadata| (path.clone(), metadata)));
        }
        pool.close().unwrap();
        check_medium(&path);
        assert_eq!(tree_on(&path), expected, "round {round}");
    }
}

/// Does something while checkpoints are taken, one after the other.
fn beside_checkpoints(pool: &Pool, work: impl FnOnce()) {
    /// Says so also when the work fails.
    struct Over<'o>(&'o AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                pool.create("/tick").unwrap();
                pool.checkpoint().unwrap();
                pool.unlink("/tick").unwrap();
            }
        });
        let _over = Over(&is_over);
        work();
    });
}

#[test]
fn g9_what_becomes_warm_while_a_checkpoint_copies_it_is_written_down_once() {
    const DIRECTORIES: usize = 300;
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().commit_every(None).format(&path, 32 * MIB).unwrap();
    for i in 0..DIRECTORIES {
        pool.create_dir(format!("/{i}")).unwrap();
        (0..30).for_each(|file| drop(pool.create(format!("/{i}/{file}")).unwrap()));
    }
    pool.close().unwrap();
    let expected = tree_on(&path);
    for _ in 0..10 {
        let pool = load(&path);
        drop(pool.open_or_create("/tick").unwrap());
        pool.unlink("/tick").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| pool.checkpoint().unwrap());
            for i in (0..DIRECTORIES).rev() {
                assert_eq!(pool.read_dir(format!("/{i}")).unwrap().len(), 30);
            }
        });
        assert_eq!(tree_on(&path), expected, "as if it was killed now");
        pool.close().unwrap();
        check_medium(&path);
    }
}

#[test]
fn g9_work_in_cold_directories_beside_checkpoints_is_on_the_medium() {
    for seed in 0..6 {
        let (_dir, path) = closed();
        let pool = load(&path);
        beside_checkpoints(&pool, || {
            let mut random = fastrand::Rng::with_seed(seed);
            for i in (0..DIRECTORIES).filter(|i| i % 3 != 2) {
                let to = random.usize(0..DIRECTORIES / 3) * 3;
                match random.u8(0..4) {
                    0 => pool.unlink(format!("/d{i}/link")).unwrap(),
                    1 => pool.create(format!("/d{i}/new")).unwrap().write_at(0, &[1; 5000]).unwrap(),
                    2 => pool.rename(format!("/d{i}/link"), format!("/d{to}/from {i}"), Rename::Replace).unwrap(),
                    _ => pool.link(format!("/d{i}/link"), format!("/again {i}")).unwrap(),
                }
                thread::yield_now();
            }
        });
        let expected = tree_of(&pool);
        pool.sync().unwrap();
        assert_eq!(tree_on(&path), expected, "as if it was killed now; seed {seed}");
        pool.close().unwrap();
        check_medium(&path);
        assert_eq!(tree_on(&path), expected, "seed {seed}");
    }
}

#[test]
fn what_is_cold_is_found_by_its_id_and_by_its_blocks() {
    let (_dir, path) = closed();
    let expected = tree_on(&path);
    let snapshot = Snapshot::open(&path).unwrap();
    let file = |pool: &Pool, id: FileId| pool.open_by_id(id).map(|file| file.metadata());
    for (path_of, metadata) in expected.iter().filter(|(_, of)| of.allocated > 0 && of.links == 1).take(40) {
        let pool = load(&path);
        assert_eq!(file(&pool, metadata.id).as_ref(), Some(metadata));
        let pool = load_again(pool, &path);
        let extents = snapshot.extents(path_of).unwrap();
        let place = extents[0].place;
        let Place::File { path: found, .. } = pool.what_is_at(place) else { panic!("{path_of:?}") };
        assert_eq!(found.as_ref(), Some(path_of));
    }
}

fn load_again(pool: Pool, path: &Path) -> Pool {
    pool.close().unwrap();
    load(path)
}

#[test]
fn cold_directories_are_moved_and_removed_as_others_are() {
    let (_dir, path) = closed();
    let pool = load(&path);
    assert_eq!(pool.remove_dir("/d1").unwrap_err().errno(), 39, "not empty");
    assert_eq!(pool.rename("/d1", "/d1/d2/d1", Rename::Replace).unwrap_err().errno(), 22, "into itself");
    let pool = load_again(pool, &path);
    pool.rename("/d1", "/d3/moved", Rename::Replace).unwrap();
    assert_eq!(pool.metadata("/d3").unwrap().links, 3);
    let pool = load_again(pool, &path);
    assert_eq!(pool.read_dir("/d3/moved").unwrap().len(), IN_THE_LARGEST + 2);
    assert_eq!(pool.read_link("/d3/moved/d2/link").unwrap(), Path::new("../d2"));
    let pool = load_again(pool, &path);
    pool.unlink("/d0/link").unwrap();
    pool.remove_dir("/d0").unwrap();
    let pool = load_again(pool, &path);
    assert_eq!(pool.read_dir("/d0").unwrap_err().errno(), 2);
    assert_eq!(contents(&pool, "/d9/second"), contents(&pool, "/d10/3"));
    assert_eq!(pool.metadata("/d9/second").unwrap().links, 3);
    pool.close().unwrap();
    check_medium(&path);
}

#[test]
fn a_deep_tree_that_nobody_looked_at_goes_without_deep_calls() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().commit_every(None).format(&path, 64 * MIB).unwrap();
    // A path is not as long as that: it grows at its root.
    pool.create_dir("/a").unwrap();
    for _ in 0..20_000 {
        pool.create_dir("/b").unwrap();
        pool.rename("/a", "/b/a", Rename::Replace).unwrap();
        pool.rename("/b", "/a", Rename::Replace).unwrap();
    }
    pool.close().unwrap();
    let pool = load(&path);
    assert_eq!(pool.stats().nodes, 20_002);
    pool.close().unwrap();
}
