//! Devices that fail or end short, descriptors that are closed, and requests that make no sense: each is told clearly, and
//! pins, blocks and descriptors are back afterwards.

mod common;

use std::fs::File as DiskFile;
use std::future::Future;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use common::child::{play, run};
use common::{Fixture, direct, eventually, scratch_dir, scratch_file};
use pinfold::{Access, Pool, PoolOptions, Region, Until};
use pinfold_dma::late::{Cancels, LateDevice, LateOptions, LateRequest};
use pinfold_dma::{Request, RingError, SubmitError, TransferError, Uring, UringOptions, WaitError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What would be waited for in vain ends then.
const A_MINUTE: Duration = Duration::from_secs(60);

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

#[test]
fn the_other_process() {
    play(&[
        ("io_uring is forbidden", io_uring_is_forbidden),
        ("no descriptor is left", no_descriptor_is_left),
        ("no thread can be started", no_thread_can_be_started),
        ("no thread for a future", no_thread_for_a_future),
        ("no thread for what is let go", no_thread_for_what_is_let_go),
        ("no thread for the ring's end", no_thread_for_the_rings_end),
        ("descriptors come back", descriptors_come_back),
    ]);
}

#[test]
fn a_descriptor_that_is_closed_in_flight_does_not_disturb_the_transfer() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let (reader, writer) = pipe();
    let in_flight = ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap();
    drop(reader);
    // Another file may get the number: the transfer is not its.
    let _other = DiskFile::open("/dev/zero").unwrap();
    rustix::io::write(&writer, b"still").unwrap();
    let completion = in_flight.wait().unwrap();
    assert_eq!(completion.result.as_ref().ok(), Some(&5));
    drop(completion);
    fixture.expect_nothing_left();
}

#[test]
fn a_peer_that_goes_away_in_flight_ends_the_transfer_short() {
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let (receiver, mut sender) = UnixStream::pair().unwrap();
    let in_flight = ring.submit(Request::receive(&receiver).whole(), fixture.pin()).unwrap();
    sender.write_all(&[1; 100]).unwrap();
    drop(sender);
    let short = in_flight.wait().unwrap().whole().unwrap_err();
    assert!(matches!(short, TransferError::Short { moved: 100, len: 8192, .. }), "{short}");
    assert!(short.to_string().ends_with("receive ended short: 100 of 8192 bytes"), "{short}");
    fixture.expect_nothing_left();
}

#[test]
fn a_peer_that_is_gone_fails_the_transfer() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    drop(other);
    let pinned = fixture.file.pin(0..4096, Access::Read).wait().unwrap();
    let failed = ring.submit(Request::send(&one), pinned).unwrap().wait().unwrap().whole().unwrap_err();
    assert_eq!(failed.errno(), libc::EPIPE, "{failed}");
    fixture.expect_nothing_left();
}

#[test]
fn a_device_that_has_no_more_ends_short() {
    let dir = scratch_dir();
    let path = scratch_file(&dir, 10_000);
    let fixture = Fixture::new(65536);
    let ring = Uring::new().unwrap();
    let source = DiskFile::open(&path).unwrap();
    for (offset, expected) in [(0, 10_000), (8192, 1808), (10_000, 0), (1 << 40, 0)] {
        let completion = ring.submit(Request::read(&source, offset), fixture.pin()).unwrap().wait().unwrap();
        assert_eq!(completion.result.as_ref().ok(), Some(&expected), "at {offset}");
        assert!(matches!(completion.whole(), Err(TransferError::Short { moved, .. }) if moved == expected));
    }
    fixture.expect_nothing_left();
}

#[test]
fn a_device_that_fails_says_so_and_names_the_place() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let directory = DiskFile::open("/").unwrap();
    let completion = ring.submit(Request::read(&directory, 512), fixture.pin()).unwrap().wait().unwrap();
    let failed = completion.whole().unwrap_err();
    assert_eq!(failed.errno(), libc::EISDIR);
    assert_eq!(failed.to_string(), format!("{}: read at byte 512: Is a directory (os error 21)", ring.name()));

    let full = DiskFile::options().write(true).open("/dev/full").unwrap();
    let pinned = fixture.file.pin(0..4096, Access::Read).wait().unwrap();
    let failed = ring.submit(Request::write(&full, 0), pinned).unwrap().wait().unwrap().whole().unwrap_err();
    assert_eq!(failed.errno(), libc::ENOSPC);

    let write_only = DiskFile::options().write(true).open("/dev/null").unwrap();
    let failed = ring.submit(Request::read(&write_only, 0), fixture.pin()).unwrap().wait().unwrap().whole();
    assert_eq!(failed.unwrap_err().errno(), libc::EBADF);

    let not_a_socket = ring.submit(Request::receive(&directory), fixture.pin()).unwrap().wait().unwrap().whole();
    assert_eq!(not_a_socket.unwrap_err().errno(), libc::ENOTSOCK);
    fixture.expect_nothing_left();
}

#[test]
fn what_is_not_aligned_for_o_direct_is_told_so() {
    let dir = scratch_dir();
    let Some(source) = direct(&scratch_file(&dir, 65536)) else { return };
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let pinned = fixture.file.pin(1..1025, Access::Write).wait().unwrap();
    let completion = ring.submit(Request::read(&source, 3), pinned).unwrap().wait().unwrap();
    match completion.whole() {
        Ok(_) => println!("skipped: {} takes O_DIRECT at any address", dir.path().display()),
        Err(failed) => assert!(failed.to_string().contains("is it aligned as O_DIRECT asks for?"), "{failed}"),
    }
    fixture.expect_nothing_left();
}

#[test]
fn what_no_file_has_is_refused_and_the_memory_comes_back() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let zero = DiskFile::open("/dev/zero").unwrap();
    for offset in [1 << 63, u64::MAX - 1, u64::MAX] {
        let refused = ring.submit(Request::read(&zero, offset), fixture.pin()).unwrap_err();
        assert!(matches!(refused.error, SubmitError::BadOffset(what) if what.at == Some(offset)), "{refused}");
        assert_eq!((refused.error.errno(), refused.pinned.len()), (libc::EINVAL, 4096));
    }
    let last = ring.submit(Request::read(&zero, i64::MAX as u64), fixture.pin()).unwrap();
    drop(last.wait().unwrap());
    fixture.expect_nothing_left();
}

#[test]
fn a_device_does_not_write_what_is_pinned_for_reading() {
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let zero = DiskFile::open("/dev/zero").unwrap();
    let part = fixture.file.pin(0..4096, Access::Write).and(fixture.file.pin(4096..8192, Access::Read)).wait().unwrap();
    let refused = ring.submit(Request::read(&zero, 0), part).unwrap_err();
    assert!(matches!(refused.error, SubmitError::ReadOnly(_)), "{refused}");
    assert_eq!(refused.error.errno(), libc::EACCES);
    // It may read what is pinned for writing.
    let null = DiskFile::options().write(true).open("/dev/null").unwrap();
    drop(ring.submit(Request::write(&null, 0), fixture.pin()).unwrap().wait().unwrap().whole().unwrap());
    drop(refused);
    fixture.expect_nothing_left();
}

#[test]
fn memory_that_only_another_device_addresses_is_refused() {
    let region = Region::device_only(7, 1 << 40, 1 << 20).unwrap();
    let pool = PoolOptions::new().zero_with(|_, _| Ok(())).create(region).unwrap();
    let file = pool.create("/there").unwrap();
    file.allocate(0..4096).wait().unwrap();
    let ring = Uring::new().unwrap();
    let zero = DiskFile::open("/dev/zero").unwrap();
    let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
    let refused = ring.submit(Request::read(&zero, 0), pinned).unwrap_err();
    assert!(matches!(refused.error, SubmitError::DeviceOnly(_)), "{refused}");
    assert_eq!(refused.error.errno(), libc::EOPNOTSUPP);
    assert_eq!(ring.register(&pool).unwrap_err().errno(), libc::EOPNOTSUPP);
}

#[test]
fn queues_of_absurd_depth_are_refused() {
    for depth in [0, 32769, u32::MAX] {
        let refused = UringOptions::new().depth(depth).create().unwrap_err();
        assert!(matches!(refused, RingError::BadDepth(asked) if asked == depth), "{refused}");
        assert_eq!(refused.errno(), libc::EINVAL);
    }
    drop(UringOptions::new().depth(1).create().unwrap());
    drop(UringOptions::new().depth(32768).create().unwrap());
}

#[test]
fn a_directory_for_locks_that_is_not_there_is_named() {
    let refused = UringOptions::new().lock_dir("/nowhere/at/all").create().unwrap_err();
    assert_eq!(refused.errno(), libc::ENOENT);
    assert!(refused.to_string().starts_with("/nowhere/at/all/ring-"), "{refused}");
}

#[test]
fn what_a_late_device_leaves_in_quarantine_is_released_when_it_is_dropped() {
    let fixture = Fixture::new(4096);
    let options = LateOptions::new().cancels(Cancels::Ignored).patience(Duration::ZERO);
    let device = options.start().unwrap();
    drop(device.submit(LateRequest::fill([1; 4096]), fixture.pin()).unwrap());
    assert_eq!((device.in_flight(), device.given_up(), fixture.pool.quarantine().len()), (1, 1, 1));
    drop(device);
    assert_eq!(fixture.bytes(), [1; 4096]);
    fixture.expect_nothing_left();
}

#[test]
fn a_transfer_that_outlives_its_device_is_answered() {
    let fixture = Fixture::new(4096);
    let device = LateOptions::new().cancels(Cancels::Ignored).start().unwrap();
    let mut in_flight = device.submit(LateRequest::fill([1; 4096]), fixture.pin()).unwrap();
    drop(device);
    let said = in_flight.until(Until::done()).unwrap_err();
    assert!(matches!(said, WaitError::Abandoned(_)), "{said}");
    assert_eq!(said.errno(), libc::ECANCELED);
    drop(in_flight);
    fixture.expect_nothing_left();
}

#[test]
fn io_uring_that_is_forbidden_is_one_clear_error() {
    run("io_uring is forbidden");
}

fn io_uring_is_forbidden(_: &str) {
    let before = descriptors();
    deny(libc::SYS_io_uring_setup as u32, libc::EPERM);
    let refused = Uring::new().unwrap_err();
    assert!(matches!(refused, RingError::Forbidden | RingError::Disabled(_)), "{refused}");
    assert_eq!(refused.errno(), libc::EPERM);
    assert!(refused.to_string().contains("io_uring is forbidden to this process"), "{refused}");
    assert_eq!(descriptors(), before);
    // What needs no ring goes on.
    let fixture = Fixture::new(4096);
    let device = LateDevice::new().unwrap();
    let in_flight = device.submit(LateRequest::fill([1; 4096]), fixture.pin()).unwrap();
    assert!(device.complete(in_flight.ticket()));
    drop(in_flight.wait().unwrap().whole().unwrap());
    fixture.expect_nothing_left();
}

/// From here on a system call fails with `errno`, in this process for good.
fn deny(call: u32, errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        // The number of the call; if it is not that one, the next statement is passed over.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call) },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true).unwrap();
    // SAFETY: the program is whole, and the kernel copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// From here on this thread, and those that it has started later, start none.
fn deny_threads() {
    deny(libc::SYS_clone3 as u32, libc::EAGAIN);
    deny(libc::SYS_clone as u32, libc::EAGAIN);
}

#[test]
fn a_ring_whose_thread_cannot_be_started_is_one_clear_error_and_nothing_leaks() {
    run("no thread can be started");
}

fn no_thread_can_be_started(_: &str) {
    let dir = scratch_dir();
    let attended = || UringOptions::new().lock_dir(dir.path()).attended(true);
    drop(attended().create().unwrap());
    let fixture = Fixture::new(4096);
    let before = descriptors();
    deny_threads();
    let refused = attended().create().unwrap_err();
    assert_eq!(refused.errno(), libc::EAGAIN);
    assert!(refused.to_string().contains("start the ring's thread"), "{refused}");
    assert_eq!(descriptors(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "its lock is gone");
    // Whoever waits takes completions in.
    let ring = Uring::new().unwrap();
    let zeros = common::zeros(4096);
    drop(ring.submit(Request::read(&zeros, 0), fixture.pin()).unwrap().wait().unwrap().whole().unwrap());
    fixture.expect_nothing_left();
}

#[test]
fn g4_a_future_that_finds_no_thread_is_told_and_its_transfer_stays_its_threads() {
    run("no thread for a future");
}

fn no_thread_for_a_future(_: &str) {
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let pipes = [pipe(), pipe()];
    let submit = |index: usize| {
        let at = index as u64 * 4096;
        let pinned = fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
        ring.submit(Request::read_stream(&pipes[index].0), pinned).unwrap()
    };
    let (other, mut polled) = (submit(0), submit(1));
    deny_threads();
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(refused)) = Pin::new(&mut polled).poll(&mut context) else { panic!("there is no thread") };
    assert!(matches!(refused, WaitError::NoThread(_)), "{refused}");
    // Nobody takes them in but this thread: a wait for them would be for itself.
    for block in [0..4096, 4096..8192] {
        let own = fixture.file.punch(block).until(Until::after(A_MINUTE)).unwrap_err();
        assert_eq!(own.errno(), libc::EDEADLK, "{own}");
    }
    for (in_flight, (_, writer)) in [other, polled].into_iter().zip(&pipes) {
        rustix::io::write(writer, b"here").unwrap();
        assert_eq!(in_flight.wait().unwrap().result.unwrap(), 4);
    }
    fixture.expect_nothing_left();
}

#[test]
fn g4_what_is_let_go_without_a_thread_ends_when_somebody_waits() {
    run("no thread for what is let go");
}

fn no_thread_for_what_is_let_go(_: &str) {
    let fixture = Fixture::new(3 * 4096);
    let ring = UringOptions::new().patience(Duration::ZERO).create().unwrap();
    let (reader, writer) = pipe();
    let zeros = common::zeros(4096);
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    deny_threads();
    ring.submit(Request::read_stream(&reader), pin(0)).unwrap().let_go();
    let own = fixture.file.punch(0..4096).until(Until::after(A_MINUTE)).unwrap_err();
    assert_eq!(own.errno(), libc::EDEADLK, "{own}");
    assert_eq!(own.holder().expect("it is in the way").pin.engine, **ring.name());
    rustix::io::write(&writer, b"x").unwrap();
    eventually("somebody who waits takes it in", || {
        drop(ring.submit(Request::read(&zeros, 0), pin(4096)).unwrap().wait().unwrap());
        fixture.pool.area().pins().is_empty()
    });
    // And what the ring still has at its end.
    ring.submit(Request::read_stream(&reader), pin(0)).unwrap().let_go();
    ring.shut_down(Until::done()).unwrap();
    fixture.expect_nothing_left();
}

#[test]
fn a_ring_whose_last_handle_goes_on_its_own_thread_ends_without_another() {
    run("no thread for the ring's end");
}

/// Lets the ring go when it is woken, where no thread can be started any more.
struct LetRingGo(Mutex<Option<Uring>>);

impl Wake for LetRingGo {
    fn wake(self: Arc<Self>) {
        if let Some(ring) = self.0.lock().unwrap().take() {
            deny_threads();
            drop(ring);
        }
    }
}

fn no_thread_for_the_rings_end(_: &str) {
    let fixture = Fixture::new(3 * 4096);
    let ring = Uring::new().unwrap();
    let (reader, writer) = pipe();
    let (idle, _kept) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let mut polled = ring.submit(Request::read_stream(&reader), pin(0)).unwrap();
    let waits = ring.submit(Request::read_stream(&idle), pin(4096)).unwrap();
    ring.submit(Request::read_stream(&idle), pin(8192)).unwrap().let_go();
    let lock = ring.lock().unwrap();
    let waker = Waker::from(Arc::new(LetRingGo(Mutex::new(Some(ring)))));
    assert!(Pin::new(&mut polled).poll(&mut Context::from_waker(&waker)).is_pending());
    rustix::io::write(&writer, b"x").unwrap();
    lock.wait(Until::after(A_MINUTE)).unwrap();
    assert_eq!(polled.wait().unwrap().result.unwrap(), 1);
    assert_eq!(waits.wait().unwrap().whole().unwrap_err().errno(), libc::ECANCELED);
    fixture.expect_nothing_left();
}

#[test]
fn too_few_descriptors_are_one_clear_error_and_nothing_leaks() {
    run("no descriptor is left");
}

fn no_descriptor_is_left(_: &str) {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limits }).unwrap();
    let open = || DiskFile::open("/dev/null").ok();
    let mut taken: Vec<DiskFile> = std::iter::from_fn(open).collect();
    // The ring takes one, its lock two.
    for spare in 0..3 {
        let refused = Uring::new().unwrap_err();
        assert!(matches!(refused, RingError::NoDescriptor), "{refused}, with {spare} to spare");
        assert_eq!(refused.errno(), libc::EMFILE);
        // All that were there before are there again, and one more.
        let free: Vec<DiskFile> = std::iter::from_fn(open).collect();
        assert_eq!(free.len(), spare);
        taken.pop();
    }
    drop(Uring::new().unwrap());
}

#[test]
fn descriptors_come_back_after_every_failure() {
    run("descriptors come back");
}

/// In a process of its own, since other tests open and close descriptors meanwhile.
fn descriptors_come_back(_: &str) {
    // What is opened once and kept: the clock's thread and the like.
    drop(Uring::new().unwrap());
    let before = descriptors();
    a_descriptor_that_is_closed_in_flight_does_not_disturb_the_transfer();
    a_peer_that_goes_away_in_flight_ends_the_transfer_short();
    a_peer_that_is_gone_fails_the_transfer();
    a_device_that_fails_says_so_and_names_the_place();
    what_no_file_has_is_refused_and_the_memory_comes_back();
    queues_of_absurd_depth_are_refused();
    a_directory_for_locks_that_is_not_there_is_named();
    what_a_late_device_leaves_in_quarantine_is_released_when_it_is_dropped();
    a_transfer_that_outlives_its_device_is_answered();
    eventually("descriptors are closed", || descriptors() == before);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_ring_that_was_shut_down_refuses_and_its_transfers_are_answered() {
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let (reader, _writer) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let waiting = ring.submit(Request::read_stream(&reader), pin(0)).unwrap();
    let lock = ring.lock().unwrap();
    assert!(lock.try_proof().unwrap().is_none());
    let proof = ring.shut_down(Until::done()).unwrap();
    assert_eq!(proof.name(), lock.name());
    assert_eq!(waiting.wait().unwrap().whole().unwrap_err().errno(), libc::ECANCELED);
    lock.wait(Until::done()).unwrap();
    fixture.expect_nothing_left();
}

#[test]
fn a_pool_may_go_before_what_was_registered_and_submitted_of_it() {
    let ring = Uring::new().unwrap();
    let (reader, writer) = pipe();
    let in_flight = {
        let pool = Pool::new(Region::memfd(4 << 20).unwrap()).unwrap();
        let file = pool.create("/short-lived").unwrap();
        file.allocate(0..4096).wait().unwrap();
        ring.register(&pool).unwrap();
        ring.submit(Request::read_stream(&reader), file.pin(0..4096, Access::Write).wait().unwrap()).unwrap()
    };
    rustix::io::write(&writer, b"here").unwrap();
    let completion = in_flight.wait().unwrap();
    let mut bytes = [0; 4];
    completion.pinned.copy_out(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"here");
}
