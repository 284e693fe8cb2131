//! One owner at a time, whatever processes do.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process;

use pinfold_region::{AccessError, Holder, OpenError, Region, RegionKind, holder_of};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::kinds::{Fixture, LEN, Way};
use crate::processes::{Other, Task, claimed_by, fork, open_elsewhere, wait};

/// A path by which every process reaches the region's file; none if it has no file.
fn path_of(region: &Region) -> Option<PathBuf> {
    let file = region.file()?;
    Some(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()).into())
}

fn assert_told_our_pid(refused: Result<Region, OpenError>) {
    let refused = refused.expect_err("there were two owners");
    assert_eq!(refused.holder(), Some(Holder { pid: Some(process::id()) }), "{refused}");
    assert_eq!(refused.errno(), 16);
    assert!(refused.to_string().contains(&format!("process {}", process::id())), "{refused}");
}

pub(crate) fn a_second_claim_in_this_process_is_told_our_pid(_way: Way, Fixture { region, .. }: Fixture) {
    let whole = region.bytes(0..region.len()).unwrap();
    if region.kind() == RegionKind::DeviceOnly {
        assert_told_our_pid(Region::device_only(0, whole.address(), LEN));
        return;
    }
    // SAFETY: refused, so that nothing comes of it.
    assert_told_our_pid(unsafe { Region::adopt(whole.as_ptr().unwrap(), LEN) });
    let Some(path) = path_of(&region) else { return };
    assert_told_our_pid(Region::open(path));
    // The very same open file description.
    let again = region.file().unwrap().try_clone_to_owned().unwrap();
    assert_told_our_pid(Region::adopt_fd(again, LEN));
}

pub(crate) fn a_second_claim_in_another_process_is_told_our_pid(_way: Way, Fixture { region, .. }: Fixture) {
    let Some(path) = path_of(&region) else { return };
    assert_eq!(open_elsewhere(&path), claimed_by(process::id()));
}

/// Opening and closing the file elsewhere in the owner's process would drop a POSIX lock.
pub(crate) fn a_claim_outlives_every_descriptor_that_was_shared(_way: Way, Fixture { region, .. }: Fixture) {
    let Some(path) = path_of(&region) else { return };
    drop(std::fs::File::open(&path).unwrap());
    drop(region.file().unwrap().try_clone_to_owned().unwrap());
    assert_eq!(open_elsewhere(&path), claimed_by(process::id()));
}

pub(crate) fn dropping_the_region_ends_the_claim(_way: Way, Fixture { region, .. }: Fixture) {
    let whole = region.bytes(0..LEN).unwrap();
    match region.file() {
        Some(file) => {
            let shared = file.try_clone_to_owned().unwrap();
            assert_eq!(holder_of(&shared), Some(Holder { pid: Some(process::id()) }));
            drop(region);
            assert_eq!(holder_of(&shared), None);
            // That the descriptor is still shared does not matter.
            Region::adopt_fd(shared, LEN).unwrap();
        }
        None if region.kind() == RegionKind::DeviceOnly => {
            let base = whole.address();
            drop(region);
            Region::device_only(0, base, LEN).unwrap();
        }
        None => {
            let base = whole.as_ptr().unwrap();
            drop(region);
            // SAFETY: the memory is kept by the fixture until the end of the test.
            unsafe { Region::adopt(base, LEN) }.unwrap();
        }
    }
}

pub(crate) fn killing_the_owner_ends_the_claim(_way: Way, fixture: Fixture) {
    owned_elsewhere(fixture, Task::Hold);
}

/// With the claim on a descriptor the child would inherit it, and keep the file claimed by a dead pid.
pub(crate) fn a_forked_child_does_not_keep_a_killed_owners_claim(_way: Way, fixture: Fixture) {
    owned_elsewhere(fixture, Task::HoldAndFork);
}

/// Lets another process own the file, and kills it.
fn owned_elsewhere(fixture: Fixture, task: Task) {
    let Fixture { region, .. } = fixture;
    let Some(file) = region.file() else { return };
    let shared = file.try_clone_to_owned().unwrap();
    drop(region);
    let path: PathBuf = format!("/proc/{}/fd/{}", process::id(), shared.as_raw_fd()).into();
    let mut owner = Other::start(task, &path);
    assert_eq!(owner.answer(), "opened");
    let refused = Region::open(&path).expect_err("there were two owners");
    assert_eq!(refused.holder(), Some(Holder { pid: Some(owner.pid()) }), "{refused}");
    assert_eq!(holder_of(&shared), Some(Holder { pid: Some(owner.pid()) }), "who only looks is told too");
    owner.kill();
    Region::open(&path).unwrap();
}

/// The child gets errors, not a fault, and what it drops stays the parent's.
pub(crate) fn a_forked_child_owns_nothing(way: Way, Fixture { region, .. }: Fixture) {
    let before = region.bytes(0..LEN).unwrap();
    if way.is_reachable() {
        before.copy_in(0, b"parent's").unwrap();
    }
    let address = before.address();
    let mapped = region.file().is_some();
    let act = || {
        let denied = region.bytes(0..1).err() == Some(AccessError::NotOwner)
            && before.copy_in(0, b"child's!") == Err(AccessError::NotOwner)
            && region.fence().is_err_and(|why| why.errno() == 1)
            && region.grow(2 * LEN).is_err_and(|why| why.errno() == 1);
        let childs_own = mapped.then(|| map_at(address));
        // SAFETY: drops the child's copy, which the child does not use again; the parent's is its own.
        drop(unsafe { std::ptr::read(&region) });
        // SAFETY: mapped above; a fault here ends the child by a signal, which the parent notices.
        let kept = childs_own.is_none_or(|page| unsafe { page.read_volatile() } == 0);
        if denied && kept { 0 } else { 1 }
    };
    // SAFETY: errors without a message and a drop take no lock but the allocator's, which is fork-safe.
    let child = unsafe { fork(act) };
    assert_eq!(wait(child), Some(0));

    let bytes = region.bytes(0..LEN).unwrap();
    assert_eq!(bytes.address(), address);
    if way.is_reachable() {
        let mut seen = [0; 8];
        bytes.copy_out(0, &mut seen).unwrap();
        assert_eq!(&seen, b"parent's");
    }
    if let Some(path) = path_of(&region) {
        assert_eq!(open_elsewhere(&path), claimed_by(process::id()));
    }
}

/// Maps a page of zeros at `address`, which must be free.
fn map_at(address: u64) -> *const u8 {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: maps only what is free.
    unsafe { mmap_anonymous(address as *mut _, 4096, ProtFlags::READ, flags) }.unwrap().cast()
}
