//! The free space beside a dull table of blocks, and each rule by itself.

#![allow(clippy::single_range_in_vec_init, reason = "lists of runs, often of one")]

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::runs::len;
use super::{FreeSpace, Goal};

/// 2 MiB, in blocks of 4 KiB.
const HUGE: u64 = 512;

/// A pool of which the given runs are free.
/// A pool of `blocks` blocks, all of them free.
fn all_free(blocks: u64, align: u64) -> FreeSpace {
    let mut space = FreeSpace::new(blocks, align);
    space.give_back(0..blocks);
    space
}

fn space(blocks: u64, align: u64, free: &[Range<u64>]) -> FreeSpace {
    let mut space = all_free(blocks, align);
    space.take(blocks, Goal::default());
    free.iter().for_each(|run| space.give_back(run.clone()));
    space
}

fn take(space: &mut FreeSpace, want: u64, after: Option<u64>, at: u64) -> Vec<Range<u64>> {
    let taken = space.take(want, Goal { after, at }).unwrap();
    space.check();
    taken
}

/// A file: its extents, in order.
#[derive(Debug, Default)]
struct File(Vec<Range<u64>>);

impl File {
    fn len(&self) -> u64 {
        self.0.iter().map(len).sum()
    }

    fn end(&self) -> Goal {
        Goal { after: self.0.last().map(|extent| extent.end - 1), at: self.len() }
    }

    fn add(&mut self, taken: Vec<Range<u64>>) {
        for run in taken {
            match self.0.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => self.0.push(run),
            }
        }
    }

    fn append(&mut self, space: &mut FreeSpace, want: u64) -> bool {
        let taken = space.take(want, self.end());
        taken.map(|taken| self.add(taken)).is_some()
    }

    /// Gives the last `blocks` blocks back.
    fn shrink(&mut self, space: &mut FreeSpace, mut blocks: u64) {
        while blocks > 0 {
            let Some(last) = self.0.last_mut() else { return };
            let start = last.end.saturating_sub(blocks).max(last.start);
            blocks -= last.end - start;
            space.give_back(start..last.end);
            last.end = start;
            self.0.pop_if(|last| last.is_empty());
        }
    }

    fn delete(mut self, space: &mut FreeSpace) {
        self.shrink(space, u64::MAX);
    }
}

/// One entry for each block: whether it is free.
struct Oracle(Vec<bool>);

impl Oracle {
    fn set(&mut self, run: &Range<u64>, free: bool) {
        for block in run.clone() {
            assert_ne!(self.0[block as usize], free, "block {block} of {run:?} was so already");
            self.0[block as usize] = free;
        }
    }

    fn runs(&self) -> Vec<Range<u64>> {
        let same = self.0.chunk_by(|one, next| one == next);
        let ends = same.scan(0, |end, chunk| {
            *end += chunk.len() as u64;
            Some((chunk[0], *end - chunk.len() as u64..*end))
        });
        ends.filter(|(free, _)| *free).map(|(_, run)| run).collect()
    }

    fn agrees_with(&self, space: &FreeSpace) {
        space.check();
        let runs = self.runs();
        assert_eq!(space.runs().collect::<Vec<_>>(), runs);
        assert_eq!(space.free(), runs.iter().map(len).sum::<u64>());
        assert_eq!(space.longest(), runs.iter().map(len).max().unwrap_or(0));
        for block in runs.iter().flat_map(|run| [run.start, run.end - 1, run.end]).chain([0]) {
            assert_eq!(space.contains(block), self.0.get(block as usize) == Some(&true), "block {block}");
        }
    }
}

/// What happens to a pool. A `Stray` run is to lie behind any block at all, for any place in a file.
#[derive(Clone, Debug)]
enum Step {
    Create { want: u64 },
    Append { file: usize, want: u64 },
    Stray { want: u64, after: u64, at: u64 },
    Shrink { file: usize, blocks: u64 },
    Delete { file: usize },
}

fn wants() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..4u64, 3 => 4..40u64, 1 => 40..1500u64]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => wants().prop_map(|want| Step::Create { want }),
        8 => (any::<usize>(), wants()).prop_map(|(file, want)| Step::Append { file, want }),
        1 => (wants(), 0..4096u64, 0..100u64).prop_map(|(want, after, at)| Step::Stray { want, after, at }),
        3 => (any::<usize>(), wants()).prop_map(|(file, blocks)| Step::Shrink { file, blocks }),
        1 => any::<usize>().prop_map(|file| Step::Delete { file }),
    ]
}

fn walk(step: Step, space: &mut FreeSpace, oracle: &mut Oracle, files: &mut Vec<File>) {
    let count = files.len();
    let (file, want, goal) = match step {
        Step::Create { want } => (count, want, Goal::default()),
        Step::Append { file, want } if count > 0 => (file % count, want, files[file % count].end()),
        Step::Stray { want, after, at } => (count, want, Goal { after: Some(after), at }),
        Step::Shrink { file, blocks } if count > 0 => {
            let file = &mut files[file % count];
            let before = file.0.clone();
            file.shrink(space, blocks);
            before.iter().for_each(|extent| oracle.set(extent, true));
            return file.0.iter().for_each(|extent| oracle.set(extent, false));
        }
        Step::Delete { file } if count > 0 => {
            let file = files.swap_remove(file % count);
            file.0.iter().for_each(|extent| oracle.set(extent, true));
            return file.delete(space);
        }
        _ => return,
    };
    let free = space.free();
    let Some(taken) = space.take(want, goal) else { return assert!(want > free, "{free} blocks were free") };
    assert_eq!(taken.iter().map(len).sum::<u64>(), want);
    assert!(taken.iter().all(|run| !run.is_empty()) && taken.windows(2).all(|pair| pair[0].end != pair[1].start));
    taken.iter().for_each(|run| oracle.set(run, false));
    files.resize_with(count.max(file + 1), File::default);
    files[file].add(taken);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn g1_no_block_has_two_owners_whatever_is_taken_and_given_back(
        align in prop_oneof![Just(1u64), Just(8)],
        steps in vec(steps(), 1..120),
    ) {
        let mut space = all_free(4096, align);
        let (mut oracle, mut files) = (Oracle(vec![true; 4096]), Vec::new());
        for step in steps {
            walk(step, &mut space, &mut oracle, &mut files);
            oracle.agrees_with(&space);
        }
        files.into_iter().for_each(|file| file.delete(&mut space));
        prop_assert_eq!(space.runs().collect::<Vec<_>>(), vec![0..4096]);
        prop_assert_eq!(space.rooms.kept(), 0);
    }
}

#[test]
fn an_append_continues_where_its_file_ends() {
    let mut space = space(100, 8, &[3..5, 20..60]);
    assert_eq!(take(&mut space, 4, Some(19), 7), vec![20..24]);
    assert_eq!(take(&mut space, 30, Some(23), 11), vec![24..54]);
}

#[test]
fn an_append_takes_what_is_free_behind_it_and_the_rest_elsewhere() {
    let mut space = space(100, 8, &[3..5, 20..60]);
    assert_eq!(take(&mut space, 4, Some(2), 7), vec![3..5, 20..22]);
}

#[test]
fn a_short_run_comes_from_the_smallest_free_run_that_holds_it() {
    let mut space = space(2000, HUGE, &[0..1000, 1001..1004, 1005..1010, 1011..1014]);
    assert_eq!(take(&mut space, 2, None, 0), vec![1001..1003]);
    assert_eq!(take(&mut space, 1, None, 0), vec![1003..1004]);
    assert_eq!(take(&mut space, 4, None, 0), vec![1005..1009]);
    assert_eq!(take(&mut space, 4, None, 0), vec![0..4]);
}

#[test]
fn a_run_of_2_mib_lies_where_a_huge_page_can() {
    // The smaller runs hold 512 blocks too, but only the last holds them from a multiple of 512 on.
    let mut space = space(8 * HUGE, HUGE, &[1..HUGE + 200, HUGE + 300..3 * HUGE - 1, 3 * HUGE + 1..5 * HUGE]);
    assert_eq!(take(&mut space, HUGE, None, 0), vec![4 * HUGE..5 * HUGE]);
}

#[test]
fn a_long_run_is_congruent_to_its_place_in_the_file() {
    let mut space = all_free(16 * HUGE, HUGE);
    assert_eq!(take(&mut space, 2 * HUGE, None, 3 * HUGE + 5), vec![5..2 * HUGE + 5]);
    assert_eq!(take(&mut space, HUGE, None, 7 * HUGE), vec![3 * HUGE..4 * HUGE]);
}

#[test]
fn a_long_run_is_whole_where_it_cannot_be_congruent() {
    let mut space = space(8 * HUGE, HUGE, &[1..HUGE + 1, 2 * HUGE + 7..4 * HUGE - 1]);
    assert_eq!(take(&mut space, HUGE, None, 0), vec![1..HUGE + 1]);
}

#[test]
fn the_search_for_a_congruent_place_is_short_and_certain() {
    let decoys = (0..100).map(|i| 2 * i * HUGE + 1..(2 * i + 1) * HUGE + 2);
    let long = 300 * HUGE + 7..302 * HUGE + 6;
    let mut space = space(400 * HUGE, HUGE, &decoys.chain([long]).collect::<Vec<_>>());
    let before = space.runs.touched.get();
    assert_eq!(space.take(HUGE, Goal::default()), Some(vec![301 * HUGE..302 * HUGE]));
    assert!(space.runs.touched.get() - before < 20);
}

#[test]
fn what_no_run_holds_comes_in_congruent_pieces_from_the_longest() {
    let mut space =
        space(16 * HUGE, HUGE, &[0..300, HUGE + 100..4 * HUGE, 5 * HUGE - 3..7 * HUGE + 9, 8 * HUGE..9 * HUGE]);
    let taken = take(&mut space, 5 * HUGE + 250, None, 2 * HUGE);
    assert_eq!(taken, vec![2 * HUGE..4 * HUGE, 5 * HUGE..7 * HUGE, 8 * HUGE..9 * HUGE, 0..250]);
}

#[test]
fn a_piece_ends_where_the_next_can_begin_congruent() {
    let mut space = space(16 * HUGE, HUGE, &[0..2 * HUGE + 10, 4 * HUGE..6 * HUGE]);
    assert_eq!(take(&mut space, 3 * HUGE, None, 0), vec![0..2 * HUGE, 4 * HUGE..5 * HUGE]);
}

#[test]
fn two_pieces_side_by_side_are_one_run() {
    let mut space = space(100, 8, &[0..20, 30..31]);
    assert_eq!(take(&mut space, 21, None, 0), [0..20, 30..31], "first two stretches of 8, then the rest");
}

#[test]
fn runs_too_short_for_a_huge_page_are_used_up_longest_first() {
    let mut space = space(100, 64, &[0..10, 20..50, 60..80]);
    assert_eq!(take(&mut space, 55, None, 0), vec![20..50, 60..80, 0..5]);
}

#[test]
fn where_a_block_is_2_mib_all_places_are_congruent() {
    let mut space = space(100, 1, &[3..10, 20..50]);
    assert_eq!(take(&mut space, 6, None, 77), vec![3..9]);
    assert_eq!(take(&mut space, 31, None, 0), vec![20..50, 9..10]);
}

#[test]
fn nothing_is_taken_if_too_little_is_free() {
    let mut space = space(100, 8, &[3..10, 20..50]);
    assert_eq!(space.take(38, Goal::default()), None);
    assert_eq!(space.take(u64::MAX, Goal { after: Some(2), at: u64::MAX }), None);
    assert_eq!(space.runs().collect::<Vec<_>>(), [3..10, 20..50]);
    assert_eq!(take(&mut space, 0, Some(2), 0), []);
    assert_eq!(take(&mut space, 37, Some(2), 0), [3..10, 20..50]);
    assert_eq!((space.free(), space.longest()), (0, 0));
}

#[test]
#[cfg(debug_assertions)]
fn giving_a_block_back_twice_is_noticed() {
    let twice = |free: &[Range<u64>], run: Range<u64>| {
        let mut space = space(1 << 16, 8, free);
        take(&mut space, 8, Some(0), 1); // with room behind it
        let twice = std::panic::AssertUnwindSafe(|| space.give_back(run));
        std::panic::catch_unwind(twice).is_err()
    };
    assert!(!twice(&[1..1000], 3..5), "in use: all is well");
    assert!(twice(&[1..1000], 9..10), "in a room");
    assert!(twice(&[1..1000], 5..10), "reaches into a room");
    assert!(twice(&[1..1000], 500..501), "in a run");
    assert!(twice(&[1..1000], 999..1001), "overlaps the end of a run");
    assert!(twice(&[1..1000, 2000..2001], 1990..2010), "around a run");
    assert!(twice(&[1..1000], (1 << 16) - 1..(1 << 16) + 1), "past the end of the pool");
}

/// Lets files grow by turns, by `want` blocks each; returns how many extents the worst has.
fn grow_by_turns(space: &mut FreeSpace, files: &mut [File], turns: u64, want: u64) -> usize {
    for _ in 0..turns {
        files.iter_mut().for_each(|file| assert!(file.append(space, want)));
    }
    files.iter().map(|file| file.0.len()).max().unwrap_or(0)
}

fn files(count: usize) -> Vec<File> {
    std::iter::repeat_with(File::default).take(count).collect()
}

#[test]
fn files_that_grow_by_turns_have_few_extents() {
    let (mut space, mut files) = (all_free(1 << 20, HUGE), files(64));
    assert_eq!(grow_by_turns(&mut space, &mut files, 1024, 1), 1 + 10, "the first block, and each extent doubles");
    assert!(space.longest() > space.free() * 9 / 10, "and long runs stay long");
    space.check();
}

#[test]
fn a_file_that_grows_goes_where_there_is_room() {
    let mut space = space(1 << 16, HUGE, &[3..4, 5..6, 7..9, 100..20_000]);
    let mut file = File(take(&mut space, 1, None, 0));
    assert_eq!(file.0, [3..4], "the smallest that holds it");
    assert!(file.append(&mut space, 1) && file.append(&mut space, 1));
    assert_eq!(file.0, [3..4, 7..9], "the smallest that holds it twice");
    assert!(file.append(&mut space, 1));
    assert_eq!(file.0, [3..4, 7..9, 100..101]);
    assert_eq!(space.rooms.kept(), 3, "as much as was appended");
}

#[test]
fn a_room_has_32_mib_at_most() {
    let (mut space, mut file) = (all_free(1 << 30, HUGE), File::default());
    assert!(file.append(&mut space, 1) && file.append(&mut space, 1 << 20));
    assert!((15 * HUGE..=16 * HUGE).contains(&space.rooms.kept()));
}

#[test]
fn many_that_grow_leave_most_of_what_is_free_in_one_run() {
    let (mut space, mut files) = (all_free(1 << 16, HUGE), files(64));
    grow_by_turns(&mut space, &mut files, 512, 1);
    assert!(space.longest() > space.free() / 2, "{} of {}", space.longest(), space.free());
}

#[test]
fn a_file_that_grew_long_grows_by_huge_pages() {
    let (mut space, mut files) = (all_free(1 << 20, HUGE), files(16));
    grow_by_turns(&mut space, &mut files, 16 * HUGE / 3, 3);
    for file in files {
        let (mut at, file_end) = (0, file.len());
        for extent in file.0 {
            let end = at + len(&extent);
            let long = len(&extent) >= 2 * HUGE;
            assert!(!long || extent.start % HUGE == at % HUGE, "{extent:?} lies at {at} of the file");
            assert!(!long || end.is_multiple_of(HUGE) || end == file_end, "{extent:?} ends at {end} of the file");
            at = end;
        }
    }
}

#[test]
fn files_written_twice_do_not_end_the_room_of_those_that_grow() {
    let (mut space, mut growing) = (all_free(1 << 20, HUGE), files(16));
    for _ in 0..512 {
        grow_by_turns(&mut space, &mut files(128), 2, 1);
        grow_by_turns(&mut space, &mut growing, 1, 1);
    }
    assert!(growing.iter().all(|file| file.0.len() <= 11), "one block, two, four, ..");
    space.check();
}

#[test]
fn a_file_that_came_back_keeps_its_room_when_there_are_too_many() {
    let (mut space, mut file) = (all_free(1 << 20, HUGE), File::default());
    for _ in 0..4 {
        assert!(file.append(&mut space, 1));
    }
    assert!(space.rooms.contains(4), "the fourth block used up its first room, and made another");
    grow_by_turns(&mut space, &mut files(1024), 2, 1);
    assert!(space.rooms.contains(4));
}

#[test]
fn room_is_kept_for_so_many_files_and_no_more() {
    let (mut space, mut files) = (all_free(1 << 18, HUGE), files(3000));
    grow_by_turns(&mut space, &mut files, 8, 1);
    space.check();
    files.into_iter().for_each(|file| file.delete(&mut space));
    space.check();
    assert_eq!(space.runs().collect::<Vec<_>>(), vec![0..1 << 18]);
}

#[test]
fn room_is_used_before_anything_is_cut_into_pieces() {
    let (mut space, mut files) = (all_free(1 << 16, HUGE), files(8));
    grow_by_turns(&mut space, &mut files, 64, 1);
    let outside = space.runs.longest().map_or(0, |run| len(&run));
    assert!(outside < space.longest(), "the last room lies before the longest run");
    let whole = space.longest();
    assert_eq!(take(&mut space, whole, None, 1).len(), 1);
    assert_eq!(space.rooms.kept(), 0);
}

#[test]
fn all_that_is_free_can_be_taken_rooms_too() {
    let (mut space, mut files) = (all_free(1 << 16, HUGE), files(8));
    grow_by_turns(&mut space, &mut files, 64, 1);
    let rest = space.free();
    take(&mut space, rest, None, 0);
    assert_eq!((space.free(), space.rooms.kept()), (0, 0));
}

#[test]
fn how_a_file_grew_is_remembered_when_its_room_is_used_by_others() {
    let (mut space, mut files) = (all_free(1 << 18, HUGE), files(8));
    let before = grow_by_turns(&mut space, &mut files, 300, 1);
    let rest = space.free();
    let all = take(&mut space, rest, None, 0);
    all.into_iter().filter(|run| len(run) > 10_000).for_each(|run| space.give_back(run));
    assert_eq!(grow_by_turns(&mut space, &mut files, 300, 1), before + 1, "not block by block again");
}

/// Every other block is free, and in between are runs that are long enough, but never congruent.
fn fragmented(align: u64) -> FreeSpace {
    let blocks = 1 << 18;
    let mut space = space(blocks, align, &[]);
    for start in (1..blocks / 2).step_by(2) {
        space.give_back(start..start + 1);
    }
    for start in (blocks / 2..blocks - 2 * align).step_by(2 * align as usize) {
        space.give_back(start + 1..start + 1 + align);
    }
    space
}

#[test]
fn nearly_full_and_fragmented_costs_few_steps() {
    let mut space = fragmented(32);
    let (mut steps_max, mut file) = (0, File::default());
    for round in 0..20_000u64 {
        let before = space.runs.touched.get();
        let want = [1, 3, 32, 40][round as usize % 4];
        let goal = if round % 3 == 0 { Goal::default() } else { file.end() };
        let Some(taken) = space.take(want, goal) else { break };
        let pieces = taken.len() as u64;
        file.add(taken);
        steps_max = steps_max.max((space.runs.touched.get() - before) / pieces);
    }
    assert!(space.free() < 1000, "it went on until full: {} are free", space.free());
    assert!(steps_max <= 40, "{steps_max} runs were touched for one piece");
    let before = space.runs.touched.get();
    let extents = file.0.len() as u64;
    file.delete(&mut space);
    assert!((space.runs.touched.get() - before) / extents <= 8);
    space.check();
}
