//! Judges a pool whose owner was killed: what must be there, what must not, and whom devices of the dead may still hit.
//!
//! The pool is checked as it was left; opened; read, and compared with all that it may hold; then somebody else gets all
//! that is free and fills it, while transfers of the dead may go on; when the rings of the dead are proved to be gone, all
//! is read once more, and everything that was kept for them has to come back.
//!
//! Stays true  U1: what is free is all taken before any pin of the dead is let go: a transfer that could hit somebody
//!                 finds him.

use std::error::Error;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use pinfold::fsck::{Severity, check};
use pinfold::{Pool, PoolOptions, live_dir_of};

use super::ground::Ground;
use super::quiet::{release, rings};
use super::report::Sums;
use super::seen::Seen;
use super::victim::locks_of;
use crate::findings::{Findings, ViolationKind};
use crate::sectors::SECTOR;
use crate::stamp::{Stamp, Word, Writer};

/// Who gets all that is free.
const HEIR: &str = "/heir";

/// How much of it is written or read at once.
const PIECE: u64 = 1 << 20;

pub(super) struct Judge<'j> {
    pub(super) findings: &'j Findings,
    pub(super) sums: &'j Sums,
    pub(super) patience: Duration,
    /// Told what it is about to do, for who sees that it does not end.
    pub(super) now: &'j dyn Fn(&'static str),
}

impl Judge<'_> {
    /// The whole of it, with or without a check of the pool as it was left. False if it is past saying anything.
    pub(super) fn judge(&self, ground: &mut Ground, checked: bool) -> bool {
        self.judged(ground, checked).unwrap_or_else(|error| {
            self.findings.add(ViolationKind::Damage, format!("the pool on {}: {error}", ground.name));
            false
        })
    }

    fn judged(&self, ground: &mut Ground, checked: bool) -> Result<bool, Box<dyn Error>> {
        (self.now)("checking a pool that was left");
        let left = !checked || self.check(&ground.pool, "as it was left")?;
        (self.now)("opening a pool that was left");
        let pool = PoolOptions::new().open(&ground.pool)?;
        self.sums.outlived.add(rings(&locks_of(&ground.pool))?);
        (self.now)("reading a pool that was left");
        if !self.compare(&pool, ground, "after its owner was killed", false) {
            return Ok(false);
        }
        self.give_all_away(&pool, ground)?;
        (self.now)("reading a pool that no device reaches");
        let whole = self.compare(&pool, ground, "after its devices were gone", true);
        (self.now)("closing a pool");
        self.close(pool)?;
        let sound = self.check(&ground.pool, "after it was closed")?;
        Ok(left && sound && whole)
    }

    /// Gives all that is free to another file, while devices of the dead may write; when they are gone, that file has to be
    /// as it was.
    fn give_all_away(&self, pool: &Pool, ground: &Ground) -> Result<(), Box<dyn Error>> {
        let quarantine = pool.quarantine();
        self.sums.pins.add(quarantine.len() as u64);
        self.sums.kept.add(pool.stats().quarantined);
        (self.now)("filling what is free");
        let heir = Heir::get_all(pool, ground.steps)?;
        self.check_parked(pool)?;
        (self.now)("waiting for the rings of the dead");
        let released = release(pool, &locks_of(&ground.pool), Some(self.patience))?;
        if released != quarantine.len() {
            let what = format!("{released} of {} pins of the dead are let go", quarantine.len());
            self.findings.add(ViolationKind::Leak, what);
        }
        (self.now)("looking at who got what was free");
        if let Some(wrong) = heir.first_wrong()? {
            let what = format!("a device of a dead process hit another file: {wrong}");
            self.findings.add(ViolationKind::Corruption, what);
        }
        drop(heir);
        Ok(pool.unlink(HEIR)?)
    }

    /// Closes a pool that nobody reaches: nothing of it is kept for anybody.
    fn close(&self, pool: Pool) -> Result<(), Box<dyn Error>> {
        pool.sync()?;
        let after = pool.stats();
        if (after.quarantined, after.parked, after.pins) != (0, 0, 0) {
            self.findings.add(ViolationKind::Leak, format!("something is kept for nobody: {after:?}"));
        }
        Ok(pool.close()?)
    }

    /// The check of a pool that nobody has open. Whether it is sound.
    fn check(&self, path: &Path, when: &str) -> Result<bool, Box<dyn Error>> {
        let report = check(&File::open(path)?, Some(&live_dir_of(path)));
        self.sums.checks.add(1);
        for finding in report.findings.iter().filter(|finding| finding.severity() == Severity::Error) {
            self.findings.add(ViolationKind::Damage, format!("the pool, {when}: {finding}"));
        }
        if report.is_clean() && report.totals.sum() != report.totals.total {
            self.findings.add(ViolationKind::Leak, format!("the pool, {when}, does not add up: {:?}", report.totals));
        }
        Ok(report.is_clean())
    }

    /// Compares every thread's part with what it may hold; of that, what does not match is out of question from now on. At
    /// `last` what is there is all that it holds.
    fn compare(&self, pool: &Pool, ground: &mut Ground, when: &str, last: bool) -> bool {
        let mut whole = true;
        for thread in 0..ground.may.len() {
            if let Err((what, history)) = self.compare_part(pool, ground, thread, last) {
                let what = format!("thread {thread} on {}, {when}: {what}", ground.name);
                self.findings.add_with(ViolationKind::Lost, what, history);
                whole = false;
            }
        }
        whole
    }

    fn compare_part(
        &self,
        pool: &Pool,
        ground: &mut Ground,
        thread: usize,
        last: bool,
    ) -> Result<(), (String, Vec<String>)> {
        let seen = Seen::of(pool, thread).map_err(|what| (what, Vec::new()))?;
        self.findings.checked(seen.bytes() / SECTOR);
        let (may, mut differences) = (&mut ground.may[thread], Vec::new());
        may.retain(|model| model.compare(&seen).map_err(|differs| differences.push(differs)).is_ok());
        match may.first_mut() {
            Some(model) => {
                if last {
                    model.found(&seen);
                    may.truncate(1);
                }
                Ok(())
            }
            None => {
                // Of each outcome that was possible, why it is none.
                let mut what: Vec<_> = differences.iter().map(|differs| differs.what.as_str()).collect();
                what.sort_unstable();
                what.dedup();
                let file = differences.iter().find_map(|differs| differs.file);
                let told = file.map(|name| Ground::told(&ground.last[thread], name));
                Err((what.join("; or "), told.unwrap_or_default()))
            }
        }
    }

    /// What is parked is nobody's.
    fn check_parked(&self, pool: &Pool) -> Result<(), Box<dyn Error>> {
        let parked: Vec<Range<u64>> = pool.parked().into_iter().map(|parked| parked.place).collect();
        let extents = pool.open(HEIR)?.extents();
        for extent in &extents {
            let meets = |place: &&Range<u64>| place.start < extent.place + extent.len && extent.place < place.end;
            if let Some(place) = parked.iter().find(meets) {
                let what = format!("{place:?} is parked, and went to another file, which has {extent:?}");
                self.findings.add(ViolationKind::Corruption, what);
            }
        }
        Ok(())
    }
}

/// A file on all free blocks, every sector stamped.
struct Heir {
    file: pinfold::File,
    generation: u8,
}

impl Heir {
    fn get_all(pool: &Pool, generation: u64) -> Result<Self, Box<dyn Error>> {
        let heir = Self { file: pool.create(HEIR)?, generation: generation as u8 };
        let free = pool.stats().free;
        heir.file.allocate(0..free).try_now()?;
        for start in (0..free).step_by(PIECE as usize) {
            let mut bytes = vec![0; (free - start).min(PIECE) as usize];
            let sectors = bytes.chunks_mut(SECTOR as usize).zip(start / SECTOR..);
            sectors.for_each(|(bytes, sector)| heir.word(sector).fill(bytes));
            heir.file.write_at(start, &bytes)?;
        }
        Ok(heir)
    }

    fn word(&self, sector: u64) -> Word {
        let id = 0xf000 | (sector >> 16) as u16;
        Stamp { writer: Writer::Host, id, sector: sector as u16, generation: self.generation }.word()
    }

    /// Where it does not hold what was written, and what it holds.
    fn first_wrong(&self) -> Result<Option<String>, Box<dyn Error>> {
        let len = self.file.len();
        for start in (0..len).step_by(PIECE as usize) {
            let mut bytes = vec![0; (len - start).min(PIECE) as usize];
            self.file.read_at(start, &mut bytes)?;
            for (bytes, sector) in bytes.chunks(SECTOR as usize).zip(start / SECTOR..) {
                if let Some(word) = Word::all_in(bytes).find(|word| *word != self.word(sector)) {
                    return Ok(Some(format!("{HEIR} holds at {}: {word}", sector * SECTOR)));
                }
            }
        }
        Ok(None)
    }
}
