//! The command line: what it says of itself, and what it refuses.

mod common;

use common::{pinfold, run};

#[test]
fn help_names_the_exit_statuses() {
    for arguments in [&["--help"][..], &["demo", "--help"], &["torture", "--help"], &["bench", "--help"]] {
        let help = run(pinfold().args(arguments)).expect(0).stdout;
        assert!(help.contains("Exit status:") && help.contains("\n  3 "), "{arguments:?}:\n{help}");
    }
}

#[test]
fn help_names_the_commands_that_are_for_people() {
    let help = run(pinfold().arg("--help")).expect(0).stdout;
    let listed = |name: &str| help.lines().any(|line| line.trim_start().starts_with(name));
    assert!(listed("demo") && listed("torture") && listed("bench"), "{help}");
    assert!(!help.contains("guest"), "{help}");
}

#[test]
fn a_wrong_command_line_ends_with_status_2_and_says_what_is_wrong() {
    for (arguments, said) in [
        (&[][..], "Usage"),
        (&["dmeo"], "demo"),
        (&["demo", "--nope"], "--nope"),
        (&["demo", "a", "b"], "'b'"),
        (&["torture", "--policy", "maybe"], "wait, detach, both"),
        (&["torture", "--threads", "0"], "1..=256"),
        (&["torture", "--threads", "257"], "1..=256"),
        (&["torture", "--seconds", "0"], "seconds"),
        (&["torture", "--seconds", "-1"], "-1"),
        (&["torture", "--seed", "x"], "seed"),
        (&["bench", "--row", "99"], "the rows are"),
        (&["bench", "--row"], "--row"),
    ] {
        let ended = run(pinfold().args(arguments)).expect(2);
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn the_second_process_of_the_demo_is_not_for_people() {
    run(pinfold().arg("demo-guest")).expect(3).expect_one_line_about("the other process");
}
