//! Pools are made, and what they are is shown.

mod common;

use std::fs;

use common::{Lab, pinfold, run};
use pinfold::{Pool, PoolOptions};

#[test]
fn a_pool_is_made_in_memory_and_on_disk_and_shown() {
    for lab in Lab::each() {
        let made = lab.run("mkfs", ["--size", "64M"]).expect(0);
        let shown = lab.run("info", [] as [&str; 0]).expect(0);
        assert_eq!(made.stdout, shown.stdout, "both show the same");
        for said in ["64M, 16384 blocks of 4K", "closed", "format 2"] {
            assert!(shown.stdout.contains(said), "{said}: {}", shown.stdout);
        }
        let info = lab.run("info", ["--json"]).expect(0).json();
        assert_eq!((info["size"].as_u64(), info["block_size"].as_u64()), (Some(64 << 20), Some(4096)));
        assert_eq!((&info["open"], &info["owner"]), (&false.into(), &serde_json::Value::Null));
        assert_eq!(info["nodes"], 1, "the root");
        let pool = Pool::load(lab.pool()).expect("the library opens it");
        assert_eq!(pool.block_size(), 4096);
    }
}

#[test]
fn size_and_block_size_are_what_was_asked_for() {
    let lab = Lab::in_memory();
    let made = lab.run("mkfs", ["-s", "0.125G", "-b", "2MiB", "--json"]).expect(0).json();
    assert_eq!((made["size"].as_u64(), made["block_size"].as_u64()), (Some(128 << 20), Some(2 << 20)));
}

#[test]
fn a_file_that_is_there_is_used_as_long_as_it_is() {
    let lab = Lab::in_memory();
    fs::File::create(lab.pool()).and_then(|file| file.set_len(32 << 20)).expect("a file");
    let made = lab.run("mkfs", ["--json"]).expect(0).json();
    assert_eq!(made["size"].as_u64(), Some(32 << 20));
}

#[test]
fn what_is_there_is_overwritten_only_by_force() {
    let lab = Lab::in_memory().with_pool();
    lab.file("x", "kept");
    lab.run("put", ["x", "/x"]).expect(0);
    lab.run("mkfs", ["--size", "64M"]).expect(3).expect_one_line_about("holds a pool already; say --force");
    assert_eq!(lab.run("cat", ["/x"]).expect(0).stdout, "kept");
    lab.run("mkfs", ["--size", "32M", "--force"]).expect(0);
    assert_eq!(lab.run("ls", [] as [&str; 0]).expect(0).stdout, "");

    let lab = Lab::in_memory();
    let mut letter = vec![0; 32 << 20];
    letter[70_000] = 1;
    lab.file("pool", &letter);
    lab.run("mkfs", [] as [&str; 0]).expect(3).expect_one_line_about("holds something already; say --force");
    assert!(fs::read(lab.pool()).expect("it is there") == letter, "nothing was written");
    lab.run("mkfs", ["-f"]).expect(0);
}

#[test]
fn what_cannot_be_a_pool_is_refused_in_one_line_and_leaves_nothing() {
    let lab = Lab::in_memory();
    lab.run("mkfs", [] as [&str; 0]).expect(3).expect_one_line_about("say how large it shall be");
    lab.run("mkfs", ["--size", "4M"]).expect(3).expect_one_line_about("a pool of 4M is not possible; take 16M to 16T");
    lab.run("mkfs", ["--size", "17T"]).expect(3).expect_one_line_about("take 16M to 16T");
    assert_eq!(fs::read_dir(lab.path("")).expect("it is there").count(), 0);
    let ended = run(pinfold().arg("mkfs").arg(lab.path("")).args(["--size", "64M"])).expect(3);
    ended.expect_one_line_about("is a directory");
    let ended = run(pinfold().arg("mkfs").arg(lab.path("no/such/dir")).args(["--size", "64M"])).expect(3);
    ended.expect_one_line_about("no/such/dir: its directory is not there; make that first");
    for arguments in [&["mkfs", "/dev/null"][..], &["mkfs", "/dev/null", "--size", "64M"]] {
        run(pinfold().args(arguments))
            .expect(3)
            .expect_one_line_about("/dev/null: is no memory that a pool can live in");
    }
    std::os::unix::fs::symlink("gone", lab.path("link")).expect("a link");
    let ended = run(pinfold().arg("mkfs").arg(lab.path("link")).args(["--size", "64M"])).expect(3);
    ended.expect_one_line_about("link: is a link that leads nowhere");
    lab.file("text", "text");
    let ended = run(pinfold().arg("mkfs").arg(lab.path("text")).args(["--size", "64M"])).expect(3);
    ended.expect_one_line_about("has 4 bytes, and 64M were asked for");
    run(pinfold().arg("mkfs").arg(lab.path("text")))
        .expect(3)
        .expect_one_line_about("a pool of 4 bytes is not possible");
    fs::write(lab.pool(), "").expect("an empty file");
    lab.run("mkfs", [] as [&str; 0]).expect(3).expect_one_line_about("is empty");
    fs::File::create(lab.pool()).and_then(|file| file.set_len(32 << 20)).expect("a file");
    lab.run("mkfs", ["--size", "64M"]).expect(3).expect_one_line_about("has 32M, and 64M were asked for");
}

#[test]
fn what_a_file_holds_is_not_overwritten_wherever_it_lies() {
    for lab in Lab::each() {
        for at in [0, 5_000, (1 << 20) + 1, (40 << 20) - 1] {
            let file = fs::File::create(lab.pool()).expect("a file");
            file.set_len(40 << 20).expect("its length");
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", at).expect("a byte");
            let refused = lab.run("mkfs", [] as [&str; 0]).expect(3);
            refused.expect_one_line_about("pool: holds something already; say --force to overwrite it");
            assert_eq!(fs::read(lab.pool()).expect("it is there")[at as usize], b'x', "at {at}");
        }
        // Zeros are nothing, in blocks or as holes.
        fs::write(lab.pool(), vec![0; 20 << 20]).expect("zeros");
        lab.run("mkfs", [] as [&str; 0]).expect(0);
        let said = lab.run("fsck", [] as [&str; 0]).expect(0).stdout;
        assert!(said.contains("of 20M: ") && said.contains("K log, "), "sizes as everywhere: {said}");
    }
}

#[test]
fn a_wrong_size_is_a_wrong_command_line() {
    let lab = Lab::in_memory();
    for (arguments, said) in [
        (&["--size", "many"][..], "`many` is no size"),
        (&["--size", "-1"], "`-1` is no size"),
        (&["--size", "-1.5G"], "`-1.5G` is no size"),
        (&["--size", "1.5"], "is not a whole number of bytes"),
        (&["--size", "64M", "--block-size", "-4K"], "`-4K` is no size"),
        (&["--size", "64MB"], "`64MB` is no size"),
        (&["--size", "99999999999G"], "too large"),
        (&["--size", "64M", "--block-size", "3K"], "a power of two from 4K to 2M"),
        (&["--size", "64M", "--block-size", "4M"], "a power of two from 4K to 2M"),
    ] {
        let ended = lab.run("mkfs", arguments).expect(2);
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_pool_that_somebody_has_is_not_made_anew() {
    let lab = Lab::in_memory();
    let pool = PoolOptions::new().format(lab.pool(), 64 << 20).expect("a pool");
    let ended = lab.run("mkfs", ["--size", "64M", "--force"]).expect(3);
    ended.expect_one_line_about(&format!("is owned by process {}", std::process::id()));
    pool.create("/still").expect("it is as it was");
}

#[test]
fn use_is_shown_in_bytes_or_for_people() {
    let lab = Lab::in_memory().with_pool();
    lab.file("x", vec![7; 10 << 20]);
    let before = lab.run("df", ["--json"]).expect(0).json();
    lab.run("put", ["x", "/"]).expect(0);
    let after = lab.run("df", ["--json"]).expect(0).json();
    let number = |document: &serde_json::Value, what: &str| document["pools"][0][what].as_u64().expect("a number");
    assert_eq!(number(&after, "size"), 64 << 20);
    assert_eq!(number(&after, "used") + number(&after, "free"), 64 << 20);
    let more = number(&after, "used") - number(&before, "used");
    assert!((10 << 20..11 << 20).contains(&more), "{more}");
    assert_eq!((number(&after, "parked"), number(&after, "quarantined"), number(&after, "not_durable")), (0, 0, 0));

    let bytes = lab.run("df", [] as [&str; 0]).expect(0).stdout;
    assert!(bytes.contains("67108864") && bytes.lines().count() == 2, "{bytes}");
    let people = lab.run("df", ["-h"]).expect(0).stdout;
    assert!(people.contains("64M") && !people.contains("67108864"), "{people}");
    let two = run(pinfold().arg("df").arg(lab.pool()).arg("/nope").arg(lab.pool())).expect(3);
    assert_eq!(two.stdout.lines().count(), 3, "those that can be shown are");
    assert!(two.stderr.contains("/nope: there is no such file"), "{}", two.stderr);
}
