//! Every request, by the process that owns the pool and through its socket: one suite for both.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use common::{BOTH, Lab, MIB, Way, bytes_of, change, change_with, filled};
use pinfold::{Access, FileKind, Pool, Rename};
use pinfold_control::{Answer, FileChange, Policy, Request, Waiting, reach};
use rustix::io::Errno;

fn kind_of(lab: &mut Lab, path: &str) -> Option<FileKind> {
    match lab.reached.ask(&Request::Metadata { path: path.into(), follow: false }) {
        Ok(Answer::Metadata(known)) => Some(known.kind),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => {
            assert_eq!(refusal.errno, Errno::NOENT.raw_os_error());
            None
        }
    }
}

#[test]
fn names_are_made_changed_and_removed() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        lab.does(Request::CreateDir { path: "/dir".into() });
        lab.refuses(Request::CreateDir { path: "/dir".into() }, Errno::EXIST);
        filled(&lab.pool, "/dir/file", 10, 1);
        lab.does(Request::Link { existing: "/dir/file".into(), new: "/second".into() });
        lab.does(Request::Symlink { target: "../somewhere".into(), new: "/dir/link".into() });
        assert_eq!(kind_of(&mut lab, "/dir/link"), Some(FileKind::Symlink));
        lab.refuses(Request::Metadata { path: "/dir/link".into(), follow: true }, Errno::NOENT);
        assert_eq!(lab.pool.read_link("/dir/link").unwrap(), PathBuf::from("../somewhere"));
        let Answer::Entries(entries) = lab.answers(Request::ReadDir { path: "/dir".into() }) else { panic!() };
        let entries: Vec<_> = entries.iter().map(|entry| (entry.name.to_str().unwrap(), entry.kind)).collect();
        assert_eq!(entries, [("file", FileKind::File), ("link", FileKind::Symlink)]);
        let Answer::Metadata(known) = lab.answers(Request::Metadata { path: "/second".into(), follow: true }) else {
            panic!()
        };
        assert_eq!((known.kind, known.len, known.allocated, known.links), (FileKind::File, 10, 4096, 2));
        lab.refuses(Request::RemoveDir { path: "/dir".into() }, Errno::NOTEMPTY);
        lab.refuses(Request::Unlink { path: "/dir".into() }, Errno::ISDIR);
        lab.does(Request::Unlink { path: "/dir/link".into() });
        lab.does(Request::Unlink { path: "/dir/file".into() });
        lab.does(Request::RemoveDir { path: "/dir".into() });
        assert_eq!(kind_of(&mut lab, "/dir"), None);
        assert_eq!(bytes_of(&lab.pool.open("/second").unwrap()), [1; 10]);
    }
}

#[test]
fn a_rename_replaces_or_does_not_or_exchanges() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let rename = |from: &str, to: &str, how| Request::Rename { from: from.into(), to: to.into(), how };
        filled(&lab.pool, "/a", 1, 1);
        filled(&lab.pool, "/b", 2, 2);
        lab.refuses(rename("/a", "/b", Rename::NoReplace), Errno::EXIST);
        lab.does(rename("/a", "/b", Rename::Exchange));
        assert_eq!(lab.pool.open("/a").unwrap().len(), 2);
        lab.does(rename("/a", "/b", Rename::Replace));
        assert_eq!(lab.pool.open("/b").unwrap().len(), 2);
        lab.refuses(rename("/a", "/c", Rename::Replace), Errno::NOENT);
        lab.does(rename("/b", "/c", Rename::NoReplace));
        assert_eq!(kind_of(&mut lab, "/c"), Some(FileKind::File));
    }
}

#[test]
fn a_name_is_any_bytes_and_comes_back_as_it_was() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        let (first, second) = name.split_at(127);
        for name in [first, second, b"100%", b"%41"] {
            lab.does(Request::CreateDir { path: OsStr::from_bytes(name).into() });
        }
        let Answer::Entries(entries) = lab.answers(Request::ReadDir { path: "/".into() }) else { panic!() };
        let entries: Vec<_> = entries.iter().map(|entry| entry.name.as_bytes()).collect();
        assert_eq!(entries, [first, &b"%41"[..], b"100%", second]);
        let refusal = lab.refuses(Request::Unlink { path: OsStr::from_bytes(second).into() }, Errno::ISDIR);
        assert_eq!(refusal.message.lines().count(), 1);
        lab.refuses(Request::Unlink { path: "a\0b".into() }, Errno::INVAL);
        lab.refuses(Request::Unlink { path: "".into() }, Errno::NOENT);
        lab.refuses(Request::Unlink { path: "x".repeat(5000).into() }, Errno::NAMETOOLONG);
    }
}

#[test]
fn a_directory_of_many_names_is_listed_whole() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        for number in 0..1000 {
            lab.pool.create(format!("/{number:04}")).unwrap();
        }
        let Answer::Entries(entries) = lab.answers(Request::ReadDir { path: "/".into() }) else { panic!() };
        let names = entries.iter().map(|entry| entry.name.to_str().unwrap().to_owned());
        assert!(names.eq((0..1000).map(|number| format!("{number:04}"))));
    }
}

#[test]
fn every_change_of_a_layout_is_made() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let file = filled(&lab.pool, "/file", 4 * 4096, 7);
        lab.does(change("/file", FileChange::Punch { range: 0..4096 }));
        assert_eq!(file.metadata().allocated, 3 * 4096);
        lab.does(change("/file", FileChange::Zero { range: 4096..8192, keep_size: false }));
        assert_eq!((file.len(), file.metadata().allocated), (4 * 4096, 3 * 4096));
        lab.does(change("/file", FileChange::Collapse { range: 0..4096 }));
        assert_eq!(file.len(), 3 * 4096);
        lab.does(change("/file", FileChange::Insert { at: 4096, len: 8192 }));
        let expected = [[0; 4096], [0; 4096], [0; 4096], [7; 4096], [7; 4096]].concat();
        assert_eq!(bytes_of(&file), expected);
        lab.does(change("/file", FileChange::Allocate { range: 0..6 * 4096, keep_size: true }));
        assert_eq!((file.len(), file.metadata().allocated), (5 * 4096, 6 * 4096));
        lab.does(change("/file", FileChange::Zero { range: 5 * 4096..7 * 4096, keep_size: true }));
        lab.does(change("/file", FileChange::Allocate { range: 0..7 * 4096, keep_size: false }));
        assert_eq!(file.len(), 7 * 4096);
        lab.does(change("/file", FileChange::Truncate { len: 5000 }));
        assert_eq!(bytes_of(&file), [0; 5000]);
        let refusal = lab.refuses(change("/file", FileChange::Collapse { range: 1..2 }), Errno::INVAL);
        assert!(refusal.message.starts_with("/file: "), "{refusal}");
        lab.refuses(change("/file", FileChange::Truncate { len: u64::MAX }), Errno::FBIG);
        let backwards = std::ops::Range { start: u64::MAX, end: 0 };
        lab.refuses(change("/file", FileChange::Punch { range: backwards }), Errno::INVAL);
        lab.refuses(change("/file", FileChange::Insert { at: u64::MAX, len: u64::MAX }), Errno::INVAL);
        lab.refuses(change("/file", FileChange::Allocate { range: 0..1 << 40, keep_size: false }), Errno::NOSPC);
        lab.refuses(change("/none", FileChange::Truncate { len: 0 }), Errno::NOENT);
        lab.refuses(change("/", FileChange::Truncate { len: 0 }), Errno::ISDIR);
    }
}

#[test]
fn a_file_is_made_where_that_is_asked_for() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let waiting = Waiting::default();
        let change = FileChange::Truncate { len: 5000 };
        lab.does(Request::Change { path: "/new".into(), create: true, change, waiting });
        assert_eq!(lab.pool.open("/new").unwrap().len(), 5000);
    }
}

#[test]
fn g6_what_is_in_the_way_is_seen_left_or_waited_for_until_a_deadline() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let file = filled(&lab.pool, "/file", 8 * 4096, 7);
        let pinned = file.pin(0..4096, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
        let truncate = FileChange::Truncate { len: 0 };
        let collapse = FileChange::Collapse { range: 0..4096 };
        let before = (bytes_of(&file), file.extents());
        for policy in [Policy::Try, Policy::Wait] {
            for change in [truncate.clone(), collapse.clone()] {
                let errno = if policy == Policy::Try { Errno::BUSY } else { Errno::TIMEDOUT };
                let refusal = lab.refuses(change_with("/file", change, policy, Some(1)), errno);
                let named_once = refusal.message.matches("/file").count() == 1;
                assert!(refusal.message.contains("nic 0") && named_once, "{refusal}");
            }
        }
        assert_eq!((bytes_of(&file), file.extents()), before);
        assert_eq!(lab.pool.breaks(), []);
        lab.refuses(change_with("/file", collapse, Policy::Detach, None), Errno::OPNOTSUPP);
        lab.does(change_with("/file", truncate, Policy::Detach, None));
        assert_eq!((file.len(), lab.pool.stats().parked), (0, 4096));
        drop(pinned);
        assert_eq!(lab.pool.stats().parked, 0);
    }
}

#[test]
fn g6_space_that_a_pin_keeps_is_waited_for_until_a_deadline() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let file = lab.pool.create("/file").unwrap();
        let all = lab.pool.stats().free / 2;
        file.allocate(0..all).try_now().unwrap();
        let pinned = file.pin(0..all, Access::Write).wait().unwrap();
        file.truncate(0).detach().wait().unwrap();
        let allocate = FileChange::Allocate { range: 0..all + 4 * MIB, keep_size: false };
        let refusal = lab.refuses(change_with("/file", allocate.clone(), Policy::Wait, Some(1)), Errno::TIMEDOUT);
        assert!(refusal.message.contains("kept by pins"), "{refusal}");
        lab.refuses(change_with("/file", allocate.clone(), Policy::Try, None), Errno::NOSPC);
        assert_eq!((file.len(), file.metadata().allocated), (0, 0));
        drop(pinned);
        lab.does(change_with("/file", allocate, Policy::Wait, Some(60_000)));
        assert_eq!(file.len(), all + 4 * MIB);
    }
}

#[test]
fn who_holds_what_and_waits_for_whom_is_listed() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let file = filled(&lab.pool, "/file", 8 * 4096, 7);
        let pinned = file.pin(4096..12288, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
        let Answer::Pins(pins) = lab.answers(Request::Pins) else { panic!() };
        let [pin] = &pins[..] else { panic!("{pins:?}") };
        assert_eq!((pin.path.as_deref(), &pin.bytes), (Some(std::path::Path::new("/file")), &(4096..12288)));
        assert_eq!((pin.pid, pin.file, &*pin.engine), (std::process::id(), file.id().number(), "nic 0"));
        assert_eq!((pin.quarantine, pin.device), (None, true));
        assert_eq!(lab.answers(Request::Quarantine), Answer::Pins(vec![]));
        assert_eq!(lab.answers(Request::Breaks), Answer::Breaks(vec![]));

        let waits = std::thread::spawn({
            let file = file.clone();
            move || file.truncate(0).wait()
        });
        common::wait_until_behind(&lab.pool);
        let Answer::Breaks(breaks) = lab.answers(Request::Breaks) else { panic!() };
        let [running] = &breaks[..] else { panic!("{breaks:?}") };
        assert_eq!(running.ranges[0].path.as_deref(), Some(std::path::Path::new("/file")));
        assert_eq!(running.ranges[0].bytes, 0..u64::MAX);
        assert_eq!(running.behind.as_ref().map(|pin| pin.id), Some(pin.id));
        file.punch(4096..8192).detach().wait().unwrap();
        let Answer::Parked(parked) = lab.answers(Request::Parked) else { panic!() };
        let [parked] = &parked[..] else { panic!("{parked:?}") };
        assert_eq!((&parked.bytes, parked.pins_in_all, parked.pins[0].id), (&(4096..8192), 1, pin.id));
        let Answer::Stats(stats) = lab.answers(Request::Stats) else { panic!() };
        assert_eq!((stats.parked, stats.pins, stats.owner), (4096, 1, std::process::id()));
        assert_eq!(stats.total, lab.pool.stats().total);
        assert!(stats.log > stats.log_used && stats.log_used > 0);
        drop(pinned);
        waits.join().unwrap().unwrap();
    }
}

#[test]
fn the_pool_grows_syncs_and_takes_checkpoints() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        filled(&lab.pool, "/file", 4096, 7);
        assert_eq!(lab.answers(Request::Grow { len: 64 * MIB }), Answer::Grown { len: 64 * MIB });
        assert_eq!(lab.pool.stats().total, 64 * MIB);
        lab.refuses(Request::Grow { len: 16 * MIB }, Errno::INVAL);
        lab.does(Request::Sync { path: Some("/file".into()) });
        lab.refuses(Request::Sync { path: Some("/none".into()) }, Errno::NOENT);
        lab.does(Request::Sync { path: None });
        assert!(lab.pool.log_use().0 > 0);
        lab.does(Request::Checkpoint);
        assert_eq!(lab.pool.log_use().0, 0);
    }
}

#[test]
fn a_pool_without_an_owner_is_opened_and_what_was_done_lasts() {
    let lab = Lab::new(Way::Ours);
    let (path, dir) = (lab.path.clone(), lab.dir);
    drop((lab.reached, lab.pool));
    let mut reached = reach(&path).unwrap();
    assert_eq!(reached.ask(&Request::CreateDir { path: "/dir".into() }), Ok(Answer::Done));
    reached.leave().unwrap();
    let pool = Pool::load(&path).unwrap();
    assert_eq!(pool.metadata("/dir").unwrap().kind, FileKind::Directory);
    // And now it has one, whom nobody can ask.
    let refused = reach(&path).unwrap_err();
    assert_eq!(refused.errno(), Errno::BUSY.raw_os_error());
    assert!(refused.to_string().contains(&format!("is owned by process {}", std::process::id())), "{refused}");
    assert!(refused.to_string().contains("no owner serves here"), "{refused}");
    drop(dir);
}
