//! What frees: truncate, punch hole, zero range.

use pinfold::{Access, Change, File, Place};

use crate::common::{BLOCK, MIB, bytes_of, is_all};
use crate::lab::{DID_NOT_WAIT, DMA, Dma, FILE, Lab, Outcome, WAITED, marks, stamps};

/// An operation that frees.
type Frees = fn(&File) -> Change<'_>;

#[test]
fn truncate_to_0_waits_and_all_its_blocks_serve_others_afterwards() {
    let lab = Lab::new();
    let dma = Dma::into_file(&lab.file);
    let places = dma.places();
    assert_eq!(lab.during(dma, |lab| lab.file.truncate(0).wait().unwrap()), WAITED);
    assert_eq!((lab.file.len(), lab.file.extents().len()), (0, 0));
    let serves_another =
        |place: &u64| matches!(lab.pool.what_is_at(*place), Place::File { file, .. } if file != lab.file.id());
    assert_eq!((places.len(), places.iter().filter(|place| serves_another(place)).count()), (256, 256));
}

#[test]
fn truncate_waits_whatever_the_direction() {
    let lab = Lab::new();
    // A device that reads is given away nobody else's bytes: it sees its own to the end.
    let dma = Dma::of(&lab.file, DMA, Access::Read);
    std::thread::scope(|scope| {
        let dma = dma;
        let cutting = scope.spawn(|| lab.file.truncate(0).wait().unwrap());
        crate::common::wait_until_behind(&lab.pool, &lab.file);
        let filler = lab.fill_what_is_free();
        assert!(!cutting.is_finished());
        assert!(dma.reads() == stamps(DMA), "it reads what is the file's");
        assert_eq!(lab.foreign_in(&filler), 0);
        drop(dma);
    });
    assert_eq!((lab.file.len(), lab.file.extents().len()), (0, 0));
}

#[test]
fn truncate_beside_the_dma_does_not_wait_unlike_linux() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.truncate(MIB / 4 * 7).wait().unwrap()), DID_NOT_WAIT);
    assert_eq!(lab.file.len(), MIB / 4 * 7);
    dma_has_arrived(&lab);
    // One byte of its last block is in the way; one byte more is not.
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.truncate(DMA.end).wait().unwrap()), DID_NOT_WAIT);
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.truncate(DMA.end - 1).wait().unwrap()), WAITED);
    assert!(bytes_of(&lab.file, DMA.start..DMA.end - 1) == marks(DMA.start..DMA.end - 1));
}

#[test]
fn truncate_to_the_same_size_does_not_wait_unlike_linux() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.truncate(FILE).wait().unwrap()), DID_NOT_WAIT);
    assert_eq!(lab.file.len(), FILE);
    dma_has_arrived(&lab);
    // With the DMA in the very block that the file ends in.
    let lab = Lab::new();
    lab.file.truncate(DMA.end - 1).wait().unwrap();
    let dma = Dma::of(&lab.file, DMA.start..DMA.end - 1, Access::Write);
    assert_eq!(lab.during(dma, |lab| lab.file.truncate(DMA.end - 1).wait().unwrap()), DID_NOT_WAIT);
    let lab = Lab::new();
    lab.file.truncate(DMA.end - 1).wait().unwrap();
    let dma = Dma::of(&lab.file, DMA.start..DMA.end - 1, Access::Write);
    assert_eq!(lab.during(dma, |lab| lab.file.truncate(DMA.end).wait().unwrap()), DID_NOT_WAIT, "nor one byte longer");
}

#[test]
fn truncate_to_a_larger_size_does_not_wait_unlike_linux() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.truncate(2 * FILE).wait().unwrap()), DID_NOT_WAIT);
    assert_eq!(lab.file.len(), 2 * FILE);
    dma_has_arrived(&lab);
    assert!(is_all(&lab.file, FILE..2 * FILE, 0));
}

#[test]
fn opening_by_name_and_truncating_waits() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.pool.open("/file").unwrap().truncate(0).wait().unwrap()), WAITED);
    assert_eq!(lab.file.len(), 0);
}

#[test]
fn punch_waits() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.punch(MIB..FILE).wait().unwrap()), WAITED);
    assert_eq!((lab.file.len(), lab.file.metadata().allocated), (FILE, MIB));
    assert!(bytes_of(&lab.file, DMA.start..MIB) == marks(DMA.start..MIB));
    assert!(is_all(&lab.file, MIB..FILE, 0), "what arrived before it is gone with it");
}

#[test]
fn punch_beside_the_dma_does_not_wait_unlike_linux() {
    // Up to its first byte, and from its last on: the edges are zeroed in place, like a write.
    for range in [0..DMA.start, DMA.end..FILE, BLOCK..DMA.start + 100, DMA.end - 100..FILE] {
        let lab = Lab::new();
        assert_eq!(lab.during_dma(|lab| lab.file.punch(range.clone()).wait().unwrap()), DID_NOT_WAIT, "{range:?}");
        dma_has_arrived(&lab);
        let outside = range.start.max(BLOCK)..range.end.min(DMA.start);
        assert!(outside.is_empty() || is_all(&lab.file, outside, 0), "{range:?}");
    }
}

#[test]
fn zero_range_waits() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.file.zero(MIB..FILE).wait().unwrap()), WAITED);
    assert_eq!((lab.file.len(), lab.file.metadata().allocated), (FILE, FILE));
    assert!(bytes_of(&lab.file, DMA.start..MIB) == marks(DMA.start..MIB));
    assert!(is_all(&lab.file, MIB..FILE, 0));
}

#[test]
fn zero_range_beside_the_dma_does_not_wait_unlike_linux() {
    for range in [0..DMA.start, DMA.end..FILE] {
        let lab = Lab::new();
        assert_eq!(lab.during_dma(|lab| lab.file.zero(range.clone()).wait().unwrap()), DID_NOT_WAIT, "{range:?}");
        dma_has_arrived(&lab);
        assert!(is_all(&lab.file, range, 0));
    }
}

#[test]
fn what_frees_does_not_wait_under_detach_and_parks_what_the_dma_reaches() {
    let operations: [(&str, Frees, u64); 5] = [
        ("truncate to 0", |file| file.truncate(0), MIB),
        ("truncate in the middle", |file| file.truncate(MIB), MIB / 2),
        ("truncate in a block", |file| file.truncate(MIB + 1), MIB / 2),
        ("punch", |file| file.punch(MIB..FILE), MIB / 2),
        ("zero range", |file| file.zero(MIB..FILE), MIB / 2),
    ];
    for (name, operation, parked) in operations {
        let lab = Lab::new();
        let dma = Dma::into_file(&lab.file);
        operation(&lab.file).detach().wait().unwrap();
        assert_eq!(lab.pool.stats().parked, parked, "{name}");
        assert_eq!(lab.foreign_after(&dma), 0, "{name}");
        assert!(bytes_of(&lab.file, 0..lab.file.len()) == expected_after(name, lab.file.len()), "{name}");
        drop(dma);
        assert_eq!(
            (lab.pool.stats().parked, lab.pool.stats().free),
            (0, parked),
            "{name}: they come back by themselves"
        );
    }
}

/// What the file reads as once the operation was detached and the data has arrived in what is left of the DMA's blocks.
fn expected_after(operation: &str, len: u64) -> Vec<u8> {
    let mut expected = [stamps(0..DMA.start), marks(DMA.start..MIB), vec![0; MIB as usize]].concat();
    if operation == "truncate in a block" {
        // Its last block was replaced: it is as it was when it was cut.
        expected[MIB as usize] = stamps(MIB..MIB + 1)[0];
    }
    expected.truncate(len as usize);
    expected
}

/// The DMA is where it was asked to go, and nothing beside it was changed by it.
pub(crate) fn dma_has_arrived(lab: &Lab) {
    assert!(bytes_of(&lab.file, DMA) == marks(DMA), "the DMA's data is not in the file");
}

#[test]
fn the_rig_sees_what_linux_does_wrong() {
    // Blocks that are given away by hand under a device that goes on: the rig must find every one of them.
    let lab = Lab::new();
    let dma = Dma::into_file(&lab.file);
    let places = dma.places();
    drop(dma.into_pinned());
    lab.file.truncate(0).wait().unwrap();
    let filler = lab.fill_what_is_free();
    for place in places {
        let page = lab.pool.region().bytes(place..place + BLOCK).unwrap();
        page.copy_in(0, &marks(0..BLOCK)).unwrap();
    }
    assert_eq!(Outcome::DidNotWait { foreign: lab.foreign_in(&filler) }, Outcome::DidNotWait { foreign: 256 });
}
