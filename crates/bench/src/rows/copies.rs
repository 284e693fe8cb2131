//! Rows 7 and 8: what a copy into a file and out of one costs.

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use pinfold::{File, Pool, Region};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{pread, pwrite};

use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns, time};
use crate::scratch;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;
/// Bytes of a region, the peer's too: so the kernel may give both the same kind of pages.
const REGION: u64 = 4 << 20;
const LARGE_COPIES: usize = 50;
const SMALL_COPIES: usize = 5_000;

const WRITES: Comparison = Comparison {
    row: 7,
    what: "write_at, 1 MiB",
    beside: "memcpy into a mapped memfd",
    goal: Some(1.1),
    compared: "1 MiB copied into, or out of, blocks that a file of a memfd pool has; memcpy of the same buffer into, or \
               out of, a mapped memfd.",
    ratios: write_beside_memcpy,
};

pub(super) const ROW_7: [Comparison; 2] = [
    WRITES,
    Comparison { what: "read_at, 1 MiB", beside: "memcpy out of a mapped memfd", ratios: read_beside_memcpy, ..WRITES },
];

pub(super) const ROW_8: [Comparison; 1] = [Comparison {
    row: 8,
    what: "read_at, 4 KiB, warm",
    beside: "pread from tmpfs",
    goal: Some(0.3),
    compared: "4 KiB after 4 KiB out of a file of 1 MiB in a memfd pool; by pread out of the same file on tmpfs.",
    ratios: read_beside_pread,
}];

fn write_beside_memcpy(setup: &Setup) -> Result<Ratios, Skipped> {
    let (file, peer) = (file()?, Mapped::new()?);
    let from = vec![1; MIB];
    let count = setup.scale.of(LARGE_COPIES);
    take_turns(
        setup.scale,
        || time(count, || Ok(file.write_at(0, black_box(&from))?)),
        || time(count, || peer.copy_in(black_box(&from))),
    )
}

fn read_beside_memcpy(setup: &Setup) -> Result<Ratios, Skipped> {
    let (file, peer) = (file()?, Mapped::new()?);
    let to = RefCell::new(vec![0; MIB]);
    let count = setup.scale.of(LARGE_COPIES);
    take_turns(
        setup.scale,
        || time(count, || Ok(file.read_at(0, black_box(&mut to.borrow_mut()[..]))?)),
        || time(count, || peer.copy_out(black_box(&mut to.borrow_mut()[..]))),
    )
}

fn read_beside_pread(setup: &Setup) -> Result<Ratios, Skipped> {
    let file = file()?;
    let directory = scratch::on_tmpfs()?;
    let peer = open(directory.path().join("peer"), OFlags::CREATE | OFlags::RDWR, Mode::RUSR | Mode::WUSR)?;
    pwrite(&peer, &vec![1; MIB], 0)?;
    let to = RefCell::new(vec![0; PAGE]);
    let (here, there) = (Pages::default(), Pages::default());
    let count = setup.scale.of(SMALL_COPIES);
    take_turns(
        setup.scale,
        || time(count, || Ok(file.read_at(here.next(), black_box(&mut to.borrow_mut()[..]))?)),
        || time(count, || Ok(pread(&peer, black_box(&mut to.borrow_mut()[..]), there.next())?)),
    )
}

/// A file of 1 MiB, all of it written, in a pool of its own.
fn file() -> Result<File, Skipped> {
    let pool = Pool::new(Region::memfd(REGION)?)?;
    let file = pool.create("/file")?;
    file.write_at(0, &vec![1; MIB])?;
    Ok(file)
}

/// The page that is read next, over and over through 1 MiB.
#[derive(Default)]
struct Pages(Cell<u64>);

impl Pages {
    fn next(&self) -> u64 {
        self.0.replace((self.0.get() + PAGE as u64) % MIB as u64)
    }
}

/// A memfd, mapped as a pool's is.
struct Mapped(Region);

impl Mapped {
    fn new() -> Result<Self, Skipped> {
        let mapped = Self(Region::memfd(REGION)?);
        mapped.0.allocate(0..REGION)?;
        mapped.copy_in(&vec![1; MIB])?;
        Ok(mapped)
    }

    fn copy_in(&self, from: &[u8]) -> Result<(), Skipped> {
        let to = self.0.bytes(0..from.len() as u64)?.as_ptr()?;
        // SAFETY: `bytes` checked that as much is mapped, and it stays so while the region lives. Nobody else has the
        // region, so nobody reads or writes it meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
        Ok(())
    }

    fn copy_out(&self, to: &mut [u8]) -> Result<(), Skipped> {
        let from = self.0.bytes(0..to.len() as u64)?.as_ptr()?;
        // SAFETY: as in `copy_in`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), to.len()) };
        Ok(())
    }
}
