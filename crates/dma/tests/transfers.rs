//! Transfers through io_uring: bytes, parts, batches, threads.

mod common;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use common::{Fixture, direct, eventually, pattern_at, scratch_dir, scratch_file};
use pinfold::layout::EventWaker;
use pinfold::{Access, Pinned, Pool, PoolOptions, Publish, Region, Until};
use pinfold_dma::{InFlight, Request, SubmitError, Uring, UringOptions, WaitError};

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn write_all(fd: &OwnedFd, bytes: &[u8]) {
    assert_eq!(rustix::io::write(fd, bytes), Ok(bytes.len()));
}

#[test]
fn a_file_is_read_with_o_direct_into_blocks_in_several_places() {
    let dir = scratch_dir();
    let Some(source) = direct(&scratch_file(&dir, 1 << 20)) else { return };
    let fixture = Fixture::new(1 << 20);
    let ring = Uring::new().unwrap();
    // In an order that is not the memory's.
    let pin = |range| fixture.file.pin(range, Access::Write);
    let pinned = pin(65536..262144).and(pin(0..4096)).and(pin(524288..528384)).wait().unwrap();
    let completion = ring.submit(Request::read(&source, 8192), pinned).unwrap().wait().unwrap();
    drop(completion.whole().unwrap());
    let bytes = fixture.bytes();
    assert!(bytes[65536..262144] == pattern_at(8192, 196608));
    assert!(bytes[..4096] == pattern_at(8192 + 196608, 4096));
    assert!(bytes[524288..528384] == pattern_at(8192 + 200704, 4096));
    fixture.expect_nothing_left();
}

#[test]
fn blocks_are_written_to_a_file_with_o_direct() {
    let dir = scratch_dir();
    let path = scratch_file(&dir, 65536);
    let Some(target) = direct(&path) else { return };
    let fixture = Fixture::new(8192);
    fixture.file.write_at(0, &[9; 8192]).unwrap();
    let pinned = fixture.file.pin(0..8192, Access::Read).wait().unwrap();
    let ring = Uring::new().unwrap();
    drop(ring.submit(Request::write(&target, 4096), pinned).unwrap().wait().unwrap().whole().unwrap());
    let mut expected = pattern_at(0, 65536);
    expected[4096..12288].fill(9);
    assert!(std::fs::read(&path).unwrap() == expected);
    fixture.expect_nothing_left();
}

/// A pinned range of `count` blocks, no two of which lie in a row.
fn scattered(pool: &Pool, count: u64) -> (pinfold::File, Pinned) {
    let file = pool.create("/scattered").unwrap();
    file.truncate(2 * count * 4096).wait().unwrap();
    file.allocate(0..2 * count * 4096).wait().unwrap();
    let every_second = |block: u64| file.pin(2 * block * 4096..(2 * block + 1) * 4096, Access::Write);
    let all = (1..count).map(every_second).fold(every_second(0), |all, next| all.and(next));
    let pinned = all.wait().unwrap();
    assert!(pinned.segments().len() as u64 >= count);
    (file, pinned)
}

#[test]
fn a_range_of_more_places_than_one_entry_takes_is_one_transfer() {
    let count = 2500;
    let dir = scratch_dir();
    let path = scratch_file(&dir, count * 4096);
    let pool = Pool::new(Region::memfd(64 << 20).unwrap()).unwrap();
    let (file, pinned) = scattered(&pool, count);
    let ring = Uring::new().unwrap();
    let source = std::fs::File::open(&path).unwrap();
    let in_flight = ring.submit(Request::read(&source, 0), pinned).unwrap();
    drop(in_flight.wait().unwrap().whole().unwrap());
    for block in [0, 1, 1023, 1024, 1025, 2047, 2048, 2499] {
        let mut bytes = vec![0; 4096];
        file.read_at(2 * block * 4096, &mut bytes).unwrap();
        assert!(bytes == pattern_at(block * 4096, 4096), "block {block}");
    }
    assert_eq!(pool.area().pins(), []);
}

#[test]
fn a_transfer_in_parts_that_ends_short_says_how_many_bytes_are_there_in_order() {
    let count = 2500;
    let dir = scratch_dir();
    let path = scratch_file(&dir, 1500 * 4096 + 100);
    let pool = Pool::new(Region::memfd(64 << 20).unwrap()).unwrap();
    let (_file, pinned) = scattered(&pool, count);
    let ring = Uring::new().unwrap();
    let source = std::fs::File::open(&path).unwrap();
    let completion = ring.submit(Request::read(&source, 0), pinned).unwrap().wait().unwrap();
    assert_eq!(completion.result.as_ref().ok(), Some(&(1500 * 4096 + 100)));
    drop(completion);
    assert_eq!(pool.area().pins(), []);
}

#[test]
fn a_transfer_in_parts_is_cancelled_as_one() {
    let pool = Pool::new(Region::memfd(64 << 20).unwrap()).unwrap();
    let (_file, pinned) = scattered(&pool, 2500);
    let (reader, _writer) = pipe();
    let ring = Uring::new().unwrap();
    // A pipe has no places, but the kernel does not mind an offset.
    drop(ring.submit(Request::read(&reader, 0), pinned).unwrap());
    assert_eq!(pool.area().pins(), []);
    assert_eq!((ring.in_flight(), ring.given_up()), (0, 0));
}

#[test]
fn bytes_go_through_sockets_from_pinned_memory_to_pinned_memory() {
    let fixture = Fixture::new(1 << 20);
    fixture.file.write_at(0, &pattern_at(0, 524288)).unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let ring = Uring::new().unwrap();
    let from =
        fixture.file.pin(0..4096, Access::Read).and(fixture.file.pin(8192..524288, Access::Read)).wait().unwrap();
    let to = fixture.file.pin(524288..1044480, Access::Write).wait().unwrap();
    let received = ring.submit(Request::receive(&other).whole(), to).unwrap();
    let sent = ring.submit(Request::send(&one).whole(), from).unwrap();
    drop(sent.wait().unwrap().whole().unwrap());
    drop(received.wait().unwrap().whole().unwrap());
    let bytes = fixture.bytes();
    assert!(bytes[524288..528384] == pattern_at(0, 4096));
    assert!(bytes[528384..1044480] == pattern_at(8192, 516096));
    fixture.expect_nothing_left();
}

#[test]
fn a_batch_larger_than_the_queue_waits_for_room() {
    let dir = scratch_dir();
    let path = scratch_file(&dir, 256 * 4096);
    let source = std::fs::File::open(&path).unwrap();
    let fixture = Fixture::new(256 * 4096);
    let ring = UringOptions::new().depth(8).create().unwrap();
    let pin = |block: u64| fixture.file.pin(block * 4096..(block + 1) * 4096, Access::Write).wait().unwrap();
    let requests: Vec<_> = (0..256).map(|block| (Request::read(&source, block * 4096), pin(block))).collect();
    let submitted = ring.submit_all(requests);
    assert_eq!(submitted.len(), 256);
    for in_flight in submitted {
        drop(in_flight.unwrap().wait().unwrap().whole().unwrap());
    }
    assert!(fixture.bytes() == pattern_at(0, 256 * 4096));
    fixture.expect_nothing_left();
}

#[test]
fn who_does_not_wait_for_room_is_told_and_keeps_his_memory() {
    let fixture = Fixture::new(65536);
    let (reader, _writer) = pipe();
    let ring = UringOptions::new().depth(2).create().unwrap();
    let pin = |block: u64| fixture.file.pin(block * 4096..(block + 1) * 4096, Access::Write).wait().unwrap();
    let read = Request::read_stream(&reader);
    let in_flight = [ring.try_submit(read, pin(0)).unwrap(), ring.try_submit(read, pin(1)).unwrap()];
    let refused = ring.try_submit(read, pin(2)).unwrap_err();
    assert!(matches!(refused.error, SubmitError::Full { in_flight: 2, max: 2 }), "{refused}");
    assert_eq!(refused.error.errno(), libc::EAGAIN);
    assert_eq!(refused.pinned.segments()[0].offset, 8192);
    drop((refused, in_flight));
    fixture.expect_nothing_left();
}

#[test]
fn who_waits_for_room_gets_it_when_another_thread_takes_a_completion() {
    let fixture = Fixture::new(65536);
    let (reader, writer) = pipe();
    let ring = UringOptions::new().depth(1).create().unwrap();
    let pin = |block: u64| fixture.file.pin(block * 4096..(block + 1) * 4096, Access::Write).wait().unwrap();
    let first = ring.submit(Request::read_stream(&reader), pin(0)).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| ring.submit(Request::read_stream(&reader), pin(1)).unwrap().wait().unwrap());
        write_all(&writer, b"one");
        assert_eq!(first.wait().unwrap().result.unwrap(), 3);
        write_all(&writer, b"and two");
        assert_eq!(second.join().unwrap().result.unwrap(), 7);
    });
    fixture.expect_nothing_left();
}

#[test]
fn g2_each_of_many_threads_gets_its_own_completion_in_any_order() {
    const THREADS: u64 = 8;
    let fixture = Fixture::new(THREADS * 4096);
    let ring = Uring::new().unwrap();
    let pipes: Vec<_> = (0..THREADS).map(|_| pipe()).collect();
    let (waits, waiting) = channel();
    thread::scope(|scope| {
        for (index, (reader, _)) in pipes.iter().enumerate() {
            let (ring, file, waits) = (&ring, &fixture.file, waits.clone());
            scope.spawn(move || {
                let at = index as u64 * 4096;
                for round in 0..50_u8 {
                    let pinned = file.pin(at..at + 4096, Access::Write).wait().unwrap();
                    let in_flight = ring.submit(Request::read_stream(reader), pinned).unwrap();
                    waits.send(index).unwrap();
                    let completion = in_flight.wait().unwrap();
                    let mut byte = [0];
                    completion.pinned.copy_out(0, &mut byte).unwrap();
                    assert_eq!((completion.result.unwrap(), byte[0]), (1, round));
                }
            });
        }
        drop(waits);
        // Answered in another order than asked, so that who leads is often another one than who is answered.
        let mut rounds = [0_u8; THREADS as usize];
        let mut held = Vec::new();
        for index in waiting {
            held.push(index);
            if held.len() == THREADS as usize || rounds.contains(&50) {
                for index in held.drain(..).rev() {
                    write_all(&pipes[index].1, &[rounds[index]]);
                    rounds[index] += 1;
                }
            }
        }
    });
    fixture.expect_nothing_left();
}

#[test]
fn a_thread_that_leads_hands_on_when_its_time_is_up() {
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let (idle, _kept) = pipe();
    let (reader, writer) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let mut never = ring.submit(Request::read_stream(&idle), pin(0)).unwrap();
    let some_time = ring.submit(Request::read_stream(&reader), pin(4096)).unwrap();
    thread::scope(|scope| {
        let leader = scope.spawn(|| never.until(Until::after(Duration::from_millis(20))));
        let follower = scope.spawn(|| some_time.wait());
        assert!(matches!(leader.join().unwrap(), Err(WaitError::TimedOut)));
        // Nobody but the follower can take this.
        write_all(&writer, b"x");
        assert_eq!(follower.join().unwrap().unwrap().result.unwrap(), 1);
    });
    drop(never);
    fixture.expect_nothing_left();
}

#[test]
fn futures_and_threads_wait_side_by_side() {
    // Many times, since the thread that leads may or may not be asleep when the ring's own thread takes over.
    for _ in 0..100 {
        let fixture = Fixture::new(8192);
        let ring = Uring::new().unwrap();
        let pipes = [pipe(), pipe()];
        let submit = |index: usize| {
            let at = index as u64 * 4096;
            let pinned = fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
            ring.submit(Request::read_stream(&pipes[index].0), pinned).unwrap()
        };
        let (blocking, future) = (submit(0), submit(1));
        thread::scope(|scope| {
            let blocked = scope.spawn(|| blocking.wait());
            let polled = scope.spawn(|| poll_to_end(future));
            write_all(&pipes[1].1, b"to the future");
            assert_eq!(polled.join().unwrap().unwrap().result.unwrap(), 13);
            write_all(&pipes[0].1, b"to the thread");
            assert_eq!(blocked.join().unwrap().unwrap().result.unwrap(), 13);
        });
        fixture.expect_nothing_left();
    }
}

#[test]
fn submitting_and_taking_side_by_side_loses_no_request() {
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    thread::scope(|scope| {
        for at in [0, 4096] {
            let (ring, file, zero) = (&ring, &fixture.file, &zero);
            scope.spawn(move || {
                for _ in 0..20_000 {
                    let pinned = file.pin(at..at + 4096, Access::Write).wait().unwrap();
                    let mut in_flight = ring.submit(Request::read(zero, 0), pinned).unwrap();
                    while in_flight.try_now().unwrap().is_none() {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    fixture.expect_nothing_left();
}

#[test]
fn completions_that_find_no_place_in_the_queue_are_not_lost() {
    let fixture = Fixture::new(8192);
    let ring = UringOptions::new().depth(2).create().unwrap();
    let (reader, _writer) = pipe();
    let (other_reader, writer) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let cancelled = ring.submit(Request::read_stream(&reader), pin(0)).unwrap();
    let mut wanted = ring.submit(Request::read_stream(&other_reader), pin(4096)).unwrap();
    // Each cancel has a completion of its own, also those that find the transfer gone: the queue is full of them.
    for _ in 0..100 {
        cancelled.cancel();
    }
    write_all(&writer, b"late");
    eventually("the transfer ends", || wanted.try_now().unwrap().is_some());
    drop(cancelled);
    fixture.expect_nothing_left();
}

fn soon() -> Until {
    Until::after(Duration::from_millis(5))
}

fn poll_to_end(in_flight: InFlight) -> Result<pinfold_dma::Completion, WaitError> {
    let event = EventWaker::new().unwrap();
    let waker = event.waker();
    let mut future = std::pin::pin!(in_flight);
    loop {
        match Future::poll(future.as_mut(), &mut Context::from_waker(&waker)) {
            Poll::Ready(completion) => return completion,
            Poll::Pending => event.wait().unwrap(),
        }
        event.clear();
    }
}

#[test]
fn g4_a_thread_that_would_have_to_take_the_completion_in_is_told_at_once() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let (reader, writer) = pipe();
    let in_flight = ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap();
    let refused = fixture.file.truncate(0).wait().unwrap_err();
    assert_eq!(refused.errno(), libc::EDEADLK, "{refused}");
    // Once it goes on alone, a thread takes the completion in, and the truncate waits for that.
    in_flight.let_go();
    thread::scope(|scope| {
        let truncating = scope.spawn(|| fixture.file.truncate(0).wait());
        eventually("the truncate waits", || !fixture.pool.area().breaks().is_empty());
        assert_eq!(fixture.file.truncate(0).until(soon()).unwrap_err().errno(), libc::ETIMEDOUT);
        write_all(&writer, b"x");
        truncating.join().unwrap().unwrap();
    });
    fixture.expect_nothing_left();
}

#[test]
fn g4_a_break_waits_for_a_transfer_that_another_thread_waits_for() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    let (reader, writer) = pipe();
    let in_flight = ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| in_flight.wait().map(drop));
        let errno = || fixture.file.truncate(0).until(soon()).unwrap_err().errno();
        eventually("the other thread has it", || errno() == libc::ETIMEDOUT);
        write_all(&writer, b"x");
        waiting.join().unwrap().unwrap();
    });
    fixture.expect_nothing_left();
}

#[test]
fn g4_an_attended_ring_tells_a_thread_that_would_wait_for_itself() {
    let fixture = Fixture::new(4096);
    let ring = UringOptions::new().attended(true).create().unwrap();
    let (reader, writer) = pipe();
    let in_flight = ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap();
    let breaks = || fixture.pool.area().breaks();
    thread::scope(|scope| {
        let sends = scope.spawn(|| {
            eventually("the truncate waits", || breaks().iter().any(|running| running.behind.is_some()));
            write_all(&writer, b"x");
        });
        let refused = fixture.file.truncate(0).wait().unwrap_err();
        assert_eq!(refused.errno(), libc::EDEADLK, "{refused}");
        sends.join().unwrap();
    });
    drop(in_flight);
    fixture.expect_nothing_left();
}

#[test]
fn reads_fill_a_reservation_and_say_how_far() {
    let fixture = Fixture::new(4096);
    let (reader, writer) = pipe();
    let ring = Uring::new().unwrap();
    let reservation = fixture.pool.reserve(65536).wait().unwrap();
    let pinned = reservation.pin(0..65536).wait().unwrap();
    let in_flight = ring.submit(Request::read_stream(&reader), pinned).unwrap();
    write_all(&writer, &[5; 5000]);
    drop(in_flight.wait().unwrap());
    let file = reservation.publish("/published", Publish::New).unwrap();
    let mut bytes = vec![1; 65536];
    file.read_at(0, &mut bytes).unwrap();
    assert!(bytes[..5000] == [5; 5000] && bytes[5000..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_transfer_whose_thread_has_ended_gives_its_pins_back() {
    let fixture = Fixture::new(4096);
    let ring = Arc::new(Uring::new().unwrap());
    let (receiver, mut sender) = UnixStream::pair().unwrap();
    let pinned = fixture.pin();
    let submitting = Arc::clone(&ring);
    let submitted = thread::spawn(move || submitting.submit(Request::receive(&receiver), pinned).unwrap()).join();
    sender.write_all(b"x").unwrap();
    // The kernel may have cancelled it: it belonged to a thread that is gone.
    let completion = submitted.unwrap().wait().unwrap();
    assert!(matches!(completion.result.as_ref().map_err(|error| error.errno()), Ok(1) | Err(libc::ECANCELED)));
    drop(completion);
    fixture.expect_nothing_left();
}

#[test]
fn g6_a_signal_ends_a_wait_that_asks_for_it_whoever_leads() {
    extern "C" fn ignore(_: libc::c_int) {}
    // SAFETY: the handler does nothing; all of the action is initialised.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
    }
    let fixture = Fixture::new(8192);
    let ring = Uring::new().unwrap();
    let (reader, _writer) = pipe();
    let pin = |at: u64| fixture.file.pin(at..at + 4096, Access::Write).wait().unwrap();
    let submit = |at: u64| ring.submit(Request::read_stream(&reader), pin(at)).unwrap();
    thread::scope(|scope| {
        // One of them leads, the other one follows.
        let waiting: Vec<_> = [submit(0), submit(4096)]
            .into_iter()
            .map(|mut in_flight| {
                let (tell, told) = channel();
                let wait = move || {
                    // SAFETY: always possible.
                    tell.send(unsafe { libc::pthread_self() }).unwrap();
                    let ended = in_flight.until(Until::done().interruptible());
                    assert!(matches!(ended, Err(WaitError::Interrupted)), "{ended:?}");
                };
                (scope.spawn(wait), told.recv().unwrap())
            })
            .collect();
        for (thread, id) in waiting {
            while !thread.is_finished() {
                // SAFETY: the thread was not joined yet, so its number is its own.
                unsafe { libc::pthread_kill(id, libc::SIGUSR2) };
                thread::yield_now();
            }
            thread.join().unwrap();
        }
    });
    fixture.expect_nothing_left();
}

#[test]
fn memory_of_several_pools_goes_through_one_ring() {
    let fixtures = [Fixture::new(4096), Fixture::new(4096)];
    let ring = Uring::new().unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    for fixture in fixtures.iter().chain(&fixtures) {
        let in_flight = ring.submit(Request::read(&zero, 0), fixture.pin()).unwrap();
        assert_eq!(fixture.pool.area().pins()[0].engine, **ring.name());
        drop(in_flight.wait().unwrap().whole().unwrap());
    }
    fixtures.iter().for_each(Fixture::expect_nothing_left);
}

#[test]
fn large_blocks_and_huge_transfers_move_whole() {
    let pool = PoolOptions::new().block_size(2 << 20).create(Region::memfd(64 << 20).unwrap()).unwrap();
    let file = pool.create("/large").unwrap();
    file.allocate(0..32 << 20).wait().unwrap();
    let ring = Uring::new().unwrap();
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let pinned = file.pin(0..32 << 20, Access::Read).wait().unwrap();
    let in_flight = ring.submit(Request::send(&writer).whole(), pinned).unwrap();
    let reading = thread::spawn(move || {
        let mut bytes = vec![1; 32 << 20];
        reader.read_exact(&mut bytes).unwrap();
        bytes.iter().all(|byte| *byte == 0)
    });
    drop(in_flight.wait().unwrap().whole().unwrap());
    assert!(reading.join().unwrap());
}
