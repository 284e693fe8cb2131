//! Each rule by itself.

use std::fmt::Debug;
use std::thread;
use std::time::SystemTime;

use pinfold::{Access, FileKind, Metadata, NameError, Place, Pool, Publish, Rename};
use rustix::io::Errno;

use crate::pool;

type Change = fn(&Pool) -> Result<(), NameError>;

/// Asserts that a call is refused with an errno, and that the message names what was asked for.
#[track_caller]
fn refused<T: Debug>(result: Result<T, NameError>, errno: Errno, named: &str) {
    let error = result.unwrap_err();
    assert_eq!(Errno::from_raw_os_error(error.errno()), errno, "{error}");
    assert!(error.to_string().contains(named), "{error}");
}

fn at(pool: &Pool, path: &str) -> Metadata {
    pool.symlink_metadata(path).unwrap()
}

fn names(pool: &Pool, path: &str) -> Vec<String> {
    pool.read_dir(path).unwrap().into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
}

fn read(pool: &Pool, path: &str) -> Vec<u8> {
    let file = pool.open(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// A file that holds its own name.
fn write(pool: &Pool, path: &str) {
    pool.create(path).unwrap().write_at(0, path.as_bytes()).unwrap();
}

fn create_dirs(pool: &Pool, paths: &[&str]) {
    paths.iter().for_each(|path| pool.create_dir(path).unwrap());
}

/// Until the pool's clock, which is coarse, has moved on.
fn tick(pool: &Pool, from: SystemTime) {
    while pool.create("/tick").unwrap().metadata().modified == from {
        pool.unlink("/tick").unwrap();
    }
    pool.unlink("/tick").unwrap();
}

#[test]
fn create_makes_a_new_file_and_refuses_a_name_that_is_taken() {
    let pool = pool();
    let file = pool.create("/a").unwrap();
    assert_eq!((file.len(), file.id()), (0, at(&pool, "/a").id));
    refused(pool.create("/a"), Errno::EXIST, "/a");
    refused(pool.create("/missing/a"), Errno::NOENT, "/missing/a");
    refused(pool.create("/a/b"), Errno::NOTDIR, "/a/b");
    refused(pool.create("/b/"), Errno::ISDIR, "/b/");
    refused(pool.create("/"), Errno::EXIST, "/");
    assert_eq!(pool.stats().nodes, 2, "the root and `a`: what was refused left nothing");
}

#[test]
fn a_symbolic_link_takes_its_name_for_create_and_leads_on_for_open() {
    let pool = pool();
    pool.symlink("missing", "/link").unwrap();
    refused(pool.create("/link"), Errno::EXIST, "/link");
    refused(pool.open("/link"), Errno::NOENT, "/link");
    let made = pool.open_or_create("/link").unwrap();
    assert_eq!(made.id(), at(&pool, "/missing").id);
    assert_eq!(pool.open_or_create("/link").unwrap().id(), made.id());
    assert_eq!(pool.open("/link").unwrap().id(), made.id());
}

#[test]
fn only_files_are_opened() {
    let pool = pool();
    pool.create_dir("/d").unwrap();
    refused(pool.open("/d"), Errno::ISDIR, "/d");
    refused(pool.open_or_create("/d"), Errno::ISDIR, "/d");
    assert!(pool.open_by_id(at(&pool, "/d").id).is_none());
}

#[test]
fn paths_begin_at_the_root_with_a_slash_or_without() {
    let pool = pool();
    pool.create_dir("d").unwrap();
    let id = pool.create("/d/f").unwrap().id();
    for path in ["d/f", "/d/f", "//d///f", "./d/./f", "d/../d/f", "../../d/f", "/../d/f"] {
        assert_eq!(pool.metadata(path).unwrap().id, id, "{path}");
    }
    assert_eq!(at(&pool, "d/..").id, at(&pool, "/").id);
    refused(pool.metadata("d/f/"), Errno::NOTDIR, "d/f/");
    refused(pool.metadata("d/f/."), Errno::NOTDIR, "d/f/.");
    refused(pool.metadata("d/x/.."), Errno::NOENT, "d/x/..");
}

#[test]
fn what_cannot_be_a_name_is_refused() {
    let pool = pool();
    refused(pool.create(""), Errno::NOENT, "empty");
    refused(pool.symlink("", "/l"), Errno::NOENT, "empty");
    refused(pool.create("/a\0b"), Errno::INVAL, "NUL");
    refused(pool.symlink("a\0b", "/l"), Errno::INVAL, "NUL");
    let longest = "n".repeat(255);
    pool.create(&longest).unwrap();
    refused(pool.create(format!("{longest}n")), Errno::NAMETOOLONG, "255");
    refused(pool.metadata(format!("{longest}n/x")), Errno::NAMETOOLONG, "255");
    let long_path = format!("{}{longest}", "/".repeat(4095 - 255));
    pool.metadata(&long_path).unwrap();
    refused(pool.metadata(format!("/{long_path}")), Errno::NAMETOOLONG, "4095");
    pool.symlink(&long_path, "/l").unwrap();
    refused(pool.symlink(format!("/{long_path}"), "/k"), Errno::NAMETOOLONG, "4095");
    assert_eq!(pool.metadata("/l").unwrap().id, at(&pool, &longest).id);
}

#[test]
fn bytes_that_are_no_text_are_a_name() {
    use std::os::unix::ffi::OsStrExt;
    let pool = pool();
    let name = std::ffi::OsStr::from_bytes(b"\xff\x01\n");
    pool.create(name).unwrap();
    assert_eq!(pool.read_dir("/").unwrap()[0].name, name);
}

#[test]
fn a_symbolic_link_begins_in_its_own_directory_or_at_the_root() {
    let pool = pool();
    pool.create_dir("/d").unwrap();
    let (inner, outer) = (pool.create("/d/f").unwrap().id(), pool.create("/f").unwrap().id());
    for (target, leads_to) in [("f", inner), ("/f", outer), ("../f", outer), ("../d/f", inner)] {
        pool.symlink(target, "/d/link").unwrap();
        assert_eq!(pool.metadata("/d/link").unwrap().id, leads_to, "{target}");
        let link = at(&pool, "/d/link");
        assert_eq!((link.kind, link.len), (FileKind::Symlink, target.len() as u64));
        assert_eq!(pool.read_link("/d/link").unwrap().to_str(), Some(target));
        pool.unlink("/d/link").unwrap();
    }
    refused(pool.read_link("/f"), Errno::INVAL, "/f");
    refused(pool.symlink("x", "/f"), Errno::EXIST, "/f");
}

#[test]
fn forty_symbolic_links_are_followed_and_no_more() {
    let pool = pool();
    let id = pool.create("/0").unwrap().id();
    (1..=41).for_each(|link| pool.symlink(format!("{}", link - 1), format!("/{link}")).unwrap());
    assert_eq!(pool.metadata("/40").unwrap().id, id);
    assert_eq!(pool.open_or_create("/40").unwrap().id(), id);
    refused(pool.metadata("/41"), Errno::LOOP, "/41");
    refused(pool.open_or_create("/41"), Errno::LOOP, "/41");
    pool.symlink("itself/x", "/itself").unwrap();
    refused(pool.metadata("/itself"), Errno::LOOP, "/itself");
    refused(pool.create("/itself/x"), Errno::LOOP, "/itself/x");
}

#[test]
fn links_are_names_of_one_file() {
    let pool = pool();
    write(&pool, "/a");
    pool.link("/a", "/b").unwrap();
    assert_eq!((at(&pool, "/a"), at(&pool, "/a").links), (at(&pool, "/b"), 2));
    pool.unlink("/a").unwrap();
    assert_eq!((read(&pool, "/b"), at(&pool, "/b").links), (b"/a".to_vec(), 1));
    refused(pool.link("/a", "/c"), Errno::NOENT, "/a");
    refused(pool.link("/b", "/b"), Errno::EXIST, "/b");
    pool.create_dir("/d").unwrap();
    refused(pool.link("/d", "/e"), Errno::PERM, "/d");
    pool.symlink("b", "/s").unwrap();
    pool.link("/s", "/t").unwrap();
    assert_eq!((at(&pool, "/t").kind, at(&pool, "/b").links), (FileKind::Symlink, 1));
}

#[test]
fn f2_an_unlinked_file_keeps_its_bytes_until_its_last_handle_goes() {
    let pool = pool();
    let before = pool.stats();
    write(&pool, "/a");
    let file = pool.open("/a").unwrap();
    let other = file.clone();
    pool.unlink("/a").unwrap();
    refused(pool.open("/a"), Errno::NOENT, "/a");
    write(&pool, "/b");
    drop(file);
    let mut bytes = [0; 2];
    assert_eq!((other.read_at(0, &mut bytes).unwrap(), &bytes), (2, b"/a"));
    assert_eq!((other.metadata().links, pool.open_by_id(other.id()).is_some()), (0, true));
    let id = other.id();
    drop(other);
    assert!(pool.open_by_id(id).is_none());
    pool.unlink("/b").unwrap();
    assert_eq!(pool.stats(), before);
}

#[test]
fn unlink_takes_files_and_links_and_remove_dir_takes_directories() {
    let pool = pool();
    write(&pool, "/f");
    pool.create_dir("/d").unwrap();
    pool.symlink("d", "/s").unwrap();
    refused(pool.unlink("/d"), Errno::ISDIR, "/d");
    refused(pool.unlink("/missing"), Errno::NOENT, "/missing");
    refused(pool.unlink("/f/"), Errno::NOTDIR, "/f/");
    refused(pool.remove_dir("/f"), Errno::NOTDIR, "/f");
    refused(pool.remove_dir("/s"), Errno::NOTDIR, "/s");
    pool.unlink("/s").unwrap();
    assert_eq!(names(&pool, "/"), ["d", "f"], "the link went, not what it leads to");
}

#[test]
fn a_directory_with_entries_stays_and_so_does_the_root() {
    let pool = pool();
    pool.create_dir("/d").unwrap();
    write(&pool, "/d/f");
    refused(pool.remove_dir("/d"), Errno::NOTEMPTY, "/d");
    refused(pool.remove_dir("/d/.."), Errno::NOTEMPTY, "/d/..");
    refused(pool.remove_dir("/d/."), Errno::INVAL, "/d/.");
    refused(pool.remove_dir("/"), Errno::BUSY, "/");
    for dots in ["/", "/d/.", "/d/.."] {
        refused(pool.unlink(dots), Errno::ISDIR, dots);
        refused(pool.rename(dots, "/x", Rename::Replace), Errno::BUSY, dots);
        refused(pool.rename("/d", dots, Rename::Replace), Errno::BUSY, dots);
        refused(pool.rename("/d", dots, Rename::NoReplace), Errno::EXIST, dots);
        refused(pool.create_dir(dots), Errno::EXIST, dots);
    }
    pool.unlink("/d/f").unwrap();
    pool.remove_dir("/d").unwrap();
    assert_eq!((names(&pool, "/").len(), pool.stats().nodes), (0, 1));
}

#[test]
fn rename_replaces_what_has_the_name() {
    let pool = pool();
    write(&pool, "/a");
    write(&pool, "/b");
    let used = pool.stats().in_files;
    let replaced = at(&pool, "/b").id;
    pool.rename("/a", "/b", Rename::Replace).unwrap();
    assert_eq!((names(&pool, "/"), read(&pool, "/b")), (vec!["b".to_string()], b"/a".to_vec()));
    assert!(pool.open_by_id(replaced).is_none());
    assert_eq!(pool.stats().in_files, used / 2);
    pool.rename("/b", "/b", Rename::Replace).unwrap();
    refused(pool.rename("/a", "/b", Rename::Replace), Errno::NOENT, "/a");
}

#[test]
fn rename_without_replacing_leaves_both() {
    let pool = pool();
    write(&pool, "/a");
    write(&pool, "/b");
    refused(pool.rename("/a", "/b", Rename::NoReplace), Errno::EXIST, "/b");
    assert_eq!((read(&pool, "/a"), read(&pool, "/b")), (b"/a".to_vec(), b"/b".to_vec()));
    pool.rename("/a", "/c", Rename::NoReplace).unwrap();
    assert_eq!((names(&pool, "/"), read(&pool, "/c")), (vec!["b".into(), "c".into()], b"/a".to_vec()));
}

#[test]
fn rename_of_one_name_onto_another_of_the_same_file_does_nothing() {
    let pool = pool();
    write(&pool, "/a");
    pool.link("/a", "/b").unwrap();
    pool.rename("/a", "/b", Rename::Replace).unwrap();
    assert_eq!((names(&pool, "/"), at(&pool, "/a").links), (vec!["a".into(), "b".into()], 2));
}

#[test]
fn directories_replace_empty_directories_alone() {
    let pool = pool();
    create_dirs(&pool, &["/d", "/full", "/full/x", "/empty"]);
    write(&pool, "/f");
    refused(pool.rename("/f", "/d", Rename::Replace), Errno::ISDIR, "/d");
    refused(pool.rename("/d", "/f", Rename::Replace), Errno::NOTDIR, "/f");
    refused(pool.rename("/d", "/full", Rename::Replace), Errno::NOTEMPTY, "/full");
    refused(pool.rename("/f", "/new/", Rename::Replace), Errno::NOTDIR, "/new/");
    pool.rename("/full", "/empty/", Rename::Replace).unwrap();
    assert_eq!(
        (names(&pool, "/"), names(&pool, "/empty")),
        (vec!["d".into(), "empty".into(), "f".into()], vec!["x".to_string()])
    );
}

#[test]
fn no_directory_comes_to_lie_in_itself() {
    let pool = pool();
    create_dirs(&pool, &["/a", "/a/b", "/a/b/c"]);
    for to in ["/a/x", "/a/b/x", "/a/b/c/x", "/a/b/c"] {
        for how in [Rename::Replace, Rename::Exchange] {
            let missing = how == Rename::Exchange && to.ends_with('x');
            let errno = if missing { Errno::NOENT } else { Errno::INVAL };
            refused(pool.rename("/a", to, how), errno, if missing { to } else { "/a" });
        }
    }
    refused(pool.rename("/a/b/c", "/a", Rename::Replace), Errno::NOTEMPTY, "/a");
    refused(pool.rename("/a/b/c", "/a", Rename::Exchange), Errno::INVAL, "/a");
    assert_eq!(names(&pool, "/a/b/c").len(), 0, "all is where it was");
}

#[test]
fn exchange_swaps_two_names_of_any_kind() {
    let pool = pool();
    create_dirs(&pool, &["/d", "/d/sub", "/e"]);
    write(&pool, "/e/f");
    let (sub, f) = (at(&pool, "/d/sub").id, at(&pool, "/e/f").id);
    pool.rename("/d/sub", "/e/f", Rename::Exchange).unwrap();
    assert_eq!((at(&pool, "/d/sub").id, at(&pool, "/e/f").id), (f, sub));
    assert_eq!((at(&pool, "/d").links, at(&pool, "/e").links), (2, 3));
    assert_eq!(at(&pool, "/e/f/..").id, at(&pool, "/e").id);
    pool.rename("/d", "/e/f", Rename::Exchange).unwrap();
    assert_eq!((at(&pool, "/d").id, at(&pool, "/e/f/sub").id), (sub, f));
    assert_eq!((at(&pool, "/d/..").id, at(&pool, "/e/f/..").id), (at(&pool, "/").id, at(&pool, "/e").id));
    refused(pool.rename("/d", "/missing", Rename::Exchange), Errno::NOENT, "/missing");
}

#[test]
fn a_directory_counts_the_directories_in_it() {
    let pool = pool();
    create_dirs(&pool, &["/a", "/a/b", "/a/c", "/d"]);
    write(&pool, "/a/f");
    assert_eq!(["/", "/a", "/d"].map(|dir| at(&pool, dir).links), [4, 4, 2]);
    pool.rename("/a/b", "/d/b", Rename::Replace).unwrap();
    pool.remove_dir("/a/c").unwrap();
    assert_eq!(["/", "/a", "/d"].map(|dir| at(&pool, dir).links), [4, 2, 3]);
    pool.create_dir("/a/c").unwrap();
    pool.rename("/a/c", "/d/b", Rename::Replace).unwrap();
    assert_eq!(["/", "/a", "/d"].map(|dir| at(&pool, dir).links), [4, 2, 3]);
    assert_eq!(at(&pool, "/d/b/..").id, at(&pool, "/d").id);
}

#[test]
fn read_dir_lists_names_in_order_with_what_they_lead_to() {
    let pool = pool();
    pool.create_dir("/d").unwrap();
    ["b", "a", "B", "ab"].iter().for_each(|name| write(&pool, &format!("/d/{name}")));
    pool.create_dir("/d/c").unwrap();
    pool.symlink("/d", "/d/s").unwrap();
    assert_eq!(names(&pool, "/d"), ["B", "a", "ab", "b", "c", "s"]);
    for entry in pool.read_dir("/d/s").unwrap() {
        let there = pool.symlink_metadata(std::path::Path::new("/d").join(&entry.name)).unwrap();
        assert_eq!((there.id, there.kind), (entry.id, entry.kind));
    }
    refused(pool.read_dir("/d/a"), Errno::NOTDIR, "/d/a");
    refused(pool.read_dir("/missing"), Errno::NOENT, "/missing");
}

#[test]
fn a_file_is_found_by_its_id_under_any_name() {
    let pool = pool();
    let id = pool.create("/a").unwrap().id();
    pool.rename("/a", "/b", Rename::Replace).unwrap();
    let file = pool.open_by_id(id).unwrap();
    pool.unlink("/b").unwrap();
    assert_eq!(pool.open_by_id(id).unwrap().id(), file.id());
    drop(file);
    assert!(pool.open_by_id(id).is_none());
}

#[test]
fn g7_a_byte_is_attributed_to_the_name_that_its_file_has_now() {
    let pool = pool();
    create_dirs(&pool, &["/d", "/e"]);
    write(&pool, "/d/a");
    write(&pool, "/d/b");
    let file = pool.open("/d/a").unwrap();
    let place = file.extents()[0].place;
    let path = || match pool.what_is_at(place) {
        Place::File { path, .. } => path.map(|path| path.to_str().unwrap().to_string()),
        other => panic!("{other:?}"),
    };
    let known_as = |expected: Option<&str>| assert_eq!(path().as_deref(), expected);
    known_as(Some("/d/a"));
    pool.rename("/d/a", "/e/a", Rename::Replace).unwrap();
    known_as(Some("/e/a"));
    pool.rename("/e/a", "/d/b", Rename::Exchange).unwrap();
    known_as(Some("/d/b"));
    pool.rename("/d", "/e/d", Rename::Replace).unwrap();
    known_as(Some("/e/d/b"));
    pool.link("/e/d/b", "/l").unwrap();
    known_as(Some("/l"));
    pool.unlink("/e/d/b").unwrap();
    known_as(Some("/l"));
    write(&pool, "/new");
    pool.rename("/new", "/l", Rename::Replace).unwrap();
    known_as(None);
}

#[test]
fn a_directory_is_modified_when_its_names_are() {
    let pool = pool();
    create_dirs(&pool, &["/d", "/e"]);
    write(&pool, "/d/f");
    let modified = |path: &str| at(&pool, path).modified;
    let written = modified("/d/f");
    let changes: [Change; 6] = [
        |pool| pool.rename("/d/f", "/e/f", Rename::Replace),
        |pool| pool.rename("/e/f", "/d/f", Rename::Replace),
        |pool| pool.link("/d/f", "/d/g"),
        |pool| pool.unlink("/d/g"),
        |pool| pool.create_dir("/d/g"),
        |pool| pool.remove_dir("/d/g"),
    ];
    for (index, change) in changes.iter().enumerate() {
        let before = modified("/d");
        tick(&pool, before);
        change(&pool).unwrap();
        assert!(modified("/d") > before, "change {index}");
    }
    assert_eq!(modified("/d/f"), written, "the file's bytes are as they were");
}

/// Linux holds the io lock of the file and the lock of its directory while a truncate waits; all others queue up behind.
#[test]
fn g5_unlike_linux_names_come_and_go_while_the_layout_of_their_file_is_being_broken() {
    let pool = pool();
    let file = pool.create("/f").unwrap();
    file.write_at(0, &[1; 8192]).unwrap();
    write(&pool, "/other");
    thread::scope(|scope| {
        // By another thread: a wait for a pin of one's own is refused.
        let pinned = scope.spawn(|| file.pin(0..8192, Access::Write).wait().unwrap()).join().unwrap();
        let truncate = scope.spawn(|| file.truncate(0).wait());
        while pool.breaks().is_empty() {
            thread::yield_now();
        }
        pool.rename("/f", "/g", Rename::Replace).unwrap();
        pool.link("/g", "/h").unwrap();
        pool.unlink("/h").unwrap();
        pool.rename("/other", "/g", Rename::Replace).unwrap();
        assert!(!truncate.is_finished());
        drop(pinned);
        truncate.join().unwrap().unwrap();
    });
    assert_eq!(read(&pool, "/g"), b"/other");
}

#[test]
fn what_is_published_replaces_what_has_the_name_or_is_refused() {
    let pool = pool();
    write(&pool, "/a");
    pool.create_dir("/d").unwrap();
    let replaced = at(&pool, "/a").id;
    let published = pool.reserve(4096).wait().unwrap().publish("/a", Publish::Replace).unwrap();
    assert_eq!((published.id(), published.metadata().links), (at(&pool, "/a").id, 1));
    assert!(pool.open_by_id(replaced).is_none());
    let before = pool.stats();
    for (path, how) in
        [("/a", Publish::New), ("/d", Publish::Replace), ("/d/", Publish::Replace), ("/x/y", Publish::New)]
    {
        assert!(pool.reserve(4096).wait().unwrap().publish(path, how).is_err(), "{path}");
    }
    assert_eq!((pool.stats(), names(&pool, "/")), (before, vec!["a".into(), "d".into()]));
}

#[test]
fn a_tree_may_be_deeper_than_any_path_and_any_stack() {
    let pool = pool();
    pool.create_dir("/deep").unwrap();
    for _ in 0..100_000 {
        pool.create_dir("/above").unwrap();
        pool.rename("/deep", "/above/deep", Rename::Replace).unwrap();
        pool.rename("/above", "/deep", Rename::Replace).unwrap();
    }
    assert_eq!(pool.stats().nodes, 100_002);
    drop(pool);
}
