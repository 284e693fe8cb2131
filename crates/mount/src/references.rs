//! What the kernel knows: each inode that it was told of, and how often.
//!
//! Stays true  R1: an inode is here from the reply that tells the kernel of it until the kernel has forgotten all of them. So what it asks
//!                 of an inode whose last name went meanwhile is answered as the inode was.
//!             R2: the root is always here: nobody looks it up.

use pinfold::Inode;

use crate::shards::Shards;

pub(crate) struct References {
    root: Inode,
    known: Shards<Known>,
}

struct Known {
    inode: Inode,
    told: u64,
}

impl References {
    pub(crate) fn new(root: Inode) -> Self {
        Self { root, known: Shards::default() }
    }

    /// The kernel is about to be told of an inode.
    pub(crate) fn add(&self, inode: &Inode) {
        let number = inode.id().number();
        let mut shard = self.known.of(number);
        shard.entry(number).or_insert_with(|| Known { inode: inode.clone(), told: 0 }).told += 1;
    }

    /// What the kernel means by a number. `None` for one that it was not told.
    pub(crate) fn get(&self, number: u64) -> Option<Inode> {
        match number == self.root.id().number() {
            true => Some(self.root.clone()),
            false => Some(self.known.of(number).get(&number)?.inode.clone()),
        }
    }

    /// The kernel has forgotten an inode of which it was told `times` times.
    pub(crate) fn forget(&self, number: u64, times: u64) {
        let gone = {
            let mut shard = self.known.of(number);
            match shard.get_mut(&number) {
                Some(known) if known.told <= times => shard.remove(&number),
                Some(known) => {
                    known.told -= times;
                    None
                }
                None => None,
            }
        };
        // With no lock held: it may be the last that knows of it.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfold::{Pool, Region};

    #[test]
    fn an_inode_is_known_until_all_that_was_told_is_forgotten() {
        let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
        let references = References::new(pool.inode("/").unwrap());
        let inode = pool.create("/file").unwrap().inode();
        let number = inode.id().number();
        assert!(references.get(number).is_none());
        (0..3).for_each(|_| references.add(&inode));
        references.forget(number, 2);
        pool.unlink("/file").unwrap();
        assert_eq!(references.get(number).unwrap().metadata().links, 0);
        references.forget(number, 1);
        assert!(references.get(number).is_none());
        references.forget(1, 1);
        assert!(references.get(1).is_some(), "the root stays");
    }
}
