//! What is in an image: pieces of the right size, each old or new, the same for the same seed.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use pinfold_crash::{Cut, Grain, Image, Keep, Medium};
use pinfold_region::{Durability, Region};
use rustix::fs::{FallocateFlags, fallocate};

use crate::{LINES, PAGES, byte, load, load_u64, store};

const LEN: u64 = 1 << 20;
/// More than a chunk of pages apart, and at the very end.
const PLACES: [u64; 4] = [0, 3 * 4096, 70 * 4096, LEN - 4096];

/// A region in which four pages were filled, and nothing was flushed.
fn filled(durability: Durability) -> (Medium, Region) {
    let (medium, region) = Medium::new(LEN, durability).unwrap();
    PLACES.iter().for_each(|place| store(&region, *place, &[1; 4096]));
    (medium, region)
}

fn line(number: u64) -> Range<u64> {
    number * 64..(number + 1) * 64
}

fn page(image: &Image, place: u64) -> [u8; 4096] {
    let mut page = [0; 4096];
    image.read(place, &mut page).unwrap();
    page
}

/// The pieces of the four pages, each as the byte that fills it.
fn pieces(image: &Image, piece: usize) -> Vec<u8> {
    let whole = |bytes: &[u8]| bytes.iter().all(|byte| *byte == bytes[0]).then_some(bytes[0]);
    let of_page = |place: &u64| page(image, *place).chunks(piece).map(whole).collect::<Vec<_>>();
    PLACES.iter().flat_map(of_page).map(|piece| piece.expect("a piece is half kept")).collect()
}

#[test]
fn pieces_are_kept_or_lost_as_a_whole() {
    let grains = [
        (PAGES, None, 4096),
        (LINES, None, 64),
        (PAGES, Some(Grain::Sector), 512),
        (PAGES, Some(Grain::Line), 64),
        (PAGES, Some(Grain::Word), 8),
        (LINES, Some(Grain::Word), 8),
        (LINES, Some(Grain::Page), 64),
    ];
    for (durability, grain, piece) in grains {
        let (medium, _region) = filled(durability);
        let cut = medium.cut().unwrap();
        let image = |keep| grain.map_or_else(|| cut.image(keep), |grain| cut.torn(grain, keep));
        let mixed = |seed: &u64| pieces(&image(Keep::Mix(*seed)), piece);
        let smaller = |pieces: Vec<u8>| pieces.chunks(4096 / piece).any(|page| page.iter().any(|one| *one != page[0]));
        assert_eq!((0..50).any(|seed| smaller(mixed(&seed))), piece < 4096, "a page is torn if it can be");

        let count = 4 * 4096 / piece;
        let kept = |keep| pieces(&image(keep), piece).iter().filter(|piece| **piece == 1).count();
        assert_eq!([kept(Keep::Nothing), kept(Keep::Everything)], [0, count]);
        for seed in 0..20 {
            assert_eq!([kept(Keep::One(seed)), kept(Keep::AllBut(seed))], [1, count - 1]);
        }
    }
}

#[test]
fn every_outcome_of_a_few_pages_comes_up() {
    let (medium, _region) = filled(PAGES);
    let cut = medium.cut().unwrap();
    let outcomes: BTreeSet<_> = (0..300).map(|seed| pieces(&cut.image(Keep::Mix(seed)), 4096)).collect();
    assert_eq!(outcomes.len(), 16);
    let one: BTreeSet<_> = (0..100).map(|seed| pieces(&cut.image(Keep::One(seed)), 4096)).collect();
    assert_eq!(one.len(), 4);
}

#[test]
fn torn_pages_are_often_kept_or_lost_whole_too() {
    let (medium, _region) = filled(PAGES);
    let cut = medium.cut().unwrap();
    let whole = |seed: &u64| {
        let pieces = pieces(&cut.torn(Grain::Word, Keep::Mix(*seed)), 8);
        let pages: Vec<_> = pieces.chunks(512).collect();
        pages.iter().all(|page| page.iter().all(|piece| *piece == page[0]))
            && pages.iter().any(|page| *page != pages[0])
    };
    assert!((0..200).any(|seed| whole(&seed)));
}

#[test]
fn the_same_seed_is_the_same_image_and_another_boundary_another_choice() {
    let run = |boundaries: u64| -> Cut {
        let (medium, region) = filled(LINES);
        (0..boundaries / 2).for_each(|_| region.fence().unwrap());
        medium.cut().unwrap()
    };
    let images =
        |cut: &Cut| -> Vec<Image> { Keep::various(9).take(40).map(|keep| cut.torn(Grain::Word, keep)).collect() };
    let (first, again, later) = (run(2), run(2), run(4));
    assert_eq!(images(&first), images(&again));
    let drawn = |cut: &Cut| images(cut).split_off(4);
    assert_ne!(drawn(&first), drawn(&later));
}

#[test]
fn a_flush_takes_the_pages_or_lines_that_hold_its_range() {
    for (durability, taken) in [(PAGES, 0..4096), (LINES, 64..192)] {
        let (medium, region) = filled(durability);
        region.flush(100..130).unwrap();
        region.fence().unwrap();
        let page = page(&medium.cut().unwrap().image(Keep::Nothing), 0);
        for (at, byte) in page.iter().enumerate() {
            assert_eq!(*byte == 1, taken.contains(&at), "byte {at} under {durability}");
        }
    }
}

#[test]
fn what_is_at_risk_is_what_was_stored_and_is_not_durable() {
    for (durability, piece) in [(PAGES, 4096), (LINES, 64)] {
        let (medium, region) = Medium::new(LEN, durability).unwrap();
        let whole = |at: u64| at / piece * piece..(at / piece + 1) * piece;
        assert_eq!(medium.cut().unwrap().at_risk(), []);
        store(&region, 5000, &[1]);
        store(&region, 9000, &[1]);
        store(&region, 13000, &[0]);
        assert_eq!(medium.cut().unwrap().at_risk(), [whole(5000), whole(9000)]);
        region.flush(5000..5001).unwrap();
        region.fence().unwrap();
        assert_eq!(medium.cut().unwrap().at_risk(), [whole(9000)]);
        store(&region, 9000, &[0]);
        assert_eq!(medium.cut().unwrap().at_risk(), [], "it is again as the medium has it");
    }
}

#[test]
fn msync_is_durable_when_it_returns_and_a_line_when_its_fence_does() {
    for (durability, before_fence) in [(PAGES, 7), (LINES, 0)] {
        let (medium, region) = Medium::new(LEN, durability).unwrap();
        store(&region, 0, &[7]);
        region.flush(0..1).unwrap();
        assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), before_fence);
        region.fence().unwrap();
        assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), 7);
    }
}

#[test]
fn a_line_stored_to_after_its_flush_is_old_flushed_or_new_and_then_flushed_or_new() {
    let (medium, region) = Medium::new(LEN, LINES).unwrap();
    let outcomes = || {
        let cut = medium.cut().unwrap();
        (0..60).map(|seed| byte(&cut, Keep::Mix(seed), 0)).collect::<BTreeSet<_>>()
    };
    store(&region, 0, &[1]);
    region.flush(0..1).unwrap();
    store(&region, 0, &[2]);
    region.flush(0..1).unwrap();
    store(&region, 0, &[3]);
    assert_eq!(outcomes(), [0, 1, 2, 3].into());
    region.fence().unwrap();
    assert_eq!(outcomes(), [2, 3].into());
    store(&region, 0, &[2]);
    assert_eq!(outcomes(), [2].into());
}

#[test]
fn a_line_stored_back_to_what_is_durable_may_still_be_what_was_flushed() {
    let (medium, region) = Medium::new(LEN, LINES).unwrap();
    store(&region, 0, &[1]);
    region.flush(0..1).unwrap();
    store(&region, 0, &[0]);
    let cut = medium.cut().unwrap();
    assert_eq!(cut.at_risk(), [line(0)]);
    assert!((0..30).any(|seed| byte(&cut, Keep::Mix(seed), 0) == 1));
    assert_eq!(byte(&cut, Keep::Everything, 0), 0);
    region.fence().unwrap();
    assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), 1);
}

#[test]
fn newest_is_what_was_stored_since_the_last_cut() {
    let (medium, region) = Medium::new(LEN, LINES).unwrap();
    store(&region, 0, &[1]);
    store(&region, 64, &[1]);
    let first = medium.cut().unwrap();
    assert_eq!(
        [byte(&first, Keep::Newest, 0), byte(&first, Keep::Older, 0)],
        [1, 0],
        "without a cut before, all is new"
    );

    store(&region, 64, &[2]);
    store(&region, 128, &[2]);
    let second = medium.cut().unwrap();
    let kept = |keep| [0, 64, 128].map(|place| byte(&second, keep, place));
    assert_eq!(kept(Keep::Newest), [0, 2, 2]);
    assert_eq!(kept(Keep::Older), [1, 0, 0]);
}

#[test]
fn newest_of_a_page_that_was_durable_at_the_last_cut() {
    let (medium, region) = filled(PAGES);
    region.flush(0..LEN).unwrap();
    medium.cut().unwrap();
    store(&region, 0, &[2]);
    let cut = medium.cut().unwrap();
    assert_eq!([byte(&cut, Keep::Newest, 0), byte(&cut, Keep::Older, 0)], [2, 1]);

    region.flush(0..1).unwrap();
    medium.cut().unwrap();
    store(&region, 0, &[3]);
    region.flush(0..1).unwrap();
    store(&region, 0, &[2]);
    let cut = medium.cut().unwrap();
    assert_eq!([byte(&cut, Keep::Newest, 0), byte(&cut, Keep::Older, 0)], [3, 2], "it is as it was at the cut before");
}

#[test]
fn an_evicted_line_is_durable_and_no_later_fence_brings_back_an_older_one() {
    let (medium, region) = Medium::new(LEN, LINES).unwrap();
    store(&region, 0, &[1]);
    region.flush(0..1).unwrap();
    store(&region, 0, &[2]);
    medium.evict(Keep::Everything).unwrap();
    assert_eq!(medium.cut().unwrap().at_risk(), []);
    region.fence().unwrap();
    assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), 2);
}

#[test]
fn a_flushed_line_that_arrived_early_is_not_undone_by_an_older_one() {
    for seed in 0..40 {
        let (medium, region) = Medium::new(LEN, LINES).unwrap();
        for version in 1..=3 {
            store(&region, 0, &[version]);
            region.flush(0..1).unwrap();
        }
        store(&region, 0, &[4]);
        medium.evict(Keep::Mix(seed)).unwrap();
        let arrived = byte(&medium.cut().unwrap(), Keep::Nothing, 0);
        let cut = medium.cut().unwrap();
        assert!((0..20).all(|seed| byte(&cut, Keep::Mix(seed), 0) >= arrived), "{arrived} had arrived");
        region.fence().unwrap();
        assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), arrived.max(3));
    }
}

#[test]
fn a_cut_stays_as_it_was_while_the_region_goes_on_and_when_it_is_gone() {
    let (medium, region) = filled(PAGES);
    let cut = medium.cut().unwrap();
    let images = || Keep::various(0).take(20).map(|keep| cut.image(keep)).collect::<Vec<_>>();
    let before = images();
    PLACES.iter().for_each(|place| store(&region, *place, &[2; 4096]));
    region.flush(0..LEN).unwrap();
    assert_eq!(before, images());
    drop((region, medium));
    assert_eq!(before, images());
}

#[test]
fn a_region_of_an_image_has_its_bytes_and_the_medium_s_durability() {
    for durability in [PAGES, LINES] {
        let (medium, _region) = filled(durability);
        let image = medium.cut().unwrap().image(Keep::Mix(2));
        let region = image.clone().into_region().unwrap();
        assert_eq!((region.len(), region.durability()), (LEN, durability));
        for place in PLACES {
            assert_eq!(load::<4096>(&region, place), page(&image, place));
        }
        assert_eq!(load::<4096>(&region, 4096), [0; 4096]);
        region.flush(0..LEN).unwrap();
        region.fence().unwrap();
    }
}

#[test]
fn long_runs_of_pages_come_into_a_region_whole() {
    const PAGE: u64 = 4096;
    const COUNT: u64 = 2500;
    let (medium, region) = Medium::new((COUNT + 10) * PAGE, PAGES).unwrap();
    let holds = |page: u64| page >= 3 && page != 1200;
    (3..COUNT).filter(|page| holds(*page)).for_each(|page| store(&region, page * PAGE, &page.to_le_bytes()));
    let copy = medium.cut().unwrap().image(Keep::Everything).into_region().unwrap();
    for page in 0..COUNT {
        assert_eq!(load_u64(&copy, page * PAGE), if holds(page) { page } else { 0 });
    }
}

#[test]
fn the_medium_of_an_image_has_its_bytes_in_memory_and_durable() {
    let (medium, _region) = filled(LINES);
    let image = medium.cut().unwrap().image(Keep::Mix(3));
    let (medium, region) = image.clone().into_medium().unwrap();
    assert_eq!(medium.cut().unwrap().at_risk(), []);
    assert_eq!(medium.cut().unwrap().image(Keep::Nothing), image);
    store(&region, 64, &[9]);
    assert_eq!(medium.cut().unwrap().at_risk(), [line(1)]);
}

#[test]
fn an_image_is_not_read_past_its_end() {
    let (medium, _region) = filled(PAGES);
    let image = medium.cut().unwrap().image(Keep::Everything);
    let read = |offset, len: usize| image.read(offset, &mut vec![0; len]).map_err(|error| error.kind());
    assert_eq!(read(LEN - 4, 4), Ok(()));
    assert_eq!(read(LEN - 4, 5), Err(io::ErrorKind::UnexpectedEof));
    assert_eq!(read(u64::MAX, 1), Err(io::ErrorKind::UnexpectedEof));
    assert_eq!(read(LEN, 0), Ok(()));
}

#[test]
fn bad_lengths_are_refused() {
    for len in [0, 1, 4097, u64::MAX] {
        assert!(Medium::new(len, PAGES).is_err(), "{len}");
    }
}

#[test]
fn nothing_is_durable_on_volatile_memory() {
    let (medium, region) = filled(Durability::Volatile);
    region.flush(0..LEN).unwrap();
    region.fence().unwrap();
    let cut = medium.cut().unwrap();
    assert_eq!(pieces(&cut.image(Keep::Nothing), 4096), [0; 4]);
    assert_eq!(pieces(&cut.image(Keep::Everything), 4096), [1; 4]);
}

#[test]
fn what_reached_the_memory_by_another_way_is_seen() {
    let (medium, region) = filled(PAGES);
    region.flush(0..LEN).unwrap();
    let file = std::fs::File::from(region.file().unwrap().try_clone_to_owned().unwrap());
    file.write_all_at(&[5], 2 * 4096).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, PLACES[1], 4096).unwrap();
    let cut = medium.cut().unwrap();
    assert_eq!(cut.at_risk(), [2 * 4096..3 * 4096, PLACES[1]..PLACES[1] + 4096]);
    assert_eq!([byte(&cut, Keep::Everything, 2 * 4096), byte(&cut, Keep::Everything, PLACES[1])], [5, 0]);
    assert_eq!([byte(&cut, Keep::Nothing, 2 * 4096), byte(&cut, Keep::Nothing, PLACES[1])], [0, 1]);
}
