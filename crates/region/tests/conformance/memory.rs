//! What every region does with its bytes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pinfold_region::{
    AccessError, BASE_ALIGN, Durability, FlushError, GrowError, Persist, Region, RegionKind, SharedBytes,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::kinds::{Fixture, LEN, Way};

const ENXIO: i32 = 6;
const EINVAL: i32 = 22;
const EIO: i32 = 5;
const EOPNOTSUPP: i32 = 95;

/// All of the first `LEN` bytes; what the CPU does not reach reads as nothing.
fn contents(region: &Region) -> Vec<u8> {
    let mut seen = vec![0xee; LEN as usize];
    match region.bytes(0..LEN).unwrap().copy_out(0, &mut seen) {
        Ok(()) => seen,
        Err(AccessError::DeviceOnly) => Vec::new(),
        Err(other) => panic!("{other}"),
    }
}

/// New memory holds no old data (G10).
pub(crate) fn begins_aligned_and_reads_as_zeros(way: Way, Fixture { region, .. }: Fixture) {
    assert_eq!(region.kind(), way.kind());
    assert!(region.len() >= LEN);
    let bytes = region.bytes(0..LEN).unwrap();
    let mapped_by_us = !matches!(way.kind(), RegionKind::Adopted | RegionKind::DeviceOnly);
    let align = if mapped_by_us { BASE_ALIGN } else { region.granule() };
    assert_eq!(bytes.address() % align, 0);
    assert_eq!(bytes.as_ptr().is_ok(), way.is_reachable());
    assert!(contents(&region).iter().all(|&byte| byte == 0));
}

pub(crate) fn keeps_what_is_copied_in(way: Way, Fixture { region, .. }: Fixture) {
    let bytes = region.bytes(4096..8192).unwrap();
    let copied = bytes.copy_in(4090, b"at end");
    if !way.is_reachable() {
        let refused = copied.unwrap_err();
        assert_eq!((refused.errno(), &refused), (EOPNOTSUPP, &AccessError::DeviceOnly));
        assert_eq!(region.zero(0..4096), Err(AccessError::DeviceOnly));
        assert_eq!(bytes.copy_to(bytes), Err(AccessError::DeviceOnly));
        return;
    }
    copied.unwrap();
    let mut seen = [0; 6];
    region.bytes(8186..8192).unwrap().copy_out(0, &mut seen).unwrap();
    assert_eq!(&seen, b"at end");
    // SAFETY: nobody else has this region, and it has memory where it was just written.
    assert_eq!(&unsafe { bytes.as_slice() }.unwrap()[4089..], b"\0at end");
}

#[derive(Clone, Debug)]
enum Operation {
    CopyIn(u64, Vec<u8>),
    Zero(u64, u64),
    CopyTo { from: u64, to: u64, len: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let at = 0..LEN - 20_000;
    prop_oneof![
        (at.clone(), proptest::collection::vec(any::<u8>(), 0..9_000)).prop_map(|(at, new)| Operation::CopyIn(at, new)),
        (at.clone(), 0..20_000_u64).prop_map(|(at, len)| Operation::Zero(at, len)),
        (at.clone(), at, 0..20_000_u64).prop_map(|(from, to, len)| Operation::CopyTo { from, to, len }),
    ]
}

pub(crate) fn behaves_like_a_plain_vector(way: Way, Fixture { region, .. }: Fixture) {
    if !way.is_reachable() {
        return;
    }
    let mut plain = vec![0_u8; LEN as usize];
    let plain = &mut plain;
    let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let sequences = proptest::collection::vec(operation(), 1..20);
    let plain = std::cell::RefCell::new(plain);
    let outcome = runner.run(&sequences, |operations| {
        let mut plain = plain.borrow_mut();
        region.zero(0..LEN).unwrap();
        plain.fill(0);
        for operation in operations {
            apply(&region, &mut plain, operation);
        }
        prop_assert!(contents(&region) == **plain);
        Ok(())
    });
    outcome.unwrap();
}

fn apply(region: &Region, plain: &mut [u8], operation: Operation) {
    match operation {
        Operation::CopyIn(at, new) => {
            region.bytes(at..LEN).unwrap().copy_in(0, &new).unwrap();
            plain[at as usize..][..new.len()].copy_from_slice(&new);
        }
        Operation::Zero(at, len) => {
            region.zero(at..at + len).unwrap();
            plain[at as usize..(at + len) as usize].fill(0);
        }
        Operation::CopyTo { from, to, len } => {
            region.bytes(from..from + len).unwrap().copy_to(region.bytes(to..LEN).unwrap()).unwrap();
            plain.copy_within(from as usize..(from + len) as usize, to as usize);
        }
    }
}

pub(crate) fn refuses_ranges_that_are_not_there(_way: Way, Fixture { region, .. }: Fixture) {
    let len = region.len();
    for (start, end) in [(0, len + 1), (len, len + 1), (len + 1, len + 1), (len - 1, u64::MAX), (u64::MAX, u64::MAX)] {
        let refused = region.bytes(start..end).unwrap_err();
        assert_eq!(refused, AccessError::PastEnd { start, end, len });
        assert_eq!(refused.errno(), ENXIO);
        assert_eq!(region.zero(start..end).unwrap_err(), refused);
        assert_eq!(region.flush(start..end).unwrap_err().errno(), ENXIO);
        assert_eq!(region.allocate(start..end).unwrap_err().errno(), ENXIO);
    }
    #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
    let reversed = region.bytes(2..1).unwrap_err();
    assert_eq!((reversed.errno(), reversed), (EINVAL, AccessError::Reversed { start: 2, end: 1 }));

    let part = region.bytes(100..200).unwrap();
    assert_eq!(part.copy_in(90, &[1; 11]).unwrap_err().errno(), ENXIO);
    assert_eq!(part.copy_in(u64::MAX, &[1; 11]).unwrap_err().errno(), ENXIO);
    assert_eq!(part.copy_out(101, &mut []).unwrap_err().errno(), ENXIO);
    assert_eq!(part.zero(0..101).unwrap_err().errno(), ENXIO);
    assert_eq!(part.slice(10..20).unwrap().slice(0..11).unwrap_err().errno(), ENXIO);
    assert!(contents(&region).iter().all(|&byte| byte == 0), "a refused range was written");
}

/// What a device may do at any time, done by a thread.
pub(crate) fn a_copy_racing_with_a_writer_sees_old_and_new_bytes_only(way: Way, Fixture { region, .. }: Fixture) {
    if !way.is_reachable() {
        return;
    }
    let bytes = region.bytes(0..65_536).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fills = [[0x11; 65_536], [0x22; 65_536]];
            for fill in fills.iter().cycle() {
                bytes.copy_in(0, fill).unwrap();
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let mut seen = [0; 65_536];
        for _ in 0..200 {
            bytes.copy_out(0, &mut seen).unwrap();
            assert!(seen.iter().all(|byte| [0, 0x11, 0x22].contains(byte)));
        }
        done.store(true, Ordering::Relaxed);
    });
}

pub(crate) fn flushes_as_its_kind_does(way: Way, Fixture { region, .. }: Fixture) {
    match (way.kind(), region.durability()) {
        (RegionKind::RegularFile, Durability::PageCache) => {}
        (RegionKind::PersistentFile | RegionKind::DeviceDax, Durability::CacheLines(_)) => {}
        (RegionKind::RegularFile | RegionKind::PersistentFile | RegionKind::DeviceDax, other) => {
            panic!("{other}")
        }
        (_, durability) => assert_eq!(durability, Durability::Volatile),
    }
    let len = region.len();
    for range in [0..len, 0..1, 4095..4097, len - 1..len, 5000..5000, len..len] {
        region.flush(range).unwrap();
    }
    region.fence().unwrap();
}

/// Where a flush writes all of a page of the cache, faults take single ones: `rr` in the flags of the mapping. What grows too.
pub(crate) fn faults_take_single_pages_where_a_flush_costs_by_the_page(way: Way, Fixture { region, .. }: Fixture) {
    let is_asked_for = way.kind() == RegionKind::RegularFile;
    let at = |offset| region.bytes(offset..offset + 1).unwrap().address() as usize;
    if !way.is_reachable() {
        return;
    }
    assert_eq!(flags_at(at(0)).contains(&"rr".to_owned()), is_asked_for);
    region.will_need(0..region.len());
    let len = region.len();
    if region.grow(len + region.granule()).is_ok() {
        assert_eq!(flags_at(at(len)).contains(&"rr".to_owned()), is_asked_for);
    }
}

/// What the kernel says of the mapping at an address.
fn flags_at(address: usize) -> Vec<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_here = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let parse = |text| usize::from_str_radix(text, 16).ok();
        if let Some((start, end)) = range.and_then(|(start, end)| Some((parse(start)?, parse(end)?))) {
            is_here = (start..end).contains(&address);
        }
        if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_here) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("nothing is mapped at {address:#x}");
}

/// Records what passes, and refuses one range.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<String>>,
    refused_at: Option<u64>,
}

impl Persist for Recorder {
    fn durability(&self) -> Durability {
        Durability::PageCache
    }

    fn write_back(&self, bytes: SharedBytes<'_>) -> io::Result<()> {
        if self.refused_at == Some(bytes.offset()) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.seen.lock().unwrap().push(format!("{}+{}", bytes.offset(), bytes.len()));
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        self.seen.lock().unwrap().push("drain".into());
        Ok(())
    }
}

pub(crate) fn flushes_through_a_flusher_put_in_its_place(_way: Way, Fixture { region, .. }: Fixture) {
    let recorder = Arc::new(Recorder::default());
    let region = region.with_flusher(Arc::clone(&recorder));
    region.flush(100..300).unwrap();
    region.flush(4096..8192).unwrap();
    region.fence().unwrap();
    assert_eq!(region.durability(), Durability::PageCache);
    assert_eq!(*recorder.seen.lock().unwrap(), ["100+200", "4096+4096", "drain"]);
}

pub(crate) fn names_the_range_that_a_medium_refuses(_way: Way, Fixture { region, .. }: Fixture) {
    let region = region.with_flusher(Recorder { refused_at: Some(8192), ..Recorder::default() });
    region.flush(4096..8192).unwrap();
    let refused = region.flush(8192..9000).unwrap_err();
    assert_eq!(refused.errno(), EIO);
    assert!(matches!(&refused, FlushError::WriteBack { range, .. } if *range == (8192..9000)));
    assert!(refused.to_string().contains("8192..9000"), "{refused}");
}

pub(crate) fn allocates_and_keeps_its_bytes(way: Way, Fixture { region, .. }: Fixture) {
    if way.is_reachable() {
        region.bytes(0..LEN).unwrap().copy_in(5000, b"kept").unwrap();
    }
    region.allocate(4095..12_289).unwrap();
    region.allocate(0..LEN).unwrap();
    region.allocate(7..7).unwrap();
    let after = contents(&region);
    assert!(after.is_empty() || &after[4999..5005] == b"\0kept\0");
}

pub(crate) fn grows_under_its_addresses_or_says_that_it_cannot(way: Way, Fixture { region, .. }: Fixture) {
    let before = region.bytes(0..LEN).unwrap();
    if matches!(way, Way::DeviceDax | Way::Adopted | Way::DeviceOnly) {
        let refused = region.grow(2 * LEN).unwrap_err();
        assert!(matches!(refused, GrowError::FixedLength { kind } if kind == way.kind()));
        assert_eq!(refused.errno(), EOPNOTSUPP);
        return;
    }
    before.copy_in(LEN - 4, b"edge").unwrap();
    for (asked, errno) in [(0, EINVAL), (LEN - 1, EINVAL), (LEN + 1, EINVAL), (4 * LEN, 12), (u64::MAX, EINVAL)] {
        assert_eq!(region.grow(asked).unwrap_err().errno(), errno, "growing to {asked}");
        assert_eq!(region.len(), LEN);
    }
    region.grow(LEN).unwrap();
    region.grow(2 * LEN).unwrap();
    assert_eq!(region.len(), 2 * LEN);
    let after = region.bytes(0..2 * LEN).unwrap();
    assert_eq!(after.address(), before.address());
    let mut seen = [1; 8];
    after.copy_out(LEN - 4, &mut seen).unwrap();
    assert_eq!(&seen, b"edge\0\0\0\0");
    after.zero(LEN..2 * LEN).unwrap();
    region.flush(LEN - 1..LEN + 1).unwrap();
}

/// Whoever is given the descriptor could turn each access into a `SIGBUS` otherwise.
pub(crate) fn a_memfd_made_here_cannot_be_shortened(way: Way, Fixture { region, .. }: Fixture) {
    if !matches!(way, Way::Memfd | Way::HugeMemfd) {
        return;
    }
    let shortened = rustix::fs::ftruncate(region.file().unwrap(), 0);
    assert_eq!(shortened, Err(rustix::io::Errno::PERM));
    assert!(contents(&region).iter().all(|&byte| byte == 0));
}
