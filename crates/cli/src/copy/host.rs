//! Files of the host: one that is read, and one that gets its name when it is whole.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, open, renameat_with, unlink};
use rustix::io::Errno;

use super::beside;

/// A file that is read.
pub(super) struct Source {
    buffered: File,
    /// Past the page cache, where it has that.
    direct: Option<File>,
    /// Bytes; nobody knows of a stream.
    pub(super) len: Option<u64>,
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    /// Standard input: a stream, or a file that was put in its place.
    pub(super) fn stdin() -> io::Result<Self> {
        Self::of(File::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    fn of(buffered: File) -> io::Result<Self> {
        let metadata = buffered.metadata()?;
        let len = match length(&buffered, &metadata)? {
            Some(len) if rustix::fs::tell(&buffered) == Ok(0) => Some(len),
            // In the middle of a file: from there on.
            _ => None,
        };
        let direct = len.and_then(|_| again(&buffered, OFlags::RDONLY | OFlags::DIRECT).ok());
        Ok(Self { buffered, direct, len })
    }

    pub(super) fn file(&self) -> &File {
        &self.buffered
    }

    /// Whether it is a regular file, read from its first byte on.
    pub(super) fn is_regular(&self) -> bool {
        self.len.is_some() && self.buffered.metadata().is_ok_and(|metadata| metadata.is_file())
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// By which descriptor a window is read.
    pub(super) fn fd(&self, direct: bool) -> BorrowedFd<'_> {
        self.direct.as_ref().filter(|_| direct).unwrap_or(&self.buffered).as_fd()
    }
}

/// How long a file or device is. `None` for what is read to its end, wherever that is.
fn length(file: &File, metadata: &Metadata) -> io::Result<Option<u64>> {
    let kind = metadata.file_type();
    match (kind.is_file(), kind.is_block_device()) {
        // What the kernel makes up as it is read (in /proc, in /sys) says that it is empty.
        (true, _) if metadata.len() == 0 && metadata.blocks() == 0 => Ok(is_empty(file)?.then_some(0)),
        (true, _) => Ok(Some(metadata.len())),
        (_, true) => {
            let len = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?;
            rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
            Ok(Some(len))
        }
        _ => Ok(None),
    }
}

fn is_empty(file: &File) -> io::Result<bool> {
    Ok(std::os::unix::fs::FileExt::read_at(file, &mut [0], 0)? == 0)
}

/// A file that is written. It gets its name in [`Target::finish`]; dropped before, it never was.
pub(super) struct Target {
    buffered: OwnedFd,
    direct: Option<File>,
    path: PathBuf,
    /// The name that it has until then, where the file system has no files without.
    fallback: Option<PathBuf>,
}

impl Target {
    /// Begins a file that is to be `path`, and `len` bytes long: a hole.
    pub(super) fn begin(path: &Path, len: u64) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o666);
        let unnamed = open(dir_of(path), OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode);
        let (buffered, fallback) = match unnamed {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = beside(path);
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                (open(&name, flags, mode)?, Some(name))
            }
            Err(errno) => return Err(errno.into()),
        };
        let mut target = Self { buffered, direct: None, path: path.to_owned(), fallback };
        rustix::fs::ftruncate(&target.buffered, len)?;
        target.direct = again(&target.buffered, OFlags::WRONLY | OFlags::DIRECT).ok();
        Ok(target)
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// By which descriptor a window is written.
    pub(super) fn fd(&self, direct: bool) -> BorrowedFd<'_> {
        self.direct.as_ref().filter(|_| direct).map_or(self.buffered.as_fd(), |file| file.as_fd())
    }

    /// Gives it its name, in place of a file that has it if `replace`: that one's permissions stay.
    pub(super) fn finish(mut self, replace: bool) -> io::Result<()> {
        let there = std::fs::metadata(&self.path).ok().filter(|_| replace);
        let Some(there) = there else {
            return match self.fallback.take() {
                None => self.link(&self.path),
                Some(name) => Ok(renameat_with(CWD, name, CWD, &self.path, RenameFlags::NOREPLACE)?),
            };
        };
        let permissions = Permissions::from_mode(there.permissions().mode() & 0o7777);
        File::from(self.buffered.try_clone()?).set_permissions(permissions)?;
        let name = match self.fallback.take() {
            Some(name) => name,
            None => {
                let name = beside(&self.path);
                self.link(&name)?;
                name
            }
        };
        std::fs::rename(&name, &self.path).inspect_err(|_| {
            let _ = unlink(&name);
        })
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let unnamed = format!("/proc/self/fd/{}", self.buffered.as_raw_fd());
        Ok(linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(name) = &self.fallback {
            let _ = unlink(name);
        }
    }
}

/// Another description of an open file, past the page cache.
fn again(file: &impl AsFd, flags: OFlags) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let access = if flags.contains(OFlags::WRONLY) { (false, true) } else { (true, false) };
    let custom = (flags & OFlags::DIRECT).bits() as i32;
    File::options().read(access.0).write(access.1).custom_flags(custom).open(path)
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What is at a path, or where a symbolic link there leads. `None` for nothing.
pub(super) fn at(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a symbolic link in place of a file, in one step.
pub(super) fn replace_by_link(leads_to: &Path, path: &Path) -> io::Result<()> {
    let name = beside(path);
    std::os::unix::fs::symlink(leads_to, &name)?;
    std::fs::rename(&name, path).inspect_err(|_| {
        let _ = unlink(&name);
    })
}

/// Tells a file from all others.
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_target_has_no_name_before_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(Target::begin(&path, 10).unwrap());
        let target = Target::begin(&path, 10).unwrap();
        assert_eq!(
            std::fs::read_dir(dir.path())
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name() == "file")
                .count(),
            0
        );
        target.finish(false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 10]);
        let again = Target::begin(&path, 3).unwrap();
        assert_eq!(again.finish(false).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_is_replaced_keeps_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap().write_all(b"old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        Target::begin(&path, 3).unwrap().finish(true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 3]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_the_kernel_makes_up_is_a_stream() {
        assert_eq!(Source::open(Path::new("/proc/self/status")).unwrap().len, None);
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Source::open(empty.path()).unwrap().len, Some(0));
    }
}
