//! One body of tests for every kind of region. What cannot be made on this machine says so.

use std::io::Write;
use std::sync::{PoisonError, RwLock};

mod claim;
mod kinds;
mod memory;
mod processes;

use kinds::{Fixture, Way};

/// Runs `test` on a region, beside other tests, or tells why there is none.
fn run(name: &str, way: Way, test: fn(Way, Fixture)) {
    let _company = COMPANY.read().unwrap_or_else(PoisonError::into_inner);
    make_and_run(name, way, test);
}

/// Runs `test`, which forks, while no other test runs: a child that is forked while another one opens a
/// region would have that claim too, until it ends.
fn run_alone(name: &str, way: Way, test: fn(Way, Fixture)) {
    let _alone = COMPANY.write().unwrap_or_else(PoisonError::into_inner);
    make_and_run(name, way, test);
}

static COMPANY: RwLock<()> = RwLock::new(());

fn make_and_run(name: &str, way: Way, test: fn(Way, Fixture)) {
    match way.make() {
        Ok(fixture) => test(way, fixture),
        Err(why) => skipped(name, &why.0),
    }
}

/// Tells it past the harness, which keeps the output of a test that passes to itself.
fn skipped(name: &str, why: &str) {
    let line = format!("\nskipped: {name}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

macro_rules! kind {
    ($name:ident, $way:ident: $($run:ident $place:ident :: $test:ident,)*) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    let name = concat!(stringify!($name), "::", stringify!($test));
                    crate::$run(name, crate::Way::$way, crate::$place::$test);
                }
            )*
        }
    };
}

macro_rules! conformance {
    ($($tests:tt)*) => {
        kind!(memfd, Memfd: $($tests)*);
        kind!(huge_memfd, HugeMemfd: $($tests)*);
        kind!(tmpfs, Tmpfs: $($tests)*);
        kind!(hugetlbfs, Hugetlbfs: $($tests)*);
        kind!(regular_file, RegularFile: $($tests)*);
        kind!(persistent_file, PersistentFile: $($tests)*);
        kind!(device_dax, DeviceDax: $($tests)*);
        kind!(adopted_fd, AdoptedFd: $($tests)*);
        kind!(adopted, Adopted: $($tests)*);
        kind!(device_only, DeviceOnly: $($tests)*);
    };
}

conformance! {
    run memory::begins_aligned_and_reads_as_zeros,
    run memory::keeps_what_is_copied_in,
    run memory::behaves_like_a_plain_vector,
    run memory::refuses_ranges_that_are_not_there,
    run memory::a_copy_racing_with_a_writer_sees_old_and_new_bytes_only,
    run memory::flushes_as_its_kind_does,
    run memory::faults_take_single_pages_where_a_flush_costs_by_the_page,
    run memory::flushes_through_a_flusher_put_in_its_place,
    run memory::names_the_range_that_a_medium_refuses,
    run memory::allocates_and_keeps_its_bytes,
    run memory::grows_under_its_addresses_or_says_that_it_cannot,
    run memory::a_memfd_made_here_cannot_be_shortened,
    run claim::a_second_claim_in_this_process_is_told_our_pid,
    run claim::a_second_claim_in_another_process_is_told_our_pid,
    run claim::a_claim_outlives_every_descriptor_that_was_shared,
    run claim::dropping_the_region_ends_the_claim,
    run claim::killing_the_owner_ends_the_claim,
    run claim::a_forked_child_does_not_keep_a_killed_owners_claim,
    run_alone claim::a_forked_child_owns_nothing,
}

/// Not a test: what the tests run in another process.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn in_another_process() {
    processes::act();
}
