//! Media that fail and media that lie.

use pinfold_crash::{Answer, Call, Keep, Medium};

use crate::{LINES, PAGES, byte, store};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[test]
fn a_call_fails_with_its_errno_once_or_for_ever() {
    let (medium, region) = Medium::new(1 << 16, LINES).unwrap();
    medium.on_call(|call| match call {
        Call::WriteBack { nth: 1, .. } => Answer::Fail(EIO),
        Call::Drain { nth: 1.. } => Answer::Fail(ENOSPC),
        _ => Answer::Honest,
    });
    region.flush(0..8).unwrap();
    assert_eq!(region.flush(0..8).unwrap_err().errno(), EIO);
    region.flush(0..8).unwrap();
    region.fence().unwrap();
    assert_eq!(region.fence().unwrap_err().errno(), ENOSPC);
    assert_eq!(region.fence().unwrap_err().errno(), ENOSPC);
}

#[test]
fn calls_are_asked_about_in_order_with_their_bytes() {
    let (medium, region) = Medium::new(1 << 16, PAGES).unwrap();
    let (tell, asked) = std::sync::mpsc::channel();
    medium.on_call(move |call| {
        tell.send(call.clone()).unwrap();
        Answer::Honest
    });
    region.flush(100..200).unwrap();
    region.fence().unwrap();
    region.flush(4096..4096).unwrap();
    let expected = [
        Call::WriteBack { nth: 0, bytes: 100..200 },
        Call::Drain { nth: 0 },
        Call::WriteBack { nth: 1, bytes: 4096..4096 },
    ];
    assert!(asked.try_iter().eq(expected));
}

#[test]
fn bytes_that_a_flush_failed_to_write_are_not_written_until_they_change() {
    for durability in [PAGES, LINES] {
        let (medium, region) = Medium::new(1 << 16, durability).unwrap();
        store(&region, 0, &[1]);
        medium.on_call(|_| Answer::Fail(EIO));
        region.flush(0..1).unwrap_err();
        medium.on_call(|_| Answer::Honest);

        region.flush(0..1).unwrap();
        region.fence().unwrap();
        medium.evict(Keep::Everything).unwrap();
        let cut = medium.cut().unwrap();
        assert_eq!((byte(&cut, Keep::Nothing, 0), byte(&cut, Keep::Everything, 0)), (0, 1), "it may be there or not");

        store(&region, 1, &[2]);
        region.flush(0..1).unwrap();
        region.fence().unwrap();
        let cut = medium.cut().unwrap();
        assert_eq!((byte(&cut, Keep::Nothing, 0), byte(&cut, Keep::Nothing, 1)), (1, 2));
    }
}

#[test]
fn lines_that_a_fence_failed_to_wait_for_are_given_up() {
    let (medium, region) = Medium::new(1 << 16, LINES).unwrap();
    medium.on_call(|call| if *call == (Call::Drain { nth: 0 }) { Answer::Fail(EIO) } else { Answer::Honest });
    store(&region, 0, &[1]);
    region.flush(0..1).unwrap();
    region.fence().unwrap_err();
    region.flush(0..1).unwrap();
    region.fence().unwrap();
    assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), 0);
}

#[test]
fn a_fence_left_out_is_made_up_for_by_the_next_and_a_flush_is_not() {
    let (medium, region) = Medium::new(1 << 16, LINES).unwrap();
    medium.on_call(|call| match call {
        Call::WriteBack { nth: 1, .. } | Call::Drain { nth: 0 } => Answer::Lie,
        _ => Answer::Honest,
    });
    store(&region, 0, &[1]);
    store(&region, 64, &[1]);
    region.flush(0..1).unwrap();
    region.flush(64..65).unwrap();
    region.fence().unwrap();
    assert_eq!(byte(&medium.cut().unwrap(), Keep::Nothing, 0), 0);
    region.fence().unwrap();
    let cut = medium.cut().unwrap();
    assert_eq!((byte(&cut, Keep::Nothing, 0), byte(&cut, Keep::Nothing, 64)), (1, 0));
}
