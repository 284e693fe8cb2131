//! The file that is brought in: which one, what the device reads of it, and what the pool must hold afterwards.
//!
//! A device reads whole sectors, so the source is the file padded with zeros to [`SECTOR`], over and over. What it holds
//! is told by plain read(2), in another way than by the device whose work is checked with it.
//!
//! Stays true  S1: every piece lies in one turn of the file, so one read of the device gives all of it, but for the
//!                 padding behind the file's end.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::status::{CannotRun, doing};

/// Offsets and lengths of direct I/O are multiples of it: the pool's block as well.
pub(crate) const SECTOR: u64 = 4096;

/// The most that one transfer moves.
pub(crate) const PIECE: u64 = 1 << 20;

/// The most transfers of one load.
const PIECES_MAX: u64 = 512;

/// A regular file, open for both ways to read it.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    buffered: File,
    /// For the device; without `O_DIRECT` if its file system has none.
    pub(crate) device: File,
    /// Whether `device` is past the page cache.
    pub(crate) direct: bool,
    /// As it was when it was opened.
    metadata: Metadata,
}

/// What one transfer moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// Where in the source's file.
    pub(crate) from: u64,
    /// Where in the pool's file.
    pub(crate) to: u64,
    /// Bytes, in whole sectors.
    pub(crate) len: u64,
    /// Those of them that lie before the end of the source's file.
    pub(crate) in_file: u64,
}

impl Source {
    /// Opens `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, CannotRun> {
        let said = path.display();
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(doing(format_args!("cannot read {said}")))?;
        if metadata.is_dir() {
            return Err(CannotRun(format!("{said} is a directory: give a file")));
        }
        if !metadata.is_file() {
            return Err(CannotRun(format!("{said} is not a regular file: give one")));
        }
        if metadata.len() == 0 {
            return Err(CannotRun(format!("{said} is empty: give a file that holds something")));
        }
        let buffered = File::open(path).map_err(doing(format_args!("cannot read {said}")))?;
        let past_the_cache = File::options().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
        let direct = past_the_cache.is_ok();
        let device =
            past_the_cache.or_else(|_| buffered.try_clone()).map_err(doing(format_args!("cannot open {said}")))?;
        Ok(Self { path: path.to_owned(), buffered, device, direct, metadata })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.metadata.len()
    }

    /// Bytes of one turn.
    fn turn(&self) -> u64 {
        self.len().next_multiple_of(SECTOR)
    }

    /// How much to move at once: `wanted`, or what [`PIECES_MAX`] pieces of a small file give. Whole sectors, and so is
    /// a sixteenth of it, if `wanted` is such a size.
    pub(crate) fn load(&self, wanted: u64) -> u64 {
        wanted.min(PIECES_MAX * self.turn())
    }

    /// What the device reads for `len` bytes of a pool's file from `to` on, if they are to hold the source from `from`
    /// on. In whole sectors.
    pub(crate) fn pieces(&self, from: u64, to: u64, len: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < len {
            let at = (from + done) % self.turn();
            let piece = PIECE.min(self.turn() - at).min(len - done);
            let in_file = piece.min(self.len() - at);
            pieces.push(Piece { from: at, to: to + done, len: piece, in_file });
            done += piece;
        }
        pieces
    }

    /// What the source holds from `from` on, by plain reads.
    pub(crate) fn read(&self, from: u64, into: &mut [u8]) -> io::Result<()> {
        for piece in self.pieces(from, 0, into.len() as u64) {
            let (bytes, padding) = into[piece.to as usize..][..piece.len as usize].split_at_mut(piece.in_file as usize);
            self.buffered.read_exact_at(bytes, piece.from)?;
            padding.fill(0);
        }
        Ok(())
    }

    /// Whether somebody has written to the file since it was opened.
    pub(crate) fn was_changed(&self) -> io::Result<bool> {
        let now = self.buffered.metadata()?;
        let stamp = |data: &Metadata| (data.len(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
        Ok(stamp(&now) != stamp(&self.metadata))
    }
}

/// A large file that every machine has: the largest one in some directories of libraries and programs.
pub(crate) fn of_this_machine() -> Result<PathBuf, CannotRun> {
    let own = std::env::current_exe().ok();
    let toolchain = std::env::var_os("CARGO").and_then(|cargo| Some(Path::new(&cargo).parent()?.parent()?.join("lib")));
    let system = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/bin"];
    let directories = toolchain.into_iter().chain(system.map(PathBuf::from));
    let files = directories.filter_map(|path| std::fs::read_dir(path).ok()).flatten().flatten().map(|file| file.path());
    let readable = files.chain(own).filter_map(|path| Some((size(&path)?, path)));
    let largest = readable.max().filter(|(len, _)| *len > 0);
    largest.map(|(_, path)| path).ok_or_else(|| CannotRun("found no file to bring in: give one".to_owned()))
}

/// Bytes of a regular file that this process may read.
fn size(path: &Path) -> Option<u64> {
    let metadata = std::fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
    rustix::fs::access(path, rustix::fs::Access::READ_OK).ok()?;
    Some(metadata.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn source_of(bytes: &[u8]) -> Source {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Source::open(file.path()).unwrap()
    }

    #[test]
    fn a_small_file_is_repeated_in_whole_sectors() {
        let source = source_of(&[7; 5000]);
        let pieces = source.pieces(4096, 0, 5 * SECTOR);
        let of = |piece: &Piece| (piece.from, piece.to, piece.len, piece.in_file);
        let expected = [(4096, 0, 4096, 904), (0, 4096, 8192, 5000), (0, 12288, 8192, 5000)];
        assert_eq!(pieces.iter().map(of).collect::<Vec<_>>(), expected);
        let mut held = vec![1; 3 * SECTOR as usize];
        source.read(4096, &mut held).unwrap();
        assert!(held[..904].iter().all(|byte| *byte == 7) && held[904..4096].iter().all(|byte| *byte == 0));
        assert!(held[4096..9096].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_load_has_at_most_so_many_pieces() {
        let source = source_of(&[7; 10]);
        let load = source.load(64 << 20);
        assert_eq!(load, 512 * SECTOR);
        assert_eq!(source.pieces(0, 0, load).len(), 512);
    }

    #[test]
    fn a_large_file_is_moved_in_large_pieces() {
        let source = source_of(&vec![7; 3 << 20]);
        let load = source.load(2 << 20);
        assert_eq!(source.pieces(0, 0, load).len(), 2);
        assert_eq!(load, 2 << 20);
    }
}
