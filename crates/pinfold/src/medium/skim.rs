//! A checkpoint, checked from end to end, of which nothing is built: where each node and each name stands in it.
//!
//! That is what opening a pool that was closed in good order needs at once. What people and programs look at is built from
//! it later, and what they do not look at stays as it is: bytes.
//!
//! Stays true  S1: what is skimmed has all that [`Image::check`](super::image::Image::check) asks for. Whatever is unusual,
//!                 damage above all, is `None` here: then an image is made, and says what is wrong.
//!             S2: every node but the root has a name. Names of one directory ascend.

use std::ops::Range;

use super::attributes::Attributes;
use super::checkpoint::{Item, Stream, read_extents};
use super::codec::Reader;
use super::image::ROOT;
use super::superblock::{NUMBERS_END, Superblock};
use crate::by_id::ById;
use crate::names::{is_name, is_target};
use crate::units::FILE_BYTES_MAX;

/// What a checkpoint says, with an index to it.
pub(crate) struct Skimmed {
    /// Its items, and where they lie.
    pub(crate) stream: Stream,
    pub(crate) places: Places,
    /// All directories, each at its ordinal.
    pub(crate) directories: Vec<SkimmedDirectory>,
    /// Runs of the pool's blocks that files and the checkpoint have, in order; none touches another.
    pub(crate) used: Vec<Range<u64>>,
    /// How many nodes are no directories, and how many blocks they have.
    pub(crate) leaves: u64,
    pub(crate) blocks: u64,
    /// The largest id of a node.
    pub(crate) last_node: u64,
}

/// A directory of a checkpoint.
#[derive(Default)]
pub(crate) struct SkimmedDirectory {
    pub(crate) node: u64,
    pub(crate) attributes: Attributes,
    /// Where its items of names stand in the stream.
    pub(crate) names: Vec<Range<usize>>,
    /// The directory that it lies in, by ordinal, and where its name stands in the stream. The root has none.
    pub(crate) name: Option<(u32, Range<usize>)>,
    /// Whether a name in it leads to a node that has others.
    pub(crate) shares: bool,
}

/// Where a node stands.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    /// Where its item begins in the stream.
    pub(crate) item: usize,
    pub(crate) kind: PlaceKind,
}

/// What it is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PlaceKind {
    #[default]
    Nothing,
    /// The directory of that ordinal.
    Directory(u32),
    /// Neither directory nor named so far.
    Nameless,
    /// Its one name is in the directory of that ordinal.
    In(u32),
    /// It has several names.
    Shared,
}

/// Places by the ids of nodes.
pub(crate) enum Places {
    /// As long as a good part of the ids is in use.
    Dense(Vec<Place>),
    Sparse(ById<Place>),
}

/// Ids are dense if not more than so many are given for each that is in use.
const DENSE: u64 = 8;

impl Places {
    fn new(nodes: u64, last_node: u64) -> Self {
        match last_node / DENSE <= nodes {
            true => Self::Dense(vec![Place::default(); last_node as usize + 1]),
            false => Self::Sparse(ById::with_capacity_and_hasher(nodes as usize, Default::default())),
        }
    }

    /// Where a node stands; nowhere, if there is none of that id.
    #[inline]
    pub(crate) fn get(&self, node: u64) -> Place {
        let place = match self {
            Self::Dense(places) => places.get(node as usize),
            Self::Sparse(places) => places.get(&node),
        };
        place.copied().unwrap_or_default()
    }

    #[inline]
    fn get_mut(&mut self, node: u64) -> Option<&mut Place> {
        match self {
            Self::Dense(places) => places.get_mut(node as usize),
            Self::Sparse(places) => Some(places.entry(node).or_default()),
        }
    }
}

impl Skimmed {
    /// Skims a checkpoint whose log is empty. `Err` gives it back as it is: an image has to be made of it.
    pub(crate) fn of(stream: Stream, superblock: &Superblock) -> Result<Self, Stream> {
        let nodes = superblock.checkpoint.nodes;
        // A node takes four bytes at least, and has an id that was given.
        let is_possible = nodes <= stream.items.len() as u64 / 4 && superblock.last_node < NUMBERS_END;
        if !is_possible {
            return Err(stream);
        }
        let mut skim = Skim {
            items: &stream.items,
            superblock,
            places: Places::new(nodes, superblock.last_node),
            directories: Vec::new(),
            used: stream.chunks.iter().map(|(first, len)| *first..first + len).collect(),
            leaves: 0,
            named: 0,
            blocks: 0,
            last_node: ROOT,
        };
        let Some(used) = skim.run() else { return Err(stream) };
        let Skim { places, directories, leaves, blocks, last_node, .. } = skim;
        Ok(Self { places, directories, used, leaves, blocks, last_node, stream })
    }
}

/// A skimming under way.
struct Skim<'s> {
    items: &'s [u8],
    superblock: &'s Superblock,
    places: Places,
    directories: Vec<SkimmedDirectory>,
    used: Vec<Range<u64>>,
    leaves: u64,
    /// How many of the leaves have names.
    named: u64,
    blocks: u64,
    last_node: u64,
}

impl<'s> Skim<'s> {
    /// The runs that are in use, if all is as it should be (S1).
    fn run(&mut self) -> Option<Vec<Range<u64>>> {
        let mut reader = Reader::new(self.items);
        while !reader.is_empty() {
            self.take_item(&mut reader)?;
        }
        let nodes = self.leaves + self.directories.len() as u64;
        let is_whole = nodes == self.superblock.checkpoint.nodes && self.named == self.leaves;
        (is_whole && self.is_tree()).then_some(())?;
        self.merged()
    }

    #[inline]
    fn take_item(&mut self, reader: &mut Reader<'s>) -> Option<()> {
        let at = self.items.len() - reader.left();
        let (used, blocks) = (&mut self.used, &mut self.blocks);
        let item = Item::read_with(reader, |from| {
            read_extents(from, |_, run| {
                *blocks += run.len;
                push(used, run.block..run.end());
            })
        });
        match item.ok()? {
            Item::File { node, len, position, extents: end, .. } => {
                let fits = len <= FILE_BYTES_MAX
                    && end <= self.superblock.block.ceil(FILE_BYTES_MAX)
                    && position <= self.superblock.replay_from;
                fits.then(|| self.add_leaf(node, at))?
            }
            Item::Symlink { node, target, .. } => is_target(target).then(|| self.add_leaf(node, at))?,
            Item::Special { node, .. } => self.add_leaf(node, at),
            Item::Directory { node, attributes } => self.add_directory(node, attributes, at),
            Item::Names { dir, names } => {
                let PlaceKind::Directory(ordinal) = self.places.get(dir).kind else { return None };
                let mut last: &'s [u8] = &[];
                // The last name of its former item, if it has one.
                let former = self.directories[ordinal as usize].names.last();
                if let Some(former) = former.cloned() {
                    last = last_name(&self.items[former])?;
                }
                for read in names {
                    let (name, node) = read.ok()?;
                    let ascends = is_name(name) && last < name;
                    ascends.then(|| self.add_name(ordinal, name, node))??;
                    last = name;
                }
                let end = self.items.len() - reader.left();
                self.directories[ordinal as usize].names.push(at..end);
                Some(())
            }
        }
    }

    /// The place of a node that comes for the first time.
    fn add(&mut self, node: u64, item: usize, kind: PlaceKind) -> Option<()> {
        let is_new = |place: &&mut Place| place.kind == PlaceKind::Nothing;
        let place = (1..NUMBERS_END).contains(&node).then(|| self.places.get_mut(node))?.filter(is_new)?;
        *place = Place { item, kind };
        self.last_node = self.last_node.max(node);
        Some(())
    }

    fn add_leaf(&mut self, node: u64, item: usize) -> Option<()> {
        self.leaves += 1;
        self.add(node, item, PlaceKind::Nameless)
    }

    fn add_directory(&mut self, node: u64, attributes: Attributes, item: usize) -> Option<()> {
        let ordinal = u32::try_from(self.directories.len()).ok()?;
        self.directories.push(SkimmedDirectory { node, attributes, ..Default::default() });
        self.add(node, item, PlaceKind::Directory(ordinal))
    }

    /// A name in the directory of an ordinal. `name` is a part of the items.
    #[inline]
    fn add_name(&mut self, within: u32, name: &[u8], node: u64) -> Option<()> {
        let place = self.places.get_mut(node)?;
        match place.kind {
            PlaceKind::Nothing => return None,
            PlaceKind::Nameless => {
                place.kind = PlaceKind::In(within);
                self.named += 1;
            }
            PlaceKind::In(other) => {
                place.kind = PlaceKind::Shared;
                [other, within].iter().for_each(|ordinal| self.directories[*ordinal as usize].shares = true);
            }
            PlaceKind::Shared => self.directories[within as usize].shares = true,
            PlaceKind::Directory(ordinal) => {
                let start = name.as_ptr().addr() - self.items.as_ptr().addr();
                let named = &mut self.directories[ordinal as usize].name;
                let is_first = node != ROOT && named.is_none();
                *named = is_first.then(|| (within, start..start + name.len()));
                return is_first.then_some(());
            }
        }
        Some(())
    }

    /// Whether all directories are reached from the root, each once.
    fn is_tree(&self) -> bool {
        let PlaceKind::Directory(root) = self.places.get(ROOT).kind else { return false };
        let mut reaches_root = vec![false; self.directories.len()];
        reaches_root[root as usize] = true;
        for start in 0..self.directories.len() {
            let mut way = Vec::new();
            let mut at = start;
            while !reaches_root[at] {
                // Longer than all directories: it comes around.
                let above = self.directories[at].name.as_ref().filter(|_| way.len() < reaches_root.len());
                let Some((above, _)) = above else { return false };
                way.push(at);
                at = *above as usize;
            }
            way.iter().for_each(|at| reaches_root[*at] = true);
        }
        true
    }

    /// What is in use, in order, and as few runs as there can be. `None` if a block is in use twice, or lies outside.
    fn merged(&mut self) -> Option<Vec<Range<u64>>> {
        let mut used = std::mem::take(&mut self.used);
        used.sort_unstable_by_key(|run| run.start);
        let (first, end) = (self.superblock.first_block(), self.superblock.blocks());
        let mut merged: Vec<Range<u64>> = Vec::new();
        let mut at = first;
        for run in used {
            (at <= run.start && run.end <= end).then_some(())?;
            at = run.end;
            push(&mut merged, run);
        }
        Some(merged)
    }
}

/// Adds a run, to the last one if it goes on there.
fn push(runs: &mut Vec<Range<u64>>, run: Range<u64>) {
    match runs.last_mut().filter(|last| last.end == run.start) {
        Some(last) => last.end = run.end,
        None => runs.push(run),
    }
}

/// The last name in an item of names.
fn last_name(item: &[u8]) -> Option<&[u8]> {
    let Ok(Item::Names { names, .. }) = Item::read(&mut Reader::new(item)) else { return None };
    names.last()?.ok().map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::attributes::Settings;
    use super::super::checkpoint::{write_directory, write_file, write_names, write_symlink};
    use super::super::codec::Writer;
    use super::super::image::{Image, KindImage, NodeImage};
    use super::super::record::Stamp;
    use super::super::superblock::{LOG_START, POOL_BYTES_MIN};
    use super::*;
    use crate::extents::{ExtentMap, Run, State};
    use crate::units::BlockSize;

    fn superblock(bytes: usize, nodes: u64, last_node: u64) -> Superblock {
        let mut superblock = Superblock::new([1; 16], POOL_BYTES_MIN, BlockSize::new(4096).unwrap());
        superblock.checkpoint.bytes = bytes as u64;
        superblock.checkpoint.nodes = nodes;
        superblock.last_node = last_node;
        superblock
    }

    /// All that a node can have.
    fn rich() -> Attributes {
        let mut attributes = Attributes::made(12);
        attributes
            .set(&Settings { accessed: Some(1), mode: Some(0o600), uid: Some(7), gid: Some(8), modified: Some(3) }, 13);
        attributes.set_extended(b"user.a", Some(b"value"), 14);
        attributes
    }

    /// Two directories, files with blocks and without, a link, and a file of two names.
    fn items() -> Vec<u8> {
        let first = superblock(0, 0, 0).first_block();
        let run = |at, block, len| (at, Run { block: first + block, len, state: State::Written });
        let mut to = Writer::default();
        write_directory(&mut to, 1, &Attributes::made(10));
        write_file(
            &mut to,
            2,
            &Attributes::made(11),
            9000,
            0,
            &ExtentMap::from_runs(vec![run(0, 0, 2), run(7, 40, 3)]),
        );
        write_file(&mut to, 3, &rich(), 0, 0, &ExtentMap::from_runs(vec![]));
        write_directory(&mut to, 4, &Attributes::made(13));
        write_symlink(&mut to, 5, &Attributes::made(14), b"../there");
        write_file(&mut to, 6, &Attributes::made(15), 4096, 0, &ExtentMap::from_runs(vec![run(0, 2, 1)]));
        write_names(&mut to, 1, [(&b"a"[..], 2), (b"d", 4)].into_iter());
        write_names(&mut to, 1, [(&b"e"[..], 6)].into_iter());
        write_names(&mut to, 4, [(&b"b"[..], 3), (b"c", 6), (b"l", 5)].into_iter());
        to.bytes
    }

    fn skim(items: &[u8], superblock: &Superblock) -> Option<Skimmed> {
        Skimmed::of(Stream { items: items.to_vec(), chunks: Vec::new() }, superblock).ok()
    }

    fn image(items: &[u8], superblock: &Superblock, medium: &Vec<u8>) -> Option<Image> {
        Image::of(Stream { items: items.to_vec(), chunks: Vec::new() }, medium, superblock).ok()
    }

    #[test]
    fn it_finds_what_there_is() {
        let items = items();
        let superblock = superblock(items.len(), 6, 6);
        let skimmed = skim(&items, &superblock).unwrap();
        assert_eq!((skimmed.leaves, skimmed.blocks, skimmed.directories.len()), (4, 6, 2));
        let first = superblock.first_block();
        assert_eq!(skimmed.used, [first..first + 3, first + 40..first + 43]);
        let kinds = [2, 3, 5, 6].map(|node| skimmed.places.get(node).kind);
        assert!(kinds == [PlaceKind::In(0), PlaceKind::In(1), PlaceKind::In(1), PlaceKind::Shared]);
        assert_eq!(skimmed.directories[0].names.len(), 2);
        assert_eq!(
            skimmed.directories[1].name.clone().map(|(above, name)| (above, &items[name])),
            Some((0, &b"d"[..]))
        );
        assert!(skimmed.directories.iter().all(|directory| directory.shares));
        let sparse = superblock_of_many_ids(&items);
        assert!(matches!(skim(&items, &sparse).unwrap().places, Places::Sparse(_)));
    }

    fn superblock_of_many_ids(items: &[u8]) -> Superblock {
        superblock(items.len(), 6, 1 << 40)
    }

    #[test]
    fn what_is_unusual_is_left_to_the_image() {
        let refused = |change: &dyn Fn(&mut Writer)| {
            let mut to = Writer { bytes: items() };
            change(&mut to);
            assert!(skim(&to.bytes, &superblock(to.bytes.len(), 7, 7)).is_none());
        };
        let nothing = ExtentMap::from_runs(vec![]);
        refused(&|_| {});
        refused(&|to| write_file(to, 7, &Attributes::made(1), 0, 0, &nothing));
        refused(&|to| write_directory(to, 7, &Attributes::made(1)));
        refused(&|to| write_file(to, 6, &Attributes::made(1), 0, 0, &nothing));
        let named = |to: &mut Writer, dir, name: &'static [u8]| {
            write_file(to, 7, &Attributes::made(1), 0, 0, &nothing);
            write_names(to, dir, [(name, 7)].into_iter());
        };
        refused(&|to| named(to, 1, b"e"));
        refused(&|to| named(to, 1, b"b"));
        refused(&|to| named(to, 1, b"x/y"));
        refused(&|to| named(to, 2, b"x"));
        let mut sound = Writer { bytes: items() };
        named(&mut sound, 1, b"x");
        assert!(skim(&sound.bytes, &superblock(sound.bytes.len(), 7, 7)).is_some());
    }

    #[test]
    fn an_id_larger_than_all_that_were_given_counts() {
        let mut to = Writer::default();
        write_directory(&mut to, 1, &Attributes::made(10));
        [70, 2].iter().for_each(|node| write_file(&mut to, *node, &Attributes::made(11), 0, 0, &ExtentMap::default()));
        write_names(&mut to, 1, [(&b"a"[..], 70), (b"b", 2)].into_iter());
        let skimmed = skim(&to.bytes, &superblock(to.bytes.len(), 3, 60)).unwrap();
        assert_eq!(skimmed.last_node, 70, "though it is not the last one");
    }

    /// It ends with a seal: so nobody looks for more behind it.
    fn with_an_empty_log() -> Vec<u8> {
        let Superblock { pool, epoch, .. } = superblock(0, 0, 0);
        let seal = Stamp { pool: &pool, epoch, position: 0, durable: 0, time: 0 }.seal();
        let mut medium = vec![0; POOL_BYTES_MIN as usize];
        medium[LOG_START as usize..][..seal.len()].copy_from_slice(&seal);
        medium
    }

    /// Its attributes, its target, its length and its runs.
    type Leaf = (Attributes, Vec<u8>, u64, Vec<(u64, Run)>);

    /// All that a checkpoint says, as plain as it can be.
    #[derive(Default, PartialEq, Eq, Debug)]
    struct Said {
        /// Each with its attributes, and the names in it.
        directories: BTreeMap<u64, (Attributes, BTreeMap<Vec<u8>, u64>)>,
        /// Where each directory but the root has its name.
        lie_in: BTreeMap<u64, (u64, Vec<u8>)>,
        /// Links and files.
        leaves: BTreeMap<u64, Leaf>,
        /// The directories in which leaves are named.
        named_in: BTreeMap<u64, Vec<u64>>,
        used: Vec<Range<u64>>,
        last_node: u64,
    }

    impl Said {
        /// By what was skimmed, found as a pool finds it later: by the places of things.
        fn by(skimmed: &Skimmed, ids: impl Iterator<Item = u64>) -> Self {
            let items = &skimmed.stream.items;
            let item = |at: usize| Item::read(&mut Reader::new(&items[at..])).unwrap();
            let ordinal = |ordinal: u32| skimmed.directories[ordinal as usize].node;
            let mut said = Self { used: skimmed.used.clone(), last_node: skimmed.last_node, ..Self::default() };
            for SkimmedDirectory { node, attributes, names, name, .. } in &skimmed.directories {
                let listed = names.iter().map(|range| match item(range.start) {
                    Item::Names { names, .. } => names.map(Result::unwrap),
                    _ => panic!("these are no names"),
                });
                let listed = listed.flatten().map(|(name, node)| (name.to_vec(), node)).collect();
                said.directories.insert(*node, (attributes.clone(), listed));
                let name = name.clone().map(|(above, name)| (ordinal(above), items[name].to_vec()));
                said.lie_in.extend(name.map(|name| (*node, name)));
            }
            for id in ids {
                let place = skimmed.places.get(id);
                let directories = match place.kind {
                    PlaceKind::Nothing => continue,
                    PlaceKind::Nameless => panic!("node {id} has no name"),
                    PlaceKind::Directory(at) => {
                        assert_eq!(ordinal(at), id);
                        continue;
                    }
                    PlaceKind::In(at) => vec![ordinal(at)],
                    PlaceKind::Shared => {
                        let has = |(node, (_, names)): (&u64, &(Attributes, BTreeMap<Vec<u8>, u64>))| {
                            vec![*node; names.values().filter(|to| **to == id).count()]
                        };
                        let all: Vec<u64> = said.directories.iter().flat_map(has).collect();
                        assert!(all.len() > 1, "node {id} has one name");
                        let shares = |node: &u64| {
                            skimmed.directories.iter().any(|directory| directory.node == *node && directory.shares)
                        };
                        assert!(all.iter().all(shares), "a name of node {id} would stay cold");
                        all
                    }
                };
                said.named_in.insert(id, directories);
                let leaf = match item(place.item) {
                    Item::File { attributes, len, extents, .. } => {
                        (attributes, Vec::new(), len, extents.runs().collect())
                    }
                    Item::Symlink { attributes, target, .. } => (attributes, target.to_vec(), 0, Vec::new()),
                    Item::Special { attributes, special, .. } => {
                        (attributes, format!("{special:?}").into_bytes(), 0, Vec::new())
                    }
                    _ => panic!("node {id} is no leaf"),
                };
                said.leaves.insert(id, leaf);
            }
            let blocks: u64 = said.leaves.values().flat_map(|leaf| &leaf.3).map(|(_, run)| run.len).sum();
            assert_eq!((skimmed.leaves, skimmed.blocks), (said.leaves.len() as u64, blocks));
            said
        }

        /// By an image.
        fn by_image(image: &Image) -> Self {
            let mut said = Self { last_node: image.last_node, ..Self::default() };
            for (id, NodeImage { attributes, kind }) in &image.nodes {
                match kind {
                    KindImage::Directory(entries) => {
                        for (name, to) in entries {
                            match image.nodes[to].kind {
                                KindImage::Directory(_) => drop(said.lie_in.insert(*to, (*id, name.to_vec()))),
                                _ => said.named_in.entry(*to).or_default().push(*id),
                            }
                        }
                        let names = entries.iter().map(|(name, node)| (name.to_vec(), *node)).collect();
                        said.directories.insert(*id, (attributes.clone(), names));
                    }
                    KindImage::File(file) => {
                        let runs: Vec<_> = file.extents.runs().collect();
                        said.used.extend(runs.iter().map(|(_, run)| run.block..run.end()));
                        said.leaves.insert(*id, (attributes.clone(), Vec::new(), file.len, runs));
                    }
                    KindImage::Symlink(target) => {
                        drop(said.leaves.insert(*id, (attributes.clone(), target.to_vec(), 0, Vec::new())));
                    }
                    KindImage::Special(special) => {
                        let special = format!("{special:?}").into_bytes();
                        drop(said.leaves.insert(*id, (attributes.clone(), special, 0, Vec::new())));
                    }
                }
            }
            said.named_in.values_mut().for_each(|directories| directories.sort_unstable());
            said.used.sort_unstable_by_key(|run| run.start);
            let runs = std::mem::take(&mut said.used);
            runs.into_iter().for_each(|run| push(&mut said.used, run));
            said
        }
    }

    #[test]
    fn what_it_takes_an_image_takes_too_and_both_say_the_same() {
        let items = items();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut taken, mut refused) = (0, 0);
        let medium = with_an_empty_log();
        for _ in 0..20_000 {
            let mut items = items.clone();
            for _ in 0..random.usize(0..3) {
                let at = random.usize(0..items.len());
                items[at] = if random.bool() { random.u8(..) } else { items[at] ^ 1 << random.u8(0..8) };
            }
            // Ids that are dense, or not.
            let superblock = superblock(items.len(), 6, if random.bool() { 6 } else { 1 << 40 });
            let Some(skimmed) = skim(&items, &superblock) else {
                refused += 1;
                continue;
            };
            taken += 1;
            let mut image = image(&items, &superblock, &medium).unwrap_or_else(|| panic!("{items:?}"));
            // What was given is a matter of the superblock too: whoever builds what was skimmed looks there.
            assert_eq!(image.last_node, skimmed.last_node.max(superblock.last_node), "{items:?}");
            image.last_node = skimmed.last_node;
            let said = Said::by(&skimmed, image.nodes.keys().copied());
            assert_eq!(said, Said::by_image(&image), "{items:?}");
        }
        assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
    }
}
