//! Registered memory: windows, what is refused, and that transfers go on either way.

mod common;

use common::child::{play, run};
use common::{Fixture, direct, pattern_at, scratch_dir, scratch_file, zeros};
use pinfold::{Access, Pool, Region};
use pinfold_dma::{Request, Uring};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

#[test]
fn the_other_process() {
    play(&[("locked memory is short", locked_memory_is_short)]);
}

#[test]
fn registered_memory_is_read_into_and_written_from() {
    let dir = scratch_dir();
    let Some(disk) = direct(&scratch_file(&dir, 1 << 20)) else { return };
    let fixture = Fixture::new(1 << 20);
    let ring = Uring::new().unwrap();
    let registered = ring.register(&fixture.pool).unwrap();
    assert!(registered.refused.is_empty() && registered.bytes() >= 1 << 20, "{registered}");
    drop(ring.submit(Request::read(&disk, 0), fixture.pin()).unwrap().wait().unwrap().whole().unwrap());
    assert!(fixture.bytes() == pattern_at(0, 1 << 20));
    let pinned = fixture.file.pin(4096..8192, Access::Read).wait().unwrap();
    drop(ring.submit(Request::write(&disk, 0), pinned).unwrap().wait().unwrap().whole().unwrap());
    let pinned = fixture.file.pin(0..4096, Access::Write).wait().unwrap();
    drop(ring.submit(Request::read(&disk, 0), pinned).unwrap().wait().unwrap().whole().unwrap());
    assert!(fixture.bytes()[..4096] == pattern_at(4096, 4096));
    fixture.expect_nothing_left();
}

#[test]
fn only_what_has_memory_behind_it_is_registered_and_more_can_be_later() {
    let pool = Pool::new(Region::memfd(256 << 20).unwrap()).unwrap();
    let ring = Uring::new().unwrap();
    assert_eq!(ring.register(&pool).unwrap().bytes(), 0);
    let file = pool.create("/grows").unwrap();
    file.allocate(0..8 << 20).wait().unwrap();
    let first = ring.register(&pool).unwrap();
    assert!((8 << 20..=16 << 20).contains(&first.bytes()), "{first}");
    assert_eq!(ring.register(&pool).unwrap(), first, "what is registered stays as it is");
    file.allocate(0..32 << 20).wait().unwrap();
    let more = ring.register(&pool).unwrap();
    assert!((32 << 20..=48 << 20).contains(&more.bytes()), "{more}");
    assert_eq!(ring.registered(&pool), more.windows);
    let stat = rustix::fs::fstat(pool.region().file().unwrap()).unwrap();
    assert!((stat.st_blocks as u64) * 512 <= 48 << 20, "registering filled sparse memory");
    ring.unregister(&pool).unwrap();
    assert_eq!(ring.registered(&pool), []);
}

#[test]
fn a_transfer_goes_on_while_its_window_is_closed() {
    let fixture = Fixture::new(4096);
    let ring = Uring::new().unwrap();
    ring.register(&fixture.pool).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let in_flight = ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap();
    ring.unregister(&fixture.pool).unwrap();
    rustix::io::write(&writer, b"through").unwrap();
    drop(in_flight.wait().unwrap());
    assert_eq!(&fixture.bytes()[..7], b"through");
    // A new window may be in the old one's place.
    ring.register(&fixture.pool).unwrap();
    rustix::io::write(&writer, b"again").unwrap();
    drop(ring.submit(Request::read_stream(&reader), fixture.pin()).unwrap().wait().unwrap());
    assert_eq!(&fixture.bytes()[..5], b"again");
    fixture.expect_nothing_left();
}

#[test]
fn memory_of_a_file_on_disk_is_refused_and_read_into_all_the_same() {
    let dir = scratch_dir();
    let region = match Region::create(dir.path().join("region"), 4 << 20) {
        Ok(region) => region,
        Err(error) => return println!("skipped: no region on {}: {error}", dir.path().display()),
    };
    let pool = Pool::new(region).unwrap();
    let file = pool.create("/file").unwrap();
    file.allocate(0..65536).wait().unwrap();
    let ring = Uring::new().unwrap();
    let registered = ring.register(&pool).unwrap();
    match registered.refused.first() {
        None => println!("skipped: {} takes writable mappings of its files", dir.path().display()),
        Some((_, errno)) => {
            assert!([libc::EOPNOTSUPP, libc::EFAULT].contains(errno), "{registered}");
            assert!(registered.to_string().contains("cannot be registered"), "{registered}");
        }
    }
    let zero = zeros(1 << 20);
    file.write_at(0, &[1; 65536]).unwrap();
    let pinned = file.pin(0..65536, Access::Write).wait().unwrap();
    drop(ring.submit(Request::read(&zero, 0), pinned).unwrap().wait().unwrap().whole().unwrap());
    let mut bytes = vec![1; 65536];
    file.read_at(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn a_limit_on_locked_memory_is_told_and_costs_nothing_but_speed() {
    run("locked memory is short");
}

fn locked_memory_is_short(_: &str) {
    setrlimit(Resource::Memlock, Rlimit { current: Some(65536), maximum: Some(65536) }).unwrap();
    // Who may lock what he likes has no limit.
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None).unwrap();
    let without = CapabilitySet::IPC_LOCK.complement();
    let sets = CapabilitySets { effective: effective & without, permitted: permitted & without, inheritable };
    set_capabilities(None, sets).unwrap();

    let fixture = Fixture::new(1 << 20);
    let ring = Uring::new().unwrap();
    let registered = ring.register(&fixture.pool).unwrap();
    assert_eq!(registered.bytes(), 0);
    assert!([libc::ENOMEM, libc::EPERM].contains(&registered.refused[0].1), "{registered}");
    assert!(registered.to_string().contains("more than RLIMIT_MEMLOCK allows"), "{registered}");
    let zero = zeros(1 << 20);
    fixture.file.write_at(0, &[1; 4096]).unwrap();
    drop(ring.submit(Request::read(&zero, 0), fixture.pin()).unwrap().wait().unwrap().whole().unwrap());
    assert_eq!(fixture.bytes()[..4096], [0; 4096]);
    fixture.expect_nothing_left();
}
