//! A look at a named area: it lists what is there, and leaves it as it was.

#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges, often of one")]

#[path = "common/child.rs"]
mod child;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use child::{Child, Random, header_checksum};
use common::OnDrop;
use pinfold_layout::{Area, AreaError, AreaLook, AreaOptions, CommitId, Extent, OperatorDecision, Quarantined};

#[test]
fn the_other_process() {
    child::obey_parent();
}

/// A directory for an area, which goes in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pinfold-look-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Area {
        Area::open(&self.0, AreaOptions::default()).unwrap()
    }

    #[track_caller]
    fn look(&self) -> AreaLook {
        Area::look(&self.0).unwrap().expect("an area")
    }

    /// The one file whose name begins so.
    fn file(&self, kind: &str) -> PathBuf {
        let paths = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(kind);
        paths.into_iter().find(named).expect("it is there")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names in a directory, with sizes, times and inodes.
fn state_of(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime, u64)> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let state = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        (entry.path(), (metadata.len(), metadata.modified().unwrap(), metadata.ino()))
    };
    entries.map(state).collect()
}

/// An owner in another process, with a holder of its own and the layout of object 7.
fn owner(place: &Place) -> Child {
    let owner = Child::start();
    owner.must(&format!("open {}", place.0.display()));
    owner.must("own");
    owner.must("layout 7");
    owner
}

#[test]
fn where_there_is_no_area_there_is_nothing_to_see() {
    let place = Place::new();
    assert!(Area::look(&place.0).unwrap().is_none(), "no directory");
    fs::create_dir(&place.0).unwrap();
    fs::write(place.0.join("lock"), "1 1").unwrap();
    assert!(Area::look(&place.0).unwrap().is_none(), "no header");
    assert_eq!(state_of(&place.0).len(), 1);
}

#[test]
fn g7_a_look_lists_what_a_living_owner_has_and_changes_nothing() {
    let place = Place::new();
    let owner = owner(&place);
    owner.must("pin device 7 0 4");
    owner.must("pin cpu 7 6 8");
    owner.must("pin device 7 10 12");
    // A break with a pin of this very process in its way detaches; its copy at 6..8 stays out of it.
    owner.must("break detach 7 2 6 100");
    let before = state_of(&place.0);
    let look = place.look();
    assert_eq!(state_of(&place.0), before);
    assert!(look.is_of_this_boot && look.is_served);
    assert_eq!((look.owner_pid, look.parked_lost, &look.unknown[..]), (owner.pid(), 0, &[][..]));
    let mut pins: Vec<_> = look.pins.iter().map(|look| (look.pin.range.clone(), look.in_object.clone())).collect();
    pins.sort_by_key(|(range, _)| range.start);
    assert_eq!(pins, [(0..4, vec![0..2]), (6..8, vec![6..8]), (10..12, vec![10..12])]);
    assert!(look.pins.iter().all(|look| look.pin.pid == owner.pid() && look.pin.quarantine.is_none()));
    let [parked] = &look.parked[..] else { panic!("{:?}", look.parked) };
    assert_eq!(parked.extent, Extent { object: 7, start: 2, end: 6, block: 100 });
    assert_eq!(parked.pins.iter().map(|pin| pin.range.clone()).collect::<Vec<_>>(), [0..4]);
    // A pin that is made now reaches what the object has there now, and not what left it.
    owner.must("pin device 7 2 6");
    let look = place.look();
    assert_eq!(look.parked[0].pins.len(), 1);
    assert!(look.pins.iter().any(|look| look.in_object == [2..6]), "{:?}", look.pins);
    // The owner serves on.
    owner.must("unpin 0");
    owner.must("break detach 7 0 4 200");
}

#[test]
fn g8_a_look_at_what_a_dead_owner_left_takes_nothing_over() {
    let place = Place::new();
    let mut owner = owner(&place);
    owner.must("pin device 7 0 4");
    owner.must("pin cpu 7 4 8");
    owner.must("break detach 7 0 2 100");
    owner.kill();
    let before = state_of(&place.0);
    for _ in 0..2 {
        let look = place.look();
        assert!(look.is_of_this_boot && !look.is_served);
        let [pin] = &look.pins[..] else { panic!("the copy ended with its process: {:?}", look.pins) };
        assert_eq!((pin.pin.quarantine, &pin.in_object[..]), (Some(Quarantined::HolderGone), &[2..4][..]));
        assert_eq!(look.parked[0].pins, std::slice::from_ref(&pin.pin));
    }
    assert_eq!(state_of(&place.0), before);
    // The owner that comes sees the same, and what an operator lets go is not listed any more.
    let area = place.open();
    let [pin] = &area.quarantine()[..] else { panic!("{:?}", area.quarantine()) };
    assert_eq!(place.look().pins[0].pin.id, pin.id);
    let (operator, reason) = ("a person".to_owned(), "the machine it came from is off".to_owned());
    area.release_by_operator(&OperatorDecision { pin: pin.id, operator, reason }).unwrap();
    let look = place.look();
    assert!(look.is_served && look.pins.is_empty(), "{:?}", look.pins);
    assert!(look.parked.iter().all(|parked| parked.pins.is_empty()), "{:?}", look.parked);
    area.busy_extents().reap(CommitId::ALL, drop);
    assert!(place.look().parked.is_empty());
    drop(area);
    assert!(!place.look().is_served, "closed");
}

#[test]
fn nothing_of_another_boot_is_listed() {
    let place = Place::new();
    let mut owner = owner(&place);
    owner.must("pin device 7 0 4");
    owner.kill();
    let header = place.file("header.");
    let mut bytes = fs::read(&header).unwrap();
    bytes[3 * 8] ^= 1;
    let sum = header_checksum(&bytes);
    bytes[17 * 8..18 * 8].copy_from_slice(&sum.to_ne_bytes());
    fs::write(&header, bytes).unwrap();
    let look = place.look();
    assert!(!look.is_of_this_boot && look.pins.is_empty() && look.parked.is_empty());
}

#[test]
fn a_segment_that_is_missing_or_cut_is_named_and_damage_is_an_error() {
    let place = Place::new();
    let mut owner = owner(&place);
    owner.must("pin device 7 0 4");
    owner.kill();
    let segment = place.file("segment.");
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(4096).unwrap();
    assert_eq!(place.look().unknown, std::slice::from_ref(&segment));
    fs::remove_file(&segment).unwrap();
    assert_eq!(place.look().unknown, [segment]);
    let header = place.file("header.");
    let mut bytes = fs::read(&header).unwrap();
    bytes[5 * 8] ^= 1;
    fs::write(&header, &bytes).unwrap();
    assert!(matches!(Area::look(&place.0), Err(AreaError::Damaged { .. })));
    bytes[0] ^= 1;
    fs::write(&header, &bytes).unwrap();
    assert!(matches!(Area::look(&place.0), Err(AreaError::NotAnArea(_))));
}

#[test]
fn a_look_copes_with_whatever_a_holder_writes() {
    let place = Place::new();
    let owner = owner(&place);
    let client = Child::start();
    assert_eq!(client.join_with(&owner.invite(client.pid())), "joined");
    let mut random = Random(7);
    for _ in 0..2 {
        client.must(&format!("scribble {}", random.next()));
        let look = place.look();
        assert!(look.pins.iter().all(|look| !look.pin.range.is_empty()));
    }
}

#[test]
fn a_look_beside_a_working_owner_sees_only_pins_that_were_held() {
    let place = Place::new();
    let churning = owner(&place);
    churning.tell("churn 3");
    let _end = OnDrop(|| churning.signal(rustix::process::Signal::KILL));
    for _ in 0..40 {
        let look = place.look();
        for pin in &look.pins {
            let range = &pin.pin.range;
            assert!((1..=4).contains(&(range.end - range.start)) && range.start < 16, "{:?}", pin.pin);
            assert_eq!((pin.pin.object, pin.pin.pid), (7, churning.pid()));
        }
    }
}
