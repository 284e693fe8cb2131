//! Names, and what happens when the last one goes.

use pinfold::{Place, Rename};

use crate::common::{MIB, pins_of};
use crate::frees::dma_has_arrived;
use crate::lab::{DID_NOT_WAIT, Dma, FILE, Lab, stamped};

#[test]
fn unlink_of_an_open_file_does_not_wait_and_frees_nothing() {
    let lab = Lab::new();
    assert_eq!(lab.during_dma(|lab| lab.pool.unlink("/file").unwrap()), DID_NOT_WAIT);
    assert_eq!((lab.file.metadata().links, lab.file.metadata().allocated), (0, FILE));
    dma_has_arrived(&lab);
}

#[test]
fn rename_over_an_open_file_does_not_wait_and_frees_nothing() {
    let lab = Lab::new();
    stamped(&lab.pool, "/other");
    let rename = |lab: &Lab| lab.pool.rename("/other", "/file", Rename::Replace).unwrap();
    assert_eq!(lab.during_dma(rename), DID_NOT_WAIT);
    assert_eq!((lab.file.metadata().links, lab.file.metadata().allocated), (0, FILE));
    assert_ne!(lab.pool.open("/file").unwrap().id(), lab.file.id());
    dma_has_arrived(&lab);
}

#[test]
fn eviction_parks_pinned_blocks_unlike_linux() {
    // By an unlink when nobody has it open, by the last handle of an unlinked file, and by a rename over it.
    for (unlinked_first, renamed_over) in [(false, false), (true, false), (false, true)] {
        let lab = Lab::new();
        stamped(&lab.pool, "/other");
        let dma = Dma::into_file(&lab.file);
        let (file, places) = (lab.file.id(), dma.places());
        let Lab { pool, file: handle } = lab;
        let pinned = dma.into_pinned();
        if unlinked_first {
            pool.unlink("/file").unwrap();
        }
        drop(handle);
        match (unlinked_first, renamed_over) {
            (true, _) => {}
            (false, true) => pool.rename("/other", "/file", Rename::Replace).unwrap(),
            (false, false) => pool.unlink("/file").unwrap(),
        }
        assert!(pool.open_by_id(file).is_none(), "it is gone");
        assert_eq!((pool.stats().parked, pool.stats().free), (MIB, pool.stats().total - 2 * FILE + MIB));
        for place in &places {
            assert!(matches!(pool.what_is_at(*place), Place::Parked(parked) if parked.file == file));
        }

        let lab = Lab { file: pool.create("/handle").unwrap(), pool };
        let filler = lab.fill_what_is_free();
        pinned.copy_in(0, &vec![crate::lab::MARK; MIB as usize]).unwrap();
        assert_eq!(lab.foreign_in(&filler), 0);
        drop(pinned);
        assert_eq!((lab.pool.stats().parked, lab.pool.stats().free), (0, MIB), "they come back by themselves");
        assert!(pins_of(&lab.pool, &lab.file).is_empty());
    }
}
