//! What is found, and mended.

use super::medium::{BLOCK, BLOCKS, CHUNKS, put, write_superblock};
use super::shapes::everything;
use super::*;
use crate::medium::image::ROOT;
use crate::medium::superblock::{SUPERBLOCKS, Superblock};
use crate::{Pool, PoolOptions};

fn open(mended: &Mended) -> Pool {
    PoolOptions::new().open(&mended.disk.path).unwrap()
}

fn bytes(pool: &Pool, path: &str) -> Vec<u8> {
    let file = pool.open(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// A finding of that kind, among others that it brings; it goes.
#[track_caller]
fn mends(medium: &[u8], kind: &str) -> Mended {
    let kinds = found(medium);
    assert!(kinds.contains(&kind), "{kinds:?}");
    mended(medium)
}

fn names(pool: &Pool, dir: &str) -> Vec<String> {
    pool.read_dir(dir).unwrap().into_iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_damaged_superblock_is_written_anew_and_the_whole_one_is_not_touched() {
    let whole = everything().medium();
    for (index, place) in SUPERBLOCKS.into_iter().enumerate() {
        for damage in [0, 50] {
            let mut medium = whole.clone();
            medium[place as usize + damage] ^= 1;
            only(&medium, "superblock-damaged");
            assert!(checked(&medium).is_clean());
            let disk = OnDisk::of(&medium);
            let repair = Repair::of(&disk.path, None).unwrap();
            let other = SUPERBLOCKS[1 - index];
            let steps = [place, other].map(|place| Step::Superblock { place });
            assert_eq!(repair.steps(), steps, "the one that counts comes last");
            let report = repair.commit().unwrap();
            assert_eq!(report.findings, []);
            let after = disk.bytes();
            assert_eq!(after[128 << 10..], medium[128 << 10..], "nothing else was written");
            mended(&medium);
        }
    }
}

#[test]
fn superblocks_that_do_not_follow_one_another_are_mended() {
    let mut maker = everything();
    let whole = maker.medium();
    let older = |index: usize, change: fn(&mut Superblock)| {
        let mut older = Superblock { generation: 4, ..maker.superblock.clone() };
        change(&mut older);
        let mut medium = whole.clone();
        write_superblock(&mut medium, index, &older);
        medium
    };
    for medium in [
        older(0, |older| older.generation = 3),
        older(1, |older| older.generation = 2),
        older(0, |older| older.epoch = 9),
        older(1, |older| older.replay_from += 8),
        older(0, |older| older.last_node = 5000),
        older(1, |older| older.len += 4096),
    ] {
        only(&medium, "superblocks-disagree");
        assert_eq!(mended(&medium).steps.len(), 2);
    }
    for index in [0, 1] {
        let interrupted = older(index, |_| {});
        only(&interrupted, "superblock-behind");
        assert!(checked(&interrupted).is_clean());
        assert!(mended(&interrupted).steps.is_empty(), "the opening sees to it");
    }
}

#[test]
fn names_that_lead_nowhere_are_removed() {
    let mut maker = everything();
    let medium = maker.names(2, &[(b"nowhere", 55)]).names(ROOT, &[(b"neither", 56)]).medium();
    only(&medium, "name-to-nowhere");
    assert!(PoolOptions::new().open(&OnDisk::of(&medium).path).is_err(), "such a pool does not open");
    let mended = mended(&medium);
    let removed = mended.steps.iter().filter(|step| matches!(step, Step::RemoveName { .. })).count();
    assert_eq!(removed, 2);
    let superblocks = SUPERBLOCKS.map(|place| Step::Superblock { place });
    assert!(mended.steps.ends_with(&[&[Step::Checkpoint], &superblocks[..]].concat()), "{:?}", mended.steps);
    let pool = open(&mended);
    assert_eq!(names(&pool, "/"), ["dir", "file"]);
    assert_eq!(names(&pool, "/dir"), ["deeper", "link", "second name"]);
}

#[test]
fn what_a_bad_name_leads_to_is_kept_in_lost_found() {
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
        let mut maker = everything();
        let first = maker.first();
        let medium = maker.file(7, BLOCK, &[(0, first + 30, 1, true)]).names(2, &[(name, 7)]).medium();
        only(&medium, "bad-name");
        let mended = mended(&medium);
        let pool = open(&mended);
        assert_eq!(names(&pool, "/lost+found"), ["#7"]);
        assert_eq!(pool.open("/lost+found/#7").unwrap().len(), BLOCK);
    }
}

#[test]
fn of_a_name_that_is_there_twice_the_second_counts_and_the_first_is_kept() {
    let mut maker = everything();
    maker.file(7, 1, &[]).file(8, 2, &[]);
    let medium = maker.names(2, &[(b"twice", 7)]).names(2, &[(b"twice", 8)]).medium();
    only_and_orphan(&medium, "name-twice");
    let pool = open(&mended(&medium));
    assert_eq!(pool.open("/dir/twice").unwrap().len(), 2);
    assert_eq!(pool.open("/lost+found/#7").unwrap().len(), 1);
    // With another name it needs none there.
    let mut maker = everything();
    maker.file(7, 1, &[]).names(ROOT, &[(b"seven", 7)]);
    let medium = maker.names(2, &[(b"twice", 7)]).names(2, &[(b"twice", 5)]).medium();
    only(&medium, "name-twice");
    assert_eq!(names(&open(&mended(&medium)), "/"), ["dir", "file", "seven"]);
}

#[track_caller]
fn only_and_orphan(medium: &[u8], kind: &str) {
    let kinds = found(medium);
    assert!(kinds.iter().all(|found| [kind, "orphan"].contains(found)) && kinds.contains(&kind), "{kinds:?}");
}

#[test]
fn names_in_what_is_no_directory_are_moved() {
    let mut maker = everything();
    maker.file(7, 1, &[]).file(8, 1, &[]);
    let medium = maker.names(5, &[(b"x", 7)]).names(77, &[(b"y", 8)]).medium();
    only_and_orphan(&medium, "name-in-no-directory");
    assert_eq!(names(&open(&mended(&medium)), "/lost+found"), ["#7", "#8"]);
}

#[test]
fn a_directory_has_one_name_after() {
    let mut maker = everything();
    let medium = maker.names(3, &[(b"again", 2)]).names(ROOT, &[(b"here too", 3)]).medium();
    only(&medium, "directory-twice");
    let mended = mended(&medium);
    let pool = open(&mended);
    // By the way that is shorter, and comes first.
    assert_eq!(names(&pool, "/"), ["dir", "file", "here too"]);
    assert_eq!(names(&pool, "/dir"), ["link", "second name"]);
    assert!(names(&pool, "/here too").len() == 2 && pool.read_dir("/here too/again").is_err());
}

#[test]
fn names_of_the_root_are_removed() {
    let mut maker = everything();
    let medium = maker.names(3, &[(b"up", ROOT)]).medium();
    only(&medium, "root-named");
    mended(&medium);
}

#[test]
fn a_directory_without_a_name_is_moved_with_all_that_is_in_it() {
    let mut maker = everything();
    let first = maker.first();
    maker.dir(7).dir(8).file(9, BLOCK, &[(0, first + 40, 1, false)]);
    let medium = maker.names(7, &[(b"eight", 8)]).names(8, &[(b"nine", 9)]).medium();
    only(&medium, "unreachable");
    let pool = open(&mended(&medium));
    assert_eq!(pool.open("/lost+found/#7/eight/nine").unwrap().len(), BLOCK);
}

#[test]
fn directories_that_lie_in_one_another_are_moved_together() {
    let mut maker = everything();
    maker.dir(7).dir(8).dir(9);
    let medium = maker.names(7, &[(b"8", 8)]).names(8, &[(b"9", 9)]).names(9, &[(b"7", 7), (b"5", 5)]).medium();
    let report = checked(&medium);
    assert_eq!(report.findings, [Finding::Cycle { nodes: vec![7, 8, 9] }]);
    let pool = open(&mended(&medium));
    assert_eq!(names(&pool, "/lost+found/#7/8/9"), ["5"]);
    // One that lies in itself.
    let mut maker = everything();
    let medium = maker.dir(7).names(7, &[(b"me", 7)]).medium();
    only(&medium, "cycle");
    let pool = open(&mended(&medium));
    assert!(names(&pool, "/lost+found/#7").is_empty());
}

#[test]
fn without_a_root_everything_is_found_again() {
    let mut maker = Maker::rootless();
    let first = maker.first();
    maker.dir(2).file(5, BLOCK, &[(0, first, 1, false)]).file(6, BLOCK, &[(0, first + 1, 1, false)]);
    let medium = maker.names(2, &[(b"five", 5)]).medium();
    let kinds = found(&medium);
    assert_eq!(kinds, ["no-root", "unreachable", "orphan"]);
    let pool = open(&mended(&medium));
    assert_eq!(names(&pool, "/lost+found"), ["#2", "#6"]);
    assert_eq!(names(&pool, "/lost+found/#2"), ["five"]);
    // Where its names are there still, they are its names.
    let mut maker = Maker::rootless();
    let medium = maker.dir(2).names(ROOT, &[(b"two", 2)]).medium();
    only(&medium, "no-root");
    assert_eq!(names(&open(&mended(&medium)), "/"), ["two"]);
}

#[test]
fn files_without_a_name_go_unless_names_were_lost() {
    let mut maker = everything();
    let first = maker.first();
    maker.file(7, BLOCK, &[(0, first + 50, 1, true)]).dir(8).symlink(9, b"x");
    let medium = maker.medium();
    only(&medium, "orphan");
    let report = checked(&medium);
    assert!(report.is_clean() && report.count(Severity::Note) == 3);
    let after = mended(&medium);
    assert!(after.steps.is_empty());
    let pool = open(&after);
    assert!(pool.open("/lost+found").is_err() && pool.stats().in_files == 9 * BLOCK);
    drop(pool);
    let medium = maker.names(ROOT, &[(b"nowhere", 77)]).medium();
    let pool = open(&mended(&medium));
    assert_eq!(names(&pool, "/lost+found"), ["#7"], "what has blocks is kept");
}

#[test]
fn lost_found_is_used_if_it_is_there_and_its_names_are_not_taken_from_others() {
    let mut maker = everything();
    maker.dir(7).file(8, 0, &[]).dir(9).names(ROOT, &[(b"lost+found", 7)]).names(7, &[(b"#9", 8)]);
    let medium = maker.names(9, &[(b"x", 5)]).medium();
    let pool = open(&mended(&medium));
    assert_eq!(names(&pool, "/lost+found"), ["#9", "#9.1"]);
    drop(pool);
    // A file of that name stays one.
    let mut maker = everything();
    maker.dir(9).names(9, &[(b"x", 5)]).names(ROOT, &[(b"lost+found", 6)]);
    let pool = open(&mended(&maker.medium()));
    assert_eq!(names(&pool, "/lost+found.1"), ["#9"]);
}

#[test]
fn g1_a_block_in_two_files_becomes_two_blocks_with_the_same_bytes() {
    let mut maker = maker();
    let first = maker.first();
    maker.named("one", 5, 4 * BLOCK, &[(0, first, 4, true)]);
    maker.named("two", 6, 3 * BLOCK, &[(0, first + 2, 1, true), (1, first + 3, 2, false)]);
    maker.named("three", 7, 2 * BLOCK, &[(0, first + 1, 2, true)]);
    let mut medium = maker.medium();
    (0..5).for_each(|block| put(&mut medium, (first + block) * BLOCK, &[block as u8 + 1; BLOCK as usize]));
    let report = checked(&medium);
    assert_eq!(kinds(&report), ["shared"]);
    let shared = |finding: &Finding| match finding {
        Finding::Shared { blocks, one: Owner::File { node: one, .. }, other: Owner::File { node, at } } => {
            (blocks.start - first..blocks.end - first, *one, *node, *at)
        }
        finding => panic!("{finding:?}"),
    };
    let shared: Vec<_> = report.findings.iter().map(shared).collect();
    assert_eq!(shared, [(1..3, 5, 7, 0), (2..3, 5, 6, 0), (3..4, 5, 6, 1)]);
    assert_eq!(report.totals.in_files, 5 * BLOCK, "each block once");
    assert_eq!(report.path_of(7), Some(Path::new("/three")));
    let mended = mended(&medium);
    assert_eq!(mended.suspects, [5, 6, 7]);
    let pool = open(&mended);
    let block = |byte: u8| vec![byte; BLOCK as usize];
    assert_eq!(bytes(&pool, "/one"), [block(1), block(2), block(3), block(4)].concat());
    assert_eq!(bytes(&pool, "/two"), [block(3), block(0), block(0)].concat());
    assert_eq!(bytes(&pool, "/three"), [block(2), block(3)].concat());
    pool.open("/three").unwrap().write_at(0, &[9; 2 * BLOCK as usize]).unwrap();
    assert_eq!(bytes(&pool, "/one"), [block(1), block(2), block(3), block(4)].concat());
}

#[test]
fn a_file_that_has_a_block_twice_has_two_after() {
    let mut maker = maker();
    let first = maker.first();
    maker.named("one", 5, 3 * BLOCK, &[(0, first, 1, true), (1, first, 1, true), (2, first, 1, true)]);
    let medium = maker.medium();
    only(&medium, "shared");
    assert_eq!(open(&mended(&medium)).stats().in_files, 3 * BLOCK);
}

#[test]
fn blocks_of_superblocks_log_and_checkpoint_leave_files() {
    for block in [0, 20, 95, CHUNKS] {
        let mut maker = maker();
        let first = maker.first();
        maker.named("file", 5, 3 * BLOCK, &[(0, first, 1, true), (1, block, 1, true), (2, first + 1, 1, true)]);
        let medium = maker.medium();
        only(&medium, "shared");
        let mended = mended(&medium);
        assert!(mended.steps.contains(&Step::TakeOut { node: 5, at: 1, blocks: 1 }), "{:?}", mended.steps);
        assert_eq!(mended.suspects, [5]);
        let pool = open(&mended);
        assert_eq!((pool.open("/file").unwrap().len(), pool.stats().in_files), (3 * BLOCK, 2 * BLOCK));
    }
    // One that reaches over all of it.
    let mut maker = maker();
    maker.named("file", 5, BLOCK, &[(0, CHUNKS - 2, 9, false)]);
    let pool = open(&mends(&maker.medium(), "shared"));
    assert_eq!(pool.stats().in_files, 8 * BLOCK);
}

#[test]
fn blocks_past_the_end_of_the_pool_leave_files() {
    for (block, left) in [(BLOCKS - 2, 2), (BLOCKS, 0), (1 << 40, 0), (u64::MAX - 10, 0)] {
        let mut maker = maker();
        maker.named("file", 5, 5 * BLOCK, &[(0, block, 5, false)]);
        let medium = maker.medium();
        only(&medium, "out-of-pool");
        let mended = mended(&medium);
        assert!(mended.steps.contains(&Step::TakeOut { node: 5, at: left, blocks: 5 - left }), "{:?}", mended.steps);
        assert_eq!(open(&mended).stats().in_files, left * BLOCK);
    }
}

#[test]
fn files_that_are_too_long_are_cut() {
    let mut maker = maker();
    let first = maker.first();
    maker.named("long", 5, (1 << 60) + 1, &[(3, first, 1, false)]).named("longest", 6, u64::MAX, &[]);
    let medium = maker.medium();
    only(&medium, "too-long");
    let pool = open(&mended(&medium));
    assert_eq!((pool.open("/long").unwrap().len(), pool.open("/longest").unwrap().len()), (4 * BLOCK, 0));
    let mut maker = super::maker();
    let far = (1 << 60) / BLOCK;
    maker.named("far", 5, 0, &[(far - 1, first, 2, false), (far + 7, first + 2, 1, false)]);
    let medium = maker.medium();
    only(&medium, "past-largest");
    assert_eq!(open(&mended(&medium)).stats().in_files, BLOCK);
}

#[test]
fn g10_bytes_behind_the_end_of_a_file_read_as_zeros_after() {
    let mut maker = maker();
    let first = maker.first();
    maker.named("file", 5, BLOCK + 1, &[(0, first, 6, true)]);
    let mut medium = maker.medium();
    assert_eq!(found(&medium), [""; 0], "they are zeros");
    put(&mut medium, (first + 4) * BLOCK + 77, b"old");
    let report = checked(&medium);
    assert_eq!(report.findings, [Finding::BytesPastEnd { node: 5, at: 2, blocks: 4 }]);
    assert!(report.is_clean());
    let pool = open(&mended(&medium));
    pool.open("/file").unwrap().truncate(6 * BLOCK).wait().unwrap();
    assert!(bytes(&pool, "/file").iter().all(|byte| *byte == 0));
}

#[test]
fn links_that_lead_to_no_path_are_removed() {
    for target in [&b""[..], b"a\0b", &[b'x'; 4096]] {
        let mut maker = everything();
        let medium = maker.symlink(7, target).names(ROOT, &[(b"link", 7)]).names(2, &[(b"too", 7)]).medium();
        only(&medium, "bad-target");
        let mended = mended(&medium);
        assert_eq!(mended.steps[0], Step::RemoveLink { node: 7 });
        let pool = open(&mended);
        assert_eq!((names(&pool, "/").len(), names(&pool, "/dir").len()), (2, 3));
    }
}

#[test]
fn much_is_mended_at_once() {
    let mut maker = everything();
    let first = maker.first();
    maker.dir(20).dir(21).file(22, 1 << 61, &[(0, first, 3, true), (50, BLOCKS - 1, 4, true)]);
    maker.names(20, &[(b"21", 21)]).names(21, &[(b"20", 20), (b".", 22), (b"gone", 99), (b"root", ROOT)]);
    maker.names(ROOT, &[(b"dir again", 3)]);
    let mut medium = maker.medium();
    medium[SUPERBLOCKS[0] as usize] ^= 1;
    let mended = mended(&medium);
    let pool = open(&mended);
    assert_eq!(names(&pool, "/lost+found"), ["#20", "#22"]);
    assert_eq!(pool.open("/lost+found/#22").unwrap().len(), 51 * BLOCK);
}

#[test]
fn a_repair_without_room_for_a_checkpoint_writes_nothing() {
    let mut maker = maker();
    let first = maker.first();
    maker.named("all", 5, 0, &[(0, first, CHUNKS - first, false), (2000, CHUNKS + 1, BLOCKS - CHUNKS - 1, false)]);
    let medium = maker.names(ROOT, &[(b"nowhere", 9)]).medium();
    only(&medium, "name-to-nowhere");
    let disk = OnDisk::of(&medium);
    let repair = Repair::of(&disk.path, None).unwrap();
    assert!(matches!(repair.commit(), Err(RepairError::NoSpace { .. })));
    assert_eq!(disk.bytes(), medium);
}

#[test]
fn a_pool_that_somebody_has_is_not_repaired() {
    let medium = everything().medium();
    let disk = OnDisk::of(&medium);
    let pool = PoolOptions::new().open(&disk.path).unwrap();
    assert!(matches!(Repair::of(&disk.path, None), Err(RepairError::Region(_))));
    drop(pool);
    Repair::of(&disk.path, None).unwrap();
}
