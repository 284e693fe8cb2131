//! The memory under a pool: as long as anyone may reach it, and no longer.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use pinfold::{Access, Pool, Region, RegionKind};

use crate::common::{BLOCK, DeviceIsQuiet, MIB, alone, bytes_of, filled, pool_of};

/// Whether anything is mapped at an address of this process.
fn is_mapped(address: u64) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let bound = |text| u64::from_str_radix(text, 16).unwrap();
        // A later mapping of somebody else may lie there; the pool's is a memfd of its own.
        (bound(start)..bound(end)).contains(&address) && line.contains("pinfold")
    })
}

#[test]
fn it_stays_mapped_while_a_given_up_transfer_may_reach_it_and_goes_after_the_release() {
    let _alone = alone();
    for by_an_operator in [false, true] {
        let pool = pool_of(4 * MIB);
        let file = filled(&pool, "/file", 8 * BLOCK, 7);
        let pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
        let address = pinned.segments()[0].address;
        pinned.abandon();
        let kept = pool.clone();
        drop((file, pool));
        assert!(is_mapped(address));
        let pin = kept.quarantine()[0].id;
        match by_an_operator {
            false => assert_eq!(kept.release(&DeviceIsQuiet).unwrap(), 1),
            true => {
                let (operator, reason) = ("the test".to_owned(), "there is no device".to_owned());
                kept.release_by_operator(&pinfold::OperatorDecision { pin, operator, reason }).unwrap();
            }
        }
        assert!(is_mapped(address), "there is a handle");
        drop(kept);
        assert!(!is_mapped(address));
    }
}

#[test]
fn it_stays_mapped_when_every_handle_is_gone_and_a_transfer_was_given_up() {
    let _alone = alone();
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
    let address = pinned.segments()[0].address;
    let holder = std::sync::Arc::clone(pinned.holder());
    pinned.abandon();
    drop((file, pool));
    assert!(is_mapped(address), "the device may write still");
    // Nobody is left who could say that it does not: it stays so, in this process.
    drop(holder);
    assert!(is_mapped(address));
}

#[test]
fn it_goes_with_the_last_handle_pin_or_file() {
    let _alone = alone();
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let pinned = file.pin(0..BLOCK, Access::Write).wait().unwrap();
    let address = pinned.segments()[0].address;
    drop(pool);
    assert!(is_mapped(address));
    drop(file);
    assert!(is_mapped(address), "a pin keeps it");
    drop(pinned);
    assert!(!is_mapped(address));
}

#[test]
fn a_pool_lives_in_memory_that_the_caller_has() {
    let layout = Layout::from_size_align(4 * MIB as usize, 2 * MIB as usize).unwrap();
    // SAFETY: the size is not 0.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
    // SAFETY: it stays allocated until the pool is gone, and nobody has a reference to it.
    let region = unsafe { Region::adopt(base, 4 * MIB) }.unwrap();
    let pool = Pool::new(region).unwrap();
    assert_eq!(pool.region().kind(), RegionKind::Adopted);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let pinned = file.pin(0..8 * BLOCK, Access::Write).wait().unwrap();
    let address = pinned.segments()[0].address;
    assert_eq!(address, base.addr().get() as u64 + file.extents()[0].place);
    // SAFETY: the address lies in the caller's own memory, and no device is at it.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address as usize).write_volatile(9) };
    assert_eq!(bytes_of(&file, 0..2), [9, 7]);
    drop((pinned, file, pool));
    // SAFETY: it came from `alloc_zeroed` with this layout, and the region is gone.
    unsafe { dealloc(base.as_ptr(), layout) };
}

#[test]
fn what_the_memory_held_before_the_pool_is_not_seen() {
    let fd = rustix_free_memfd();
    let region = Region::adopt_fd(fd, MIB).unwrap();
    region.bytes(0..MIB).unwrap().copy_in(0, &vec![0xEE; MIB as usize]).unwrap();
    let pool = Pool::new(region).unwrap();
    let file = pool.create("/file").unwrap();
    file.allocate(0..MIB / 2).wait().unwrap();
    file.write_at(100, &[7; 10]).unwrap();
    assert_eq!(bytes_of(&file, 0..MIB / 2).iter().filter(|byte| **byte == 0xEE).count(), 0);
    let pinned = file.pin(0..MIB / 2, Access::Read).wait().unwrap();
    let mut seen = vec![1; MIB as usize / 2];
    pinned.copy_out(0, &mut seen).unwrap();
    assert_eq!(seen.iter().filter(|byte| **byte == 0xEE).count(), 0);
}

/// A file of a mebibyte without a name.
fn rustix_free_memfd() -> std::os::fd::OwnedFd {
    let region = Region::memfd(MIB).unwrap();
    region.file().unwrap().try_clone_to_owned().unwrap()
}
