//! What an access gets that cannot be had: past the end, without space, in a view for loads.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use pinfold::{Access, File, Pool, View};
use rustix::io::Errno;
use rustix::pipe::pipe;

use crate::common::{BLOCK, MIB, filled, pool_of, use_up, wait_until};
use crate::viewer::{Memory, for_the_kernel, needs_traps, view};

const SIGBUS: i32 = 7;
const SIGSEGV: i32 = 11;
const ROLE: &str = "PINFOLD_TEST_ACCESS";

/// Runs the test of this name once more, in a process of its own, which is to be killed by its access.
#[track_caller]
fn killed_by(signal: i32, test: &str, access: impl FnOnce()) {
    if std::env::var_os(ROLE).is_some() {
        access();
        std::process::exit(0);
    }
    let run = once_more(test);
    assert_eq!(run.status.signal(), Some(signal), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Runs the test of this name once more, in a process of its own, so that it disturbs no other.
#[track_caller]
fn exits(test: &str, run: impl FnOnce()) {
    if std::env::var_os(ROLE).is_some() {
        return run();
    }
    let run = once_more(test);
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}

fn once_more(test: &str) -> Output {
    let this = std::env::current_exe().unwrap();
    Command::new(this).args(["--exact", test, "--test-threads=1"]).env(ROLE, "1").output().unwrap()
}

fn half_a_view() -> (Pool, File, View) {
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 5000, 1);
    let view = view(&file, 64 * 1024);
    (pool, file, view)
}

#[test]
fn a_load_past_the_end_is_a_sigbus() {
    needs_traps!();
    killed_by(SIGBUS, "faults::a_load_past_the_end_is_a_sigbus", || {
        let (_pool, _file, view) = half_a_view();
        assert_eq!(view.load(8191), 0, "the page with the end is there");
        view.load(8192);
    });
}

#[test]
fn a_store_past_a_new_end_is_a_sigbus() {
    needs_traps!();
    killed_by(SIGBUS, "faults::a_store_past_a_new_end_is_a_sigbus", || {
        let (_pool, file, view) = half_a_view();
        view.store(4096, 1);
        file.truncate(4096).wait().unwrap();
        view.store(4096, 1);
    });
}

#[test]
fn a_store_without_space_is_a_sigbus() {
    needs_traps!();
    killed_by(SIGBUS, "faults::a_store_without_space_is_a_sigbus", || {
        let (pool, file, view) = half_a_view();
        file.truncate(64 * 1024).wait().unwrap();
        let _rest = use_up(&pool, "/rest", 2);
        assert_eq!(view.load(40_000), 0);
        view.store(40_000, 1);
    });
}

#[test]
fn a_store_into_a_view_for_loads_is_a_sigsegv() {
    needs_traps!();
    killed_by(SIGSEGV, "faults::a_store_into_a_view_for_loads_is_a_sigsegv", || {
        let pool = pool_of(MIB);
        let file = filled(&pool, "/file", 5000, 1);
        let view = file.map(0..5000, Access::Read).wait().unwrap();
        assert_eq!(view.load(0), 1);
        view.store(0, 1);
    });
}

/// Each piece of a view takes a mapping or two of what a process may have. When views have used up their part, they give what they show up,
/// and are asked for it again; and who maps more at once than they may have is told.
#[test]
fn more_pieces_than_a_process_may_have_mappings() {
    needs_traps!();
    exits("faults::more_pieces_than_a_process_may_have_mappings", || {
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse::<u64>().unwrap();
        let pieces = (limit / 3 + 1000).min(100_000);
        let len = pieces * 2 * BLOCK;
        let pool = pool_of(len / 2 + MIB);
        let file = pool.create("/fragments").unwrap();
        file.truncate(len).wait().unwrap();
        let view = view(&file, len);
        let blocks = || (0..len).step_by(2 * BLOCK as usize);
        blocks().for_each(|at| view.store(at, 1));
        assert!(blocks().all(|at| view.load(at) == 1 && view.load(at + BLOCK) == 0));
        drop(view);
        if pieces < 100_000 {
            let refused = file.map(0..len, Access::Read).wait().unwrap_err();
            assert_eq!(refused.errno(), Errno::NOMEM.raw_os_error());
            assert!(refused.to_string().contains("vm.max_map_count"), "{refused}");
            assert_eq!(file.map(0..len / 2, Access::Read).wait().unwrap().load(0), 1);
        }
    });
}

/// The kernel gets what a program gets, but `EFAULT` for a signal; and from the moment on at which the file is long enough, or there
/// is space, neither gets that.
#[test]
fn the_kernel_gets_efault_until_there_is_something() {
    needs_traps!();
    let (pool, file, view) = half_a_view();
    let (reader, writer) = pipe().unwrap();
    let fill = |at| {
        rustix::io::write(&writer, &[7; 16]).unwrap();
        let filled = rustix::io::read(&reader, for_the_kernel(&view, at, 16));
        if filled.is_err() {
            rustix::io::read(&reader, &mut [0; 16]).unwrap();
        }
        filled
    };
    assert_eq!(fill(8192), Err(Errno::FAULT));
    file.truncate(64 * 1024).wait().unwrap();
    assert_eq!(fill(8192), Ok(16), "the file is longer");
    let rest = use_up(&pool, "/rest", 2);
    assert_eq!(fill(40 * 1024), Err(Errno::FAULT), "no block is left");
    wait_until("zeros can be had", || rustix::io::write(&writer, for_the_kernel(&view, 40 * 1024, 16)) == Ok(16));
    rustix::io::read(&reader, &mut [0; 16]).unwrap();
    rest.truncate(0).wait().unwrap();
    wait_until("there is space again", || fill(40 * 1024) == Ok(16));
    assert_eq!((view.load(40 * 1024), view.load(40 * 1024 + 16)), (7, 0));
}

/// A page with the end in it, in a block that goes on: pages past it are not there, and come with the file.
#[test]
fn the_end_is_that_of_the_file_and_not_of_its_block() {
    needs_traps!();
    let region = pinfold::Region::memfd(MIB).unwrap();
    let pool = pinfold::PoolOptions::new().block_size(16 * 1024).create(region).unwrap();
    let file = filled(&pool, "/file", 5000, 1);
    let view = view(&file, 64 * 1024);
    let (_reader, writer) = pipe().unwrap();
    let gone = |at| rustix::io::write(&writer, for_the_kernel(&view, at, 1)) == Err(Errno::FAULT);
    assert!(gone(8192) && gone(12_288) && gone(16_384) && !gone(BLOCK));
    file.truncate(9000).wait().unwrap();
    assert!(!gone(8192) && gone(12_288));
}
