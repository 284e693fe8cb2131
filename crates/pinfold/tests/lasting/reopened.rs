//! What was there is there again.

use std::path::Path;

use pinfold::{Access, File, Pool, PoolOptions, Publish, Rename, Snapshot};

use crate::common::MIB;
use crate::{contents, scratch};

fn fill(pool: &Pool) {
    pool.create_dir("/a").unwrap();
    pool.create_dir("/a/b").unwrap();
    pool.create("/a/b/file").unwrap().write_at(5000, b"written").unwrap();
    pool.link("/a/b/file", "/second").unwrap();
    pool.symlink("../a/b", "/a/link").unwrap();
    let moved = pool.create("/moved").unwrap();
    moved.write_at(0, &[7; 3 * 4096]).unwrap();
    moved.collapse(0..4096).wait().unwrap();
    moved.insert(4096, 8192).wait().unwrap();
    pool.rename("/moved", "/a/moved", Rename::Replace).unwrap();
    let set_aside = pool.create("/set aside").unwrap();
    set_aside.allocate(0..MIB).try_now().unwrap();
    let reservation = pool.reserve(3 * 4096).try_now().unwrap();
    let pinned = reservation.pin(0..100).wait().unwrap();
    pinned.copy_in(0, &[9; 100]).unwrap();
    pinned.written(100);
    drop(pinned);
    reservation.publish("/published", Publish::New).unwrap();
    let mut sparse = pool.reserve(1 << 40).sparse().try_now().unwrap();
    sparse.pin(8192..12288).wait().unwrap().copy_in(0, &[5; 4096]).unwrap();
    sparse.truncate(16384).unwrap();
    sparse.publish("/a/sparse", Publish::New).unwrap();
    pool.reserve(0).sparse().try_now().unwrap().publish("/a/empty", Publish::New).unwrap();
    pool.create("/gone").unwrap().write_at(0, &[1; 4096]).unwrap();
    pool.unlink("/gone").unwrap();
}

fn check(pool: &Pool) {
    let mut expected = vec![0; 5000];
    expected.extend(b"written");
    assert_eq!(contents(pool, "/a/b/file"), expected);
    assert_eq!(contents(pool, "/a/link/file"), expected);
    assert_eq!(pool.metadata("/second").unwrap().links, 2);
    assert_eq!(contents(pool, "/a/moved"), [[7; 4096], [0; 4096], [0; 4096], [7; 4096]].concat());
    let set_aside = pool.open("/set aside").unwrap();
    assert_eq!((set_aside.len(), set_aside.metadata().allocated), (MIB, MIB));
    assert!(set_aside.extents().iter().all(|extent| !extent.written));
    let published = contents(pool, "/published");
    assert_eq!((&published[..100], &published[100..]), (&[9; 100][..], &[0; 3 * 4096 - 100][..]));
    assert_eq!(contents(pool, "/a/sparse"), [[0; 4096], [0; 4096], [5; 4096], [0; 4096]].concat());
    assert_eq!(pool.metadata("/a/sparse").unwrap().allocated, 4096);
    assert_eq!(pool.metadata("/a/empty").unwrap().len, 0);
    let names = pool.read_dir("/").unwrap().into_iter().map(|entry| entry.name);
    assert_eq!(names.filter(|name| name != "rounds").count(), 4);
    assert!(pool.open("/gone").is_err());
}

#[test]
fn g9_a_pool_that_was_closed_is_what_it_was() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 * MIB).unwrap();
    fill(&pool);
    check(&pool);
    let before = pool.stats();
    pool.close().unwrap();
    let pool = Pool::load(&path).unwrap();
    check(&pool);
    let after = pool.stats();
    assert_eq!((after.in_files, after.nodes), (before.in_files, before.nodes));
    assert_eq!(pool.log_use().0, 0, "nothing to replay");
}

#[test]
fn g9_a_pool_that_was_dropped_is_what_it_was_every_time() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 * MIB).unwrap();
    fill(&pool);
    drop(pool);
    for round in 0..5u8 {
        let pool = Pool::load(&path).unwrap();
        check(&pool);
        let file = pool.open_or_create("/rounds").unwrap();
        assert_eq!(file.append(&[round]).unwrap(), u64::from(round));
        pool.rename("/rounds", "/rounds.", Rename::Replace).unwrap();
        pool.rename("/rounds.", "/rounds", Rename::Replace).unwrap();
        assert_eq!(contents(&pool, "/rounds"), (0..=round).collect::<Vec<_>>());
        pool.unlink("/rounds").unwrap();
        file.sync().unwrap();
        let again = pool.create("/rounds").unwrap();
        again.write_at(0, &(0..=round).collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn g9_the_log_wraps_and_checkpoints_make_room_for_it() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 * MIB).unwrap();
    let (_, log) = pool.log_use();
    let file = pool.create("/file").unwrap();
    for i in 0..40_000u64 {
        file.truncate(i % 3 * 5000).wait().unwrap();
        file.write_at(i % 7 * 3000, &i.to_le_bytes()).unwrap();
        assert!(pool.log_use().0 <= log);
    }
    let len = file.len();
    let bytes = contents(&pool, "/file");
    drop(file);
    pool.close().unwrap();
    let pool = Pool::load(&path).unwrap();
    assert_eq!(pool.open("/file").unwrap().len(), len);
    assert_eq!(contents(&pool, "/file"), bytes);
}

#[test]
fn a_pool_grows_while_it_is_used_and_is_as_large_when_it_is_opened() {
    let dir = scratch();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().format(&path, 17 * MIB).unwrap();
    let before = pool.stats();
    assert!(pool.create("/large").unwrap().allocate(0..20 * MIB).try_now().is_err());
    let file = pool.open("/large").unwrap();
    let pinned = {
        file.write_at(0, &[3; 4096]).unwrap();
        file.pin(0..4096, Access::Read).wait().unwrap()
    };
    pool.grow(64 * MIB).unwrap();
    assert_eq!(pool.stats().total - before.total, 47 * MIB);
    file.allocate(0..40 * MIB).try_now().unwrap();
    drop(pinned);
    drop(file);
    pool.close().unwrap();
    let pool = Pool::load(&path).unwrap();
    assert_eq!(pool.stats().total, 64 * MIB);
    assert_eq!(pool.open("/large").unwrap().metadata().allocated, 40 * MIB);
}

#[test]
fn the_log_says_nothing_of_a_file_after_its_end_whoever_syncs_it_meanwhile() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().commit_every(None).format(&path, 16 * MIB).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let syncs = || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                pool.sync().unwrap();
            }
        };
        scope.spawn(syncs);
        for round in 0..1500 {
            let file = pool.create("/short").unwrap();
            file.write_at(0, &[1; 8192]).unwrap();
            // With a device's pin before, it ends by a break.
            if round % 2 == 0 {
                drop(file.pin(0..4096, Access::Write).wait().unwrap());
            }
            pool.unlink("/short").unwrap();
            drop(file);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let snapshot = pinfold::Snapshot::open(&path).expect("the log makes sense");
    assert_eq!(snapshot.read_dir("/").unwrap(), []);
}

/// Comes back when the clock that nodes are stamped with has gone on.
fn let_a_moment_pass(pool: &Pool) {
    let modified =
        || pool.create("/clock").and_then(|file| file.pool().unlink("/clock").map(|()| file.metadata().modified));
    let before = modified().unwrap();
    while modified().unwrap() == before {}
}

#[test]
fn g9_what_was_synced_was_changed_when_it_was_changed_and_not_when_it_was_synced() {
    for dir in [scratch(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()] {
        let path = dir.path().join("pool");
        let pool = PoolOptions::new().commit_every(None).format(&path, 16 * MIB).unwrap();
        check_times(&pool, &path);
        pool.close().unwrap();
    }
}

fn check_times(pool: &Pool, path: &Path) {
    pool.create_dir("/dir").unwrap();
    type Change = (&'static str, fn(&File));
    let changes: [Change; 8] = [
        ("written", |file| file.write_at(0, &[8; 10_000]).unwrap()),
        ("written in place", |file| file.write_at(0, &[8; 100]).unwrap()),
        ("cut", |file| file.truncate(5000).wait().unwrap()),
        ("longer", |file| file.truncate(1 << 30).wait().unwrap()),
        ("punched", |file| file.punch(0..4096).detach().wait().unwrap()),
        ("edge punched", |file| file.punch(10..20).detach().wait().unwrap()),
        ("collapsed", |file| file.collapse(0..4096).wait().unwrap()),
        ("allocated", |file| file.allocate(0..MIB).try_now().unwrap()),
    ];
    let files = changes.map(|(name, _)| pool.create(Path::new("/dir").join(name)).unwrap());
    files.iter().for_each(|file| file.write_at(0, &[7; 8192]).unwrap());
    pool.sync().unwrap();
    let_a_moment_pass(pool);
    for (file, (name, change)) in files.iter().zip(&changes) {
        let before = file.metadata().modified;
        change(file);
        assert!(file.metadata().modified > before, "{name}");
    }
    pool.create("/dir/empty").unwrap();
    let_a_moment_pass(pool);
    pool.sync().unwrap();
    let medium = Snapshot::open(path).unwrap();
    for entry in pool.read_dir("/dir").unwrap() {
        let path = Path::new("/dir").join(entry.name);
        let [live, kept] = [pool.metadata(&path).unwrap(), medium.metadata(&path).unwrap()];
        assert_eq!(kept.modified, live.modified, "{}", path.display());
    }
    assert_eq!(medium.metadata("/dir").unwrap().modified, pool.metadata("/dir").unwrap().modified);
}
