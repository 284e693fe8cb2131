//! put and get: what comes back is what went in, byte for byte, hole for hole.

mod common;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{
    EndedInBytes, Lab, allocated, as_nobody, assert_same, ended, gathered, noise, run, run_for_bytes, without_io_uring,
};
use pinfold::Pool;

const NOTHING: [&str; 0] = [];

/// Files of all lengths that could be cut wrongly: around sectors, blocks, and the pieces that are moved at once.
fn lengths() -> impl Iterator<Item = usize> {
    let around = [4096, 8192, 2 << 20, (2 << 20) + 4096, 5 << 20];
    [0, 1, 511, 512, 513].into_iter().chain(around.into_iter().flat_map(|len| [len - 1, len, len + 1]))
}

/// A tree with some of everything that is kept.
fn tree_in(lab: &Lab, name: &str) {
    let root = lab.path(name);
    fs::create_dir_all(root.join("empty/below")).expect("directories");
    let deep: String = (0..50).map(|level| format!("level {level}/")).collect();
    fs::create_dir_all(root.join(&deep)).expect("directories");
    fs::write(root.join(&deep).join("leaf"), "leaf").expect("a file");
    for odd in [&b"sp ace"[..], b"new\nline", b"bad\xff\xfe", b"-dash", b"'quote\"$(x)`", b"100%", b"\x1b[31m"] {
        fs::write(root.join(OsString::from_vec(odd.to_vec())), odd).expect("a file");
    }
    for len in [0, 1, 4096, 100_001] {
        fs::write(root.join(format!("bytes {len}")), noise(len, len as u64)).expect("a file");
    }
    symlink("../bytes 1", root.join("empty/link")).expect("a link");
    symlink("nowhere", root.join("dangling")).expect("a link");
    symlink(OsString::from_vec(b"to \xff".to_vec()), root.join("odd link")).expect("a link");
}

fn sparse_in(lab: &Lab, name: &str, len: u64, data: &[(u64, usize)]) {
    let file = File::create(lab.path(name)).expect("a file");
    file.set_len(len).expect("its length");
    for (at, bytes) in data {
        file.write_all_at(&noise(*bytes, *at), *at).expect("bytes");
    }
    file.sync_all().expect("on the disk");
}

#[test]
fn files_of_all_lengths_come_back() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        let names: Vec<String> = lengths().map(|len| format!("f{len}")).collect();
        for len in lengths() {
            lab.file(format!("in/f{len}"), noise(len, len as u64));
        }
        let from = names.iter().map(|name| format!("in/{name}"));
        lab.run("put", from.chain(["/".into()])).expect(0).expect_silence();
        fs::create_dir(lab.path("out")).expect("a directory");
        lab.run("get", names.iter().map(|name| format!("/{name}")).chain(["out".into()])).expect(0).expect_silence();
        assert_same(&lab.path("in"), &lab.path("out"));
        let pool = Pool::load(lab.pool()).expect("it was closed");
        assert_eq!(pool.stats().pins, 0);
        assert!(pool.region().len() > 0 && fs::read_dir(lab.path("pool.live/rings")).expect("rings").next().is_none());
    }
}

#[test]
fn a_tree_comes_back_with_empty_directories_links_and_unusual_names() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        tree_in(&lab, "in");
        lab.run("put", ["-r", "in", "/kept"]).expect(0).expect_silence();
        lab.run("get", ["-r", "/kept", "out"]).expect(0).expect_silence();
        assert_same(&lab.path("in"), &lab.path("out"));
        // Into a directory that is there, and of its contents alone.
        lab.run("put", ["-r", "in", "/"]).expect(0);
        lab.run("get", ["-r", "/in/.", "out2"]).expect(0);
        assert_same(&lab.path("in"), &lab.path("out2"));
    }
}

#[test]
fn holes_stay_holes_both_ways() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        // Longer than the pool.
        sparse_in(&lab, "in", (1 << 30) + 17, &[(0, 10), (300 << 20, 5000), ((1 << 30) + 10, 7)]);
        sparse_in(&lab, "all hole", 100 << 20, &[]);
        lab.run("put", ["in", "all hole", "/"]).expect(0);
        let stat = lab.run("stat", ["/in", "/all hole", "--json"]).expect(0).json();
        let number = |at: usize, what: &str| stat["entries"][at][what].as_u64().expect("a number");
        assert_eq!(number(0, "size"), (1 << 30) + 17);
        assert!(number(0, "allocated") <= 64 << 10, "{stat}");
        assert_eq!((number(1, "size"), number(1, "allocated")), (100 << 20, 0));
        lab.run("get", ["/in", "out"]).expect(0);
        assert_eq!(fs::metadata(lab.path("out")).expect("it is there").len(), (1 << 30) + 17);
        assert!(allocated(&lab.path("out")) <= 256 << 10, "{} bytes", allocated(&lab.path("out")));
        let out = File::open(lab.path("out")).expect("it is there");
        for (at, len) in [(0, 10), (300 << 20, 5000), ((1 << 30) + 10, 7)] {
            let mut bytes = vec![0; len];
            out.read_exact_at(&mut bytes, at).expect("bytes");
            assert_eq!(bytes, noise(len, at), "at {at}");
        }
        let whole = run_for_bytes(&mut lab.command("get", ["/all hole", "-"])).expect(0);
        assert!(whole.len() == 100 << 20 && whole.iter().all(|byte| *byte == 0), "a stream has no holes");
    }
}

#[test]
fn without_io_uring_it_goes_by_system_calls() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        tree_in(&lab, "in");
        for len in lengths() {
            lab.file(format!("in/f{len}"), noise(len, len as u64));
        }
        let put = run(without_io_uring(&mut lab.command("put", ["-r", "in", "/kept", "--json"]))).expect(0).json();
        assert_eq!(put["engine"], "system calls");
        let get = run(without_io_uring(&mut lab.command("get", ["-r", "/kept", "out", "--json"]))).expect(0).json();
        assert_eq!((&get["engine"], &get["failed"]), (&"system calls".into(), &0.into()));
        assert_same(&lab.path("in"), &lab.path("out"));
        let mut put = piped(&lab, &["-", "/stream"]);
        feed(without_io_uring(&mut put).spawn().expect("it starts"), &noise(3_000_001, 3)).expect(0);
        let out = run_for_bytes(without_io_uring(&mut lab.command("get", ["/stream", "-"]))).expect(0);
        assert!(out == noise(3_000_001, 3));
    }
}

/// Gives a command bytes as its standard input, in pieces that fit nothing.
fn feed(mut child: std::process::Child, bytes: &[u8]) -> EndedInBytes {
    let mut stdin = child.stdin.take().expect("a pipe");
    for piece in bytes.chunks(70_001) {
        stdin.write_all(piece).expect("it is read");
    }
    drop(stdin);
    let ended = ended(child);
    EndedInBytes {
        status: ended.status.code(),
        stdout: ended.stdout,
        stderr: String::from_utf8(ended.stderr).expect("text"),
    }
}

fn piped(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.command("put", arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn streams_go_in_and_out() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        for len in [0, 1, 4096, 5_000_001] {
            let put = piped(&lab, &["-f", "-", "/stream"]).spawn().expect("it starts");
            feed(put, &noise(len, 5)).expect(0);
            let out = run_for_bytes(&mut lab.command("get", ["/stream", "-"])).expect(0);
            assert!(out == noise(len, 5), "{len}");
            let stat = lab.run("stat", ["/stream", "--json"]).expect(0).json();
            assert!(
                stat["entries"][0]["allocated"].as_u64() < Some(len as u64 + 4096),
                "nothing is left behind its end"
            );
        }
        // A file in the place of a stream, a pipe in the place of a file, and what the kernel makes up.
        lab.file("x", noise(10_000, 7));
        let mut put = lab.command("put", ["-", "/redirected"]);
        run(put.stdin(File::open(lab.path("x")).expect("it is there"))).expect(0);
        assert!(run_for_bytes(&mut lab.command("cat", ["/redirected"])).expect(0) == noise(10_000, 7));
        lab.run("put", ["/proc/self/status", "/status"]).expect(0);
        assert!(lab.run("cat", ["/status"]).expect(0).stdout.starts_with("Name:\tpinfold\n"));
        let both = run_for_bytes(&mut lab.command("get", ["/redirected", "/status", "-"])).expect(0);
        assert!(both.starts_with(&noise(10_000, 7)) && both.len() > 10_000);
        lab.run("get", ["-f", "/redirected", "/dev/null"]).expect(0);
        let put = piped(&lab, &["-", "/"]).spawn().expect("it starts");
        assert!(feed_nothing(put).contains("give standard input a name"));
    }
}

fn feed_nothing(child: std::process::Child) -> String {
    let ended = feed(child, b"");
    assert_eq!(ended.status, Some(3));
    ended.stderr
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let lab = Lab::in_memory().with_pool();
    lab.file("x", noise(8 << 20, 1));
    lab.run("put", ["x", "/"]).expect(0);
    let mut get = lab.command("get", ["/x", "-"]);
    let mut child = get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_stream_without_an_end_ends_with_its_reader() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        // The longest file, of holes alone.
        lab.run("truncate", ["/endless", "--size", "1E"]).expect(0).expect_silence();
        for (command, arguments) in [("get", &["/endless", "-"][..]), ("cat", &["/endless"])] {
            let mut command = lab.command(command, arguments);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            assert!(gathered(child, 1 << 20).is_none(), "{command:?} says more");
        }
        let mut get = lab.command("get", ["/endless", "-"]);
        let mut child = get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut some = vec![1; 3_000_001];
        stdout.read_exact(&mut some).expect("it says as much");
        drop(stdout);
        let ended = ended(child);
        assert!(some.iter().all(|byte| *byte == 0));
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
    }
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let lab = Lab::in_memory().with_pool();
    lab.file("old", "old");
    lab.file("new", "new, and longer");
    lab.run("put", ["old", "/x"]).expect(0);
    let refused = lab.run("put", ["new", "/x"]).expect(3);
    assert_eq!(refused.stderr, "pinfold: new: /x is in the pool already; say -f to replace it\n");
    assert_eq!(lab.run("cat", ["/x"]).expect(0).stdout, "old");
    lab.run("put", ["-f", "new", "/x"]).expect(0);
    assert_eq!(lab.run("cat", ["/x"]).expect(0).stdout, "new, and longer");

    fs::set_permissions(lab.path("old"), Permissions::from_mode(0o640)).expect("permissions");
    let refused = lab.run("get", ["/x", "old"]).expect(3);
    assert_eq!(refused.stderr, "pinfold: pool: /x: old is there already; say -f to replace it\n");
    assert_eq!(fs::read_to_string(lab.path("old")).expect("it is there"), "old");
    symlink("old", lab.path("by link")).expect("a link");
    lab.run("get", ["-f", "/x", "by link"]).expect(0);
    assert_eq!(fs::read_to_string(lab.path("old")).expect("it is there"), "new, and longer");
    assert_eq!(fs::metadata(lab.path("old")).expect("it is there").permissions().mode() & 0o777, 0o640);
    assert!(lab.path("by link").is_symlink(), "a link stays one");

    // A directory and a file do not take each other's place, asked for or not.
    fs::create_dir_all(lab.path("d/x")).expect("a directory");
    lab.run("put", ["-rf", "d/x", "/x"]).expect(3).expect_one_line_about("is no directory");
    lab.run("put", ["-r", "d", "/"]).expect(0);
    lab.file("d2/x", "file");
    lab.run("put", ["-rf", "d2/.", "/d"]).expect(3).expect_one_line_about("/d/x is a directory in the pool");
    lab.run("get", ["-f", "/x", "d"]).expect(3).expect_one_line_about("d/x is a directory");
    // Trees are merged.
    lab.file("d3/y", "y");
    lab.run("put", ["-r", "d3/.", "/d"]).expect(0);
    assert_eq!(lab.run("ls", ["/d"]).expect(0).stdout, "x\ny\n");
    symlink("one", lab.path("d3/l")).expect("a link");
    lab.run("put", ["-r", "d3/l", "/l"]).expect(0);
    lab.run("put", ["-r", "d3/l", "/l"]).expect(3).expect_one_line_about("say -f");
    lab.run("put", ["-rf", "d3/l", "/l"]).expect(0);
    lab.run("get", ["-r", "/l", "l"]).expect(0);
    lab.run("get", ["-rf", "/l", "l"]).expect(0);
    assert_eq!(fs::read_link(lab.path("l")).expect("a link"), Path::new("one"));
    assert_eq!(lab.run("ls", NOTHING).expect(0).stdout, "d\nl\nx\n", "nothing else is left");
}

#[test]
fn destinations_are_as_with_cp() {
    let lab = Lab::in_memory().with_pool();
    for name in ["a", "b", "dir/c"] {
        lab.file(name, name);
    }
    lab.run("put", ["a", "b", "/nope"]).expect(3).expect_one_line_about("/nope: is no directory in the pool");
    lab.run("put", ["a", "/nope/"]).expect(3).expect_one_line_about("/nope/: is no directory in the pool");
    lab.run("put", ["a", "/nope/a"]).expect(3).expect_one_line_about("/nope/a: no such file or directory");
    lab.run("put", ["dir", "/"]).expect(3).expect_one_line_about("say -r");
    lab.run("put", ["-r", "dir", "/new/"]).expect(0);
    let partly = lab.run("put", ["a", "missing", "b", "/"]).expect(3);
    assert_eq!(partly.stderr, "pinfold: missing: No such file or directory (os error 2)\n");
    assert_eq!(lab.run("ls", ["-R"]).expect(0).stdout, "/:\na\nb\nnew\n\n/new:\nc\n");
    symlink("new", lab.path("in pool")).expect("a link");
    lab.run("put", ["-r", "in pool", "/"]).expect(0);
    lab.run("put", ["a", "/in pool"]).expect(0);
    assert_eq!(lab.run("ls", ["/new"]).expect(0).stdout, "a\nc\n", "a link to a directory is one");

    lab.run("get", ["/a", "/b", "nope"]).expect(3).expect_one_line_about("nope: is no directory");
    lab.run("get", ["/a", "nope/"]).expect(3).expect_one_line_about("nope/: is no directory");
    lab.run("get", ["/a", "nope/a"]).expect(3).expect_one_line_about("/a: nope/a: No such file or directory");
    lab.run("get", ["-f", "/a", "/dev/full"]).expect(3).expect_one_line_about("/a: /dev/full: No space left on device");
    let full = File::options().write(true).open("/dev/full").expect("a device that is full");
    let get = lab.command("get", ["/a", "-"]).stdout(full).stderr(Stdio::piped()).spawn().expect("it starts");
    let said = ended(get);
    assert_eq!(said.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&said.stderr).contains("/a: standard output: No space left"), "{said:?}");
    lab.run("get", ["/new", "."]).expect(3).expect_one_line_about("say -r");
    lab.run("get", ["/new", "-"]).expect(3).expect_one_line_about("standard output takes files");
    lab.run("get", ["-r", "/new", "fresh/"]).expect(0);
    let partly = lab.run("get", ["-f", "/a", "/missing", "/b", "."]).expect(3);
    assert_eq!(partly.stderr, "pinfold: pool: /missing: no such file or directory\n");
    assert_eq!(fs::read_to_string(lab.path("fresh/c")).expect("it is there"), "dir/c");
}

#[test]
fn the_pool_is_not_copied_into_itself_nor_written_over() {
    let lab = Lab::in_memory().with_pool();
    lab.file("x", "x");
    lab.run("put", ["pool", "/"]).expect(3).expect_one_line_about("pool: is the pool itself");
    lab.run("put", ["-r", ".", "/all"]).expect(0);
    assert_eq!(lab.run("ls", ["/all"]).expect(0).stdout, "x\n", "neither the pool nor what lies beside it");
    lab.run("get", ["-f", "/all/x", "pool"]).expect(3).expect_one_line_about("is the pool itself");
    lab.run("info", NOTHING).expect(0);
}

#[test]
fn what_cannot_be_in_a_pool_is_left_out_and_said() {
    let lab = Lab::in_memory().with_pool();
    lab.file("dir/a", "a");
    assert!(Command::new("mkfifo").arg(lab.path("dir/pipe")).status().expect("mkfifo").success());
    let ended = lab.run("put", ["-r", "dir", "/"]).expect(3);
    assert_eq!(ended.stderr, "pinfold: dir/pipe: is no file, directory or link; it is left out\n");
    assert_eq!(lab.run("ls", ["/dir"]).expect(0).stdout, "a\n");
}

#[test]
fn without_space_nothing_half_is_left() {
    for lab in Lab::each() {
        lab.run("mkfs", ["--size", "16M"]).expect(0);
        let free = lab.run("df", ["--json"]).expect(0).json()["pools"][0]["free"].as_u64().expect("a number");
        lab.file("large", noise(20 << 20, 1));
        sparse_in(&lab, "sparse", 1 << 30, &[(0, 30 << 20)]);
        for name in ["large", "sparse"] {
            let ended = lab.run("put", [name, "/x"]).expect(3);
            ended.expect_one_line_about(&format!("{name}: "));
        }
        let put = piped(&lab, &["-", "/x"]).spawn().expect("it starts");
        let mut child = put;
        let mut stdin = child.stdin.take().expect("a pipe");
        // It stops reading when the pool is full.
        let written = stdin.write_all(&noise(20 << 20, 1));
        drop(stdin);
        assert!(written.is_err(), "it reads no further");
        let ended = ended(child);
        assert_eq!(ended.status.code(), Some(3));
        assert!(
            String::from_utf8_lossy(&ended.stderr).contains("no space"),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        assert_eq!(lab.run("ls", NOTHING).expect(0).stdout, "");
        let now = lab.run("df", ["--json"]).expect(0).json()["pools"][0]["free"].as_u64().expect("a number");
        // But for a checkpoint.
        assert!(now + (64 << 10) >= free, "all of it is free again: {now} of {free}");
    }
}

#[test]
fn what_is_left_out_of_a_full_pool_is_counted() {
    let lab = Lab::in_memory();
    lab.run("mkfs", ["--size", "16M"]).expect(0);
    for number in 0..40 {
        lab.file(format!("in/{number}"), noise(1 << 20, number));
    }
    let ended = lab.run("put", ["-r", "in", "/"]).expect(3);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let (last, failed) = lines.split_last().expect("it says why");
    assert!(failed.iter().all(|line| line.contains(": no space: ")), "{}", ended.stderr);
    let went_in = lab.run("ls", ["/in"]).expect(0).stdout.lines().count();
    let left = 40 - went_in - failed.len();
    assert_eq!(*last, format!("pinfold: pool: {left} more files left out: all would fail for the same reason"));
}

#[test]
fn a_stream_that_just_fits_goes_in() {
    let lab = Lab::in_memory();
    lab.run("mkfs", ["--size", "16M"]).expect(0);
    let free = lab.run("df", ["--json"]).expect(0).json()["pools"][0]["free"].as_u64().expect("a number");
    // Checkpoints want a little.
    let len = (free - (1 << 20) - 100) as usize;
    feed(piped(&lab, &["-", "/x"]).spawn().expect("it starts"), &noise(len, 9)).expect(0);
    assert!(run_for_bytes(&mut lab.command("cat", ["/x"])).expect(0) == noise(len, 9));
}

#[test]
fn what_it_came_to_is_said_if_asked_for() {
    let lab = Lab::in_memory().with_pool();
    tree_in(&lab, "in");
    sparse_in(&lab, "in/sparse", 1 << 20, &[(0, 4096)]);
    let document = lab.run("put", ["-r", "in", "/", "--json"]).expect(0).json();
    assert_eq!((&document["files"], &document["links"], &document["failed"]), (&13.into(), &3.into(), &0.into()));
    let (bytes, moved) = (document["bytes"].as_u64().expect("bytes"), document["moved"].as_u64().expect("bytes"));
    assert!(bytes > 1 << 20 && moved < 1 << 20 && moved > 100_001, "{document}");
    let verbose = lab.run("get", ["-rv", "/in", "out"]).expect(0).stdout;
    assert!(
        verbose.contains("'/in/sp ace' -> 'out/sp ace'\n") && verbose.contains("/in/dangling -> out/dangling\n"),
        "{verbose}"
    );
    assert!(
        verbose.lines().last().is_some_and(|line| line.starts_with("13 files, ") && line.contains("3 links: ")),
        "{verbose}"
    );
}

#[test]
fn a_pool_that_may_only_be_read_gives_its_files() {
    let lab = Lab::in_memory().with_pool();
    lab.file("x", noise(100_000, 1));
    sparse_in(&lab, "sparse", 1 << 20, &[(8192, 100)]);
    lab.run("put", ["x", "sparse", "/"]).expect(0);
    fs::set_permissions(lab.pool(), Permissions::from_mode(0o444)).expect("permissions");
    let mut get = lab.command("get", ["/x", "/sparse", "out"]);
    fs::create_dir(lab.path("out")).expect("a directory");
    if !as_nobody(&mut get, &lab.path("")) {
        return println!("skipped: nobody else may run the command here");
    }
    fs::set_permissions(lab.path("out"), Permissions::from_mode(0o777)).expect("permissions");
    run(&mut get).expect(0);
    assert!(fs::read(lab.path("out/x")).expect("it is there") == noise(100_000, 1));
    assert!(fs::read(lab.path("out/sparse")).expect("it is there") == fs::read(lab.path("sparse")).expect("a file"));
    assert!(allocated(&lab.path("out/sparse")) < 1 << 20);
    let mut to_stream = lab.command("get", ["/x", "-"]);
    as_nobody(&mut to_stream, &lab.path(""));
    assert!(run_for_bytes(&mut to_stream).expect(0) == noise(100_000, 1));
    let mut put = lab.command("put", ["x", "/y"]);
    as_nobody(&mut put, &lab.path(""));
    run(&mut put).expect(3).expect_one_line_about("permission denied");
}

#[test]
fn large_blocks_serve_as_well() {
    let lab = Lab::in_memory();
    lab.run("mkfs", ["--size", "64M", "--block-size", "2M"]).expect(0);
    tree_in(&lab, "in");
    fs::remove_dir_all(lab.path("in/level 0")).expect("fewer files");
    sparse_in(&lab, "in/sparse", 64 << 20, &[(5000, 100), ((30 << 20) - 1, 2)]);
    lab.run("put", ["-r", "in", "/"]).expect(0);
    lab.run("get", ["-r", "/in", "out"]).expect(0);
    assert_same(&lab.path("in"), &lab.path("out"));
}

#[test]
fn many_small_files_go_through() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        for number in 0..1000 {
            lab.file(format!("in/{}/{number}", number % 7), noise(number % 5000, number as u64));
        }
        lab.run("put", ["-r", "in", "/"]).expect(0).expect_silence();
        lab.run("get", ["-r", "/in", "out"]).expect(0).expect_silence();
        assert_same(&lab.path("in"), &lab.path("out"));
    }
}

#[test]
fn names_that_begin_with_a_dash_follow_two() {
    let lab = Lab::in_memory().with_pool();
    lab.file("-x", "dash");
    lab.run::<&OsStr>("put", ["--", "-x", "/-y"].map(OsStr::new)).expect(0);
    assert_eq!(lab.run("cat", ["--", "-y"]).expect(0).stdout, "dash");
}
