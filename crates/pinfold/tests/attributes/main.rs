//! What a file has beside its bytes: times, mode, owner, extended attributes; and files that are none.

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::time::{Duration, SystemTime};

use pinfold::{
    AttributeError, Extend, FileKind, Metadata, NameError, Pool, PoolOptions, Rename, SetAttributes, Snapshot, Special,
};
use rustix::io::Errno;

use common::{MIB, assert_errno, pool_of};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789)
}

fn all() -> SetAttributes {
    let (accessed, modified) = (Some(at(1)), Some(at(5_000_000_000)));
    SetAttributes { mode: Some(0o4711), uid: Some(1000), gid: Some(u32::MAX), accessed, modified }
}

/// Comes back when the clock that nodes are stamped with has gone on.
fn let_a_moment_pass() {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let before = now();
    while now() == before {}
}

/// A pool on a disk, and where it lies.
fn lasting() -> (tempfile::TempDir, std::path::PathBuf, Pool) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let pool = PoolOptions::new().commit_every(None).format(&path, 16 * MIB).unwrap();
    (dir, path, pool)
}

#[test]
fn what_nobody_set_is_what_is_usual() {
    let pool = pool_of(MIB);
    pool.create("/file").unwrap();
    pool.create_dir("/dir").unwrap();
    pool.symlink("file", "/link").unwrap();
    pool.create_special("/pipe", Special::Pipe).unwrap();
    for (path, mode) in [("/file", 0o644), ("/dir", 0o755), ("/link", 0o777), ("/pipe", 0o644), ("/", 0o755)] {
        let known = pool.symlink_metadata(path).unwrap();
        assert_eq!((known.mode, known.uid, known.gid, known.accessed), (mode, None, None, known.modified), "{path}");
        assert_eq!(pool.symlink_inode(path).unwrap().extended_names(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn what_is_set_is_so_and_the_rest_stays() {
    let pool = pool_of(MIB);
    pool.create("/file").unwrap();
    let inode = pool.inode("/file").unwrap();
    inode.set(&all()).unwrap();
    let expected = |known: Metadata| (known.mode, known.uid, known.gid, known.accessed, known.modified);
    assert_eq!(expected(inode.metadata()), (0o4711, Some(1000), Some(u32::MAX), at(1), at(5_000_000_000)));
    inode.set(&SetAttributes { gid: Some(7), ..Default::default() }).unwrap();
    assert_eq!(expected(inode.metadata()), (0o4711, Some(1000), Some(7), at(1), at(5_000_000_000)));
    // Before 1970 there is nothing.
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    inode.set(&SetAttributes { modified: Some(early), ..Default::default() }).unwrap();
    assert_eq!(inode.metadata().modified, SystemTime::UNIX_EPOCH);
    let refused = inode.set(&SetAttributes { mode: Some(0o100644), uid: Some(1), ..Default::default() }).unwrap_err();
    assert!(matches!(refused, AttributeError::BadMode { mode: 0o100644, .. }), "{refused}");
    assert_errno(refused.errno(), Errno::INVAL, &refused);
    assert_eq!(inode.metadata().uid, Some(1000), "all or nothing");
}

#[test]
fn times_tell_what_changed() {
    let pool = pool_of(MIB);
    let file = pool.create("/file").unwrap();
    pool.create_dir("/dir").unwrap();
    let times = |path: &str| pool.metadata(path).map(|known| (known.modified, known.changed)).unwrap();
    let changed_alone = |what: &str, change: &dyn Fn()| {
        let before = times("/file");
        let_a_moment_pass();
        change();
        let after = times("/file");
        assert!(after.0 == before.0 && after.1 > before.1, "{what}: {before:?}, {after:?}");
    };
    let inode = file.inode();
    changed_alone("a mode", &|| inode.set(&SetAttributes { mode: Some(0o600), ..Default::default() }).unwrap());
    changed_alone("an attribute", &|| inode.set_extended(b"user.a", b"1", Extend::Any).unwrap());
    changed_alone("a name more", &|| pool.link("/file", "/dir/second").unwrap());
    changed_alone("a name less", &|| pool.unlink("/dir/second").unwrap());
    changed_alone("another name", &|| {
        pool.rename("/file", "/dir/file", Rename::Replace).unwrap();
        pool.rename("/dir/file", "/file", Rename::Replace).unwrap();
    });
    // A time that was set holds until the bytes change: also if it lies ahead.
    inode.set(&SetAttributes { modified: Some(at(1 << 33)), ..Default::default() }).unwrap();
    let_a_moment_pass();
    file.write_at(0, b"bytes").unwrap();
    let (modified, changed) = times("/file");
    assert_eq!(modified, changed);
    // Of a directory: names.
    let before = times("/dir");
    let_a_moment_pass();
    pool.create("/dir/new").unwrap();
    let after = times("/dir");
    assert!(after.0 > before.0 && after.1 == after.0);
}

#[test]
fn extended_attributes_are_made_replaced_listed_and_removed() {
    let pool = pool_of(MIB);
    let inode = pool.create("/file").unwrap().inode();
    let set = |name: &[u8], value: &[u8], how| inode.set_extended(name, value, how).map_err(|error| error.errno());
    let errno = |errno: Errno| Err(errno.raw_os_error());
    assert_eq!(set(b"user.a", b"1", Extend::Replace), errno(Errno::NODATA));
    assert_eq!(set(b"user.a", b"1", Extend::New), Ok(()));
    assert_eq!(set(b"user.a", b"2", Extend::New), errno(Errno::EXIST));
    assert_eq!(set(b"user.a", b"3", Extend::Replace), Ok(()));
    assert_eq!(set(b"any \xff name", b"", Extend::Any), Ok(()));
    assert_eq!(inode.extended(b"user.a"), Some(b"3".to_vec()));
    assert_eq!(inode.extended_names(), [b"any \xff name".to_vec(), b"user.a".to_vec()]);
    assert_eq!(inode.remove_extended(b"any \xff name").map_err(|error| error.errno()), Ok(()));
    assert_eq!(inode.remove_extended(b"any \xff name").map_err(|error| error.errno()), errno(Errno::NODATA));
    assert_eq!(inode.extended(b"any \xff name"), None);
    // What is too long, and what cannot be a name.
    assert_eq!(set(b"", b"1", Extend::Any), errno(Errno::RANGE));
    assert_eq!(set(&[b'a'; 256], b"1", Extend::Any), errno(Errno::RANGE));
    assert_eq!(set(b"nul\0", b"1", Extend::Any), errno(Errno::RANGE));
    assert_eq!(set(b"user.long", &[1; 65537], Extend::Any), errno(Errno::TOOBIG));
    assert_eq!(set(b"user.long", &[1; 65536], Extend::Any), Ok(()));
    let last = (0..).find_map(|i| set(format!("user.{i:0250}").as_bytes(), b"", Extend::Any).err());
    assert_eq!(last, Some(Errno::NOSPC.raw_os_error()));
    let names: usize = inode.extended_names().iter().map(|name| name.len() + 1).sum();
    assert!(names <= 65536, "as Linux lists them");
}

#[test]
fn all_of_it_lasts_whether_the_log_has_it_or_a_checkpoint() {
    let (_dir, path, pool) = lasting();
    let paths = ["/file", "/dir", "/link", "/dev", "/socket"];
    pool.create("/file").unwrap().write_at(0, b"bytes").unwrap();
    pool.create_dir("/dir").unwrap();
    pool.symlink("file", "/link").unwrap();
    pool.create_special("/dev", Special::BlockDevice(0x801)).unwrap();
    pool.create_special("/socket", Special::Socket).unwrap();
    for path in paths {
        let inode = pool.symlink_inode(path).unwrap();
        inode.set(&all()).unwrap();
        inode.set_extended(b"user.path", path.as_bytes(), Extend::New).unwrap();
    }
    pool.symlink_inode("/socket").unwrap().remove_extended(b"user.path").unwrap();
    let of = |pool: &Pool| {
        paths.map(|path| {
            (pool.symlink_metadata(path).unwrap(), pool.symlink_inode(path).unwrap().extended(b"user.path"))
        })
    };
    let before = of(&pool);
    assert_eq!(before[3].0.kind, FileKind::Special(Special::BlockDevice(0x801)));
    assert_eq!(before[4].1, None);
    pool.sync().unwrap();
    let check = |snapshot: &Snapshot| {
        for (path, (known, extended)) in paths.iter().zip(&before) {
            assert_eq!(snapshot.symlink_metadata(path).unwrap(), *known, "{path}");
            let names = snapshot.extended_names(path).unwrap();
            assert_eq!(names, extended.iter().map(|_| b"user.path".to_vec()).collect::<Vec<_>>(), "{path}");
            assert_eq!(snapshot.extended(path, b"user.path").unwrap(), *extended, "{path}");
        }
    };
    check(&Snapshot::open(&path).unwrap());
    pool.checkpoint().unwrap();
    check(&Snapshot::open(&path).unwrap());
    pool.close().unwrap();
    for _ in 0..2 {
        let pool = PoolOptions::new().commit_every(None).open(&path).unwrap();
        pool.create_dir(format!("/{}", pool.stats().nodes)).unwrap();
        // What is cold is copied as it stands; then it is looked at.
        pool.checkpoint().unwrap();
        check(&Snapshot::open(&path).unwrap());
        assert_eq!(of(&pool), before);
        pool.close().unwrap();
    }
}

#[test]
fn g9_the_time_of_a_write_lasts_whatever_else_is_changed_before_it_is_synced() {
    let (_dir, path, pool) = lasting();
    type Other = (&'static str, fn(&Pool));
    let others: [Other; 4] = [
        ("a mode", |pool| {
            pool.inode("/file").unwrap().set(&SetAttributes { mode: Some(0o600), ..Default::default() }).unwrap()
        }),
        ("an attribute", |pool| pool.inode("/file").unwrap().set_extended(b"user.a", b"", Extend::Any).unwrap()),
        ("a name", |pool| pool.link("/file", "/other").unwrap()),
        ("a time", |pool| {
            pool.inode("/file").unwrap().set(&SetAttributes { modified: Some(at(3)), ..Default::default() }).unwrap();
        }),
    ];
    let file = pool.create("/file").unwrap();
    file.write_at(0, &[1; 4096]).unwrap();
    for (what, other) in others {
        pool.sync().unwrap();
        let_a_moment_pass();
        // In place: on no record but of when.
        file.write_at(0, &[2; 100]).unwrap();
        let_a_moment_pass();
        other(&pool);
        let live = pool.metadata("/file").unwrap();
        let_a_moment_pass();
        pool.sync().unwrap();
        assert_eq!(Snapshot::open(&path).unwrap().metadata("/file").unwrap(), live, "{what}");
    }
}

#[test]
fn what_is_no_file_is_listed_moved_and_removed_and_does_not_open() {
    let pool = pool_of(MIB);
    pool.create_special("/pipe", Special::Pipe).unwrap();
    let exists = pool.create_special("/pipe", Special::Socket).unwrap_err();
    assert!(matches!(exists, NameError::Exists(_)), "{exists}");
    for refused in [pool.open("/pipe").map(drop), pool.open_or_create("/pipe").map(drop)] {
        let refused = refused.unwrap_err();
        assert_errno(refused.errno(), Errno::NXIO, &refused);
    }
    assert!(matches!(pool.read_link("/pipe"), Err(NameError::NotLink(_))));
    assert!(matches!(pool.read_dir("/pipe"), Err(NameError::NotDirectory(_))));
    assert!(matches!(pool.create("/pipe/file"), Err(NameError::NotDirectory(_))));
    pool.link("/pipe", "/second").unwrap();
    pool.rename("/pipe", "/first", Rename::Replace).unwrap();
    let entries = pool.read_dir("/").unwrap();
    assert_eq!(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [FileKind::Special(Special::Pipe); 2]);
    assert_eq!(pool.metadata("/first").unwrap().links, 2);
    let (nodes, inode) = (pool.stats().nodes, pool.inode("/first").unwrap());
    pool.unlink("/first").unwrap();
    pool.unlink("/second").unwrap();
    assert_eq!(pool.stats().nodes, nodes - 1);
    assert_eq!(inode.metadata().links, 0);
    assert!(pool.inode_by_id(inode.id()).is_none());
}

#[test]
fn g9_a_pool_of_a_former_format_becomes_one_of_this_when_its_owner_opens_it() {
    // What `versions` keeps is opened in memory there. This looks at what is written.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    PoolOptions::new().commit_every(None).format(&path, 16 * MIB).unwrap().close().unwrap();
    make_former(&path);
    assert_eq!(Snapshot::open(&path).unwrap().info().format, 1, "who looks changes nothing");
    PoolOptions::new().commit_every(None).open(&path).unwrap().close().unwrap();
    assert_eq!(Snapshot::open(&path).unwrap().info().format, pinfold::FORMAT_VERSION);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!([0, 65536].map(|at| bytes[at + 8]), [pinfold::FORMAT_VERSION as u8; 2], "both copies");
}

/// Writes version 1 into both superblocks of a pool that has nothing of a later version.
fn make_former(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    for at in [0, 65536] {
        bytes[at + 8..at + 12].copy_from_slice(&1u32.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[at..at + 132]);
        bytes[at + 132..at + 136].copy_from_slice(&checksum.to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}
