//! `own`, and pools that cannot be asked.

use std::io::Read;
use std::process::Command;

use pinfold::{Pool, live_dir_of};
use serde_json::Value;

use crate::common::{pinfold, run};
use crate::pools::{Own, Owner, PoolFile};

/// Sends a signal, and waits until it has ended: with which status.
fn end(own: &mut Own, signal: &str) -> Option<i32> {
    let sent = Command::new("kill").args([signal, &own.child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let status = own.child.wait().unwrap();
    let mut more = String::new();
    own.says.read_to_string(&mut more).unwrap();
    assert_eq!(more, "");
    status.code()
}

#[test]
fn it_says_that_it_is_ready_and_closes_the_pool_when_it_is_told_to_end() {
    for signal in ["-INT", "-TERM"] {
        let mut pool = PoolFile::new(Owner::Other, |_| ());
        let mut own = pool.owner.take().unwrap();
        let expected = format!("ready, as process {}", own.child.id());
        assert!(own.said.contains(&expected) && own.said.contains("pool.live/socket"), "{}", own.said);
        pool.does("mkdir", &["/dir"]);
        assert_eq!(end(&mut own, signal), Some(0), "{signal}");
        assert!(!live_dir_of(&pool.path).join("socket").exists());
        assert_eq!(pool.now().info().log.1, 0, "it was closed");
        assert_eq!(pool.names("/"), ["dir"]);
    }
}

#[test]
fn a_program_reads_that_it_is_ready() {
    let pool = PoolFile::new(Owner::Nobody, |_| ());
    let own = Own::start(&pool.path, &["--json"]);
    let said: Value = serde_json::from_str(&own.said).unwrap();
    assert_eq!((&said["ready"], &said["pid"]), (&true.into(), &own.child.id().into()));
    assert_eq!(said["socket"].as_str(), live_dir_of(&pool.path).join("socket").to_str());
}

#[test]
fn what_an_owner_that_was_killed_had_done_is_there_for_the_next() {
    let mut pool = PoolFile::new(Owner::Other, |_| ());
    pool.does("mkdir", &["/dir"]);
    drop(pool.owner.take());
    pool.does("mkdir", &["/dir/below"]);
    pool.owner = Some(Own::start(&pool.path, &[]));
    pool.does("mkdir", &["/dir/again"]);
    assert_eq!(pool.names("/dir"), ["again", "below"]);
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let pool = PoolFile::new(Owner::Other, |_| ());
    let pid = pool.owner.as_ref().unwrap().child.id().to_string();
    pool.refuses("own", &[], &pid);
}

#[test]
fn an_owner_without_a_socket_is_named() {
    let pool_file = PoolFile::new(Owner::Nobody, |_| ());
    let pool = Pool::load(&pool_file.path).unwrap();
    let pid = std::process::id().to_string();
    for (command, arguments) in [
        ("rm", &["/a"][..]),
        ("mv", &["/a", "/b"]),
        ("ln", &["/a", "/b"]),
        ("mkdir", &["/a"]),
        ("truncate", &["-s", "0", "/a"]),
        ("fallocate", &["-l", "1", "/a"]),
        ("sync", &[]),
        ("resize", &["64M"]),
        ("release", &[]),
    ] {
        pool_file.refuses(command, arguments, &format!("is owned by process {pid}"));
    }
    drop(pool);
}

#[test]
fn what_is_no_pool_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mkdir = |path: &std::path::Path| run(pinfold().arg("mkdir").arg(path).arg("/dir")).expect(3);
    mkdir(&path).expect_one_line_about("file");
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    mkdir(&path).expect_one_line_about("not a pool");
    mkdir(dir.path()).expect_one_line_about("directory");
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 1 << 20], "nothing was written");
}
