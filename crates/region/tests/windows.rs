//! Windows: what is seen through one, what is trapped, and what the kernel's own accesses find there.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use pinfold_region::{Fault, NoTraps, Region, Traps, WINDOWS_MAX, Window, WindowError};
use rustix::io::Errno;
use rustix::pipe::pipe;

const PAGE: u64 = 4096;

/// Traps; without them the test has nothing to test here.
macro_rules! traps_or_skip {
    () => {
        match Traps::new() {
            Ok(traps) => Arc::new(traps),
            Err(why) => {
                println!("skipped: {why}");
                return;
            }
        }
    };
}

/// Answers faults by `answer`, with another thread that reads meanwhile, until it is dropped.
struct Answering {
    traps: Arc<Traps>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Answering {
    fn by(traps: &Arc<Traps>, answer: impl Fn(Fault) + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let thread = |_| {
            let (traps, answer) = (Arc::clone(traps), Arc::clone(&answer));
            thread::spawn(move || {
                while let Some(fault) = traps.next() {
                    answer(fault);
                }
            })
        };
        Self { traps: Arc::clone(traps), threads: (0..2).map(thread).collect() }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.traps.stop();
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// A region, and a window of as many bytes that answers loads with zeros, and stores with the region's own bytes.
fn sparse(traps: &Arc<Traps>, pages: u64) -> (Arc<Region>, Arc<Window>, Arc<AtomicU32>, Answering) {
    let region = Arc::new(Region::memfd(pages * PAGE).unwrap());
    let window = Arc::new(region.window(0, pages * PAGE, true, Some(traps)).unwrap());
    let faults = Arc::new(AtomicU32::new(0));
    let answering = {
        let (region, window, faults) = (Arc::clone(&region), Arc::clone(&window), Arc::clone(&faults));
        Answering::by(traps, move |fault| {
            faults.fetch_add(1, Ordering::Relaxed);
            let at = window.offset_of(fault.address).unwrap();
            let page = at..at + PAGE;
            match fault.stores {
                true => window.show(at, &region, page.clone()).unwrap(),
                false => window.show_zeros(page.clone()).unwrap(),
            }
            window.wake(page);
        })
    };
    (region, window, faults, answering)
}

fn read(window: &Window, at: u64) -> u8 {
    let mut byte = [0xEE];
    window.bytes(at..at + 1).unwrap().copy_out(0, &mut byte).unwrap();
    byte[0]
}

fn write(window: &Window, at: u64, byte: u8) {
    window.bytes(at..at + 1).unwrap().copy_in(0, &[byte]).unwrap();
}

fn in_region(region: &Region, at: u64) -> u8 {
    let mut byte = [0xEE];
    region.bytes(at..at + 1).unwrap().copy_out(0, &mut byte).unwrap();
    byte[0]
}

#[test]
fn loads_and_stores_are_trapped_and_then_tried_again() {
    let traps = traps_or_skip!();
    let (region, window, faults, _answering) = sparse(&traps, 8);
    assert_eq!(read(&window, 5), 0, "a hole");
    write(&window, 5, 7); // zeros are there already: only the store is trapped
    assert_eq!((read(&window, 5), in_region(&region, 5)), (7, 7));
    write(&window, 2 * PAGE, 8); // nothing was there
    assert_eq!(in_region(&region, 2 * PAGE), 8);
    assert_eq!(faults.load(Ordering::Relaxed), 3);
    assert_eq!(read(&window, 5), 7);
    assert_eq!(faults.load(Ordering::Relaxed), 3, "what is shown is trapped no more");
}

#[test]
fn the_kernels_accesses_are_trapped_like_a_programs() {
    let traps = traps_or_skip!();
    let (region, window, faults, _answering) = sparse(&traps, 8);
    let (reader, writer) = pipe().unwrap();
    let page = |at: u64| window.bytes(at * PAGE..(at + 1) * PAGE).unwrap().as_ptr().unwrap();
    // SAFETY: the kernel fills and reads pages of the window, to which nobody refers.
    let (filled, zeros) = unsafe {
        (
            std::slice::from_raw_parts_mut(page(3).as_ptr(), PAGE as usize),
            std::slice::from_raw_parts(page(5).as_ptr(), PAGE as usize),
        )
    };
    assert_eq!(rustix::io::write(&writer, zeros).unwrap() as u64, PAGE); // loads from a hole
    rustix::io::write(&writer, b"from the kernel").unwrap();
    let mut drained = vec![1; PAGE as usize];
    rustix::io::read(&reader, &mut drained).unwrap();
    assert!(drained.iter().all(|byte| *byte == 0));
    assert_eq!(rustix::io::read(&reader, filled).unwrap(), 15); // stores into one
    assert_eq!(in_region(&region, 3 * PAGE), b'f');
    assert_eq!(faults.load(Ordering::Relaxed), 2);
}

#[test]
fn what_is_trapped_anew_is_asked_for_anew() {
    let traps = traps_or_skip!();
    let (region, window, faults, _answering) = sparse(&traps, 8);
    window.show(0, &region, 0..8 * PAGE).unwrap();
    write(&window, PAGE, 1);
    window.trap(PAGE..2 * PAGE).unwrap();
    write(&window, 0, 2);
    write(&window, 2 * PAGE, 3);
    assert_eq!(faults.load(Ordering::Relaxed), 0, "its neighbours are not disturbed");
    assert_eq!(read(&window, PAGE), 0, "it was answered by zeros");
    window.trap_zeros(PAGE..2 * PAGE).unwrap();
    write(&window, PAGE + 1, 4);
    assert_eq!((read(&window, PAGE), read(&window, PAGE + 1)), (1, 4), "the region's bytes were not touched");
    assert_eq!(faults.load(Ordering::Relaxed), 2);
}

#[test]
fn past_the_end_the_kernel_gets_efault() {
    let traps = traps_or_skip!();
    let _reading = Answering::by(&traps, |fault| panic!("{fault:?} is to be seen as it is"));
    let region = Region::memfd(PAGE).unwrap();
    let window = region.window(0, 2 * PAGE, true, Some(&traps)).unwrap();
    window.show(0, &region, 0..PAGE).unwrap();
    window.show_end(PAGE..2 * PAGE).unwrap();
    let (reader, writer) = pipe().unwrap();
    rustix::io::write(&writer, &[9; 100]).unwrap();
    let end = window.bytes(PAGE..2 * PAGE).unwrap().as_ptr().unwrap();
    // SAFETY: the kernel is to find out that nothing is there.
    let refused = unsafe { rustix::io::read(&reader, std::slice::from_raw_parts_mut(end.as_ptr(), 100)) };
    assert_eq!(refused, Err(Errno::FAULT));
    window.trap(PAGE..2 * PAGE).unwrap();
    window.show(PAGE, &region, 0..PAGE).unwrap();
    write(&window, PAGE, 3);
    assert_eq!(read(&window, 0), 3, "two pages of a window may show one of the region");
}

#[test]
fn without_traps_what_was_mapped_is_seen() {
    let region = Region::memfd(4 * PAGE).unwrap();
    let window = region.window(PAGE, 2 * PAGE, false, None).unwrap();
    assert!(!window.traps());
    region.bytes(3 * PAGE..4 * PAGE).unwrap().copy_in(0, &[5]).unwrap();
    window.show(0, &region, 3 * PAGE..4 * PAGE).unwrap();
    assert_eq!(read(&window, 0), 5);
    let refused = window.trap(0..PAGE).unwrap_err();
    assert!(matches!(refused, WindowError::NoTraps), "{refused}");
}

/// W2: else no huge page could ever be seen through it.
#[test]
fn a_window_lies_in_huge_pages_as_what_it_shows() {
    let region = Region::memfd(PAGE).unwrap();
    for offset in [0, PAGE, (2 << 20) - PAGE, (6 << 20) + 3 * PAGE] {
        let window = region.window(offset, 4 << 20, true, None).unwrap();
        assert_eq!((window.base().addr().get() as u64 - offset) % (2 << 20), 0, "{offset}");
    }
}

#[test]
fn thousands_of_windows_have_64_tib_together_and_not_more() {
    let region = Region::memfd(PAGE).unwrap();
    let len = WINDOWS_MAX / 4096;
    let mut windows: Vec<Window> = (0..4000).map(|_| region.window(0, len, true, None).unwrap()).collect();
    let refused = region.window(0, WINDOWS_MAX / 8, true, None).unwrap_err();
    assert_eq!(refused.errno(), Errno::NOMEM.raw_os_error());
    assert!(refused.to_string().contains("70368744177664"), "{refused}");
    windows.truncate(1);
    region.window(0, WINDOWS_MAX / 8, true, None).unwrap();
}

#[test]
fn what_is_no_window_is_refused() {
    let region = Region::memfd(4 * PAGE).unwrap();
    for (offset, len) in [(0, 0), (0, 100), (1, PAGE)] {
        let refused = region.window(offset, len, true, None).unwrap_err();
        assert_eq!(refused.errno(), Errno::INVAL.raw_os_error(), "{refused}");
    }
    let device = Region::device_only(0, 0, 1 << 20).unwrap();
    let refused = device.window(0, PAGE, true, None).unwrap_err();
    assert_eq!(refused.errno(), Errno::OPNOTSUPP.raw_os_error(), "{refused}");
    let window = region.window(0, 2 * PAGE, true, None).unwrap();
    for (at, place) in [(0, 0..100), (5, 0..PAGE), (PAGE, 0..2 * PAGE), (0, 4 * PAGE..5 * PAGE), (u64::MAX, 0..PAGE)] {
        let refused = window.show(at, &region, place).unwrap_err();
        assert!([22, 6].contains(&refused.errno()), "{refused}");
    }
    assert_eq!(window.offset_of(window.base().addr().get() + 5), Some(5));
    assert_eq!(window.offset_of(window.base().addr().get() - 1), None);
    assert_eq!(window.offset_of(window.base().addr().get() + 2 * PAGE as usize), None);
}

#[test]
fn why_there_are_no_traps_is_said() {
    let said = NoTraps::NotPermitted(Errno::PERM).to_string();
    assert!(said.contains("vm.unprivileged_userfaultfd=1") && said.contains("/dev/userfaultfd"), "{said}");
}

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(status: i32) -> !;
}

#[test]
fn a_child_after_a_fork_has_no_window_and_stops_no_traps() {
    let traps = traps_or_skip!();
    let (region, window, _faults, _answering) = sparse(&traps, 4);
    // SAFETY: the child looks at what it has, and ends.
    let child = unsafe { fork() };
    if child == 0 {
        let refused = window.bytes(0..1).is_err() && window.show(0, &region, 0..PAGE).is_err();
        traps.stop();
        // SAFETY: nothing of the parent is to be run.
        unsafe { _exit(i32::from(!refused)) };
    }
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0));
    write(&window, PAGE, 1);
    assert_eq!(in_region(&region, PAGE), 1, "faults are answered still");
}

/// What a file of its own has mapped shows that file: a window holds no bytes of its own.
#[test]
fn a_window_shows_what_another_mapping_of_the_file_stores() {
    let region = Region::memfd(2 * PAGE).unwrap();
    let window = region.window(0, PAGE, false, None).unwrap();
    window.show(0, &region, PAGE..2 * PAGE).unwrap();
    rustix::io::pwrite(region.file().unwrap().as_fd(), b"x", PAGE).unwrap();
    assert_eq!(read(&window, 0), b'x');
}
