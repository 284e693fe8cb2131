//! The threads that answer faults of a pool's views.
//!
//! Stays true  F1: somebody reads of faults at every moment: before a thread answers one, another one reads. Else who changes a
//!                 view would wait for a reader for ever (`region`, T2). If no thread can be made, the fault is put off
//!                 instead, until one that answers another has done so.
//!             F2: a thread holds nothing of a pool while it reads or wakes: so a pool ends with its last handle, and not with a
//!                 thread that looks away at that moment. Its threads are gone when it is, unless one of such threads ends it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinfold_region::{Fault, Traps};

use super::registry;
use super::shown::Answered;
use crate::lock::lock;

/// How many threads stay when there is nothing to do.
const READERS: usize = 2;

/// Threads that answer.
pub(super) struct Faults {
    traps: Arc<Traps>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    /// Those that read, or are about to.
    reading: usize,
    put_off: VecDeque<Fault>,
    /// All that were made, but for some that have ended.
    made: Vec<JoinHandle<()>>,
}

thread_local! {
    /// Whether this thread answers faults.
    static ANSWERS: Cell<bool> = const { Cell::new(false) };
}

impl Faults {
    /// Answers what these traps tell, until they are stopped.
    pub(super) fn answer(traps: Arc<Traps>) -> Result<Arc<Self>, std::io::Error> {
        let faults = Arc::new(Self { traps, threads: Mutex::default() });
        for _ in 0..READERS {
            if let Err(error) = faults.spawn() {
                faults.end();
                return Err(error);
            }
        }
        Ok(faults)
    }

    /// Nobody answers any more. To be called when no view is left.
    pub(super) fn end(&self) {
        self.traps.stop();
        // One that answers would wait for itself, or for one that waits for it; a child has no such threads.
        if !ANSWERS.get() && self.traps.is_of_this_process() {
            let made = std::mem::take(&mut lock(&self.threads).made);
            // They panic at nothing; and if one did, nothing of its could be mended here.
            made.into_iter().for_each(|thread| drop(thread.join()));
        }
    }

    pub(super) fn traps(&self) -> &Arc<Traps> {
        &self.traps
    }

    fn spawn(self: &Arc<Self>) -> Result<(), std::io::Error> {
        let faults = Arc::clone(self);
        lock(&self.threads).reading += 1;
        let spawned = thread::Builder::new().name("pinfold-faults".into()).spawn(move || faults.run());
        let mut threads = lock(&self.threads);
        match spawned {
            Ok(thread) => {
                threads.made.retain(|made| !made.is_finished());
                threads.made.push(thread);
                Ok(())
            }
            Err(error) => {
                threads.reading -= 1;
                Err(error)
            }
        }
    }

    fn run(self: &Arc<Self>) {
        ANSWERS.set(true);
        while let Some(fault) = self.traps.next() {
            if !self.may_answer(fault) {
                continue;
            }
            self.answer_one(fault);
            while let Some(fault) = self.next_put_off() {
                self.answer_one(fault);
            }
            if !self.reads_again() {
                return;
            }
        }
    }

    /// Whether this thread is to answer: then another one reads. If not, the fault is put off.
    fn may_answer(self: &Arc<Self>, fault: Fault) -> bool {
        // First, so that whoever reads next counts without this one.
        let others = {
            let mut threads = lock(&self.threads);
            threads.reading -= 1;
            threads.reading
        };
        if others > 0 || self.spawn().is_ok() {
            return true;
        }
        let mut threads = lock(&self.threads);
        threads.reading += 1;
        threads.put_off.push_back(fault);
        false
    }

    fn next_put_off(&self) -> Option<Fault> {
        lock(&self.threads).put_off.pop_front()
    }

    /// False if there are enough others.
    fn reads_again(&self) -> bool {
        let mut threads = lock(&self.threads);
        let wanted = threads.reading < READERS;
        threads.reading += usize::from(wanted);
        wanted
    }

    fn answer_one(&self, fault: Fault) {
        let answered = registry::at(fault.address).and_then(|shown| shown.answer(fault));
        // A view that is gone has woken its sleepers, and a break wakes those that it has closed out.
        let Some(Answered { wake, no_room, again_after }) = answered else { return };
        if no_room {
            registry::all().iter().for_each(|shown| shown.make_room());
        }
        self.traps.wake(wake);
        if let Some(grace) = again_after {
            self.look_again_after(grace, fault);
        }
    }

    fn look_again_after(&self, grace: Duration, fault: Fault) {
        thread::sleep(grace);
        if let Some(shown) = registry::at(fault.address) {
            shown.look_again(fault.address);
        }
    }
}
