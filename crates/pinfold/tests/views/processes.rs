//! A child after a fork has no view.

use pinfold::View;
use rustix::io::Errno;
use rustix::pipe::pipe;

use crate::common::{MIB, filled, pool_of};
use crate::viewer::{Memory, for_the_kernel, needs_traps, pool_that_pins, view};

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(status: i32) -> !;
}

/// What a forked child says of a view: 0 if it has none.
fn in_a_child(view: &View) -> i32 {
    let (_reader, writer) = pipe().unwrap();
    let memory = for_the_kernel(view, 0, 16);
    // SAFETY: the child makes one system call and ends.
    let child = unsafe { fork() };
    if child == 0 {
        let gone = rustix::io::write(&writer, memory) == Err(Errno::FAULT) && view.bytes(0..1).is_err();
        // SAFETY: nothing of the parent is to be run.
        unsafe { _exit(i32::from(!gone)) };
    }
    let pid = rustix::process::Pid::from_raw(child).expect("forked");
    let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
    status.exit_status().unwrap_or(-1)
}

#[test]
fn a_child_after_a_fork_has_no_view() {
    needs_traps!();
    let pool = pool_of(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 64 * 1024);
    assert_eq!(in_a_child(&view), 0);
    // What was mapped anew since is not the child's either.
    file.punch(0..4096).wait().unwrap();
    view.store(0, 2);
    assert_eq!(in_a_child(&view), 0);
    assert_eq!(view.load(0), 2);
}

#[test]
fn nor_one_that_is_a_pin() {
    let pool = pool_that_pins(MIB);
    let file = filled(&pool, "/file", 64 * 1024, 1);
    let view = view(&file, 64 * 1024);
    assert_eq!(in_a_child(&view), 0);
    assert_eq!(view.load(0), 1);
}
