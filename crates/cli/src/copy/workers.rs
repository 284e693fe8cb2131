//! Several files at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::failed::Failed;

/// How many files are in flight.
const WORKERS: usize = 4;

/// Jobs that were not done.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Undone {
    pub(super) failed: usize,
    /// They have not begun.
    pub(super) left: usize,
}

impl Undone {
    pub(super) fn sum(&self) -> u64 {
        (self.failed + self.left) as u64
    }
}

/// Does every job, no more than `at_once` side by side. `failed` is told of each that failed; after one that says that all
/// others will too, those that have not begun are left.
pub(super) fn do_all<J: Sync>(
    jobs: &[J],
    at_once: usize,
    job: impl Fn(&J) -> Result<(), Failed> + Sync,
    failed: impl Fn(&J, &Failed) + Sync,
) -> Undone {
    let [next, done, not_done] = [0; 3].map(AtomicUsize::new);
    let ended = AtomicBool::new(false);
    let work = || {
        // ORDER: relaxed, all four; what was done is known after the threads have ended.
        while !ended.load(Ordering::Relaxed) {
            let Some(this) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            match job(this) {
                Ok(()) => {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(why) => {
                    failed(this, &why);
                    not_done.fetch_add(1, Ordering::Relaxed);
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
    let failed = not_done.into_inner();
    Undone { failed, left: jobs.len() - done.into_inner() - failed }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn one_that_ends_all_leaves_what_has_not_begun() {
        let jobs: Vec<u32> = (0..100).collect();
        let failed = AtomicUsize::new(0);
        let count = |_: &u32, _: &Failed| {
            failed.fetch_add(1, Ordering::Relaxed);
        };
        assert_eq!(
            do_all(&jobs, 4, |job| if *job == 7 { Err(Failed::new("no")) } else { Ok(()) }, count),
            Undone { failed: 1, left: 0 }
        );
        let full = |job: &u32| if *job < 4 { Err(io::Error::from_raw_os_error(libc::ENOSPC).into()) } else { Ok(()) };
        let undone = do_all(&jobs, 4, full, count);
        assert!(undone.left > 90 && undone.failed > 0, "{undone:?}");
        assert_eq!(do_all(&[] as &[u32], 4, |_| Ok(()), count), Undone::default());
    }
}
