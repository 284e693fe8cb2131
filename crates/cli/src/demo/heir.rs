//! Blocks that go from one file to another: whose they were, until when a device reached them, and who got them when.

use std::ops::Range;
use std::time::Instant;

use pinfold::{Access, File, FileExtent};

use super::expect::{Bytes, compare, write};
use super::stage::Stage;
use super::story::{Act, bytes};
use crate::status::CannotRun;

/// The blocks of a file, as they were before it lost some.
pub(crate) struct Were {
    /// Whose.
    pub(crate) whose: String,
    extents: Vec<FileExtent>,
    /// Places in the region, and until when a transfer reached them.
    reached: Vec<(Range<u64>, Instant)>,
}

impl Were {
    pub(crate) fn of(file: &File, whose: impl Into<String>) -> Self {
        Self { whose: whose.into(), extents: file.extents(), reached: Vec::new() }
    }

    /// Where they lie in the region.
    pub(crate) fn places(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        places(&self.extents, range)
    }

    /// A transfer reached a range of the file until then.
    pub(crate) fn were_reached(&mut self, range: &Range<u64>, until: Instant) {
        let places = self.places(range);
        self.reached.extend(places.into_iter().map(|place| (place, until)));
    }

    /// How many bytes of these blocks another file has, and whether it had some, at `had`, before their transfer ended.
    fn found_in(&self, file: &File, had: Instant) -> (u64, bool) {
        let theirs = places(&file.extents(), &(0..file.len()));
        let inherited = self.reached.iter().map(|(place, until)| (common(place, &theirs), *until));
        let inherited: Vec<_> = inherited.filter(|(bytes, _)| *bytes > 0).collect();
        (inherited.iter().map(|(bytes, _)| bytes).sum(), inherited.iter().any(|(_, until)| had < *until))
    }
}

/// Where the blocks of a range of a file lie in the region.
pub(crate) fn places(extents: &[FileExtent], range: &Range<u64>) -> Vec<Range<u64>> {
    let place = |extent: &FileExtent| {
        let (start, end) = (range.start.max(extent.offset), range.end.min(extent.offset + extent.len));
        let at = |offset: u64| extent.place + (offset - extent.offset);
        (start < end).then(|| at(start)..at(end))
    };
    extents.iter().filter_map(place).collect()
}

/// How many bytes of a place are in a list of others.
fn common(place: &Range<u64>, others: &[Range<u64>]) -> u64 {
    let both = |other: &Range<u64>| place.end.min(other.end).saturating_sub(place.start.max(other.start));
    others.iter().map(both).sum()
}

/// A file that gets blocks which were another's.
pub(crate) struct Heir<'s> {
    stage: &'s Stage,
    file: File,
}

impl<'s> Heir<'s> {
    pub(crate) const PATH: &'static str = "/next";

    pub(crate) fn new(stage: &'s Stage) -> Result<Self, CannotRun> {
        Ok(Self { stage, file: stage.pool.create(Self::PATH)? })
    }

    /// Waits until there are blocks for it; when it had them.
    pub(crate) fn wait_for_blocks(&self, len: u64) -> Result<Instant, CannotRun> {
        self.file.allocate(0..len).wait()?;
        Ok(Instant::now())
    }

    /// Checks where its blocks come from, and that they hold nothing of what was there before. Then the CPU writes bytes into
    /// it that no transfer writes, so that a late one would show.
    pub(crate) fn move_in(&self, act: &mut Act, had: Instant, were: &Were) -> Result<(), CannotRun> {
        let (whose, len) = (&were.whose, self.file.len());
        let (inherited, too_early) = were.found_in(&self.file, had);
        let path = Self::PATH;
        act.at(had, format!("{path} gets {}, of which {} were {whose}'s", bytes(len), bytes(inherited)));
        let what = format!("blocks of {whose} went to {path}, each after the transfer into it had ended");
        act.check("G1", what, inherited > 0 && !too_early);
        // Before a device reads them, the blocks themselves have to be zeros: until then a file only says that they are.
        drop(self.file.pin(0..len, Access::Read).wait()?);
        let fresh = compare(&self.file, &self.stage.source, &[(len, Bytes::Zeros)])?;
        act.check("G10", format!("{path} reads as zeros: nothing of {whose} is seen in it"), fresh.is_right());
        write(&self.file, &self.stage.source, Bytes::Inverted(0), len)?;
        act.now(format!("{path} is written, with bytes that no transfer writes"));
        Ok(())
    }

    /// Checks that no transfer hit it, and removes it.
    pub(crate) fn check_and_remove(self, act: &mut Act) -> Result<(), CannotRun> {
        let compared = compare(&self.file, &self.stage.source, &[(self.file.len(), Bytes::Inverted(0))])?;
        act.check("G1", format!("no transfer hit {}: {compared}", Self::PATH), compared.is_right());
        Ok(self.stage.pool.unlink(Self::PATH)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pinfold::{Pool, Region};

    use super::*;

    #[test]
    fn a_block_that_moves_too_early_is_told() {
        let pool = Pool::new(Region::memfd(64 << 10).unwrap()).unwrap();
        let file = pool.create("/a").unwrap();
        file.allocate(0..64 << 10).try_now().unwrap();
        let mut were = Were::of(&file, "/a");
        let until = Instant::now();
        were.were_reached(&(0..8192), until);
        file.truncate(0).wait().unwrap();
        let heir = pool.create("/b").unwrap();
        heir.allocate(0..64 << 10).try_now().unwrap();
        assert_eq!(were.found_in(&heir, until), (8192, false));
        assert_eq!(were.found_in(&heir, until - Duration::from_nanos(1)), (8192, true));
    }

    #[test]
    fn places_follow_the_extents() {
        let extent = |offset, place| FileExtent { offset, len: 8192, place, written: true };
        let extents = [extent(0, 40960), extent(8192, 0)];
        assert_eq!(places(&extents, &(4096..12288)), [45056..49152, 0..4096]);
        assert_eq!(common(&(0..100), &[0..10, 90..200]), 20);
    }
}
