//! What a victim has done, told by a file that outlives it: a byte for each step of each thread.
//!
//! Stays true  W1: a step is noted as begun before anything of it is done, and as done after all of it is.
//! A crash     of the process leaves every byte that was noted: they are in the kernel's page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::step::STEPS;

/// How far a step came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// It was begun, and it is not known how much of it was done.
    Begun = 1,
    /// All of it was done.
    Done = 2,
    /// There was no space for all of it. The thread made no more.
    NoSpace = 3,
}

pub(super) struct Witness(File);

impl Witness {
    /// One that has seen nothing; what it saw before is forgotten.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).open(path)?))
    }

    pub(super) fn note(&self, thread: usize, step: usize, came: Came) -> io::Result<()> {
        self.0.write_all_at(&[came as u8], (thread * STEPS + step) as u64)
    }

    /// Of each step of a thread that was begun, how far it came.
    pub(super) fn of(&self, thread: usize) -> io::Result<Vec<Came>> {
        let mut bytes = vec![0; STEPS];
        let mut have = 0;
        loop {
            match self.0.read_at(&mut bytes[have..], (thread * STEPS + have) as u64)? {
                0 => break,
                some => have += some,
            }
        }
        let came = |byte: &u8| match byte {
            1 => Some(Came::Begun),
            2 => Some(Came::Done),
            3 => Some(Came::NoSpace),
            _ => None,
        };
        Ok(bytes.iter().map_while(came).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_told_by_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let witness = Witness::create(&path).unwrap();
        witness.note(1, 0, Came::Done).unwrap();
        witness.note(1, 1, Came::Begun).unwrap();
        witness.note(0, 0, Came::NoSpace).unwrap();
        let told = Witness::open(&path).unwrap();
        assert_eq!(told.of(0).unwrap(), [Came::NoSpace]);
        assert_eq!(told.of(1).unwrap(), [Came::Done, Came::Begun]);
        assert_eq!(told.of(2).unwrap(), []);
        assert_eq!(Witness::create(&path).unwrap().of(1).unwrap(), []);
    }
}
