//! Named areas: what outlives its owner, who may own it, and what is refused.

#[path = "common/child.rs"]
mod child;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use child::Child;
use common::{DEVICE, wait_until_a_break_sleeps};
use pinfold_layout::{
    Area, AreaError, AreaOptions, BreakError, CommitId, Effect, Extent, Geometry, Layout, OperatorDecision, PinError,
    PinInfo, Policy, Quarantined, Quiescent, Until,
};

const SOON: Duration = Duration::from_millis(20);

#[test]
fn the_other_process() {
    child::obey_parent();
}

/// A place for a directory, which is removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pinfold-named-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Result<Area, AreaError> {
        Area::open(&self.0, AreaOptions::default())
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }

    /// Names of the files in it, without the incarnations and serials.
    fn kinds(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut kinds: Vec<_> = names.map(|name| name.split('.').next().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    }

    fn header(&self) -> PathBuf {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        entries
            .into_iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("header."))
            .expect("a header")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(&self.0);
    }
}

struct DeviceIsQuiet;

// SAFETY: there is no device behind the pins of these tests.
unsafe impl Quiescent for DeviceIsQuiet {
    fn covers(&self, _pin: &PinInfo) -> bool {
        true
    }
}

fn break_of(area: &Area, layout: &Layout, policy: Policy, block: u64, until: Until) -> Result<CommitId, BreakError> {
    let mut brk = area.break_layout(&[(layout, 0..8)], policy, Effect::Frees)?;
    let left = Extent { object: layout.object(), start: 0, end: 8, block };
    Ok(brk.drain(until)?.commit(|| if policy == Policy::Detach { vec![left] } else { Vec::new() }))
}

fn freed(area: &Area) -> Vec<Extent> {
    let mut free: Vec<_> =
        area.busy_extents().reap(CommitId::ALL, |free| free).into_iter().map(|free| free.into_extent()).collect();
    free.sort_by_key(|extent| extent.block);
    free
}

/// An owner in another process, with a holder of its own and the layout of object 7, and a client of it.
fn owner_and_client(place: &Place) -> (Child, Child) {
    let owner = Child::start();
    owner.must(&format!("open {}", place.text()));
    owner.must("own");
    let cell = owner.must("layout 7");
    let client = Child::start();
    assert_eq!(client.join_with(&owner.invite(client.pid())), "joined");
    client.must(&format!("token 7 {cell}"));
    (owner, client)
}

#[test]
fn g8_device_pins_survive_their_owner_in_quarantine() {
    let place = Place::new();
    let (mut owner, mut client) = owner_and_client(&place);
    owner.must("pin device 7 0 4");
    owner.must("pin cpu 7 4 8");
    client.must("pin device 7 2 6");
    owner.kill();
    client.kill();

    let area = place.open().unwrap();
    let layout = area.layout(7).unwrap();
    let pins = area.pins();
    assert_eq!(pins.len(), 2, "the copy ended with its process: {pins:?}");
    assert!(pins.iter().all(|pin| pin.quarantine == Some(Quarantined::HolderGone)));
    let mut pids: Vec<_> = pins.iter().map(|pin| pin.pid).collect();
    pids.sort();
    let mut expected = [owner.pid(), client.pid()];
    expected.sort();
    assert_eq!(pids, expected);
    let error = break_of(&area, &layout, Policy::Wait, 0, Until::after(SOON)).unwrap_err();
    assert!(
        matches!(&error, BreakError::TimedOut(Some(pin)) if pin.quarantine == Some(Quarantined::HolderGone)),
        "{error}"
    );
    break_of(&area, &layout, Policy::Detach, 100, Until::done()).unwrap();
    let piece = |start, end| Extent { object: 7, start, end, block: 100 + start };
    assert_eq!(freed(&area), [piece(6, 8)]);
    assert_eq!(area.release(&DeviceIsQuiet).unwrap(), 2);
    assert_eq!(freed(&area).iter().map(Extent::len).sum::<u64>(), 6);
    assert_eq!((area.holders(), place.kinds()), (0, vec!["header".to_owned(), "lock".to_owned()]));
}

#[test]
fn g1_what_was_parked_stays_parked_for_the_next_owners() {
    let place = Place::new();
    let (mut first, _client) = owner_and_client(&place);
    first.must("pin device 7 2 4");
    first.kill();
    // The second owner detaches, and is killed.
    let mut second = Child::start();
    second.must(&format!("open {}", place.text()));
    second.must("layout 7");
    second.must("break detach 7 0 8 100");
    second.must("break detach 7 0 8 200");
    second.kill();
    // The third one closes in order.
    let area = place.open().unwrap();
    let before: u64 = area.busy_extents().inherited().iter().map(Extent::len).sum();
    assert_eq!(before, 16, "nobody has reaped yet");
    let mut free = freed(&area);
    free.retain(|extent| extent.block < 200);
    let piece = |start, end| Extent { object: 7, start, end, block: 100 + start };
    assert_eq!(free, [piece(0, 2), piece(4, 8)], "the pin keeps of the first extent what it reaches");
    drop(area);
    // The fourth one finds what is left.
    let area = place.open().unwrap();
    assert_eq!(area.busy_extents().inherited(), [piece(2, 4)]);
    assert_eq!(area.parked()[0].pins[0].pid, first.pid());
    assert!(freed(&area).is_empty());
    assert_eq!(area.release(&DeviceIsQuiet).unwrap(), 1);
    assert_eq!(freed(&area), [piece(2, 4)]);
    drop(area);
    assert!(place.open().unwrap().busy_extents().inherited().is_empty());
}

#[test]
fn g8_pins_of_a_living_client_are_its_own_until_it_unpins_or_dies() {
    let place = Place::new();
    let (mut owner, mut client) = owner_and_client(&place);
    client.must("pin cpu 7 0 4");
    client.must("pin device 7 4 8");
    owner.kill();
    let area = place.open().unwrap();
    let layout = area.layout(7).unwrap();
    assert!(area.pins().iter().all(|pin| pin.pid == client.pid() && pin.quarantine.is_none()), "{:?}", area.pins());
    assert_eq!(area.pins().len(), 2);
    let late = client.ask("pin cpu 7 0 4");
    assert!(late.starts_with(&format!("error {}", libc::EOWNERDEAD)), "{late}");
    thread::scope(|scope| {
        let breaking = scope.spawn(|| break_of(&area, &layout, Policy::Detach, 0, Until::done()));
        wait_until_a_break_sleeps(&area);
        client.must("unpin 0");
        breaking.join().unwrap().unwrap();
    });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| common::reap_or_wait(&area.busy_extents(), Until::done()).unwrap().len());
        client.kill();
        // The first piece comes at once, the one under the device pin after its release.
        waiting.join().unwrap();
    });
    assert_eq!(area.quarantine().len(), 1);
    assert_eq!(area.release(&DeviceIsQuiet).unwrap(), 1);
    assert_eq!(freed(&area).len(), 1);
    assert_eq!(area.holders(), 0);
}

#[test]
fn a_living_client_without_pins_is_forgotten() {
    let place = Place::new();
    let (mut owner, client) = owner_and_client(&place);
    client.must("pin device 7 4 8");
    client.must("unpin 0");
    owner.kill();
    let area = place.open().unwrap();
    assert_eq!((area.holders(), place.kinds()), (0, vec!["header".to_owned(), "lock".to_owned()]));
    assert_eq!(client.join(&area), "joined", "it may be invited again");
}

#[test]
fn a_living_client_is_forgotten_with_its_last_pin() {
    let place = Place::new();
    let (mut owner, client) = owner_and_client(&place);
    client.must("pin device 7 4 8");
    owner.kill();
    let area = place.open().unwrap();
    assert_eq!((area.holders(), area.pins().len()), (1, 1));
    client.must("unpin 0");
    area.reap_dead_holders();
    assert_eq!((area.holders(), place.kinds()), (0, vec!["header".to_owned(), "lock".to_owned()]));
}

#[test]
fn g8_a_copy_ends_with_its_process_also_when_its_owner_died_too() {
    let place = Place::new();
    let (mut owner, mut client) = owner_and_client(&place);
    client.must("pin cpu 7 4 8");
    owner.kill();
    client.kill();
    let area = place.open().unwrap();
    assert_eq!((area.holders(), area.pins().len()), (0, 0));
}

#[test]
fn g8_void_marks_survive_their_owner() {
    let place = Place::new();
    let area = place.open().unwrap();
    let layout = area.layout(7).unwrap();
    let mut client = Child::start();
    assert_eq!(client.join(&area), "joined");
    client.name(&layout);
    client.must("pin device 7 0 4");
    client.must("pin device 7 4 8");
    client.kill();
    let pin = area.quarantine().into_iter().find(|pin| pin.range == (0..4)).unwrap();
    let decision = OperatorDecision { pin: pin.id, operator: "a test".into(), reason: "it knows".into() };
    area.release_by_operator(&decision).unwrap();
    drop((layout, area));
    let area = place.open().unwrap();
    let pins = area.pins();
    assert_eq!((pins.len(), pins[0].range.clone()), (1, 4..8));
    let layout = area.layout(7).unwrap();
    let mut brk = area.break_layout(&[(&layout, 0..4)], Policy::Wait, Effect::Frees).unwrap();
    brk.try_drain().unwrap().commit(Vec::new);
}

#[test]
fn g1_a_pin_of_the_new_incarnation_is_younger_than_all_that_was_parked_before() {
    let place = Place::new();
    let (mut owner, _client) = owner_and_client(&place);
    owner.must("pin device 7 0 8");
    // Many generations of other objects lie between.
    owner.must("layout 8");
    (0..50).for_each(|_| drop(owner.must("break wait 8 0 8 0")));
    owner.must("break detach 7 0 8 100");
    owner.kill();
    let area = place.open().unwrap();
    let layout = area.layout(7).unwrap();
    let holder = area.holder().unwrap();
    let new = holder.pin(&layout, 0..8, DEVICE, Until::done(), || ()).unwrap();
    assert!(freed(&area).is_empty(), "the old pin keeps it");
    assert_eq!(area.release(&DeviceIsQuiet).unwrap(), 1);
    assert_eq!(freed(&area).len(), 1, "the new pin never reached it");
    let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
    brk.try_drain().map(drop).expect_err("but it is in the way of a break of what is in the file");
    drop(new);
    brk.try_drain().unwrap().commit(Vec::new);
}

#[test]
fn g9_what_came_back_with_a_rollback_is_in_its_file_again() {
    let place = Place::new();
    let (mut owner, _client) = owner_and_client(&place);
    owner.must("pin device 7 0 8");
    owner.must("break detach 7 0 8 100");
    owner.kill();
    let area = place.open().unwrap();
    let layout = area.layout(7).unwrap();
    let busy = area.busy_extents();
    let piece = |start, end| Extent { object: 7, start, end, block: 100 + start };
    let mut brk = area.break_layout(&[(&layout, 0..8)], Policy::Wait, Effect::Frees).unwrap();
    brk.try_drain().expect("the pin reaches what left the file").commit(Vec::new);
    assert_eq!(busy.forget(&Extent { object: 7, start: 2, end: 4, block: 500 }), 0, "these are other blocks");
    assert_eq!(busy.forget(&piece(2, 4)), 2);
    let mut left = busy.inherited();
    left.sort_by_key(|extent| extent.start);
    assert_eq!(left, [piece(0, 2), piece(4, 8)]);
    brk.try_drain().map(drop).expect_err("now it reaches what is in the file");
    area.release(&DeviceIsQuiet).unwrap();
    assert_eq!(freed(&area), [piece(0, 2), piece(4, 8)]);
}

#[test]
fn g2_who_waits_for_what_came_back_with_a_rollback_is_told_so() {
    let place = Place::new();
    let (mut owner, _client) = owner_and_client(&place);
    owner.must("pin device 7 0 8");
    owner.must("break detach 7 0 8 100");
    owner.kill();
    let area = place.open().unwrap();
    let busy = area.busy_extents();
    thread::scope(|scope| {
        let waiting = common::asleep(scope, || common::reap_or_wait(&busy, Until::done()));
        assert!(!waiting.is_finished(), "it waits for the pin in quarantine");
        assert_eq!(busy.forget(&Extent { object: 7, start: 0, end: 8, block: 100 }), 8);
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, pinfold_layout::SpaceError::NothingPinned { not_durable: 0 }), "{error}");
    });
    area.release(&DeviceIsQuiet).unwrap();
}

#[test]
fn parked_extents_without_a_record_are_counted() {
    let place = Place::new();
    let small = || AreaOptions::default().geometry(Geometry { parked_max: 2, ..Geometry::default() });
    let area = Area::open(&place.0, small()).unwrap();
    let layout = area.layout(7).unwrap();
    let mut client = Child::start();
    assert_eq!(client.join(&area), "joined");
    client.name(&layout);
    (0..3).for_each(|at| drop(client.must(&format!("pin device 7 {at} {}", at + 1))));
    for at in 0..3 {
        let mut brk = area.break_layout(&[(&layout, at..at + 1)], Policy::Detach, Effect::Frees).unwrap();
        let left = Extent { object: 7, start: at, end: at + 1, block: at };
        brk.drain(Until::done()).unwrap().commit(|| vec![left]);
    }
    assert_eq!((area.parked().len(), area.parked_lost()), (3, 1));
    client.kill();
    drop((layout, area));
    let area = place.open().unwrap();
    assert_eq!((area.parked().len(), area.parked_lost()), (2, 1));
    area.release(&DeviceIsQuiet).unwrap();
    assert_eq!(freed(&area).len(), 2);
    drop(area);
    assert_eq!(place.open().unwrap().parked_lost(), 0, "no pin is left that could reach what was lost");
}

#[test]
fn an_area_has_one_owner() {
    let place = Place::new();
    let mut owner = Child::start();
    owner.must(&format!("open {}", place.text()));
    let refused = place.open().map(drop).unwrap_err();
    assert!(matches!(refused, AreaError::Owned { pid, .. } if pid == owner.pid()), "{refused}");
    owner.kill();
    let area = place.open().unwrap();
    let refused = place.open().map(drop).unwrap_err();
    assert!(matches!(refused, AreaError::Owned { pid, .. } if pid == std::process::id()), "{refused}");
    drop(area);
    drop(place.open().unwrap());
}

#[test]
fn a_child_that_inherited_a_dead_owners_lock_is_not_the_owner() {
    let place = Place::new();
    let mut owner = Child::start();
    owner.must(&format!("open {}", place.text()));
    let grandchild = owner.must("fork").parse().unwrap();
    let grandchild = rustix::process::Pid::from_raw(grandchild).unwrap();
    assert!(matches!(place.open().map(drop).unwrap_err(), AreaError::Owned { .. }));
    owner.kill();
    let opened = place.open().map(drop);
    let _ = rustix::process::kill_process(grandchild, rustix::process::Signal::KILL);
    opened.unwrap();
    drop(place.open().unwrap());
}

#[test]
fn a_child_that_inherited_the_lock_of_a_closed_area_does_not_keep_it() {
    let place = Place::new();
    let owner = Child::start();
    owner.must(&format!("open {}", place.text()));
    let grandchild = rustix::process::Pid::from_raw(owner.must("fork").parse().unwrap()).unwrap();
    owner.must("close");
    let opened = place.open().map(drop);
    let _ = rustix::process::kill_process(grandchild, rustix::process::Signal::KILL);
    opened.unwrap();
}

#[test]
fn the_directory_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let area = place.open().unwrap();
    let _holder = area.holder().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.0), 0o700);
    let files: Vec<_> = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "header, lock, segment");
    assert!(files.iter().all(|file| mode(file) == 0o600));
}

/// What a directory holds, its lock apart.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_name().unwrap() != "lock");
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// An area that is small enough to be read whole, left by an owner that was killed with a device pin.
fn left_behind(place: &Place) {
    let small = Geometry {
        files_max: 64,
        announcements_max: 8,
        holders_max: 4,
        parked_max: 8,
        voids_max: 8,
        chains: 4,
        blocks_max: 8,
        slots_per_block: 4,
        labels_max: 4,
    };
    let area = Area::open(&place.0, AreaOptions::default().geometry(small)).unwrap();
    let layout = area.layout(7).unwrap();
    let mut client = Child::start();
    assert_eq!(client.join(&area), "joined");
    client.name(&layout);
    client.must("pin device 7 0 8");
    client.kill();
    break_of(&area, &layout, Policy::Detach, 0, Until::done()).unwrap();
}

/// Changes the header file, opens, and puts it back. Nothing may be written where it is refused.
fn opened_with(place: &Place, change: impl FnOnce(&mut Vec<u8>)) -> Result<Area, AreaError> {
    let path = place.header();
    let mut bytes = fs::read(&path).unwrap();
    let original = bytes.clone();
    change(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let before = contents(&place.0);
    let opened = place.open();
    if opened.is_err() {
        assert!(contents(&place.0) == before, "something was written");
        fs::write(&path, &original).unwrap();
    }
    opened
}

#[test]
fn a_damaged_header_is_refused_and_left_as_it_is() {
    let place = Place::new();
    left_behind(&place);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| opened_with(&place, change).map(drop).unwrap_err();
    assert!(matches!(refused(&|bytes| bytes[0] ^= 1), AreaError::NotAnArea(_)));
    assert!(matches!(refused(&|bytes| bytes[8] += 1), AreaError::Version { found: 2, known: 1, .. }));
    for word in 2..18 {
        let error = refused(&|bytes| bytes[word * 8] ^= 0x80);
        assert!(matches!(error, AreaError::Damaged { .. }), "word {word}: {error}");
    }
    for cut in [1, 4096] {
        let error = refused(&|bytes| bytes.truncate(bytes.len() - cut));
        assert!(matches!(error, AreaError::Damaged { .. }), "{cut} bytes cut off: {error}");
    }
    for length in [0, 7] {
        let error = refused(&|bytes| bytes.truncate(length));
        assert!(matches!(error, AreaError::NotAnArea(_)), "{length} bytes: {error}");
    }
    let renamed = place.0.join("header.77");
    let path = place.header();
    fs::rename(&path, &renamed).unwrap();
    let error = place.open().map(drop).unwrap_err();
    assert!(matches!(error, AreaError::Damaged { .. }), "{error}");
    fs::rename(&renamed, &path).unwrap();
    assert_eq!(place.open().unwrap().pins().len(), 1, "and as it was it opens");
}

#[test]
fn a_damaged_record_of_a_parked_extent_is_refused() {
    let place = Place::new();
    left_behind(&place);
    // The one record, found by its object, its range and its blocks.
    let record: Vec<u8> = [1_u64, 7, 0, 8, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    for byte in [8, 16, 24, 32, 40, 48, 56] {
        let error = opened_with(&place, |bytes| {
            let at = bytes.windows(record.len()).position(|window| window == record).expect("the record");
            bytes[at + byte] ^= 1;
        });
        let error = error.map(drop).unwrap_err();
        assert!(matches!(error, AreaError::Damaged { .. }), "byte {byte}: {error}");
    }
    assert_eq!(place.open().unwrap().parked().len(), 1);
}

#[test]
fn a_missing_segment_is_refused() {
    let place = Place::new();
    left_behind(&place);
    let segment = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().path());
    let segment =
        segment.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("segment")).unwrap();
    let aside = place.0.join("aside");
    fs::rename(&segment, &aside).unwrap();
    let error = place.open().map(drop).unwrap_err();
    assert!(matches!(error, AreaError::Damaged { .. }), "{error}");
    fs::rename(&aside, &segment).unwrap();
    // One that its holder cut short has fewer pins, and harms nobody.
    fs::File::options().write(true).open(&segment).unwrap().set_len(100).unwrap();
    assert_eq!(place.open().unwrap().pins().len(), 0);
}

/// An owner that is killed while it throws away what no header names leaves the former header beside its own, and
/// of that one's segments some or none.
#[test]
fn g8_an_owner_killed_while_it_sweeps_leaves_an_area_that_opens() {
    let place = Place::new();
    left_behind(&place);
    let (path, former) = (place.header(), fs::read(place.header()).unwrap());
    let area = place.open().unwrap();
    area.release(&DeviceIsQuiet).unwrap();
    assert_eq!(freed(&area).len(), 1);
    drop(area);
    assert!(!path.exists() && !place.kinds().contains(&"segment".to_owned()), "both were thrown away");
    fs::write(&path, former).unwrap();
    let area = place.open().expect("the newest header says all that counts");
    assert_eq!((area.pins().len(), area.parked().len()), (0, 0));
    drop(area);
    assert_eq!(place.kinds(), ["header", "lock"]);
}

#[test]
fn an_area_of_another_boot_begins_anew() {
    let place = Place::new();
    left_behind(&place);
    let other_boot = |bytes: &mut Vec<u8>| {
        bytes[24] ^= 1;
        let sum = child::header_checksum(bytes);
        bytes[17 * 8..18 * 8].copy_from_slice(&sum.to_ne_bytes());
    };
    let area = opened_with(&place, other_boot).unwrap();
    assert_eq!((area.pins().len(), area.parked().len(), area.holders()), (0, 0, 0));
    assert_eq!(place.kinds(), ["header", "lock"]);
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let place = Place::new();
    fs::write(&place.0, "a file").unwrap();
    assert!(matches!(place.open().map(drop).unwrap_err(), AreaError::NotAnArea(_)));
    fs::remove_file(&place.0).unwrap();
    fs::create_dir(&place.0).unwrap();
    fs::write(place.0.join("letter.txt"), "dear reader").unwrap();
    assert!(matches!(place.open().map(drop).unwrap_err(), AreaError::NotAnArea(_)));
    assert_eq!(place.kinds(), ["letter"]);
    fs::remove_file(place.0.join("letter.txt")).unwrap();
    drop(place.open().expect("an empty one will do"));
    let nowhere = Area::open(&place.0.join("no/where"), AreaOptions::default()).map(drop).unwrap_err();
    assert!(matches!(nowhere, AreaError::System { .. }), "{nowhere}");
}

#[test]
fn g8_owners_killed_at_any_moment_leave_an_area_that_opens() {
    let place = Place::new();
    let seed = std::env::var("PINFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(815);
    println!("PINFOLD_SEED={seed}");
    let mut random = child::Random(seed);
    let begun = std::time::Instant::now();
    let mut rounds = 0;
    while rounds < 150 && begun.elapsed() < Duration::from_secs(8) {
        rounds += 1;
        let mut owner = Child::start();
        // Some die while they open, some later.
        owner.tell(&format!("open {}", place.text()));
        if random.below(4) > 0 {
            assert_eq!(owner.answer(), "open", "round {rounds}");
            owner.must("own");
            owner.must("layout 7");
            // Blocks that are parked are not used again: each owner takes others.
            owner.tell(&format!("park-churn {} {}", random.next(), rounds * 1_000_000));
        }
        (0..random.below(60)).for_each(|_| thread::yield_now());
        owner.kill();
        // Every other time what it left goes on to the next owner.
        if random.below(2) == 0 {
            let area = place.open().unwrap();
            assert!(area.pins().iter().all(|pin| pin.quarantine == Some(Quarantined::HolderGone)));
            let mut blocks: Vec<_> =
                area.busy_extents().inherited().into_iter().map(|e| (e.block, e.block + e.len())).collect();
            blocks.sort();
            assert!(
                blocks.is_sorted_by(|one, next| one.1 <= next.0),
                "round {rounds}: each block is parked once: {blocks:?}"
            );
            area.release(&DeviceIsQuiet).unwrap();
            let mut given: Vec<_> = freed(&area).into_iter().map(|e| (e.block, e.block + e.len())).collect();
            given.sort();
            assert_eq!(given, blocks, "round {rounds}: what was parked is given once");
            assert_eq!((area.pins().len(), area.parked().len(), area.holders()), (0, 0, 0), "round {rounds}");
            drop(area);
            assert_eq!(place.kinds(), ["header", "lock"], "round {rounds}");
        }
    }
    println!("{rounds} rounds");
}

/// A tmpfs of its own; `None`, with the reason said, where mounting is not possible.
fn tiny_tmpfs(place: &Place, bytes: u64) -> Option<Mounted> {
    fs::create_dir(&place.0).unwrap();
    let at = std::ffi::CString::new(place.text()).unwrap();
    let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
    // SAFETY: strings that end in 0, as mount(2) asks for.
    let mounted = unsafe { libc::mount(c"tmpfs".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast()) };
    if mounted != 0 {
        println!("skipped: no tmpfs can be mounted here: {}", std::io::Error::last_os_error());
        return None;
    }
    Some(Mounted(at))
}

struct Mounted(std::ffi::CString);

impl Drop for Mounted {
    fn drop(&mut self) {
        // SAFETY: a string that ends in 0.
        unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_full_file_system_is_an_error_and_not_a_signal() {
    let outer = Place::new();
    let Some(_mounted) = tiny_tmpfs(&outer, 1 << 20) else { return };
    let place = Place(outer.0.join("area"));
    let filler = outer.0.join("filler");
    let fill = |bytes: usize| fs::write(&filler, vec![1; bytes]);
    // There is no room for a header.
    fill((1 << 20) - 4096).unwrap();
    let full = |error: &AreaError| error.errno() == libc::ENOSPC;
    assert!(place.open().map(drop).is_err_and(|error| full(&error)));
    assert!(!place.kinds().contains(&"new".to_owned()), "what was begun is gone: {:?}", place.kinds());
    // There is, but none for a segment.
    fill((1 << 20) - 4 * 65536).unwrap();
    let area = place.open().unwrap();
    let layout = area.layout(7).unwrap();
    fill((1 << 20) - 4 * 65536).unwrap();
    let mut holders = Vec::new();
    let error = loop {
        match area.holder() {
            Ok(holder) => holders.push(holder),
            Err(error) => break error,
        }
    };
    assert!(full(&error), "{error}");
    // There is one for a few slots.
    holders.clear();
    fs::remove_file(&filler).unwrap();
    let holder = area.holder().unwrap();
    let mut pins = Vec::new();
    let error = loop {
        match holder.pin(&layout, 0..1, DEVICE, Until::done(), || ()) {
            Ok(pin) => pins.push(pin),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PinError::NoMemory(_)), "{error} after {} pins", pins.len());
    assert!(pins.len() > 1000, "{} pins", pins.len());
    pins.truncate(10);
    drop(holder.pin(&layout, 0..1, DEVICE, Until::done(), || ()).unwrap());
    assert_eq!(area.pins().len(), 10);
}
