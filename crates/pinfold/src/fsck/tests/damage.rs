//! What is found, and cannot be mended: superblocks, chunks, items, records.

use super::medium::{BLOCK, BLOCKS, CHUNKS, put, put_mark, sealed, write_log, write_superblock, write_superblocks};
use super::shapes::everything;
use super::*;
use crate::medium::checkpoint::CHUNK_HEADER;
use crate::medium::image::ROOT;
use crate::medium::record::{Entry, HEADER, Made};
use crate::medium::superblock::{CheckpointPlace, LOG_START, SUPERBLOCKS, Superblock};

#[test]
fn what_is_no_pool_is_told() {
    for medium in [vec![], vec![0; 100], vec![1; 1 << 20]] {
        only(&medium, "not-a-pool");
    }
    beyond(&vec![0u8; 1 << 20], "not-a-pool");
}

#[test]
fn both_superblocks_damaged_is_beyond_repair() {
    let mut medium = everything().medium();
    SUPERBLOCKS.iter().for_each(|place| medium[*place as usize + 50] ^= 1);
    only(&medium, "superblock-damaged");
    assert_eq!(checked(&medium).count(Severity::Error), 2);
    beyond(&medium, "superblock-damaged");
}

#[test]
fn a_superblock_of_another_version_stops_a_repair() {
    let mut medium = everything().medium();
    medium[8] = 9;
    let sum = crc32c::crc32c(&medium[..132]);
    put(&mut medium, 132, &sum.to_le_bytes());
    only(&medium, "superblock-version");
    beyond(&medium, "superblock-version");
}

#[test]
fn superblocks_that_name_two_pools_or_two_states_stop_a_repair() {
    let mut maker = everything();
    let mut medium = maker.medium();
    let superblock = maker.superblock.clone();
    write_superblock(&mut medium, 0, &Superblock { pool: [8; 16], ..superblock.clone() });
    beyond(&medium, "superblock-of-another-pool");
    write_superblock(&mut medium, 0, &Superblock { last_node: 90, ..superblock });
    beyond(&medium, "superblocks-of-one-generation");
}

#[test]
fn a_pool_that_was_cut_is_told_and_read_as_far_as_it_goes() {
    let mut medium = everything().medium();
    medium.truncate(15 << 20);
    only(&medium, "cut");
    beyond(&medium, "cut");
    medium.truncate((CHUNKS * BLOCK) as usize + 10);
    let kinds = found(&medium);
    assert!(kinds.starts_with(&["cut", "unreadable"]), "{kinds:?}");
    medium.truncate(LOG_START as usize + 100);
    assert!(checked(&medium).findings.iter().any(|found| matches!(found, Finding::Unreadable { what: "the log", .. })));
}

#[test]
fn each_chunk_that_is_damaged_is_named_and_what_follows_is_read() {
    let whole = everything().medium();
    for (index, start) in [(0, CHUNKS), (1, CHUNKS + 2), (2, CHUNKS + 4)] {
        let place = (start * BLOCK) as usize;
        // A byte of the items: the checksum tells, and the rest is read all the same.
        let mut medium = whole.clone();
        medium[place + CHUNK_HEADER as usize + 2] ^= 0x40;
        let report = checked(&medium);
        assert!(
            matches!(&report.findings[0], Finding::ChunkDamaged { index: found, block, why: "has another checksum" }
            if (*found, *block) == (index, start))
        );
        assert_eq!(report.totals.checkpoint, 3 * BLOCK, "chunk {index}");
        beyond(&medium, "chunk-damaged");
        // Its magic, its pool, its position, its index: nothing of it is believed.
        for at in [0, 8, 24, 32] {
            let mut medium = whole.clone();
            medium[place + at] ^= 1;
            let report = checked(&medium);
            assert!(matches!(&report.findings[0], Finding::ChunkDamaged { index: found, .. } if *found == index));
            beyond(&medium, "chunk-damaged");
        }
    }
}

#[test]
fn a_checkpoint_that_lies_nowhere_or_in_a_ring_ends() {
    let mut maker = everything();
    let mut medium = maker.medium();
    // The superblock is checked for that already; a chunk's own next is not.
    for next in [0, 3, BLOCKS, u64::MAX] {
        let mut raw = medium[(CHUNKS * BLOCK) as usize..][..CHUNK_HEADER as usize].to_vec();
        raw[40..48].copy_from_slice(&next.to_le_bytes());
        let items = medium[(CHUNKS * BLOCK + CHUNK_HEADER) as usize..][..7].to_vec();
        let sum = crc32c::crc32c_append(crc32c::crc32c(&raw[..68]), &items);
        raw[68..72].copy_from_slice(&sum.to_le_bytes());
        put(&mut medium, CHUNKS * BLOCK, &raw);
        beyond(&medium, "chunk-damaged");
    }
    let mut ring = maker.medium();
    put(&mut ring, CHUNKS * BLOCK + 40, &CHUNKS.to_le_bytes());
    beyond(&ring, "chunk-damaged");
}

#[test]
fn a_checkpoint_that_is_not_what_its_superblock_says_is_told() {
    let mut maker = everything();
    let mut medium = maker.medium();
    let place = maker.superblock.checkpoint;
    let with = |place| Superblock { checkpoint: place, ..maker.superblock.clone() };
    write_superblocks(&mut medium, &with(CheckpointPlace { bytes: place.bytes + 1, ..place }));
    beyond(&medium, "checkpoint-bytes");
    write_superblocks(&mut medium, &with(CheckpointPlace { bytes: place.bytes - 1, ..place }));
    beyond(&medium, "chunk-damaged");
    write_superblocks(&mut medium, &with(CheckpointPlace { nodes: place.nodes + 1, ..place }));
    only(&medium, "checkpoint-nodes");
    beyond(&medium, "checkpoint-nodes");
}

#[test]
fn items_that_are_none_are_told() {
    let mut maker = maker();
    maker.items.byte(99);
    beyond(&maker.medium(), "item-garbled");
    let mut maker = super::maker();
    maker.dir(2).dir(2).names(ROOT, &[(b"a", 2)]);
    maker.nodes = 2;
    only(&maker.medium(), "node-twice");
    beyond(&maker.medium(), "node-twice");
}

#[test]
fn a_record_that_says_what_cannot_be_is_named_by_its_position() {
    let first = maker().first();
    let cases: &[&[Entry<'_>]] = &[
        &[Entry::Length { node: 2, len: 5 }],
        &[Entry::Name { dir: 5, name: b"x", node: 2 }],
        &[Entry::Put { node: 5, at: 1, block: first + 50, len: 1, written: true }],
        &[Entry::Put { node: 5, at: 100, block: first + 50, len: 0, written: true }],
        &[Entry::Put { node: 5, at: u64::MAX, block: first + 50, len: 2, written: true }],
        &[Entry::Put { node: 5, at: 100, block: u64::MAX, len: 2, written: true }],
        &[Entry::Shift { node: 5, from: 2, by: -1 }],
        &[Entry::Shift { node: 5, from: 0, by: -1 }],
        &[Entry::Shift { node: 5, from: 0, by: i64::MAX }, Entry::Shift { node: 5, from: 0, by: i64::MAX }],
        &[Entry::Shift { node: 5, from: 0, by: i64::MAX }, Entry::Shift { node: 5, from: 3, by: i64::MAX }],
    ];
    for entries in cases {
        let mut maker = everything();
        let position = maker.end();
        let medium = maker.record(entries).record(&[Entry::Touch { node: 5 }]).medium();
        let report = checked(&medium);
        let named = report
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::EntryImpossible { position: found, .. } if *found == position));
        assert!(named, "{entries:?}: {:?}", report.findings);
        assert_eq!(report.totals.records, 8, "the next one is read");
        beyond(&medium, "entry-impossible");
    }
}

#[test]
fn a_garbled_entry_is_told_and_the_next_record_is_read() {
    let mut maker = everything();
    let position = maker.end();
    maker.hole(HEADER + 8).record(&[Entry::Touch { node: 5 }]);
    let mut medium = maker.medium();
    // A record whose only entry has a tag that there is not.
    let mut record = sealed(&maker.superblock, position, &[Entry::Touch { node: 5 }]);
    record[HEADER] = 77;
    super::medium::put_checksum(&maker.superblock, &mut record);
    write_log(&mut medium, &maker.superblock, position, &record);
    let report = checked(&medium);
    assert!(matches!(report.findings[..], [Finding::EntryGarbled { position: found, .. }] if found == position));
    assert_eq!(report.totals.records, 8);
    beyond(&medium, "entry-garbled");
}

#[test]
fn a_log_that_speaks_of_nodes_that_are_not_there_is_told_unless_they_end() {
    let of_nobody: &[Entry<'_>] = &[
        Entry::Take { node: 77, at: 0, len: 1 },
        Entry::Length { node: 78, len: 1 },
        Entry::Unname { dir: 79, name: b"x" },
    ];
    let mut maker = everything();
    maker.record(of_nobody);
    only(&maker.medium(), "node-absent");
    assert_eq!(checked(&maker.medium()).findings.len(), 3);
    beyond(&maker.medium(), "node-absent");
    // A sync may come to speak of a file after its end.
    let synced = [Entry::Touch { node: 77 }, Entry::Mark { node: 77, at: 0, len: 1, written: true }];
    assert_eq!(found(&everything().record(&synced).medium()), [""; 0]);
    let ends: &[Entry<'_>] = &[Entry::End { node: 77 }, Entry::End { node: 78 }, Entry::End { node: 79 }];
    assert_eq!(found(&maker.record(ends).medium()), [""; 0]);
}

#[test]
fn a_torn_record_at_the_end_is_a_note() {
    let mut maker = everything();
    let end = maker.end();
    let record = sealed(&maker.superblock, end, &[Entry::Touch { node: 5 }]);
    let mut medium = maker.medium();
    write_log(&mut medium, &maker.superblock, end, &record[..record.len() - 8]);
    let report = checked(&medium);
    assert_eq!(report.findings, [Finding::TornTail { position: end }]);
    assert!(report.is_clean());
    assert!(mended(&medium).steps.is_empty(), "the opening sees to it");
}

#[test]
fn g9_records_behind_a_hole_are_told() {
    let mut maker = everything();
    let end = maker.end();
    maker.hole(48);
    let first = maker.end();
    let medium = maker.record(&[Entry::Touch { node: 5 }]).record(&[Entry::Touch { node: 6 }]).medium();
    let report = checked(&medium);
    assert_eq!(report.findings, [Finding::RecordsBehind { end, first, count: 2 }]);
    assert_eq!((report.worst(), report.totals.records), (Some(Severity::Note), 6));
    assert!(mended(&medium).steps.is_empty(), "the opening sees to it");
    // Of a former opening they are left-overs.
    let mut maker = everything();
    maker.superblock.epoch = 2;
    let left_over = sealed(&maker.superblock, maker.end() + 48, &[Entry::Touch { node: 5 }]);
    let mut maker = everything();
    let mut medium = maker.medium();
    write_log(&mut medium, &maker.superblock, maker.end() + 48, &left_over);
    assert_eq!(found(&medium), [""; 0]);
}

#[test]
fn g9_a_record_that_was_durable_and_is_damaged_is_told() {
    for told_by in ["a record behind it", "the seal", "the mark alone"] {
        let mut maker = everything();
        let end = maker.end();
        maker.record(&[Entry::Touch { node: 5 }]);
        let durable = maker.end();
        maker.durable = durable;
        let mut medium = match told_by {
            "a record behind it" => maker.record(&[Entry::Touch { node: 6 }]).medium(),
            "the seal" => maker.seal().medium(),
            _ => {
                let mut medium = maker.medium();
                put_mark(&mut medium, &maker.superblock, durable);
                medium
            }
        };
        let [place, _] = crate::medium::log::places(&maker.superblock, end + HEADER as u64, 1);
        medium[place.start as usize] ^= 1;
        assert_eq!(checked(&medium).findings, [Finding::LogDamaged { end, durable }], "by {told_by}");
        beyond(&medium, "log-damaged");
    }
}

#[test]
fn g9_a_log_that_ends_before_its_mark_is_damaged_even_at_a_seal() {
    let mut maker = everything();
    let end = maker.end();
    let mut medium = maker.seal().medium();
    put_mark(&mut medium, &maker.superblock, end);
    assert_eq!(checked(&medium).findings, []);
    put_mark(&mut medium, &maker.superblock, end + 40);
    assert_eq!(checked(&medium).findings, [Finding::LogDamaged { end, durable: end + 40 }]);
    maker.superblock.epoch -= 1;
    put_mark(&mut medium, &maker.superblock, end + 80);
    assert_eq!(checked(&medium).findings, [], "that one is of a former opening");
}

#[test]
fn g9_a_node_that_the_checkpoint_has_as_of_later_is_told() {
    let mut maker = maker();
    maker.position = maker.end() + 8;
    let medium = maker.named("ahead", 5, 0, &[]).medium();
    only(&medium, "node-ahead");
    beyond(&medium, "node-ahead");
}

#[test]
fn g9_an_old_state_whose_younger_superblock_is_lost_is_told() {
    for epoch in [4, 3 + (1 << 30)] {
        let mut maker = everything();
        let later = Superblock { epoch, ..maker.superblock.clone() };
        // Of a later opening, one lap on.
        let position = maker.end() + later.log_len;
        let record = sealed(&later, position, &[Entry::Make { node: 200, made: Made::File }]);
        let mut medium = maker.medium();
        write_log(&mut medium, &later, position, &record);
        only(&medium, "later-opening");
        beyond(&medium, "later-opening");
    }
}

#[test]
fn numbers_that_no_node_can_have_are_told() {
    for node in [0, 1 << 62, u64::MAX] {
        let mut maker = maker();
        let medium = maker.dir(node).names(ROOT, &[(b"a", node)]).medium();
        beyond(&medium, "bad-id");
    }
    let mut maker = maker();
    let medium = maker.dir(101).names(ROOT, &[(b"a", 101)]).medium();
    only(&medium, "id-past-last");
    assert!(checked(&medium).is_clean());
    let mut root_is_a_file = Maker::rootless();
    beyond(&root_is_a_file.file(ROOT, 0, &[]).medium(), "root-not-directory");
}

#[test]
fn many_findings_are_counted_and_the_first_are_listed() {
    let mut maker = maker();
    for node in 2..3002u64 {
        maker.names(ROOT, &[(node.to_string().as_bytes(), node)]);
    }
    let report = checked(&maker.medium());
    assert_eq!((report.count(Severity::Error), report.findings.len()), (3000, Report::LISTED_MAX));
}
