//! What the kernel asks, and what the pool answers. Each request is answered where it was read, by one of several threads.
//!
//! Stays true  F1: the kernel is told of an inode (`References::add`) before the reply that tells it.
//!             F2: bytes that are read and written are never cached by the kernel, unless a program maps the file: what the library and
//!                 devices do is seen at once.
//!             F3: what takes blocks away waits for no transfer, and leaves them to whoever reaches them. A read or write waits while an
//!                 operation of the library does, on the same bytes; its thread answers nobody else meanwhile.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use pinfold::{
    AttributeError, ChangeError, CopyError, Extend, File, Held, Inode, JournalError, Listed, NameError, Pool, Rename,
    SetAttributes, SpaceError,
};

use crate::attributes::{Owner, attributes, kind, special, time};
use crate::handles::{Dirs, Files, Handles, OpenDir};
use crate::references::References;

/// Bytes of a name.
const NAME_MAX: usize = 255;

/// A pool, as the kernel sees it.
pub(crate) struct Mounted {
    pub(crate) pool: Pool,
    pub(crate) owner: Owner,
    /// For how long the kernel may believe what it was told of names and attributes.
    pub(crate) believed: Duration,
    references: References,
    files: Files,
    dirs: Dirs,
}

/// An error number.
struct Failed(Errno);

type Answer<T> = Result<T, Failed>;

macro_rules! failed_from {
    ($($error:ty),*) => { $(
        impl From<$error> for Failed {
            fn from(error: $error) -> Self {
                Self(Errno::from_i32(error.errno()))
            }
        }
    )* };
}
failed_from!(NameError, AttributeError, ChangeError, CopyError, JournalError, SpaceError);

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

/// Answers with what `$call` brings, by the reply's method for it.
macro_rules! answer {
    ($reply:ident, $call:expr, |$brought:pat_param| $answered:expr) => {
        match $call {
            Ok($brought) => $answered,
            Err(Failed(errno)) => $reply.error(errno),
        }
    };
}

impl Mounted {
    pub(crate) fn new(pool: Pool, owner: Owner, believed: Duration) -> Result<Self, NameError> {
        let references = References::new(pool.inode("/")?);
        Ok(Self { pool, owner, believed, references, files: Handles::new(), dirs: Handles::new() })
    }

    fn inode(&self, number: INodeNo) -> Answer<Inode> {
        Ok(self.references.get(number.0).ok_or(Errno::ESTALE)?)
    }

    fn dir(&self, number: INodeNo) -> Answer<Held> {
        Ok(self.inode(number)?.held().ok_or(Errno::ENOTDIR)?)
    }

    fn file(&self, handle: FileHandle) -> Answer<File> {
        Ok(self.files.get(handle.0).ok_or(Errno::EBADF)?)
    }

    fn opened(&self, number: INodeNo) -> Answer<File> {
        let inode = self.inode(number)?;
        Ok(inode.open().ok_or(if inode.held().is_some() { Errno::EISDIR } else { Errno::ESTALE })?)
    }

    fn known(&self, inode: &Inode) -> FileAttr {
        attributes(&inode.metadata(), self.owner, self.pool.block_size())
    }

    /// Tells the kernel of an inode (F1).
    fn enter(&self, inode: &Inode) -> FileAttr {
        self.references.add(inode);
        self.known(inode)
    }

    /// Answers with what was entered.
    fn entered(&self, reply: ReplyEntry, entered: Answer<FileAttr>) {
        answer!(reply, entered, |attr| reply.entry(&self.believed, &attr, Generation(0)));
    }

    fn lookup(&self, parent: INodeNo, name: &OsStr) -> Answer<FileAttr> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let inode = self.dir(parent)?.get(name).ok_or(Errno::ENOENT)?;
        Ok(self.enter(&inode))
    }

    /// What something new has: the mode that was asked for, and who asked as its owner. In a directory that hands its group down, that
    /// group.
    fn made_by(&self, request: &Request, parent: &Held, mode: u32, umask: u32) -> SetAttributes {
        let parent = parent.inode().metadata();
        let hands_down = parent.mode & libc::S_ISGID != 0;
        let gid = if hands_down { parent.gid.unwrap_or(self.owner.gid) } else { request.gid() };
        let down = if hands_down && mode & libc::S_IFMT == libc::S_IFDIR { libc::S_ISGID } else { 0 };
        let mode = (mode & !umask & 0o7777) | down;
        SetAttributes { mode: Some(mode), uid: Some(request.uid()), gid: Some(gid), ..SetAttributes::default() }
    }

    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
    ) -> Answer<FileAttr> {
        let dir = self.dir(parent)?;
        let made = self.made_by(request, &dir, mode, umask);
        let inode = match special(mode, device) {
            Some(special) => dir.create_special(name, special, &made)?,
            None if mode & libc::S_IFMT == libc::S_IFDIR => dir.create_dir(name, &made)?,
            None => dir.create(name, &made)?.inode(),
        };
        Ok(self.enter(&inode))
    }

    fn set(
        &self,
        number: INodeNo,
        handle: Option<FileHandle>,
        size: Option<u64>,
        to: &SetAttributes,
    ) -> Answer<FileAttr> {
        let inode = self.inode(number)?;
        if let Some(size) = size {
            let file = handle.and_then(|handle| self.files.get(handle.0)).map_or_else(|| self.opened(number), Ok)?;
            file.truncate(size).detach().wait()?;
        }
        if *to != SetAttributes::default() {
            inode.set(to)?;
        }
        Ok(self.known(&inode))
    }

    fn write(&self, handle: FileHandle, offset: u64, data: &[u8], flags: OpenFlags) -> Answer<u32> {
        let file = self.file(handle)?;
        match flags.0 & libc::O_APPEND {
            0 => file.write_at(offset, data)?,
            // Where the file ends now, and not where the kernel last saw it end.
            _ => drop(file.append(data)?),
        }
        self.end_privileges(&file)?;
        Ok(data.len() as u32)
    }

    /// What was written by anybody runs as its owner no more.
    fn end_privileges(&self, file: &File) -> Answer<()> {
        let mode = file.metadata().mode;
        let runs_as_group = mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0;
        if mode & libc::S_ISUID == 0 && !runs_as_group {
            return Ok(());
        }
        let left = mode & !libc::S_ISUID & if runs_as_group { !libc::S_ISGID } else { !0 };
        Ok(file.inode().set(&SetAttributes { mode: Some(left), ..SetAttributes::default() })?)
    }

    fn allocate(&self, handle: FileHandle, offset: u64, len: u64, mode: i32) -> Answer<()> {
        let file = self.file(handle)?;
        let range = offset..offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let keep = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 if keep => file.allocate(range).keep_size().try_now()?,
            0 => file.allocate(range).try_now()?,
            libc::FALLOC_FL_PUNCH_HOLE => file.punch(range).detach().wait()?,
            libc::FALLOC_FL_ZERO_RANGE if keep => file.zero(range).keep_size().detach().wait()?,
            libc::FALLOC_FL_ZERO_RANGE => file.zero(range).detach().wait()?,
            _ => return Err(Errno::EOPNOTSUPP.into()),
        }
        Ok(())
    }

    fn seek(&self, handle: FileHandle, offset: i64, whence: i32) -> Answer<i64> {
        let file = self.file(handle)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let found = match whence {
            libc::SEEK_DATA => file.seek_data(offset),
            libc::SEEK_HOLE => file.seek_hole(offset),
            _ => return Err(Errno::EINVAL.into()),
        };
        Ok(found.ok_or(Errno::ENXIO)? as i64)
    }

    /// The names of a listing from an offset on, each with the offset after it; the directory itself and its parent are the first two.
    fn show(&self, handle: FileHandle, offset: u64, mut show: impl FnMut(u64, &OsStr, &Inode) -> bool) -> Answer<()> {
        let open = self.dirs.get(handle.0).ok_or(Errno::EBADF)?;
        let listing = open.listing(offset);
        let here = open.dir.inode();
        let above = open.dir.parent().unwrap_or_else(|| here.clone());
        let dots = [(OsStr::new("."), &here), (OsStr::new(".."), &above)];
        let names = listing.iter().map(|Listed { name, inode }| (name.as_os_str(), inode));
        let rest = dots.into_iter().chain(names).zip(1..).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for ((name, inode), next) in rest {
            // What is gone is not shown as if it were there.
            let is_there = || open.dir.get(name).is_some_and(|now| now.id() == inode.id());
            if (next <= 2 || is_there()) && show(next, name, inode) {
                break;
            }
        }
        Ok(())
    }

    fn rename(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> Answer<()> {
        let how = match flags {
            flags if flags.is_empty() => Rename::Replace,
            RenameFlags::RENAME_NOREPLACE => Rename::NoReplace,
            RenameFlags::RENAME_EXCHANGE => Rename::Exchange,
            _ => return Err(Errno::EINVAL.into()),
        };
        Ok(self.dir(from.0)?.rename(from.1, &self.dir(to.0)?, to.1, how)?)
    }

    fn copy(&self, from: (FileHandle, u64), to: (FileHandle, u64), len: u64) -> Answer<u32> {
        // What the reply can say.
        let len = len.min(u64::from(u32::MAX) & !0xfff);
        let (source, target) = (self.file(from.0)?, self.file(to.0)?);
        let end = from.1.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        let copied = source.copy_range(from.1..end, &target, to.1)?;
        self.end_privileges(&target)?;
        Ok(copied as u32)
    }

    fn extend(&self, number: INodeNo, name: &OsStr, value: &[u8], flags: i32) -> Answer<()> {
        let how = match flags {
            0 => Extend::Any,
            libc::XATTR_CREATE => Extend::New,
            libc::XATTR_REPLACE => Extend::Replace,
            _ => return Err(Errno::EINVAL.into()),
        };
        check_extended_name(name)?;
        Ok(self.inode(number)?.set_extended(name.as_encoded_bytes(), value, how)?)
    }
}

/// `system.` is what a file system interprets, as access control lists, which a mode would have to follow: a mount has none.
fn check_extended_name(name: &OsStr) -> Answer<()> {
    match name.as_encoded_bytes().starts_with(b"system.") {
        true => Err(Errno::EOPNOTSUPP.into()),
        false => Ok(()),
    }
}

/// A value of which the kernel wants the length, or all of it in a buffer of `size` bytes. A pool has none longer than the kernel takes.
fn give(reply: ReplyXattr, value: &[u8], size: u32) {
    match size {
        0 => reply.size(value.len() as u32),
        size if value.len() > size as usize => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

impl Filesystem for Mounted {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP;
        // What this kernel does not have is not asked for.
        let _ = config.add_capabilities(wanted & config.capabilities());
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entered(reply, self.lookup(parent, name));
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.references.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.inode(number), |inode| reply.attr(&self.believed, &self.known(&inode)));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (accessed, modified) = (accessed.map(time), modified.map(time));
        let to = SetAttributes { mode: mode.map(|mode| mode & 0o7777), uid, gid, accessed, modified };
        answer!(reply, self.set(number, handle, size, &to), |attr| reply.attr(&self.believed, &attr));
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let target = self.inode(number).and_then(|inode| Ok(inode.read_link().ok_or(Errno::EINVAL)?));
        answer!(reply, target, |target| reply.data(target.as_os_str().as_encoded_bytes()));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make(request, parent, name, mode, umask, device);
        self.entered(reply, made);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made = self.make(request, parent, name, mode | libc::S_IFDIR, umask, 0);
        self.entered(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.dir(parent).and_then(|dir| Ok(dir.unlink(name)?)), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.dir(parent).and_then(|dir| Ok(dir.remove_dir(name)?)), |()| reply.ok());
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.dir(parent).and_then(|dir| {
            let made = self.made_by(request, &dir, 0o777, 0);
            Ok(self.enter(&dir.symlink(target, name, &made)?))
        });
        self.entered(reply, made);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.rename((parent, name), (new_parent, new_name), flags), |()| reply.ok());
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.inode(number).and_then(|inode| {
            self.dir(parent)?.link(&inode, name)?;
            Ok(self.enter(&inode))
        });
        self.entered(reply, linked);
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.opened(number).map(|file| FileHandle(self.files.add(file)));
        answer!(reply, opened, |handle| reply.opened(handle, uncached()));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.dir(parent).and_then(|dir| {
            let file = dir.create(name, &self.made_by(request, &dir, mode, umask))?;
            let attr = self.enter(&file.inode());
            Ok((attr, FileHandle(self.files.add(file))))
        });
        answer!(reply, made, |(attr, handle)| {
            reply.created(&self.believed, &attr, Generation(0), handle, uncached());
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let read = self.file(handle).and_then(|file| Ok(file.read_at(offset, &mut bytes)?));
        answer!(reply, read, |len| reply.data(&bytes[..len]));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.write(handle, offset, data, flags), |len| reply.written(len));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.end(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.file(handle).and_then(|file| Ok(file.sync()?)), |()| reply.ok());
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.dir(number).map(|dir| FileHandle(self.dirs.add(OpenDir::new(dir))));
        answer!(reply, opened, |handle| reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let shown = self.show(handle, offset, |next, name, inode| {
            let metadata = inode.metadata();
            reply.add(INodeNo(metadata.id.number()), next, kind(metadata.kind), name)
        });
        answer!(reply, shown, |()| reply.ok());
    }

    fn readdirplus(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let shown = self.show(handle, offset, |next, name, inode| {
            // The kernel does not take `.` and `..` for told (F1).
            let told = next > 2;
            let attr = if told { self.enter(inode) } else { self.known(inode) };
            let is_full = reply.add(attr.ino, next, name, &self.believed, &attr, Generation(0));
            if is_full && told {
                self.references.forget(attr.ino.0, 1);
            }
            is_full
        });
        answer!(reply, shown, |()| reply.ok());
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.dirs.end(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.pool.sync().map_err(Failed::from), |()| reply.ok());
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (stats, block) = (self.pool.stats(), self.pool.block_size());
        let blocks = |bytes: u64| bytes / block;
        let (total, free) = (blocks(stats.total), blocks(stats.free + stats.not_durable));
        // As many nodes as there may be ids; each takes memory alone.
        let nodes = u64::from(u32::MAX);
        reply.statfs(
            total,
            free,
            free,
            nodes,
            nodes.saturating_sub(stats.nodes),
            block as u32,
            NAME_MAX as u32,
            block as u32,
        );
    }

    fn setxattr(
        &self,
        _: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.extend(number, name, value, flags), |()| reply.ok());
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.inode(number).and_then(|inode| {
            check_extended_name(name)?;
            let value = inode.extended(name.as_encoded_bytes());
            Ok(value.ok_or(Errno::ENODATA)?)
        });
        answer!(reply, value, |value| give(reply, &value, size));
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.inode(number).map(|inode| {
            let names = inode.extended_names().into_iter();
            names.flat_map(|name| name.into_iter().chain([0])).collect::<Vec<u8>>()
        });
        answer!(reply, names, |names| give(reply, &names, size));
    }

    fn removexattr(&self, _: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.inode(number).and_then(|inode| Ok(inode.remove_extended(name.as_encoded_bytes())?));
        answer!(reply, removed, |()| reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.allocate(handle, offset, len, mode), |()| reply.ok());
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        answer!(reply, self.seek(handle, offset, whence), |found| reply.offset(found));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        offset_from: u64,
        _: INodeNo,
        to: FileHandle,
        offset_to: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.copy((from, offset_from), (to, offset_to), len), |copied| reply.written(copied));
    }
}

/// Every read and write is asked for (F2); several at a time.
fn uncached() -> FopenFlags {
    FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}
