//! The demo, on files of all kinds.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Ended, pinfold, without_io_uring};
use serde_json::Value;
use tempfile::TempDir;

fn file_of(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir_in(".").expect("a directory for the test's file");
    let path = dir.path().join("source");
    fs::write(&path, bytes).expect("the test's file");
    (dir, path)
}

/// Several at once would be slower, not faster, and each has to end in time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(command: &mut Command) -> Ended {
    let _alone = alone();
    common::run(command)
}

fn demo(path: &Path) -> Ended {
    run(pinfold().args(["demo", "--json"]).arg(path))
}

/// Every check of every act held, and every operation met transfers in flight.
#[track_caller]
fn everything_held(ended: Ended) -> Value {
    let document = ended.expect(0).json();
    assert_eq!(document["held"], true);
    assert_eq!(document["bystander"]["held"], true);
    let acts = document["acts"].as_array().expect("acts");
    let names: Vec<_> = acts.iter().map(|act| act["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["arrive", "truncate", "punch", "unlink", "kill", "survive"]);
    for act in acts {
        assert_eq!((&act["held"], &act["met_transfers_in_flight"]), (&Value::Bool(true), &Value::Bool(true)), "{act}");
        let guarantees = act["guarantees"].as_array().expect("guarantees");
        assert!(!guarantees.is_empty() && guarantees.iter().all(|check| check["held"] == true), "{act}");
    }
    document
}

#[test]
fn everything_holds_with_a_file_of_this_machine() {
    let document = everything_held(run(pinfold().args(["demo", "--json"])));
    let checked: Vec<_> = document["acts"].as_array().expect("acts").iter().flat_map(numbers).collect();
    for number in ["G1", "G2", "G3", "G5", "G7", "G8", "G9", "G10"] {
        assert!(checked.iter().any(|checked| checked == number), "{number} was not checked");
    }
}

fn numbers(act: &Value) -> Vec<String> {
    let guarantees = act["guarantees"].as_array().expect("guarantees");
    guarantees.iter().map(|check| check["guarantee"].as_str().expect("a number").to_owned()).collect()
}

#[test]
fn a_person_reads_who_waited_for_whom_and_where_the_blocks_went() {
    let (_dir, path) = file_of(&[7; 3 << 20]);
    let ended = run(pinfold().arg("demo").arg(&path)).expect(0);
    for said in [
        "it waits for process",
        "goes on by itself",
        "of which",
        "kept by pins",
        "kill -9",
        "in quarantine",
        "the ring is gone|the device is stopped",
        "checks held",
    ] {
        assert!(said.split('|').any(|said| ended.stdout.contains(said)), "{said}:\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains('\x1b'), "colours are for terminals");
    assert_eq!(ended.stderr, "", "progress is for terminals");
}

#[test]
fn a_file_of_one_byte_is_enough() {
    let (_dir, path) = file_of(b"!");
    everything_held(demo(&path));
}

#[test]
fn a_file_that_ends_inside_a_sector_is_brought_in_to_its_end() {
    let bytes: Vec<u8> = (0..2_000_001_u32).map(|at| (at % 251) as u8).collect();
    let (_dir, path) = file_of(&bytes);
    everything_held(demo(&path));
    assert_eq!(fs::read(&path).expect("it is still there"), bytes, "it is only read");
}

#[test]
fn a_file_in_memory_is_brought_in_too() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return println!("skipped: there is no /dev/shm") };
    let path = dir.path().join("source");
    fs::write(&path, vec![7; 100_000]).expect("the test's file");
    everything_held(demo(&path));
}

#[test]
fn without_io_uring_a_device_that_is_named_stands_in() {
    let (_dir, path) = file_of(&[7; 1 << 20]);
    let mut command = pinfold();
    command.args(["demo", "--json"]).arg(&path);
    without_io_uring(&mut command);
    let document = everything_held(run(&mut command));
    let why = document["device"]["stand_in"].as_str().expect("it is said that another device stands in");
    assert!(why.contains("io_uring is forbidden"), "{why}");
}

#[test]
fn what_is_no_file_to_bring_in_is_refused_in_one_line() {
    let (dir, empty) = file_of(b"");
    demo(&empty).expect(3).expect_one_line_about("is empty");
    demo(dir.path()).expect(3).expect_one_line_about("is a directory");
    demo(&dir.path().join("missing")).expect(3).expect_one_line_about("No such file");
    demo(Path::new("/dev/null")).expect(3).expect_one_line_about("not a regular file");
}

#[test]
fn nothing_is_left_behind() {
    let (_dir, path) = file_of(&[7; 10_000]);
    let scratch = tempfile::tempdir().expect("a directory");
    let ended = run(pinfold().env("TMPDIR", scratch.path()).args(["demo", "--json"]).arg(&path));
    everything_held(ended);
    assert_eq!(fs::read_dir(scratch.path()).expect("it is there").count(), 0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (_dir, path) = file_of(&[7; 10_000]);
    let _alone = alone();
    let mut child =
        pinfold().arg("demo").arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_full_disk_under_the_output_is_said() {
    let (_dir, path) = file_of(&[7; 10_000]);
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has one");
    let _alone = alone();
    let child = pinfold().arg("demo").arg(&path).stdout(full).stderr(Stdio::piped()).spawn().expect("it starts");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot write to standard output"));
}
