//! Calls that change or show names, as values, and what the pool answers.

use std::collections::BTreeMap;

use pinfold::{FileKind, Metadata, NameError, Pool, Rename};

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create(String),
    Open(String),
    OpenOrCreate(String),
    Unlink(String),
    CreateDir(String),
    RemoveDir(String),
    Rename(String, String, Rename),
    Link(String, String),
    /// Its target, and where it is.
    Symlink(String, String),
    ReadLink(String),
    Metadata(String),
    SymlinkMetadata(String),
    ReadDir(String),
}

/// Which file it is, as one of the sides numbers them.
pub(crate) type Id = u64;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) id: Id,
    pub(crate) kind: FileKind,
    pub(crate) links: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Done,
    Opened(Id),
    Target(String),
    Known(Known),
    /// In order of the names.
    Names(Vec<(String, Id, FileKind)>),
}

/// A name space: the pool's, or one that it is compared with.
pub(crate) trait Names {
    /// What the call brings, or its `errno`.
    fn call(&mut self, call: &Call) -> Result<Answer, i32>;

    /// Everything that has a name: by path, with the targets of symbolic links.
    fn tree(&mut self) -> BTreeMap<String, (Known, Option<String>)> {
        let mut tree = BTreeMap::new();
        let mut left = vec![String::from("/")];
        while let Some(path) = left.pop() {
            let Ok(Answer::Known(known)) = self.call(&Call::SymlinkMetadata(path.clone())) else { panic!("{path}") };
            if let Ok(Answer::Names(names)) = self.call(&Call::ReadDir(path.clone()))
                && known.kind == FileKind::Directory
            {
                left.extend(names.into_iter().map(|(name, ..)| format!("{}/{name}", path.trim_end_matches('/'))));
            }
            let target = match self.call(&Call::ReadLink(path.clone())) {
                Ok(Answer::Target(target)) => Some(target),
                _ => None,
            };
            tree.insert(path, (known, target));
        }
        tree
    }
}

impl Names for Pool {
    fn call(&mut self, call: &Call) -> Result<Answer, i32> {
        self.answer(call).map_err(|error| error.errno())
    }
}

trait Answers {
    fn answer(&self, call: &Call) -> Result<Answer, NameError>;
}

impl Answers for Pool {
    fn answer(&self, call: &Call) -> Result<Answer, NameError> {
        Ok(match call {
            Call::Create(path) => Answer::Opened(self.create(path)?.id().number()),
            Call::Open(path) => Answer::Opened(self.open(path)?.id().number()),
            Call::OpenOrCreate(path) => Answer::Opened(self.open_or_create(path)?.id().number()),
            Call::Unlink(path) => done(self.unlink(path)?),
            Call::CreateDir(path) => done(self.create_dir(path)?),
            Call::RemoveDir(path) => done(self.remove_dir(path)?),
            Call::Rename(from, to, how) => done(self.rename(from, to, *how)?),
            Call::Link(existing, new) => done(self.link(existing, new)?),
            Call::Symlink(target, new) => done(self.symlink(target, new)?),
            Call::ReadLink(path) => Answer::Target(self.read_link(path)?.into_os_string().into_string().unwrap()),
            Call::Metadata(path) => known(&self.metadata(path)?),
            Call::SymlinkMetadata(path) => known(&self.symlink_metadata(path)?),
            Call::ReadDir(path) => {
                let entries = self.read_dir(path)?.into_iter();
                let names = entries.map(|entry| (entry.name.into_string().unwrap(), entry.id.number(), entry.kind));
                Answer::Names(names.collect())
            }
        })
    }
}

fn done((): ()) -> Answer {
    Answer::Done
}

pub(crate) fn known(metadata: &Metadata) -> Answer {
    Answer::Known(Known { id: metadata.id.number(), kind: metadata.kind, links: metadata.links })
}
