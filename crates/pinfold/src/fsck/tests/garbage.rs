//! Whatever bytes there are: a check says something, and neither it nor a repair panics.

use proptest::prelude::*;

use super::medium::{BLOCK, BLOCKS, CHUNKS, put, put_checksum, sealed, write_log};
use super::shapes::everything;
use super::*;
use crate::medium::image::ROOT;
use crate::medium::record::{Entry, HEADER, Made};

/// Looks at a medium in every way there is.
fn survives(medium: &[u8]) {
    checked(medium);
    let dump = super::super::Dump::of(medium);
    let mut lines = 0;
    let mut say = |part: super::super::Part| lines += part.to_string().len() + part.parts.len();
    dump.superblocks().into_iter().for_each(&mut say);
    dump.log(&mut say);
    dump.checkpoint(&mut say);
    dump.node(5, &mut say);
    let disk = OnDisk::of(medium);
    match Repair::of(&disk.path, None) {
        Ok(repair) => {
            let suspects = repair.suspects().count();
            match repair.commit() {
                Ok(report) => assert!(report.is_clean(), "{:?}, {suspects} suspects", report.findings),
                // A file may claim all there is: then no place is left for what a repair writes.
                Err(RepairError::NoSpace { .. }) => assert!(disk.bytes() == medium, "and nothing was written"),
                Err(error) => panic!("{error}, {suspects} suspects"),
            }
        }
        Err(_) => assert!(disk.bytes() == medium, "what is refused is not written"),
    }
}

#[test]
fn a_repair_without_a_place_to_write_to_writes_nothing() {
    let mut maker = maker();
    let medium =
        maker.file(3, 0, &[]).record(&[Entry::Put { node: 3, at: 0, block: 0, len: 1 << 48, written: true }]).medium();
    let disk = OnDisk::of(&medium);
    let refused = Repair::of(&disk.path, None).unwrap().commit();
    assert!(matches!(refused, Err(RepairError::NoSpace { needed: BLOCK })), "{:?}", refused.err());
    assert!(disk.bytes() == medium);
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..12u64,
        90..130u64,
        Just(CHUNKS),
        Just(BLOCKS - 1),
        Just((1 << 60) / BLOCK),
        any::<u64>(),
        Just(u64::MAX),
        Just(1 << 62),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"dir".to_vec()), Just(b"file".to_vec()), prop::collection::vec(any::<u8>(), 0..4)]
}

/// What a medium is made of, with no regard to sense.
#[derive(Clone, Debug)]
enum Piece {
    File(u64, u64, Vec<(u64, u64, u64, bool)>),
    Dir(u64),
    Symlink(u64, Vec<u8>),
    Names(u64, Vec<(Vec<u8>, u64)>),
    Garbage(Vec<u8>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let small = 1..12u64;
    let runs = prop::collection::vec((0..9u64, 90..140u64, 1..5u64, any::<bool>()), 0..4);
    prop_oneof![
        4 => (small.clone(), number(), runs).prop_map(|(node, len, runs)| Piece::File(node, len, runs)),
        3 => small.clone().prop_map(Piece::Dir),
        1 => (small.clone(), name()).prop_map(|(node, target)| Piece::Symlink(node, target)),
        6 => (small, prop::collection::vec((name(), 1..12u64), 0..5)).prop_map(|(dir, names)| Piece::Names(dir, names)),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Piece::Garbage),
    ]
}

#[derive(Clone, Debug)]
struct Said(u8, u64, u64, u64, u64, Vec<u8>);

impl Said {
    fn entry(&self) -> Entry<'_> {
        let Self(tag, a, b, c, d, name) = self;
        let (node, at, block, len, written) = (*a, *b, *c, *d, b % 2 == 0);
        match tag {
            0 => Entry::Make { node, made: Made::File },
            1 => Entry::Make { node, made: Made::Directory },
            2 => Entry::Make { node, made: Made::Symlink(name) },
            3 => Entry::End { node },
            4 => Entry::Name { dir: node, name, node: at },
            5 => Entry::Unname { dir: node, name },
            6 => Entry::Length { node, len },
            7 => Entry::Put { node, at, block, len, written },
            8 => Entry::Take { node, at, len },
            9 => Entry::Mark { node, at, len, written },
            10 => Entry::Shift { node, from: at, by: (block as i64).saturating_neg() },
            11 => Entry::Shift { node, from: at, by: (block >> 1) as i64 },
            _ => Entry::Touch { node },
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let node = prop_oneof![4 => 1..12u64, 1 => number()];
    (0..13u8, node, number(), number(), number(), name())
        .prop_map(|(tag, a, b, c, d, name)| Said(tag, a, b, c, d, name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sound_checksums_over_nonsense_do_no_harm(
        pieces in prop::collection::vec(piece(), 0..14),
        records in prop::collection::vec(prop::collection::vec(said(), 1..4), 0..6),
        chunks in 1..4usize,
    ) {
        let mut maker = maker();
        maker.chunks = vec![1; chunks];
        for piece in &pieces {
            match piece {
                Piece::File(node, len, runs) => {
                    let mut at = 0;
                    let runs: Vec<_> = runs.iter().map(|(skip, block, len, written)| {
                        at += skip + len;
                        (at - len, *block, *len, *written)
                    }).collect();
                    maker.file(*node, *len, &runs);
                }
                Piece::Dir(node) => {
                    maker.dir(*node);
                }
                Piece::Symlink(node, target) => {
                    maker.symlink(*node, target);
                }
                Piece::Names(dir, names) => {
                    let names: Vec<_> = names.iter().map(|(name, node)| (&name[..], *node)).collect();
                    maker.names(*dir, &names);
                }
                Piece::Garbage(bytes) => maker.items.bytes.extend(bytes),
            }
        }
        for entries in &records {
            let entries: Vec<_> = entries.iter().map(Said::entry).collect();
            maker.record(&entries);
        }
        survives(&maker.medium());
    }

    #[test]
    fn flipped_bytes_do_no_harm(
        flips in prop::collection::vec((prop_oneof![
            0..200u64, 65_536..65_700u64, (128u64 << 10)..(132 << 10), CHUNKS * BLOCK..CHUNKS * BLOCK + 300,
            (CHUNKS + 2) * BLOCK..(CHUNKS + 2) * BLOCK + 300, 0..16u64 << 20,
        ], 1..=255u8), 1..6),
    ) {
        let mut medium = everything().medium();
        flips.iter().for_each(|(at, bits)| medium[*at as usize] ^= bits);
        survives(&medium);
    }

    #[test]
    fn records_of_random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut maker = everything();
        let position = maker.end();
        let mut medium = maker.medium();
        let mut record = sealed(&maker.superblock, position, &[Entry::Touch { node: ROOT }]);
        record.truncate(HEADER);
        record.extend(&bytes);
        record.resize(record.len().next_multiple_of(8), 0);
        let len = record.len() as u32;
        put(&mut record, 4, &len.to_le_bytes());
        put_checksum(&maker.superblock, &mut record);
        write_log(&mut medium, &maker.superblock, position, &record);
        survives(&medium);
    }
}
