//! Rows 13 to 16: what views cost where nothing changes, and what it costs to take one away.

use std::hint::black_box;
use std::time::{Duration, Instant};

use pinfold::layout::Effect;
use pinfold::region::Window;
use pinfold::{Access, File, Policy, Pool, Region, Until, View};
use rustix::mm::{Advice, madvise};

use crate::Setup;
use crate::report::{Comparison, Skipped};
use crate::rounds::{Ratios, take_turns, time};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
/// As many as a processor finds without looking for their pages: how large those are is another matter.
const WORDS: usize = MIB / size_of::<u64>();
const FIRST_TOUCH: usize = 64 * MIB;
const REVOKED: usize = 1 << 30;
const PINS: usize = 20_000;
/// Rounds of what touches a gigabyte.
const FEW: usize = 21;

pub(super) const ROW_13: [Comparison; 1] = [Comparison {
    row: 13,
    what: "load + store through a view",
    beside: "the same in plain memory",
    goal: Some(1.0),
    compared: "Each word of 1 MiB of a file loaded and stored through a view; the same of memory of the program's own.",
    ratios: view_beside_memory,
}];

pub(super) const ROW_14: [Comparison; 1] = [Comparison {
    row: 14,
    what: "first touch of a view, 64 MiB",
    beside: "first touch of a mapped memfd",
    goal: Some(1.5),
    compared: "A byte of each page of 64 MiB that a break has taken away before, of one extent; the same of a new mapping of \
               the same pages.",
    ratios: first_touch_beside_memfd,
}];

pub(super) const ROW_15: [Comparison; 1] = [Comparison {
    row: 15,
    what: "a break that revokes a view of 1 GiB",
    beside: "madvise(MADV_DONTNEED)",
    goal: Some(1.2),
    compared: "A break of a file with a view of 1 GiB, each page of it touched; a mapping of the same pages, touched \
               alike, that drops them.",
    ratios: revoke_beside_madvise,
}];

pub(super) const ROW_16: [Comparison; 1] = [Comparison {
    row: 16,
    what: "pin_addresses + unpin, 4 KiB",
    beside: "File::pin + unpin",
    goal: Some(2.0),
    compared: "A pin of the blocks under 4 KiB of a view that shows them; a pin of the same range of the file.",
    ratios: addresses_beside_file,
}];

/// A file of one extent, with a view of all of it.
struct Viewed {
    pool: Pool,
    file: File,
    view: View,
}

impl Viewed {
    fn new(len: usize) -> Result<Self, Skipped> {
        let len = len.next_multiple_of(PAGE) as u64;
        let pool = Pool::new(Region::memfd(len + 4 * MIB as u64)?)?;
        let file = pool.create("/file")?;
        for at in (0..len).step_by(MIB) {
            file.write_at(at, &[1; MIB][..(len - at).min(MIB as u64) as usize])?;
        }
        let view = file.map(0..len, Access::Write).wait()?;
        Ok(Self { pool, file, view })
    }

    /// A plain mapping of the same pages: how they lie in the machine's memory makes a difference to whoever unmaps them.
    fn mapped(&self) -> Result<Window, Skipped> {
        let (region, first) = (self.pool.region(), self.file.extents()[0]);
        let window = region.window(0, first.len, true, None)?;
        window.show(0, region, first.place..first.place + first.len)?;
        Ok(window)
    }

    /// A break that changes nothing, but takes the view away.
    fn revoke(&self) -> Result<Duration, Skipped> {
        let layout = self.pool.area().layout(self.file.id().number())?;
        let begun = Instant::now();
        let mut brk = self.pool.area().break_layout(&[(&layout, 0..u64::MAX)], Policy::Wait, Effect::Frees)?;
        drop(brk.drain(Until::done())?);
        Ok(begun.elapsed())
    }
}

fn view_beside_memory(setup: &Setup) -> Result<Ratios, Skipped> {
    let words = setup.scale.of(WORDS);
    let viewed = Viewed::new(words * size_of::<u64>())?;
    let mut memory = vec![1_u64; words];
    let (there, here) = (viewed.view.as_ptr().as_ptr().cast::<u64>(), memory.as_mut_ptr());
    take_turns(setup.scale, || Ok(add_to_each(there, words)), || Ok(add_to_each(here, words)))
}

fn add_to_each(first: *mut u64, words: usize) -> Duration {
    let begun = Instant::now();
    for index in 0..words {
        // SAFETY: the callers' memory has as many words, which nobody else uses.
        unsafe {
            let word = first.add(index);
            word.write_volatile(word.read_volatile() + 1);
        }
    }
    begun.elapsed()
}

fn first_touch_beside_memfd(setup: &Setup) -> Result<Ratios, Skipped> {
    let len = setup.scale.of(FIRST_TOUCH / PAGE) * PAGE;
    let viewed = Viewed::new(len)?;
    take_turns(
        setup.scale.few(FEW),
        || {
            viewed.revoke()?;
            Ok(touch(viewed.view.as_ptr().as_ptr(), len))
        },
        || Ok(touch(viewed.mapped()?.base().as_ptr(), len)),
    )
}

fn revoke_beside_madvise(setup: &Setup) -> Result<Ratios, Skipped> {
    let len = setup.scale.of(REVOKED / PAGE) * PAGE;
    let viewed = Viewed::new(len)?;
    let window = viewed.mapped()?;
    take_turns(
        setup.scale.few(FEW),
        || {
            touch(viewed.view.as_ptr().as_ptr(), len);
            viewed.revoke()
        },
        || {
            touch(window.base().as_ptr(), len);
            let begun = Instant::now();
            // SAFETY: the window shows a memfd, which keeps the pages.
            unsafe { madvise(window.base().as_ptr().cast(), len, Advice::LinuxDontNeed) }?;
            Ok(begun.elapsed())
        },
    )
}

/// Loads a byte of each page.
fn touch(first: *mut u8, len: usize) -> Duration {
    let begun = Instant::now();
    for at in (0..len).step_by(PAGE) {
        // SAFETY: the callers' memory is as long.
        black_box(unsafe { first.add(at).read_volatile() });
    }
    begun.elapsed()
}

fn addresses_beside_file(setup: &Setup) -> Result<Ratios, Skipped> {
    let viewed = Viewed::new(MIB)?;
    let (address, count) = (viewed.view.address(), setup.scale.of(PINS));
    take_turns(
        setup.scale,
        || time(count, || Ok(viewed.pool.pin_addresses(black_box(address), PAGE as u64, Access::Read)?.wait()?)),
        || time(count, || Ok(viewed.file.pin(black_box(0)..PAGE as u64, Access::Read).wait()?)),
    )
}
