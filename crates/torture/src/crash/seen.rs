//! What is read of one thread's part of a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pinfold::{FileId, Pool};

use super::step::Name;

/// Where one thread's names are.
pub(super) fn part(thread: usize) -> PathBuf {
    format!("/{thread}").into()
}

/// The path of a file of a thread. Files lie in two directories, so that renames move them.
pub(super) fn path(thread: usize, name: Name) -> PathBuf {
    let dir = if name.is_multiple_of(2) { "even" } else { "odd" };
    format!("/{thread}/{dir}/{name}").into()
}

/// The path of a directory that a thread makes and removes.
pub(super) fn dir(thread: usize, name: Name) -> PathBuf {
    format!("/{thread}/dirs/{name}").into()
}

/// What a thread's directories lead to.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) names: BTreeMap<Name, SeenFile>,
    pub(super) dirs: BTreeSet<Name>,
}

pub(super) struct SeenFile {
    pub(super) id: FileId,
    pub(super) bytes: Vec<u8>,
}

impl Seen {
    /// All that there is; or what has no business there.
    pub(super) fn of(pool: &Pool, thread: usize) -> Result<Self, String> {
        let said = |error: &dyn std::error::Error| format!("thread {thread}: {error}");
        let mut seen = Self::default();
        for (dir, is_dir) in [("even", false), ("odd", false), ("dirs", true)] {
            for entry in pool.read_dir(part(thread).join(dir)).map_err(|error| said(&error))? {
                let name = entry.name.to_str().and_then(|name| name.parse::<Name>().ok());
                let name = name.ok_or_else(|| format!("nobody made {}", entry.name.display()))?;
                if is_dir {
                    seen.dirs.insert(name);
                    continue;
                }
                let file = pool.open(path(thread, name)).map_err(|error| said(&error))?;
                let mut bytes = vec![0; file.len() as usize];
                let read = file.read_at(0, &mut bytes).map_err(|error| said(&error))?;
                if read != bytes.len() {
                    return Err(format!(
                        "file {name} of thread {thread} is {} bytes long, and {read} are read",
                        bytes.len()
                    ));
                }
                seen.names.insert(name, SeenFile { id: file.id(), bytes });
            }
        }
        Ok(seen)
    }

    /// The first name of the same file.
    pub(super) fn first_of_same(&self, name: Name) -> Option<&Name> {
        let id = self.names.get(&name)?.id;
        self.names.iter().find(|(_, file)| file.id == id).map(|(first, _)| first)
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.names.values().map(|file| file.bytes.len() as u64).sum()
    }
}
