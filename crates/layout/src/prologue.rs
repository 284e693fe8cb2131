//! The static part of a header's prologue: what kind of memory this is, of which boot, whose, and how large. Written
//! once, before anybody else sees the header; checked whole before any of it is believed.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::mechanism::error::AreaError;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{AREA_VERSION, Growing, HEADER_MAGIC, Header, Prologue, checksum};
use crate::mechanism::words::Record;
use crate::memory::file_bytes;
use crate::sync::Ordering;

/// Words under the checksum: all that come before it.
const SEALED: usize = 17;

/// What the static part says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) flags: u64,
    pub(crate) boot: [u64; 2],
    pub(crate) incarnation: u64,
    pub(crate) owner_pid: u32,
    pub(crate) owner_started: u64,
    pub(crate) geometry: Geometry,
}

impl Stamp {
    fn to_words(self) -> [u64; SEALED] {
        let mut words = [0; SEALED];
        words[..8].copy_from_slice(&[
            HEADER_MAGIC,
            AREA_VERSION,
            self.flags,
            self.boot[0],
            self.boot[1],
            self.incarnation,
            u64::from(self.owner_pid),
            self.owner_started,
        ]);
        words[8..].copy_from_slice(&self.geometry.to_words());
        words
    }

    /// Writes it into a new header, whose prologue becomes real.
    pub(crate) fn write(&self, header: &Header) -> Result<(), AreaError> {
        header.allocate(Growing::Prologue, 0)?;
        let prologue = header.prologue();
        let words = self.to_words();
        prologue.version.store(words[1], Ordering::Relaxed);
        prologue.flags.store(self.flags, Ordering::Relaxed);
        prologue.boot[0].store(self.boot[0], Ordering::Relaxed);
        prologue.boot[1].store(self.boot[1], Ordering::Relaxed);
        prologue.incarnation.store(self.incarnation, Ordering::Relaxed);
        prologue.owner_pid.store(words[6], Ordering::Relaxed);
        prologue.owner_started.store(self.owner_started, Ordering::Relaxed);
        for (word, value) in prologue.geometry.iter().zip(&words[8..]) {
            word.store(*value, Ordering::Relaxed);
        }
        prologue.checksum.store(checksum(words), Ordering::Relaxed);
        prologue.magic.store(HEADER_MAGIC, Ordering::Release);
        Ok(())
    }

    /// Reads and checks the header in `file`. Of another boot it may be; of another kind, version or size not.
    pub(crate) fn check(file: impl AsFd, what: &str) -> Result<Self, AreaError> {
        let damaged = |why| AreaError::Damaged { what: what.to_owned(), why };
        let words = read_words(&file, 0, SEALED + 1)?;
        if words.first() != Some(&HEADER_MAGIC) {
            return Err(AreaError::NotAnArea(what.to_owned()));
        }
        match words.get(1) {
            Some(&AREA_VERSION) => {}
            Some(&found) => {
                return Err(AreaError::Version { what: what.to_owned(), found, known: AREA_VERSION });
            }
            None => return Err(damaged("it ends in its prologue")),
        }
        let Some((sum, sealed)) = words.split_last().filter(|(_, sealed)| sealed.len() == SEALED) else {
            return Err(damaged("it ends in its prologue"));
        };
        if checksum(sealed.iter().copied()) != *sum {
            return Err(damaged("the checksum of its prologue does not match"));
        }
        let capacities = sealed[8..].try_into().expect("9 capacities");
        let geometry = Geometry::from_words(capacities).ok_or_else(|| damaged("its capacities are unsound"))?;
        let owner_pid = u32::try_from(sealed[6]).map_err(|_| damaged("its owner's number is none"))?;
        if size_of_file(&file)? < file_bytes(geometry.header().end) {
            return Err(damaged("it is shorter than its capacities say"));
        }
        Ok(Self {
            flags: sealed[2],
            boot: [sealed[3], sealed[4]],
            incarnation: sealed[5],
            owner_pid,
            owner_started: sealed[7],
            geometry,
        })
    }
}

const _: () = assert!(std::mem::offset_of!(Prologue, checksum) == SEALED * 8);
const _: () = assert!(Prologue::WORDS > SEALED);

/// Up to `count` words of `file` from word `start`: fewer where it ends. Read, not mapped, so that a file that shrinks
/// meanwhile is an error and not a `SIGBUS`, and a hole of it stays one.
pub(crate) fn read_words(file: impl AsFd, start: usize, count: usize) -> Result<Vec<u64>, AreaError> {
    let mut bytes = vec![0; count * 8];
    let mut read = 0;
    while read < bytes.len() {
        match rustix::io::pread(&file, &mut bytes[read..], (start * 8 + read) as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(AreaError::system("read a file of it")(error)),
        }
    }
    let words = bytes[..read].chunks_exact(8);
    Ok(words.map(|word| u64::from_ne_bytes(word.try_into().expect("8 bytes"))).collect())
}

/// Length in bytes.
pub(crate) fn size_of_file(file: impl AsFd) -> Result<u64, AreaError> {
    let stat = rustix::fs::fstat(file).map_err(AreaError::system("look at a file of it"))?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// Which boot of which machine this is.
pub(crate) fn boot_id() -> Result<[u64; 2], AreaError> {
    let no_id = |source| AreaError::System { what: "learn which boot this is", source };
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|error| no_id(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).map_err(|_| no_id(Errno::INVAL))?;
    Ok([(id >> 64) as u64, id as u64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_has_one_id() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(boot_id().unwrap(), [0, 0]);
    }

    #[test]
    fn a_checksum_sees_every_word() {
        let words = [1_u64, 2, 3, 0, 0, 0, 0, 0, 9];
        for index in 0..words.len() {
            let mut other = words;
            other[index] ^= 1 << (index * 7);
            assert_ne!(checksum(words), checksum(other));
        }
    }
}
