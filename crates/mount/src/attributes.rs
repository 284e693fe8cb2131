//! Attributes, as the kernel wants them.

use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use pinfold::{FileKind, Metadata, Special};

/// Who owns what nobody gave an owner: whoever owns the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

impl Owner {
    /// The user and group of this process.
    pub fn this_process() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

pub(crate) fn attributes(known: &Metadata, owner: Owner, block: u64) -> FileAttr {
    let device = match known.kind {
        FileKind::Special(Special::CharDevice(device) | Special::BlockDevice(device)) => device,
        _ => 0,
    };
    FileAttr {
        ino: INodeNo(known.id.number()),
        size: known.len,
        blocks: known.allocated / 512,
        atime: known.accessed,
        mtime: known.modified,
        ctime: known.changed,
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(known.kind),
        // Twelve bits.
        perm: known.mode as u16,
        nlink: known.links,
        uid: known.uid.unwrap_or(owner.uid),
        gid: known.gid.unwrap_or(owner.gid),
        rdev: packed(device),
        blksize: u32::try_from(block).unwrap_or(4096),
        flags: 0,
    }
}

pub(crate) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Special(Special::Pipe) => FileType::NamedPipe,
        FileKind::Special(Special::Socket) => FileType::Socket,
        FileKind::Special(Special::CharDevice(_)) => FileType::CharDevice,
        FileKind::Special(Special::BlockDevice(_)) => FileType::BlockDevice,
    }
}

/// What a `mknod` asks for. `None` for a file of bytes.
pub(crate) fn special(mode: u32, device: u32) -> Option<Special> {
    match mode & libc::S_IFMT {
        libc::S_IFIFO => Some(Special::Pipe),
        libc::S_IFSOCK => Some(Special::Socket),
        libc::S_IFCHR => Some(Special::CharDevice(unpacked(device))),
        libc::S_IFBLK => Some(Special::BlockDevice(unpacked(device))),
        _ => None,
    }
}

/// The number of a device as the protocol carries it (`new_encode_dev` in the kernel), from what `stat` gives.
fn packed(device: u64) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn unpacked(device: u32) -> u64 {
    let (major, minor) = ((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    libc::makedev(major, minor)
}

pub(crate) fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_device_comes_back_as_it_was() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (8, 256), (0xfff, 0xf_ffff)] {
            let device = libc::makedev(major, minor);
            assert_eq!(unpacked(packed(device)), device, "{major}:{minor}");
        }
        assert_eq!(packed(libc::makedev(1, 3)), 0x103);
        assert_eq!(packed(libc::makedev(8, 0x123)), 0x10_0823);
    }
}
