//! The power fails while a repair writes.

use std::sync::{Arc, Mutex};

use pinfold_crash::{Cut, Grain, Keep, Medium};
use pinfold_region::Durability;

use super::medium::{BLOCK, put};
use super::shapes::everything;
use super::*;
use crate::medium::image::ROOT;

/// What is wrong, beside the superblocks.
fn wrong(medium: &[u8]) -> Vec<Finding> {
    let about_state = |finding: &Finding| finding.severity() == Severity::Error || finding.kind() == "bytes-past-end";
    checked(medium).findings.into_iter().filter(about_state).collect()
}

/// A pool with much to mend.
fn broken() -> Vec<u8> {
    let mut maker = everything();
    let first = maker.first();
    maker.dir(20).file(22, 4 * BLOCK, &[(0, first, 3, true), (3, first + 40, 2, true)]);
    maker.names(20, &[(b"22", 22)]).names(ROOT, &[(b"nowhere", 99)]);
    let mut medium = maker.medium();
    (0..45).for_each(|block| put(&mut medium, (first + block) * BLOCK, &[block as u8 + 1; BLOCK as usize]));
    medium
}

/// Every instant of a repair at which the power may fail.
fn repaired(medium: &[u8]) -> Vec<Cut> {
    let (under, region) = Medium::new(medium.len() as u64, Durability::PageCache).unwrap();
    region.bytes(0..region.len()).unwrap().copy_in(0, medium).unwrap();
    region.flush(0..region.len()).unwrap();
    region.fence().unwrap();
    let cuts = Arc::new(Mutex::new(Vec::new()));
    let gathered = Arc::clone(&cuts);
    under.on_boundary(move |medium, _| gathered.lock().unwrap().push(medium.cut().unwrap()));
    let report = Repair::of_region(region, None).unwrap().commit().unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    std::mem::take(&mut *cuts.lock().unwrap())
}

#[test]
fn g9_a_repair_that_is_interrupted_leaves_the_pool_as_it_was_or_mended() {
    let medium = broken();
    let before = wrong(&medium);
    let (mut old, mut new) = (0, 0);
    for (nth, cut) in repaired(&medium).iter().enumerate() {
        for keep in Keep::various(nth as u64).take(9) {
            for image in [cut.image(keep), cut.torn(Grain::Sector, keep), cut.torn(Grain::Word, keep)] {
                let mut bytes = vec![0; medium.len()];
                image.read(0, &mut bytes).unwrap();
                let now = wrong(&bytes);
                match now.is_empty() {
                    true => new += 1,
                    false => {
                        assert_eq!(now, before, "{cut}, {keep:?}");
                        old += 1;
                    }
                }
            }
        }
    }
    assert!(old > 50 && new > 20, "{old} as before, {new} mended");
}
