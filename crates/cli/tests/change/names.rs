//! `rm`, `mv`, `ln`, `mkdir`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pinfold::FileKind;

use crate::common::{pinfold, run};
use crate::pools::{BOTH, PoolFile};

#[test]
fn files_are_removed_and_directories_only_when_asked_for() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| {
            pool.create_dir("/dir").unwrap();
            pool.create_dir("/dir/below").unwrap();
            pool.create("/dir/below/file").unwrap();
            pool.symlink("..", "/dir/link").unwrap();
            ["/a", "/b", "/dir/file"].iter().for_each(|path| drop(pool.create(path).unwrap()));
        });
        pool.does("rm", &["/a"]);
        pool.refuses("rm", &["/a"], "/a: no such file");
        pool.does("rm", &["-f", "/a"]);
        pool.refuses("rm", &["/dir"], "/dir: is a directory: -r removes it");
        // What can be removed is, and the rest is named.
        pool.refuses("rm", &["/none", "/b"], "/none");
        assert_eq!(pool.names("/"), ["dir"]);
        for fixed in ["/", ".", "/dir/..", "/dir/."] {
            pool.refuses("rm", &["-rf", fixed], "cannot be removed");
        }
        assert_eq!(pool.names("/dir"), ["below", "file", "link"]);
        pool.does("rm", &["-r", "/dir"]);
        assert_eq!(pool.names("/"), [""; 0]);
        pool.does("rm", &["-r", "-f", "/dir"]);
    }
}

#[test]
fn several_are_moved_into_a_directory_and_only_there() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| {
            pool.create_dir("/dir").unwrap();
            ["/a", "/b", "/c"].iter().for_each(|path| drop(pool.create(path).unwrap()));
        });
        pool.refuses("mv", &["/a", "/b", "/c"], "/c: is no directory; several files need one");
        pool.refuses("mv", &["/a", "/b", "/none"], "/none: is no directory; several files need one");
        pool.refuses("mv", &["--exchange", "/a", "/b", "/dir"], "several files need one");
        assert_eq!((pool.names("/"), pool.names("/dir").len()), (["a", "b", "c", "dir"].map(str::to_owned).into(), 0));
        // What can be moved is, and the rest is named.
        pool.refuses("mv", &["/a", "/none", "/b", "/dir"], "/none: no such file");
        assert_eq!((pool.names("/").join(" "), pool.names("/dir").join(" ")), ("c dir".into(), "a b".into()));
    }
}

#[test]
fn a_link_takes_a_name_only_if_asked_for_and_in_one_step() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| {
            pool.create_dir("/dir").unwrap();
            pool.create("/file").unwrap().write_at(0, b"file").unwrap();
            pool.create("/other").unwrap();
            pool.symlink("nowhere", "/link").unwrap();
        });
        pool.refuses("ln", &["/file", "/other"], "/other: exists already");
        pool.does("ln", &["-f", "/file", "/other"]);
        assert_eq!(pool.len("/other"), 4);
        // Two names of one file already: nothing is to be done, and nothing is left.
        pool.does("ln", &["-f", "/file", "/other"]);
        pool.refuses("ln", &["-s", "file", "/link"], "/link: exists already");
        pool.does("ln", &["-sf", "file", "/link"]);
        assert_eq!(pool.now().read_link("/link").unwrap().to_str(), Some("file"));
        pool.does("ln", &["-sf", "../file", "/dir"]);
        pool.does("ln", &["-f", "/file", "/new"]);
        pool.refuses("ln", &["-f", "/none", "/other"], "/none: no such file");
        assert_eq!(
            (pool.names("/").join(" "), pool.names("/dir").join(" ")),
            ("dir file link new other".into(), "file".into())
        );
    }
}

#[test]
fn a_large_tree_is_removed_and_nothing_that_its_links_lead_to() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| {
            pool.create_dir("/kept").unwrap();
            pool.create("/kept/file").unwrap();
            let mut path = "/tree".to_owned();
            pool.create_dir(&path).unwrap();
            for _ in 0..40 {
                path.push_str("/deeper");
                pool.create_dir(&path).unwrap();
                pool.symlink("/kept", format!("{path}/link")).unwrap();
            }
            for number in 0..600 {
                pool.create(format!("/tree/{number}")).unwrap();
            }
        });
        pool.does("rm", &["-r", "/tree"]);
        assert_eq!((pool.names("/"), pool.names("/kept")), (vec!["kept".to_owned()], vec!["file".to_owned()]));
    }
}

#[test]
fn names_are_renamed_replaced_kept_or_exchanged() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| {
            pool.create_dir("/dir").unwrap();
            for (path, len) in [("/a", 1), ("/b", 2), ("/c", 3)] {
                pool.create(path).unwrap().truncate(len).wait().unwrap();
            }
        });
        pool.refuses("mv", &["-n", "/a", "/b"], "/b: exists already");
        pool.does("mv", &["--exchange", "/a", "/b"]);
        assert_eq!((pool.len("/a"), pool.len("/b")), (2, 1));
        pool.does("mv", &["/a", "/b"]);
        assert_eq!(pool.len("/b"), 2);
        pool.does("mv", &["-f", "/b", "/c"]);
        pool.does("mv", &["/c", "/dir"]);
        assert_eq!((pool.names("/"), pool.names("/dir")), (vec!["dir".to_owned()], vec!["c".to_owned()]));
        pool.refuses("mv", &["/dir", "/dir"], "/dir");
        pool.does("mv", &["-n", "/dir/c", "/d"]);
        pool.does("mv", &["--exchange", "/d", "/dir"]);
        assert_eq!((pool.kind("/d"), pool.kind("/dir")), (Some(FileKind::Directory), Some(FileKind::File)));
        pool.refuses("mv", &["/none", "/d"], "no such file");
    }
}

#[test]
fn links_are_made() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| {
            pool.create_dir("/dir").unwrap();
            pool.create("/file").unwrap();
        });
        pool.does("ln", &["/file", "/second"]);
        pool.does("ln", &["/file", "/dir"]);
        assert_eq!(pool.now().metadata("/dir/file").unwrap().links, 3);
        pool.does("ln", &["-s", "../file", "/dir/link"]);
        assert_eq!(pool.now().read_link("/dir/link").unwrap().to_str(), Some("../file"));
        pool.refuses("ln", &["/file", "/second"], "/second: exists already");
        pool.refuses("ln", &["/dir", "/again"], "/dir");
        assert_eq!(pool.kind("/again"), None);
    }
}

#[test]
fn directories_are_made_with_those_above_if_asked_for() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| drop(pool.create("/file").unwrap()));
        pool.does("mkdir", &["/a", "/b"]);
        pool.refuses("mkdir", &["/a"], "/a: exists already");
        pool.refuses("mkdir", &["/c/d"], "no such file");
        pool.does("mkdir", &["-p", "/c/d/../e", "a", "/c/d"]);
        assert_eq!(pool.names("/c"), ["d", "e"]);
        pool.refuses("mkdir", &["-p", "/file"], "/file: exists already");
        pool.refuses("mkdir", &["-p", "/file/below"], "/file");
    }
}

#[test]
fn a_name_is_any_bytes() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |_| ());
        let name = OsStr::from_bytes(b"/\xff%41\n");
        run(pinfold().arg("mkdir").arg(&pool.path).arg(name)).expect(0);
        assert_eq!(pool.now().read_dir("/").unwrap()[0].name, OsStr::from_bytes(b"\xff%41\n"));
        run(pinfold().arg("mkdir").arg(&pool.path).arg(name)).expect(3).expect_one_line_about("exists already");
        run(pinfold().args(["rm", "-r"]).arg(&pool.path).arg(name)).expect(0);
        assert_eq!(pool.names("/"), [""; 0]);
    }
}
