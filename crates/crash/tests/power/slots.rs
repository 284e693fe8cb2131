//! What only a line that was evicted early can show: a slot used again while the medium may still point to it.

use pinfold_crash::{Keep, Medium};

use crate::{LINES, load_u64, store};

const SLOT: u64 = 4096;
const MINE: u64 = 0x6d696e65;
const FOREIGN: u64 = 0xf0e1;

/// Points to slot 2, then, unflushed, to slot 3; then gives slot 2 to somebody else. Returns what a recovery finds behind the
/// pointer in some image, if it is not ours.
fn move_on(flush_between: bool, evict: bool) -> Option<u64> {
    let (medium, region) = Medium::new(1 << 20, LINES).unwrap();
    let make_durable = |at: u64| {
        region.flush(at..at + 8).unwrap();
        region.fence().unwrap();
    };
    let point_to = |slot: u64| {
        store(&region, slot * SLOT, &MINE.to_le_bytes());
        make_durable(slot * SLOT);
        store(&region, 0, &slot.to_le_bytes());
    };
    point_to(1);
    make_durable(0);
    point_to(2);
    if evict {
        medium.evict(Keep::Everything).unwrap();
    }
    point_to(3);
    if flush_between {
        make_durable(0);
    }
    store(&region, 2 * SLOT, &FOREIGN.to_le_bytes());
    make_durable(2 * SLOT);

    let cut = medium.cut().unwrap();
    let found = |keep| {
        let region = cut.image(keep).into_region().unwrap();
        load_u64(&region, load_u64(&region, 0) * SLOT)
    };
    Keep::various(0).take(40).map(found).find(|owner| *owner != MINE)
}

#[test]
fn g9_a_block_used_again_before_its_freeing_is_durable_is_found_when_lines_are_evicted() {
    assert_eq!(move_on(false, true), Some(FOREIGN));
    assert_eq!(move_on(false, false), None, "the pointer to slot 2 was stored over: only an eviction shows it");
    assert_eq!(move_on(true, true), None, "the freeing was durable first");
}
