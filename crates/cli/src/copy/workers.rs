//! Several files at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::failed::Failed;

/// How many files are in flight.
const WORKERS: usize = 4;

/// Does every job, no more than `at_once` side by side. `failed` is told of each that failed; after one that says that all others will too, those
/// that have not begun are left. How many were not done.
pub(super) fn do_all<J: Sync>(
    jobs: &[J],
    at_once: usize,
    job: impl Fn(&J) -> Result<(), Failed> + Sync,
    failed: impl Fn(&J, &Failed) + Sync,
) -> usize {
    let (next, done, ended) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        // ORDER: relaxed, all three; what was done is known after the threads have ended.
        while !ended.load(Ordering::Relaxed) {
            let Some(this) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            match job(this) {
                Ok(()) => {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(why) => {
                    failed(this, &why);
                    ended.fetch_or(why.ends_all, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.len().min(at_once).min(WORKERS) {
            scope.spawn(work);
        }
        work();
    });
    jobs.len() - done.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ends_all_leaves_what_has_not_begun() {
        let jobs: Vec<u32> = (0..100).collect();
        let failed = AtomicUsize::new(0);
        let count = |_: &u32, _: &Failed| {
            failed.fetch_add(1, Ordering::Relaxed);
        };
        assert_eq!(do_all(&jobs, 4, |job| if *job == 7 { Err(Failed::new("no")) } else { Ok(()) }, count), 1);
        let full = |job: &u32| if *job < 4 { Err(Failed { why: "full".into(), ends_all: true }) } else { Ok(()) };
        assert!(do_all(&jobs, 4, full, count) > 90);
        assert_eq!(do_all(&[] as &[u32], 4, |_| Ok(()), count), 0);
    }
}
