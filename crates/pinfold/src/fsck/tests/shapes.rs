//! Media with nothing wrong.

use super::medium::BLOCK;
use super::*;
use crate::medium::image::{Image, KindImage, ROOT};
use crate::medium::record::{Entry, Made};

#[track_caller]
fn clean(medium: &[u8]) -> Report {
    let report = checked(medium);
    assert_eq!(report.findings, []);
    report
}

/// A tree with everything in it, and a log that says more.
pub(super) fn everything() -> Maker {
    everything_from(4096)
}

/// The same, with a log that begins at a position.
fn everything_from(position: u64) -> Maker {
    let mut maker = maker();
    (maker.superblock.replay_from, maker.durable) = (position, position);
    let first = maker.first();
    maker.dir(2).dir(3).symlink(4, b"../there");
    maker.file(5, 2 * BLOCK + 1, &[(0, first, 2, true), (2, first + 5, 1, false), (9, first + 10, 3, false)]);
    maker.file(6, 0, &[]);
    maker.names(ROOT, &[(b"dir", 2), (b"file", 5)]);
    maker.names(2, &[(b"deeper", 3), (b"link", 4), (b"second name", 5)]);
    maker.names(3, &[(b"\xFF\xFE not text", 6)]);
    maker.chunks = vec![1, 1, 1];
    maker.record(&[
        Entry::Make { node: 101, made: Made::File },
        Entry::Name { dir: ROOT, name: b"new", node: 101 },
        Entry::Put { node: 101, at: 0, block: first + 20, len: 4, written: true },
        Entry::Length { node: 101, len: 4 * BLOCK },
    ]);
    maker.record(&[Entry::Take { node: 101, at: 1, len: 1 }, Entry::Shift { node: 101, from: 2, by: -1 }]);
    maker.record(&[
        Entry::Unname { dir: ROOT, name: b"new" },
        Entry::Name { dir: 3, name: b"moved", node: 101 },
        Entry::Length { node: 101, len: 3 * BLOCK },
    ]);
    maker.record(&[Entry::Make { node: 102, made: Made::Directory }, Entry::Name { dir: 2, name: b"d", node: 102 }]);
    maker.record(&[Entry::Unname { dir: 2, name: b"d" }]);
    maker.record(&[Entry::End { node: 102 }]);
    maker
}

#[test]
fn a_new_pool_has_no_finding() {
    let report = clean(&maker().medium());
    assert_eq!((report.totals.directories, report.totals.in_files, report.totals.records), (1, 0, 0));
    let without_checkpoint = maker();
    let mut medium = vec![0; without_checkpoint.superblock.len as usize];
    super::medium::write_superblocks(&mut medium, &without_checkpoint.superblock);
    clean(&medium);
}

#[test]
fn a_tree_with_everything_has_no_finding_and_is_counted() {
    let report = clean(&everything().medium());
    let totals = report.totals;
    assert_eq!((totals.files, totals.directories, totals.symlinks, totals.names), (3, 3, 1, 7));
    assert_eq!((totals.in_files, totals.checkpoint, totals.records), (9 * BLOCK, 3 * BLOCK, 6));
    assert_eq!((totals.generation, totals.epoch, totals.total), (5, 3, 16 << 20));
    assert_eq!(totals.free, totals.total - totals.reserved - totals.in_files - totals.checkpoint);
}

#[test]
fn a_seal_at_the_end_of_the_log_is_as_it_should_be() {
    let report = clean(&everything().seal().medium());
    assert_eq!(report.totals.records, 6);
}

#[test]
fn the_log_is_followed_over_the_end_of_its_ring() {
    let lap = maker().superblock.log_len;
    for back in (0..400).step_by(8) {
        let report = clean(&everything_from(3 * lap - back).medium());
        assert_eq!(report.totals.records, 6, "{back} bytes before the end");
    }
}

#[test]
fn what_the_check_puts_together_is_what_the_opening_does() {
    let medium = everything().medium();
    let (superblock, image) = crate::medium::superblock::Superblock::read_with_image(&medium).unwrap();
    let seen = super::super::look(&medium, None).1.unwrap();
    agree(&seen.state, &image);
    assert_eq!((seen.end, seen.superblock), (image.end, superblock));
}

/// Two accounts of one medium say the same.
#[track_caller]
pub(super) fn agree(state: &super::super::State, image: &Image) {
    use super::super::state::Body;
    assert_eq!(state.nodes.len(), image.nodes.len());
    assert_eq!((state.last_node, state.records), (image.last_node, image.records));
    for (id, node) in &state.nodes {
        let other = &image.nodes[id];
        assert_eq!(node.attributes, other.attributes, "node {id}");
        match (&node.body, &other.kind) {
            (Body::File(file), KindImage::File(other)) => {
                assert_eq!(file.len, other.len, "node {id}");
                assert_eq!(file.runs().collect::<Vec<_>>(), other.extents.runs().collect::<Vec<_>>(), "node {id}");
            }
            (Body::Directory(names), KindImage::Directory(others)) => {
                let names = names.iter().map(|(name, node)| (&name[..], node));
                assert!(names.eq(others.iter().map(|(name, node)| (&name[..], node))), "node {id}");
            }
            (Body::Symlink(target), KindImage::Symlink(other)) => assert_eq!(target, other, "node {id}"),
            (Body::Special(special), KindImage::Special(other)) => assert_eq!(special, other, "node {id}"),
            _ => panic!("node {id} is of two kinds"),
        }
    }
}
