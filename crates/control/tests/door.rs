//! The socket's name: who gets it, who keeps it, and what a client hears where there is none.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use common::child::{Other, play, say_and_wait};
use common::{Lab, MIB, Way, scratch_dir};
use pinfold::{Pool, Region, live_dir_of};
use pinfold_control::{Client, ConnectError, ReachError, Request, ServeError, reach, serve};
use rustix::io::Errno;

#[test]
fn the_other_process() {
    play(&[("owns and serves", owns_and_serves), ("owns", owns), ("listens and says nothing", listens)]);
}

fn owns_and_serves(path: &str) {
    let pool = Pool::load(path).unwrap();
    let _serving = serve(&pool, live_dir_of(path.as_ref())).unwrap();
    say_and_wait("ready");
}

fn owns(path: &str) {
    let _pool = Pool::load(path).unwrap();
    say_and_wait("ready");
}

fn listens(live_dir: &str) {
    let _listener = UnixListener::bind(format!("{live_dir}/socket")).unwrap();
    say_and_wait("ready");
}

fn new_pool() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = scratch_dir();
    let path = dir.path().join("pool");
    Pool::format(&path, 32 * MIB).unwrap().close().unwrap();
    (dir, path)
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_serving() {
    let mut lab = Lab::new(Way::Socket);
    let socket = lab.live_dir().join("socket");
    assert_eq!(lab.serving.as_ref().unwrap().path(), socket);
    let metadata = socket.symlink_metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(!lab.live_dir().join("socket.new").exists());
    drop(lab.serving.take());
    assert!(!socket.exists());
    let error = Client::connect(lab.live_dir()).unwrap_err();
    assert!(matches!(error, ConnectError::NoSocket(_)), "{error}");
    assert_eq!(error.errno(), Errno::NOENT.raw_os_error());
    // It can be opened again.
    lab.serving = Some(serve(&lab.pool, lab.live_dir()).unwrap());
    lab.client().ask(&Request::Stats).unwrap();
}

#[test]
fn a_living_owners_socket_is_not_replaced() {
    let lab = Lab::new(Way::Socket);
    let other = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
    let refused = serve(&other, lab.live_dir()).unwrap_err();
    assert!(matches!(refused, ServeError::Living { pid, .. } if pid == std::process::id()), "{refused}");
    assert_eq!(refused.errno(), Errno::ADDRINUSE.raw_os_error());
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    lab.client().ask(&Request::Stats).unwrap();
}

#[test]
fn a_dead_owners_socket_is_replaced() {
    let (_dir, path) = new_pool();
    let live_dir = live_dir_of(&path);
    let mut owner = Other::start("owns and serves", path.to_str().unwrap());
    owner.expect("ready");
    let mut client = Client::connect(&live_dir).unwrap();
    assert_eq!(client.owner(), owner.pid());
    client.ask(&Request::Stats).unwrap();
    let before = live_dir.join("socket").symlink_metadata().unwrap().ino();
    let pid = owner.pid();
    owner.kill();
    let lost = client.ask(&Request::Stats).unwrap_err();
    assert_eq!(lost.errno, Errno::OWNERDEAD.raw_os_error());
    assert!(lost.message.contains(&format!("process {pid}")), "{lost}");
    let error = Client::connect(&live_dir).unwrap_err();
    assert!(matches!(error, ConnectError::OwnerGone(_)), "{error}");
    assert_eq!(error.errno(), Errno::CONNREFUSED.raw_os_error());
    let pool = Pool::load(&path).unwrap();
    let serving = serve(&pool, &live_dir).unwrap();
    assert_ne!(live_dir.join("socket").symlink_metadata().unwrap().ino(), before);
    assert_eq!(Client::connect(&live_dir).unwrap().owner(), std::process::id());
    drop(serving);
    pool.close().unwrap();
}

#[test]
fn whoever_owns_a_pool_is_found_and_one_who_does_not_serve_is_named() {
    let (_dir, path) = new_pool();
    let mut owner = Other::start("owns and serves", path.to_str().unwrap());
    owner.expect("ready");
    let mut reached = reach(&path).unwrap();
    reached.ask(&Request::CreateDir { path: "/dir".into() }).unwrap();
    reached.leave().unwrap();
    owner.kill();
    // Nobody owns it now: it is ours, and what was done is there though its owner was killed.
    let mut reached = reach(&path).unwrap();
    reached.ask(&Request::RemoveDir { path: "/dir".into() }).unwrap();
    reached.leave().unwrap();
    let mut owner = Other::start("owns", path.to_str().unwrap());
    owner.expect("ready");
    let error = reach(&path).unwrap_err();
    assert!(matches!(error, ReachError::NoAnswer { .. }), "{error}");
    assert!(error.to_string().contains(&format!("owned by process {}", owner.pid())), "{error}");
    owner.kill();
    let error = reach(path.with_file_name("none")).unwrap_err();
    assert_eq!(error.errno(), Errno::NOENT.raw_os_error(), "{error}");
}

#[test]
fn what_is_no_owner_is_told_apart() {
    let dir = scratch_dir();
    let connect = |live_dir: &std::path::Path| Client::connect(live_dir).unwrap_err();
    let error = connect(&dir.path().join("none"));
    assert!(matches!(error, ConnectError::NoSocket(_)), "{error}");
    // A file, a listener of something else.
    std::fs::write(dir.path().join("socket"), b"").unwrap();
    let error = connect(dir.path());
    assert!(matches!(error, ConnectError::OwnerGone(_)), "{error}");
    std::fs::remove_file(dir.path().join("socket")).unwrap();
    let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let answers = std::thread::spawn(move || {
        use std::io::Write;
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        listener
    });
    let error = connect(dir.path());
    assert!(matches!(error, ConnectError::NotAnOwner { .. }), "{error}");
    assert_eq!(error.errno(), Errno::PROTO.raw_os_error());
    drop(answers.join().unwrap());
    // Nor can a pool be served where there is no directory.
    let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
    let error = serve(&pool, dir.path().join("none")).unwrap_err();
    assert_eq!(error.errno(), Errno::NOENT.raw_os_error(), "{error}");
}

#[test]
fn an_owner_that_does_not_answer_is_said_to_be_there() {
    let dir = scratch_dir();
    let mut other = Other::start("listens and says nothing", dir.path().to_str().unwrap());
    other.expect("ready");
    let error = Client::connect(dir.path()).unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer(_)), "{error}");
    assert_eq!(error.errno(), Errno::TIMEDOUT.raw_os_error());
    // It lives, so it is not replaced.
    let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
    let refused = serve(&pool, dir.path()).unwrap_err();
    assert!(matches!(refused, ServeError::Living { pid, .. } if pid == other.pid()), "{refused}");
    other.kill();
    let _serving = serve(&pool, dir.path()).unwrap();
    Client::connect(dir.path()).unwrap().ask(&Request::Stats).unwrap();
}

#[test]
fn a_long_path_has_a_socket_too() {
    let dir = scratch_dir();
    let long = dir.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&long).unwrap();
    let path = long.join("pool");
    let pool = Pool::format(&path, 32 * MIB).unwrap();
    let serving = serve(&pool, live_dir_of(&path)).unwrap();
    assert_eq!(serving.path(), live_dir_of(&path).join("socket"));
    reach(&path).unwrap().ask(&Request::CreateDir { path: "/dir".into() }).unwrap();
    drop(serving);
    assert!(!live_dir_of(&path).join("socket").exists());
}

#[test]
fn a_pool_in_memory_is_served_as_well() {
    let dir = scratch_dir();
    let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
    let _serving = serve(&pool, dir.path()).unwrap();
    let mut client = Client::connect(dir.path()).unwrap();
    client.ask(&Request::CreateDir { path: "/dir".into() }).unwrap();
    client.ask(&Request::Sync { path: None }).unwrap();
    client.ask(&Request::Checkpoint).unwrap();
    assert_eq!(client.ask(&Request::Grow { len: 2 << 20 }).unwrap_err().errno, Errno::OPNOTSUPP.raw_os_error());
}

#[test]
fn a_child_of_the_owner_does_not_end_its_serving() {
    let lab = Lab::new(Way::Socket);
    // SAFETY: the child drops a handle, which takes no lock and joins no thread, and ends.
    match unsafe { libc::fork() } {
        0 => {
            drop(lab.serving);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is there for the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status));
        }
    }
    lab.client().ask(&Request::Stats).unwrap();
    assert!(lab.live_dir().join("socket").exists());
}
