//! A shared area with real processes: pins elsewhere, deaths, stops, forks, hostile holders.

#[path = "common/child.rs"]
mod child;
mod common;

use std::future::Future;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use child::Child;
use common::{DEVICE, wait_until, wait_until_a_break_sleeps};
use pinfold_layout::{
    Area, AreaError, AreaOptions, BreakError, CommitId, Effect, Extent, Geometry, Holder, Layout, LayoutToken,
    PinError, PinInfo, PinSpec, Policy, Quarantined, Quiescent, Until,
};
use rustix::process::Signal;

const SOON: Duration = Duration::from_millis(20);

#[test]
fn the_other_process() {
    child::obey_parent();
}

/// A shared area, the layout of object 7, and another process that has joined.
struct Pair {
    area: Area,
    layout: Layout,
    child: Child,
}

impl Pair {
    fn new() -> Self {
        let area = Area::shared(AreaOptions::default()).unwrap();
        let layout = area.layout(7).unwrap();
        let child = joined(&area, &layout);
        Self { area, layout, child }
    }
}

fn joined(area: &Area, layout: &Layout) -> Child {
    let child = Child::start();
    assert_eq!(child.join(area), "joined");
    child.name(layout);
    child
}

/// The test's device says that it is quiet.
struct DeviceIsQuiet;

// SAFETY: there is no device behind the pins of these tests.
unsafe impl Quiescent for DeviceIsQuiet {
    fn covers(&self, _pin: &PinInfo) -> bool {
        true
    }
}

fn break_of(area: &Area, layout: &Layout, policy: Policy, until: Until) -> Result<CommitId, BreakError> {
    let mut brk = area.break_layout(&[(layout, 0..8)], policy, Effect::Frees)?;
    let left = Extent { object: layout.object(), start: 0, end: 8, block: 100 };
    Ok(brk.drain(until)?.commit(|| if policy == Policy::Detach { vec![left] } else { Vec::new() }))
}

#[test]
fn g2_an_unpin_in_another_process_wakes_the_break_here() {
    let _alone = common::alone();
    let Pair { area, layout, child } = Pair::new();
    for kind in ["device", "cpu"] {
        let pin = child.must(&format!("pin {kind} 7 0 8"));
        assert_eq!((area.pins().len(), area.pins()[0].pid), (1, child.pid()));
        thread::scope(|scope| {
            let breaking = scope.spawn(|| break_of(&area, &layout, Policy::Wait, Until::done()));
            wait_until_a_break_sleeps(&area);
            child.must(&format!("unpin {pin}"));
            breaking.join().unwrap().unwrap();
        });
    }
    assert!(area.pins().is_empty());
}

#[test]
fn g3_a_pin_in_another_process_waits_for_the_break_here() {
    let _alone = common::alone();
    let Pair { area, layout, child } = Pair::new();
    let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
    let idle = brk.drain(Until::done()).unwrap();
    let refused = child.ask("try-pin cpu 7 0 8");
    assert!(refused.starts_with(&format!("error {}", libc::ETIMEDOUT)), "{refused}");
    child.tell("pin device 7 0 8");
    idle.commit(Vec::new);
    assert_eq!(child.answer(), "0");
    assert_eq!(area.pins().len(), 1);
}

#[test]
fn g8_a_cpu_pin_ends_with_its_process() {
    let _alone = common::alone();
    let Pair { area, layout, mut child } = Pair::new();
    child.must("pin cpu 7 0 8");
    thread::scope(|scope| {
        let breaking = scope.spawn(|| break_of(&area, &layout, Policy::Wait, Until::done()));
        wait_until_a_break_sleeps(&area);
        child.kill();
        breaking.join().unwrap().unwrap();
    });
    wait_until("the segment is given back", || area.holders() == 0);
}

#[test]
fn g8_a_device_pin_of_a_dead_process_is_waited_for_and_named_until_a_proof_releases_it() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let layout = area.layout(7).unwrap();
    let before = child::descriptors();
    let mut child = joined(&area, &layout);
    let pid = child.pid();
    child.must("pin device 7 0 8");
    child.kill();
    drop(child);
    let error = break_of(&area, &layout, Policy::Wait, Until::after(SOON)).unwrap_err();
    let BreakError::TimedOut(Some(pin)) = &error else { panic!("{error}") };
    assert_eq!((pin.pid, pin.quarantine), (pid, Some(Quarantined::HolderGone)));
    assert!(error.to_string().contains("its process is gone: in quarantine"), "{error}");

    break_of(&area, &layout, Policy::Detach, Until::done()).expect("detach leaves what it reaches to the pin");
    let busy = area.busy_extents();
    assert!(busy.reap(CommitId::ALL, |free| free).is_empty());
    assert_eq!((busy.stats().quarantined, area.holders()), (8, 1));

    thread::scope(|scope| {
        let waiting = scope.spawn(|| common::reap_or_wait(&busy, Until::done()).unwrap().len());
        assert_eq!(area.release(&DeviceIsQuiet).unwrap(), 1);
        assert_eq!(waiting.join().unwrap(), 1);
    });
    assert_eq!((area.pins().len(), area.holders(), child::descriptors()), (0, 0, before));
}

#[test]
fn g12_a_guest_of_a_limited_area_copies_and_pins_for_no_device() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default().limited(true)).unwrap();
    let layout = area.layout(7).unwrap();
    let child = joined(&area, &layout);
    let refused = |order: &str| {
        let answer = child.ask(order);
        assert!(answer.starts_with("error") && answer.contains("limited mode"), "{order}: {answer}");
    };
    refused("pin device 7 0 8");
    let copy = child.must("pin cpu 7 0 8");
    refused("try-pin device 7 8 16");
    assert_eq!(area.pins().iter().map(|pin| (pin.device, pin.range.clone())).collect::<Vec<_>>(), [(false, 0..8)]);
    child.must(&format!("unpin {copy}"));
    break_of(&area, &layout, Policy::Wait, Until::done()).expect("nobody is in");
}

#[test]
fn g8_a_new_holder_in_the_place_of_a_dead_one_gets_fresh_memory() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let layout = area.layout(7).unwrap();
    let mut first = joined(&area, &layout);
    first.must("pin device 7 0 8");
    first.kill();
    assert_eq!(area.quarantine().len(), 1);
    assert_eq!(area.release(&DeviceIsQuiet).unwrap(), 1);
    let second = joined(&area, &layout);
    assert!(area.pins().is_empty(), "the new holder has none of the old one's pins");
    second.must("pin device 7 0 8");
    let pin = &area.pins()[0];
    assert_eq!((pin.id.holder, pin.pid, pin.quarantine), (0, second.pid(), None));
    let decision = pinfold_layout::OperatorDecision { pin: pin.id, operator: "me".into(), reason: "no".into() };
    area.release_by_operator(&decision).expect_err("this pin has a holder, whatever was said of the one before");
}

#[test]
fn g8_a_stopped_process_delays_nobody_outside_its_range_and_is_named_inside() {
    let _alone = common::alone();
    let Pair { area, layout, child } = Pair::new();
    let other = area.layout(8).unwrap();
    child.must("pin cpu 7 4 5");
    child.signal(Signal::STOP);
    let mut elsewhere = area.break_layout(&[(&layout, 5..100)], Policy::Wait, Effect::Frees).unwrap();
    elsewhere.drain(Until::done()).unwrap().commit(Vec::new);
    let mut elsewhere = area.break_layout(&[(&other, 0..100)], Policy::Wait, Effect::Frees).unwrap();
    elsewhere.drain(Until::done()).unwrap().commit(Vec::new);
    let error = break_of(&area, &layout, Policy::Detach, Until::after(SOON)).unwrap_err();
    assert!(matches!(&error, BreakError::TimedOut(Some(pin)) if pin.pid == child.pid()), "{error}");
    child.tell("unpin 0");
    thread::scope(|scope| {
        let breaking = scope.spawn(|| break_of(&area, &layout, Policy::Wait, Until::done()));
        wait_until_a_break_sleeps(&area);
        child.signal(Signal::CONT);
        breaking.join().unwrap().unwrap();
    });
}

#[test]
fn g8_kills_and_stops_at_any_moment_leave_nothing_behind() {
    let _alone = common::alone();
    let seed = std::env::var("PINFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4711);
    println!("PINFOLD_SEED={seed}");
    let mut random = child::Random(seed);
    let area = Area::shared(AreaOptions::default()).unwrap();
    let layout = area.layout(7).unwrap();
    let busy = area.busy_extents();
    let before = child::descriptors();
    let begun = std::time::Instant::now();
    let mut rounds = 0;
    while rounds < 300 && begun.elapsed() < Duration::from_secs(10) {
        rounds += 1;
        let mut children = [joined(&area, &layout), joined(&area, &layout)];
        children.iter().for_each(|child| child.tell(&format!("churn {}", random.next())));
        thread::scope(|scope| {
            let policy = if random.below(2) == 0 { Policy::Wait } else { Policy::Detach };
            let (area, layout) = (&area, &layout);
            let breaking = scope.spawn(move || break_of(area, layout, policy, Until::done()));
            for _ in 0..random.below(2000) {
                std::hint::spin_loop();
            }
            let [first, second] = &mut children;
            if random.below(2) == 0 {
                first.signal(Signal::STOP);
                thread::yield_now();
                if random.below(2) == 0 {
                    first.signal(Signal::CONT);
                }
            }
            (0..random.below(20)).for_each(|_| thread::yield_now());
            first.kill();
            second.kill();
            // What waits for the pins of the dead goes on by their release, and by nothing else.
            wait_until("the break is over", || {
                area.release(&DeviceIsQuiet).unwrap();
                breaking.is_finished()
            });
            breaking.join().unwrap().unwrap();
        });
        area.release(&DeviceIsQuiet).unwrap();
        drop(busy.reap(CommitId::ALL, |free| free));
        let left = (area.pins().len(), area.breaks().len(), area.parked().len(), area.holders());
        assert_eq!(left, (0, 0, 0, 0), "round {rounds}");
    }
    assert_eq!(child::descriptors(), before, "after {rounds} rounds");
    println!("{rounds} rounds");
}

#[test]
fn who_sleeps_behind_a_dead_owners_break_is_told() {
    let _alone = common::alone();
    let owner = Child::start();
    owner.must("shared");
    let cell = owner.must("layout 7");
    let client = Child::start();
    assert_eq!(client.join_with(&owner.invite(client.pid())), "joined");
    client.must(&format!("token 7 {cell}"));
    // The owner's own pin keeps its break draining for good.
    owner.must("own");
    owner.must("pin device 7 0 8");
    let device = Child::start();
    assert_eq!(device.join_with(&owner.invite(device.pid())), "joined");
    device.must(&format!("token 7 {cell}"));
    device.must("pin device 7 0 8");
    owner.must("unpin 0");
    owner.tell("break wait 7 0 8 0");
    // Once a pin is refused, the break is announced.
    wait_until("the break is announced", || device.ask("try-pin device 7 0 8").starts_with("error"));
    client.tell("pin device 7 0 8");
    let mut owner = owner;
    owner.kill();
    let answer = client.answer();
    assert!(answer.starts_with(&format!("error {}", libc::EOWNERDEAD)), "{answer}");
}

#[test]
fn a_future_behind_a_dead_owners_break_is_told() {
    let _alone = common::alone();
    let mut owner = Child::start();
    owner.must("shared");
    let cell = owner.must("layout 7").parse().unwrap();
    let device = Child::start();
    assert_eq!(device.join_with(&owner.invite(device.pid())), "joined");
    device.must(&format!("token 7 {cell}"));
    device.must("pin device 7 0 8");
    let [header, segment] = owner.invite(std::process::id());
    let holder = Holder::join(header, segment).unwrap();
    let layout = holder.layout(LayoutToken { object: 7, cell }).unwrap();
    owner.tell("break wait 7 0 8 0");
    let announced = || matches!(holder.try_pin(&layout, 0..8, DEVICE, || ()), Err(PinError::LayoutBreaking { .. }));
    wait_until("the break is announced", announced);

    let mut pinning = std::pin::pin!(holder.pin_async(&layout, 0..8, DEVICE, || ()));
    let waker = common::waker();
    let mut context = Context::from_waker(&waker);
    assert!(pinning.as_mut().poll(&mut context).is_pending());
    owner.kill();
    // Nobody rings: it is woken to look by itself.
    let told = loop {
        thread::park();
        if let Poll::Ready(told) = pinning.as_mut().poll(&mut context) {
            break told.map(drop);
        }
    };
    assert!(matches!(told, Err(PinError::OwnerDied(pid)) if pid == owner.pid()), "{told:?}");
}

#[test]
fn a_closed_area_gives_no_pins_although_its_owner_lives() {
    let _alone = common::alone();
    let owner = Child::start();
    owner.must("shared");
    let cell = owner.must("layout 7");
    let client = Child::start();
    let [late, early] = [owner.invite(client.pid()), owner.invite(client.pid())];
    assert_eq!(client.join_with(&early), "joined");
    client.must(&format!("token 7 {cell}"));
    client.must("pin device 7 0 8");
    owner.must("close");
    let answer = client.ask("pin device 7 0 8");
    assert!(answer.starts_with(&format!("error {}", libc::EOWNERDEAD)), "{answer}");
    client.must("unpin 0");
    let answer = client.join_with(&late);
    assert!(answer.starts_with(&format!("error {}", libc::EOWNERDEAD)), "{answer}");
}

#[test]
fn an_area_that_is_dropped_leaves_nothing_behind() {
    let _alone = common::alone();
    let before = child::descriptors();
    for _ in 0..3 {
        let area = Area::shared(AreaOptions::default()).unwrap();
        let layout = area.layout(7).unwrap();
        let holder = area.holder().unwrap();
        let [header, segment] = area.invite(std::process::id()).unwrap().into_fds();
        let guest = Holder::join(header, segment).unwrap();
        drop(holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap());
        let named = guest.layout(layout.token()).unwrap();
        drop(guest.pin(&named, 0..8, DEVICE, Until::done(), || ()).unwrap());
        assert_eq!(area.holders(), 2);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.lines().find(|line| line.contains("pinfold")), None);
    assert_eq!(child::descriptors(), before);
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    let names = || std::fs::read_dir("/proc/self/task").unwrap().map(move |thread| name(thread.unwrap()));
    // A joined thread is listed for a moment more.
    wait_until("no thread is left", || !names().any(|name| name.starts_with("pinfold")));
}

#[test]
fn a_holder_that_says_goodbye_gives_its_place_back() {
    let _alone = common::alone();
    let Pair { area, child, .. } = Pair::new();
    child.must("pin device 7 0 8");
    assert_eq!(child.ask("goodbye"), "gone");
    area.reap_dead_holders();
    assert_eq!((area.holders(), area.pins().len()), (0, 0));
}

#[test]
fn g8_an_invited_process_that_never_joins_is_noticed() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let before = child::descriptors();
    let mut child = Child::start();
    drop(area.invite(child.pid()).unwrap());
    assert_eq!(area.holders(), 1);
    child.kill();
    let gone = area.invite(child.pid()).unwrap_err();
    assert!(matches!(gone, AreaError::NoProcess(_)), "{gone}");
    drop(child);
    area.reap_dead_holders();
    assert_eq!((area.holders(), child::descriptors()), (0, before));
}

#[test]
fn an_invitation_serves_the_invited_process_once() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let (invited, other) = (Child::start(), Child::start());
    let invitation = area.invite(invited.pid()).unwrap();
    let refused = other.use_invitation(&invitation);
    assert!(refused.starts_with(&format!("error {}", libc::EPERM)), "{refused}");
    assert_eq!(invited.use_invitation(&invitation), "joined");
    let refused = invited.use_invitation(&invitation);
    assert!(refused.starts_with(&format!("error {}", libc::EALREADY)), "{refused}");
}

#[test]
fn an_embedded_area_invites_nobody() {
    let _alone = common::alone();
    let area = Area::embedded(AreaOptions::default()).unwrap();
    let refused = area.invite(std::process::id()).unwrap_err();
    assert!(matches!(refused, AreaError::Embedded), "{refused}");
}

#[test]
fn what_is_no_invitation_is_refused_by_name() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let other = Area::shared(AreaOptions::default()).unwrap();
    let pid = std::process::id();
    let fds = |area: &Area| area.invite(pid).unwrap().into_fds();
    let zeros = || std::fs::File::open("/dev/zero").unwrap().into();
    let refused = |header, segment| Holder::join(header, segment).map(drop).unwrap_err();

    let [header, segment] = fds(&area);
    assert!(matches!(refused(zeros(), segment), AreaError::NotAnArea(_)));
    assert!(matches!(refused(header, zeros()), AreaError::NotAnArea(_)));
    let [header, segment] = fds(&area);
    assert!(matches!(refused(segment, header), AreaError::NotAnArea(_)), "in the wrong order");
    let ([header, _], [_, segment]) = (fds(&area), fds(&other));
    assert!(matches!(refused(header, segment), AreaError::Damaged { .. }), "of two areas");

    // A header whose words were changed, one by one.
    let [header, _] = fds(&area);
    let mut bytes = vec![0; 4096];
    rustix::io::pread(&header, &mut bytes, 0).unwrap();
    let length = rustix::fs::fstat(&header).unwrap().st_size as u64;
    let copy = |change: &dyn Fn(&mut Vec<u8>), length: u64| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let copy = rustix::fs::memfd_create("copy", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        bytes.truncate(length as usize);
        rustix::io::pwrite(&copy, &bytes, 0).unwrap();
        rustix::fs::ftruncate(&copy, length).unwrap();
        copy
    };
    let segment = || fds(&area)[1].try_clone().unwrap();
    assert!(matches!(refused(copy(&|bytes| bytes[0] ^= 1, length), segment()), AreaError::NotAnArea(_)));
    assert!(matches!(refused(copy(&|bytes| bytes[8] += 1, length), segment()), AreaError::Version { found: 2, .. }));
    for word in 2..18 {
        let damaged = refused(copy(&|bytes| bytes[word * 8 + 1] ^= 4, length), segment());
        assert!(matches!(damaged, AreaError::Damaged { .. }), "word {word}: {damaged}");
    }
    // Sound, but of another boot, or of an owner whose number is another's by now.
    let sealed = |bytes: &mut Vec<u8>, word: usize| {
        bytes[word * 8] ^= 1;
        let sum = child::header_checksum(bytes);
        bytes[17 * 8..18 * 8].copy_from_slice(&sum.to_ne_bytes());
    };
    let other_boot = refused(copy(&|bytes| sealed(bytes, 3), length), segment());
    assert!(matches!(other_boot, AreaError::OtherBoot(_)), "{other_boot}");
    let later_process = refused(copy(&|bytes| sealed(bytes, 7), length), segment());
    assert!(matches!(later_process, AreaError::OwnerDied(dead) if dead == pid), "{later_process}");
    for length in [0, 8, 16, 100, 4096, length - 4096] {
        let short = refused(copy(&|_| {}, length), segment());
        assert!(matches!(short, AreaError::Damaged { .. } | AreaError::NotAnArea(_)), "{length} bytes: {short}");
    }
}

#[test]
fn nobody_can_write_a_header_that_was_handed_over() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let [header, segment] = area.invite(std::process::id()).unwrap().into_fds();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&header));
    let again = std::fs::File::options().read(true).write(true).open(path);
    if let Ok(again) = again {
        assert!(rustix::io::pwrite(&again, b"x", 0).is_err());
        assert!(again.set_len(0).is_err() && again.set_len(1 << 40).is_err());
    }
    assert!(rustix::io::pwrite(&header, b"x", 0).is_err());
    assert!(std::fs::File::from(segment).set_len(0).is_err(), "a holder cannot cut its memfd short");
}

/// Where this process has a memfd of that name mapped.
fn mapped_at(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains(name)).expect("it is mapped");
    usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}

#[test]
fn after_a_fork_the_childs_handles_do_nothing() {
    let _alone = common::alone();
    let area = Area::shared(AreaOptions::default()).unwrap();
    let layout = area.layout(7).unwrap();
    let holder = area.holder().unwrap();
    let device = PinSpec::device(pinfold_layout::Access::Write);
    let pin = holder.pin_owned(&layout, 0..8, device, Until::done(), || ()).unwrap();
    let mut far = area.break_layout(&[(&layout, 100..200)], Policy::Wait, Effect::Frees).unwrap();
    let idle = far.drain(Until::done()).unwrap();
    break_of(&area, &layout, Policy::Detach, Until::done()).unwrap();
    let busy = area.busy_extents();
    // More than the owner lets go together, and where it has its memory.
    let many: Vec<_> = (1000..1300).map(|object| area.layout(object).unwrap()).collect();
    let mapped = mapped_at("pinfold-header");

    // SAFETY: the child calls nothing but this library's handles, and ends by `_exit`. Its allocator is usable: glibc
    // takes its locks around a fork.
    match unsafe { libc::fork() } {
        0 => {
            let refused = holder.try_pin(&layout, 0..8, device, || ()).map(drop);
            let pin_refused = matches!(refused, Err(PinError::Forked));
            let break_refused =
                matches!(break_of(&area, &layout, Policy::Detach, Until::done()), Err(BreakError::Forked));
            let layout_refused = matches!(area.layout(8), Err(AreaError::Forked));
            let holder_refused = matches!(area.holder(), Err(AreaError::Forked));
            let nothing =
                busy.reap(CommitId::ALL, |free| free).is_empty() && area.pins().is_empty() && area.parked().is_empty();
            let watched = busy.watch().wait(CommitId::ALL, Until::done());
            let no_space = matches!(watched, Err(pinfold_layout::SpaceError::NothingPinned { not_durable: 0 }));
            // The child has nothing there; what it maps there now is its own.
            // SAFETY: a new mapping, at an address where the child has none (or the call fails).
            let own = unsafe {
                let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                libc::mmap(mapped as *mut _, 4096, prot, flags | libc::MAP_FIXED_NOREPLACE, -1, 0)
            };
            drop((pin, idle, many));
            drop((far, busy, holder, layout, area));
            // SAFETY: it only asks whether the page is still mapped.
            let kept = own as usize == mapped && unsafe { libc::msync(own, 4096, libc::MS_ASYNC) } == 0;
            let all = [pin_refused, break_refused, layout_refused, holder_refused, nothing, no_space, kept];
            let bits = all.iter().enumerate().map(|(bit, well)| i32::from(!well) << bit).sum();
            // SAFETY: it ends the process at once.
            unsafe { libc::_exit(bits) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the status of the child that was forked above.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "what failed in the child, or the signal that ended it");
        }
    }
    assert_eq!((area.pins().len(), area.breaks().len(), area.parked().len(), area.holders()), (1, 1, 1, 1));
    idle.commit(Vec::new);
    assert!(busy.reap(CommitId::ALL, |free| free).is_empty());
    drop(pin);
    assert_eq!(busy.reap(CommitId::ALL, |free| free).len(), 1);
}

#[test]
fn garbage_in_a_holders_segment_harms_nobody_else() {
    let _alone = common::alone();
    // Garbage may claim every slot there is: a scan of it is bounded by these.
    let geometry = Geometry { chains: 64, blocks_max: 1 << 10, ..Geometry::default() };
    let area = Area::shared(AreaOptions::default().geometry(geometry)).unwrap();
    let layout = area.layout(7).unwrap();
    let holder = area.holder().unwrap();
    let before = child::descriptors();
    for seed in 1..=12 {
        let mut child = joined(&area, &layout);
        child.must("pin cpu 7 0 8");
        child.must(&format!("scribble {seed}"));
        let _ = (area.pins().len(), area.parked().len(), area.first_busy(&layout, 0..u64::MAX));
        // Its garbage may look like pins; those are waited for, and nothing else happens.
        let _ = break_of(&area, &layout, Policy::Wait, Until::after(SOON));
        let mine = holder.try_pin(&layout, 50..51, DEVICE, || ()).expect("others pin as before");
        let _ = break_of(&area, &layout, Policy::Detach, Until::after(SOON));
        drop(mine);
        child.kill();
        drop(child);
        while area.release(&DeviceIsQuiet).is_ok_and(|released| released > 0) {}
        break_of(&area, &layout, Policy::Wait, Until::done()).unwrap();
        drop(area.busy_extents().reap(CommitId::ALL, |free| free));
        assert_eq!((area.holders(), area.pins().len(), area.parked().len()), (1, 0, 0), "seed {seed}");
    }
    assert_eq!(child::descriptors(), before);
}

#[test]
fn too_few_descriptors_are_an_error_and_nothing_leaks() {
    let _alone = common::alone();
    let guest = Child::start();
    let order = format!("invite {}", guest.pid());
    let owner_limited_to = |limit: u64| {
        let owner = Child::start();
        owner.must("shared");
        let used = owner.must("fds");
        owner.must(&format!("limit {limit}"));
        (owner, used)
    };
    let enough = (1..64).find(|limit| owner_limited_to(*limit).0.ask(&order) == "invited").expect("64 are enough");
    for limit in [1, enough - 3, enough - 2, enough - 1] {
        let (owner, used) = owner_limited_to(limit);
        for _ in 0..50 {
            let answer = owner.ask(&order);
            assert!(answer.starts_with("error the layout area could not"), "{answer}");
        }
        owner.must("limit 1000");
        assert_eq!(owner.must("fds"), used, "a refused invitation leaves no descriptor");
        assert_eq!(owner.ask(&order), "invited");
    }
}
