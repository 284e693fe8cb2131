//! The two superblocks: each by itself, then beside the other.

use std::io;

use super::finding::Finding;
use super::report::Findings;
use crate::medium::source::Source;
use crate::medium::superblock::{NoSuperblock, SUPERBLOCK_BYTES, SUPERBLOCKS, Superblock};

/// What lies where superblocks lie.
pub(super) struct Superblocks {
    /// As they were read; nothing where they could not be, empty where the medium ends before.
    bytes: [Option<Vec<u8>>; 2],
    pub(super) found: [Result<Superblock, NoSuperblock>; 2],
    /// Bytes of the medium.
    pub(super) have: u64,
}

impl Superblocks {
    pub(super) fn read(source: &(impl Source + ?Sized)) -> Self {
        let bytes = SUPERBLOCKS.map(|place| raw(source, place));
        let found = [0, 1].map(|index| match &bytes[index] {
            Ok(bytes) => Superblock::check(bytes),
            Err(error) => Err(NoSuperblock::Io(io::Error::new(error.kind(), error.to_string()))),
        });
        let bytes = bytes.map(|bytes| bytes.ok());
        Self { bytes, found, have: source.len().unwrap_or(0) }
    }

    /// Whether they are the same still.
    pub(super) fn are_still(&self, source: &(impl Source + ?Sized)) -> bool {
        let same = |index: usize| raw(source, SUPERBLOCKS[index]).ok() == self.bytes[index];
        same(0) && same(1)
    }

    /// The one that counts, and which of the two it is.
    pub(super) fn chosen(&self) -> Option<(usize, &Superblock)> {
        let whole = self.found.iter().enumerate().filter_map(|(index, found)| Some((index, found.as_ref().ok()?)));
        whole.max_by_key(|(_, superblock)| superblock.generation)
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        if self.found.iter().all(|found| matches!(found, Err(NoSuperblock::NotAPool))) {
            return findings.add(Finding::NotAPool);
        }
        let whole = self.chosen().is_some();
        for (place, found) in SUPERBLOCKS.into_iter().zip(&self.found) {
            match found {
                Ok(_) => {}
                Err(NoSuperblock::Version(found)) => findings.add(Finding::SuperblockVersion { place, found: *found }),
                Err(NoSuperblock::Io(error)) => {
                    findings.add(Finding::Unreadable { what: "a superblock", place, why: error.to_string() });
                }
                Err(why) => {
                    let why = why_not(why).to_owned();
                    findings.add(Finding::SuperblockDamaged { place, why, other_is_whole: whole });
                }
            }
        }
        if let Some((_, chosen)) = self.chosen().filter(|(_, chosen)| chosen.len > self.have) {
            findings.add(Finding::Cut { len: chosen.len, have: self.have });
        }
        if let [Ok(one), Ok(other)] = &self.found {
            self.compare(one, other, findings);
        }
    }

    fn compare(&self, one: &Superblock, other: &Superblock, findings: &mut Findings) {
        let (old, young, place) = match one.generation < other.generation {
            true => (one, other, SUPERBLOCKS[0]),
            false => (other, one, SUPERBLOCKS[1]),
        };
        if old.pool != young.pool {
            return findings.add(Finding::SuperblockOfAnotherPool { place });
        }
        if old.generation == young.generation && old != young {
            return findings.add(Finding::SuperblocksOfOneGeneration { generation: old.generation });
        }
        let disagree = |what| Some(Finding::SuperblocksDisagree { what });
        let finding = match () {
            () if old == young => None,
            () if old.block != young.block => disagree("their blocks have two sizes"),
            () if old.log_len != young.log_len => disagree("their logs have two lengths"),
            () if young.len < old.len => disagree("the pool has become shorter"),
            () if young.epoch < old.epoch => disagree("the number of the opening has gone back"),
            () if young.replay_from < old.replay_from => disagree("the log has gone back"),
            () if young.last_node < old.last_node => disagree("the largest number of a node has gone back"),
            () if young.generation - old.generation > 1 => disagree("one or more lie between them"),
            () => Some(Finding::SuperblockBehind { place }),
        };
        finding.into_iter().for_each(|finding| findings.add(finding));
    }
}

/// Why a superblock is none.
pub(super) fn why_not(error: &NoSuperblock) -> &'static str {
    match error {
        NoSuperblock::NotAPool => "nothing is there that looks like one",
        NoSuperblock::Damaged(why) => why,
        NoSuperblock::Version(_) => "it is of another version",
        NoSuperblock::Cut { .. } => "the medium ends before",
        NoSuperblock::Io(_) => "it could not be read",
    }
}

fn raw(source: &(impl Source + ?Sized), place: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    match source.read_at(place, &mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        read => read.map(|()| bytes),
    }
}
