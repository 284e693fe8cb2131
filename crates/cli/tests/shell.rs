//! Completions and the manual: complete, and made from the command line itself.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{Lab, pinfold, run};

/// Every command that is for people, from the help.
fn commands() -> Vec<String> {
    let help = run(pinfold().arg("--help")).expect(0).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_ascii_whitespace().next().expect("a name").to_owned()).collect()
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(pinfold().args(["completions", shell])).expect(0).stdout;
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        assert!(!script.contains("guest"), "{shell}: what is not for people is not completed");
    }
    files_are_completed_for_pools_alone();
    let wrong = run(pinfold().args(["completions", "csh"])).expect(2);
    assert!(wrong.stderr.contains("bash"), "{}", wrong.stderr);
}

/// Files of this machine are offered for a pool, and not for what lies in one.
fn files_are_completed_for_pools_alone() {
    let zsh = run(pinfold().args(["completions", "zsh"])).expect(0).stdout;
    let arguments = || zsh.lines().filter(|line| ["':", "'*:"].iter().any(|begins| line.starts_with(begins)));
    let (mut pools, mut paths) = (0, 0);
    for line in arguments() {
        let is_any_of = |names: &[&str]| names.iter().any(|name| line.contains(&format!(":{name} -- ")));
        let of_pool = is_any_of(&["pool", "pools"]);
        if of_pool || is_any_of(&["path", "paths", "from", "to", "target", "new"]) {
            assert_eq!(line.contains(":_files"), of_pool, "{line}");
            *(if of_pool { &mut pools } else { &mut paths }) += 1;
        }
    }
    assert!(pools >= 20 && paths >= 15, "{pools} pools and {paths} paths:\n{zsh}");
}

#[test]
fn bash_completes_commands_and_options() {
    let script = run(pinfold().args(["completions", "bash"])).expect(0).stdout;
    let lab = Lab::in_memory();
    fs::write(lab.path("pinfold.bash"), script).expect("the script");
    let complete = |words: &str| {
        let ask = format!(
            "source pinfold.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
             _pinfold pinfold \"${{COMP_WORDS[COMP_CWORD]}}\" \"\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let said = Command::new("bash").current_dir(lab.path("")).arg("-c").arg(ask).output();
        said.map(|said| String::from_utf8(said.stdout).expect("text"))
    };
    let Ok(said) = complete("pinfold qua") else { return println!("skipped: there is no bash") };
    assert_eq!(said, "quarantine\n");
    assert!(complete("pinfold put --re").expect("bash").contains("--recursive"));
}

#[test]
fn every_command_has_a_page() {
    let lab = Lab::in_memory();
    run(pinfold().arg("man").arg("--dir").arg(lab.path("man"))).expect(0);
    let page = |name: &str| fs::read_to_string(lab.path(format!("man/{name}.1"))).unwrap_or_else(|_| panic!("{name}"));
    let first = page("pinfold");
    assert_eq!(run(pinfold().arg("man")).expect(0).stdout, first);
    for command in commands() {
        let own = page(&format!("pinfold-{command}"));
        assert!(own.contains(".SH SYNOPSIS") && own.contains(".SH \"EXIT STATUS\""), "{command}:\n{own}");
        assert!(own.contains(&format!("pinfold {command}")) || own.contains(&format!("pinfold\\-{command}")), "{own}");
        assert!(first.contains(&format!("pinfold\\-{command}(1)")), "{command}: {first}");
        assert_eq!(run(pinfold().args(["man", &command])).expect(0).stdout, own);
    }
    assert_eq!(fs::read_dir(lab.path("man")).expect("pages").count(), commands().len() + 1);
    // Where a command has statuses of its own, its page shows those.
    let fsck = page("pinfold-fsck").replace('\\', "");
    assert!(fsck.contains("something is wrong, and left as it is") && !fsck.contains("a check failed"), "{fsck}");
    run(pinfold().args(["man", "dmeo"])).expect(2);
    let full = run(pinfold().args(["man", "--dir", "/dev/null/x"])).expect(3);
    full.expect_one_line_about("/dev/null/x");
}

#[test]
fn pages_are_sound() {
    let lab = Lab::in_memory();
    run(pinfold().arg("man").arg("--dir").arg(lab.path("man"))).expect(0);
    for command in commands() {
        let page = fs::File::open(lab.path(format!("man/pinfold-{command}.1"))).expect("a page");
        let shown = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-"])
            .stdin(page)
            .stderr(Stdio::piped())
            .output();
        let Ok(shown) = shown.as_ref().map(|shown| (&shown.stdout, String::from_utf8_lossy(&shown.stderr))) else {
            return println!("skipped: there is no man");
        };
        assert_eq!(shown.1, "", "{command}");
    }
}

#[test]
fn every_command_explains_itself() {
    for command in commands() {
        let help = run(pinfold().args([&command, "--help"])).expect(0).stdout;
        assert!(help.contains("Usage: pinfold ") && help.contains("Exit status:"), "{command}:\n{help}");
    }
    let help = run(pinfold().arg("--help")).expect(0).stdout;
    assert!(help.contains("two arguments") && help.contains("pinfold put -r"), "{help}");
    for command in ["df", "ls"] {
        let help = run(pinfold().args([command, "--help"])).expect(0).stdout;
        assert!(help.contains("-h, --human-readable"), "{help}");
    }
}
