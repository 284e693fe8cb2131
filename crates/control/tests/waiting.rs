//! Requests that wait: for whom they do, and how they end. Through the socket.

mod common;

use std::thread::JoinHandle;

use common::raw::Raw;
use common::{Lab, Way, bytes_of, change, change_with, eventually, filled, wait_until_behind};
use pinfold::{Access, File};
use pinfold_control::{Answer, Client, FileChange, Policy, Refusal, Request};
use rustix::io::Errno;

const TRUNCATE: FileChange = FileChange::Truncate { len: 0 };

/// Asks from a thread of its own.
fn asks(mut client: Client, request: Request) -> JoinHandle<Result<Answer, Refusal>> {
    std::thread::spawn(move || client.ask(&request))
}

fn state(file: &File) -> (Vec<u8>, Vec<pinfold::FileExtent>, u64) {
    (bytes_of(file), file.extents(), file.metadata().allocated)
}

#[test]
fn g2_the_last_unpin_lets_a_request_go_on() {
    let lab = Lab::new(Way::Socket);
    let file = filled(&lab.pool, "/file", 8 * 4096, 7);
    for policy in [Policy::Wait, Policy::Detach] {
        file.write_at(0, &[7; 8 * 4096]).unwrap();
        let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
        let waits = asks(lab.client(), change_with("/file", TRUNCATE, policy, Some(60_000)));
        if policy == Policy::Wait {
            wait_until_behind(&lab.pool);
            assert_eq!(file.len(), 8 * 4096);
            drop(pinned);
            assert_eq!(waits.join().unwrap(), Ok(Answer::Done));
        } else {
            assert_eq!(waits.join().unwrap(), Ok(Answer::Done));
            drop(pinned);
        }
        assert_eq!(file.len(), 0);
    }
}

#[test]
fn g5_a_request_that_waits_delays_no_other() {
    let mut lab = Lab::new(Way::Socket);
    let file = filled(&lab.pool, "/file", 8 * 4096, 7);
    filled(&lab.pool, "/other", 4096, 7);
    let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
    let waits = asks(lab.client(), change("/file", TRUNCATE));
    wait_until_behind(&lab.pool);
    lab.does(change("/other", TRUNCATE));
    lab.does(Request::CreateDir { path: "/dir".into() });
    lab.does(Request::Sync { path: None });
    lab.does(Request::Unlink { path: "/other".into() });
    assert_eq!(lab.client().ask(&Request::CreateDir { path: "/dir".into() }).unwrap_err().errno, 17);
    drop(pinned);
    assert_eq!(waits.join().unwrap(), Ok(Answer::Done));
}

#[test]
fn g6_a_client_that_hangs_up_withdraws_what_it_waits_for() {
    let lab = Lab::new(Way::Socket);
    let file = filled(&lab.pool, "/file", 8 * 4096, 7);
    let pinned = file.pin(4096..8192, Access::Write).wait().unwrap();
    let before = state(&file);
    for wanted in [
        TRUNCATE,
        FileChange::Punch { range: 0..16384 },
        FileChange::Zero { range: 0..16384, keep_size: false },
        FileChange::Collapse { range: 0..4096 },
        FileChange::Insert { at: 4096, len: 4096 },
    ] {
        let mut client = Raw::greeted(&lab.live_dir());
        client.ask(&change("/file", wanted.clone()));
        wait_until_behind(&lab.pool);
        drop(client);
        eventually("the operation has withdrawn", || lab.pool.breaks().is_empty());
        assert_eq!(state(&file), before, "{wanted:?}");
    }
    // Nothing of it is left: who is in may pin more, and newcomers get in.
    drop(file.pin(0..8 * 4096, Access::Read).try_now().unwrap());
    drop(pinned);
    assert_eq!(state(&file), before);
}

#[test]
fn g6_a_client_that_hangs_up_withdraws_its_wait_for_space() {
    let lab = Lab::new(Way::Socket);
    let file = lab.pool.create("/file").unwrap();
    let all = lab.pool.stats().free / 2;
    file.allocate(0..all).try_now().unwrap();
    let pinned = file.pin(0..all, Access::Write).wait().unwrap();
    file.truncate(0).detach().wait().unwrap();
    let range = 0..all + lab.pool.stats().free / 2;
    for _ in 0..10 {
        let mut client = Raw::greeted(&lab.live_dir());
        client.ask(&change("/file", FileChange::Allocate { range: range.clone(), keep_size: false }));
        // It is not seen from here whether it waits by now; either way it gets nothing.
    }
    let mut serving = lab.serving;
    // When the server has ended, so has the request.
    drop(serving.take());
    drop(pinned);
    assert_eq!((file.len(), file.metadata().allocated), (0, 0));
}

#[test]
fn a_server_that_ends_withdraws_what_its_clients_wait_for() {
    let mut lab = Lab::new(Way::Socket);
    let file = filled(&lab.pool, "/file", 8 * 4096, 7);
    let pinned = file.pin(4096..8192, Access::Write).wait().unwrap();
    let before = state(&file);
    let clients: Vec<_> = (0..3).map(|_| asks(lab.client(), change("/file", TRUNCATE))).collect();
    eventually("all of them wait", || lab.pool.breaks().len() == 3);
    drop(lab.serving.take());
    assert_eq!(lab.pool.breaks(), []);
    assert_eq!(state(&file), before);
    for client in clients {
        assert_eq!(client.join().unwrap().unwrap_err().errno, Errno::OWNERDEAD.raw_os_error());
    }
    let ended = lab.refuses(Request::Stats, Errno::OWNERDEAD);
    assert!(ended.message.contains(&std::process::id().to_string()), "{ended}");
    drop(pinned);
    lab.pool.close().unwrap();
}
