//! Files in memory that you have already: a buffer that was registered with a NIC, a GPU's window, a huge page.
//!
//!     cargo run --release -p pinfold --example own_memory
//!
//! The pool allocates nothing of its own for the bytes: it divides your memory into files. A device that was given the
//! memory's addresses once, by its own registration, needs no other: every segment of every file lies in there.

use std::alloc::{self, Layout};
use std::error::Error;
use std::ptr::NonNull;

use pinfold::{Access, Pool, Region};

const LEN: usize = 64 << 20;
/// Of a huge page on x86 and most others: memory that begins with one can be backed by them.
const HUGE_PAGE: usize = 2 << 20;

/// Memory from your allocator, `mmap` or driver; it goes when this is dropped.
struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new() -> Result<Self, Box<dyn Error>> {
        let layout = Layout::from_size_align(LEN, HUGE_PAGE)?;
        // SAFETY: the size is not 0.
        let base = NonNull::new(unsafe { alloc::alloc_zeroed(layout) }).ok_or("no memory")?;
        Ok(Self { base, layout })
    }

    /// What you would tell the device, once: from which address on it may reach how many bytes.
    fn registration(&self) -> std::ops::Range<u64> {
        let start = self.base.addr().get() as u64;
        start..start + LEN as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it came from `alloc_zeroed` with this layout.
        unsafe { alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let memory = Memory::new()?;
    let registration = memory.registration();

    // SAFETY: the memory stays where it is until `memory` is dropped, which is after the pool, and nobody has a reference
    // to it: from here on it is reached through files and pins alone.
    let pool = Pool::new(unsafe { Region::adopt(memory.base, LEN as u64) }?)?;

    // 16 MiB in one run, at the same place of a huge page in the file and in memory: one descriptor for the device.
    let frames = pool.create("/frames")?;
    frames.allocate(0..16 << 20).try_now()?;
    let extents = frames.extents();
    assert_eq!((extents.len(), extents[0].place % HUGE_PAGE as u64), (1, 0));

    let pinned = frames.pin(0..16 << 20, Access::Write).labelled("camera 0", "frames 0 to 15")?.wait()?;
    for segment in pinned.segments() {
        let end = segment.address + segment.len;
        assert!(registration.start <= segment.address && end <= registration.end, "it lies in what was registered");
        println!("tell the device: {} bytes to {:#x}", segment.len, segment.address);
    }

    // The device writes; here this process does, to the very address that the device would be given.
    let address = pinned.segments()[0].address as usize;
    // SAFETY: the pin keeps the address the file's (G1), and it lies in `memory`.
    unsafe { std::ptr::with_exposed_provenance_mut::<[u8; 5]>(address).write_volatile(*b"hello") };
    drop(pinned); // the completion came

    let mut bytes = [0; 5];
    frames.read_at(0, &mut bytes)?;
    assert_eq!(&bytes, b"hello", "what the device wrote is what the file holds");
    println!("{:?} holds {:?}, and no byte was copied on the way", frames, std::str::from_utf8(&bytes)?);

    // Before the memory: files and pins keep the pool alive, and the pool reaches the memory.
    drop((frames, pool));
    drop(memory);
    Ok(())
}
