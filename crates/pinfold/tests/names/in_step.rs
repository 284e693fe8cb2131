//! Random calls, in step with the dull model, and with Linux.

use std::collections::BTreeMap;
use std::io::Write;

use pinfold::Rename;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::calls::{Answer, Call, Id, Known, Names};
use crate::held::ByDirectory;
use crate::linux::Folder;
use crate::model::Model;

type Paths = BoxedStrategy<String>;

/// Few names, so that they meet often.
fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just("c")]
}

/// Any path: with dots, with repeated slashes, absolute or not, beyond the root.
fn any_path() -> Paths {
    let part = prop_oneof![12 => name(), 1 => Just("."), 2 => Just(".."), 1 => Just("")];
    let absolute = any::<bool>();
    (absolute, prop::collection::vec(part, 1..5), prop::bool::weighted(0.1))
        .prop_map(|(absolute, parts, slash)| path(absolute, &parts, slash))
        .boxed()
}

/// A path that does not leave the folder in which it begins, whatever links are on its way: each name leads down (see
/// [`down`]), and no more `..` follow than names came.
fn inner_path() -> Paths {
    let part = prop_oneof![12 => name(), 1 => Just("."), 2 => Just(".."), 1 => Just("")];
    let inside = |mut parts: Vec<&'static str>| {
        let mut depth = 0;
        parts.retain(|part| {
            let deeper = if *part == ".." { -1 } else { i32::from(!["", "."].contains(part)) };
            let stays = depth + deeper >= 0;
            depth += if stays { deeper } else { 0 };
            stays
        });
        if parts.iter().all(|part| part.is_empty()) {
            parts = vec!["a"];
        }
        parts
    };
    let parts = prop::collection::vec(part, 1..5).prop_map(inside);
    (parts, prop::bool::weighted(0.1)).prop_map(|(parts, slash)| path(false, &parts, slash)).boxed()
}

/// Where a link leads that only leads down.
fn down() -> Paths {
    let parts = prop::collection::vec(name(), 1..3);
    (parts, prop::bool::weighted(0.1)).prop_map(|(parts, slash)| path(false, &parts, slash)).boxed()
}

fn path(absolute: bool, parts: &[&str], slash: bool) -> String {
    let path = format!("{}{}{}", if absolute { "/" } else { "" }, parts.join("/"), if slash { "/" } else { "" });
    if path.is_empty() { String::from("/") } else { path }
}

fn calls(path: fn() -> Paths, target: fn() -> Paths) -> impl Strategy<Value = Vec<Call>> {
    let how = prop_oneof![2 => Just(Rename::Replace), 1 => Just(Rename::NoReplace), 1 => Just(Rename::Exchange)];
    let call = prop_oneof![
        4 => path().prop_map(Call::Create),
        1 => path().prop_map(Call::Open),
        3 => path().prop_map(Call::OpenOrCreate),
        2 => path().prop_map(Call::Unlink),
        8 => path().prop_map(Call::CreateDir),
        2 => path().prop_map(Call::RemoveDir),
        8 => (path(), path(), how).prop_map(|(from, to, how)| Call::Rename(from, to, how)),
        4 => (path(), path()).prop_map(|(existing, new)| Call::Link(existing, new)),
        4 => (target(), path()).prop_map(|(target, new)| Call::Symlink(target, new)),
        1 => path().prop_map(Call::ReadLink),
        2 => path().prop_map(Call::Metadata),
        1 => path().prop_map(Call::SymlinkMetadata),
        1 => path().prop_map(Call::ReadDir),
    ];
    prop::collection::vec(call, 1..60)
}

/// Makes the calls on both sides: they answer the same, and then the same is there, under the same names.
fn in_step(mut pool: impl Names, mut other: impl Names, calls: &[Call]) {
    for call in calls {
        let (mine, theirs) = (pool.call(call), other.call(call));
        let same = same_tree(&mut pool, &mut other, call);
        let translated = mine.clone().map(|answer| answer.with_ids(&same));
        assert_eq!(translated, theirs, "{call:?}");
    }
}

/// Compares everything that has a name. Returns what the other side calls the pool's ids.
fn same_tree(pool: &mut impl Names, other: &mut impl Names, call: &Call) -> BTreeMap<Id, Id> {
    let (mine, theirs) = (pool.tree(), other.tree());
    let both = || mine.iter().filter_map(|(path, (mine, _))| Some((mine.id, theirs.get(path)?.0.id)));
    let same: BTreeMap<_, _> = both().collect();
    let back: BTreeMap<_, _> = both().map(|(mine, theirs)| (theirs, mine)).collect();
    assert_eq!(same.len(), back.len(), "{call:?}: names lead to one thing on one side, and to two on the other");
    let translate = |(known, target): &(Known, Option<String>)| (known.clone().with_ids(&same), target.clone());
    let mine: BTreeMap<_, _> = mine.iter().map(|(path, there)| (path.clone(), translate(there))).collect();
    assert_eq!(mine, theirs, "{call:?}");
    same
}

impl Known {
    fn with_ids(self, ids: &BTreeMap<Id, Id>) -> Self {
        Self { id: ids.get(&self.id).copied().unwrap_or(0), ..self }
    }
}

impl Answer {
    fn with_ids(self, ids: &BTreeMap<Id, Id>) -> Self {
        let id = |id: Id| ids.get(&id).copied().unwrap_or(0);
        match self {
            Self::Opened(opened) => Self::Opened(id(opened)),
            Self::Known(known) => Self::Known(known.with_ids(ids)),
            Self::Names(names) => {
                Self::Names(names.into_iter().map(|(name, named, kind)| (name, id(named), kind)).collect())
            }
            Self::Done | Self::Target(_) => self,
        }
    }
}

fn config() -> ProptestConfig {
    // What fails is kept beside this file, and tried first from then on.
    let failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("failures")) as _);
    ProptestConfig { cases: 300, failure_persistence, source_file: Some(file!()), ..ProptestConfig::default() }
}

#[test]
fn random_calls_do_what_the_model_does() {
    let tried = TestRunner::new(config()).run(&calls(any_path, any_path), |calls| {
        in_step(crate::pool(), Model::new(), &calls);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_calls_in_directories_that_are_held_do_what_the_model_does() {
    let tried = TestRunner::new(config()).run(&calls(any_path, any_path), |calls| {
        in_step(ByDirectory(crate::pool()), Model::new(), &calls);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_calls_do_what_linux_does() {
    if Folder::new().is_none() {
        // Past the harness, which keeps the output of a test that passes to itself.
        let line = b"\nskipped: random_calls_do_what_linux_does: no tmpfs can be written to at /dev/shm\n";
        return std::io::stderr().write_all(line).unwrap();
    }
    let tried = TestRunner::new(config()).run(&calls(inner_path, down), |calls| {
        in_step(crate::pool(), Folder::new().expect("there was one"), &calls);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
