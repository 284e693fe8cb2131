//! Whatever is wrong with what a region is asked to be: a clear error, nothing leaked, nothing written.
//!
//! One test alone in its process, since it counts the process's descriptors and mappings.

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use pinfold_region::{HugePageSize, OpenError, Region, RegionOptions};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create, open, statvfs};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One wrong thing to ask for, and what must be answered.
struct Case {
    name: String,
    errno: Errno,
    says: &'static str,
    ask: Box<dyn Fn() -> Result<Region, OpenError>>,
}

#[test]
fn what_is_wrong_is_told_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<Case> = [lengths(), paths(folder.path()), descriptors(folder.path()), addresses(), full()]
        .into_iter()
        .flatten()
        .collect();
    // Once to warm up what is made on first use (the page that a fork wipes, the allocator's arenas).
    for round in ["first", "second"] {
        for case in &cases {
            let before = (open_descriptors(), mappings(), contents(folder.path()));
            let refused = match (case.ask)() {
                Err(refused) => refused,
                Ok(region) => panic!("{}: gave {region:?}", case.name),
            };
            let told = refused.to_string();
            assert_eq!(refused.errno(), case.errno.raw_os_error(), "{}: {told}", case.name);
            assert!(told.contains(case.says), "{}: {told}", case.name);
            assert!(!told.contains('\n'), "{}: {told}", case.name);
            let after = (open_descriptors(), mappings(), contents(folder.path()));
            assert!(round == "first" || before == after, "{}: left behind {before:?} {after:?}", case.name);
        }
    }
    too_few_descriptors(&folder.path().join("file"));
    too_few_addresses(&folder.path().join("grows"));
}

fn case(
    name: impl Into<String>,
    errno: Errno,
    says: &'static str,
    ask: impl Fn() -> Result<Region, OpenError> + 'static,
) -> Case {
    Case { name: name.into(), errno, says, ask: Box::new(ask) }
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [0, 1, 4095, 4097, u64::MAX, u64::MAX - 4095, 1 << 63] {
        let name = format!("memfd of {len}");
        cases.push(case(name, Errno::INVAL, "positive multiple of 4096", move || Region::memfd(len)));
    }
    let most = (1 << 63) - 4096;
    cases.push(case("memfd of 8 EiB", Errno::NOMEM, "reserving addresses", move || Region::memfd(most)));
    for len in [0, 4096, (2 << 20) + 4096] {
        let name = format!("huge memfd of {len}");
        let ask = move || Region::memfd_huge(len, HugePageSize::TwoMiB);
        cases.push(case(name, Errno::INVAL, "positive multiple of 2097152", ask));
    }
    let pages = 1 << 20;
    let ask = move || Region::memfd_huge(pages * (2 << 20), HugePageSize::TwoMiB);
    cases.push(case("a million huge pages", Errno::NOMEM, "needs 1048576 huge pages", ask));
    for reserve in [0, 4096, u64::MAX, 1 << 63] {
        let ask = move || RegionOptions::new().reserve(reserve).memfd(8192);
        cases.push(case(format!("reserve of {reserve}"), Errno::INVAL, "reserve at least its length", ask));
    }
    cases
}

fn paths(folder: &Path) -> Vec<Case> {
    let at = |name: &str| folder.join(name);
    fs::write(at("file"), [7; 8192]).unwrap();
    fs::write(at("empty"), []).unwrap();
    fs::write(at("odd"), [7; 5000]).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let opening = |name: &str, errno, says| {
        let path = at(name);
        case(format!("opening {name}"), errno, says, move || Region::open(&path))
    };
    let creating = |name: &str, len, errno, says| {
        let path = at(name);
        case(format!("creating {name}"), errno, says, move || Region::create(&path, len))
    };
    let mut cases = vec![
        opening("none", Errno::NOENT, "opening it"),
        opening("none/below", Errno::NOENT, "opening it"),
        opening("file/below", Errno::NOTDIR, "opening it"),
        opening(".", Errno::INVAL, "is a directory"),
        opening("pipe", Errno::INVAL, "is a pipe"),
        opening("socket", Errno::INVAL, "is a socket"),
        opening("/dev/null", Errno::INVAL, "a character device other than device-DAX"),
        opening("/dev/zero", Errno::INVAL, "a character device other than device-DAX"),
        opening("empty", Errno::INVAL, "length 0"),
        opening("odd", Errno::INVAL, "length 5000"),
        creating("file", 4096, Errno::EXIST, "creating it"),
        creating(".", 4096, Errno::EXIST, "creating it"),
        creating("none/below", 4096, Errno::NOENT, "creating it"),
        creating("file/below", 4096, Errno::NOTDIR, "creating it"),
        creating("new", 0, Errno::INVAL, "positive multiple of 4096"),
        creating("new", 4097, Errno::INVAL, "positive multiple of 4096"),
    ];
    let program = std::env::current_exe().unwrap();
    cases.push(case("a program that runs", Errno::TXTBSY, "opening it", move || Region::open(&program)));
    match a_block_device() {
        Some(disk) => cases.push(case("a disk", Errno::INVAL, "is a block device", move || Region::open(&disk))),
        None => skipped("a disk: there is none in /dev"),
    }
    match rustix::process::geteuid().is_root() {
        true => skipped("a file without permission: root may open it"),
        false => cases.push(without_permission(at("forbidden"))),
    }
    cases
}

fn without_permission(path: PathBuf) -> Case {
    fs::write(&path, [7; 8192]).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    case("a file without permission", Errno::ACCESS, "opening it", move || Region::open(&path))
}

fn descriptors(folder: &Path) -> Vec<Case> {
    let file = folder.join("file");
    let adopting = |name: &str, errno, says, make: fn(&Path) -> OwnedFd, len| {
        let file = file.clone();
        case(format!("adopting {name}"), errno, says, move || Region::adopt_fd(make(&file), len))
    };
    vec![
        adopting(
            "a longer file than there is",
            Errno::NXIO,
            "has 8192 bytes",
            |file| opened(file, OFlags::RDWR),
            12_288,
        ),
        adopting("nothing of a file", Errno::INVAL, "length 0", |file| opened(file, OFlags::RDWR), 0),
        adopting("a part of a page", Errno::INVAL, "length 100", |file| opened(file, OFlags::RDWR), 100),
        adopting("what cannot be written", Errno::ACCESS, "O_RDWR", |file| opened(file, OFlags::RDONLY), 4096),
        adopting("what cannot be read", Errno::ACCESS, "O_RDWR", |file| opened(file, OFlags::WRONLY), 4096),
        adopting("a path only", Errno::ACCESS, "O_RDWR", |file| opened(file, OFlags::PATH), 4096),
        adopting(
            "a folder",
            Errno::INVAL,
            "is a directory",
            |file| opened(file.parent().unwrap(), OFlags::RDONLY),
            4096,
        ),
        adopting("a pipe", Errno::INVAL, "is a pipe", |_| rustix::pipe::pipe().unwrap().1, 4096),
        adopting("a sealed memfd", Errno::PERM, "mapping it", |_| sealed(), 4096),
        adopting(
            "an empty memfd",
            Errno::NXIO,
            "has 0 bytes",
            |_| memfd_create("empty", MemfdFlags::CLOEXEC).unwrap(),
            4096,
        ),
    ]
}

fn addresses() -> Vec<Case> {
    // SAFETY: refused for its address or length, so that nothing comes of it.
    let adopt = |address: usize, len| unsafe { Region::adopt(NonNull::new(address as *mut u8).unwrap(), len) };
    let huge = 2 << 20;
    vec![
        case("odd memory", Errno::INVAL, "align the memory", move || adopt(4097, 4096)),
        case("no memory", Errno::INVAL, "length 0", move || adopt(huge, 0)),
        case("a part of a page", Errno::INVAL, "length 4097", move || adopt(huge, 4097)),
        case("memory that wraps", Errno::INVAL, "can be mapped", move || adopt(usize::MAX - huge + 1, 4 << 20)),
        case("odd device memory", Errno::INVAL, "align the memory", || Region::device_only(0, 1, 4096)),
        case("no device memory", Errno::INVAL, "length 0", || Region::device_only(0, 0, 0)),
        case("device memory that wraps", Errno::INVAL, "can be mapped", || {
            Region::device_only(0, u64::MAX - (2 << 20) + 1, 4 << 20)
        }),
    ]
}

/// More than a tmpfs holds.
fn full() -> Vec<Case> {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        skipped("a full tmpfs: /dev/shm cannot be written");
        return Vec::new();
    };
    let space = statvfs(folder.path()).unwrap();
    let too_long = 2 * (space.f_blocks * space.f_frsize).next_multiple_of(4096);
    vec![case("more than a tmpfs holds", Errno::NOSPC, "allocating memory", move || {
        let made = RegionOptions::new().allocate(true).create(folder.path().join("pool"), too_long);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a file was left behind");
        made
    })]
}

/// Each step of opening meets a process that has one descriptor too few.
fn too_few_descriptors(file: &Path) {
    let usual = getrlimit(Resource::Nofile);
    let first_free = opened(file, OFlags::RDONLY).as_raw_fd() as u64;
    let mut refusals = 0;
    let mut opened_with_fewer = || {
        let before = (open_descriptors(), mappings());
        setrlimit(Resource::Nofile, Rlimit { current: Some(first_free + refusals), ..usual }).unwrap();
        let opened = Region::open(file);
        setrlimit(Resource::Nofile, usual).unwrap();
        let Err(refused) = opened else { return true };
        assert_eq!(refused.errno(), Errno::MFILE.raw_os_error(), "{refused}");
        assert_eq!((open_descriptors(), mappings()), before, "with {refusals} to spare: {refused}");
        refusals += 1;
        false
    };
    while !opened_with_fewer() {}
    assert!(refusals >= 2, "two descriptors are open at once: a look and the file, then the file and its claim");
}

/// Growing fails after the file was extended: the file becomes as long as it was.
fn too_few_addresses(file: &Path) {
    let options = RegionOptions::new().reserve(8 << 30);
    let region = options.create(file, 8192).unwrap();
    let before = (open_descriptors(), mappings());
    let usual = getrlimit(Resource::As);
    // Less than the reserved addresses alone: nothing more can be mapped.
    let none_left = Rlimit { current: Some(4 << 30), ..usual };
    setrlimit(Resource::As, none_left).unwrap();
    let grown = region.grow(8 << 30);
    setrlimit(Resource::As, usual).unwrap();

    let refused = grown.unwrap_err();
    assert_eq!(refused.errno(), Errno::NOMEM.raw_os_error(), "{refused}");
    assert_eq!(region.len(), 8192);
    assert_eq!(fs::metadata(file).unwrap().len(), 8192);
    assert_eq!((open_descriptors(), mappings()), before);
    region.grow(16_384).unwrap();
}

fn opened(path: &Path, flags: OFlags) -> OwnedFd {
    open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn sealed() -> OwnedFd {
    let file = memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, 4096).unwrap();
    fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    file
}

fn a_block_device() -> Option<PathBuf> {
    let devices = fs::read_dir("/dev").ok()?.flatten();
    devices.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device())).map(|entry| entry.path()).next()
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Each regular file in `folder`, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|file| (file.path(), fs::read(file.path()).unwrap())).collect()
}

/// Tells it past the harness, which keeps the output of a test that passes to itself.
fn skipped(what: &str) {
    let line = format!("\nskipped: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
