//! What frees and moves nothing, and therefore waits for nobody.

use crate::common::{MIB, bytes_of, is_all};
use crate::frees::dma_has_arrived;
use crate::lab::{DID_NOT_WAIT, DMA, FILE, Lab, marks, stamped, stamps};

#[test]
fn preallocation_beyond_the_end_does_not_wait_unlike_xfs() {
    for keep_size in [false, true] {
        let lab = Lab::new();
        let outcome = lab.during_dma(|lab| {
            let allocation = lab.file.allocate(FILE..2 * FILE);
            if keep_size { allocation.keep_size().wait().unwrap() } else { allocation.wait().unwrap() }
        });
        assert_eq!(outcome, DID_NOT_WAIT);
        assert_eq!(lab.file.len(), if keep_size { FILE } else { 2 * FILE });
        assert_eq!(lab.file.metadata().allocated, 2 * FILE);
        dma_has_arrived(&lab);
    }
}

#[test]
fn write_into_the_pinned_range_does_not_wait() {
    let lab = Lab::new();
    let write = |lab: &Lab| {
        lab.file.write_at(DMA.start, &[7; 8192]).unwrap();
        assert!(is_all(&lab.file, DMA.start..DMA.start + 8192, 7));
    };
    assert_eq!(lab.during_dma(write), DID_NOT_WAIT);
    // Here the order is known: the data arrived after the write.
    dma_has_arrived(&lab);
}

#[test]
fn append_and_read_do_not_wait() {
    let lab = Lab::new();
    let append_and_read = |lab: &Lab| {
        assert_eq!(lab.file.append(&[7; 8192]).unwrap(), FILE);
        assert!(bytes_of(&lab.file, 0..FILE) == stamps(0..FILE));
    };
    assert_eq!(lab.during_dma(append_and_read), DID_NOT_WAIT);
    dma_has_arrived(&lab);
    assert!(is_all(&lab.file, FILE..FILE + 8192, 7));
}

#[test]
fn a_clone_is_a_copy_and_waits_for_nobody_unlike_linux() {
    let lab = Lab::new();
    let other = stamped(&lab.pool, "/other");
    // Out of the file under DMA, and into it.
    let copy = |lab: &Lab| {
        let clone = lab.pool.create("/clone").unwrap();
        assert_eq!(lab.file.copy_range(0..u64::MAX, &clone, 0).unwrap(), FILE);
        assert!(bytes_of(&clone, 0..FILE) == stamps(0..FILE), "of the moment at which it was made");
        assert_eq!(other.copy_range(0..MIB, &lab.file, DMA.start).unwrap(), MIB);
    };
    assert_eq!(lab.during_dma(copy), DID_NOT_WAIT);
    dma_has_arrived(&lab);
    let clone = lab.pool.open("/clone").unwrap();
    assert!(bytes_of(&clone, 0..FILE) == stamps(0..FILE), "no block has two owners");
    assert!(bytes_of(&lab.file, DMA.end..FILE) == stamps(DMA.end..FILE) && bytes_of(&lab.file, DMA) == marks(DMA));
}
