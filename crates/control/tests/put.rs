//! Files of the host that are copied in, by the process that owns the pool and through its socket.

mod common;

use std::fs::File as HostFile;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use common::raw::Raw;
use common::{BOTH, Lab, MIB, Way, bytes_of, eventually, filled};
use pinfold::{Access, Pool, Publish};
use pinfold_control::{Answer, Policy, Put, Refusal, Request, Waiting, rings_in};
use rustix::io::Errno;

fn wanted(path: &str, publish: Publish) -> Put {
    Put { path: path.into(), publish, waiting: Waiting::default() }
}

/// Bytes that differ in each place.
fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 9 ^ at >> 17) as u8).collect()
}

/// A file of the host, on the disk that the sources are built on.
fn host_file(len: u64) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(&pattern(len)).unwrap();
    file.as_file().sync_all().unwrap();
    file
}

fn put(lab: &mut Lab, file: &impl AsFd, put: &Put) -> Result<Answer, Refusal> {
    lab.reached.put(file.as_fd(), put, |_, _| ())
}

/// Nothing is left of a transfer, a ring or a reservation.
#[track_caller]
fn expect_nothing_left(lab: &Lab) {
    eventually("no pin is left", || lab.pool.pins().is_empty());
    assert_eq!(lab.pool.stats().parked, 0);
    if let Ok(rings) = std::fs::read_dir(rings_in(lab.live_dir())) {
        assert_eq!(rings.count(), 0);
    }
}

#[test]
fn a_file_comes_in_whole_whatever_its_length() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        for len in [0, 1, 4095, 4096, 4097, (4 << 20) - 1, (4 << 20) + 4096, (9 << 20) + 17] {
            let file = host_file(len);
            let mut told = Vec::new();
            let answer = lab
                .reached
                .put(file.as_file().as_fd(), &wanted("/new", Publish::New), |done, of| told.push((done, of)));
            assert_eq!(answer, Ok(Answer::Put { len }));
            assert!(bytes_of(&lab.pool.open("/new").unwrap()) == pattern(len), "{len} bytes, {way:?}");
            assert!(told.is_sorted() && told.iter().all(|(done, of)| done <= of && *of == len), "{told:?}");
            if way == Way::Ours && len > 0 {
                assert_eq!(told.last(), Some(&(len, len)));
            }
            lab.does(Request::Unlink { path: "/new".into() });
        }
        expect_nothing_left(&lab);
    }
}

#[test]
fn a_descriptor_that_reads_directly_does_so() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        for len in [100, 4096, (5 << 20) + 300] {
            let file = host_file(len);
            let Ok(direct) = HostFile::options().read(true).custom_flags(libc::O_DIRECT).open(file.path()) else {
                println!("skipped: no O_DIRECT on {}", file.path().display());
                return;
            };
            assert_eq!(put(&mut lab, &direct, &wanted("/new", Publish::Replace)), Ok(Answer::Put { len }));
            assert!(bytes_of(&lab.pool.open("/new").unwrap()) == pattern(len), "{len} bytes, {way:?}");
        }
        expect_nothing_left(&lab);
    }
}

#[test]
fn a_name_that_is_taken_is_kept_or_replaced_in_one_step() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        for len in [0, 5000] {
            let old = filled(&lab.pool, "/name", 10, 1);
            let file = host_file(len);
            let refusal = put(&mut lab, &file, &wanted("/name", Publish::New)).unwrap_err();
            assert_eq!(refusal.errno, Errno::EXIST.raw_os_error(), "{refusal}");
            assert_eq!(bytes_of(&lab.pool.open("/name").unwrap()), [1; 10]);
            assert_eq!(put(&mut lab, &file, &wanted("/name", Publish::Replace)), Ok(Answer::Put { len }));
            assert_eq!(bytes_of(&lab.pool.open("/name").unwrap()), pattern(len));
            assert_eq!(bytes_of(&old), [1; 10], "who had it open has it still");
            lab.does(Request::Unlink { path: "/name".into() });
            assert_eq!(lab.pool.read_dir("/").unwrap(), []);
        }
        lab.does(Request::CreateDir { path: "/dir".into() });
        for (path, errno) in [("/dir", Errno::ISDIR), ("/none/name", Errno::NOENT), ("", Errno::NOENT)] {
            for len in [0, 5000] {
                let refusal = put(&mut lab, &host_file(len), &wanted(path, Publish::Replace)).unwrap_err();
                assert_eq!(refusal.errno, errno.raw_os_error(), "{path}, {len}: {refusal}");
            }
        }
        assert_eq!(lab.pool.read_dir("/").unwrap().len(), 1);
        expect_nothing_left(&lab);
    }
}

#[test]
fn what_cannot_be_copied_in_is_refused_and_leaves_nothing() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let free = lab.pool.stats().free;
        let (reader, _writer) = std::io::pipe().unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let dir = HostFile::open("/").unwrap();
        let null = HostFile::open("/dev/null").unwrap();
        for odd in [reader.as_fd(), socket.as_fd(), dir.as_fd(), null.as_fd()] {
            let refusal = put(&mut lab, &odd, &wanted("/new", Publish::New)).unwrap_err();
            assert_eq!(refusal.errno, Errno::INVAL.raw_os_error(), "{refusal}");
            assert!(refusal.message.starts_with("/new: only a regular file"), "{refusal}");
        }
        let file = host_file(5 << 20);
        let write_only = HostFile::options().write(true).open(file.path()).unwrap();
        let refusal = put(&mut lab, &write_only, &wanted("/new", Publish::New)).unwrap_err();
        assert_eq!(refusal.errno, Errno::BADF.raw_os_error(), "{refusal}");
        let large = tempfile::tempfile().unwrap();
        large.set_len(1 << 40).unwrap();
        let refusal = put(&mut lab, &large, &wanted("/new", Publish::New)).unwrap_err();
        assert_eq!(refusal.errno, Errno::NOSPC.raw_os_error(), "{refusal}");
        // By request alone, without a descriptor.
        lab.refuses(Request::Put(wanted("/new", Publish::New)), Errno::BADF);
        assert_eq!(lab.pool.read_dir("/").unwrap(), []);
        assert_eq!(lab.pool.stats().free, free);
        expect_nothing_left(&lab);
    }
}

#[test]
fn g6_a_file_for_which_there_is_no_space_waits_until_a_deadline() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        let file = lab.pool.create("/file").unwrap();
        let all = lab.pool.stats().free / 4096 * 4096;
        file.allocate(0..all).try_now().unwrap();
        let pinned = file.pin(0..all, Access::Write).wait().unwrap();
        file.truncate(0).detach().wait().unwrap();
        let source = host_file(MIB);
        for (policy, timeout_ms, errno) in [(Policy::Wait, Some(1), Errno::TIMEDOUT), (Policy::Try, None, Errno::NOSPC)]
        {
            let put_it = Put { waiting: Waiting { policy, timeout_ms }, ..wanted("/new", Publish::New) };
            let refusal = put(&mut lab, &source, &put_it).unwrap_err();
            assert_eq!(refusal.errno, errno.raw_os_error(), "{refusal}");
            assert!(refusal.message.contains("kept by pins"), "{refusal}");
        }
        drop(pinned);
        assert_eq!(put(&mut lab, &source, &wanted("/new", Publish::New)), Ok(Answer::Put { len: MIB }));
        expect_nothing_left(&lab);
    }
}

#[test]
fn g6_a_file_that_waits_for_space_is_withdrawn_when_its_client_hangs_up() {
    let lab = Lab::new(Way::Socket);
    let file = lab.pool.create("/file").unwrap();
    let all = lab.pool.stats().free;
    file.allocate(0..all).try_now().unwrap();
    let pinned = file.pin(0..all, Access::Write).wait().unwrap();
    file.truncate(0).detach().wait().unwrap();
    let source = host_file(MIB);
    for _ in 0..10 {
        let mut raw = Raw::greeted(&lab.live_dir());
        raw.ask_with(&Request::Put(wanted("/new", Publish::New)), &[source.as_fd()]);
    }
    // It ends with the last of its requests, though what they wait for does not.
    drop(lab.serving);
    drop(pinned);
    assert_eq!(lab.pool.read_dir("/").unwrap().len(), 1);
    lab.pool.sync().unwrap();
    assert_eq!(lab.pool.stats().free, all);
}

#[test]
fn g6_a_client_that_hangs_up_while_its_file_comes_in_leaves_nothing() {
    let lab = Lab::new(Way::Socket);
    let source = host_file(16 << 20);
    let free = lab.pool.stats().free;
    for _ in 0..20 {
        let mut raw = Raw::greeted(&lab.live_dir());
        raw.ask_with(&Request::Put(wanted("/new", Publish::New)), &[source.as_fd()]);
        drop(raw);
    }
    // When the server has ended, so have its clients' requests; one or the other may have been whole before.
    drop(lab.serving);
    let _ = lab.pool.unlink("/new");
    eventually("no pin is left", || lab.pool.pins().is_empty());
    lab.pool.sync().unwrap();
    eventually("nothing is taken", || lab.pool.stats().free == free);
}

#[test]
fn a_file_that_becomes_shorter_while_it_comes_in_is_refused_and_leaves_nothing() {
    // More than is in flight at once.
    const LEN: u64 = 48 << 20;
    for by_ring in [true, false] {
        let dir = common::scratch_dir();
        let path = dir.path().join("pool");
        let mut lab = Lab::with(Way::Ours, Pool::format(&path, 128 * MIB).unwrap(), path, dir);
        if !by_ring {
            forbid_rings(&lab);
        }
        let free = lab.pool.stats().free;
        let source = tempfile::tempfile().unwrap();
        source.set_len(LEN).unwrap();
        let cut = |_, _| source.set_len(4096).unwrap();
        let refusal = lab.reached.put(source.as_fd(), &wanted("/new", Publish::New), cut).unwrap_err();
        assert_eq!(refusal.errno, Errno::IO.raw_os_error(), "{refusal}");
        assert!(refusal.message.contains("became shorter"), "{refusal}");
        assert_eq!(lab.pool.read_dir("/").unwrap(), []);
        lab.pool.sync().unwrap();
        assert_eq!(lab.pool.stats().free, free);
        if by_ring {
            expect_nothing_left(&lab);
        }
    }
}

/// No ring finds a place for its lock.
fn forbid_rings(lab: &Lab) {
    std::fs::write(rings_in(lab.live_dir()), b"").unwrap();
}

#[test]
fn where_there_is_no_ring_the_bytes_are_copied() {
    for way in BOTH {
        let mut lab = Lab::new(way);
        forbid_rings(&lab);
        for len in [1, 4096, (9 << 20) + 17] {
            let file = host_file(len);
            assert_eq!(put(&mut lab, &file, &wanted("/new", Publish::Replace)), Ok(Answer::Put { len }));
            assert!(bytes_of(&lab.pool.open("/new").unwrap()) == pattern(len), "{len} bytes, {way:?}");
            let Ok(direct) = HostFile::options().read(true).custom_flags(libc::O_DIRECT).open(file.path()) else {
                println!("skipped: no O_DIRECT on {}", file.path().display());
                continue;
            };
            assert_eq!(put(&mut lab, &direct, &wanted("/direct", Publish::Replace)), Ok(Answer::Put { len }));
            assert!(bytes_of(&lab.pool.open("/direct").unwrap()) == pattern(len), "{len} bytes, {way:?}");
        }
    }
}
