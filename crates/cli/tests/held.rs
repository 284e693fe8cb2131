//! Who holds what: of a pool whose owner answers, of one whose owner does not, and of one whose owner was killed.

mod common;

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Lab, noise};
use pinfold::{Access, Pool, live_dir_of};
use pinfold_control::serve;
use serde_json::Value;

const NOTHING: [&str; 0] = [];

fn owned(lab: &Lab) -> Pool {
    Pool::format(lab.pool(), 64 << 20).expect("a pool")
}

fn pins(lab: &Lab, command: &str) -> Vec<Value> {
    let document = lab.run(command, ["--json"]).expect(0).json();
    document["pins"].as_array().expect("pins").clone()
}

/// Waits for a state, for as long as a machine may need that has much to do.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not in a minute");
        std::thread::yield_now();
    }
}

#[test]
fn of_a_pool_at_rest_nobody_holds_anything() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        assert_eq!(lab.run("who", NOTHING).expect(0).stdout, "Nobody holds a pin.\n");
        assert_eq!(lab.run("quarantine", NOTHING).expect(0).stdout, "Nothing is in quarantine.\n");
        assert_eq!(pins(&lab, "who"), Vec::<Value>::new());
    }
}

#[test]
fn g7_the_owner_says_who_holds_what_and_whom_that_delays() {
    let lab = Lab::in_memory();
    let pool = owned(&lab);
    let _serving = serve(&pool, live_dir_of(&lab.pool())).expect("it serves");
    let file = pool.create("/kv 17").expect("a file");
    file.allocate(0..1 << 20).try_now().expect("blocks");
    let pinned =
        file.pin(8192..65536, Access::Write).labelled("nic 0", "chunk 17").expect("a label").wait().expect("a pin");
    let ended = lab.run("who", NOTHING).expect(0);
    assert_eq!(ended.stderr, "");
    let line = ended.stdout.lines().nth(1).expect("one pin").to_owned();
    let pid = std::process::id().to_string();
    for said in ["'/kv 17'", "8K..64K", "device write", pid.as_str(), "nic 0", "chunk 17"] {
        assert!(line.contains(said), "{said}: {line}");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| file.truncate(4096).wait().expect("it goes on"));
        wait_until("the truncate waits", || pool.breaks().iter().any(|running| running.behind.is_some()));
        let document = lab.run("who", ["--json"]).expect(0).json();
        let waiting = &document["waiting"][0];
        assert_eq!(waiting["behind"], document["pins"][0]["id"], "{document}");
        assert_eq!(
            (&waiting["ranges"][0]["path"], &waiting["ranges"][0]["bytes"][0]),
            (&"/kv 17".into(), &4096.into())
        );
        let text = lab.run("who", NOTHING).expect(0).stdout;
        assert!(text.contains("1 operation") && text.contains("on '/kv 17' 4K..end"), "{text}");
        drop(pinned);
    });
    let pin = file.pin(0..4096, Access::Read).wait().expect("a pin");
    pool.unlink("/kv 17").expect("its name goes");
    let document = lab.run("who", ["--json"]).expect(0).json();
    let one = &document["pins"][0];
    assert_eq!((&one["path"], &one["access"], &one["quarantine"]), (&Value::Null, &"read".into(), &Value::Null));
    drop(file);
    let used = lab.run("df", ["--json"]).expect(0).json();
    assert_eq!(used["pools"][0]["parked"], 4096, "{used}");
    drop(pin);
    let used = lab.run("df", ["--json"]).expect(0).json();
    assert_eq!(used["pools"][0]["parked"], 0, "{used}");
}

#[test]
fn where_the_owner_does_not_answer_the_layout_area_tells() {
    for lab in Lab::each() {
        let pool = owned(&lab);
        let file = pool.create("/a").expect("a file");
        file.allocate(0..1 << 20).try_now().expect("blocks");
        let pinned =
            file.pin(0..65536, Access::Write).labelled("nic 0", "chunk").expect("a label").wait().expect("a pin");
        let ended = lab.run("who", NOTHING).expect(0);
        let owner = format!("process {}", std::process::id());
        assert!(ended.stderr.contains(&owner) && ended.stderr.contains("does not serve"), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1);
        for said in ["/a ", "0..64K", "device write", "nic 0", "chunk"] {
            assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
        }
        file.truncate(0).detach().wait().expect("at once");
        let used = lab.run("df", ["--json"]).expect(0).json();
        assert_eq!(used["pools"][0]["parked"], 65536, "{used}");
        let picture = lab.run("map", ["--json"]).expect(0).json();
        let parked = picture["stretches"].as_array().expect("stretches").iter().find(|one| one["what"] == "parked");
        let parked = parked.expect("a parked stretch");
        assert!(parked["by"].as_str().expect("who").contains("nic 0"), "{parked}");
        assert_eq!(picture["pins"][0]["blocks"], parked["blocks"], "{picture}");
        drop(pinned);
        assert_eq!(pins(&lab, "who"), Vec::<Value>::new());
        assert!(pool.create("/still").is_ok(), "nothing was taken from its owner");
    }
}

/// `put` of a stream that has begun, and does not end.
fn stuck_put(lab: &Lab) -> Child {
    let mut put = lab.command("put", ["-", "/never"]);
    let mut child = put.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    child.stdin.as_mut().expect("a pipe").write_all(&noise(100_000, 1)).expect("it reads");
    wait_until("a transfer is in flight", || {
        pins(lab, "who").iter().any(|pin| pin["bytes"][0].as_u64() >= Some(65536))
    });
    child
}

#[test]
fn g8_what_a_killed_put_left_is_in_quarantine_until_its_ring_is_gone_and_the_next_one_lets_it_go() {
    for lab in Lab::each() {
        let lab = lab.with_pool();
        lab.file("x", "x");
        lab.run("put", ["x", "/x"]).expect(0);
        let free = lab.run("df", ["--json"]).expect(0).json()["pools"][0]["free"].as_u64().expect("a number");
        let mut child = stuck_put(&lab);
        let one = pins(&lab, "who").pop().expect("a pin");
        assert_eq!((&one["pid"], &one["access"], &one["device"]), (&child.id().into(), &"write".into(), &true.into()));
        assert!(one["engine"].as_str().expect("a name").starts_with("io_uring "), "{one}");
        assert_eq!(pins(&lab, "quarantine"), Vec::<Value>::new(), "it has a holder");
        assert_eq!(lab.run("ls", NOTHING).expect(0).stdout, "x\n", "what is not whole has no name");
        let put = lab.run("put", ["x", "/y"]).expect(3);
        put.expect_one_line_about(&format!("pool: is owned by process {} (pinfold); stop it first", child.id()));
        lab.run("get", ["/x", "out"]).expect(0);
        assert_eq!(fs::read_to_string(lab.path("out")).expect("it is there"), "x", "and can be read");
        fs::remove_file(lab.path("out")).expect("it is there");

        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let proof = || pins(&lab, "quarantine").first().map(|pin| pin["proof"].clone());
        assert!(proof().is_some_and(|proof| proof == "not_yet" || proof == "ready"), "its pin stays");
        wait_until("the ring goes", || proof() == Some("ready".into()));
        let text = lab.run("quarantine", NOTHING).expect(0).stdout;
        let died = format!("process {} died", child.id());
        assert!(
            text.contains(&died) && text.contains("its ring is gone") && text.contains("pinfold release"),
            "{text}"
        );
        let who = lab.run("who", NOTHING).expect(0);
        assert!(who.stdout.contains("in quarantine") && who.stderr.is_empty(), "{}{}", who.stdout, who.stderr);
        let info = lab.run("info", NOTHING).expect(0).stdout;
        assert!(info.contains("not closed"), "{info}");

        lab.run("put", ["x", "/y"]).expect(0);
        assert_eq!(pins(&lab, "who"), Vec::<Value>::new(), "the proof was taken");
        assert_eq!(fs::read_dir(lab.path("pool.live/rings")).expect("rings").count(), 0);
        let now = lab.run("df", ["--json"]).expect(0).json()["pools"][0]["free"].as_u64().expect("a number");
        assert!(now + (64 << 10) >= free, "nothing has leaked: {now} of {free}");
        assert!(lab.run("info", NOTHING).expect(0).stdout.contains("closed"));
    }
}

#[test]
fn g8_without_its_ring_lock_there_is_no_proof() {
    let lab = Lab::in_memory().with_pool();
    let mut child = stuck_put(&lab);
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    fs::remove_dir_all(lab.path("pool.live/rings")).expect("the locks");
    assert_eq!(pins(&lab, "quarantine")[0]["proof"], "lost");
    let text = lab.run("quarantine", NOTHING).expect(0).stdout;
    assert!(text.contains("none here") && !text.contains("pinfold release"), "{text}");
}
