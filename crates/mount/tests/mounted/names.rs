//! Both sides see one tree, one set of attributes, and the same bytes.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use pinfold::{FileKind, Special};
use rustix::fs::{FallocateFlags, XattrFlags, fallocate, getxattr, listxattr, setxattr};

use crate::mounted;

#[test]
fn what_is_written_on_one_side_is_read_on_the_other_at_once() {
    let Some(mounted) = mounted("what_is_written_on_one_side_is_read_on_the_other_at_once") else { return };
    let mut file = fs::File::create_new(mounted.path("file")).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    file.write_all(&bytes).unwrap();
    let same = mounted.pool.open("/file").unwrap();
    let mut read = vec![0; bytes.len() + 1];
    assert_eq!(same.read_at(0, &mut read).unwrap(), bytes.len());
    assert!(read[..bytes.len()] == bytes);
    same.write_at(1_000_000, b"from the other side").unwrap();
    let mut found = [0; 19];
    file.read_exact_at(&mut found, 1_000_000).unwrap();
    assert_eq!(&found, b"from the other side");
    same.truncate(10).detach().wait().unwrap();
    assert_eq!(file.read_at(&mut found, 0).unwrap(), 10);
    assert_eq!(file.read_at(&mut found, 10).unwrap(), 0);
    same.append(b"more").unwrap();
    file.seek(SeekFrom::Start(10)).unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"more");
}

#[test]
fn names_and_attributes_are_those_of_the_pool() {
    let Some(mounted) = mounted("names_and_attributes_are_those_of_the_pool") else { return };
    let at = |path: &str| mounted.path(path);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), b"bytes").unwrap();
    fs::hard_link(at("dir/file"), at("dir/same")).unwrap();
    symlink("dir/file", at("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    fs::set_permissions(at("dir/file"), fs::Permissions::from_mode(0o640)).unwrap();
    setxattr(at("dir/file"), "user.camera", b"left", XattrFlags::CREATE).unwrap();

    let known = mounted.pool.metadata("/dir/file").unwrap();
    let seen = fs::metadata(at("dir/same")).unwrap();
    assert_eq!((seen.ino(), seen.nlink(), seen.len()), (known.id.number(), 2, 5));
    assert_eq!((known.mode, seen.mode() & 0o7777), (0o640, 0o640));
    assert_eq!(seen.blocks() * 512, known.allocated);
    assert_eq!(fs::read(at("link")).unwrap(), b"bytes");
    assert_eq!(mounted.pool.symlink_metadata("/pipe").unwrap().kind, FileKind::Special(Special::Pipe));
    let mut value = [0; 16];
    let len = getxattr(at("dir/same"), "user.camera", &mut value).unwrap();
    assert_eq!(&value[..len], b"left");
    let mut names = [0; 64];
    let len = listxattr(at("dir/same"), &mut names).unwrap();
    assert_eq!(&names[..len], b"user.camera\0");

    let mut listed: Vec<_> = fs::read_dir(at("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    listed.sort();
    assert_eq!(listed, ["dir", "link", "pipe"]);
    fs::rename(at("dir"), at("moved")).unwrap();
    assert!(mounted.pool.open("/moved/same").is_ok());
    fs::remove_dir_all(at("moved")).unwrap();
    assert!(mounted.pool.metadata("/moved").is_err());
    assert!(mounted.pool.open_by_id(known.id).is_none());
}

#[test]
fn an_unlinked_file_keeps_its_bytes_while_it_is_open() {
    let Some(mounted) = mounted("an_unlinked_file_keeps_its_bytes_while_it_is_open") else { return };
    fs::write(mounted.path("file"), b"bytes").unwrap();
    let file = fs::File::open(mounted.path("file")).unwrap();
    fs::remove_file(mounted.path("file")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"bytes");
}

#[test]
fn holes_are_made_found_and_filled() {
    let Some(mounted) = mounted("holes_are_made_found_and_filled") else { return };
    let file = fs::File::create_new(mounted.path("file")).unwrap();
    file.write_all_at(&[7; 65536], 0).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 16384, 8192).unwrap();
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).unwrap(), 16384);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(16384)).unwrap(), 24576);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 65536, 65536).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 65536);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 32768, 65536).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 98304);
    let mut bytes = vec![1; 98304];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..16384].iter().all(|byte| *byte == 7) && bytes[16384..24576].iter().all(|byte| *byte == 0));
    assert!(bytes[24576..32768].iter().all(|byte| *byte == 7) && bytes[32768..].iter().all(|byte| *byte == 0));
    let error = fallocate(&file, FallocateFlags::empty(), 0, 1 << 30).unwrap_err();
    assert_eq!(error, rustix::io::Errno::NOSPC);
}
