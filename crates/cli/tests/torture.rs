//! The torture test's face: statuses, and what is said.

mod common;

use common::{pinfold, run};

#[test]
fn a_short_torture_finds_nothing() {
    let ended = run(pinfold().args(["torture", "--seconds", "2", "--seed", "7", "--json"])).expect(0);
    let report = ended.json();
    assert_eq!((&report["as_it_should_be"], &report["violations_in_all"]), (&true.into(), &0.into()), "{report}");
    assert!(report["raced"].as_u64() > Some(0), "{report}");
    assert_eq!((report["seed"].as_u64(), &report["policy"]), (Some(7), &"both".into()));
}

#[test]
fn each_policy_is_taken() {
    for policy in ["wait", "detach"] {
        let arguments = ["torture", "--seconds", "1", "--threads", "2", "--engine", "late", "--policy", policy];
        let ended = run(pinfold().args(arguments)).expect(0);
        assert!(ended.stdout.contains(&format!("policy {policy}")) && ended.stdout.contains("no violation"));
        assert_eq!(ended.stderr, "", "progress is for terminals");
    }
}

#[test]
fn the_baseline_is_found_to_corrupt() {
    let arguments = ["torture", "--baseline", "--engine", "late", "--seconds", "2", "--json"];
    let report = run(pinfold().args(arguments)).expect(0).json();
    assert_eq!((&report["baseline"], &report["as_it_should_be"]), (&true.into(), &true.into()));
    assert!(report["violations_in_all"].as_u64() > Some(0), "{report}");
}

#[test]
fn g8_g9_killing_owners_finds_nothing() {
    let arguments = ["torture", "--crash", "--rounds", "6", "--seed", "5", "--json"];
    let report = run(pinfold().args(arguments)).expect(0).json();
    assert_eq!((&report["as_it_should_be"], &report["violations_in_all"]), (&true.into(), &0.into()), "{report}");
    assert_eq!((report["rounds"].as_u64(), report["seed"].as_u64()), (Some(6), Some(5)), "{report}");
    assert!(report["kills"].as_u64() >= Some(6) && report["steps"].as_u64() > Some(0), "{report}");
}

#[test]
fn options_of_killing_and_of_racing_are_not_mixed() {
    let mixed: [&[&str]; 5] = [
        &["--crash", "--seconds", "5"],
        &["--crash", "--baseline"],
        &["--crash", "--rounds", "0"],
        &["--rounds", "5"],
        &["--dir", "/tmp"],
    ];
    for arguments in mixed {
        run(pinfold().arg("torture").args(arguments)).expect(2);
    }
    let nowhere = run(pinfold().args(["torture", "--crash", "--dir", "/no such directory"])).expect(3);
    assert!(nowhere.stderr.contains("/no such directory"), "{}", nowhere.stderr);
}
