//! Answers to faults beside what meets them, at the one moment in which it could be told of them.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

use pinfold_layout::Access;
use pinfold_region::{Fault, Region};

use crate::Pool;
use crate::moments::{Moment, meanwhile};

#[test]
fn g5_a_try_is_not_told_of_an_answer_to_a_fault_elsewhere_in_the_file() {
    let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
    let file = pool.create("/file").unwrap();
    let view = match file.map(0..65536, Access::Write).wait() {
        Ok(view) if view.revocable() => view,
        _ => return println!("skipped: accesses to views cannot be trapped here"),
    };
    file.write_at(0, &[7; 65536]).unwrap();
    let (punches, punched) = (file.clone(), Rc::new(Cell::new(None)));
    let result = Rc::clone(&punched);
    // The answer is to a touch of the first block, and holds what lies behind it too.
    let happens = move || {
        let views = punches.clone();
        let punching = thread::spawn(move || punches.punch(32768..65536).try_now());
        while !views.open.body().views.are_stopped() && !punching.is_finished() {
            thread::yield_now();
        }
        result.set(Some(punching));
    };
    let fault = Fault { address: view.address(), stores: false };
    meanwhile(Moment::Answering, happens, || view.shown.answer(fault));
    punched.take().unwrap().join().unwrap().unwrap();
}
