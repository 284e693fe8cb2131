//! The picture for a terminal.

mod common;

use common::assert_golden;
use common::specimens;
use pinfold_picture::{Chart, Look, text};

const PLAIN: Look = Look { columns: 80, coloured: false };
const COLOURED: Look = Look { columns: 110, coloured: true };

/// The text without its colours, which are the only escapes in it.
#[track_caller]
fn uncoloured(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_once('m').expect("a colour ends with an m");
        assert!(code.chars().all(|c| c.is_ascii_digit() || c == ';'), "no colour: {code:?}");
        out.push_str(rest);
    }
    assert!(!out.contains('\u{1b}'));
    out
}

#[test]
fn a_small_pool_looks_as_it_was_seen_and_kept() {
    assert_golden("small.txt", &text(&specimens::small(), PLAIN));
    assert_golden("small.ansi", &text(&specimens::small(), COLOURED));
}

#[test]
fn p2_without_colours_nothing_moves_the_terminal() {
    for (name, chart) in specimens::all() {
        let drawn = text(&chart, PLAIN);
        assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{name}");
    }
}

#[test]
fn p2_with_colours_nothing_but_colours_is_added_and_each_line_ends_as_it_began() {
    for (name, chart) in specimens::all() {
        let drawn = text(&chart, COLOURED);
        assert!(drawn.contains('\u{1b}'), "{name} has no colours");
        for line in drawn.lines() {
            let last = line.rfind("\u{1b}[");
            assert!(last.is_none_or(|last| line[last..].starts_with("\u{1b}[0m")), "{name}: {line:?}");
        }
        let plain = uncoloured(&drawn);
        assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{name}");
        let lines = text(&chart, Look { coloured: false, ..COLOURED }).lines().count();
        assert_eq!(plain.lines().count(), lines, "{name}");
    }
}

#[test]
fn p1_a_chart_in_another_order_gives_the_same_text() {
    for (name, mut chart) in specimens::all() {
        let drawn = text(&chart, PLAIN);
        let mut random = fastrand::Rng::with_seed(2);
        random.shuffle(&mut chart.stretches);
        random.shuffle(&mut chart.pins);
        assert_eq!(drawn, text(&chart, PLAIN), "{name}");
    }
}

#[test]
fn lines_fit_and_there_are_not_too_many_of_them() {
    for (name, chart) in specimens::all() {
        for columns in [40, 80, 110, 300] {
            let drawn = text(&chart, Look { columns, coloured: false });
            let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= columns, "{name}: a line of {widest} in {columns} columns");
            assert!(drawn.lines().count() < 160, "{name}: {} lines", drawn.lines().count());
        }
    }
}

#[test]
fn what_is_drawn_is_explained() {
    let drawn = text(&specimens::small(), PLAIN);
    let legend =
        drawn.split_once("\n\n").and_then(|(_, rest)| rest.split_once("\n\n")).map(|(_, legend)| legend).unwrap();
    for said in
        ["files", "unwritten", "free", "parked", "quarantined", "metadata", "unknown", "pinned", "several in one place"]
    {
        assert!(legend.contains(said), "{said}: {legend}");
    }
    assert!(legend.contains("  A        5M") && legend.contains("/kv/17"), "{legend}");
    assert!(legend.contains("process 4711 is gone, nic 1"), "{legend}");
}

#[test]
fn a_pool_without_blocks_has_no_map() {
    let drawn = text(&Chart::default(), PLAIN);
    assert!(drawn.contains("0 in 0 blocks") && !drawn.contains("each line"), "{drawn}");
}
