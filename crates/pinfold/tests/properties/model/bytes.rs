//! Bytes: reads, writes, copies, and blocks set aside for them.

use std::ops::Range;

use pinfold::{FILE_BYTES_MAX, FileId};
use rustix::io::Errno;

use super::{Model, Verdict};
use crate::steps::Form;

/// The most that a copy from file to file moves at once.
const COPY_BUFFER: u64 = 256 << 10;

impl Model {
    pub(crate) fn read(&self, file: FileId, at: u64, len: u64) -> Vec<u8> {
        let end = at.saturating_add(len).min(self.file(file).len).max(at);
        let mut bytes = vec![0; (end - at) as usize];
        for (index, part) in self.spread(&(at..end)) {
            if let Some(block) = self.file(file).map.get(&index) {
                let to = (index * self.block + part.start as u64 - at) as usize;
                bytes[to..to + part.len()].copy_from_slice(&self.blocks[block].bytes[part]);
            }
        }
        bytes
    }

    pub(crate) fn write(&mut self, file: FileId, at: u64, from: &[u8]) -> Result<(), Errno> {
        let range = at..end_of(at, from.len() as u64)?;
        if range.is_empty() {
            return Ok(());
        }
        self.populate(file, self.outward(&range))?;
        self.store(file, &range, from);
        let file = self.file_mut(file);
        file.len = file.len.max(range.end);
        Ok(())
    }

    pub(crate) fn append(&mut self, file: FileId, from: &[u8]) -> Result<u64, Errno> {
        let at = self.file(file).len;
        self.write(file, at, from).map(|()| at)
    }

    /// As much of a copy as there is space for, in the pieces in which it is made.
    pub(crate) fn copy(&mut self, from: FileId, range: Range<u64>, to: FileId, at: u64) -> Result<u64, Errno> {
        let range = range.start..range.end.min(self.file(from).len);
        if range.is_empty() {
            return Ok(0);
        }
        let end = end_of(at, range.end - range.start)?;
        if from == to && range.start < end && at < range.end {
            return Err(Errno::INVAL);
        }
        let there = |offset: u64| at + (offset - range.start);
        let mut done = range.start;
        while let Some(data) = self.seek(from, done, true).filter(|data| *data < range.end) {
            let hole = self.seek(from, data, false).unwrap_or(range.end).min(range.end);
            let bytes = self.read(from, data, (hole - data).min(COPY_BUFFER));
            self.zero_and_grow(to, there(done)..there(data));
            self.write(to, there(data), &bytes)?;
            done = data + bytes.len() as u64;
        }
        self.zero_and_grow(to, there(done)..end);
        Ok(range.end - range.start)
    }

    fn zero_and_grow(&mut self, file: FileId, range: Range<u64>) {
        self.zero_in_place(file, &range);
        let file = self.file_mut(file);
        file.len = file.len.max(range.end);
    }

    /// The first byte at `at` or later that lies in a block with data, or in one without.
    pub(crate) fn seek(&self, file: FileId, at: u64, data: bool) -> Option<u64> {
        let file = self.file(file);
        if at >= file.len {
            return None;
        }
        let has_data = |index: &u64| file.map.get(index).is_some_and(|block| self.blocks[block].written);
        let (first, end) = (at / self.block, file.len.div_ceil(self.block));
        let found = match data {
            true => file.map.range(first..end).map(|(index, _)| *index).find(has_data),
            // No further than one past the last block of the file.
            false => (first..end).find(|index| !has_data(index)),
        };
        let found = found.map(|index| (index * self.block).max(at));
        if data { found } else { found.or(Some(file.len)) }
    }

    pub(crate) fn allocate(&mut self, file: FileId, range: Range<u64>, keep_size: bool, form: Form) -> Verdict {
        if range.start >= range.end || range.end > FILE_BYTES_MAX {
            return Verdict::Refused(Errno::INVAL);
        }
        let blocks = self.outward(&range);
        let want = self.holes(file, &blocks);
        if self.check_space(want).is_err() {
            return self.without_space(want, form);
        }
        self.fill(file, blocks, false);
        let file = self.file_mut(file);
        file.len = if keep_size { file.len } else { file.len.max(range.end) };
        Verdict::Done(())
    }

    /// Memory with bytes in it for every block of a range, or nothing.
    pub(super) fn populate(&mut self, file: FileId, blocks: Range<u64>) -> Result<(), Errno> {
        self.check_space(self.holes(file, &blocks))?;
        self.fill(file, blocks.clone(), true);
        let there: Vec<_> = self.file(file).map.range(blocks).map(|(_, block)| *block).collect();
        there.into_iter().for_each(|block| self.block_mut(block).written = true);
        Ok(())
    }

    /// Zeros over what a range has blocks for.
    pub(super) fn zero_in_place(&mut self, file: FileId, range: &Range<u64>) {
        let indices: Vec<u64> = self.file(file).map.range(self.outward(range)).map(|(index, _)| *index).collect();
        for index in indices {
            let part = self.part_in(index, range);
            let block = self.file(file).map[&index];
            self.block_mut(block).bytes[part].fill(0);
        }
    }

    fn store(&mut self, file: FileId, range: &Range<u64>, from: &[u8]) {
        for (index, part) in self.spread(range) {
            let block = self.file(file).map[&index];
            let start = (index * self.block + part.start as u64 - range.start) as usize;
            self.block_mut(block).bytes[part.clone()].copy_from_slice(&from[start..start + part.len()]);
        }
    }

    /// The blocks of a range of bytes, and which part of each lies in it.
    pub(super) fn spread(&self, range: &Range<u64>) -> Vec<(u64, Range<usize>)> {
        if range.is_empty() {
            return Vec::new();
        }
        self.outward(range).map(|index| (index, self.part_in(index, range))).collect()
    }

    fn part_in(&self, index: u64, range: &Range<u64>) -> Range<usize> {
        let start = index * self.block;
        let within = |offset: u64| (offset.clamp(start, start + self.block) - start) as usize;
        within(range.start)..within(range.end)
    }
}

fn end_of(at: u64, len: u64) -> Result<u64, Errno> {
    at.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX).ok_or(Errno::FBIG)
}
