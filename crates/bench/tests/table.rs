//! Every row runs, and what it reports is well-formed. No time is looked at.

use pinfold_bench::{BenchError, Line, Options, Outcome, Progress, Report, comparisons, run};

fn smoke(rows: &[u32]) -> Report {
    let options = Options { rows: Some(rows.to_vec()), smoke: true, ..Options::default() };
    run(&options, |_| ()).expect("the table has these rows")
}

/// A line is measured, or `may_be_skipped` and says why.
fn check(line: &Line, may_be_skipped: bool) {
    let Some(ratios) = line.ratios() else {
        println!("{line}");
        assert!(may_be_skipped, "{line}");
        assert!(matches!(&line.outcome, Outcome::Skipped(why) if !why.is_empty()), "{line}");
        return assert_eq!(line.is_reached(), None);
    };
    let quartiles = ratios.quartiles();
    assert!(quartiles.is_sorted() && quartiles[0] > 0.0 && quartiles[4].is_finite(), "{line}: {quartiles:?}");
    assert_eq!(line.is_reached().is_some(), line.comparison.goal.is_some(), "{line}");
}

fn check_row(row: u32, lines: usize, may_be_skipped: bool) {
    let report = smoke(&[row]);
    assert_eq!(report.lines.len(), lines);
    for line in &report.lines {
        assert_eq!(line.comparison.row, row);
        check(line, may_be_skipped);
    }
}

/// Whether scratch files can be made where rows 8 and 9 make them.
fn has_tmpfs() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|mount| mount.split(' ').skip(1).take(2).eq(["/dev/shm", "tmpfs"]));
    mounted && tempfile::tempdir_in("/dev/shm").is_ok()
}

#[test]
fn row_1_compares_a_pin_with_an_arc_in_both_kinds_of_area() {
    check_row(1, 2, false);
}

#[test]
fn row_2_compares_a_gigabyte_with_a_page() {
    check_row(2, 1, false);
}

#[test]
fn row_3_compares_a_large_map_with_a_small_one() {
    check_row(3, 1, false);
}

#[test]
fn row_4_compares_many_pins_elsewhere_with_none() {
    check_row(4, 1, false);
}

#[test]
fn row_5_compares_a_break_that_wakes_with_a_round_trip() {
    check_row(5, 2, false);
}

#[test]
fn row_6_compares_reads_into_pins_with_reads_into_buffers() {
    // It needs a disk, O_DIRECT and io_uring: a machine may lack each of them.
    check_row(6, 3, true);
}

#[test]
fn row_6_reads_from_no_device_where_files_lie_in_memory() {
    if !has_tmpfs() {
        return println!("skipped: /dev/shm is no tmpfs, or takes no files");
    }
    let options = Options { rows: Some(vec![6]), smoke: true, scratch: Some("/dev/shm".into()) };
    let report = run(&options, |_| ()).expect("row 6 is there");
    let skipped = |line: &Line| matches!(&line.outcome, Outcome::Skipped(why) if why.contains("lie in memory"));
    assert_eq!(report.lines.iter().map(skipped).collect::<Vec<_>>(), [true, true, false], "{report}");
}

#[test]
fn row_7_compares_a_copy_in_both_directions_with_memcpy() {
    check_row(7, 2, false);
}

#[test]
fn row_8_compares_read_at_with_pread() {
    check_row(8, 1, !has_tmpfs());
}

#[test]
fn row_9_compares_a_short_life_with_one_on_tmpfs() {
    check_row(9, 2, !has_tmpfs());
}

#[test]
fn rows_10_and_12_compare_pools_with_many_files() {
    check_row(10, 1, !has_tmpfs());
    check_row(12, 1, !has_tmpfs());
}

#[test]
fn rows_13_to_16_compare_views_with_plain_memory() {
    // They need userfaultfd, which a machine may lack.
    (13..=16).for_each(|row| check_row(row, 1, true));
}

#[test]
fn a_row_that_is_not_there_is_refused_and_the_others_are_named() {
    let error = run(&Options { rows: Some(vec![1, 17]), smoke: true, ..Options::default() }, |_| ()).unwrap_err();
    assert!(matches!(error, BenchError::NoSuchRow { asked: 17 }));
    assert!(error.to_string().starts_with("there is no row 17: take one of 1, 2, 3"), "{error}");
    assert_eq!(error.errno(), rustix::io::Errno::INVAL.raw_os_error());
}

#[test]
fn what_is_compared_fits_its_column() {
    for comparison in comparisons() {
        assert!(comparison.what.len() <= 44 && comparison.beside.len() <= 32, "{comparison:?}");
        assert!(comparison.compared.ends_with('.'), "{comparison:?}");
    }
}

#[test]
fn rows_come_in_the_order_of_the_table_however_they_are_asked_for() {
    let rows: Vec<_> = smoke(&[2, 1]).lines.iter().map(|line| line.comparison.row).collect();
    assert_eq!(rows, [1, 1, 2]);
    assert!(comparisons().is_sorted_by_key(|comparison| comparison.row));
}

#[test]
fn progress_names_each_comparison_before_and_after() {
    let mut seen = Vec::new();
    let options = Options { rows: Some(vec![2]), smoke: true, ..Options::default() };
    run(&options, |progress| match progress {
        Progress::Begins(comparison) => seen.push(format!("begins {}", comparison.row)),
        Progress::Done(line) => seen.push(format!("done {}", line.comparison.row)),
    })
    .expect("row 2 is there");
    assert_eq!(seen, ["begins 2", "done 2"]);
}

#[test]
fn the_table_has_a_line_for_each_comparison_and_a_note_for_each_row() {
    let report = smoke(&[1, 2]);
    let text = report.to_string();
    let columns = |line: &Line| text.lines().filter(|printed| *printed == line.to_string()).count();
    assert!(report.lines.iter().all(|line| columns(line) == 1), "{text}");
    assert!(text.starts_with(Report::HEADING) && text.contains(Report::SMOKE), "{text}");
    assert_eq!(text.matches(report.lines[0].comparison.compared).count(), 1, "both lines of row 1 have one note");
}

#[test]
fn json_says_what_the_table_says() {
    let report = smoke(&[1]);
    let json = report.to_json();
    assert_eq!(json["smoke"], true);
    let lines = json["lines"].as_array().expect("an array");
    assert_eq!(lines.len(), report.lines.len());
    for (json, line) in lines.iter().zip(&report.lines) {
        assert_eq!(json["row"], line.comparison.row);
        assert_eq!(json["what"], line.comparison.what);
        assert_eq!(json["median"].as_f64(), line.ratios().map(|ratios| ratios.median()));
        assert_eq!(json["goal"].as_f64(), line.comparison.goal);
        assert_eq!(json["reached"].as_bool(), line.is_reached());
        assert_eq!(json["skipped"], serde_json::Value::Null);
    }
}
