//! Views of the file under DMA: who maps it, touches it, and unmaps it, changes nothing for the DMA.
//!
//! As in Linux, views are what DMA is told addresses of, and only the pin counts afterwards. Where accesses cannot be trapped a view
//! is itself a pin: then these rows say nothing, and are skipped aloud.

use pinfold::region::Traps;
use pinfold::{Access, PoolOptions, View};

use crate::common::{BLOCK, bytes_of};
use crate::frees::dma_has_arrived;
use crate::lab::{DID_NOT_WAIT, DMA, Dma, FILE, Lab, MARK, WAITED, stamp, stamped};
use crate::meanwhile::{before_a_truncate_goes_on, while_a_truncate_waits};

macro_rules! needs_traps {
    () => {
        if let Err(why) = Traps::new() {
            return println!("skipped: {why}");
        }
    };
}

fn view(lab: &Lab) -> View {
    lab.file.map(0..FILE, Access::Write).wait().unwrap()
}

fn load(view: &View, at: u64) -> u8 {
    let mut byte = [0];
    view.bytes(at..at + 1).unwrap().copy_out(0, &mut byte).unwrap();
    byte[0]
}

#[test]
fn mmap_and_touch_do_not_wait() {
    needs_traps!();
    let lab = Lab::new();
    let touch = |lab: &Lab| {
        let view = view(lab);
        let pages = (0..FILE).step_by(BLOCK as usize);
        assert!(pages.clone().all(|at| load(&view, at) == stamp(at / BLOCK)));
        view.bytes(0..1).unwrap().copy_in(0, &[9]).unwrap();
    };
    assert_eq!(lab.during_dma(touch), DID_NOT_WAIT);
    assert_eq!(bytes_of(&lab.file, 0..1), [9]);
    lab.file.write_at(0, &[stamp(0)]).unwrap();
    dma_has_arrived(&lab);
}

#[test]
fn munmap_by_the_owner_of_the_dma_does_not_wait() {
    needs_traps!();
    let lab = Lab::new();
    let view = view(&lab);
    let dma = Dma::through(&view, DMA);
    assert_eq!(lab.during(dma, move |_| drop(view)), DID_NOT_WAIT);
    dma_has_arrived(&lab);
}

#[test]
fn truncate_after_munmap_waits_unlike_linux_before_6_15() {
    needs_traps!();
    let lab = Lab::new();
    let view = view(&lab);
    let dma = Dma::through(&view, DMA);
    drop(view);
    assert_eq!(lab.during(dma, |lab| lab.file.truncate(0).wait().unwrap()), WAITED);
}

#[test]
fn punch_after_munmap_waits_unlike_linux_before_6_15() {
    needs_traps!();
    let lab = Lab::new();
    let view = view(&lab);
    let dma = Dma::through(&view, DMA);
    drop(view);
    assert_eq!(lab.during(dma, |lab| lab.file.punch(0..FILE).wait().unwrap()), WAITED);
}

#[test]
fn truncate_waits_whoever_else_has_a_page_mapped() {
    needs_traps!();
    let lab = Lab::new();
    let (view, elsewhere) = (view(&lab), lab.file.map(0..BLOCK, Access::Read).wait().unwrap());
    let dma = Dma::through(&view, DMA);
    drop(view);
    assert_eq!(load(&elsewhere, 0), stamp(0));
    assert_eq!(lab.during(dma, |lab| lab.file.truncate(0).wait().unwrap()), WAITED);
}

#[test]
fn mmap_and_touch_inside_the_range_return_while_a_truncate_waits() {
    needs_traps!();
    let lab = Lab::new();
    while_a_truncate_waits(&lab, 0, |lab| {
        let view = view(lab);
        assert_eq!(load(&view, DMA.start), stamp(DMA.start / BLOCK));
    });
}

/// The page that was mapped again does not keep the blocks, and shows none of theirs afterwards.
#[test]
fn what_was_touched_while_a_truncate_waited_shows_nothing_of_it_afterwards() {
    needs_traps!();
    let lab = Lab::new();
    let view = view(&lab);
    while_a_truncate_waits(&lab, 0, |_| assert_eq!(load(&view, DMA.start), stamp(DMA.start / BLOCK)));
    // Other files have the blocks now.
    lab.file.truncate(FILE).wait().unwrap();
    assert!((0..FILE).step_by(BLOCK as usize).all(|at| load(&view, at) == 0));
}

fn on_a_medium() -> (tempfile::TempDir, Lab) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let pool = PoolOptions::new().format(dir.path().join("pool"), FILE * 8).unwrap();
    let file = stamped(&pool, "/file");
    (dir, Lab { pool, file })
}

#[test]
fn fsync_does_not_wait() {
    let (_dir, lab) = on_a_medium();
    let dma = Dma::into_file(&lab.file);
    lab.file.sync().unwrap();
    dma.arrives();
    drop(dma);
    assert!(bytes_of(&lab.file, DMA).iter().all(|byte| *byte == MARK));
}

#[test]
fn fsync_returns_while_a_truncate_waits() {
    let (_dir, lab) = on_a_medium();
    before_a_truncate_goes_on(&lab, 0, |lab| lab.file.sync().unwrap());
}
