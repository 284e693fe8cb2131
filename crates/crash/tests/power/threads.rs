//! Hooks, and several threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use pinfold_crash::{Boundary, Call, Keep, Medium, Side};
use pinfold_region::Region;
use rustix::io::Errno;

use crate::{LINES, PAGES, byte, load_u64, store};

const EDEADLK: i32 = Errno::DEADLK.raw_os_error();

#[test]
fn each_call_passes_two_boundaries_numbered_in_order() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    let (tell, passed) = std::sync::mpsc::channel();
    medium.on_boundary(move |_, boundary| tell.send(boundary.clone()).unwrap());
    region.flush(0..8).unwrap();
    region.fence().unwrap();
    let (flush, fence) = (Call::WriteBack { nth: 0, bytes: 0..8 }, Call::Drain { nth: 0 });
    let expected = [
        Boundary { number: 0, call: flush.clone(), side: Side::Before },
        Boundary { number: 1, call: flush, side: Side::After },
        Boundary { number: 2, call: fence.clone(), side: Side::Before },
        Boundary { number: 3, call: fence, side: Side::After },
    ];
    assert!(passed.try_iter().eq(expected));
    assert_eq!(medium.boundaries(), 4);
}

#[test]
fn a_call_takes_effect_between_its_boundaries() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    let (tell, seen) = std::sync::mpsc::channel();
    medium.on_boundary(move |medium, _| tell.send(byte(&medium.cut().unwrap(), Keep::Nothing, 0)).unwrap());
    store(&region, 0, &[1]);
    region.flush(0..1).unwrap();
    assert!(seen.try_iter().eq([0, 1]));
}

#[test]
fn a_fence_waits_for_what_its_own_thread_flushed() {
    let (medium, region) = Medium::new(1 << 16, LINES).unwrap();
    store(&region, 0, &[1]);
    thread::scope(|scope| scope.spawn(|| region.flush(0..1).unwrap()).join().unwrap());
    region.fence().unwrap();
    assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), 0);
}

#[test]
fn a_late_fence_of_one_thread_does_not_bring_back_what_another_stored_over() {
    let (medium, region) = Medium::new(1 << 16, LINES).unwrap();
    store(&region, 0, &[1]);
    region.flush(0..1).unwrap();
    store(&region, 0, &[2]);
    let flush_and_fence = || {
        region.flush(0..1).unwrap();
        region.fence().unwrap();
    };
    thread::scope(|scope| scope.spawn(flush_and_fence).join().unwrap());
    region.fence().unwrap();
    let cut = medium.cut().unwrap();
    assert_eq!((byte(&cut, Keep::Nothing, 0), cut.at_risk()), (2, vec![]));
}

#[test]
fn a_flush_in_a_hook_is_refused() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    let region = Arc::new(OnceLock::from(region));
    let (refused, of_hook) = (Arc::new(Mutex::new(None)), Arc::downgrade(&region));
    let told = Arc::clone(&refused);
    medium.on_boundary(move |_, _| {
        let region = of_hook.upgrade().unwrap();
        *told.lock().unwrap() = Some(region.get().unwrap().flush(0..8).unwrap_err().errno());
    });
    region.get().unwrap().flush(0..8).unwrap();
    assert_eq!((*refused.lock().unwrap(), medium.boundaries()), (Some(EDEADLK), 2));
}

#[test]
fn a_hook_may_set_another() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let later = Arc::clone(&count);
    medium.on_boundary(move |medium, _| {
        let later = Arc::clone(&later);
        medium.on_boundary(move |_, _| _ = later.fetch_add(1, SeqCst));
    });
    region.flush(0..8).unwrap();
    region.fence().unwrap();
    assert_eq!(count.load(SeqCst), 3);
}

#[test]
fn after_a_panic_in_a_hook_nothing_is_durable_any_more() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    medium.on_boundary(|_, boundary| assert_eq!(boundary.number, 0, "the test's own finding"));
    store(&region, 0, &[1]);
    catch_unwind(AssertUnwindSafe(|| region.flush(0..8))).unwrap_err();
    assert!(region.flush(0..8).unwrap_err().to_string().contains("a hook panicked"));
    assert!(medium.cut().unwrap_err().to_string().contains("a hook panicked"));
    assert!(medium.evict(Keep::Everything).is_err() && medium.power_off().is_err());
}

#[test]
fn a_hook_that_runs_while_its_thread_unwinds_is_no_panic_of_the_hook() {
    struct FlushesLate(Region);
    impl Drop for FlushesLate {
        fn drop(&mut self) {
            self.0.flush(0..8).unwrap();
            self.0.flush(0..8).unwrap();
        }
    }
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    medium.on_boundary(|medium, _| _ = medium.cut().unwrap());
    let panics = move || {
        let _late = FlushesLate(region);
        panic!("of the program");
    };
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(medium.boundaries(), 4);
}

#[test]
fn with_the_power_off_flushes_fail_and_the_cut_is_of_that_instant() {
    let (medium, region) = Medium::new(1 << 16, LINES).unwrap();
    store(&region, 0, &[1]);
    medium.power_off().unwrap();
    store(&region, 0, &[2]);
    let refused = region.flush(0..1).unwrap_err();
    assert_eq!((refused.errno(), medium.boundaries()), (5, 0));
    assert!(refused.to_string().contains("power cut before the first boundary"), "{refused}");
    region.fence().unwrap_err();
    medium.evict(Keep::Everything).unwrap();
    let cut = medium.cut().unwrap();
    assert_eq!([byte(&cut, Keep::Nothing, 0), byte(&cut, Keep::Everything, 0)], [0, 1]);
}

#[test]
fn a_hook_switches_the_power_off_on_either_side_of_a_call() {
    for (side, durable) in [(Side::Before, 0), (Side::After, 1)] {
        let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
        medium.on_boundary(move |medium, boundary| {
            if boundary.side == side {
                medium.power_off().unwrap();
            }
        });
        store(&region, 0, &[1]);
        region.flush(0..1).unwrap_err();
        assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), durable);
    }
}

#[test]
fn the_power_goes_off_at_once_if_its_boundary_was_passed() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    region.flush(0..8).unwrap();
    medium.power_off_at(1).unwrap();
    region.flush(0..8).unwrap_err();
    assert_eq!(medium.boundaries(), 2);
}

const THREADS: u64 = 4;
const STEPS: u64 = 150;

/// Each thread counts in two pages: the second never runs ahead of the first. Cuts are taken meanwhile, in hooks and beside.
#[test]
fn cuts_under_several_threads_show_no_store_without_what_was_durable_before_it() {
    for durability in [PAGES, LINES] {
        let (medium, region) = Medium::new(1 << 20, durability).unwrap();
        let acknowledged: Arc<[AtomicU64]> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
        let known = Arc::clone(&acknowledged);
        medium.on_boundary(move |medium, boundary| {
            if boundary.number.is_multiple_of(16) {
                look(medium, &known);
            }
            let durable = || medium.cut().unwrap().image(Keep::Nothing);
            let before = durable();
            thread::yield_now();
            assert_eq!(durable(), before, "a call took effect while a hook ran");
        });
        thread::scope(|scope| {
            let (region, acknowledged) = (&region, &acknowledged[..]);
            let start = |number| scope.spawn(move || count(region, number, &acknowledged[number as usize]));
            let counting: Vec<_> = (0..THREADS).map(start).collect();
            while counting.iter().any(|thread| !thread.is_finished()) {
                look(&medium, acknowledged);
            }
        });
        assert_eq!(medium.boundaries(), THREADS * STEPS * 8);
    }
}

fn count(region: &Region, thread: u64, acknowledged: &AtomicU64) {
    for step in 1..=STEPS {
        for page in pages_of(thread) {
            store(region, page, &step.to_le_bytes());
            region.flush(page..page + 8).unwrap();
            region.fence().unwrap();
        }
        acknowledged.store(step, SeqCst);
    }
}

/// The second lies before the first, so that whoever reads in order meets it too early.
fn pages_of(thread: u64) -> [u64; 2] {
    [thread * 4096 + (512 << 10), thread * 4096]
}

fn look(medium: &Medium, acknowledged: &[AtomicU64]) {
    let known: Vec<_> = acknowledged.iter().map(|count| count.load(SeqCst)).collect();
    let cut = medium.cut().unwrap();
    for keep in Keep::various(0).take(7) {
        let survived = cut.image(keep).into_region().unwrap();
        for (thread, known) in known.iter().enumerate() {
            let [first, second] = pages_of(thread as u64).map(|page| load_u64(&survived, page));
            assert!(second <= first && *known <= second, "{cut}, {keep:?}: {known} known, {second} and {first}");
        }
    }
}
