//! Pools that former versions wrote: each opens, is sound, and holds what it held (G9).
//!
//! A fixture is `FORMAT-KIND.pool`, beside what it holds as a text. `left` is what a killed owner leaves, with changes in the
//! log that no checkpoint has; `closed` was closed in good order; `rare` was left too, by one who did what is rare. Of a new
//! format, make new ones and keep these:
//!
//! cargo test -p pinfold --test versions -- --ignored write_the_fixtures

#[path = "../damaged/format.rs"]
mod format;
#[path = "../damaged/look.rs"]
mod look;
mod rare;
#[path = "../damaged/sample.rs"]
mod sample;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use pinfold::fsck::{self, Severity};
use pinfold::{FORMAT_VERSION, Pool};

use format::{Medium, PAGE};
use look::{State, file_of, opened, quiet, region_of, seen};
use sample::{Flushed, Until, left_behind};

/// What the fixture `name` is kept in.
fn path(name: &str, ending: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/versions/{name}.{ending}"))
}

/// A medium, without its zeros: its length, and for each page that has any other bytes where it lies, how many bytes of it
/// there are before nothing but zeros follows, and these. All numbers in 8 bytes, little-endian.
fn packed(medium: &Medium) -> Vec<u8> {
    let mut packed = medium.len.to_le_bytes().to_vec();
    for (at, page) in medium.pages() {
        let len = page.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        packed.extend(at.to_le_bytes());
        packed.extend((len as u64).to_le_bytes());
        packed.extend(&page[..len]);
    }
    packed
}

fn unpacked(mut packed: &[u8]) -> Medium {
    let number = |packed: &mut &[u8]| {
        let (number, rest) = packed.split_first_chunk::<8>().expect("a number");
        *packed = rest;
        u64::from_le_bytes(*number)
    };
    let mut medium = Medium::of_len(number(&mut packed));
    while !packed.is_empty() {
        let (at, len) = (number(&mut packed), number(&mut packed));
        assert!(len <= PAGE);
        let (page, rest) = packed.split_at(len as usize);
        medium.write(at, page);
        packed = rest;
    }
    medium
}

/// A line for each path: all that a user can see of it.
fn listing(state: &State) -> String {
    let mut text = String::new();
    for (path, node) in state {
        writeln!(text, "{}: {}", path.as_os_str().as_encoded_bytes().escape_ascii(), node.described()).unwrap();
    }
    text
}

fn fixture(name: &str) -> (Medium, String) {
    let medium = unpacked(&fs::read(path(name, "pool")).unwrap());
    (medium, fs::read_to_string(path(name, "txt")).unwrap())
}

fn check(name: &str) {
    let (medium, holds) = fixture(name);
    let report = fsck::check(&medium, None);
    // A file that was open and had no name is worth a note.
    assert!(report.findings.iter().all(|finding| finding.severity() == Severity::Note), "{:?}", report.findings);
    assert_eq!(report.totals.sum(), report.totals.total);
    assert_eq!(listing(&seen(&medium).unwrap()), holds, "by who only looks");
    let pool = opened(&medium).unwrap();
    assert_eq!(listing(&look::state_of(&pool)), holds, "by its owner");
    goes_on(&pool);
    pool.close().unwrap();
}

fn goes_on(pool: &Pool) {
    pool.create("/one more").unwrap().write_at(0, &[1; 5000]).unwrap();
    pool.sync().unwrap();
    pool.checkpoint().unwrap();
}

#[test]
fn g9_a_pool_of_format_2_that_was_left_opens_and_holds_what_it_held() {
    check("2-left");
}

#[test]
fn g9_a_pool_of_format_2_that_was_closed_opens_and_holds_what_it_held() {
    check("2-closed");
}

#[test]
fn g9_a_pool_of_format_2_with_what_is_rare_opens_and_holds_what_it_held() {
    check("2-rare");
}

#[test]
fn g9_a_pool_of_format_1_that_was_left_opens_and_holds_what_it_held() {
    check("1-left");
}

#[test]
fn g9_a_pool_of_format_1_that_was_closed_opens_and_holds_what_it_held() {
    check("1-closed");
}

#[test]
fn g9_a_pool_of_format_1_with_what_is_rare_opens_and_holds_what_it_held() {
    check("1-rare");
}

/// Else nobody would learn that the check of the format is missing.
#[test]
fn there_are_fixtures_of_this_format() {
    for kind in ["left", "closed", "rare"] {
        let (medium, _) = fixture(&format!("{FORMAT_VERSION}-{kind}"));
        assert_eq!(medium.number(format::superblock::VERSION), u64::from(FORMAT_VERSION));
    }
}

/// The kinds of entries and items are numbers that appear nowhere else: a fixture that has one keeps its number.
#[test]
fn the_fixtures_have_every_kind_of_entry_and_of_item() {
    let (rare, _) = fixture(&format!("{FORMAT_VERSION}-rare"));
    let records = rare.records();
    let kinds: BTreeSet<u8> = records.iter().flat_map(|record| format::tags_of_entries(&record.bytes)).collect();
    assert!(kinds.into_iter().eq(1..=20));
    let kinds: BTreeSet<u8> = format::tags_of_items(&rare.items()).into_iter().collect();
    assert!(kinds.into_iter().eq([1, 2, 3, 4, 5, 17, 18, 19, 21]));
    let (first, last) = (records.first().unwrap(), records.last().unwrap());
    assert!(rare.log_place(last.position) < rare.log_place(first.position), "its log goes around the end of its ring");
    assert!(rare.chunks().len() > 1);
}

#[test]
#[ignore = "it writes the fixtures of this format that there are not"]
fn write_the_fixtures() {
    let left = left_behind(Until::Synced);
    let closed = closed(&left);
    assert!(left.records().len() > 10, "there is something in the log");
    assert!(closed.records().iter().all(format::Record::is_seal), "there is nothing in the log");
    for (kind, medium) in [("left", &left), ("closed", &closed), ("rare", &rare::left_behind())] {
        let name = format!("{FORMAT_VERSION}-{kind}");
        if !path(&name, "pool").exists() {
            fs::write(path(&name, "pool"), packed(medium)).unwrap();
            fs::write(path(&name, "txt"), listing(&seen(medium).unwrap())).unwrap();
        }
    }
}

/// The same, opened once more and closed.
fn closed(left: &Medium) -> Medium {
    let file = file_of(left);
    quiet().open_region(region_of(&file).with_flusher(Flushed), None).unwrap().close().unwrap();
    Medium::of(&file).unwrap()
}
