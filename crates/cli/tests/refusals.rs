//! What every command says of what it was not made for: one line, with what, where and what to do.

mod common;

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use common::{Ended, Lab, as_nobody, pinfold, run};

/// All commands that are given a pool which is there, with what comes after it.
const COMMANDS: [(&str, &[&str]); 26] = [
    ("info", &[]),
    ("df", &[]),
    ("ls", &[]),
    ("tree", &[]),
    ("stat", &["/"]),
    ("cat", &["/x"]),
    ("map", &[]),
    ("map", &["-o", "/dev/null"]),
    ("who", &[]),
    ("quarantine", &[]),
    ("put", &["/dev/null", "/x"]),
    ("get", &["/x", "/dev/null"]),
    ("rm", &["/x"]),
    ("mv", &["/x", "/y"]),
    ("ln", &["/x", "/y"]),
    ("mkdir", &["/d"]),
    ("truncate", &["/x", "--size", "1"]),
    ("fallocate", &["/x", "--length", "1"]),
    ("sync", &[]),
    ("resize", &["1G"]),
    ("release", &[]),
    ("own", &[]),
    ("fsck", &[]),
    ("fsck", &["--repair", "--yes"]),
    ("dump", &[]),
    ("dump", &["--hex", "0..1"]),
];

/// Changes that are asked for, one after the other, on a pool that is there.
const REFUSED: [(&str, &[&str], &str); 12] = [
    ("rm", &["/no"], "/no: no such file or directory"),
    ("rm", &["/d"], "/d: is a directory: -r removes it, with all that is in it"),
    ("rm", &["-r", "/"], "/: the root, `.` and `..` cannot be removed"),
    ("mv", &["/no", "/y"], "/no: no such file or directory"),
    ("mv", &["/d", "/d"], "/d: a directory cannot be moved into itself"),
    ("ln", &["/d", "/l"], "/d: is a directory, and cannot have a second name"),
    ("mkdir", &["/d"], "/d: exists already"),
    ("truncate", &["/f", "-s", "2E"], "/f: 2305843009213693952 bytes are more than a file can have"),
    ("fallocate", &["/f", "-o", "1E", "-l", "1"], "/f: bytes 1152921504606846976..1152921504606846977 are no range"),
    ("fallocate", &["/f", "-c", "-l", "4K", "--detach"], "/f bytes 0 to the end: an operation that moves blocks"),
    ("fallocate", &["/f", "-l", "1G"], "/f: no space: 1073741824 bytes asked for"),
    ("sync", &["/no"], "/no: no such file or directory"),
];

/// It said one line on stderr, which begins with the pool and names it once.
#[track_caller]
fn expect_about(ended: &Ended, what: &str, pool: &str, said: &str) {
    assert_eq!(ended.stdout, "", "{what}");
    let begins = format!("pinfold: {pool}: ");
    assert!(ended.stderr.starts_with(&begins) && ended.stderr.lines().count() == 1, "{what}: {}", ended.stderr);
    let rest = &ended.stderr[begins.len()..];
    assert!(rest.contains(said) && !rest.contains(&format!("{pool}: ")), "{what}: {}", ended.stderr);
}

#[test]
fn what_is_no_pool_is_refused_by_every_command_in_the_same_words() {
    let lab = Lab::in_memory();
    fs::create_dir(lab.path("a_dir")).expect("a directory");
    lab.file("a_text", "just some text");
    lab.file("an_empty", "");
    File::create(lab.path("zeros")).and_then(|file| file.set_len(1 << 20)).expect("a file");
    let _socket = UnixListener::bind(lab.path("a_socket")).expect("a socket");
    assert!(Command::new("mkfifo").arg(lab.path("a_pipe")).status().expect("mkfifo").success());
    let no_pool = "is not a pool; make one with `pinfold mkfs`";
    for (name, said) in [
        ("absent", "there is no such file; make a pool with `pinfold mkfs`"),
        ("a_dir", "is not a pool: it is a directory; give a file or a device-DAX device"),
        ("a_pipe", "is not a pool: it is a pipe; give a file or a device-DAX device"),
        ("a_socket", "is not a pool: it is a socket; give a file or a device-DAX device"),
        ("a_text", no_pool),
        ("an_empty", no_pool),
        ("zeros", no_pool),
    ] {
        for (command, arguments) in COMMANDS {
            // They look at any file, and show what is wrong with it.
            if matches!(command, "fsck" | "dump") && said == no_pool {
                continue;
            }
            let what = format!("{command} {name} {arguments:?}");
            let ended = run(pinfold().current_dir(lab.path("")).arg(command).arg(name).args(arguments));
            assert_eq!(ended.status, Some(3), "{what}: {}", ended.stderr);
            expect_about(&ended, &what, name, said);
        }
    }
    assert_eq!(fs::read_dir(lab.path("")).expect("it is there").count(), 6, "nothing was made");
    assert_eq!(fs::read(lab.path("a_text")).expect("it is there"), b"just some text");
}

#[test]
fn a_pool_that_may_not_be_opened_is_refused_by_every_command() {
    let lab = Lab::in_memory().with_pool();
    fs::set_permissions(lab.pool(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("permissions");
    for (command, arguments) in COMMANDS {
        let mut command = lab.command(command, arguments);
        if !as_nobody(&mut command, &lab.path("")) || !rustix::process::geteuid().is_root() {
            return println!("skipped: nobody else may run the command here");
        }
        let ended = run(&mut command).expect(3);
        expect_about(&ended, &format!("{command:?}"), "pool", "permission denied; ask for it, or be who owns the pool");
    }
}

#[test]
fn who_may_not_see_what_devices_reach_is_told_so() {
    let lab = Lab::in_memory().with_pool();
    // It is reached by somebody who died.
    let mut own = lab.command("own", [] as [&str; 0]).stdout(Stdio::piped()).spawn().expect("it starts");
    std::io::Read::read(own.stdout.as_mut().expect("a pipe"), &mut [0]).expect("it is ready");
    own.kill().and_then(|()| own.wait()).expect("it ends");
    fs::set_permissions(lab.pool(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("permissions");
    for command in ["fsck", "who", "df", "map", "quarantine"] {
        let mut asked = lab.command(command, [] as [&str; 0]);
        if !as_nobody(&mut asked, &lab.path("")) || !rustix::process::geteuid().is_root() {
            return println!("skipped: nobody else may run the command here");
        }
        let said = "what devices reach is written in pool.live: permission denied; be who owns the pool";
        expect_about(&run(&mut asked).expect(3), command, "pool", said);
        run(&mut lab.command(command, [] as [&str; 0])).expect(0);
    }
}

#[test]
fn a_pool_that_another_process_owns_and_does_not_serve_is_refused_by_what_changes_it() {
    let lab = Lab::in_memory().with_pool();
    let pool = pinfold::Pool::load(lab.pool()).expect("the pool");
    let changes = COMMANDS.into_iter().skip_while(|(command, _)| *command != "rm");
    let changes =
        changes.filter(|(command, arguments)| *command != "dump" && (*command, *arguments) != ("fsck", &[][..]));
    for (command, arguments) in changes {
        let ended = lab.run(command, arguments).expect(3);
        let said = format!("pinfold: pool: is owned by process {}", std::process::id());
        assert!(ended.stderr.starts_with(&said) && ended.stderr.lines().count() == 1, "{command}: {}", ended.stderr);
        assert!(ended.stderr.ends_with("; stop it first\n"), "{command}: {}", ended.stderr);
    }
    drop(pool);
}

#[test]
fn what_a_pool_refuses_is_said_with_the_pool_and_the_path_once() {
    let lab = Lab::in_memory().with_pool();
    lab.run("mkdir", ["/d"]).expect(0).expect_silence();
    lab.run("truncate", ["/f", "-s", "8K"]).expect(0).expect_silence();
    for (command, arguments, said) in REFUSED {
        let ended = lab.run(command, arguments).expect(3);
        assert!(ended.stderr.starts_with(&format!("pinfold: pool: {said}")), "{command}: {}", ended.stderr);
        assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1), "{command}: {}", ended.stderr);
    }
    let ended = lab.run("fallocate", ["/f", "-o", "15E", "-l", "15E"]).expect(3);
    assert_eq!(ended.stderr, "pinfold: pool: /f: the range ends past the longest file, of 1E\n");
    lab.run("truncate", ["-c", "/no", "/no/no", "-s", "1"]).expect(0).expect_silence();
    lab.run("stat", ["/no"]).expect(3);
    let mut put = lab.command("put", ["/dev/zero", "/x"]);
    let ended = run(&mut put).expect(3);
    assert!(ended.stderr.starts_with("pinfold: /dev/zero: no space: "), "{}", ended.stderr);
}

#[test]
fn where_nothing_can_be_said_the_exit_status_says_it() {
    let lab = Lab::in_memory().with_pool();
    lab.run("mkdir", ["/d"]).expect(0).expect_silence();
    lab.run("truncate", ["/f", "-s", "8K"]).expect(0).expect_silence();
    let full = || File::options().write(true).open("/dev/full").expect("a device that is full");
    for (command, arguments, _) in REFUSED {
        let ended = lab.command(command, arguments).stdout(Stdio::null()).stderr(full()).status();
        assert_eq!(ended.expect("it starts").code(), Some(3), "{command}");
    }
    for (arguments, status) in [(&["frobnicate"][..], 2), (&["ls", "/nope"], 3), (&["put", "pool", "no", "/"], 3)] {
        let ended = pinfold().current_dir(lab.path("")).args(arguments).stdout(Stdio::null()).stderr(full()).status();
        assert_eq!(ended.expect("it starts").code(), Some(status), "{arguments:?}");
    }
    // Not even help is lost without a word.
    for arguments in [&["--help"][..], &["-h"], &["--version"], &["ls", "--help"], &["man"], &["info", "pool"]] {
        let mut command = pinfold();
        let child = command.current_dir(lab.path("")).args(arguments).stdout(full()).stderr(Stdio::piped()).spawn();
        let ended = common::ended(child.expect("it starts"));
        assert_eq!(ended.status.code(), Some(3), "{arguments:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.starts_with("pinfold: cannot write to standard output: "), "{arguments:?}: {said}");
    }
}
