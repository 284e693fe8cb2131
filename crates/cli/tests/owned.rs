//! A pool that another process owns is looked at while it changes, and put into through its owner.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Lab, assert_same, noise, run, run_for_bytes};
use pinfold::{Pool, PoolOptions, Publish, Rename, live_dir_of};
use pinfold_control::serve;

const NOTHING: [&str; 0] = [];

/// One file after the other, each whole when it has its name: its bytes are all alike.
fn replace(pool: &Pool, path: &str, byte: u8, len: u64) {
    let reservation = pool.reserve(len).wait().expect("blocks");
    let pinned = reservation.pin(0..len).wait().expect("a pin");
    pinned.copy_in(0, &vec![byte; len as usize]).expect("bytes");
    drop(pinned);
    reservation.publish(path, Publish::Replace).expect("a name");
}

/// Ends a thread, also where a check fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_shown_while_the_owner_changes_it_was_there_at_some_moment() {
    for (lab, lasts) in Lab::each().into_iter().zip([false, true]) {
        let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
        let _serving = serve(&pool, live_dir_of(&lab.pool())).expect("it serves");
        pool.create_dir("/dir").expect("a directory");
        replace(&pool, "/dir/moving 0", 0, 300_000);
        replace(&pool, "/replaced", 0, 300_000);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pool = &pool;
            let over = &over;
            let _ends = Ends(over);
            scope.spawn(move || {
                for round in 1_u64.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (from, to) = (format!("/dir/moving {}", round - 1), format!("/dir/moving {round}"));
                    pool.rename(from, to, Rename::Replace).expect("it is renamed");
                    replace(pool, "/replaced", (round % 251) as u8, 300_000 + round % 5000);
                    let grows = pool.open_or_create("/grows").expect("a file");
                    grows.append(&[7; 1000]).expect("longer");
                    if round % 10 == 0 {
                        grows.truncate(0).wait().expect("shorter");
                    }
                }
            });
            for _ in 0..10 {
                let names = lab.run("ls", ["/dir"]).expect(0).stdout;
                assert!(names.lines().count() == 1 && names.starts_with("moving "), "one name: {names:?}");
                lab.run("tree", NOTHING).expect(0);
                lab.run("map", ["/replaced"]).expect(0);
                lab.run("df", NOTHING).expect(0);
                lab.run("who", NOTHING).expect(0);
                lab.run("map", NOTHING).expect(0);
                let grown = run_for_bytes(&mut lab.command("cat", ["/grows"]));
                if grown.status == Some(0) {
                    // On a disk, a block that was written after the sync reads as zeros.
                    let of_it = |byte: &u8| *byte == 7 || (lasts && *byte == 0);
                    assert!(grown.stdout.iter().all(of_it), "bytes of this file alone");
                }
                let got = run(&mut lab.command("get", ["-f", "/replaced", "out"]));
                match got.status {
                    Some(0) => {
                        let bytes = fs::read(lab.path("out")).expect("it is there");
                        assert!(
                            bytes.len() >= 300_000 && bytes.iter().all(|byte| *byte == bytes[0]),
                            "one file, whole"
                        );
                    }
                    _ => assert!(got.stderr.contains("try again"), "{}", got.stderr),
                }
            }
        });
        pool.close().expect("it closes");
    }
}

#[test]
fn what_the_owner_has_not_synced_is_synced_first_or_said_to_be_missing() {
    for (lab, lasts) in Lab::each().into_iter().zip([false, true]) {
        let pool = PoolOptions::new().commit_every(None).format(lab.pool(), 64 << 20).expect("a pool");
        let file = pool.create("/a").expect("a file");
        file.write_at(0, b"written").expect("bytes");
        let silent = lab.run("cat", ["/a"]).expect(0);
        match lasts {
            true => assert_eq!(silent.stdout, "\0\0\0\0\0\0\0", "what a crash would leave"),
            false => assert_eq!(silent.stdout, "written"),
        }
        assert_eq!(silent.stderr.contains("does not answer: what it wrote and has not synced reads as zeros"), lasts);
        let got = lab.run("get", ["/a", "silent"]).expect(0);
        assert_eq!(got.stderr.contains("has not synced"), lasts, "{}", got.stderr);
        let _serving = serve(&pool, live_dir_of(&lab.pool())).expect("it serves");
        let answered = lab.run("cat", ["/a"]).expect(0);
        assert_eq!((answered.stdout.as_str(), answered.stderr.as_str()), ("written", ""));
        file.write_at(4096, b"more").expect("bytes");
        lab.run("get", ["/a", "one"]).expect(0).expect_silence();
        file.write_at(8192, b"and more").expect("bytes");
        lab.run("get", ["-r", "/", "all"]).expect(0).expect_silence();
        assert!(fs::read(lab.path("one")).expect("it is there").ends_with(b"more"));
        assert!(fs::read(lab.path("all/a")).expect("it is there").ends_with(b"and more"));
    }
}

#[test]
fn files_are_put_through_an_owner_that_serves() {
    for lab in Lab::each() {
        let pool = Pool::format(lab.pool(), 64 << 20).expect("a pool");
        let serving = serve(&pool, live_dir_of(&lab.pool())).expect("it serves");
        for len in [0, 1, 4096, 5_000_001] {
            lab.file(format!("in/f{len}"), noise(len, len as u64));
        }
        for number in 0..30 {
            lab.file(format!("in/many/{number}"), noise(number * 100, number as u64));
        }
        fs::create_dir(lab.path("in/empty")).expect("a directory");
        symlink("nowhere", lab.path("in/link")).expect("a link");
        let done = lab.run("put", ["-r", "in", "/kept", "--json"]).expect(0).json();
        assert_eq!((&done["files"], &done["directories"], &done["links"]), (&34.into(), &3.into(), &1.into()));
        assert_eq!(done["engine"], "the pool's owner");
        lab.run("get", ["-r", "/kept", "out"]).expect(0).expect_silence();
        assert_same(&lab.path("in"), &lab.path("out"));
        assert_eq!(pool.open("/kept/f4096").expect("it is there").len(), 4096);

        lab.run("put", ["in/f1", "/kept"]).expect(3).expect_one_line_about("/kept/f1 is in the pool already; say -f");
        lab.run("put", ["-f", "in/f4096", "/kept/f1"]).expect(0);
        assert_eq!(pool.open("/kept/f1").expect("it is there").len(), 4096);
        lab.run("put", ["-rf", "in/link", "/kept/link"]).expect(0);
        lab.run("put", ["-r", "in/link", "/kept/link"]).expect(3).expect_one_line_about("say -f");
        lab.run("put", ["in/f1", "/no/such"]).expect(3).expect_one_line_about("no such file or directory");
        lab.file("large", noise(80 << 20, 1));
        lab.run("put", ["large", "/large"]).expect(3).expect_one_line_about("no space");
        assert!(pool.open("/large").is_err(), "nothing half is left");
        let mut put = lab.command("put", ["-", "/stream"]);
        let mut child = put.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let _ = child.stdin.take().expect("a pipe").write_all(b"x");
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&ended.stderr).contains("takes regular files only"));
        let through = run_for_bytes(&mut lab.command("get", ["/kept/f5000001", "-"])).expect(0);
        assert!(through == noise(5_000_001, 5_000_001));
        drop(serving);
        lab.run("put", ["in/f1", "/x"]).expect(3).expect_one_line_about("is owned by process");
        pool.close().expect("it closes");
    }
}
