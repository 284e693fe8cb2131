//! The rig of the measurement: a file, DMA into its middle, an operation, and everybody else who might be hurt.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pinfold::{Access, File, Pinned, Pool, PoolOptions, Region, View};

use crate::common::{BLOCK, MIB, bytes_of, is_behind, use_up, wait_until};

/// Bytes of the file.
pub(crate) const FILE: u64 = 2 * MIB;
/// Its bytes that are under DMA.
pub(crate) const DMA: Range<u64> = MIB / 2..MIB / 2 * 3;
/// What the DMA brings.
pub(crate) const MARK: u8 = 0xD5;
/// What the blocks are filled with that were free when the operation returned.
const FILLER: u8 = 0x11;

/// A pool of 10 MiB with a file of 2 in it, whose blocks say where they belong.
pub(crate) struct Lab {
    pub(crate) pool: Pool,
    pub(crate) file: File,
}

/// What became of an operation that met DMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It returned only after the DMA, by itself; pages of other files with the DMA's bytes.
    Waited { foreign: usize },
    /// It returned while the DMA was running; the same.
    DidNotWait { foreign: usize },
}

pub(crate) const WAITED: Outcome = Outcome::Waited { foreign: 0 };
pub(crate) const DID_NOT_WAIT: Outcome = Outcome::DidNotWait { foreign: 0 };

/// A transfer that a device is at.
pub(crate) struct Dma {
    file: File,
    pinned: Pinned,
}

impl Dma {
    /// DMA into the middle of a file.
    pub(crate) fn into_file(file: &File) -> Self {
        Self::of(file, DMA, Access::Write)
    }

    pub(crate) fn of(file: &File, range: Range<u64>, access: Access) -> Self {
        let pinned = file.pin(range, access).labelled("the lab", "DMA").unwrap().wait().expect("a pin");
        Self { file: file.clone(), pinned }
    }

    /// DMA into addresses of a view of the whole file.
    pub(crate) fn through(view: &View, range: Range<u64>) -> Self {
        let (address, len) = (view.address() + range.start as usize, range.end - range.start);
        let pinning = view.file().pool().pin_addresses(address, len, Access::Write).expect("addresses of a view");
        let pinned = pinning.labelled("the lab", "DMA").unwrap().wait().expect("a pin");
        Self { file: view.file(), pinned }
    }

    /// Its data arrives, at the end. That may be after the file was cut.
    pub(crate) fn arrives(&self) {
        self.pinned.copy_in(0, &vec![MARK; self.pinned.len() as usize]).unwrap();
    }

    /// Where in the region it goes.
    pub(crate) fn places(&self) -> Vec<u64> {
        let blocks = |start: u64, len: u64| (start..start + len).step_by(BLOCK as usize);
        self.pinned.segments().iter().flat_map(|segment| blocks(segment.place(), segment.len)).collect()
    }

    /// What it would read now.
    pub(crate) fn reads(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.pinned.len() as usize];
        self.pinned.copy_out(0, &mut bytes).unwrap();
        bytes
    }

    /// The file that it goes into, as long as there is a handle.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The transfer alone, without a handle of the file.
    pub(crate) fn into_pinned(self) -> Pinned {
        self.pinned
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(PoolOptions::new())
    }

    pub(crate) fn with(options: PoolOptions) -> Self {
        let pool = options.create(Region::memfd(10 * MIB).unwrap()).unwrap();
        let file = stamped(&pool, "/file");
        Self { pool, file }
    }

    /// Runs an operation during DMA into the file.
    pub(crate) fn during_dma(&self, operation: impl FnOnce(&Self) + Send) -> Outcome {
        self.during(Dma::into_file(&self.file), operation)
    }

    /// Runs an operation during `dma`, on a thread of its own, as another process would.
    #[track_caller]
    pub(crate) fn during(&self, dma: Dma, operation: impl FnOnce(&Self) + Send) -> Outcome {
        thread::scope(|scope| {
            // Before the scope ends: a failed test must not leave the operation waiting.
            let dma = dma;
            let operating = scope.spawn(move || operation(self));
            let sleeps = || is_behind(&self.pool, dma.file());
            wait_until("it returns, or sleeps for the DMA", || operating.is_finished() || sleeps());
            if operating.is_finished() {
                operating.join().expect("the operation");
                let foreign = self.foreign_after(&dma);
                return Outcome::DidNotWait { foreign };
            }
            dma.arrives();
            drop(dma);
            operating.join().expect("the operation");
            Outcome::Waited { foreign: self.foreign_in(&self.fill_what_is_free()) }
        })
    }

    /// Fills every free block, lets the data arrive, and counts what it hurt.
    pub(crate) fn foreign_after(&self, dma: &Dma) -> usize {
        let filler = self.fill_what_is_free();
        dma.arrives();
        self.foreign_in(&filler)
    }

    /// Every free block goes to another file.
    pub(crate) fn fill_what_is_free(&self) -> File {
        static FILLERS: AtomicUsize = AtomicUsize::new(0);
        use_up(&self.pool, &format!("/filler {}", FILLERS.fetch_add(1, Ordering::Relaxed)), FILLER)
    }

    /// How many of its pages hold something else.
    pub(crate) fn foreign_in(&self, filler: &File) -> usize {
        let bytes = bytes_of(filler, 0..filler.len());
        bytes.chunks(BLOCK as usize).filter(|page| page.iter().any(|byte| *byte != FILLER)).count()
    }
}

/// A new file of 2 MiB whose blocks say where they belong.
pub(crate) fn stamped(pool: &Pool, path: &str) -> File {
    let file = pool.create(path).unwrap();
    file.write_at(0, &stamps(0..FILE)).unwrap();
    file
}

/// What a stamped file has in a range of whole blocks.
pub(crate) fn stamps(range: Range<u64>) -> Vec<u8> {
    range.map(|offset| stamp(offset / BLOCK)).collect()
}

/// Never the DMA's mark, and not 0.
pub(crate) fn stamp(block: u64) -> u8 {
    (block % 200) as u8 + 1
}

/// What the file has during and after DMA into it, in one range of its own.
pub(crate) fn marks(range: Range<u64>) -> Vec<u8> {
    vec![MARK; (range.end - range.start) as usize]
}
