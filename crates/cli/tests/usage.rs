//! The command line: what it says of itself, and what it refuses.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Lab, pinfold, run};

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

/// The lines of a text that are for a shell, one after the other.
fn for_a_shell(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_start).filter(|line| line.starts_with("pinfold ")).collect()
}

#[test]
fn what_readme_and_help_say_works_as_it_stands_there() {
    if Command::new("bash").arg("--version").output().is_err() {
        return println!("skipped: there is no bash");
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).expect("the README");
    let help = run(pinfold().arg("--help")).expect(0).stdout;
    let examples = help.split_once("Examples:").expect("there are some").1;
    for (text, lines) in [(readme.as_str(), 2), (examples, 6)] {
        let lab = Lab::in_memory();
        lab.file("model.bin", "model");
        lab.file("data/a", "a");
        std::fs::create_dir(lab.path("elsewhere")).expect("a directory");
        let said = for_a_shell(text);
        assert_eq!(said.len(), lines, "{text}");
        let script: Vec<String> = said
            .iter()
            // What the help says of a command stands behind it.
            .map(|line| line.split("   ").next().unwrap_or(line))
            .map(|line| line.replace("/dev/shm/pool", &lab.pool().display().to_string()))
            // Out to where it did not come from.
            .map(|line| line.replace("pinfold get", "cd elsewhere; pinfold get"))
            .collect();
        let command = Path::new(env!("CARGO_BIN_EXE_pinfold")).parent().expect("its directory");
        let path = format!("{}:{}", command.display(), std::env::var("PATH").unwrap_or_default());
        let mut bash = Command::new("bash");
        bash.current_dir(lab.path("")).env("PATH", path).arg("-ec").arg(script.join("\n").replace("; ", "\n"));
        run(&mut bash).expect(0);
    }
}

#[test]
fn the_second_process_of_the_demo_is_not_for_people() {
    run(pinfold().arg("demo-guest")).expect(3).expect_one_line_about("the other process");
}
