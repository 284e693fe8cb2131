//! What devices reach, compared with what the medium says.

use std::sync::Arc;

use pinfold_layout::{
    Access, Area, AreaOptions, Effect, Extent, Holder, Layout, OperatorDecision, Pin, PinSpec, Policy, Until,
};

use super::medium::{BLOCK, BLOCKS, Blocks, CHUNKS, write_superblocks};
use super::*;
use crate::token::this_boot;

/// A pool with one file, number 5, and an area beside it.
struct Beside {
    disk: OnDisk,
    medium: Vec<u8>,
    area: Area,
    holder: Arc<Holder>,
    layout: Layout,
    first: u64,
}

impl Beside {
    /// The file's blocks are counted from the first that is nobody's.
    fn of(blocks: &[Blocks]) -> Self {
        let mut maker = maker();
        let first = maker.first();
        let blocks: Vec<_> =
            blocks.iter().map(|(at, block, len, written)| (*at, first + block, *len, *written)).collect();
        maker.named("file", 5, 100 * BLOCK, &blocks);
        maker.superblock.boot = this_boot();
        maker.superblock.area_needed = true;
        let medium = maker.medium();
        let disk = OnDisk::of(&medium);
        std::fs::create_dir(disk.live()).unwrap();
        let area = Area::open(&disk.live().join("area"), AreaOptions::default()).unwrap();
        let (holder, layout) = (area.holder().unwrap(), area.layout(5).unwrap());
        Self { disk, medium, area, holder, layout, first }
    }

    fn pin(&self, blocks: std::ops::Range<u64>) -> Pin<Arc<Holder>> {
        self.holder.pin_owned(&self.layout, blocks, PinSpec::device(Access::Write), Until::done(), || ()).unwrap()
    }

    /// What is at `at..end` of the file leaves it, where a pin reaches it: it lay at `block` and after.
    fn detach(&self, at: u64, end: u64, block: u64) {
        let ranges = [(&self.layout, at..end)];
        let mut brk = self.area.break_layout(&ranges, Policy::Detach, Effect::Frees).unwrap();
        let left = Extent { object: 5, start: at, end, block };
        brk.drain(Until::done()).unwrap().commit(|| vec![left]);
    }

    #[track_caller]
    fn check(&self) -> Report {
        let report = check(&self.medium, Some(&self.disk.live()));
        assert_eq!(report.totals.sum(), report.totals.total, "{:?}", report.totals);
        report
    }

    /// What is found beside that somebody owns it.
    #[track_caller]
    fn found(&self) -> Vec<&'static str> {
        let mut kinds = kinds(&self.check());
        kinds.retain(|kind| *kind != "owned");
        kinds
    }
}

impl OnDisk {
    fn live(&self) -> std::path::PathBuf {
        self.path.with_extension("live")
    }
}

#[test]
fn g1_what_is_parked_counts_as_that_and_nothing_is_found() {
    let beside = Beside::of(&[(0, 0, 4, true), (8, 8, 2, true)]);
    let report = beside.check();
    assert_eq!(report.findings, [Finding::Owned { pid: std::process::id() }]);
    let _pin = beside.pin(2..8);
    // The file has these blocks no more.
    beside.detach(4, 8, beside.first + 100);
    let report = beside.check();
    assert_eq!(kinds(&report), ["owned"]);
    assert_eq!((report.totals.parked, report.totals.in_files), (4 * BLOCK, 6 * BLOCK));
}

#[test]
fn what_has_left_its_file_in_the_area_and_not_in_the_log_is_in_the_file() {
    let beside = Beside::of(&[(0, 0, 8, true)]);
    let _pin = beside.pin(0..8);
    beside.detach(2, 6, beside.first + 2);
    let report = beside.check();
    assert_eq!(kinds(&report), ["owned"]);
    assert_eq!((report.totals.parked, report.totals.in_files), (0, 8 * BLOCK));
}

#[test]
fn g1_parked_blocks_that_are_used_are_found_and_not_touched() {
    let of_nobody = BLOCKS / 2;
    for (block, kind) in
        [(99, "shared"), (CHUNKS, "shared"), (20, "shared"), (BLOCKS - 1, "out-of-pool"), (of_nobody, "")]
    {
        let beside = Beside::of(&[(0, 0, 8, true)]);
        let pin = beside.pin(10..12);
        beside.detach(10, 12, block);
        let found = beside.found();
        assert_eq!(found.first().copied().unwrap_or_default(), kind, "block {block}: {found:?}");
        drop(pin);
        if kind.is_empty() {
            continue;
        }
        let repair = Repair::of(&beside.disk.path, Some(&beside.disk.live()));
        assert!(matches!(repair, Err(RepairError::Beyond(_))), "{repair:?}");
        assert_eq!(beside.disk.bytes(), beside.medium);
    }
}

#[test]
fn a_device_that_reaches_what_nobody_keeps_is_told() {
    let beside = Beside::of(&[(0, 0, 4, true)]);
    let pin = beside.pin(2..6);
    let report = beside.check();
    let [Finding::Owned { .. }, Finding::PinOnNothing { blocks, .. }] = &report.findings[..] else {
        panic!("{:?}", report.findings)
    };
    assert_eq!((blocks.clone(), report.is_clean()), (2..6, true));
    drop(pin);
    assert_eq!(beside.found(), [""; 0]);
}

#[test]
fn g8_pins_in_quarantine_are_a_note_and_what_they_alone_keep_is_counted_so() {
    let beside = Beside::of(&[(0, 0, 4, true)]);
    let pin = beside.pin(10..12);
    beside.detach(10, 12, beside.first + 100);
    pin.into_transfer().0.abandon();
    let report = beside.check();
    assert_eq!(kinds(&report), ["owned", "quarantine"]);
    assert_eq!((report.totals.quarantined, report.totals.parked), (2 * BLOCK, 0));
    let [pin] = &beside.area.quarantine()[..] else { panic!() };
    let decision = OperatorDecision { pin: pin.id, operator: "a person".into(), reason: "a test".into() };
    beside.area.release_by_operator(&decision).unwrap();
    let report = beside.check();
    assert_eq!((report.totals.quarantined, report.totals.parked), (0, 2 * BLOCK), "not taken back yet");
}

#[test]
fn g1_nothing_is_mended_while_a_device_may_reach_the_pool() {
    let mut beside = Beside::of(&[(0, 0, 4, true)]);
    beside.medium[50] ^= 1;
    std::fs::write(&beside.disk.path, &beside.medium).unwrap();
    let live = beside.disk.live();
    let pin = beside.pin(0..1);
    let refused = Repair::of(&beside.disk.path, Some(&live)).unwrap_err();
    assert!(matches!(&refused, RepairError::Reached(reacher) if reacher.range == (0..1)), "{refused}");
    // Nobody says where to look: then it is not known.
    let refused = Repair::of(&beside.disk.path, None).unwrap_err();
    assert!(matches!(&refused, RepairError::Beyond(finding) if **finding == Finding::AreaLost), "{refused}");
    drop(pin);
    assert_eq!(beside.disk.bytes(), beside.medium);
    let report = Repair::of(&beside.disk.path, Some(&live)).unwrap().commit().unwrap();
    assert_eq!(kinds(&report), ["owned"]);
}

#[test]
fn g1_an_area_that_is_needed_and_not_there_is_told() {
    let beside = Beside::of(&[]);
    let Beside { disk, mut medium, area, holder, layout, .. } = beside;
    drop((area, holder, layout));
    let live = disk.live();
    std::fs::remove_dir_all(&live).unwrap();
    let report = check(&medium, Some(&live));
    assert_eq!(report.findings, [Finding::AreaLost]);
    assert!(matches!(Repair::of(&disk.path, Some(&live)), Err(RepairError::Beyond(_))));
    // Of another boot, or where it is not needed, nothing is missing.
    let superblock = crate::medium::superblock::Superblock::read(&medium).unwrap();
    for (boot, area_needed) in [([1; 16], true), (this_boot(), false)] {
        let changed = crate::medium::superblock::Superblock { boot, area_needed, ..superblock.clone() };
        write_superblocks(&mut medium, &changed);
        assert_eq!(check(&medium, Some(&live)).findings, []);
    }
}

#[test]
fn an_area_that_is_damaged_or_not_whole_is_told() {
    let beside = Beside::of(&[(0, 0, 4, true)]);
    let dir = beside.disk.live().join("area");
    let named = |kind: &str| {
        let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind)).unwrap()
    };
    let (header, segment) = (named("header."), named("segment."));
    let pin = beside.pin(0..1);
    let Beside { disk, medium, area, holder, layout, .. } = beside;
    pin.into_transfer().0.abandon();
    drop((area, holder, layout));
    let live = disk.live();
    let _ = std::fs::remove_file(&segment);
    let report = check(&medium, Some(&live));
    assert_eq!(report.findings, [Finding::SegmentUnknown { path: segment }]);
    let mut bytes = std::fs::read(&header).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&header, bytes).unwrap();
    assert_eq!(kinds(&check(&medium, Some(&live))), ["area-unreadable"]);
    assert!(matches!(Repair::of(&disk.path, Some(&live)), Err(RepairError::Beyond(_))));
}

#[test]
fn a_socket_that_nobody_serves_is_a_note_and_goes() {
    let beside = Beside::of(&[]);
    let socket = beside.disk.live().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(beside.found(), [""; 0], "somebody owns the pool");
    let Beside { disk, medium, area, holder, layout, .. } = beside;
    drop((area, holder, layout));
    let report = check(&medium, Some(&disk.live()));
    assert_eq!(report.findings, [Finding::StaleSocket { path: socket.clone() }]);
    let repair = Repair::of(&disk.path, Some(&disk.live())).unwrap();
    assert_eq!(repair.steps(), [Step::RemoveSocket { path: socket.clone() }]);
    assert_eq!(repair.commit().unwrap().findings, []);
    assert!(!socket.exists() && disk.bytes() == medium);
}
