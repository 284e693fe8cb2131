//! Clients that are not what they should be: they harm themselves alone.

mod common;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::child::{Other, play, say_and_wait};
use common::raw::Raw;
use common::{Lab, Way, change, eventually, filled};
use pinfold::{Access, Pool, live_dir_of};
use pinfold_control::{Client, ConnectError, FileChange, Policy, Put, Request, ServeOptions};
use rustix::io::Errno;

/// So short that a test need not wait, and long enough for who does not stop.
const SHORT: Duration = Duration::from_millis(100);

/// A pool that is served, with its own options.
fn served(options: ServeOptions) -> Lab {
    let mut lab = Lab::new(Way::Ours);
    lab.serving = Some(options.serve(&lab.pool, lab.live_dir()).unwrap());
    lab
}

/// The server is as well as ever.
#[track_caller]
fn expect_well(lab: &Lab) {
    let mut client = lab.client();
    client.ask(&Request::Stats).unwrap();
    client.ask(&Request::ReadDir { path: "/".into() }).unwrap();
}

fn errno(errno: Errno) -> Option<i64> {
    Some(errno.raw_os_error().into())
}

#[test]
fn the_other_process() {
    play(&[("stops in the middle of a message", |live_dir| {
        let mut raw = Raw::connect(live_dir.as_ref());
        raw.0.write_all(&[20, 0, 0, 0, b'{', b'"']).unwrap();
        say_and_wait("stopped");
    })]);
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_a_message_is_forgotten() {
    let lab = served(ServeOptions::new().clients_max(1));
    let mut other = Other::start("stops in the middle of a message", lab.live_dir().to_str().unwrap());
    other.expect("stopped");
    assert!(matches!(Client::connect(lab.live_dir()), Err(ConnectError::Refused { .. })), "its place is taken");
    other.kill();
    eventually("its place is free", || Client::connect(lab.live_dir()).is_ok());
    expect_well_alone(&lab);
}

/// Where only one client is let in: the last one may still be on its way out.
fn expect_well_alone(lab: &Lab) {
    let mut client = None;
    eventually("there is a place", || {
        client = Client::connect(lab.live_dir()).ok();
        client.is_some()
    });
    client.unwrap().ask(&Request::Stats).unwrap();
}

#[test]
fn a_client_that_stops_in_the_middle_of_anything_is_hung_up_on() {
    let lab = served(ServeOptions::new().message_time(SHORT).idle_time(SHORT));
    // Before it says who it is, in a length, in a message, between two.
    let mut silent = Raw::connect(&lab.live_dir());
    assert_eq!(silent.is_hung_up_on(), errno(Errno::TIMEDOUT));
    for piece in [&[7][..], &[200, 0, 0, 0, b'{']] {
        let mut stops = Raw::greeted(&lab.live_dir());
        stops.0.write_all(piece).unwrap();
        assert_eq!(stops.is_hung_up_on(), errno(Errno::TIMEDOUT));
    }
    let mut idle = Raw::greeted(&lab.live_dir());
    assert_eq!(idle.is_hung_up_on(), errno(Errno::TIMEDOUT));
    expect_well(&lab);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_hung_up_on() {
    let lab = served(ServeOptions::new().message_time(SHORT).clients_max(1));
    for number in 0..500 {
        lab.pool.create(format!("/{number}-{}", "x".repeat(200))).unwrap();
    }
    let mut deaf = Raw::greeted(&lab.live_dir());
    // Whatever the buffers hold: the server stops reading, and then hangs up.
    let request = serde_json::to_vec(&Request::ReadDir { path: "/".into() }).unwrap();
    while deaf.say(&request).is_ok() {}
    expect_well_alone(&lab);
}

#[test]
fn garbage_is_refused_and_hung_up_on() {
    let lab = served(ServeOptions::new());
    let deep = "[".repeat(60_000);
    for garbage in [
        &b""[..],
        b"{}",
        b"null",
        b"\xff\xfe",
        b"{\"unlink\":{}}",
        b"{\"unlink\":{\"path\":\"a%z\"}}",
        b"{\"unlink\":{\"path\":7}}",
        b"{\"unlink\":{\"path\":\"/a\",\"more\":1}}",
        b"{\"no_such_thing\":{}}",
        b"{\"grow\":{\"len\":-1}}",
        b"{\"grow\":{\"len\":1e30}}",
        b"{\"release_by_operator\":{\"pin\":\"1.2\",\"operator\":\"a\",\"reason\":\"b\"}}",
        deep.as_bytes(),
    ] {
        let mut raw = Raw::greeted(&lab.live_dir());
        raw.say(garbage).unwrap();
        assert_eq!(raw.is_hung_up_on(), errno(Errno::BADMSG), "{:?}", String::from_utf8_lossy(garbage));
    }
    for hello in [&b"{}"[..], b"\x00", b"{\"pinfold_control\":\"1\"}"] {
        let mut raw = Raw::connect(&lab.live_dir());
        raw.say(hello).unwrap();
        assert_eq!(raw.is_hung_up_on(), errno(Errno::BADMSG));
    }
    let mut other_version = Raw::connect(&lab.live_dir());
    other_version.say(br#"{"pinfold_control":1}"#).unwrap();
    let said = other_version.hear().unwrap();
    assert_eq!(said["refused"]["errno"].as_i64(), errno(Errno::PROTONOSUPPORT));
    assert!(said["refused"]["message"].as_str().unwrap().contains("speaks version 2"), "{said}");
    expect_well(&lab);
}

#[test]
fn a_length_that_is_too_large_is_refused_before_anything_is_set_aside_for_it() {
    let lab = served(ServeOptions::new());
    for len in [u32::MAX, 1 << 31, (64 << 10) + 1] {
        let mut raw = Raw::greeted(&lab.live_dir());
        raw.0.write_all(&len.to_le_bytes()).unwrap();
        assert_eq!(raw.is_hung_up_on(), errno(Errno::MSGSIZE));
    }
    // The client does not send what is too long, and can go on.
    let mut client = lab.client();
    let long = Request::Unlink { path: "x".repeat(70_000).into() };
    assert_eq!(client.ask(&long).unwrap_err().errno, Errno::MSGSIZE.raw_os_error());
    client.ask(&Request::Stats).unwrap();
}

#[test]
fn one_client_too_many_is_told_so_and_a_place_that_is_left_is_free() {
    let lab = served(ServeOptions::new().clients_max(3));
    let mut clients: Vec<Client> = (0..3).map(|_| lab.client()).collect();
    for _ in 0..5 {
        let refused = Client::connect(lab.live_dir()).unwrap_err();
        assert_eq!(refused.errno(), Errno::BUSY.raw_os_error(), "{refused}");
        assert!(refused.to_string().contains("3 clients are served"), "{refused}");
    }
    for client in &mut clients {
        client.ask(&Request::Stats).unwrap();
    }
    clients.pop();
    eventually("a place is free", || Client::connect(lab.live_dir()).is_ok());
}

#[test]
fn another_user_is_refused_and_told_so() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let lab = served(ServeOptions::new());
    let live_dir = lab.live_dir();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let as_nobody = move |live_dir: std::path::PathBuf| {
        // Of this thread alone.
        let nobody = rustix::thread::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(Some(nobody), Some(nobody), Some(nobody)).unwrap();
        Client::connect(live_dir).map(drop).unwrap_err()
    };
    let ask = || {
        let live_dir = live_dir.clone();
        std::thread::spawn(move || as_nobody(live_dir)).join().unwrap()
    };
    // First the rights of directory and socket are in the way.
    assert_eq!(ask().errno(), Errno::ACCESS.raw_os_error());
    mode(lab.dir.path(), 0o755);
    mode(&live_dir, 0o755);
    let refused = ask();
    assert!(matches!(refused, ConnectError::System { .. }), "{refused}");
    // Where somebody has opened both, the owner looks who it is.
    mode(&live_dir.join("socket"), 0o666);
    let refused = ask();
    assert!(matches!(refused, ConnectError::Refused { .. }), "{refused}");
    assert_eq!(refused.errno(), Errno::ACCESS.raw_os_error());
    assert!(refused.to_string().contains("not of user 65534"), "{refused}");
    expect_well(&lab);
}

#[test]
fn requests_that_come_without_waiting_for_answers_are_answered_in_order() {
    let lab = served(ServeOptions::new());
    let mut raw = Raw::greeted(&lab.live_dir());
    for number in 0..50 {
        raw.ask(&Request::CreateDir { path: format!("/{number}").into() });
        raw.ask(&Request::RemoveDir { path: format!("/{number}").into() });
    }
    for _ in 0..100 {
        assert_eq!(raw.hear().unwrap(), serde_json::json!({"done": "done"}));
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let lab = served(ServeOptions::new());
    let before = open_pipes();
    let (reader, writer) = std::io::pipe().unwrap();
    let put = Put { path: "/x".into(), publish: pinfold::Publish::New, waiting: Default::default() };
    let mut raw = Raw::greeted(&lab.live_dir());
    for count in 1..=16 {
        raw.ask_with(&Request::CreateDir { path: format!("/{count}").into() }, &vec![writer.as_fd(); count]);
        assert_eq!(raw.hear().unwrap(), serde_json::json!({"done": "done"}));
        raw.ask_with(&Request::Put(put.clone()), &vec![reader.as_fd(); count]);
        assert_eq!(raw.hear().unwrap()["refused"]["errno"].as_i64(), errno(Errno::INVAL));
    }
    drop((reader, writer));
    // While the client is still there.
    eventually("everything is closed", || open_pipes() <= before);
}

/// Other tests of this process open and close some too: it is waited for.
fn open_pipes() -> usize {
    let of_pipe = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.ok()?.path()).ok()?;
        target.to_str()?.starts_with("pipe:").then_some(())
    };
    std::fs::read_dir("/proc/self/fd").unwrap().filter_map(of_pipe).count()
}

/// A small generator: what it gives follows from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Requests as they should be, to be spoilt.
fn requests() -> Vec<Vec<u8>> {
    let requests = [
        Request::CreateDir { path: "/dir".into() },
        Request::RemoveDir { path: "/dir".into() },
        Request::Rename { from: "/file".into(), to: "/moved".into(), how: pinfold::Rename::Replace },
        Request::Rename { from: "/moved".into(), to: "/file".into(), how: pinfold::Rename::NoReplace },
        Request::Symlink { target: "..".into(), new: "/dir/link".into() },
        common::change_with("/file", FileChange::Truncate { len: 9000 }, Policy::Try, Some(5)),
        common::change_with("/file", FileChange::Punch { range: 0..4096 }, Policy::Wait, Some(5)),
        common::change_with("/file", FileChange::Allocate { range: 0..8192, keep_size: true }, Policy::Wait, Some(5)),
        Request::Sync { path: None },
        Request::Pins,
        Request::Parked,
        Request::Stats,
        Request::ReadDir { path: "/".into() },
        Request::ReleaseByProof,
    ];
    requests.iter().map(|request| serde_json::to_vec(request).unwrap()).collect()
}

#[test]
fn whatever_bytes_come_the_owner_goes_on() {
    let lab = served(ServeOptions::new().message_time(Duration::from_millis(20)).idle_time(Duration::from_millis(20)));
    let file = filled(&lab.pool, "/file", 8 * 4096, 7);
    let kept = filled(&lab.pool, "/kept", 4096, 9);
    let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
    let requests = requests();
    for seed in 1..=400_u64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut raw = if random.below(4) == 0 { Raw::connect(&lab.live_dir()) } else { Raw::greeted(&lab.live_dir()) };
        for _ in 0..random.below(6) {
            let mut message = requests[random.below(requests.len() as u64) as usize].clone();
            for _ in 0..random.below(4) {
                let at = random.below(message.len() as u64) as usize;
                match random.below(4) {
                    0 => message[at] = random.next() as u8,
                    1 => message.insert(at, random.next() as u8),
                    2 => drop(message.remove(at)),
                    _ => message.truncate(at.max(1)),
                }
            }
            let sent = match random.below(8) {
                // With a length that is not its own.
                0 => {
                    raw.0.write_all(&[&(random.next() as u32 >> random.below(32)).to_le_bytes(), &message[..]].concat())
                }
                _ => raw.say(&message),
            };
            if sent.is_err() {
                break;
            }
        }
        if random.below(2) == 0 {
            raw.is_hung_up_on();
        }
    }
    drop(pinned);
    eventually("nothing waits any more", || lab.pool.breaks().is_empty());
    let mut client = Client::connect(lab.live_dir()).unwrap();
    client.ask(&change("/kept", FileChange::Truncate { len: 4096 })).unwrap();
    assert_eq!(common::bytes_of(&kept), [9; 4096]);
    let Lab { serving, pool, reached, path, dir, .. } = lab;
    drop((client, serving, reached, file, kept));
    pool.close().unwrap();
    let pool = Pool::load(&path).unwrap();
    assert_eq!(common::bytes_of(&pool.open("/kept").unwrap()), [9; 4096]);
    assert!(live_dir_of(&path).exists());
    drop(dir);
}
