//! What a file of the pool must hold, and whether it does.

use std::fmt;

use pinfold::File;

use super::source::{SECTOR, Source};
use crate::status::{CannotRun, doing};

/// Bytes that are compared at once.
const STEP: u64 = 1 << 20;

/// What some bytes of a file must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes {
    /// The source's, from there on.
    Source(u64),
    /// The same with every bit inverted: what no transfer of the demo writes.
    Inverted(u64),
    Zeros,
}

impl Bytes {
    /// What they are, `skip` bytes in.
    pub(crate) fn make(self, source: &Source, skip: u64, into: &mut [u8]) -> Result<(), CannotRun> {
        match self {
            Self::Zeros => into.fill(0),
            Self::Source(from) => read(source, from + skip, into)?,
            Self::Inverted(from) => {
                read(source, from + skip, into)?;
                invert(into);
            }
        }
        Ok(())
    }
}

/// In words, since bytes take too long in a debug build.
fn invert(bytes: &mut [u8]) {
    let (words, rest) = bytes.as_chunks_mut();
    words.iter_mut().for_each(|word| *word = (!u64::from_ne_bytes(*word)).to_ne_bytes());
    rest.iter_mut().for_each(|byte| *byte = !*byte);
}

fn read(source: &Source, from: u64, into: &mut [u8]) -> Result<(), CannotRun> {
    source.read(from, into).map_err(doing(format_args!("cannot read {}", source.path.display())))
}

/// What a comparison found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compared {
    bytes: u64,
    /// CRC-32C.
    found: u32,
    expected: u32,
    wrong_at: Option<u64>,
}

impl Compared {
    pub(crate) fn is_right(&self) -> bool {
        self.wrong_at.is_none() && self.found == self.expected
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, found, expected, wrong_at } = self;
        match wrong_at {
            None => write!(f, "all {bytes} bytes, checksum {found:08x}"),
            Some(at) => {
                write!(f, "byte {at} of {bytes} is the first wrong one, checksum {found:08x} for {expected:08x}")
            }
        }
    }
}

/// Compares a file with what it must hold: parts in a row, each so long.
pub(crate) fn compare(file: &File, source: &Source, parts: &[(u64, Bytes)]) -> Result<Compared, CannotRun> {
    let mut compared = Compared::default();
    for &(len, bytes) in parts {
        let end = compared.bytes + len;
        let mut skip = 0;
        while compared.bytes < end {
            let step = STEP.min(end - compared.bytes);
            compared.step(file, source, bytes, skip, step)?;
            skip += step;
        }
    }
    if file.len() != compared.bytes {
        compared.wrong_at = compared.wrong_at.or(Some(file.len().min(compared.bytes)));
    }
    Ok(compared)
}

impl Compared {
    fn step(&mut self, file: &File, source: &Source, of: Bytes, skip: u64, step: u64) -> Result<(), CannotRun> {
        let (mut found, mut expected) = (vec![0; step as usize], vec![0; step as usize]);
        let read = file.read_at(self.bytes, &mut found)?;
        found.truncate(read);
        of.make(source, skip, &mut expected)?;
        self.found = crc32c::crc32c_append(self.found, &found);
        self.expected = crc32c::crc32c_append(self.expected, &expected);
        if found != expected {
            let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
            self.wrong_at = self.wrong_at.or(Some(self.bytes + same as u64));
        }
        self.bytes += step;
        Ok(())
    }
}

/// Has the CPU write the first `len` bytes of a file.
pub(crate) fn write(file: &File, source: &Source, bytes: Bytes, len: u64) -> Result<(), CannotRun> {
    let mut buffer = vec![0; STEP.min(len) as usize];
    let mut at = 0;
    while at < len {
        let step = STEP.min(len - at) as usize;
        bytes.make(source, at, &mut buffer[..step])?;
        file.write_at(at, &buffer[..step])?;
        at += step as u64;
    }
    Ok(())
}

const _: () = assert!(STEP.is_multiple_of(SECTOR));
