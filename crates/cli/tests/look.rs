//! What only looks: ls, tree, stat, cat, map, on pools of all kinds, and on what is no pool.

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use common::{Lab, noise, pinfold, run, run_for_bytes};
use pinfold::{Pool, Publish, SetAttributes, Special};
use serde_json::Value;

/// Commands that only look at a pool, each with arguments that are good.
const LOOKS: [(&str, &[&str]); 9] = [
    ("info", &[]),
    ("df", &[]),
    ("ls", &[]),
    ("tree", &[]),
    ("stat", &["/"]),
    ("cat", &["/a"]),
    ("map", &["/a"]),
    ("who", &[]),
    ("quarantine", &[]),
];

/// A pool with some of everything.
fn filled(lab: Lab) -> Lab {
    let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
    pool.create("/a").expect("a file").write_at(0, b"first\n").expect("bytes");
    pool.create_dir("/dir").expect("a directory");
    pool.create_dir("/dir/below").expect("a directory");
    pool.create("/dir/b").expect("a file").write_at(0, b"second\n").expect("bytes");
    pool.symlink("dir/b", "/link").expect("a link");
    pool.symlink("nowhere", "/dangling").expect("a link");
    pool.link("/a", "/dir/also a").expect("a second name");
    pool.close().expect("it closes");
    lab
}

fn names(document: &Value) -> Vec<&str> {
    document["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn names_are_listed_in_order_one_a_line() {
    for lab in Lab::each() {
        let lab = filled(lab);
        assert_eq!(lab.run("ls", [] as [&str; 0]).expect(0).stdout, "a\ndangling\ndir\nlink\n");
        assert_eq!(lab.run("ls", ["/dir"]).expect(0).stdout, "also a\nb\nbelow\n");
        assert_eq!(lab.run("ls", ["dir/"]).expect(0).stdout, "also a\nb\nbelow\n", "with a slash or without");
        assert_eq!(lab.run("ls", ["/a", "/link", "/dangling"]).expect(0).stdout, "/a\n/link\n/dangling\n");
        assert_eq!(lab.run("ls", ["/a", "/dir"]).expect(0).stdout, "/a\n\n/dir:\nalso a\nb\nbelow\n");
        assert_eq!(
            lab.run("ls", ["-R"]).expect(0).stdout,
            "/:\na\ndangling\ndir\nlink\n\n/dir:\nalso a\nb\nbelow\n\n/dir/below:\n"
        );
        assert_eq!(lab.run("ls", ["-0", "/dir"]).expect(0).stdout, "also a\0b\0below\0");
    }
}

#[test]
fn a_long_list_says_kind_names_size_and_time() {
    let lab = filled(Lab::in_memory());
    let list = lab.run("ls", ["-l"]).expect(0).stdout;
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    assert_eq!((lines[0][0], lines[0][1], lines[0][2], lines[0][5]), ("-", "2", "6", "a"), "{list}");
    assert_eq!((lines[2][0], lines[2][1], lines[2][5]), ("d", "3", "dir"), "{list}");
    assert_eq!((lines[3][0], &lines[3][5..]), ("l", &["link", "->", "dir/b"][..]), "{list}");
    let utc = lab.command("ls", ["-l"]).env("TZ", "UTC").output().expect("it runs");
    let there = lab.command("ls", ["-l"]).env("TZ", "XXX-5").output().expect("it runs");
    assert_ne!(utc.stdout, there.stdout, "times are local");
    let human = lab.run("ls", ["-lh", "/dir"]).expect(0).stdout;
    assert!(human.contains("  7  ") && human.lines().count() == 3, "{human}");
}

#[test]
fn json_says_all_that_is_known() {
    let lab = filled(Lab::in_memory());
    let document = lab.run("ls", ["-R", "--json"]).expect(0).json();
    assert_eq!(names(&document), ["a", "dangling", "dir", "link", "also a", "b", "below"]);
    let entries = document["entries"].as_array().expect("entries");
    assert_eq!(
        (&entries[0]["kind"], &entries[0]["size"], &entries[0]["links"]),
        (&"file".into(), &6.into(), &2.into())
    );
    assert_eq!(entries[0]["id"], entries[4]["id"], "one file with two names");
    assert_eq!(entries[4]["path"], "/dir/also a");
    assert_eq!((&entries[3]["kind"], &entries[3]["target"]), (&"symlink".into(), &"dir/b".into()));
    let modified = entries[0]["modified"].as_str().expect("a time");
    assert!(modified.starts_with("20") && modified.ends_with('Z'), "{modified}");

    let stat = lab.run("stat", ["/a", "/link", "--json"]).expect(0).json();
    assert_eq!((&stat["entries"][0]["allocated"], &stat["entries"][0]["extents"]), (&4096.into(), &1.into()));
    assert_eq!(stat["entries"][1]["kind"], "symlink");
    let followed = lab.run("stat", ["-L", "/link", "--json"]).expect(0).json();
    assert_eq!((&followed["entries"][0]["kind"], &followed["entries"][0]["size"]), (&"file".into(), &7.into()));
}

#[test]
fn a_tree_is_drawn_and_counted() {
    let lab = filled(Lab::in_memory());
    let drawn = lab.run("tree", [] as [&str; 0]).expect(0).stdout;
    let expected = "/\n├── a\n├── dangling -> nowhere\n├── dir\n│   ├── also a\n│   ├── b\n│   └── below\n└── link -> dir/b\n\n\
                    2 directories, 3 files, 2 links\n";
    assert_eq!(drawn, expected);
    assert_eq!(
        lab.run("tree", ["dir", "-L", "1"]).expect(0).stdout,
        "dir\n├── also a\n├── b\n└── below\n\n1 directory, 2 files\n"
    );
    let document = lab.run("tree", ["--json"]).expect(0).json();
    assert_eq!(names(&document["tree"]), ["a", "dangling", "dir", "link"]);
    assert_eq!(names(&document["tree"]["entries"][2]), ["also a", "b", "below"]);
    assert_eq!(document["tree"]["entries"][2]["entries"][2]["entries"], Value::Array(vec![]));
    let flat = lab.run("tree", ["--json", "-L1"]).expect(0).json();
    assert_eq!(flat["tree"]["entries"][2]["entries"], Value::Null);
}

#[test]
fn files_are_written_out_one_after_the_other() {
    let lab = filled(Lab::in_memory());
    assert_eq!(lab.run("cat", ["/a", "/link", "a"]).expect(0).stdout, "first\nsecond\nfirst\n");
    let partly = lab.run("cat", ["/a", "/nope", "/dir", "/link"]).expect(3);
    assert_eq!(partly.stdout, "first\nsecond\n");
    let said = "pinfold: pool: /nope: no such file or directory\npinfold: pool: /dir: is a directory\n";
    assert_eq!(partly.stderr, said);
}

#[test]
fn a_large_file_comes_out_as_it_went_in_and_a_reader_that_goes_away_is_no_failure() {
    let lab = Lab::in_memory();
    let bytes = noise(5_000_001, 1);
    let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
    let file = pool.create("/large").expect("a file");
    file.write_at(1 << 20, &bytes).expect("bytes");
    pool.close().expect("it closes");
    let out = run_for_bytes(&mut lab.command("cat", ["/large"])).expect(0);
    assert!(out[..1 << 20].iter().all(|byte| *byte == 0) && out[1 << 20..] == bytes, "the hole reads as zeros");
    let mut child =
        lab.command("cat", ["/large"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn extents_and_holes_are_shown() {
    for lab in Lab::each() {
        let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
        let file = pool.create("/sparse").expect("a file");
        file.write_at(1 << 20, &[7; 8192]).expect("bytes");
        file.truncate(4 << 20).wait().expect("longer");
        file.allocate(3 << 20..(3 << 20) + 4096).try_now().expect("a block set aside");
        pool.create("/empty").expect("a file");
        pool.close().expect("it closes");
        let text = lab.run("map", ["/sparse"]).expect(0).stdout;
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
        assert!(text.starts_with("/sparse: 4 MiB, 2 extents, 3 holes\n"), "{text}");
        assert_eq!(lines[2], ["0..1M", "hole", "1M"]);
        assert_eq!((lines[3][0], lines[3][2]), ("1M..1032K", "8K"));
        assert_eq!(&lines[5][3..], ["set", "aside,", "not", "written"]);
        let document = lab.run("map", ["sparse", "--json"]).expect(0).json();
        let extents = document["extents"].as_array().expect("extents");
        assert_eq!((extents.len(), &extents[0]["offset"], &extents[0]["length"]), (2, &(1 << 20).into(), &8192.into()));
        assert_eq!((&extents[0]["written"], &extents[1]["written"]), (&true.into(), &false.into()));
        let place = extents[0]["place"].as_u64().expect("a place") as usize;
        let medium = fs::read(lab.pool()).expect("the medium");
        assert!(medium[place..place + 8192].iter().all(|byte| *byte == 7), "the bytes are where it says");
        assert_eq!(lab.run("map", ["/empty"]).expect(0).stdout, "/empty: 0 bytes, 0 extents, 0 holes\n");
        lab.run("map", ["/"]).expect(3).expect_one_line_about("is a directory");
    }
}

#[test]
fn the_picture_of_a_pool_names_its_files() {
    let lab = filled(Lab::in_memory());
    let picture = lab.run("map", [] as [&str; 0]).expect(0).stdout;
    assert!(picture.contains("64M") && picture.contains("16,384 blocks"), "{picture}");
    assert!(!picture.contains('\x1b'), "colours are for terminals");
    lab.run("map", ["-o", "picture.svg"]).expect(0);
    let svg = fs::read_to_string(lab.path("picture.svg")).expect("the picture");
    assert!(svg.starts_with("<svg ") && svg.contains("/dir/b"), "{svg}");
    assert_eq!(lab.run("map", ["-o", "-"]).expect(0).stdout, svg);
    lab.run("map", ["-o", "pool"]).expect(3).expect_one_line_about("is the pool itself");
    lab.run("info", [] as [&str; 0]).expect(0);
    let document = lab.run("map", ["--json"]).expect(0).json();
    let stretches = document["stretches"].as_array().expect("stretches");
    let blocks =
        |stretch: &Value| (stretch["blocks"][0].as_u64().unwrap_or(0), stretch["blocks"][1].as_u64().unwrap_or(0));
    let mut at = 0;
    for stretch in stretches {
        assert_eq!(blocks(stretch).0, at, "each block once: {stretch}");
        at = blocks(stretch).1;
    }
    assert_eq!(at, 16384);
}

#[test]
fn unusual_names_are_listed_as_they_are_and_lose_nothing_in_json() {
    let lab = Lab::in_memory();
    let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
    let odd: Vec<OsString> =
        [&b"new\nline"[..], b"sp ace", b"bad\xff", b"-dash", b"50%", b"esc\x1b[31m", b"'quote\"$(x)`"]
            .iter()
            .map(|name| OsString::from_vec(name.to_vec()))
            .collect();
    for name in &odd {
        pool.create(Path::new("/").join(name)).expect("a file").write_at(0, b"x").expect("a byte");
    }
    pool.close().expect("it closes");
    let mut listed: Vec<Vec<u8>> = run_for_bytes(&mut lab.command("ls", ["-0"]))
        .expect(0)
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    listed.sort();
    let mut expected: Vec<Vec<u8>> = odd.iter().map(|name| name.clone().into_vec()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    let document = lab.run("ls", ["--json"]).expect(0).json();
    let said = names(&document);
    assert!(said.contains(&"bad%ff") && said.contains(&"50%25") && said.contains(&"new\nline"), "{said:?}");
    for name in &odd {
        assert_eq!(lab.run("cat", [OsString::from("--"), name.clone()]).expect(0).stdout, "x");
        let stat = lab.run("stat", [OsString::from("--"), name.clone()]).expect(0).stdout;
        assert!(stat.lines().count() == 6 && !stat.contains('\x1b'), "quoted: {stat}");
    }
    let error = lab.run("cat", ["/no\nsuch\x1bname"]).expect(3).stderr;
    assert_eq!(error, "pinfold: pool: /no\\nsuch\\u{1b}name: no such file or directory\n");
}

#[test]
fn what_a_file_has_beside_its_bytes_and_what_is_no_file_are_shown() {
    let lab = Lab::in_memory();
    let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
    pool.create("/file").expect("a file");
    pool.create_special("/null", Special::CharDevice(0x103)).expect("a device");
    let owned = SetAttributes { mode: Some(0o4750), uid: Some(1000), ..Default::default() };
    pool.inode("/file").expect("the file").set(&owned).expect("they are set");
    pool.close().expect("it closes");
    let stat = lab.run("stat", ["/file"]).expect(0).stdout;
    assert!(stat.contains("  Access: 4750, user 1000, group the pool's\n"), "{stat}");
    let stat = lab.run("stat", ["--json", "/file"]).expect(0).json();
    let shown = &stat["entries"][0];
    assert_eq!(
        (shown["mode"].as_u64(), shown["uid"].as_u64(), &shown["gid"]),
        (Some(0o4750), Some(1000), &Value::Null)
    );
    let device = lab.run("stat", ["/null"]).expect(0).stdout;
    assert!(device.contains("Kind: character device"), "{device}");
    assert!(lab.run("ls", ["-l", "/null"]).expect(0).stdout.starts_with('c'));
    let refused = lab.run("cat", ["/null"]).expect(3).stderr;
    assert!(refused.contains("/null: is a pipe, socket or device"), "{refused}");
}

#[test]
fn what_is_no_pool_is_refused_in_one_line() {
    let lab = Lab::in_memory();
    lab.file("text", "not a pool, but long enough for nobody".repeat(1000));
    fs::create_dir(lab.path("dir")).expect("a directory");
    assert!(std::process::Command::new("mkfifo").arg(lab.path("pipe")).status().expect("mkfifo").success());
    symlink("nowhere", lab.path("dangling")).expect("a link");
    for (command, arguments) in LOOKS {
        let about = |path: &str| run(pinfold().arg(command).arg(lab.path(path)).args(arguments)).expect(3);
        about("missing").expect_one_line_about("missing: there is no such file; make a pool with `pinfold mkfs`");
        about("dangling").expect_one_line_about("there is no such file");
        about("text").expect_one_line_about("text: is not a pool; make one with `pinfold mkfs`");
        about("dir").expect_one_line_about("is not a pool");
        about("pipe").expect_one_line_about("is not a pool");
        run(pinfold().arg(command).arg("/dev/null").args(arguments)).expect(3).expect_one_line_about("/dev/null");
    }
    for command in ["put", "get"] {
        let about = |path: &str| run(pinfold().arg(command).arg(lab.path(path)).args(["/dev/null", "/x"])).expect(3);
        about("missing").expect_one_line_about("there is no such file");
        about("text").expect_one_line_about("is not a pool");
        about("dir").expect_one_line_about("is a directory");
        about("pipe").expect_one_line_about("pipe");
    }
}

#[test]
fn a_damaged_pool_is_said_to_be() {
    let lab = filled(Lab::in_memory());
    let good = fs::read(lab.pool()).expect("the medium");
    let mut bad = good.clone();
    // Both superblocks, behind their magic.
    for place in [0, 64 << 10] {
        bad[place + 40] ^= 0xff;
    }
    fs::write(lab.pool(), &bad).expect("the medium");
    for (command, arguments) in LOOKS {
        lab.run(command, arguments).expect(3).expect_one_line_about("`pinfold fsck`");
    }
    lab.file("x", "x");
    lab.run("put", ["x", "/x"]).expect(3).expect_one_line_about("`pinfold fsck`");
    assert!(fs::read(lab.pool()).expect("the medium") == bad, "and is not written to");
    fs::write(lab.pool(), &good[..good.len() / 2]).expect("the medium");
    lab.run("ls", [] as [&str; 0]).expect(3).expect_one_line_about("it was cut short");
}

#[test]
fn a_wrong_path_is_said_and_others_are_still_shown() {
    let lab = filled(Lab::in_memory());
    let list = lab.run("ls", ["/nope", "/dir/below", "/a/x"]).expect(3);
    assert_eq!(list.stdout, "/dir/below:\n");
    let said = "pinfold: pool: /nope: no such file or directory\npinfold: pool: /a/x: is not a directory\n";
    assert_eq!(list.stderr, said);
    let stat = lab.run("stat", ["/nope", "/a"]).expect(3);
    assert!(stat.stdout.contains("Path: /a") && stat.stderr.contains("/nope"), "{}", stat.stderr);
    lab.run("ls", [""]).expect(2);
    lab.run("tree", ["/a"]).expect(3).expect_one_line_about("/a: is not a directory");
    lab.run("map", ["/nope"]).expect(3).expect_one_line_about("/nope: no such file");
}

#[test]
fn nothing_is_written_by_who_only_looks() {
    let lab = filled(Lab::in_memory());
    let (before, stamp) = (fs::read(lab.pool()).expect("the medium"), fs::metadata(lab.pool()).expect("it is there"));
    for (command, arguments) in LOOKS {
        lab.run(command, arguments).expect(0);
    }
    lab.run("map", [] as [&str; 0]).expect(0);
    assert!(fs::read(lab.pool()).expect("the medium") == before);
    let now = fs::metadata(lab.pool()).expect("it is there");
    assert_eq!(now.modified().expect("a time"), stamp.modified().expect("a time"));
}

#[test]
fn a_deep_tree_is_walked_to_its_end() {
    let lab = Lab::in_memory();
    let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
    let mut path = String::new();
    for _ in 0..1000 {
        path.push_str("/d");
        pool.create_dir(&path).expect("a directory");
    }
    pool.reserve(4096).try_now().expect("a block").publish(format!("{path}/leaf"), Publish::New).expect("a name");
    pool.close().expect("it closes");
    let drawn = lab.run("tree", [] as [&str; 0]).expect(0).stdout;
    assert!(drawn.ends_with("1000 directories, 1 file\n") && drawn.contains("└── leaf\n"));
    assert_eq!(lab.run("ls", ["-R"]).expect(0).stdout.lines().last(), Some("leaf"));
}

#[test]
fn a_dump_has_names_as_they_are_for_programs_and_quoted_for_people() {
    let lab = Lab::in_memory().with_pool();
    lab.run("mkdir", ["/a b"]).expect(0);
    let items = lab.run("dump", ["--checkpoint", "--json"]).expect(0).json();
    let names: Vec<_> =
        items.as_array().expect("items").iter().flat_map(|item| item["parts"].as_array()).flatten().collect();
    assert_eq!(names.iter().map(|name| &name["name"]).collect::<Vec<_>>(), ["a b"], "{items}");
    assert!(lab.run("dump", ["--checkpoint"]).expect(0).stdout.contains("name=\"a b\""));
}
