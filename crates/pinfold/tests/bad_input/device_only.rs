//! Memory that only a device can address: files, pins and breaks work, and copies by the host are refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pinfold::{Access, Pool, PoolError, PoolOptions, Publish, Region};
use rustix::io::Errno;

use crate::assert_says;
use crate::common::{BLOCK, Census, MIB, alone, assert_errno, unlink};

/// Where the device's memory begins, as the device counts.
const BASE: u64 = 7 << 40;

/// Memory that only this test can address: the blocks that were zeroed, by their addresses.
#[derive(Clone, Default)]
struct Device {
    zeroed: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Device {
    fn zeroed(&self) -> u64 {
        self.zeroed.lock().unwrap().values().sum()
    }

    fn pool(&self) -> Pool {
        let zeroed = Arc::clone(&self.zeroed);
        let zero = move |address, len| {
            *zeroed.lock().unwrap().entry(address).or_default() += len;
            Ok(())
        };
        PoolOptions::new().zero_with(zero).create(region()).unwrap()
    }
}

/// A region of a device of its own: no two may overlap.
fn region() -> Region {
    static DEVICES: AtomicU64 = AtomicU64::new(0);
    let device = DEVICES.fetch_add(1, Ordering::Relaxed) as u32;
    Region::device_only(device, BASE, 4 * MIB).unwrap()
}

fn nothing_stays_on(device: &Device, test: impl FnOnce(&Pool)) {
    let _alone = alone();
    let pool = device.pool();
    let before = Census::of(&pool);
    test(&pool);
    assert_eq!(Census::of(&pool), before, "something was left behind");
}

#[test]
fn without_a_way_to_zero_it_there_is_no_pool() {
    let error = Pool::new(region()).unwrap_err();
    assert!(matches!(error, PoolError::NoZeroing), "{error}");
    assert_errno(error.errno(), Errno::OPNOTSUPP, &error);
    assert_says(&error, &["zero_with"]);
}

#[test]
fn files_pins_and_breaks_work() {
    let device = Device::default();
    nothing_stays_on(&device, |pool| {
        let file = pool.create("/kv").unwrap();
        file.truncate(MIB).wait().unwrap();
        // G10: what is pinned was zeroed by the device before.
        let pinned = file.pin(0..MIB, Access::Write).wait().unwrap();
        assert_eq!((device.zeroed(), pinned.len()), (MIB, MIB));
        let (segment, extent) = (pinned.segments()[0], file.extents()[0]);
        assert_eq!((segment.address, segment.place()), (BASE + extent.place, extent.place));

        let busy = file.truncate(0).try_now().unwrap_err();
        assert_errno(busy.errno(), Errno::BUSY, &busy);
        file.truncate(MIB / 2).detach().wait().unwrap();
        assert_eq!(pool.stats().parked, MIB / 2);
        drop(pinned);
        assert_eq!(pool.stats().parked, 0);
        file.collapse(0..BLOCK).wait().unwrap();
        file.insert(0, BLOCK).wait().unwrap();
        file.exchange(0..BLOCK, &file, 2 * BLOCK).wait().unwrap();
        file.punch(BLOCK..3 * BLOCK).wait().unwrap();
        file.zero(0..MIB).wait().unwrap();
        file.truncate(100).wait().unwrap();

        let reservation = pool.reserve(MIB).wait().unwrap();
        let pinned = reservation.pin(0..MIB).wait().unwrap();
        pinned.written(MIB / 4);
        drop(pinned);
        let before = device.zeroed();
        let published = reservation.publish("/chunk", Publish::New).unwrap();
        assert_eq!(device.zeroed() - before, MIB / 4 * 3, "only what was not written");
        let token = published.token(0..MIB).unwrap();
        drop(pool.redeem(&token).unwrap().pin(Access::Read).wait().unwrap());
        drop((file, published));
        unlink(pool, &["/kv", "/chunk"]);
    });
}

#[test]
fn copies_by_the_host_are_refused_and_leave_nothing() {
    nothing_stays_on(&Device::default(), |pool| {
        let file = pool.create("/kv").unwrap();
        let refused = |errno: i32, error: &dyn std::error::Error| {
            assert_errno(errno, Errno::OPNOTSUPP, error);
            assert_says(error, &["only a device can address this memory"]);
        };
        for len in [1, BLOCK, 3 * MIB] {
            let bytes = vec![7; len as usize];
            let error = file.write_at(0, &bytes).unwrap_err();
            refused(error.errno(), &error);
            let error = file.append(&bytes).unwrap_err();
            refused(error.errno(), &error);
            assert_eq!((file.len(), file.metadata().allocated), (0, 0), "after {len} bytes");
        }
        file.truncate(MIB).wait().unwrap();
        drop(file.pin(0..MIB, Access::Write).wait().unwrap());
        let error = file.read_at(0, &mut [0; 100]).unwrap_err();
        refused(error.errno(), &error);
        let error = file.write_at(0, &[7; 100]).unwrap_err();
        refused(error.errno(), &error);
        let other = pool.create("/other").unwrap();
        let error = file.copy_range(0..MIB, &other, 0).unwrap_err();
        refused(error.errno(), &error);
        assert_eq!((other.len(), other.metadata().allocated), (0, 0));

        let pinned = file.pin(0..MIB, Access::Write).wait().unwrap();
        let error = pinned.copy_in(0, &[7; 100]).unwrap_err();
        refused(error.errno(), &error);
        let error = pinned.copy_out(0, &mut [0; 100]).unwrap_err();
        refused(error.errno(), &error);
        // The part of a block that is kept under DMA would have to be copied.
        let error = file.truncate(100).detach().wait().unwrap_err();
        refused(error.errno(), &error);
        assert_eq!((file.len(), file.metadata().allocated, pool.stats().parked), (MIB, MIB, 0));
        drop(pinned);
        drop((file, other));
        unlink(pool, &["/kv", "/other"]);
    });
}

#[test]
fn a_device_that_fails_to_zero_gives_no_blocks() {
    let _alone = alone();
    let zero = |address: u64, _| match address {
        BASE => Err(std::io::Error::from_raw_os_error(5)),
        _ => Err(std::io::Error::other("the device is gone")),
    };
    let pool = PoolOptions::new().zero_with(zero).create(region()).unwrap();
    let file = pool.create("/kv").unwrap();
    file.truncate(MIB).wait().unwrap();
    let before = Census::of(&pool);
    let error = file.pin(0..MIB, Access::Write).wait().unwrap_err();
    assert_errno(error.errno(), Errno::IO, &error);
    assert_says(&error, &["could not zero", &file.id().to_string()]);
    assert_eq!(Census::of(&pool), before);
    assert_eq!(file.metadata().allocated, 0);

    let reservation = pool.reserve(MIB).wait().unwrap();
    let refused = reservation.publish("/chunk", Publish::New).unwrap_err();
    assert_errno(refused.errno(), Errno::IO, &refused);
    refused.reservation.written(0..MIB);
    refused.reservation.publish("/chunk", Publish::New).expect("nothing is left to zero");
}
