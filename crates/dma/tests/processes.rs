//! Rings and their locks across processes: kills, forks, and who asks whether a ring is gone.

mod common;

use std::fs::File as DiskFile;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use common::child::{Other, play};
use common::{Fixture, direct, eventually, scratch_dir, scratch_file};
use pinfold::{Access, Pool, Quiescent, Region, Until};
use pinfold_dma::{LeftBehind, LockError, Request, RingLock, SubmitError, Uring, UringOptions, WaitError};

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

#[test]
fn the_other_process() {
    play(&[("reads until it is killed", reads_until_it_is_killed), ("waits on a pipe", waits_on_a_pipe)]);
}

/// Bytes that are in flight when the process is killed.
const IN_FLIGHT: u64 = 128 << 20;

/// Submits reads of a whole scratch file into a pool in a file of the same directory.
fn reads_until_it_is_killed(dir: &str) {
    let dir = Path::new(dir);
    let pool = Pool::new(Region::create(dir.join("region"), IN_FLIGHT + (4 << 20)).unwrap()).unwrap();
    let file = pool.create("/file").unwrap();
    file.allocate(0..IN_FLIGHT).wait().unwrap();
    let source = direct(&dir.join("scratch")).unwrap();
    let ring = UringOptions::new().lock_dir(dir).create().unwrap();
    let pin = |at: u64| file.pin(at..at + (1 << 20), Access::Write).wait().unwrap();
    let requests: Vec<_> = (0..IN_FLIGHT).step_by(1 << 20).map(|at| (Request::read(&source, at), pin(at))).collect();
    let in_flight = ring.submit_all(requests);
    println!("\nsubmitted");
    std::io::stdout().flush().unwrap();
    // It is killed before its parent closes this.
    let _ = std::io::stdin().read(&mut [0]);
    drop(in_flight);
}

#[test]
fn g8_a_killed_process_is_no_proof_but_its_rings_lock_is() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| scratch_dir());
    let disk = scratch_dir();
    let path = disk.path().join("scratch");
    std::fs::write(&path, vec![0xd5; IN_FLIGHT as usize]).unwrap();
    DiskFile::open(&path).unwrap().sync_all().unwrap();
    let Some(again) = direct(&path) else { return };
    std::os::unix::fs::symlink(&path, dir.path().join("scratch")).unwrap();
    let mut killed = 0;
    for _ in 0..3 {
        let _ = std::fs::remove_file(dir.path().join("region"));
        let mut other = Other::start("reads until it is killed", dir.path().to_str().unwrap());
        other.expect("submitted");
        let lock = RingLock::all_in(dir.path()).unwrap().pop().unwrap();
        other.kill();
        killed += usize::from(lock.try_proof().unwrap().is_none());
        let proof = lock.wait(Until::after(Duration::from_secs(60))).unwrap();
        let region = DiskFile::open(dir.path().join("region")).unwrap();
        let first = sums(&region);
        // The disk serves what was asked before, and this as well, before the second look.
        let mut buffer = vec![0_u8; (1 << 20) + 4096];
        let aligned = buffer.as_ptr().align_offset(4096);
        for at in (0..IN_FLIGHT).step_by(1 << 20) {
            again.read_exact_at(&mut buffer[aligned..aligned + (1 << 20)], at).unwrap();
        }
        assert!(sums(&region) == first, "memory was written after the proof");
        lock.remove(&proof).unwrap();
        assert_eq!(RingLock::all_in(dir.path()).unwrap().len(), 0);
    }
    println!("the ring outlived its process {killed} times of 3");
}

/// A sum for each MiB.
fn sums(file: &DiskFile) -> Vec<u64> {
    let mut bytes = vec![0; 1 << 20];
    let mut sum = |at: u64| {
        let len = file.read_at(&mut bytes, at).unwrap();
        bytes[..len].chunks(512).fold(0_u64, |sum, sector| sum.wrapping_mul(31).wrapping_add(u64::from(sector[511])))
    };
    (0..file.metadata().unwrap().len()).step_by(1 << 20).map(&mut sum).collect()
}

fn waits_on_a_pipe(dir: &str) {
    let fixture = Fixture::new(4096);
    let ring = UringOptions::new().lock_dir(dir).create().unwrap();
    let (reader, _writer) = pipe();
    let _in_flight = ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap();
    println!("\nwaiting");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_lock_tells_a_living_ring_from_a_dead_one_and_from_what_is_none() {
    let dir = scratch_dir();
    let mut other = Other::start("waits on a pipe", dir.path().to_str().unwrap());
    other.expect("waiting");
    let found = RingLock::all_in(dir.path()).unwrap();
    let [lock] = &found[..] else { panic!("{found:?}") };
    let path = lock.path().unwrap().to_owned();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        path.file_name().unwrap().to_str().unwrap().replace("ring-", "io_uring ").replace(".lock", ""),
        lock.name()
    );
    assert!(lock.try_proof().unwrap().is_none());
    let late = lock.wait(Until::after(Duration::from_millis(5))).unwrap_err();
    assert!(matches!(late, LockError::TimedOut(_)), "{late}");
    assert_eq!(late.errno(), libc::ETIMEDOUT);

    // Neither a copy nor another name speaks for the ring; nor does anything else.
    let copies = scratch_dir();
    let copy = copies.path().join(path.file_name().unwrap());
    std::fs::copy(&path, &copy).unwrap();
    assert!(matches!(RingLock::open(&copy), Err(LockError::NotALock { .. })));
    let renamed = dir.path().join("ring-1.1-0000000000000000.lock");
    std::fs::hard_link(&path, &renamed).unwrap();
    assert!(matches!(RingLock::open(&renamed), Err(LockError::NotALock { .. })));
    std::fs::write(copies.path().join("ring-x.lock"), [0xff; 4096]).unwrap();
    std::fs::create_dir(copies.path().join("ring-y.lock")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        copies.path().join("ring-z.lock"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(RingLock::all_in(copies.path()).unwrap().len(), 0);
    let absent = RingLock::open(dir.path().join("ring-absent.lock")).unwrap_err();
    assert_eq!(absent.errno(), libc::ENOENT, "{absent}");

    other.kill();
    let proof = lock.wait(Until::done()).unwrap();
    assert_eq!(proof.name(), lock.name());
    assert!(lock.try_proof().unwrap().is_some());
}

#[test]
fn a_ring_that_ends_well_leaves_no_lock_file() {
    let dir = scratch_dir();
    let ring = UringOptions::new().lock_dir(dir.path()).create().unwrap();
    let lock = RingLock::all_in(dir.path()).unwrap().pop().unwrap();
    assert_eq!(lock.name(), &**ring.name());
    assert!(lock.try_proof().unwrap().is_none());
    drop(ring);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    lock.wait(Until::done()).unwrap();
}

#[test]
fn a_proof_speaks_for_its_own_ring_alone() {
    let fixture = Fixture::new(8192);
    let (one, other) = (Uring::new().unwrap(), Uring::new().unwrap());
    let (reader, _writer) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let in_flight = other.submit(Request::read_stream(&reader), pin(0)).unwrap();
    let proof = one.shut_down(Until::done()).unwrap();
    assert!(!fixture.pool.area().pins().iter().any(|pin| proof.covers(pin)));
    drop(in_flight);
    drop(other);
    fixture.expect_nothing_left();
}

/// Large reads from a disk: what a device has it does not give back when it is asked to.
fn in_flight_on_disk(ring: &Uring, fixture: &Fixture, disk: &DiskFile) -> Vec<pinfold_dma::InFlight> {
    let pin = |at: u64| fixture.file.pin(at..at + (1 << 20), Access::Write).wait().unwrap();
    let requests: Vec<_> = (0..32).map(|nth| (Request::read(disk, nth << 20), pin(nth << 20))).collect();
    ring.submit_all(requests).into_iter().map(Result::unwrap).collect()
}

#[test]
fn g8_what_a_disk_has_is_in_quarantine_until_its_completion_comes() {
    let dir = scratch_dir();
    let Some(disk) = direct(&scratch_file(&dir, 32 << 20)) else { return };
    let fixture = Fixture::new(32 << 20);
    let ring = UringOptions::new().patience(Duration::ZERO).create().unwrap();
    let in_flight = in_flight_on_disk(&ring, &fixture, &disk);
    drop(in_flight);
    match fixture.pool.quarantine().len() {
        0 => println!("skipped: the disk was faster than the test"),
        given_up => println!("{given_up} transfers were given up"),
    }
    // The ring's own thread takes what comes.
    eventually("every pin is released", || fixture.pool.area().pins().is_empty());
    assert_eq!((ring.in_flight(), ring.given_up()), (0, 0));
    fixture.expect_nothing_left();
}

#[test]
fn g8_what_a_ring_leaves_behind_is_released_when_its_lock_is_free() {
    let dir = scratch_dir();
    let Some(disk) = direct(&scratch_file(&dir, 32 << 20)) else { return };
    let locks = scratch_dir();
    let fixture = Fixture::new(32 << 20);
    let ring = UringOptions::new().patience(Duration::ZERO).lock_dir(locks.path()).create().unwrap();
    let mut in_flight = in_flight_on_disk(&ring, &fixture, &disk);
    let last = in_flight.pop().unwrap();
    let name = ring.name().clone();
    match ring.shut_down(Until::after(Duration::ZERO)) {
        Ok(_) => println!("skipped: the disk was faster than the test"),
        Err(LeftBehind { engine, transfers }) => {
            assert_eq!((engine, transfers > 0), (name, true));
            println!("{transfers} transfers were left behind");
        }
    }
    match last.wait() {
        Ok(_) => println!("skipped: the last read had ended"),
        Err(error) => assert!(matches!(error, WaitError::Abandoned(_)), "{error}"),
    }
    drop(in_flight);
    eventually("every pin is released", || fixture.pool.area().pins().is_empty());
    eventually("the lock's file goes", || std::fs::read_dir(locks.path()).unwrap().count() == 0);
    fixture.expect_nothing_left();
}

#[test]
fn after_a_fork_the_childs_handles_do_nothing() {
    let fixture = Fixture::new(8192);
    let dir = scratch_dir();
    let ring = UringOptions::new().lock_dir(dir.path()).create().unwrap();
    let (reader, writer) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let in_flight = ring.submit(Request::read_stream(&reader), pin(0)).unwrap();
    let unused = pin(4096);
    // SAFETY: the child runs what is below, which takes no lock that another thread may have held, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let refused = ring.submit(Request::read_stream(&reader), unused).unwrap_err();
            let refuses = matches!(refused.error, SubmitError::Forked);
            let waits = matches!(in_flight.wait(), Err(WaitError::Forked));
            drop(ring);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if refuses && waits { 0 } else { 1 }) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is there for the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(libc::WEXITSTATUS(status), 0);
        }
    }
    assert_eq!(fixture.pool.area().pins().len(), 2);
    rustix::io::write(&writer, b"ours").unwrap();
    assert_eq!(in_flight.wait().unwrap().result.unwrap(), 4);
    drop(unused);
    drop(ring);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    fixture.expect_nothing_left();
}

#[test]
fn a_lock_file_says_which_file_it_is() {
    let dir = scratch_dir();
    let ring = UringOptions::new().lock_dir(dir.path()).create().unwrap();
    let lock = ring.lock().unwrap();
    let path = lock.path().unwrap();
    let inode = path.metadata().unwrap().ino();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, format!("pinfold ring lock 1\n{}\ninode {inode}\n", ring.name()));
}
