//! Long-term pins: refused without a handler, recalled with one (G11).

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use pinfold::{Access, LongTerm, LongTermPinned, Recalled, Until};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, block_on, filled, is_all, pool_of, wait_until_behind};

/// A handler that passes on what it was asked for.
fn passing_on() -> (LongTerm, mpsc::Receiver<Recalled>) {
    let (send, recalls) = mpsc::channel();
    let send = Mutex::new(send);
    let recall = move |recalled: &Recalled| send.lock().unwrap().send(recalled.clone()).unwrap();
    (LongTerm::new(Access::Write, Some(Arc::new(recall))), recalls)
}

#[test]
fn g11_without_a_handler_it_is_refused() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let error = file.pin_long_term(0..BLOCK, LongTerm::new(Access::Write, None)).wait().unwrap_err();
    assert_errno(error.errno(), Errno::OPNOTSUPP, &error);
    assert!(pool.pins().is_empty());
}

#[test]
fn g11_a_truncate_recalls_it_and_goes_on_when_it_is_given_back() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let forms: [fn(&pinfold::File, LongTerm) -> LongTermPinned; 3] = [
        |file, term| file.pin_long_term(0..4 * BLOCK, term).wait().unwrap(),
        |file, term| file.pin_long_term(0..4 * BLOCK, term).try_now().unwrap(),
        |file, term| block_on(file.pin_long_term(0..4 * BLOCK, term).wait_async()).unwrap(),
    ];
    for pin in forms {
        file.truncate(8 * BLOCK).wait().unwrap();
        let (term, recalls) = passing_on();
        let registration = pin(&file, term);
        assert_eq!(registration.segments().iter().map(|segment| segment.len).sum::<u64>(), 4 * BLOCK);
        assert!(pool.pins()[0].pin.long_term && !pool.pins()[0].pin.recalled);

        // Who only looks, or is elsewhere, recalls nothing.
        let busy = file.truncate(0).try_now().unwrap_err();
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        file.punch(4 * BLOCK..8 * BLOCK).wait().unwrap();
        assert_eq!(recalls.try_recv(), Err(mpsc::TryRecvError::Empty));

        thread::scope(|scope| {
            let truncating = scope.spawn(|| file.truncate(0).wait().unwrap());
            let recalled = recalls.recv().unwrap();
            assert_eq!((recalled.object, recalled.range), (file.id().number(), 0..4));
            wait_until_behind(&pool, &file);
            assert!(pool.pins()[0].pin.recalled && !truncating.is_finished());
            drop(registration);
            truncating.join().unwrap();
        });
        assert_eq!(file.len(), 0);
        assert!(recalls.try_recv().is_err(), "it was asked for once");
    }
}

#[test]
fn g11_a_holder_that_does_not_answer_is_waited_for_up_to_the_deadline() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let (term, recalls) = passing_on();
    let registration = file.pin_long_term(0..8 * BLOCK, term).wait().unwrap();
    let late = file.truncate(0).until(Until::after(Duration::from_millis(10))).unwrap_err();
    assert_errno(late.errno(), Errno::TIMEDOUT, &late);
    assert!(late.to_string().contains("long-term"), "{late}");
    recalls.recv().expect("it was asked for");
    assert!(is_all(&file, 0..8 * BLOCK, 7));
    file.truncate(0).detach().wait().expect("detach leaves it what it reaches");
    assert_eq!(pool.stats().parked, 8 * BLOCK);
    drop(registration);
    assert_eq!(pool.stats().free, 4 * MIB);
}

#[test]
fn a_long_term_pin_over_a_hole_gives_it_blocks_and_none_without_space() {
    let pool = pool_of(MIB);
    let file = pool.create("/file").unwrap();
    file.truncate(2 * MIB).wait().unwrap();
    let (term, _recalls) = passing_on();
    let error = file.pin_long_term(0..2 * MIB, term.clone()).wait().unwrap_err();
    assert_errno(error.errno(), Errno::NOSPC, &error);
    assert_eq!((pool.pins().len(), file.metadata().allocated), (0, 0));
    let registration = file.pin_long_term(MIB..MIB + BLOCK, term).wait().unwrap();
    assert_eq!((file.metadata().allocated, registration.segments().len()), (BLOCK, 1));
}
