//! What the simulated medium promises, and what it finds in programs that flush wrongly.

mod faults;
mod finds;
mod images;
mod slots;
mod threads;
mod toy_log;

use pinfold_crash::Cut;
use pinfold_region::{CacheLineInstruction, Durability, Region};

const PAGES: Durability = Durability::PageCache;
const LINES: Durability = Durability::CacheLines(CacheLineInstruction::Clwb);

fn store(region: &Region, offset: u64, bytes: &[u8]) {
    region.bytes(offset..offset + bytes.len() as u64).unwrap().copy_in(0, bytes).unwrap();
}

fn load<const N: usize>(region: &Region, offset: u64) -> [u8; N] {
    let mut bytes = [0; N];
    region.bytes(offset..offset + N as u64).unwrap().copy_out(0, &mut bytes).unwrap();
    bytes
}

fn load_u64(region: &Region, offset: u64) -> u64 {
    u64::from_le_bytes(load(region, offset))
}

/// The byte at `offset` after the power was cut.
fn byte(cut: &Cut, keep: pinfold_crash::Keep, offset: u64) -> u8 {
    let mut byte = [0];
    cut.image(keep).read(offset, &mut byte).unwrap();
    byte[0]
}
