//! Writes beside what moves the end of the file, each at the one moment in which it could do harm.

use std::sync::mpsc::channel;
use std::thread;

use pinfold_region::Region;

use super::COPY_MAX;
use crate::moments::{Moment, meanwhile, next};
use crate::{File, Pool};

const BLOCK: u64 = 4096;
const OLD: u8 = 1;
const NEW: u8 = 2;

/// A file of so many blocks of `OLD`, in a pool whose free blocks are full of something else.
fn file_of(blocks: u64) -> File {
    let region = Region::memfd(8 << 20).unwrap();
    region.bytes(0..region.len()).unwrap().copy_in(0, &vec![0xdb; region.len() as usize]).unwrap();
    let file = Pool::new(region).unwrap().create("/file").unwrap();
    file.write_at(0, &vec![OLD; (blocks * BLOCK) as usize]).unwrap();
    file
}

/// The file as runs of one byte: how often, and which.
fn runs(file: &File) -> Vec<(u64, u8)> {
    let mut bytes = vec![0xee; file.len() as usize + 1];
    let read = file.read_at(0, &mut bytes).unwrap();
    assert_eq!(read as u64, file.len());
    bytes[..read].chunk_by(|a, b| a == b).map(|run| (run.len() as u64, run[0])).collect()
}

/// A write of `len` bytes into a file of five blocks, which is changed once the write knows whether it makes it longer.
fn written_while(offset: u64, len: u64, change: fn(&File)) -> File {
    let file = file_of(5);
    let other = file.clone();
    meanwhile(Moment::NextStep, move || change(&other), || file.write_at(offset, &vec![NEW; len as usize])).unwrap();
    file
}

fn collapse(file: &File) {
    file.collapse(BLOCK..3 * BLOCK).wait().unwrap();
}

#[test]
fn a_write_stays_where_it_was_put_when_the_end_moves_down_before_it() {
    let (end, old) = (3 * BLOCK, 3 * BLOCK);
    // Inside the file when it was asked for, behind it, over its end, and far behind it.
    for (offset, len) in [(4 * BLOCK + 10, 100), (5 * BLOCK, BLOCK), (4 * BLOCK + 96, 6000), (20 * BLOCK + 1, 1)] {
        let file = written_while(offset, len, collapse);
        assert_eq!(runs(&file), [(old, OLD), (offset - end, 0), (len, NEW)], "{len} bytes at {offset}");
    }
    let file = written_while(end, 2 * BLOCK, collapse);
    assert_eq!(runs(&file), [(old, OLD), (2 * BLOCK, NEW)]);
    let file = written_while(end - 10, BLOCK, collapse);
    assert_eq!(runs(&file), [(old - 10, OLD), (BLOCK, NEW)]);
    let file = written_while(4 * BLOCK, 100, |file| file.truncate(BLOCK + 100).detach().wait().unwrap());
    assert_eq!(runs(&file), [(BLOCK + 100, OLD), (3 * BLOCK - 100, 0), (100, NEW)]);
}

#[test]
fn a_write_stays_where_it_was_put_when_the_end_moves_up_before_it() {
    let insert = |file: &File| file.insert(BLOCK, 2 * BLOCK).wait().unwrap();
    for (offset, len) in [(5 * BLOCK, BLOCK), (4 * BLOCK + 96, 6000)] {
        let file = written_while(offset, len, insert);
        let before = offset - 3 * BLOCK;
        let expected = [(BLOCK, OLD), (2 * BLOCK, 0), (before, OLD), (len, NEW), (7 * BLOCK - offset - len, OLD)];
        assert_eq!(runs(&file), expected, "{len} bytes at {offset}");
    }
}

#[test]
fn each_step_of_a_write_comes_before_or_after_a_collapse() {
    let file = file_of(2);
    let other = file.clone();
    let begin = move || next(Moment::NextStep, move || other.collapse(0..3 * BLOCK).wait().unwrap());
    // Behind the end, in two steps, with a collapse between them.
    let (offset, len) = (4 * BLOCK, COPY_MAX + 5000);
    meanwhile(Moment::NextStep, begin, || file.write_at(offset, &vec![NEW; len as usize])).unwrap();
    let moved = offset - 3 * BLOCK;
    assert_eq!(runs(&file), [(moved, 0), (COPY_MAX, NEW), (3 * BLOCK, 0), (5000, NEW)]);
}

#[test]
fn a_write_whose_file_became_shorter_keeps_out_of_an_append() {
    let file = file_of(5);
    let (begin, is_to_begin) = channel();
    let (seen, has_seen) = channel();
    let (go_on, may_go_on) = channel::<()>();
    thread::scope(|scope| {
        let log = file.clone();
        let appended = scope.spawn(move || {
            is_to_begin.recv().unwrap();
            let waits = move || {
                seen.send(()).unwrap();
                // It ends too if the write never comes there.
                let _ = may_go_on.recv();
            };
            meanwhile(Moment::Seen, waits, || log.append(&[NEW + 1; 3000]).unwrap())
        });
        let cut = file.clone();
        let happens = move || {
            cut.collapse(0..3 * BLOCK).wait().unwrap();
            begin.send(()).unwrap();
            has_seen.recv().unwrap();
            next(Moment::Shorter, move || go_on.send(()).unwrap());
        };
        // Inside of the file when it was asked for; now it would end behind what is being appended.
        meanwhile(Moment::NextStep, happens, || file.write_at(BLOCK, &[NEW; 4 * BLOCK as usize])).unwrap();
        assert_eq!(appended.join().unwrap(), 2 * BLOCK);
    });
    assert_eq!(runs(&file), [(BLOCK, OLD), (4 * BLOCK, NEW)], "the write came after all of the append");
}
