//! `pinfold mount`: programs use a pool as they use any directory, and everything is there when the mount has ended, however it did.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Lab, assert_same, ended, noise, run};
use rustix::process::{Pid, Signal, kill_process};

const NOTHING: [&str; 0] = [];

/// A process that has the pool of a lab mounted on its directory `mnt`. Killed, and the mount taken away, when it is dropped.
struct Mounted {
    child: Option<Child>,
    at: PathBuf,
}

impl Mounted {
    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it has not ended"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Asks it to end, and looks how it did.
    fn end(mut self) -> std::process::Output {
        kill_process(self.pid(), Signal::TERM).expect("it lives");
        ended(self.child.take().expect("it has not ended"))
    }

    fn kill(mut self) {
        let mut child = self.child.take().expect("it has not ended");
        child.kill().and_then(|()| child.wait()).expect("it is killed");
        unmount(&self.at);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            unmount(&self.at);
        }
    }
}

/// What a killed mount leaves at its place.
fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("-l").arg(at).stderr(Stdio::null()).status();
    let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(at).stderr(Stdio::null()).status();
}

/// `None`, and a line that says why, where nothing can be mounted.
fn mount(lab: &Lab, test: &str, arguments: &[&str]) -> Option<Mounted> {
    let at = lab.path("mnt");
    fs::create_dir_all(&at).expect("a directory");
    let skipped = |why: &str| {
        // Past the harness, which keeps the output of a test that passes to itself.
        let line = format!("\nskipped: {test}: {}\n", why.trim_end());
        std::io::stderr().write_all(line.as_bytes()).expect("it is said");
    };
    if !Path::new("/dev/fuse").exists() {
        skipped("no /dev/fuse");
        return None;
    }
    let mut command = lab.command("mount", ["mnt"]);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let mut said = String::new();
    BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut said).expect("it says something");
    if said.is_empty() {
        let why = String::from_utf8_lossy(&ended(child).stderr).into_owned();
        assert!(why.contains("could not be mounted"), "{why}");
        skipped(&why);
        return None;
    }
    assert!(said.contains("mounted on mnt"), "{said}");
    Some(Mounted { child: Some(child), at })
}

/// Runs what a shell is told in a directory of the host and in the mount, if the programs are there: both say the same, and the same is left.
fn same_in_both(lab: &Lab, mounted: &Mounted, name: &str, programs: &[&str], script: &str) {
    let missing = programs.iter().find(|program| !is_there(program));
    if let Some(missing) = missing {
        let line = format!("\nskipped: {name} in a mount: no {missing}\n");
        return std::io::stderr().write_all(line.as_bytes()).expect("it is said");
    }
    let [plain, in_mount] = [lab.path(format!("plain {name}")), mounted.path(name)].map(|dir| {
        fs::create_dir(&dir).expect("a directory");
        let source = lab.path("source");
        let script = format!("set -e; export LC_ALL=C TZ=UTC; {script}");
        let said = run(Command::new("sh").args(["-c", &script]).env("source", source).current_dir(&dir)).expect(0);
        (dir, said.stdout)
    });
    assert_eq!(plain.1, in_mount.1, "{name}");
    assert_same(&plain.0, &in_mount.0);
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Directories, links, holes, modes, and files of some sizes.
fn make_source(lab: &Lab) {
    for (at, len) in [0, 1, 4095, 4096, 4097, 100_000, 3_000_000].into_iter().enumerate() {
        lab.file(format!("source/dir {at}/file"), noise(len, at as u64));
        lab.file(format!("source/deep/{at}/er/file"), format!("{len}\n"));
    }
    std::os::unix::fs::symlink("dir 1/file", lab.path("source/link")).expect("a link");
    fs::hard_link(lab.path("source/dir 2/file"), lab.path("source/same")).expect("a link");
    let sparse = fs::File::create(lab.path("source/sparse")).expect("a file");
    sparse.set_len(1 << 20).expect("it is long");
}

#[test]
fn programs_do_in_a_mount_what_they_do_in_a_plain_directory() {
    let lab = Lab::in_memory();
    lab.run("mkfs", ["--size", "256M"]).expect(0);
    make_source(&lab);
    let test = "programs_do_in_a_mount_what_they_do_in_a_plain_directory";
    let Some(mounted) = mount(&lab, test, &[]) else { return };
    let both = |name, programs: &[&str], script| same_in_both(&lab, &mounted, name, programs, script);
    let list = "find . ! -type d -printf '%P %y %#m %n %s %T@\\n' | sort; find . -mindepth 1 -type d -printf '%P %#m %n %T@\\n' | sort";
    let copies = format!("cp -a \"$source\" copy; diff -r \"$source\" copy; cd copy; {list}");
    both("cp", &["cp", "diff", "find"], &copies);
    let moves =
        "cp -r \"$source\" a; mv a b; mkdir c; mv b/* c; rmdir b; ln c/sparse c/too; rm -rf 'c/dir 3'; find . | sort";
    both("mv and rm", &["mv", "rm", "find"], moves);
    let append = "for i in 1 2 3 4 5; do echo $i >>log; done; cat log; : >log; wc -c log; truncate -s 10000 log; od log; dd if=/dev/zero \
                  of=log bs=1 count=5 seek=20000 conv=notrunc 2>/dev/null; wc -c log";
    both("appending", &["dd", "od", "truncate"], append);
    let tar = "tar cf t.tar -C \"$source\" --sort=name .; mkdir out; tar xf t.tar -C out; diff -r \"$source\" out; tar tf t.tar";
    both("tar", &["tar", "diff"], tar);
    let rsync = "rsync -aH \"$source/\" out; diff -r \"$source\" out; rsync -aHcn --itemize-changes \"$source/\" out";
    both("rsync", &["rsync", "diff"], rsync);
    let git = "git init -q r; cd r; cp -r \"$source\" s; git add -A; export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'; \
               git -c user.name=a -c user.email=a@b commit -qm first; git fsck --strict; git gc -q; git rev-parse HEAD; \
               git clone -q . ../clone; cd ..; diff -r r/s clone/s; rm -rf r clone";
    both("git", &["git", "diff"], git);
    let compiler = "printf '#include <stdio.h>\\nint main(void) { return puts(\"built here\") < 0; }\\n' >m.c; cc -o m m.c; ./m; rm m";
    both("a compiler", &["cc"], compiler);
    let said = mounted.end();
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    lab.run("fsck", NOTHING).expect(0);
    lab.run("get", ["-r", "/cp/copy", "again"]).expect(0);
    assert_same(&lab.path("source"), &lab.path("again"));
}

#[test]
fn other_commands_ask_the_mount_and_each_side_sees_the_other() {
    let lab = Lab::in_memory().with_pool();
    let test = "other_commands_ask_the_mount_and_each_side_sees_the_other";
    let Some(mounted) = mount(&lab, test, &["--cache", "0"]) else { return };
    fs::write(mounted.path("from the mount"), noise(300_000, 1)).expect("it is written");
    let there = lab.file("put", noise(500_000, 2));
    lab.run("put", ["put", "/from beside"]).expect(0);
    assert_eq!(fs::read(mounted.path("from beside")).expect("it is read"), fs::read(there).expect("it is read"));
    lab.run("get", ["/from the mount", "got"]).expect(0);
    assert!(fs::read(lab.path("got")).expect("it is read") == noise(300_000, 1));
    lab.run("mv", ["/from beside", "/moved"]).expect(0);
    assert!(!mounted.path("from beside").exists() && mounted.path("moved").exists());
    lab.run("truncate", ["/moved", "--size", "7"]).expect(0);
    assert_eq!(fs::metadata(mounted.path("moved")).expect("it is there").len(), 7);
    assert_eq!(mounted.end().status.code(), Some(0));
}

#[test]
fn what_a_killed_mount_had_done_is_there_for_the_next() {
    let lab = Lab::in_memory().with_pool();
    let test = "what_a_killed_mount_had_done_is_there_for_the_next";
    let Some(mounted) = mount(&lab, test, &[]) else { return };
    fs::create_dir(mounted.path("dir")).expect("a directory");
    fs::write(mounted.path("dir/file"), noise(1_000_000, 3)).expect("it is written");
    mounted.kill();
    lab.run("fsck", NOTHING).expect(0);
    let mounted = mount(&lab, test, &["--read-only"]).expect("it was mounted before");
    assert!(fs::read(mounted.path("dir/file")).expect("it is read") == noise(1_000_000, 3));
    let refused = fs::write(mounted.path("new"), b"bytes").expect_err("it is read-only");
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    assert_eq!(mounted.end().status.code(), Some(0));
}

#[test]
fn a_mount_that_is_told_to_end_while_it_is_used_loses_nothing() {
    let lab = Lab::on_disk().with_pool();
    let test = "a_mount_that_is_told_to_end_while_it_is_used_loses_nothing";
    let Some(mounted) = mount(&lab, test, &["--commit-interval", "0"]) else { return };
    let mut file = fs::File::create(mounted.path("open")).expect("a file");
    file.write_all(&noise(100_000, 4)).expect("it is written");
    let said = mounted.end();
    assert_eq!(said.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&said.stderr).contains("ended while programs used it"));
    drop(file);
    lab.run("get", ["/open", "got"]).expect(0);
    assert!(fs::read(lab.path("got")).expect("it is read") == noise(100_000, 4));
}

#[test]
fn what_cannot_be_mounted_or_mounted_on_is_one_line() {
    let lab = Lab::in_memory().with_pool();
    if !Path::new("/dev/fuse").exists() {
        return lab.run("mount", ["."]).expect(3).expect_one_line_about("no /dev/fuse");
    }
    lab.run("mount", ["nowhere"]).expect(3).expect_one_line_about("nowhere");
    lab.file("file", "bytes");
    lab.run("mount", ["file"]).expect(3).expect_one_line_about("is no directory");
    fs::create_dir(lab.path("dir")).expect("a directory");
    lab.file("no pool", noise(10_000, 5));
    run(common::pinfold().current_dir(lab.path("")).args(["mount", "no pool", "dir"]))
        .expect(3)
        .expect_one_line_about("no pool");
    let owner = pinfold::Pool::load(lab.pool()).expect("a pool");
    lab.run("mount", ["dir"]).expect(3).expect_one_line_about("is owned by");
    drop(owner);
}
