//! A forked child holds copies of handles that are not its own.

use pinfold::{Access, Publish};

use crate::common::{BLOCK, Census, MIB, filled, is_all, pool_of};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

#[test]
fn after_a_fork_the_childs_handles_do_nothing() {
    let _alone = crate::common::alone();
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 65536, 7);
    let unlinked = filled(&pool, "/unlinked", 65536, 8);
    pool.unlink("/unlinked").unwrap();
    let pinned = file.pin(0..8192, Access::Write).wait().unwrap();
    let given_up = file.pin(8192..16384, Access::Write).wait().unwrap();
    let reservation = pool.reserve(65536).wait().unwrap();
    let before = Census::of(&pool);

    // SAFETY: the child calls nothing but this library's handles, and ends by `_exit`. Its allocator is usable: glibc
    // takes its locks around a fork. No other thread of this file's tests holds a lock of this pool.
    match unsafe { fork() } {
        0 => {
            const FORKED: i32 = 9; // EBADF
            let tried = [
                file.read_at(0, &mut [0; 100]).is_err_and(|error| error.errno() == FORKED),
                file.write_at(0, &[1; 100]).is_err_and(|error| error.errno() == FORKED),
                file.append(&[1; 100]).is_err_and(|error| error.errno() == FORKED),
                file.pin(0..BLOCK, Access::Read).wait().is_err_and(|error| error.errno() == FORKED),
                file.truncate(0).wait().is_err_and(|error| error.errno() == FORKED),
                file.punch(0..65536).detach().wait().is_err_and(|error| error.errno() == FORKED),
                file.allocate(0..MIB).wait().is_err_and(|error| error.errno() == FORKED),
                pinned.copy_in(0, &[1; 100]).is_err(),
                pinned.copy_out(0, &mut [0; 100]).is_err(),
                pool.reserve(BLOCK).wait().is_err_and(|error| error.errno() == FORKED),
                reservation.publish("/chunk", Publish::New).is_err(),
                pool.pins().is_empty() && pool.parked().is_empty() && pool.breaks().is_empty(),
            ];
            given_up.abandon();
            drop((pinned, unlinked, file));
            drop(pool);
            let failed: i32 = tried.iter().enumerate().map(|(index, well)| i32::from(!well) << index).sum();
            eprintln!("{}", if failed == 0 { String::new() } else { format!("failed in the child: {failed:b}") });
            // SAFETY: it ends the process at once.
            unsafe { _exit(i32::from(failed != 0)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the status of the child that was forked above.
            assert_eq!(unsafe { waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "something was done in the child, or a signal ended it");
        }
    }
    assert_eq!(Census::of(&pool), before);
    assert!(is_all(&file, 0..65536, 7) && is_all(&unlinked, 0..65536, 8));
    drop(reservation.publish("/chunk", Publish::New).unwrap());
    drop((pinned, given_up));
    file.truncate(0).try_now().unwrap();
}
