//! Pinned ranges as owned buffers of compio.
#![cfg(feature = "compio")]

mod common;

use common::Fixture;
use compio_buf::{IoBuf, IoBufMut, SetLen};
use pinfold::Access;
use pinfold_dma::compio::{NotABuffer, PinnedBuf};

#[test]
fn an_owned_buffer_is_the_pinned_memory_itself() {
    let fixture = Fixture::new(4096);
    let pinned = fixture.pin();
    let address = pinned.segments()[0].address;
    // SAFETY: nobody else has the range.
    let mut buffer = unsafe { PinnedBuf::empty(pinned) }.unwrap();
    assert_eq!((buffer.buf_mut_ptr() as u64, buffer.buf_capacity(), buffer.buf_len()), (address, 4096, 0));
    buffer.as_uninit()[..3].write_copy_of_slice(b"abc");
    // SAFETY: three bytes are there.
    unsafe { buffer.set_len(3) };
    assert_eq!(buffer.as_init(), b"abc");
    drop(buffer.into_pinned());
    assert_eq!(&fixture.bytes()[..3], b"abc");
    fixture.expect_nothing_left();
}

#[test]
fn a_break_waits_for_a_buffer_and_refuses_what_came_back() {
    let fixture = Fixture::new(4096);
    // SAFETY: nobody else has the range.
    let buffer = unsafe { PinnedBuf::full(fixture.pin()) }.unwrap();
    assert_eq!(buffer.buf_len(), 4096);
    assert_eq!(fixture.file.truncate(0).try_now().unwrap_err().errno(), libc::EBUSY);
    let pinned = buffer.into_pinned();
    assert_eq!(fixture.file.truncate(0).wait().unwrap_err().errno(), libc::EDEADLK);
    drop(pinned);
    fixture.expect_nothing_left();
}

#[test]
fn what_is_no_buffer_comes_back() {
    let fixture = Fixture::new(12288);
    let pin = |range, access| fixture.file.pin(range, access);
    let scattered = pin(0..4096, Access::Write).and(pin(8192..12288, Access::Write)).wait().unwrap();
    // SAFETY: nobody else has the range.
    let refused = unsafe { PinnedBuf::empty(scattered) }.unwrap_err();
    assert_eq!((refused.error, refused.pinned.len()), (NotABuffer::Scattered(2), 8192));
    // SAFETY: as above.
    let refused = unsafe { PinnedBuf::full(pin(0..4096, Access::Read).wait().unwrap()) }.unwrap_err();
    assert_eq!(refused.error.errno(), libc::EACCES);
}
