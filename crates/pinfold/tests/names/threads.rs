//! Many threads at once: the tree stays a tree, and nobody waits for ever. (Races that need one certain moment are forced
//! by the tests beside the source.)

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use pinfold::{FileId, FileKind, NameError, Pool, Rename};

use crate::pool;

/// A small generator (xorshift), so that each thread does the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// A path of up to four parts with few names, so that threads meet.
    fn path(&mut self) -> String {
        let parts = 1 + self.below(4);
        (0..parts).map(|_| ["/a", "/b", "/c", "/a/.."][self.below(4) as usize]).collect()
    }
}

fn random_call(pool: &Pool, random: &mut Random) -> Result<(), NameError> {
    let how = [Rename::Replace, Rename::NoReplace, Rename::Exchange][random.below(3) as usize];
    let (path, other) = (random.path(), random.path());
    match random.below(12) {
        0 | 1 => pool.open_or_create(path).map(drop),
        2 => pool.unlink(path),
        3..6 => pool.create_dir(path),
        6 => pool.remove_dir(path),
        7 => pool.link(path, other),
        8 => pool.read_dir(path).map(drop),
        _ => pool.rename(path, other, how),
    }
}

/// Everything under a directory, each thing once: directories, and how many names each of the others has.
#[derive(Default)]
struct Seen {
    directories: BTreeSet<FileId>,
    names: BTreeMap<FileId, u32>,
}

impl Seen {
    fn walk(&mut self, pool: &Pool, path: &str, parent: FileId) {
        let here = pool.metadata(path).unwrap();
        assert!(self.directories.insert(here.id), "{path} is reached twice");
        assert_eq!(pool.metadata(format!("{path}/..")).unwrap().id, parent, "{path}/..");
        let entries = pool.read_dir(path).unwrap();
        let below = entries.iter().filter(|entry| entry.kind == FileKind::Directory).count() as u32;
        assert_eq!(here.links, 2 + below, "{path}");
        for entry in entries {
            match entry.kind {
                FileKind::Directory => self.walk(pool, &format!("{path}/{}", entry.name.display()), here.id),
                _ => *self.names.entry(entry.id).or_default() += 1,
            }
        }
    }
}

fn remove_all(pool: &Pool, path: &str) {
    for entry in pool.read_dir(path).unwrap() {
        let path = format!("{path}/{}", entry.name.display());
        if entry.kind != FileKind::Directory {
            pool.unlink(&path).unwrap();
            continue;
        }
        remove_all(pool, &path);
        pool.remove_dir(&path).unwrap();
    }
}

#[test]
fn threads_that_move_directories_into_one_another_leave_a_tree() {
    let pool = pool();
    let empty = pool.stats();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let pool = &pool;
            scope.spawn(move || {
                let mut random = Random(seed * 0x9e37_79b9);
                // What is refused is as good as what is done.
                (0..20_000).for_each(|_| drop(random_call(pool, &mut random)));
            });
        }
    });
    let mut seen = Seen::default();
    seen.walk(&pool, "/", pool.metadata("/").unwrap().id);
    for (id, names) in &seen.names {
        assert_eq!(pool.open_by_id(*id).unwrap().metadata().links, *names, "{id}");
    }
    let nodes = (seen.directories.len() + seen.names.len()) as u64;
    assert_eq!(pool.stats().nodes, nodes, "nothing is kept that has no name");
    remove_all(&pool, "/");
    assert_eq!(pool.stats(), empty);
}
