//! Names in a directory that is held, as a kernel asks for them: in step with paths, and each rule by itself.

use std::path::Path;
use std::time::{Duration, SystemTime};

use pinfold::{FileKind, Held, NameError, Pool, Rename, SetAttributes, Snapshot, Special};
use rustix::io::Errno;

use crate::calls::{Answer, Call, Names, known};

/// A pool whose names are all asked for in the directory that they lie in, where the path ends with a plain name.
pub(crate) struct ByDirectory(pub(crate) Pool);

impl Names for ByDirectory {
    fn call(&mut self, call: &Call) -> Result<Answer, i32> {
        match self.answer(call) {
            Some(answer) => answer.map_err(|error| error.errno()),
            None => self.0.call(call),
        }
    }
}

impl ByDirectory {
    /// `None` for a call that has to be made by its path.
    fn answer(&self, call: &Call) -> Option<Result<Answer, NameError>> {
        let none = SetAttributes::default();
        Some(match call {
            Call::Create(path) => {
                self.at(path, |dir, name| Ok(Answer::Opened(dir.create(name, &none)?.id().number())))?
            }
            Call::Unlink(path) => self.at(path, |dir, name| dir.unlink(name).map(done))?,
            Call::CreateDir(path) => self.at(path, |dir, name| dir.create_dir(name, &none).map(done))?,
            Call::RemoveDir(path) => self.at(path, |dir, name| dir.remove_dir(name).map(done))?,
            Call::Symlink(target, path) => self.at(path, |dir, name| dir.symlink(target, name, &none).map(done))?,
            Call::SymlinkMetadata(path) => self.at(path, |dir, name| {
                let inode = dir.get(name).ok_or_else(|| NameError::NotFound(path.into()))?;
                Ok(known(&inode.metadata()))
            })?,
            Call::Rename(from, to, how) => {
                plain(to)?;
                self.at(from, |dir, name| {
                    let renamed = self.at(to, |other, new| dir.rename(name, &other, new, *how).map(done));
                    renamed.expect("the name is plain")
                })?
            }
            Call::Link(existing, new) => {
                plain(existing)?;
                let inode = match self.0.symlink_inode(existing) {
                    Ok(inode) if inode.metadata().kind != FileKind::Directory => inode,
                    _ => return None,
                };
                self.at(new, |dir, name| dir.link(&inode, name).map(done))?
            }
            Call::ReadDir(path) => self.0.inode(path).and_then(|inode| {
                let dir = inode.held().ok_or_else(|| NameError::NotDirectory(path.into()))?;
                let listed = dir.list().into_iter().map(|listed| {
                    let metadata = listed.inode.metadata();
                    (listed.name.into_string().unwrap(), metadata.id.number(), metadata.kind)
                });
                Ok(Answer::Names(listed.collect()))
            }),
            Call::Open(_) | Call::OpenOrCreate(_) | Call::ReadLink(_) | Call::Metadata(_) => return None,
        })
    }

    fn at(
        &self,
        path: &str,
        call: impl FnOnce(Held, &str) -> Result<Answer, NameError>,
    ) -> Option<Result<Answer, NameError>> {
        let (parent, name) = plain(path)?;
        Some(self.0.inode(parent).and_then(|parent| {
            let dir = parent.held().ok_or_else(|| NameError::NotDirectory(path.into()))?;
            call(dir, name)
        }))
    }
}

/// A path in two, if it ends with a plain name.
fn plain(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = match path.rfind('/') {
        Some(slash) => path.split_at(slash + 1),
        None => ("/", path),
    };
    (!["", ".", ".."].contains(&name)).then_some((parent, name))
}

fn done<T>(_: T) -> Answer {
    Answer::Done
}

fn held(pool: &Pool, path: &str) -> Held {
    pool.inode(path).unwrap().held().unwrap()
}

fn refused<T>(result: Result<T, NameError>, errno: Errno, named: &str) {
    let Err(error) = result else { panic!("{named}: not refused") };
    assert_eq!(error.errno(), errno.raw_os_error(), "{error}");
    assert!(error.to_string().starts_with(named), "{error}");
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..Default::default() }
}

#[test]
fn a_directory_that_is_held_is_the_same_under_any_name() {
    let pool = crate::pool();
    pool.create_dir("/a").unwrap();
    let dir = held(&pool, "/a");
    pool.rename("/a", "/b", Rename::NoReplace).unwrap();
    pool.create_dir("/a").unwrap();
    dir.create("file", &SetAttributes::default()).unwrap();
    assert_eq!(pool.metadata("/b/file").unwrap().id, dir.get("file").unwrap().id());
    refused(pool.metadata("/a/file"), Errno::NOENT, "/a/file");
    assert_eq!(dir.parent().unwrap().id(), pool.metadata("/").unwrap().id);
    assert_eq!(held(&pool, "/").parent().unwrap().id(), pool.metadata("/").unwrap().id);
}

#[test]
fn a_directory_that_was_removed_has_no_names_and_takes_none() {
    let pool = crate::pool();
    pool.create_dir("/gone").unwrap();
    let file = pool.create("/file").unwrap().inode();
    let dir = held(&pool, "/gone");
    pool.remove_dir("/gone").unwrap();
    let none = SetAttributes::default();
    refused(dir.create("a", &none), Errno::NOENT, "a");
    refused(dir.create_dir("a", &none), Errno::NOENT, "a");
    refused(dir.symlink("b", "a", &none), Errno::NOENT, "a");
    refused(dir.link(&file, "a"), Errno::NOENT, "a");
    refused(held(&pool, "/").rename("file", &dir, "a", Rename::Replace), Errno::NOENT, "a");
    refused(dir.unlink("a"), Errno::NOENT, "a");
    assert!(dir.get("a").is_none() && dir.list().is_empty() && dir.parent().is_none());
    assert_eq!(file.metadata().links, 1, "its name stays, and no other is counted");
}

#[test]
fn what_is_no_name_of_a_directory_is_refused() {
    let pool = crate::pool();
    let (root, none) = (held(&pool, "/"), SetAttributes::default());
    for name in [".", "..", "/", "a/b", "a/", "/a"] {
        refused(root.create(name, &none), Errno::INVAL, name);
        refused(root.remove_dir(name), Errno::INVAL, name);
        assert!(root.get(name).is_none());
    }
    refused(root.create("", &none), Errno::NOENT, "the path is empty");
    refused(root.create("a\0b", &none), Errno::INVAL, "a");
    refused(root.create("n".repeat(256), &none), Errno::NAMETOOLONG, "nn");
    assert!(root.create("n".repeat(255), &none).is_ok());
    refused(root.create("a", &mode(0o10_000)), Errno::INVAL, "a");
    assert!(root.get("a").is_none());
}

#[test]
fn a_file_without_a_name_gets_one_while_it_is_open_and_none_after() {
    let pool = crate::pool();
    let root = held(&pool, "/");
    let file = root.create("file", &SetAttributes::default()).unwrap();
    let inode = file.inode();
    root.unlink("file").unwrap();
    root.link(&inode, "again").unwrap();
    assert_eq!(inode.open().unwrap().id(), file.id());
    drop(file);
    root.unlink("again").unwrap();
    refused(root.link(&inode, "more"), Errno::NOENT, "more");
    assert!(inode.open().is_none() && root.get("more").is_none());
}

#[test]
fn another_pool_is_another_file_system() {
    let (pool, other) = (crate::pool(), crate::pool());
    let file = other.create("/theirs").unwrap();
    pool.create("/ours").unwrap();
    refused(held(&pool, "/").link(&file.inode(), "a"), Errno::XDEV, "a");
    refused(held(&pool, "/").rename("ours", &held(&other, "/"), "a", Rename::Replace), Errno::XDEV, "a");
    assert!(pool.metadata("/ours").is_ok() && other.metadata("/a").is_err());
}

/// Whoever makes a file for himself alone must not find it open to all after a crash.
#[test]
fn what_is_made_has_its_attributes_with_its_name_and_after_a_kill() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let pool = Pool::format(&path, 16 << 20).unwrap();
    let root = held(&pool, "/");
    let modified = SystemTime::UNIX_EPOCH + Duration::new(7, 9);
    let attributes =
        |mode| SetAttributes { mode: Some(mode), uid: Some(3), modified: Some(modified), ..Default::default() };
    root.create("file", &attributes(0o600)).unwrap();
    root.create_dir("dir", &attributes(0o700)).unwrap();
    root.symlink("file", "link", &attributes(0o777)).unwrap();
    root.create_special("pipe", Special::Pipe, &attributes(0o622)).unwrap();
    let made = ["/file", "/dir", "/link", "/pipe"].map(|path| pool.symlink_metadata(path).unwrap());
    assert_eq!(
        made.clone().map(|made| (made.mode, made.uid)),
        [0o600, 0o700, 0o777, 0o622].map(|mode| (mode, Some(3)))
    );
    assert!(made.iter().all(|made| made.modified == modified && made.changed > modified), "{made:?}");
    // As a killed process leaves it: what was appended to the log is there.
    let left = Snapshot::open(copy_of(&path)).unwrap();
    for (path, made) in ["/file", "/dir", "/link", "/pipe"].into_iter().zip(made) {
        assert_eq!(left.symlink_metadata(path).unwrap(), made, "{path}");
    }
}

fn copy_of(path: &Path) -> std::path::PathBuf {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    copy
}
