//! The baseline: a plain store, as they are written by hand. It has a free list, files that are lists of blocks, and
//! locks of its own; it zeroes what it gives out. It does all that a careful author does, but it frees without looking
//! who is in.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use pinfold::{Access, Pinned, Policy};

use super::{Form, InUse, Refused, Store, Unguarded};
use crate::error::TortureError;
use crate::lock::lock;
use crate::log::Change;
use crate::sectors::BLOCK;

pub(crate) struct Plain {
    memory: Arc<Memory>,
    names: Mutex<HashMap<String, PlainFile>>,
}

struct Memory {
    bytes: Unguarded,
    /// The last one freed is the first one used again.
    free: Mutex<Vec<u64>>,
    blocks: u64,
}

/// A handle of a file. The blocks are freed with the last one.
pub(crate) type PlainFile = Arc<Blocks>;

pub(crate) struct Blocks {
    memory: Arc<Memory>,
    map: Mutex<Map>,
}

#[derive(Default)]
struct Map {
    len: u64,
    /// The memory of each block; `None` for a hole.
    blocks: Vec<Option<u64>>,
}

impl Plain {
    pub(crate) fn new(len: u64) -> Result<Self, TortureError> {
        let blocks = len / BLOCK;
        let (bytes, free) = (Unguarded::new(len)?, Mutex::new((0..blocks).rev().collect()));
        Ok(Self { memory: Arc::new(Memory { bytes, free, blocks }), names: Mutex::default() })
    }

    fn new_file(&self) -> PlainFile {
        Arc::new(Blocks { memory: Arc::clone(&self.memory), map: Mutex::default() })
    }
}

impl Memory {
    /// A block of zeros.
    fn take(&self) -> Result<u64, Refused> {
        let block = lock(&self.free).pop().ok_or(Refused::NoSpace)?;
        self.zero(block, 0..BLOCK)?;
        Ok(block)
    }

    fn free(&self, blocks: impl Iterator<Item = Option<u64>>) {
        lock(&self.free).extend(blocks.flatten());
    }

    fn zero(&self, block: u64, part: Range<u64>) -> Result<(), Refused> {
        let zeros = [0; BLOCK as usize];
        self.bytes.write(block * BLOCK + part.start, &zeros[..(part.end - part.start) as usize])
    }
}

impl Map {
    /// The blocks of a range of bytes, with the part of each that lies in it.
    fn parts(bytes: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> {
        (bytes.start / BLOCK..bytes.end.div_ceil(BLOCK)).map(move |index| {
            let start = index * BLOCK;
            (index as usize, bytes.start.max(start) - start..bytes.end.min(start + BLOCK) - start)
        })
    }

    /// Makes the file at least that long.
    fn lengthen(&mut self, len: u64) {
        self.len = self.len.max(len);
        let blocks = self.len.div_ceil(BLOCK) as usize;
        self.blocks.resize(blocks.max(self.blocks.len()), None);
    }

    fn fill(&mut self, memory: &Memory, bytes: Range<u64>) -> Result<(), Refused> {
        for (index, _) in Self::parts(bytes) {
            if self.blocks[index].is_none() {
                self.blocks[index] = Some(memory.take()?);
            }
        }
        Ok(())
    }

    /// Where a range of bytes lies, in order.
    fn places(&self, bytes: Range<u64>) -> Vec<Range<u64>> {
        let place = |(index, part): (usize, Range<u64>)| {
            self.blocks[index].map(|block| block * BLOCK + part.start..block * BLOCK + part.end)
        };
        Self::parts(bytes).filter_map(place).collect()
    }

    /// Zeroes a range; its whole blocks are freed.
    fn punch(&mut self, memory: &Memory, bytes: Range<u64>) -> Result<(), Refused> {
        for (index, part) in Self::parts(bytes.start..bytes.end.min(self.len)) {
            match (self.blocks[index], part.end - part.start == BLOCK) {
                (Some(_), true) => memory.free(std::iter::once(self.blocks[index].take())),
                (Some(block), false) => memory.zero(block, part)?,
                (None, _) => {}
            }
        }
        Ok(())
    }

    fn change(&mut self, memory: &Memory, change: &Change) -> Result<(), Refused> {
        let index = |bytes: u64| (bytes / BLOCK) as usize;
        match change {
            Change::Truncate { len } if *len >= self.len => self.lengthen(*len),
            Change::Truncate { len } => {
                let end = self.len.next_multiple_of(BLOCK);
                memory.free(self.blocks.drain(len.div_ceil(BLOCK) as usize..));
                self.len = end;
                self.punch(memory, *len..len.next_multiple_of(BLOCK))?;
                self.len = *len;
            }
            Change::Punch(range) => self.punch(memory, range.clone())?,
            Change::Zero(range) => {
                self.punch(memory, range.clone())?;
                self.fill(memory, range.clone())?;
            }
            Change::Collapse(range) => {
                memory.free(self.blocks.drain(index(range.start)..index(range.end)));
                self.len -= range.end - range.start;
            }
            Change::Insert { at, len } => {
                self.blocks.splice(index(*at)..index(*at), vec![None; index(*len)]);
                self.len += len;
            }
            Change::Swap { range, at } => {
                for step in 0..index(range.end - range.start) {
                    self.blocks.swap(index(range.start) + step, index(*at) + step);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.memory.free(lock(&self.map).blocks.drain(..));
    }
}

impl Store for Plain {
    type File = PlainFile;
    type Reservation = PlainFile;

    const NAME: &'static str = "the baseline";
    const WAITS: bool = false;

    fn create(&self, name: &str) -> Result<PlainFile, Refused> {
        let file = self.new_file();
        lock(&self.names).insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn unlink(&self, name: &str) -> Result<(), Refused> {
        let _file = lock(&self.names).remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Refused> {
        let mut names = lock(&self.names);
        let file = names.remove(from).ok_or_else(|| Refused::Other(format!("{from}: no such file")))?;
        let _replaced = names.insert(to.to_owned(), file);
        Ok(())
    }

    fn pin(&self, file: &PlainFile, range: Range<u64>, access: Access, _: Form) -> Result<Pinned, Refused> {
        let mut map = lock(&file.map);
        if range.end > map.len {
            return Err(Refused::PastEnd);
        }
        map.fill(&self.memory, range.clone())?;
        self.memory.bytes.addresses(&map.places(range), access)
    }

    fn extend(&self, pinned: &mut Pinned, file: &PlainFile, range: Range<u64>, access: Access) -> Result<(), Refused> {
        let mut map = lock(&file.map);
        if range.end > map.len {
            return Err(Refused::PastEnd);
        }
        map.fill(&self.memory, range.clone())?;
        self.memory.bytes.extend(pinned, &map.places(range), access)
    }

    fn change(&self, file: &PlainFile, change: &Change, _: Policy, _: Form) -> Result<(), Refused> {
        lock(&file.map).change(&self.memory, change)
    }

    fn exchange(&self, one: (&PlainFile, Range<u64>), other: (&PlainFile, u64), _: Form) -> Result<(), Refused> {
        let swapped = Arc::as_ptr(one.0) > Arc::as_ptr(other.0);
        let (first, second) = if swapped { (other.0, one.0) } else { (one.0, other.0) };
        let (mut first, mut second) = (lock(&first.map), lock(&second.map));
        let (ours, theirs) = if swapped { (&mut second, &mut first) } else { (&mut first, &mut second) };
        let (from, to) = ((one.1.start / BLOCK) as usize, (other.1 / BLOCK) as usize);
        for step in 0..((one.1.end - one.1.start) / BLOCK) as usize {
            std::mem::swap(&mut ours.blocks[from + step], &mut theirs.blocks[to + step]);
        }
        Ok(())
    }

    fn allocate(&self, file: &PlainFile, range: Range<u64>) -> Result<(), Refused> {
        let mut map = lock(&file.map);
        map.lengthen(range.end);
        map.fill(&self.memory, range)
    }

    fn read_at(&self, file: &PlainFile, offset: u64, to: &mut [u8]) -> Result<usize, Refused> {
        let map = lock(&file.map);
        let end = map.len.min(offset + to.len() as u64);
        if end <= offset {
            return Ok(0);
        }
        to.fill(0);
        for (index, part) in Map::parts(offset..end) {
            let Some(block) = map.blocks[index] else { continue };
            let at = (index as u64 * BLOCK + part.start - offset) as usize;
            self.memory.bytes.read(block * BLOCK + part.start, &mut to[at..at + (part.end - part.start) as usize])?;
        }
        Ok((end - offset) as usize)
    }

    fn write_at(&self, file: &PlainFile, offset: u64, from: &[u8]) -> Result<usize, Refused> {
        let mut map = lock(&file.map);
        let range = offset..offset + from.len() as u64;
        map.lengthen(range.end);
        map.fill(&self.memory, range.clone())?;
        self.memory.bytes.write_all(map.places(range), from)?;
        Ok(from.len())
    }

    fn reserve(&self, len: u64) -> Result<PlainFile, Refused> {
        let file = self.new_file();
        self.allocate(&file, 0..len)?;
        Ok(file)
    }

    fn pin_reserved(&self, reservation: &PlainFile, range: Range<u64>) -> Result<Pinned, Refused> {
        self.pin(reservation, range, Access::Write, Form::Wait)
    }

    fn publish(&self, reservation: PlainFile, name: &str) -> Result<PlainFile, Refused> {
        let _replaced = lock(&self.names).insert(name.to_owned(), Arc::clone(&reservation));
        Ok(reservation)
    }

    fn explain(&self) -> String {
        "it never waits".to_owned()
    }

    fn in_use(&self) -> InUse {
        let free = lock(&self.memory.free).len() as u64;
        InUse { pins: self.memory.bytes.pins(), bytes: (self.memory.blocks - free) * BLOCK }
    }

    fn through_views(&self) -> u64 {
        0
    }
}
