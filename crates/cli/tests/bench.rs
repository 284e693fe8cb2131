//! The speed table's face. No ratio is looked at.

mod common;

use common::{pinfold, run};

#[test]
fn a_row_is_a_json_document() {
    let ended = run(pinfold().args(["bench", "--smoke", "--row", "2", "--json"])).expect(0);
    let report = ended.json();
    assert_eq!(report["smoke"], true);
    let lines = report["lines"].as_array().expect("lines");
    assert!(!lines.is_empty() && lines.iter().all(|line| line["row"] == 2), "{report}");
    assert_eq!(ended.stderr, "", "progress is for terminals");
}

#[test]
fn several_rows_are_a_table() {
    for rows in [&["--row", "1", "--row", "2"][..], &["--row", "1,2"], &["--row", "1", "2"]] {
        let table = run(pinfold().args(["bench", "--smoke"]).args(rows)).expect(0).stdout;
        assert!(table.contains("pin + unpin, 1 GiB"), "{table}");
    }
}
