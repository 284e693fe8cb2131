//! What a busy operation says: which file, which bytes, who holds them, how, and since when (G7). No object, no block.

use std::pin::pin;
use std::thread;
use std::time::Duration;

use pinfold::{
    Access, AreaOptions, File, NameError, PinReport, Pinned, Policy, Pool, PoolOptions, Publish, Region, Until,
};
use pinfold_layout::{BreakError, Effect, PinError};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, filled, poll_once, pool_of, wait_until_behind};

const SOON: Duration = Duration::from_millis(10);

/// A file under a name, whose bytes from the third block on a device writes.
fn pinned_file() -> (Pool, File, Pinned) {
    let pool = pool_of(MIB);
    pool.create_dir("/cache").unwrap();
    let file = filled(&pool, "/cache/chunk", 8 * BLOCK, 7);
    let pinned = file.pin(2 * BLOCK..4 * BLOCK, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
    (pool, file, pinned)
}

/// What every message says of that pin.
fn holder() -> String {
    let pid = std::process::id();
    let bytes = format!("bytes {}..{}", 2 * BLOCK, 4 * BLOCK);
    format!("/cache/chunk {bytes}: process {pid} holds a device write pin, through nic 0, for chunk 17, for 0.")
}

#[track_caller]
fn assert_is(errno: i32, expected: Errno, error: &dyn std::error::Error, begins: &str) {
    assert_errno(errno, expected, error);
    let message = error.to_string();
    assert!(message.starts_with(begins), "it says:\n{message}\nand not:\n{begins}");
    assert!(!message.contains("object") && !message.contains('\n'), "{message}");
}

#[track_caller]
fn assert_is_nics(holder: Option<&PinReport>, file: &File) {
    let holder = holder.expect("a pin is in the way");
    assert_eq!((holder.file, holder.bytes.clone()), (file.id(), 2 * BLOCK..4 * BLOCK));
    assert_eq!((holder.pin.engine.as_str(), holder.pin.pid), ("nic 0", std::process::id()));
}

#[test]
fn g7_what_is_busy_names_the_file_its_bytes_and_the_holder() {
    let (pool, file, pinned) = pinned_file();
    let other = filled(&pool, "/other", 8 * BLOCK, 1);
    for change in [
        file.truncate(0),
        file.punch(0..8 * BLOCK),
        file.zero(0..8 * BLOCK),
        file.collapse(0..BLOCK),
        file.insert(0, BLOCK),
        other.exchange(0..4 * BLOCK, &file, BLOCK),
    ] {
        let busy = change.try_now().unwrap_err();
        assert_is(busy.errno(), Errno::BUSY, &busy, &format!("busy: {}", holder()));
        assert_is_nics(busy.holder(), &file);
        let pinfold::ChangeError::Break(not_broken) = &busy else { panic!("{busy:?}") };
        assert!(matches!(not_broken.cause(), BreakError::Busy(_)) && not_broken.behind().is_none());
    }
    // Whom it has left behind is known by its number.
    pool.unlink("/cache/chunk").unwrap();
    let busy = file.truncate(0).try_now().unwrap_err();
    assert_is(busy.errno(), Errno::BUSY, &busy, &format!("busy: {} bytes {}..", file.id(), 2 * BLOCK));
    assert_is_nics(busy.holder(), &file);
    drop(pinned);
}

#[test]
fn g7_what_timed_out_names_who_it_waited_for() {
    let (_pool, file, mut pinned) = pinned_file();
    pinned.hand_over();
    let late = file.truncate(BLOCK).until(Until::after(SOON)).unwrap_err();
    assert_is(late.errno(), Errno::TIMEDOUT, &late, &format!("timed out: {}", holder()));
    assert_is_nics(late.holder(), &file);
}

#[test]
fn g4_what_would_wait_for_its_own_thread_names_the_pin() {
    let (_pool, file, pinned) = pinned_file();
    let own = file.punch(0..8 * BLOCK).wait().unwrap_err();
    assert_is(own.errno(), Errno::DEADLK, &own, &format!("would wait for its own thread: {}", holder()));
    assert_is_nics(own.holder(), &file);
    drop(pinned);
}

#[test]
fn g7_a_pin_behind_an_operation_names_it_and_who_that_waits_for() {
    let (pool, file, pinned) = pinned_file();
    let mut cut = pin!(file.truncate(BLOCK).wait_async());
    assert!(poll_once(cut.as_mut()).is_pending());
    wait_until_behind(&pool, &file);
    let behind = |pin: &str, how: &str| {
        let operation = format!("an operation on /cache/chunk bytes {BLOCK} to the end, for 0.");
        (format!("/cache/chunk {pin}: {how} {operation}"), format!("waits for {}", holder()))
    };
    let pin = || file.pin(100..2 * BLOCK, Access::Read);

    let busy = pin().try_now().unwrap_err();
    let (begins, ends) = behind("bytes 100..8192", "busy: behind");
    assert_is(busy.errno(), Errno::BUSY, &busy, &begins);
    assert!(busy.to_string().contains(&ends), "{busy}");
    assert_is_nics(busy.holder(), &file);
    let pinfold::PinError::Layout(not_pinned) = &busy else { panic!("{busy:?}") };
    assert!(matches!(not_pinned.cause(), PinError::LayoutBreaking { .. }));
    assert_eq!(not_pinned.behind().expect("it runs").ranges[0].2, BLOCK..u64::MAX);

    // Of several, the one that it is.
    let other = filled(&pool, "/other", BLOCK, 1);
    let both = other.pin(0..BLOCK, Access::Read).and(pin()).try_now().unwrap_err();
    assert_is(both.errno(), Errno::BUSY, &both, &begins);

    // From another thread, which may wait.
    let (begins, ends) = behind("bytes 100..8192", "timed out behind");
    let late = thread::scope(|scope| scope.spawn(|| pin().until(Until::after(SOON)).unwrap_err()).join().unwrap());
    assert_is(late.errno(), Errno::TIMEDOUT, &late, &begins);
    assert!(late.to_string().contains(&ends), "{late}");

    let (begins, ends) = behind("bytes 100..8192", "would wait for its own thread or transfer, behind");
    let own = pin().wait().unwrap_err();
    assert_is(own.errno(), Errno::DEADLK, &own, &begins);
    assert!(own.to_string().contains(&ends), "{own}");
    assert_is_nics(own.holder(), &file);
    drop(pinned);
}

#[test]
fn g7_an_operation_behind_another_names_it() {
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let layout = pool.area().layout(file.id().number()).unwrap();
    let mut other = pool.area().break_layout(&[(&layout, 0..2)], Policy::Wait, Effect::Frees).unwrap();
    let closed = other.drain(Until::done()).unwrap();
    let begins = |how: &str| {
        let files = format!("/file bytes {BLOCK} to the end");
        format!("{how}: {files}: behind an operation on /file bytes 0..{}, for 0.", 2 * BLOCK)
    };
    let busy = file.truncate(BLOCK).try_now().unwrap_err();
    assert_is(busy.errno(), Errno::BUSY, &busy, &begins("busy"));
    assert!(busy.holder().is_none());
    let late = || file.truncate(BLOCK).until(Until::after(SOON)).unwrap_err();
    let late = thread::scope(|scope| scope.spawn(late).join().unwrap());
    assert_is(late.errno(), Errno::TIMEDOUT, &late, &begins("timed out"));
    let own = file.truncate(BLOCK).wait().unwrap_err();
    assert_is(own.errno(), Errno::DEADLK, &own, &begins("would wait for its own thread"));
    // A copy by this thread would wait for it too.
    let own = file.write_at(0, &[1]).unwrap_err();
    let begins = format!("/file bytes 0..{BLOCK}: would wait for its own thread or transfer, behind an operation");
    assert_is(own.errno(), Errno::DEADLK, &own, &begins);
    drop(closed);
}

#[test]
fn g7_a_wait_for_space_names_who_keeps_it() {
    let (pool, file, mut pinned) = pinned_file();
    drop(filled(&pool, "/rest", pool.stats().free, 1));
    file.truncate(0).detach().wait().unwrap();
    // Of what was free, all but what is parked is used again.
    drop(filled(&pool, "/more", pool.stats().free, 1));

    let own = file.allocate(0..BLOCK).wait().unwrap_err();
    assert_is(
        own.errno(),
        Errno::DEADLK,
        &own,
        &format!("the wait for space would be for its own thread: {}", holder()),
    );
    assert_is_nics(own.holder(), &file);

    pinned.hand_over();
    let space = format!("no space: {BLOCK} bytes asked for, 0 of {MIB} free, {} kept by pins", 2 * BLOCK);
    let late = file.allocate(0..BLOCK).until(Until::after(SOON)).unwrap_err();
    assert_is(late.errno(), Errno::TIMEDOUT, &late, &format!("timed out: {space}: {}", holder()));
    assert_is_nics(late.holder(), &file);

    file.truncate(BLOCK).wait().unwrap();
    let late = file.pin(0..BLOCK, Access::Read).until(Until::after(SOON)).unwrap_err();
    assert_is(late.errno(), Errno::TIMEDOUT, &late, &format!("{}: timed out: {space}: {}", file.id(), holder()));
    assert_is_nics(late.holder(), &file);
    drop(pinned);
}

#[test]
fn g7_a_reservation_that_is_not_published_names_who_fills_it() {
    let pool = pool_of(MIB);
    let reservation = pool.reserve(4 * BLOCK).try_now().unwrap();
    let pinned = reservation.pin(0..BLOCK).labelled("nic 0", "frame").unwrap().wait().unwrap();
    let id = reservation.id();
    let busy = reservation.publish("/frame", Publish::New).unwrap_err();
    let begins = format!("/frame: busy: {id} bytes 0..{BLOCK}: process {} holds", std::process::id());
    assert_is(busy.errno(), Errno::BUSY, &busy, &begins);
    assert!(matches!(busy.error, NameError::Publish { .. }));
    assert_eq!(busy.holder().expect("a pin is in the way").pin.label, "frame");
    drop(pinned);
}

#[test]
fn g12_what_limited_mode_refuses_is_said_of_the_file() {
    let options = AreaOptions::default().limited(true);
    let pool = PoolOptions::new().area(options).create(Region::memfd(MIB).unwrap()).unwrap();
    let file = pool.create("/file").unwrap();
    file.truncate(BLOCK).wait().unwrap();
    let refused = file.pin(0..100, Access::Read).wait().unwrap_err();
    assert_is(refused.errno(), Errno::OPNOTSUPP, &refused, "/file bytes 0..100: ");
    assert!(refused.holder().is_none());
}
