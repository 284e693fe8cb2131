//! Conformance: what Linux does when a file on DAX changes shape under DMA, row by row, and what we do.
//!
//! The rows are those of a measurement of Linux 6.1.192, XFS and ext4 with `-o dax`: DMA into the middle megabyte of a
//! file of two, an operation during it, and every free block put into other files as soon as the operation has returned.
//! "Foreign" is a page of such a file that holds the DMA's bytes afterwards. Here the DMA is a held
//! [`Pinned`](pinfold::Pinned) into which the test copies last of all, as a device does whose data arrives at the end.
//! Like Linux where Linux is right; where we differ, the test's name says so.
//!
//! # An operation during the DMA
//! | row | Linux | test |
//! |---|---|---|
//! | truncate to 0 | waits | `frees::truncate_to_0_waits_and_all_its_blocks_serve_others_afterwards` |
//! | truncate to 0, DMA out of the file | waits | `frees::truncate_waits_whatever_the_direction` |
//! | truncate to 0, woken by itself | one put path of three wakes | `pins::g2_every_way_in_which_a_pin_leaves_wakes_the_truncate_unlike_linux` |
//! | truncate beside the DMA | waits | `frees::truncate_beside_the_dma_does_not_wait_unlike_linux` |
//! | truncate to the same size | waits | `frees::truncate_to_the_same_size_does_not_wait_unlike_linux` |
//! | truncate up to 4 MiB | waits | `frees::truncate_to_a_larger_size_does_not_wait_unlike_linux` |
//! | `open(O_TRUNC)` | waits | `frees::opening_by_name_and_truncating_waits` |
//! | punch, overlapping | waits | `frees::punch_waits` |
//! | punch, not overlapping | waits | `frees::punch_beside_the_dma_does_not_wait_unlike_linux` |
//! | zero range, overlapping | waits | `frees::zero_range_waits` |
//! | zero range, not overlapping | waits | `frees::zero_range_beside_the_dma_does_not_wait_unlike_linux` |
//! | collapse, overlapping | waits | `moves::collapse_waits` |
//! | collapse, not overlapping | waits | `moves::collapse_before_the_dma_waits_since_it_moves_its_blocks`, `moves::collapse_behind_the_dma_does_not_wait_unlike_linux` |
//! | insert range at 0 | waits | `moves::insert_before_the_dma_waits_since_it_moves_its_blocks`, `moves::insert_behind_the_dma_does_not_wait_unlike_linux` |
//! | unshare range | XFS waits | none: no block has two owners |
//! | preallocate beyond the end | XFS waits, ext4 does not | `goes_on::preallocation_beyond_the_end_does_not_wait_unlike_xfs` |
//! | unlink, file open | does not wait, blocks stay | `names::unlink_of_an_open_file_does_not_wait_and_frees_nothing` |
//! | rename over it, file open | the same | `names::rename_over_an_open_file_does_not_wait_and_frees_nothing` |
//! | write into the pinned range | does not wait | `goes_on::write_into_the_pinned_range_does_not_wait` |
//! | write appending, read | do not wait | `goes_on::append_and_read_do_not_wait` |
//! | fsync | does not wait | `views::fsync_does_not_wait` |
//! | mmap and touch by a second process | does not wait | `views::mmap_and_touch_do_not_wait`; views are the owner's |
//! | clone, dedupe | wait for both files | `goes_on::a_clone_is_a_copy_and_waits_for_nobody_unlike_linux`; there is no dedupe |
//! | clone, busy file has the higher inode number | spins, deaf to signals | `moves::exchange_sleeps_and_hears_signals_whichever_file_is_busy_unlike_clone_of_linux` |
//! | io_uring register buffers | `EOPNOTSUPP` | `pins::a_long_term_pin_without_a_recall_handler_is_refused` |
//! | `kill -9` of the owner, then truncate | waits | `pins::truncate_waits_for_the_dma_of_a_killed_process_until_a_proof` |
//! | munmap by the owner | does not wait | `views::munmap_by_the_owner_of_the_dma_does_not_wait` |
//! | owner munmapped, then truncate | **256 foreign** | `views::truncate_after_munmap_waits_unlike_linux_before_6_15`, `pins::only_the_pin_counts_for_a_truncate_no_view_is_needed_unlike_linux_before_6_15` |
//! | owner munmapped, then punch | **256 foreign** | `views::punch_after_munmap_waits_unlike_linux_before_6_15`, `pins::only_the_pin_counts_for_a_punch_no_view_is_needed_unlike_linux_before_6_15` |
//! | the same while somebody else has a page mapped | waits | `views::truncate_waits_whoever_else_has_a_page_mapped` |
//! | owner munmapped and closed, unlink (eviction) | **256 foreign** | `names::eviction_parks_pinned_blocks_unlike_linux` |
//! | `XFS_IOC_SWAPEXT` | **256 foreign** | `moves::exchange_waits_for_both_files_unlike_swapext_of_linux_6_1` |
//!
//! # While a truncate waits
//! | second actor | Linux | test |
//! |---|---|---|
//! | read or write | blocked | `meanwhile::read_and_write_go_on_while_a_truncate_waits_unlike_linux` |
//! | unlink | blocked | `meanwhile::unlink_returns_while_a_truncate_waits_unlike_linux` |
//! | fsync | returns | `views::fsync_returns_while_a_truncate_waits` |
//! | mmap and touch inside the range | returns | `views::mmap_and_touch_inside_the_range_return_while_a_truncate_waits`, `views::what_was_touched_while_a_truncate_waited_shows_nothing_of_it_afterwards` |
//! | new DMA into the range | starts; the truncate waits for it too | `meanwhile::second_transfer_stays_out_while_a_truncate_waits_unlike_linux` |
//! | back-to-back DMA by two threads | never got through | `meanwhile::g3_back_to_back_transfers_do_not_starve_a_punch_unlike_linux` |
//!
//! # Signals
//! | row | Linux | test |
//! |---|---|---|
//! | a signal during the wait | `EINTR`, size and blocks unchanged | `interrupted::a_signal_gives_eintr_with_bytes_and_layout_unchanged` |
//! | a handler with `SA_RESTART` | the call goes on | `interrupted::a_handler_with_sa_restart_does_not_end_the_wait` |
//! | a signal when the page is idle already | the call succeeds | `interrupted::the_condition_is_tested_before_the_signal` |
//!
//! The cost of Linux's scan (linear in the file's pages, from the start after each wake-up) is a matter of benches.

#[path = "../common/mod.rs"]
mod common;
mod frees;
mod goes_on;
mod interrupted;
mod lab;
mod meanwhile;
mod moves;
mod names;
mod pins;
mod views;

#[test]
fn the_other_process() {
    common::child::obey_parent();
}
