//! A device that keeps its first transfer for a long time, and says so or does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pinfold::Pinned;

use crate::device::{Device, Late, Then, Way};

pub(super) struct Slow {
    late: Arc<Late>,
    keeps: Duration,
    says_so: bool,
    has_kept: AtomicBool,
    is_at_work: Arc<AtomicBool>,
}

impl Slow {
    pub(super) fn start(keeps: Duration, says_so: bool) -> Self {
        let (has_kept, is_at_work) = Default::default();
        Self { late: Arc::new(Late::start().unwrap()), keeps, says_so, has_kept, is_at_work }
    }
}

impl Device for Slow {
    fn start(&self, way: Way, pinned: Pinned, then: Then) {
        if self.has_kept.swap(true, Ordering::SeqCst) {
            return self.late.start(way, pinned, then);
        }
        self.is_at_work.store(true, Ordering::SeqCst);
        let (late, keeps, is_at_work) = (Arc::clone(&self.late), self.keeps, Arc::clone(&self.is_at_work));
        thread::spawn(move || {
            thread::sleep(keeps);
            let then: Then = Box::new(move |moved| {
                then(moved);
                is_at_work.store(false, Ordering::SeqCst);
            });
            late.start(way, pinned, then);
        });
    }

    fn granule(&self) -> u64 {
        self.late.granule()
    }

    fn name(&self) -> &str {
        self.late.name()
    }

    fn describe(&self) -> String {
        format!("{}, and one for {:?}", self.late.describe(), self.keeps)
    }

    fn is_at_work(&self) -> bool {
        self.says_so && self.is_at_work.load(Ordering::SeqCst)
    }

    fn explain(&self) -> String {
        self.late.explain()
    }
}
